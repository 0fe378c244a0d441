"""What the program holds becomes frozen words, whatever it is."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import pathlib
import uuid
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langgraph.types import Command, Send
from pydantic import BaseModel, ConfigDict

from llmtest import events
from llmtest.events import EMPTY, Failure, FrozenDict, Message, Opaque, Structured, ToolCall, Usage
from llmtest.langchain import freezing
from llmtest.langchain.freezing import freeze, freeze_message, hold, words


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int


class Person(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str
    age: int | None = None


@dataclasses.dataclass
class Trip:
    to: str
    via: tuple[str, ...] = ()
    late: Any = dataclasses.field(init=False)


class Hostile(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("do not look")


class Strange:
    pass


def _endless() -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return loop


WHEN = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
ID = uuid.UUID(int=1)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"a": [1, (2, None)], 3: {"b"}}, {"a": [1, [2, None]], "3": ["b"]}),
        (OrderedDict(a=1), {"a": 1}),
        (Text("x"), "x"),
        (Colour.RED, "red"),
        (enum.IntEnum("Two", {"A": 2}).A, 2),
        (type("Half", (float,), {})(0.5), 0.5),
        (Point(1), [1]),
        (bytearray(b"x"), b"x"),
        (WHEN, WHEN),
        (ID, ID),
        (pathlib.PurePosixPath("a/b"), pathlib.PurePosixPath("a/b")),
        (Person(name="Ada", mood="good"), Structured("Person", FrozenDict(name="Ada", mood="good"))),  # type: ignore[call-arg]
        (Trip("Lyon"), Structured("Trip", FrozenDict(to="Lyon"))),
        (Command(goto="next", update={"x": 1}), Structured("Command", FrozenDict(update={"x": 1}, goto="next"))),
        (Send("node", {"x": 1}), Structured("Send", FrozenDict(node="node", arg={"x": 1}))),
        (Document("a", metadata={"k": [1]}, id="d"), events.Document("a", FrozenDict(k=[1]), "d")),
        (ValueError("x"), Failure("ValueError", "x")),
        (Generation(text="x"), events.Generation("x")),
        (len, Opaque("function len")),
        (Strange, Opaque("type Strange")),
        (Strange(), Opaque("Strange")),
        (_endless(), Opaque("recursive list")),
    ],
)
def test_a_value_becomes_a_word(value: Any, word: Any) -> None:
    assert freeze(value) == word


def test_a_value_that_raises_when_it_is_read_is_named() -> None:
    assert freeze(Hostile(a=1)) == Opaque("Hostile (RuntimeError when read)")


def test_what_was_held_stays_as_it_was() -> None:
    value = {"a": [1]}

    held = hold(value)
    value["a"].append(2)

    assert words(held) == {"a": [1]}


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (HumanMessage("hi", name="Ada", id="1"), Message("human", "hi", name="Ada", id="1")),
        (AIMessageChunk("hi"), Message("ai", "hi")),
        (ChatMessage(content="x", role="critic"), Message("chat", "x")),
        (
            ToolMessage("x", tool_call_id="c", status="error", artifact=[1]),
            Message("tool", "x", tool_call_id="c", status="error", artifact=[1]),
        ),
        (
            AIMessage(
                [{"type": "text", "text": "hi"}],
                tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c1"}],
                invalid_tool_calls=[{"name": "g", "args": "{", "id": "c2", "error": None, "type": "invalid_tool_call"}],
                usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_token_details": {"audio": 1}},
                response_metadata={"r": 1},
                additional_kwargs={"k": 2},
            ),
            Message(
                "ai",
                [{"type": "text", "text": "hi"}],  # type: ignore[arg-type]
                tool_calls=(ToolCall("f", FrozenDict(a=1), "c1"), ToolCall("g", "{", "c2")),
                usage=Usage(1, 2, 3, FrozenDict(audio=1), EMPTY),
                response_metadata=FrozenDict(r=1),
                additional_kwargs=FrozenDict(k=2),
            ),
        ),
    ],
)
def test_a_message_becomes_a_word(message: Any, word: Message) -> None:
    assert freeze_message(message) == word


def test_a_message_is_held_once_for_as_long_as_it_does_not_change() -> None:
    message = HumanMessage("one")

    first, again = freeze_message(message), freeze_message(message)
    message.content = "two"
    changed = freeze_message(message)

    assert first is again
    assert (first.content, changed.content) == ("one", "two")


def test_messages_that_are_gone_are_not_remembered() -> None:
    message = HumanMessage("one")
    freeze_message(message)
    key = id(message)
    assert key in freezing._seen_messages

    del message

    assert key not in freezing._seen_messages


def test_a_result_holds_every_candidate() -> None:
    result = LLMResult(
        generations=[[ChatGeneration(message=AIMessage("a")), Generation(text="b", generation_info={"why": 1})]],
        llm_output={"x": 1},
    )

    assert freeze(result) == {
        "generations": [
            events.Generation("a", Message("ai", "a")),
            events.Generation("b", None, FrozenDict(why=1)),
        ],
        "llm_output": {"x": 1},
    }


def test_bound_tools_are_held_once_until_they_change() -> None:
    tools = [{"name": "a"}]

    first, again = (freezing.hold_parameters({"tools": tools})["tools"] for _ in range(2))
    tools[0]["name"] = "b"
    changed = freezing.hold_parameters({"tools": tools})["tools"]
    for _ in range(70):  # more lists than are kept
        freezing.hold_parameters({"tools": [{"name": "x"}]})

    assert first is again
    assert (first, changed) == ([{"name": "a"}], [{"name": "b"}])
    assert len(freezing._held_tools) <= 64


def test_tools_have_names_in_each_format() -> None:
    tools = [{"function": {"name": "a"}}, {"name": "b"}, {"type": "web_search"}, Strange(), Person(name="p")]

    assert freezing.tool_names(tools) == ["a", "b", "web_search", "unnamed", "p"]
    assert freezing.tool_names(None) == []
