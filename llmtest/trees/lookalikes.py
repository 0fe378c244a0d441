"""Differences that cannot be seen: the same letters in another form, spaces of another kind, letters of another alphabet."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ALIKE: Final = str.maketrans(
    "асԁеһіјӏорԛѕхуԝАВЕНІЈКМОРЅТХΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαν‐‑‒–—−‘’“”′″",
    "acdehijlopqsxywABEHIJKMOPSTXABEZHIKMNOPTYXoav------''\"\"'\"",
)
"""Cyrillic, Greek and typographic characters, and what they look like."""

_UNSEEN: Final = re.compile("[\\u0300-\\u036f\\u00ad\\u034f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2064\\ufe00-\\ufe0f\\ufeff]")
_ESCAPED: Final = re.compile(r"\\u(?:00ad|00a0|200[b-f]|202[a-e8f]|206[0-9a-f]|feff)|\\u00[0-9a-f]{2}")
_SPACES: Final = re.compile(r"\s+")


def are_alike(one: str, other: str) -> bool:
    """True if two different texts look the same."""
    return one != other and _seen(one) == _seen(other)


def _seen(text: str) -> str:
    """Return what a reader sees of a text."""
    letters = unicodedata.normalize("NFKD", _ESCAPED.sub("", text).translate(_ALIKE))
    return _SPACES.sub(" ", _UNSEEN.sub("", letters)).rstrip()


def show_hidden(text: str) -> str:
    """Return `text` with an escape for each character outside of ASCII, and for spaces at its end or in a row."""
    shown = "".join(
        c if c.isascii() and c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in text
    )
    return re.sub(r" (?= |$)", r"\\u0020", shown)
