"""gRPC, which finds and calls hosts below Python: a channel to a provider is stopped when it is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from llmtest.wire import boundary, guard
from llmtest.wire.clients import Patch, replace
from llmtest.wire.exchange import ConnectionBroken


def patch(grpc: ModuleType) -> list[Patch]:
    """Patch the functions of gRPC that make a channel."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def channel(target: Any, *args: Any, **kwargs: Any) -> Any:
            address = str(target).removeprefix("dns:").lstrip("/")
            found = boundary.target_of("", f"//{address}")
            if found is not None:
                try:
                    guard.stop(found, "", address)
                except ConnectionBroken as broken:
                    raise broken.error from None
            return original(target, *args, **kwargs)

        return channel

    owners = [grpc, *([grpc.aio] if hasattr(grpc, "aio") else [])]
    return [replace(owner, name, wrap) for owner in owners for name in ("insecure_channel", "secure_channel")]
