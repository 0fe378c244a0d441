"""One recording as the data of the page: runs, events, messages, lanes, the conversation, graphs.

The values of events are those of the trace store, by the same codec: each message is written once, and secrets are masked.
Columns are lists, because a recording may have a hundred thousand events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmtest.concurrency.lanes import Lane
from llmtest.core import masks
from llmtest.core.source import shown_path
from llmtest.core.text import amount
from llmtest.errors import PriceError
from llmtest.events.callbacks import MODELS, TOKEN
from llmtest.events.events import Event, Run, UnseenCall
from llmtest.events.words import EMPTY, FrozenDict
from llmtest.order.happens_before import HappensBefore
from llmtest.recording.recording import Recording
from llmtest.recording.runs import build_runs
from llmtest.tokens.counting import call_of
from llmtest.tokens.prices import cost_of
from llmtest.tracing.codec import TAG, Writer
from llmtest.tracing.rows import column
from llmtest.tracing.split_secrets import hide_split_secrets
from llmtest.trees.rendering import lines_and_runs
from llmtest.viewer.chat import conversation
from llmtest.viewer.cutting import MAX_CHARACTERS, cut_json, cut_text, shortened
from llmtest.viewer.differences import shown
from llmtest.viewer.graphs import graphs_of

MAX_EVENTS: Final = 200_000
"""Of one recording. The page holds no events after them."""
MAX_BYTES: Final = 32 << 20
"""Of the values of one recording. Where they are larger, their texts are cut shorter."""
MAX_UNSEEN: Final = 5
"""More calls that a recording did not see are counted."""
_SHORTER: Final = (MAX_CHARACTERS, 4_000, 400)
_ARGUMENTS: Final = 120
MAX_ORDER_BITS: Final = 2_000_000
"""Of the order of concurrent siblings: where it takes more, the page does not tell what ran beside what."""


Figures = tuple[int | None, int | None, float | None]
"""Tokens in, tokens out, cost."""


@dataclass(frozen=True, slots=True)
class TraceData:
    """The data of one recording as a text of JSON, and what the index shows of it. `later` is the part of the data that few
    views need: the tree, the graphs, the tags and metadata of runs.

    `figures` are None without a model call, and each of them is None if it is not known for one. `names` are the names of
    its runs, `notes` say what was cut.
    """

    text: str
    later: str
    tree: str
    figures: Figures | None
    names: tuple[str, ...]
    notes: tuple[str, ...]
    events: Sequence[Event] = field(repr=False)
    owners: Sequence[int] = field(repr=False)
    """Of each event, the position of its run on the page, or -1."""


def trace_data(recording: Recording) -> TraceData:
    """Return the data of a recording, or of a loaded trace. A recording that is still open is read as far as it goes."""
    notes: list[str] = []
    source, events = _shown_part(recording, notes)
    order = source.order()
    tree, runs = _tree(source, order)
    positions = {run: position for position, run in enumerate(runs)}
    parents = [-1 if (above := order.seat(run).parent) is None else positions[above] for run in runs]
    values = _values(events, runs, parents, notes)
    own = [_figures(run) if run.kind in MODELS else None for run in runs]
    rows = _runs(runs, parents, own)
    names = [row[2] for row in rows]
    graphs = graphs_of(runs, parents, names)
    lanes: dict[int, int] = {}
    owners = _owners(events, runs)
    facts = {
        "late": len(recording),
        "runs": rows,
        "order": _order(order, runs, notes),
        "kinds": list(dict.fromkeys(event.kind for event in events)),
        "lanes": _lanes(events, lanes),
        "events": _event_columns(events, owners, lanes),
        "chat": conversation(runs, values.payloads, values.messages),
        "graphs": len(graphs),
    }
    notes += _unseen(recording.unseen_calls)
    head = json.dumps(facts, separators=(",", ":"))
    payloads, messages, params, abouts = (f"[{','.join(part)}]" for part in values.parts())
    text = f'{head[:-1]},"values":{payloads},"messages":{messages},"params":{params}}}'
    drawn = json.dumps({"tree": tree, "graphs": graphs}, separators=(",", ":"))
    later = f'{drawn[:-1]},"abouts":{abouts}}}'
    calls = [spent for spent in own if spent is not None]
    figures = (None, None, None) if recording.unseen_calls else add(calls) if calls else None
    return TraceData(text, later, tree, figures, tuple(dict.fromkeys(names)), tuple(notes), events, owners)


class _Shown:
    """The part of a recording that the page shows, as a source of trees: not all of its events, or with cut texts."""

    def __init__(self, events: list[Event], inside: int) -> None:
        self.late_events: Sequence[Event] = events[inside:]
        self.roots: Sequence[Run] = build_runs(events[:inside])[1]

    def order(self) -> HappensBefore:
        return HappensBefore(self.roots)


def _shown_part(recording: Recording, notes: list[str]) -> tuple[Recording | _Shown, list[Event]]:
    """Return what the page shows of a recording, and its events. `notes` gets what is missing."""
    events = [*recording, *recording.late_events]
    shown = shortened(events[:MAX_EVENTS])
    if len(shown) < len(events):
        notes.append(f"events: the first {MAX_EVENTS:,} of {len(events):,} are shown")
    if all(new is old for new, old in zip(shown, events, strict=False)) and len(shown) == len(events):
        return recording, events
    return _Shown(shown, len(recording)), shown


def _tree(source: Recording | _Shown, order: HappensBefore) -> tuple[str, list[Run]]:
    """Return the tree of what is shown, and its runs in the order of the tree, which chance does not decide."""
    try:
        lines, places = lines_and_runs(source)
    except Exception as error:  # a page that fails would hide why the test failed
        return f"the run tree could not be rendered: {type(error).__name__}: {error}", order.runs
    return shown(lines), [run for _, run in places if order.by_id.get(run.id) is run]


def _unseen(calls: Sequence[UnseenCall]) -> Iterator[str]:
    """Yield what happened and is not in the recording."""
    for call in calls[:MAX_UNSEEN]:
        yield f"not recorded: a call of {call.double} at {shown_path(call.place)} ({call.cause})"
    if len(calls) > MAX_UNSEEN:
        yield f"not recorded: {amount(len(calls) - MAX_UNSEEN, 'more call')}"


# -- values


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of a recording, each as a text of JSON: of events, the messages and parameters that these refer to by
    number, and of runs."""

    payloads: list[str]
    messages: list[str]
    params: list[str]
    abouts: list[str]

    def parts(self) -> Iterator[list[str]]:
        yield from (self.payloads, self.messages, self.params, self.abouts)

    @property
    def size(self) -> int:
        return sum(len(text) for part in self.parts() for text in part)


def _values(events: Sequence[Event], runs: Sequence[Run], parents: Sequence[int], notes: list[str]) -> _Values:
    """Return the values of events and runs, cut as far as it is needed; `notes` gets what was cut."""
    writer = Writer()
    hidden = hide_split_secrets(events)
    params: dict[str, int] = {}
    payloads = [_payload(event, hidden.get(event.number, event.payload), writer, params) for event in events]
    abouts = [writer.value(about) for about in _abouts(runs, parents)]
    found = cut = _Values(payloads, writer.messages, list(params), abouts)
    limit = 0
    for limit in _SHORTER:
        cut = _Values(*([cut_json(text, limit) for text in part] for part in found.parts()))
        if cut.size <= MAX_BYTES:
            break
    else:
        cut = replace(cut, payloads=_first(cut.payloads))
    if cut.size < found.size:
        notes.append(f"values: texts longer than {limit:,} characters are cut; each says how long it is")
    return cut


def _payload(event: Event, payload: Mapping[str, Any], writer: Writer, params: dict[str, int]) -> str:
    """Return the value of an event. A token alone is its text, as most events of a stream; the parameters of a model call,
    with the schemas of all its tools, are often those of the call before."""
    given = payload.get("invocation_params")
    if given:
        text = writer.payload(FrozenDict({key: value for key, value in payload.items() if key != "invocation_params"}))
        number = params.setdefault(writer.value(given), len(params))
        return f'{text[:-1]}{"," if len(text) > 2 else ""}"invocation_params":{{"{TAG}":"params","n":{number}}}}}'
    text = writer.payload(payload)
    bare = event.kind == TOKEN and len(payload) == 1 and text.startswith('{"token":"')
    return text[len('{"token":') : -1] if bare else text


def _abouts(runs: Sequence[Run], parents: Sequence[int]) -> Iterator[list[Any]]:
    """Yield the tags of each run, and its metadata as far as it differs from that of the run around it: what is new or has
    changed, and the keys that are gone. LangGraph gives the same hundred words to every run in a node."""
    for run, parent in zip(runs, parents, strict=True):
        before = runs[parent].metadata if parent >= 0 else EMPTY
        new = {key: value for key, value in run.metadata.items() if key not in before or before[key] != value}
        yield [list(run.tags), new, [key for key in before if key not in run.metadata]]


def _first(payloads: Sequence[str]) -> list[str]:
    """Return payloads as long as there is room, and `null` for the others."""
    kept, size = [], 0
    for text in payloads:
        size += len(text)
        kept.append(text if size <= MAX_BYTES else "null")
    return kept


# -- runs


def _runs(runs: Sequence[Run], parents: Sequence[int], own: Sequence[Figures | None]) -> list[list[Any]]:
    """Return the runs, parents first. Of each: the position of its parent or -1, kind, name, how it ended, number of its
    first event, of its last one or -1, tokens in, tokens out and cost of the calls in it, model, error, arguments in brief.

    Tokens and cost are None without a model call, and if they are not known for one.
    """
    rows = []
    for run, parent, figures in zip(runs, parents, _summed(own, parents), strict=True):
        model = column(call_of(run).model) if run.kind in MODELS else None
        end = run.end.number if run.end is not None else -1
        about = (run.kind, column(run.name), run.ended, run.start.number, end)
        rows.append([parent, *about, *figures, model, _error(run), _arguments(run)])
    return rows


def _figures(run: Run) -> Figures:
    """Return the tokens and the cost of one model call; None for what is not known."""
    call = call_of(run)
    tokens = (call.spent.input_tokens, call.spent.output_tokens) if call.is_known else (None, None)
    try:
        return *tokens, 0.0 if call.cached else cost_of(call)
    except PriceError:  # the page shows none
        return *tokens, None


def _summed(own: Sequence[Figures | None], parents: Sequence[int]) -> list[Figures]:
    """Return what the model calls in each run have spent."""
    calls: list[list[Figures]] = [[figures] if figures is not None else [] for figures in own]
    for position in range(len(own) - 1, -1, -1):  # from the inside: a run is summed up before its parent
        if calls[position]:
            calls[position] = [add(calls[position])]
            if parents[position] >= 0:
                calls[parents[position]] += calls[position]
    return [inside[0] if inside else (None, None, None) for inside in calls]


def add(figures: Sequence[Figures]) -> Figures:
    """Return the sums; None for a sum of which a part is not known, and if there is nothing to add."""
    columns = zip(*figures, strict=True) if figures else [[None]] * 3
    into, out, cost = (None if None in parts else sum(parts) for parts in map(list, columns))
    return into, out, cost


def _error(run: Run) -> str | None:
    failure = run.error
    return None if failure is None else cut_text(column(f"{failure.type}: {failure.message}") or "", 500)


def _arguments(run: Run) -> str | None:
    """Return the arguments of a tool on one line."""
    if run.kind != "tool":
        return None
    if not run.args:
        return masks.show(run.input)
    return cut_text(", ".join(f"{key}={masks.show(value, key)}" for key, value in run.args.items()), _ARGUMENTS)


# -- order


def _order(order: HappensBefore, runs: Sequence[Run], notes: list[str]) -> list[list[Any]] | None:
    """Return what tells which runs came before others for certain. Of each run: its stretch among its siblings, its number
    there, and, as bits of a hexadecimal number, the siblings of its stretch that came before it. None if that is too much."""
    rows: list[list[Any]] = []
    bits = 0
    for run in runs:
        seat = order.seat(run)
        below = seat.group[seat.stretch].below(seat.number)
        bits += below.bit_length()
        if bits > MAX_ORDER_BITS:
            notes.append(f"timeline: {amount(len(runs), 'run')} are too many to tell which ran side by side")
            return None
        rows.append([seat.stretch, seat.number, f"{below:x}"])
    return rows


def _lanes(events: Sequence[Event], numbers: dict[int, int]) -> list[list[Any]]:
    """Return the threads and tasks on which events fired: thread, task or None, the lane that spawned it or -1, and all that
    in words. `numbers` gets the position of each lane."""
    found: list[Lane] = []
    todo = list(dict.fromkeys(event.lane for event in events))
    for lane in todo:  # grows while it is read
        if lane is not None and lane.number not in numbers:
            numbers[lane.number] = len(found)
            found.append(lane)
            todo.append(lane.parent)
    above = [numbers[lane.parent.number] if lane.parent is not None else -1 for lane in found]
    return [[column(lane.thread), column(lane.task), up, _called(lane)] for lane, up in zip(found, above, strict=True)]


def _called(lane: Lane) -> str | None:
    task = f" · {lane.task}" if lane.task else ""
    starter = f", started by {lane.parent.task or lane.parent.thread}" if lane.parent is not None else ""
    return column(f"{lane.thread}{task}{starter}")


# -- events


def _owners(events: Sequence[Event], runs: Sequence[Run]) -> list[int]:
    """Return the position of the run of each event. Not by its id: a program may give one id to several runs."""
    owners = [-1] * len(events)
    for position, run in enumerate(runs):
        for event in run.events:
            owners[event.number] = position
    return owners


def _event_columns(events: Sequence[Event], owners: Sequence[int], lanes: Mapping[int, int]) -> dict[str, list[int]]:
    """Return a list for each fact of events: kind, run or -1, nanoseconds since the event before, lane or -1, virtual time.

    There are no virtual times if no script declares a latency.
    """
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(event.kind for event in events))}
    times = [event.monotonic_ns for event in events]
    virtual = [event.virtual_ns for event in events]
    return {
        "kind": [kinds[event.kind] for event in events],
        "run": list(owners),
        "time": [time - before for before, time in zip([times[0], *times] if times else [], times, strict=False)],
        "lane": [lanes[event.lane.number] if event.lane is not None else -1 for event in events],
        "virtual": virtual if any(virtual) else [],
    }
