"""What a line of control knows of the one that it was spawned from, and what asyncio knows of who waits for whom."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
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


# -- nothing of the program lives longer because it was recorded


class Frame:
    """Something that lives in a frame of the program."""


def _on_threads(alive: list[weakref.ref[Frame]]) -> Coroutine[Any, Any, None]:
    def work() -> None:
        frame = Frame()
        alive.append(weakref.ref(frame))
        lanes.tick()
        raise ValueError

    async def main() -> None:
        await asyncio.gather(asyncio.to_thread(work), asyncio.to_thread(lanes.tick))

    return main()


def _in_tasks(alive: list[weakref.ref[Frame]]) -> Coroutine[Any, Any, None]:
    async def work() -> None:
        frame = Frame()
        alive.append(weakref.ref(frame))
        await leaf()
        raise ValueError

    async def main() -> None:
        await asyncio.gather(work(), leaf())

    return main()


@pytest.mark.parametrize("program", [_on_threads, _in_tasks])
def test_a_failure_is_let_go_by_the_next_event(program: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    alive: list[weakref.ref[Frame]] = []
    kept: list[Any] = []

    async def main() -> None:
        kept.append(lanes.tick())  # as a recording keeps it
        with pytest.raises(ValueError):
            await program(alive)
        await asyncio.get_running_loop().shutdown_default_executor()  # its threads hold their work a little longer
        for _ in range(3):  # the task that the failed gather left running holds it too
            await asyncio.sleep(0)
        kept.append(lanes.tick())
        gc.collect()
        kept.append([ref() for ref in alive])

    asyncio.run(main())

    assert kept[-1] == [None]


def test_a_future_of_a_loop_that_is_closed_is_let_go() -> None:
    alive: list[weakref.ref[Any]] = []

    async def main() -> None:
        lanes.tick()
        both = asyncio.gather(leaf(), asyncio.Event().wait())
        alive.append(weakref.ref(both))
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(both), 0.001)
        del both

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    lanes.release_futures()
    gc.collect()

    assert alive[0]() is None
