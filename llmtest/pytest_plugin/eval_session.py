"""The evaluations of a session: what they share while they run, the verdict of each set, the plan, and going on with a session.

A plugin that is registered when the first test with the marker `llm_eval` is collected, or, in the controller of xdist, when the
first report of one comes.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import shlex
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from io import UnsupportedOperation
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TextIO

import pytest

from llmtest.core.progress import progress
from llmtest.core.source import shown_path
from llmtest.core.text import amount, some_names
from llmtest.errors import EvaluationError, ResultsError, StoreError
from llmtest.evals.datasets import Case, Dataset
from llmtest.evals.intervals import Interval
from llmtest.evals.results import ENDING, RepeatResult, Results, ResultsWriter, SetHead, SetResults, sessions_folder
from llmtest.evals.running import Pauses, Spending
from llmtest.evals.scores import Scores
from llmtest.evals.verdicts import Requirement, Verdict, judge_set
from llmtest.pytest_plugin.arguments import evals_folder
from llmtest.pytest_plugin.attempt import place_skip
from llmtest.pytest_plugin.eval_items import CaseItem
from llmtest.pytest_plugin.eval_marker import Evaluation, base_of, case_of, generate, set_of
from llmtest.tracing.store import Store, StoredVerdict, place

if TYPE_CHECKING:
    from llmtest.recording.recording import Recording

NAME: Final = "llmtest-evals"
FACTS: Final = "llmtest_eval"
"""The attribute of a report."""
MAX_CASES: Final = 8
"""Of a set that the summary shows with failed runs."""
SHOWN_AFTER_S: Final = 0.5
"""An item that takes less shows no progress."""

_running: Final = pytest.StashKey[CaseItem]()


def evals_of(config: pytest.Config) -> EvalSession:
    """Return the plugin of this session, which is registered if it was not."""
    found: EvalSession | None = config.pluginmanager.get_plugin(NAME)
    if found is None:
        found = EvalSession(config)
        config.pluginmanager.register(found, NAME)
    return found


@dataclass(frozen=True, slots=True)
class _Case:
    """A case that has run, as a report has told it."""

    id: str
    nodeid: str
    passed: int
    total: int
    open: int
    verdict: Verdict
    why: str
    facts: dict[str, Any]
    has_failed: bool
    """Its test has, which says more than its verdict: one that is expected to fail has not, nor one that was skipped midway."""
    is_xfail: bool


class EvalSession:
    """The plugin. Holds state: the evaluations by the node id of their test, results, and what reports have told of sets."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.is_live: bool = config.getoption("llmtest_live")
        self.pauses = Pauses()
        self._worker: dict[str, Any] = getattr(config, "workerinput", {})
        self._evaluations: dict[str, Evaluation] = {}
        self._datasets: dict[Path, Dataset] = {}
        self._spending: dict[str, Spending] = {}
        self._sets: dict[str, dict[str, _Case]] = {}
        self._heads: dict[str, tuple[SetHead, tuple[str, int | None, str]]] = {}
        self._left_out: dict[str, dict[str, str]] = {}
        self._ended: dict[str, CaseItem] = {}
        self._told: set[str] = set()
        self._resumed: Results | None = None
        self._tests: set[str] = set()
        self._resume = config.getoption("llmtest_resume")
        self._folder = evals_folder(config)
        self._writer = ResultsWriter(self._folder, self._worker.get("workerid", "main"))
        self._store = Store(place(config.rootpath))
        self._store_problem = ""
        self._store_lock = threading.Lock()
        self._progress = _Progress(config)
        self._runner = asyncio.Runner()
        config.add_cleanup(self._runner.close)
        config.add_cleanup(self._store.close)
        config.add_cleanup(self._writer.close)

    # -- collection

    def generate(self, metafunc: pytest.Metafunc, marks: list[pytest.Mark]) -> None:
        self._evaluations[metafunc.definition.nodeid] = generate(metafunc, marks, self._datasets)

    @pytest.hookimpl
    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """`-k` finds a case by its tags, too."""
        case = case_of(item)
        if case is not None and isinstance(item, pytest.Function):
            item.extra_keyword_matches.update(case.tags)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        heads = [self._head(item, evaluation) for item, evaluation, _ in map(self._of, session.items) if evaluation is not None]
        self._tests = {head.test for head in heads}
        self._progress.expect(sum(head.repeats for head in heads))

    def _of(self, item: pytest.Item) -> tuple[pytest.Item, Evaluation | None, Case | None]:
        case = case_of(item)
        return item, None if case is None else self._evaluations.get(base_of(item)), case

    def _head(self, item: pytest.Item, evaluation: Evaluation) -> SetHead:
        case = case_of(item)
        assert case is not None
        repeats = 1 if self.is_plain(item) else evaluation.repeats
        return evaluation.head(set_of(item, case), repeats=repeats, live=self.is_live)

    def is_plain(self, item: pytest.Item) -> bool:
        """True if a cassette answers: its answers are the same in each repeat, and show nothing about a rate."""
        from llmtest.pytest_plugin.cassettes import has_cassette

        return not self.is_live and has_cassette(item)

    # -- the plan

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if not self._config.getoption("llmtest_eval_plan") or session.testsfailed:
            return None
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        for line in self._plan(session.items):
            reporter.write_line(line)
        return True

    def _plan(self, items: list[pytest.Item]) -> list[str]:
        heads: dict[str, tuple[SetHead, Evaluation, int]] = {}
        for item, evaluation, _ in map(self._of, items):
            if evaluation is not None:
                head = self._head(item, evaluation)
                selected = heads[head.test][2] if head.test in heads else 0
                heads[head.test] = head, evaluation, selected + 1
        lines = ["nothing is run: --llmtest-eval-plan says what a run can show"]
        for head, evaluation, selected in heads.values():
            lines += ["", *self._plan_of(head, evaluation, selected)]
        return lines if heads else ["there is no test with llm_eval among those that are selected"]

    def _plan_of(self, head: SetHead, evaluation: Evaluation, selected: int) -> list[str]:
        runs = head.cases * head.repeats
        size = f"{amount(head.cases, 'case')} x {amount(head.repeats, 'repeat')} = {amount(runs, 'run')}"
        lines = [f"{head.test}: {size}, {self._cost_line(head, evaluation, runs)}"]
        if selected < head.cases:
            lines.append(f"  {selected:,} of {amount(head.cases, 'case')} are selected: the set will not be judged")
        plans = {"set": head.requirement.plan(runs), "case": head.requirement.plan(head.repeats)}
        for name, plan in plans.items():
            first, *rest = str(plan).splitlines()
            lines += [f"  {name:5} {first}", *(f"      {line}" for line in rest)]
        return lines

    def _cost_line(self, head: SetHead, evaluation: Evaluation, runs: int) -> str:
        if evaluation.max_cost is not None:
            return f"at most ${evaluation.max_cost:g} (max_cost)"
        last = self._last_of(head)
        if last is None or last.cost is None or not last.total:
            return "of unknown cost"
        return f"about ${last.cost / last.total * runs:.4g}, as the last session cost"

    def _last_of(self, head: SetHead) -> SetResults | None:
        """Return the results of the last session that has some of this test."""
        folder = sessions_folder(self._config.rootpath)
        for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
            try:
                found = Results.load(path)
            except ResultsError:
                continue  # of a session without results, or of another version: another one may tell
            if head.test in found.tests:
                return found[head.test]
        return None

    # -- before a case

    @pytest.hookimpl
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        __tracebackhide__ = True
        _, evaluation, _ = self._of(item)
        if evaluation is not None and self._resume is not None:
            self._check_resumed(self._head(item, evaluation))

    def _check_resumed(self, head: SetHead) -> None:
        problem = ""
        try:
            earlier = self.resumed
            known = earlier[head.test].head if head.test in earlier.tests else None
        except ResultsError as error:
            problem, known = str(error), None
        if known is not None and known != head:
            name = next(name for name in SetHead.__slots__ if getattr(known, name) != getattr(head, name))
            problem = (
                f"`{name}` of {head.test} was {getattr(known, name)}, and is {getattr(head, name)}:"
                " results of both do not count together\n  run without --llmtest-resume"
            )
        elif not problem and earlier.tests and not self._tests.intersection(earlier.tests):
            tests = some_names(earlier.tests)
            problem = f"the session {self._folder.name} has results of {tests}, and of none of the tests that are collected"
        if problem:
            pytest.fail(f"--llmtest-resume: {problem}", pytrace=False)

    @property
    def resumed(self) -> Results:
        """What the session that is resumed has written before."""
        if self._resumed is None:
            # A session that was killed before its first line has nothing; it goes on from there.
            self._resumed = Results.load(self._folder) if any(self._folder.glob(f"*{ENDING}")) else Results(())
        return self._resumed

    def earlier(self, test: str, case: str) -> tuple[RepeatResult, ...]:
        """Return the results of a case that the session has already."""
        if self._resume is None or test not in self.resumed.tests:
            return ()
        return self.resumed[test].cases.get(case, ())

    def spending(self, test: str, limit: float | None) -> Spending:
        """Return what the runs of a set have cost, also those before a resume. Each worker of xdist has its part of the limit."""
        if test not in self._spending:
            workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) if self._worker else 1
            self._spending[test] = spending = Spending(None if limit is None else limit / workers)
            if self._resume is not None and test in self.resumed.tests:
                for repeat in self.resumed[test].repeats:
                    spending.add(None if repeat.cost is None else repeat.cost / workers, "an earlier run has no known cost")
        return self._spending[test]

    # -- a case

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        __tracebackhide__ = True
        _, evaluation, case = self._of(item)
        if evaluation is None or case is None or not isinstance(item, pytest.Function):
            return (yield)
        if item.nodeid in self._ended:  # a rerun: its repeats have run, and running more until they pass shows nothing
            item.stash[_running] = self._ended[item.nodeid]
            return self._ended[item.nodeid]._conclude()
        running = item.stash[_running] = CaseItem(self, item, evaluation, case, self._head(item, evaluation))
        with self._progress.shown(running.tally.total), running.installed():
            yield
        return None

    @pytest.hookimpl
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run an async test that no other plugin runs."""
        if _running not in pyfuncitem.stash or not inspect.iscoroutinefunction(pyfuncitem.obj):
            return None
        info: Any = pyfuncitem._fixtureinfo
        # One loop for all of them: clients keep connections, which belong to a loop and break with it.
        self._runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in info.argnames}))
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        running = item.stash.get(_running, None)
        if running is not None and report.when == "call" and (running.is_over or report.skipped):
            self._ended[item.nodeid] = running
            vars(report)[FACTS] = running.facts | {"skipped": not running.is_over}
            place_skip(report, item)
        return report

    def begin(self, head: SetHead) -> None:
        with self._writing():
            self._writer.begin(head)

    def write(self, test: str, result: RepeatResult) -> None:
        with self._writing():
            self._writer.write(test, result)
        self._progress.add(result.cost)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say where results cannot be written: a run that leaves no result would run again after a resume."""
        try:
            yield
        except OSError as error:
            where = shown_path(str(self._folder))
            raise EvaluationError(f"the results cannot be written to {where}: {error.strerror}") from None

    def skip_without_key(self, error: BaseException | None) -> None:
        """Skip a test whose model finds no key."""
        if error is not None and self.is_live:
            from llmtest.pytest_plugin.live import skip_without_key

            skip_without_key(error)

    # -- traces

    @property
    def store_option(self) -> str:
        """The option of `llmtest show` that names the store, where it is not the usual one."""
        return "" if self._store.path == place() else f"--store {shlex.quote(str(self._store.path))} "

    def keep_traces(self, name: str, recording: Recording, scores: Scores) -> str | None:
        """Keep the traces of a run, if they are wanted: of failed runs by default. Return their name."""
        said = self._config.getoption("llmtest_traces")
        mode = said or {"off": "failed"}.get(self._config.getini("llmtest_traces"), self._config.getini("llmtest_traces"))
        if mode == "off" or (mode == "failed" and scores.passed) or self._store_problem:
            return None
        session = f"{self._folder.name} {name}"
        verdicts = [StoredVerdict(scorer, score.value, score.passed, score.why) for scorer, score in scores.items()]
        verdicts += [StoredVerdict("run", 0.0, False, scores.error)] if scores.error else []
        with self._store_lock:
            try:
                return session if self._store.keep(session, [recording], verdicts) else None
            except StoreError as error:
                self._store_problem = str(error)
        return None

    # -- in the process that has all reports

    def note(self, report: pytest.TestReport) -> None:
        """Take what a report tells of a case."""
        facts: dict[str, Any] = getattr(report, FACTS)
        said = facts["head"]
        requirement = Requirement(**said["requirement"])
        head = SetHead(**{**said, "requirement": requirement, "scorers": tuple(said["scorers"])})
        self._heads.setdefault(head.test, (head, report.location))
        if not facts["total"]:
            self._left_out.setdefault(head.test, {})[facts["case"]] = "skipped" if facts["skipped"] else "not run"
            return
        verdict = _verdict_of(facts)
        counts = facts["passed"], facts["total"], facts["open"]
        case = _Case(
            facts["case"], report.nodeid, *counts, verdict, facts["why"], facts, report.failed, hasattr(report, "wasxfail")
        )
        self._sets.setdefault(head.test, {})[case.id] = case

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        facts: dict[str, Any] | None = getattr(report, FACTS, None)
        if facts is None or facts["plain"] or not report.passed or report.when != "call":
            return None
        undecided = _verdict_of(facts).outcome == "undecided"
        return ("undecided", "u", ("UNDECIDED", {"yellow": True})) if undecided else None

    def judge_sets(self, session: pytest.Session) -> None:
        """Report the set whose verdict fails the session, as a failed test with its name. Others are in the summary only."""
        gating = ("fail", "undecided") if self._config.getini("llmtest_undecided") == "fail" else ("fail",)
        for test, cases in self._sets.items():
            verdict = self._verdict(test)
            outcome = None if verdict is None else verdict.outcome
            failed = any(case.has_failed for case in cases.values())
            # A set that is undecided, or of one case, adds nothing to a case that has failed.
            wanted = outcome == "fail" if failed and len(cases) > 1 else not failed and outcome in gating
            wanted = wanted and not all(case.is_xfail for case in cases.values())
            if wanted:
                session.testscollected += 1  # pytest shows how many of them have been reported
                self._told.add(test)
                self._log(test, "\n".join(self._set_lines(test, [*cases.values()])))
                self._remember([] if failed else [case.nodeid for case in cases.values()], test)

    def _remember(self, cases: list[str], test: str) -> None:
        """Have `--lf` run the cases of a set that has failed though none of them has. The set itself is no item to run."""
        cache: Any = self._config.pluginmanager.get_plugin("lfplugin")
        said = [(test, "passed"), *((case, "failed") for case in cases)]
        for nodeid, outcome in said if cache is not None else ():
            report = pytest.TestReport(nodeid, self._heads[test][1], {}, outcome, None, "call")  # type: ignore[arg-type]
            cache.pytest_runtest_logreport(report=report)

    def _log(self, test: str, text: str) -> None:
        path, line, _ = self._heads[test][1]
        where = (path, line, test.partition("::")[2].replace("::", "."))
        for report in (
            pytest.TestReport(test, where, {}, "failed", text, "call"),
            pytest.TestReport(test, where, {}, "passed", None, "teardown"),
        ):
            self._config.hook.pytest_runtest_logreport(report=report)

    def _verdict(self, test: str) -> Verdict | None:
        """Return the verdict of a set; None if it is not judged, because cases are missing or a cassette has answered."""
        head, _ = self._heads[test]
        cases = self._sets[test]
        left_out = self._left_out.get(test, {})
        if len(cases.keys() | left_out.keys()) < head.cases or any(case.facts["plain"] for case in cases.values()):
            return None
        return judge_set(head.requirement, cases.values(), unrun=self._not_run(test))

    def _not_run(self, test: str) -> int:
        return self._count_left_out(test, "not run")

    def _count_left_out(self, test: str, why: str) -> int:
        return [*self._left_out.get(test, {}).values()].count(why)

    def _set_lines(self, test: str, cases: list[_Case]) -> list[str]:
        head, _ = self._heads[test]
        verdict, not_run = self._verdict(test), self._not_run(test)
        lines = []
        if verdict is not None:
            lines += [str(verdict)]
        elif any(case.facts["plain"] for case in cases):
            passed = sum(case.passed for case in cases)
            lines.append(
                f"{passed:,} of {amount(len(cases), 'case')} passed; a cassette has answered, which shows nothing about a rate"
            )
        else:
            lines.append(f"the set is not judged: {len(cases):,} of {amount(head.cases, 'case')} have run")
        lines += _repeats_of_each(head, verdict)
        lines.append(f"  {self._counts_line(cases)}")
        skipped = self._count_left_out(test, "skipped")
        lines += [f"  {amount(skipped, 'case')} skipped"] if skipped else []
        midway = [case for case in cases if case.facts["skipped"]]
        lines += [f"  {amount(len(midway), 'case')} skipped after some runs, which count"] if midway else []
        unrun = sum(head.repeats - case.total - case.open for case in cases if case not in midway) + not_run * head.repeats
        if unrun:
            whole = f", {amount(not_run, 'whole case')} among them" if not_run else ""
            runs = amount(head.cases * head.repeats, "run")
            ends = next((case.facts["ends"] for case in cases if case.facts["ends"]), "the set has ended before")
            lines.append(f"  {unrun:,} of {runs} were not run{whole}, because {ends}")
        return [*lines, *_failed_lines(cases)]

    def _counts_line(self, cases: list[_Case]) -> str:
        counts = Counter(case.verdict.outcome for case in cases if not case.facts["plain"])
        verdicts = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in ("pass", "fail", "undecided") if counts[outcome])
        total = sum(case.total for case in cases)
        tokens = Counter[str]()
        for case in cases:
            tokens.update(case.facts["tokens"])
        said = [f"{amount(len(cases), 'case')} in {amount(total, 'run')}" + (f": {verdicts}" if verdicts else "")]
        if tokens["requests"]:
            spent = amount(tokens["input_tokens"] + tokens["output_tokens"], "token")
            said.append(f"{spent} in {amount(tokens['requests'], 'model call')}")
        costs = [case.facts["spent"] for case in cases]
        if None not in costs and sum(costs):
            said.append(f"${sum(costs):.4g}")
        return "; ".join(said)

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        if self._worker or not self._sets:
            return
        terminalreporter.write_sep("=", "evaluation")
        for test, cases in self._sets.items():
            first, *rest = "\n".join(self._set_lines(test, [*cases.values()])).splitlines()
            terminalreporter.write_line(f"{test}: {first}")
            for line in rest if test not in self._told else ():
                terminalreporter.write_line(line)
        if self._store_problem:
            terminalreporter.write_line(f"the traces of some runs were not kept: {self._store_problem}")
        terminalreporter.write_line(f"results: {shown_path(str(self._folder))}")
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            terminalreporter.write_line(f"  --llmtest-resume={self._folder.name} goes on with them")


def _repeats_of_each(head: SetHead, verdict: Verdict | None) -> list[str]:
    """Return how often each case must run, so that a set which is undecided may decide."""
    if verdict is None or verdict.outcome != "undecided" or head.cases == 1:
        return []
    needed = [more for more in dict.fromkeys((verdict.more, verdict.more_passes)) if more is not None]
    each = [f"{math.ceil((verdict.total + more) / head.cases):,}" for more in needed]
    return [f"  that is {' or '.join(dict.fromkeys(each))} repeats of each of the {head.cases:,} cases"]


def _verdict_of(facts: dict[str, Any]) -> Verdict:
    requirement = Requirement(**facts["head"]["requirement"])
    passed, total, repeats, low, high = facts["verdict"]
    return Verdict(requirement, passed, total, repeats, Interval(low, high, requirement.confidence))


def _failed_lines(cases: list[_Case]) -> list[str]:
    failed = sorted((case for case in cases if case.passed < case.total), key=lambda case: case.passed / case.total)
    lines = [f"  {case.id}: {case.total - case.passed:,} of {case.total:,} failed: {case.why}" for case in failed[:MAX_CASES]]
    more = len(failed) - MAX_CASES
    return [*lines, f"  and {amount(more, 'more case')} with failed runs"] if more > 0 else lines


def terminal_of(config: pytest.Config) -> TextIO | None:
    """Return the terminal to which pytest writes, as a file that pytest does not capture; None if there is none."""
    file = getattr(getattr(config.pluginmanager.get_plugin("terminalreporter"), "_tw", None), "_file", None)
    with uncaptured(config):
        if file is None or not file.isatty():
            return None
        try:
            number = os.dup(file.fileno())
        except UnsupportedOperation:  # a console in a window is a terminal, too
            return None
    found = os.fdopen(number, "w", encoding=file.encoding, errors=file.errors)
    config.add_cleanup(found.close)
    return found


def uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """Return the block in which what this process writes is not captured."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    return nullcontext() if capture is None else capture.global_and_fixture_disabled()


class _Progress:
    """How far the repeats of this process are, at a terminal, while an item runs that takes long. Holds state."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._file = terminal_of(config)
        self._done = self._expected = 0
        self._cost: float | None = 0.0
        self._began = perf_counter()
        self._item_began = 0.0
        self._step: Any = None
        self._block = ExitStack()
        self._lock = threading.Lock()

    def expect(self, repeats: int) -> None:
        self._expected += repeats
        self._began = perf_counter()

    @contextmanager
    def shown(self, earlier: int) -> Iterator[None]:
        """Show it while the item runs in the block; `earlier` of its repeats have run before."""
        self._done += earlier
        self._item_began = perf_counter()
        with ExitStack() as self._block:
            yield
        self._step = None

    def add(self, cost: float | None) -> None:
        """A repeat has ended. Any thread may say so."""
        with self._lock:
            self._done += 1
            self._cost = None if self._cost is None or cost is None else self._cost + cost
            if self._file is None or perf_counter() - self._item_began < SHOWN_AFTER_S:
                return
            if self._step is None:
                reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
                with uncaptured(self._config):
                    reporter.write_line("")  # the bar would cover the line that the reporter has begun
                self._step = self._block.enter_context(progress("repeats", self._file))
            self._step(self._done, self._expected, self._note)

    @property
    def _note(self) -> str:
        rate = self._done / (perf_counter() - self._began)
        return f"{rate:,.1f} a second" + (f", ${self._cost:.4f}" if self._cost else "")
