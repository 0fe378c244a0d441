"""A coroutine that is driven step by step: it is cancelled at the `await` that a fault names."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Generator
from typing import Any, Final

from llmtest.campaigns.injection import Injection
from llmtest.errors import CampaignError

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


def check_runs(value: Any) -> None:
    """Refuse what a program returns, if nothing of it has run.

    Raises:
        CampaignError: it is a generator.
    """
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise CampaignError(f"the program is a generator, so nothing of it runs when it is called: {value.__qualname__}")


def _task() -> asyncio.Task[Any] | None:
    """Return the task that runs; None in trio, which has none."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def run(coroutine: Coroutine[Any, Any, Any], injection: Injection) -> Any:
    """Return what a coroutine returns, in an event loop of its own."""

    async def main() -> Any:
        return await Driven(coroutine, injection)

    return asyncio.run(main())
