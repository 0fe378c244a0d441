"""`--llmtest-baseline`: at the end of a session its evaluations are compared with results that were accepted before.

A plugin of its own, in the process that has all reports. What has become worse fails the session; no evidence does not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from llmtest.core.source import shown_path
from llmtest.core.text import amount
from llmtest.errors import BaselineError, ResultsError
from llmtest.evals.baselines import Baseline, load_baselines
from llmtest.evals.comparisons import compare
from llmtest.evals.regressions import Compared, check_kinds
from llmtest.evals.results import Results, SetResults
from llmtest.pytest_plugin.arguments import evals_folder
from llmtest.tracing.store import place

OPTION: Final = "--llmtest-baseline"


class BaselineComparison:
    """The plugin. Holds state: the baselines by file, and what was compared.

    Raises:
        UsageError: a file cannot be read or is no baseline, or the ini key has an unknown word.
    """

    def __init__(self, config: pytest.Config, paths: list[Path]) -> None:
        self._config = config
        self._kinds: list[str] = config.getini("llmtest_regressions")
        try:
            check_kinds(self._kinds, "the ini key llmtest_regressions")
            self._baselines = [(path, baseline) for path in paths for baseline in load_baselines(path)]
        except BaselineError as error:
            raise pytest.UsageError(f"{OPTION}: {error}") from None
        self._folder = evals_folder(config)
        self._compared: list[Compared] = []
        self._notes: list[str] = []
        self._failed = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            if not (self._config.option.collectonly or self._config.getoption("llmtest_eval_plan")):
                self._compare_all(session)

    def _compare_all(self, session: pytest.Session) -> None:
        try:
            results = list(Results.load(self._folder)) if self._folder.is_dir() else []
        except ResultsError as error:
            self._fail(session, self._baselines[0][0], "", str(error))
            return
        for path, baseline in self._baselines:
            found = _set_of(baseline, results)
            try:
                self._compare(session, path, baseline, found)
            except BaselineError as error:
                self._fail(session, path, found.test if found is not None else "", f"{shown_path(str(path))}: {error}")
        known = [found for _, baseline in self._baselines if (found := _set_of(baseline, results)) is not None]
        self._notes += [f"{found.test} is not in the baseline" for found in results if found not in known]
        if not self._compared and not self._failed:
            why = "\n".join(f"  {note}" for note in self._notes) or "  no evaluation has run"
            self._fail(session, self._baselines[0][0], "", f"nothing was compared with the baseline\n{why}")

    def _compare(self, session: pytest.Session, path: Path, baseline: Baseline, found: SetResults | None) -> None:
        if found is None:
            self._notes.append(f"{baseline.test or baseline.dataset} has no results in this session")
            return
        if len(found.cases) < found.head.cases and found.head.hash == baseline.hash:
            self._notes.append(f"{found.test}: {len(found.cases):,} of {amount(found.head.cases, 'case')} have run")
            return
        compared = Compared(found.test, compare(baseline, found.baseline()))
        self._compared.append(compared)
        worse = compared.regressions(self._kinds)
        if worse:
            _, *lines = compared.lines(place(self._config.rootpath))
            headline = f"worse than {shown_path(str(path))}: {worse[0]}"
            told = [line for line in lines if line.strip() != worse[0]]
            self._fail(session, path, found.test, "\n".join([headline, *told]))

    def _fail(self, session: pytest.Session, path: Path, test: str, text: str) -> None:
        """Report a failure as one of the test of a set, or of the file where there is none."""
        self._failed = True
        session.testscollected += 1  # pytest shows how many of them have been reported
        node = test or shown_path(str(path))
        where = (node.partition("::")[0], None, node.partition("::")[2].replace("::", ".") or node)
        for report in (
            pytest.TestReport(node, where, {}, "failed", text, "call"),
            pytest.TestReport(node, where, {}, "passed", None, "teardown"),
        ):
            self._config.hook.pytest_runtest_logreport(report=report)

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        lines = list(self._summary())
        if lines:
            terminalreporter.write_sep("=", "compared with the baseline")
        for line in lines:
            terminalreporter.write_line(line)

    def _summary(self) -> Iterator[str]:
        for compared in self._compared:
            test, *lines = compared.lines()
            yield f"{test}: {lines[0].strip()}"
            if not compared.regressions(self._kinds):
                yield from lines[1:]
        yield from (f"not compared: {note}" for note in self._notes)


def _set_of(baseline: Baseline, results: list[SetResults]) -> SetResults | None:
    """Return the results of the test of a baseline; if it has a new name, those of the same dataset, or the only ones."""
    named = [found for found in results if found.test == baseline.test]
    alike = [found for found in results if found.head.hash == baseline.hash]
    return next((some[0] for some in (named, alike, results) if len(some) == 1), None)
