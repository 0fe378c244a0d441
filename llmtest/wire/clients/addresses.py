"""The last resort: a function is given the address of a provider, by whatever client. A script cannot answer there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from llmtest.core.patches import Patch, replace
from llmtest.wire import boundary
from llmtest.wire.exchange import ConnectionBroken

Refuse = Callable[[ConnectionBroken], Exception]
"""Returns the error that callers of a patched function know."""


def patch(module: ModuleType) -> list[Patch]:
    """Patch what looks up hosts in `socket`, or what makes channels in `grpc`, which calls hosts below Python."""
    if module.__name__ == "socket":
        stop = functools.partial(_stop, lambda broken: module.gaierror(module.EAI_FAIL, str(broken)))
        return [replace(module, name, stop) for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex")]
    owners = [module, *([module.aio] if hasattr(module, "aio") else [])]
    stop = functools.partial(_stop, lambda broken: ConnectionRefusedError(str(broken)))
    return [replace(owner, name, stop) for owner in owners for name in ("insecure_channel", "secure_channel")]


def _stop(refuse: Refuse, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def reach(address: Any, *args: Any, **kwargs: Any) -> Any:
        text = address.decode("ascii", "replace") if isinstance(address, bytes) else str(address)
        text = text.removeprefix("dns:").lstrip("/")  # as gRPC may write it
        target = boundary.target_of("", f"//{text}")
        if target is not None:
            try:
                boundary.stop(target, "", text)
            except ConnectionBroken as broken:
                raise refuse(broken) from broken.error
        return original(address, *args, **kwargs)

    return reach
