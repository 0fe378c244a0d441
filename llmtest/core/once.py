"""Functions that run once in a process, however many threads call them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable


def once(function: Callable[[], None]) -> Callable[[], None]:
    """Return `function` so that only its first call runs it. Calls of other threads wait until that has ended.

    If it raises, the next call runs it again. It must not call itself.
    """
    lock = threading.Lock()
    done = False

    @functools.wraps(function)
    def run() -> None:
        nonlocal done
        if done:
            return
        with lock:
            if not done:
                function()
                done = True

    return run
