"""urllib3 and requests: answered at the pool of connections."""

from __future__ import annotations

import io
import json
import socket
import threading
from typing import Any

import pytest
import requests
import urllib3

from llmtest import fail, hold, say
from llmtest.wire.guard import allow_real_models, guarding
from llmtest.wire.providers import Providers

URL = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**BODY, "stream": True}
OLD = requests.Session()


def said(body: Any) -> str:
    return str(body["choices"][0]["message"]["content"])


def test_sessions_and_pools_of_before_and_of_later_are_answered() -> None:
    with Providers({"gpt-5": ["one", "two", "three", "four"]}):
        answers = [
            said(OLD.post(URL, json=BODY).json()),
            said(requests.post(URL, data=json.dumps(BODY)).json()),
            said(urllib3.PoolManager().request("POST", URL, json=BODY).json()),
            said(urllib3.request("POST", URL, body=json.dumps(BODY).encode()).json()),
        ]

    assert answers == ["one", "two", "three", "four"]


def test_a_body_that_is_sent_in_pieces_is_read() -> None:
    text = json.dumps(BODY).encode()

    with Providers({"gpt-5": "Hello"}):
        answer = requests.post(URL, data=iter([text[:9], text[9:]]))

    assert said(answer.json()) == "Hello"


def test_a_status_is_the_answers() -> None:
    with Providers({"gpt-5": fail(429, retry_after=7)}):
        answer = requests.post(URL, json=BODY)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_a_stream_comes_piece_by_piece_and_stops_at_its_gate() -> None:
    gate, seen = hold(), []

    with Providers({"gpt-5": say("a", gate, "b")}), requests.post(URL, json=STREAM, stream=True) as answer:
        for line in answer.iter_lines(chunk_size=1):
            if b'"content":"a"' in line.replace(b" ", b""):
                seen.append("a")
                threading.Timer(0, gate.release).start()
            if b'"content":"b"' in line.replace(b" ", b""):
                seen.append("b" if gate.released else "too early")

    assert seen == ["a", "b"]


def test_a_stream_may_be_closed_early() -> None:
    with Providers({"gpt-5": say("a", "b", "c")}) as providers, requests.post(URL, json=STREAM, stream=True) as answer:
        next(answer.iter_lines(chunk_size=1))

    providers.verify()


@pytest.mark.parametrize(("error", "kind"), [(ConnectionError, requests.ConnectionError), (TimeoutError, requests.ReadTimeout)])
def test_a_connection_that_breaks_before_an_answer_is_the_librarys_error(error: Any, kind: Any) -> None:
    with Providers({"gpt-5": fail(error)}), pytest.raises(kind):
        requests.post(URL, json=BODY)


def test_a_connection_that_breaks_within_an_answer_is_the_librarys_error() -> None:
    with (
        Providers({"gpt-5": say("a", "b").then_fail(ConnectionError)}),
        requests.post(URL, json=STREAM, stream=True) as answer,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        list(answer.iter_lines())


def test_who_patches_above_is_left_alone() -> None:
    pool = urllib3.connectionpool.HTTPConnectionPool
    original = pool.urlopen

    with Providers({"gpt-5": "Hello"}):
        ours = pool.urlopen

        def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
            return ours(self, *args, **kwargs)

        pool.urlopen = theirs  # type: ignore[method-assign]
        answer = said(requests.post(URL, json=BODY).json())
    left = pool.urlopen
    pool.urlopen = original  # type: ignore[method-assign]

    assert answer == "Hello"
    assert left is theirs


TEXT = json.dumps(BODY)
BYTES = TEXT.encode()


@pytest.mark.parametrize(
    "body",
    [
        TEXT.encode(),
        bytearray(TEXT.encode()),
        TEXT,
        io.BytesIO(TEXT.encode()),
        io.StringIO(TEXT),
        iter([TEXT[:9].encode(), TEXT[9:]]),
    ],
    ids=["bytes", "bytearray", "str", "a file", "a file of text", "pieces"],
)
def test_a_body_of_any_kind_is_read(body: Any) -> None:
    headers: Any = {"x-own": b"1"}
    with Providers({"gpt-5": "Hello"}):
        answer = urllib3.PoolManager().connection_from_url(URL).urlopen("POST", URL, body=body, headers=headers)

    assert said(answer.json()) == "Hello"


def test_an_error_that_is_none_of_a_connection_is_raised_as_it_is() -> None:
    with Providers({"gpt-5": fail(ValueError("odd"))}), pytest.raises(ValueError, match="odd"):
        requests.post(URL, json=BODY)


def test_a_request_that_is_allowed_goes_on_with_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_FAIL, "there is no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with guarding("error"), allow_real_models(), pytest.raises(requests.ConnectionError, match="no network in this test"):
        requests.post(URL, data=iter([TEXT.encode()]))
