"""Async programs with a weakness that only another order of their tasks shows, and their repaired twins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.outputs import LLMResult

from llmtest import ScriptedChatModel, say

Program = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Racing:
    """A weak program and its twin, and what the failure of the weak one says."""

    name: str
    weak: Program
    sound: Program
    says: str


LATER = 10
"""In the order of asyncio, a task that waits so often begins when the other one has its answer."""


async def others(times: int) -> None:
    """Let other tasks go on."""
    for _ in range(times):
        await asyncio.sleep(0)


async def ask(name: str, **options: Any) -> str:
    return (await ScriptedChatModel("Hello", name=name).ainvoke("hi", **options)).text


def shared_list(*, sorts: bool) -> Program:
    async def program() -> None:
        seen: list[str] = []

        async def visit(name: str) -> None:
            await ask(name)
            seen.append(name)

        await asyncio.gather(visit("a"), visit("b"))
        assert (sorted(seen) if sorts else seen) == ["a", "b"]

    return program


def cache(*, locks: bool) -> Program:
    async def program() -> None:
        answers: dict[str, str] = {}
        lock = asyncio.Lock()
        model = ScriptedChatModel(say("Hello").repeat(), name="model")
        calls: list[str] = []

        async def look_up(question: str) -> str:
            if question not in answers:
                calls.append(question)
                answers[question] = (await model.ainvoke(question)).text
            return answers[question]

        async def guarded(question: str) -> str:
            async with lock:
                return await look_up(question)

        async def after(steps: int) -> str:
            await others(steps)
            return await (guarded if locks else look_up)("x")

        await asyncio.gather(after(0), after(LATER))
        assert calls == ["x"]

    return program


def handler(*, is_safe: bool) -> Program:
    class Counts(AsyncCallbackHandler):
        def __init__(self) -> None:
            self.ended = 0

        async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
            if is_safe:
                self.ended += 1
                return
            before = self.ended
            await asyncio.sleep(0)  # writes a log
            self.ended = before + 1

    async def program() -> None:
        counts = Counts()

        async def visit(name: str, waits: int) -> None:
            await others(waits)
            await ask(name, config={"callbacks": [counts]})

        await asyncio.gather(visit("a", 0), visit("b", 3))
        assert counts.ended == 2

    return program


def locks(*, in_one_order: bool) -> Program:
    async def program() -> None:
        left, right = asyncio.Lock(), asyncio.Lock()

        async def both(name: str, first: asyncio.Lock, second: asyncio.Lock, waits: int) -> None:
            await others(waits)
            async with first:
                await ask(name)
                async with second:
                    pass

        other = (left, right) if in_one_order else (right, left)
        await asyncio.gather(both("a", left, right, 0), both("b", *other, LATER))

    return program


RACING = (
    Racing("race on a shared list", shared_list(sorts=False), shared_list(sorts=True), "AssertionError"),
    Racing("unguarded cache", cache(locks=False), cache(locks=True), "AssertionError"),
    Racing("handler that is not safe", handler(is_safe=False), handler(is_safe=True), "AssertionError"),
    Racing("deadlock", locks(in_one_order=False), locks(in_one_order=True), "deadlock"),
)
