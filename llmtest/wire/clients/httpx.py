"""httpx and httpx2: requests of both come to the boundary at their transports."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from llmtest import ledger
from llmtest.core.patches import Patch, replace
from llmtest.core.source import program_place
from llmtest.wire import boundary
from llmtest.wire.boundary import Client
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest, Stream
from llmtest.wire.hearing import UNCHANGED_ENCODING, Heard, HeardStream

_built: WeakKeyDictionary[Any, tuple[str, str]] = WeakKeyDictionary()
"""Where the program made the client of a transport, and in which test."""


def patch(library: ModuleType) -> list[Patch]:
    """Patch the transports of httpx or httpx2."""
    sync, async_ = library.HTTPTransport, library.AsyncHTTPTransport
    return [
        replace(sync, "handle_request", functools.partial(_wrap_sync, library)),
        replace(async_, "handle_async_request", functools.partial(_wrap_async, library)),
        replace(sync, "__init__", _wrap_init),
        replace(async_, "__init__", _wrap_init),
    ]


def _wrap_sync(library: ModuleType, original: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    body, heard_body = _body_of(library), _heard_body_of(library)

    @functools.wraps(original)
    def handle_request(self: Any, request: Any) -> Any:
        url = str(request.url)
        target = boundary.target_of(request.method, url)
        if target is None:
            return original(self, request)
        asked = HttpRequest(request.method, url, request.headers, request.read())
        try:
            answer = boundary.answer(target, asked, lambda: _client_of(library, original, self))
        except ConnectionBroken as broken:
            raise _error(library, "ConnectError", broken, request) from broken.error
        if answer is None:
            return original(self, request)
        if isinstance(answer, HttpAnswer):
            return _response(library, body, answer, request)
        request.headers["accept-encoding"] = UNCHANGED_ENCODING
        try:
            response = original(self, request)
        except BaseException as error:
            answer.end(error)
            raise
        return _overheard(heard_body, answer, response)

    return handle_request


def _wrap_async(library: ModuleType, original: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    body, heard_body = _body_of(library), _heard_body_of(library)

    @functools.wraps(original)
    async def handle_async_request(self: Any, request: Any) -> Any:
        url = str(request.url)
        target = boundary.target_of(request.method, url)
        if target is None:
            return await original(self, request)
        asked = HttpRequest(request.method, url, request.headers, await request.aread())
        try:
            answer = await boundary.aanswer(target, asked, lambda: _client_of(library, original, self))
        except ConnectionBroken as broken:
            raise _error(library, "ConnectError", broken, request) from broken.error
        if answer is None:
            return await original(self, request)
        if isinstance(answer, HttpAnswer):
            return _response(library, body, answer, request)
        request.headers["accept-encoding"] = UNCHANGED_ENCODING
        try:
            response = await original(self, request)
        except BaseException as error:
            answer.end(error)
            raise
        return _overheard(heard_body, answer, response)

    return handle_async_request


def _wrap_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _built[self] = program_place(), ledger.current().test

    return init


def _client_of(library: ModuleType, original: Callable[..., Any], transport: Any) -> Client:
    """Return what is known of the client of `transport`."""
    built, test = _built.get(transport, ("", ""))
    is_of_another_test = test not in ("", ledger.current().test)  # an integration keeps its clients: that line says nothing here
    return Client("" if is_of_another_test else built, _is_intercepted(library, original))


def _is_intercepted(library: ModuleType, original: Callable[..., Any]) -> bool:
    """True if somebody else answers in place of the network: a cassette, or a mock of this library."""
    if not str(original.__module__).startswith(library.__name__ + "."):
        return True
    core = sys.modules.get(library.__name__.replace("httpx", "httpcore"))
    pools = ("ConnectionPool", "handle_request"), ("AsyncConnectionPool", "handle_async_request")
    found = (getattr(getattr(core, pool, None), method, None) for pool, method in pools)
    return any(function is not None and not function.__module__.startswith("httpcore") for function in found)


def _error(library: ModuleType, otherwise: str, broken: ConnectionBroken, request: Any) -> Exception:
    """Return the library's error for a broken connection: a timeout, or its class `otherwise`."""
    kind = "ReadTimeout" if isinstance(broken.error, TimeoutError) else otherwise
    if isinstance(broken.error, Exception) and not isinstance(broken.error, OSError):
        return broken.error
    error: Exception = getattr(library, kind)(str(broken), request=request)
    return error


def _response(library: ModuleType, body: type, answer: HttpAnswer, request: Any) -> Any:
    if answer.stream is None:
        return library.Response(answer.status, headers=answer.headers, content=answer.body, request=request)
    return library.Response(answer.status, headers=answer.headers, stream=body(answer.stream, request), request=request)


def _overheard(body: type, heard: Heard, response: Any) -> Any:
    """Return `response` of the real model, whose body is noted as it is read."""
    heard.begin(response.status_code, dict(response.headers.items()))
    response.stream = body(heard, response.stream)
    return response


@functools.cache
def _heard_body_of(library: ModuleType) -> type:
    """Return the class of a body that is noted as it is read, in the words of `library`."""
    return type("HeardBody", (HeardStream, library.SyncByteStream, library.AsyncByteStream), {})


@functools.cache
def _body_of(library: ModuleType) -> type:
    """Return the class of a streamed body in the words of `library`."""

    class Body(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[name-defined,misc]
        def __init__(self, stream: Stream, request: Any) -> None:
            self.stream = stream
            self.request = request

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self.stream
            except ConnectionBroken as broken:
                raise _error(library, "ReadError", broken, self.request) from broken.error

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for piece in self.stream:
                    yield piece
            except ConnectionBroken as broken:
                raise _error(library, "ReadError", broken, self.request) from broken.error

    return Body
