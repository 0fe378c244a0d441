"""Virtual time: when each event of a recording came, if answers had taken as long as their scripts say.

It is worked out when a recording is read, event by event, and costs the program nothing. Time passes only by the
latencies of scripts. On one line of control it never goes back; a task or thread begins when it was spawned; who waited for
it goes on when the last of what he waited for was over. What is not certain is side by side, as in `llmtest.order.siblings`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from llmtest.concurrency.lanes import Lane
from llmtest.events.callbacks import ENDINGS, START_KINDS, STREAM_EVENT, STREAMED
from llmtest.events.content import pieces_of, read_stream_event
from llmtest.events.events import Event, Latency
from llmtest.events.words import Failure
from llmtest.order.siblings import is_pooled, structural_position


@dataclass(slots=True)
class _Track:
    """The time of a lane: what it was from which moment on. `spawned` are lanes of which it has not heard that they are over."""

    moments: list[int]
    times: list[int]
    spawned: list[Lane] = field(default_factory=list)

    def at(self, moment: int) -> int:
        return self.times[max(0, bisect_right(self.moments, moment) - 1)]

    def reach(self, moment: int, time: int) -> None:
        if time > self.times[-1]:
            self.moments.append(max(moment, self.moments[-1]))
            self.times.append(time)


@dataclass(slots=True)
class _Running:
    """A run in virtual time: when it began, where it is now, and when the last of its children that have ended did."""

    lane: Lane | None
    parent: UUID | None
    family: tuple[Hashable, str] | None
    step: Any
    began: int
    now: int
    children: int = 0
    said: int = 0
    """How many tokens it has streamed."""


class Clock:
    """The virtual time of one event after the other, in the order in which they were recorded.

    `latencies` are what the answers of runs took; those of a run are known before its first token and its end.
    """

    def __init__(self, latencies: Mapping[UUID, Sequence[Latency]]) -> None:
        self._latencies = latencies
        self._tracks: dict[Lane | None, _Track] = {None: _Track([0], [0])}
        self._runs: dict[UUID, _Running] = {}
        self._ends: dict[tuple[Hashable, str], dict[Any, int]] = {}
        """When the steps of a sequence or a graph ended, as far as they have."""
        self._home: Lane | None = None

    def at(self, event: Event) -> int:
        """The virtual time of the next event, in nanoseconds."""
        run = self._runs.get(event.run_id)
        if run is None or event.kind in START_KINDS:  # a program may give one id to run after run
            run = self._begin(event)
        ends = event.kind in ENDINGS
        # No event comes before an earlier one of its run, nor before what its line of control has waited for.
        soonest = self._ended(run, event) if ends else self._said(run, event)
        time = run.now = max([run.now, self._heard(event.lane, event.moment), *soonest])
        self._tracks[event.lane].reach(event.moment, time)
        if ends:
            self._end(run, time)
        return time

    # runs

    def _begin(self, event: Event) -> _Running:
        above = self._runs.get(event.parent_run_id) if event.parent_run_id is not None else None
        if not self._runs:
            self._home = event.lane
        home, now = (above.lane, above.began) if above is not None else (self._home, 0)
        if event.lane is not None and is_pooled(event.lane, home):
            self._tracks[event.lane] = _Track([0], [now])  # what else this thread did has nothing to do with it
        family, step = structural_position(event.parent_run_id, event.tags, event.metadata)
        ends = self._ends.get(family, {}) if family is not None and family[1] != "map" else {}  # keys of a map have no order
        now = max([now, *(time for other, time in ends.items() if other < step)])
        run = _Running(event.lane, event.parent_run_id, family, step, now, now)
        self._runs[event.run_id] = run
        run.began = run.now = max(now, self._heard(event.lane, event.moment))
        return run

    def _said(self, run: _Running, event: Event) -> Iterator[int]:
        """When a token came, if this is one."""
        latencies = self._latencies.get(event.run_id)
        if latencies and event.kind in STREAMED:
            yield run.began + latencies[0].ns(run.said)
            run.said += _says_something(event)

    def _ended(self, run: _Running, event: Event) -> Iterator[int]:
        """When everything was over for which the end of a run had to wait."""
        yield run.children
        failure = event.payload.get("error")
        # What fails before its first token takes its whole latency first; what breaks off later took what its tokens took.
        if not isinstance(failure, Failure) or (failure.ended == "error" and not run.said):
            yield from (run.began + latency.total_ns for latency in self._latencies.get(event.run_id, ()))

    def _end(self, run: _Running, time: int) -> None:
        above = self._runs.get(run.parent) if run.parent is not None else None
        if above is not None:
            above.children = max(above.children, time)
        if run.family is not None:
            steps = self._ends.setdefault(run.family, {})
            steps[run.step] = max(time, steps.get(run.step, 0))

    # lanes

    def _heard(self, lane: Lane | None, moment: int) -> int:
        """The time of a lane at a moment of it, now that it has heard of what was over by then."""
        track = self._track(lane)
        # Looked at anew at each event: that a lane is over may become known long after it was spawned.
        for other in track.spawned.copy():
            if other.joined is not None and other.joined <= moment:
                track.spawned.remove(other)
                track.reach(other.joined, self._over(other))
        return track.at(moment)

    def _track(self, lane: Lane | None) -> _Track:
        """The track of a lane; those of the lanes that it comes from are made first."""
        new: list[Lane] = []
        above = lane
        while above is not None and above not in self._tracks:
            new.append(above)
            above = above.parent
        for one in reversed(new):
            begins = self._heard(one.parent, one.attach) if one.parent is not None else 0
            if one.born is not None:  # of a stream that has a task for each step, the step before
                begins = max(begins, self._track(one.born[0]).at(one.born[1]))
            self._tracks[one] = _Track([0], [begins])
            if one.parent is not None:
                self._tracks[one.parent].spawned.append(one)
        return self._tracks[lane]

    def _over(self, lane: Lane) -> int:
        """When a lane was over, and all that it had waited for."""
        todo, latest = [lane], 0
        while todo:
            track = self._tracks[todo.pop()]
            latest = max(latest, track.times[-1])
            todo += [one for one in track.spawned if one.joined is not None]
        return latest


def _says_something(event: Event) -> bool:
    """Whether a chunk of a stream has something of the answer in it: text, reasoning, the name or the arguments of a call."""
    if event.kind == STREAM_EVENT:
        told = read_stream_event(event.payload.get("event"))
        opens_a_call = told.name == "content-block-start" and told.content is not None and told.content.kind == "call"
        return opens_a_call or told.name == "content-block-delta"
    return any(piece.text or piece.kind == "other" for piece in pieces_of(event.payload))
