"""The events of a whole streamed body: server-sent events, lines of JSON, or a JSON array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_LINE_ENDS: Final = re.compile(r"\r\n|\n|\r")  # no other character ends a line: `str.splitlines` knows more
_FIELD: Final = re.compile(r"(data|event|id|retry)?:|(data|event)$", re.MULTILINE)
_WHITE: Final = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class ServerSent:
    """One server-sent event. It is not `closed` if the body ends before the empty line after it."""

    name: str
    data: str
    closed: bool = True


def server_sent_events(text: str) -> Iterator[ServerSent]:
    """Yield the events that have data, as the standard reads them: https://html.spec.whatwg.org/multipage/server-sent-events.html.

    Comments are skipped. Unlike there, an event at the end without an empty line after it is yielded too.
    """
    name, data = "", list[str]()
    lines = _LINE_ENDS.split(text.removeprefix("\ufeff"))
    if not lines[-1]:  # what follows the last line end is no line
        lines.pop()
    for line in lines:
        if not line:
            if data:
                yield ServerSent(name, "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")  # a comment is a field without a name
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    if data:
        yield ServerSent(name, "\n".join(data), closed=False)


def is_server_sent(text: str) -> bool:
    """Return True if `text` begins as a stream of server-sent events does: with a field, or with a comment."""
    return _FIELD.match(text.removeprefix("\ufeff").lstrip("\r\n")) is not None


def json_values(text: str) -> Iterator[object]:
    """Yield the JSON values of `text`: those of its lines, or the items of one array. Empty lines are skipped.

    Raises:
        ValueError: what follows is no JSON, or the text ends within it.
    """
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    is_array = text.startswith("[", at)
    if is_array:
        at = _skip(text, at + 1)
        if text.startswith("]", at):
            return
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at = _skip(text, at)
        if not is_array:
            continue
        if text.startswith("]", at):
            return
        if at < len(text) and text[at] != ",":
            raise json.JSONDecodeError("expected `,` or `]`", text, at)
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    white = _WHITE.match(text, at)
    return at if white is None else white.end()
