"""httpx and httpx2: answered at their transports, before, after and below other patches."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import threading
from typing import Any

import httpx
import httpx2
import openai
import pytest

from llmtest import fail, hold, say
from llmtest.wire import clients
from llmtest.wire.providers import Providers

URL = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**BODY, "stream": True}
LIBRARIES: Any = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


def said(answer: Any) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


@LIBRARIES
def test_clients_of_before_and_of_later_are_answered(library: Any) -> None:
    before = library.Client()

    with Providers({"gpt-5": ["one", "two", "three"]}):
        answers = [
            said(before.post(URL, json=BODY)),
            said(library.Client().post(URL, json=BODY)),
            said(library.post(URL, json=BODY)),
        ]

    assert answers == ["one", "two", "three"]


@LIBRARIES
@pytest.mark.asyncio
async def test_async_clients_are_answered(library: Any) -> None:
    async with library.AsyncClient() as client:
        with Providers({"gpt-5": ["one", "two"]}):
            answers = [said(await client.post(URL, json=BODY)) for _ in range(2)]

    assert answers == ["one", "two"]


@LIBRARIES
def test_a_stream_stops_at_its_gate(library: Any) -> None:
    gate, seen = hold(), []

    with Providers({"gpt-5": say("a", gate, "b")}), library.Client() as client, client.stream("POST", URL, json=STREAM) as answer:
        for line in answer.iter_lines():
            if '"content":"a"' in line.replace(" ", ""):
                seen.append("a")
                threading.Timer(0, gate.release).start()
            if '"content":"b"' in line.replace(" ", ""):
                seen.append("b" if gate.released else "too early")

    assert seen == ["a", "b"]


@LIBRARIES
@pytest.mark.asyncio
async def test_an_async_stream_waits_at_its_gate_without_blocking_the_loop(library: Any) -> None:
    gate, seen = hold(), []

    async def read(client: Any) -> None:
        async with client.stream("POST", URL, json=STREAM) as answer:
            async for line in answer.aiter_lines():
                seen.extend(text for text in "ab" if f'"content":"{text}"' in line.replace(" ", ""))

    with Providers({"gpt-5": say("a", gate, "b")}):
        async with library.AsyncClient() as client:
            task = asyncio.create_task(read(client))
            while seen != ["a"]:
                await asyncio.sleep(0)
            gate.release()
            await task

    assert seen == ["a", "b"]


@LIBRARIES
def test_a_stream_may_be_closed_early(library: Any) -> None:
    with (
        Providers({"gpt-5": say("a", "b", "c")}) as providers,
        library.Client() as client,
        client.stream("POST", URL, json=STREAM) as answer,
    ):
        next(answer.iter_lines())

    providers.verify()


@LIBRARIES
@pytest.mark.parametrize(("error", "kind"), [(ConnectionError, "ConnectError"), (TimeoutError, "ReadTimeout")])
def test_a_connection_that_breaks_before_an_answer_is_the_librarys_error(library: Any, error: Any, kind: str) -> None:
    with Providers({"gpt-5": fail(error)}), pytest.raises(getattr(library, kind)) as caught:
        library.post(URL, json=BODY)

    assert caught.value.request.url == URL


@LIBRARIES
@pytest.mark.parametrize(("error", "kind"), [(ConnectionError, "ReadError"), (TimeoutError, "ReadTimeout")])
def test_a_connection_that_breaks_within_an_answer_is_the_librarys_error(library: Any, error: Any, kind: str) -> None:
    with (
        Providers({"gpt-5": say("a", "b").then_fail(error)}),
        library.Client() as client,
        client.stream("POST", URL, json=STREAM) as answer,
        pytest.raises(getattr(library, kind)),
    ):
        list(answer.iter_lines())


@LIBRARIES
def test_who_patches_above_and_leaves_first_or_last_finds_the_transport_as_it_was(library: Any) -> None:
    transport, original = library.HTTPTransport, library.HTTPTransport.handle_request
    calls: list[str] = []
    providers = Providers({"gpt-5": "Hello"})

    with providers:
        ours = transport.handle_request

        def theirs(self: Any, request: Any) -> Any:
            calls.append("theirs")
            return ours(self, request)

        transport.handle_request = theirs
        answer = said(library.post(URL, json=BODY))
    left = transport.handle_request
    transport.handle_request = original

    assert (answer, calls) == ("Hello", ["theirs"])
    assert left is theirs  # theirs is above ours: it is not ours to take away


def test_nested_watching_patches_once_and_undoes_last() -> None:
    original = httpx.HTTPTransport.handle_request

    clients.watch()
    inside = httpx.HTTPTransport.handle_request
    clients.watch()
    again = httpx.HTTPTransport.handle_request
    clients.unwatch()
    still = httpx.HTTPTransport.handle_request
    clients.unwatch()

    assert again is still
    assert inside is again
    assert clients._watchers > 0 or httpx.HTTPTransport.handle_request is original


LATER = """
import sys
from llmtest.wire.providers import Providers

with Providers({"gpt-5": ["one", "two"]}):
    assert "httpx" not in sys.modules and "openai" not in sys.modules
    import httpx
    import openai
    body = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
    print(httpx.post("https://api.openai.com/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"])
    print(openai.OpenAI().chat.completions.create(**body).choices[0].message.content)
print(httpx.HTTPTransport.handle_request.__module__, hasattr(httpx.HTTPTransport.handle_request, "__wrapped__"))
"""


def test_a_client_that_is_patched_at_its_import_keeps_what_its_loader_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "aiohttp", raising=False)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    clients.watch()
    try:
        spec = importlib.util.find_spec("aiohttp")
    finally:
        clients.unwatch()

    assert spec is not None
    assert spec.loader is not None
    assert spec.loader.get_filename("aiohttp") == spec.origin  # type: ignore[attr-defined]


def test_a_client_that_is_not_installed_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "aiohttp", raising=False)
    monkeypatch.setattr(sys, "path", [])
    clients.watch()
    try:
        assert importlib.util.find_spec("aiohttp") is None
    finally:
        clients.unwatch()


def test_a_client_that_is_imported_only_later_is_answered() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", LATER], capture_output=True, text=True, timeout=120)

    assert (done.stdout.splitlines(), done.stderr) == (["one", "two", "httpx._transports.default False"], "")


@pytest.mark.asyncio
async def test_an_sdk_streams_and_may_be_cancelled_at_a_gate() -> None:
    gate, seen = hold(), []

    async def read() -> None:
        async with openai.AsyncOpenAI() as client:
            async for chunk in await client.chat.completions.create(**STREAM):  # type: ignore[call-overload]
                seen.extend(choice.delta.content for choice in chunk.choices)

    with Providers({"gpt-5": say("a", gate, "b")}):
        task = asyncio.create_task(read())
        while "a" not in seen:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.release()

    assert "b" not in seen


@LIBRARIES
def test_an_error_that_is_none_of_a_connection_is_raised_as_it_is(library: Any) -> None:
    with Providers({"gpt-5": fail(ValueError("odd"))}), pytest.raises(ValueError, match="odd"):
        library.post(URL, json=BODY)


@LIBRARIES
@pytest.mark.asyncio
async def test_an_awaited_stream_breaks_where_the_script_says(library: Any) -> None:
    with Providers({"gpt-5": say("a").then_fail(ConnectionResetError)}):
        async with library.AsyncClient() as client, client.stream("POST", URL, json=STREAM) as answer:
            with pytest.raises(library.ReadError):
                assert [piece async for piece in answer.aiter_bytes()]
