"""The events of a recording, sorted by run in one pass: what the rules of `llmtest.protocol` look at.

Floor 1. Unlike `Run`, a `Life` also holds what must not be: events before the start, after the end, under another parent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from llmtest.events import END_KINDS, ERROR_KINDS, START_KINDS, Ended, Event, Failure, Message, Structured, ToolCall, UnseenCall
from llmtest.recording import Recording

TOKEN: Final = "on_llm_new_token"
STREAMED: Final = "on_stream_event"
_CUSTOM: Final = "on_custom_event"
_TERMINAL: Final = END_KINDS | ERROR_KINDS


class Life:
    """Everything that was told of one run id. Holds state while the events are sorted; nobody changes it later."""

    __slots__ = (
        "astray",
        "early",
        "ends",
        "late",
        "others",
        "parent",
        "parent_id",
        "root",
        "running",
        "starts",
        "streamed",
        "tokens",
    )

    def __init__(self) -> None:
        self.starts: list[Event] = []
        self.ends: list[Event] = []
        self.tokens: list[Event] = []
        self.streamed: list[Event] = []
        self.others: list[Event] = []
        self.early: list[Event] = []
        """What came before any start."""
        self.late: list[Event] = []
        """What came after the end, but for a second end."""
        self.astray: list[Event] = []
        """What named another parent than the start did."""
        self.parent_id: UUID | None = None
        self.parent: Life | None = None
        self.root: Life = self
        self.running = 0

    def take(self, event: Event, kind: str) -> None:
        """The next event of this run."""
        if kind in START_KINDS:
            self.parent_id = event.parent_run_id
            self.running += 1
            self.starts.append(event)
            return
        if not self.starts:
            self.early.append(event)
            return
        if event.parent_run_id != self.parent_id and kind != _CUSTOM:  # a custom event has no parent id
            self.astray.append(event)
        self._sort(event, kind)

    def _sort(self, event: Event, kind: str) -> None:
        if kind in _TERMINAL:
            self.running -= 1
            self.ends.append(event)
        elif self.running <= 0:
            self.late.append(event)
        elif kind == TOKEN:
            self.tokens.append(event)
        elif kind == STREAMED:
            self.streamed.append(event)
        else:
            self.others.append(event)

    @property
    def once(self) -> bool:
        """Whether exactly one run has this id: a program may give an id to many."""
        return len(self.starts) == 1

    @property
    def kind(self) -> str:
        return START_KINDS[self.starts[0].kind]

    @property
    def kinds(self) -> set[str]:
        """The kind of the run; of each run, where an id was used twice."""
        return {START_KINDS[start.kind] for start in self.starts}

    @property
    def name(self) -> str:
        return self.starts[0].name

    @property
    def ended(self) -> Ended:
        return how(self.ends[0]) if self.ends else "open"

    @property
    def said(self) -> str:
        """The run as it is named in a sentence."""
        return f"{self.kind} `{self.name}`" if self.starts else "a run that never started"


def how(end: Event) -> Ended:
    """How `end` ended its run."""
    error = end.payload.get("error")
    return error.ended if isinstance(error, Failure) else "ended"


@dataclass
class Index:
    """All lives of a recording, in the order in which they were first told of."""

    events: list[Event]
    lives: dict[UUID, Life] = field(default_factory=dict)
    unseen: list[UnseenCall] = field(default_factory=list)

    @cached_property
    def tools(self) -> dict[str, list[Life]]:
        """The tool runs that answer a tool call, by its id."""
        found: dict[str, list[Life]] = {}
        for life in self.lives.values():
            if life.starts and life.kind == "tool" and isinstance(call := life.starts[0].payload.get("tool_call_id"), str):
                found.setdefault(call, []).append(life)
        return found

    @cached_property
    def asked(self) -> list[tuple[Life, tuple[ToolCall, ...]]]:
        """Each model run that asked for tools, and the calls that it asked for."""
        return [(life, calls) for life in self.lives.values() if (calls := _calls(life))]

    @cached_property
    def answered(self) -> set[str]:
        """The ids of the tool calls that a tool message answers, wherever it was seen. Read only when in doubt: it looks at
        every message of the recording."""
        return {
            message.tool_call_id
            for event in self.events
            for message in _messages(event.payload.get("messages", event.payload.get("outputs")))
            if message.tool_call_id is not None
        }

    @cached_property
    def crowded(self) -> set[int]:
        """The model runs (by `id`) that were open together with another one of their name under the same parent."""
        found: set[int] = set()
        before: dict[tuple[UUID | None, str], Life] = {}
        for life in self.lives.values():
            if life.once and life.kind in ("chat", "llm"):
                other = before.get(key := (life.parent_id, life.name))
                if other is not None and not (other.ends and other.ends[0].number < life.starts[0].number):
                    found |= {id(other), id(life)}
                before[key] = life
        return found


def _calls(life: Life) -> tuple[ToolCall, ...]:
    generations = life.ends[0].payload.get("generations") if life.ends and life.starts else None
    if not generations or generations[0].message is None:
        return ()
    return tuple(call for call in generations[0].message.tool_calls if call.id is not None)


def _messages(value: Any) -> Iterator[Message]:
    todo = [value]
    while todo:
        this = todo.pop()
        if isinstance(this, Message):
            yield this
        elif isinstance(this, dict):
            todo += this.values()
        elif isinstance(this, list | tuple):
            todo += this
        elif isinstance(this, Structured):
            todo += this.fields.values()


def read(recording: Recording) -> Index:
    """Sorts the events of `recording`, late ones too. One pass."""
    index = Index([*recording, *recording.late_events], unseen=list(recording.unseen_calls))
    lives = index.lives
    life, last = Life(), None
    for event in index.events:
        run_id = event.run_id
        if run_id is not last:  # most events are of the run that the last one was of
            found = lives.get(run_id)
            if found is None:
                lives[run_id] = found = Life()
            life, last = found, run_id
        kind = event.kind
        if kind == TOKEN and life.running and event.parent_run_id is life.parent_id:
            life.tokens.append(event)  # what `take` does, for by far the most frequent event
        else:
            life.take(event, kind)
    _relate(lives)
    return index


def _relate(lives: dict[UUID, Life]) -> None:
    seen: set[int] = set()
    for life in lives.values():
        if life.parent_id is not None:
            life.parent = lives.get(life.parent_id)
        if life.parent is not None and id(life.parent) in seen:  # else it came too late, or there is a circle
            life.root = life.parent.root
        seen.add(id(life))
