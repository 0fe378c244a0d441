"""Colors of a terminal: whether an output gets them, and the words of a changed line that have changed.

The variables are those of https://no-color.org and https://force-color.org, in the order in which pytest reads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Final, TextIO

REMOVED: Final = "31"
ADDED: Final = "32"
DIM: Final = "2"
_REVERSE, _FORWARD = "\x1b[7m", "\x1b[27m"
_WORDS: Final = re.compile(r"\w+|\s+|[^\w\s]")
_MAX_WORDS: Final = 120
"""More words than this, from the first to the last that differ, are marked as a whole: comparing them takes long."""
_LEAST_ALIKE: Final = 0.4
"""Lines with less in common (0 to 1) are two lines, not a changed one."""


def is_dumb(environ: Mapping[str, str]) -> bool:
    """True if the terminal cannot move its cursor, so that nothing may be overwritten in place."""
    return environ.get("TERM") == "dumb"


def wants_colors(out: TextIO, environ: Mapping[str, str]) -> bool:
    """True if `out` gets colors: never with `NO_COLOR`, always with `FORCE_COLOR`, and else on a terminal that is not dumb."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return out.isatty() and not is_dumb(environ) and os.name == "posix"


def paint(text: str, style: str) -> str:
    """Return `text` in a color or weight, given by its number."""
    return f"\x1b[{style}m{text}\x1b[0m" if style else text


def mark_words(before: str, after: str) -> tuple[str, str]:
    """Return two versions of a line with the words reversed in which they differ; unchanged if they have little in common.

    >>> mark_words("a red car", "a blue car")
    ('a \\x1b[7mred\\x1b[27m car', 'a \\x1b[7mblue\\x1b[27m car')
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    inner_old, inner_new = old[start : len(old) - end], new[start : len(new) - end]
    steps = _steps(inner_old, inner_new)
    alike = start + end + sum(last - first for same, first, last, *_ in steps if same)
    if 2 * alike < _LEAST_ALIKE * (len(old) + len(new)):
        return before, after
    left, right = old[:start], new[:start]
    for same, i1, i2, j1, j2 in steps:
        left.append(_marked(inner_old[i1:i2], same))
        right.append(_marked(inner_new[j1:j2], same))
    return "".join([*left, *old[len(old) - end :]]), "".join([*right, *new[len(new) - end :]])


def _common(old: list[str], new: list[str]) -> int:
    """Return with how many equal words two lists begin."""
    return next((number for number, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


def _steps(old: list[str], new: list[str]) -> list[tuple[bool, int, int, int, int]]:
    """Return which words of two lists are equal, and which are in the place of others."""
    if max(len(old), len(new)) > _MAX_WORDS:
        return [(False, 0, len(old), 0, len(new))]
    opcodes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(tag == "equal", i1, i2, j1, j2) for tag, i1, i2, j1, j2 in opcodes]


def _marked(words: list[str], same: bool) -> str:
    text = "".join(words)
    return text if same or not text else f"{_REVERSE}{text}{_FORWARD}"
