"""urllib3, and with it requests and botocore: requests come to the boundary at the pool of connections."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from llmtest.core.patches import Patch, replace
from llmtest.wire import boundary
from llmtest.wire.boundary import Client
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest, Stream


def patch(library: ModuleType) -> list[Patch]:
    """Patch the pool of connections of urllib3."""
    pool = library.connectionpool.HTTPConnectionPool

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        client = Client(is_intercepted=not str(original.__module__).startswith("urllib3."))

        @functools.wraps(original)
        def urlopen(self: Any, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **kwargs: Any) -> Any:
            whole = url if "://" in url else f"{self.scheme}://{self.host}{f':{self.port}' if self.port else ''}{url}"
            target = boundary.target_of(method, whole)
            if target is None:
                return original(self, method, url, body, headers, *args, **kwargs)
            sent = _read(body)
            known = {str(name).lower(): _text(value) for name, value in (self.headers if headers is None else headers).items()}
            try:
                answer = boundary.answer(target, HttpRequest(method.upper(), whole, known, sent), lambda: client)
            except ConnectionBroken as broken:
                raise _error(library, self, whole, broken) from broken.error
            if answer is None:
                return original(self, method, url, sent if body is not None else None, headers, *args, **kwargs)
            preload = kwargs.get("preload_content", True)
            if isinstance(answer, HttpAnswer):
                return _response(library, answer, method, whole, preload)
            try:
                response = original(self, method, url, sent if body is not None else None, headers, *args, **kwargs)
                came = answer.take(response.status, dict(response.headers.items()), response.data)
            except BaseException as error:
                answer.end(error)
                raise
            return _response(library, came, method, whole, preload)

        return urlopen

    return [replace(pool, "urlopen", wrap)]


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _read(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    if isinstance(body, str):
        return body.encode()
    if hasattr(body, "read"):
        said = body.read()
        return said.encode() if isinstance(said, str) else bytes(said)
    pieces: Iterable[Any] = body
    return b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces)


def _error(library: ModuleType, pool: Any, url: str, broken: ConnectionBroken) -> Exception:
    if isinstance(broken.error, TimeoutError):
        return library.exceptions.ReadTimeoutError(pool, url, str(broken))  # type: ignore[no-any-return]
    if isinstance(broken.error, Exception) and not isinstance(broken.error, OSError):
        return broken.error
    return library.exceptions.ProtocolError(str(broken), broken.error)  # type: ignore[no-any-return]


def _response(library: ModuleType, answer: HttpAnswer, method: str, url: str, preload: bool) -> Any:
    body = io.BytesIO(answer.body) if answer.stream is None else _Body(library, answer.stream)
    return library.response.HTTPResponse(
        body=body,
        headers=answer.headers,
        status=answer.status,
        preload_content=preload,
        request_method=method,
        request_url=url,
    )


class _Body(io.RawIOBase):
    """A streamed body as a file: it reads as soon as a piece is there."""

    def __init__(self, library: ModuleType, stream: Stream) -> None:
        self._library = library
        self._pieces: Iterator[bytes] = iter(stream)
        self._left = b""

    def readinto(self, buffer: Any) -> int:
        try:
            while not self._left:
                self._left = next(self._pieces)
        except StopIteration:
            return 0
        except ConnectionBroken as broken:
            raise self._library.exceptions.ProtocolError(str(broken), broken.error) from broken.error
        number = min(len(buffer), len(self._left))
        buffer[:number] = self._left[:number]
        self._left = self._left[number:]
        return number
