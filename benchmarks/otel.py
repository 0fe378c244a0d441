"""Live export against the same run traced; spans per second each way, and whether their number is linear."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Ratio, measure
from benchmarks.recording import TURNS, run_agent
from llmtest import record, tracing_enabled
from llmtest.otel import LiveExport, Options, Span, recordings_of, spans_of
from llmtest.otel.otlp import read_json, write_json
from llmtest.tracing import flush
from llmtest.tracing.rows import Trace, traces_of

TRACES = 100
"""So many traces are written and read in a round."""
AGENT_TURNS = 3


class Sink:
    """A backend that takes everything at once, so that what is measured is ours."""

    def export(self, spans: Sequence[Any]) -> str:
        return "SUCCESS"

    def shutdown(self) -> None: ...


def ratios(rounds: int) -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("LLMTEST_STORE")
        os.environ["LLMTEST_STORE"] = str(Path(folder) / "traced.sqlite")
        try:
            yield from _live(max(rounds // 30, 3))
        finally:
            flush()
            os.environ.pop("LLMTEST_STORE")
            os.environ.update({"LLMTEST_STORE": before} if before is not None else {})
    yield from _both_ways(max(rounds // 30, 3))


def _live(rounds: int) -> Iterator[Ratio]:
    exports = {content: LiveExport(Sink(), Options(content), "a sink") for content in ("none", "messages")}

    def traced(**about: Any) -> Callable[[], None]:
        def work() -> None:
            with tracing_enabled("benchmark", **about):
                run_agent(TURNS, [])

        return work

    for content, export in exports.items():
        name = f"agent of {TURNS} turns, traced and exported live ({content})"
        work = traced(export=export)
        yield measure(name, work, traced(), against="traced", bar=1.05, per=TURNS, rounds=rounds)
        export.close()


def _both_ways(rounds: int) -> Iterator[Ratio]:
    with record() as recording:
        run_agent(AGENT_TURNS, [])
    (trace,) = traces_of(recording)
    for content in ("none", "messages", "exact"):
        spans = spans_of(trace, Options(content))
        count = len(spans) * TRACES
        text, many = _file(spans, TRACES)
        plain = [json.loads(line) for line in text.splitlines()]
        yield measure(
            f"{count} spans out, as OTLP ({content})",
            lambda trace=trace, content=content: _write(trace, content),
            lambda plain=plain: [json.dumps(found) for found in plain],
            against="`json.dumps` of them",
            bar=None,
            per=count,
            rounds=rounds,
        )
        yield measure(
            f"{count} spans in, as recordings ({content})",
            lambda text=text: recordings_of(read_json(io.StringIO(text), "spans")),
            lambda text=text: [json.loads(line) for line in text.splitlines()],
            against="`json.loads` of them",
            bar=None,
            per=count,
            rounds=rounds,
        )
    yield _linear(many, rounds)


def _write(trace: Trace, content: Any) -> None:
    options = Options(content)
    for _ in range(TRACES):
        write_json(spans_of(trace, options))


def _file(spans: Sequence[Span], traces: int) -> tuple[str, list[Span]]:
    """The spans of so many traces, and their file."""
    many = [[replace(span, trace_id=f"{number:032x}") for span in spans] for number in range(1, traces + 1)]
    return "\n".join(map(write_json, many)), [span for one in many for span in one]


def _linear(spans: Sequence[Span], rounds: int) -> Ratio:
    """Ten times as many spans must take ten times as long."""
    few = spans[: len(spans) // 10]
    return measure(
        f"{len(spans)} spans in, each",
        lambda: recordings_of(spans),
        lambda: [recordings_of(few) for _ in range(10)],
        against=f"those of {len(few)}, each",
        bar=1.25,
        per=len(spans),
        rounds=rounds,
    )
