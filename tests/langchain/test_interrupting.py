"""Faults of a program itself: a consumer that leaves a stream, and a graph that is killed between two checkpoints and resumed."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, interrupt

from llmtest import ScriptedChatModel, call, record, say
from llmtest.campaigns import Matrix, faults
from llmtest.campaigns.injection import Injection
from llmtest.langchain import interrupting, tap

CONFIG: Any = {"configurable": {"thread_id": "1"}}


@tool
def pay(order: str) -> str:
    """Pay an order."""
    return f"paid {order}"


def agent(saver: BaseCheckpointSaver[Any]) -> Any:
    model = ScriptedChatModel(call("pay", order="A"), "Done.", name="model")
    return create_agent(model, [pay], checkpointer=saver, name="agent")


def in_memory() -> None:
    assert agent(InMemorySaver()).invoke({"messages": "pay A"}, CONFIG)["messages"][-1].content == "Done."


async def in_memory_async() -> None:
    answer = await agent(InMemorySaver()).ainvoke({"messages": "pay A"}, CONFIG)
    assert answer["messages"][-1].content == "Done."


def killed(program: Any, **options: Any) -> dict[str, str]:
    return {
        cell.name.removesuffix(" killed and resumed"): cell.outcome
        for cell in faults(program, kinds="killed and resumed", **options)
    }


def test_a_graph_is_killed_before_each_of_its_writes_and_resumed() -> None:
    found = killed(in_memory)

    assert found == dict.fromkeys(
        [
            *(f"checkpoint of step {step}#1" for step in (-1, 0, 1, 2, 3)),
            "checkpoint of the writes of __start__#1",
            *(f"checkpoint of the writes of model#{number}" for number in (1, 2)),
            "checkpoint of the writes of task 0#1",
        ],
        "recovered",
    )


def test_an_effect_that_was_not_saved_comes_again() -> None:
    found = killed(in_memory, effects="pay")

    assert {name for name, outcome in found.items() if outcome != "recovered"} == {"checkpoint of the writes of task 0#1"}


def test_ten_campaigns_are_equal() -> None:
    first = killed(in_memory, effects="pay")

    assert [killed(in_memory, effects="pay") for _ in range(9)] == [first] * 9


def test_an_async_graph_is_resumed_too() -> None:
    found = killed(in_memory_async)

    assert len(found) == 9
    assert set(found.values()) == {"recovered"}


def test_a_graph_that_saves_in_sqlite(tmp_path: Path) -> None:
    number = iter(range(99))

    def program() -> None:
        with sqlite3.connect(tmp_path / f"{next(number)}.db", check_same_thread=False) as connection:
            answer = agent(SqliteSaver(connection)).invoke({"messages": "pay A"}, CONFIG)
        connection.close()
        assert answer["messages"][-1].content == "Done."

    found = killed(program)

    assert len(found) == 9
    assert set(found.values()) == {"recovered"}


def test_a_state_that_lives_outside_of_the_graph_is_lost_work() -> None:
    def program() -> None:
        done: list[str] = []

        def first(state: dict[str, Any]) -> dict[str, Any]:
            done.append("first")
            ScriptedChatModel("x", say("x").optional()).invoke("hi")
            return {"n": 1}

        graph = StateGraph(dict)
        graph.add_node("first", first)
        graph.add_edge(START, "first")
        graph.add_edge("first", END)
        graph.compile(checkpointer=InMemorySaver()).invoke({"n": 0}, CONFIG)
        assert done == ["first"]

    found = killed(program)

    assert found["checkpoint of the writes of first#1"] == "wrong and silent"
    assert found["checkpoint of step 1#1"] == "recovered"


def left(program: Any, **options: Any) -> Matrix:
    return faults(program, kinds="consumer stops", **options)


def test_a_consumer_leaves_after_each_chunk() -> None:
    def program() -> None:
        chain = RunnableLambda(lambda x: x) | ScriptedChatModel(say("a", "b", "c"))
        assert [chunk.content for chunk in chain.stream("hi") if chunk.content] == ["a", "b", "c"]

    matrix = left(program)

    assert [cell.name for cell in matrix][:3] == [f"chunk#{number} consumer stops" for number in (1, 2, 3)]
    assert matrix.failed == ()


def test_an_async_consumer_leaves_after_each_chunk() -> None:
    async def program() -> None:
        model = ScriptedChatModel(say("a", "b"))
        assert "".join([chunk.text async for chunk in model.astream("hi")]) == "ab"

    matrix = left(program)

    assert [cell.name for cell in matrix][:2] == ["chunk#1 consumer stops", "chunk#2 consumer stops"]
    assert matrix.failed == ()


def test_a_consumer_that_is_kept_from_leaving_is_wrong() -> None:
    def program() -> None:
        with suppress(BaseException):
            list(ScriptedChatModel(say("a", "b")).stream("hi"))

    assert {cell.outcome for cell in left(program)} == {"wrong and silent"}


def test_a_stream_within_a_stream_has_another_consumer() -> None:
    def program() -> None:
        inner = ScriptedChatModel(say("a", "b"))
        outer = RunnableLambda(lambda x: [chunk.text for chunk in inner.stream(x)])
        assert len(list(outer.stream("hi"))) == 1

    assert [cell.name for cell in left(program)] == ["chunk#1 consumer stops"]


def test_afterwards_everything_is_as_before() -> None:
    before = Runnable.stream, Pregel.invoke, Pregel.stream, InMemorySaver.put, InMemorySaver.aput_writes

    interrupting.install()
    interrupting.install()
    assert Pregel.invoke is not before[1]
    interrupting.uninstall()

    assert (Runnable.stream, Pregel.invoke, Pregel.stream, InMemorySaver.put, InMemorySaver.aput_writes) == before


def test_without_an_injection_what_is_wrapped_does_what_it_does() -> None:
    interrupting.install()
    try:
        in_memory()
        asyncio.run(in_memory_async())
        assert next(ScriptedChatModel("a").stream("hi")).text == "a"
    finally:
        interrupting.uninstall()


@pytest.mark.parametrize(
    ("method", "args", "name"),
    [
        ("put", ({}, {}, {"step": 2}, {}), "checkpoint of step 2"),
        ("put_writes", ({}, [], "id"), "checkpoint of the writes of a task"),
        ("aput_writes", ({}, [], "id", "~__pregel_pull, model"), "checkpoint of the writes of model"),
        ("put_writes", ({}, [], "id", "~__pregel_push, 0000000003"), "checkpoint of the writes of task 3"),
    ],
)
def test_the_name_of_a_write(method: str, args: tuple[Any, ...], name: str) -> None:
    assert interrupting._name_of(method, args) == name


def test_an_error_that_is_no_kill_goes_out() -> None:
    async def fails() -> None:
        try:
            await agent(InMemorySaver()).ainvoke({"messages": "pay A"}, CONFIG)
        except TimeoutError:
            raise KeyError("x") from None

    (verdict, *_) = faults(fails, kinds="timeout").verdicts

    assert (verdict.outcome, verdict.why) == ("crash", "KeyError: 'x'")


def test_a_checkpointer_may_call_itself() -> None:
    class Twice(InMemorySaver):
        async def aput(self, *args: Any, **kwargs: Any) -> Any:
            return await super().aput(*args, **kwargs)

    async def program() -> None:
        answer = await agent(Twice()).ainvoke({"messages": "pay A"}, CONFIG)
        assert answer["messages"][-1].content == "Done."

    assert list(killed(program)) == list(killed(in_memory_async))


@pytest.mark.parametrize("module", ["langgraph.pregel.main", "langgraph.checkpoint.base"])
def test_without_langgraph_there_is_nothing_to_kill(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with Injection(record()):
        assert not hasattr(InMemorySaver.put, "__wrapped__")


def test_a_checkpointer_that_is_defined_later_can_be_killed_too() -> None:
    def program() -> None:
        class Later(InMemorySaver):
            def put(self, *args: Any, **kwargs: Any) -> Any:
                return super().put(*args, **kwargs)

        assert agent(Later()).invoke({"messages": "pay A"}, CONFIG)["messages"][-1].content == "Done."

    usual, later = (faults(each, kinds="killed and resumed") for each in (in_memory, program))

    assert [cell.name for cell in later.cells] == [cell.name for cell in usual.cells]
    assert "__init_subclass__" not in vars(BaseCheckpointSaver)


def test_an_async_database_is_written_in_order() -> None:
    async def program() -> None:
        async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
            answer = await agent(saver).ainvoke({"messages": "pay A"}, CONFIG)
        assert answer["messages"][-1].content == "Done."

    first = killed(program, effects="pay")

    assert [name for name, outcome in first.items() if outcome != "recovered"] == ["checkpoint of the writes of task 0#1"]
    assert [killed(program, effects="pay") for _ in range(3)] == [first] * 3


def test_a_command_that_was_not_saved_is_sent_again() -> None:
    def program() -> None:
        def asks(state: dict[str, Any]) -> dict[str, Any]:
            said = ScriptedChatModel(say("go").repeat(), name="model").invoke("plan").text
            return {"n": said + interrupt("really?")}

        graph = StateGraph(dict)
        graph.add_node("asks", asks)
        graph.add_edge(START, "asks")
        graph.add_edge("asks", END)
        compiled = graph.compile(checkpointer=InMemorySaver())
        compiled.invoke({"n": ""}, CONFIG)
        assert compiled.invoke(Command(resume="yes"), CONFIG)["n"] == "goyes"

    found = killed(program)

    assert "checkpoint of the writes of a task#1" in found
    assert set(found.values()) == {"recovered"}


def test_a_graph_in_a_runnable_without_a_run_is_resumed() -> None:
    class Around(Runnable[Any, str]):
        def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> str:
            text: str = agent(InMemorySaver()).invoke(input, CONFIG)["messages"][-1].text
            return text

    def program() -> None:
        assert Around().invoke({"messages": "pay A"}) == "Done."

    assert set(killed(program).values()) == {"recovered"}


def test_a_graph_that_is_called_by_keyword_is_resumed() -> None:
    def program() -> None:
        answer = agent(InMemorySaver()).invoke(input={"messages": "pay A"}, config=CONFIG)
        assert answer["messages"][-1].content == "Done."

    assert set(killed(program).values()) == {"recovered"}


def test_a_runnable_may_name_its_arguments_as_it_likes() -> None:
    class Asks(Runnable[str, str]):
        def invoke(self, question: str, config: Any = None, **kwargs: Any) -> str:  # type: ignore[override]
            return ScriptedChatModel("Hello", name="model").with_retry().invoke(question).text

    def program() -> None:
        assert Asks().invoke(question="hi") == "Hello"

    assert faults(program, kinds="timeout").counts() == {"recovered": 1}


def test_coverage_and_a_campaign_hear_of_the_same_roots() -> None:
    heard: list[bool] = []

    def hear(_: object, __: str, is_root: bool) -> None:
        heard.append(is_root)

    faults(lambda: ScriptedChatModel("Hello", name="model").invoke("hi"), kinds="timeout")
    tap.hear_starts(hear)
    try:
        faults(lambda: ScriptedChatModel("Hello", name="model").invoke("hi"), kinds="timeout")
    finally:
        tap.forget_starts(hear)
    ScriptedChatModel("Hello", name="model").invoke("hi")

    assert heard == [True, True]


async def _shout(text: str) -> None:
    model = ScriptedChatModel(say("a", "b"), name="model")
    with suppress(TimeoutError):
        assert [chunk.text async for chunk in model.astream(text) if chunk.text] == ["a", "b"]
        return
    assert (await model.ainvoke(text)).text == "ab"


def test_an_async_stream_that_fails_is_seen_by_its_caller() -> None:
    async def program() -> None:
        await _shout("hi")

    matrix = faults(program, kinds=["timeout", "consumer stops"])

    assert matrix.failed == ()
    assert matrix.counts() == {"recovered": len(matrix)}
