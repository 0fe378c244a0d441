"""The loopback server: HTTP over raw sockets, good and bad; it knows no API and no script."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress

import pytest

from llmtest.errors import ServerError
from llmtest.scripts.gates import hold
from llmtest.wire.exchange import EVENTS, ConnectionBroken, HttpAnswer, HttpRequest, json_answer
from llmtest.wire.server import HttpServer
from tests.support.raw_http import CLOSE, connected, request, rest, sent, until


async def echo(asked: HttpRequest) -> HttpAnswer:
    return HttpAnswer(200, {"content-type": "text/plain"}, f"{asked.method} {asked.path} ".encode() + asked.body)


class Pieces:
    """A stream of `pieces`: bytes, gates, and exceptions. `closed` is set when it is closed or at its end."""

    def __init__(self, *pieces: object) -> None:
        self.pieces = pieces
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        raise NotImplementedError

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, bytes):
                    yield piece
                else:
                    await piece.ahold(lambda: "a stream")  # type: ignore[attr-defined]  # a gate
        finally:
            self.closed.set()


def streaming(*pieces: object) -> tuple[HttpServer, Pieces, list[str]]:
    """A server that answers with one stream, and how its answers ended."""
    stream, endings = Pieces(*pieces), []

    async def handler(asked: HttpRequest) -> HttpAnswer:
        return HttpAnswer(200, {"content-type": EVENTS}, stream=stream)

    return HttpServer(handler, ended=lambda _, how: endings.append(how), stall_limit_s=0.05), stream, endings


def body(said: bytes) -> bytes:
    return said.partition(b"\r\n\r\n")[2]


def status(said: bytes) -> str:
    return said.split(b"\r\n", 1)[0].decode()


# -- good HTTP


def test_a_connection_serves_many_requests() -> None:
    with HttpServer(echo) as server, connected(server.port) as plug:
        for number in range(3):
            plug.sendall(request(f"/{number}", b"ab"))
            assert body(until(plug, b" ab")) == f"POST /{number} ab".encode()


def test_requests_that_are_sent_ahead_are_answered_in_order() -> None:
    with HttpServer(echo) as server:
        said = sent(server.port, request("/1", b"x") + request("/2", b"x") + request("/3", b"x", CLOSE))

    assert [part.split(b"\r\n\r\n")[1] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"POST /1 x", b"POST /2 x", b"POST /3 x"]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_chunked_body_arrives_whole_however_it_is_cut(size: int) -> None:
    whole = request("/", b"3\r\nabc\r\n2;note=x\r\nde\r\n0\r\n\r\n", CLOSE, "Transfer-Encoding: chunked")

    with HttpServer(echo) as server:
        said = sent(server.port, *(whole[at : at + size] for at in range(0, len(whole), size)))

    assert body(said) == b"POST / abcde"


def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    with HttpServer(echo) as server, connected(server.port) as plug:
        plug.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
        first = until(plug, b"\r\n\r\n")
        plug.sendall(b"ok")

        assert first == b"HTTP/1.1 100 \r\n\r\n"
        assert body(rest(plug)) == b"POST / ok"


def test_http_1_0_is_answered_and_closed() -> None:
    with HttpServer(echo) as server:
        said = sent(server.port, request("/old", method="GET", version="1.0"))

    assert (status(said), body(said)) == ("HTTP/1.1 200 OK", b"GET /old ")


def test_a_stream_to_http_1_0_has_no_chunks() -> None:
    server, _, endings = streaming(b"data: 1\n\n", b"data: 2\n\n")

    with server:
        said = sent(server.port, request("/", method="GET", version="1.0"))

    assert body(said) == b"data: 1\n\ndata: 2\n\n"
    assert endings == ["answered"]


def test_head_has_the_headers_of_the_answer_and_no_body() -> None:
    with HttpServer(echo) as server:
        said = sent(server.port, request("/", b"", CLOSE, method="HEAD"))

    assert b"content-length: 7" in said.lower()
    assert body(said) == b""


def test_the_whole_url_as_a_target_is_read() -> None:
    with HttpServer(echo) as server:
        said = sent(server.port, request("http://api.openai.com/v1/models", b"", CLOSE, method="GET"))

    assert body(said) == b"GET /v1/models "


def test_each_event_of_a_stream_is_sent_at_once() -> None:
    gate = hold()
    server, _, endings = streaming(b"data: 1\n\n", gate, b"data: 2\n\n")

    with server, connected(server.port) as plug:
        plug.sendall(request("/", b"", CLOSE, method="GET"))
        until(plug, b"data: 1\n\n")
        gate.wait()
        gate.release()
        assert rest(plug).endswith(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    assert endings == ["answered"]


def test_no_event_waits_until_the_one_before_is_acknowledged() -> None:
    with HttpServer(echo) as server, connected(server.port) as plug:
        plug.sendall(request("/", b"ab"))
        until(plug, b" ab")
        (connection,) = server.connections

        assert connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_client_that_reads_slowly_holds_up_its_stream_only() -> None:
    made = []

    class Endless(Pieces):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            for number in range(10_000):
                made.append(number)
                yield b"x" * 10_000

    async def handler(asked: HttpRequest) -> HttpAnswer:
        return HttpAnswer(200, {}, stream=Endless()) if asked.path == "/endless" else json_answer({})

    with HttpServer(handler) as server, connected(server.port) as plug:
        plug.sendall(request("/endless", method="GET"))
        until(plug, b"x")
        assert status(sent(server.port, request("/", b"", CLOSE, method="GET"))) == "HTTP/1.1 200 OK"
        assert len(made) < 5_000  # what is not read lies in the buffers of the system, which are small


def test_a_client_that_lags_behind_gets_all_of_its_stream() -> None:
    made = []

    class Long(Pieces):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            for number in range(3_000):
                made.append(number)
                yield b"x" * 10_000

    async def handler(asked: HttpRequest) -> HttpAnswer:
        return HttpAnswer(200, {}, stream=Long()) if asked.path == "/long" else json_answer({})

    with HttpServer(handler) as server, connected(server.port) as plug:
        plug.sendall(request("/long", b"", CLOSE, method="GET"))
        until(plug, b"x")
        sent(server.port, request("/", b"", CLOSE, method="GET"))
        waiting_at = len(made)
        said = rest(plug)

    assert waiting_at < 3_000
    assert len(made) == 3_000
    assert said.count(b"x") > 29_000_000


# -- bad HTTP


@pytest.mark.parametrize(
    ("bad", "expected", "text"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", "400", b"the client speaks TLS; the URL of this server begins with http://"),
        (b"hello\r\n\r\n", "400", b"the request is no HTTP/1.1: illegal request line"),
        (b"GET / HTTP/1.1\r\n\r\n", "400", b"the request is no HTTP/1.1: Missing mandatory Host: header"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 20_000, "431", b"the request is no HTTP/1.1: Receive buffer too long"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", "400", b"the request is no HTTP/1.1: bad Content-Length"),
        (request("/", b"zz\r\n", "Transfer-Encoding: chunked"), "400", b"the request is no HTTP/1.1: illegal chunk header"),
    ],
    ids=["tls", "words", "no host", "long head", "length", "chunk"],
)  # fmt: skip
def test_bad_http_is_refused_with_words_and_the_server_goes_on(bad: bytes, expected: str, text: bytes) -> None:
    with HttpServer(echo) as server:
        said = sent(server.port, bad)

        assert status(said).split()[1] == expected
        assert text in body(said)
        assert body(sent(server.port, request("/", b"", CLOSE))) == b"POST / "


@pytest.mark.parametrize(
    "large",
    [
        request("/", b"x" * 11),
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n",
        request("/", b"6\r\nxxxxxx\r\n5\r\nxxxxx\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        request("/", b"x" * 5_000_000),
    ],
    ids=["length", "asked first", "chunked", "megabytes"],
)
def test_a_body_over_the_limit_is_refused_and_the_client_can_read_why(large: bytes) -> None:
    endings: list[str] = []

    with HttpServer(echo, max_body_bytes=10, ended=lambda _, how: endings.append(how)) as server:
        said = sent(server.port, large)
        assert body(sent(server.port, request("/", b"x" * 10, CLOSE))) == b"POST / xxxxxxxxxx"

    assert status(said).split()[1] == "413"
    assert b"the body of a request has at most 10 bytes here; this one has " in body(said)
    assert endings == ["refused", "answered"]


@pytest.mark.parametrize("begun", [b"POST / HTT", request("/", b"abc")[:-1]], ids=["head", "body"])
def test_a_request_that_is_not_complete_in_time_is_refused(begun: bytes) -> None:
    with HttpServer(echo, read_timeout_s=0.05) as server:
        said = sent(server.port, begun)

    assert status(said).split()[1] == "408"
    assert b"a request was not complete 0.05 s after its first byte" in body(said)


def test_a_connection_without_a_request_may_stay() -> None:
    with HttpServer(echo, read_timeout_s=0.01) as server, connected(server.port) as plug:
        sent(server.port, b"GET")  # refused after the time in which the other connection is idle
        plug.sendall(request("/", b"", CLOSE))

        assert body(rest(plug)) == b"POST / "


def test_a_request_that_comes_while_the_one_before_is_answered_is_the_next() -> None:
    gate = hold()

    async def handler(asked: HttpRequest) -> HttpAnswer:
        if asked.path == "/slow":
            await gate.ahold(lambda: "the first request")
        return json_answer({"path": asked.path})

    with HttpServer(handler) as server, connected(server.port) as plug:
        plug.sendall(request("/slow"))
        gate.wait()
        plug.sendall(request("/next", b"", CLOSE))
        sent(server.port, request("/", b"", CLOSE))  # the server has read what came before
        gate.release()

        assert re.findall(rb'"path": "(.*?)"', rest(plug)) == [b"/slow", b"/next"]


def test_a_client_that_sends_ahead_without_end_is_cut_off() -> None:
    gate = hold()
    server, stream, _ = streaming(gate)
    server.max_body_bytes = 1000

    with server, connected(server.port) as plug:
        plug.sendall(request("/", method="GET"))
        gate.wait()
        plug.sendall(b"x" * 2000)
        with suppress(ConnectionError):
            assert rest(plug).endswith(b"chunked\r\n\r\n")
        assert stream.closed.wait(10)
        gate.release()


# -- endings


def test_a_client_that_leaves_in_the_middle_of_a_stream_ends_it() -> None:
    gate = hold()
    server, stream, endings = streaming(b"data: 1\n\n", gate)

    with server:
        with connected(server.port) as plug:
            plug.sendall(request("/", method="GET"))
            until(plug, b"data: 1\n\n")
            gate.wait()
        assert stream.closed.wait(10)
        gate.release()

    assert endings == ["the client left"]
    assert server.connections == set()


def test_a_client_that_leaves_in_the_middle_of_a_request_is_refused() -> None:
    refused: list[tuple[object, int, str]] = []
    came = threading.Event()

    def refuse(asked: HttpRequest | None, status: int, text: str, error: Exception | None) -> HttpAnswer:
        refused.append((asked and asked.path, status, text))
        came.set()
        return json_answer({}, status)

    with HttpServer(echo, refuse=refuse) as server:
        with connected(server.port) as plug:
            plug.sendall(request("/half", b"abc")[:-1])
        assert came.wait(10)

    assert refused == [("/half", 400, "the client left in the middle of a request")]


def test_a_connection_error_resets_the_connection_after_what_was_sent() -> None:
    server, _, endings = streaming(b"data: 1\n\n", ConnectionBroken(ConnectionResetError()))

    with server, connected(server.port) as plug:
        plug.sendall(request("/", method="GET"))
        until(plug, b"data: 1\n\n")
        with pytest.raises(ConnectionResetError):
            rest(plug)

    assert endings == ["reset"]


@pytest.mark.parametrize("half_closes", [False, True])
def test_a_connection_breaks_although_its_client_reads_nothing(half_closes: bool) -> None:
    endings: list[str] = []
    ended = threading.Event()

    class UntilFull(Pieces):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            (connection,) = server.connections
            while not connection.transport.get_write_buffer_size():
                yield b"x" * 10_000
            while half_closes and not connection.transport.is_closing():
                await asyncio.sleep(0)
            raise ConnectionBroken(ConnectionError("broken"))

    async def handler(asked: HttpRequest) -> HttpAnswer:
        return HttpAnswer(200, {}, stream=UntilFull())

    def note(_: HttpRequest, how: str) -> None:
        endings.append(how)
        ended.set()

    with HttpServer(handler, ended=note, stall_limit_s=0.05) as server, connected(server.port) as plug:
        plug.sendall(request("/", method="GET"))
        if half_closes:
            until(plug, b"x")
            plug.shutdown(socket.SHUT_WR)
        assert ended.wait(10)

    assert endings == ["reset"]


@pytest.mark.parametrize("error", [EOFError(), ConnectionAbortedError(), RuntimeError()])
def test_another_error_closes_the_connection_without_an_end(error: Exception) -> None:
    server, _, endings = streaming(b"data: 1\n\n", ConnectionBroken(error))

    with server:
        said = sent(server.port, request("/", method="GET"))

    assert body(said) == b"9\r\ndata: 1\n\n\r\n"
    assert endings == ["closed"]


def test_a_connection_may_break_before_the_answer() -> None:
    endings: list[str] = []

    async def handler(asked: HttpRequest) -> HttpAnswer:
        raise ConnectionBroken({"/reset": ConnectionError(), "/eof": EOFError(), "/json": ValueError()}[asked.path])

    with HttpServer(handler, ended=lambda _, how: endings.append(how)) as server:
        with pytest.raises(ConnectionResetError):
            sent(server.port, request("/reset"))
        assert sent(server.port, request("/eof")) == b""
        assert body(sent(server.port, request("/json", b"", CLOSE))) == b'{"llmtest": "this is no JSON'

    assert endings == ["reset", "closed", "broken JSON"]


def test_a_value_error_is_an_event_that_is_no_json() -> None:
    server, _, endings = streaming(b"data: 1\n\n", ConnectionBroken(ValueError()))

    with server:
        said = sent(server.port, request("/", method="GET", version="1.0"))

    assert body(said) == b'data: 1\n\ndata: {"llmtest": "this is no JSON\n\n'
    assert endings == ["broken JSON"]


def test_a_timeout_stalls_and_ends_at_the_limit() -> None:
    server, _, endings = streaming(b"data: 1\n\n", ConnectionBroken(TimeoutError()))

    with server, connected(server.port) as plug:
        plug.sendall(request("/", method="GET"))
        until(plug, b"data: 1\n\n")
        with pytest.raises(ConnectionResetError):
            rest(plug)

    assert endings == ["stalled for 0.05 s"]


def test_a_timeout_stalls_until_the_client_leaves() -> None:
    ended = threading.Event()
    endings: list[str] = []

    async def handler(asked: HttpRequest) -> HttpAnswer:
        raise ConnectionBroken(TimeoutError())

    def note(asked: HttpRequest, how: str) -> None:
        endings.append(how)
        ended.set()

    with HttpServer(handler, ended=note) as server:
        with connected(server.port) as plug:
            plug.sendall(request("/"))
            plug.settimeout(0.05)
            with pytest.raises(TimeoutError):
                plug.recv(1)
        assert ended.wait(10)

    assert endings == ["stalled until the client left"]


def test_a_handler_that_fails_is_an_error_of_the_server() -> None:
    async def handler(asked: HttpRequest) -> HttpAnswer:
        raise LookupError("nothing here")

    with HttpServer(handler) as server:
        said = sent(server.port, request("/", b"", CLOSE))

    assert (status(said).split()[1], body(said)) == ("500", b'{"error": {"message": "LookupError: nothing here"}}')


def test_a_stream_that_fails_is_cut() -> None:
    server, _, endings = streaming(b"data: 1\n\n", LookupError("nothing more"))

    with server:
        said = sent(server.port, request("/", method="GET"))

    assert body(said) == b"9\r\ndata: 1\n\n\r\n"
    assert endings == ["cut by LookupError"]


# -- the server itself


def test_it_listens_on_the_loopback_only() -> None:
    with HttpServer(echo) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", server.port), timeout=5):
            pass


def test_a_port_in_use_is_an_error_with_words() -> None:
    with HttpServer(echo) as server, pytest.raises(ServerError) as caught:
        HttpServer(echo, port=server.port).start()

    assert str(caught.value) == (
        f"the server cannot listen on port {server.port} of 127.0.0.1: another program listens there\n"
        "  without a port, the server takes one that is free"
    )


def test_a_port_that_is_none_is_an_error_with_words() -> None:
    with pytest.raises(ServerError) as caught:
        HttpServer(echo, port=70000).start()

    assert str(caught.value) == (
        "the server cannot listen on port 70000 of 127.0.0.1: a port is a number from 1 to 65535\n"
        "  without a port, the server takes one that is free"
    )


def test_nothing_is_left_when_it_closes() -> None:
    gate = hold()
    server, stream, endings = streaming(b"data: 1\n\n", gate)
    files = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0

    with server, connected(server.port) as stalled, connected(server.port), connected(server.port) as half:
        stalled.sendall(request("/", method="GET"))
        half.sendall(b"POST / HT")
        until(stalled, b"data: 1\n\n")
        gate.wait()
        server.close()
        assert endings == ["the server closed"]

    gate.release()
    assert stream.closed.is_set()
    assert server.connections == set()
    # The timer of a gate ends a little later, and what an earlier test left to the collector may go meanwhile.
    assert f"llmtest server {server.port}" not in [thread.name for thread in threading.enumerate()]
    assert files >= (len(os.listdir("/proc/self/fd")) if files else 0)


def test_a_handler_that_blocks_the_thread_is_told_when_the_server_closes() -> None:
    came, go_on = threading.Event(), threading.Event()

    async def blocks(asked: HttpRequest) -> HttpAnswer:
        came.set()
        go_on.wait(10)
        return json_answer({})

    server = HttpServer(blocks)
    server.start()
    with connected(server.port) as plug:
        plug.sendall(request("/"))
        assert came.wait(10)
        with pytest.raises(ServerError) as caught:
            server.close(limit_s=0.05)
        go_on.set()
        rest(plug)
    for thread in threading.enumerate():
        if thread.name == f"llmtest server {server.port}":
            thread.join(10)

    assert str(caught.value) == (
        "the server did not end within 0.05 s: what answers a request blocks its thread\n"
        "  a function that waits is async: `await` it, in place of blocking the thread"
    )


def test_a_server_that_is_closed_may_be_closed_again_and_its_port_is_free() -> None:
    with HttpServer(echo) as server:
        port = server.port
        server.close()

    with HttpServer(echo, port=port) as second:
        assert second.port == port
