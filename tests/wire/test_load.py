"""Many requests to one server: nothing is lost, nothing gets mixed up, nothing is left."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from llmtest import hold, respond, say
from llmtest.scripts.requests import Request
from llmtest.scripts.step_types import Reply
from llmtest.wire.serving import ScriptedServer, scripted_server
from tests.support.raw_http import CLOSE, chat, request


def echo(asked: Request) -> Reply:
    return say("You ", "said ", asked.text)


async def post(server: ScriptedServer, body: bytes, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request("/v1/chat/completions", body, f"Authorization: Bearer {server.token}", *headers))
    return reader, writer


async def whole_answer(reader: asyncio.StreamReader) -> str:
    """The text of the one answer that comes next on a connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK"), head
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return str(json.loads(await reader.readexactly(length))["choices"][0]["message"]["content"])


def text_of(streamed: bytes) -> str:
    """The text of a streamed answer, read without regard to its chunks, which are one event each."""
    events = [json.loads(line[6:]) for line in streamed.split(b"\n") if line.startswith(b"data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


def assert_gone(server: ScriptedServer, files: int) -> None:
    """Nothing of the server is left. A gate has threads of its own, which end a little later."""
    assert f"llmtest server {server.port}" not in [thread.name for thread in threading.enumerate()]
    assert open_files() <= files  # what an earlier test left to the collector may go meanwhile


def test_two_hundred_streams_at_once_get_their_own_tokens() -> None:
    gate = hold()

    def held(asked: Request) -> Reply:
        return say("You ", gate, "said ", asked.text)

    async def stream(server: ScriptedServer, number: int) -> str:
        reader, writer = await post(server, chat(text=f"number {number}", stream=True), CLOSE)
        said = await reader.read(-1)
        await closed(writer)
        assert said.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        return text_of(said)

    async def all_streams(server: ScriptedServer) -> list[str]:
        tasks = [asyncio.create_task(stream(server, number)) for number in range(200)]
        await gate.reached(200)
        gate.release()
        return await asyncio.gather(*tasks)

    with scripted_server(respond(held).repeat()) as server:
        answers = asyncio.run(all_streams(server))

    assert answers == [f"You said number {number}" for number in range(200)]
    assert {entry.ending for entry in server.requests} == {"answered"}


def test_clients_that_leave_do_not_disturb_the_others() -> None:
    gate = hold()

    def held(asked: Request) -> Reply:
        return say("You ", gate, "said ", asked.text)

    async def stream(server: ScriptedServer, number: int) -> str:
        reader, writer = await post(server, chat(text=f"number {number}", stream=True), CLOSE)
        await reader.readuntil(b"You ")
        if number % 2:
            writer.transport.abort() if number % 4 == 1 else writer.close()
            return "left"
        said = await reader.read(-1)
        await closed(writer)
        return text_of(b"data: " + said.partition(b"data: ")[2])

    async def all_streams(server: ScriptedServer) -> list[str]:
        tasks = [asyncio.create_task(stream(server, number)) for number in range(40)]
        await gate.reached(40)
        await asyncio.gather(*tasks[1::2])
        while sum(entry.ending == "the client left" for entry in server.requests) < 20:
            await asyncio.to_thread(left.wait, 10)
            left.clear()
        gate.release()
        return await asyncio.gather(*tasks)

    left = threading.Event()
    files = open_files()
    with scripted_server(respond(held).repeat()) as server:
        server.on_end = lambda entry: left.set()
        answers = asyncio.run(all_streams(server))

    assert answers[::2] == [f"said number {number}" for number in range(0, 40, 2)]
    assert sorted(entry.ending for entry in server.requests) == ["answered"] * 20 + ["the client left"] * 20
    assert_gone(server, files)


async def many(server: ScriptedServer, clients: int, each: int) -> None:
    """Let `clients` ask over and over, each on one connection; some of them come, ask, and are gone at once."""

    async def one(client: int) -> None:
        reader, writer = await post(server, chat(text=f"{client} 0"))
        for number in range(1, each + 1):
            assert await whole_answer(reader) == f"You said {client} {number - 1}"
            if number < each:
                body = chat(text=f"{client} {number}")
                writer.write(request("/v1/chat/completions", body, f"Authorization: Bearer {server.token}"))
        await closed(writer)

    await asyncio.gather(*(one(client) for client in range(clients)))


def test_many_clients_keep_their_connections() -> None:
    with scripted_server(respond(echo).repeat()) as server:
        asyncio.run(many(server, 20, 25))

    assert server.requests.total == len(server.requests) == 500
    assert {(entry.status, entry.ending) for entry in server.requests} == {(200, "answered")}


@pytest.mark.soak
def test_ten_thousand_requests_leave_nothing_behind() -> None:
    files = open_files()
    with scripted_server(respond(echo).repeat()) as server:
        tracemalloc.start()
        asyncio.run(many(server, 100, 50))
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0]
        asyncio.run(many(server, 100, 50))
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()

    assert server.requests.total == 10_000
    assert sum(entry.request is not None for entry in server.requests) == 1_000
    assert after - memory < 5000 * 1200  # bytes: a line of the journal, and what the count of this test keeps of a call
    assert_gone(server, files)
