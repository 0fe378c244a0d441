"""Numbers, names and values in messages, and patterns for names.

One wording for the whole project: "3 runs", "`a`, `b`", "did you mean `search`?", and one way to cut long texts.
"""

from __future__ import annotations

import difflib
import inspect
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import accumulate
from typing import Final

# -- numbers


def plural(number: int, noun: str) -> str:
    """Return the form of `noun` that goes with `number`."""
    return noun if number == 1 else f"{noun}s"


def amount(number: int, noun: str) -> str:
    """Return a number of things: `1 run`, `3 runs`, `1,234 runs`."""
    return f"{number:,} {plural(number, noun)}"


def show_int(number: int) -> str:
    """Return all digits of a number. Python refuses to convert more than 4,300 of them, or what the process allows."""
    if -_LARGE < number < _LARGE:
        return str(number)
    from decimal import Decimal  # which has no such limit; hardly any program needs it

    return f"{Decimal(number):f}"


_LARGE: Final = 10**600
"""The limit of a process is at least 640 digits."""


def times(number: int) -> str:
    """Return a frequency: `not at all`, `once`, `twice`, `3 times`."""
    return {0: "not at all", 1: "once", 2: "twice"}.get(number) or amount(number, "time")


# -- names


def text_of(value: object) -> str:
    """Return `str(value)`, also for an object whose `__str__` raises."""
    try:
        return value if type(value) is str else str(value)
    except Exception as error:
        return f"({type(error).__name__} when read)"


def names(given: Iterable[str], none: str = "none") -> str:
    """Return names in backticks; `none` if there are none."""
    return ", ".join(f"`{name}`" for name in given) or none


def some_names(given: Sequence[str], at_most: int = 8) -> str:
    """Return the first names in backticks, and how many more there are: "`a`, `b` and 3 more"."""
    more = len(given) - at_most
    return names(given[:at_most]) + (f" and {more:,} more" if more > 0 else "")


def nearest(name: str, candidates: Iterable[str], at_least: float = 0.6) -> str | None:
    """Return the candidate most like `name`, whatever their case; None if the likeness of all is below `at_least` (0 to 1)."""
    by_lower_case: dict[str, str] = {}
    for candidate in candidates:
        by_lower_case.setdefault(candidate.casefold(), candidate)
    found = difflib.get_close_matches(name.casefold(), by_lower_case, n=1, cutoff=at_least)
    return by_lower_case[found[0]] if found else None


def did_you_mean(name: str, candidates: Iterable[str], *, before: str = "; ", otherwise: str = "", at_least: float = 0.6) -> str:
    """Return the hint for an unknown name, after the text `before`; empty if there is no hint.

    `otherwise` is the hint if no candidate is similar. See `nearest` for `at_least`.

    >>> f"there is no tool `serch`{did_you_mean('serch', ['search', 'book'])}"
    'there is no tool `serch`; did you mean `search`?'
    """
    near = nearest(name, candidates, at_least)
    hint = f"did you mean `{near}`?" if near is not None else otherwise
    return f"{before}{hint}" if hint else ""


Name = str | re.Pattern[str]
"""A name in which `*` stands for any text, or a regular expression that is searched for in a name."""


@lru_cache(maxsize=1024)
def _globbed(name: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)


def named(pattern: Name, name: str) -> bool:
    """True if `pattern` matches `name`."""
    if isinstance(pattern, str):
        return pattern == name or ("*" in pattern and _globbed(pattern).fullmatch(name) is not None)
    return pattern.search(name) is not None


def tool_name(tool: object) -> str | None:
    """Return the name of a tool, or of a function or model class that stands for one; None of anything else."""
    if inspect.isroutine(tool) or (isinstance(tool, type) and hasattr(tool, "model_fields")):
        name: object = tool.__name__
    else:
        name = getattr(tool, "name", None) if hasattr(tool, "args_schema") else None
    return name if isinstance(name, str) and name != "<lambda>" else None


def is_slip(pattern: Name, name: str) -> bool:
    """True if `pattern` does not mean `name`, but seems to be a misspelling of it, or of a pattern that does.

    Not if it is a name of its own: of `search_hotels` and `search_flights`, or `book_1` and `book_2`, none is a slip. A regular
    expression is never one, so it can name what does not exist.
    """
    if not isinstance(pattern, str) or named(pattern, name):
        return False
    written, bare = (_SEPARATORS.sub("", text).casefold() for text in (pattern, name))
    letters = written.replace("*", "")
    if fnmatchcase(name.casefold(), pattern.casefold()) or (letters and _globbed(written).fullmatch(bare)):
        return True
    if re.match(re.escape(pattern.casefold()) + r"[-_.\s]", name.casefold()):
        return True  # `delete`, where `delete_db` ran
    if re.sub(r"\D", "", written) != re.sub(r"\D", "", bare):
        return False
    swapped = sorted(written) == sorted(bare) and nearest(written, [bare], 0.8) is not None
    most = 0 if len(letters) < 4 else 1 if len(letters) < 9 else 2
    return swapped or _edits(written, bare, 2 if len(letters) < _SHORT else 1) <= most


_SEPARATORS: Final = re.compile(r"[-_.\s]+")
_SHORT: Final = 5
"""Of names with fewer letters, two that differ in one letter are two names: `book`, `look`."""


def _edits(pattern: str, name: str, exchange: int) -> int:
    """Return how many letters must be put in, taken out or exchanged, until `pattern` means `name`; an exchange counts more."""
    row = list(range(len(name) + 1))
    for letter in pattern:
        if letter == "*":
            row = list(accumulate(row, min))
            continue
        new = [row[0] + 1]
        for n, other in enumerate(name):
            new.append(min(row[n + 1] + 1, new[n] + 1, row[n] + (0 if letter == other else exchange)))
        row = new
    return row[-1]


# -- values


def fits(expected: object, actual: object) -> bool:
    """True if a value is equal to the expected one, or accepted by its matcher; a regular expression is searched for in a str.

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


PLAIN: Final = frozenset((str, int, float, bool, type(None)))
"""Types whose values are never matchers."""

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 60
_shorten.maxdict = _shorten.maxlist = _shorten.maxtuple = _shorten.maxset = 4


def short(value: object) -> str:
    """Return the repr of a value; long parts are cut in the middle."""
    return _shorten.repr(value)


# -- terminals

CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_CONTROLS_AFTER_COLORS: Final = re.compile(rf"(\x1b\[[\d;]*m)|{CONTROLS.pattern}")


def escape_controls(text: str, *, keep_colors: bool = False) -> str:
    """Return `text` with escapes for the characters that a terminal obeys, except line breaks, tabs and, on demand, colors.

    >>> escape_controls("gone\\x1b[2J")
    'gone\\\\x1b[2J'
    """
    if not keep_colors:
        return CONTROLS.sub(_escape, text)
    return _CONTROLS_AFTER_COLORS.sub(lambda match: match[1] or _escape(match), text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def printable(text: str) -> str:
    """Return `text` on one line, with escapes for characters that a terminal would interpret."""
    return text if text.isprintable() else "".join([_seen(character) for character in text])


def _seen(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


# -- long texts

NEAR_CHARACTERS: Final = 16
"""A cut moves less than this far to a word boundary: text without spaces (Chinese, base64) is cut where it must be."""

TAIL_CHARACTERS: Final = 16

_LINE_BREAK: Final = re.compile(r"\s*[\r\n]+\s*")
_INSIDE: Final = re.compile(r"(?<=\w)(?=\w)|(?<=\d)(?=[.,:]\d)|(?<=\d[.,:])(?=\d)")
"""A position inside a word or a number: `12.5` cut to `12` would be another number."""


def clip(text: str, max_characters: int, mark: str = "...") -> str:
    """Return `text` on one line of at most `max_characters`; a `mark` at its end says that it is cut.

    The cut is between words where a boundary is near, and never moves the text past its limit.
    """
    line = _LINE_BREAK.sub(" ", text.strip())
    if len(line) <= max_characters:
        return line
    return line[: _boundary(line, max(max_characters - len(mark), 0), -1)].rstrip() + mark


def quote(text: str, max_characters: int = 80) -> str:
    """Return the repr of `text`; of a text longer than `max_characters`, the beginning, the end, and the length.

    The end tells apart two long texts that differ in their last words.
    """
    if len(text) <= max_characters:
        return repr(text)
    head = text[: _boundary(text, max_characters - TAIL_CHARACTERS, -1)]
    tail = text[_boundary(text, len(text) - TAIL_CHARACTERS, +1) :]
    return f"{head!r} ... {tail!r} ({amount(len(text), 'character')})"


def _boundary(text: str, at: int, step: int) -> int:
    """Return the first position from `at` on outside words and numbers; `at` if none is near."""
    near = range(at, at + step * NEAR_CHARACTERS, step)
    return next((place for place in near if 0 < place < len(text) and not _INSIDE.match(text, place)), at)


def capped(lines: Sequence[str], max_lines: int = 20, *, tail: int = 1) -> str:
    """Return at most `max_lines` of `lines` as one text. The last `tail` lines, the hint, are always kept."""
    head = max_lines - tail - 1
    if len(lines) <= max_lines:
        return "\n".join(lines)
    indent = lines[head][: len(lines[head]) - len(lines[head].lstrip())]
    left_out = f"{indent}... {amount(len(lines) - head - tail, 'more line')}"
    return "\n".join([*lines[:head], left_out, *lines[len(lines) - tail :]])
