"""`orders`: a program runs under controlled schedules, so that what luck would decide is decided in every way.

The event loop of an async program is that of the library `detangle`: tasks, timers and the jobs of executors are chosen one by
one, and time is virtual. A timer may fire late, never early. The threads of any other program, and the jobs of its pools, take
turns as `llmtest.concurrency.thread_schedule` has it.
"""

from __future__ import annotations

import functools
import inspect
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from llmtest import ledger
from llmtest.campaigns import driving
from llmtest.campaigns.calls import CallNames
from llmtest.campaigns.schedules import Decisions, Plan, Schedules, check_numbers, deviations, shrink, strip
from llmtest.concurrency import lanes
from llmtest.concurrency.thread_schedule import ThreadSchedule
from llmtest.core.text import amount
from llmtest.errors import CampaignError, InterleavingError, ViolationError
from llmtest.recording.recording import Recording, judge_turns, record
from llmtest.wire.clients import backoff

if TYPE_CHECKING:
    from detangle import RunResult

LATE_S: Final = 0.1
"""How late a timer may fire, at most, in virtual time."""
MAX_STEPS: Final = 200_000
OURS: Final = "llmtest "
"""How the names of threads of llmtest begin, such as the one that writes traces."""
_LOOP: Final = "loop: the program runs an event loop of its own, whose tasks nothing orders; it must be async itself"


class Ran(NamedTuple):
    """A run under a schedule: what it decided, among how many each time, the error, and the order of its calls."""

    decisions: tuple[tuple[int, int], ...]
    error: BaseException | None
    order: tuple[str, ...]
    value: Any = None
    unordered: int = 0
    """How many threads nothing has ordered: those that an async program has started itself."""
    unseen: int = 0
    """How many calls the recording has not seen, so that the order does not name them."""

    @property
    def schedule(self) -> Decisions:
        return strip([value for _, value in self.decisions])


@dataclass(frozen=True, slots=True)
class Orders:
    """What a campaign of schedules came to: how many ran, and how many different orders of calls there were.

    `exhausted` is the number of deviations from the usual order up to which every schedule has run; None: not even its own.
    `failing` is the smallest run that fails, `passing` the order of the first that passed, and `is_stable` is false where the
    failing schedule did not fail again. `unordered` is how many threads of an async program nothing has ordered, in one run, and
    `unseen` how many calls its recording has not seen.
    """

    schedules: int
    distinct: int
    exhausted: int | None
    failing: Ran | None = None
    passing: tuple[str, ...] = ()
    is_stable: bool = True
    unordered: int = 0
    unseen: int = 0

    def __str__(self) -> str:
        schedules, orders = amount(self.schedules, "schedule"), amount(self.distinct, "distinct order")
        bound = "no bound exhausted" if self.exhausted is None else f"bound {self.exhausted} exhausted"
        hole = f"; hole: nothing orders {amount(self.unordered, 'thread')} beside the event loop" if self.unordered else ""
        unseen = (
            f"; hole: {amount(self.unseen, 'call')} in threads without the context, which orders do not name"
            if self.unseen
            else ""
        )
        return f"{schedules}, {orders}, {bound}{hole}{unseen}"

    @property
    def token(self) -> str:
        """The failing schedule as a word: the value of `--llmtest-schedule`."""
        return "" if self.failing is None else encode(self.failing.schedule)

    def check(self) -> None:
        """Raise an `InterleavingError`, from the error of the program, unless every schedule has passed."""
        __tracebackhide__ = True
        if self.failing is not None:
            raise InterleavingError(explain(self), self.token) from self.failing.error


def orders(program: Callable[[], Any], *, runs: int = 200, seed: int = 0, bound: int | None = None) -> Orders:
    """Return what `program`, a function without arguments, does under up to `runs` schedules.

    A schedule orders the tasks of an async program, and the threads of any other. First the usual order, then every
    schedule with one deviation from it and with two, and then random ones of `seed`. With `bound`, every schedule of so many
    deviations, as far as `runs` suffices, and no random ones. The first that fails ends it, and is shrunk to few deviations.

    Raises:
        CampaignError: `program` cannot be called, a number is none, or `detangle` is not installed.

    >>> import asyncio
    >>> from llmtest import ScriptedChatModel
    >>> async def both():
    ...     seen = []
    ...     async def ask(name):
    ...         await ScriptedChatModel("Hello", name=name).ainvoke("hi")
    ...         seen.append(name)
    ...     await asyncio.gather(ask("a"), ask("b"))
    ...     assert seen == ["a", "b"]
    >>> found = orders(both, runs=50)
    >>> found.failing is not None
    True

    It controls no threads of an async program, and no other processes. Not for several threads at once.
    """
    if not callable(program):
        raise CampaignError(f"orders() takes a function without arguments; got {program!r}")
    check_numbers({"runs": runs, "seed": seed, "bound": bound}, "orders()")
    return explore(lambda plan: _run(program, plan), runs=runs, seed=seed, bound=bound)


def explore(run: Callable[[Plan], Ran], *, runs: int, seed: int, bound: int | None = None) -> Orders:
    """Return what `run`, which runs a program under a schedule, comes to."""
    schedules = Schedules(runs, seed, bound)
    seen: set[tuple[str, ...]] = set()
    passing: tuple[str, ...] = ()
    unordered = unseen = 0
    for plan in schedules:
        ran = run(plan)
        unordered, unseen = max(unordered, ran.unordered), max(unseen, ran.unseen)
        schedules.note(ran.decisions)
        seen.add(ran.order)
        if ran.error is not None:
            smallest, is_stable = _smallest(run, ran)
            return Orders(schedules.ran, len(seen), schedules.exhausted, smallest, passing, is_stable, unordered, unseen)
        passing = passing or ran.order
    return Orders(schedules.ran, len(seen), schedules.exhausted, None, passing, True, unordered, unseen)


def _smallest(run: Callable[[Plan], Ran], failing: Ran) -> tuple[Ran, bool]:
    """Return the smallest run that fails in the same way, and whether it fails so again: else something else decides, too."""
    if _is_out_of_hand(failing.error):
        return failing, True
    kept = [failing]

    def fails(decisions: Decisions) -> bool:
        ran = run(Plan(decisions))
        if type(ran.error) is not type(failing.error):
            return False
        kept.append(ran)
        return True

    shrunk = shrink(failing.schedule, fails)
    again = run(Plan(shrunk))
    is_same = type(again.error) is type(failing.error)
    return (again if is_same else kept[-1]), is_same


def _is_out_of_hand(error: BaseException | None) -> bool:
    """True if something waits for what is not controlled. Each such run waits for real, so it is not shrunk."""
    return isinstance(error, InterleavingError) and str(error).startswith(("hole", "loop"))


def _run(program: Callable[[], Any], plan: Plan) -> Ran:
    recording = record()
    with ledger.opened(ledger.Ledger("order_")) as page, backoff.virtual(), recording:
        ran = controlled(program, plan, recording)
    page.end_gates()
    page.end_blocks()
    judge_turns(recording)
    found = page.take()
    return ran if ran.error is not None or not found else ran._replace(error=ViolationError(*found))


def controlled(program: Callable[[], Any], plan: Plan, recording: Recording) -> Ran:
    """Run a function under a schedule: of the tasks of an async one, of the threads of any other."""
    if inspect.iscoroutinefunction(_function_of(program)):
        return _tasks(program, plan, recording)
    ran = _threaded(program, plan, recording)
    driving.check_runs(ran.value)
    if ran.error is None and inspect.isawaitable(ran.value):  # of a lambda, or a `__call__` that is async
        return _tasks(functools.partial(_awaited, ran.value), plan, recording)
    return ran


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _tasks(program: Callable[[], Any], plan: Plan, recording: Recording) -> Ran:
    library = _library()
    strategy = library.Replay(plan.decisions) if plan.seed is None else library.RandomWalk(plan.seed)
    strategy.start(0)
    config = library.SimConfig(timer_jitter=LATE_S, max_steps=MAX_STEPS)
    with _counted_threads() as started:
        result: RunResult = library.execute(program, config=config, strategy=strategy)
    decided = tuple((decision.n, decision.value) for decision in result.decisions)
    return Ran(decided, _error_of(result), order_of(recording), result.value, len(started), len(recording.unseen_calls))


@contextmanager
def _counted_threads() -> Iterator[list[threading.Thread]]:
    """Yield the threads that the program starts meanwhile. The jobs of the event loop are none."""
    started: list[threading.Thread] = []
    before = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if not thread.name.startswith(OURS):
            started.append(thread)
        before(thread)

    threading.Thread.start = start  # type: ignore[method-assign, assignment]
    try:
        yield started
    finally:
        threading.Thread.start = before  # type: ignore[method-assign]


def _function_of(program: Any) -> Any:
    while isinstance(program, functools.partial):
        program = program.func
    return program


class _Walk:
    """Decides as a plan says, and keeps what was decided."""

    def __init__(self, plan: Plan) -> None:
        self._given = iter(plan.decisions)
        self._random = None if plan.seed is None else random.Random(plan.seed)
        self.decided: list[tuple[int, int]] = []

    def choose(self, among: int) -> int:
        told = next(self._given, None)
        value = min(told, among - 1) if told is not None else 0 if self._random is None else self._random.randrange(among)
        self.decided.append((among, value))
        return value


def _threaded(program: Callable[[], Any], plan: Plan, recording: Recording) -> Ran:
    walk, error, value = _Walk(plan), cast("BaseException | None", None), None
    schedule = ThreadSchedule(walk.choose, LATE_S)
    try:
        with schedule, _points(schedule):
            value = program()
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # `sys.exit` and `pytest.fail` raise no Exception
        error = raised
    if schedule.failure is not None:
        error = InterleavingError(str(schedule.failure), "")
    elif schedule.has_loop:
        error = InterleavingError(_LOOP, "")
    return Ran(tuple(walk.decided), error, order_of(recording), value, unseen=len(recording.unseen_calls))


@contextmanager
def _points(schedule: ThreadSchedule) -> Iterator[None]:
    """Let another thread go on at each callback."""
    lanes.before_tick, before = schedule.point, lanes.before_tick
    try:
        yield
    finally:
        lanes.before_tick = before


def _error_of(result: RunResult) -> BaseException | None:
    failure = result.failure
    if failure is None:
        return None
    if failure.kind in ("deadlock", "step-limit", "time-limit") or failure.exception is None:
        return InterleavingError(f"{failure.kind}: {failure.message}", "")
    return failure.exception


def order_of(recording: Recording) -> tuple[str, ...]:
    """Return the starts and the ends of the calls in the order in which they were recorded, each by the name of its call."""
    keys = CallNames(recording).keys
    counts = Counter(key.name for key in keys.values())
    named = {
        run_id: key.name if counts[key.name] == 1 else f"{key.name}({key.arguments})#{key.occurrence}"
        for run_id, key in keys.items()
    }
    ends = {run.end.number for run in recording.runs if run.end is not None}
    starts = {run.start.number for run in recording.runs}
    return tuple(
        f"{'start' if event.number in starts else 'end'} {named[event.run_id]}"
        for event in recording
        if event.run_id in named and (event.number in starts or event.number in ends)
    )


def explain(found: Orders) -> str:
    """Return what the failure of a schedule says: the error, the schedule, and where its order differs from one that passes."""
    assert found.failing is not None
    error = found.failing.error
    said, _, more = str(error).strip().partition("\n")
    order = "another order" if found.failing.schedule else "the usual order, too"
    head = "cannot be ordered" if _is_out_of_hand(error) else f"fails in {order}"
    lines = [f"{head}: {type(error).__name__}: {said}".rstrip(": ")]
    if isinstance(error, InterleavingError):  # where each task or thread waits
        lines += [f"  {line.strip()}" for line in more.splitlines()]
    lines.append(f"  {found}")
    number = deviations(found.failing.schedule)
    lines.append(f"  schedule {found.token}: {amount(number, 'deviation')} from the usual order")
    lines += _difference(found.passing, found.failing.order)
    if not found.is_stable:
        lines.append("  hole: the same schedule did not fail again, so something that is not controlled decides, too")
    return "\n".join(lines)


def _difference(passing: Sequence[str], failing: Sequence[str]) -> Iterator[str]:
    """Yield where the order of calls first differs."""
    for number, (before, now) in enumerate(zip(passing, failing, strict=False)):
        if before != now:
            same = f" after {passing[number - 1]}" if number else ""
            yield f"  passing  {before}{same}"
            yield f"  failing  {now}{same}"
            return


# -- the library


def _library() -> Any:
    try:
        import detangle
    except ImportError:
        raise CampaignError("orders need the library `detangle`: pip install 'llmtest-kit[orders]'") from None
    return detangle


def encode(decisions: Sequence[int]) -> str:
    """Return a schedule as one word."""
    word: str = _library().encode_token(decisions)
    return word


def decode(word: str) -> Decisions:
    """Return the schedule of a word.

    Raises:
        CampaignError: it is none.
    """
    try:
        return tuple(_library().decode_token(word))
    except ValueError as error:
        raise CampaignError(f"--llmtest-schedule takes the word that a failure has printed; got {word!r}: {error}") from None
