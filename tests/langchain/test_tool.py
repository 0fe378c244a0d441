"""Scripted tools: LangChain's own class, which returns only what the test wrote down."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, Tool, ToolException, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import Command
from pydantic import BaseModel

from llmtest import (
    ScriptedChatModel,
    call,
    fail,
    on,
    record,
    respond,
    scripted_tool,
)
from llmtest.errors import ScriptError
from llmtest.scripts import Request, give
from tests.support.doubles import search, search_later, weather


def test_a_tool_has_the_schema_of_its_function_whose_body_is_never_run() -> None:
    made = scripted_tool(search, "18C", {"hits": [1]}, fail(TimeoutError("too slow")))

    assert isinstance(made, StructuredTool)
    assert convert_to_openai_tool(made) == convert_to_openai_tool(search)
    assert made.invoke({"q": "x"}) == "18C"
    assert made.invoke({"q": "x"}) == {"hits": [1]}
    with pytest.raises(TimeoutError, match="too slow"):
        made.invoke({"q": "x"})


def test_a_tool_stands_in_for_a_tool() -> None:
    class Args(BaseModel):
        q: str

    real = StructuredTool.from_function(
        lambda q: ("real", None),
        name="lookup",
        description="Look it up.",
        args_schema=Args,
        response_format="content_and_artifact",
        return_direct=True,
        tags=["t"],
    )

    made = scripted_tool(real, ("18C", {"degrees": 18}), description="Another text.")

    message = made.invoke({"type": "tool_call", "id": "call_1", "name": "lookup", "args": {"q": "x"}})
    assert message == ToolMessage("18C", name="lookup", tool_call_id="call_1", artifact={"degrees": 18})
    assert (made.args_schema, made.return_direct, made.tags, made.description) == (Args, True, ["t"], "Another text.")


def test_a_tool_stands_in_for_a_tool_of_every_kind() -> None:
    class Own(BaseTool):
        name: str = "own"
        description: str = "A class of its own."

        def _run(self, a: int, b: str = "b") -> str:
            return "real"

    def say_args(request: Request) -> str:
        return f"{request.args} {request.text}"

    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    by_json = StructuredTool(name="remote", description="", args_schema=schema, func=search)
    old = Tool(name="old", description="Takes one str.", func=lambda text: text)

    assert scripted_tool(Own(), respond(say_args)).invoke({"a": "3"}) == """{'a': 3, 'b': 'b'} {"a": 3, "b": "b"}"""
    assert scripted_tool(by_json, respond(say_args)).invoke({"q": "é"}) == """{'q': 'é'} {"q": "é"}"""
    assert scripted_tool(old, respond(say_args)).invoke("hi") == """{'tool_input': 'hi'} {"tool_input": "hi"}"""
    assert scripted_tool(old, args={"n": int}).args == {"n": {"title": "N", "type": "integer"}}


def test_a_tool_can_be_made_of_a_name() -> None:
    class Args(BaseModel):
        """Search by these."""

        q: str

    typed = scripted_tool("search", "a", args={"q": str, "limit": (int, 5)})
    modelled = scripted_tool("search", "b", args=Args)
    bare = scripted_tool("now", "12:00", description="The time.")

    assert (typed.description, modelled.description, bare.description) == ("", "Search by these.", "The time.")
    assert convert_to_openai_tool(typed)["function"]["parameters"]["required"] == ["q"]
    assert [typed.invoke({"q": "x"}), modelled.invoke("x"), bare.invoke({})] == ["a", "b", "12:00"]


def test_the_arguments_of_a_function_can_be_given_too() -> None:
    made = scripted_tool(lambda q: q, "a", args={"q": (str, "cats")}, description="Search.")

    assert made.invoke({}) == "a"
    assert made.args == {"q": {"default": "cats", "title": "Q", "type": "string"}}


def test_arguments_are_validated_before_a_step_is_taken() -> None:
    made = scripted_tool(search, "a")

    with pytest.raises(ValueError, match="limit"):
        made.invoke({"q": "x", "limit": "many"})

    assert made.invoke({"q": "x"}) == "a"


def test_keys_expectations_and_functions_look_at_the_arguments() -> None:
    made = scripted_tool(
        weather,
        on(contains='"city": "Paris"') >> "18C",
        respond(lambda request: request.args["place"].city),
        give("20C").expects(contains="Rome", forbids="Paris"),
        respond(lambda request: request.text),
    )

    asked = [{"place": {"city": city}} for city in ("Lyon", "Rome", "Paris")] + [{"place": {"city": "x"}, "day": {1}}]
    assert [made.invoke(args) for args in asked] == ["Lyon", "20C", "18C", '{"place": {"city": "x"}, "day": "{1}"}']


def test_the_stand_in_of_what_is_async_only_is_async_only() -> None:
    of_function = scripted_tool(search_later, "a")
    of_tool = scripted_tool(tool(search_later), "b")

    for made, result in ((of_function, "a"), (of_tool, "b")):
        with pytest.raises(NotImplementedError):
            made.invoke({"q": "x"})
        assert asyncio.run(made.ainvoke({"q": "x"})) == result


def test_the_function_of_a_tool_has_no_body() -> None:
    made = scripted_tool(search)

    assert made.func is not None
    with pytest.raises(ScriptError) as caught:
        made.func("x")
    assert str(caught.value) == "the function of the scripted tool `search` has no body; call the tool: .invoke({...})"


def test_a_tool_may_return_what_tools_may_and_fail_as_they_do() -> None:
    command = Command(update={"seen": True})
    made = scripted_tool(search, command, ToolException("no"), handle_tool_error=True)

    assert made.invoke({"q": "x"}) == command
    assert made.invoke({"q": "x"}) == "no"


def test_runs_of_a_tool_are_recorded_sync_and_async() -> None:
    made = scripted_tool(search, give("a").times(2), ValueError("down"))

    with record() as recording:
        made.invoke({"q": "x"})
        asyncio.run(made.ainvoke({"q": "x"}))
        with pytest.raises(ValueError, match="down"):
            asyncio.run(made.ainvoke({"q": "x"}))

    assert [(run.name, run.args, run.ended) for run in recording.tools] == [
        ("search", {"q": "x"}, "ended"),
        ("search", {"q": "x"}, "ended"),
        ("search", {"q": "x"}, "error"),
    ]


def test_an_agent_calls_a_scripted_tool_with_what_langgraph_injects() -> None:
    def remember(what: str, runtime: ToolRuntime) -> str:
        """Remember something."""
        raise RuntimeError

    def answer(request: Request) -> str:
        return f"{request.text} {request.args['runtime'].tool_call_id}"

    model = ScriptedChatModel(call("remember", what="milk").with_id("call_7"), "Done.")
    agent = create_agent(model, [scripted_tool(remember, respond(answer))])

    messages = agent.invoke({"messages": [("user", "remember the milk")]})["messages"]

    assert messages[2].content == '{"what": "milk"} call_7'
