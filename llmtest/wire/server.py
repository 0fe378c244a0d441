"""A loopback HTTP server: HTTP/1.1 and 1.0, h11 on asyncio, in one daemon thread of its own. It knows no API and no script."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Final, Self, cast

import h11

from llmtest.errors import ServerError
from llmtest.wire.exchange import EVENTS, JSON, ConnectionBroken, HttpAnswer, HttpRequest, json_answer, reason_phrase
from llmtest.wire.hosts import own_ports

Handler = Callable[[HttpRequest], Awaitable[HttpAnswer]]
Refuse = Callable[[HttpRequest | None, int, str, Exception | None], HttpAnswer]
Ended = Callable[[HttpRequest, str], None]

HOST: Final = "127.0.0.1"
MAX_BODY_BYTES: Final = 20_000_000
READ_TIMEOUT_S: Final = 30.0
STALL_LIMIT_S: Final = 60.0
MAX_HEAD_BYTES: Final = 64 * 1024
LINGER_S: Final = 2.0
"""How long the server goes on reading what a client sends after it was refused, so that the client can read the refusal."""
START_LIMIT_S: Final = 10.0
CLOSE_LIMIT_S: Final = 10.0

ANSWERED: Final = "answered"
LEFT: Final = "the client left"
CLOSED: Final = "the server closed"


def plain_refusal(request: HttpRequest | None, status: int, text: str, error: Exception | None = None) -> HttpAnswer:
    """Return the answer to a request that could not be read, or at which the handler failed with `error`.

    `request` is None if its head could not be read.
    """
    return json_answer({"error": {"message": text}}, status)


def _nothing(request: HttpRequest, how: str) -> None:
    """Nobody asks how the answer to a request ended."""


class HttpServer:
    """Serves HTTP on 127.0.0.1 with `handler`, an async function. Use it as a block; it holds state.

    `refuse` makes the answer to a request that is no HTTP, too large, too slow, or at which the handler failed. `ended` is
    told how each answer ended: `"answered"`, `"the client left"`, ... Both, and the handler, run on the thread of the server.

    Raises:
        ServerError: the port is in use, or may not be used.

    >>> import urllib.request
    >>> async def hello(request):
    ...     return json_answer({"path": request.path})
    >>> with HttpServer(hello) as server:
    ...     urllib.request.urlopen(f"{server.url}/v1/models").read()
    b'{"path": "/v1/models"}'

    It speaks no TLS and no HTTP/2, and listens on no other address.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        port: int = 0,
        refuse: Refuse = plain_refusal,
        ended: Ended = _nothing,
        max_body_bytes: int = MAX_BODY_BYTES,
        read_timeout_s: float = READ_TIMEOUT_S,
        stall_limit_s: float = STALL_LIMIT_S,
    ) -> None:
        self.handler = handler
        self.refuse = refuse
        self.ended = ended
        self.max_body_bytes = max_body_bytes
        self.read_timeout_s = read_timeout_s
        self.stall_limit_s = stall_limit_s
        self.port = port
        self.is_closing = False
        self.connections: set[Connection] = set()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen, and return as soon as requests are answered."""
        listening = _listen(self.port)
        self.port = listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(listening,), name=f"llmtest server {self.port}", daemon=True)
        self._thread.start()
        own_ports.add(self.port)
        if not self._ready.wait(START_LIMIT_S):
            raise ServerError(f"the thread of the server did not start within {START_LIMIT_S:g} s")  # pragma: no cover - it does

    def close(self, *, limit_s: float = CLOSE_LIMIT_S) -> None:
        """End every connection and the thread. Nothing of the server is left when this returns.

        Raises:
            ServerError: the handler has blocked the thread for `limit_s`.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._loop is not None and self._stop is not None:  # pragma: no branch - else the thread has not started in time
            self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(limit_s)
        own_ports.discard(self.port)
        if thread.is_alive():
            raise ServerError(
                f"the server did not end within {limit_s:g} s: what answers a request blocks its thread\n"
                "  a function that waits is async: `await` it, in place of blocking the thread"
            )

    def settle(self) -> None:
        """Wait until the server has done all that it can do now, so that it has noticed what its clients have done."""
        if self._thread is None or self._loop is None or self._thread is threading.current_thread():
            return
        with suppress(TimeoutError):  # a handler that blocks the loop is not waited for
            asyncio.run_coroutine_threadsafe(_turns(), self._loop).result(SETTLE_LIMIT_S)

    def _run(self, listening: socket.socket) -> None:
        with listening:
            asyncio.run(self._serve(listening))

    async def _serve(self, listening: socket.socket) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(lambda: Connection(self), sock=listening, backlog=BACKLOG)
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            self.is_closing = True
            server.close()
            tasks = [task for connection in [*self.connections] if (task := connection.abort()) is not None]
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # the transports close their sockets in a callback


BACKLOG: Final = 1024
SETTLE_LIMIT_S: Final = 1.0


async def _turns() -> None:
    """Let the event loop turn as often as it takes to hear of a lost connection, and to end its task."""
    for _ in range(8):
        await asyncio.sleep(0)


def _listen(port: int) -> socket.socket:
    why = "a port is a number from 1 to 65535"
    if port in range(65536):
        try:
            return socket.create_server((HOST, port), backlog=BACKLOG)
        except OSError as error:
            why = "another program listens there" if error.errno == errno.EADDRINUSE else str(error)
    raise ServerError(
        f"the server cannot listen on port {port} of {HOST}: {why}\n  without a port, the server takes one that is free"
    )


class Connection(asyncio.Protocol):
    """One connection: its requests one after the other, each answered by a task. Holds state; lives on the server's loop."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)  # until the connection is made
        self.loop = asyncio.get_running_loop()
        self.task: asyncio.Task[None] | None = None
        self._head: h11.Request | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._ahead = 0
        self._speaks_tls = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_lingering = False
        self._flushed: asyncio.Future[None] | None = None

    # -- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        # asyncio does it only for sockets that know their protocol, which those of `socket.create_server` do not
        # (https://github.com/python/cpython/issues/148783): without it, each event of a stream waits for the one before.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            return
        self._speaks_tls = self._speaks_tls or data.startswith(b"\x16\x03")
        self.h11.receive_data(data)
        if self.task is None:
            self._read()
            return
        self._ahead += len(data)  # the requests after the one that is answered now
        if self._ahead > self.server.max_body_bytes:
            self.transport.abort()

    def eof_received(self) -> None:
        # A client that has nothing more to say has left, as for other servers: the transport closes.
        if self.task is None and not self._is_lingering:
            self.h11.receive_data(b"")
            self._read()

    def connection_lost(self, error: Exception | None) -> None:
        self.server.connections.discard(self)
        self._stop_timer()
        if self.task is not None:
            self.task.cancel()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._flushed = self.loop.create_future()

    def resume_writing(self) -> None:
        waiting, self._flushed = self._flushed, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def abort(self) -> asyncio.Task[None] | None:
        """End the connection, and return the task of its request if there is one."""
        task = self.task
        if task is not None:
            task.cancel()
        self.transport.abort()
        return task

    # -- reading

    def _read(self) -> None:
        try:
            while self.task is None and not self._is_lingering:
                event = self.h11.next_event()
                if event is h11.NEED_DATA:
                    if self.h11.they_are_waiting_for_100_continue:
                        self._write(h11.InformationalResponse(status_code=100, headers=[]))
                    break
                self._take(event)
        except h11.RemoteProtocolError as error:
            # The hint of h11 is 431 for a head without end, else 400.
            self._refuse(error.error_status_hint, _what_is_wrong(str(error), self._speaks_tls))
        self._watch_time()

    def _take(self, event: Any) -> None:
        if isinstance(event, h11.Request):
            self._head, self._parts, self._size = event, [], 0
            announced = dict(event.headers).get(b"content-length", b"0")
            self._check_size(int(announced))  # h11 lets only digits through
        elif isinstance(event, h11.Data):
            self._size += len(event.data)
            self._parts.append(bytes(event.data))
            self._check_size(self._size)
        elif isinstance(event, h11.EndOfMessage):
            self._stop_timer()
            self.task = self.loop.create_task(self._answer(self._request()))
        else:  # h11.ConnectionClosed
            self.transport.close()
            self._is_lingering = True

    def _check_size(self, size: int) -> None:
        if size > self.server.max_body_bytes:
            text = f"the body of a request has at most {self.server.max_body_bytes:,} bytes here; this one has {size:,} or more"
            self._refuse(413, text)

    def _request(self) -> HttpRequest:
        assert self._head is not None
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in self._head.headers}
        target = self._head.target.decode("ascii")
        if not target.startswith("http"):  # the form that a proxy gets is a whole URL
            target = f"http://{headers.get('host', HOST)}{target}"
        body, self._parts = b"".join(self._parts), []
        return HttpRequest(self._head.method.decode("ascii"), target, headers, body)

    def _watch_time(self) -> None:
        """A request that has begun must be there in time; a connection between two requests may stay."""
        if self.task is not None or self._is_lingering:
            return
        begun = self.h11.their_state is h11.SEND_BODY or bool(self.h11.trailing_data[0])
        if begun and self._timer is None:
            self._timer = self.loop.call_later(self.server.read_timeout_s, self._too_slow)

    def _too_slow(self) -> None:
        self._refuse(408, f"a request was not complete {self.server.read_timeout_s:g} s after its first byte")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, text: str) -> None:
        """Answer a request that cannot be read to its end, and close."""
        self._stop_timer()
        request = None if self._head is None else self._request()
        answer = self.server.refuse(request, status, text, None)
        self._write_whole(answer, {"connection": "close"})
        self._linger()
        if request is not None:
            self.server.ended(request, "refused")

    def _linger(self) -> None:
        """Close after the client has read the answer: one that still sends would lose it to a reset."""
        self._is_lingering = True
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    # -- answering

    async def _answer(self, request: HttpRequest) -> None:
        how = CLOSED
        try:
            how = await self._respond(request)
        except asyncio.CancelledError:
            how = CLOSED if self.server.is_closing else LEFT
        finally:
            self.server.ended(request, how)
            self.task = None
        self._next()

    async def _respond(self, request: HttpRequest) -> str:
        try:
            answer = await self.server.handler(request)
            if answer.stream is None or request.method == "HEAD":
                self._write_whole(answer)
                await self._drained()
                return ANSWERED
        except ConnectionBroken as broken:
            return await self._break(broken.error, JSON)
        except Exception as error:
            self._write_whole(self.server.refuse(request, 500, f"{type(error).__name__}: {error}", error))
            return f"failed with {type(error).__name__}"
        try:
            await self._stream(answer)
        except ConnectionBroken as broken:
            return await self._break(broken.error, answer.headers.get("content-type", EVENTS))
        except Exception as error:  # the head is out: the client can only be cut off
            self.server.refuse(request, 500, f"{type(error).__name__}: {error}", error)
            self.transport.close()
            return f"cut by {type(error).__name__}"
        return ANSWERED

    async def _stream(self, answer: HttpAnswer) -> None:
        assert answer.stream is not None
        self._write(_head(answer.status, [*answer.headers.items()]))
        async with aclosing(aiter(answer.stream)) as pieces:  # at once: the collector would close it at some later time
            async for piece in pieces:
                self._write(h11.Data(data=piece))
                await self._drained()
        self._write(h11.EndOfMessage())

    def _write_whole(self, answer: HttpAnswer, more: dict[str, str] | None = None) -> None:
        headers = [*answer.headers.items(), ("content-length", str(len(answer.body))), *(more or {}).items()]
        said = self._bytes(_head(answer.status, headers))
        is_head = self._head is not None and self._head.method == b"HEAD"
        said += b"" if is_head or not answer.body else self._bytes(h11.Data(data=answer.body))
        self.transport.write(said + self._bytes(h11.EndOfMessage()))

    def _bytes(self, event: Any) -> bytes:
        return self.h11.send(event) or b""

    def _write(self, event: Any) -> None:
        self.transport.write(self._bytes(event))

    async def _drained(self) -> None:
        """Wait until the client has taken what was written, if it lags behind."""
        if self._flushed is not None:
            await self._flushed

    def _next(self) -> None:
        """Go on with the next request of the connection, or close it."""
        if self.transport.is_closing():
            return
        if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            self.h11.start_next_cycle()
            self._head, self._ahead = None, 0
            self._read()
        else:
            self.transport.close()

    # -- breaking

    async def _break(self, error: BaseException, content_type: str) -> str:
        """Break the connection as `error` says."""
        if isinstance(error, TimeoutError):
            try:
                await asyncio.sleep(self.server.stall_limit_s)
            except asyncio.CancelledError:
                return CLOSED if self.server.is_closing else f"stalled until {LEFT}"
            self._reset()
            return f"stalled for {self.server.stall_limit_s:g} s"
        if isinstance(error, ValueError):
            return self._break_event(content_type)
        if type(error) in (ConnectionError, ConnectionResetError):
            await self._flush()
            self._reset()
            return "reset"
        self.transport.close()
        return "closed"

    def _break_event(self, content_type: str) -> str:
        """Send something that is no JSON where JSON is expected."""
        if self.h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._write_whole(HttpAnswer(200, {"content-type": JSON}, BROKEN_JSON))
        else:
            self._write(h11.Data(data=b"data: " + BROKEN_JSON + b"\n\n" if content_type == EVENTS else BROKEN_JSON + b"\n"))
            self._write(h11.EndOfMessage())
        return "broken JSON"

    async def _flush(self) -> None:
        """Wait until the last byte has left this process: a reset would take it back."""
        self.transport.set_write_buffer_limits(0)
        try:
            async with asyncio.timeout(self.server.stall_limit_s):
                await self._drained()
        except TimeoutError:
            return  # the client reads nothing, and will not miss it

    def _reset(self) -> None:
        """Close the connection with a reset (RST) in place of an orderly end."""
        if self.transport.is_closing():
            return
        plug = self.transport.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0))
        self.transport.abort()


def _head(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=reason_phrase(status))


BROKEN_JSON: Final = b'{"llmtest": "this is no JSON'


def _what_is_wrong(text: str, speaks_tls: bool) -> str:
    if speaks_tls:
        return "the client speaks TLS; the URL of this server begins with http://"
    if text.startswith(("peer unexpectedly closed", "peer closed connection")):
        return "the client left in the middle of a request"
    return f"the request is no HTTP/1.1: {text.partition(': bytearray')[0]}"  # the bytes may hold a key
