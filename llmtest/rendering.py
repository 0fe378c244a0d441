"""A recording as text: the same text for the same program, on every machine, under every legal interleaving.

Floor 1. Three steps. `_Shapes` makes the lines of one run, in which the names of messages, calls and ids are still marks
(`llmtest.wording`). `llmtest.ordering` puts siblings in an order that comes from the program, never from the clock.
`_Writer` walks that order, gives the names, and writes each message once.
The grammar is in docs/reference/tree-text.md.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Final, Literal, Protocol, get_args
from uuid import UUID

from llmtest.callbacks import ENDINGS, INPUT_OF, MODELS, OUTPUT_OF, START_KINDS, STREAMED
from llmtest.content import BlockKind, pieces_of, read_stream_event
from llmtest.core.text import plural
from llmtest.events import (
    EMPTY,
    Event,
    Failure,
    FrozenDict,
    FrozenList,
    Generation,
    Run,
    Structured,
    ToolCall,
    Usage,
)
from llmtest.lanes import Lane
from llmtest.ordering import Item, home_of, item_at, item_of, layers
from llmtest.wording import MARK, OPEN, Name, Words

Detail = Literal["outline", "default", "full"]

HEADER: Final = "# llmtest tree v1"
"""The first line of a file that holds such text."""

_TOKENS: Final = 40
"""More tokens than this are left out in the middle."""


class Traced(Protocol):
    """What can be rendered: a `Recording`, or anything else that has trees."""

    @property
    def roots(self) -> Sequence[Run]: ...
    @property
    def late_events(self) -> Sequence[Event]: ...


class Part:
    """The runs of a recording that `Recording.only` chose: `str(part)` is their tree, `part.runs` are they.

    They stand in the order of the whole tree, and under each other as far as both are chosen. What a run was given is shown
    also where it is what a run was given that was left out. It is read whenever it is asked, as its recording is.
    """

    def __init__(self, recording: Traced, keeps: Callable[[Run], bool]) -> None:
        self._recording = recording
        self.keeps = keeps

    @property
    def roots(self) -> Sequence[Run]:
        return self._recording.roots

    @property
    def late_events(self) -> Sequence[Event]:
        return self._recording.late_events

    @property
    def runs(self) -> list[Run]:
        """The chosen runs, in the order in which they started."""
        chosen = [run for root in self.roots for run in root.walk() if self.keeps(run)]
        return sorted(chosen, key=lambda run: run.start.number)

    def outline(self) -> str:
        """One line for each of the chosen runs."""
        return outline(self)

    def __str__(self) -> str:
        return render(self)


def render(source: Traced | Run, *, detail: Detail = "default") -> str:
    """The trees of `source` as text, ending with a newline.

    `detail="outline"` is one line for each run; `"full"` adds parameters, all metadata and every token. Runs that are
    open say so; what came after the block had ended stands under `late`. Two renderings of equal programs are equal.

    >>> from llmtest import ScriptedChatModel, record
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> print(render(recording), end="")
    chat ScriptedChatModel
      > u1: "hi"
      < a1: "Hello there"  usage in=1 out=2

    It does not show run ids, times or how concurrent runs interleaved: those are in the events.
    """
    return "".join(f"{line}\n" for line in lines(source, detail=detail))


def outline(source: Traced | Run) -> str:
    """One line for each run: `render(source, detail="outline")`."""
    return render(source, detail="outline")


def lines(source: Traced | Run, *, detail: Detail = "default") -> list[str]:
    """The lines of `render`, without their ends."""
    if detail not in get_args(Detail):
        raise ValueError(f"detail is one of {', '.join(map(repr, get_args(Detail)))}; got {detail!r}")
    roots, late = ((source,), []) if isinstance(source, Run) else (source.roots, source.late_events)
    late_runs, still = _late_runs(roots, late)
    calls = (run.tool_call_id for root in (*roots, *late_runs) for run in root.walk() if run.kind == "tool")
    words = Words(filter(None, calls), outline=detail == "outline", full=detail == "full")
    writer = _Writer(_Shapes(words, still, source.keeps if isinstance(source, Part) else None))
    writer.trees(roots, 0)
    if late_runs:
        writer.line(0, "late")
        writer.trees(late_runs, 1)
    return writer.out or ["(nothing was recorded)"]


def _late_runs(roots: Sequence[Run], events: Sequence[Event]) -> tuple[list[Run], frozenset[int]]:
    """The trees of what came after the block had ended, and the `id`s of those of its runs that had begun inside it."""
    own: dict[UUID, list[Event]] = {}
    for event in events:
        own.setdefault(event.run_id, []).append(event)
    begun = {run.id: run.start for root in roots for run in root.walk() if run.id in own} if own else {}
    starts = {run_id: begun.get(run_id, told[0]) for run_id, told in own.items()}
    inside: dict[UUID | None, list[Run]] = {}
    for start in sorted(starts.values(), key=lambda event: event.number, reverse=True):
        told = (start, *own[start.run_id]) if start.run_id in begun else tuple(own[start.run_id])
        about = (START_KINDS.get(start.kind, "chain"), start.name, start.tags, start.metadata)
        run = Run(start.run_id, start.parent_run_id, *about, told, tuple(reversed(inside.get(start.run_id, ()))))
        inside.setdefault(start.parent_run_id if start.parent_run_id in own else None, []).append(run)
    late = list(reversed(inside.get(None, ())))
    return late, frozenset(id(run) for root in late for run in root.walk() if run.id in begun)


# -- the lines of one run

_KEY: Final = re.compile(r"map:key:(?P<key>.*)|(?P<branch>condition|branch):(?P<number>\d+|default)", re.DOTALL)
_STRUCTURE: Final = re.compile(rf"(?:seq:step|graph:step|retry:attempt):\d+|step_\d+|{_KEY.pattern}", re.DOTALL)
_PLUMBING: Final = re.compile(
    r"(?:ls_|lc_|langgraph_|__pregel|LANGSMITH_)|(?:checkpoint_(?:ns|id|map)|thread_id|thread_ts|run_id|revision_id)$"
)
_VERSIONS: Final = re.compile(r"(?:lc_|ls_|langgraph_|LANGCHAIN_).*versions?$|revision_id$", re.IGNORECASE)
_NORMAL_STOPS: Final = frozenset(("stop", "end_turn", "tool_calls", "tool_use", "function_call", "complete", "completed"))


@dataclass(slots=True)
class _Part:
    """One entry of a run: its sign, its lines, and what stands at the end of the first one."""

    sign: str
    lines: list[str]
    suffix: str = ""


@dataclass(slots=True)
class _Shape:
    """What is written of one run: its first line, what comes before the runs inside it, what happens among them, and
    how it ended."""

    head: str
    input: list[str]
    before: list[_Part]
    notes: list[tuple[Event, _Part]]
    after: list[_Part]

    def texts(self) -> Iterator[str]:
        yield self.head
        for part in (*self.before, *(part for _, part in self.notes), *self.after):
            yield f"{part.sign} {part.lines[0]}{part.suffix}"
            yield from part.lines[1:]


class _Shapes:
    """The shapes of runs. Each is made once, under the parent with which it is first met."""

    def __init__(self, words: Words, still: frozenset[int], keeps: Callable[[Run], bool] | None = None) -> None:
        self.words = words
        self.keeps = keeps
        self.strays: set[int] = set()
        self._still = still
        self._shapes: dict[int, _Shape] = {}
        self._seen_tags: dict[tuple[str, ...], frozenset[str]] = {}
        self._seen_metadata: dict[int, dict[str, Any]] = {}

    def kept(self, run: Run) -> bool:
        return self.keeps is None or self.keeps(run)

    def of(self, run: Run, parent: Run | None) -> _Shape:
        if parent is not None and not self.kept(parent):
            parent = None  # it is not there to be compared with
        shape = self._shapes.get(id(run))
        if shape is None:
            shape = self._shapes[id(run)] = self._shape(run, parent)
        return shape

    def _shape(self, run: Run, parent: Run | None) -> _Shape:
        streamed: list[Event] = []
        notes: list[tuple[Event, _Part]] = []
        end = None
        for event in run.events[1:] if run.start.kind in START_KINDS else run.events:
            if event.kind in STREAMED:
                streamed.append(event)
            elif end is None and event.kind in ENDINGS:
                end = event
            elif not self._is_told_elsewhere(event):
                notes.append((event, self._note(event)))
        given = self._input(run, end)
        before = [*self._given(run, parent, given), *self._streamed(streamed)]
        return _Shape(self._head(run, parent), given, before, notes, self._after(run, end))

    # the first line

    def _head(self, run: Run, parent: Run | None) -> str:
        words = ["still"] if id(run) in self._still else []
        words += [f"{word}:" for word in self._keys(run.tags) if id(run) not in self.strays]
        words += [run.kind, self.words.atom(run.name) + self._arguments(run)]
        if run.tool_call_id is not None:
            words.append(self.words.mark("call", run.tool_call_id))
        words += [f"attempt={tag[14:]}" for tag in run.tags if tag.startswith("retry:attempt:")]
        tools = run.start.payload.get("tools")
        words += [f"tools={','.join(self.words.atom(str(tool), ',') for tool in tools)}"] if tools else []
        return " ".join((*words, *self._about(run, parent)))

    def _keys(self, tags: Sequence[str]) -> Iterator[str]:
        """What a run is to the one that started it: the key of a map, the condition or branch of a branch."""
        for found in filter(None, map(_KEY.fullmatch, tags)):
            key = found["key"]
            yield f"{found['branch']} {found['number']}" if key is None else self.words.atom(key, ":")

    def _arguments(self, run: Run) -> str:
        if run.kind != "tool":
            return ""
        inputs = run.start.payload.get("inputs")
        if isinstance(inputs, Mapping):
            return self.words.parenthesised("", inputs)
        given = inputs if inputs is not None else run.start.payload.get("input_str", "")
        return f"({self.words.flow(given)})"

    def _about(self, run: Run, parent: Run | None) -> Iterator[str]:
        """Tags and metadata, as far as they differ from the parent's: what is gone has a minus."""
        tags, theirs = self._tags(run), self._tags(parent) if parent else frozenset()
        if tags != theirs:
            new = [self.words.atom(tag, ",") for tag in sorted(tags - theirs)]
            gone = [f"-{self.words.atom(tag, ',')}" for tag in sorted(theirs - tags)]
            yield f"tags={','.join((*new, *gone))}"
        meta, before = self._metadata(run), self._metadata(parent) if parent else {}
        if meta != before:
            changed = {key: value for key, value in meta.items() if key not in before or before[key] != value}
            entries = [f"{key}{text}" for key, text, _ in self.words.entries(changed)]
            lost = [f'-"{self.words.clean(key)}"' for key in sorted(before.keys() - meta.keys())]
            yield f"meta={{{', '.join((*entries, *lost))}}}"

    def _tags(self, run: Run) -> frozenset[str]:
        """The tags that the program gave; those that say where a run stands are shown by where it stands."""
        tags = self._seen_tags.get(run.tags)
        if tags is None:
            hidden = () if self.words.full else ("langsmith:",)
            shown = (tag for tag in run.tags if not tag.startswith(hidden) and not _STRUCTURE.fullmatch(tag))
            tags = self._seen_tags[run.tags] = frozenset(shown)
        return tags

    def _metadata(self, run: Run) -> dict[str, Any]:
        meta = self._seen_metadata.get(id(run.metadata))
        if meta is None:
            hidden = _VERSIONS.match if self.words.full else _PLUMBING.match
            meta = {key: value for key, value in run.metadata.items() if not hidden(key)}
            self._seen_metadata[id(run.metadata)] = meta
        return meta

    # what it was given

    def _input(self, run: Run, end: Event | None) -> list[str]:
        payload = run.start.payload
        if run.kind == "chain":
            late = end.payload if end is not None and "inputs" in end.payload else payload
            return self.words.value(late.get("inputs"))
        if run.kind == "llm":
            prompts = payload.get("prompts", ())
            return self.words.value(prompts[0] if len(prompts) == 1 else prompts)
        return self.words.value(payload.get(INPUT_OF[run.kind]))

    def _given(self, run: Run, parent: Run | None, given: list[str]) -> Iterator[_Part]:
        if id(run) in self._still:
            return
        if run.kind != "tool" and (parent is None or self.of(parent, None).input != given):
            yield _Part(">", given)
        parameters = run.start.payload.get("invocation_params")
        if parameters and self.words.full:
            first, *rest = self.words.value(parameters)
            yield _Part("*", [f"params {first}", *rest])

    # what it streamed

    def _streamed(self, events: Sequence[Event]) -> Iterator[_Part]:
        streams: dict[str, list[str]] = {}
        for event in events:
            for channel, text in _pieces(event.payload):
                streams.setdefault(channel, []).append(text)
        if len(streams) > 1 and len(streams.get("empty", ())) == 1:
            del streams["empty"]  # langchain-core closes each stream with an empty token of its own
        yield from (self._stream(channel, streams[channel]) for channel in _CHANNELS if channel in streams)
        kinds = [read_stream_event(event.payload["event"]).name for event in events if "event" in event.payload]
        if kinds:
            runs = ((kind, len(list(same))) for kind, same in groupby(kinds))
            shown = " ".join(kind if times == 1 else f"{kind}*{times}" for kind, times in runs)
            yield _Part("~", [f"{len(kinds)} {plural(len(kinds), 'stream event')}: {shown}"])

    def _stream(self, channel: str, texts: list[str]) -> _Part:
        what = f"{len(texts)} {plural(len(texts), f'{channel} token'.strip())}"
        whole = "".join(texts)
        if not whole:
            return _Part("~", [what])
        if self.words.is_volatile(whole):  # an id that is cut into tokens has no alias
            return _Part("~", [f'{what}, joined: "{self.words.clean(whole)}"'])
        half = len(texts) if self.words.full or len(texts) <= _TOKENS else _TOKENS // 2
        halves = (texts[:half], texts[half:][-half:])
        shown = ("|".join(self.words.clean(text).replace("|", "\\|") for text in part) for part in halves if part)
        return _Part("~", [f"{what}: " + " ... ".join(f'"{text}"' for text in shown)])

    # what happened within it

    def _is_told_elsewhere(self, event: Event) -> bool:
        """LangGraph tells of them since 1.2. Without them the tree is the same before: a node that waits says for what, and what
        is resumed has the command, or nothing, for its input. Only an interrupt before or after a node has no other sign."""
        return not self.words.full and (event.kind == "on_resume" or (event.kind == "on_interrupt" and _is_of_a_node(event)))

    def _note(self, event: Event) -> _Part:
        payload = event.payload
        if event.kind == "on_text":
            return _Part("@", [f"text {self.words.flow(payload.get('text'))}"])
        if event.kind == "on_retry":
            return _Part("@", self._failed(f"retry {payload.get('attempt_number')}", payload.get("error")))
        if event.kind == "on_custom_event":
            first, *rest = self.words.value(payload.get("data"))
            return _Part("@", [f"event {self.words.atom(str(payload.get('name')))} {first}", *rest])
        if event.kind == "on_agent_action":
            given = payload.get("tool_input")
            call = ToolCall(str(payload.get("tool")), given if isinstance(given, FrozenDict) else str(given))
            return _Part("@", [f"action {self.words.request(call)}"])
        if event.kind == "on_agent_finish":
            first, *rest = self.words.value(payload.get("return_values"))
            return _Part("@", [f"finish {first}", *rest])
        if event.kind == "on_interrupt":
            return _Part("@", self._waiting("interrupt", _interrupts(FrozenList([payload.get("interrupts")]))))
        if event.kind == "on_resume":
            return _Part("@", ["resume"])
        # A callback without words of its own is written as it came; a further start or end repeats what its run shows.
        repeats = not payload or event.kind in START_KINDS or event.kind in ENDINGS
        first, *rest = [""] if repeats else self.words.value(payload)
        return _Part("@", [f"{event.kind} {first}".rstrip(), *rest])

    def _waiting(self, opening: str, interrupts: Sequence[Structured]) -> list[str]:
        """For what the program waits."""
        values = [interrupt.fields.get("value") for interrupt in interrupts]
        if not values:
            return [opening]
        first, *rest = self.words.value(values[0] if len(values) == 1 else FrozenList(values))
        return [f"{opening} {first}", *rest]

    def _failed(self, opening: str, error: Any) -> list[str]:
        if not isinstance(error, Failure):
            return [opening]
        return self.words.said(f"{opening} {error.type}".strip(), error.message)

    # how it ended

    def _after(self, run: Run, end: Event | None) -> list[_Part]:
        if end is None:
            return [_Part("?", ["open"])]
        error = end.payload.get("error")
        if not isinstance(error, Failure):
            return self._output(run, end.payload)
        partial = end.payload.get("response") or EMPTY
        parts = self._output(run, partial) if partial.get("generations") else []
        return [*(replace(part, sign="< partial") for part in parts), self._ending(error)]

    def _output(self, run: Run, payload: Mapping[str, Any]) -> list[_Part]:
        if run.kind not in MODELS:
            return [_Part("<", self.words.value(payload.get(OUTPUT_OF[run.kind])))]
        candidates = payload.get("generations") or ()
        parts = [_Part("<", self.words.value(c.message if c.message else c.text), self._stop(c)) for c in candidates]
        parts = parts or [_Part("<", ["nothing"])]
        parts[-1].suffix += _usage(run.usage)
        return parts

    def _stop(self, candidate: Generation) -> str:
        """Why the model stopped, where it did not just come to its end."""
        told = candidate.message.response_metadata if candidate.message else candidate.info
        reason = next((str(told[key]) for key in ("finish_reason", "stop_reason", "done_reason") if told.get(key)), "stop")
        return "" if reason.lower() in _NORMAL_STOPS else f"  stop={self.words.atom(reason)}"

    def _ending(self, error: Failure) -> _Part:
        if error.ended == "error":
            return _Part("!", self._failed("", error))
        if error.ended == "paused":
            interrupts = _interrupts(error.payload)
            return _Part("?", self._waiting("paused:", interrupts) if interrupts else [f"paused: {error.type}"])
        if error.ended == "handed off":
            command = error.payload[0] if isinstance(error.payload, list) and error.payload else None
            first, *rest = self.words.value(command)
            return _Part("^", [f"handed off: {first}", *rest])
        opening = f"stopped {error.type}" if error.ended == "stopped" else error.ended
        return _Part("!", self.words.said(opening, error.message))


_CHANNELS: Final = ("reasoning", "", "call", "empty")
_CHANNEL_OF: Final[Mapping[BlockKind, str]] = {"text": "", "reasoning": "reasoning", "call": "call", "other": ""}


def _pieces(payload: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What one token or stream event adds to which channel."""
    pieces = pieces_of(payload)
    if not pieces and "token" in payload:
        return [("empty", "")]
    return [(_CHANNEL_OF[piece.kind], f"<{piece.type}>" if piece.kind == "other" else piece.text or "") for piece in pieces]


def _is_of_a_node(event: Event) -> bool:
    return bool(event.payload.get("interrupts"))


def _interrupts(payload: Any) -> list[Structured]:
    if isinstance(payload, Structured) and payload.type == "Interrupt":
        return [payload]
    return [found for item in payload for found in _interrupts(item)] if isinstance(payload, list) else []


def _usage(usage: Usage | None) -> str:
    if usage is None:
        return ""
    words = [f"in={usage.input_tokens}", *_details(usage.input_details), f"out={usage.output_tokens}"]
    words += _details(usage.output_details)
    if usage.total_tokens != usage.input_tokens + usage.output_tokens:
        words.append(f"total={usage.total_tokens}")
    return f"  usage {' '.join(words)}"


def _details(details: Mapping[str, Any]) -> list[str]:
    shown = [f"{name}={details[name]}" for name in sorted(details) if details[name]]
    return [f"({' '.join(shown)})"] if shown else []


# -- the whole text


class _Writer:
    """Walks the trees in canonical order and gives the names: to each thing where it is first met. Holds state.

    It has a list of things to do instead of calling itself, so that no tree is too deep for it.
    """

    def __init__(self, shapes: _Shapes) -> None:
        self.out: list[str] = []
        self._shapes = shapes
        self._words = shapes.words
        self._counts: Counter[str] = Counter()
        self._fresh: list[Name] = []
        self._texts: dict[str, str] = {}
        self._inside: dict[int, list[list[Item]]] = {}
        self._strays: dict[int, list[Run]] = {}
        self._plain: dict[int, str] = {}
        self._todo: list[Callable[[], None]] = []

    def trees(self, roots: Sequence[Run], depth: int) -> None:
        self._plan(self._ordered([item_of(run, None) for run in roots], home_of(roots)), None, depth)
        while self._todo:
            self._todo.pop()()

    def line(self, depth: int, text: str) -> None:
        self.out.append(f"{'  ' * depth}{text}")

    # order

    def _ordered(self, items: list[Item], home: Lane | None) -> list[list[Item]]:
        ordered = layers(items, home)
        for item in items:
            if item.run is not None and item.host is not None:
                self._strays.setdefault(id(item.host.run), []).append(item.run)
                self._shapes.strays.add(id(item.run))
        return ordered

    def _within(self, run: Run, parent: Run | None) -> list[list[Item]]:
        inside = self._inside.get(id(run))
        if inside is None:
            notes = self._shapes.of(run, parent).notes
            items = [item_of(child, run) for child in (*run.children, *self._strays.get(id(run), ()))]
            items += [item_at(event, part) for event, part in notes]
            inside = self._inside[id(run)] = self._ordered(items, run.start.lane)
        return inside

    def _subtree(self, run: Run, parent: Run | None) -> list[tuple[Run, Run | None]]:
        """The runs of a subtree with their parents; parents first."""
        runs = [(run, parent)]
        for inner, above in runs:  # grows while it is read
            runs += [(item.run, inner) for layer in self._within(inner, above) for item in layer if item.run is not None]
        return runs

    def _seated(self, layer: Sequence[Item], parent: Run | None) -> list[Item]:
        """Parallel items in their order: as they were asked for, as they are numbered, then by what they say."""
        seats = {id(item): (self._asked(item, parent), item.seat) for item in layer}
        seated: list[Item] = []
        for _, same in groupby(sorted(layer, key=lambda item: seats[id(item)]), key=lambda item: seats[id(item)]):
            equals = list(same)
            if len(equals) > 1:
                equals.sort(key=lambda item: (self._says(item, parent), self._known(item, parent)))
            seated += equals
        return seated

    def _asked(self, item: Item, parent: Run | None) -> float:
        """The number of the tool call that a run answers, if it has been asked for already."""
        if item.run is None:
            return math.inf
        shape = self._shapes.of(item.run, parent)
        named = self._words.named(shape.head, *shape.input)
        calls = (self._words.named(name.lines[0])[0] if name.prefix == "request" else name for name in named)
        return min((call.number for call in calls if call.prefix == "call"), default=math.inf)

    def _says(self, item: Item, parent: Run | None) -> str:
        """The text of a whole subtree without names, in canonical order: equal for what is interchangeable."""
        if item.run is None:
            return self._words.plain("\n".join(item.note.lines))
        if id(item.run) not in self._plain:
            for run, above in reversed(self._subtree(item.run, parent)):
                own = self._words.plain("\n".join(self._shapes.of(run, above).texts()))
                ranks = (sorted((i.seat, self._says(i, run)) for i in layer) for layer in self._within(run, above))
                self._plain[id(run)] = "\n".join((own, *(f"{{{said}}}" for rank in ranks for _, said in rank)))
        return self._plain[id(item.run)]

    def _known(self, item: Item, parent: Run | None) -> list[float]:
        """The numbers that the names in a subtree have already: what tells apart subtrees that say the same."""
        runs = self._subtree(item.run, parent) if item.run is not None else []
        texts = (text for run, above in runs for text in self._shapes.of(run, above).texts())
        return [name.number for text in texts for name in self._words.named(text)]

    # writing

    def _plan(self, layers: Sequence[list[Item]], parent: Run | None, depth: int) -> None:
        self._todo += [partial(self._layer, layer, parent, depth) for layer in reversed(layers)]

    def _kept_within(self, item: Item, parent: Run | None) -> int:
        """How many of the runs of a subtree are written at its top."""
        if item.run is None or self._shapes.kept(item.run):
            return 1
        count, todo = 0, [(item.run, parent)]
        for run, above in todo:  # grows while it is read
            inner = [one.run for layer in self._within(run, above) for one in layer if one.run is not None]
            count += sum(self._shapes.kept(one) for one in inner)
            todo += [(one, run) for one in inner if not self._shapes.kept(one)]
        return count

    def _layer(self, layer: list[Item], parent: Run | None, depth: int) -> None:
        if self._shapes.keeps is not None:
            layer = [item for item in layer if self._kept_within(item, parent)]
        if len(layer) > 1:
            self.line(depth, "parallel")
            depth += 1
            layer = self._seated(layer, parent)
        grouped = len(layer) > 1
        self._todo += [partial(self._item, item, parent, depth, grouped) for item in reversed(layer)]

    def _item(self, item: Item, parent: Run | None, depth: int, grouped: bool) -> None:
        if item.run is None:
            return self._parts(depth, [item.note] if parent is None or self._shapes.kept(parent) else [])
        if not self._shapes.kept(item.run):
            return self._left_out(item, item.run, parent, depth, grouped)
        shape = self._shapes.of(item.run, parent)
        ending = shape.after[-1]
        odd = f"  {ending.sign} {ending.lines[0].partition(':')[0]}" if self._words.outline and ending.sign in "!?^" else ""
        self.line(depth, self._resolved(shape.head) + odd)
        self._define(depth + 1)
        self._parts(depth + 1, shape.before)
        self._todo.append(partial(self._parts, depth + 1, shape.after))
        self._plan(self._within(item.run, parent), item.run, depth + 1)

    def _left_out(self, item: Item, run: Run, parent: Run | None, depth: int, grouped: bool) -> None:
        """What is inside a run stands in its place. Of several that follow one another beside others, it keeps its line."""
        if grouped and self._kept_within(item, parent) > 1:
            self.line(depth, self._resolved(self._shapes.of(run, parent).head))
            self._fresh.clear()
            depth += 1
        self._plan(self._within(run, parent), run, depth)

    def _parts(self, depth: int, parts: Sequence[_Part]) -> None:
        for part in parts:
            self._put(depth, part)

    def _put(self, depth: int, part: _Part) -> None:
        """Writes one entry, and before it what it names for the first time; within it, if it says nothing else."""
        shown = [self._resolved(line) for line in part.lines]
        if len(self._fresh) == 1 and shown == [self._fresh[0].label]:
            return self._put(depth, _Part(part.sign, _definition(self._fresh.pop()), part.suffix))
        self._define(depth)
        if not self._words.outline:
            self.line(depth, f"{part.sign} {shown[0]}{part.suffix}")
            self.out += [f"{'  ' * depth}  {line}" for line in shown[1:]]

    def _define(self, depth: int) -> None:
        fresh, self._fresh = self._fresh, []
        self._parts(depth, [_Part("+", _definition(name)) for name in fresh])

    # names

    def _resolved(self, text: str) -> str:
        return MARK.sub(self._called, text) if OPEN in text else text

    def _called(self, match: re.Match[str]) -> str:
        name = self._words.names[int(match[1])]
        return name.label or self._christened(name)

    def _christened(self, name: Name) -> str:
        """Gives `name` its label. A tool call says what it asks for when it is first met, and is a number afterwards."""
        if name.prefix == "request":
            name.label = self._resolved(name.lines[0])
            return f"{name.label} {self._resolved(name.lines[1])}"
        owner = self._words.owners.get(name.text) if name.prefix == "id" else None
        if owner is not None and owner.label:
            name.label = owner.label
        elif name.prefix == "v" and name.text in self._texts:
            name.label = f"{self._texts[name.text]}.text"
        else:
            self._number(name)
        return name.label

    def _number(self, name: Name) -> None:
        self._counts[name.prefix] += 1
        name.number = self._counts[name.prefix]
        name.label = f"<id:{name.number}>" if name.prefix == "id" else f"{name.prefix}{name.number}"
        if name.lines:
            self._fresh.append(name)
            known = self._texts.setdefault(name.text, name.label)
            if known != name.label and name.lines == ["", *self._words.bars(name.text)]:
                name.lines = [known if known[0] == "v" else f"{known}.text"]


def _definition(name: Name) -> list[str]:
    first, *rest = name.lines
    return [f"{name.label}: {first}".rstrip(), *rest]
