"""`--llmtest-traces`: the traces of tests, kept in the store under their node ids.

A plugin of its own, which `llmtest.pytest_plugin` registers if traces are wanted. Each worker of xdist writes into
the same file.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Generator
from typing import Any, Final

import pytest

from llmtest.core.masks import publish
from llmtest.core.text import amount, clip
from llmtest.errors import StoreError
from llmtest.tracing.rows import column
from llmtest.tracing.store import Store, StoredVerdict, place

NAME: Final = "test"
"""The name of the verdict of a test."""
MAX_WHY_CHARACTERS: Final = 200
_failed: Final = pytest.StashKey[bool]()
_passed: Final = pytest.StashKey[bool]()
_why: Final = pytest.StashKey[str]()
SECTION: Final = "llmtest: traces"


class Keeping:
    """The plugin that keeps the traces of tests that failed, or of all. `attempt_at` returns the attempt at a test.

    A store that cannot be used is asked once: where another process holds it, each test would wait for it in vain.
    """

    def __init__(self, config: pytest.Config, mode: str, attempt_at: Callable[[pytest.Item], Any]) -> None:
        self._mode = mode
        self._attempt_at = attempt_at
        self._store = Store(place(config.rootpath))
        self._problem = ""
        self._items: dict[str, list[pytest.Item]] = {}
        config.add_cleanup(self._store.close)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        attempt = self._attempt_at(item)
        if attempt is not None:
            failed = report.failed or (report.when != "setup" and item.stash.get(_failed, False))
            item.stash[_failed] = failed
            if report.failed:
                item.stash[_why] = (item.stash.get(_why, "") if report.when != "setup" else "") or last_error(call, report)
            if report.when == "call":
                item.stash[_passed] = report.passed and not hasattr(report, "wasxfail")
            # A subtest reports in the middle of its test, whose traces are then not whole.
            if report.when == "teardown" or (report.failed and not attempt.running):
                self._keep(item, report, attempt.page.recordings, failed or self._mode == "all")
        return report

    def _keep(self, item: pytest.Item, report: pytest.TestReport, recordings: list[Any], wanted: bool) -> None:
        if not self._problem:
            try:
                if not wanted:
                    self._store.forget(self._name(item))
                elif self._store.keep(self._name(item), recordings, self._verdicts(item)):
                    self._tell(item, report)
                return
            except StoreError as error:  # a report that fails would hide why the test failed
                self._problem = str(error)
        if wanted and recordings:
            report.sections.append((SECTION, f"the traces of this test were not kept\n{self._problem}"))
            vars(report)["llmtest_store"] = self._problem  # comes back from xdist's workers

    def _verdicts(self, item: pytest.Item) -> list[StoredVerdict]:
        """Return the verdict of a test; none if it was skipped, or failed as it is expected to."""
        if item.stash[_failed]:
            return [StoredVerdict(NAME, 0.0, False, item.stash.get(_why, ""))]
        return [StoredVerdict(NAME, 1.0, True)] if item.stash.get(_passed, False) else []

    def _name(self, item: pytest.Item) -> str:
        """Return the session of a test: its node id, and more where the store would give two tests one name."""
        items = self._items.setdefault(item.nodeid, [])
        if item not in items:
            items.append(item)
        name = item.nodeid
        if column(name) != name:  # secrets in its parameters are masked
            name += f" ~{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"
        return name if item is items[0] else f"{name} ({items.index(item) + 1})"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        reports = [report for some in terminalreporter.stats.values() for report in some if hasattr(report, "llmtest_store")]
        if reports:
            tests = amount(len({report.nodeid for report in reports}), "test")
            terminalreporter.write_line(f"llmtest: the traces of {tests} were not kept: {reports[0].llmtest_store}")

    def _tell(self, item: pytest.Item, report: pytest.TestReport) -> None:
        kept = ("llmtest_trace", str(self._store.path))
        for properties in (item.user_properties, report.user_properties):  # JUnit takes those of the teardown
            if kept not in properties:
                properties.append(kept)
        if report.failed:
            elsewhere = "" if self._store.path == place() else f"--store {shlex.quote(str(self._store.path))} "
            report.sections.append((SECTION, f"llmtest show {elsewhere}{shlex.quote(self._name(item))}"))


def last_error(call: pytest.CallInfo[None], report: pytest.TestReport) -> str:
    """Return why a test has failed, in one line: the error of its code, or what another plugin has said of it."""
    error = call.excinfo.exconly(tryshort=True) if call.excinfo is not None else report.longreprtext
    return clip(publish(" ".join(error.split())), MAX_WHY_CHARACTERS)
