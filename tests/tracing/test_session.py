"""Tracing: who is traced and who is not; nothing that is wrong with the store reaches the program."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.agents import AgentExecutor, create_react_agent
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmtest import Script, ScriptedChatModel, ScriptedLLM, call, load_traces, on, record, tracing_enabled
from llmtest.capture import blocks
from llmtest.errors import StoreError
from llmtest.protocol import run_checks
from llmtest.tracing import session as trace_session
from llmtest.tracing.store import Store, place


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "traces.sqlite"
    monkeypatch.setenv("LLMTEST_STORE", str(path))
    monkeypatch.delenv("LLMTEST_TRACING", raising=False)
    return path


def traced() -> dict[str, int]:
    """How many traces each session has in the store."""
    trace_session.flush()
    with Store(place()) as store:
        return {session.name: session.traces for session in store.sessions()}


def step(name: str = "step") -> Any:
    return RunnableLambda(str).with_config(run_name=name)


# -- a block


def test_a_block_writes_what_it_recorded():
    with tracing_enabled("mine") as session:
        step().invoke(1)

    assert session
    assert (session.name, session.store, len(session.recording)) == ("mine", place(), 2)
    assert repr(session) == "<Session 'mine': <Recording: 2 events, 1 runs>>"
    (back,) = load_traces("mine")
    assert list(back) == list(session.recording)


def test_a_session_without_a_name_is_the_default_one():
    with tracing_enabled():
        step().invoke(1)

    assert traced() == {"default": 1}


def test_a_block_in_which_nothing_runs_writes_nothing():
    with tracing_enabled() as session:
        pass

    assert session
    assert traced() == {}


def test_a_session_grows_with_each_block_of_its_name():
    for _ in range(3):
        with tracing_enabled("mine"):
            step().invoke(1)

    assert traced() == {"mine": 3}


def test_nested_blocks_both_get_the_run():
    with tracing_enabled("outer"):
        step().invoke(1)
        with tracing_enabled("inner"):
            step().invoke(2)

    assert traced() == {"outer": 2, "inner": 1}


@pytest.mark.asyncio
async def test_a_block_is_left_by_its_exception_and_written():
    with pytest.raises(ValueError, match="mine"):
        async with tracing_enabled("mine"):
            await step().ainvoke(1)
            raise ValueError("mine")

    assert traced() == {"mine": 1}


def test_a_decorated_function_is_traced_at_each_call():
    session = tracing_enabled("decorated")

    @session
    def work(value: int) -> str:
        return step().invoke(value)

    assert [work(1), work(2)] == ["1", "2"]
    step().invoke(3)

    assert traced() == {"decorated": 2}
    assert session.recording.runs.names == ["step", "step"]


def test_a_block_is_entered_once():
    block = tracing_enabled()
    with block:
        pass

    with pytest.raises(RuntimeError) as caught, block:
        pass

    assert str(caught.value) == "this tracing_enabled() block was already entered; write tracing_enabled() anew for each block"


def test_work_that_outlives_the_block_is_written_when_it_ends():
    go, started = threading.Event(), threading.Event()

    def wait(_: Any) -> None:
        started.set()
        go.wait()

    from contextvars import copy_context

    with tracing_enabled("mine"):
        thread = threading.Thread(target=copy_context().run, args=(RunnableLambda(wait).invoke, 1))
        thread.start()
        started.wait()
    (before,) = load_traces("mine")
    go.set()
    thread.join()

    (after,) = load_traces("mine")
    assert (before.kinds, before.open_runs.names) == (["on_chain_start"], ["wait"])
    assert ([event.kind for event in after.late_events], after.kinds) == (["on_chain_end"], ["on_chain_start"])
    assert traced() == {"mine": 1}


def test_what_is_written_is_forgotten_by_the_writer():
    with tracing_enabled("mine"):
        step().invoke(1)

    trace_session.flush()

    assert [tracked.session.name for tracked in trace_session._writers[0]._tracked if tracked.session.name == "mine"] == []
    assert trace_session._writers[0]._stores == {}


def test_a_trace_is_written_without_being_asked_for(path):
    written = threading.Event()
    with tracing_enabled("mine"):
        step().invoke(1)
        while not written.wait(0.01):
            with Store(path) as store:
                if store.sessions():
                    written.set()

    assert traced() == {"mine": 1}


# -- the variable


@pytest.mark.parametrize("value", ["true", "1", "yes", "TRUE"])
def test_the_variable_traces_the_whole_process(value, monkeypatch):
    with record():  # somebody has listened before
        pass
    monkeypatch.setenv("LLMTEST_TRACING", value)

    step().invoke(1)
    with record() as recording:
        step().invoke(2)

    assert traced() == {"default": 2}
    assert len(recording) == 2


@pytest.mark.parametrize("value", ["", "0", "false", "No", "off"])
def test_the_variable_can_say_no(value, monkeypatch):
    monkeypatch.setenv("LLMTEST_TRACING", value)

    step().invoke(1)

    assert traced() == {}


def test_in_a_block_its_session_gets_the_run_also_with_the_variable(monkeypatch):
    monkeypatch.setenv("LLMTEST_TRACING", "true")

    with tracing_enabled("mine"):
        step().invoke(1)
    step().invoke(2)

    assert traced() == {"mine": 1, "default": 1}


def test_the_variable_is_read_when_a_root_starts(monkeypatch):
    def switch(value: str | None) -> Any:
        def act(_: Any) -> None:
            monkeypatch.delenv("LLMTEST_TRACING") if value is None else monkeypatch.setenv("LLMTEST_TRACING", value)

        return RunnableLambda(act)

    (switch("true") | step("of a root that was not traced")).invoke(1)
    (switch(None) | step("of a root that was traced")).invoke(1)
    step("after").invoke(1)

    (trace,) = load_traces("default")
    assert trace.runs.names == ["RunnableSequence", "act", "of a root that was traced"]


def test_the_recordings_of_the_variable_do_not_pile_up(monkeypatch):
    monkeypatch.setenv("LLMTEST_TRACING", "true")
    step().invoke(1)
    monkeypatch.delenv("LLMTEST_TRACING")
    gc.collect()
    before = len(blocks.memberships)

    trace_session.flush()
    gc.collect()

    assert len(blocks.memberships) == before - 1


def test_import_loads_the_tap_if_the_variable_is_set(path):
    code = (
        "import sys, llmtest; from langchain_core.runnables import RunnableLambda; RunnableLambda(str).invoke(1);"
        "print('llmtest.langchain.tap' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LLMTEST_TRACING": "true"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("True\n", "")
    assert traced() == {"default": 1}


def test_langchains_own_variable_makes_langchain_raise(monkeypatch):
    monkeypatch.setenv("LANGCHAIN_TRACING", "true")

    with pytest.raises(RuntimeError, match="Tracing using LangChainTracerV1 is no longer supported"):
        step().invoke(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_writes_what_it_started_and_leaves_the_rest_to_its_parent(path):
    code = (
        "import os; from langchain_core.runnables import RunnableLambda; from llmtest import tracing_enabled\n"
        "from llmtest.tracing import session as trace_session\n"
        "def fork(_):\n    global child\n    child = os.fork()\n"
        "with tracing_enabled('mine'):\n"
        "    RunnableLambda(fork).invoke(1)\n"
        "    if child == 0:\n        RunnableLambda(str).invoke(2)\n        trace_session.flush()\n        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )

    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)

    assert sorted(trace.runs.names for trace in load_traces("mine")) == [["fork"], ["str"]]


def test_the_writer_of_a_forked_process_leaves_what_began_before(path):
    with record() as before:
        step("before").invoke(1)
    session = trace_session.Session("mine")
    session.recording._raw = before._raw[:1]
    writer = trace_session._Writer()
    writer._tracked.append(trace_session.Tracked(session))

    heir = writer.heir()
    with record() as after:
        step("after").invoke(2)
    session.recording._raw += [*before._raw[1:], *after._raw]
    session.recording.close()
    heir.write()

    assert [trace.runs.names for trace in load_traces("mine")] == [["after"]]
    assert heir._tracked == []


def test_a_fork_gets_a_writer_of_its_own():
    before = list(trace_session._writers)

    trace_session._forked()

    heir = trace_session._writers.pop(0)
    assert trace_session._writers == before
    assert heir is not before[0]


# -- a store that is away


def test_a_store_that_is_away_is_one_warning_for_each_session(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "file" / "traces.sqlite"))

    for _ in range(2):
        for name in ("one", "two"):
            with tracing_enabled(name) as session:
                step().invoke(1)
            trace_session.flush()

    assert len(session.recording) == 2
    assert [(record.name, record.levelno) for record in caplog.records] == [("llmtest", logging.WARNING)] * 2
    first, reason, remedy = caplog.records[0].getMessage().splitlines()
    assert first == "session 'one' is not stored; the program goes on, and the block's `.recording` has everything"
    assert reason.startswith(f"the trace store {place()} cannot be opened or written (")
    assert remedy == "  set LLMTEST_STORE to another file, in a folder that can be written"
    with pytest.raises(StoreError):
        load_traces("one")


def test_a_fault_of_ours_is_a_warning_too(caplog):
    with tracing_enabled("mine") as session:
        step().invoke(1)
        session.recording._raw.append(("on_text", session.recording._raw[0][1], None, lambda: 1 / 0, 0, 0, None))

    trace_session.flush()

    (told,) = caplog.records
    assert told.getMessage().endswith("\na trace could not be written: ZeroDivisionError: division by zero")
    assert told.exc_info
    session.recording._raw.pop()


def test_a_session_that_is_not_there_is_an_error_that_says_so():
    with pytest.raises(StoreError) as caught:
        load_traces("mine")

    assert str(caught.value) == f"no session and no trace called 'mine' in {place()}; `llmtest sessions` lists all sessions"


def test_another_store_can_be_read(tmp_path):
    with Store(tmp_path / "other.sqlite") as store:
        with record() as recording:
            step().invoke(1)
        store.keep("mine", [recording])

    assert [trace.runs.names for trace in load_traces("mine", store=tmp_path / "other.sqlite")] == [["step"]]


# -- the programs of the guide: five questions, a search tool and a calculator

FOUND = {
    "US Open men's final 2019 winner": "Rafael Nadal",
    "Olivia Wilde boyfriend": "Harry Styles",
    "Formula 1 Grand Prix Winner": "Max Verstappen",
    "US Open women's final 2019 winner": "Bianca Andreescu",
    "Jay-Z's wife": "Beyoncé",
}
QUESTIONS = [
    "Who won the US Open men's final in 2019? What is his age raised to the 0.334 power?",
    "Who is Olivia Wilde's boyfriend? What is his current age raised to the 0.23 power?",
    "Who won the most recent formula 1 grand prix? What is their age raised to the 0.23 power?",
    "Who won the US Open women's final in 2019? What is her age raised to the 0.34 power?",
    "Who is Beyoncé's husband? What is his age raised to the 0.19 power?",
]


@tool
def search(query: str) -> str:
    """Search the web."""
    return FOUND[query]


@tool
def calculator(expression: str) -> str:
    """Calculate."""
    return f"Answer: {eval(expression.replace('^', '**'))}"


def rules(answers: dict[str, list[Any]]) -> list[Any]:
    return [on(contains=question) >> Script(*steps) for question, steps in answers.items()]


def modern(asked: list[str]) -> Any:
    """An agent that is asked so, and how a question is put to it."""
    found = dict(zip(QUESTIONS, FOUND, strict=True))
    steps = {q: [call("search", query=found[q]), call("calculator", expression="37^0.334"), "I know."] for q in asked}
    return create_agent(ScriptedChatModel(*rules(steps)), [search, calculator], name="agent"), "messages"


def classic(asked: list[str]) -> Any:
    """The same with the agent of the guide's own time."""
    found = dict(zip(QUESTIONS, FOUND, strict=True))
    calculate = "I calculate\nAction: calculator\nAction Input: 37^0.334"
    final = "I now know the final answer.\nFinal Answer: done"
    steps = {q: [f"I look it up\nAction: search\nAction Input: {found[q]}", calculate, final] for q in asked}
    prompt = PromptTemplate.from_template("{tools} {tool_names} Question: {input}\n{agent_scratchpad}")
    tools = [search, calculator]
    agent = create_react_agent(ScriptedLLM(*rules(steps)), tools, prompt)
    return AgentExecutor(agent=agent, tools=tools), "input"


def asked_in(session: str) -> list[str]:
    """The questions whose traces a session has; each of them is whole."""
    traces = load_traces(session)
    assert [trace.tools for trace in traces] == [["search", "calculator"]] * len(traces)
    assert [(len(trace.roots), list(trace.open_runs), run_checks.check(trace)) for trace in traces] == [(1, [], [])] * len(traces)
    texts = [str(trace.roots[0].input) for trace in traces]
    return [next(question for question in QUESTIONS if question in text) for text in texts]


@pytest.mark.parametrize("make", [modern, classic])
def test_the_guides_first_program_the_variable_traces_inside_and_outside_of_the_block(make, monkeypatch):
    agent, key = make(QUESTIONS[:2])
    monkeypatch.setenv("LLMTEST_TRACING", "true")

    agent.invoke({key: QUESTIONS[0]})
    with tracing_enabled() as session:
        assert session
        agent.invoke({key: QUESTIONS[1]})

    assert asked_in("default") == QUESTIONS[:2]


@pytest.mark.parametrize("make", [modern, classic])
def test_the_guides_second_program_the_block_traces_into_its_session_and_nothing_else_is_traced(make):
    agent, key = make(QUESTIONS[:2])

    with tracing_enabled("my_test_session") as session:
        assert session
        agent.invoke({key: QUESTIONS[0]})
    agent.invoke({key: QUESTIONS[1]})

    assert asked_in("my_test_session") == QUESTIONS[:1]
    assert traced() == {"my_test_session": 1}


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [modern, classic])
@pytest.mark.parametrize("variable", [False, True])
async def test_the_guides_third_program_a_task_from_before_the_block_is_not_in_it(make, variable, monkeypatch):
    agent, key = make(QUESTIONS)
    if variable:
        monkeypatch.setenv("LLMTEST_TRACING", "true")

    task = asyncio.create_task(agent.ainvoke({key: QUESTIONS[0]}))
    with tracing_enabled("block") as session:
        assert session
        await asyncio.gather(*[agent.ainvoke({key: question}) for question in QUESTIONS[1:]])
    await task

    assert sorted(asked_in("block")) == sorted(QUESTIONS[1:])
    assert traced() == ({"default": 1, "block": 4} if variable else {"block": 4})
    assert not variable or asked_in("default") == QUESTIONS[:1]


@pytest.mark.parametrize("make", [modern, classic])
def test_without_a_variable_and_a_block_nothing_is_traced(make):
    agent, key = make(QUESTIONS[:1])

    agent.invoke({key: QUESTIONS[0]})

    assert traced() == {}


@pytest.mark.parametrize("store", [None, "traces.sqlite", "~/traces.sqlite"])
def test_a_block_opens_where_blocking_calls_are_forbidden(
    store: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if store is None:
        monkeypatch.delenv("LLMTEST_STORE")
    else:
        monkeypatch.setenv("LLMTEST_STORE", store)

    def forbidden(*_: object) -> str:
        raise AssertionError("a blocking call")

    with monkeypatch.context() as patched:  # as blockbuster does it on an event loop
        patched.setattr(os, "getcwd", forbidden)
        patched.setattr(os.path, "abspath", forbidden)
        session = tracing_enabled("mine")
        with session:
            pass

    folder = {None: tmp_path / ".llmtest", "traces.sqlite": tmp_path}.get(store, Path.home())
    assert session.store == folder / "traces.sqlite"
