"""What a line of control knows of the one that it was spawned from, and what asyncio knows of who waits for whom."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import sys
import threading
import types
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio.to_thread
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from llmtest.concurrency import asyncio_state, lanes
from llmtest.concurrency.lanes import Lane
from llmtest.order.siblings import leads


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


def test_a_task_of_a_gather_that_was_spawned_before_other_work_is_beside_that() -> None:
    async def late() -> Lane:
        await asyncio.sleep(0)
        return await leaf()

    async def main() -> tuple[Lane, Lane]:
        first = asyncio.create_task(late())
        lanes.tick()
        second = asyncio.create_task(leaf())
        await asyncio.gather(first, second)
        return first.result(), second.result()

    first, second = played(main)

    assert first.parent is second.parent
    assert (first.joined, second.joined is None) == (None, False)


def test_a_callback_that_reads_the_result_of_a_thread_has_not_waited_for_the_task() -> None:
    """It runs in the context of the task, and beside it."""

    found: list[Lane] = []

    async def main() -> Lane:
        lanes.tick()
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(context.run, lambda: found.append(lanes.tick()[0]))
            while not done.done():
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(lambda: done.result())
            await asyncio.sleep(0)
        return found[0]

    lanes.watch_waits()
    assert played(main).joined is None


def test_a_thread_with_a_copied_context_is_of_known_origin_and_of_unknown_end() -> None:
    above, seen, done = lanes.tick()[0], [], threading.Event()

    def work() -> None:
        seen.append(lanes.tick()[0])
        done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))

    thread.start()
    done.wait()

    assert [(lane.parent, lane.joined) for lane in seen] == [(above, None)]  # a `join` would tell its end
    thread.join()


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


# -- threads that call into a loop


def _in_the_loop(portal: BlockingPortal) -> Lane:
    return portal.call(leaf)


def _on_a_thread_of_the_server(portal: BlockingPortal) -> Lane:
    async def endpoint() -> Lane:
        return (await anyio.to_thread.run_sync(lanes.tick))[0]

    return portal.call(endpoint)


class _TestClientTransport:
    """Calls as starlette's test client does."""

    def handle_request(self, portal: BlockingPortal) -> Lane:
        async def run_app() -> Lane:
            return await leaf()

        app_task = portal.start_task_soon(run_app)
        portal.call(asyncio.sleep, 0)
        return app_task.result()


def _through_a_test_client(portal: BlockingPortal) -> Lane:
    return _TestClientTransport().handle_request(portal)


@pytest.mark.parametrize("request_once", [_in_the_loop, _on_a_thread_of_the_server, _through_a_test_client])
@pytest.mark.parametrize("with_own_events", [True, False])
def test_one_request_after_the_other_is_in_order(
    request_once: Callable[[BlockingPortal], Lane], with_own_events: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "starlette.testclient", types.SimpleNamespace(_TestClientTransport=_TestClientTransport))
    here = lanes.tick()[0]
    requests = []
    for _ in range(3):
        with start_blocking_portal() as portal:
            requests.append(request_once(portal))
            if with_own_events:
                lanes.tick()
    lanes.tick()

    for before, after in itertools.pairwise(requests):
        assert leads((before, before.now), (after, 1), here)
        assert not leads((after, after.now), (before, 1), here)
    assert leads((requests[-1], requests[-1].now), lanes.tick(), here)


def test_a_call_for_which_no_thread_waits_is_of_unknown_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio_state, "_MAX_LOOKS", 2)
    lanes.tick()
    with start_blocking_portal() as portal:
        lane = portal.start_task_soon(leaf).result()
    lanes.tick()

    assert lane.joined is None


def test_a_request_that_is_cancelled_may_go_on() -> None:
    assert lanes._is_done(None)
    future: Future[None] = Future()
    assert not lanes._is_done(future)
    future.cancel()
    assert not lanes._is_done(future)


# -- numbers


def test_a_spawner_has_a_lower_number_than_what_it_spawned() -> None:
    async def middle() -> Lane:  # a task without an event of its own
        return await asyncio.create_task(leaf())

    async def main() -> Lane:
        lanes.tick()
        return await asyncio.create_task(middle())

    lane: Lane | None = played(main)
    while lane is not None and lane.parent is not None:
        assert lane.parent.number < lane.number
        lane = lane.parent
