"""Messages as the conventions write them, and as each framework does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.genai import types

from llmtest.events.words import Document, FrozenDict, FrozenList, Generation, Message, Opaque, Structured, ToolCall
from llmtest.otel.messages import plain, read_json, read_messages, read_tools, written

CALL = ToolCall("weather", FrozenDict(city="Paris"), "call_1")
CONVERSATION = [
    Message("system", "You are a clerk."),
    Message("human", "How warm is it?", name="ann"),
    Message("ai", "Let me look.", (CALL,)),
    Message("tool", "18C", name="weather", tool_call_id="call_1"),
    Message("ai", FrozenList([FrozenDict(type="reasoning", reasoning="hm"), FrozenDict(type="text", text="It is 18C.")])),
]
PARTS: dict[str, Any] = {
    "text": types.TextPart,
    "reasoning": types.ReasoningPart,
    "tool_call": types.ToolCallRequestPart,
    "tool_call_response": types.ToolCallResponsePart,
}


@pytest.mark.parametrize("message", CONVERSATION, ids=["system", "human", "call", "tool", "blocks"])
def test_a_message_is_written_and_read_again(message: Message) -> None:
    assert read_messages([written(message)]) == [message]


@pytest.mark.parametrize("message", CONVERSATION, ids=["system", "human", "call", "tool", "blocks"])
def test_each_part_is_one_of_the_official_types(message: Message) -> None:
    for part in written(message)["parts"]:
        fields = {key: value for key, value in part.items() if key != "type"}
        assert PARTS[part["type"]](**fields).type == part["type"]


FORMS = {
    "OpenAI": [
        {"role": "system", "content": "You are a clerk."},
        {"role": "user", "content": "How warm is it?", "name": "ann"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
            ],
        },
        {"role": "tool", "content": "18C", "name": "weather", "tool_call_id": "call_1"},
    ],
    "LangChain": [
        {"lc": 1, "id": ["langchain", "schema", "messages", "SystemMessage"], "kwargs": {"content": "You are a clerk."}},
        {"lc": 1, "id": ["x", "HumanMessage"], "kwargs": {"content": "How warm is it?", "type": "human", "name": "ann"}},
        {
            "type": "ai",
            "data": {"content": "Let me look.", "tool_calls": [{"name": "weather", "args": {"city": "Paris"}, "id": "call_1"}]},
        },
        {"type": "tool", "content": "18C", "name": "weather", "tool_call_id": "call_1"},
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_messages_of_other_forms_are_the_same(form: str) -> None:
    assert list(read_messages({"messages": FORMS[form]})) == CONVERSATION[:4]
    assert list(read_messages([FORMS[form]])) == CONVERSATION[:4]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("hi", [Message("human", "hi")]),
        ("", []),
        (None, []),
        (7, []),
        ([["user", "hi"]], [Message("human", "hi")]),
        (["hi"], [Message("human", "hi")]),
        ([{"text": "hello"}], [Message("ai", "hello")]),
        ([{"message": {"role": "assistant", "content": "hello"}}], [Message("ai", "hello")]),
        ([{"role": "assistant", "parts": []}], [Message("ai", "")]),
        ([{"role": "user", "parts": ["hi"]}], [Message("human", "hi")]),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], [Message("human", "ab")]),
        ([CONVERSATION[0]], [CONVERSATION[0]]),
        ([{"role": "ai", "tool_calls": [{"name": "a", "args": "{no"}]}], [Message("ai", "", (ToolCall("a", "{no"),))]),
    ],
)
def test_odd_conversations(value: object, expected: list[Message]) -> None:
    assert list(read_messages(value)) == expected


def test_words_are_plain_json() -> None:
    document = Document("text", FrozenDict(page=1), "d1")
    words = [Structured("Report", FrozenDict(n=1)), document, Opaque("socket"), Generation("hi"), float("nan"), CALL, {1: b"x"}]

    assert plain(words) == [
        {"n": 1},
        {"id": "d1", "content": "text", "metadata": {"page": 1}},
        "<socket>",
        "hi",
        "nan",
        {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": {"city": "Paris"}},
        {"1": "b'x'"},
    ]


def test_tools_in_each_form() -> None:
    tool = {"name": "weather", "parameters": {}}

    assert read_tools([tool, {"type": "function", "function": tool}, '{"name": "x"}', 3, {}]) == [
        ("weather", tool),
        ("weather", tool),
        ("x", {"name": "x"}),
    ]
    assert read_tools(None) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_json_breaks_a_reader(value: object) -> None:
    read_messages(value)
    read_messages([value])
    read_messages([{"role": "user", "parts": [value], "content": value}])
    read_tools(value)


def test_a_text_that_only_begins_like_json_is_a_text() -> None:
    assert read_json("{no") == "{no"
    assert read_json("[" * 100_000) == "[" * 100_000
    assert read_json("true") is True
    assert read_json("12") == "12"


def test_blocks_that_no_part_is_for_are_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "http://x"}}

    (message,) = read_messages([{"role": "user", "content": [image, {"type": "text", "text": "see"}]}])

    assert message.content == [image, {"type": "text", "text": "see"}]
    assert written(message)["parts"] == [image, {"type": "text", "content": "see"}]
    assert read_messages([written(message)])[0].content == [image, {"type": "text", "text": "see"}]
