"""What the program holds becomes frozen words, whatever it is."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import pathlib
import threading
import types
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langgraph.types import Command, Send
from pydantic import BaseModel, ConfigDict

from llmtest.events import EMPTY, Failure, FrozenDict, Message, Opaque, Structured, ToolCall, Usage
from llmtest.events import words as event_words
from llmtest.langchain import bound_tools, freezing
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
    """A dict whose content is taken without its own code."""

    def items(self) -> Any:
        raise RuntimeError("do not look")


class Closed(Mapping[str, Any]):
    """A mapping that has nothing but its own code to be read by."""

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise OSError("closed")

    def __len__(self) -> int:
        return 1


class Strange:
    pass


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise AssertionError("do not ask")


class Tally(int):
    def __int__(self) -> int:
        raise AssertionError("do not ask")


class Watched:
    """Notes whenever the program's code would be run."""

    seen: ClassVar[list[str]] = []

    def __eq__(self, other: object) -> bool:
        self.seen.append("eq")
        return True

    def __hash__(self) -> int:
        self.seen.append("hash")
        return 1

    def __repr__(self) -> str:
        self.seen.append("repr")
        return "<Watched at 0x7f>"

    def __getattr__(self, name: str) -> Any:
        self.seen.append(name)
        raise AttributeError(name)

    @property
    def value(self) -> str:
        self.seen.append("value")
        return "x"


@dataclasses.dataclass
class Report:
    title: str
    pages: int = 1
    lazy: Any = None


Report.lazy = property(lambda self: Watched.seen.append("lazy"), lambda self, value: None)  # type: ignore[assignment]


@dataclasses.dataclass(slots=True)
class Slim:
    title: str
    pages: Any = dataclasses.field(init=False)


class Cell:
    __slots__ = ("_hidden", "content", "empty")
    note = "of the class"

    def __init__(self) -> None:
        self._hidden, self.content = 1, [1]


class Wordless(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")


def _endless() -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def _deep(levels: int) -> Any:
    value: Any = {"end": 1}
    for _ in range(levels):
        value = {"in": value}
    return value


_KEYS = {"1": "number", "1 (2)": "text", "(1, 'a')": "pair", "builtin_function_or_method": "function"}
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
        (Document("a", metadata={"k": [1]}, id="d"), event_words.Document("a", FrozenDict(k=[1]), "d")),
        (ValueError("x"), Failure("ValueError", "x")),
        (Generation(text="x"), event_words.Generation("x")),
        (len, Opaque("function len")),
        (Strange, Opaque("type Strange")),
        (Strange(), Opaque("Strange")),
        ((n for n in "x"), Opaque("generator")),
        (threading.Lock(), Opaque("lock")),
        (functools.partial(len), Opaque("partial")),
        (Hostile(a=1), {"a": 1}),
        (Closed(), Opaque("Closed (OSError when read)")),
        (types.MappingProxyType({"a": [1]}), {"a": [1]}),
        (Shouting("loud"), "loud"),
        (Tally(3), 3),
        (type("Raw", (bytes,), {})(b"raw"), b"raw"),
        (type("Row", (list,), {})([1]), [1]),
        ({Shouting("k"): 1, Colour.RED: 2}, {"k": 1, "red": 2}),
        ({1: "number", "1": "text", (1, "a"): "pair", len: "function"}, _KEYS),
        ({10**5000: 1}, {"int": 1}),
        ([10**5000], [10**5000]),
        ({2, "b", None, 10}, ["b", 10, 2, None]),
        (frozenset((Point(2), Point(1))), [[1], [2]]),
        (Report("r"), Structured("Report", FrozenDict(title="r", pages=1))),
        (Slim("s"), Structured("Slim", FrozenDict(title="s"))),
        (Cell(), Structured("Cell", FrozenDict(content=[1]))),
        (Wordless(), Failure("Wordless", "(LookupError when read)")),
        (_endless(), [Opaque("recursive list")]),
        ({"fine": 1, "loop": _endless()}, {"fine": 1, "loop": [Opaque("recursive list")]}),
    ],
)
def test_a_value_becomes_a_word(value: Any, word: Any) -> None:
    assert freeze(value) == word


def test_one_value_that_cannot_be_read_does_not_hide_the_others() -> None:
    assert freeze({"a": 1, "b": [Closed(), 2]}) == {"a": 1, "b": [Opaque("Closed (OSError when read)"), 2]}


def test_objects_of_the_program_are_not_asked() -> None:
    watched = Watched()
    message = HumanMessage("x", additional_kwargs={"o": watched})
    report = Report("r")
    by_identity = {id(watched): watched, "in a set": {watched}}
    Watched.seen.clear()

    frozen = freeze({"report": report, "o": watched, **by_identity})
    messages = [freeze_message(message) for _ in range(2)]
    Watched.seen, seen = [], Watched.seen

    assert frozen["o"] == Opaque("Watched")
    assert frozen["in a set"] == [Opaque("Watched")]
    assert messages[0] is messages[1]
    assert seen == []


def test_a_mock_is_described_and_records_nothing() -> None:
    mocks = [MagicMock(), MagicMock(spec=AIMessage), MagicMock(spec=Person), AsyncMock(), Mock(spec=dict)]

    frozen = freeze(mocks)
    names = bound_tools.tool_names(mocks)

    assert frozen == [Opaque(name) for name in ("MagicMock", "MagicMock", "MagicMock", "AsyncMock", "Mock")]
    assert names == ["unnamed"] * 5
    assert [mock.mock_calls for mock in mocks] == [[]] * 5
    assert [list(mock._mock_children) for mock in mocks] == [[]] * 5


def test_arrays_are_described_and_never_compared() -> None:
    numpy = pytest.importorskip("numpy")
    message = ToolMessage("x", tool_call_id="c", artifact=numpy.zeros(3))

    first, again = freeze_message(message), freeze_message(message)
    plain = ToolMessage("x", tool_call_id="c", artifact="text")
    freeze_message(plain)
    plain.artifact = numpy.zeros(3)

    assert first is again
    assert (first.artifact, freeze_message(plain).artifact) == (Opaque("ndarray"), Opaque("ndarray"))
    assert freeze({"a": numpy.float64(0.5), "b": numpy.str_("x")}) == {"a": 0.5, "b": "x"}


def test_a_message_with_a_value_that_contains_itself_stays_a_message() -> None:
    message = HumanMessage("x", additional_kwargs={"loop": _endless()})

    assert freeze_message(message) == Message("human", "x", additional_kwargs=FrozenDict(loop=[Opaque("recursive list")]))


def test_what_is_very_deep_is_cut() -> None:
    word, depth = freeze(_deep(5000)), 0
    while isinstance(word, dict):
        word, depth = word["in"], depth + 1

    assert (word, depth) == (Opaque("deeply nested dict"), 100)
    assert freeze(_deep(50)) == _deep(50)


def test_a_program_that_is_deep_in_a_recursion_goes_on() -> None:
    def down() -> Any:
        found = freeze({"a": [{"b": Strange()}]})
        try:
            return down()
        except RecursionError:
            return found

    assert down() in ({"a": [{"b": Opaque("Strange")}]}, Opaque("deeply nested dict"), {"a": Opaque("deeply nested list")})


def test_a_dict_that_another_thread_changes_meanwhile_is_held_as_it_was() -> None:
    shared: dict[str, Any] = {}

    class Growing(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise KeyError(key)

        def __iter__(self) -> Iterator[str]:
            shared["more"] = 1
            return iter(())

        def __len__(self) -> int:
            return 0

    shared["first"] = Growing()

    assert freeze(shared) == {"first": {}}
    assert freeze(shared) == {"first": {}, "more": 1}


def test_classes_are_not_collected_without_end() -> None:
    for _ in range(1100):
        hold(type("Made", (), {})())

    assert len(freezing._holders) <= 1024


def test_what_is_no_tool_call_is_kept_as_its_text() -> None:
    message = AIMessage("x")
    message.tool_calls = ["nonsense", {"name": None, "args": None}]  # type: ignore[list-item]

    assert freeze_message(message).tool_calls == (ToolCall("", "nonsense"), ToolCall(""))


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
            event_words.Generation("a", Message("ai", "a")),
            event_words.Generation("b", None, FrozenDict(why=1)),
        ],
        "llm_output": {"x": 1},
    }


def test_a_set_as_a_key_is_named_in_the_order_of_its_words() -> None:
    assert freeze({frozenset(("b", "a")): 1}) == {"('a', 'b')": 1}
