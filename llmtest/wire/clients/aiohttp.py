"""aiohttp: what a script answers to a request is read from a loopback server of ours.

aiohttp makes its responses of what it reads from a socket, so there is one to be read from. The boundary is asked before,
on the task of the program.
"""

from __future__ import annotations

import functools
import itertools
import json
import threading
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, Final

from llmtest.wire import boundary
from llmtest.wire.clients import Patch, replace
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest
from llmtest.wire.server import HttpServer

TICKET: Final = "x-llmtest-ticket"


class _Relay:
    """The loopback server of this process, from which answers are read. It starts with the first one. Thread-safe."""

    def __init__(self) -> None:
        self._server: HttpServer | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._answers: dict[str, HttpAnswer] = {}

    def keep(self, answer: HttpAnswer) -> tuple[str, str]:
        """Return the URL at which `answer` can be read once, and the ticket for it."""
        with self._lock:
            if self._server is None:
                self._server = HttpServer(self._give)
                self._server.start()
            ticket = str(next(self._numbers))
            self._answers[ticket] = answer
            return self._server.url, ticket

    async def _give(self, request: HttpRequest) -> HttpAnswer:
        return self._answers.pop(request.headers[TICKET])


_relay: Final = _Relay()
_OF_THE_WAY: Final = frozenset(("params", "proxy", "proxy_auth", "proxy_headers", "ssl", "server_hostname"))
"""Arguments about the way to a host, which is another one now."""


def patch(library: ModuleType) -> list[Patch]:
    """Patch the sessions of aiohttp."""

    def wrap(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        is_ours = str(original.__module__).startswith("aiohttp.")

        @functools.wraps(original)
        async def request(self: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
            whole = self._build_url(str_or_url)
            target = boundary.target_of(method, str(whole))
            if target is None:
                return await original(self, method, str_or_url, **kwargs)
            headers = {str(name).lower(): str(value) for name, value in self._prepare_headers(kwargs.get("headers")).items()}
            asked = HttpRequest(method.upper(), str(whole.update_query(kwargs.get("params") or {})), headers, _body(kwargs))
            try:
                answer = await boundary.aanswer(target, asked, is_intercepted=not is_ours)
            except ConnectionBroken as broken:
                raise _error(library, broken) from broken.error
            if answer is None:
                return await original(self, method, str_or_url, **kwargs)
            url, ticket = _relay.keep(answer)
            rest = {name: value for name, value in kwargs.items() if name not in _OF_THE_WAY}
            # A session that the program leaves open would keep its connection, and Python would warn of that.
            rest["headers"] = {**dict(kwargs.get("headers") or {}), TICKET: ticket, "connection": "close"}
            return await original(self, method, library.typedefs.URL(url) / whole.path.lstrip("/"), **rest)

        return request

    return [replace(library.ClientSession, "_request", wrap)]


def _body(kwargs: dict[str, Any]) -> bytes:
    """Return the body of a request; forms and uploads are none that the boundary reads."""
    if kwargs.get("json") is not None:
        return json.dumps(kwargs["json"]).encode()
    data = kwargs.get("data")
    return data.encode() if isinstance(data, str) else bytes(data) if isinstance(data, bytes | bytearray) else b""


def _error(library: ModuleType, broken: ConnectionBroken) -> Exception:
    if isinstance(broken.error, TimeoutError):
        return library.ServerTimeoutError(str(broken))  # type: ignore[no-any-return]
    if isinstance(broken.error, Exception) and not isinstance(broken.error, OSError):
        return broken.error
    return library.ClientConnectionError(str(broken))  # type: ignore[no-any-return]
