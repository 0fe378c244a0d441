"""A seeded event loop: every order in which asyncio's tasks may run, chosen by a number.

Each turn of the loop runs what is ready. Tasks may come in any order; plain callbacks (of futures, of `gather`) keep theirs
among themselves, as asyncio promises.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any


class SeededLoop(asyncio.SelectorEventLoop):
    """`tape` is what it chose, where it had a choice."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self.tape: list[int] = []

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        lanes: dict[int, list[Any]] = {}
        for handle in list(ready):
            owner = getattr(handle._callback, "__self__", None)
            lanes.setdefault(id(owner) if isinstance(owner, asyncio.Task) else 0, []).append(handle)
        number = sum(map(len, lanes.values()))
        for handle in self._chosen(list(lanes.values())):
            ready.append(handle)
        for _ in range(number):  # another thread may append meanwhile, so nothing is taken out but from the left
            ready.popleft()
        super()._run_once()  # type: ignore[misc]

    def _chosen(self, lanes: list[list[Any]]) -> list[Any]:
        order = []
        while lanes:
            choice = self._random.randrange(len(lanes)) if len(lanes) > 1 else 0
            self.tape += [choice] if len(lanes) > 1 else []
            order.append(lanes[choice].pop(0))
            lanes = [lane for lane in lanes if lane]
        return order


def run(program: Callable[[], Coroutine[Any, Any, Any]], seed: int) -> tuple[Any, tuple[int, ...]]:
    """What `program()` returns in the schedule `seed`, and the choices that made the schedule."""
    loop = SeededLoop(seed)
    try:
        result = loop.run_until_complete(program())
        loop.run_until_complete(loop.shutdown_asyncgens())
        return result, tuple(loop.tape)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def in_schedules(program: Callable[[], Coroutine[Any, Any, Any]], distinct: int = 200) -> list[Any]:
    """What `program()` returns in `distinct` different schedules."""
    results: dict[tuple[int, ...], Any] = {}
    for seed in range(distinct * 10):
        result, tape = run(program, seed)
        results[tape] = result
        if len(results) == distinct:
            return list(results.values())
    raise AssertionError(f"only {len(results)} distinct schedules: the program leaves the loop too little choice")
