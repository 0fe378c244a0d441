"""Requests and the keys that assign steps to them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from llmtest import (
    Script,
    ScriptedChatModel,
    call,
    on,
    say,
)
from llmtest.errors import ScriptError
from tests.support.doubles import two_nodes, violation
from tests.support.tools import publish, search


def test_a_key_looks_at_the_whole_prompt() -> None:
    model = ScriptedChatModel(on(contains="planner") >> "plan", on(contains=["writer", "brief"]) >> "text")

    answers = [
        model.invoke([("system", f"You are the {who}. Be brief."), ("human", "go")]).content for who in ("writer", "planner")
    ]

    assert answers == ["text", "plan"]


def test_bound_tools_tell_the_roles_of_a_multi_agent_program_apart() -> None:
    model = ScriptedChatModel(
        on(tools={"search"}) >> Script(call("search", q="x"), "found it"),
        on(tools={"publish"}) >> Script(call("publish", text="y"), "published"),
    )
    researcher = create_agent(model, [search], name="researcher")
    publisher = create_agent(model, [publish], name="publisher")

    said = [agent.invoke({"messages": "go"})["messages"][-1].content for agent in (publisher, researcher)]

    assert said == ["published", "found it"]


def test_a_key_that_names_all_bound_tools_goes_before_one_that_names_some() -> None:
    model = ScriptedChatModel(on(tools="search") >> "one tool", on(tools=["search", "publish"]) >> "two tools")

    assert model.bind_tools([search, publish]).invoke("hi").content == "two tools"
    assert model.bind_tools([search]).invoke("hi").content == "one tool"


@pytest.mark.parametrize(
    "keys",
    [
        (on(node="planner"), on(node="writ*")),
        (on(tag="quick"), on(last="ai")),
        (on(metadata={"langgraph_step": 1}), on(metadata={"langgraph_step": 2})),
    ],
)
def test_nodes_tags_and_metadata_are_keys_invoked_and_streamed(keys: Any) -> None:
    model = ScriptedChatModel(keys[1] >> "second", keys[0] >> "first")

    state = two_nodes(model).invoke({"messages": "hi"}, {"configurable": {"thread_id": "t"}})

    assert [m.content for m in state["messages"]] == ["hi", "first", "second"]


@pytest.mark.asyncio
async def test_langgraphs_thread_is_a_key_also_in_async_code() -> None:
    model = ScriptedChatModel(on(thread="a") >> "for a", on(thread="7") >> "for seven")

    async def node(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(InMemorySaver())
    said = [
        (await graph.ainvoke({"messages": "hi"}, {"configurable": {"thread_id": thread}}))["messages"][-1].content
        for thread in (7, "a")
    ]

    assert said == ["for seven", "for a"]


def test_a_tool_result_is_a_key_until_the_model_has_answered_it() -> None:
    model = ScriptedChatModel(on(tool_result="search") >> "found", on(last="user") >> call("search", q="x"))

    state = create_agent(model, [search]).invoke({"messages": "go"})

    assert state["messages"][-1].content == "found"


def test_tool_results_are_named_by_the_call_that_they_answer() -> None:
    asked = AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "c1"}])
    model = ScriptedChatModel(on(tool_result="search") >> "found")

    assert model.invoke([HumanMessage("go"), asked, ToolMessage("x", tool_call_id="c1")]).content == "found"


def test_a_call_that_matches_no_key_falls_to_the_steps_without_one() -> None:
    model = ScriptedChatModel("plain 1", on(contains="weather") >> "sunny", "plain 2")

    assert [model.invoke(text).content for text in ("hi", "weather", "bye")] == ["plain 1", "sunny", "plain 2"]


@pytest.mark.usefixtures("page")
def test_no_key_and_no_plain_step_is_a_violation_that_says_why_each_key_missed() -> None:
    keys = [
        on(contains="a"),
        on(node="n"),
        on(tag="t"),
        on(tools={"x"}),
        on(thread="1"),
        on(metadata={"k": 1}),
        on(tool_result="r"),
    ]
    model = ScriptedChatModel(script=Script(*[key >> "x" for key in [*keys, on(last="ai")]]))

    assert violation("unexpected call", lambda: model.invoke("hello")).splitlines() == [
        "unexpected model call 1: it matches no key, and the script has no steps without one",
        "  came  human 'hello' (1 message)",
        "  on(contains='a')  no: no message contains 'a'",
        "  on(node='n')  no: the node is None",
        "  on(tag='t')  no: the tags are none",
        "  on(tools=['x'])  no: the bound tools are none",
        "  on(thread='1')  no: the thread is None",
        "  on(metadata={'k': 1})  no: the metadata has k=None",
        "  on(tool_result='r')  no: the tool results at the end are of none",
        "  on(last='ai')  no: the last message is human 'hello'",
        "  add a key that it matches, or a step without a key",
    ]


@pytest.mark.usefixtures("page")
def test_a_call_that_two_keys_match_is_a_violation() -> None:
    model = ScriptedChatModel(script=Script(on(contains="a") >> "x", on(contains="b") >> "y"))

    assert violation("ambiguous match", lambda: model.invoke("a b")).splitlines() == [
        "model call 1 matches 2 keys of the script, so its step is ambiguous",
        "  came  human 'a b' (1 message)",
        "  matches  on(contains='a')",
        "  matches  on(contains='b')",
        "  make the keys exclude each other, for example with tool_result=, last=, node= or tools=",
    ]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: on(), "on() matches every call if nothing is given; a step without a key does that"),
        (lambda: on(node=1), "node= of on() is a str; got int 1"),  # type: ignore[arg-type]
        (lambda: on(contains=[1]), "contains= takes a str or several; got int 1"),  # type: ignore[list-item]
        (lambda: on(last=1), "last= is a role: 'human', 'ai', 'system', 'tool', 'function', 'chat'; got int 1"),  # type: ignore[arg-type]
        (
            lambda: on(last="humn"),
            "last= is a role: 'human', 'ai', 'system', 'tool', 'function', 'chat'; got str 'humn'; did you mean `human`?",
        ),
        (lambda: say("x").expects(), "expects() needs a condition: contains=, forbids=, tools= or last="),
        (
            lambda: say("x").expects(last="nobody"),
            "last= is a role: 'human', 'ai', 'system', 'tool', 'function', 'chat'; got str 'nobody'",
        ),
    ],
)
def test_a_key_is_checked_where_it_is_written(wrong: Any, text: str) -> None:
    with pytest.raises(ScriptError) as caught:
        wrong()

    assert str(caught.value) == text


@pytest.mark.usefixtures("page")
def test_a_key_in_a_key_is_refused() -> None:
    with pytest.raises(ScriptError) as caught:
        on(node="a") >> Script(on(node="b") >> "x")

    assert str(caught.value).startswith("on(node='a') >> Script(...) takes a script without keys of its own at ")
