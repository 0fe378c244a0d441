"""Carry the open blocks into threads."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import copy_context

from llmtest.capture.blocks import P, T


def carry_context(function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` bound to the context of here and now, with the blocks that are open here, for any thread to call.

    A bare `threading.Thread`, a `ThreadPoolExecutor` and `loop.run_in_executor` start without the context of their starter,
    so that runs there belong to no block. Each call has a copy of the context, so that calls may overlap.

    Raises:
        TypeError: for a coroutine function or a generator function, whose body runs after the call.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from llmtest import ScriptedChatModel, carry_context, record
    >>> model = ScriptedChatModel("Hello", "Hello")
    >>> with record() as recording, ThreadPoolExecutor() as pool:
    ...     _ = list(pool.map(carry_context(model.invoke), ["hi", "hi"]))
    >>> len(recording.models)
    2

    It does not bring changes of the context back from the thread.
    """
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(function) for is_kind in kinds):
        raise TypeError(
            f"carry_context() takes a function that is over when its call returns; got {function!r}"
            "\n  wrap it in one: carry_context(lambda: asyncio.run(work()))"
        )
    context = copy_context()

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(function, *args, **kwargs)

    return call
