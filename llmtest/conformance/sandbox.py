"""One small program at a time, in a thread of its own, that may fail, block, or leave work behind.

Whoever tries out the code of others must come back: a program that does not end is left behind in a daemon thread, and
what it did up to then can be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import selectors
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from traceback import walk_stack, walk_tb
from typing import Any, Final

from langsmith import tracing_context

from llmtest import ledger
from llmtest.concurrency import lanes
from llmtest.core.source import HARNESS, definition_line, is_of, program_line, shown_line
from llmtest.recording.recording import Recording

Make = Callable[[], object]
"""Makes what is checked; called once for each program."""
STALL_S: Final = 0.3
"""An event loop that stands still at one instruction for so many seconds is blocked."""
_LOOK_S: Final = 0.025
_LOOKS: Final = round(STALL_S / _LOOK_S)
_WAITING: Final = (str(Path(asyncio.__file__).parent), selectors.__file__)


@dataclass(slots=True)
class Attempt:
    """What came of one program. It grows while the program runs; `ended` says whether it has.

    `stalled` is the line at which its event loop stood still, or an empty string; `stands` where it stands, if it has not ended.
    `left` are the tasks that it left behind, each as a line of evidence.
    """

    recording: Recording
    patience_s: float
    ended: bool = False
    value: Any = None
    error: BaseException | None = None
    stalled: str | None = None
    stands: str = ""
    left: list[str] = field(default_factory=list)
    on_a_loop: bool = False
    _same: int = 0
    _last: tuple[int, int] = (0, 0)


def patience_s(timeout_s: float) -> float:
    """Return the seconds that abandoned work may take to end."""
    return min(timeout_s / 10, 1.0)


def attempt(body: Callable[[], object], timeout_s: float, name: str) -> Attempt:
    """Run `body`, or the coroutine that it returns, recorded, in an empty context; waits at most `timeout_s` for it."""
    this = Attempt(Recording(), patience_s(timeout_s))
    thread = threading.Thread(target=lanes.empty_context().run, args=(_work, this, body), daemon=True, name=name)
    with ledger.opened(ledger.Outside()):
        thread.start()
        until = time.monotonic() + timeout_s
        while thread.is_alive() and time.monotonic() < until:
            thread.join(_LOOK_S)
            _look(this, thread)
    this.ended = not thread.is_alive()
    if not this.ended:
        this.recording.end_of_test()  # the thread may never leave the block, which would note all that runs from here on
    frame = sys._current_frames().get(thread.ident or 0)
    this.stands = "" if this.ended or frame is None else program_line(walk_stack(frame), HARNESS)
    return this


def _work(this: Attempt, body: Callable[[], object]) -> None:
    try:
        with tracing_context(enabled=False), this.recording:
            value = body()
            this.value = _on_a_loop(this, value) if inspect.iscoroutine(value) else value
    except BaseException as error:  # whatever it is, the program has no error of its own
        this.error = error
    this.recording.settle(timeout_s=0)  # what came late is in it, too


def new(make: Make) -> object:
    """Return a new object of `make`. Scripted doubles in it belong to no test, so unused steps are no violation."""
    with ledger.opened(ledger.Outside()):
        return make()


def _on_a_loop(this: Attempt, program: Coroutine[object, object, object]) -> object:
    async def whole() -> object:
        this.on_a_loop = True
        try:
            return await program
        finally:
            this.left = await _left(this.patience_s)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(whole())


async def _left(patience_s: float) -> list[str]:
    """Return the tasks that are still at work, when all had time to end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    pending = (await asyncio.wait(tasks, timeout=patience_s))[1] if tasks else ()
    return sorted(_task(task) for task in pending)


def _task(task: asyncio.Task[object]) -> str:
    coroutine: object = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None)
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    return f"`{name}`" + ("" if frame is None or is_of(frame, HARNESS) else f" at {shown_line(definition_line(frame.f_code))}")


# -- where it stands


def _look(this: Attempt, thread: threading.Thread) -> None:
    """True if the loop of a program has stood at one instruction for too long. A loop that waits for its tasks has not."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or not this.on_a_loop or frame.f_code.co_filename.startswith(_WAITING):
        this._same = 0
        return
    here = id(frame), frame.f_lasti
    this._same, this._last = this._same + 1 if here == this._last else 0, here
    if this._same >= _LOOKS and this.stalled is None:
        this.stalled = program_line(walk_stack(frame), HARNESS)


def raised_at(error: BaseException) -> str:
    """Return the innermost line that `error` went through, of those that are neither Python's, nor LangChain's, nor ours."""
    return program_line(reversed(list(walk_tb(error.__traceback__))), HARNESS)


# -- loops


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose threads keep no process from ending."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Daemons())
    return loop


def without_a_loop(play: Coroutine[object, object, None]) -> None:
    """Run a coroutine that waits for nothing. In sync code no event loop runs, and LangChain looks."""
    with contextlib.suppress(StopIteration):
        play.send(None)


class _Daemons(ThreadPoolExecutor):
    """A daemon thread for each job: what blocks for good keeps no process from ending."""

    def submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> Future[Any]:
        future: Future[object] = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(target=self._work, args=(future, partial(fn, *args, **kwargs)), daemon=True).start()
        return future

    @staticmethod
    def _work(future: Future[object], job: Callable[[], object]) -> None:
        try:
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)
