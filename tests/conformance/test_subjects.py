"""How the answers of models, tools and retrievers are read, so that they can be compared."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel, FakeListLLM, FakeStreamingListLLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, ScriptedLLM
from llmtest.conformance.subjects import (
    CHAT_MODEL,
    RETRIEVER,
    TEXT_MODEL,
    TOOL,
    Subject,
    is_streaming,
    name_of,
    text_of,
    unbound,
)


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return city


def test_the_facts_of_a_message_leave_out_what_may_differ() -> None:
    call = {"name": "weather", "args": {"city": "Rome"}, "id": "call_1", "type": "tool_call"}
    message = AIMessage(
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Hello"}],
        tool_calls=[call, {**call, "id": None}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "output_token_details": {"reasoning": 1}},
        response_metadata={"finish_reason": "stop", "id": "resp_1"},
    )

    assert CHAT_MODEL.facts(message) == {
        "type": "ai",
        "text": "Hello",
        "reasoning": "hm",
        "tool calls": [("weather", {"city": "Rome"}, "with an id"), ("weather", {"city": "Rome"}, "without an id")],
        "invalid tool calls": [],
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        "finish reason": "stop",
    }
    assert CHAT_MODEL.beside(message) == {"response metadata": ["finish_reason", "id"], "additional kwargs": {}}


def test_a_message_of_another_type_has_facts_too() -> None:
    assert CHAT_MODEL.facts(HumanMessage("hi")) == {
        "type": "human",
        "text": "hi",
        "reasoning": "",
        "tool calls": [],
        "invalid tool calls": [],
        "usage": None,
        "finish reason": None,
    }


def test_an_input_is_copied_so_that_a_component_may_change_it() -> None:
    given = [HumanMessage("hi")]

    (copied,) = CHAT_MODEL.copied(given)

    assert (copied, copied is given[0]) == (given[0], False)
    assert CHAT_MODEL.copied("hi") == [HumanMessage("hi")]
    assert TOOL.copied({"city": "Rome"}) == {"city": "Rome"}
    assert TEXT_MODEL.beside("hi") == {}


@pytest.mark.parametrize(
    ("subject", "chunks", "joined"),
    [
        (CHAT_MODEL, [AIMessageChunk("He"), AIMessageChunk("llo")], AIMessage("Hello")),
        (CHAT_MODEL, [AIMessage("Hello")], AIMessage("Hello")),
        (TEXT_MODEL, ["He", "llo"], "Hello"),
        (TOOL, ["first", "last"], "last"),
        (RETRIEVER, [[], []], []),
    ],
)
def test_chunks_are_joined_to_one_answer(subject: Subject, chunks: list[Any], joined: Any) -> None:
    got = subject.join(chunks)

    assert (type(got), getattr(got, "content", got)) == (type(joined), getattr(joined, "content", joined))


def test_what_is_bound_is_the_component_itself() -> None:
    model = FakeListChatModel(responses=["a"])

    assert unbound(model.bind(stop=["x"]).bind(k=1)) is model
    assert (name_of(model.bind(stop=["x"])), name_of(weather), name_of(weather.bind(k=1))) == (
        "FakeListChatModel",
        "weather",
        "weather",
    )


@pytest.mark.parametrize(
    ("subject", "model", "way", "chunks", "expected"),
    [
        (CHAT_MODEL, ScriptedChatModel, "stream", [AIMessageChunk("a")], True),
        (CHAT_MODEL, ScriptedChatModel, "stream", [AIMessage("a")], False),
        (TEXT_MODEL, lambda: FakeListLLM(responses=["a"]), "stream", ["a"], False),
        (TEXT_MODEL, lambda: FakeStreamingListLLM(responses=["a"]), "stream", ["a"], True),
        (TEXT_MODEL, lambda: ScriptedLLM().bind(stop=["x"]), "astream", ["a"], True),
    ],
)
def test_whether_a_model_streams_is_seen_in_its_chunks_or_its_methods(
    subject: Subject, model: Any, way: str, chunks: list[Any], expected: bool
) -> None:
    assert is_streaming(subject, model(), way, chunks) is expected


@pytest.mark.parametrize(("chunk", "text"), [(AIMessageChunk("a"), "a"), ("b", "b"), (7, ""), (None, "")])
def test_the_text_of_a_chunk(chunk: Any, text: str) -> None:
    assert text_of(chunk) == text


def test_which_subjects_are_models() -> None:
    assert [subject.is_model for subject in (CHAT_MODEL, TEXT_MODEL, TOOL, RETRIEVER)] == [True, True, False, False]
