"""Small recordings written by hand: which runs there are, what is in them, and which of them are side by side.

`trace(run("agent", [run("plan")], [run("a"), run("b")]))` is an agent in which `plan` is followed by `a` and `b` at the same
time. Each list is one stage. Stages are steps of a sequence, as LangChain tags them; the runs of a stage are tasks of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from llmtest.concurrency.lanes import Lane
from llmtest.events import EMPTY, Event, FrozenDict, FrozenList, Generation, Message, Run, ToolCall
from llmtest.order.happens_before import HappensBefore
from llmtest.recording import Recording

MAIN = Lane(1, "MainThread", 1)


@dataclass
class Step:
    """A run to be: its name, its kind, what it is given and gives back, and the stages inside it."""

    name: str
    stages: tuple[Sequence[Step], ...] = ()
    kind: str = "tool"
    args: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    open: bool = False
    error: Any = None
    call_id: str | None = None
    asks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    text: str | None = None


def run(name: str, *stages: Sequence[Step], **about: Any) -> Step:
    return Step(name, stages, about.pop("kind", "chain" if stages else "tool"), **about)


def chat(name: str = "gpt", *asks: str, **about: Any) -> Step:
    """A model that asks for tool calls with these ids."""
    return Step(name, kind="chat", asks=asks, **about)


def overlapped(order: HappensBefore, a: Run, b: Run) -> bool:
    """Whether nothing says which of the two came first."""
    return a is not b and not any(order.before(x, y) or order.contains(x, y) for x, y in ((a, b), (b, a)))


class _Writer:
    def __init__(self) -> None:
        self.lanes = itertools.count(2)
        self.ids = itertools.count(1)

    def events(self, step: Step, parent: UUID | None, lane: Lane, number: int) -> Iterator[Event]:
        run_id = UUID(int=next(self.ids))
        tags = (f"seq:step:{number}", *step.tags)
        about = (run_id, parent, step.name, tags, EMPTY)
        yield Event(_start_of(step.kind), *about, _given(step), lane=lane)
        for n, stage in enumerate(step.stages, 1):
            yield from self.stage(stage, run_id, lane, n)
        if not step.open:
            yield Event(f"on_{'llm' if step.kind == 'chat' else step.kind}_{_how(step)}", *about, _result(step), lane=lane)

    def stage(self, stage: Sequence[Step], parent: UUID | None, lane: Lane, number: int) -> Iterator[Event]:
        if len(stage) == 1:
            yield from self.events(stage[0], parent, lane, number)
            return
        branches = [self.events(step, parent, self._lane(lane), number) for step in stage]
        while branches:  # one event of each in turn
            for branch in list(branches):
                event = next(branch, None)
                if event is None:
                    branches.remove(branch)
                else:
                    yield event

    def _lane(self, parent: Lane) -> Lane:
        number = next(self.lanes)
        return Lane(number, "MainThread", 1, f"Task-{number}", parent)


def _start_of(kind: str) -> str:
    return "on_chat_model_start" if kind == "chat" else f"on_{kind}_start"


def _how(step: Step) -> str:
    return "end" if step.error is None else "error"


def _given(step: Step) -> FrozenDict:
    given: dict[str, Any] = {"inputs": FrozenDict(step.args)} if step.kind in ("tool", "chain") and step.text is None else {}
    if step.text is not None:
        given["input_str"] = step.text
    if step.call_id is not None:
        given["tool_call_id"] = step.call_id
    return FrozenDict(given)


def _result(step: Step) -> FrozenDict:
    if step.error is not None:
        return FrozenDict(error=step.error)
    if step.kind == "chat":
        calls = tuple(ToolCall("tool", EMPTY, call) for call in step.asks)
        return FrozenDict(generations=FrozenList([Generation("", Message("ai", "", calls))]))
    return FrozenDict({"output" if step.kind == "tool" else "outputs": step.output})


class Trace(Recording):
    """A recording that was written by hand."""

    def __init__(self, events: Sequence[Event]) -> None:
        super().__init__()
        self._raw = [(e.kind, e.run_id, e.parent_run_id, None, n, n, e.lane) for n, e in enumerate(events)]
        self._events = [
            Event(e.kind, e.run_id, e.parent_run_id, e.name, e.tags, e.metadata, e.payload, n, n, n, e.lane)
            for n, e in enumerate(events)
        ]
        self.close()


def trace(*stages: Sequence[Step] | Step) -> Trace:
    """The recording of a program: stages one after the other, on the main thread. A bare step is a stage of its own."""
    writer = _Writer()
    found: list[Event] = []
    for n, stage in enumerate(stages, 1):
        found += writer.stage([stage] if isinstance(stage, Step) else stage, None, MAIN, n)
    return Trace(found)


def names(runs: Sequence[Run]) -> list[str]:
    return [one.name for one in runs]
