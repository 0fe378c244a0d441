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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FrameType
from typing import Final

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

    __slots__ = ("__weakref__", "is_read", "pending", "said", "trail", "where")

    def __init__(self, said: str) -> None:
        self.said, self.where = said, ""
        self.pending = _open[-1] if _open else None
        self.is_read = self.pending is None
        self.trail: list[_Instruction] = []
        if self.pending is not None:
            frame: FrameType | None = sys._getframe(1)
            # Here and not by a helper: a reader of a broken rule shall have to follow few functions.
            while frame is not None and frame.f_globals.get("__name__", "").startswith("llmtest."):
                frame = frame.f_back
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
            while frame is not None and len(self.trail) < MAX_FRAMES:
                self.trail.append((frame.f_code, frame.f_lasti))
                frame = frame.f_back
            self.pending.living.append(weakref.ref(self))

    def end(self) -> None:
        """Note the violation, unless the answer was read, or code that did not run reads it: `assert first or second`."""
        if not self.is_read and self.pending is not None and not sys.is_finalizing() and _fate(self.trail) != "kept":
            _note(self.pending, self.said, self.where)
        self.is_read = True

    __del__ = end


MAX_FRAMES: Final = 8
"""How many functions may hand an answer on, for what becomes of it to be known."""


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
        watch = Unread(said)
        if watch.trail and _operation(*watch.trail[0]) == "COMPARE_OP" and _fate(watch.trail) == "ignored":
            watch.end()
        watch.is_read = True
    return False


# -- what becomes of a value

_Instruction = tuple[CodeType, int]
"""The code of a frame, and the offset of the instruction at which it stands."""


def _fate(trail: Sequence[_Instruction]) -> str:
    """Return what becomes of the result of the first instruction, which functions may return to the next one.

    It is `ignored`, `kept` under a name or for `any` and `all`, or `read` by something else.
    """
    for number, (code, at) in enumerate(trail):
        if number and not _operation(code, at).startswith("CALL"):
            return "read"  # C code called the function, and looks at what it returns
        fate = _fate_here(code, at)
        if fate != "returned":
            return fate
    return "read"


@lru_cache(maxsize=1024)
def _fate_here(code: CodeType, at: int) -> str:
    instructions = list(dis.get_instructions(code))
    later = next(one for one in instructions if one.offset > at)  # no code ends in a call or a comparison
    if later.opname in ("POP_TOP", "RETURN_VALUE"):
        return {"POP_TOP": "ignored"}.get(later.opname, "returned")
    if later.opname == "STORE_FAST":
        # One instruction may load two names; its argument is then a tuple of both.
        loaded = {name for one in instructions if "LOAD" in one.opname for name in _names_of(one.argval)}
        return "kept" if later.argval in loaded or "locals" in code.co_names else "ignored"
    return "kept" if later.opname.startswith("STORE") or not {"any", "all"}.isdisjoint(code.co_names) else "read"


def _names_of(argument: object) -> tuple[object, ...]:
    return argument if isinstance(argument, tuple) else (argument,)


@lru_cache(maxsize=1024)
def _operation(code: CodeType, at: int) -> str:
    # A frame that has called another one stands in the cache behind its instruction.
    return next((one.opname for one in reversed(list(dis.get_instructions(code))) if one.offset <= at), "")
