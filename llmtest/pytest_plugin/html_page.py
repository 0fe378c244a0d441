"""`--llmtest-html`: the tests of a session as one HTML page.

A plugin of its own, which `llmtest.pytest_plugin` registers if a page is wanted. Where a test ran, its traces become plain
data that its last report carries, from a worker of xdist too; the page is written where the session ends. The folder of
`--llmtest-report` gets it too, so that `llmtest merge` finds it.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from llmtest.core.text import amount
from llmtest.matching.answers import Answer
from llmtest.matching.engine import judge
from llmtest.matching.rule import Rule
from llmtest.pytest_plugin.arguments import report_folder
from llmtest.pytest_plugin.markers import suite_rules
from llmtest.pytest_plugin.results import first_line
from llmtest.recording.recording import Recording
from llmtest.reports.joining import PAGE
from llmtest.trees.pending import write_text
from llmtest.viewer.cases import Case, Detail, FailureText, Status, detail
from llmtest.viewer.page import CoverageView, write_page

_failures: Final = pytest.StashKey[list[FailureText]]()
_ORDER: Final[tuple[Status, ...]] = ("error", "failed", "xpassed", "xfailed", "skipped", "passed")
"""What a test is called if its phases ended in several ways: the first of these."""
_SENT: Final = "llmtest_page"
MAX_SOURCE_LINES: Final = 80


@dataclass(slots=True)
class _Row:
    """What the reports of a test have told so far."""

    statuses: set[Status] = field(default_factory=set)
    cause: str = ""
    seconds: float = 0.0
    detail: Detail | None = None

    @property
    def status(self) -> Status:
        """How the test ended; `open` if its reports do not tell, as when the session was interrupted in it."""
        return next((status for status in _ORDER if status in self.statuses), "open")


class HtmlPage:
    """The plugin that writes the page to `path`. `attempt_at` returns the attempt at a test."""

    def __init__(self, config: pytest.Config, path: Path, attempt_at: Callable[[pytest.Item], Any]) -> None:
        self._is_worker = hasattr(config, "workerinput")
        self._path = path
        self._attempt_at = attempt_at
        self._rows: dict[str, _Row] = {}
        self._faults: list[pytest.TestReport] = []
        self._told = ""

    # where a test runs

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "setup":
            item.stash[_failures] = []  # of this attempt: a rerun begins anew
        if report.failed:
            item.stash[_failures].append(FailureText(_cause(report), report.longreprtext, _source(item, report)))
        attempt = self._attempt_at(item)
        if report.when == "teardown" and attempt is not None:
            found = self._detail(item, attempt)
            if found is not None:
                vars(report)[_SENT] = found.to_plain()  # comes back from xdist's workers
        return report

    def _detail(self, item: pytest.Item, attempt: Any) -> Detail | None:
        recordings = list(_distinct(attempt.page.recordings))
        failures = item.stash[_failures]
        if not recordings and not failures:
            return None
        joined = FailureText(failures[0].cause, "\n\n".join(f.text for f in failures), failures[0].source) if failures else None
        rules = (*suite_rules(item.config), *attempt.rules)
        try:
            answers = [*_answers(recordings, rules), *((None, answer) for answer in attempt.answers)]
            told = {"comparisons": attempt.differences(), "violations": attempt.violations, "answers": answers}
            return detail(item.nodeid, recordings, failure=joined, **told)
        except Exception as error:  # a report that fails would hide why the test failed
            note = f"the traces of this test cannot be shown: {type(error).__name__}: {error}"
            return detail(item.nodeid, [], failure=joined, notes=[note])

    # where the session ends

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._is_worker:
            return
        if hasattr(report, "llmtest_fault"):
            self._faults.append(report)
        found = vars(report).pop(_SENT, None)  # plugins that write reports to files need not write this
        if str(report.outcome) == "rerun":  # of pytest-rerunfailures: the next attempt begins anew
            self._rows.pop(report.nodeid, None)
            return
        row = self._rows.setdefault(report.nodeid, _Row())
        status = _status(report)
        row.statuses |= {status} if status is not None else set()
        row.seconds += report.duration
        row.cause = row.cause or (_cause(report) if status not in (None, "passed") else "")
        row.detail = Detail.from_plain(found) if found is not None else row.detail

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected is a row too: with workers, the controller is told of it once."""
        if report.failed and not self._is_worker:
            cause = first_line(report)
            failure = FailureText(cause, report.longreprtext)
            self._rows[report.nodeid] = _Row({"error"}, cause, detail=detail(report.nodeid, [], failure=failure))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._is_worker or session.config.option.collectonly:
            return
        cases = [Case(name, row.status, row.cause, row.seconds, row.detail) for name, row in self._rows.items()]
        cases += self._matrices()
        shown = self._path.relative_to(Path.cwd()) if self._path.is_relative_to(Path.cwd()) else self._path
        report = report_folder(session.config)
        try:
            size = write_page(self._path, cases, title=f"{session.config.rootpath.name} · llmtest", coverage=_coverage(session))
            if report is not None and self._path != report / PAGE:
                write_text(report / PAGE, self._path.read_text("utf-8", "surrogatepass"))
        except OSError as error:  # the tests have run: their results must not be lost with it
            self._told = f"llmtest: the page was not written: {error}"
        else:
            self._told = f"llmtest: {shown} has the traces of {amount(len(cases), 'test')} ({size / 1e6:.1f} MB)"

    def _matrices(self) -> Iterator[Case]:
        """Yield a row for each test with faults: what came of each of them."""
        if not self._faults:
            return
        from llmtest.pytest_plugin.fault_items import matrices

        for test, matrix in matrices(self._faults).items():
            status: Status = "failed" if matrix.failed else "passed"
            name = f"{test} with faults"
            yield Case(name, status, matrix.summary(), detail=detail(name, [], notes=str(matrix).splitlines()))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._told:
            terminalreporter.write_line(self._told)


def _coverage(session: pytest.Session) -> CoverageView | None:
    found = session.config.pluginmanager.get_plugin("llmtest-coverage-report")
    return found.view() if found is not None else None


def _distinct(recordings: Sequence[Recording]) -> Iterator[Recording]:
    """Yield the recordings that have runs which no recording before them has: an inner block adds nothing to an outer one."""
    seen: set[Any] = set()
    for recording in recordings:
        runs = {run.id for run in recording.runs}
        if not runs <= seen or recording.late_events:
            yield recording
        seen |= runs


def _answers(recordings: Sequence[Recording], rules: Sequence[Rule]) -> Iterator[tuple[int, Answer]]:
    for at, recording in enumerate(recordings):
        asked = tuple(dict.fromkeys((*rules, *recording.rules)))
        if asked:
            yield from ((at, answer) for answer in judge(recording, asked))


def _status(report: pytest.TestReport) -> Status | None:
    """Return how a phase of a test ended; None for a setup or a teardown that passed."""
    if hasattr(report, "wasxfail") and not report.failed:
        return "xfailed" if report.skipped else "xpassed"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if report.skipped:
        return "skipped"
    return "passed" if report.when == "call" else None


def _cause(report: pytest.TestReport) -> str:
    """Return why a test failed, or was skipped, on one line."""
    if isinstance(report.longrepr, tuple):  # of a skip: its place and its reason
        return report.longrepr[2]
    return first_line(report) if report.longreprtext else str(getattr(report, "wasxfail", ""))


def _source(item: pytest.Item, report: pytest.TestReport) -> str:
    """Return the source of a test with a mark at the line that failed; empty if it cannot be read."""
    function = getattr(item, "function", None)
    try:
        lines, first = inspect.getsourcelines(function) if function is not None else ([], 0)
    except (OSError, TypeError):  # a test that was made at run time has none
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    failed = crash.lineno - first if crash is not None and Path(crash.path).name == item.path.name else -1
    shown = textwrap.dedent("".join(lines)).splitlines()[:MAX_SOURCE_LINES]
    marked = (f"{'>' if number == failed else ' '} {line}".rstrip() for number, line in enumerate(shown))
    return "\n".join([f"# {item.location[0]}:{first}", *marked]) if shown else ""
