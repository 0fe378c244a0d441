"""A stored trace is the recording: the same events, order, times and text."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmtest import Recording, ScriptedChatModel, call, record, reply, say
from llmtest.matching import at_most, before, called, model, never, together
from llmtest.protocol import run_checks
from llmtest.tracing.rows import of_all
from llmtest.tracing.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".llmtest" / "traces.sqlite"


@pytest.fixture
def store(path: Path) -> Any:
    with Store(path) as opened:
        yield opened


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"18C in {city}"


def program(*names: str) -> Recording:
    """A recording with one root for each name, which calls a model and a tool."""
    with record() as recording:
        for name in names:
            model = ScriptedChatModel(say("Hel", "lo"), streaming=True)
            steps = RunnableLambda(lambda _: "hi") | model | RunnableLambda(lambda _: weather.invoke({"city": "Paris"}))
            steps.with_config(run_name=name, tags=["a"], metadata={"thread": 7}).invoke(1)
    return recording


def stored(recording: Recording, store: Store) -> list[Recording]:
    store.keep("s", [recording])
    return [store.load(trace) for trace in store.find("s")]


def test_a_stored_trace_is_the_recording(store):
    recording = program("one")

    (back,) = stored(recording, store)

    assert list(back) == list(recording)
    assert [event.thread for event in back] == [event.thread for event in recording]
    assert [(event.monotonic_ns, event.wall_ns) for event in back] == [(e.monotonic_ns, e.wall_ns) for e in recording]
    assert (str(back), back.usage, back.tools, back.closed) == (str(recording), recording.usage, ["weather"], True)
    assert run_checks.check(back) == []


def test_each_root_is_a_trace_of_its_own(store):
    recording = program("one", "two")

    first, second = stored(recording, store)

    told = [(event.kind, event.run_id, event.name, event.payload) for event in recording]
    assert [(event.kind, event.run_id, event.name, event.payload) for event in (*first, *second)] == told
    assert [event.number for event in second] == list(range(len(second)))


def test_what_came_late_is_late_when_it_is_read(store):
    go = threading.Event()
    thread = None

    def leave(_: Any) -> None:
        nonlocal thread
        from contextvars import copy_context

        context = copy_context()
        thread = threading.Thread(target=context.run, args=(lambda: go.wait() and weather.invoke({"city": "Rome"}),))
        thread.start()

    with record() as recording:
        RunnableLambda(leave).invoke(1)
    go.set()
    thread.join()

    (back,) = stored(recording, store)

    assert [event.kind for event in back] == [event.kind for event in recording]
    assert [event.kind for event in back.late_events] == ["on_tool_start", "on_tool_end"]
    assert str(back) == str(recording)


def test_lanes_know_from_where_they_came(store):
    with record() as recording:
        RunnableLambda(str).batch([1, 2])

    back = stored(recording, store)

    for trace in back:
        (event, *_) = trace
        original = next(other for other in recording if other.run_id == event.run_id)
        lanes = [(lane.number, lane.thread, lane.thread_id, lane.task) for lane in (event.lane, event.lane.parent)]
        assert lanes == [(o.number, o.thread, o.thread_id, o.task) for o in (original.lane, original.lane.parent)]


def test_a_run_that_is_open_is_open_when_it_is_read(store):
    recording = Recording()
    recording._raw = program("one")._raw[:2]

    (back,) = stored(recording, store)

    assert back.open_runs.names == ["one", "RunnableLambda"]
    assert store.traces("s")[0].ended == "open"


def test_an_event_of_a_run_that_nobody_saw_start_is_kept(store):
    recording = Recording()
    recording._raw = program("one")._raw[-1:]

    (back,) = stored(recording, store)

    assert [(event.kind, event.name) for event in back] == [("on_chain_end", "")]
    (trace,) = store.traces("s")
    assert (trace.name, trace.kind, trace.ended, trace.runs, trace.events) == ("", "chain", "open", 0, 1)


def test_a_block_within_another_has_no_traces_of_its_own():
    with record() as outer:
        RunnableLambda(str).invoke(1)
        with record() as inner:
            RunnableLambda(str).invoke(2)

    traces = of_all([outer, inner])

    assert [trace.root for trace in traces] == [run.id for run in outer.roots]


def test_shapes_rules_and_texts_say_the_same_of_what_ran_at_once(store):
    asked = reply(*[call("weather", city=city) for city in ("Paris", "Rome", "Lyon")])
    agent = create_agent(ScriptedChatModel(asked, call("weather", city="Bern"), "done"), [weather])
    with record() as recording:
        asyncio.run(agent.ainvoke({"messages": "hi"}))

    (back,) = stored(recording, store)

    assert str(back) == str(recording)
    for trace in (recording, back):
        assert trace.tools == [together("weather", "weather", "weather"), called("weather", city="Bern")]
        assert trace.obeys(before(model("*"), called("weather", city="Paris")), at_most(4, "weather"))
        assert not trace.obeys(never("weather"))
