"""The repeats of one item with the marker `llm_eval`: each with a page and a recording of its own, and the verdict of its case.

Imported only in a session that has a test with the marker.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Final, Protocol

import pytest

from llmtest import ledger
from llmtest.capture.blocks import inside
from llmtest.core.masks import publish
from llmtest.core.text import amount, clip, text_of
from llmtest.errors import EvaluationError, Violation, ViolationError
from llmtest.evals.datasets import Case
from llmtest.evals.refusals import is_refused
from llmtest.evals.results import RepeatResult, RunError, SetHead
from llmtest.evals.running import Pauses, Repeats, Spending, cost_of_calls, run_repeats, run_repeats_async
from llmtest.evals.scores import MAX_WHY_CHARACTERS, CaseRun, Scores, score
from llmtest.evals.verdicts import Tally, Verdict
from llmtest.pytest_plugin import markers
from llmtest.pytest_plugin.attempt import ATTEMPT, Attempt, PageJudge, prefix
from llmtest.pytest_plugin.eval_marker import CONCURRENCY, Evaluation
from llmtest.recording.recording import Recording
from llmtest.tokens.budget import overspent
from llmtest.tokens.calls import Counts, ModelCall
from llmtest.tokens.counting import TokenCount

_STOPS: Final = (KeyboardInterrupt, pytest.exit.Exception, pytest.skip.Exception)
"""What ends an item, and is no failed run."""
MAX_REASONS: Final = 3
"""Of failed runs that a failing case shows."""


class Shared(Protocol):
    """What the items of a session share: `llmtest.pytest_plugin.eval_session.EvalSession`, as far as an item needs it."""

    is_live: bool
    pauses: Pauses

    @property
    def store_option(self) -> str: ...
    def is_plain(self, item: pytest.Item) -> bool: ...
    def earlier(self, test: str, case: str) -> tuple[RepeatResult, ...]: ...
    def spending(self, test: str, limit: float | None) -> Spending: ...
    def begin(self, head: SetHead) -> None: ...
    def write(self, test: str, result: RepeatResult) -> None: ...
    def keep_traces(self, name: str, recording: Recording, scores: Scores) -> str | None: ...
    def skip_without_key(self, error: BaseException | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a repeat, scored unless it was refused."""

    error: BaseException | None
    scores: Scores | None
    recording: Recording
    calls: list[ModelCall]
    seconds: float


class CaseItem:
    """The repeats of the case of one item. Holds state: the tally, and why runs failed.

    `plain` tells that its test runs once, as any other: a cassette answers, and its answers are the same in each repeat.
    """

    def __init__(self, session: Shared, item: pytest.Function, evaluation: Evaluation, case: Case, head: SetHead) -> None:
        self._session, self._item, self._evaluation, self._case = session, item, evaluation, case
        self.head = head
        self._attempt: Attempt = item.stash[ATTEMPT]
        self.plain = session.is_plain(item)
        self._function: Callable[..., Any] = item.obj
        self._place = self._attempt.place
        self._reasons: Counter[str] = Counter()
        self._traces: list[str] = []
        self._earlier = session.earlier(head.test, case.id)
        self.tally = Tally(head.requirement, head.repeats, alone=head.cases == 1)
        for result in self._earlier:
            self._count(result)
            self.tally.add(result.repeat, result.passed)
        self.spending = session.spending(head.test, evaluation.max_cost)
        self.tokens = Counter[str]()
        self.cost: float | None = 0.0
        self.is_over = self._is_checked = False
        self._hash = case.hash
        self._lock = threading.Lock()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """In the block, pytest calls the repeats in place of the test function."""
        with _ended():
            self._session.begin(self.head)
        if not self.plain:
            self._take_over()
        run, run_async = (self._run_plain, self._run_plain_async) if self.plain else (self._run, self._run_async)

        def test(**arguments: Any) -> None:
            __tracebackhide__ = True
            run(**arguments)

        async def async_test(**arguments: Any) -> None:
            __tracebackhide__ = True
            await run_async(**arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self._item, "obj", async_test if inspect.iscoroutinefunction(self._function) else test)
            yield

    def _take_over(self) -> None:
        """Each repeat has a recording, the rules and the budget for itself, so the item has none."""
        if "llm_snapshot" in self._item.fixturenames:
            text = "llm_snapshot compares one run, and a test with llm_eval has several: take the scorer same_tree(Path(...))"
            pytest.fail(f"{text}, and leave `llm_snapshot` out", pytrace=False)
        attempt = self._attempt
        attempt.is_evaluated = True
        attempt.page.notice()
        if attempt.recording is not None:
            attempt.recording.close()
            attempt.page.recordings.remove(attempt.recording)
            attempt.recording = None
        self._rules = (*markers.suite_rules(self._item.config), *attempt.rules)
        self._budget, attempt.budget, attempt.rules = attempt.budget, None, ()

    @property
    def _concurrency(self) -> int:
        """How many repeats run at once. A script of providers holds for the process, so only one of them may be open."""
        if "scripted_providers" in self._item.fixturenames and not self._session.is_live:
            return 1
        usual = CONCURRENCY if self._session.is_live else 1
        return min(self._evaluation.concurrency or usual, self.head.repeats)

    # -- all repeats

    def _repeats(self) -> Repeats:
        return Repeats(self.tally, self.spending, {result.repeat for result in self._earlier})

    def _run(self, **arguments: Any) -> None:
        __tracebackhide__ = True
        call = functools.partial(self._try, arguments)
        with _ended():
            run_repeats(self._repeats(), call, self._accept, self._session.pauses, concurrency=self._concurrency)
        self._conclude()

    async def _run_async(self, **arguments: Any) -> None:
        __tracebackhide__ = True
        call = functools.partial(self._try_async, arguments)
        with _ended():
            await run_repeats_async(self._repeats(), call, self._accept, self._session.pauses, concurrency=self._concurrency)
        self._conclude()

    def _conclude(self) -> None:
        self.is_over = True
        if not self.tally.total:
            pytest.skip(f"not run: {self.spending.ends}")
        verdict = self.verdict
        if verdict.outcome == "fail":
            pytest.fail("\n".join([str(verdict), *self._reason_lines(), *self._trace_lines()]), pytrace=False)

    @property
    def verdict(self) -> Verdict:
        return self.tally.verdict

    def _reason_lines(self) -> list[str]:
        shown = self._reasons.most_common(MAX_REASONS)
        more = len(self._reasons) - len(shown)
        lines = [f"  {number:,} x {why}" for why, number in shown]
        return [*lines, f"  and {amount(more, 'other reason')}"] if more else lines

    def _trace_lines(self) -> list[str]:
        if not self._traces:
            return []
        kept = f" ({amount(len(self._traces), 'failed run')} kept)" if len(self._traces) > 1 else ""
        return [f"  llmtest show {self._session.store_option}{shlex.quote(self._traces[0])}{kept}"]

    # -- one try

    def _try(self, arguments: Mapping[str, Any], number: int) -> Try:
        with self._opened(arguments, number) as repeat:
            try:
                with repeat.entered() as given:
                    repeat.output = self._function(**given)
            except _STOPS:
                raise
            except BaseException as error:  # also `pytest.fail`, and a program that exits: the run has failed
                repeat.error = error
            repeat.judge()
        return repeat.tried()

    async def _try_async(self, arguments: Mapping[str, Any], number: int) -> Try:
        with self._opened(arguments, number) as repeat:
            try:
                with repeat.entered() as given:
                    repeat.output = await self._function(**given)
            except _STOPS:
                raise
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise  # the session ends
                repeat.error = error
            except BaseException as error:
                repeat.error = error
            repeat.judge()
        return repeat.tried()

    @contextmanager
    def _opened(self, arguments: Mapping[str, Any], number: int) -> Iterator[_Repeat]:
        repeat = _Repeat(self, arguments, f"{self._item.nodeid} #{number}")
        with ledger.opened_for_repeat(repeat.page), repeat.providers:
            yield repeat
        self._session.skip_without_key(repeat.error)

    def scoring(self) -> AbstractContextManager[None]:
        """Return the block in which scorers run. The calls of a judge count as spent; they are no part of the run."""
        return inside(Recording()) if self._evaluation.scorers else nullcontext()

    def score(self, output: object, recording: Recording, error: BaseException | None) -> Scores:
        """Return what the scorers say about a run."""
        scorers = self._evaluation.scorers
        if not scorers and output is not None:
            pytest.fail(
                f"the test returned {type(output).__name__}, and llm_eval has no scorers= that look at it\n"
                "  name some, or use `assert` and return nothing",
                pytrace=False,
            )
        return score(CaseRun(self._case, output, recording, error), **(scorers or {}))

    def judge(self, page: ledger.Ledger, recording: Recording, *, failed: bool) -> list[Violation]:
        """Return what fails a run beside its own exception: rules, the budget, doubles.

        The protocol of callbacks is a matter of the program, which is the same in each repeat: the first one is checked, and
        those that failed.
        """
        page.end_gates()
        page.end_blocks()
        page.violations += markers.judge_rules(self._rules, page.recordings)
        if self._budget is not None:
            text = overspent(self._budget, calls_of(page), [call.double for call in recording.unseen_calls])
            page.violations += [Violation("over budget", text)] if text else []
        judge = PageJudge(page, self._attempt.modes, self._place)
        judge.waived = self._attempt.judge_of_page.waived
        protocol, self._is_checked = failed or not self._is_checked, True
        return judge.take(protocol=protocol)

    # -- results

    def _accept(self, number: int, tries: list[Try]) -> tuple[RepeatResult, str]:
        last = tries[-1]
        assert last.scores is not None
        calls = [call for tried in tries for call in tried.calls]
        cost, why = self._cost(calls)
        known = bool(calls) or not self._session.is_live
        counts = Counts(calls)
        known = known and not any(not call.is_known for call in calls)
        result = RepeatResult(
            self._case.id,
            self._hash,
            number,
            last.scores.passed and last.error is None,
            dict(last.scores),
            run_error(last.error),
            last.seconds,
            counts.input_tokens if known else None,
            counts.output_tokens if known else None,
            cost,
            self._session.keep_traces(f"{self._item.nodeid} #{number}", last.recording, last.scores),
            tuple(sorted({call.model for call in calls if call.model})),
            self._case.weight,
        )
        self._session.write(self.head.test, result)
        with self._lock:  # repeats end on several threads
            self._count(result)
            self.tokens.update(input_tokens=counts.input_tokens, output_tokens=counts.output_tokens, requests=counts.requests)
            self.cost = None if self.cost is None or cost is None else self.cost + cost
        return result, why

    def _cost(self, calls: list[ModelCall]) -> tuple[float | None, str]:
        if not calls and self._session.is_live:
            return None, "a run called no model that was seen: models of LangChain are, and others only where they are recorded"
        cost, why = cost_of_calls(calls, self._evaluation.prices)
        return cost, f"{why}\n  llm_eval takes such a table as prices=, too" if why else ""

    def _count(self, result: RepeatResult) -> None:
        if not result.passed:
            self._reasons[result.why or "no reason is known"] += 1
            self._traces += [result.trace] if result.trace else []

    # -- without repeats

    def _run_plain(self, **arguments: Any) -> None:
        __tracebackhide__ = True
        began, output, error = perf_counter(), None, None
        try:
            output = self._function(**arguments)
        except _STOPS:
            raise
        except BaseException as raised:
            error = raised
        self._conclude_plain(output, error, perf_counter() - began)

    async def _run_plain_async(self, **arguments: Any) -> None:
        __tracebackhide__ = True
        began, output, error = perf_counter(), None, None
        try:
            output = await self._function(**arguments)
        except (*_STOPS, asyncio.CancelledError):
            raise
        except BaseException as raised:
            error = raised
        self._conclude_plain(output, error, perf_counter() - began)

    def _conclude_plain(self, output: object, error: BaseException | None, seconds: float) -> None:
        __tracebackhide__ = True
        recording = self._attempt.recording
        assert recording is not None  # a test with a cassette has one
        scores = self.score(output, recording, error)
        result, _ = self._accept(0, [Try(error, scores, recording, self._attempt.calls, seconds)])
        self.tally.add(0, result.passed)
        self.is_over = True
        if error is not None:
            raise error
        if not scores.passed:
            raise AssertionError(str(scores))

    @property
    def facts(self) -> dict[str, Any]:
        """What the process that has all reports must know of it. Plain values: xdist's workers send them."""
        tally, verdict = self.tally, self.verdict
        return {
            "head": asdict(self.head),
            "case": self._case.id,
            "plain": self.plain,
            "passed": tally.passed,
            "total": tally.total,
            "open": tally.open,
            "verdict": [verdict.passed, verdict.total, verdict.repeats, verdict.interval.low, verdict.interval.high],
            "why": next(iter(self._reasons), ""),
            "spent": self.cost,
            "tokens": dict(self.tokens),
            "ends": self.spending.ends,
        }


class _Repeat:
    """One try of a repeat while it runs: its page, its recording, and what becomes of it. Holds state."""

    def __init__(self, item: CaseItem, arguments: Mapping[str, Any], name: str) -> None:
        self._item, self._arguments = item, arguments
        self.page = ledger.Ledger(prefix(name), new_tally=_new_tally)
        self.recording = Recording()
        self.page.note(self.recording)
        self.output: Any = None
        self.error: BaseException | None = None
        self.providers = ExitStack()
        """Where `scripted_providers` of this repeat is open: while it runs, and while scorers, such as judges, look at it."""
        self._scores: Scores | None = None
        self._began, self._seconds = perf_counter(), 0.0

    @contextmanager
    def entered(self) -> Iterator[dict[str, Any]]:
        """Record what runs in the block; yield the arguments of the test function for this repeat."""
        given = dict(self._arguments)
        with ExitStack() as block:
            if "llm_recording" in given:
                given["llm_recording"] = self.recording
            if "scripted_providers" in given:
                from llmtest.langchain import providers

                given["scripted_providers"] = self.providers.enter_context(providers.scripted_providers({}))
            block.callback(self._end)
            block.enter_context(inside(self.recording))
            yield given

    def _end(self) -> None:
        self._seconds = perf_counter() - self._began
        self.page.end_gates()
        self.recording.close()

    def judge(self) -> None:
        """Score the run, unless it was refused; what it did wrong beside its exception fails it, too."""
        if is_refused(self.error):
            return
        with self._item.scoring():
            self._scores = self._item.score(self.output, self.recording, self.error)
        self.providers.close()
        failed = self.error is not None or not self._scores.passed
        found = self._item.judge(self.page, self.recording, failed=failed)
        if found and self.error is None:
            self.error = ViolationError(*found)
            self._scores = self._item.score(None, self.recording, self.error)

    def tried(self) -> Try:
        return Try(self.error, self._scores, self.recording, calls_of(self.page), self._seconds)


@contextmanager
def _ended() -> Iterator[None]:
    """Fail the test with the message alone if the evaluation cannot go on."""
    __tracebackhide__ = True
    try:
        yield
    except EvaluationError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _new_tally() -> TokenCount:
    tally = TokenCount()
    tally.holds_runs = False
    return tally


def calls_of(page: ledger.Ledger) -> list[ModelCall]:
    """Return the model calls that a page has counted."""
    return page.counted.calls if page.counted is not None else []


def run_error(error: BaseException | None) -> RunError | None:
    """Return an exception as results have it: its class, and the first line of its text with secrets masked."""
    if error is None:
        return None
    line = next((line.strip() for line in text_of(error).splitlines() if line.strip()), "")
    return RunError(type(error).__name__, publish(clip(line, MAX_WHY_CHARACTERS)))
