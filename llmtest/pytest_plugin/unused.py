"""Snapshots of tests that did not run to their end: nothing compared them, which does not make them unused.

syrupy knows the tests that were skipped by the names of snapshots in its own files, and forgets those that a hook took away.
Here each test is counted, and the snapshots of a file are left alone as long as one of its tests has not passed. After a run in
which something failed, syrupy's report does not advise to update: the next run would accept whatever the failing program does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

_SENT: Final = "llmtest_collected"
_UPDATE: Final = "--snapshot-update"
_GREEN: Final = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


class PassedTests:
    """The plugin that counts which of the collected tests have passed, those of xdist's workers too."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._files: dict[str, str] = {}
        self._passed: set[str] = set()
        self._is_red = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, object, object]:
        self._files = {item.nodeid: str(item.path) for item in items}  # before a hook takes some of them away
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self._passed.add(report.nodeid)
        elif report.failed:
            self._passed.discard(report.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        """syrupy deletes what is unused, or fails for it. After a run that was filtered or failed, it cannot know."""
        syrupy = getattr(session.config, "_syrupy", None)
        self._is_red = bool(session.testsfailed) or exitstatus not in _GREEN
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput[_SENT] = self._files
        elif syrupy is not None:  # pragma: no branch - else the command line says `-p no:syrupy`
            if is_partial(session):
                session.config.option.no_cleanup = True
                syrupy.remove_unused_snapshots = lambda **_: None
            _leave_alone(syrupy, self._folders())
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self) -> Generator[None, None, None]:
        syrupy = getattr(self._config, "_syrupy", None)
        if self._is_red and getattr(syrupy, "report", None) is not None:
            syrupy.report = _WithoutAdvice(syrupy.report)  # type: ignore[union-attr]
        yield

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._files |= (getattr(node, "workeroutput", None) or {}).get(_SENT, {})

    def _folders(self) -> set[Path]:
        """Return the folders with the snapshots of each file of which a test has not passed."""
        name = self._config.option.snapshot_dirname
        unfinished = {Path(file) for test, file in self._files.items() if test not in self._passed}
        return {file.parent / name / file.stem for file in unfinished}


class _WithoutAdvice:
    """syrupy's report, without the advice to update."""

    def __init__(self, report: Any) -> None:
        self._report = report

    def __getattr__(self, name: str) -> Any:  # pragma: no cover - which attributes syrupy reads differs by its version
        return getattr(self._report, name)

    @property
    def lines(self) -> Iterator[str]:
        blank = 0
        for line in self._report.lines:
            if not line:
                blank += 1
            elif _UPDATE not in line:
                yield from ("",) * blank
                yield line
                blank = 0


def _leave_alone(syrupy: Any, folders: set[Path]) -> None:
    """Make syrupy blind for what lies in `folders`, and for what a test has compared."""
    ours = [assertion for assertion in syrupy._assertions if type(assertion).__module__ == "llmtest.pytest_plugin.snapshots"]
    compared = {result.snapshot_location for assertion in ours for result in assertion.executions.values()}
    for assertion in ours:
        assertion.extension.left_alone, assertion.extension.compared = folders, compared
    if hasattr(syrupy, "_merge_worker_reports"):  # pragma: no branch - syrupy 7 decides for all workers together
        syrupy._merge_worker_reports = partial(_merge, syrupy, syrupy._merge_worker_reports, folders)


def _merge(syrupy: Any, merge: Callable[[], None], folders: set[Path]) -> None:
    merge()
    found = syrupy.report.discovered
    syrupy.report.discovered = type(found)()
    for collection in found:
        if collection.location not in syrupy.report.used and Path(collection.location).parent not in folders:
            syrupy.report.discovered.add(collection)


def is_partial(session: pytest.Session) -> bool:
    """True if some tests were not selected, not reached, or failed before they compared."""
    options = vars(session.config.option)
    filters = ("keyword", "markexpr", "deselect", "lf", "stepwise", "failedfirst")
    chosen = any(options.get(name) for name in filters) or any("::" in argument for argument in session.config.args)
    return chosen or bool(session.testsfailed or session.shouldstop or session.shouldfail)
