"""Traces as rows of tables, and back: which events of a recording belong to which root run.

A *trace* is one root run with everything inside it. Its rows are plain values, with secrets masked. A recording made from
rows is like any other; its payloads are decoded when they are first read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from graphlib import TopologicalSorter
from typing import Any, Final, TypeVar
from uuid import UUID

from llmtest.capture.blocks import RawEvent
from llmtest.concurrency.lanes import Lane
from llmtest.core import masks
from llmtest.core.masks import Unchecked, show
from llmtest.core.text import clip
from llmtest.errors import StoreError
from llmtest.events.callbacks import CALLBACKS, MODELS, START_KINDS
from llmtest.events.events import Event, Latency, Run, UnseenCall
from llmtest.events.words import EMPTY, FrozenDict, Message
from llmtest.recording.recording import Recording
from llmtest.recording.runs import build_runs
from llmtest.scripts.step_types import is_rate, is_seconds
from llmtest.tracing.codec import Reader, Writer
from llmtest.tracing.split_secrets import hide_split_secrets

MAX_COUNT: Final = 2**53
"""The largest number of tokens in a list: SQLite can sum a thousand of them."""
UNSEEN_FIELDS: Final = tuple(field.name for field in fields(UnseenCall))


@dataclass(frozen=True, slots=True)
class Trace:
    """One root run, with all events of it and of the runs inside it; the first `inside` came before its block had ended.
    `latencies` are the virtual times of the answers of its runs; `unseen` are calls that its recording did not see."""

    root: UUID
    events: Sequence[Event]
    inside: int
    latencies: Mapping[UUID, Sequence[Latency]] = field(default_factory=dict)
    unseen: Sequence[UnseenCall] = ()


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
        known = self.recording
        return Trace(root, [events[number] for number in numbers], inside, known.latencies, tuple(known.unseen_calls))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one trace, without the number that the store gives it. Its summary begins with the id of its root."""

    summary: tuple[object, ...]
    runs: list[tuple[Any, ...]]
    lanes: list[tuple[Any, ...]]
    messages: list[tuple[object, ...]]
    events: list[tuple[object, ...]]


def rows(trace: Trace) -> Rows:
    """Return the rows of a trace, with secrets masked."""
    writer, events = written(trace, hide_split_secrets(trace.events))
    _, roots = build_runs(trace.events)
    lines = [(number, *row) for number, row in enumerate(row for root in roots for row in _run_rows(root))]
    lanes = [(lane.number, facts) for lane, facts in lane_facts(trace.events, births=bool(trace.latencies))]
    root = next((run for run in roots if run.id == trace.root), None)
    return Rows(_summary(trace, root, lines), lines, lanes, list(enumerate(writer.messages)), events)


def written(trace: Trace, hidden: Mapping[int, FrozenDict]) -> tuple[Writer, list[tuple[object, ...]]]:
    """Return the rows of the events of a trace, and the writer of them with its messages."""
    unchecked = Unchecked()
    writer = Writer(unchecked)
    made = [*event_rows(trace, writer, enumerate(trace.events), hidden)]
    if unchecked.may_hold_secrets():
        writer = Writer()
        made = [*event_rows(trace, writer, enumerate(trace.events), hidden)]
    return writer, made


def event_rows(
    trace: Trace, writer: Writer, events: Iterable[tuple[int, Event]], hidden: Mapping[int, FrozenDict]
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of some events of a trace, each with its number there. `hidden` are payloads to write in place of others."""
    for number, event in events:
        about = _about(trace, number, event, writer) if event.kind in START_KINDS else None
        yield _event_row(number, event, about, writer.payload(hidden.get(number, event.payload)))


def _about(trace: Trace, number: int, event: Event, writer: Writer) -> str:
    """Return what is known of a run beside its payload.

    A list: name, tags, metadata, the latencies of its answers, and with the first run the calls that the recording did not
    see: without them, a rule of the loaded trace would hold where the recording cannot tell.
    """
    is_first = trace.unseen and number == next(n for n, one in enumerate(trace.events) if one.kind in START_KINDS)
    unseen = [[getattr(call, name) for name in UNSEEN_FIELDS] for call in trace.unseen] if is_first else []
    latencies = [list(latency) for latency in trace.latencies.get(event.run_id, ())]
    more = [latencies, unseen] if unseen else [latencies] if latencies else []
    return writer.value([event.name, list(event.tags), event.metadata, *more])


def _event_row(number: int, event: Event, about: str | None, payload: str) -> tuple[object, ...]:
    parent = event.parent_run_id.bytes if event.parent_run_id is not None else None
    lane = event.lane.number if event.lane is not None else None
    return (number, event.kind, event.run_id.bytes, parent, event.monotonic_ns, event.wall_ns, lane, event.moment, about, payload)


def _run_rows(root: Run) -> Iterator[tuple[object, ...]]:
    stack = [(root, 0)]
    while stack:
        run, depth = stack.pop()
        yield (depth, *_run_facts(run), *_tokens(run))
        stack += [(child, depth + 1) for child in reversed(run.children)]


def _run_facts(run: Run) -> tuple[object, ...]:
    end, failure = run.end, run.error
    duration = end.monotonic_ns - run.start.monotonic_ns if end is not None else None
    error = f"{failure.type}: {failure.message}" if failure is not None else None
    return (run.kind, column(run.name), run.ended, column(error), run.start.wall_ns, duration)


def _tokens(run: Run) -> tuple[int, int]:
    """Return its input and output tokens: none, if LangChain's cache answered."""
    usage = run.usage if run.kind in MODELS and not run.cached else None
    return (_fitting(usage.input_tokens), _fitting(usage.output_tokens)) if usage is not None else (0, 0)


def _fitting(number: int) -> int:
    """Return the nearest number that a list can have and still be summed; the exact number is in the events."""
    return max(-MAX_COUNT, min(MAX_COUNT, int(number)))


def _summary(trace: Trace, root: Run | None, lines: Sequence[Sequence[Any]]) -> tuple[object, ...]:
    first = trace.events[0]
    facts = _run_facts(root) if root is not None else ("chain", column(first.name), "open", None, first.wall_ns, None)
    errors = sum(line[5] is not None for line in lines)
    counts = (
        len(lines),
        errors,
        len(trace.events),
        trace.inside,
        _fitting(sum(line[-2] for line in lines)),
        _fitting(sum(line[-1] for line in lines)),
    )
    return (str(trace.root), *facts, *counts, json.dumps([column(tag) for tag in first.tags]))


def column(text: str | None) -> str | None:
    """Return a text for a column that lists and searches use, masked, without lone surrogates, which SQLite refuses."""
    return None if text is None else masks.table().without_secrets(text).encode("utf-8", "backslashreplace").decode()


# -- lanes

_FACTS: Final = ("number", "thread", "thread_id", "task", "attach", "joined")
"""The fields of a lane that order needs; see `llmtest.concurrency.lanes`."""


def lane_facts(events: Iterable[Event], *, births: bool) -> Iterator[tuple[Lane, str]]:
    """Yield the lanes of some events and the lanes that these were spawned from, each with its facts as JSON.

    Virtual time also needs the marks of births.
    """
    found: dict[int, Lane] = {}
    todo = list(dict.fromkeys(event.lane for event in events))
    for lane in todo:  # grows while it is read
        if lane is not None and lane.number not in found:
            found[lane.number] = lane
            todo += [lane.parent, lane.born[0] if lane.born is not None and births else None]
            yield lane, json.dumps(_facts(lane))


def _facts(lane: Lane) -> dict[str, object]:
    facts = {name: getattr(lane, name) for name in _FACTS}
    born = [lane.born[0].number, lane.born[1]] if lane.born is not None else None
    return {**facts, "parent": lane.parent.number if lane.parent is not None else None, "born": born}


def _lanes_from(facts: Iterable[Mapping[str, Any]]) -> dict[int, Lane]:
    """Return lanes by number. A spawner may have the higher number: its lane is made when the first one waits for it."""
    known = {each["number"]: each for each in facts}
    for each in known.values():
        numbers = [each["number"], each["thread_id"], each["attach"], *(each[name] or 0 for name in ("joined", "parent"))]
        if not all(type(n) is int for n in numbers) or not isinstance(each["thread"], str):
            raise TypeError(f"no lane: {show(each)}")
    lanes = {number: Lane(**{name: each[name] for name in _FACTS}) for number, each in known.items()}
    above: dict[object, list[object]] = {}
    for number, each in known.items():
        spawner, (born, moment) = each["parent"], each.get("born") or (None, 0)
        lanes[number].parent = lanes[spawner] if spawner is not None else None
        lanes[number].born = (lanes[born], moment) if born in lanes else None
        above[number] = [other for other in (spawner, born) if other in lanes]
    TopologicalSorter(above).prepare()  # a circle would have no end for those who look for the first spawner
    return lanes


# -- back


Part = tuple[Sequence[str], Iterable[Sequence[object]]]
"""Messages, and the events that refer to them."""


def revived(inside: int, lanes: Iterable[str], *parts: Part, place: str = "") -> Recording:
    """Return the recording that rows describe: `lanes` as facts, the events of each part as their columns without the trace.

    Payloads are decoded when they are first read.

    Raises:
        StoreError: here or at that reading, a row is damaged. The message is `place` and which row.
    """
    known = _read_row(f"{place}lanes", lambda: _lanes_from(json.loads(facts) for facts in lanes))
    recording = Recording()
    for reader, row in _in_order(parts):
        where = f"{place}event {row[0]}"
        recording._raw.append(_read_row(where, partial(_raw_from, row, reader, known, recording, where)))
    recording._closed, recording._closed_at = True, max(0, min(inside, len(recording._raw)))
    return recording


def _in_order(parts: Sequence[Part]) -> Iterable[tuple[Reader, Sequence[Any]]]:
    """Return the events of all parts by their numbers, each with the reader of its part."""
    known: dict[str, Message] = {}
    readers = [(Reader(messages, known), events) for messages, events in parts]
    found = ((reader, row) for reader, events in readers for row in events)
    return found if len(parts) == 1 else sorted(found, key=lambda pair: pair[1][0])


T = TypeVar("T")


def _read_row(place: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except Exception as error:  # whatever is wrong in a file that another program may have written
        raise StoreError(f"{place} cannot be read ({type(error).__name__}: {clip(str(error), 120)})") from error


def _raw_from(row: Sequence[Any], reader: Reader, lanes: Mapping[int, Lane], recording: Recording, place: str) -> RawEvent:
    _, kind, run, parent, monotonic_ns, wall_ns, number, moment, about, payload = row
    if kind not in CALLBACKS or not all(type(n) is int for n in (monotonic_ns, wall_ns, moment)):
        raise ValueError(f"no event: {kind!r} at {monotonic_ns!r}, {wall_ns!r}, {moment!r}")
    taken: object = partial(_read_row, place, partial(reader.payload, payload))
    if kind in START_KINDS:
        name, tags, metadata, *more = reader.value(about) if about is not None else ("", (), EMPTY)
        if more and more[0]:
            recording.latencies[UUID(bytes=run)] = [_latency(*numbers) for numbers in more[0]]
        for fields in more[1] if more[1:] else ():
            recording.note_unseen(UnseenCall(*fields))
        if not (isinstance(metadata, FrozenDict) and all(isinstance(text, str) for text in (name, *tags))):
            raise ValueError(f"no start of a run: {name!r}, {tags!r}")
        taken = (name, tuple(tags), partial(_read_row, place, partial(_start, metadata, reader, payload)))
    parent_id = UUID(bytes=parent) if parent is not None else None
    mark = (lanes[number], moment) if number is not None else None
    return (kind, UUID(bytes=run), parent_id, taken, monotonic_ns, wall_ns, mark)


def _latency(ttft_s: Any, tokens_per_s: Any, tokens: object) -> Latency:
    paced = tokens_per_s is None or is_rate(tokens_per_s)
    if not (is_seconds(ttft_s) and paced and type(tokens) is int and 0 <= tokens < 10**9):
        raise ValueError(f"no latency: {ttft_s!r}, {tokens_per_s!r}, {tokens!r}")
    return Latency(ttft_s, tokens_per_s, tokens)


def _start(metadata: FrozenDict, reader: Reader, payload: str) -> FrozenDict:
    return FrozenDict(metadata=metadata, payload=reader.payload(payload))
