"""A driven coroutine does what it would do alone, and is cancelled at the `await` that a fault names."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest
import trio

from llmtest import ScriptedChatModel, record
from llmtest.campaigns import driving, faults
from llmtest.campaigns.driving import Driven
from llmtest.campaigns.injection import EndlessError, Injection
from llmtest.campaigns.kinds import faults_of_program


async def three_times() -> str:
    for _ in range(3):
        await asyncio.sleep(0)
    return "done"


def cancelled_at(number: int) -> Injection:
    fault = faults_of_program({"await": number}, ["cancelled"])[-1]
    return Injection(record(), [fault])


def test_it_returns_what_the_coroutine_returns_and_counts_its_waits() -> None:
    injection = Injection(record())

    async def main() -> str:
        return await Driven(three_times(), injection)

    assert asyncio.run(main()) == "done"
    assert injection.moments == {"await": 3}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_it_is_cancelled_where_it_waits(number: int) -> None:
    injection = cancelled_at(number)
    seen: list[int] = []

    async def counts() -> None:
        for n in range(1, 4):
            seen.append(n)
            await asyncio.sleep(0)

    async def main() -> None:
        await Driven(counts(), injection)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert seen == list(range(1, number + 1))
    assert injection.missing == []


def test_what_it_waits_for_is_cancelled_too() -> None:
    ended: list[str] = []

    async def inner() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("inner")
            raise

    async def main() -> None:
        await Driven(outer(), cancelled_at(2))

    async def outer() -> None:
        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert ended == ["inner"]


def test_an_error_of_what_it_waits_for_reaches_the_coroutine() -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def catches() -> str:
        try:
            await asyncio.create_task(fails())
        except KeyError:
            return "caught"
        return "not caught"

    async def main() -> str:
        return await Driven(catches(), Injection(record()))

    assert asyncio.run(main()) == "caught"


def test_a_coroutine_that_is_left_is_closed() -> None:
    closed: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append("yes")

    steps = Driven(waits(), Injection(record())).__await__()

    async def main() -> None:
        next(steps)
        steps.close()

    asyncio.run(main())
    assert closed == ["yes"]


def test_trio_has_no_tasks_to_cancel() -> None:
    injection = Injection(record())

    async def waits() -> str:
        await trio.lowlevel.checkpoint()
        return "done"

    async def main() -> str:
        return await Driven(waits(), injection)

    assert trio.run(main) == "done"
    assert injection.moments == {}


def test_tasks_that_wait_for_one_another_for_ever_are_ended() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    with Injection(record()) as injection, pytest.raises(EndlessError) as caught:
        driving.run(stuck(), injection)

    assert str(caught.value) == "every task waits, and nothing is left that could wake one"


def test_what_timers_jobs_and_threads_will_wake_is_waited_for() -> None:
    async def waits() -> list[str]:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            threading.Event().wait(0.05)
            loop.call_soon_threadsafe(woken.set)

        thread = threading.Thread(target=wake)
        thread.start()
        await woken.wait()
        thread.join()
        await asyncio.sleep(0.001)
        return [await asyncio.to_thread(lambda: (threading.Event().wait(0.02), "job")[1])]

    with Injection(record()) as injection:
        assert driving.run(waits(), injection) == ["job"]


def test_a_program_that_waits_for_a_failed_task_hangs() -> None:
    async def program() -> None:
        done = asyncio.Event()

        async def work() -> None:
            with suppress(TimeoutError):
                await ScriptedChatModel("x", name="model").ainvoke("hi")
                done.set()

        task = asyncio.create_task(work())
        await done.wait()
        await task

    (verdict,) = faults(program, kinds="timeout").verdicts

    assert (verdict.outcome, verdict.why) == ("hang", "every task waits, and nothing is left that could wake one")
