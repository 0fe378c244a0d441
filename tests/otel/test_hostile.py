"""Spans that are hostile: values of any type under every name that is read. A recording comes out, or a clear error."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmtest.errors import OtelError, StoreError
from llmtest.otel import Span, conventions, recordings_of
from llmtest.otel.conventions import Langfuse, LangSmith, Older, OpenInference, Own, Traceloop
from llmtest.otel.spans import SpanEvent
from llmtest.protocol import check
from llmtest.tracing.rows import rows, traces_of


def texts(source: Any) -> list[str]:
    return [value for name, value in vars(source).items() if isinstance(value, str) and name.isupper()]


NAMES = [
    *texts(conventions),
    *(name for each in (OpenInference, Traceloop, Langfuse, LangSmith, Older, Own) for name in texts(each)),
    *(f"llm.input_messages.{number}.{name}" for number in (0, 7) for name in texts(OpenInference)),
    *(f"gen_ai.prompt.{number}.{name}" for number in (0, 1) for name in ("role", "content", "tool_calls.0.arguments")),
    *(f"retrieval.documents.0.{name}" for name in texts(OpenInference)),
    "langfuse.observation.metadata.tags",
]
KINDS = [*conventions.OPERATIONS, *OpenInference.KINDS, *Langfuse.KINDS, *LangSmith.KINDS, "chat", "tool", "open", "paused"]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(KINDS)
KEYS = st.sampled_from(
    ["role", "content", "parts", "type", "tool_calls", "id", "name", "args", "messages", "kwargs", "data", "$w"]
)
DEEP = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=4), max_leaves=8
)
VALUES = DEEP | DEEP.map(lambda value: json.dumps(value, default=str))
IDS = st.integers(1, 6).map(lambda number: f"{number:016x}")
TIMES = st.integers(0, 2**63 - 1)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    told = draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8))
    events = draw(st.lists(st.builds(SpanEvent, st.sampled_from(["exception", "x"]), TIMES, st.just(told)), max_size=1))
    links = draw(st.lists(st.tuples(st.just("1" * 32), IDS), max_size=2))
    parent = draw(st.none() | IDS)
    return Span(
        "1" * 32,
        draw(IDS),
        parent,
        draw(st.text()),
        draw(TIMES),
        draw(TIMES),
        "internal",
        told,
        tuple(events),
        tuple(links),
        draw(st.sampled_from(["unset", "ok", "error"])),
        draw(st.text()),
        "",
        draw(st.sampled_from(["", "a", "b"])),
    )


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(st.lists(spans(), max_size=6))
def test_no_span_breaks_the_reader(found: list[Span]) -> None:
    try:
        recordings = recordings_of(found)
    except OtelError:
        return
    for recording in recordings:
        try:
            made = [rows(trace) for trace in traces_of(recording)]
        except StoreError:
            continue
        assert made
        assert str(recording)
        check(recording)
        assert [run.ended for run in recording.runs]
        assert recording.tools.names is not None


def test_values_that_are_nested_too_deep_are_an_error_or_unknown() -> None:
    for name in ("gen_ai.input.messages", "gen_ai.tool.call.arguments", Own.INPUT, Own.METADATA):
        deep = "[" * 900 + "]" * 900
        (recording,) = recordings_of([Span("1" * 32, "2" * 16, None, "x", 1, 2, attributes={Own.RUN_KIND: "tool", name: deep})])
        assert len(recording.runs) == 1
