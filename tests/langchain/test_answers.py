"""Scripted answers as LangChain's messages: whole, in chunks, and as messages that are said again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, call, reply, respond, say, think
from llmtest.langchain.answers import tool_schema
from llmtest.langchain.dialects.names import NAMES


def ask(step: Any, way: str, dialect: str = "plain", **bound: Any) -> Any:
    model = ScriptedChatModel(step, dialect=dialect).bind(**bound)
    if way == "ainvoke":
        return asyncio.run(model.ainvoke("hi"))
    if way == "invoke":
        return model.invoke("hi")
    chunks = model.stream("hi")
    whole = next(chunks)
    for chunk in chunks:
        whole += chunk
    return whole


MESSAGES = {
    "blocks": AIMessage(
        [{"type": "text", "text": "Hi", "annotations": [{"type": "citation", "url": "u"}]}, "plain", {"type": "x"}]
    ),
    "keywords": AIMessage("It is sunny.", additional_kwargs={"audio": {"id": "a", "n": [1, 2.5]}, "refusal": None}),
    "name": AIMessage("It is sunny.", name="bob"),
    "reasoning": AIMessage([{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "e"}]),
    "empty list": AIMessage([]),
    "metadata": AIMessage(["a"], response_metadata={"stop_reason": "end_turn", "model_name": "m", "model_provider": "p"}),
    "call with its block": AIMessage(
        [{"type": "text", "text": "Let me"}, {"type": "tool_use", "id": "c", "name": "f", "input": {"q": 1}}],
        tool_calls=[{"name": "f", "args": {"q": 1}, "id": "c"}],
    ),
}
F: Any = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"q": {}}}}}


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_is_said_whole(kind: str, way: str, dialect: str) -> None:
    message = MESSAGES[kind]

    for step in (message, respond(lambda _: message), reply(message)):
        said = ask(step, way, dialect, tools=[F])

        assert (said.content, said.additional_kwargs, said.name) == (message.content, message.additional_kwargs, message.name)
        assert [(c["name"], c["args"], c["id"]) for c in said.tool_calls] == [
            (c["name"], c["args"], c["id"]) for c in message.tool_calls
        ]
        assert said.response_metadata.items() >= message.response_metadata.items()


def test_what_the_program_changes_does_not_change_the_script() -> None:
    message = AIMessage([{"type": "text", "text": "Hi", "annotations": []}], additional_kwargs={"a": {"b": []}})
    model = ScriptedChatModel(reply(message).times(2))

    first = model.invoke("hi")
    first.content[0]["annotations"].append(1)
    first.additional_kwargs["a"]["b"].append(1)

    assert model.invoke("hi").content == message.content
    assert message.additional_kwargs == {"a": {"b": []}}


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_an_invalid_tool_call_is_said_as_it_is(way: str) -> None:
    broken: Any = {"type": "invalid_tool_call", "name": "f", "args": "nope", "id": "c", "error": "no JSON"}

    said = ask(AIMessage("Let me", invalid_tool_calls=[broken]), way)

    assert said.content == "Let me"
    assert [(c["name"], c["args"], c["id"]) for c in said.invalid_tool_calls] == [("f", "nope", "c")]
    assert said.tool_calls == []


SCRIPTED = {
    "region": "eu",
    "id": "resp_9",
    "model_name": "gpt-x",
    "model_provider": "azure",
    "finish_reason": "length",
    "stop_reason": "max_tokens",
    "nested": {"a": [1]},
}
STEPS = {
    "text": lambda: say("It is ", "sunny.", response_metadata=SCRIPTED),
    "call": lambda: reply(call("f", q=1), response_metadata=SCRIPTED),
    "reasoning": lambda: reply(think("hm"), "Yes.", response_metadata=SCRIPTED),
    "cut": lambda: say("It is ", "sunny.", response_metadata=SCRIPTED).then_truncate(),
}


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("dialect", NAMES)
def test_response_metadata_adds_or_replaces(dialect: str, way: str, kind: str) -> None:
    said = ask(STEPS[kind](), way, dialect, tools=[F])

    assert {key: said.response_metadata.get(key) for key in SCRIPTED} == SCRIPTED


def test_a_tool_that_is_defined_by_its_provider_is_bound_in_the_words_of_the_provider() -> None:
    theirs = {"type": "code_execution_20250825", "name": "code_execution"}

    @tool(extras={"provider_tool_definition": theirs})
    def code_execution() -> str:
        """Run code."""
        return ""

    assert tool_schema(code_execution) == theirs
