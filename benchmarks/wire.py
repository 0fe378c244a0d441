"""The scripted server against a bare server of h11 that answers the same bytes, and a real class against its own mock."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import h11

from benchmarks.harness import Ratio, measure
from llmtest import Script, say
from llmtest.langchain.providers import scripted_providers
from llmtest.wire.serving import scripted_server

REQUESTS = 20
TOKENS = 20
PATH = "/v1/chat/completions"


class Bare:
    """A server that reads a request with h11, and answers `answer`: what is left if nothing is read into our words."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.port = 0

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        head = h11.Response(status_code=200, headers=[("content-length", str(len(self.answer)))])
        while data := await reader.read(65536):
            connection.receive_data(data)
            while connection.next_event() not in (h11.NEED_DATA, h11.PAUSED):
                if connection.their_state is h11.DONE:
                    events = (head, h11.Data(data=self.answer), h11.EndOfMessage())
                    writer.write(b"".join(connection.send(event) or b"" for event in events))
                    await writer.drain()
                    connection.start_next_cycle()
        writer.close()

    def __enter__(self) -> Bare:
        ready = threading.Event()

        async def serve() -> None:
            self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
            async with await asyncio.start_server(self._connection, "127.0.0.1", 0) as server:
                self.port = server.sockets[0].getsockname()[1]
                ready.set()
                await self.stop.wait()

        self.thread = threading.Thread(target=asyncio.run, args=(serve(),))
        self.thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()


def _request(token: str, **more: object) -> bytes:
    body = json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}], **more}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _asking(exits: ExitStack, port: int, request: bytes, end: bytes) -> Callable[[], bytes]:
    """A client that keeps its connection: each call sends some requests, one after the other, and reads the answers."""
    plug = exits.enter_context(socket.create_connection(("127.0.0.1", port)))
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask() -> bytes:
        said = b""
        for _ in range(REQUESTS):
            plug.sendall(request)
            said = plug.recv(65536)
            while not said.endswith(end):
                said += plug.recv(65536)
        return said

    return ask


def _start_and_stop(server: object) -> None:
    with server:  # type: ignore[attr-defined]
        pass


def _real_class(rounds: int) -> Iterator[Ratio]:
    """`ChatOpenAI` whose requests a script answers, against `ChatOpenAI` over a transport that gives the same bytes."""
    import httpx2
    from langchain_openai import ChatOpenAI

    sent: list[bytes] = []

    def same(request: httpx2.Request) -> httpx2.Response:
        is_stream = b'"stream":true' in request.content
        headers = {"content-type": "text/event-stream" if is_stream else "application/json"}
        return httpx2.Response(200, content=bodies[is_stream], headers=headers)

    bodies: dict[bool, bytes] = {}
    with ExitStack() as exits:
        script = Script(say(tokens=["token "] * TOKENS).repeat())
        exits.enter_context(scripted_providers({"openai:gpt-5": script}))
        keep = exits.enter_context(httpx2.Client(event_hooks={"response": [lambda response: sent.append(response.read())]}))
        ours = ChatOpenAI(model="gpt-5", http_client=exits.enter_context(httpx2.Client()))
        kept = ChatOpenAI(model="gpt-5", http_client=keep)
        kept.invoke("hi")
        list(kept.stream("hi"))
        bodies[False], bodies[True] = sent
        mock = httpx2.Client(transport=httpx2.MockTransport(same))
        theirs = ChatOpenAI(model="gpt-5", http_client=exits.enter_context(mock))
        against, few = "its own MockTransport", max(rounds // 4, 1)
        yield measure(
            "ChatOpenAI, per invoke",
            lambda: [ours.invoke("hi") for _ in range(REQUESTS)],
            lambda: [theirs.invoke("hi") for _ in range(REQUESTS)],
            against=against,
            bar=1.1,
            per=REQUESTS,
            rounds=few,
        )
        yield measure(
            f"ChatOpenAI, per stream of {TOKENS} tokens",
            lambda: [list(ours.stream("hi")) for _ in range(REQUESTS // 4)],
            lambda: [list(theirs.stream("hi")) for _ in range(REQUESTS // 4)],
            against=against,
            bar=1.1,
            per=REQUESTS // 4,
            rounds=few,
        )


def ratios(rounds: int) -> Iterator[Ratio]:
    yield from _real_class(rounds)
    with ExitStack() as exits:
        script = Script(say("It is ", "sunny.").repeat())
        server = exits.enter_context(scripted_server(script))
        ours = _asking(exits, server.port, _request(server.token), b"}")
        bare = exits.enter_context(Bare(ours().partition(b"\r\n\r\n")[2]))
        theirs = _asking(exits, bare.port, _request(server.token), b"}")
        yield measure("server, per request", ours, theirs, against="bare h11 on asyncio", bar=3.5, per=REQUESTS, rounds=rounds)
    with ExitStack() as exits:
        script = Script(say(tokens=["token "] * TOKENS).repeat())
        server = exits.enter_context(scripted_server(script))
        ours = _asking(exits, server.port, _request(server.token, stream=True), b"0\r\n\r\n")
        bare = exits.enter_context(Bare(b"x" * len(ours()) + b"}"))
        theirs = _asking(exits, bare.port, _request(server.token, stream=True), b"}")
        yield measure(
            f"server, per stream of {TOKENS} tokens",
            ours,
            theirs,
            against="the same bytes at once",
            bar=None,
            per=REQUESTS,
            rounds=max(rounds // 4, 1),
        )
    yield measure(
        "server, start and end",
        lambda: _start_and_stop(scripted_server(Script())),
        lambda: _start_and_stop(Bare(b"")),
        against="bare h11 on asyncio",
        bar=2.0,
        rounds=max(rounds // 4, 1),
    )
