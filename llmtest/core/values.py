"""Plain values: whether one is as a test expects it, and how it looks in a sentence."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

Name = str | re.Pattern[str]
"""A name in which `*` stands for anything, or a regular expression that is searched for in it."""

PLAIN: Final = frozenset((str, int, float, bool, type(None)))
"""Types whose `==` is theirs alone: neither a matcher nor a container that may hold one."""

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 60
_shorten.maxdict = _shorten.maxlist = _shorten.maxtuple = _shorten.maxset = 4


def short(value: Any) -> str:
    """Return the repr of a value, cut."""
    return _shorten.repr(value)


@lru_cache(maxsize=1024)
def _wildcard(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)


def matches_name(pattern: Name, name: str) -> bool:
    """True if `pattern` stands for `name`."""
    if isinstance(pattern, str):
        return pattern == name or ("*" in pattern and _wildcard(pattern).fullmatch(name) is not None)
    return pattern.search(name) is not None


def fits(expected: Any, actual: Any) -> bool:
    """True if a value is as expected: equal, or as a matcher says; a regular expression is searched for in a str.

    Looks into dicts, lists and tuples, so a matcher may stand anywhere in a literal.
    """
    if type(expected) in PLAIN:
        return bool(expected == actual)
    if isinstance(expected, re.Pattern):
        return isinstance(actual, str) and expected.search(actual) is not None
    if isinstance(expected, dict) and isinstance(actual, Mapping):
        return expected.keys() == actual.keys() and all(fits(value, actual[key]) for key, value in expected.items())
    if isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        return len(expected) == len(actual) and all(map(fits, expected, actual))
    return bool(expected == actual)
