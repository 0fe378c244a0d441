"""Limits of what the page holds: a text of 50 MB, or a list of a million numbers, helps no reader. Each cut says so in place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from llmtest.events.events import Event
from llmtest.events.words import Document, Failure, FrozenDict, FrozenList, Generation, Message, Structured, ToolCall

MAX_CHARACTERS: Final = 100_000
"""A longer string is cut."""
MAX_ITEMS: Final = 5_000
"""A longer list or object is cut."""


_NOTE: Final = re.compile(r"… \[cut: it has ([\d,]+) characters\]$")


def cut_text(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Return `text`, or its beginning and a note with its length. A text that was cut before keeps the length of the first.

    >>> cut_text(cut_text("a" * 50, 30), 10)
    'aaaaaaaaaa… [cut: it has 50 characters]'
    """
    cut = _NOTE.search(text, max(0, len(text) - 60))
    if len(text) - (len(cut[0]) if cut else 0) <= max_characters:
        return text
    return f"{text[:max_characters]}… [cut: it has {cut[1] if cut else f'{len(text):,}'} characters]"


def cut_lines(lines: Sequence[str], max_lines: int, max_characters: int) -> str:
    """Return at most `max_lines` lines as one text, each of at most `max_characters`, with a note of what is missing."""
    shown = [cut_text(line, max_characters) for line in lines[:max_lines]]
    missing = len(lines) - len(shown)
    return "\n".join([*shown, f"… [cut: {missing:,} more lines]"] if missing else shown)


# -- frozen values

_WORDS: Final = {
    word: tuple(f.name for f in fields(word)) for word in (Document, Failure, Generation, Message, Structured, ToolCall)
}


def shortened(events: Iterable[Event]) -> list[Event]:
    """Return events in which no text is much longer than the page shows; the same event where none is.

    They keep twice as much as the page shows: secrets are masked after this, and half a secret cannot be recognised. So the
    last half of what is kept here never gets into the page. To mask 50 MB takes half a minute.
    """
    known: dict[int, Any] = {}
    return [
        event if (new := _shorten(event.payload, known)) is event.payload else replace(event, payload=new) for event in events
    ]


def _shorten(value: Any, known: dict[int, Any]) -> Any:
    kind = type(value)
    if kind is str:
        return cut_text(value, 2 * MAX_CHARACTERS)
    if kind is FrozenDict:
        changed = {key: new for key, item in value.items() if (new := _shorten(item, known)) is not item}
        return FrozenDict({**value, **changed}) if changed else value
    if kind is FrozenList or kind is tuple:
        items = [_shorten(item, known) for item in value]
        return kind(items) if any(new is not item for new, item in zip(items, value, strict=True)) else value
    if kind not in _WORDS:
        return value
    if id(value) not in known:  # a message is in many events; they keep it alive
        parts = {name: getattr(value, name) for name in _WORDS[kind]}
        new = {name: part for name, old in parts.items() if (part := _shorten(old, known)) is not old}
        known[id(value)] = replace(value, **new) if new else value
    return known[id(value)]


# -- JSON


def cut_json(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Return a text of JSON in which no string is longer than `max_characters`, and no list has more than `MAX_ITEMS` items."""
    return text if len(text) <= max_characters else json.dumps(_cut(json.loads(text), max_characters), separators=(",", ":"))


def _cut(value: Any, max_characters: int) -> Any:
    # Recursion is safe: recorded values deeper than 300 are described by their type, and json.loads has read this one.
    if isinstance(value, str):
        return cut_text(value, max_characters)
    if isinstance(value, list):
        items = [_cut(item, max_characters) for item in value[:MAX_ITEMS]]
        return items if len(value) <= MAX_ITEMS else [*items, f"… [cut: {len(value):,} items]"]
    if isinstance(value, dict):
        inner = {cut_text(key, max_characters): _cut(item, max_characters) for key, item in list(value.items())[:MAX_ITEMS]}
        return inner if len(value) <= MAX_ITEMS else {**inner, "…": f"[cut: {len(value):,} entries]"}
    return value
