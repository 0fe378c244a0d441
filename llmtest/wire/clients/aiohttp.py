"""aiohttp: requests come to the boundary at its sessions, and an answer comes from a connection without a socket.

aiohttp makes its responses of the bytes that a connection receives. So its own code runs, nothing is connected, whatever
proxy is configured or socket forbidden, and the response has the URL that was asked.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

from llmtest.core.patches import Patch, replace
from llmtest.wire import boundary
from llmtest.wire.boundary import Client
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest, reason_phrase
from llmtest.wire.hearing import Heard

_asked: Final[ContextVar[list[HttpAnswer] | None]] = ContextVar("llmtest_aiohttp", default=None)
"""The answer to the request that a session makes in this context, until its connection takes it."""


def patch(library: ModuleType) -> list[Patch]:
    """Patch the sessions of aiohttp, and the connections that they ask for."""
    return [
        replace(library.ClientSession, "_request", functools.partial(_wrap_request, library)),
        replace(library.BaseConnector, "connect", functools.partial(_wrap_connect, library)),
    ]


def _wrap_request(library: ModuleType, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    client = Client(is_intercepted=not str(original.__module__).startswith("aiohttp."))

    @functools.wraps(original)
    async def request(self: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
        whole = self._build_url(str_or_url)
        target = boundary.target_of(method, str(whole))
        if target is None:
            return await original(self, method, str_or_url, **kwargs)
        headers = {str(name).lower(): str(value) for name, value in self._prepare_headers(kwargs.get("headers")).items()}
        url = str(whole.update_query(kwargs.get("params") or {}))
        asked = HttpRequest(method.upper(), url, headers, _body(library, kwargs))
        try:
            answer = await boundary.aanswer(target, asked, lambda: client)
        except ConnectionBroken as broken:
            raise _error(library, broken) from broken.error
        if answer is None:
            return await original(self, method, str_or_url, **kwargs)
        came = (
            answer if isinstance(answer, HttpAnswer) else await _overheard(answer, original(self, method, str_or_url, **kwargs))
        )
        token = _asked.set([came])
        try:
            return await original(self, method, str_or_url, **kwargs)
        finally:
            _asked.reset(token)

    return request


def _wrap_connect(library: ModuleType, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def connect(self: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        answers = _asked.get()
        if not answers:
            return await original(self, req, *args, **kwargs)
        loop = asyncio.get_running_loop()
        protocol = library.client_proto.ResponseHandler(loop)
        protocol.connection_made(_Wire(library, protocol, answers.pop(), loop))
        protocol.force_close()  # it serves one request
        return library.connector.Connection(self, req.connection_key, protocol, loop)

    return connect


async def _overheard(heard: Heard, asking: Awaitable[Any]) -> HttpAnswer:
    """Return the answer of the real model, which is noted."""
    try:
        response = await asking
        return heard.take(response.status, dict(response.headers.items()), await response.read())
    except BaseException as error:
        heard.end(error)
        raise


class _Wire(asyncio.Transport):
    """A connection without a socket: it drops the request, which was read before, and gives `protocol` the answer."""

    def __init__(self, library: ModuleType, protocol: Any, answer: HttpAnswer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._library, self._protocol, self._loop = library, protocol, loop
        self._closing = False
        self._task = loop.create_task(self._give(answer))

    async def _give(self, answer: HttpAnswer) -> None:
        length = {"content-length": str(len(answer.body))} if answer.stream is None else {"transfer-encoding": "chunked"}
        lines = [f"HTTP/1.1 {answer.status} {reason_phrase(answer.status)}"]
        lines += [f"{name}: {value}" for name, value in {**answer.headers, **length}.items()]
        self._protocol.data_received("\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body)
        if answer.stream is None:
            return
        try:
            async for piece in answer.stream:
                self._protocol.data_received(b"%x\r\n%b\r\n" % (len(piece), piece))
        except ConnectionBroken as broken:
            await self._break(broken.error if isinstance(broken.error, ConnectionError) else _error(self._library, broken))
        except Exception as error:  # as of a gate that was never released: the reader is told, who would wait for ever
            await self._break(error)
        else:
            self._protocol.data_received(b"0\r\n\r\n")

    async def _break(self, error: Exception) -> None:
        """Break the connection as soon as the program has read what came before: aiohttp forgets that with the error."""
        body = self._protocol._payload
        while body is not None and body._buffer:
            await asyncio.sleep(0.001)
        if body is None or isinstance(error, ConnectionError):
            self._protocol.connection_lost(error)  # aiohttp says in its own words what is missing
        else:
            body.set_exception(error)

    def write(self, data: Any) -> None:
        """Drop a piece of the request."""

    def writelines(self, list_of_data: Any) -> None:
        """Drop pieces of the request."""

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._task.cancel()
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Go on: the answer is in memory."""

    def resume_reading(self) -> None:
        """Go on."""


def _body(library: ModuleType, kwargs: dict[str, Any]) -> bytes:
    """Return the body of a request; forms and uploads are none that the boundary reads."""
    if kwargs.get("json") is not None:
        return json.dumps(kwargs["json"]).encode()
    data = kwargs.get("data")
    if isinstance(data, library.payload.BytesPayload):
        return str(data.decode()).encode()
    return data.encode() if isinstance(data, str) else bytes(data) if isinstance(data, bytes | bytearray) else b""


def _error(library: ModuleType, broken: ConnectionBroken) -> Exception:
    if isinstance(broken.error, TimeoutError):
        return library.ServerTimeoutError(str(broken))  # type: ignore[no-any-return]
    if isinstance(broken.error, Exception) and not isinstance(broken.error, OSError):
        return broken.error
    if isinstance(broken.error, ConnectionRefusedError):  # as of the guard: no SDK is to wait, and to try again
        return library.ClientConnectionError(str(broken))  # type: ignore[no-any-return]
    return library.ClientOSError(*broken.error.args)  # type: ignore[no-any-return]
