"""What a line of control knows of the one that it was spawned from, and what asyncio knows of who waits for whom."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from llmtest.concurrency import lanes
from llmtest.concurrency.lanes import Lane


async def leaf() -> Lane:
    lanes.tick()
    await asyncio.sleep(0)
    return lanes.tick()[0]


def played(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    lanes.tick()
    return asyncio.run(main())


async def _gather() -> Lane:
    return (await asyncio.gather(leaf()))[0]


async def _wait() -> Lane:
    done, _ = await asyncio.wait([asyncio.create_task(leaf())])
    return done.pop().result()


async def _first() -> Lane:
    task = asyncio.create_task(leaf())
    await asyncio.wait([task, asyncio.create_task(asyncio.sleep(0))], return_when=asyncio.FIRST_COMPLETED)
    return await task


async def _group() -> Lane:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(leaf())
    return task.result()


async def _later() -> Lane:
    task = asyncio.create_task(leaf())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return await task


@pytest.mark.parametrize(
    ("wait", "held"),
    [
        (lambda: asyncio.create_task(leaf()), True),
        (lambda: asyncio.shield(leaf()), True),
        (_gather, True),
        (_wait, True),
        (_group, True),
        (_first, False),
        (_later, False),
    ],
    ids=["task", "shield", "gather", "wait", "group", "first", "later"],
)
def test_a_task_is_over_for_its_spawner_if_that_waited_for_it_from_the_first(wait: Callable[[], Any], held: bool) -> None:
    async def main() -> tuple[Lane, Lane]:
        lanes.tick()
        return await wait(), lanes.tick()[0]

    lane, above = played(main)

    assert lane.parent is above
    assert (lane.joined is not None) == held


def test_a_task_that_waits_without_an_event_of_its_own_is_a_line_of_control_too() -> None:
    async def between() -> Lane:
        return await asyncio.create_task(leaf())

    async def main() -> tuple[Lane, Lane]:
        lanes.tick()
        return await asyncio.create_task(between(), name="between"), lanes.tick()[0]

    lane, above = played(main)

    assert lane.parent is not None
    assert lane.parent.task == "between"
    assert lane.parent.parent is above
    assert None not in (lane.joined, lane.parent.joined)


def test_of_those_that_a_failed_gather_waited_for_only_the_one_that_failed_is_over() -> None:
    slow: list[Lane] = []

    async def bad() -> None:
        slow.append(await leaf())
        raise ValueError

    async def good() -> None:
        slow.append(await leaf())
        await asyncio.sleep(0)

    async def main() -> None:
        lanes.tick()
        with pytest.raises(ValueError):
            await asyncio.gather(bad(), good())
        lanes.tick()

    played(main)

    assert [lane.joined is not None for lane in slow] == [True, False]


def test_a_thread_with_a_copied_context_is_of_known_origin_and_of_unknown_end() -> None:
    above, seen = lanes.tick()[0], []
    thread = threading.Thread(target=contextvars.copy_context().run, args=(lambda: seen.append(lanes.tick()[0]),))

    thread.start()
    thread.join()

    assert [(lane.parent, lane.joined) for lane in seen] == [(above, None)]


def test_the_main_thread_is_one_line_of_control_whatever_its_context() -> None:
    first = contextvars.Context().run(lanes.current)

    assert contextvars.Context().run(lanes.current) is first
