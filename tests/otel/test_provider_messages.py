"""Messages as Bedrock and Gemini have them, and as events of spans had them before the conventions had attributes for them."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest.events.words import FrozenDict, FrozenList, Message, ToolCall
from llmtest.otel.provider_messages import read_contents, read_event, read_parts, text_of_result

CALL = ToolCall("w", FrozenDict(a=1), "c1")
PARTS: list[tuple[str, list[Any], list[Message]]] = [
    (
        "ai",
        [{"text": "Let me see. "}, {"toolUse": {"toolUseId": "c1", "name": "w", "input": {"a": 1}}}],
        [Message("ai", "Let me see. ", (CALL,))],
    ),
    ("model", [{"functionCall": {"id": "c1", "name": "w", "args": {"a": 1}}}], [Message("ai", "", (CALL,))]),
    ("ai", [{"function_call": {"name": "w"}}], [Message("ai", "", (ToolCall("w", FrozenDict(), None),))]),
    (
        "human",
        [{"toolResult": {"toolUseId": "c1", "content": [{"text": "18"}, {"text": "C"}]}}],
        [Message("tool", "18C", tool_call_id="c1")],
    ),
    (
        "user",
        [{"function_response": {"id": "c1", "name": "w", "response": {"result": 18}}}, {"text": "and?"}],
        [Message("tool", "18", name="w", tool_call_id="c1"), Message("human", "and?")],
    ),
    ("human", ["plain"], [Message("human", "plain")]),
    ("human", [{"image": {"format": "png"}}], [Message("human", FrozenList([FrozenDict(image=FrozenDict(format="png"))]))]),
    ("human", [], [Message("human", "")]),
]


@pytest.mark.parametrize(("role", "parts", "messages"), PARTS)
def test_parts_are_messages(role: str, parts: list[Any], messages: list[Message]) -> None:
    assert list(read_parts(role, parts)) == messages


RESULTS: list[tuple[Any, str]] = [
    ([{"text": "a"}, {"text": "b"}], "ab"),
    ([{"json": {"a": 1}}], '[{"json": {"a": 1}}]'),
    ({"result": "a"}, "a"),
    ({"result": "a", "more": 1}, '{"result": "a", "more": 1}'),
    ("a", "a"),
    ([], "[]"),
]


@pytest.mark.parametrize(("content", "text"), RESULTS)
def test_the_result_of_a_tool_as_a_text(content: Any, text: str) -> None:
    assert text_of_result(content) == text


def test_contents_that_are_none_are_left_out() -> None:
    assert list(read_contents([{"role": "model", "parts": [{"text": "hi"}]}, {"parts": "x"}, 7])) == [Message("ai", "hi")]
    assert list(read_contents("x")) == []
    assert list(read_contents([{"parts": [{"text": "hi"}]}])) == [Message("human", "hi")]


EVENTS: list[tuple[str, dict[str, Any], list[Message]]] = [
    ("human", {"content": "hi"}, [Message("human", "hi")]),
    ("ai", {"message": '{"role": "assistant", "content": "hello"}'}, [Message("ai", "hello")]),
    ("tool", {"content": "18C", "id": "c1"}, [Message("tool", "18C", tool_call_id="c1")]),
    (
        "ai",
        {"content": "", "tool_calls": '[{"id": "c1", "function": {"name": "w", "arguments": "{\\"a\\": 1}"}}]'},
        [Message("ai", "", (CALL,))],
    ),
    ("ai", {}, [Message("ai", "")]),
    ("ai", {"tool_calls": 7}, [Message("ai", "")]),
]


@pytest.mark.parametrize(("role", "told", "messages"), EVENTS)
def test_events_are_messages(role: str, told: dict[str, Any], messages: list[Message]) -> None:
    assert list(read_event(role, told)) == messages
