"""Stop the runs that a rule forbids: such a run ends with an error after its start was reported, and does nothing.

A handler cannot stop a run: LangChain logs the errors of most handlers, and a handler that raises keeps the start from the
handlers after it. So the methods of LangChain's managers that report a start are wrapped, once, when the first recording with
rules is opened: after all handlers have the start, all of them get the error, and then the program.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager

from llmtest.core.once import once
from llmtest.events.callbacks import ERROR_OF, START_KINDS
from llmtest.matching import enforce

# Chains are not stopped; the models, tools and retrievers that they call are.
_ERRORS: Final = {start: ERROR_OF[kind] for start, kind in START_KINDS.items() if kind != "chain"}


@once
def install() -> None:
    """Wrap the managers, once per process. Safe to call from any thread, any number of times."""
    for start, error in _ERRORS.items():
        setattr(CallbackManager, start, _checked(getattr(CallbackManager, start), error))
        setattr(AsyncCallbackManager, start, _achecked(getattr(AsyncCallbackManager, start), error))


class _Started(Protocol):
    """A run manager, as the start of a run returns it."""

    @property
    def run_id(self) -> UUID: ...


def _checked(original: Callable[..., object], kind: str) -> Callable[..., object]:
    @functools.wraps(original)
    def on_start(self: CallbackManager, *args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        # First all handlers get the start, so that the error ends a run that each of them knows.
        started = original(self, *args, **kwargs)
        runs = _runs(started)
        error = enforce.stopped(run.run_id for run in runs)
        if error is None:
            return started
        # Every run of the call, because the model would be asked for all prompts at once.
        for run in runs:
            getattr(run, kind)(error)  # the handlers that have the start get an end
        # LangChain calls this method before its `try`, so it will not report the error itself.
        raise error

    return on_start


def _achecked(original: Callable[..., Awaitable[object]], kind: str) -> Callable[..., Awaitable[object]]:
    @functools.wraps(original)
    async def on_start(self: AsyncCallbackManager, *args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        started = await original(self, *args, **kwargs)
        runs = _runs(started)
        error = enforce.stopped(run.run_id for run in runs)
        if error is None:
            return started
        for run in runs:
            await getattr(run, kind)(error)
        raise error

    return on_start


def _runs(started: object) -> list[_Started]:
    """Return the started runs: a model may be given many prompts at once, each of which is a run."""
    return started if isinstance(started, list) else [cast("_Started", started)]
