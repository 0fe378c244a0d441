"""Running repeats: several at once, pauses after refusals, and what a set may cost. Nothing sleeps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from llmtest.errors import EvaluationError, StatusError
from llmtest.evals.results import RepeatResult
from llmtest.evals.running import (
    MAX_PAUSE_S,
    MAX_TRIES,
    Pauses,
    Repeats,
    Spending,
    cost_of_calls,
    run_repeats,
    run_repeats_async,
)
from llmtest.evals.verdicts import Requirement, Tally
from llmtest.events.words import Usage
from llmtest.tokens.calls import ModelCall


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


@dataclass
class Try:
    error: BaseException | None = None


def accept(number: int, tries: list[Try]) -> tuple[RepeatResult, str]:
    return RepeatResult("a", "h", number, tries[-1].error is None, cost=0.5), ""


def repeats_of(number: int, *, limit: float | None = None, done: tuple[int, ...] = (), at_least: float = 0.5) -> Repeats:
    return Repeats(Tally(Requirement(at_least), number), Spending(limit), done)


class Way:
    """One way to run repeats: here, on threads, in tasks."""

    def __init__(self, name: str, concurrency: int) -> None:
        self.is_async, self.concurrency = name == "async", concurrency

    def run(self, repeats: Repeats, call: Callable[[int], Try], pauses: Pauses | None = None) -> None:
        pauses = pauses or Pauses(Clock())
        if not self.is_async:
            run_repeats(repeats, call, accept, pauses, concurrency=self.concurrency)
            return

        async def call_async(number: int) -> Try:
            await asyncio.sleep(0)
            return call(number)

        asyncio.run(run_repeats_async(repeats, call_async, accept, pauses, concurrency=self.concurrency))


@pytest.fixture(params=[("sync", 1), ("sync", 4), ("async", 1), ("async", 4)], ids=lambda param: f"{param[0]}-{param[1]}")
def way(request: pytest.FixtureRequest) -> Way:
    return Way(*request.param)


# -- repeats


def test_each_repeat_runs_once(way: Way) -> None:
    ran: list[int] = []
    repeats = repeats_of(20, done=(0, 7))

    way.run(repeats, lambda number: ran.append(number) or Try())  # type: ignore[func-returns-value]

    assert sorted(ran) == [number for number in range(20) if number not in (0, 7)]
    assert repeats.tally.total == 18


def test_a_case_that_is_certain_to_fail_stops(way: Way) -> None:
    ran: list[int] = []
    repeats = repeats_of(100, at_least=0.9)

    def call(number: int) -> Try:
        ran.append(number)
        return Try(ValueError())

    way.run(repeats, call)

    assert repeats.tally.verdict.outcome == "fail"
    assert 17 <= len(ran) < 17 + way.concurrency  # those that had begun by then end


def test_as_many_run_at_once_as_are_allowed(way: Way) -> None:
    running = most = 0
    barrier = threading.Barrier(way.concurrency)
    lock = threading.Lock()

    def call(number: int) -> Try:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if not way.is_async:
            barrier.wait(5)
        with lock:
            running -= 1
        return Try()

    way.run(repeats_of(way.concurrency * 3), call)

    assert most == (1 if way.is_async else way.concurrency)


def test_tasks_run_side_by_side() -> None:
    async def run() -> int:
        running = most = 0

        async def call(number: int) -> Try:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            return Try()

        await run_repeats_async(repeats_of(30), call, accept, Pauses(Clock()), concurrency=5)
        return most

    assert asyncio.run(run()) == 5


def test_a_loop_of_trio_runs_them_one_by_one() -> None:
    trio = pytest.importorskip("trio")
    ran: list[int] = []

    async def call(number: int) -> Try:
        await trio.sleep(0)
        ran.append(number)
        return Try()

    async def run() -> None:
        await run_repeats_async(repeats_of(3), call, accept, Pauses(Clock()), concurrency=3)

    trio.run(run)

    assert ran == [0, 1, 2]


VARIABLE: ContextVar[str] = ContextVar("variable", default="")


def test_a_repeat_has_a_copy_of_the_context(way: Way) -> None:
    VARIABLE.set("outside")
    seen: list[str] = []

    def call(number: int) -> Try:
        seen.append(VARIABLE.get())
        VARIABLE.set(f"of {number}")
        return Try()

    way.run(repeats_of(6), call)

    assert seen == ["outside"] * 6
    assert VARIABLE.get() == "outside"


def test_what_a_call_raises_ends_all_of_them(way: Way) -> None:
    ran: list[int] = []

    def call(number: int) -> Try:
        ran.append(number)
        if number == 3:
            raise KeyError("stop")
        return Try()

    with pytest.raises(KeyError, match="stop"):
        way.run(repeats_of(100), call)

    assert len(ran) < 4 + way.concurrency * 2


def test_an_interrupt_leaves_the_threads_alone() -> None:
    """Ctrl-C comes to the main thread, which waits for the others."""
    began, end = threading.Event(), threading.Event()

    def call(number: int) -> Try:
        began.set()
        end.wait(10)
        return Try()

    repeats = repeats_of(4)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        join = threading.Thread.join

        def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
            if self.daemon and self._target.__name__ == "run":  # type: ignore[attr-defined]
                began.wait(10)
                raise KeyboardInterrupt
            join(self, timeout)

        patch.setattr(threading.Thread, "join", interrupted)
        run_repeats(repeats, call, accept, Pauses(Clock()), concurrency=2)
    end.set()

    assert repeats.next() is None


# -- refusals


def refusal(after: float | None = None) -> StatusError:
    return StatusError(429, after)


def test_a_repeat_that_is_refused_is_tried_again(way: Way) -> None:
    clock = Clock()
    tries: dict[int, int] = {}

    def call(number: int) -> Try:
        tries[number] = tries.get(number, 0) + 1
        return Try(refusal() if number == 1 and tries[number] < 4 else None)

    repeats = repeats_of(3)
    way.run(repeats, call, Pauses(clock, clock.sleep))

    assert tries == {0: 1, 1: 4, 2: 1}
    assert (repeats.tally.passed, repeats.tally.total) == (3, 3)
    assert clock.slept


def test_a_provider_that_asks_to_wait_for_hours_ends_the_case(way: Way) -> None:
    clock = Clock()
    repeats = repeats_of(9)
    error = (
        r"^the provider asks to wait 86,400 seconds before repeat \d: StatusError: .*\n"
        r"  what has run is kept, and --llmtest-resume goes on with it$"
    )

    with pytest.raises(EvaluationError, match=error):
        way.run(repeats, lambda number: Try(refusal(86_400)), Pauses(clock, clock.sleep))

    assert (repeats.tally.total, clock.slept) == (0, [])


def test_the_pause_grows_until_a_run_ends_without_a_refusal() -> None:
    clock = Clock()
    pauses = Pauses(clock, clock.sleep)
    for _ in range(9):
        pauses.refused(refusal(), pauses.now)
        pauses.wait()
    assert clock.slept == [1, 2, 4, 8, 16, 32, MAX_PAUSE_S, MAX_PAUSE_S, MAX_PAUSE_S]

    pauses.answered()
    pauses.refused(refusal(), pauses.now)
    assert pauses.left_s == 1
    assert pauses.refusals == 10


def test_runs_that_are_refused_together_are_one_refusal() -> None:
    clock = Clock()
    pauses = Pauses(clock, clock.sleep)
    began = pauses.now
    for _ in range(8):
        pauses.refused(refusal(), began)

    assert pauses.left_s == 1


def test_a_pause_is_as_long_as_the_provider_asks() -> None:
    clock = Clock()
    pauses = Pauses(clock, clock.sleep)
    began = pauses.now
    pauses.refused(refusal(after=90), began)
    pauses.refused(refusal(after=5), began)

    assert pauses.left_s == 90


def test_a_refusal_slows_all_repeats() -> None:
    """No try begins while a pause lasts."""
    clock = Clock()
    pauses = Pauses(clock, clock.sleep)
    began: list[float] = []
    refused = iter([True])

    def call(number: int) -> Try:
        began.append(clock.now)
        return Try(refusal(after=30) if next(refused, False) else None)

    run_repeats(repeats_of(5), call, accept, pauses)

    assert began == [100, 130, 130, 130, 130, 130]


def test_an_async_pause_lets_other_tasks_go_on() -> None:
    clock = SimpleNamespace(now=0.0)
    pauses = Pauses(lambda: clock.now)
    pauses.refused(refusal(), 0.0)

    async def run() -> list[float]:
        slept: list[float] = []
        sleep = asyncio.sleep

        async def moved(seconds: float) -> None:
            slept.append(seconds)
            clock.now += seconds
            await sleep(0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", moved)
            await pauses.wait_async()
        return slept

    assert asyncio.run(run()) == [1]


def test_a_repeat_that_is_always_refused_ends_the_case_without_a_result(way: Way) -> None:
    clock = Clock()
    tries: list[int] = []

    def call(number: int) -> Try:
        tries.append(number)
        return Try(refusal())

    repeats = repeats_of(1)
    with pytest.raises(EvaluationError) as caught:
        way.run(repeats, call, Pauses(clock, clock.sleep))

    assert str(caught.value) == (
        "the provider has refused repeat 0 8 times, the last time with StatusError: 429 Too Many Requests\n"
        "  a refusal is no failed run, so this case has no verdict; what has run is kept"
    )
    assert tries == [0] * MAX_TRIES
    assert repeats.tally.total == 0


# -- what they cost


def test_no_run_begins_when_the_limit_is_reached(way: Way) -> None:
    repeats = repeats_of(100, limit=2.0)  # a run costs 0.5

    way.run(repeats, lambda number: Try())

    assert 4 <= repeats.tally.total < 4 + way.concurrency
    assert repeats.spending.ends == "max_cost=2 of the set is used up"


def test_a_cost_that_is_not_known_ends_a_set_with_a_limit() -> None:
    limited, unlimited = Spending(2.0), Spending()
    unlimited.add(None, "no price")
    assert unlimited.ends == ""

    with pytest.raises(EvaluationError) as caught:
        limited.add(None, "no price for the model 'x'")

    assert str(caught.value) == "whether the set keeps to max_cost=2 is not known\n  no price for the model 'x'"
    assert limited.ends == "whether the set keeps to max_cost=2 is not known"


def test_the_cost_of_calls_is_known_if_that_of_each_is() -> None:
    known = ModelCall("m", "x", usage=Usage(1_000_000, 0, 1_000_000), ended="ended")
    cached = ModelCall("m", "unknown", usage=Usage(1, 1, 2), ended="ended", cached=True)
    prices = {"x": (2.0, 10.0)}

    assert cost_of_calls([known, known, cached], prices) == (4.0, "")
    assert cost_of_calls([], prices) == (0.0, "")
    assert cost_of_calls([known, ModelCall("m", "x", ended="ended")], prices) == (
        None,
        "the cost of a call is not known, because it reported no usage: `m` x: usage not known",
    )
    unpriced = ModelCall("m", "no-such-model-x", usage=Usage(1, 1, 2), ended="ended")
    first, again = cost_of_calls([unpriced]), cost_of_calls([unpriced])
    assert first == again
    assert first[0] is None
    assert "no price for the model 'no-such-model-x'" in first[1]
