"""What a provider answered, read into the words of a script: what the readers of all APIs share.

Each module of an API has a subclass of `Reader`, the inverse of its `Writer`.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from llmtest.core.text import clip
from llmtest.events.words import EMPTY, FrozenDict, Usage
from llmtest.scripts.step_types import Call, Fail, Part, Reply, Text, Thinking, split
from llmtest.wire.api import BadBody, Body, Endpoint, ReadAnswer, checked, frozen, item_of
from llmtest.wire.event_stream import is_server_sent, json_values, server_sent_events
from llmtest.wire.exchange import EVENTS, LINES, HttpAnswer, reason_phrase


@dataclass(slots=True)
class Block:
    """A part of an answer while it is read. A call has `args`, or the text of them as `tokens`."""

    kind: type[Text] | type[Thinking] | type[Call]
    tokens: list[str] = field(default_factory=list)
    tool: str = ""
    id: str | None = None
    args: Body | None = None

    def add(self, token: str) -> None:
        """Add a token; an empty one is none."""
        if token:
            self.tokens.append(token)


class Reader(ABC):
    """Reads one answer of an API: whole, or event by event. Holds state: it reads once."""

    sends: ClassVar[str]
    """What the API sends, for errors: `a chat completion`."""
    statuses: ClassVar[Mapping[str, int]] = {}
    """The HTTP status for each of the provider's words for an error, which an error within a stream does not have."""

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self.blocks: list[Block] = []
        self.usage: Usage | None = None
        self.stop_reason: str | None = None
        self.refusal = False
        self.metadata: dict[str, object] = {}
        self.failure: Fail | None = None
        self.streams = False
        self.is_at_end = False
        """True as soon as a stream has told why it ends."""
        self.left_out: dict[str, None] = {}
        self.others: set[int] = set()
        """The numbers of the choices beside the first."""

    @abstractmethod
    def whole(self, body: Body) -> None:
        """Read a whole answer.

        Raises:
            BadBody: it is none.
        """

    @abstractmethod
    def event(self, event: Body) -> None:
        """Read one event of a stream.

        Raises:
            BadBody: the API has no such event.
        """

    def default_stop(self) -> str | None:
        """Return the stop reason that the writer makes of a step without one."""
        return "tool_calls" if any(block.kind is Call for block in self.blocks) else "stop"

    # -- what subclasses read

    def begin(self, kind: type[Text] | type[Thinking]) -> Block:
        """Return the block for text or reasoning that comes next. Text right after text is one block."""
        if not self.blocks or self.blocks[-1].kind is not kind:
            self.blocks.append(Block(kind))
        return self.blocks[-1]

    def add(self, kind: type[Text] | type[Thinking], token: str) -> None:
        """Add a token of text or reasoning, unless it is empty."""
        if token:
            self.begin(kind).add(token)

    def call(self, tool: object, key: object, arguments: object = None) -> Block:
        """Begin a tool call; `arguments` are an object, a text, or still to come."""
        name = checked(tool, str, "name", "the name of the called tool")
        block = Block(Call, tool=name, id=None if key is None else checked(key, str, "id", "the id of a tool call"))
        if isinstance(arguments, dict):
            block.args = arguments
        elif arguments is not None:
            block.add(checked(arguments, str, "arguments", "the arguments of a tool call"))
        self.blocks.append(block)
        return block

    def leave_out(self, what: str) -> None:
        """Note what the step cannot say."""
        self.left_out[what] = None

    def leave_out_rest(self, body: Body, known: Collection[str]) -> None:
        """Note the fields of `body` that are not `known` and say anything."""
        for name, value in body.items():
            if name not in known and value not in (None, "", False, 0, [], {}):
                self.leave_out(clip(name, 60) or "a field without a name")

    def name_model(self, name: object) -> None:
        """Note the model that the answer names."""
        if isinstance(name, str) and name not in ("", self.asked):
            self.metadata["model_name"] = name

    def keep(self, body: Body, *names: str, unless: Collection[object] = (None,)) -> None:
        """Keep these fields of the answer as `response_metadata`, except values that the writer writes by itself."""
        for name in names:
            if name in body and body[name] not in unless:
                self.metadata[name] = frozen(body[name])

    def fail(self, error: object) -> None:
        """Read an error that came in the place of an answer, or within its stream."""
        said = error if isinstance(error, dict) else {"message": error}
        status = self._status(said)
        self.failure = Fail(status, message=_message(said, status))

    def _status(self, error: Body) -> int:
        for word in (error.get("code"), error.get("type"), error.get("status")):
            if type(word) is int and 400 <= word <= 599:
                return word
            if isinstance(word, str) and word in self.statuses:
                return self.statuses[word]
        return 500

    # -- the step

    def answer(self) -> ReadAnswer:
        """Return what was read."""
        if self.others:
            self.leave_out(f"{len(self.others)} of {len(self.others) + 1} choices")
        if self.failure is not None and not self.streams:
            self.leave_out("an error with the HTTP status 200")
            return ReadAnswer(self.failure, tuple(self.left_out))
        is_cut = self.streams and not self.is_at_end
        # A stream that is cut off or fails never comes to its usage.
        usage: Usage | Literal[False] | None = self.usage if self.usage or is_cut or self.failure else False
        step = Reply(
            tuple(map(self._part, self.blocks)) or (Text(()),),
            usage,
            None if self.failure else self._stop_reason(),
            FrozenDict(self.metadata) if self.metadata else EMPTY,
            self.failure,
            is_cut and self.failure is None,
            self.refusal,
        )
        return ReadAnswer(step, tuple(self.left_out))

    def _stop_reason(self) -> str | None:
        if self.refusal and self.stop_reason in (None, "stop"):
            return "refusal"
        return None if self.stop_reason == self.default_stop() else self.stop_reason

    def _part(self, block: Block) -> Part:
        tokens = tuple(block.tokens if self.streams else split("".join(block.tokens)))
        if block.kind is not Call:
            return Text(tokens) if block.kind is Text else Thinking(tokens)
        if block.args is not None:
            return Call(block.tool, _object(block.args), block.id)
        text = "".join(tokens)
        args = _object_or_none(text)
        if args is None:
            return Call(block.tool, EMPTY, block.id, tokens or ("",))
        return Call(block.tool, args, block.id, () if text in _usual_texts(args) else tokens)


def _object(value: object) -> FrozenDict:
    read = frozen(value)
    assert isinstance(read, FrozenDict)
    return read


def _object_or_none(text: str) -> FrozenDict | None:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _object(read) if isinstance(read, dict) else None


def _usual_texts(args: FrozenDict) -> Iterator[str]:
    """Yield the texts that are not kept beside the arguments: with white space or without, with Unicode as it is or escaped."""
    for separators in (None, (",", ":")):
        for in_ascii in (False, True):
            yield json.dumps(args, ensure_ascii=in_ascii, separators=separators)


# -- bytes


def read_with(reader: Reader, api: Endpoint[Any], answer: HttpAnswer) -> ReadAnswer:
    """Return what `reader` reads in an answer of `api`; a step that fails for a status of 400 or more.

    Raises:
        BadBody: the bytes are no answer of the API.
    """
    if answer.status >= 400:
        return read_failure(api, answer)
    expected = f"the body is {reader.sends}, or the events of its stream"
    text = text_of(answer, expected)
    kind = content_type(answer)
    if kind == EVENTS or is_server_sent(text):
        events = _of_server_sent(text, expected)
    else:
        events, is_cut = _of_lines(text, expected)
        if len(events) == 1 and not (is_cut or kind == LINES or text.lstrip().startswith("[")):
            reader.whole(events[0])
            return reader.answer()
    if not events:
        raise BadBody(f"{expected}; got no event in {clip(repr(text), 100)}")
    reader.streams = True
    for event in events:
        reader.event(event)
    return reader.answer()


def text_of(answer: HttpAnswer, expected: str) -> str:
    """Return the text of the body.

    Raises:
        BadBody: another status than 200, an empty body, or bytes that are no UTF-8.
    """
    if not 200 <= answer.status < 300:
        raise BadBody(f"an answer has the HTTP status 200, or one of 400 or more; got {answer.status}")
    if not answer.body.strip():
        raise BadBody(f"{expected}; got an empty body")
    try:
        return answer.body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadBody(f"{expected}; got bytes that are no UTF-8: {error}") from None


def json_of(answer: HttpAnswer, expected: str) -> dict[str, object]:
    """Return the JSON object that is the whole body.

    Raises:
        BadBody: the body is something else.
    """
    text = text_of(answer, expected)
    try:
        value = json.loads(text)
    except RecursionError:
        raise BadBody(f"{expected}; got JSON that is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _no_json(expected, text, error) from None
    return checked(value, dict, "body", "a JSON object")


def _no_json(expected: str, text: str, error: json.JSONDecodeError) -> BadBody:
    return BadBody(f"{expected}; got {clip(repr(text), 100)}, which is no JSON: {error.msg}, character {error.pos + 1}")


def content_type(answer: HttpAnswer) -> str:
    """Return the content type without its parameters, in lower case; empty if the answer has none."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _of_server_sent(text: str, expected: str) -> list[dict[str, object]]:
    found = []
    for event in server_sent_events(text):
        if event.data == "[DONE]":
            break
        try:
            value = json.loads(event.data)
        except (ValueError, RecursionError):
            if not event.closed:  # the stream was cut off within this event
                break
            raise BadBody(f"{expected}; got an event that is no JSON: {clip(repr(event.data), 100)}") from None
        found.append(checked(value, dict, "data", "the JSON object of an event"))
    return found


def _of_lines(text: str, expected: str) -> tuple[list[dict[str, object]], bool]:
    """Return the objects of `text`, and whether it ends within another one after them."""
    found: list[dict[str, object]] = []
    try:
        for value in json_values(text):
            found += [checked(value, dict, "body", "a JSON object")]  # those before an error count
    except RecursionError:
        raise BadBody(f"{expected}; got JSON that is nested too deeply") from None
    except json.JSONDecodeError as error:
        if not (found and _is_cut(error, text.rstrip())):
            raise _no_json(expected, text, error) from None
        return found, True
    return found, False


def _is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Return True if `text` ends within a value, as a body does whose connection broke."""
    rest = text[error.pos :]
    if error.msg.startswith("Invalid \\"):
        return len(rest) < len(r"\u0000")
    return error.msg.startswith("Unterminated string") or any(word.startswith(rest) for word in ("true", "false", "null", "-"))


# -- errors


_NAMES_OF_MESSAGES: Final = ("message", "msg", "detail", "error_description", "error")


def _message(error: object, status: int) -> str | None:
    """Return the text of an error; None if it is the one that the writer gives to this status by itself."""
    said = _first_text(error)
    return None if said == reason_phrase(status) else said


def _first_text(error: object) -> str | None:
    if isinstance(error, str):
        return error or None
    if isinstance(error, list):
        return next((text for item in error if (text := _first_text(item))), None)
    if not isinstance(error, dict):
        return None
    inner = error.get("error")
    places = [inner] if isinstance(inner, dict) else []
    return next((text for place in (*places, *map(error.get, _NAMES_OF_MESSAGES)) if (text := _first_text(place))), None)


def read_failure(api: Endpoint[Any], answer: HttpAnswer) -> ReadAnswer:
    """Return the step of an answer with a status of 400 or more.

    Raises:
        BadBody: the status is none of HTTP.
    """
    status = answer.status
    if not 400 <= status <= 599:
        raise BadBody(f"an HTTP status that fails lies between 400 and 599; got {status}")
    left_out = []
    try:
        body: object = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
        if answer.body.strip():
            left_out.append(f"an error body of the type {content_type(answer) or 'unknown'}")
    message = _message(body, status)
    wait, date = _retry_after(answer.headers)
    left_out += [f"retry-after: {date}"] if date else []
    left_out += _other_words(body, api.error(status, message or ""))
    return ReadAnswer(Fail(status, wait, message), tuple(left_out))


def _retry_after(headers: Mapping[str, str]) -> tuple[float | None, str]:
    """Return the seconds that the provider says to wait, and a date that cannot be told as seconds.

    `retry-after-ms` counts only alone: a scripted server sends a short one, so that its clients lose no time.
    """
    said = headers.get("retry-after", "")
    for text, unit in ((said, 1.0), (headers.get("retry-after-ms", ""), 0.001)):
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds, ""
    return None, said


def _other_words(body: object, ours: Body) -> Iterable[str]:
    """Yield the code and the type of an error where the API's writer gives others to this status."""
    body = body[0] if isinstance(body, list) and body else body
    came = body.get("error") if isinstance(body, dict) else None
    if not isinstance(came, dict):
        return
    written = ours.get("error")
    for name in ("code", "type", "status"):
        if came.get(name) and (not isinstance(written, dict) or came[name] != written.get(name)):
            yield f"the {name} {came[name]!r:.60} of the error"


def count(body: Body, name: str) -> int:
    """Return a count of tokens; 0 if it is missing or null.

    Raises:
        BadBody: it is no number.
    """
    value = body.get(name)
    if value is None:
        return 0
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise BadBody(f"`{name}` is a number of tokens; got {type(value).__name__} {value!r:.100}")
    return value


def details(**counts: int) -> FrozenDict:
    """Return details of usage, without the kinds that have no tokens."""
    return FrozenDict({name: number for name, number in counts.items() if number}) or EMPTY


def inner(body: Body, name: str) -> Body:
    """Return the object at `name`; an empty one if it is missing or null.

    Raises:
        BadBody: it is something else.
    """
    return item_of(body, name, dict, "an object") if body.get(name) is not None else {}
