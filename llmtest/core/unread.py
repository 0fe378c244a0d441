"""Unread answers: a false answer that a test computes and ignores is as good as no assertion.

`recording.obeys(...)` without `assert` changes nothing. While a test runs (`collected`), each false `Answer` carries an `Unread`;
asking for its truth or its text reads it. One that dies unread, or outlives its test unread, is a violation. So is the result of
`recording.tools == [...]` that the code throws away (`unequal`).
"""

from __future__ import annotations

import dis
import gc
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FrameType
from typing import Literal

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
    """Watches over one false answer. It dies with the answer, and is a violation unless the answer was read before.

    Where no test collects such answers, it does nothing.
    """

    __slots__ = ("__weakref__", "is_read", "pending", "said", "where")

    def __init__(self, said: str) -> None:
        self.said, self.where = said, ""
        self.pending = _open[-1] if _open else None
        self.is_read = self.pending is None
        if self.pending is not None:
            frame: FrameType | None = sys._getframe(1)
            # Here and not by a helper: a reader of a broken rule shall have to follow few functions.
            while frame is not None and frame.f_globals.get("__name__", "").startswith("llmtest."):
                frame = frame.f_back
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
            self.pending.living.append(weakref.ref(self))

    def end(self) -> None:
        """Note the violation, unless the answer was read."""
        if not self.is_read and self.pending is not None and not sys.is_finalizing():
            _note(self.pending, self.said, self.where)
        self.is_read = True

    __del__ = end


def _note(pending: Pending, said: str, where: str) -> None:
    # Only noted: an event loop may run here, and to show a path asks the operating system.
    if not is_expected(Violation(IGNORED, said)):
        pending.found.append((said, where))


def _violation(said: str, where: str) -> Violation:
    from llmtest.core.source import shown_line  # not at the top: the unused plugin imports this module
    from llmtest.core.text import clip

    lines = [f"a false answer was ignored: {clip(said, 150)}", f"  at       {shown_line(where)}"]
    return Violation(IGNORED, "\n".join([*lines, "  write `assert` before it, or use its value"]))


# -- results of `==`


def unequal(said: str) -> bool:
    """Return False, the result of a comparison, and note it if the program ignores it.

    A bool cannot watch over itself, and nothing else is `False`. So the code that compares tells: the next instruction throws the
    result away, keeps it under a name that is never read, or returns it to code that does so.
    """
    if _open:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__", "").startswith("llmtest."):
            frame = frame.f_back
        if frame is not None and _operation(frame.f_code, frame.f_lasti) == "COMPARE_OP" and _is_ignored(frame):
            _note(_open[-1], said, f"{frame.f_code.co_filename}:{frame.f_lineno}")
    return False


def _is_ignored(frame: FrameType | None) -> bool:
    """True if the code of `frame` ignores the result of its current instruction."""
    while frame is not None:
        fate = _fate(frame.f_code, frame.f_lasti)
        if fate != "returned":
            return fate == "ignored"
        frame = frame.f_back
        if frame is not None and not _operation(frame.f_code, frame.f_lasti).startswith("CALL"):
            return False  # C code called the function, and looks at what it returns
    return False


@lru_cache(maxsize=1024)
def _fate(code: CodeType, at: int) -> Literal["ignored", "returned", "read"]:
    """Return what becomes of the result of an instruction."""
    instructions = list(dis.get_instructions(code))
    later = next((one for one in instructions if one.offset > at), None)
    if later is None:
        return "read"
    if later.opname == "STORE_FAST":
        loads = (one for one in instructions if "LOAD" in one.opname or "DELETE" in one.opname)
        is_read = any(later.argval == one.argval or later.argval in str(one.argval).split() for one in loads)
        return "read" if is_read or "locals" in code.co_names else "ignored"
    return {"POP_TOP": "ignored", "RETURN_VALUE": "returned"}.get(later.opname, "read")  # type: ignore[return-value]


@lru_cache(maxsize=1024)
def _operation(code: CodeType, at: int) -> str:
    return next((one.opname for one in dis.get_instructions(code) if one.offset == at), "")
