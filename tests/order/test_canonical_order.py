"""One program, one text: each scenario runs under many schedules, and comes out as what the program says.

Async programs run on a loop that takes what is ready in an order from a seed, and lets timers be late; programs with
threads run with the shortest turns that Python can give them. The docstring of a scenario is the tree that it has.
"""

from __future__ import annotations

import asyncio
import inspect
import operator
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import cached_property
from threading import Thread
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from llmtest import ScriptedChatModel, call, record, reply, respond
from llmtest.trees.rendering import outline
from tests.support.schedules import hasty_threads, run

SCHEDULES = 60
Program = Callable[["Cast"], Any]
SCENARIOS: list[Program] = []


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


class Cast:
    """Whom the programs call: a model that answers anybody, whoever comes first, and what is built of it."""

    def __init__(self) -> None:
        self.model = ScriptedChatModel(respond(lambda request: f"re {request.text}").repeat())

    async def ask(self, *names: str) -> None:
        for name in names:
            await self.model.ainvoke(name, {"run_name": name})

    def tell(self, *names: str) -> None:
        for name in names:
            self.model.invoke(name, {"run_name": name})

    async def listen(self, name: str) -> None:
        async for _ in self.model.astream_events(name, {"run_name": name}, version="v2"):
            pass

    def each(self, *names: str) -> tuple[list[Any], list[Any]]:
        """The arguments of `batch`."""
        return list(names), [{"run_name": name} for name in names]

    def chain(self, name: str) -> Any:
        return (RunnableLambda(lambda text: f"{name} {text}") | self.model).with_config(run_name=name)

    @cached_property
    def both(self) -> Any:
        return RunnableParallel(poem=self.chain("poem"), joke=self.chain("joke"))

    @cached_property
    def agent(self) -> Any:
        @tool
        async def look(city: str) -> str:
            """Looks out of the window."""
            await self.ask(f"about-{city}")
            return city

        def says(request: Any) -> Any:
            asked = [call("look", city=city) for city in ("Rome", "Paris", "Bern")]
            return "done" if request.messages[-1].role == "tool" else reply(*asked)

        return create_agent(ScriptedChatModel(respond(says).repeat()), [look])

    @cached_property
    def graph(self) -> Any:
        async def work(state: State) -> State:
            await asyncio.gather(self.ask(f"{state['seen'][0]}-y"), self.ask(f"{state['seen'][0]}-x"))
            return {"seen": []}

        def split(state: State) -> list[Send]:
            return [Send("work", {"seen": [item]}) for item in ("b", "a")]

        inner = StateGraph(State).add_node("plan", self._node("plan")).add_node("work", work).add_node("sum", self._node("sum"))
        inner.add_edge(START, "plan").add_conditional_edges("plan", split, ["work"]).add_edge("work", "sum")
        outer = StateGraph(State).add_node("sub", inner.compile()).add_node("side", self._node("side"))
        return outer.add_edge(START, "side").add_edge(START, "sub").compile()

    def _node(self, name: str) -> Any:
        async def node(state: State) -> State:
            await self.ask(f"{name}1", f"{name}2")
            return {"seen": []}

        return node


def scenario(program: Program) -> Program:
    SCENARIOS.append(program)
    return program


@pytest.mark.parametrize("schedules", [SCHEDULES, pytest.param(500, marks=pytest.mark.soak)], ids=["many", "more"])
@pytest.mark.parametrize("program", SCENARIOS, ids=lambda program: program.__name__)
def test_a_program_has_one_text_under_all_schedules(program: Program, schedules: int) -> None:
    cast, texts = Cast(), set()

    for seed in range(schedules):
        with record() as recording, hasty_threads():
            if inspect.iscoroutinefunction(program):
                run(seed, lambda: program(cast))
            else:
                program(cast)
        texts.add(str(recording))

    assert outline(recording).replace("chat ", "") == inspect.cleandoc(program.__doc__ or "") + "\n"
    assert len(texts) == 1


# -- one task


@scenario
async def calls_one_after_the_other(cast: Cast) -> None:
    """
    c
    a
    b
    """
    await cast.ask("c", "a", "b")


@scenario
async def awaited_tasks(cast: Cast) -> None:
    """
    c
    a
    b
    """
    await asyncio.create_task(cast.ask("c"))
    await asyncio.create_task(cast.ask("a", "b"))


@scenario
async def waiting_for_a_time_or_behind_a_shield(cast: Cast) -> None:
    """
    b
    a
    c
    """
    await asyncio.wait_for(cast.ask("b"), 5)
    await asyncio.shield(cast.ask("a"))
    async with asyncio.timeout(5):
        await cast.ask("c")


@scenario
async def a_timeout(cast: Cast) -> None:
    """
    slow
    after
    """

    async def slow() -> None:
        await cast.ask("slow")
        await asyncio.sleep(60)

    with suppress(TimeoutError):
        await asyncio.wait_for(slow(), 5)
    await cast.ask("after")


@scenario
async def streams_of_events_one_after_the_other(cast: Cast) -> None:
    """
    b
    a
    c
    """
    await cast.listen("b")
    await cast.listen("a")
    await cast.ask("c")


@scenario
async def threads_that_are_awaited(cast: Cast) -> None:
    """
    b
    a
    d
    c
    """
    await asyncio.to_thread(cast.tell, "b")
    await asyncio.to_thread(cast.tell, "a", "d")
    await cast.ask("c")


@scenario
async def steps_of_a_chain(cast: Cast) -> None:
    """
    chain b
      chain RunnableLambda
      ScriptedChatModel
    chain a
      chain RunnableLambda
      ScriptedChatModel
    """
    async for _ in cast.chain("b").astream("hi"):
        pass
    await cast.chain("a").ainvoke("hi")


# -- many tasks


@scenario
async def gathers(cast: Cast) -> None:
    """
    parallel
      a
      b
    parallel
      c
      d
    e
    """
    await asyncio.gather(cast.ask("b"), cast.ask("a"))
    await asyncio.gather(cast.ask("d"), cast.ask("c"))
    await cast.ask("e")


@scenario
async def task_groups(cast: Cast) -> None:
    """
    parallel
      a
      b
    parallel
      c
      d
    e
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(cast.ask("b"))
        group.create_task(cast.ask("a"))
    async with asyncio.TaskGroup() as group:
        group.create_task(cast.ask("d"))
        group.create_task(cast.ask("c"))
    await cast.ask("e")


@scenario
async def a_task_group_with_a_body(cast: Cast) -> None:
    """
    parallel
      a
      b
    c
    d
    """
    async with asyncio.TaskGroup() as group:
        group.create_task(cast.ask("a"))
        await cast.ask("b")
        group.create_task(cast.ask("c"))
    await cast.ask("d")


@scenario
async def a_wait_for_all(cast: Cast) -> None:
    """
    parallel
      a
      b
    c
    """
    await asyncio.wait([asyncio.create_task(cast.ask(name)) for name in ("b", "a")])
    await cast.ask("c")


@scenario
async def a_wait_for_the_first(cast: Cast) -> None:
    """
    parallel
      a
      b
      c
    """
    tasks = [asyncio.create_task(cast.ask(name)) for name in ("b", "a")]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await cast.ask("c")
    await asyncio.wait(tasks)


@scenario
async def what_is_done_first(cast: Cast) -> None:
    """
    parallel
      a
      b
    """
    for done in asyncio.as_completed([cast.ask("b"), cast.ask("a")]):
        await done


@scenario
async def fans_within_fans(cast: Cast) -> None:
    """
    parallel
      a1
      a2
      b1
      b2
    parallel
      a3
      b3
    end
    """

    async def branch(name: str) -> None:
        await asyncio.gather(cast.ask(f"{name}2"), cast.ask(f"{name}1"))
        await cast.ask(f"{name}3")

    await asyncio.gather(branch("b"), branch("a"))
    await cast.ask("end")


@scenario
async def tasks_that_only_wait_for_tasks(cast: Cast) -> None:
    """
    parallel
      a1
      b1
    parallel
      a2
      b2
    end
    """

    async def branch(name: str) -> None:
        await asyncio.create_task(cast.ask(f"{name}1"))
        await asyncio.create_task(cast.ask(f"{name}2"))

    await asyncio.gather(branch("b"), branch("a"))
    await asyncio.create_task(cast.ask("end"))


@scenario
async def a_task_that_is_awaited_late(cast: Cast) -> None:
    """
    parallel
      a
      b
    c
    """
    task = asyncio.create_task(cast.ask("b"))
    await cast.ask("a")
    await task
    await cast.ask("c")


@scenario
async def two_tasks_awaited_one_after_the_other(cast: Cast) -> None:
    """
    parallel
      a
      b
    c
    """
    first, second = asyncio.create_task(cast.ask("a")), asyncio.create_task(cast.ask("b"))
    await first
    await second
    await cast.ask("c")


@scenario
async def a_cancelled_sibling(cast: Cast) -> None:
    """
    parallel
      fast
      slow
    after
    """

    asked = asyncio.Event()

    async def slow() -> None:
        await cast.ask("slow")
        asked.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(slow())
    await cast.ask("fast")
    await asked.wait()
    task.cancel()
    await asyncio.wait([task])
    await cast.ask("after")


@scenario
async def a_sibling_that_fails(cast: Cast) -> None:
    """
    parallel
      bad
      slow1
    parallel
      after
      slow2
    """

    async def bad() -> None:
        await cast.ask("bad")
        raise ValueError

    slow = asyncio.create_task(cast.ask("slow1", "slow2"))
    with suppress(ValueError):
        await asyncio.gather(slow, bad())
    await cast.ask("after")
    await slow


@scenario
async def all_siblings_whether_they_fail_or_not(cast: Cast) -> None:
    """
    parallel
      bad
      slow1
    slow2
    after
    """

    async def bad() -> None:
        await cast.ask("bad")
        raise ValueError

    await asyncio.gather(bad(), cast.ask("slow1", "slow2"), return_exceptions=True)
    await cast.ask("after")


@scenario
async def streams_of_events_side_by_side(cast: Cast) -> None:
    """
    parallel
      a
      b
    c
    """
    await asyncio.gather(cast.listen("b"), cast.listen("a"))
    await cast.ask("c")


@scenario
async def threads_side_by_side(cast: Cast) -> None:
    """
    parallel
      a
      b
    c
    """
    await asyncio.gather(asyncio.to_thread(cast.tell, "b"), asyncio.to_thread(cast.tell, "a"))
    await cast.ask("c")


@scenario
async def batches_of_tasks(cast: Cast) -> None:
    """
    parallel
      a
      b
    parallel
      c
      d
    """
    await cast.model.abatch(*cast.each("b", "a"))
    await cast.model.abatch(*cast.each("d", "c"), max_concurrency=1)


@scenario
async def a_map_in_tasks(cast: Cast) -> None:
    """
    chain RunnableParallel<poem,joke>
      parallel
        joke: chain joke
          chain RunnableLambda
          ScriptedChatModel
        poem: chain poem
          chain RunnableLambda
          ScriptedChatModel
    after
    """
    await cast.both.ainvoke("hi")
    await cast.ask("after")


@scenario
async def events_of_tasks(cast: Cast) -> None:
    """
    chain teller
      parallel
        a
        b
    """

    async def say(name: str) -> None:
        await cast.ask(name)
        await adispatch_custom_event(name, 1)

    async def teller(text: str) -> None:
        await asyncio.gather(say("b"), say("a"))

    await RunnableLambda(teller).ainvoke("hi")


@scenario
async def retries_and_fallbacks_in_branches(cast: Cast) -> None:
    """
    parallel
      chain RunnableWithFallbacks
        chain failing  ! ValueError
          chain failing  ! ValueError
            a-tried
          chain failing attempt=2  ! ValueError
            a-tried
        chain helping
          a-helped
      chain RunnableWithFallbacks
        chain failing  ! ValueError
          chain failing  ! ValueError
            b-tried
          chain failing attempt=2  ! ValueError
            b-tried
        chain helping
          b-helped
    end
    """

    async def failing(text: str) -> str:
        await cast.ask(f"{text}-tried")
        raise ValueError(text)

    async def helping(text: str) -> str:
        await cast.ask(f"{text}-helped")
        return text

    branch = RunnableLambda(failing).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    safe = branch.with_fallbacks([RunnableLambda(helping)])
    await asyncio.gather(safe.ainvoke("b"), safe.ainvoke("a"))
    await cast.ask("end")


# -- graphs and agents


@scenario
async def an_agent_whose_tools_call_models(cast: Cast) -> None:
    """
    chain LangGraph
      chain model
        ScriptedChatModel tools=look
      parallel
        chain tools
          tool look(city="Rome") call1
            about-Rome
        chain tools
          tool look(city="Paris") call2
            about-Paris
        chain tools
          tool look(city="Bern") call3
            about-Bern
      chain model
        ScriptedChatModel tools=look
    """
    await cast.agent.ainvoke({"messages": "hi"})


@scenario
async def sends_and_parallel_nodes_and_subgraphs(cast: Cast) -> None:
    """
    chain LangGraph
      parallel
        chain side
          side1
          side2
        chain sub
          chain LangGraph
            chain plan
              plan1
              plan2
              chain split
            parallel
              chain work
                parallel
                  b-x
                  b-y
              chain work
                parallel
                  a-x
                  a-y
            chain sum
              sum1
              sum2
    """
    await cast.graph.ainvoke({"seen": []})


# -- threads


@scenario
def calls_on_one_thread(cast: Cast) -> None:
    """
    c
    a
    b
    """
    cast.tell("c", "a", "b")


@scenario
def loops_one_after_the_other(cast: Cast) -> None:
    """
    b
    a
    c
    e
    d
    """
    asyncio.run(cast.ask("b"))
    asyncio.run(cast.ask("a"))
    cast.tell("c")
    with asyncio.Runner() as runner:
        runner.run(cast.ask("e"))
        runner.run(cast.ask("d"))


@scenario
def batches_of_threads(cast: Cast) -> None:
    """
    parallel
      a
      b
    between
    parallel
      c
      d
    e
    """
    cast.model.batch(*cast.each("b", "a"))
    cast.tell("between")
    cast.model.batch(*cast.each("d", "c"))
    cast.tell("e")


@scenario
def a_map_on_threads(cast: Cast) -> None:
    """
    chain RunnableParallel<poem,joke>
      parallel
        joke: chain joke
          chain RunnableLambda
          ScriptedChatModel
        poem: chain poem
          chain RunnableLambda
          ScriptedChatModel
    after
    """
    list(cast.both.stream("hi"))
    cast.tell("after")


@scenario
def a_pool_that_ends(cast: Cast) -> None:
    """
    parallel
      a
      b
    c
    """
    with ThreadPoolExecutor() as pool:
        for name in ("b", "a"):
            pool.submit(copy_context().run, cast.tell, name)
    cast.tell("c")


@scenario
def threads_with_a_copied_context(cast: Cast) -> None:
    """
    before
    parallel
      a
      b
    c
    """
    cast.tell("before")
    threads = [Thread(target=copy_context().run, args=(cast.tell, name)) for name in ("b", "a")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cast.tell("c")


if sys.version_info >= (3, 12):

    @scenario
    async def eager_tasks(cast: Cast) -> None:
        """
        parallel
          a
          b
        c
        """
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.gather(cast.ask("b"), cast.ask("a"))
        await cast.ask("c")
