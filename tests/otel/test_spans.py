"""Ids of spans."""

from __future__ import annotations

from uuid import UUID

from llmtest.otel.spans import run_id_of, span_id_of, trace_id_of


def test_a_trace_has_the_id_of_its_root_run() -> None:
    root = UUID("0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c55")

    assert trace_id_of(root) == root.hex
    assert len(span_id_of(root)) == 16


def test_no_id_is_zero_which_opentelemetry_does_not_know() -> None:
    assert int(trace_id_of(UUID(int=0)), 16)
    assert int(span_id_of(UUID(int=0)), 16)


def test_a_span_of_another_program_always_becomes_the_same_run() -> None:
    one, other = run_id_of("a" * 32, "b" * 16), run_id_of("a" * 32, "c" * 16)

    assert one == run_id_of("a" * 32, "b" * 16)
    assert one != other
