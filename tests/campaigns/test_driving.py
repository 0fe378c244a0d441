"""A driven coroutine does what it would do alone, and is cancelled at the `await` that a fault names."""

from __future__ import annotations

import asyncio

import pytest
import trio

from llmtest import record
from llmtest.campaigns.driving import Driven
from llmtest.campaigns.injection import Injection
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
