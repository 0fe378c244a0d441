"""Batches of doubles take steps by the position of the input; calls in parallel without a key are a violation each time."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langgraph.graph import END, START, StateGraph

from llmtest import Script, ScriptedChatModel, ScriptedRetriever, carry_context, expect_violation, on, record, scripted_tool
from llmtest.errors import ViolationError


class Slow(BaseCallbackHandler):
    """Delays calls by chance, so that the schedule differs from run to run."""

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(random.random() / 500)


STEPS = [f"answer {n}" for n in range(8)]
INPUTS = [f"question {n}" for n in range(8)]


@pytest.mark.parametrize("_", range(5))
@pytest.mark.parametrize("concurrency", [None, 1, 3])
def test_the_first_input_gets_the_first_step(concurrency: int | None, _: int) -> None:
    config: Any = {"callbacks": [Slow()], "max_concurrency": concurrency}
    with record():
        batch = ScriptedChatModel(*STEPS).batch(INPUTS, config)
        chain = (ChatPromptTemplate.from_template("{q}") | ScriptedChatModel(*STEPS)).batch([{"q": q} for q in INPUTS], config)
        bound = ScriptedChatModel(*STEPS).bind(temperature=1).with_retry().batch(INPUTS, config)
        mapped = RunnableLambda(lambda _: INPUTS) | ScriptedChatModel(*STEPS).map()
        each = mapped.invoke(None, config)
        done = dict(ScriptedChatModel(*STEPS).batch_as_completed(INPUTS, config))

    answers = [done[n] for n in range(8)]
    for messages in (batch, chain, bound, each, answers):
        assert [message.content for message in messages] == STEPS


@pytest.mark.asyncio
async def test_the_first_input_gets_the_first_step_in_async_code() -> None:
    with record():
        batch = await ScriptedChatModel(*STEPS).abatch(INPUTS, {"max_concurrency": 2})
        done = dict([pair async for pair in ScriptedChatModel(*STEPS).abatch_as_completed(INPUTS)])
        found = await ScriptedRetriever(*STEPS).abatch(INPUTS)

    assert [message.content for message in batch] == STEPS
    assert [done[n].content for n in range(8)] == STEPS
    assert [documents[0].page_content for documents in found] == STEPS


def test_tools_and_retrievers_take_steps_by_position_too() -> None:
    tool = scripted_tool("find", *STEPS, args={"q": str})

    with record():
        assert tool.batch([{"q": q} for q in INPUTS]) == STEPS
        assert [found[0].page_content for found in ScriptedRetriever(*STEPS).batch(INPUTS)] == STEPS


def test_a_failure_of_one_input_lets_the_others_go_on() -> None:
    model = ScriptedChatModel("a", ValueError("b"), "c")

    first, second, third = model.batch(["1", "2", "3"], return_exceptions=True)

    assert (first.content, str(second), third.content) == ("a", "b", "c")


def fan_out(model: Any) -> Any:
    class State(TypedDict):
        said: Annotated[list[str], add]

    graph = StateGraph(State)
    for name in "ab":
        graph.add_node(name, lambda state, name=name: {"said": [model.invoke(name).content]})
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph.compile()


def in_threads(model: Any) -> None:
    with ThreadPoolExecutor(2) as pool:
        contexts = [contextvars.copy_context() for _ in "ab"]
        futures = [pool.submit(context.run, model.invoke, q) for context, q in zip(contexts, "ab", strict=True)]
        for future in futures:
            future.result()


PARALLEL = {
    "map": lambda model: RunnableParallel(a=model, b=model).invoke("hi"),
    "map of chains": lambda model: RunnableParallel(
        a=RunnableLambda(lambda _: "a") | model, b=RunnableLambda(lambda _: "b") | model
    ).invoke("hi"),
    "batch of functions": lambda model: RunnableLambda(lambda q: model.invoke(q)).batch(["a", "b"]),
    "graph": lambda model: fan_out(model).invoke({"said": []}),
    "threads": in_threads,
}


@pytest.mark.parametrize("_", range(5))
@pytest.mark.parametrize("program", PARALLEL)
def test_calls_of_parallel_threads_without_a_key_are_a_violation_each_time(program: str, _: int) -> None:
    model = ScriptedChatModel("first", "second")
    ask = RunnableLambda(lambda q: model.invoke(f"{q}{random.random()}"))

    with expect_violation("competing calls") as caught, record():
        try:
            PARALLEL[program](ask)
        except ViolationError:
            model.script.waive_steps()

    assert len(caught) == 1
    assert caught[0].text.startswith(
        "two concurrent runs take steps from the same unkeyed script; which run gets which step is a race\n  call 1  human "
    )


def keyed(model: Any) -> None:
    RunnableParallel(a=RunnableLambda(lambda _: "a") | model, b=RunnableLambda(lambda _: "b") | model).invoke("hi")


def test_what_the_program_orders_is_no_violation() -> None:
    after = ScriptedChatModel("first", "second", "third")
    with record():
        (RunnableParallel(a=after, b=RunnableLambda(lambda _: "b")) | RunnableLambda(lambda _: "x") | after).invoke("hi")
        after.invoke("and then")
        keyed(ScriptedChatModel(on(contains="a") >> Script("1"), on(contains="b") >> Script("2")))
        RunnableParallel(a=ScriptedChatModel("1", "2").map(), b=RunnableLambda(lambda _: 1)).invoke(["x", "y"])


def test_equal_steps_and_equal_prompts_may_change_places() -> None:
    with record():
        RunnableParallel(a=(model := ScriptedChatModel("same", "same")), b=model).invoke("hi")
        RunnableParallel(a=(other := ScriptedChatModel("1", "2")), b=other).invoke("the same prompt")


@pytest.mark.asyncio
async def test_async_work_that_is_awaited_is_in_order() -> None:
    model = ScriptedChatModel("1", "2", "3")
    with record():
        await asyncio.to_thread(model.invoke, "a")
        await asyncio.to_thread(model.invoke, "b")
        assert (await model.ainvoke("c")).content == "3"


def test_one_batch_after_the_other_is_in_order() -> None:
    model = ScriptedChatModel(*STEPS)

    with record():
        said = [*model.batch(["a", "b"]), *model.batch(["c", "d"]), model.invoke("e"), *model.batch(["f", "g"])]

    assert [message.content for message in said] == STEPS[:7]
    model.script.waive_steps()


def test_a_thread_that_was_waited_for_comes_first() -> None:
    model = ScriptedChatModel("1", "2", "3", "4")

    with record(), ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, model.invoke, "a").result()
        model.invoke("b")
        thread = threading.Thread(target=carry_context(lambda: model.invoke("c")))
        thread.start()
        thread.join()
        assert model.invoke("d").content == "4"
