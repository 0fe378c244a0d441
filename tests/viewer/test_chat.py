"""The conversation of a trace: each message once, in order, with its run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from llmtest import Recording, ScriptedChatModel, ScriptedLLM, ScriptedRetriever, call, fail, record
from llmtest.viewer import traces
from llmtest.viewer.traces import trace_data
from tests.support.pages import travel, trip


def said(recording: Recording) -> list[tuple[str, str, str]]:
    """The conversation: the name of the run, what it is, and its text."""
    data: Any = json.loads(trace_data(recording).text)
    return [(data["runs"][run][2], what, _text(what, number, data)) for run, what, number in data["chat"]]


def _text(what: str, number: int, data: Any) -> str:
    if what != "message":
        return ""
    content = data["messages"][number].get("content", "")
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def test_an_agent_says_each_message_once_and_tools_stand_for_their_results() -> None:
    assert said(trip()) == [
        ("gpt-5-mini", "message", "Be brief."),
        ("gpt-5-mini", "message", "I want to go to Paris."),
        ("gpt-5-mini", "message", ""),
        ("weather", "tool", ""),
        ("flights", "tool", ""),
        ("gpt-5-mini", "message", ""),
        ("book", "tool", ""),
        ("gpt-5-mini", "message", "You fly to Paris."),
    ]


def test_the_same_words_later_in_a_conversation_are_said_again() -> None:
    model = ScriptedChatModel("first", "second")
    with record() as recording:
        model.invoke([HumanMessage("yes")])
        model.invoke([HumanMessage("yes"), AIMessage("first"), HumanMessage("yes")])

    assert [text for _, _, text in said(recording)] == ["yes", "first", "yes", "second"]


def test_a_second_conversation_shows_what_differs_from_the_first() -> None:
    model = ScriptedChatModel("one", "two")
    with record() as recording:
        for question in ("a?", "b?"):
            model.invoke([SystemMessage("Be brief."), HumanMessage(question)])

    assert [text for _, _, text in said(recording)] == ["Be brief.", "a?", "one", "b?", "two"]


def test_a_tool_result_without_a_run_is_a_message() -> None:
    with record() as recording:
        ScriptedChatModel("done").invoke(
            [
                ("user", "go"),
                AIMessage("", tool_calls=[{"name": "t", "args": {}, "id": "1"}]),
                {"role": "tool", "content": "42", "tool_call_id": "1"},
            ]
        )

    assert [text for _, _, text in said(recording)] == ["go", "", "42", "done"]


def test_failures_are_said() -> None:
    with record() as recording, pytest.raises(Exception, match="429"):
        ScriptedChatModel(fail(429)).invoke("hi")

    assert [what for _, what, _ in said(recording)] == ["message", "error"]


def test_a_failed_tool_has_its_error() -> None:
    recording = record()
    with pytest.raises(ValueError, match="no such flight"), recording:
        travel(call("book", flight="LX000"))

    assert [(name, what) for name, what, _ in said(recording)][-2:] == [("book", "tool"), ("book", "error")]


def test_text_models_and_retrievers_are_said() -> None:
    with record() as recording:
        ScriptedLLM("text").invoke("prompt")
        ScriptedRetriever(["found"]).invoke("question")

    assert [what for _, what, _ in said(recording)] == ["text", "retriever"]


def test_an_open_call_has_no_answer_yet() -> None:
    with record() as recording:
        stream = ScriptedChatModel("Hello there").stream("hi")
        next(stream)
        assert [what for _, what, _ in said(recording)] == ["message", "open"]
        list(stream)


def test_what_is_left_out_of_the_page_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_BYTES", 0)

    assert [what for _, what, _ in said(trip())] == ["tool", "tool", "tool"]
