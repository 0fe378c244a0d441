"""Stored traces as cases of a page, one for each trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmtest.core.progress import Step
from llmtest.tracing.store import Store, Stored
from llmtest.viewer.cases import Case, Status, detail


def cases_of(store: Store, traces: Sequence[Stored], step: Step) -> Iterator[Case]:
    """Yield a case for each trace: its root, how it ended, and everything inside it. `step` is told of each.

    Raises:
        StoreError: a trace is damaged.
    """
    for number, trace in enumerate(traces, 1):
        name = f"{trace.session} · {trace.key}"
        seconds = None if trace.duration_ns is None else trace.duration_ns / 1e9
        status: Status = "failed" if trace.errors else "open" if trace.ended == "open" else "passed"
        yield Case(name, status, trace.error or "", seconds, detail(name, [store.load(trace)]))
        step(number, len(traces))
