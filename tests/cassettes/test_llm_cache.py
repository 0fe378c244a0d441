"""What LangChain's `SQLiteCache` keeps is read as steps.

`foreign/sqlite_cache.sql` is the dump of a file that `langchain_community.cache.SQLiteCache` has written. The rows of the other
tests are written here, by LangChain's own `dumps` and the keys of the real models, into the same table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import OpenAI

from llmtest import Script, call, reply, say, think
from llmtest.cassettes.llm_cache import CachedCall, read_cache
from llmtest.errors import ScriptError
from llmtest.events.words import FrozenDict, Message, ToolCall, Usage
from llmtest.scripts.step_types import Call, Reply, Text, Thinking, split
from llmtest.wire.completions import Completions
from tests.support.dialect_cases import NAMES, THINKING, TOOLS
from tests.support.wire_clients import ScriptTransport, chat_model, http_clients

DUMP = Path(__file__).parent / "foreign" / "sqlite_cache.sql"
TABLE = (
    "CREATE TABLE full_llm_cache (prompt VARCHAR NOT NULL, llm VARCHAR NOT NULL, idx INTEGER NOT NULL, response VARCHAR,"
    " PRIMARY KEY (prompt, llm, idx))"
)
Rows = Callable[..., str]


def text(said: str) -> Text:
    return Text(tuple(split(said)))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Write rows into a cache, and return its path."""
    monkeypatch.chdir(tmp_path)

    def write(*rows: tuple[object, ...]) -> str:
        connection = sqlite3.connect("cache.db")
        connection.execute(TABLE)
        connection.executemany("INSERT INTO full_llm_cache VALUES (?, ?, ?, ?)", rows)
        connection.commit()
        connection.close()
        return "cache.db"

    return write


class RowsOfCache(InMemoryCache):
    """Holds the rows that `SQLiteCache` would write."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, str, int, str]] = []

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        super().update(prompt, llm_string, return_val)
        self.rows += [(prompt, llm_string, number, dumps(found)) for number, found in enumerate(return_val)]


def test_the_file_of_langchains_own_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connection = sqlite3.connect("cache.db")
    connection.executescript(DUMP.read_text("utf-8"))
    connection.close()

    asked = ToolCall("weather", FrozenDict(city="Paris"), "call_1")
    assert read_cache(Path("cache.db")) == [
        CachedCall(
            "",
            (Message("system", "Be brief."), Message("human", "Weather?")),
            (
                Reply(
                    (text("It is sunny."),),
                    Usage(8, 5, 13, FrozenDict(cache_read=2)),
                    response_metadata=FrozenDict(model_name="gpt-5"),
                ),
            ),
            place="cache.db, row 1",
        ),
        CachedCall(
            "",
            (
                Message("human", "Weather?"),
                Message("ai", "", (asked,)),
                Message("tool", "sunny", tool_call_id="call_1", status="success"),
            ),
            (Reply((Thinking(("hm",)), text("Look."), Call("weather", FrozenDict(city="Paris"), "call_1")), False),),
            place="cache.db, row 2",
        ),
        CachedCall("", (Message("human", "hi there"),), (Reply((text("hello"),), False),), place="cache.db, row 3"),
    ]


def test_calls_of_real_models_have_their_model_and_their_stop_sequences(kept: Rows) -> None:
    cache = RowsOfCache()
    steps = [
        say("It is sunny.", usage=(8, 5)),
        reply(call("weather", city="Paris").with_id("call_1"), usage=(8, 5)),
        say("I can't.", refusal=True, usage=(8, 5)),
    ]
    model, _ = chat_model("openai", Script(*steps), NAMES["openai"], cache=cache)
    model.invoke([SystemMessage("Be brief."), HumanMessage("Weather?")])
    history = [HumanMessage("Weather?"), AIMessage("", tool_calls=[{"name": "weather", "args": {}, "id": "call_0"}])]
    model.bind_tools(TOOLS).invoke([*history, ToolMessage("rain", tool_call_id="call_0")], stop=["END"])
    model.invoke("Secret?")

    calls = read_cache(kept(*cache.rows))
    assert [(found.model, found.stop, found.left_out, found.place) for found in calls] == [
        (f"openai:{NAMES['openai']}", stop, (), f"cache.db, row {number}")
        for number, stop in ((1, None), (2, ("END",)), (3, None))
    ]
    assert [found.answers for found in calls] == [
        (Reply((text("It is sunny."),), COUNTED),),
        (Reply((Call("weather", FrozenDict(city="Paris"), "call_1"),), COUNTED),),
        (Reply((text("I can't."),), COUNTED, "refusal", refusal=True),),
    ]
    assert calls[1].messages[1:] == (
        Message("ai", "", (ToolCall("weather", FrozenDict(), "call_0"),)),
        Message("tool", "rain", tool_call_id="call_0", status="success"),
    )


ZERO = {"audio": 0, "cache_read": 0}
COUNTED = Usage(8, 5, 13, FrozenDict(ZERO), FrozenDict(audio=0, reasoning=0))


def test_an_answer_of_anthropic_has_its_reasoning_and_its_stop_reason(kept: Rows) -> None:
    cache = RowsOfCache()
    step = reply(think("A clear sky."), say("It is sunny."), usage=(8, 5), stop_reason="length")
    model, _ = chat_model("anthropic", Script(step), NAMES["anthropic"], cache=cache, **THINKING)
    model.invoke("Weather?")

    (found,) = read_cache(kept(*cache.rows))
    (answer,) = found.answers
    assert found.model == f"anthropic:{NAMES['anthropic']}"
    assert (answer.parts, answer.stop_reason) == ((Thinking(tuple(split("A clear sky."))), text("It is sunny.")), "length")


def test_an_answer_of_a_text_model_is_its_text(kept: Rows) -> None:
    cache = RowsOfCache()
    clients = http_clients(ScriptTransport(Script(say("Once ", "upon", stop_reason="length")), Completions()))
    OpenAI(model="gpt-3.5-turbo-instruct", cache=cache, **clients).invoke("A story?")

    (found,) = read_cache(kept(*cache.rows))
    assert (found.model, found.messages) == ("openai:gpt-3.5-turbo-instruct", (Message("human", "A story?"),))
    assert found.answers == (Reply((text("Once upon"),), False, "length"),)


# -- rows of other forms


def generation(**message: Any) -> str:
    from langchain_core.outputs import ChatGeneration

    return dumps(ChatGeneration(message=AIMessage(**message)))


def test_several_answers_to_one_prompt_are_one_call(kept: Rows) -> None:
    rows = [("hi", "m", number, generation(content=said)) for number, said in ((1, "b"), (0, "a"))]

    (found,) = read_cache(kept(*rows, ("ho", "m", 0, generation(content="c"))))[:1]
    assert [answer.text for answer in found.answers] == ["a", "b"]


def test_a_call_without_a_name_is_left_out(kept: Rows) -> None:
    calls = [{"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}]
    asked = dumps([AIMessage("", tool_calls=calls), HumanMessage("hi")]).replace('"name": "f"', '"name": null')

    (found,) = read_cache(kept((asked, "m", 0, "Hello")))

    assert [(message.role, message.tool_calls) for message in found.messages] == [("ai", ()), ("human", ())]


def test_a_row_of_a_first_cache_is_the_text_itself(kept: Rows) -> None:
    assert read_cache(kept(("hi", "m", 0, "Hello there")))[0].answers == (Reply((text("Hello there"),), False),)


@pytest.mark.parametrize(
    ("message", "step", "left_out"),
    [
        ({"content": ""}, Reply((Text(()),), False), ()),
        (
            {"content": "Hi", "additional_kwargs": {"reasoning_content": "Hm."}},
            Reply((Thinking(("Hm", ".")), text("Hi")), False),
            (),
        ),
        (
            {"content": [{"type": "image", "base64": "aaaa"}, {"type": "text", "text": "Hi"}, {"type": "tool_use", "name": "f"}]},
            Reply((text("Hi"),), False),
            ("a block of the type image",),
        ),
        (
            {"content": "", "invalid_tool_calls": [{"name": "f", "args": '{"a', "id": "call_1", "error": None}]},
            Reply((Call("f", FrozenDict(), "call_1", ("{", '"', "a")),), False),
            (),
        ),
        ({"content": "Hi", "response_metadata": {"finish_reason": "MAX_TOKENS"}}, Reply((text("Hi"),), False, "length"), ()),
        ({"content": "Hi", "response_metadata": {"finish_reason": "STOP"}}, Reply((text("Hi"),), False), ()),
        ({"content": "Hi", "response_metadata": {"done_reason": "stop"}}, Reply((text("Hi"),), False), ()),
        (
            {"content": "Hi", "response_metadata": {"model": "m-2", "stop_reason": "stop_sequence", "stop_sequence": "END"}},
            Reply((text("Hi"),), False, "stop_sequence", response_metadata=FrozenDict(model_name="m-2", stop_sequence="END")),
            (),
        ),
    ],
)
def test_each_kind_of_message_is_a_step(message: Any, step: Reply, left_out: tuple[str, ...], kept: Rows) -> None:
    (found,) = read_cache(kept(("hi", "m", 0, generation(**message))))

    assert (found.answers, found.left_out) == ((step,), left_out)


@pytest.mark.parametrize(
    ("llm", "model", "stop"),
    [
        ("m", "", None),
        ("[('_type', 'fake'), ('model_name', 'gpt-5'), ('stop', None)]", "openai:gpt-5", None),
        (
            '{"type": "constructor", "kwargs": {"model": "claude-x"}}---[(\'stop\', [\'a\', \'b\'])]',
            "anthropic:claude-x",
            ("a", "b"),
        ),
        ("{\"type\": \"constructor\", \"kwargs\": {}}---[('model', 'llama'), ('stop', None)]", "llama", None),
        ('{"type": "not_implemented"}---[(\'stop\', <object at 0x1>)]', "", None),
        ("---", "", None),
    ],
)
def test_the_key_of_a_row_may_tell_the_model(llm: str, model: str, stop: Any, kept: Rows) -> None:
    (found,) = read_cache(kept(("hi", llm, 0, "Hello")))

    assert (found.model, found.stop) == (model, stop)


# -- files that are no caches


def test_a_file_that_is_no_cache_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("no database, but a text that is long enough" * 50, "utf-8")
    connection = sqlite3.connect("other.db")
    connection.execute("CREATE TABLE notes (a)")
    connection.close()

    told = []
    for name in ("none.db", "text.db", "other.db"):
        with pytest.raises(ScriptError) as error:
            read_cache(name)
        told.append(str(error.value))
    assert told == [
        "there is no cache `none.db`",
        "text.db: the file is no SQLite database that can be read: file is not a database",
        "other.db: a cache of LangChain has the table `full_llm_cache`; got `notes`",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ("hi", "m", 0, None),
            "cache.db, row 1: a row has a prompt, a model, an answer and its number; got ['hi', 'm', None, 0]",
        ),
        (("hi", "m", 0, "{}"), "cache.db, row 1: an answer is a generation of LangChain; got {}"),
    ],
)
def test_a_row_without_an_answer_is_told(row: Any, message: str, kept: Rows) -> None:
    with pytest.raises(ScriptError) as error:
        read_cache(kept(row))

    assert str(error.value) == message
