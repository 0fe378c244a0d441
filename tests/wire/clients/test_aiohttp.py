"""aiohttp: its answers come from a connection without a socket."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from llmtest import fail, hold, say
from llmtest.errors import LlmtestError
from llmtest.ledger import Ledger
from llmtest.wire.providers import Providers

URL = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**BODY, "stream": True}


async def said(answer: Any) -> str:
    return str((await answer.json())["choices"][0]["message"]["content"])


@pytest.mark.asyncio
async def test_sessions_of_before_and_of_later_are_answered() -> None:
    async with aiohttp.ClientSession() as before:
        with Providers({"gpt-5": ["one", "two"]}):
            async with before.post(URL, json=BODY) as answer:
                first = await said(answer)
            async with aiohttp.ClientSession() as later, later.post(URL, json=BODY) as answer:
                second = await said(answer)

    assert [first, second] == ["one", "two"]


@pytest.mark.asyncio
async def test_a_base_url_and_parameters_are_read() -> None:
    with Providers({"gpt-5": "Hello"}):
        async with (
            aiohttp.ClientSession("https://api.openai.com/") as session,
            session.post("v1/chat/completions", json=BODY, params={"x": "1"}) as answer,
        ):
            text = await said(answer)

    assert text == "Hello"


@pytest.mark.asyncio
async def test_a_stream_waits_at_its_gate() -> None:
    gate = hold()
    seen: list[str] = []

    async def read(session: Any) -> None:
        async with session.post(URL, json=STREAM) as answer:
            async for line in answer.content:
                seen.extend(text for text in "ab" if f'"content":"{text}"'.encode() in line.replace(b" ", b""))

    with Providers({"gpt-5": say("a", gate, "b")}):
        async with aiohttp.ClientSession() as session:
            task = asyncio.create_task(read(session))
            while seen != ["a"]:
                await asyncio.sleep(0.001)
            gate.release()
            await task

    assert seen == ["a", "b"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "kind"), [(ConnectionError, aiohttp.ClientOSError), (TimeoutError, aiohttp.ServerTimeoutError)]
)
async def test_a_connection_that_breaks_before_an_answer_is_the_librarys_error(error: Any, kind: Any) -> None:
    with Providers({"gpt-5": fail(error)}):
        async with aiohttp.ClientSession() as session:
            with pytest.raises(kind):
                await session.post(URL, json=BODY)


@pytest.mark.asyncio
async def test_a_connection_that_breaks_within_an_answer_is_the_librarys_error() -> None:
    with Providers({"gpt-5": say("a", "b").then_fail(ConnectionError)}):
        async with aiohttp.ClientSession() as session, session.post(URL, json=STREAM) as answer:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()


async def read(url: str = URL, **session: Any) -> tuple[bytes, str]:
    """Return what was read of a stream before its end or its error, and the name of the error."""
    got = b""
    async with aiohttp.ClientSession(**session) as client, client.post(url, json=STREAM) as answer:
        try:
            async for piece in answer.content.iter_any():
                got += piece
                await asyncio.sleep(0.01)  # a reader that is slower than the script loses nothing
        except (aiohttp.ClientError, TimeoutError, KeyError) as error:
            return got, type(error).__name__
    return got, ""


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError, "ClientPayloadError"),
        (TimeoutError, "ServerTimeoutError"),
        (KeyError("x"), "KeyError"),
        (BrokenPipeError, "ClientPayloadError"),
        (OSError, "ClientOSError"),
    ],
)
async def test_a_stream_breaks_at_once_after_all_that_came_before(error: Any, kind: str) -> None:
    with Providers({"gpt-5": say("one ", "two").then_fail(error)}):
        got, raised = await asyncio.wait_for(read(), 5)

    assert (b"one " in got, b"two" in got, b"[DONE]" in got, raised) == (True, True, False, kind)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", [{"trust_env": True}, {"proxy": "http://127.0.0.1:9"}], ids=["environment", "session"])
async def test_no_proxy_is_asked(way: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with Providers({"gpt-5": say("one ", "two")}):
        got, raised = await read(**way)

    assert (b"two" in got, raised) == (True, "")


@pytest.mark.asyncio
async def test_an_answer_needs_no_socket_and_has_the_url_that_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("a socket was made")

    with Providers({"gpt-5": "Hello"}):
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            monkeypatch.setattr(socket, "socket", forbidden)
            async with session.post(URL, json=BODY) as answer:
                got = str(answer.url), answer.request_info.headers["host"], await said(answer)
            monkeypatch.undo()

    assert got == (URL, "api.openai.com", "Hello")


@pytest.mark.asyncio
async def test_a_body_that_aiohttp_has_made_ready_is_read() -> None:
    with Providers({"gpt-5": "Hello"}):
        async with aiohttp.ClientSession() as session, session.post(URL, data=aiohttp.JsonPayload(BODY)) as answer:
            assert await said(answer) == "Hello"


@pytest.mark.asyncio
async def test_a_gate_that_nobody_releases_is_an_error_for_the_reader(page: Ledger) -> None:
    gate = hold(timeout_s=0.05)

    with Providers({"gpt-5": say("one ", gate, "two")}), pytest.raises(LlmtestError, match="not released"):
        await asyncio.wait_for(read(), 5)

    assert [violation.code for violation in page.take()] != []


@pytest.mark.asyncio
async def test_a_connection_may_be_closed_twice() -> None:
    gate = hold()

    with Providers({"gpt-5": say("one ", gate, "two")}):
        async with aiohttp.ClientSession() as session, session.post(URL, json=STREAM) as answer:
            await answer.content.readany()
            transport = answer.connection.transport
            transport.close()
            transport.close()
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        gate.release()

    assert transport.is_closing()


@pytest.mark.asyncio
async def test_a_reader_that_leaves_early_leaves_nothing_behind() -> None:
    gate = hold()

    with Providers({"gpt-5": say("one ", gate, "two")}):
        async with aiohttp.ClientSession() as session:
            async with session.post(URL, json=STREAM) as answer:
                await answer.content.readany()
            gate.release()
        await asyncio.sleep(0)

    assert asyncio.all_tasks() == {asyncio.current_task()}
