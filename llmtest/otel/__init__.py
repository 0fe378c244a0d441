"""Recordings as spans of OpenTelemetry, and spans as recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.otel.calls import call_tree as call_tree
    from llmtest.otel.conventions import OPENINFERENCE as OPENINFERENCE, VERSIONS as VERSIONS
    from llmtest.otel.evaluations import evaluated as evaluated
    from llmtest.otel.sending import LiveExport as LiveExport, live as live
    from llmtest.otel.span_reader import recordings_of as recordings_of
    from llmtest.otel.span_writer import Options as Options, spans_of as spans_of
    from llmtest.otel.spans import Span as Span
else:
    __getattr__, __dir__ = exports(__name__)
