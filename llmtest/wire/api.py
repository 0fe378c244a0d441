"""What each API of a provider says: how it reads a request into our words, and writes an answer in its own.

One module for each API has a subclass of `Api` and one of `Writer`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final

from llmtest import ledger
from llmtest.events.words import EMPTY, FrozenDict, FrozenList, Message, ToolCall, Usage
from llmtest.scripts.replies import raised
from llmtest.scripts.step_types import Call, Fail, Reply
from llmtest.scripts.streams import ReplyStream
from llmtest.wire.exchange import EVENTS, ConnectionBroken, HttpRequest

Body = Mapping[str, Any]
Schemas = Mapping[str, Mapping[str, Any]]


class BadBody(Exception):
    """The body of a request is not what the API takes. Its text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What a request asks of a model, in our words. `params` are the rest of the body, under the names of the API."""

    model: str
    messages: tuple[Message, ...]
    tools: Schemas = EMPTY
    tool_choice: Any = None
    stop: tuple[str, ...] | None = None
    params: Mapping[str, Any] = EMPTY
    streams: bool = False


class Writer(ReplyStream[dict[str, Any]]):
    """Writes one reply in the words of an API: whole, or as the events of a stream."""

    def __init__(self, reply: Reply, call: ModelCall, usage: Usage | None) -> None:
        super().__init__(reply)
        self.call = call
        self.usage = usage
        self.model = str(reply.response_metadata.get("model_name", call.model))

    @abstractmethod
    def whole(self) -> dict[str, Any]:
        """Return the JSON of the whole answer."""

    def encode(self, event: Mapping[str, Any]) -> bytes:
        """Return the bytes of one event of the stream."""
        return server_sent(event)

    def closing(self) -> bytes:
        """Return the bytes after the last event of a stream that was not cut."""
        return b""

    def error_event(self, status: int, message: str) -> dict[str, Any] | None:
        """Return the event that tells of a failure after the first token; None if this API has none."""
        return None

    def _broken(self, failure: Fail) -> Iterator[dict[str, Any]]:
        if isinstance(failure.error, int):
            event = self.error_event(failure.error, failure.message or reason_phrase(failure.error))
            if event is None:
                raise ConnectionBroken(ConnectionResetError(reason_phrase(failure.error)))
            yield event
        else:
            raise ConnectionBroken(raised(failure))

    def call_id(self, call: Call) -> str:
        """Return the id of a tool call: its own, or a fresh one."""
        return call.id or fresh_id("call")


class Api(ABC):
    """One API of a provider. Stateless."""

    name: ClassVar[str]
    writer: ClassVar[type[Writer]]
    streams_as: ClassVar[str] = EVENTS
    """The content type of a stream."""

    @abstractmethod
    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        """Return what the request asks.

        Raises:
            BadBody: the body is not what the API takes.
        """

    @abstractmethod
    def error(self, status: int, message: str) -> dict[str, Any]:
        """Return the JSON of an answer with this status."""

    def headers(self) -> dict[str, str]:
        """Return the headers that the provider sends with each answer."""
        return {}


def server_sent(event: Mapping[str, Any], name: str | None = None) -> bytes:
    """Return one server-sent event with `event` as its JSON."""
    said = b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"
    return said if name is None else b"event: " + name.encode() + b"\n" + said


def fresh_id(kind: str) -> str:
    return ledger.current().fresh_id(kind)


def reason_phrase(status: int) -> str:
    """Return the words for an HTTP status."""
    return next((known.phrase for known in HTTPStatus if known == status), "error")


# -- reading


def frozen(value: Any) -> Any:
    """Return JSON as values that cannot be changed."""
    if isinstance(value, dict):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    return FrozenList(map(frozen, value)) if isinstance(value, list) else value


def item_of(body: Body, key: str, kind: type, takes: str) -> Any:
    """Return `body[key]`.

    Raises:
        BadBody: it is missing or of another type; `takes` says what is expected.
    """
    value = body.get(key)
    if not isinstance(value, kind):
        came = "nothing" if key not in body else f"{type(value).__name__} {value!r:.100}"
        raise BadBody(f"`{key}` is {takes}; got {came}")
    return value


def tool_call(name: Any, arguments: Any, key: Any) -> ToolCall:
    """Return a tool call; arguments that are no JSON object stay text."""
    if isinstance(arguments, str):
        try:
            read = json.loads(arguments or "{}")
        except ValueError:
            read = None
        arguments = read if isinstance(read, dict) else arguments
    return ToolCall(str(name), frozen(arguments if arguments is not None else {}), key)


def schemas(tools: Sequence[tuple[str, Any]]) -> Schemas:
    """Return the JSON schema of each tool's arguments; a provider's own tool takes any."""
    return {name: schema or ANYTHING for name, schema in tools}


def texts(value: Any) -> tuple[str, ...] | None:
    """Return stop sequences, which an API takes as one text or several."""
    if not value:
        return None
    return (value,) if isinstance(value, str) else tuple(map(str, value))


ANYTHING: Final[Mapping[str, Any]] = {"additionalProperties": True}
