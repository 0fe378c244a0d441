"""Recordings through OTLP and back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from llmtest import Recording
from llmtest.otel import Options, Span, recordings_of, spans_of
from llmtest.otel.otlp import read_json, read_protobuf, write_json, write_protobuf
from llmtest.tracing.rows import revived, rows, traces_of


def stored(recording: Recording) -> list[Recording]:
    """The traces of a recording, as the trace store gives them back."""
    made = []
    for trace in traces_of(recording):
        kept = rows(trace)
        lanes, messages = [facts for _, facts in kept.lanes], [str(body) for _, body in kept.messages]
        made.append(revived(trace.inside, lanes, (messages, kept.events)))
    return made


def through_otlp(
    recording: Recording,
    options: Options = Options("exact"),  # noqa: B008
    *,
    binary: bool = False,
) -> tuple[list[str], list[str]]:
    """The trees of the traces of a recording, and those of the recordings that are read from their spans."""
    spans = spans_of(recording, options)
    if binary:
        read = recordings_of(read_protobuf(write_protobuf(spans), "spans.pb"))
    else:
        read = recordings_of(read_json(io.StringIO(write_json(spans)), "spans.json"))
    before = sorted(stored(recording), key=lambda trace: trace[0].wall_ns)
    return [str(trace) for trace in before], [str(trace) for trace in read]


def span(
    name: str, number: int, parent: int | None = None, *, trace: int = 1, at: tuple[int, int] = (1, 2), **about: Any
) -> Span:
    """A span of a program in another language; attributes by keyword, with `__` for a point."""
    told = {key.replace("__", "."): value for key, value in about.pop("told", {}).items()}
    ids = (f"{trace:032x}", f"{number:016x}", None if parent is None else f"{parent:016x}")
    return Span(*ids, name, at[0] * 10**9, at[1] * 10**9, attributes=told, **about)


def told(model: str = "", **attributes: Any) -> dict[str, Any]:
    return {f"gen_ai.{key.replace('__', '.')}": value for key, value in attributes.items()}


def names(recordings: Sequence[Recording]) -> list[list[str]]:
    return [[run.name for run in recording.runs] for recording in recordings]
