"""Recordings on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.tracing.session import flush as flush, load_traces as load_traces, tracing_enabled as tracing_enabled
else:
    __getattr__, __dir__ = exports(__name__)
