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
_MAX_WORDS: Final = 400
"""Longer lines are colored whole: comparing words takes time that grows with their square."""
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
    if max(len(old), len(new)) > _MAX_WORDS:
        return before, after
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < _LEAST_ALIKE:
        return before, after
    left, right = [], []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        gone, come = "".join(old[i1:i2]), "".join(new[j1:j2])
        left.append(gone if tag == "equal" or not gone else f"{_REVERSE}{gone}{_FORWARD}")
        right.append(come if tag == "equal" or not come else f"{_REVERSE}{come}{_FORWARD}")
    return "".join(left), "".join(right)
