"""Running the repeats of a case: several at once, slower when a provider refuses, no more than a set may cost.

Knows no pytest. What a repeat is, its caller says: a function of its number.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextvars import copy_context
from typing import Final, Protocol, TypeVar

from llmtest.core.text import amount
from llmtest.errors import EvaluationError, PriceError
from llmtest.evals.refusals import MAX_ASKED_S, is_refused, retry_after
from llmtest.evals.results import RepeatResult
from llmtest.evals.scores import reason
from llmtest.evals.verdicts import Tally
from llmtest.tokens.calls import ModelCall
from llmtest.tokens.prices import Prices, cost_of

MAX_TRIES: Final = 8
"""Of one repeat."""
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0


# -- pauses


class Pauses:
    """The pause that all repeats of a process keep after a refusal. Thread-safe.

    Each refusal makes it twice as long, until a run has ended without one; `Retry-After` makes it at least as long as it says.
    `clock` and `sleep` are those of `time`, and may be others in a test.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self._until = 0.0
        self._next_s = FIRST_PAUSE_S
        self._lock = threading.Lock()
        self.refusals = 0

    def refused(self, error: BaseException | None, began: float) -> None:
        """A provider has refused a run that began at `began`: pause, unless the run was there before the last pause began."""
        with self._lock:
            self.refusals += 1
            asked, now = retry_after(error), self._clock()
            if began >= self._until:  # eight runs that are refused at once are one refusal
                self._until = now + self._next_s
                self._next_s = min(self._next_s * 2, MAX_PAUSE_S)
            self._until = max(self._until, now + asked)

    def answered(self) -> None:
        """A run has ended without a refusal."""
        self._next_s = FIRST_PAUSE_S

    @property
    def now(self) -> float:
        return self._clock()

    @property
    def left_s(self) -> float:
        """How long the pause takes from now on."""
        return max(self._until - self._clock(), 0.0)

    def wait(self) -> None:
        while (left := self.left_s) > 0:
            self._sleep(left)

    async def wait_async(self) -> None:
        """Wait as `wait` does; tasks of the loop go on meanwhile."""
        while (left := self.left_s) > 0:
            if self._sleep is time.sleep:
                await asyncio.sleep(left)
            else:
                self._sleep(left)


# -- what a set may cost


def cost_of_calls(calls: Iterable[ModelCall], prices: Prices | None = None) -> tuple[float | None, str]:
    """Return what model calls cost, and why that is not known if it is not."""
    total = 0.0
    for call in calls:
        if call.cached:
            continue
        if prices is None and call.model in _unpriced:
            return None, _unpriced[call.model]
        try:
            total += cost_of(call, prices)
        except PriceError as error:
            if prices is None and call.model is not None and call.is_known:
                _unpriced[call.model] = str(error)
            return None, str(error)
    return total, ""


_unpriced: Final[dict[str | None, str]] = {}
"""Models without a price, and what genai-prices has said: it takes a while to find none."""


class Spending:
    """What the runs of a set have cost, and the most that they may. Thread-safe.

    `limit` is None if they may cost anything.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        self.spent = 0.0
        self.problem = ""
        """Why it is not known whether they keep to the limit; no more runs then."""
        self._lock = threading.Lock()

    def add(self, cost: float | None, why: str = "") -> None:
        """Count what a run has cost; None if that is not known.

        Raises:
            EvaluationError: it is not known, and there is a limit.
        """
        with self._lock:
            if cost is not None:
                self.spent += cost
                return
            if self.limit is None:
                return
            self.problem = f"whether the set keeps to max_cost={self.limit:g} is not known"
        raise EvaluationError(f"{self.problem}\n  {why}")

    @property
    def ends(self) -> str:
        """Why no run may begin any more; empty if one may."""
        if self.limit is not None and self.spent >= self.limit * (1 - 1e-9):  # ten times a tenth is a little less than one
            return f"max_cost={self.limit:g} of the set is used up"
        return self.problem


# -- repeats


class Tried(Protocol):
    """One try of a repeat: the exception with which it ended."""

    @property
    def error(self) -> BaseException | None: ...


T = TypeVar("T", bound=Tried)
Accept = Callable[[int, list[T]], tuple[RepeatResult, str]]
"""Makes and keeps the result of a repeat, by its number, of its tries; and says why its cost is not known, if so."""


class Repeats:
    """The repeats of one case: which is next, and whether one is. Holds state; thread-safe.

    `done` are the numbers of those that have a result already. `error` is what stopped them, None if nothing did.
    """

    def __init__(self, tally: Tally, spending: Spending, done: Collection[int] = ()) -> None:
        self.tally, self.spending = tally, spending
        self._left = iter([number for number in range(tally.repeats) if number not in done])
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def next(self) -> int | None:
        """Return the number of the repeat to run now; None if none is left, or none is needed or paid for."""
        with self._lock:
            if self.error is not None or self.tally.is_settled or self.spending.ends:
                return None
            return next(self._left, None)

    def end(self, result: RepeatResult, why: str) -> None:
        with self._lock:
            self.tally.add(result.repeat, result.passed)
        self.spending.add(result.cost, why)

    def stop(self, error: BaseException) -> None:
        self.error = self.error or error


def run_repeats(repeats: Repeats, call: Callable[[int], T], accept: Accept[T], pauses: Pauses, *, concurrency: int = 1) -> None:
    """Run the repeats that are left, up to `concurrency` at once, each in a copy of the context of here and now.

    Those after the first run in threads if there may be several at once, else in this one.

    Raises:
        EvaluationError: a repeat was refused `MAX_TRIES` times, or for longer than `MAX_ASKED_S`, or its cost is not known and
            has a limit.
        BaseException: whatever `call` and `accept` raise.
    """

    def try_again(number: int) -> tuple[RepeatResult, str]:
        tries: list[T] = []
        while True:
            pauses.wait()
            began = pauses.now
            tries.append(call(number))
            if _is_over(tries, pauses, began, number):
                return accept(number, tries)

    def work() -> None:
        while (number := repeats.next()) is not None:
            try:
                repeats.end(*copy_context().run(try_again, number))
            except BaseException as error:
                repeats.stop(error)

    if concurrency == 1:
        work()
    else:
        _on_threads(work, concurrency, repeats)
    if repeats.error is not None:
        raise repeats.error


def _on_threads(work: Callable[[], None], number: int, repeats: Repeats) -> None:
    context = copy_context()
    # Daemons, because nothing ends a call that waits for a provider: an interrupted session does not wait for it.
    threads = [threading.Thread(target=context.copy().run, args=(work,), daemon=True) for _ in range(number)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:
        repeats.stop(error)


async def run_repeats_async(
    repeats: Repeats, call: Callable[[int], Awaitable[T]], accept: Accept[T], pauses: Pauses, *, concurrency: int = 1
) -> None:
    """Run the repeats that are left in tasks of this event loop, up to `concurrency` at once; one by one in a loop of trio.

    Raises:
        EvaluationError: a repeat was refused `MAX_TRIES` times, or for longer than `MAX_ASKED_S`, or its cost is not known and
            has a limit.
        BaseException: whatever `call` and `accept` raise.
    """

    async def try_again(number: int) -> tuple[RepeatResult, str]:
        tries: list[T] = []
        while True:
            await pauses.wait_async()
            began = pauses.now
            tries.append(await call(number))
            if _is_over(tries, pauses, began, number):
                return accept(number, tries)

    async def work() -> None:
        while (number := repeats.next()) is not None:
            try:
                task = asyncio.create_task(try_again(number)) if in_asyncio else try_again(number)
                repeats.end(*await task)
            except BaseException as error:
                repeats.stop(error)

    in_asyncio = _is_in_asyncio()
    if in_asyncio and concurrency > 1:
        await asyncio.gather(*(work() for _ in range(concurrency)))
    else:
        await work()
    if repeats.error is not None:
        raise repeats.error


def _is_in_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def _is_over(tries: Sequence[Tried], pauses: Pauses, began: float, number: int) -> bool:
    """True if the last try was not refused.

    Raises:
        EvaluationError: it was, and it was one too many.
    """
    error = tries[-1].error
    if not is_refused(error):
        pauses.answered()
        return True
    assert error is not None
    asked = retry_after(error)
    if asked > MAX_ASKED_S:
        raise EvaluationError(
            f"the provider asks to wait {asked:,.0f} seconds before repeat {number}: {reason(error)}\n"
            "  what has run is kept, and --llmtest-resume goes on with it"
        )
    pauses.refused(error, began)
    if len(tries) >= MAX_TRIES:
        raise EvaluationError(
            f"the provider has refused repeat {number} {amount(len(tries), 'time')}, the last time with {reason(error)}\n"
            "  a refusal is no failed run, so this case has no verdict; what has run is kept"
        )
    return False
