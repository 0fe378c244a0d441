"""aiohttp: its answers are read from a loopback server of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from llmtest import fail, hold, say
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
        async with aiohttp.ClientSession("https://api.openai.com/") as session:
            async with session.post("v1/chat/completions", json=BODY, params={"x": "1"}) as answer:
                text = await said(answer)

    assert text == "Hello"


@pytest.mark.asyncio
async def test_a_stream_waits_at_its_gate() -> None:
    gate, seen = hold(), []

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
    ("error", "kind"), [(ConnectionError, aiohttp.ClientConnectionError), (TimeoutError, aiohttp.ServerTimeoutError)]
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
