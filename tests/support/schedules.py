"""Legal schedules of a program, by a seed: which task goes on next, and which timer is late."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


class SeededLoop(asyncio.SelectorEventLoop):
    """Runs what is ready in an order that comes from a seed, and holds some of it back.

    Steps of tasks take any order; plain callbacks keep theirs, as programs may rely on it. Time stands still while
    something is ready or a thread works, and then moves on to a timer, not always the next one: a timer may be late.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._now = 0.0
        self._working = 0
        super().__init__()

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        self._working += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._worked)
        return future

    def _worked(self, future: Any) -> None:
        self._working -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        executor = self._default_executor  # type: ignore[attr-defined]
        if executor is not None:
            executor.shutdown()

    def _run_once(self) -> None:
        if not self._ready and not self._working and self._scheduled:
            timers = sorted(handle.when() for handle in self._scheduled if not handle.cancelled())
            self._now = max(self._now, self._dice.choice(timers[:3])) if timers else self._now
        held = self._shuffle()
        super()._run_once()  # type: ignore[misc]
        self._ready.extendleft(reversed(held))

    def _shuffle(self) -> list[Any]:
        """Puts what is ready in a new order, and takes out what has to wait for another round."""
        # In place: a thread may add to it at any time.
        ready = [self._ready.popleft() for _ in range(len(self._ready))]
        steps = [handle for handle in ready if _is_step(handle)]
        self._dice.shuffle(steps)
        shuffled = [steps.pop() if _is_step(handle) else handle for handle in ready]
        kept = self._dice.randint(1, len(shuffled)) if shuffled else 0
        self._ready.extendleft(reversed(shuffled[:kept]))
        return shuffled[kept:]


def _is_step(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


def run(seed: int, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """`asyncio.run` under the schedule of a seed."""
    with asyncio.Runner(loop_factory=lambda: SeededLoop(seed)) as runner:
        return runner.run(main())


@contextmanager
def hasty_threads() -> Iterator[None]:
    """Threads take turns after nearly every instruction."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
