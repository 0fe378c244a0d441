"""Counting tokens around one call each time, against an empty handler, no handler, and LangChain's own counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

from langchain_community.callbacks import get_openai_callback
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.tracers.context import _configure_hooks, collect_runs

from benchmarks.harness import Ratio, measure
from benchmarks.recording import Empty
from llmtest import ScriptedChatModel, count_tokens, say

CALLS = 10
USES = 100_000
"""In 300 rounds or more; in fewer, as many fewer."""


def ratios(rounds: int) -> Iterator[Ratio]:
    model = ScriptedChatModel(say("Hello there").repeat())
    config: Any = {"callbacks": [Empty()]}

    def counted(block: Callable[[], AbstractContextManager[Any]]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(CALLS):
                with block():
                    model.invoke("hi")

        return run

    def handled() -> None:
        for _ in range(CALLS):
            model.invoke("hi", config)

    def bare() -> None:
        for _ in range(CALLS):
            model.invoke("hi")

    ours = counted(count_tokens)
    yield measure("counted invoke", ours, handled, against="empty inline handler", bar=1.2, per=CALLS, rounds=rounds)
    yield measure("counted invoke", ours, bare, against="bare invoke", bar=None, per=CALLS, rounds=rounds)
    uses = USES * min(rounds, 300) // 300
    yield _over_uses(f"counted invoke, after {uses:,} of them", ours, lambda: [ours() for _ in range(uses // CALLS)], bar=1.2)
    hooks = list(_configure_hooks)
    for block in (get_openai_callback, collect_runs, get_usage_metadata_callback):
        yield _over_uses(f"{block.__name__}, after {uses:,} empty blocks", counted(block), _opened(block, uses), times=10)
    _configure_hooks[:] = hooks  # what the last one has left behind would slow down all that comes after


def _opened(block: Callable[[], AbstractContextManager[Any]], uses: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(uses):
            with block():
                pass

    return run


def _over_uses(
    name: str, work: Callable[[], None], use: Callable[[], object], *, bar: float | None = None, times: int = 100
) -> Ratio:
    """What `work` takes after `use`, against what it took before."""

    def best() -> float:
        return min(_timed(work) for _ in range(times))

    best()
    first, again = best(), best()
    use()
    last, before = best(), min(first, again)
    return Ratio(name, "its first uses", last / before, bar, again / first, last / CALLS * 1e6, before / CALLS * 1e6)


def _timed(work: Callable[[], None]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began
