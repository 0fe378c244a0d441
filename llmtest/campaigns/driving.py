"""A coroutine that is driven step by step: it is cancelled at the `await` that a fault names, and cannot wait for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from typing import Any, Final

from llmtest.campaigns.injection import EndlessError, Injection

AWAIT: Final = "await"


class Driven:
    """Awaits `coroutine`, and tells `injection` of each time that it waits. There it may be cancelled, as by `task.cancel()`."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], injection: Injection) -> None:
        self._coroutine = coroutine
        self._injection = injection

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        while True:
            try:
                awaited = step(value)
            except StopIteration as done:
                return done.value
            task = _task()
            if task is not None and self._injection.reach(AWAIT):
                task.cancel()  # the task cancels what it comes to wait for
            try:
                value = yield awaited
                step = self._coroutine.send
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:
                step, value = self._coroutine.throw, error


def _task() -> asyncio.Task[Any] | None:
    """Return the task that runs; None in trio, which has none."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def run(coroutine: Coroutine[Any, Any, Any], injection: Injection) -> Any:
    """Return what a coroutine returns, in an event loop of its own.

    Raises:
        EndlessError: its tasks wait for one another, and nothing is left that could wake one.
    """

    async def main() -> Any:
        return await Driven(coroutine, injection)

    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main())


class _Loop(asyncio.SelectorEventLoop):
    """The event loop of Python, which ends where it would wait for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs = 0
        self._threads = {*threading.enumerate()}
        self._is_over = False

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        self._jobs += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._end_job)
        return future

    def _end_job(self, _: object) -> None:
        self._jobs -= 1

    def _run_once(self) -> None:
        loop: Any = self
        waits = not (loop._ready or loop._scheduled or loop._stopping or self._jobs or self._is_over)
        # The loop itself reads from one socket, by which other threads wake it.
        if waits and len(loop._selector.get_map()) <= 1 and self._threads.issuperset(_at_work()):
            self._is_over = True
            raise EndlessError("every task waits, and nothing is left that could wake one")
        super()._run_once()  # type: ignore[misc]


def _at_work() -> list[threading.Thread]:
    """Return the threads that could wake a loop. Those of its executor have ended their jobs."""
    return [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
