"""Programs that would wait for ever are stopped, whatever waits; what something will still wake is waited for."""

from __future__ import annotations

import _thread
import asyncio
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from llmtest.concurrency.stuck import TASKS, THREADS, StuckWatch


class Stopped(BaseException):
    """What stops a program here."""


def waits_for_an_event() -> None:
    threading.Event().wait()


def takes_a_lock_twice() -> None:
    lock = threading.Lock()
    lock.acquire()
    with lock:
        pass


def takes_a_job_that_never_comes() -> None:
    queue.Queue[str]().get()


def joins_a_thread_that_waits() -> None:
    thread = threading.Thread(target=waits_for_an_event)
    thread.start()
    thread.join()


def waits_for_two_jobs() -> None:
    done = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(done.wait), pool.submit(time.sleep, 0.05)]
        for job in jobs:
            job.result()


def waits_in_a_full_pool() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: pool.submit(int).result()).result()


def takes_two_locks_crosswise() -> None:
    left, right, both = threading.Lock(), threading.Lock(), threading.Barrier(2)

    def take(first: Any, second: Any) -> None:
        with first:
            both.wait()
            with second:
                pass

    threads = [threading.Thread(target=take, args=locks) for locks in ((left, right), (right, left))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def one_joins_another() -> None:
    first = threading.Thread(target=waits_for_an_event)
    second = threading.Thread(target=lambda: first.join())
    first.start()
    second.start()
    second.join()


def runs_a_loop() -> None:
    asyncio.run(asyncio.wait_for(asyncio.Event().wait(), None))


async def _in_a_thread() -> None:
    await asyncio.to_thread(waits_for_an_event)


def runs_a_loop_and_a_thread() -> None:
    asyncio.run(_in_a_thread())


STUCK = [
    (waits_for_an_event, THREADS),
    (takes_a_lock_twice, THREADS),
    (takes_a_job_that_never_comes, THREADS),
    (joins_a_thread_that_waits, THREADS),
    (waits_for_two_jobs, THREADS),
    (waits_in_a_full_pool, THREADS),
    (takes_two_locks_crosswise, THREADS),
    (one_joins_another, THREADS),
    (runs_a_loop, TASKS),
    (runs_a_loop_and_a_thread, TASKS),
]


@pytest.mark.parametrize(("program", "text"), STUCK)
def test_what_would_wait_for_ever_is_stopped_and_its_threads_end(program: Callable[[], None], text: str) -> None:
    before = threading.enumerate()

    with pytest.raises(Stopped) as caught, StuckWatch(Stopped) as watch:
        program()

    assert str(caught.value) == watch.found == text
    assert threading.enumerate() == before


def is_woken_by_a_timer() -> None:
    done = threading.Event()
    threading.Timer(0.1, done.set).start()
    done.wait()


def is_woken_by_a_thread_that_works() -> None:
    done = threading.Event()

    def work() -> None:
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            pass
        done.set()

    threading.Thread(target=work).start()
    done.wait()


def is_woken_by_threads_in_turn() -> None:
    left, right = queue.Queue[int](), queue.Queue[int]()

    def play() -> None:
        for _ in range(50):
            right.put(left.get() + 1)

    thread = threading.Thread(target=play)
    thread.start()
    number = 0
    for _ in range(50):
        left.put(number)
        number = right.get()
    thread.join()
    assert number == 50


def waits_for_a_lock() -> None:
    lock = threading.Lock()
    assert lock.acquire()
    assert lock.locked()
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=0.01)
    threading.Timer(0.1, lock.release).start()
    with lock:
        pass


def waits_for_some_time() -> None:
    assert not threading.Event().wait(0.05)
    thread = threading.Thread(target=time.sleep, args=(0.1,))
    thread.start()
    thread.join(0.01)
    assert thread.is_alive()
    thread.join()


async def _woken_from_outside() -> None:
    woken, loop = asyncio.Event(), asyncio.get_running_loop()
    threading.Timer(0.1, lambda: loop.call_soon_threadsafe(woken.set)).start()
    await woken.wait()
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.05)


def runs_a_loop_that_is_woken() -> None:
    asyncio.run(_woken_from_outside())


async def _reads() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()


def runs_a_loop_with_sockets() -> None:
    asyncio.run(_reads())


def runs_a_loop_in_another_thread() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def is_woken_by_a_thread_of_threads_below() -> None:
    done = threading.Event()

    def work() -> None:
        time.sleep(0.2)
        done.set()

    _thread.start_new_thread(work, ())
    done.wait()


def is_woken_by_a_thread_that_joins_for_some_time() -> None:
    done = threading.Event()
    first = threading.Thread(target=done.wait)

    def work() -> None:
        first.join(0.2)
        done.set()

    second = threading.Thread(target=work)
    first.start()
    second.start()
    first.join()
    second.join()


async def _woken_by_a_signal() -> None:
    woken, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, woken.set)
    # From another process, as any signal: a thread of this one would be seen.
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -USR1 {os.getpid()}"])
    await woken.wait()
    killer.wait()


def runs_a_loop_that_a_signal_wakes() -> None:
    asyncio.run(_woken_by_a_signal())


@pytest.mark.parametrize(
    "program",
    [
        is_woken_by_a_thread_of_threads_below,
        is_woken_by_a_thread_that_joins_for_some_time,
        pytest.param(runs_a_loop_that_a_signal_wakes, marks=pytest.mark.skipif(os.name == "nt", reason="no such signals")),
        is_woken_by_a_timer,
        is_woken_by_a_thread_that_works,
        is_woken_by_threads_in_turn,
        waits_for_a_lock,
        waits_for_some_time,
        runs_a_loop_that_is_woken,
        runs_a_loop_with_sockets,
        runs_a_loop_in_another_thread,
    ],
)
def test_what_something_wakes_is_waited_for(program: Callable[[], None]) -> None:
    with StuckWatch(Stopped) as watch:
        program()

    assert watch.found == ""


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in a thread that is there before."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    time.sleep(0.05)
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_loop_from_before_with_tasks_may_wake_the_program(loop) -> None:
    with StuckWatch(Stopped) as watch:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.2), loop).result()

    assert watch.found == ""


def test_a_thread_from_before_that_does_not_move_wakes_nothing(loop) -> None:
    with pytest.raises(Stopped), StuckWatch(Stopped):
        threading.Event().wait()


@pytest.fixture
def poller() -> Iterator[list[Callable[[], None]]]:
    """Jobs for a thread that is there before, and looks for them from time to time."""
    jobs: list[Callable[[], None]] = []

    def poll() -> None:
        while True:
            time.sleep(0.2)
            while jobs:
                if (job := jobs.pop()) is is_over:
                    return
                job()

    def is_over() -> None:
        """Ends the thread."""

    thread = threading.Thread(target=poll)
    thread.start()
    time.sleep(0.05)
    yield jobs
    jobs.append(is_over)
    thread.join()


def test_a_thread_from_before_that_polls_may_wake_the_program(poller) -> None:
    done = threading.Event()

    with StuckWatch(Stopped) as watch:
        poller.append(done.set)
        done.wait()

    assert watch.found == ""


def test_a_thread_from_before_that_waits_for_some_time_may_wake_the_program() -> None:
    done, never = threading.Event(), threading.Event()

    def work() -> None:
        never.wait(0.3)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.05)
    with StuckWatch(Stopped) as watch:
        done.wait()
    thread.join()

    assert watch.found == ""


def test_a_thread_from_before_that_waits_for_ever_wakes_nothing() -> None:
    never, over = threading.Event(), threading.Event()
    first = threading.Thread(target=over.wait)
    second = threading.Thread(target=first.join)
    first.start()
    second.start()
    time.sleep(0.05)
    with pytest.raises(Stopped), StuckWatch(Stopped):
        never.wait()
    over.set()
    second.join()


def test_a_thread_from_before_that_waits_since_an_earlier_block_wakes_nothing() -> None:
    jobs = queue.Queue[Callable[[], None] | None]()

    def work() -> None:
        while (job := jobs.get()) is not None:
            job()

    thread = threading.Thread(target=work)
    thread.start()
    with StuckWatch(Stopped):
        done = threading.Event()
        jobs.put(done.set)
        done.wait()
        time.sleep(0.1)
    with pytest.raises(Stopped), StuckWatch(Stopped):
        threading.Event().wait()
    jobs.put(None)
    thread.join()


def test_a_thread_from_before_that_a_full_machine_has_not_let_wake_up_yet_may_wake_the_program(monkeypatch) -> None:
    never, woken = threading.Event(), threading.Condition()

    def wait() -> None:
        with woken:
            woken.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    (waiter,) = woken._waiters  # type: ignore[attr-defined]
    woken._waiters.clear()  # type: ignore[attr-defined]  # as `notify`, before the thread itself goes on
    threading.Timer(0.2, waiter.release).start()
    threading.Timer(0.3, never.set).start()
    with StuckWatch(Stopped) as watch:
        watch.look("")
        watch.look("")

    assert watch.found == ""
    thread.join()
    assert never.wait(1)


def test_without_a_fault_a_thread_from_before_may_wake_the_program(loop) -> None:
    done = threading.Event()
    threading.Timer(0.2, done.set).start()

    def waits() -> None:
        with StuckWatch(Stopped, trusts_others=True) as watch:
            done.wait()
        assert watch.is_woken
        assert watch.found == ""

    time.sleep(0.05)
    waits()


def test_a_pool_from_before_that_works_may_wake_the_program() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with StuckWatch(Stopped) as watch:
            pool.submit(time.sleep, 0.2).result()

    assert watch.found == ""


def test_other_errors_of_threads_are_told(recwarn, monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(str(args.exc_value)))

    with StuckWatch(Stopped):
        thread = threading.Thread(target=lambda: {}["x"])
        thread.start()
        thread.join()

    assert told == ["'x'"]


def test_afterwards_everything_is_as_before_and_a_lock_goes_on() -> None:
    before = threading.Condition.wait, threading.Thread.join, threading.Lock, asyncio.BaseEventLoop.run_forever

    with StuckWatch(Stopped):
        lock = threading.Lock()

    assert (threading.Condition.wait, threading.Thread.join, threading.Lock, asyncio.BaseEventLoop.run_forever) == before
    lock.acquire()
    threading.Timer(0.1, lock.release).start()
    assert lock.acquire()


def test_a_condition_that_is_not_held_cannot_be_waited_for() -> None:
    with StuckWatch(Stopped), pytest.raises(RuntimeError):
        threading.Condition().wait()
