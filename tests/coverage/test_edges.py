"""Edges of graphs, where the steps alone are the evidence; tests/coverage/test_random_graphs.py has the rest."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph._internal._runnable import RunnableCallable
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from tests.support.covering import Covered


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def nothing(state: State) -> State:
    return {}


def graph(*names: str) -> Any:
    made = StateGraph(State)
    for name in names:
        made.add_node(name, nothing)
    return made


def silent(target: Any) -> Any:
    return RunnableCallable(lambda state: target, trace=False)


def covered(made: Any, **options: Any) -> Covered:
    compiled = made.compile(name="g", **options)
    return Covered(lambda: compiled.invoke({"log": []}), program="g")


def test_two_branches_without_a_run_that_can_lead_to_one_node_are_ambiguous() -> None:
    made = graph("a", "b", "c", "d")
    made.add_edge(START, "a")
    made.add_edge(START, "b")
    made.add_conditional_edges("a", silent("c"), ["c", END])
    made.add_conditional_edges("b", silent(END), ["c", "d", END])

    found = covered(made)

    assert found.hits("edges") == {"__start__->a", "__start__->b"}
    assert found.ambiguous("edges") == {"a->c", "b->c", "a->__end__", "b->__end__"}
    assert found.missed("edges") == {"b->d"}


def test_what_another_edge_explains_is_ambiguous_for_a_branch_without_a_run() -> None:
    made = graph("a", "b", "c")
    made.add_edge(START, "a")
    made.add_edge(START, "b")
    made.add_edge("a", "c")
    made.add_conditional_edges("b", silent(END), ["c", END])

    found = covered(made)

    assert found.hits("edges") == {"__start__->a", "__start__->b", "a->c"}
    assert found.ambiguous("edges") == {"b->c", "b->__end__"}


def test_sends_are_counted_so_that_those_of_a_branch_without_a_run_are_known() -> None:
    made = graph("a", "b", "c")
    made.add_edge(START, "a")
    made.add_edge(START, "b")
    made.add_conditional_edges("a", lambda state: [Send("c", {})], ["c"])
    made.add_conditional_edges("b", silent([Send("c", {})]), ["c", END])

    found = covered(made)

    assert found.hits("edges") == {"__start__->a", "__start__->b", "a->c", "b->c"}
    assert found.ambiguous("edges") == set()


def test_a_node_that_waits_for_several_is_led_to_by_each() -> None:
    made = graph("a", "b", "c")
    made.add_edge(START, "a")
    made.add_edge(START, "b")
    made.add_edge(["a", "b"], "c")

    assert covered(made).hits("edges") == {"__start__->a", "__start__->b", "a->c", "b->c"}


def test_a_deferred_node_is_led_to_from_far() -> None:
    made = graph("a", "b")
    made.add_node("last", nothing, defer=True)
    made.add_edge(START, "a")
    made.add_edge("a", "b")
    made.add_edge("a", "last")

    assert covered(made).missed("edges") == set()


def test_a_conditional_start_and_a_branch_that_declares_nothing() -> None:
    made = graph("a", "b")
    made.add_conditional_edges(START, lambda state: "a", ["a", "b"])
    made.add_conditional_edges("a", lambda state: "b")
    made.add_edge("b", END)

    found = covered(made)

    assert found.hits("edges") == {"__start__->a", "a->b", "b->__end__"}
    assert found.missed("edges") == {"__start__->b"}
    unknown = {item.name: item.unknown for item in found.inventory if item.unknown}
    assert unknown == {
        "a->?condition": "the targets of `condition` are not declared: give `path_map`, or annotate its return type with Literal",
        "a->b": "it was taken, and is not declared",
    }


def test_a_graph_that_fails_takes_no_edge_to_the_end() -> None:
    def fail(state: State) -> State:
        raise KeyError("no")

    made = graph("a")
    made.add_node("bad", fail)
    made.add_edge(START, "a")
    made.add_edge(START, "bad")
    made.add_edge("a", END)
    compiled = made.compile(name="g")

    def work() -> None:
        with pytest.raises(KeyError):
            compiled.invoke({"log": []})

    found = Covered(work, program="g")

    assert found.hits("nodes") == {"a", "bad"}
    assert found.hits("edges") == {"__start__->a", "__start__->bad"}


def test_a_handler_of_errors_is_led_to_by_the_node_that_failed() -> None:
    def fail(state: State) -> State:
        raise KeyError("no")

    def handle(state: State) -> State:
        return {"log": ["handled"]}

    made = StateGraph(State)
    try:
        made.add_node("bad", fail, error_handler=handle)
    except TypeError:
        pytest.skip("this LangGraph has no error handlers")
    made.add_edge(START, "bad")

    found = covered(made)

    handlers = {name for name in found.hits("edges") if name.startswith("bad->")}
    assert len(handlers) == 1


def test_a_command_to_the_parent_is_an_edge_of_the_parent() -> None:
    def hand_off(state: State) -> Command[Any]:
        return Command(goto="other", graph=Command.PARENT)

    inner = StateGraph(State)
    inner.add_node("inside", hand_off)
    inner.add_edge(START, "inside")
    outer = StateGraph(State)
    outer.add_node("team", inner.compile(name="team"), destinations=("other",))
    outer.add_node("other", nothing)
    outer.add_edge(START, "team")

    found = covered(outer)

    assert found.hits("edges") == {"__start__->team", "team->other"}
    assert "team/nodes/inside" in found.all_hits


def test_an_edge_over_an_interrupt_is_taken_when_the_graph_goes_on() -> None:
    made = graph("a", "b")
    made.add_edge(START, "a")
    made.add_edge("a", "b")
    made.add_edge("b", END)
    compiled = made.compile(name="g", checkpointer=InMemorySaver(), interrupt_before=["b"])
    config: Any = {"configurable": {"thread_id": "1"}}

    def work() -> None:
        compiled.invoke({"log": []}, config)

    def work_on() -> None:
        work()
        compiled.invoke(None, config)

    assert Covered(work, program="g").hits("edges") == {"__start__->a"}
    config = {"configurable": {"thread_id": "2"}}
    found = Covered(work_on, program="g")
    assert found.hits("edges") == {"__start__->a", "a->b", "b->__end__"}
    assert found.hits("interrupts") == {"before_b.raised", "before_b.resumed"}


def test_of_several_interrupts_before_nodes_the_next_run_shows_which_it_was() -> None:
    made = graph("a", "b")
    made.add_conditional_edges(START, lambda state: "a", ["a", "b"])
    compiled = made.compile(name="g", checkpointer=InMemorySaver(), interrupt_before="*")

    first = Covered(lambda: compiled.invoke({"log": []}, {"configurable": {"thread_id": "1"}}), program="g")

    assert first.hits("interrupts") == set()
    assert first.ambiguous("interrupts") == {"before_a.raised", "before_b.raised"}

    def work() -> None:
        compiled.invoke({"log": []}, {"configurable": {"thread_id": "2"}})
        compiled.invoke(None, {"configurable": {"thread_id": "2"}})

    assert Covered(work, program="g").hits("interrupts") == {"before_a.raised", "before_a.resumed"}


def test_a_new_question_in_an_old_conversation_begins_at_the_start() -> None:
    made = graph("a")
    made.add_edge(START, "a")
    compiled = made.compile(name="g", checkpointer=InMemorySaver())

    def work() -> None:
        for _ in range(2):
            compiled.invoke({"log": []}, {"configurable": {"thread_id": "1"}})

    found = Covered(work, program="g")

    assert found.hits("edges") == {"__start__->a"}
    assert found.missed("edges") == set()


def test_a_command_with_literals_declares_its_edges() -> None:
    def choose(state: State) -> Command[Literal["a", "b"]]:
        return Command(goto=[Send("a", {}), "b"])

    made = graph("a", "b")
    made.add_node(choose)
    made.add_edge(START, "choose")

    found = covered(made)

    assert found.hits("edges") == {"__start__->choose", "choose->a", "choose->b"}
    assert found.missed("edges") == set()


def test_a_node_beside_the_one_that_waits_has_led_on_when_the_graph_goes_on() -> None:
    def ask(state: State) -> State:
        return {"log": [str(interrupt("sure?"))]}

    made = graph("a", "c", "d")
    made.add_node(ask)
    made.add_edge(START, "a")
    made.add_edge(START, "ask")
    made.add_edge("a", "c")
    made.add_edge("ask", "d")
    compiled = made.compile(name="g", checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}

    def work() -> None:
        compiled.invoke({"log": []}, config)
        compiled.invoke(Command(resume="yes"), config)

    found = Covered(work, program="g")

    assert found.hits("edges") == {"__start__->a", "__start__->ask", "a->c", "ask->d"}
    assert found.hits("interrupts") == {"ask.raised", "ask.resumed"}


def test_nodes_that_lead_to_the_end_together() -> None:
    made = graph("a", "b", "c")
    made.add_edge(START, "a")
    made.add_edge(START, "b")
    made.add_edge(["a", "b"], END)
    made.add_edge(["a", "c"], END)

    assert covered(made).hits("edges") == {"__start__->a", "__start__->b", "a->__end__", "b->__end__"}
    assert covered(made).missed("edges") == {"c->__end__"}


def test_a_runnable_in_a_node_that_is_called_as_its_branch_is_no_branch() -> None:
    def is_done(state: State) -> Literal["work", "__end__"]:
        return END if state["log"] else "work"

    asked = RunnableLambda(is_done)

    def work(state: State) -> State:
        return {"log": [asked.invoke({"log": []})]}

    made = StateGraph(State)
    made.add_node("work", work)
    made.add_edge(START, "work")
    made.add_conditional_edges("work", is_done)

    assert covered(made).hits("edges") == {"__start__->work", "work->__end__"}
    assert covered(made).missed("edges") == {"work->work"}


@pytest.mark.parametrize(("goto", "edges"), [(None, {"a->__end__"}), ("b", {"a->b"})])
def test_a_node_that_may_end_with_a_command_and_gives_none_has_ended(goto: str | None, edges: set[str]) -> None:
    made = StateGraph(State)
    made.add_node("a", lambda state: Command(goto=goto) if goto else {}, destinations=("b", END))
    made.add_node("b", nothing)
    made.add_edge(START, "a")

    assert covered(made).hits("edges") == {"__start__->a", *edges}


def test_an_end_beside_a_node_that_another_branch_may_have_led_to_is_ambiguous() -> None:
    made = graph("a", "b", "c")
    made.add_edge(START, "a")
    made.add_edge(START, "b")
    made.add_conditional_edges("a", silent("c"), ["c"])
    made.add_conditional_edges("b", silent(END), ["c", END])

    assert covered(made).ambiguous("edges") == {"a->c", "b->c", "b->__end__"}


def test_only_the_edges_that_a_step_waited_for_are_taken() -> None:
    made = graph("a", "b", "c", "never", "d", "e")
    for name in "abc":
        made.add_edge(START, name)
    made.add_edge(["a", "b"], "d")
    made.add_edge(["c", "never"], "e")

    assert covered(made).hits("edges") == {"__start__->a", "__start__->b", "__start__->c", "a->d", "b->d"}
