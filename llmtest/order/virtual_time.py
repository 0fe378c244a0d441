"""Virtual time: the time of each event of a recording, had answers taken the latencies that their scripts declare.

It is computed when a recording is read, event by event, and costs the program nothing. Only declared latencies pass time, and
what a library would have slept before it tries again. On one line of control time never goes back; a task or thread begins when
it was spawned; a line that waited for others goes on when the last of them was over. Anything not provably ordered counts as
concurrent, as in `llmtest.order.siblings`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence
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
    """The times of a lane, each with the moment from which on it holds. `spawned` are the lanes not yet known to be over."""

    moments: list[int]
    times: list[int]
    spawned: list[Lane] = field(default_factory=list)

    def at(self, moment: int) -> int:
        if moment >= self.moments[-1]:  # mostly the next event of the lane asks
            return self.times[-1]
        return self.times[max(0, bisect_right(self.moments, moment) - 1)]

    def reach(self, moment: int, time: int) -> None:
        if time > self.times[-1]:
            self.moments.append(max(moment, self.moments[-1]))
            self.times.append(time)


@dataclass(slots=True)
class _Running:
    """A run in virtual time: its beginning, its time now, and the latest end of its children."""

    lane: Lane | None
    parent: UUID | None
    family: tuple[Hashable, str] | None
    step: Any
    began: int
    now: int
    children: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    """The number of tokens that it has streamed, by kind of event: one stream may report each token in two ways."""


class Clock:
    """The virtual time of each event, asked for in recorded order.

    `latencies` are those of the answers of each run; they are known before its first token and its end. `pauses` are the waits of
    lines of control, each known before the next event of its lane: lane, moment and nanoseconds.
    """

    def __init__(self, latencies: Mapping[UUID, Sequence[Latency]], pauses: Sequence[tuple[Lane, int, int]] = ()) -> None:
        self._latencies = latencies
        self._pauses = pauses
        self._seen = 0
        self._waits: dict[Lane, deque[tuple[int, int]]] = {}
        self._tracks: dict[Lane | None, _Track] = {None: _Track([0], [0])}
        self._runs: dict[UUID, _Running] = {}
        self._ends: dict[tuple[Hashable, str], dict[Any, int]] = {}
        """The latest end of each step of a sequence or a graph."""
        self._home: Lane | None = None

    def at(self, event: Event) -> int:
        """Return the virtual time of the next event, in nanoseconds."""
        self._read_pauses()
        run = self._runs.get(event.run_id)
        if run is None or event.kind in START_KINDS:  # a program may give one id to run after run
            run = self._begin(event)
        ends = event.kind in ENDINGS
        # No event comes before an earlier event of its run, nor before the end of what its line of control has waited for.
        bound = self._end_bound(run, event) if ends else self._token_bound(run, event)
        time = run.now = max(run.now, self._lane_time(event.lane, event.moment), bound)
        self._tracks[event.lane].reach(event.moment, time)
        if ends:
            self._end(run, time)
        return time

    def _begin(self, event: Event) -> _Running:
        above = self._runs.get(event.parent_run_id) if event.parent_run_id is not None else None
        if not self._runs:
            self._home = event.lane
        home, now = (above.lane, above.began) if above is not None else (self._home, 0)
        if event.lane is not None and is_pooled(event.lane, home):
            self._tracks[event.lane] = _Track([0], [now])  # the other work of this thread has nothing to do with it
        family, step = structural_position(event.parent_run_id, event.tags, event.metadata)
        ends = self._ends.get(family, {}) if family is not None and family[1] != "map" else {}  # keys of a map have no order
        now = max([now, *(time for other, time in ends.items() if other < step)])
        run = _Running(event.lane, event.parent_run_id, family, step, now, now)
        self._runs[event.run_id] = run
        run.began = run.now = max(now, self._lane_time(event.lane, event.moment))
        return run

    def _token_bound(self, run: _Running, event: Event) -> int:
        """Return the time of a token, if the event is one."""
        latencies = self._latencies.get(event.run_id)
        if not latencies or event.kind not in STREAMED:
            return 0
        known = run.tokens[event.kind]
        run.tokens[event.kind] = known + _has_content(event)
        return run.began + latencies[0].ns(known)

    def _end_bound(self, run: _Running, event: Event) -> int:
        """Return the time for which the end of a run had to wait."""
        failure = event.payload.get("error")
        # A failure before the first token takes the whole latency first; a later one takes the time of its tokens.
        if isinstance(failure, Failure) and (failure.ended != "error" or any(run.tokens.values())):
            return run.children
        return max([run.children, *(run.began + latency.total_ns for latency in self._latencies.get(event.run_id, ()))])

    def _end(self, run: _Running, time: int) -> None:
        above = self._runs.get(run.parent) if run.parent is not None else None
        if above is not None:
            above.children = max(above.children, time)
        if run.family is not None:
            steps = self._ends.setdefault(run.family, {})
            steps[run.step] = max(time, steps.get(run.step, 0))

    def _lane_time(self, lane: Lane | None, moment: int) -> int:
        """Return the time of a lane at a moment of it, and advance it past all lanes known to be over by then."""
        track = self._track(lane)
        # At each event anew: that a lane is over may become known long after it was spawned.
        for other in track.spawned.copy() if track.spawned else ():
            if other.joined is not None and other.joined <= moment:
                track.spawned.remove(other)
                track.reach(other.joined, self._over(other))
        self._wait(lane, track, moment)
        return track.at(moment)

    def _read_pauses(self) -> None:
        """Look at the pauses since the last event. The lane of one may have no event of its own."""
        while self._seen < len(self._pauses):
            lane, moment, ns = self._pauses[self._seen]
            self._seen += 1
            self._waits.setdefault(lane, deque()).append((moment, ns))
            self._track(lane)

    def _wait(self, lane: Lane | None, track: _Track, until: float) -> None:
        """Advance a lane by its pauses up to a moment of it."""
        waits = self._waits.get(lane) if lane is not None and self._waits else None
        while waits and waits[0][0] <= until:
            moment, ns = waits.popleft()
            track.reach(moment, track.at(moment) + ns)

    def _track(self, lane: Lane | None) -> _Track:
        """Return the track of a lane; those of the lanes that it comes from are made first."""
        new: list[Lane] = []
        above = lane
        while above is not None and above not in self._tracks:
            new.append(above)
            above = above.parent
        for child in reversed(new):
            begins = self._lane_time(child.parent, child.attach) if child.parent is not None else 0
            if child.born is not None:  # of a stream that has a task for each step, the step before
                begins = max(begins, self._track(child.born[0]).at(child.born[1]))
            self._tracks[child] = _Track([0], [begins])
            if child.parent is not None:
                self._tracks[child.parent].spawned.append(child)
        return self._tracks[lane]

    def _over(self, lane: Lane) -> int:
        """Return the time at which a lane, and all that it had waited for, was over."""
        todo, latest = [lane], 0
        while todo:
            lane = todo.pop()
            track = self._tracks[lane]
            self._wait(lane, track, math.inf)
            latest = max(latest, track.times[-1])
            todo += [child for child in track.spawned if child.joined is not None]
        return latest


def _has_content(event: Event) -> bool:
    """True if a chunk of a stream holds a part of the answer: text, reasoning, the name or the arguments of a call."""
    if event.kind == STREAM_EVENT:
        part = read_stream_event(event.payload.get("event"))
        opens_a_call = part.name == "content-block-start" and part.content is not None and part.content.kind == "call"
        return opens_a_call or part.name == "content-block-delta"
    if event.payload.get("token") and isinstance(event.payload["token"], str):
        return True
    return any(piece.text or piece.kind == "other" for piece in pieces_of(event.payload))
