"""The events of a recording, sorted by run in one pass, for the rules of `llmtest.protocol.checks`.

Unlike `Run`, a `Life` also holds what must not be: events before the start, after the end, under another parent.
Runs with unusual events are also on short lists, so that a rule looks only at the few runs that concern it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final, Literal, get_args

from llmtest.events.callbacks import CALLBACKS, ENDINGS, MODELS, START_KINDS, STREAM_EVENT, TOKEN, WITHOUT_PARENT, RunKind
from llmtest.events.events import Event, UnseenCall
from llmtest.events.words import Ended, Failure, Message, Structured, ToolCall
from llmtest.recording.recording import Recording

_ENDINGS_OF: Final = {start: frozenset(e for e in ENDINGS if kind in CALLBACKS[e].runs) for start, kind in START_KINDS.items()}
"""By the callback that starts a run: the callbacks that may end it."""

Sort = Literal["again", "astray", "early", "late", "other", "second end", "stream"]
"""The sorts of unusual events: further starts; events that name another parent; events before any start; after the end; of other
kinds than tokens (texts, retries, custom events, agent actions); further ends; stream events."""


class Life:
    """All events of one run id. Holds state while the events are sorted; read-only afterwards."""

    __slots__ = ("_more", "end", "parent", "running", "start", "tokens", "top")

    def __init__(self, start: Event | None) -> None:
        self.start = start
        self.end: Event | None = None
        self.running = 0 if start is None else 1
        self.parent: Life | None = None
        self.top: Life | None = None
        """The root above it. None for a root: a cycle of references would keep all lives from being freed at once."""
        self.tokens: Sequence[Event] = ()
        self._more: dict[Sort, list[Event]] | None = None  # most runs have none, and there are many runs

    def more(self, sort: Sort) -> Sequence[Event]:
        """Return the unusual events of one sort."""
        return self._more.get(sort, ()) if self._more is not None else ()

    def add(self, sort: Sort, event: Event) -> bool:
        """Add an unusual event; True if it is the first of its sort."""
        if self._more is None:
            self._more = {}
        events = self._more.setdefault(sort, [])
        events.append(event)
        return len(events) == 1

    @property
    def again(self) -> Sequence[Event]:
        """Further starts: a program may give one id to many runs."""
        return self.more("again")

    @property
    def starts(self) -> list[Event]:
        return [] if self.start is None else [self.start, *self.again]

    @property
    def ends(self) -> list[Event]:
        return [] if self.end is None else [self.end, *self.more("second end")]

    @property
    def root(self) -> Life:
        return self.top or self

    @property
    def kind(self) -> str:
        """The kind of run that this is; empty if it never started."""
        return "" if self.start is None else START_KINDS[self.start.kind]

    @property
    def kinds(self) -> set[RunKind]:
        """The kind of each run that has this id."""
        return {START_KINDS[start.kind] for start in self.starts}

    @property
    def name(self) -> str:
        return "?" if self.start is None else self.start.name

    @property
    def ended(self) -> Ended:
        return "open" if self.end is None else how(self.end)

    def __str__(self) -> str:
        return "a run that never started" if self.start is None else f"{self.kind} `{self.name}`"


def how(end: Event) -> Ended:
    """Return how `end` ended its run."""
    error = end.payload.get("error")
    return error.ended if isinstance(error, Failure) else "ended"


class Index:
    """All lives of a recording, in the order of their first events, and the short lists. Read-only once made."""

    def __init__(self, events: list[Event], unseen: Sequence[UnseenCall]) -> None:
        self.events = events
        self.unseen = unseen
        self.lives: dict[int, Life] = {}  # by the number of the run id: hashing a UUID is slow
        self.short: dict[Sort, list[Life]] = {sort: [] for sort in get_args(Sort)}
        """The lives that have unusual events of a sort."""
        self.talking: list[Life] = []
        """The lives that have tokens."""
        self.tool_runs: list[Life] = []
        self.misfits: list[tuple[Life, Event]] = []
        """Ends of another kind of run."""
        self.open: list[Life] = []
        self.orphans: list[tuple[Life, Event]] = []
        """Runs whose parent is not in the recording, and their starts."""
        self.disorderly: list[tuple[Life, Event, Life, Event]] = []
        """Runs that do not lie within their parent, their start, that parent and its start; of ids that were used once."""
        self._sort()
        self._relate()

    def _sort(self) -> None:
        """Sort all events in one pass. Its branches are those of `_add`, unrolled for the most frequent events."""
        lives = self.lives
        life, last = Life(None), None
        for event in self.events:
            kind, run_id = event.kind, event.run_id
            if run_id is not last:  # in a stream, most events are of the run that the last one was of
                last = run_id
                key = run_id.int
                found = lives.get(key)
                if found is None:
                    lives[key] = life = self._born(event)
                    continue
                life = found
            if life.running == 1 and event.parent_run_id is life.start.parent_run_id:  # type: ignore[union-attr]
                if kind == TOKEN and life.tokens:
                    life.tokens.append(event)  # type: ignore[attr-defined]
                    continue
                if life.end is None and kind in _ENDINGS_OF[life.start.kind]:  # type: ignore[union-attr]
                    life.end, life.running = event, 0
                    continue
            self._add(life, event)

    def _born(self, event: Event) -> Life:
        if event.kind not in START_KINDS:
            life = Life(None)
            self._add(life, event)
            return life
        life = Life(event)
        if "synthesised" in event.payload:  # the recorder made it up, because none was fired
            self._put(life, "early", event)
        if event.kind == "on_tool_start":
            self.tool_runs.append(life)
        return life

    def _add(self, life: Life, event: Event) -> None:
        """Add the next event of a life."""
        kind = event.kind
        if kind in START_KINDS:
            life.running += 1
            if life.start is None:
                life.start = event
            else:
                self._put(life, "again", event)
        elif life.start is None:
            self._put(life, "early", event)
        else:
            if event.parent_run_id != life.start.parent_run_id and kind not in WITHOUT_PARENT:
                self._put(life, "astray", event)
            if kind in ENDINGS:
                self._end(life, life.start, event)
            else:
                self._tell(life, event)

    def _put(self, life: Life, sort: Sort, event: Event) -> None:
        if life.add(sort, event):
            self.short[sort].append(life)

    def _end(self, life: Life, start: Event, event: Event) -> None:
        life.running -= 1
        if not life.again and event.kind not in _ENDINGS_OF[start.kind]:
            self.misfits.append((life, event))
        if life.end is None:
            life.end = event
        else:
            self._put(life, "second end", event)

    def _tell(self, life: Life, event: Event) -> None:
        if life.running <= 0:
            self._put(life, "late", event)
        elif event.kind == TOKEN and not life.tokens:
            life.tokens = [event]
            self.talking.append(life)
        elif event.kind == TOKEN:
            life.tokens.append(event)  # type: ignore[attr-defined]
        else:
            self._put(life, "stream" if event.kind == STREAM_EVENT else "other", event)

    def _relate(self) -> None:
        """Find the parent and the root of each life. A life whose parent comes later, or is in a circle, is its own root."""
        for life in self.lives.values():
            start = life.start
            if life.running > 0:
                self.open.append(life)
            if start is None or start.parent_run_id is None:
                continue
            life.parent = parent = self.lives.get(start.parent_run_id.int)
            if parent is None:
                self.orphans.append((life, start))
            elif parent.start is not None:
                first, last, end = parent.start, parent.end, life.end
                if first.number < start.number:
                    life.top = parent.top or parent
                    if last is None or (end is not None and end.number < last.number):
                        continue
                if not (life.again or parent.again):
                    self.disorderly.append((life, start, parent, first))

    @cached_property
    def tools(self) -> dict[str, list[Life]]:
        """The tool runs that answer a tool call, by the id of the call."""
        found: dict[str, list[Life]] = {}
        for life in self.tool_runs:
            call = life.starts[0].payload.get("tool_call_id")
            if isinstance(call, str):
                found.setdefault(call, []).append(life)
        return found

    @cached_property
    def asked(self) -> list[tuple[Life, tuple[ToolCall, ...]]]:
        """Each model run that asked for tools, and its tool calls that have an id."""
        return [(life, calls) for life in self.lives.values() if (calls := _calls(life))]

    @cached_property
    def answered(self) -> set[str]:
        """The ids of the tool calls that a tool message answers, wherever it is. Computed only when needed: it reads every
        message of the recording."""
        return {
            message.tool_call_id
            for event in self.events
            for message in _messages(event.payload.get("messages", event.payload.get("outputs")))
            if message.tool_call_id is not None
        }

    @cached_property
    def parsers(self) -> list[Life]:
        """The runs of LangChain's output parsers that read tool calls as data."""
        return [life for life in self.lives.values() if life.kind == "chain" and life.name.endswith("ToolsParser")]

    @cached_property
    def parsed(self) -> set[str]:
        """The ids of the tool calls in messages that an output parser got. A stream has its input in the end."""
        payloads = [event.payload for life in self.parsers for event in (*life.starts, *life.ends)]
        messages = [message for payload in payloads for message in _messages(payload.get("inputs"))]
        return {call.id for message in messages for call in message.tool_calls if call.id is not None}

    @cached_property
    def together(self) -> set[int]:
        """The model runs (by `id`) that overlap another run of the same name under the same parent."""
        found: set[int] = set()
        before: dict[object, Life] = {}
        for life in self.lives.values():
            if life.start is not None and life.kind in MODELS:
                key = (life.start.parent_run_id, life.name)
                other = before.get(key)
                if other is not None and (other.end is None or other.end.number > life.start.number):
                    found |= {id(other), id(life)}
                before[key] = life
        return found


def _calls(life: Life) -> tuple[ToolCall, ...]:
    generations = life.end.payload.get("generations") if life.end is not None else None
    if not generations or generations[0].message is None:
        return ()
    return tuple(call for call in generations[0].message.tool_calls if call.id is not None)


def _messages(value: object) -> Iterator[Message]:
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, Message):
            yield item
        elif isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, list | tuple):
            todo += item
        elif isinstance(item, Structured):
            todo += item.fields.values()


def read(recording: Recording) -> Index:
    """Return the index of all events of `recording`, including late ones."""
    return Index([*recording, *recording.late_events], list(recording.unseen_calls))
