"""A trace loads as what was recorded, whatever that was: random events on random lanes, with late ones, notes and latencies."""

from __future__ import annotations

import itertools
import random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmtest import Recording
from llmtest.concurrency.lanes import Lane
from llmtest.events import Failure, FrozenDict, FrozenList, Generation, Message, UnseenCall, Usage
from llmtest.events.events import Latency
from llmtest.protocol import check
from llmtest.tracing import jsonl
from llmtest.tracing.rows import traces_of
from llmtest.tracing.store import Store
from llmtest.trees import render
from tests.tracing.test_codec import words

ODD: list[Any] = ["", "a\n  > b", "\x1b[2J", "\ud800", 10**5000 % 7, float("inf"), None, True, "x" * 200, "[1]", "é\u202e"]
START = {"chain": "on_chain_start", "chat": "on_chat_model_start", "tool": "on_tool_start", "retriever": "on_retriever_start"}


class Program:
    """Random events with ids and lanes that a seed gives."""

    def __init__(self, seed: int, values: list[Any]) -> None:
        self.random = random.Random(seed)
        self.values = [*values, *ODD]
        self.ids = itertools.count(1)
        self.clock = itertools.count(1_000, 1_000)
        self.open: list[tuple[UUID, UUID | None, str]] = []
        self.recording = Recording()
        self.lanes = self._lanes()

    def _lanes(self) -> list[Lane]:
        """Lanes whose spawners may have a higher number, as those of a task that shows its first event late have."""
        numbers = self.random.sample(range(1, 50), 5)
        lanes: list[Lane] = []
        for number in numbers:
            parent = self.random.choice([None, *lanes])
            joined = self.random.choice([None, 1, 3]) if parent else None
            born = (self.random.choice(lanes), 1) if lanes else None
            thread, task = self.random.choice([("MainThread", "Task-1"), ("MainThread", None), ("pool_0", None)])
            lanes.append(Lane(number, thread, 1 if thread == "MainThread" else number, task, parent, 1, joined, born=born))
        return lanes

    def value(self) -> Any:
        return self.random.choice(self.values)

    def add(self, kind: str, run: UUID, parent: UUID | None, payload: dict[str, Any], start: Any = None) -> None:
        lane = self.random.choice(self.lanes)
        lane.now += 1
        frozen = FrozenDict(payload)
        taken = (*start[:2], lambda: FrozenDict(metadata=start[2], payload=frozen)) if start else lambda: frozen
        mark = None if self.random.random() < 0.05 else (lane, lane.now)
        self.recording._raw.append((kind, run, parent, taken, next(self.clock), next(self.clock), mark))

    def start(self) -> None:
        kind = self.random.choice(list(START))
        run, parent = UUID(int=next(self.ids)), self.random.choice([*self.open, (None,)])[0] if self.open else None
        tags = tuple(self.random.sample(["a", "seq:step:1", "map:key:x", "graph:step:2", "\x1b"], self.random.randint(0, 2)))
        metadata = FrozenDict(langgraph_step=self.random.randint(1, 3), thread=self.value())
        said = {
            "chain": {"inputs": self.value()},
            "chat": {"messages": FrozenList([Message("human", str(self.value()), id="m1")]), "tools": FrozenList(["t"])},
            "tool": {"input_str": "x", "inputs": FrozenDict(a=self.value()), "tool_call_id": "call_1"},
            "retriever": {"query": str(self.value())},
        }[kind]
        self.add(START[kind], run, parent, said, (self.random.choice(["run", "a b", "\x1b", ""]), tags, metadata))
        self.open.append((run, parent, kind))
        if kind == "chat" and self.random.random() < 0.5:
            times = [Latency(self.random.random(), self.random.choice([None, 50.0]), 3)]
            self.recording.latencies[run] = times

    def note(self) -> None:
        run, parent, kind = self.random.choice(self.open)
        notes: list[tuple[str, dict[str, Any]]] = [
            ("on_custom_event", {"name": "n", "data": self.value()}),
            ("on_text", {"text": str(self.value())}),
            ("on_retry", {"attempt_number": 1}),
            ("on_interrupt", {"status": "interrupted", "checkpoint_id": "c", "interrupts": FrozenList([self.value()])}),
        ]
        if kind == "chat":
            notes = [("on_llm_new_token", {"token": str(self.value())})]
        self.add(*self.random.choice(notes)[:1], run, parent, self.random.choice(notes)[1])

    def end(self) -> None:
        run, parent, kind = self.open.pop(self.random.randrange(len(self.open)))
        name = "llm" if kind == "chat" else kind
        if self.random.random() < 0.3:
            ended = self.random.choice(["error", "paused", "cancelled"])
            self.add(f"on_{name}_error", run, parent, {"error": Failure("ValueError", str(self.value()), ended, self.value())})
            return
        answer = Message("ai", str(self.value()), id="m2", usage=Usage(1, 10**30, 3))
        said = {
            "chat": {"generations": FrozenList([Generation("", answer)])},
            "retriever": {"documents": FrozenList()},
            "tool": {"output": self.value()},
            "chain": {"outputs": self.value()},
        }[kind]
        self.add(f"on_{name}_end", run, parent, said)

    def run(self, events: int) -> Recording:
        late = self.random.randint(0, events)
        for number in range(events):
            if number == late:
                self.recording.close()
            acts = [self.start, self.start, self.note, self.end] if self.open else [self.start]
            self.random.choice(acts)()
        self.recording.close()
        if self.random.random() < 0.3:
            self.recording.unseen_calls.append(UnseenCall("ScriptedChatModel", "app.py:3", "t", "no context"))
        return self.recording


def face(recording: Recording) -> Any:
    """What a test can see of a recording."""
    return (
        *(render(recording, detail=detail) for detail in ("outline", "default", "full")),
        list(recording),
        recording.late_events,
        [(event.thread, event.task, event.virtual_ns) for event in (*recording, *recording.late_events)],
        [(broken.code, broken.level, broken.text) for broken in check(recording)],
        recording.unseen_calls,
    )


def part(recording: Recording, root: UUID) -> Recording:
    """The part of a recording that is one trace, without a way through the store."""
    (trace,) = [trace for trace in traces_of(recording) if trace.root == root]
    numbers = [number for number, event in enumerate(recording._read()) if event in trace.events]
    copy = Recording()
    copy._raw = [recording._raw[number] for number in numbers]
    copy._closed, copy._closed_at = True, trace.inside
    copy.latencies = {run: times for run, times in recording.latencies.items() if run in {raw[1] for raw in copy._raw}}
    for call in recording.unseen_calls:
        copy.note_unseen(call)
    return copy


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**9), st.lists(words, max_size=4), st.integers(1, 25))
def test_a_trace_loads_as_what_was_recorded(tmp_path_factory: Any, seed: int, values: list[Any], events: int) -> None:
    recording = Program(seed, values).run(events)
    folder = tmp_path_factory.mktemp("stores")

    with Store(folder / "a.sqlite") as store, Store(folder / "b.sqlite") as other:
        store.keep("s", [recording])
        traces = store.traces()
        assert jsonl.take_in(other, [jsonl.line(store, trace) for trace in traces], lambda done, of: None) == len(traces)
        loaded = {trace.root: [store.load(trace)] for trace in traces}
        for trace in other.traces():
            loaded[trace.root].append(other.load(trace))

    for root, copies in loaded.items():
        expected = face(part(recording, UUID(root)))
        for copy in copies:
            assert face(copy) == expected
