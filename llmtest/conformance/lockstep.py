"""Calls at once that meet where it hurts: threads in step, line by line, and streams by turns.

Left to themselves, threads cross in the wrong place once in a thousand times. Here they cross at each line of what is checked.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from types import FrameType
from typing import Any, Final, TypeVar

from langchain_core.runnables import RunnableBinding

T = TypeVar("T")

MAX_LINES: Final = 500
"""The lines gone through in step; afterwards threads run freely, so that long work is not slowed down for good."""
_OVER: Final = object()
_NOT_OWN: Final = frozenset({"langchain_core", "pydantic", "abc", "builtins", "typing"})


class LockStep:
    """Threads that go on together: before each line of `files` a thread waits until all have come to one, or are over.

    What one of them writes into the object, all others have overwritten before it reads it again. Code that lets in one thread
    at a time keeps the others from coming: after `patience_s` all go on as they will. Holds state; the condition guards it.
    """

    def __init__(self, count: int, files: frozenset[str], patience_s: float = 2.0) -> None:
        self.files = files
        self.patience_s = patience_s
        self.over = False
        self._step = 0
        self._running = count
        self._waiting = 0
        self._changed = threading.Condition()

    def run(self, job: Callable[[], T]) -> T:
        """Run `job` as the work of one thread. Debuggers do not see it, because a thread has one trace function."""
        before = sys.gettrace()
        sys.settrace(self.enter)
        try:
            return job()
        finally:
            self.leave()
            sys.settrace(before)

    def enter(self, frame: FrameType, event: str, arg: object) -> Any:
        """Trace a function, if it lies in `files`."""
        return self.line if frame.f_code.co_filename in self.files else None

    def line(self, frame: FrameType, event: str, arg: object) -> object:
        """Wait before each line of a traced function."""
        if event == "line" and not self.over:
            self.meet()
        return self.line

    def meet(self) -> None:
        """Wait until every running thread waits."""
        with self._changed:
            step = self._step
            self._waiting += 1
            self._go_on()
            if not self._changed.wait_for(lambda: self.over or self._step != step, self.patience_s):
                self.over = True
                self._changed.notify_all()

    def leave(self) -> None:
        """Count a thread as over."""
        with self._changed:
            self._running -= 1
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting >= self._running:
            self._step, self._waiting = self._step + 1, 0
            self.over = self.over or self._step == MAX_LINES
            self._changed.notify_all()


def files_of(it: object) -> frozenset[str]:
    """Return the files of an object's own classes and functions, without LangChain's."""
    while isinstance(it, RunnableBinding):
        it = it.bound
    codes = [getattr(getattr(it, name, None), "__code__", None) for name in ("func", "coroutine")]
    names = [kind.__module__ for kind in type(it).__mro__ if kind.__module__.partition(".")[0] not in _NOT_OWN]
    files = [getattr(sys.modules.get(name), "__file__", None) for name in names]
    return frozenset(file for file in (*files, *(code.co_filename for code in codes if code is not None)) if file)


# -- streams


def by_turns(streams: Sequence[Iterator[object]]) -> list[list[object]]:
    """Return the chunks of each stream, taken from one stream after the other in turn."""
    turns = list(zip_longest(*streams, fillvalue=_OVER))
    return [[turn[n] for turn in turns if turn[n] is not _OVER] for n in range(len(streams))]


async def aby_turns(streams: Sequence[Any]) -> list[list[object]]:
    """Return the chunks of each async stream, as `by_turns` does."""
    taken: list[list[object]] = [[] for _ in streams]
    going = list(zip(streams, taken, strict=True))
    while going:
        for stream, chunks in list(going):
            chunk = await anext(stream, _OVER)
            if chunk is _OVER:
                going.remove((stream, chunks))
            else:
                chunks.append(chunk)
    return taken
