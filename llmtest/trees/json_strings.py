"""Strings that hold JSON: their value, and the words that tell how it was written, so that no two strings have one text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

MAX_CHARACTERS: Final = 100_000
"""A longer string is not read."""

MAX_LEVELS: Final = 50
"""A string with containers at a greater depth stays a string."""

# Python refuses to read numbers of more than 4,300 digits, or what the process allows: at least 640.
_MANY_DIGITS: Final = re.compile("[0-9]{600}")


class JsonObject(dict[str, Any]):
    """An object in a string: its keys keep the order of the string."""


class JsonArray(list[Any]):
    """An array in a string."""


class JsonFloat(float):
    """A number with a point or an exponent in a string: all its digits are shown."""


@dataclass(frozen=True, slots=True)
class JsonString:
    """The value that a string holds. `words` tell how the string writes it: `json` as `json.dumps(value, ensure_ascii=False)`,
    `compact json` without spaces, `ascii json` with escapes for characters outside of ASCII. `write` writes a value so."""

    value: JsonObject | JsonArray
    words: str
    write: Callable[[object], str]


_SPELLINGS: Final = tuple(
    (f"{space}{letters}json", json.JSONEncoder(ensure_ascii=bool(letters), separators=separators, allow_nan=False).encode)
    for letters in ("", "ascii ")
    for space, separators in (("", None), ("compact ", (",", ":")))
)


def read_json_string(text: str) -> JsonString | None:
    """Return the object or array that `text` holds; None if `text` is not exactly what one of the spellings makes of it.

    >>> read_json_string('{"city":"Paris"}').words
    'compact json'
    >>> read_json_string('{"city" : "Paris"}') is None
    True

    So an odd spacing, a key that stands twice, `1.50`, `1e400` and `NaN` leave the string a string.
    """
    if not (text[:1] + text[-1:] in ("{}", "[]") and len(text) <= MAX_CHARACTERS) or _MANY_DIGITS.search(text):
        return None
    try:
        value = _typed(_read(text), MAX_LEVELS)
        return next((JsonString(value, words, write) for words, write in _SPELLINGS if write(value) == text), None)
    except (ValueError, RecursionError):
        return None


def _typed(value: Any, levels: int) -> Any:
    """Return `value` with arrays of their own type, as `json` makes objects and numbers of one."""
    if not isinstance(value, dict | list):
        return value
    if not levels:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return JsonArray(_typed(item, levels - 1) for item in value)
    for key, item in value.items():
        if isinstance(item, dict | list):
            value[key] = _typed(item, levels - 1)
    return value


_read: Final = json.JSONDecoder(object_pairs_hook=JsonObject, parse_float=JsonFloat).decode
