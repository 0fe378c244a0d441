"""Programs with a weakness that only another order of their tasks or threads shows, and their repaired twins."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, call, carry_context, reply, say

Program = Callable[[], Coroutine[Any, Any, None] | None]


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


# -- threads


def in_threads(*targets: Callable[[], None]) -> None:
    threads = [threading.Thread(target=carry_context(target), name=f"thread {n}") for n, target in enumerate(targets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def say_hello(name: str) -> str:
    return ScriptedChatModel("Hello", name=name).invoke("hi").text


def counter(*, locks: bool) -> Program:
    def program() -> None:
        counts = {"done": 0}
        lock = threading.Lock()

        def visit(name: str) -> None:
            if locks:
                with lock:
                    count(name)
            else:
                count(name)

        def count(name: str) -> None:
            before = counts["done"]
            say_hello(name)
            counts["done"] = before + 1

        in_threads(lambda: visit("a"), lambda: visit("b"))
        assert counts["done"] == 2

    return program


def sync_handler(*, is_safe: bool) -> Program:
    class Counts(BaseCallbackHandler):
        def __init__(self) -> None:
            self.ended = 0
            self.lock = threading.Lock()

        def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
            with self.lock if is_safe else nullcontext():
                before = self.ended
                time.sleep(0.01)  # writes a log
                self.ended = before + 1

    def program() -> None:
        counts = Counts()

        def visit(name: str) -> RunnableLambda[object, str]:
            model = ScriptedChatModel("Hello", name=name)
            return RunnableLambda(lambda _: model.invoke("hi", {"callbacks": [counts]}).text)

        RunnableParallel({"a": visit("a"), "b": visit("b")}).invoke("x")
        assert counts.ended == 2

    return program


def thread_locks(*, in_one_order: bool) -> Program:
    def program() -> None:
        left, right = threading.Lock(), threading.Lock()

        def both(name: str, first: Any, second: Any) -> None:
            with first:
                say_hello(name)
                with second:
                    pass

        other = (left, right) if in_one_order else (right, left)
        in_threads(lambda: both("a", left, right), lambda: both("b", *other))

    return program


def tools_in_order(*, sorts: bool) -> Program:
    def program() -> None:
        seen: list[str] = []

        @tool
        def note(text: str) -> str:
            """Note a text."""
            seen.append(text)
            return "noted"

        model = ScriptedChatModel(reply(call("note", text="a"), call("note", text="b")), "Done.")
        create_agent(model, [note]).invoke({"messages": "hi"})
        assert (sorted(seen) if sorts else seen) == ["a", "b"]

    return program


RACING = (
    Racing("race on a shared list", shared_list(sorts=False), shared_list(sorts=True), "AssertionError"),
    Racing("unguarded cache", cache(locks=False), cache(locks=True), "AssertionError"),
    Racing("handler that is not safe", handler(is_safe=False), handler(is_safe=True), "AssertionError"),
    Racing("deadlock", locks(in_one_order=False), locks(in_one_order=True), "deadlock"),
    Racing("lost count in threads", counter(locks=False), counter(locks=True), "AssertionError"),
    Racing("handler that is not thread-safe", sync_handler(is_safe=False), sync_handler(is_safe=True), "AssertionError"),
    Racing("deadlock of threads", thread_locks(in_one_order=False), thread_locks(in_one_order=True), "deadlock"),
    Racing("parallel tools of a graph", tools_in_order(sorts=False), tools_in_order(sorts=True), "AssertionError"),
)
