"""`orders`: planted races are found and shrunk, repaired twins pass, and a failing schedule fails the same in every replay."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest

from llmtest import ScriptedChatModel, record
from llmtest.campaigns import interleaving, orders
from llmtest.campaigns.interleaving import Orders, Ran, controlled, decode, encode, explain, explore
from llmtest.campaigns.schedules import Plan, deviations
from llmtest.concurrency import thread_schedule
from llmtest.errors import CampaignError, InterleavingError
from tests.support.racing_programs import RACING, Program, Racing, ask, in_threads, shared_list, thread_locks, tools_in_order


@pytest.mark.parametrize("racing", RACING, ids=lambda racing: racing.name)
def test_a_planted_race_is_found_and_shrunk_to_few_deviations(racing: Racing) -> None:
    found = orders(racing.weak, runs=200)

    assert found.failing is not None
    assert found.is_stable
    assert deviations(found.failing.schedule) <= 8  # how many are needed depends on the version of LangChain
    with pytest.raises(InterleavingError) as caught:
        found.check()
    assert racing.says in str(caught.value)
    assert caught.value.schedule == found.token


@pytest.mark.parametrize("racing", RACING, ids=lambda racing: racing.name)
def test_a_repaired_twin_passes(racing: Racing) -> None:
    found = orders(racing.sound, runs=60)

    assert found.failing is None
    found.check()
    assert found.exhausted is not None


@pytest.mark.parametrize(
    "program",
    [shared_list(sorts=False), tools_in_order(sorts=False), thread_locks(in_one_order=False)],
    ids=["tasks", "threads", "a deadlock"],
)
def test_300_replays_of_a_failing_schedule_are_equal(program: Program) -> None:
    failing = orders(program).failing
    assert failing is not None

    def replay() -> tuple[str, str, object]:
        with record() as recording:
            ran = controlled(program, Plan(failing.schedule), recording)
        return repr(ran.error), str(recording), ran.order

    first = replay()
    assert first[0].startswith(("AssertionError()", "InterleavingError('deadlock: "))
    assert {replay() for _ in range(299)} == {first}


def test_the_failure_says_where_the_order_differs() -> None:
    with pytest.raises(InterleavingError) as caught:
        orders(shared_list(sorts=False)).check()

    assert str(caught.value).splitlines()[-4:] == [
        "  2 schedules, 2 distinct orders, bound 0 exhausted",
        "  schedule dt1-cgAB: 1 deviation from the usual order",
        "  passing  start a",
        "  failing  start b",
    ]
    assert isinstance(caught.value.__cause__, AssertionError)


def test_a_small_program_is_exhausted() -> None:
    found = orders(shared_list(sorts=True), runs=500, bound=1)

    assert (found.exhausted, found.failing) == (1, None)
    assert str(found) == f"{found.schedules} schedules, {found.distinct} distinct orders, bound 1 exhausted"
    assert found.token == ""


def test_seeds_choose_the_random_schedules() -> None:
    runs: list[Plan] = []

    def run(plan: Plan) -> Ran:
        runs.append(plan)
        return Ran(((2, 0),) * 30, None, ())

    explore(run, runs=40, seed=1)
    first = runs.copy()
    runs.clear()
    explore(run, runs=40, seed=1)
    assert runs == first
    runs.clear()
    explore(run, runs=40, seed=2)
    assert runs != first


def test_a_late_timer_is_tried() -> None:
    async def hurries() -> None:
        seen: list[str] = []

        async def after(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append(name)

        await asyncio.gather(after("a", 0.01), after("b", 0.05))
        assert seen == ["a", "b"]

    assert orders(hurries).failing is not None


def test_virtual_time_does_not_wait() -> None:
    async def sleeps() -> None:
        await asyncio.sleep(3600)
        await ask("a")

    assert orders(sleeps, runs=5).failing is None


def test_jobs_of_executors_are_ordered_too() -> None:
    async def in_threads() -> None:
        seen: list[str] = []
        await asyncio.gather(asyncio.to_thread(seen.append, "a"), asyncio.to_thread(seen.append, "b"))
        assert seen == ["a", "b"]

    assert orders(in_threads).failing is not None


def test_an_unused_step_fails_a_run() -> None:
    async def leaves_a_step() -> None:
        await ScriptedChatModel("a", "b").ainvoke("hi")

    failing = orders(leaves_a_step, runs=3).failing

    assert failing is not None
    assert "was never used" in str(failing.error)


def test_something_else_that_decides_is_a_hole() -> None:
    luck = iter([None, AssertionError("bad"), *[None] * 99])

    found = explore(
        lambda plan: Ran(((2, plan.decisions[0] if plan.decisions else 0),), next(luck), ("start a",)), runs=9, seed=0
    )

    assert not found.is_stable
    assert explain(found).splitlines()[-1] == (
        "  hole: the same schedule did not fail again, so something that is not controlled decides, too"
    )


def test_an_endless_program_is_stopped(monkeypatch) -> None:
    monkeypatch.setattr(interleaving, "MAX_STEPS", 50)

    async def endless() -> None:
        while True:
            await asyncio.sleep(0)

    failing = orders(endless, runs=1).failing

    assert failing is not None
    assert str(failing.error).startswith("step-limit: ")


def test_a_schedule_is_a_word() -> None:
    assert decode(encode((0, 2, 1))) == (0, 2, 1)
    with pytest.raises(CampaignError) as caught:
        decode("nonsense")
    assert str(caught.value).startswith("--llmtest-schedule takes the word that a failure has printed; got 'nonsense': ")


def test_a_program_that_is_not_async_is_refused() -> None:
    with pytest.raises(CampaignError) as caught:
        orders(3)

    assert str(caught.value).startswith("orders() takes a function without arguments; got ")


def test_without_the_library_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "detangle", None)

    with pytest.raises(CampaignError) as caught:
        orders(shared_list(sorts=True))

    assert str(caught.value) == "orders need the library `detangle`: pip install 'llmtest-kit[orders]'"


def test_equal_orders_have_no_difference() -> None:
    ran = Ran(((2, 1),), AssertionError("bad"), ("start a",))

    assert explain(Orders(2, 1, 0, ran, ("start a",))).splitlines()[-1].startswith("  schedule dt1-")


def test_calls_of_one_name_are_told_apart_by_their_arguments() -> None:
    async def program() -> None:
        await asyncio.gather(ask("a"), ask("a"))

    with record() as recording:
        ran = controlled(program, Plan(()), recording)

    assert len(ran.order) == 4
    assert all(entry.startswith(("start a(", "end a(")) for entry in ran.order)


def test_an_interrupt_goes_out_of_a_schedule_of_threads() -> None:
    def stops() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        orders(stops)


def racing() -> Any:
    return shared_list(sorts=False)()


class Called:
    async def __call__(self) -> None:
        await racing()


@pytest.mark.parametrize("program", [lambda: racing(), Called()], ids=["lambda", "object"])
def test_what_returns_a_coroutine_is_async(program) -> None:
    found = orders(program, runs=50)

    assert found.failing is not None
    assert found.is_stable


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"runs": 0}, "runs= of orders() is a whole number of 1 or more; got 0"),
        ({"runs": float("nan")}, "runs= of orders() is a whole number of 1 or more; got nan"),
        ({"bound": -1}, "bound= of orders() is a whole number and not negative; got -1"),
        ({"seed": "x"}, "seed= of orders() is a whole number and not negative; got 'x'"),
    ],
)
def test_a_campaign_without_runs_is_refused(options, expected) -> None:
    with pytest.raises(CampaignError) as caught:
        orders(lambda: None, **options)

    assert str(caught.value) == expected


def test_an_event_loop_of_its_own_cannot_be_ordered() -> None:
    async def both() -> None:
        await asyncio.gather(asyncio.to_thread(time.sleep, 0.001), asyncio.sleep(0))

    found = orders(lambda: asyncio.run(both()))

    assert found.schedules == 1
    assert explain(found).splitlines()[0] == (
        "cannot be ordered: InterleavingError: loop: the program runs an event loop of its own, whose tasks nothing orders;"
        " it must be async itself"
    )


def test_a_hole_is_not_shrunk(monkeypatch) -> None:
    monkeypatch.setattr(thread_schedule, "HOLE_S", 0.1)
    lock, runs = threading.Lock(), []

    def program() -> None:
        runs.append(1)
        with lock:
            thread = threading.Thread(target=lambda: lock.acquire() and lock.release())
            thread.start()
            time.sleep(0.1)

    found = orders(program)

    assert found.failing is not None
    assert len(runs) == found.schedules
    assert explain(found).startswith("cannot be ordered: InterleavingError: hole: ")


def test_what_fails_without_a_deviation_fails_in_the_usual_order() -> None:
    found = orders(lambda: {}["x"])

    assert explain(found).splitlines()[0] == "fails in the usual order, too: KeyError: 'x'"


def test_a_late_timer_of_a_thread_is_tried() -> None:
    def hurries() -> None:
        seen: list[str] = []

        def after(name: str, seconds: float) -> Callable[[], None]:
            return lambda: (time.sleep(seconds), seen.append(name))[1]

        in_threads(after("a", 0.01), after("b", 0.05))
        assert seen == ["a", "b"]

    found = orders(hurries)

    assert found.failing is not None
    assert found.is_stable


def test_a_timer_is_never_early() -> None:
    def waits() -> None:
        seen: list[str] = []

        def after(name: str, seconds: float) -> Callable[[], None]:
            return lambda: (time.sleep(seconds), seen.append(name))[1]

        in_threads(after("a", 0.01), after("b", 0.5))
        assert seen == ["a", "b"]

    assert orders(waits).failing is None


def test_a_thread_of_llmtest_is_no_hole() -> None:
    async def program() -> None:
        thread = threading.Thread(target=int, name="llmtest traces")
        thread.start()
        thread.join()

    assert orders(program, runs=3).unordered == 0


@pytest.mark.parametrize("starts", ["a thread", "a pool"])
def test_threads_of_an_async_program_are_a_hole(starts: str) -> None:
    async def program() -> None:
        await ask("a")
        if starts == "a pool":
            with ThreadPoolExecutor(1) as pool:
                pool.submit(int)
        else:
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()

    found = orders(program, runs=3)

    assert str(found) == "3 schedules, 1 distinct order, bound 0 exhausted; hole: nothing orders 1 thread beside the event loop"


def test_calls_in_threads_without_the_context_change_places_and_are_a_hole() -> None:
    def program(*, is_safe: bool) -> None:
        counts = {"done": 0}
        lock = threading.Lock() if is_safe else nullcontext()

        def visit(name: str) -> None:
            with lock:
                before = counts["done"]
                ScriptedChatModel("Hello", name=name).invoke("hi")
                counts["done"] = before + 1

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(visit, "ab"))
        assert counts["done"] == 2

    weak, sound = orders(lambda: program(is_safe=False), runs=20), orders(lambda: program(is_safe=True), runs=20)

    assert weak.failing is not None
    assert sound.failing is None
    assert str(sound).endswith("; hole: 2 calls in threads without the context, which orders do not name")


def test_a_program_that_exits_fails() -> None:
    found = orders(sys.exit, runs=3)

    assert found.failing is not None
    assert isinstance(found.failing.error, SystemExit)


def test_a_generator_is_no_program() -> None:
    def program() -> Iterator[int]:
        yield 1

    with pytest.raises(CampaignError) as caught:
        orders(program)

    assert str(caught.value) == f"the program is a generator, so nothing of it runs when it is called: {program.__qualname__}"


def test_a_daemon_that_waits_for_more_to_do_is_no_failure() -> None:
    def program(*, daemon: bool) -> None:
        jobs = queue.Queue[int]()
        threading.Thread(target=jobs.get, daemon=daemon).start()
        ScriptedChatModel("Hello", name="a").invoke("hi")

    before = {*threading.enumerate()}

    assert orders(lambda: program(daemon=True), runs=3).failing is None
    left = orders(lambda: program(daemon=False), runs=3).failing
    assert left is not None
    assert str(left.error) == "left: a thread was still at work when the program had ended"
    for thread in {*threading.enumerate()} - before:
        thread.join(5)
        assert not thread.is_alive()


def test_a_schedule_is_the_same_word_in_every_python() -> None:
    # Known words, so that each version of Python that runs the tests must find the same.
    assert orders(shared_list(sorts=False)).token == "dt1-cgAB"
    assert [orders(program).token for program in (plain_tasks, plain_threads)] == TOKENS


async def plain_tasks() -> None:
    seen: list[int] = []

    async def visit(number: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(number)

    await asyncio.gather(visit(1), visit(2), visit(3))
    assert seen[:3] != [1, 3, 1]


def plain_threads() -> None:
    seen: list[int] = []

    def visit(number: int) -> Callable[[], None]:
        def steps() -> None:
            for _ in range(2):
                time.sleep(0)
                seen.append(number)

        return steps

    in_threads(visit(1), visit(2), visit(3))
    assert seen != [1, 3, 1, 2, 3, 2]


TOKENS = ["dt1-cgACAAI", "dt1-cgIAAg"]
