"""Random text that matches a regular expression of a JSON schema.

Lookarounds (`(?=...)`, `\\b`) and anchors add no text, so the result is a proposal: the caller checks it and tries again.
Back references are not supported.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

_Sampler = Callable[[Random, int], str]

_DIGITS: Final = "0123456789"
_LOWER: Final = "abcdefghijklmnopqrstuvwxyz"

_WORD: Final = f"{_LOWER}{_LOWER.upper()}{_DIGITS}_"
_PRINTABLE: Final = "".join(map(chr, range(32, 127)))
_CLASSES: Final = {"d": _DIGITS, "w": _WORD, "s": " "}
_PROPERTIES: Final = {"L": _LOWER + _LOWER.upper(), "Ll": _LOWER, "Lu": _LOWER.upper(), "N": _DIGITS, "Nd": _DIGITS}
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


class PatternError(ValueError):
    """The pattern is no regular expression, or has an unsupported construct."""


def sample(pattern: str, random: Random, more: int = 3) -> str:
    """Return a text for `pattern`; an open-ended repetition gets at most `more` repetitions beyond its minimum.

    Raises:
        PatternError: it is no regular expression, or it has a back reference or an unknown class in it.

    >>> sample("^[A-Z]{2}-[0-9]{3}$", Random(0))
    'YN-876'
    """
    reader = _Reader(pattern)
    sampler = reader.either()
    if reader.at < len(pattern):
        raise PatternError("it closes a bracket that is not open")
    return sampler(random, more)


class _Reader:
    """Reads a pattern from left to right. Holds its position."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def _next(self) -> str:
        if self.at >= len(self.pattern):
            raise PatternError("it ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def _take(self, text: str) -> bool:
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def _until(self, end: str) -> str:
        stop = self.pattern.find(end, self.at)
        if stop < 0:
            raise PatternError("it ends too early")
        found, self.at = self.pattern[self.at : stop], stop + len(end)
        return found

    def either(self) -> _Sampler:
        ways = [self._sequence()]
        while self._take("|"):
            ways.append(self._sequence())
        return ways[0] if len(ways) == 1 else lambda random, more: random.choice(ways)(random, more)

    def _sequence(self) -> _Sampler:
        parts: list[_Sampler] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return lambda random, more: "".join(part(random, more) for part in parts)

    def _repeated(self, atom: _Sampler) -> _Sampler:
        bounds = self._bounds()
        if bounds is None:
            return atom
        self._take("?")
        low, high = bounds

        def sampler(random: Random, more: int) -> str:
            most = low + more if high is None else min(high, low + more)
            return "".join(atom(random, more) for _ in range(random.randint(low, most)))

        return sampler

    def _bounds(self) -> tuple[int, int | None] | None:
        """Return how often the atom before may come; None without a repetition."""
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if not self._take("{"):
            return None
        low, comma, high = self._until("}").partition(",")
        if not low.isdigit() or not (high or "0").isdigit():
            raise PatternError("it has a brace that is no repetition")
        if high and int(high) < int(low):
            raise PatternError(f"it asks for {low} to {high} times")
        return int(low), (int(high) if high else None) if comma else int(low)

    def _atom(self) -> _Sampler:
        char = self._next()
        if char == "(":
            return self._group()
        if char in "^$":
            return _nothing
        if char == "\\":
            return self._escaped()
        if char in "*+?":
            raise PatternError("it repeats nothing")
        return _one_of(self._set() if char == "[" else _PRINTABLE if char == "." else char)

    def _group(self) -> _Sampler:
        looks = any(self._take(sign) for sign in ("?=", "?!", "?<=", "?<!"))
        if not looks and not self._take("?:") and (self._take("?P<") or self._take("?<")):
            self._until(">")
        inner = self.either()
        self._next()  # the closing bracket: at nothing else does either() stop
        return _nothing if looks else inner

    def _escaped(self) -> _Sampler:
        if self._take("b") or self._take("B") or self._take("A") or self._take("Z") or self._take("z"):
            return _nothing
        return _one_of(self._escape())

    def _escape(self) -> str:
        """Return the characters of an escape, after its backslash."""
        char = self._next()
        if char.lower() in _CLASSES:
            return _CLASSES[char] if char.islower() else _without(_CLASSES[char.lower()])
        if char in "pP":
            return self._property(char == "P")
        if char in "xu":
            code = self._until("}") if self._take("{") else "".join(self._next() for _ in range(2 if char == "x" else 4))
            return _character(code)
        if char in "123456789k":
            raise PatternError("it has a back reference")
        return _CONTROLS.get(char, char)

    def _property(self, negated: bool) -> str:
        name = self._until("}") if self._take("{") else self._next()
        if name not in _PROPERTIES:
            raise PatternError(f"it has the class of characters {name!r}")
        return _without(_PROPERTIES[name]) if negated else _PROPERTIES[name]

    def _set(self) -> str:
        negated = self._take("^")
        found = ""
        first = True
        while first or not self._take("]"):
            first = False
            found += self._member()
        return _without(found) if negated else found

    def _member(self) -> str:
        low = self._set_character()
        if len(low) != 1 or not self.pattern.startswith("-", self.at) or self.pattern.startswith("-]", self.at):
            return low
        self.at += 1
        high = self._set_character()
        if len(high) != 1 or high < low:
            raise PatternError(f"it has the range {low}-{high}")
        return "".join(map(chr, range(ord(low), min(ord(high), ord(low) + 1000) + 1)))

    def _set_character(self) -> str:
        char = self._next()
        return self._escape() if char == "\\" else char


def _nothing(random: Random, more: int) -> str:
    return ""


def _one_of(characters: str) -> _Sampler:
    if not characters:
        raise PatternError("it asks for a character of which there is none")
    return lambda random, more: random.choice(characters)


def _without(characters: str) -> str:
    return "".join(char for char in _PRINTABLE if char not in characters)


def _character(code: str) -> str:
    try:
        return chr(int(code, 16))
    except (ValueError, OverflowError):
        raise PatternError(f"it has the character {code!r}") from None
