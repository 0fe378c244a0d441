"""Exports of LangSmith and Langfuse: times, ids, and objects that are none. Whole exports: tests/otel/test_exports.py."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest.errors import OtelError
from llmtest.otel import recordings_of
from llmtest.otel.foreign import spans_of

RUN = {"id": "0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c55", "name": "clerk", "run_type": "chain", "start_time": "2026-01-31T12:00:00Z"}
CHILD = {**RUN, "id": "0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c56", "name": "ask", "trace_id": RUN["id"], "parent_run_id": RUN["id"]}
OBSERVATION = {"id": "o", "traceId": "t", "type": "SPAN", "startTime": "2026-01-31T12:00:00.5"}


def test_runs_may_be_nested_in_lists_pages_and_parents() -> None:
    for objects in ([RUN, CHILD], [[RUN, CHILD]], [{"runs": [RUN, CHILD]}], [{**RUN, "child_runs": [CHILD]}]):
        (recording,) = recordings_of(spans_of(objects, "x"))
        assert recording.runs.names == ["clerk", "ask"]
        assert str(recording.roots[0].id) == RUN["id"]
        assert [run.ended for run in recording.runs] == ["open", "open"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31T12:00:00Z", 1769860800_000_000_000),
        ("2026-01-31T12:00:00.123456+00:00", 1769860800_123_456_000),
        ("2026-01-31T12:00:00.000001", 1769860800_000_001_000),
        (1769860800, 1769860800_000_000_000),
        (1769860800123, 1769860800_123_000_000),
    ],
)
def test_times(value: Any, expected: int) -> None:
    (span,) = spans_of([{**RUN, "start_time": value, "end_time": value}], "x")

    assert (span.start_ns, span.end_ns) == (expected, expected)


def test_a_text_model_and_a_failed_run() -> None:
    (span,) = spans_of([{**RUN, "run_type": "llm", "inputs": {"prompts": ["hi"]}, "error": "TimeoutError: slow"}], "x")
    (recording,) = recordings_of([span])

    assert (recording.runs[0].kind, recording.runs[0].input) == ("llm", "hi")
    assert recording.errors == [TimeoutError]


def test_ids_of_langfuse_are_kept_where_opentelemetry_knows_them() -> None:
    (plain,) = spans_of([{**OBSERVATION, "id": "00f067aa0ba902b7", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736"}], "x")
    (other,) = spans_of([OBSERVATION], "x")

    assert (plain.trace_id, plain.span_id) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert (len(other.trace_id), len(other.span_id)) == (32, 16)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"a": 1}, "TypeError: it is neither a run of LangSmith nor an observation of Langfuse"),
        (7, "TypeError: it is neither a run of LangSmith nor an observation of Langfuse"),
        ({**RUN, "id": "no"}, "ValueError: badly formed hexadecimal UUID string"),
        ({"run_type": "llm"}, "KeyError: 'id'"),
        ({**RUN, "start_time": "yesterday"}, "ValueError: Invalid isoformat string: 'yesterday'"),
        ({**OBSERVATION, "startTime": []}, "ValueError: Invalid isoformat string: '[]'"),
    ],
)
def test_an_object_that_is_none_is_an_error_with_its_number(found: object, why: str) -> None:
    with pytest.raises(OtelError) as error:
        list(spans_of([RUN, found], "runs.json"))

    assert str(error.value) == f"runs.json, object 2: {why}"
