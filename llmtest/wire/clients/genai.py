"""Google's SDK: it does not wait before it tries again.

The other SDKs wait as long as an answer tells them, and ours tells them not to. This one knows no such header: it waits a
second or two, and twice as long each time, with six attempts in LangChain's integration.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from llmtest.core.patches import Patch, replace
from llmtest.wire import providers


def patch(client: ModuleType) -> list[Patch]:
    """Patch the function that says how long the SDK waits, for as long as a script answers in place of a provider."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def retry_args(options: Any) -> dict[str, Any]:
            known: dict[str, Any] = original(options)
            return {**known, "wait": _no_time} if "wait" in known and providers.is_any_open() else known

        return retry_args

    # It is no public name: a version without it waits.
    return [replace(client, "retry_args", wrap)] if "retry_args" in client.__dict__ else []


def _no_time(state: object) -> float:
    return 0.0
