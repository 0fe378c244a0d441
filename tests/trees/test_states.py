"""What a tree shows of the state of a graph, and of middleware that does nothing."""

from __future__ import annotations

import operator
import textwrap
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, RetryPolicy

from llmtest import ScriptedChatModel, call, fail, record, say
from llmtest.recording import Recording
from llmtest.trees import parse, render
from llmtest.trees.parsing import write


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    topic: str
    count: int
    seen: Annotated[list[str], operator.add]


def run(given: dict[str, Any], **nodes: Any) -> Recording:
    """The nodes one after the other; what stands in a tuple, side by side."""
    graph = StateGraph(State)
    before: list[str] = [START]
    for name, node in nodes.items():
        row = node if isinstance(node, tuple) else (node,)
        names = [f"{name}{number or ''}" for number in range(len(row))]
        for one, update in zip(names, row, strict=True):
            graph.add_node(one, lambda state, update=update: update)
            for other in before:
                graph.add_edge(other, one)
        before = names
    for other in before:
        graph.add_edge(other, END)
    with record() as recording:
        graph.compile().invoke(given)  # type: ignore[call-overload]
    return recording


def inputs(recording: Recording) -> dict[str, str]:
    """The inputs in the text, by the names of the nodes."""
    root = parse(str(recording))[0]
    runs = [node for row in root.inside for node in ([row] if row.kind == "run" else row.inside)]
    return {
        node.text.split()[1]: next((entry.text for entry in node.inside if entry.sign == ">"), "")
        for node in runs
        if node.kind == "run"
    }


def test_a_state_as_the_nodes_before_have_left_it_is_no_news() -> None:
    recording = run(
        {"topic": "a", "count": 0},
        one={"count": 1},
        two={"messages": [AIMessage("hi")]},
        three={"messages": AIMessage("ho"), "topic": "b"},
        four=Command(update={"count": 2}),
        five=[Command(update={"count": 3}), {"topic": "c"}],
        six={"count": 9},
    )

    assert inputs(recording) == {
        "one": '> ... {"messages": [], "seen": []}',
        **dict.fromkeys(("two", "three", "four", "five", "six"), ""),
    }


def test_what_differs_is_shown() -> None:
    recording = run(
        {"topic": "a", "count": 0},
        one={"seen": ["x"]},
        two={"seen": ["y"]},
        three={"count": 5},
        four={},
    )

    assert inputs(recording)["two"] == ""
    assert inputs(recording)["three"] == '> ... {"seen": ["x", "y"]}'
    assert inputs(recording)["four"] == ""


def test_a_message_that_was_replaced_is_shown() -> None:
    recording = run(
        {"topic": "a", "messages": [("human", "hi")]},
        one={"messages": [AIMessage("first", id="1")]},
        two={"messages": [AIMessage("second", id="1")]},
        three={"topic": "b"},
    )

    assert inputs(recording)["three"] == "> ... u1 a2"


def test_nodes_side_by_side_are_given_the_same_state_and_a_contested_key_is_shown() -> None:
    recording = run(
        {"topic": "a", "count": 0}, one={"count": 1}, two=({"seen": ["x"]}, {"seen": ["y"], "topic": "b"}), three={"count": 2}
    )

    assert inputs(recording) == {
        "one": '> ... {"messages": [], "seen": []}',
        "two": "",
        "two1": "",
        "three": '> ... {"seen": ["x", "y"]}',
    }


def test_a_state_of_one_key_is_shown_whole() -> None:
    class One(TypedDict):
        count: int

    graph = StateGraph(One)
    graph.add_node("one", lambda state: {"count": 1})
    graph.add_node("two", lambda state: {"count": 2})
    graph.add_edge(START, "one")
    graph.add_edge("one", "two")
    with record() as recording:
        graph.compile().invoke({"count": 0})

    assert inputs(recording) == {"one": "", "two": '> {"count": 1}'}


def test_full_detail_has_every_state() -> None:
    recording = run({"topic": "a", "count": 0}, one={"count": 1}, two={"count": 2})

    assert '> {"count": 1, "messages": [], "seen": [], "topic": "a"}' in render(recording, detail="full")


class Silent(AgentMiddleware):
    def before_agent(self, state: Any, runtime: Any) -> None:
        pass

    def before_model(self, state: Any, runtime: Any) -> None:
        pass

    def after_model(self, state: Any, runtime: Any) -> None:
        pass


class Shouting(AgentMiddleware):
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        return {"messages": [AIMessage("HO", id=state["messages"][-1].id)]}


class Asking(AgentMiddleware):
    def __init__(self) -> None:
        self.model = ScriptedChatModel("yes")

    def before_model(self, state: Any, runtime: Any) -> None:
        self.model.invoke("may it?")


@tool
def search(query: str) -> str:
    """Search the web."""
    return "found"


def agent(*middleware: AgentMiddleware) -> Recording:
    built: Any = create_agent(
        ScriptedChatModel(call("search", query="a"), say("Done.").optional()), [search], middleware=middleware
    )
    with record() as recording:
        built.invoke({"messages": [("user", "go")]})
    return recording


def test_hooks_that_do_nothing_are_a_line() -> None:
    recording = agent(Silent(), ModelCallLimitMiddleware(run_limit=3))

    assert str(recording) == textwrap.dedent(
        """\
        chain LangGraph
          > u1: "go"
          @ middleware Silent.before_agent, Silent.before_model, ModelCallLimitMiddleware.before_model
          chain model
            chat ScriptedChatModel tools=search
              + tool1: search(query: string) "Search the web."
              < a1: call1 search(query="a")  usage in=1 out=10
            < a1
          chain ModelCallLimitMiddleware.after_model
            > u1 a1
            < {"run_model_call_count": 1, "thread_model_call_count": 1}
          @ middleware Silent.after_model
          chain tools
            > call1
            tool search(query="a") call1
              < t1: call1 -> "found"
            < t1
          @ middleware Silent.before_model, ModelCallLimitMiddleware.before_model
          chain model
            chat ScriptedChatModel tools=search
              > u1 a1 t1
              < a2: "Done."  usage in=2 out=2
            < a2
          chain ModelCallLimitMiddleware.after_model
            < {"run_model_call_count": 2, "thread_model_call_count": 2}
          @ middleware Silent.after_model
          < u1 a1 t1 a2
        """
    )
    assert [run.name for run in recording.runs].count("Silent.before_model") == 2
    assert render(recording, detail="full").count("chain Silent.before_model") == 2
    assert render(recording, detail="outline").count("chain Silent.before_model") == 2
    assert str(recording.only(kinds=["chain"])).count("chain Silent.before_model") == 2


def test_hooks_that_do_something_are_runs() -> None:
    text = str(agent(Shouting(), Asking()))

    assert "@ middleware" not in text
    assert text.count("chain Asking.before_model") == text.count("chain Shouting.after_model") == 1


def test_a_middleware_that_is_added_or_moved_changes_the_text() -> None:
    texts = {
        str(agent(*row))
        for row in (
            (),
            (Silent(),),
            (Silent(), ModelCallLimitMiddleware(run_limit=9)),
            (ModelCallLimitMiddleware(run_limit=9), Silent()),
        )
    }

    assert len(texts) == 4


def retried(*steps: Any) -> str:
    model = ScriptedChatModel(*steps)
    graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.001, max_interval=0.001, jitter=False)
    graph.add_node("ask", lambda state: {"topic": model.invoke("hi").text}, retry_policy=policy)
    graph.add_node("again", lambda state: {"topic": model.invoke("ho").text}, retry_policy=policy)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "again")
    with record() as recording:
        graph.compile().invoke({"topic": ""})
    return str(recording)


def test_a_node_that_is_run_again_has_the_number_of_its_attempt() -> None:
    text = retried(fail(ConnectionError("no")), fail(ConnectionError("no")), "ok", fail(ConnectionError("no")), "ok")

    assert [line for line in text.splitlines() if line.startswith("  chain")] == [
        "  chain ask",
        "  chain ask attempt=2",
        "  chain ask attempt=3",
        "  chain again",
        "  chain again attempt=2",
    ]
    assert render_again(text) == text


def test_a_node_of_a_loop_has_no_attempts() -> None:
    assert "attempt=" not in str(agent())


def render_again(text: str) -> str:
    return write(parse(text))
