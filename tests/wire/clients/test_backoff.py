"""Back-off passes in virtual time: each known sleeper, and that upstream has not moved it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
import tenacity.asyncio
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from llmtest import ScriptedChatModel, call, fail, record
from llmtest.wire.clients import HOOKS, backoff

FAST_S = 0.9
"""Real back-off takes a second and more."""


@pytest.mark.parametrize("row", backoff.SLEEPERS, ids=lambda row: f"{row.module}-{row.library}")
def test_a_known_sleeper_still_sleeps_where_it_is_patched(row: backoff.Sleeper) -> None:
    module = importlib.import_module(row.module)
    source = inspect.getsource(module)

    assert HOOKS[row.module] == "llmtest.wire.clients.backoff"
    assert hasattr(module, row.library)
    for function in row.functions:
        bodies = source.split(f"def {function}(")[1:]
        assert any(f"{row.library}.sleep(" in body for body in bodies)


def test_tenacity_still_has_an_async_sleep_of_its_own() -> None:
    assert HOOKS[backoff.ASYNC_TENACITY] == "llmtest.wire.clients.backoff"
    default = inspect.signature(tenacity.AsyncRetrying.__init__).parameters["sleep"].default
    assert default is tenacity.asyncio._portable_async_sleep


def with_retry(model: ScriptedChatModel) -> Any:
    return model.with_retry(wait_exponential_jitter=True)


def in_a_graph(model: ScriptedChatModel) -> Any:
    def node(state: dict[str, Any]) -> dict[str, Any]:
        return {"answer": model.invoke("hi").text}

    async def anode(state: dict[str, Any]) -> dict[str, Any]:
        return {"answer": (await model.ainvoke("hi")).text}

    def compiled(function: Any) -> Any:
        graph = StateGraph(dict)
        graph.add_node("node", function, retry_policy=RetryPolicy(initial_interval=7, jitter=False, retry_on=Exception))
        graph.add_edge(START, "node")
        graph.add_edge("node", END)
        return graph.compile()

    class Both:
        def invoke(self, _: object) -> Any:
            return compiled(node).invoke({})

        async def ainvoke(self, _: object) -> Any:
            return await compiled(anode).ainvoke({})

    return Both()


def in_a_middleware(model: ScriptedChatModel) -> Any:
    agent = create_agent(model, [], middleware=[ModelRetryMiddleware(max_retries=3, initial_delay=5, jitter=False)])
    return agent


WAYS: list[tuple[Callable[[ScriptedChatModel], Any], float, float]] = [
    (with_retry, 3, 6),  # 1 and 2 seconds, and up to a second of jitter each
    (in_a_graph, 7 + 14, 7 + 14),
    (in_a_middleware, 5 + 10, 5 + 10),
]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("make", "least", "most"), WAYS, ids=["tenacity", "langgraph", "langchain"])
def test_back_off_does_not_wait_and_counts(make: Any, least: float, most: float, is_async: bool) -> None:
    program = make(ScriptedChatModel(fail(TimeoutError("a")), fail(TimeoutError("b")), "c"))
    value = {"messages": "hi"} if make is in_a_middleware else "hi"
    began = time.perf_counter()

    with backoff.virtual(), record() as recording:
        asyncio.run(program.ainvoke(value)) if is_async else program.invoke(value)

    assert time.perf_counter() - began < FAST_S
    assert least <= recording.took_s <= most
    assert [run.ended for run in recording.models] == ["error", "error", "ended"]


@pytest.mark.parametrize("is_async", [False, True])
def test_the_middleware_of_tools(is_async: bool) -> None:
    tries: list[str] = []

    @tool
    def look(q: str) -> str:
        """Look."""
        tries.append(q)
        if len(tries) < 3:
            raise TimeoutError("slow")
        return "found"

    agent = create_agent(
        ScriptedChatModel(call("look", q="x"), "Done."),
        [look],
        middleware=[ToolRetryMiddleware(max_retries=3, initial_delay=5, jitter=False)],
    )
    began = time.perf_counter()

    with backoff.virtual(), record() as recording:
        asyncio.run(agent.ainvoke({"messages": "hi"})) if is_async else agent.invoke({"messages": "hi"})

    assert time.perf_counter() - began < FAST_S
    assert recording.took_s == 15


@pytest.mark.parametrize("is_async", [False, True])
def test_a_rate_limiter_goes_by_the_same_clock(is_async: bool) -> None:
    limiter = InMemoryRateLimiter(requests_per_second=0.1, check_every_n_seconds=1)
    model = ScriptedChatModel("a", "b", "c", rate_limiter=limiter)
    began = time.perf_counter()

    async def three() -> None:
        for question in ("1", "2", "3"):
            await model.ainvoke(question)

    with backoff.virtual(), record() as recording:
        if is_async:
            asyncio.run(three())
        else:
            for question in ("1", "2", "3"):
                model.invoke(question)

    assert time.perf_counter() - began < FAST_S
    assert 20 <= recording.took_s <= 35


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_the_sdks_of_providers(name: str, is_async: bool) -> None:
    base = importlib.import_module(f"{name}._base_client")

    class Client:
        max_retries = 2

        def _calculate_retry_timeout(self, *_: object) -> float:
            return 30.0

    def options() -> Any:
        class Options:
            url = "/v1"

            def get_max_retries(self, _: int) -> int:
                return 2

        return Options()

    def sleep() -> Any:
        kind = base.AsyncAPIClient if is_async else base.SyncAPIClient
        return kind._sleep_for_retry(Client(), retries_taken=0, max_retries=2, options=options(), response=None)

    async def awaited() -> None:
        await sleep()

    began = time.perf_counter()
    with backoff.virtual(), record() as recording:
        ScriptedChatModel("a").invoke("before")
        asyncio.run(awaited()) if is_async else sleep()
        ScriptedChatModel("b").invoke("after")

    assert time.perf_counter() - began < FAST_S
    assert recording.took_s == 30.0


def test_outside_of_the_block_it_waits_for_real() -> None:
    waits: list[float] = []

    class Clock:
        def sleep(self, seconds: float) -> None:
            waits.append(seconds)

        def monotonic(self) -> float:
            return 5.0

    clock = backoff._Clock(Clock(), frozenset({"acquire"}))

    def acquire() -> None:
        clock.sleep(3)

    def other() -> None:
        clock.sleep(4)

    acquire()
    with backoff.virtual():
        acquire()
        other()
        with backoff.real():
            assert not backoff.is_on()
            acquire()

    assert waits == [3, 4, 3]
    assert clock.monotonic() >= 8.0
    with pytest.raises(AttributeError):
        clock.perf  # noqa: B018


def test_a_sleep_that_the_program_has_chosen_is_its_own() -> None:
    slept: list[float] = []

    async def own(seconds: float) -> None:
        slept.append(seconds)

    async def fails() -> None:
        raise KeyError("x")

    async def main() -> None:
        with backoff.virtual():
            retrying = tenacity.AsyncRetrying(
                sleep=own, wait=tenacity.wait_fixed(3), stop=tenacity.stop_after_attempt(2), reraise=True
            )
            await retrying(fails)

    with pytest.raises(KeyError):
        asyncio.run(main())
    assert slept == [3]


def test_a_retrying_that_was_made_in_the_block_waits_for_real_behind_it() -> None:
    with backoff.virtual():
        retrying = tenacity.AsyncRetrying(wait=tenacity.wait_fixed(0.01), stop=tenacity.stop_after_attempt(2), reraise=True)
    tries: list[int] = []

    async def fails() -> None:
        tries.append(1)
        raise KeyError("x")

    async def main() -> None:
        await retrying(fails)

    with pytest.raises(KeyError):
        asyncio.run(main())
    assert len(tries) == 2


def test_what_others_do_meanwhile_comes_between() -> None:
    seen: list[str] = []

    async def other() -> None:
        seen.append("other")

    async def main() -> None:
        model = ScriptedChatModel(fail(TimeoutError("a")), "b").with_retry()
        task = asyncio.create_task(other())
        await model.ainvoke("hi")
        seen.append("answer")
        await task

    with backoff.virtual(), record():
        asyncio.run(main())

    assert seen == ["other", "answer"]
