"""The last resort: a provider's host is looked up, by whatever client."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from llmtest.wire import boundary, guard
from llmtest.wire.clients import Patch, replace
from llmtest.wire.exchange import ConnectionBroken


def patch(socket: ModuleType) -> list[Patch]:
    """Patch the functions of `socket` that find the address of a host."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
            name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
            target = boundary.target_of("", f"//{name}") if isinstance(name, str) else None
            if target is not None:
                try:
                    guard.stop(target, "", name)
                except ConnectionBroken as broken:
                    raise socket.gaierror(socket.EAI_FAIL, str(broken)) from broken.error
            return original(host, *args, **kwargs)

        return look_up

    return [replace(socket, name, wrap) for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex")]
