"""Limits of what the page holds: a text of 50 MB, or a list of a million numbers, helps no reader. Each cut says so in place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

MAX_CHARACTERS: Final = 100_000
"""A longer string is cut."""
MAX_ITEMS: Final = 5_000
"""A longer list or object is cut."""


def cut_text(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """Return `text`, or its beginning and a note with its length.

    >>> cut_text("a" * 50, 10)
    'aaaaaaaaaa… [cut: it has 50 characters]'
    """
    return text if len(text) <= max_characters else f"{text[:max_characters]}… [cut: it has {len(text):,} characters]"


def cut_lines(lines: Sequence[str], max_lines: int, max_characters: int) -> str:
    """Return at most `max_lines` lines as one text, each of at most `max_characters`, with a note of what is missing."""
    shown = [cut_text(line, max_characters) for line in lines[:max_lines]]
    missing = len(lines) - len(shown)
    return "\n".join([*shown, f"… [cut: {missing:,} more lines]"] if missing else shown)


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
