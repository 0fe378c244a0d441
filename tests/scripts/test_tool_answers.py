"""What a recorded call of a tool gave, as plain data."""

from __future__ import annotations

import asyncio
import datetime
import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import StructuredTool, Tool, ToolException
from langgraph.errors import ParentCommand
from langgraph.types import Command

from llmtest import record
from llmtest.errors import BROKEN_RULE, Violation, ViolationError
from llmtest.events.words import FrozenDict, Opaque
from llmtest.scripts.tool_answers import ToolAnswer, ToolFailure, as_json, as_key, races, tool_answers


@dataclass
class Point:
    x: int


def giving(value: Any, **fields: Any) -> StructuredTool:
    def body(n: int = 0) -> Any:
        if isinstance(value, BaseException):
            raise value
        return value

    return StructuredTool.from_function(body, name="give", description="Give.", **fields)


def answer_of(tool: Any, given: Any) -> ToolAnswer:
    with record() as recording, suppress(BaseException):
        tool.invoke(given)
    ((answer,),) = tool_answers(recording.runs).values()
    return answer


CALL = {"type": "tool_call", "id": "call_1", "name": "give", "args": {"n": 1}}
NO_ARGS = FrozenDict()


@pytest.mark.parametrize(
    "value", ["text", "", 3, 2.5, True, None, [], {}, [1, ["a", None]], {"a": {"b": [1]}}, ("a", 1), {"1": "str", "2": None}]
)
def test_a_value_of_a_direct_call_is_json(value: Any) -> None:
    answer = answer_of(giving(value), {})

    assert answer == ToolAnswer(NO_ARGS, gives=json.loads(json.dumps(value)))


def test_a_message_gives_its_content_and_artifact() -> None:
    documents = [Document("a page", metadata={"source": "x"}, id="d1"), Document("another")]

    answer = answer_of(giving(("found", documents), response_format="content_and_artifact"), CALL)

    assert answer == ToolAnswer(
        FrozenDict(n=1),
        gives="found",
        artifact=[
            {"$document": {"page_content": "a page", "metadata": {"source": "x"}, "id": "d1"}},
            {"$document": {"page_content": "another", "metadata": {}}},
        ],
    )


def test_a_message_of_the_tool_itself_keeps_what_langchain_would_not_say() -> None:
    def own(name: str | None) -> ToolMessage:
        return ToolMessage("x", tool_call_id="call_1", name=name, id="m1", status="error", additional_kwargs={"k": 1})

    answers = [answer_of(giving(own("give")), CALL), answer_of(giving(own(None)), {"n": 1})]

    said = {"id": "m1", "status": "error", "additional_kwargs": {"k": 1}}
    assert answers == [
        ToolAnswer(FrozenDict(n=1), gives="x", message=FrozenDict(said)),
        ToolAnswer(FrozenDict(n=1), gives="x", message=FrozenDict(said, name=None, tool_call_id="call_1")),
    ]


def test_a_handled_error_has_its_status() -> None:
    answer = answer_of(giving(ToolException("no"), handle_tool_error=True), CALL)

    assert answer == ToolAnswer(FrozenDict(n=1), gives="no", message=FrozenDict(status="error"))


def test_a_failure_has_the_class_the_text_and_an_odd_repr() -> None:
    failures = [answer_of(giving(error), {}).failure for error in (ValueError("no"), KeyError("x"), OSError(2, "gone", "a.txt"))]

    assert failures == [
        ToolFailure("ValueError", "no"),
        ToolFailure("KeyError", "'x'", "KeyError('x')"),
        ToolFailure("FileNotFoundError", "[Errno 2] gone: 'a.txt'", "FileNotFoundError(2, 'gone')"),
    ]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Point(1), "returned a Point"),
        ([{"deep": Point(1)}], "returned a Point"),
        (AIMessage("x"), "returned a message of the role `ai`"),
        (object(), "returned an object: object"),
        (b"x", "returned a bytes"),
        (math.nan, "returned the number nan"),
        ({"$document": 1}, "returned a mapping with the key `$document`"),
        (ValueError("a value"), ""),
        (KeyboardInterrupt(), "was stopped by KeyboardInterrupt"),
    ],
)
def test_what_cannot_be_repeated_is_said(value: Any, why: str) -> None:
    assert answer_of(giving(value), {}).unknown == why


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (asyncio.CancelledError(), "was cancelled"),
        (GeneratorExit(), "was closed early"),
        (ParentCommand(Command(goto="x")), "handed off to the graph around it with a Command"),
        (ViolationError(Violation("unused step", "x")), "failed with a violation of its test"),
        (ViolationError(Violation(BROKEN_RULE, "x")), "was stopped by a rule"),
    ],
)
def test_an_end_that_cannot_be_repeated_is_said(error: BaseException, why: str) -> None:
    with record() as recording:
        CallbackManager.configure().on_tool_start({"name": "give"}, "x").on_tool_error(error)

    assert tool_answers(recording.runs) == {"give": (ToolAnswer("x", unknown=why),)}


def test_a_message_for_another_call_cannot_be_repeated() -> None:
    with record() as recording:
        run = CallbackManager.configure().on_tool_start({"name": "give"}, "x", tool_call_id="call_1")
        run.on_tool_end(ToolMessage("x", tool_call_id="call_2"))

    assert tool_answers(recording.runs) == {"give": (ToolAnswer("x", unknown="returned a message for another tool call"),)}


def test_an_open_run_is_said() -> None:
    with record() as recording:
        CallbackManager.configure().on_tool_start({"name": "slow"}, "x", inputs={"q": "x"})

    assert tool_answers(recording.runs) == {"slow": (ToolAnswer(FrozenDict(q="x"), unknown="did not end"),)}


def test_a_tool_that_is_called_with_text_has_its_text_as_arguments() -> None:
    assert answer_of(Tool(name="old", description="Old.", func=str.upper), "hello") == ToolAnswer("hello", gives="HELLO")


def test_arguments_that_are_no_json_are_text() -> None:
    given = {
        "day": datetime.date(2026, 11, 30),
        "point": Point(1),
        "message": AIMessage("hi"),
        "thing": object(),
        "number": math.inf,
    }

    with record() as recording:
        run = CallbackManager.configure().on_tool_start({"name": "give"}, "", inputs=given)
        run.on_tool_end("x")

    assert tool_answers(recording.runs)["give"][0].args == {
        "day": "2026-11-30",
        "point": {"x": 1},
        "message": {"role": "ai", "content": "hi"},
        "thing": "object",
        "number": "inf",
    }


def test_answers_are_in_the_order_of_their_starts_and_know_the_tools_around_them() -> None:
    inner = StructuredTool.from_function(lambda n: n, name="inner", description="Inner.")
    outer = StructuredTool.from_function(lambda: inner.invoke({"n": 1}), name="outer", description="Outer.")

    with record() as recording:
        inner.invoke({"n": 0})
        outer.invoke({})

    assert tool_answers(reversed(recording.runs)) == {
        "inner": (ToolAnswer(FrozenDict(n=0), 0), ToolAnswer(FrozenDict(n=1), 1, within=("outer",))),
        "outer": (ToolAnswer(NO_ARGS, 1, runs_within=1),),
    }


def test_runs_of_other_kinds_give_no_answers() -> None:
    with record() as recording:
        CallbackManager.configure().on_chain_start({"name": "chain"}, {}).on_chain_end({})

    assert tool_answers(recording.runs) == {}


def test_an_answer_is_shown_in_one_line_without_secrets() -> None:
    key = "sk-proj-abcdefghijklmnop1234567890abcdef"
    answers = [
        ToolAnswer(FrozenDict(password="geheim"), {"api_key": key}),
        ToolAnswer("hello", failure=ToolFailure("TimeoutError", "")),
        ToolAnswer("hello", failure=ToolFailure("KeyError", f"no {key}")),
        ToolAnswer("hello", unknown="returned a Command"),
    ]

    assert list(map(str, answers)) == [
        "{\"password\": \"<mask:password>\"} gave {'api_key': '<mask:api_key>'}",
        "'hello' failed with TimeoutError",
        "'hello' failed with KeyError: no <mask:secret>",
        "'hello' returned a Command",
    ]


def test_an_answer_is_plain_data() -> None:
    answer = answer_of(giving(("x", [Document("a")]), response_format="content_and_artifact"), CALL)

    assert json.loads(json.dumps(asdict(answer)))["artifact"] == [{"$document": {"page_content": "a", "metadata": {}}}]


def test_keys_are_equal_for_equal_json() -> None:
    assert as_key({"b": 1, "a": [1.0, "ä"]}) == as_key({"a": [1, "ä"], "b": 1.0})
    assert len({as_key(value) for value in (1, "1", True, None, [1], {"1": 1}, 1.5)}) == 7


def test_an_opaque_value_in_arguments_is_its_type() -> None:
    assert as_json(FrozenDict(a=Opaque("function f")), or_text=True) == {"a": "function f"}


class SecretiveError(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_a_repr_that_raises_is_not_known() -> None:
    error = SecretiveError("no")

    assert answer_of(giving(error), {}).failure == ToolFailure("SecretiveError", "no")


def test_calls_at_the_same_time_with_equal_arguments_and_other_answers_are_a_race() -> None:
    given = iter([1, 2, 3, 3, 4])
    give = StructuredTool.from_function(lambda n: next(given), name="give", description="Give.")
    with record() as recording:
        for n in (7, 7, 8, 8, 9):
            give.invoke({"n": n})

    text = (
        'two calls of the tool `give` at the same time have the arguments {"n": 7} and different answers; which call gets which'
        " answer is a race, so that the test fails when it runs again\n"
        "  give the calls arguments that tell them apart, or let the real tool run: leave `give` out of tools="
    )
    assert races(recording.runs, lambda a, b: False) == [text]
    assert races(recording.runs, lambda a, b: True) == []


def test_answers_stand_in_the_order_that_the_caller_asks_for() -> None:
    from llmtest import scripted_tool

    with record() as recording:
        for text in ("a", "b"):
            scripted_tool("echo", text, args={"q": str}).invoke({"q": text})

    started = tool_answers(recording.runs)["echo"]

    assert tool_answers(recording.runs, lambda run: -run.start.number)["echo"] == started[::-1] != started
