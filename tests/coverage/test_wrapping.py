"""Hooks that wrap the calls of an agent: a change that can be seen is a hit, all else is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, call, fail, record
from llmtest.coverage.wrapping import changes_model_call, changes_tool_call
from tests.support.covering import Covered

HI = {"messages": [("user", "hi")]}


@tool
def search(query: str) -> str:
    """Search."""
    return f"found {query}"


@tool
def book(nights: int) -> str:
    """Book."""
    return "booked"


def again(request: Any, handler: Any) -> Any:
    try:
        return handler(request)
    except RuntimeError:
        return handler(request)


def in_vain(request: Any, handler: Any) -> Any:
    ScriptedChatModel("aside").invoke("aside")
    return handler(request)


MODEL: dict[str, tuple[Callable[[Any, Any], Any], list[Any], bool]] = {
    "nothing": (lambda request, handler: handler(request), ["Done."], False),
    "a message": (lambda r, h: h(r.override(messages=[*r.messages, HumanMessage("please")])), ["Done."], True),
    "fewer tools": (lambda r, h: h(r.override(tools=r.tools[:1])), ["Done."], True),
    "the answer": (lambda r, h: ModelResponse(result=[AIMessage(h(r).result[0].text.upper())]), ["Done."], True),
    "no call": (lambda r, h: ModelResponse(result=[AIMessage("Closed.")]), [], True),
    "a retry": (again, [fail(RuntimeError), "Done."], True),
    "the system prompt": (lambda r, h: h(r.override(system_message=SystemMessage("Be brief."))), ["Done."], False),  # not seen
    "a run of its own": (in_vain, ["Done."], False),  # nothing tells whether it mattered
    "a chain of its own": (lambda r, h: RunnableLambda(lambda _: h(r)).invoke("x"), ["Done."], False),
    "no answer": (lambda r, h: ModelResponse(result=h(r).result[:0]), ["Done."], False),
}


def wraps(name: str, hook: Callable[[Any, Any], Any]) -> AgentMiddleware[Any, Any]:
    """Return middleware with one hook, in sync and in async code."""

    def sync(self: Any, request: Any, handler: Any) -> Any:
        return hook(request, handler)

    return type("Hook", (AgentMiddleware,), {name: sync})()


def hits(name: str, hook: Callable[[Any, Any], Any], *steps: Any, others: int = 0) -> Covered:
    middleware = [wraps(name, hook)]
    for number in range(others):
        other = wraps(name, lambda request, handler: handler(request))
        type(other).__name__ = f"Other{number}"
        middleware.append(other)
    agent: Any = create_agent(ScriptedChatModel(*steps), [search, book], middleware=middleware, name="a")
    return Covered(lambda: agent.invoke(HI), program="a")


@pytest.mark.parametrize("change", MODEL)
def test_what_a_hook_around_the_model_has_changed(change: str) -> None:
    hook, steps, is_seen = MODEL[change]

    found = hits("wrap_model_call", hook, *steps)

    assert found.hits("middleware") == ({"Hook.wrap_model_call"} if is_seen else set())
    (item,) = [item for item in found.inventory if item.kind == "middleware"]
    assert bool(item.unknown) is not is_seen


IMAGE = HumanMessage([{"type": "image", "base64": "aGk=", "mime_type": "image/png"}, {"type": "text", "text": "what is it?"}])
BROKEN = AIMessage(
    "", invalid_tool_calls=[{"name": "search", "args": "{", "id": "1", "error": None, "type": "invalid_tool_call"}]
)


@pytest.mark.parametrize("messages", [[IMAGE], [HumanMessage("hi"), BROKEN]], ids=["content that is no text", "a broken call"])
def test_what_the_agent_itself_rewrites_is_no_change_by_a_hook(messages: list[Any]) -> None:
    middleware = [wraps("wrap_model_call", MODEL["nothing"][0])]
    agent: Any = create_agent(ScriptedChatModel("Done."), [search], middleware=middleware, name="a")

    assert Covered(lambda: agent.invoke({"messages": messages}), program="a").hits("middleware") == set()


def other_tool(request: ToolCallRequest, handler: Any) -> Any:
    return handler(request.override(tool=book, tool_call={**request.tool_call, "name": "book", "args": {"nights": 1}}))


def twice(request: Any, handler: Any) -> Any:
    handler(request)
    return handler(request)


TOOL: dict[str, tuple[Callable[[Any, Any], Any], bool]] = {
    "nothing": (lambda request, handler: handler(request), False),
    "the arguments": (lambda r, h: h(r.override(tool_call={**r.tool_call, "args": {"query": "y"}})), True),
    "the tool": (other_tool, True),
    "the answer": (lambda r, h: ToolMessage("hidden", tool_call_id=h(r).tool_call_id), True),
    "no call": (lambda r, h: ToolMessage("closed", tool_call_id=r.tool_call["id"]), True),
    "a second call": (twice, True),
    "a run of its own": (in_vain, False),
}


@pytest.mark.parametrize("change", TOOL)
def test_what_a_hook_around_the_tools_has_changed(change: str) -> None:
    hook, is_seen = TOOL[change]

    found = hits("wrap_tool_call", hook, call("search", query="x"), "Done.")

    assert found.hits("middleware") == ({"Hook.wrap_tool_call"} if is_seen else set())


def test_a_call_of_a_tool_that_is_not_there_is_no_change() -> None:
    found = hits("wrap_tool_call", lambda request, handler: handler(request), call("gone").unchecked(), "Done.")

    assert found.hits("middleware") == set()


def test_a_tool_that_runs_other_runs_in_place_of_its_call_is_no_change() -> None:
    def instead(request: ToolCallRequest, handler: Any) -> Any:
        return ToolMessage(str(ScriptedChatModel("aside").invoke("x").content), tool_call_id=request.tool_call["id"])

    assert hits("wrap_tool_call", instead, call("search", query="x"), "Done.").hits("middleware") == set()


def test_which_of_two_hooks_it_was_cannot_be_told() -> None:
    found = hits("wrap_model_call", MODEL["a message"][0], "Done.", others=1)

    assert found.hits("middleware") == set()
    assert found.ambiguous("middleware") == {"Hook.wrap_model_call", "Other0.wrap_model_call"}


def test_a_hook_in_async_code_and_a_system_prompt_of_the_agent() -> None:
    class Polite(AgentMiddleware[Any, Any]):
        async def awrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
            return await handler(request.override(messages=[*request.messages, HumanMessage("please")]))

    class Still(AgentMiddleware[Any, Any]):
        async def awrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
            return await handler(request)

    def found(middleware: AgentMiddleware[Any, Any]) -> set[str]:
        agent: Any = create_agent(
            ScriptedChatModel(call("search", query="x"), "Done."),
            [search, book],
            system_prompt="Be kind.",
            middleware=[middleware],
            name="a",
        )
        return Covered(lambda: asyncio.run(agent.ainvoke(HI)), program="a").hits("middleware")

    assert (found(Polite()), found(Still())) == ({"Polite.wrap_model_call"}, set())


def test_a_node_without_messages_shows_no_answer() -> None:
    model = ScriptedChatModel("Hello.")
    with record() as recording:
        RunnableLambda(lambda _: model.invoke("hi") and None).invoke("x")

    assert changes_model_call(recording.runs[0], ["search"])  # a tool was not offered
    assert not changes_tool_call(recording.runs[0], ["search"])
