"""A stored trace is the recording: the same events, order, times and text."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langgraph.graph import START, MessagesState, StateGraph

from llmtest import Recording, ScriptedChatModel, call, record, reply
from llmtest.events import UnseenCall
from llmtest.ledger import Outside, opened
from llmtest.matching import at_most, before, called, model, never, together
from llmtest.protocol import run_checks
from llmtest.tracing import jsonl
from llmtest.tracing.rows import of_all
from llmtest.tracing.store import Store
from tests.support.stored import program, stored
from tests.support.tools import weather


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


# -- the order of a program whose tasks show their first event late


async def _beneath(_: Any) -> str:
    """Two models, one after the other, each in a task below a task without events of its own."""

    async def middle(model: ScriptedChatModel) -> None:
        await asyncio.create_task(model.ainvoke("first"))
        await asyncio.create_task(model.ainvoke("second"))

    await asyncio.create_task(middle(ScriptedChatModel("zzz", "aaa")))
    return "done"


async def _prompt_then_model(state: Any) -> Any:
    prompt = await ChatPromptTemplate.from_messages([("human", "{q}")]).ainvoke({"q": "hi"})
    return {"messages": [await ScriptedChatModel("zzz").ainvoke(prompt)]}


def _graph() -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("ask", _prompt_then_model)
    graph.add_edge(START, "ask")
    return graph.compile()


def _retried() -> Any:
    tries = itertools.count()

    async def fetch(_: Any) -> str:
        text = await weather.ainvoke({"city": "Rome"})
        if next(tries) == 0:
            raise ConnectionError("once")
        return str(text)

    return RunnableLambda(fetch).with_retry(wait_exponential_jitter=False)


PROGRAMS: dict[str, Any] = {
    "a task below a silent task": lambda: (RunnableLambda(_beneath), "x"),
    "an async node of a graph": lambda: (_graph(), {"messages": "hi"}),
    "a retried async tool": lambda: (_retried(), "x"),
    "a gather of sequences": lambda: (RunnableParallel(a=RunnableLambda(_beneath), b=RunnableLambda(_beneath)), "x"),
}


@pytest.mark.parametrize("how", ["ainvoke", "astream", "abatch", "astream_events"])
@pytest.mark.parametrize("program_of", PROGRAMS.values(), ids=PROGRAMS)
def test_a_loaded_trace_has_the_order_of_the_program(program_of: Any, how: str, store: Any, tmp_path: Path) -> None:
    runnable, value = program_of()

    async def run() -> None:
        if how == "ainvoke":
            await runnable.ainvoke(value)
        elif how == "abatch":
            await runnable.abatch([value])
        else:
            events = runnable.astream(value) if how == "astream" else runnable.astream_events(value, version="v2")
            async for _ in events:
                pass

    with record() as recording, contextlib.suppress(ConnectionError):  # streams are not retried
        asyncio.run(run())
    (back,) = stored(recording, store)
    with Store(tmp_path / "other.sqlite") as other:
        jsonl.take_in(other, [jsonl.line(store, trace) for trace in store.traces()], lambda done, of: None)
        (imported,) = [other.load(trace) for trace in other.find("s")]

    for copy in (back, imported):
        assert str(copy) == str(recording)
        assert [run.name for run in copy.runs] == [run.name for run in recording.runs]
        assert (copy.models == copy.models.names) is (recording.models == copy.models.names)
        assert copy.outline() == recording.outline()


def test_calls_that_the_recording_did_not_see_are_stored(store: Any) -> None:
    with opened(Outside()):  # or the plugin would report the call
        recording = program("one")
    recording.unseen_calls.append(UnseenCall("ScriptedChatModel", "app.py:3", "worker", "no context"))

    (back,) = stored(recording, store)

    assert back.unseen_calls == recording.unseen_calls
    assert back.obeys(never("delete_*")).holds == recording.obeys(never("delete_*")).holds
