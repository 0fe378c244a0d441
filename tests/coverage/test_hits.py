"""What the runs of a test hit; tests/coverage/test_proof.py has all kinds of items."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.callbacks import CallbackManager
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from llmtest import ScriptedChatModel, call, fail, record, structured
from llmtest.coverage.hits import Hits
from llmtest.coverage.items import Inventory
from llmtest.langchain.inventory import Reader
from llmtest.langchain.met_objects import Meeting, MetObjects
from tests.support.covering import Covered


class State(TypedDict, total=False):
    text: str


class Form(BaseModel):
    """A form."""

    text: str


class Note(BaseModel):
    """A note."""

    number: int


@tool
def search(query: str) -> str:
    """Search."""
    return query


def test_a_bare_model_and_a_bare_tool_are_no_programs() -> None:
    def work() -> None:
        ScriptedChatModel("x").invoke("hi")
        search.invoke({"query": "x"})

    assert len(Covered(work).inventory) == 0


def test_a_function_that_binds_a_model_has_its_outcomes_when_it_runs() -> None:
    model = ScriptedChatModel(call("search", query="x"))

    def ask(state: State) -> State:
        return {"text": str(model.bind_tools([search], tool_choice="any").invoke("hi"))}

    made = StateGraph(State)
    made.add_node(ask)
    made.add_edge(START, "ask")
    graph = made.compile(name="g")

    found = Covered(lambda: graph.invoke({}), program="g")

    assert found.hits("models") == {"ask.tool_call"}
    assert "ask.several_calls" in found.missed("models")


def test_the_tasks_of_the_functional_api_are_nodes() -> None:
    @task
    def used(text: str) -> str:
        return text

    @task
    def unused(text: str) -> str:
        return text

    @entrypoint()
    def flow(text: str) -> str:
        return used(text).result() if text else unused(text).result()

    found = Covered(lambda: flow.invoke("x"), program="flow")

    assert found.hits("nodes") == {"flow", "used"}
    assert found.missed("nodes") == {"unused"}


@pytest.mark.parametrize(
    ("steps", "given", "refused"),
    [
        ([structured({"text": "x"})], {"Form"}, set()),
        ([call("Form", {"number": "x"}).unchecked(), structured({"number": 1})], {"Note"}, {"Form"}),
    ],
)
def test_structured_answers_of_an_agent(steps: list[Any], given: set[str], refused: set[str]) -> None:
    from langchain.agents.structured_output import ToolStrategy

    agent: Any = create_agent(ScriptedChatModel(*steps), [search], response_format=ToolStrategy(Form | Note), name="agent")

    found = Covered(lambda: agent.invoke({"messages": [("user", "hi")]}), program="agent")

    assert found.hits("answers") == {f"{name}.given" for name in given} | {f"{name}.refused" for name in refused}
    assert "model.text" not in found.missed("models")  # it is forced to call a tool


def test_of_fallbacks_that_overlap_each_has_its_own_attempts() -> None:
    async def bad(text: str) -> str:
        await asyncio.sleep(0)
        raise KeyError(text)

    chain: Runnable[Any, Any] = RunnableLambda(bad, name="bad").with_fallbacks([RunnableLambda(str, name="good")])
    last = RunnableLambda(str, name="last")
    three = RunnableLambda(bad, name="bad").with_fallbacks([RunnableLambda(str, name="good"), last])
    program = RunnableLambda(lambda _: "x") | {"a": three, "b": three}

    one = Covered(lambda: asyncio.run((RunnableLambda(str) | chain).ainvoke("x")))
    several = Covered(lambda: asyncio.run(program.ainvoke("x")))

    for found in (one, several):
        assert {item_id.partition("/")[2] for item_id in found.all_hits if "fallbacks" in item_id} == {"fallbacks/bad.1"}


def test_a_chain_is_called_as_its_run_is() -> None:
    chain = RunnableLambda(str) | StrOutputParser()

    named = Covered(lambda: chain.with_config(run_name="clerk").invoke("x"))
    unnamed = Covered(lambda: chain.invoke("x"))

    assert named.all_hits == {"clerk/modes/invoke"}
    assert unnamed.all_hits == {"str|StrOutputParser/modes/invoke"}


def test_a_model_that_fails_has_failed() -> None:
    agent: Any = create_agent(ScriptedChatModel(fail(TimeoutError)), [], name="agent")

    def work() -> None:
        with pytest.raises(TimeoutError):
            agent.invoke({"messages": [("user", "hi")]})

    found = Covered(work, program="agent")

    assert found.hits("models") == {"model.error"}
    assert found.hits("nodes") == {"model"}


def test_runs_may_be_nested_deeper_than_python_calls_functions() -> None:
    def work() -> None:
        runs = [CallbackManager.configure().on_chain_start({"name": "outer"}, {})]
        for _ in range(3_000):
            runs.append(runs[-1].get_child().on_chain_start({"name": "inner"}, {}))
        for run in reversed(runs):
            run.on_chain_end({})

    assert Covered(work).all_hits == set()


THREAD: Any = {"configurable": {"thread_id": "1"}}


def asking(*names: str, around: str = "") -> Any:
    """Return a graph whose nodes all ask at once; `around` is the node of a graph that has it inside."""

    def node(state: State) -> State:
        interrupt("?")
        return {}

    made = StateGraph(State)
    for name in names:
        made.add_node(name, node)
        made.add_edge(START, name)
    if not around:
        return made.compile(name="asking", checkpointer=InMemorySaver())
    outer = StateGraph(State)
    outer.add_node(around, made.compile(name="asking"))
    outer.add_edge(START, around)
    return outer.compile(name="outer", checkpointer=InMemorySaver())


@pytest.mark.parametrize("around", ["", "inner"])
def test_a_run_that_answers_nothing_resumes_no_interrupt(around: str) -> None:
    graph = asking("ask", around=around)

    found = Covered(lambda: [graph.invoke(given, THREAD) for given in ({}, None)], program="asking")

    assert (found.hits("interrupts"), found.missed("interrupts")) == ({"ask.raised"}, {"ask.resumed"})


@pytest.mark.parametrize("around", ["", "inner"])
def test_an_answer_resumes_an_interrupt_in_the_graph_and_inside_it(around: str) -> None:
    graph = asking("ask", around=around)

    found = Covered(lambda: [graph.invoke(given, THREAD) for given in ({}, Command(resume="yes"))], program="asking")

    assert found.hits("interrupts") == {"ask.raised", "ask.resumed"}


def test_of_two_interrupts_the_one_that_is_answered_is_resumed() -> None:
    graph = asking("one", "two")

    def work() -> None:
        asked = graph.invoke({}, THREAD)["__interrupt__"]
        graph.invoke(Command(resume={asked[0].id: "yes"}), THREAD)

    found = Covered(work, program="asking")

    assert len(found.hits("interrupts") - {"one.raised", "two.raised"}) == 1
    assert len(found.missed("interrupts")) == 1


def test_an_answer_that_no_model_gave_is_none() -> None:
    chain: Any = ScriptedChatModel(fail(TimeoutError)).with_structured_output(Form)
    form = RunnableLambda(lambda _: Form(text="by hand"), name="form")

    found = Covered(lambda: chain.with_fallbacks([form]).with_config(run_name="chain").invoke("hi"), program="chain")

    assert found.missed("answers") == {"Form.given", "Form.refused"}


def test_a_tool_whose_answer_may_be_its_error_is_ambiguous() -> None:
    @tool
    def sell(amount: int = 1) -> str:
        """Sell."""
        raise ToolException("sold out")

    sell.handle_tool_error = True
    sell.handle_validation_error = str

    desk = RunnableLambda(lambda _: sell.invoke({"amount": 2}), name="desk")

    found = Covered(lambda: desk.invoke(1), program="desk")

    assert found.hits("tools") == {"sell.called"}
    assert found.ambiguous("tools") == {"sell.answered", "sell.raised", "sell.refused"}
    assert (found.hits("arguments"), found.ambiguous("arguments")) == (set(), {"sell.amount.given"})


@pytest.mark.parametrize(("given", "act"), [({"text": "x"}, "given"), ({"text": 1}, "refused")])
def test_an_answer_whose_error_is_kept_is_refused(given: dict[str, Any], act: str) -> None:
    model = ScriptedChatModel(call("Form", given).unchecked())
    chain = model.with_structured_output(Form, include_raw=True).with_config(run_name="chain")

    found = Covered(lambda: chain.invoke("hi"), program="chain")

    assert found.hits("answers") == {f"Form.{act}"}


class Twice(Runnable[Any, Any]):
    """Runs another runnable two times, and makes no run of its own."""

    def __init__(self, inner: Runnable[Any, Any]) -> None:
        self.inner = inner

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return self.inner.invoke(self.inner.invoke(input, config), config)


@pytest.mark.parametrize(("given", "used"), [(9, set()), (1, {"Twice.1"}), (0, {"Twice.1"})])
def test_a_fallback_is_used_after_a_failure_and_not_after_a_second_run(given: int, used: set[str]) -> None:
    """The alternative fails in its second run for 1, and in its first for 0."""
    positive = RunnableLambda(lambda number: [].pop() if number < 1 else number - 1, name="positive")
    chain = Twice(positive).with_fallbacks([RunnableLambda(str, name="text")])

    found = Covered(lambda: chain.with_config(run_name="chain").invoke(given), program="chain")

    assert found.hits("fallbacks") == used


def test_a_retry_of_one_attempt_is_none() -> None:
    chain = RunnableLambda(str, name="text").with_retry(stop_after_attempt=1)

    assert not [item for item in Covered(lambda: chain.invoke(1)).inventory if item.kind == "retries"]


def test_values_that_differ_in_a_space_are_two() -> None:
    @tool
    def bake(heat: Literal["very hot", "very_hot"] = "very hot") -> str:
        """Bake."""
        return heat

    agent: Any = create_agent(ScriptedChatModel(call("bake", heat="very_hot"), "Done."), [bake], name="agent")

    found = Covered(lambda: agent.invoke({"messages": [("user", "hi")]}), program="agent")

    assert found.hits("arguments") == {"bake.heat.given", "bake.heat.='very_hot'"}
    assert found.missed("arguments") == {"bake.heat.left_out", "bake.heat.='very hot'"}


@pytest.mark.parametrize(("kind", "hit"), [("approve", {"one/interrupts/search.approve"}), ("reject", set())])
def test_a_decision_that_is_refused_is_none(kind: str, hit: set[str]) -> None:
    def agent(name: str, *allowed: Any, then: Sequence[str] = ()) -> Any:
        middleware = HumanInTheLoopMiddleware(interrupt_on={"search": {"allowed_decisions": list(allowed)}})
        model = ScriptedChatModel(call("search", query="x"), *then)
        return create_agent(model, [search], middleware=[middleware], checkpointer=InMemorySaver(), name=name)

    one, other = agent("one", "approve", then=["Done."] if hit else []), agent("other", "approve", "reject")

    def work() -> None:
        for asked in (other, one):
            asked.invoke({"messages": [("user", "hi")]}, THREAD)
        with suppress(ValueError):
            one.invoke(Command(resume={"decisions": [{"type": kind}]}), THREAD)

    assert {item_id for item_id in Covered(work).all_hits if "/interrupts/" in item_id} == hit


def test_a_graph_that_refuses_its_input_has_run_no_node() -> None:
    made = StateGraph(State)
    made.add_node("a", lambda state: {})
    made.add_edge(START, "a")
    graph = made.compile(name="g")

    def work() -> None:
        with suppress(Exception):
            graph.invoke("no state")

    found = Covered(work, program="g")

    assert (found.hits("nodes"), found.hits("edges"), found.hits("modes")) == (set(), set(), {"invoke"})


def test_a_run_that_a_program_makes_by_hand_may_be_any_call() -> None:
    class Own(RunnableLambda[Any, Any]):
        def run(self) -> None:
            CallbackManager.configure().on_chain_start({"name": "own"}, {}).on_chain_end({})

    found = Covered(lambda: Own(str).run(), program="own")

    assert (found.hits("modes"), found.ambiguous("modes")) == (set(), {"abatch"})


def test_a_model_that_is_named_has_its_outcomes() -> None:
    model, met, inventory = ScriptedChatModel("Hello.", model_name="clerk"), MetObjects(), Inventory()
    with met.listening(), record() as recording:
        model.invoke("hi")

    hits = Hits(Meeting(met, Reader(), [model]), inventory)
    hits.add(recording.roots)

    assert hits.hits == {"clerk/models/model.text", "clerk/modes/invoke"}
