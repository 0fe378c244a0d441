"""Back-off without waiting: what libraries sleep before they try again passes in virtual time.

Each row of `SLEEPERS` is a module that sleeps by the `sleep` of a module in its own namespace, and the functions that do so.
Those alone are meant, because the same module may sleep for a timeout, too. While no block of `virtual` is open, they wait for
real.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from llmtest.capture import membership
from llmtest.core.patches import Patch, replace
from llmtest.wire import clients


@dataclass(frozen=True, slots=True)
class Sleeper:
    """Functions of `module` that sleep by `library`, which is `time`, `asyncio` or `anyio`. `package` has the module."""

    package: str
    module: str
    library: str
    functions: frozenset[str]


def _row(package: str, module: str, library: str, *functions: str) -> Sleeper:
    return Sleeper(package, module, library, frozenset(functions))


SLEEPERS: Final = (
    _row("tenacity", "tenacity.nap", "time", "sleep"),
    _row("langgraph", "langgraph.pregel._retry", "time", "run_with_retry"),
    _row("langgraph", "langgraph.pregel._retry", "asyncio", "arun_with_retry"),
    _row("openai", "openai._base_client", "time", "_sleep_for_retry"),
    _row("openai", "openai._base_client", "anyio", "_sleep_for_retry"),
    _row("anthropic", "anthropic._base_client", "time", "_sleep_for_retry"),
    _row("anthropic", "anthropic._base_client", "anyio", "_sleep_for_retry"),
    _row("langchain-core", "langchain_core.rate_limiters", "time", "acquire"),
    _row("langchain-core", "langchain_core.rate_limiters", "asyncio", "aacquire"),
    _row("langchain", "langchain.agents.middleware.model_retry", "time", "wrap_model_call"),
    _row("langchain", "langchain.agents.middleware.model_retry", "asyncio", "awrap_model_call"),
    _row("langchain", "langchain.agents.middleware.tool_retry", "time", "wrap_tool_call"),
    _row("langchain", "langchain.agents.middleware.tool_retry", "asyncio", "awrap_tool_call"),
)
"""Every sleeper that is known. `tenacity.asyncio` has a function of its own, which `AsyncRetrying` is made with."""

ASYNC_TENACITY: Final = "tenacity.asyncio"

_open = 0
_left_alone = 0
_lock = threading.Lock()
_slept = 0.0
"""How many seconds have passed in virtual time: the clock of a rate limiter goes on by as much."""


def is_on() -> bool:
    """True if known sleepers do not wait."""
    return _open > 0 and not _left_alone


@contextmanager
def virtual() -> Iterator[None]:
    """Let back-off pass in virtual time while the block is open, on every thread of the process."""
    global _open
    clients.watch()
    with _lock:
        _open += 1
    try:
        yield
    finally:
        with _lock:
            _open -= 1
        clients.unwatch()


@contextmanager
def real() -> Iterator[None]:
    """Let back-off wait for real while the block is open, whatever is open around it."""
    global _left_alone
    with _lock:
        _left_alone += 1
    try:
        yield
    finally:
        with _lock:
            _left_alone -= 1


def patch(module: ModuleType) -> list[Patch]:
    """Put a stand-in in place of the library by which a module sleeps. A module that does not sleep so any more is left alone."""
    if module.__name__ == ASYNC_TENACITY:
        return [replace(module.AsyncRetrying, "__init__", functools.partial(_async_retrying, module))]
    rows = [row for row in SLEEPERS if row.module == module.__name__ and row.library in vars(module)]
    return [replace(module, row.library, functools.partial(_stand_in, row)) for row in rows]


def _stand_in(row: Sleeper, library: Any) -> Any:
    return (_Clock if row.library == "time" else _Loop)(library, row.functions)


class _StandIn:
    """A module with another `sleep`."""

    def __init__(self, library: Any, functions: frozenset[str]) -> None:
        self._library = library
        self._functions = functions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def _is_meant(self) -> bool:
        return is_on() and sys._getframe(2).f_code.co_name in self._functions


class _Clock(_StandIn):
    """Stands for `time`."""

    def sleep(self, seconds: float) -> None:
        if self._is_meant():
            _pass(seconds)
        else:
            self._library.sleep(seconds)

    def monotonic(self) -> float:
        now: float = self._library.monotonic()
        return now + _slept


class _Loop(_StandIn):
    """Stands for `asyncio` or `anyio`."""

    def sleep(self, delay: float, *args: Any) -> Awaitable[Any]:
        return _passed(delay, self._library.sleep) if self._is_meant() else self._library.sleep(delay, *args)


def _async_retrying(module: ModuleType, original: Callable[..., None]) -> Callable[..., None]:
    waits = module._portable_async_sleep

    def sleep(seconds: float) -> Awaitable[Any]:
        return _passed(seconds, _no_wait) if is_on() else waits(seconds)

    async def _no_wait(_: float) -> None:
        await waits(0)

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if self.sleep is waits:  # else the program has chosen another one
            self.sleep = sleep

    return init


async def _passed(seconds: float, sleep: Callable[[float], Awaitable[Any]]) -> None:
    _pass(seconds)
    await sleep(0)  # others go on here, as they do while it waits


def _pass(seconds: float) -> None:
    global _slept
    with _lock:
        _slept += seconds
    membership.note_pause(seconds)
