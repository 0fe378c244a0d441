"""Recordings on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.tracing.session import flush, load_traces, tracing_enabled

__all__ = [
    "flush",
    "load_traces",
    "tracing_enabled",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "session": ["flush", "load_traces", "tracing_enabled"],
    },
)
