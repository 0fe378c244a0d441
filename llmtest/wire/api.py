"""What each API of a provider says: how it reads a request into our words, and writes an answer in its own.

One module for each API has a subclass of `Api` and one of `Writer`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import ClassVar, Final, Generic, NamedTuple, TypeVar

from llmtest import ledger
from llmtest.core.source import shown_path
from llmtest.core.text import did_you_mean, names
from llmtest.errors import ScriptError
from llmtest.events.words import EMPTY, FrozenDict, FrozenList, Message, ToolCall, Usage
from llmtest.scripts.gates import Gate
from llmtest.scripts.replies import raised
from llmtest.scripts.step_types import Call, Fail, Reply
from llmtest.scripts.streams import ReplyStream
from llmtest.scripts.tool_checks import ANYTHING
from llmtest.wire.exchange import EVENTS, ConnectionBroken, HttpAnswer, HttpRequest, reason_phrase

Body = Mapping[str, object]
Schemas = Mapping[str, Body]
_quoted: Final = json.encoder.encode_basestring_ascii  # what json.dumps does with a text
C = TypeVar("C")
T = TypeVar("T")


class BadBody(Exception):
    """A body is not what the API takes or sends. Its text says what was expected and what came."""


class ModelCall(NamedTuple):
    """What a request asks of a model, in our words. `params` are the rest of the body, under the names of the API.

    `provider` is who speaks the API, if not the one who made it: `deepseek`, `groq`.
    """

    model: str
    messages: tuple[Message, ...]
    tools: Schemas = EMPTY
    tool_choice: object = None
    stop: tuple[str, ...] | None = None
    params: Mapping[str, object] = EMPTY
    streams: bool = False
    provider: str = ""


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What a provider answered, as a step of a script. A reader of an API returns it.

    `left_out` names what the answer had and the step cannot say, each in a few words: `an image`, `2 of 3 choices`. Ids of
    answers, dates, rate limits and the signatures of reasoning are not named: a replay makes its own.
    """

    step: Reply | Fail
    left_out: tuple[str, ...] = ()


class TokenEvent(NamedTuple):
    """An event that differs from the others of its `kind` in one text: `whole` makes it of a text.

    The bytes around the text are made once.
    """

    kind: Hashable
    text: str
    whole: Callable[[str], dict[str, object]]


Event = dict[str, object] | TokenEvent


class Writer(ReplyStream[Event]):
    """Writes one reply in the words of an API: whole, or as the events of a stream."""

    streams_as: str = EVENTS
    """The content type of a stream."""

    def __init__(self, reply: Reply, call: ModelCall, usage: Usage | None) -> None:
        super().__init__(reply)
        self.call = call
        self.usage = usage
        self.model = str(reply.response_metadata.get("model_name", call.model))
        self._around: dict[Hashable, tuple[bytes, bytes]] = {}
        """The bytes before and after the text of a `TokenEvent`, by its kind."""

    @abstractmethod
    def whole(self) -> dict[str, object]:
        """Return the JSON of the whole answer."""

    def encode(self, event: Mapping[str, object]) -> bytes:
        """Return the bytes of one event of the stream."""
        return server_sent(event)

    def encoded(self) -> Iterator[bytes | Gate]:
        """Yield the bytes of each event of the stream, and the gates at which it stops."""
        around = self._around
        for piece in self.pieces():
            if isinstance(piece, TokenEvent):
                text = _quoted(piece.text).encode()
                bytes_around = around.get(piece.kind) or self._learn(piece, text)
                yield self.encode(piece.whole(piece.text)) if bytes_around is None else text.join(bytes_around)
            else:
                yield piece if isinstance(piece, Gate) else self.encode(piece)

    def _learn(self, event: TokenEvent, text: bytes) -> tuple[bytes, bytes] | None:
        """Return the bytes around the text of an event, or None if the text stands there a second time, as `"content"` may."""
        before, _, after = (whole := self.encode(event.whole(event.text))).partition(text)
        if whole.count(text) > 1:
            return None
        self._around[event.kind] = before, after
        return before, after

    def events(self) -> Iterator[dict[str, object] | Gate]:
        """Yield each event of the stream, and the gates at which it stops."""
        return (piece.whole(piece.text) if isinstance(piece, TokenEvent) else piece for piece in self.pieces())

    def closing(self) -> bytes:
        """Return the bytes after the last event of a stream that was not cut."""
        return b""

    @abstractmethod
    def error_event(self, status: int, message: str) -> dict[str, object]:
        """Return the event that tells of a failure after the first token."""

    def _broken(self, failure: Fail) -> Iterator[dict[str, object]]:
        if isinstance(failure.error, int):
            yield self.error_event(failure.error, failure.message or reason_phrase(failure.error))
        else:
            raise ConnectionBroken(raised(failure))

    def _from_script(self, *names: str) -> dict[str, object]:
        """Return these fields of the answer, where the step says them as `response_metadata`."""
        said = self.reply.response_metadata
        return {name: said[name] for name in names if name in said}

    def call_id(self, call: Call) -> str:
        """Return the id of a tool call: its own, or a fresh one."""
        return call.id or fresh_id("call")


class Endpoint(ABC, Generic[C]):
    """An endpoint of a provider, for calls of type `C`: how it reads them, and how it says that one fails. Stateless."""

    name: ClassVar[str]

    @abstractmethod
    def read(self, request: HttpRequest, body: Body) -> C:
        """Return what the request asks.

        Raises:
            BadBody: the body is not what the API takes.
        """

    @abstractmethod
    def error(self, status: int, message: str) -> dict[str, object]:
        """Return the JSON of an answer with this status."""

    def headers(self, status: int = 200) -> dict[str, str]:
        """Return the headers that the provider sends with an answer of this status, with a fresh id of the request."""
        return {}


class Api(Endpoint[ModelCall]):
    """One API of a provider for its models."""

    writer: ClassVar[type[Writer]]
    log_probabilities: ClassVar[tuple[str, ...]] = ()
    """The names under which the `response_metadata` of a step says the log probabilities of its tokens."""

    @abstractmethod
    def read_answer(self, answer: HttpAnswer, asked: str = "") -> ReadAnswer:
        """Return a recorded answer in the words of a script: the inverse of `writer`, and of `error`.

        The body is whole JSON, or all bytes of a stream. `asked` is the model that the request named; the model that the
        answer names is kept if it is another.

        Raises:
            BadBody: the bytes are no answer of this API.
        """

    def asks_log_probabilities(self, params: Mapping[str, object]) -> bool:
        """True if a request wants log probabilities, which no script makes up."""
        return False

    def check(self, reply: Reply, params: Mapping[str, object]) -> None:
        """Raise for an answer that the API has no words for, or that lacks what the `params` of the request ask for.

        Raises:
            ScriptError: no server of this API can say `reply`, or it says no log probabilities.
        """
        names_said = [name for name in self.log_probabilities if name in reply.response_metadata]
        if not names_said and self.asks_log_probabilities(params):
            raise ScriptError(
                f"the program asks for log probabilities, and {reply} at {shown_path(reply.where)} has none\n"
                f"  say them as the API does: response_metadata={{{self.log_probabilities[0]!r}: ...}}"
            )


def refuse_calls(reply: Reply, api: str, remedy: str) -> None:
    """Raise `ScriptError` if a reply calls a tool: a text model has no tools."""
    if reply.calls:
        raise ScriptError(f"the script calls the tool `{reply.calls[0].tool}`, but the program asks {api} for a text\n  {remedy}")


def server_sent(event: Mapping[str, object], name: str | None = None) -> bytes:
    """Return one server-sent event with `event` as its JSON."""
    said = b"data: " + json.dumps(event).encode() + b"\n\n"  # in ASCII: half a surrogate pair arrives as it was said
    return said if name is None else b"event: " + name.encode() + b"\n" + said


def fresh_id(kind: str) -> str:
    return ledger.current().fresh_id(kind)


# -- reading


def frozen(value: object) -> object:
    """Return JSON as values that cannot be changed."""
    if isinstance(value, dict):
        return _frozen_object(value)
    return frozen_list(value) if isinstance(value, list) else value


def frozen_list(items: Iterable[object]) -> FrozenList:
    """Return a list of JSON as values that cannot be changed."""
    return FrozenList(map(frozen, items))


def _frozen_object(value: Body) -> FrozenDict:
    return FrozenDict({key: frozen(item) for key, item in value.items()})


def item_of(body: Body, key: str, kind: type[T], takes: str) -> T:
    """Return `body[key]`.

    Raises:
        BadBody: it is missing or of another type; `takes` says what is expected.
    """
    if key not in body:
        raise BadBody(f"`{key}` is {takes}; got nothing")
    return checked(body[key], kind, key, takes)


def optional_item(body: Body, key: str, kind: type[T], takes: str) -> T | None:
    """As `item_of`, but None for an item that is missing or null."""
    value = body.get(key)
    return None if value is None else checked(value, kind, key, takes)


def checked(value: object, kind: type[T], name: str, takes: str) -> T:
    """Return `value`, which stands at `name` in the body.

    Raises:
        BadBody: it is of another type; `takes` says what is expected.
    """
    if not isinstance(value, kind):
        raise refused(value, name, takes)
    return value


def refused(value: object, name: str, takes: str) -> BadBody:
    """Return the error for a value at `name` that is not what the API takes there."""
    return BadBody(f"`{name}` is {takes}; got {type(value).__name__} {value!r:.100}")


def objects(body: Body, key: str, takes: str) -> list[dict[str, object]]:
    """Return the list of objects at `key`; none if it is missing or null."""
    items = optional_item(body, key, list, takes) or []
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise refused(item, f"{key}[{number}]", "an object")
    return items


def content_of(message: Body, key: str = "content") -> str | FrozenList:
    """Return the content of a message: text, or its blocks."""
    content = message.get(key)
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise refused(content, key, "a text or a list of blocks")
    return frozen_list(objects(message, key, "a list of blocks"))


def role_of(message: Body, roles: Mapping[str, str]) -> str:
    """Return our word for the role of a message; `roles` has one for each role of the API."""
    role = item_of(message, "role", str, "the role of a message")
    if role not in roles:
        raise BadBody(f"`role` is one of {names(roles)}; got {role!r:.100}{did_you_mean(role, roles)}")
    return roles[role]


def check_number(value: object, name: str) -> None:
    """Raise for a request that wants several answers at once: a step says one.

    Raises:
        BadBody: `value`, which stands at `name`, is another number than 1.
    """
    if value is not None and (value != 1 or isinstance(value, bool)):
        raise BadBody(
            f"`{name}` is 1, since a step of a script says one answer; got {value!r:.100}\n"
            "  ask for each answer with a call of its own: model.batch([prompt, prompt])"
        )


def choice_of(body: Body) -> object:
    """Return what a request says of the tools that the model may call, as it came."""
    choice = body.get("tool_choice")
    if not isinstance(choice, (str, dict, NoneType)):
        raise refused(choice, "tool_choice", "a word or an object")
    return frozen(choice)


def tool_call(name: object, arguments: object, key: object) -> ToolCall:
    """Return a tool call; arguments that are no JSON object stay text."""
    if not isinstance(name, str):
        raise refused(name, "name", "the name of the called tool")
    if not isinstance(key, (str, NoneType)):
        raise refused(key, "id", "the id of a tool call")
    if isinstance(arguments, str):
        return ToolCall(name, _arguments(arguments), key)
    if not isinstance(arguments, (dict, NoneType)):
        raise refused(arguments, "arguments", "the arguments of a tool call")
    return ToolCall(name, _frozen_object(arguments or {}), key)


def _arguments(text: str) -> FrozenDict | str:
    try:
        read = json.loads(text or "{}")
    except ValueError:
        return text
    return _frozen_object(read) if isinstance(read, dict) else text


def schemas(tools: Iterable[tuple[str, object]]) -> Schemas:
    """Return the JSON schema of each tool's arguments; a provider's own tool takes any."""
    return {name: ANYTHING if schema is None else _schema(name, schema) for name, schema in tools}


def _schema(tool: str, schema: object) -> Body:
    said: Body = checked(schema, dict, "parameters", f"the JSON schema of `{tool}`")
    optional_item(said, "properties", dict, f"the schemas of the arguments of `{tool}`")
    for name in optional_item(said, "required", list, f"the names of the arguments of `{tool}`") or ():
        checked(name, str, "required", f"the names of the arguments of `{tool}`")
    return said


def texts(value: object, name: str = "stop") -> tuple[str, ...] | None:
    """Return stop sequences, which an API takes as one text or several."""
    if value is None:
        return None
    several = [value] if isinstance(value, str) else checked(value, list, name, "a text or a list of texts")
    return tuple(checked(text, str, name, "a text or a list of texts") for text in several if text != "") or None
