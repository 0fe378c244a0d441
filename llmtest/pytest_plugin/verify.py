"""`--llmtest-verify=N`: a new or changed snapshot counts only if N runs of its test agree.

Floor 3, the plugin's. Each run sets up and tears down the test's own fixtures. Nothing is written until the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from _pytest.runner import runtestprotocol

FIXTURE: Final = "llm_snapshot"


class Verification:
    """The plugin that runs the tests which compare a snapshot. `attempt_of` gives what a run of a test has left."""

    def __init__(self, runs: int, attempt_of: Callable[[pytest.Item], Any]) -> None:
        self._runs = runs
        self._attempt_of = attempt_of

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if FIXTURE not in getattr(item, "fixturenames", ()):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._verified(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _verified(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        reports, first = self._run(item, nextitem)
        attempts = [first]
        changed = [mismatch for mismatch in first.comparisons() if mismatch.received not in (None, mismatch.expected)]
        for number in range(2, self._runs + 1) if changed else ():
            again, other = self._run(item, nextitem)
            attempts.append(other)
            if [(r.when, r.outcome) for r in again] != [(r.when, r.outcome) for r in reports]:
                self._drop(item, attempts, changed)
                return _ended_otherwise(again, f"run {number} of {self._runs}")
            differing = _differing(changed, other.comparisons())
            if differing is not None:
                self._drop(item, attempts, changed)
                return _unstable(item, reports, *differing, f"run {number} of {self._runs}")
        if first.held is not None:
            first.held.write()
        return reports

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> tuple[list[pytest.TestReport], Any]:
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        return reports, self._attempt_of(item)

    def _drop(self, item: pytest.Item, attempts: list[Any], changed: list[Any]) -> None:
        """What came is no snapshot: it is neither written nor kept."""
        import os

        from llmtest.trees.pending import Folder

        for attempt in attempts:
            if attempt.held is not None:
                attempt.held.drop()
        for mismatch in changed:
            Folder(item.config.rootpath, os.environ).forget(mismatch)


def _differing(changed: list[Any], again: list[Any]) -> tuple[str, Any] | None:
    """The name of the first snapshot for which something else came, and what differs."""
    from llmtest.trees.differ import diff

    came: dict[Path, str] = {mismatch.snapshot: mismatch.received or "" for mismatch in again}
    for mismatch in changed:
        difference = diff(mismatch.received, came.get(mismatch.snapshot, ""))
        if difference is not None:
            return mismatch.snapshot.name, difference
    return None


def _ended_otherwise(reports: list[pytest.TestReport], which: str) -> list[pytest.TestReport]:
    """The reports of a run that ended in another way than the first; one of them must fail."""
    told = next((report for report in reports if report.failed), reports[-1])
    text = f"{which} of the test ended in another way than the first one, so its snapshot was not accepted"
    if not told.failed:
        told.outcome, told.longrepr = "failed", text
    told.sections.append(("llmtest: verify", text))
    return reports


def _unstable(
    item: pytest.Item, reports: list[pytest.TestReport], name: str, difference: Any, which: str
) -> list[pytest.TestReport]:
    text = f"snapshot not stable: in {which}, {name} came out otherwise: {difference.headline}"
    report = next(report for report in reports if report.when == "call")
    report.outcome, report.longrepr = "failed", _shown(item, text)
    report.sections[:] = [section for section in report.sections if not section[0].startswith("llmtest: ")]
    report.sections.append(("llmtest: verify", "\n".join([*difference.lines(), "  nothing was written"])))
    return reports


def _shown(item: pytest.Item, text: str) -> Any:
    """An error of one line, at the place of the test."""
    excinfo = pytest.ExceptionInfo.from_exc_info(_caught(text))
    shown = excinfo.getrepr(style="value")
    assert shown.reprcrash is not None
    shown.reprcrash.path, shown.reprcrash.lineno = str(item.path), (item.location[1] or 0) + 1
    return shown


def _caught(text: str) -> tuple[type[AssertionError], AssertionError, Any]:
    try:
        raise AssertionError(text)
    except AssertionError as error:
        return type(error), error, error.__traceback__
