"""Every shape of block, for recordings and for counts: they open and close where they should, and hold what they should.

The rule without LangChain is in test_recording.py; the async cases run in hundreds of schedules, the thread cases in haste.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.tracers.context import _configure_hooks
from langchain_core.utils.uuid import uuid7

from llmtest import Recording, ScriptedChatModel, carry_context, count_tokens, ledger, record, say
from llmtest.capture import blocks, membership
from llmtest.tokens import TokenCount
from tests.support import loops

pytestmark = pytest.mark.usefixtures("outside")

MODEL = ScriptedChatModel(say("Hello", " there", usage=(3, 2)).repeat())
"""Five tokens a call, as often as it is asked."""

BLOCKS: list[Callable[[], Recording | TokenCount]] = [record, count_tokens]
each_block = pytest.mark.parametrize("block", BLOCKS)


def calls(caught: Recording | TokenCount) -> int:
    """How many model calls it holds, each of them counted as a whole."""
    calls = caught.models if isinstance(caught, Recording) else caught.calls
    number = len(calls)
    assert all(call.usage is not None and call.usage.total_tokens == 5 for call in calls)
    return number


def listed() -> int:
    return len(blocks.open_blocks.get())


@pytest.fixture
def in_haste() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# -- with and async with


@each_block
def test_a_block_gives_itself_and_is_truthy_when_empty(block: Any) -> None:
    made = block()

    with made as caught:
        pass

    assert caught is made
    assert caught
    assert (caught.closed, calls(caught), listed()) == (True, 0, 0)


@each_block
@pytest.mark.asyncio
async def test_an_async_block_is_the_same(block: Any) -> None:
    async with block() as caught:
        await MODEL.ainvoke("hi")
    await MODEL.ainvoke("hi")

    assert (calls(caught), caught.closed, listed()) == (1, True, 0)


@each_block
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()], ids=repr)
def test_a_block_left_by_any_exception_is_closed_and_lets_it_through(block: Any, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, block() as caught:
        MODEL.invoke("hi")
        raise error
    MODEL.invoke("hi")

    assert raised.value is error
    assert (calls(caught), caught.closed, listed()) == (1, True, 0)


@each_block
def test_a_block_left_by_the_generator_exit_of_its_generator_is_closed(block: Any) -> None:
    seen = []

    def work() -> Iterator[int]:
        with block() as caught:
            seen.append(caught)
            MODEL.invoke("hi")
            yield 1

    generator = work()
    next(generator)
    generator.close()
    MODEL.invoke("hi")

    assert (calls(seen[0]), seen[0].closed, listed()) == (1, True, 0)


@each_block
@pytest.mark.asyncio
async def test_a_block_left_by_cancellation_is_closed(block: Any) -> None:
    inside, seen = asyncio.Event(), []

    async def work() -> None:
        async with block() as caught:
            seen.append(caught)
            await MODEL.ainvoke("hi")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert (calls(seen[0]), seen[0].closed) == (1, True)


@each_block
def test_a_block_is_entered_once(block: Any) -> None:
    made = block()
    with made:
        pass

    with pytest.raises(RuntimeError) as caught, made:
        pass

    name = block.__name__
    assert str(caught.value) == f"this {name}() block was already entered; write {name}() anew for each block"


@each_block
def test_closing_twice_keeps_the_first_end(block: Any) -> None:
    with block() as caught:
        MODEL.invoke("hi")
        caught.close()
        MODEL.invoke("hi")
        caught.close()

    assert calls(caught) == 1


# -- nested


@pytest.mark.parametrize("outer", BLOCKS)
@pytest.mark.parametrize("inner", BLOCKS)
def test_nested_blocks_of_any_kind_both_see_the_inner_call(outer: Any, inner: Any) -> None:
    with outer() as around:
        MODEL.invoke("hi")
        with inner() as within:
            MODEL.invoke("hi")
        MODEL.invoke("hi")

    assert (calls(around), calls(within)) == (3, 1)


@pytest.mark.asyncio
async def test_every_shape_nests_in_every_other() -> None:
    decorating, generating = count_tokens(), count_tokens()

    @decorating
    async def work() -> None:
        with record() as within:
            await MODEL.ainvoke("hi")
        async with count_tokens() as tokens:
            for _ in steps():
                pass
        seen.extend([calls(within), calls(tokens)])

    @generating
    def steps() -> Iterator[None]:
        MODEL.invoke("hi")
        yield
        with record() as deepest:
            MODEL.invoke("hi")
        seen.append(calls(deepest))

    seen: list[int] = []
    async with count_tokens() as outer:
        await work()

    assert (seen, calls(outer), calls(decorating), calls(generating)) == ([1, 1, 2], 3, 3, 2)


@each_block
def test_a_block_opened_inside_a_running_chain_sees_the_rest_of_it_once(block: Any) -> None:
    seen = []

    def work(text: str, config: RunnableConfig) -> None:
        with block() as within:
            MODEL.invoke(text, config)
        MODEL.invoke(text, config)
        seen.append(within)

    with block() as around:
        RunnableLambda(work).invoke("hi")

    assert (calls(around), calls(seen[0])) == (2, 1)


@each_block
def test_five_hundred_nested_blocks_all_see_the_call(block: Any) -> None:
    with ExitStack() as stack:
        nested = [stack.enter_context(block()) for _ in range(500)]
        MODEL.invoke("hi")

    assert {calls(caught) for caught in nested} == {1}


# -- decorators


@each_block
def test_a_decorated_function_is_recorded_in_each_call_and_nowhere_else(block: Any) -> None:
    caught = block()

    @caught
    def ask(text: str, *, times: int = 1) -> list[str]:
        """Asks."""
        return [MODEL.invoke(text).text for _ in range(times)]

    answers = [*ask("hi"), *ask("hi", times=2)]
    MODEL.invoke("hi")

    assert answers == ["Hello there"] * 3
    assert (calls(caught), listed(), ask.__name__, ask.__doc__) == (3, 0, "ask", "Asks.")


def test_a_block_in_a_task_misses_the_work_of_a_thread_that_was_there_before() -> None:
    """Nothing tells for which task the thread works, and the call of another program would be told rather than lost."""

    async def ask(pool: ThreadPoolExecutor) -> Recording:
        with record() as caught:
            await asyncio.wrap_future(pool.submit(MODEL.invoke, "hi"))
        return caught

    async def main(pool: ThreadPoolExecutor) -> Recording:
        return await asyncio.create_task(ask(pool))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        caught = asyncio.run(main(pool))

    assert (calls(caught), [call.cause for call in caught.unseen_calls]) == (0, ["no context"])


@each_block
def test_a_decorated_function_may_raise_call_itself_and_be_a_method(block: Any) -> None:
    caught = block()

    class Program:
        @caught
        def ask(self, times: int) -> None:
            MODEL.invoke("hi")
            if times == 1:
                raise KeyError("enough")
            self.ask(times - 1)

    with pytest.raises(KeyError):
        Program().ask(3)
    MODEL.invoke("hi")

    assert (calls(caught), listed()) == (3, 0)


@each_block
@pytest.mark.asyncio
async def test_a_decorated_coroutine_function_stays_one_and_counts_calls_that_overlap(block: Any) -> None:
    caught = block()

    @caught
    async def ask() -> str:
        return (await MODEL.ainvoke("hi")).text

    answers = await asyncio.gather(*[ask() for _ in range(5)], MODEL.ainvoke("hi"))

    assert asyncio.iscoroutinefunction(ask)
    assert answers[:5] == ["Hello there"] * 5
    assert calls(caught) == 5


@each_block
def test_a_decorated_generator_sees_its_own_steps_and_nothing_of_its_reader(block: Any) -> None:
    caught = block()

    @caught
    def steps() -> Iterator[str]:
        for _ in range(3):
            yield MODEL.invoke("hi").text

    with block() as reader:
        for _ in steps():
            MODEL.invoke("hi")
            assert listed() == 1

    assert (calls(caught), calls(reader), listed()) == (3, 6, 0)


@each_block
@pytest.mark.asyncio
async def test_a_decorated_async_generator_sees_its_own_steps_and_nothing_of_its_reader(block: Any) -> None:
    caught = block()

    @caught
    async def steps() -> AsyncIterator[str]:
        for _ in range(3):
            yield (await MODEL.ainvoke("hi")).text

    with block() as reader:
        async for _ in steps():
            await MODEL.ainvoke("hi")
            assert listed() == 1

    assert (calls(caught), calls(reader), listed()) == (3, 6, 0)


def _talk(log: list[Any]) -> Any:
    try:
        log.append((yield "first"))
        try:
            yield "second"
        except KeyError as error:
            log.append(str(error))
        yield "third"
    except GeneratorExit:
        MODEL.invoke("bye")
        log.append("closed")
        raise
    return "result"


@each_block
def test_a_decorated_generator_is_sent_to_thrown_into_and_closed_as_it_was(block: Any) -> None:
    caught, log = block(), []
    decorated = caught(_talk)

    generator = decorated(log)
    said = [next(generator), generator.send("sent"), generator.throw(KeyError("thrown"))]
    generator.close()

    assert said == ["first", "second", "third"]
    assert log == ["sent", "'thrown'", "closed"]
    assert (calls(caught), listed()) == (1, 0)


def test_a_decorated_generator_returns_and_raises_as_it_did() -> None:
    caught = count_tokens()

    @caught
    def returns() -> Any:
        yield 1
        return "result"

    @caught
    def raises() -> Any:
        yield 1
        raise LookupError("gone")

    def outer() -> Any:
        return (yield from returns())

    generator = outer()
    next(generator)
    with pytest.raises(StopIteration) as done:
        next(generator)
    with pytest.raises(LookupError, match="gone"):
        list(raises())

    assert done.value.value == "result"


@each_block
@pytest.mark.asyncio
async def test_a_decorated_async_generator_is_sent_to_thrown_into_and_closed_as_it_was(block: Any) -> None:
    caught, log = block(), []

    @caught
    async def talk() -> Any:
        try:
            log.append((yield "first"))
            try:
                yield "second"
            except KeyError as error:
                log.append(str(error))
            yield "third"
        finally:
            await MODEL.ainvoke("bye")

    generator: Any = talk()
    said = [await anext(generator), await generator.asend("sent"), await generator.athrow(KeyError("thrown"))]
    await generator.aclose()

    assert said == ["first", "second", "third"]
    assert log == ["sent", "'thrown'"]
    assert (calls(caught), listed()) == (1, 0)


@each_block
@pytest.mark.asyncio
async def test_a_decorated_async_generator_may_be_read_and_closed_in_other_tasks(block: Any) -> None:
    caught = block()

    @caught
    async def steps() -> Any:
        while True:
            yield (await MODEL.ainvoke("hi")).text

    generator = steps()
    for _ in range(3):
        await asyncio.create_task(anext(generator))
        await MODEL.ainvoke("hi")
    await asyncio.create_task(generator.aclose())

    assert (calls(caught), listed()) == (3, 0)


@each_block
@pytest.mark.asyncio
async def test_a_task_that_a_decorated_function_left_behind_takes_nothing_new(block: Any) -> None:
    caught, go = block(), asyncio.Event()

    async def later() -> None:
        await go.wait()
        await MODEL.ainvoke("hi")

    @caught
    async def ask() -> asyncio.Task[None]:
        await MODEL.ainvoke("hi")
        return asyncio.create_task(later())

    task = await ask()
    go.set()
    await task

    assert calls(caught) == 1


@each_block
@pytest.mark.asyncio
async def test_a_task_of_a_decorated_generator_belongs_to_it_until_the_generator_ends(block: Any) -> None:
    caught, turns = block(), asyncio.Queue[None]()

    async def worker() -> None:
        for _ in range(2):
            await turns.get()
            await MODEL.ainvoke("hi")
            turns.task_done()

    @caught
    async def steps() -> AsyncIterator[asyncio.Task[None]]:
        yield asyncio.create_task(worker())

    tasks = []
    async for task in steps():
        tasks.append(task)
        turns.put_nowait(None)  # while the generator waits at its yield
        await turns.join()
    turns.put_nowait(None)
    await tasks[0]

    assert calls(caught) == 1


@each_block
def test_what_cannot_be_decorated_says_so(block: Any) -> None:
    name = block.__name__

    class Program:
        pass

    with pytest.raises(TypeError) as a_class:
        block()(Program)
    with pytest.raises(TypeError) as a_number:
        block()(7)

    assert str(a_class.value) == f"{name}() decorates functions and generators, sync or async; got the class Program"
    assert str(a_number.value) == f"{name}() decorates functions and generators, sync or async; got 7"


@each_block
def test_a_block_is_either_entered_or_decorates(block: Any) -> None:
    entered, decorates, name = block(), block(), block.__name__
    with entered:
        pass
    decorates(len)

    with pytest.raises(RuntimeError) as late:
        entered(len)
    with pytest.raises(RuntimeError) as again, decorates:
        pass

    assert str(late.value) == f"this {name}() block was already entered; write {name}() anew to decorate with it"
    assert str(again.value) == f"this {name}() block decorates functions; write {name}() anew for a `with` block"


# -- left in another task or context


@each_block
@pytest.mark.asyncio
async def test_a_block_left_in_another_task_is_closed_wherever_a_context_still_lists_it(block: Any) -> None:
    async def fixture() -> AsyncIterator[Any]:
        async with block() as caught:
            yield caught

    generator, go = fixture(), asyncio.Event()
    entering = asyncio.Event()

    async def enter_and_stay() -> None:
        entered.append(await anext(generator))
        await MODEL.ainvoke("hi")
        entering.set()
        await go.wait()
        await MODEL.ainvoke("hi")  # this context still lists the block
        assert not membership.anything_open()
        with block() as another:
            assert listed() == 1  # and forgets it when the next one is opened
        assert calls(another) == 0

    entered: list[Any] = []
    task = asyncio.create_task(enter_and_stay())
    await entering.wait()
    await asyncio.create_task(anext(generator, None))  # type: ignore[arg-type]
    go.set()
    await task

    assert (calls(entered[0]), entered[0].closed) == (1, True)


@each_block
@pytest.mark.asyncio
async def test_a_generator_that_holds_a_block_open_is_closed_from_another_task(block: Any) -> None:
    seen = []

    async def holds() -> AsyncIterator[int]:
        async with block() as caught:
            seen.append(caught)
            yield 1

    generator: Any = holds()
    await anext(generator)
    await MODEL.ainvoke("hi")  # a `with` in a generator's body also sees its reader: Python cannot prevent it
    await asyncio.create_task(generator.aclose())
    await MODEL.ainvoke("hi")

    assert (calls(seen[0]), seen[0].closed) == (1, True)


def test_a_block_that_was_left_elsewhere_is_not_kept_alive_by_the_context_that_lists_it() -> None:
    context = contextvars.copy_context()
    caught = record()
    context.run(caught.__enter__)
    caught.__exit__(None, None, None)

    assert [opening.block for opening in context[blocks.open_blocks]] == [None]


FIRST_BLOCKS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from langchain_core.language_models import FakeListChatModel
from llmtest import record

barrier, model = threading.Barrier(8), FakeListChatModel(responses=["hi"])

def work(number):
    barrier.wait()
    with record() as recording:
        model.invoke("?")
    return len(recording.runs)

with ThreadPoolExecutor(8) as pool:
    print(list(pool.map(work, range(8))))
"""


def test_the_first_blocks_of_a_process_may_be_opened_by_several_threads_at_once() -> None:
    ran = subprocess.run([sys.executable, "-c", FIRST_BLOCKS], capture_output=True, text=True, check=False)

    assert (ran.stdout.strip(), ran.stderr) == ("[1, 1, 1, 1, 1, 1, 1, 1]", "")


# -- the table of situations


def ask(_: Any = None) -> str:
    return MODEL.invoke("hi").text


def _threads(target: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=target) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _in_pool(function: Callable[..., Any]) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(function, range(3)))


def _copied_one_by_one() -> None:
    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(contextvars.copy_context().run, ask) for _ in range(3)]:
            future.result()


async def _gather() -> None:
    await asyncio.gather(*[MODEL.ainvoke("hi") for _ in range(3)])


async def _to_thread() -> None:
    await asyncio.gather(*[asyncio.to_thread(ask) for _ in range(3)])


async def _tasks() -> None:
    for task in [asyncio.create_task(MODEL.ainvoke("hi")) for _ in range(3)]:
        await task


async def _groups() -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(MODEL.ainvoke("hi"))


async def _call_soon() -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    for _ in range(3):
        loop.call_soon(ask)
    loop.call_soon(done.set)
    await done.wait()


async def _executor(function: Callable[[], Any]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.gather(*[loop.run_in_executor(None, function) for _ in range(3)])


SYNC: dict[str, tuple[Callable[[], Any], int]] = {
    "direct calls": (lambda: [ask() for _ in range(3)], 3),
    "RunnableParallel": (lambda: RunnableParallel(a=MODEL, b=MODEL, c=MODEL).invoke("hi"), 3),
    "batch": (lambda: MODEL.batch(["a", "b", "c"]), 3),
    "batch_as_completed": (lambda: list(MODEL.batch_as_completed(["a", "b", "c"])), 3),
    "map": (lambda: MODEL.map().invoke(["a", "b", "c"]), 3),
    "callbacks=[]": (lambda: [MODEL.invoke("hi", {"callbacks": []}) for _ in range(3)], 3),
    "streams": (lambda: [list(MODEL.stream("hi")) for _ in range(3)], 3),
    "bare threads": (lambda: _threads(ask), 0),
    "carried threads": (lambda: _threads(carry_context(ask)), 3),
    "a bare pool": (lambda: _in_pool(ask), 0),
    "a carried pool": (lambda: _in_pool(carry_context(ask)), 3),
    "copied contexts": (_copied_one_by_one, 3),
}
ASYNC: dict[str, tuple[Callable[[], Any], int]] = {
    "gather": (_gather, 3),
    "abatch": (lambda: MODEL.abatch(["a", "b", "c"]), 3),
    "to_thread": (_to_thread, 3),
    "tasks": (_tasks, 3),
    "task groups": (_groups, 3),
    "call_soon": (_call_soon, 3),
    "run_in_executor": (lambda: _executor(ask), 0),
    "run_in_executor, carried": (lambda: _executor(carry_context(ask)), 3),
}


@each_block
@pytest.mark.parametrize("case", SYNC)
@pytest.mark.usefixtures("in_haste")
def test_what_runs_in_a_block_is_in_it_unless_its_context_was_lost(block: Any, case: str) -> None:
    work, expected = SYNC[case]

    with block() as caught:
        work()

    assert calls(caught) == expected


@each_block
@pytest.mark.parametrize("case", ASYNC)
@pytest.mark.asyncio
async def test_what_runs_in_an_async_block_is_in_it_unless_its_context_was_lost(block: Any, case: str) -> None:
    work, expected = ASYNC[case]

    async with block() as caught:
        await work()

    assert calls(caught) == expected


@each_block
def test_a_pool_that_was_warm_before_the_block_is_as_bare_as_a_new_one(block: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(ask).result()
        with block() as caught:
            pool.submit(ask).result()
            pool.submit(carry_context(ask)).result()

    assert calls(caught) == 1


@each_block
def test_a_block_names_the_calls_that_escaped_it(block: Any) -> None:
    with block() as caught:
        MODEL.invoke("seen")
        thread = threading.Thread(target=ask, name="bare")
        thread.start()
        thread.join()

    assert [(call.double, call.thread, call.cause) for call in caught.unseen_calls] == [
        ("ScriptedChatModel", "bare", "no context")
    ]


def test_nested_blocks_that_lost_a_call_to_a_thread_all_name_it() -> None:
    with count_tokens() as outer, record() as inner:
        _threads(ask)

    assert (len(outer.unseen_calls), len(inner.unseen_calls)) == (3, 3)


@each_block
def test_a_future_submitted_inside_and_run_after_the_block_takes_nothing_new(block: Any) -> None:
    with block() as caught:
        later = carry_context(ask)
    later()

    assert calls(caught) == 0


@each_block
def test_a_stream_started_before_the_block_and_read_inside_is_not_in_it(block: Any) -> None:
    stream = MODEL.stream("hi")
    next(stream)

    with block() as caught:
        list(stream)

    assert calls(caught) == 0


@each_block
def test_a_stream_made_inside_and_first_read_after_the_block_is_not_in_it(block: Any) -> None:
    with block() as caught:
        stream = MODEL.stream("hi")
    list(stream)

    assert calls(caught) == 0


def test_a_stream_started_inside_and_read_to_its_end_after_the_block_is_late() -> None:
    with record() as recording, count_tokens() as tokens:
        stream = MODEL.stream("hi")
        next(stream)
    list(stream)

    assert (repr(recording.usage), len(recording.late_events)) == ("<Usage: not known>", 2)
    assert (tokens.total_tokens, tokens.requests, [call.ended for call in tokens.calls]) == (0, 1, ["open"])
    assert [(call.name, call.spent.total_tokens, call.ended) for call in tokens.late] == [("ScriptedChatModel", 5, "ended")]


# -- many schedules


async def _program_of_tasks() -> tuple[int, ...]:
    """Three tasks with a block each, around all of them a block, one task from before it, one that outlives it."""
    go, inner = asyncio.Event(), []

    async def work(number: int) -> None:
        async with count_tokens() as own:
            await asyncio.gather(*[MODEL.ainvoke("hi") for _ in range(number)])
        inner.append((number, calls(own)))

    async def outlives() -> None:
        await go.wait()
        await MODEL.ainvoke("hi")

    before = asyncio.create_task(MODEL.ainvoke("hi"))
    async with count_tokens() as outer, record() as recording:
        left = asyncio.create_task(outlives())
        await asyncio.gather(work(1), work(2), work(3))
    go.set()
    await asyncio.gather(before, left)
    return (calls(outer), calls(recording), *[count for _, count in sorted(inner)])


async def _program_of_generators() -> tuple[int, ...]:
    """Two decorated generators that are read in turns, by tasks, while others call the model."""
    counters = [count_tokens(), count_tokens()]

    async def steps() -> AsyncIterator[None]:
        for _ in range(2):
            await asyncio.gather(MODEL.ainvoke("hi"), MODEL.ainvoke("hi"))
            yield

    async def read(counter: TokenCount) -> None:
        async for _ in counter(steps)():
            await MODEL.ainvoke("hi")

    async with count_tokens() as outer:
        await asyncio.gather(*map(read, counters), MODEL.ainvoke("hi"))
    return (calls(outer), *map(calls, counters))


async def _program_of_fixtures() -> tuple[int, ...]:
    """Blocks that are entered in one task and left in another, while other tasks call the model."""

    async def fixture() -> AsyncIterator[TokenCount]:
        async with count_tokens() as tokens:
            yield tokens

    async def use(times: int) -> int:
        generator: Any = fixture()
        tokens = await anext(generator)
        await asyncio.gather(*[MODEL.ainvoke("hi") for _ in range(times)])
        await asyncio.create_task(anext(generator, None))
        await MODEL.ainvoke("hi")
        return calls(tokens)

    return tuple(await asyncio.gather(use(1), use(2), use(3)))


async def _program_of_cancelled_tasks() -> tuple[int, ...]:
    """Blocks that are left by cancellation, after their calls, beside others that go on."""

    async def work(stop: bool) -> int:
        async with AsyncExitStack() as stack:
            tokens = await stack.enter_async_context(count_tokens())
            await MODEL.ainvoke("hi")
            with suppress(asyncio.CancelledError):
                if stop:
                    asyncio.current_task().cancel()  # type: ignore[union-attr]
                await asyncio.sleep(0)
            await MODEL.ainvoke("hi")
        return calls(tokens)

    return tuple(await asyncio.gather(work(True), work(False), work(True)))


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (_program_of_tasks, (6, 6, 1, 2, 3)),
        (_program_of_generators, (13, 4, 4)),
        (_program_of_fixtures, (1, 2, 3)),
        (_program_of_cancelled_tasks, (2, 2, 2)),
    ],
)
def test_in_two_hundred_schedules_the_counts_are_the_same(program: Any, expected: tuple[int, ...]) -> None:
    results = loops.in_schedules(program, 200)

    assert (len(results), set(results)) == (200, {expected})


# -- threads in haste


@pytest.mark.usefixtures("in_haste")
def test_threads_with_blocks_of_their_own_inside_one_block_count_right_each_time() -> None:
    threads, each = 6, 20
    barrier = threading.Barrier(threads)
    inner: list[int] = []

    def work() -> None:
        barrier.wait()
        for _ in range(each):
            with count_tokens() as own:
                MODEL.invoke("hi")
            inner.append(calls(own))

    with count_tokens() as outer, ThreadPoolExecutor(threads) as pool:
        carried = carry_context(work)
        for future in [pool.submit(carried) for _ in range(threads)]:
            future.result()

    assert (calls(outer), inner) == (threads * each, [1] * threads * each)


@pytest.mark.usefixtures("in_haste")
def test_a_function_that_threads_call_at_once_is_counted_whole_while_others_read() -> None:
    threads, each = 6, 20
    barrier, tokens = threading.Barrier(threads + 1), count_tokens()
    decorated = tokens(ask)
    readings: list[int] = []

    def work() -> None:
        barrier.wait()
        for _ in range(each):
            decorated()

    def read() -> None:
        barrier.wait()
        readings.extend(tokens.total_tokens for _ in range(200))

    workers = [threading.Thread(target=target) for target in (*[work] * threads, read)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert calls(tokens) == threads * each
    assert readings == sorted(readings)


# -- a hundred thousand uses


@each_block
def test_a_hundred_thousand_blocks_register_nothing_more_than_the_first(block: Any) -> None:
    def state() -> tuple[int, ...]:
        gc.collect()
        return len(_configure_hooks), len(blocks.memberships), listed(), len(ledger._open)

    with block():
        MODEL.invoke("hi")
    first, objects = state(), len(gc.get_objects())

    for _ in range(100_000):
        with block():
            membership.begin(uuid7(), None)

    assert state() == first
    assert len(gc.get_objects()) - objects < 1_000


# -- carry_context


def test_a_carried_function_keeps_its_name_its_arguments_and_its_result() -> None:
    def add(one: int, *, two: int) -> int:
        """Adds."""
        return one + two

    carried = carry_context(add)

    assert (carried(1, two=2), carried.__name__, carried.__doc__) == (3, "add", "Adds.")


def test_a_carried_function_has_the_context_of_where_it_was_carried_and_changes_none() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def change() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    variable.set("here")
    carried = carry_context(change)
    variable.set("later")

    assert (carried(), carried(), variable.get()) == ("here", "here", "later")


async def _coroutine() -> None: ...


def _generator() -> Iterator[None]:
    yield


async def _async_generator() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("function", [_coroutine, _generator, _async_generator])
def test_a_function_whose_body_runs_after_the_call_cannot_be_carried(function: Any) -> None:
    with pytest.raises(TypeError) as caught:
        carry_context(function)

    assert str(caught.value) == (
        f"carry_context() takes a function that is over when its call returns; got {function!r}"
        "\n  wrap it in one: carry_context(lambda: asyncio.run(work()))"
    )


def test_a_carried_function_may_run_a_loop_of_its_own() -> None:
    with count_tokens() as tokens:
        thread = threading.Thread(target=carry_context(lambda: asyncio.run(_gather())))
        thread.start()
        thread.join()

    assert calls(tokens) == 3
