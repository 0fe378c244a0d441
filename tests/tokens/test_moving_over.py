"""Beside LangChain's own counters, row by row: what each of them sees, and what ours does.

docs/reference/counters-compared.md shows it. What theirs get wrong is pinned here, so that a release that mends it is noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from langchain_community.callbacks import get_openai_callback
from langchain_community.callbacks.manager import openai_callback_var
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.context import _configure_hooks, collect_runs, run_collector_var, tracing_v2_callback_var

from llmtest import ScriptedChatModel, ScriptedLLM, count_tokens, ledger, record, say
from tests.capture.test_blocks import ASYNC, SYNC
from tests.tokens.test_counting import Answers, Streams, chunk, message, result

MODEL = ScriptedChatModel(say("Hello", " there", usage=(3, 2)).repeat())
"""Five tokens a call."""


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Two of theirs leave something behind."""
    with count_tokens():
        hooks = list(_configure_hooks)  # ours is among them
    with ledger.opened(ledger.Outside()):
        yield
    _configure_hooks[:] = hooks
    openai_callback_var.set(None)
    run_collector_var.set(None)
    tracing_v2_callback_var.set(None)


def _models(run: Any) -> int:
    return (run.run_type == "llm") + sum(map(_models, run.child_runs))


COUNTERS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], Callable[[Any], int]]] = {
    "count_tokens": (count_tokens, lambda tokens: tokens.total_tokens),
    "get_openai_callback": (get_openai_callback, lambda callback: callback.total_tokens),
    "get_usage_metadata_callback": (
        get_usage_metadata_callback,
        lambda callback: sum(usage["total_tokens"] for usage in callback.usage_metadata.values()),
    ),
    "collect_runs": (collect_runs, lambda runs: 5 * sum(map(_models, runs.traced_runs))),  # it knows runs, and no tokens
}
Row = Callable[[Callable[[], AbstractContextManager[Any]]], list[Any]]
"""Something that is done with blocks; gives what the blocks yielded."""


def one_block(work: Callable[[], Any]) -> Row:
    def row(block: Callable[[], AbstractContextManager[Any]]) -> list[Any]:
        with block() as counter:
            work()
        return [counter]

    return row


def nested(block: Any) -> list[Any]:
    with block() as outer:
        MODEL.invoke("hi")
        with block() as inner:
            MODEL.invoke("hi")
        MODEL.invoke("hi")
    return [outer, inner]


def after_an_exception(block: Any) -> list[Any]:
    with suppress(KeyError), block() as counter:
        MODEL.invoke("hi")
        raise KeyError
    MODEL.invoke("hi")
    return [counter]


def inside_a_chain(block: Any) -> list[Any]:
    seen = []

    def work(text: str, config: Any) -> None:
        with block() as counter:
            MODEL.invoke(text, config)
        MODEL.invoke(text, config)
        seen.append(counter)

    RunnableLambda(work).invoke("hi")
    return seen


def in_two_tasks(block: Any) -> list[Any]:
    async def work(times: int) -> Any:
        with block() as counter:
            for _ in range(times):
                await MODEL.ainvoke("hi")
        return counter

    async def main() -> list[Any]:
        return list(await asyncio.gather(work(1), work(2)))

    return asyncio.run(main())


def task_from_before(block: Any) -> list[Any]:
    async def main() -> Any:
        task = asyncio.create_task(MODEL.ainvoke("hi"))
        with block() as counter:
            await MODEL.ainvoke("hi")
            await task
        return counter

    return [asyncio.run(main())]


def task_that_calls_after(block: Any) -> list[Any]:
    async def main() -> Any:
        go = asyncio.Event()

        async def later() -> None:
            await go.wait()
            await MODEL.ainvoke("hi")

        with block() as counter:
            task = asyncio.create_task(later())
        go.set()
        await task
        return counter

    return [asyncio.run(main())]


def future_run_after(block: Any) -> list[Any]:
    with block() as counter:
        context = copy_context()
    context.run(MODEL.invoke, "hi")
    return [counter]


def stream_from_before(block: Any) -> list[Any]:
    stream = MODEL.stream("hi")
    next(stream)
    with block() as counter:
        list(stream)
    return [counter]


def stream_read_after(block: Any) -> list[Any]:
    with block() as counter:
        stream = MODEL.stream("hi")
        next(stream)
    list(stream)
    return [counter]


def generator_closed_by_another_task(block: Any) -> list[Any]:
    async def main() -> Any:
        async def holds() -> Any:
            with block() as counter:
                yield counter

        generator = holds()
        counter = await anext(generator)
        with suppress(ValueError):
            await asyncio.create_task(generator.aclose())
        await MODEL.ainvoke("hi")
        return counter

    return [asyncio.run(main())]


def decorated_generator(block: Any) -> list[Any]:
    def steps() -> Iterator[None]:
        MODEL.invoke("hi")
        yield

    if block is not count_tokens:
        return []
    counter = block()
    for _ in counter(steps)():
        MODEL.invoke("hi")
    return [counter]


def generator_with_a_block(block: Any) -> list[Any]:
    seen = []

    def steps() -> Iterator[None]:
        with block() as counter:
            seen.append(counter)
            MODEL.invoke("hi")
            yield

    for _ in steps():
        MODEL.invoke("hi")
    return seen


def cached(block: Any) -> list[Any]:
    model = ScriptedChatModel(say("x", usage=(3, 2)), cache=InMemoryCache())
    with block() as counter:
        model.invoke("hi")
        model.invoke("hi")
    return [counter]


def _generate() -> None:
    Answers(results=[result(message(3, 2), message(3, 2))]).invoke("hi")


def _nameless() -> None:
    Answers(results=[result(AIMessage("x", usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}))]).invoke(
        "hi"
    )


def _cumulative() -> None:
    list(Streams(chunks=[chunk("a", 3, 1), chunk("b", 3, 2)]).stream("hi"))


def _broken() -> None:
    with suppress(ConnectionError):
        list(Streams(chunks=[chunk("a", 3, 2)], fails=True).stream("hi"))


def _text() -> None:
    ScriptedLLM(say("Hello", " there", usage=(3, 2))).invoke("hi")


def on_a_loop(work: Callable[[], Any]) -> Callable[[], None]:
    async def main() -> None:
        await work()

    return lambda: asyncio.run(main())


# What each sees: ours, get_openai_callback, get_usage_metadata_callback, collect_runs. 5 tokens are one call.
ROWS: dict[str, tuple[Row, list[list[int]]]] = {
    **{name: (one_block(work), [[5 * number]] * 4) for name, (work, number) in SYNC.items()},
    **{name: (one_block(on_a_loop(work)), [[5 * number]] * 4) for name, (work, number) in ASYNC.items()},
    "two tasks, a block each": (in_two_tasks, [[5, 10]] * 4),
    "a task from before": (task_from_before, [[5]] * 4),
    "a task that calls after": (task_that_calls_after, [[0], [5], [5], [5]]),
    "a future run after": (future_run_after, [[0], [5], [5], [5]]),
    "a stream from before": (stream_from_before, [[0]] * 4),
    "a stream read on after": (stream_read_after, [[0], [5], [5], [5]]),
    "nested: outer, inner": (nested, [[15, 5], [5, 5], [15, 5], [10, 5]]),
    "left by an exception": (after_an_exception, [[5], [10], [5], [5]]),
    "inside a chain": (inside_a_chain, [[5], [5], [5], [5]]),
    "a generator closed by another task": (generator_closed_by_another_task, [[0], [5], [5], [5]]),
    "a `with` in a generator's body": (generator_with_a_block, [[10]] * 4),
    "a decorated generator": (decorated_generator, [[5], [], [], []]),
    "an answer from the cache": (cached, [[5], [10], [10], [10]]),
    "several candidates": (one_block(_generate), [[10], [5], [5], [5]]),
    "no model name": (one_block(_nameless), [[5], [5], [0], [5]]),
    "usage on each chunk": (one_block(_cumulative), [[5], [9], [0], [5]]),
    "a stream that breaks off": (one_block(_broken), [[5], [0], [0], [5]]),
    "a text model": (one_block(_text), [[5], [5], [0], [5]]),
}


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("name", ROWS)
def test_what_each_counter_sees(name: str, counter: str) -> None:
    row, expected = ROWS[name]
    block, tokens = COUNTERS[counter]

    seen = row(block)

    assert [tokens(one) for one in seen] == expected[list(COUNTERS).index(counter)]


@pytest.mark.parametrize(
    ("counter", "more"),
    [("count_tokens", 0), ("get_openai_callback", 0), ("get_usage_metadata_callback", 1_000), ("collect_runs", 0)],
)
def test_what_a_thousand_blocks_register(counter: str, more: int) -> None:
    block, _ = COUNTERS[counter]
    with block():
        pass
    before = len(_configure_hooks)

    for _ in range(1_000):
        with block():
            pass

    assert len(_configure_hooks) - before == more


def test_the_openai_callback_gives_a_cost_of_nothing_for_a_model_that_it_does_not_know() -> None:
    with get_openai_callback() as callback, count_tokens(prices={}) as tokens:
        MODEL.invoke("hi")

    assert callback.total_cost == 0
    with pytest.raises(LookupError, match="no price for the model 'scripted'"):
        _ = tokens.total_cost


def test_moving_over_is_one_line() -> None:
    with ExitStack() as stack:
        theirs, ours = stack.enter_context(get_openai_callback()), stack.enter_context(count_tokens(prices={"scripted": (1, 1)}))
        MODEL.invoke("hi")
        MODEL.invoke("hi")

    names = (
        "total_tokens",
        "prompt_tokens",
        "prompt_tokens_cached",
        "completion_tokens",
        "reasoning_tokens",
        "successful_requests",
    )
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}


def test_the_usage_callback_by_model_is_ours_by_model() -> None:
    with get_usage_metadata_callback() as theirs, count_tokens() as ours:
        MODEL.invoke("hi")
        MODEL.invoke("hi")

    assert {model: usage["total_tokens"] for model, usage in theirs.usage_metadata.items()} == {
        model: counts.total_tokens for model, counts in ours.by_model.items()
    }


def test_the_runs_of_collect_runs_are_those_of_a_recording() -> None:
    chain = RunnableLambda(lambda text: MODEL.invoke(text)).with_config(run_name="program")
    with collect_runs() as theirs, record() as ours:
        chain.invoke("hi")

    assert [run.name for run in theirs.traced_runs] == [run.name for run in ours.roots] == ["program"]
    assert [run.id for run in theirs.traced_runs] == [run.id for run in ours.roots]


def table() -> str:
    """The rows, as the page shows them: what differs from ours is bold."""
    lines = [
        "| | `count_tokens` | `get_openai_callback` | `get_usage_metadata_callback` | `collect_runs` |",
        "|---|---|---|---|---|",
    ]
    for name, (_, expected) in ROWS.items():
        ours, *others = [", ".join(map(str, figures)) or "-" for figures in expected]
        lines.append(f"| {' | '.join([name, ours, *[o if o == ours else f'**{o}**' for o in others]])} |")
    return "\n".join(lines)


def test_the_page_shows_what_comes_out() -> None:
    page = Path(__file__).parents[2] / "docs/reference/counters-compared.md"

    assert table() in page.read_text("utf-8")
