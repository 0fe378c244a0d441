"""Unread answers: a false answer that a test computes and ignores is as good as no assertion.

`recording.obeys(...)` without `assert` changes nothing. While a test runs (`collected`), each false `Answer` carries an `Unread`;
asking for its truth or its text reads it. One that dies unread, or outlives its test unread, is a violation. So is the result of
`recording.tools == [...]` that the code throws away (`unequal`).
"""

from __future__ import annotations

import dis
import gc
import inspect
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
    awaited = False
    for number, (code, at) in enumerate(trail):
        expected = "SEND" if awaited else "CALL"
        if number and not _operation(code, at).startswith(expected):
            return "read"  # C code called the function, or an event loop runs the task, and looks at what it returns
        fate = _fate_here(code, at)
        if fate != "returned":
            return fate
        awaited = bool(code.co_flags & _AWAITED)
    return "read"


_AWAITED: Final = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_GENERATOR


@lru_cache(maxsize=1024)
def _fate_here(code: CodeType, at: int) -> str:
    instructions = list(dis.get_instructions(code))
    user = _user(instructions, at)
    if user in ("POP_TOP", "RETURN_VALUE"):
        return "ignored" if user == "POP_TOP" else "returned"
    if isinstance(user, dis.Instruction):
        # One instruction may load two names; its argument is then a tuple of both.
        loaded = {name for one in instructions if "LOAD" in one.opname for name in _names_of(one.argval)}
        return "kept" if user.argval in loaded or "locals" in code.co_names else "ignored"
    return "kept" if user.startswith("STORE") or not {"any", "all"}.isdisjoint(code.co_names) else "read"


def _user(instructions: Sequence[dis.Instruction], at: int) -> str | dis.Instruction:
    """Return the name of the instruction that uses the value which the one at `at` leaves on the stack; itself if it keeps the
    value in a variable of the function.

    On the way to it, `return` within `with`, `try` or `for` leaves the block first, and a choice (`a() if x else b()`) jumps.
    """
    places = {one.offset: place for place, one in enumerate(instructions)}
    place = max(place for offset, place in places.items() if offset <= at)
    # Where the callee of an `await` ends, it jumps.
    place = places[instructions[place].argval] if instructions[place].opname == "SEND" else place + 1
    below = 0  # how many values lie above ours
    for _ in instructions:
        one = instructions[place]
        if one.opname.startswith(_JUMPS):
            place = places[one.argval]
            continue
        if one.opname == "SWAP" and one.arg is not None and below in (0, one.arg - 1):
            below = one.arg - 1 - below
        elif one.opname == "SEND" and below > 1:
            below -= _ENDS_SEND
            place = places[one.argval]
            continue
        elif one.opname == "END_SEND" and not below:
            pass  # pragma: no cover - Python 3.12: it drops the callee, and leaves what the callee returned
        elif below < _taken(one):
            return one if one.opname == "STORE_FAST" else one.opname
        else:
            below += dis.stack_effect(one.opcode, one.arg)
        place += 1
    raise AssertionError(instructions[0])  # pragma: no cover - each value has a user


_JUMPS: Final = ("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_ABSOLUTE")
_ENDS_SEND: Final = 0 if "END_SEND" in dis.opmap else 1
"""How many values a `SEND` takes when the callee has ended."""
_NEUTRAL: Final = frozenset(("NOP", "PRECALL", "RESUME", "CACHE", "EXTENDED_ARG", "KW_NAMES", "PUSH_NULL", "NOT_TAKEN"))


def _taken(one: dis.Instruction) -> int:
    """Return how many values an instruction takes from the stack; more than there can be if that is not known."""
    name = one.opname
    if name in _NEUTRAL or name == "GET_AWAITABLE" or (name.startswith("LOAD_") and not name.startswith(_LOADS_FROM)):
        return int(name == "GET_AWAITABLE")
    if name.startswith("CALL"):
        return 1 - dis.stack_effect(one.opcode, one.arg)
    return {"POP_TOP": 1, "STORE_NAME": 1, "LOAD_ATTR": 1, "LOAD_METHOD": 1, "END_SEND": 2}.get(name, sys.maxsize)


_LOADS_FROM: Final = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER", "LOAD_SPECIAL", "LOAD_FROM")


def _names_of(argument: object) -> tuple[object, ...]:
    return argument if isinstance(argument, tuple) else (argument,)


@lru_cache(maxsize=1024)
def _operation(code: CodeType, at: int) -> str:
    # A frame that has called another one stands in the cache behind its instruction.
    return next((one.opname for one in reversed(list(dis.get_instructions(code))) if one.offset <= at), "")
