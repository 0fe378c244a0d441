"""Traces as rows of tables, and back: which events of a recording belong to which root run.

A *trace* is one root run with everything inside it. Its rows are plain values, with secrets masked. A recording made from
rows is like any other; its payloads are decoded when they are first read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

from llmtest.capture.blocks import RawEvent
from llmtest.concurrency.lanes import Lane
from llmtest.core import masks
from llmtest.events.callbacks import MODELS, START_KINDS, TOKEN
from llmtest.events.events import Event, Latency, Run
from llmtest.events.words import EMPTY, FrozenDict
from llmtest.recording.recording import Recording
from llmtest.recording.runs import build_runs
from llmtest.scripts.step_types import is_rate, is_seconds
from llmtest.tracing.codec import Reader, Writer


@dataclass(frozen=True, slots=True)
class Trace:
    """One root run, with all events of it and of the runs inside it; the first `inside` came before its block had ended.
    `latencies` are the virtual times of the answers of its runs."""

    root: UUID
    events: Sequence[Event]
    inside: int
    latencies: Mapping[UUID, Sequence[Latency]] = field(default_factory=dict)


def traces_of(recording: Recording) -> list[Trace]:
    """Return the traces of a recording, in the order of their roots."""
    parts = Splitter(recording)
    parts.update()
    return [parts.trace(root) for root in parts.roots]


def of_all(recordings: Iterable[Recording]) -> list[Trace]:
    """Return the traces of several recordings. A block within another adds none: the outer one has all of them."""
    found: list[Trace] = []
    seen: set[UUID] = set()
    for recording in recordings:
        runs = {raw[1] for raw in recording._raw}
        if not runs <= seen:
            found += traces_of(recording)
        seen |= runs
    return found


class Splitter:
    """Assign the events of a growing recording to their root runs."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.roots: dict[UUID, list[int]] = {}
        """The numbers of the events of each root."""
        self._root_of: dict[UUID, UUID] = {}
        self._seen = 0

    def update(self) -> dict[UUID, list[tuple[str, UUID]]]:
        """Read new events; return their kinds and run ids by root."""
        new: dict[UUID, list[tuple[str, UUID]]] = {}
        raw = self.recording._raw
        for number in range(self._seen, len(raw)):
            kind, run_id, parent_id = raw[number][:3]
            root = self._root_of.get(run_id)
            if root is None:
                root = self._root_of[run_id] = self._root_of.get(parent_id, run_id) if parent_id is not None else run_id
            self.roots.setdefault(root, []).append(number)
            new.setdefault(root, []).append((kind, run_id))
            self._seen = number + 1
        return new

    def trace(self, root: UUID) -> Trace:
        numbers, events, end = self.roots[root], self.recording._read(), self.recording._closed_at
        inside = len(numbers) if end is None else sum(number < end for number in numbers)
        return Trace(root, [events[number] for number in numbers], inside, self.recording.latencies)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one trace, without the number that the store gives it. Its summary begins with the id of its root."""

    summary: tuple[Any, ...]
    runs: list[tuple[Any, ...]]
    lanes: list[tuple[Any, ...]]
    messages: list[tuple[Any, ...]]
    events: list[tuple[Any, ...]]


def rows(trace: Trace) -> Rows:
    """Return the rows of a trace, with secrets masked."""
    writer = Writer()
    hidden = _hidden_tokens(trace.events)
    numbered = enumerate(trace.events)
    events = [_event_row(number, event, writer, hidden, trace.latencies.get(event.run_id, ())) for number, event in numbered]
    _, roots = build_runs(trace.events)
    lines = [(number, *row) for number, row in enumerate(row for root in roots for row in _run_rows(root))]
    lanes = [(lane.number, json.dumps(_facts(lane))) for lane in _lanes(trace.events)]
    root = next((run for run in roots if run.id == trace.root), None)
    return Rows(_summary(trace, root, lines), lines, lanes, list(enumerate(writer.messages)), events)


def _event_row(
    number: int, event: Event, writer: Writer, hidden: Mapping[int, str], latencies: Sequence[Latency]
) -> tuple[Any, ...]:
    about = None
    if event.kind in START_KINDS:
        timed = [[list(latency) for latency in latencies]] if latencies else []
        about = writer.value([event.name, list(event.tags), event.metadata, *timed])
    payload = event.payload if number not in hidden else FrozenDict({**event.payload, "token": hidden[number]})
    parent = event.parent_run_id.bytes if event.parent_run_id is not None else None
    lane = event.lane.number if event.lane is not None else None
    when = (event.monotonic_ns, event.wall_ns, lane, event.moment)
    return (number, event.kind, event.run_id.bytes, parent, *when, about, writer.payload(payload))


def _hidden_tokens(events: Sequence[Event]) -> dict[int, str]:
    """Return masks for tokens that are parts of a secret, by number of event: alone, none of them looks like a secret."""
    streams: dict[UUID, list[int]] = {}
    for number, event in enumerate(events):
        if event.kind == TOKEN and isinstance(event.payload.get("token"), str):
            streams.setdefault(event.run_id, []).append(number)
    hidden: dict[int, str] = {}
    for numbers in streams.values():
        text = "".join([events[number].payload["token"] for number in numbers])
        spans = [match.span() for match in masks.table().secrets.finditer(text)]
        if spans:
            hidden.update(_hide(numbers, [events[number].payload["token"] for number in numbers], spans))
    return hidden


def _hide(numbers: Sequence[int], tokens: Sequence[str], spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, str]]:
    """Yield a mask for the first token of each secret, and an empty text for the rest of it."""
    start, told = 0, -1
    for number, token in zip(numbers, tokens, strict=True):
        end = start + len(token)
        within = next((index for index, span in enumerate(spans) if span[0] < end and start < span[1]), None)
        if within is not None:
            yield number, "" if within == told else masks.mask("secret")
            told = within
        start = end


def _run_rows(root: Run) -> Iterator[tuple[Any, ...]]:
    stack = [(root, 0)]
    while stack:
        run, depth = stack.pop()
        yield (depth, *_run_facts(run), *_tokens(run))
        stack += [(child, depth + 1) for child in reversed(run.children)]


def _run_facts(run: Run) -> tuple[Any, ...]:
    end, failure = run.end, run.error
    duration = end.monotonic_ns - run.start.monotonic_ns if end is not None else None
    error = f"{failure.type}: {failure.message}" if failure is not None else None
    return (run.kind, column(run.name), run.ended, column(error), run.start.wall_ns, duration)


def _tokens(run: Run) -> tuple[int, int]:
    """Return its input and output tokens: none, if LangChain's cache answered."""
    usage = run.usage if run.kind in MODELS and not run.cached else None
    return (usage.input_tokens, usage.output_tokens) if usage is not None else (0, 0)


def _summary(trace: Trace, root: Run | None, lines: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    first = trace.events[0]
    facts = _run_facts(root) if root is not None else ("chain", column(first.name), "open", None, first.wall_ns, None)
    errors = sum(line[5] is not None for line in lines)
    counts = (
        len(lines),
        errors,
        len(trace.events),
        trace.inside,
        sum(line[-2] for line in lines),
        sum(line[-1] for line in lines),
    )
    return (str(trace.root), *facts, *counts, json.dumps([masks.table().without_secrets(tag) for tag in first.tags]))


def column(text: str | None) -> str | None:
    """Return a text for a column that lists and searches use, masked, without lone surrogates, which SQLite refuses."""
    return None if text is None else masks.table().without_secrets(text).encode("utf-8", "backslashreplace").decode()


# -- lanes

_FACTS: Final = ("number", "thread", "thread_id", "task", "attach", "joined")
"""The fields of a lane that order needs; see `llmtest.concurrency.lanes`."""


def _lanes(events: Iterable[Event]) -> list[Lane]:
    """Return the lanes of events and the lanes that these were spawned from, spawners first."""
    found: dict[int, Lane] = {}
    for event in events:
        above: list[Lane] = []
        lane = event.lane
        while lane is not None and lane.number not in found:
            above.append(lane)
            lane = lane.parent
        found.update((lane.number, lane) for lane in reversed(above))
    return list(found.values())


def _facts(lane: Lane) -> dict[str, Any]:
    facts = {name: getattr(lane, name) for name in _FACTS}
    born = [lane.born[0].number, lane.born[1]] if lane.born is not None else None
    return {**facts, "parent": lane.parent.number if lane.parent is not None else None, "born": born}


def _lanes_from(facts: Iterable[Mapping[str, Any]]) -> dict[int, Lane]:
    lanes: dict[int, Lane] = {}
    for one in sorted(facts, key=lambda one: int(one["number"])):  # a lane is spawned before the one that it spawns
        number, moment = one.get("born") or (None, 0)
        born = (lanes[number], moment) if number in lanes else None
        lanes[one["number"]] = Lane(**{name: one[name] for name in _FACTS}, parent=lanes.get(one["parent"]), born=born)
    return lanes


# -- back


def revived(inside: int, lanes: Iterable[str], messages: Sequence[str], events: Iterable[Sequence[Any]]) -> Recording:
    """Return the recording that rows describe: `lanes` as facts, `events` as their columns without the trace."""
    reader = Reader(messages)
    known = _lanes_from(json.loads(facts) for facts in lanes)
    recording = Recording()
    recording._raw = [_raw_from(row, reader, known, recording.latencies) for row in events]
    recording._closed, recording._closed_at = True, min(inside, len(recording._raw))
    return recording


def _raw_from(row: Sequence[Any], reader: Reader, lanes: Mapping[int, Lane], timed: dict[UUID, list[Latency]]) -> RawEvent:
    _, kind, run, parent, monotonic_ns, wall_ns, number, moment, about, payload = row
    taken: Any = partial(reader.payload, payload)
    if kind in START_KINDS:
        name, tags, metadata, *latencies = reader.value(about) if about is not None else ("", (), EMPTY)
        if latencies:
            timed[UUID(bytes=run)] = [_latency(*numbers) for numbers in latencies[0]]
        taken = (name, tuple(tags), partial(_start, metadata, reader, payload))
    parent_id = UUID(bytes=parent) if parent is not None else None
    mark = (lanes[number], moment) if number is not None else None
    return (kind, UUID(bytes=run), parent_id, taken, monotonic_ns, wall_ns, mark)


def _latency(ttft_s: Any, tokens_per_s: Any, tokens: Any) -> Latency:
    paced = tokens_per_s is None or is_rate(tokens_per_s)
    if not (is_seconds(ttft_s) and paced and type(tokens) is int and 0 <= tokens < 10**9):
        raise ValueError(f"no latency: {ttft_s!r}, {tokens_per_s!r}, {tokens!r}")
    return Latency(ttft_s, tokens_per_s, tokens)


def _start(metadata: FrozenDict, reader: Reader, payload: str) -> FrozenDict:
    return FrozenDict(metadata=metadata, payload=reader.payload(payload))
