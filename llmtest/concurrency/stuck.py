"""Whether a program waits for ever: each of its threads waits for another one, and nothing is left that could wake one.

No clock decides. The waits of the program (conditions, and so events, queues and futures; `join`; locks that are made meanwhile;
an event loop with nothing to do) look up from time to time. If all other threads are seen to wait twice, and none has moved in
between, then all of them waited at one moment, and no one will ever move again.

A thread that waits for anything else (a socket, a `SimpleQueue`, a lock from before) may move again, for all that is known. So
may one that was there before and has moved since.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import traceback
from asyncio import BaseEventLoop
from collections.abc import Callable, Mapping
from concurrent.futures import thread as pools
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

from llmtest.concurrency import waits

LOOK_S: Final = 0.02
"""How often a thread that waits looks whether it will ever be woken."""
THREADS: Final = "every thread waits, and nothing is left that could wake one"
TASKS: Final = "every task waits, and nothing is left that could wake one"

_REAL_LOCK: Final = threading.Lock
_REAL_WAIT: Final = threading.Condition.wait.__code__
_WAYS: Final = frozenset({"wait", "join", "acquire"})
"""The functions of this file in which a thread waits."""
_BETWEEN: Final = frozenset({__file__, threading.__file__, waits.__file__})
"""The files whose functions may stand above them on the stack of a thread that waits."""
PATIENCE_S: Final = 1.0
"""How long the threads of a program that was stopped have to end."""
_Place = tuple[object, ...]
"""Where a thread waits. Two equal ones mean that it has not moved."""


class _StoppedError(BaseException):
    """Ends a thread that would wait for ever, so that the process can end."""


class StuckWatch:
    """A block on the thread that enters it, whose program is stopped there by `stop(text)` if it waits for ever.

    Holds state; one block at a time in a thread. With `trusts_others`, a program that would be stopped while there are threads
    from before is not: `is_woken` becomes true, because one of them may wake it.
    """

    def __init__(self, stop: Callable[[str], BaseException], *, trusts_others: bool = False) -> None:
        self._stop = stop
        self._trusts_others = trusts_others
        self.is_woken = False
        self.found = ""
        """Why the program would have waited for ever."""
        self._is_open = False
        self._owner = 0
        self._before: dict[int, _Place] = {}
        self._last: list[_Place] | None = None
        self._replaced: dict[tuple[Any, str], Any] = {}

    def __enter__(self) -> Self:
        self._owner, self._is_open = threading.get_ident(), True
        frames = sys._current_frames()
        self._before = {ident: _place_in(frame) for ident, frame in frames.items() if ident != self._owner}
        ours: dict[tuple[Any, str], Any] = {
            (threading.Condition, "wait"): self._waiting(threading.Condition.wait),
            (threading.Thread, "join"): self._joining(threading.Thread.join),
            (threading, "Lock"): lambda: _Lock(self),
            (threading, "excepthook"): _telling(threading.excepthook),
            (BaseEventLoop, "run_forever"): self._running(BaseEventLoop.run_forever),
        }
        for (owner, name), function in ours.items():
            self._replaced[owner, name] = getattr(owner, name)
            setattr(owner, name, function)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.found:
            for thread in threading.enumerate():
                if thread.ident != self._owner and thread.ident not in self._before:
                    thread.join(PATIENCE_S)
        for (owner, name), function in self._replaced.items():
            setattr(owner, name, function)
        self._is_open = False

    # -- what the program waits for

    def _waiting(self, original: Callable[..., bool]) -> Callable[..., bool]:
        def wait(condition: Any, timeout: float | None = None) -> bool:
            if timeout is not None or not condition._is_owned():
                return original(condition, timeout)
            number = next(_numbers)  # noqa: F841  # tells this wait from others
            waiter = _REAL_LOCK()
            waiter.acquire()
            # As `Condition.wait`: to wait in several turns would lose what wakes it between two of them.
            condition._waiters.append(waiter)
            saved = condition._release_save()
            is_woken = False
            try:
                while not is_woken:
                    is_woken = waiter.acquire(timeout=LOOK_S)
                    if not is_woken:
                        self.look(THREADS)
                return True
            finally:
                condition._acquire_restore(saved)
                if not is_woken:
                    with suppress(ValueError):  # it has been woken just now
                        condition._waiters.remove(waiter)

        return wait

    def _joining(self, original: Callable[..., None]) -> Callable[..., None]:
        def join(thread: threading.Thread, timeout: float | None = None) -> None:
            if timeout is not None:
                return original(thread, timeout)
            number = next(_numbers)  # noqa: F841  # as above
            original(thread, LOOK_S)
            while thread.is_alive():
                self.look(THREADS)
                original(thread, LOOK_S)
            return None

        return join

    def _running(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        def run_forever(loop: Any) -> None:
            if threading.get_ident() != self._owner or type(loop)._run_once is not BaseEventLoop._run_once:  # type: ignore[attr-defined]
                return original(loop)
            loop._run_once = lambda: self._run_once(loop)
            try:
                original(loop)
            finally:
                del loop._run_once
            return None

        return run_forever

    def _run_once(self, loop: Any) -> None:
        # The loop itself reads from one socket, by which other threads wake it.
        while self._is_idle(loop) and not loop._selector.select(LOOK_S):
            self.look(TASKS)
        BaseEventLoop._run_once(loop)  # type: ignore[attr-defined]

    def _is_idle(self, loop: Any) -> bool:
        is_timed = any(not timer._cancelled for timer in loop._scheduled)
        is_signalled = bool(getattr(loop, "_signal_handlers", None))
        return not (self.found or loop._ready or loop._stopping or is_timed or is_signalled or len(loop._selector.get_map()) > 1)

    # -- whether anything could wake it

    def look(self, text: str) -> None:
        """Look whether the program waits for ever, and stop it."""
        if not self._is_open:
            return
        if threading.get_ident() != self._owner:
            if self.found:
                raise _StoppedError
            return
        places, before = self._places(), self._last
        self._last = places
        if places is None or places != before:
            return
        if self._trusts_others and any(place[0] == "before" for place in places):
            self.is_woken = True
            return
        self.found, self._last = self.found or text, None
        raise self._stop(text)

    def _places(self) -> list[_Place] | None:
        """Return where each other thread waits; None if one may move."""
        frames, found = sys._current_frames(), []
        # Threads that `_thread` or C code has started have frames only, and those that begin have none yet.
        for ident in {*frames, *(thread.ident for thread in threading.enumerate())} - {self._owner}:
            place = self._place(ident, frames[ident]) if ident in frames else None
            if place is None:
                return None
            found.append((*place, ident))
        return found

    def _place(self, ident: int, frame: FrameType) -> _Place | None:
        if frame.f_code is pools._worker.__code__:  # of a pool: it waits for a job
            variables = frame.f_locals
            is_idle = variables.get("work_item") is None and variables["work_queue"].empty()
            return ("idle",) if is_idle else None
        if self._before.get(ident) == _place_in(frame):
            return None if _may_move(frame) else ("before",)
        return _place_of_wait(frame)


def _place_in(frame: FrameType) -> _Place:
    return (frame.f_code, frame.f_lasti)


def _place_of_wait(frame: FrameType | None) -> _Place | None:
    """Return where a thread waits in a function of this file; None if it is elsewhere, or has been woken."""
    while frame is not None and frame.f_code.co_filename in _BETWEEN:
        if frame.f_code.co_filename == __file__ and frame.f_code.co_name in _WAYS:
            of_wait = _OF_WAITS[frame.f_code.co_name](frame.f_locals)
            return None if of_wait is None else (frame.f_code.co_name, of_wait)
        frame = frame.f_back
    return None


def _of_condition(variables: Mapping[str, Any]) -> object:
    waiter, condition = variables.get("waiter"), variables["condition"]
    # What wakes a thread takes its lock out of the condition, before the thread itself can tell.
    return variables["number"] if waiter is not None and any(each is waiter for each in (*condition._waiters,)) else None


_OF_WAITS: Final[Mapping[str, Callable[[Mapping[str, Any]], object]]] = {
    "wait": _of_condition,
    "join": lambda variables: variables.get("number") if variables["thread"].is_alive() else None,
    "acquire": lambda variables: variables.get("number") if variables["self"].locked() else None,
}
"""The number of the wait of a thread; None for a wait with a timeout, and for one that is over."""


def _telling(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a hook for the errors of threads that says nothing of those that were stopped."""
    return lambda args: None if issubclass(args.exc_type, _StoppedError) else original(args)


def _may_move(frame: FrameType) -> bool:
    """True for a thread from before that may go on by itself: it has been woken just now, or waits for no more than some time.

    A thread of a library is taken to wake no program: such as one that sends traces from time to time.
    """
    waiting, variables = frame.f_code, frame.f_locals
    if waiting.co_filename == __file__:  # it has begun to wait in an earlier block
        return _place_of_wait(frame) is None
    if waiting is _REAL_WAIT and all(each is not variables.get("waiter") for each in (*variables["self"]._waiters,)):
        return True
    is_timed = waiting.co_filename != threading.__file__ or variables.get("timeout") not in (None, -1)
    around = [each for each, _ in traceback.walk_stack(frame)]
    loops = [each.f_locals.get("self") for each in around if each.f_code.co_name == "run_forever"]
    for loop in loops:
        if isinstance(loop, BaseEventLoop):
            state: Any = loop
            return bool(asyncio.all_tasks(loop) or state._ready or state._scheduled)
    return is_timed and any(map(_is_users, around))


def _is_users(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    installed = ("site-packages" in frame.f_code.co_filename, "dist-packages" in frame.f_code.co_filename)
    return package not in sys.stdlib_module_names and package != "llmtest" and not any(installed)


class _Lock:
    """A lock that looks up while it waits."""

    def __init__(self, watch: StuckWatch) -> None:
        self._watch = watch
        self._lock = _REAL_LOCK()
        self.release = self._lock.release
        self.locked = self._lock.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._lock.acquire(False):
            return True
        if not blocking or timeout >= 0:
            return self._lock.acquire(blocking, timeout)
        number = next(_numbers)  # noqa: F841  # tells this wait from others
        while not self._lock.acquire(timeout=LOOK_S):
            self._watch.look(THREADS)
        return True

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_numbers: Final = itertools.count()
