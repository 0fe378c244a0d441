"""Which runs are inside which, where LangChain's parents do not tell.

A program that hands the config of an outer run past the run that it is in (`langgraph.prebuilt`, a fallback, callbacks bound
in a tool: https://github.com/langchain-ai/langchain/issues/36072) makes LangChain report a sibling. A program that calls
with `callbacks=[]` makes it report a root. Both run inside a run that was open on their own line of control.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from llmtest.concurrency.lanes import Lane
from llmtest.events.callbacks import ENDINGS
from llmtest.events.events import Event, Run
from llmtest.order.siblings import last_end, structural_position


def is_as_reported(roots: Sequence[Run]) -> bool:
    """True if every run began when no run was open but those that are reported around it: there can be no stray."""
    todo: list[tuple[Sequence[Run], float]] = [(roots, math.inf)]
    for runs, limit in todo:  # grows while it is read
        over: float = -1
        for run in runs:
            start, last = run.events[0], run.events[-1]
            if start.number < over or over > limit:
                return False
            over = last.number if last.kind in ENDINGS else math.inf
            if run.children:
                todo.append((run.children, over))
        if over > limit:
            return False
    return True


class Nesting:
    """The runs inside each run of some trees."""

    def __init__(self, roots: Sequence[Run]) -> None:
        self._roots = roots
        self._parents: dict[Run, Run | None] = {}
        self.hosts: dict[Run, Run] = {}
        """The run around each stray. A stray is inside a run that LangChain does not call its parent."""
        self._strays: dict[Run, list[Run]] = {}
        self._ends: dict[Run, float] = {}
        self._open: dict[Lane, list[Run]] = {}
        if not is_as_reported(roots):
            self._find_strays()
        # Only the search needs these; the rest may live as long as the recording.
        self._parents, self._ends, self._open = {}, {}, {}

    def _find_strays(self) -> None:
        for run in self._walk():
            host = self._host(run)
            if host is not None:
                self.hosts[run] = host
                self._strays.setdefault(host, []).append(run)
            lane = run.events[0].lane
            if lane is not None:
                self._open.setdefault(lane, []).append(run)

    def inside(self, run: Run | None) -> Sequence[Run]:
        """Return the runs directly inside a run; of None, the roots."""
        runs = self._roots if run is None else run.children
        if not self.hosts:
            return runs
        return [*(inner for inner in runs if inner not in self.hosts), *(self._strays.get(run, ()) if run is not None else ())]

    def _walk(self) -> list[Run]:
        todo: list[tuple[Run, Run | None]] = [(root, None) for root in self._roots]
        for run, parent in todo:  # grows while it is read
            self._parents[run] = parent
            self._ends[run] = _end(run)
            todo += [(child, run) for child in run.children]
        return sorted(self._parents, key=_start)

    def _host(self, run: Run) -> Run | None:
        inner, parent = self._innermost(run), self._parents[run]
        if inner is None or inner is parent or inner.kind not in ("chain", "tool"):
            # Models and retrievers call nothing that LangChain does not report as theirs. One that is open here waits for the
            # reader of its stream.
            return None
        path = list(self._path(inner, parent))
        if not path or _has_other_step(run, path[-1]) or _is_graph(inner) or self._is_batched(run, inner):
            return None
        # Of two siblings that are open on one line, either may have called. Only what is around both is certain.
        certain = path[1:] if self._is_one_of_several(inner) else path
        return next((host for host in certain if self._surrounds(host, run)), None)

    def _innermost(self, run: Run) -> Run | None:
        """Return the run that began last among those open when `run` began, on its line or on a line that it comes from."""
        start = run.events[0]
        lane, moment = start.lane, start.moment
        while lane is not None:
            line = self._open.get(lane, [])
            # Starts ascend, so a run that is over by now can host nothing that comes later either.
            while line and self._ends[line[-1]] < start.number:
                line.pop()
            # What began on the line after it had spawned this lane is beside the lane, not around it.
            found = next((other for other in reversed(line) if other.events[0].moment <= moment), None)
            if found is not None:
                return found
            moment, lane = lane.attach, lane.parent
        return None

    def _parent(self, run: Run) -> Run | None:
        return self.hosts.get(run, self._parents[run])

    def _path(self, inner: Run, parent: Run | None) -> Iterator[Run]:
        """Yield the runs around and including `inner`, outwards, below `parent`; nothing if it is not inside `parent`."""
        path, above = [inner], self._parent(inner)
        while above is not None and above is not parent:
            path.append(above)
            above = self._parent(above)
        return iter(path if above is parent else ())

    def _is_one_of_several(self, inner: Run) -> bool:
        lane = inner.events[0].lane
        line = self._open[lane] if lane is not None else []
        # The stages of a stream, and the inputs of a batch, are open on one line without being inside one another.
        # Starts ascend. No slice: of thousands of open siblings, the last one before `inner` mostly decides.
        before = range(bisect_left(line, _start(inner), key=_start) - 1, -1, -1)
        other = next((line[n] for n in before if self._ends[line[n]] > _start(inner)), None)
        return other is not None and self._parent(other) is self._parent(inner)

    def _is_batched(self, run: Run, inner: Run) -> bool:
        """True if both are inputs of one batch: `inner` went on with work of its own while `run` was open on the same line."""
        start, lane = run.events[0], inner.events[0].lane
        if start.lane is not lane:
            return False
        end = run.events[-1].moment if self._ends[run] < math.inf else math.inf
        first = bisect_left(inner.children, start.number, key=_start)
        for child in inner.children[first:]:
            if _start(child) > self._ends[run]:
                return False
            moment = _moment_on(lane, child.events[0])
            if moment is not None and start.moment < moment < end:
                return True
        return False

    def _surrounds(self, host: Run, run: Run) -> bool:
        # What never ended may have been abandoned before the next thing began. What is over may have an open run inside.
        end = self._ends[run]
        return (_start(run) if end == math.inf else end) < self._ends[host] < math.inf


def _start(run: Run) -> int:
    return run.events[0].number


def _end(run: Run) -> float:
    end = last_end(run)
    return end.number if end is not None else math.inf


def _moment_on(lane: Lane | None, event: Event) -> int | None:
    """Return the moment of `lane` at which the line that leads to an event left it."""
    at, moment = event.lane, event.moment
    while at is not None and at is not lane:
        moment, at = at.attach, at.parent
    return moment if at is not None else None


def _has_other_step(run: Run, sibling: Run) -> bool:
    """True if the program numbered both, and not alike: a stream has all its steps open at once."""
    family, step = structural_position(run.parent_id, run.tags, run.metadata)
    other = structural_position(sibling.parent_id, sibling.tags, sibling.metadata)
    return family is not None and family == other[0] and step != other[1]


def _is_graph(run: Run) -> bool:
    """True for a graph: only its nodes run code, so a call beside them comes from the reader of its stream."""
    first = run.children[0] if run.children else None
    family = structural_position(first.parent_id, first.tags, first.metadata)[0] if first is not None else None
    return family is not None and family[1] == "graph"
