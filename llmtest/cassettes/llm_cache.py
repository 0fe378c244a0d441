"""The answers that LangChain's `SQLiteCache` has kept, as steps.

The cache holds LangChain's own JSON of a prompt and of each answer. It is read by hand: nothing here imports LangChain, and no
class that a row names is made.
"""

from __future__ import annotations

import ast
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtest.core.source import shown_path
from llmtest.core.text import clip, names
from llmtest.errors import ScriptError
from llmtest.events.content import read_block
from llmtest.events.usage import read_model_name, read_usage
from llmtest.events.words import EMPTY, FrozenDict, Message, ToolCall
from llmtest.scripts.step_types import Call, Part, Reply, Text, Thinking, split
from llmtest.wire.api import frozen, frozen_list
from llmtest.wire.hosts import with_provider


@dataclass(frozen=True, slots=True)
class CachedCall:
    """One prompt in the cache, and its answers. `model` is empty if the cache does not tell it."""

    model: str
    messages: tuple[Message, ...]
    answers: tuple[Reply, ...]
    stop: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()
    """What the answers had and a step cannot say."""
    place: str = ""


def read_cache(path: Path | str) -> list[CachedCall]:
    """Return the calls in the file of a `SQLiteCache`, in the order in which they were kept.

    Raises:
        ScriptError: there is no such file, it is no such cache, or a row of it has no answer; with the number of the row.
    """
    shown = str(path)
    found: dict[tuple[str, str], list[_Row]] = {}
    for row in _rows(Path(path), shown):
        found.setdefault((row.prompt, row.llm), []).append(row)
    return [_call(sorted(rows, key=lambda row: row.number)) for rows in found.values()]


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the cache: an answer to a prompt."""

    place: str
    prompt: str
    llm: str
    number: int
    response: str

    def wrong(self, text: str) -> ScriptError:
        return _wrong(self.place, text)


def _rows(path: Path, shown: str) -> Iterator[_Row]:
    if not path.is_file():
        raise ScriptError(f"there is no cache `{shown_path(shown)}`")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            yield from _rows_of(connection, shown)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _wrong(shown, f"the file is no SQLite database that can be read: {error}") from None


def _rows_of(connection: sqlite3.Connection, shown: str) -> Iterator[_Row]:
    tables = sorted(str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
    if TABLE not in tables:
        raise _wrong(shown, f"a cache of LangChain has the table `{TABLE}`; got {names(tables)}")
    for number, *values in connection.execute(f"SELECT rowid, prompt, llm, response, idx FROM {TABLE} ORDER BY rowid"):
        place = f"{shown}, row {number}"
        *texts, index = values
        if not all(isinstance(text, str) for text in texts) or type(index) is not int:
            raise _wrong(place, f"a row has a prompt, a model, an answer and its number; got {clip(repr(values), 80)}")
        prompt, llm, response = texts
        yield _Row(place, prompt, llm, index, response)


TABLE: Final = "full_llm_cache"


def _wrong(place: str, text: str) -> ScriptError:
    return ScriptError(f"{shown_path(place)}: {text}")


def _call(rows: list[_Row]) -> CachedCall:
    first = rows[0]
    model, stop = _model(first.llm)
    left_out: dict[str, None] = {}
    answers = tuple(_Answer(row, model, left_out).reply() for row in rows)
    return CachedCall(with_provider(model) if model else "", _messages(first), answers, stop, tuple(left_out), first.place)


# -- prompts


def _model(llm: str) -> tuple[str, tuple[str, ...] | None]:
    """Return the model that the cache's key names, and the stop sequences: `{JSON of the model}---[parameters of the call]`."""
    before, _, after = llm.rpartition("---")
    known = _json(before)
    name = read_model_name(_kwargs(known) if known is not None else None, dict(_pairs(llm if not before else after)))
    stop = dict(_pairs(after)).get("stop")
    return name or "", tuple(map(str, stop)) if isinstance(stop, (list, tuple)) else None


def _pairs(text: str) -> list[tuple[str, object]]:
    """Return pairs that are written as Python writes them; none if they are something else, such as an object."""
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    items = read if isinstance(read, list) else []
    return [item for item in items if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)]


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _kwargs(value: object) -> Mapping[str, object]:
    """Return what an object of LangChain's JSON was made with; nothing for another value."""
    kwargs = value.get("kwargs") if isinstance(value, dict) and value.get("type") == "constructor" else None
    return kwargs if isinstance(kwargs, dict) else {}


def _messages(row: _Row) -> tuple[Message, ...]:
    """Return the messages of a prompt; a text model has a text."""
    read = _json(row.prompt)
    if not isinstance(read, list) or not read or not all(_kwargs(item) for item in read):
        return (Message("human", row.prompt),)
    return tuple(_message(_kwargs(item)) for item in read)


def _message(said: Mapping[str, object]) -> Message:
    content = said.get("content")
    return Message(
        str(said.get("type") or "human").removesuffix("MessageChunk").lower(),
        content if isinstance(content, str) else frozen_list(content) if isinstance(content, list) else "",
        tuple(ToolCall(name, args, key) for name, args, key in _calls(said)),
        name=_text_or_none(said.get("name")),
        tool_call_id=_text_or_none(said.get("tool_call_id")),
        status=_text_or_none(said.get("status")),
    )


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _calls(said: Mapping[str, object]) -> Iterator[tuple[str, FrozenDict | str, str | None]]:
    """Yield the tool calls of a message: name, arguments and id. Arguments that are no JSON are text."""
    for field in ("tool_calls", "invalid_tool_calls"):
        calls = said.get(field)
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and isinstance(call.get("name"), str):
                args = frozen(call.get("args"))
                told = args if isinstance(args, FrozenDict) else EMPTY if args is None else str(args)
                yield call["name"], told, _text_or_none(call.get("id"))


# -- answers


STOPS: Final = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "safety": "content_filter"}
"""The words of Anthropic and Gemini, in lower case, for why an answer ends."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer in the cache. It notes in `left_out` what a step cannot say."""

    row: _Row
    model: str
    left_out: dict[str, None]

    def reply(self) -> Reply:
        read = _json(self.row.response)
        if not isinstance(read, dict):  # the text itself, as LangChain's first caches have it
            return Reply((Text(tuple(split(self.row.response))),), False)
        generation = _kwargs(read)
        kind = read.get("id")
        text = generation.get("text", "")  # LangChain leaves an empty one out
        if not (
            isinstance(kind, list)
            and kind[-1:]
            and str(kind[-1]).endswith(("Generation", "GenerationChunk"))
            and isinstance(text, str)
        ):
            raise self.row.wrong(f"an answer is a generation of LangChain; got {clip(self.row.response, 80)}")
        message = _kwargs(generation.get("message"))
        info = generation.get("generation_info")
        if not message:
            return Reply((Text(tuple(split(text))),), False, self._stop(info, "stop"))
        metadata = message.get("response_metadata")
        calls = tuple(_call_of(*call) for call in _calls(message))
        extra = _mapping(message.get("additional_kwargs"))
        parts = tuple(self._parts(message.get("content"), extra))
        refusal = extra.get("refusal")  # OpenAI's, which stands in the place of a text
        is_refusal = isinstance(refusal, str) and bool(refusal) and not parts
        if is_refusal:
            parts = (Text(tuple(split(str(refusal)))),)
        return Reply(
            (*parts, *calls) or (Text(()),),
            read_usage(message.get("usage_metadata")) or False,
            "refusal" if is_refusal else self._stop({**_mapping(info), **_mapping(metadata)}, "tool_calls" if calls else "stop"),
            self._metadata(_mapping(metadata)),
            refusal=is_refusal,
        )

    def _parts(self, content: object, extra: Mapping[str, object]) -> Iterator[Part]:
        thought = extra.get("reasoning_content")  # DeepSeek's and Ollama's
        if isinstance(thought, str) and thought:
            yield Thinking(tuple(split(thought)))
        for block in map(read_block, content if isinstance(content, list) else [content] if content else []):
            if block.kind == "text":
                yield Text(tuple(split(block.text or "")))
            elif block.kind == "reasoning":
                yield Thinking(tuple(split(block.text or "")))
            elif block.kind == "other":
                self.left_out[f"a block of the type {block.type}"] = None

    def _stop(self, said: object, default: str) -> str | None:
        told = _mapping(said)
        if told.get("done_reason") == "stop" or told.get("finish_reason") == "STOP":  # Ollama and Gemini say so of calls too
            return None
        words = [word for key in ("finish_reason", "stop_reason", "done_reason") if isinstance(word := told.get(key), str)]
        reason = STOPS.get(words[0].lower(), words[0]) if words else None
        return None if reason == default else reason

    def _metadata(self, said: Mapping[str, object]) -> FrozenDict:
        model = read_model_name(said)
        kept = {"model_name": model} if model and model != self.model else {}
        told = {name: frozen(said[name]) for name in ("system_fingerprint", "stop_sequence") if said.get(name)}
        return FrozenDict({**kept, **told}) or EMPTY


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _call_of(name: str, args: FrozenDict | str, key: str | None) -> Call:
    return Call(name, args, key) if isinstance(args, FrozenDict) else Call(name, EMPTY, key, tuple(split(args)) or ("",))
