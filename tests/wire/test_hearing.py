"""Requests that a recorder hears go out, and their answers come back as they were, with every client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import anthropic
import httpx
import httpx2
import pytest
import requests

from llmtest import expect_violation, say
from llmtest.wire import clients, scripted_server
from llmtest.wire.hearing import Heard, listener, listening

BODY = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**BODY, "stream": True}


class Ears:
    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.missed: list[str] = []

    def miss(self, request: str) -> None:
        self.missed.append(request)

    def hear(self, heard: Heard) -> None:
        self.heard.append(heard)


@contextmanager
def ears() -> Iterator[Ears]:
    found = Ears()
    clients.watch()
    try:
        with listening(found):
            yield found
    finally:
        clients.unwatch()


def by_httpx(library: Any) -> Callable[[str, Any, Any], bytes]:
    def ask(url: str, body: Any, headers: Any) -> bytes:
        with library.Client() as client:
            return client.post(url, json=body, headers=headers).content  # type: ignore[no-any-return]

    return ask


def by_httpx_async(library: Any) -> Callable[[str, Any, Any], bytes]:
    async def ask(url: str, body: Any, headers: Any) -> bytes:
        async with library.AsyncClient() as client:
            return (await client.post(url, json=body, headers=headers)).content  # type: ignore[no-any-return]

    return lambda *asked: asyncio.run(ask(*asked))


def by_requests(url: str, body: Any, headers: Any) -> bytes:
    return requests.post(url, json=body, headers=headers, timeout=10).content


def by_aiohttp(url: str, body: Any, headers: Any) -> bytes:
    async def ask() -> bytes:
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
            return await response.read()

    return asyncio.run(ask())


WAYS = {
    "httpx": by_httpx(httpx),
    "httpx2": by_httpx(httpx2),
    "httpx, async": by_httpx_async(httpx),
    "httpx2, async": by_httpx_async(httpx2),
    "requests": by_requests,
    "aiohttp": by_aiohttp,
}


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
@pytest.mark.parametrize("way", WAYS)
def test_the_program_gets_what_the_recorder_hears(way: str, body: Any) -> None:
    with scripted_server(say("It is ", "sunny.")) as server, ears() as found:
        url = f"{server.base_url('openai')}/chat/completions"
        got = WAYS[way](url, body, {"authorization": f"Bearer {server.token}"})

    (heard,) = found.heard
    assert (heard.model, heard.status, heard.is_whole, heard.ended) == ("openai:gpt-5", 200, True, heard.began + 1)
    assert heard.answer.body == got
    assert b"sunny" in got


@pytest.mark.parametrize("way", WAYS)
def test_a_provider_that_is_not_there_is_heard_too(way: str) -> None:
    with ears() as found, pytest.raises(Exception):  # noqa: B017
        WAYS[way]("http://127.0.0.1:1/v1/chat/completions", BODY, {})

    (heard,) = found.heard
    assert (heard.status, heard.is_whole, heard.error is not None) == (0, False, True)


def test_a_reader_that_leaves_ends_what_is_heard() -> None:
    with scripted_server(say("It is ", "sunny.")) as server, ears() as found, httpx.Client() as client:
        url, headers = f"{server.base_url('openai')}/chat/completions", {"authorization": f"Bearer {server.token}"}
        with client.stream("POST", url, json=STREAM, headers=headers) as response:
            next(response.iter_raw())

    (heard,) = found.heard
    assert (heard.is_whole, heard.ended is not None, heard.error) == (False, True, None)


def test_a_request_that_is_no_call_of_a_model_goes_out_and_is_missed() -> None:
    with scripted_server("a") as server, ears() as found, httpx.Client() as client:
        headers = {"authorization": f"Bearer {server.token}"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_BASE_URL", server.base_url("openai"))
            assert client.get(f"{server.base_url('openai')}/models", headers=headers).status_code == 200
            with expect_violation("bad request"):  # of the server
                odd = client.post(f"{server.base_url('openai')}/chat/completions", content=b"[]", headers=headers)
        assert client.post(f"{server.base_url('openai')}/chat/completions", json=BODY, headers=headers).status_code == 200

    assert (odd.status_code, len(found.heard)) == (400, 1)
    assert [request.rpartition("/v1")[2] for request in found.missed] == ["/models", "/chat/completions"]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_missed_comes_back_as_it_was(way: str) -> None:
    with scripted_server(say("a").optional()) as server, ears() as found, expect_violation("bad request"):  # of the server
        got = WAYS[way](f"{server.base_url('openai')}/chat/completions", [], {"authorization": f"Bearer {server.token}"})

    assert (found.heard, len(found.missed)) == ([], 1)
    assert b"the body of a request is a JSON object" in got


def test_a_question_for_a_number_of_tokens_goes_out_and_is_not_kept() -> None:
    with scripted_server({"anthropic:claude-x": say("a").optional()}) as server, ears() as found:
        client = anthropic.Anthropic(base_url=server.base_url("anthropic"), api_key=server.token)
        counted = client.messages.count_tokens(model="claude-x", messages=[{"role": "user", "content": "What is the weather?"}])

    assert (counted.input_tokens, found.heard, found.missed) == (5, [], [])


def test_nothing_listens_outside_of_a_block() -> None:
    with ears():
        assert listener() is not None
    assert listener() is None
