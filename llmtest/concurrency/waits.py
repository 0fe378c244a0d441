"""The blocking waits of threads: `result()` or `exception()` of a pool's future, and `join()` of a thread.

They leave no trace, and work that was not waited for may be over just as well. So the methods are replaced, once for the whole
process, by ones that tell when they return. This happens when the first block is opened.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, _base
from types import FrameType
from typing import Any, Final

_LANES: Final = "_llmtest_lanes"
"""The attribute of a future or thread with the lines of control that ran in it. It lives as long as they."""
_COPIES: Final = "_set_concurrent_future_state"
"""The function of asyncio, and of LangGraph, that gives the outcome of one future to another, its argument `concurrent`."""
_CHOSEN: Final = "_llmtest_chosen"
"""The attribute of a future that `wait` or `as_completed` was asked for: it may be read first only because it ended first."""
_KNOWN: Final = sys.version_info < (3, 15)
"""In a Python that is not checked, no wait is known: work counts as concurrent."""
_CALLING_BACK: Final = ("add_done_callback", "_invoke_callbacks") if _KNOWN else ()
_CALLS_BACK: Final = frozenset(getattr(Future, name).__code__ for name in _CALLING_BACK)
_installed: Final = threading.Lock()


def note(work: Future[Any] | threading.Thread, lane: Any) -> None:
    """Note that `lane` runs in `work`, and is over when that is."""
    vars(work).setdefault(_LANES, []).append(lane)


def install(tell: Callable[[Any], None]) -> None:
    """Have the thread that has waited for the end of a noted lane call `tell` with it."""
    if not _KNOWN or not _installed.acquire(blocking=False):
        return
    wait_for_end = threading.Thread.join

    @functools.wraps(wait_for_end)
    def join(self: threading.Thread, timeout: float | None = None) -> None:
        wait_for_end(self, timeout)
        if _LANES in vars(self) and not self.is_alive():
            for lane in vars(self)[_LANES]:
                tell(lane)

    acquire: Any = _base._AcquireFutures
    take = acquire.__init__

    def choose(self: Any, futures: Any) -> None:
        take(self, futures)
        for future in self.futures:
            vars(future)[_CHOSEN] = True

    acquire.__init__ = choose
    threading.Thread.join = join  # type: ignore[method-assign]
    Future.result = _telling(Future.result, tell)  # type: ignore[method-assign]
    Future.exception = _telling(Future.exception, tell)  # type: ignore[method-assign]


def _telling(wait: Callable[..., Any], tell: Callable[[Any], None]) -> Callable[..., Any]:
    @functools.wraps(wait)
    def method(self: Future[Any], timeout: float | None = None) -> Any:
        try:
            return wait(self, timeout)
        finally:
            lanes = vars(self).get(_LANES)
            if lanes is not None and self.done() and not self.cancelled():
                caller = sys._getframe(1)
                _pass_on(lanes, caller)
                if _CHOSEN not in vars(self) and not _is_in_callback(caller):
                    for lane in lanes:
                        tell(lane)

    return method


def _is_in_callback(frame: FrameType | None) -> bool:
    """True in a callback of a future, which runs on the thread of its spawner if the work happens to be over by then."""
    while frame is not None and frame.f_code not in _CALLS_BACK:
        frame = frame.f_back
    return frame is not None


def _pass_on(lanes: list[Any], caller: FrameType) -> None:
    """Note `lanes` for the future that gets the outcome, too: LangGraph's functional API gives the program such a one."""
    copy = caller.f_locals.get("concurrent") if caller.f_code.co_name == _COPIES else None
    if isinstance(copy, Future):
        vars(copy)[_LANES] = lanes
