"""Threads one at a time: what they wait for, in which order they go on, and what cannot be controlled."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from random import Random

import pytest

from llmtest.concurrency import thread_schedule
from llmtest.concurrency.thread_schedule import ThreadSchedule, ThreadScheduleError


def usual(among: int) -> int:
    return 0


def other(among: int) -> int:
    return among - 1


def randomly(seed: int) -> Callable[[int], int]:
    return Random(seed).randrange


CHOICES = [usual, other, *(randomly(seed) for seed in range(8))]
ALL = pytest.mark.parametrize("choose", CHOICES, ids=[str(number) for number in range(len(CHOICES))])


def run(*targets: Callable[[], object]) -> None:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_the_order_is_chosen() -> None:
    def order(choose: Callable[[int], int]) -> list[str]:
        seen: list[str] = []
        with ThreadSchedule(choose) as schedule:

            def visit(name: str) -> None:
                schedule.point()
                seen.append(name)

            run(lambda: visit("a"), lambda: visit("b"))
        return seen

    assert order(usual) == ["a", "b"]
    assert order(other) == ["b", "a"]


@ALL
def test_what_threads_wait_for_comes(choose: Callable[[int], int]) -> None:
    with ThreadSchedule(choose) as schedule:
        ready, items, seen = threading.Event(), queue.Queue[int](), []

        def produce() -> None:
            for number in range(3):
                schedule.point()
                items.put(number)
            ready.set()

        def consume() -> None:
            assert ready.wait()
            seen.extend(items.get() for _ in range(3))

        run(produce, consume)

    assert seen == [0, 1, 2]


@ALL
@pytest.mark.parametrize("workers", [1, 2, 9])
def test_jobs_of_pools(choose: Callable[[int], int], workers: int) -> None:
    running, most = [0], [0]

    with ThreadSchedule(choose) as schedule:

        def job(number: int) -> int:
            running[0] += 1
            most[0] = max(most[0], running[0])
            schedule.point()
            running[0] -= 1
            if number == 3:
                raise KeyError(number)
            return number

        with ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(job, number) for number in range(4)]
            done, _ = wait(futures)
            assert [future.result() for future in futures[:3]] == [0, 1, 2]
            assert set(as_completed(futures)) == done
            with pytest.raises(KeyError):
                futures[3].result()
        with pytest.raises(RuntimeError):
            pool.submit(job, 1)

    assert most[0] <= workers


def test_a_pool_that_is_shut_down_at_once_forgets_its_jobs() -> None:
    ran: list[int] = []

    with ThreadSchedule(usual):
        pool = ThreadPoolExecutor(1)
        futures = [pool.submit(ran.append, number) for number in range(3)]
        pool.shutdown(cancel_futures=True)

    assert ran == [0]
    assert [future.cancelled() for future in futures] == [False, True, True]


@ALL
def test_locks_that_are_made_meanwhile(choose: Callable[[int], int]) -> None:
    counts = {"done": 0}

    with ThreadSchedule(choose) as schedule:
        lock = threading.Lock()

        def count() -> None:
            with lock:
                before = counts["done"]
                schedule.point()
                counts["done"] = before + 1

        run(count, count, count)
        assert not lock.locked()
        assert lock.acquire()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=5)

    assert counts["done"] == 3


def test_time_is_virtual() -> None:
    began, seen = time.perf_counter(), []

    with ThreadSchedule(usual):

        def after(seconds: float, name: str) -> None:
            time.sleep(seconds)
            seen.append(name)

        run(lambda: after(3600, "late"), lambda: after(60, "early"), lambda: after(0, "now"))
        assert not threading.Event().wait(3600)

    assert seen == ["now", "early", "late"]
    assert time.perf_counter() - began < 5


def test_a_join_may_take_too_long() -> None:
    with ThreadSchedule(usual):
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        thread.join(5)
        assert thread.is_alive()
        stop.set()
        thread.join()
        assert not thread.is_alive()


def test_a_deadlock_is_found_and_says_who_waits_for_what() -> None:
    with pytest.raises(ThreadScheduleError) as caught, ThreadSchedule(other) as schedule:
        left, right = threading.Lock(), threading.Lock()

        def both(first: threading.Lock, second: threading.Lock) -> None:
            with first:
                schedule.point()
                with second:
                    pass

        threads = [
            threading.Thread(target=both, args=locks, name=name) for name, locks in (("a", (left, right)), ("b", (right, left)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    text = str(caught.value)
    assert text.startswith("deadlock: every thread waits, and nothing is left that could wake one: ")
    assert "a waits for a lock" in text
    assert "b waits for a lock" in text
    assert "main waits for the end of " in text


def test_a_lock_from_before_is_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_schedule, "HOLE_S", 0.2)
    lock = threading.Lock()

    with pytest.raises(ThreadScheduleError) as caught, ThreadSchedule(other) as schedule:

        def hold() -> None:
            with lock:
                schedule.point()

        run(hold, hold)

    assert str(caught.value).startswith("hole: ")


def test_a_program_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_schedule, "MAX_SWITCHES", 50)

    with pytest.raises(ThreadScheduleError) as caught, ThreadSchedule(usual) as schedule:
        while True:
            schedule.point()

    assert str(caught.value) == "step-limit: more than 50 switches"


def test_threads_that_are_left_come_to_their_ends_or_are_told() -> None:
    seen: list[str] = []

    with ThreadSchedule(usual):
        threading.Thread(target=lambda: (time.sleep(5), seen.append("slept"))).start()
        threading.Thread(target=threading.Event().wait, name="for ever").start()

    assert seen == ["slept"]


def test_an_exception_of_the_program_goes_out() -> None:
    with pytest.raises(KeyError), ThreadSchedule(usual):
        raise KeyError("x")


def test_afterwards_everything_is_as_before_and_others_are_not_touched() -> None:
    def state() -> list[object]:
        thread, condition = threading.Thread, threading.Condition
        executor = ThreadPoolExecutor
        found = [thread.start, thread.join, condition.wait, condition.notify, condition.notify_all]
        return [*found, executor.submit, executor.shutdown, threading.Lock, time.sleep]

    before, begun, stop = state(), threading.Event(), threading.Event()
    told: Future[str] = Future()

    def outside() -> None:
        begun.set()
        stop.wait(5)
        with ThreadPoolExecutor(1) as pool:
            time.sleep(0.001)
            inner = threading.Thread(target=lambda: None)
            inner.start()
            inner.join()
            told.set_result(pool.submit(lambda: "outside").result())

    thread = threading.Thread(target=outside)
    thread.start()
    begun.wait(5)
    with ThreadSchedule(usual) as schedule:
        assert state() != before
        with suppress(RuntimeError):
            stop.set()
        schedule.point()
        thread.join()
    assert told.result() == "outside"
    assert state() == before


@pytest.mark.parametrize("choose", [usual, other, randomly(1), randomly(2)], ids=["usual", "other", "random", "random again"])
def test_a_lock_that_is_taken_twice_and_a_condition_are_handed_over(choose) -> None:
    done: list[str] = []
    with ThreadSchedule(choose) as schedule:
        lock, condition = threading.RLock(), threading.Condition()

        def work(name: str) -> None:
            with lock, lock:
                schedule.point()
                done.append(name)
            with condition:
                schedule.point()
                condition.notify_all()

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        with condition, lock:
            for thread in threads:
                thread.start()
            schedule.point()
        with condition:
            while len(done) < 2:
                condition.wait()
        for thread in threads:
            thread.join()
        with pytest.raises(RuntimeError):
            lock.release()

    assert sorted(done) == ["a", "b"]


def test_what_has_failed_is_raised_again_where_it_was_swallowed() -> None:
    with ThreadSchedule(usual) as schedule:
        with suppress(ThreadScheduleError):
            threading.Event().wait()
        with pytest.raises(ThreadScheduleError, match="deadlock"):
            schedule.point()

    assert str(schedule.failure).startswith("deadlock: ")


def test_a_thread_that_never_had_its_turn_ends_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_schedule, "MAX_SWITCHES", 3)
    ran: list[str] = []

    with pytest.raises(ThreadScheduleError), ThreadSchedule(usual) as schedule:
        thread = threading.Thread(target=lambda: ran.append("ran"))
        thread.start()
        for _ in range(9):
            schedule.point()

    thread.join()
    assert ran == []


def test_a_thread_without_end_is_told_when_the_program_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_schedule, "MAX_ROUNDS_AT_THE_END", 3)

    def work() -> None:
        while True:
            time.sleep(1)

    with ThreadSchedule(usual) as schedule:
        threading.Thread(target=work).start()

    assert str(schedule.failure).startswith("left: ")


def test_a_condition_of_a_member_wakes_threads_from_before() -> None:
    given: list[threading.Condition] = []
    woken: list[bool] = []
    has_given, waits = threading.Event(), threading.Event()

    def wait_for_it() -> None:
        has_given.wait()
        with given[0]:
            waits.set()
            woken.append(given[0].wait(5))

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    with ThreadSchedule(usual):
        condition = threading.Condition()
        given.append(condition)
        has_given.set()
        while not condition._waiters:  # type: ignore[attr-defined]
            pass
        with condition:
            condition.notify_all()

    thread.join()
    assert woken == [True]


def test_a_timer_may_fire_late_and_never_early() -> None:
    def ended(choose: Callable[[int], int], late_s: float) -> str:
        seen: list[str] = []

        def after(name: str, seconds: float) -> Callable[[], None]:
            return lambda: (time.sleep(seconds), seen.append(name))[1]

        with ThreadSchedule(choose, late_s):
            run(after("a", 0.01), after("b", 0.1))
        return "".join(seen)

    assert ended(usual, 0.1) == "ab"
    assert {ended(choose, 0.1) for choose in CHOICES} == {"ab", "ba"}
    assert {ended(choose, 0.05) for choose in CHOICES} == {"ab"}


def test_names_of_threads_and_pools_do_not_depend_on_what_ran_before() -> None:
    def names() -> list[str]:
        with ThreadSchedule(usual) as schedule:
            return [
                schedule._name_of(name) for name in ("Thread-7 (work)", "Thread-9", "ThreadPoolExecutor-3-0", "mine", "my-pool-0")
            ]

    assert names() == names() == ["Thread 1 (work)", "Thread 2", "ThreadPoolExecutor 3", "mine", "my-pool 4"]
