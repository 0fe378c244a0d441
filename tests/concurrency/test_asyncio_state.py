"""Which task waits for which future, in each of asyncio's ways to wait, and which work a pool's thread does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from queue import Queue
from typing import Any

import anyio.from_thread
import pytest

from llmtest.concurrency import asyncio_state
from llmtest.concurrency.asyncio_state import Hold, holder


async def asleep() -> None:
    await asyncio.Event().wait()


async def found_while(waits: Callable[[asyncio.Task[Any]], Coroutine[Any, Any, Any]]) -> tuple[Hold | None, asyncio.Task[Any]]:
    """Who is held by a task, while `waits(task)` waits for it in a task of its own."""
    task = asyncio.create_task(asleep())
    waiting = asyncio.create_task(waits(task), name="waiting")
    for _ in range(5):
        await asyncio.sleep(0)
    found = holder(task)
    for one in (waiting, task):
        one.cancel()
    await asyncio.gather(waiting, task, return_exceptions=True)
    return found, waiting


async def awaits(task: asyncio.Task[Any]) -> None:
    await task


async def gathers(task: asyncio.Task[Any]) -> None:
    await asyncio.gather(task, asleep())


async def gathers_all(task: asyncio.Task[Any]) -> None:
    await asyncio.gather(task, asleep(), return_exceptions=True)


async def shields(task: asyncio.Task[Any]) -> None:
    await asyncio.shield(task)


async def waits_for_all(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task])


async def waits_for_the_first(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task], return_when=asyncio.FIRST_COMPLETED)


async def waits_with_a_timeout(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task], timeout=60)


async def waits_for(task: asyncio.Task[Any]) -> None:
    await asyncio.wait_for(task, 60)


async def only_listens(task: asyncio.Task[Any]) -> None:
    task.add_done_callback(lambda _: None)
    await asleep()


async def listens_by_a_method_of_a_task(task: asyncio.Task[Any]) -> None:
    current: Any = asyncio.current_task()
    task.add_done_callback(current.remove_done_callback)
    await asleep()


@pytest.mark.parametrize(
    ("waits", "fragile"),
    [(awaits, 0), (gathers, 1), (gathers_all, 0), (shields, 1), (waits_for_all, 0), (waits_for, 0)],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_a_task_that_cannot_go_on_before_another_is_held(waits: Any, fragile: int) -> None:
    found, waiting = asyncio.run(found_while(waits))

    assert found is not None
    assert found.task is waiting
    assert len(found.fragile) == fragile


@pytest.mark.parametrize(
    "waits",
    [waits_for_the_first, waits_with_a_timeout, only_listens, listens_by_a_method_of_a_task],
    ids=lambda one: one.__name__,
)
def test_a_task_that_may_go_on_before_another_is_not_held(waits: Any) -> None:
    assert asyncio.run(found_while(waits))[0] is None


def test_a_task_group_holds_its_task_when_its_body_is_over() -> None:
    async def main() -> tuple[Any, ...]:
        over, seen = asyncio.Event(), []

        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(over.wait())
                seen.append((asyncio_state.group_of(task) is group, holder(task), asyncio_state.is_left(group)))
            seen.append(asyncio_state.is_left(group))

        waiting = asyncio.create_task(grouped())
        await asyncio.sleep(0)
        (task,) = asyncio.all_tasks() - {waiting, asyncio.current_task()}
        held = holder(task)
        over.set()
        await waiting
        return held is not None and held.task is waiting, asyncio_state.group_of(waiting), *seen

    assert asyncio.run(main()) == (True, None, (True, None, False), True)


def test_how_a_future_ended_is_read_without_handling_its_failure() -> None:
    async def fails() -> None:
        raise KeyError("mine")

    async def main() -> list[bool]:
        good, bad, cancelled = (asyncio.create_task(one()) for one in (main_sleep, fails, asleep))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([good, bad, cancelled])
        told = [asyncio_state.went_well(one) for one in (good, bad, cancelled, asyncio.get_running_loop().create_future())]
        told += [asyncio_state.failed_by(bad, bad), asyncio_state.failed_by(bad, good), asyncio_state.failed_by(good, bad)]
        told.append(asyncio_state.failed_by(bad, None))
        bad.exception()
        return told

    async def main_sleep() -> None:
        await asyncio.sleep(0)

    assert asyncio.run(main()) == [True, False, False, False, True, False, False, False]


def test_the_main_task_of_a_loop_is_known_and_no_other_is() -> None:
    async def inner() -> bool:
        return asyncio_state.is_main(asyncio.current_task())  # type: ignore[arg-type]

    async def main() -> tuple[bool, bool]:
        return await inner(), await asyncio.create_task(inner())

    assert asyncio.run(main()) == (True, False)


def test_a_loop_is_hidden_for_the_length_of_a_block_also_one_that_fails() -> None:
    async def main() -> list[bool]:
        seen = []
        with pytest.raises(KeyError), asyncio_state.without_loop():
            seen.append(asyncio._get_running_loop() is None)
            raise KeyError
        return [*seen, asyncio._get_running_loop() is asyncio.get_running_loop()]

    assert asyncio.run(main()) == [True, True]


def test_a_courier_is_known_by_the_file_of_its_coroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[bool]:
        task = asyncio.create_task(asleep())
        before = asyncio_state.is_courier(task)
        monkeypatch.setattr(asyncio_state, "couriers", {__file__})
        after = asyncio_state.is_courier(task)
        task.cancel()
        return [before, after]

    assert asyncio.run(main()) == [False, True]


def test_the_queue_that_a_task_fills_is_found_among_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fills(queue: Any) -> None:
        await asleep()

    async def main() -> list[bool]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        tasks = [asyncio.create_task(fills(one)) for one in (queue, "no queue")]
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        unknown = asyncio_state.queue_of(tasks[0])
        monkeypatch.setitem(asyncio_state.streams, fills.__qualname__, lambda variables: variables["queue"])
        found, none = (asyncio_state.queue_of(task) for task in tasks)
        reader = asyncio_state.reader(queue)
        for one in (*tasks, waiting):
            one.cancel()
        await asyncio.wait([*tasks, waiting])
        over = asyncio_state.queue_of(tasks[0])
        return [unknown is None, found is queue, none is None, reader is not None and reader.task is waiting, over is None]

    assert asyncio.run(main()) == [True] * 5


# -- threads


def test_a_pool_s_thread_knows_its_work_and_another_has_none() -> None:
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(asyncio_state.work).result()
        assert found is not None
        assert (found.pool is pool, found.future.done(), asyncio_state.is_shut(pool)) == (True, True, False)
        assert asyncio_state.spawner(found) is None  # no loop handed it over

    assert asyncio_state.work() is None
    assert asyncio_state.is_shut(pool)


def test_a_task_that_waits_for_a_thread_is_its_spawner() -> None:
    def work() -> Any:
        found = asyncio_state.work()
        assert found is not None
        return asyncio_state.spawner(found)

    async def main() -> bool:
        return await asyncio.to_thread(work) is asyncio.current_task()

    assert asyncio.run(main())


def goes_on_late(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the search for a spawner has given way to it 1100 times."""
    gone_on = threading.Event()
    turns = count()

    def sleep(seconds: float) -> None:
        if next(turns) == 1100:
            gone_on.set()
        time.sleep(seconds)

    monkeypatch.setattr(asyncio_state, "sleep", sleep)
    return gone_on


class BusyPool(ThreadPoolExecutor):
    """A pool on a busy machine: the thread that hands over work has to wait for a processor, while the work looks for it."""

    def __init__(self, gone_on: threading.Event) -> None:
        super().__init__(1, "asyncio")
        self._gone_on = gone_on

    def submit(self, *args: Any, **options: Any) -> Any:
        future = super().submit(*args, **options)
        self._gone_on.wait(10)
        return future


def test_a_spawner_is_found_when_it_gets_no_processor_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_on = goes_on_late(monkeypatch)

    def work() -> Any:
        found = asyncio_state.work()
        assert found is not None
        return asyncio_state.spawner(found)

    async def main() -> bool:
        asyncio.get_running_loop().set_default_executor(BusyPool(gone_on))
        return await asyncio.to_thread(work) is asyncio.current_task()

    assert asyncio.run(main())


def test_a_task_that_waits_in_anyio_for_a_thread_is_its_caller() -> None:
    async def main() -> bool:
        found: Any = await anyio.to_thread.run_sync(asyncio_state.caller)
        return found[0] is asyncio.current_task()

    assert asyncio.run(main())
    assert asyncio_state.caller() is None


def test_a_task_that_was_cancelled_in_anyio_waits_for_no_thread() -> None:
    cancelled, found = threading.Event(), Queue[Any]()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def work() -> None:
            loop.call_soon_threadsafe(scope.cancel)
            cancelled.wait(10)
            found.put(asyncio_state.caller())

        with anyio.CancelScope() as scope:
            await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        cancelled.set()

    asyncio.run(main())

    assert found.get(timeout=10) is None


def test_a_call_of_a_thread_into_a_loop_is_known_while_the_thread_waits() -> None:
    async def work(thread_id: int) -> Any:
        task: Any = asyncio.current_task()
        found = asyncio_state.call_from(task, thread_id)
        other = asyncio.create_task(asleep())
        await asyncio.sleep(0)
        none = asyncio_state.call_from(other, thread_id)
        other.cancel()
        return found is not None and found[1], none

    with anyio.from_thread.start_blocking_portal() as portal:
        assert portal.call(work, threading.get_ident()) == (True, None)


def test_a_call_of_a_thread_is_found_when_the_thread_gets_no_processor_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    gone_on = goes_on_late(monkeypatch)

    async def work(thread_id: int) -> bool:
        task: Any = asyncio.current_task()
        found = asyncio_state.call_from(task, thread_id)
        return found is not None and found[1]

    with anyio.from_thread.start_blocking_portal() as portal:
        start = portal.start_task_soon

        def start_and_wait(*args: Any, **options: Any) -> Any:
            future = start(*args, **options)
            gone_on.wait(10)
            return future

        portal.start_task_soon = start_and_wait  # type: ignore[method-assign]
        assert portal.call(work, threading.get_ident())
