"""Unread answers: a false answer that a test computes and ignores is as good as no assertion.

`recording.tools == ["search"]` without `assert` changes nothing. While a test runs (`collected`), each false answer carries an
`Unread`; whoever asks for its truth or its text reads it. One that dies unread, or outlives its test unread, is a violation.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

from llmtest.errors import IGNORED, Violation, is_expected


class Pending:
    """The unread answers of one test. Holds state; appends are atomic, so any thread may answer."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self.living: list[weakref.ref[Unread]] = []

    def take(self, *, living: bool) -> list[Violation]:
        """Return the violations so far; with `living`, also of answers that something still holds."""
        waiting = [answer for ref in self.living if (answer := ref()) is not None and not answer.is_read]
        if waiting and not living:
            del waiting
            gc.collect()  # a local of a test that handled an exception lives in a circle, and no code can read it any more
        else:
            for answer in waiting:
                answer.end()
        found, self.found = self.found, []
        return [_violation(*one) for one in found]


_open: list[Pending] = []


@contextmanager
def collected() -> Iterator[Pending]:
    """Collect the unread answers of a test; the innermost block gets them, whatever thread answers."""
    pending = Pending()
    _open.append(pending)
    try:
        yield pending
    finally:
        _open.remove(pending)


class Unread:
    """Watches over one false answer. It dies with the answer, and is a violation unless the answer was read before."""

    __slots__ = ("__weakref__", "is_read", "pending", "said", "where")

    def __init__(self, said: str, pending: Pending) -> None:
        self.said, self.pending, self.is_read = said, pending, False
        frame: FrameType | None = sys._getframe(1)
        # No helper of `core.source`: a broken rule shall pass few functions, and only the line is kept here.
        while frame is not None and frame.f_globals.get("__name__", "").startswith("llmtest."):
            frame = frame.f_back
        self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
        pending.living.append(weakref.ref(self))

    def end(self) -> None:
        """Note the violation, unless the answer was read."""
        if not self.is_read and not sys.is_finalizing() and not is_expected(Violation(IGNORED, self.said)):
            # Only noted: an event loop may run here, and to show a path asks the operating system.
            self.pending.found.append((self.said, self.where))
        self.is_read = True

    __del__ = end


def _violation(said: str, where: str) -> Violation:
    from llmtest.core.source import shown_line  # not at the top: the unused plugin imports this module

    lines = [f"a false answer was ignored: {said}", f"  at       {shown_line(where)}"]
    return Violation(IGNORED, "\n".join([*lines, "  write `assert` before it, or use its value"]))


def watch(said: str) -> Unread | None:
    """Return the watch over a new false answer; None where no test would tell of it."""
    return Unread(said, _open[-1]) if _open else None


class Unequal(int):
    """The false result of a comparison: equal to `False` in every way but identity."""

    unread: Unread

    def __repr__(self) -> str:
        self.unread.is_read = True
        return "False"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> Any:
        self.unread.is_read = True
        return bool, (0,)


def _reading(name: str) -> Callable[..., Any]:
    original = getattr(int, name)

    def method(self: Unequal, *others: Any) -> Any:
        self.unread.is_read = True
        return original(self, *others)

    return method


for _name in (
    *("__bool__", "__int__", "__index__", "__float__", "__hash__", "__invert__", "__neg__", "__pos__", "__abs__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__"),
    *("__rmul__", "__and__", "__rand__", "__or__", "__ror__", "__xor__", "__rxor__"),
):
    setattr(Unequal, _name, _reading(_name))


def unequal(said: str) -> bool:
    """Return the false result of a comparison, which a test must read."""
    unread = watch(said)
    if unread is None:
        return False
    result = Unequal()
    result.unread = unread
    return cast("bool", result)
