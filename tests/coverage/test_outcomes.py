from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.errors import GraphInterrupt

from llmtest import ScriptedChatModel, call, fail, record, reply, say
from llmtest.coverage.outcomes import (
    component_acts,
    decisions,
    interrupts,
    is_answered,
    is_forced,
    outcomes,
    requested_tools,
    structured_types,
    tool_acts,
)
from llmtest.coverage.programs import Component
from llmtest.events.events import Run
from llmtest.events.words import FrozenDict, FrozenList, Structured
from llmtest.langchain.inventory import tool_of


def run_of(work: Callable[[], object]) -> Run:
    with record() as recording, suppress(Exception):  # the run has the error
        work()
    return recording.runs[0]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (say("Hello."), ["text"]),
        (say("  "), ["empty"]),
        (say(""), ["empty"]),
        (say("Hel", stop_reason="length"), ["length"]),
        (say("Hel", stop_reason="max_tokens"), ["length"]),
        (say("", stop_reason="SAFETY"), ["content_filter"]),
        (say("No.", refusal=True), ["refusal"]),
        (AIMessage("", additional_kwargs={"refusal": "No."}), ["refusal"]),
        (AIMessage([{"type": "refusal", "refusal": "No."}]), ["refusal"]),
        (AIMessage("Hel", response_metadata={"incomplete_details": {"reason": "max_output_tokens"}}), ["length"]),
        (AIMessage("Hel", response_metadata={"done_reason": "length"}), ["length"]),
        (fail(TimeoutError), ["error"]),
        (say("Hel").then_fail(TimeoutError), ["error"]),
    ],
)
def test_the_outcome_of_a_model_call(step: Any, expected: list[str]) -> None:
    model = FakeMessagesListChatModel(responses=[step]) if isinstance(step, AIMessage) else ScriptedChatModel(step)
    run = run_of(lambda: model.invoke("hi"))

    assert list(outcomes(run, calls=0, has_answer=False)) == expected


@pytest.mark.parametrize(
    ("calls", "has_answer", "expected"), [(1, False, ["tool_call"]), (2, True, ["several_calls"]), (0, True, [])]
)
def test_calls_of_tools_and_answers_that_are_calls(calls: int, has_answer: bool, expected: list[str]) -> None:
    run = run_of(lambda: ScriptedChatModel(reply(call("t"), call("t")).unchecked()).invoke("hi"))

    assert list(outcomes(run, calls, has_answer)) == expected


@pytest.mark.parametrize(
    ("choice", "is_one"),
    [
        ("any", True),
        ("required", True),
        ("search", True),
        ({"type": "function"}, True),
        ("auto", False),
        (None, False),
        (True, False),
    ],
)
def test_a_choice_of_tools_that_leaves_no_text(choice: object, is_one: bool) -> None:
    assert is_forced(choice, ["search"]) is is_one


@tool
def book(nights: int) -> str:
    """Book."""
    if nights < 1:
        raise ValueError("a night at least")
    if nights > 9:
        int.__new__(int, "many")
    return "booked"


@pytest.mark.parametrize(
    ("given", "handled", "expected"),
    [
        ({"nights": 1}, False, ["answered"]),
        ({"nights": 0}, False, ["raised"]),
        ({"nights": "many"}, False, ["refused"]),
        ({}, False, ["refused"]),
        ({"nights": 10}, False, ["raised"]),
    ],
)
def test_how_a_tool_call_ends(given: dict[str, Any], handled: bool, expected: list[str]) -> None:
    assert tool_acts(run_of(lambda: book.invoke(given)), "book") == expected


def test_an_error_that_the_tool_answers_with_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "handle_tool_error", True)
    monkeypatch.setattr(book, "handle_validation_error", True)
    wrong = {"name": "book", "args": {}, "id": "1", "type": "tool_call"}

    assert tool_acts(run_of(lambda: book.invoke(wrong)), "book") == ["raised"]


@pytest.mark.parametrize(
    ("nights", "in_call", "refusal", "error", "expected"),
    [
        ("many", True, True, True, ["refused"]),  # by the text that LangChain answers with
        ("many", False, True, True, ["refused"]),
        (0, True, True, True, ["raised"]),
        (0, False, True, True, ["raised", "answered"]),
        (0, False, True, "Sorry.", ["raised"]),
        (1, False, False, "Sorry.", ["answered"]),
        (1, False, True, True, ["raised", "answered"]),
        (1, True, True, True, ["answered"]),
        ("many", True, str, str, ["refused", "raised"]),
        ("many", True, "Sorry.", "Sorry.", ["refused", "raised"]),
        ("many", False, str, False, ["refused", "answered"]),
    ],
)
def test_a_tool_that_answers_with_its_errors(nights: Any, in_call: bool, refusal: Any, error: Any, expected: list[str]) -> None:
    @tool
    def stay(nights: int) -> str:
        """Stay."""
        if nights < 1:
            raise ToolException("a night at least")
        return "booked"

    stay.handle_validation_error, stay.handle_tool_error = refusal, error
    given: Any = {"nights": nights}
    given = {"name": "stay", "args": given, "id": "1", "type": "tool_call"} if in_call else given

    assert tool_acts(run_of(lambda: stay.invoke(given)), "stay", tool_of(stay).handles) == expected


def test_the_answer_to_one_interrupt_is_none_to_another() -> None:
    one, other = "0" * 32, "f" * 32

    assert is_answered({one}, {one: "yes"})
    assert not is_answered({other}, {one: "yes"})
    assert is_answered({other}, {"decisions": []})
    assert is_answered({other}, "")
    assert not is_answered({other}, None)


def test_a_schema_of_another_name_has_not_refused() -> None:
    assert tool_acts(run_of(lambda: book.invoke({})), "other") == ["raised"]


def test_the_classes_of_structured_answers() -> None:
    answer = Structured("Form", FrozenDict(a=1))
    command = Structured("Command", FrozenDict(update=FrozenDict(structured_response=answer)))

    assert list(structured_types(answer)) == ["Form"]
    assert list(structured_types(FrozenList([command]))) == ["Form"]
    assert list(structured_types(FrozenDict(structured_response=FrozenDict(a=1)))) == ["answer"]
    assert list(structured_types(FrozenDict(messages=FrozenList()))) == []


def test_what_a_person_is_asked_and_decides() -> None:
    asked = FrozenDict(action_requests=FrozenList([FrozenDict(name="pay"), FrozenDict(name="book")]))

    assert requested_tools(asked) == ["pay", "book"]
    assert requested_tools("may I?") == []
    assert decisions(FrozenDict(decisions=FrozenList([FrozenDict(type="approve"), "odd"]))) == ["approve"]
    assert decisions(FrozenDict(some_id=FrozenDict(decisions=FrozenList([FrozenDict(type="edit")])))) == ["edit"]
    assert decisions("yes") == []


def test_a_run_without_an_interrupt_asks_nothing() -> None:
    assert list(interrupts(run_of(lambda: ScriptedChatModel("x").invoke("hi")))) == []


def test_what_is_abandoned_has_no_outcome() -> None:
    @tool
    async def wait() -> str:
        """Wait."""
        raise asyncio.CancelledError

    def cancel() -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(wait.ainvoke({}))

    def leave() -> None:
        stream = ScriptedChatModel(say(tokens=["a", "b"])).stream("hi")
        next(stream)
        stream.close()

    prompt = ChatPromptTemplate.from_template("{gone}")
    component = Component("prompts", "p", {"": ("prompt", "formatted")})

    assert tool_acts(run_of(cancel), "wait") == []
    assert list(outcomes(run_of(leave), 0, False)) == []
    assert list(component_acts(component, run_of(lambda: prompt.invoke({})), [])) == []


def test_an_interrupt_that_carries_no_question_asks_nothing() -> None:
    def node(state: Any) -> Any:
        raise GraphInterrupt("no interrupt")

    def work() -> None:
        with suppress(Exception):
            RunnableLambda(node).invoke("x")

    assert list(interrupts(run_of(work))) == []
