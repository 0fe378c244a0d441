"""`--llmtest-traces`: the traces of tests, kept in the store under their node ids.

a plugin of its own, which `llmtest.pytest_plugin` registers when it is asked for. Each worker of xdist writes into
the same file.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator
from typing import Any, Final

import pytest

from llmtest.errors import StoreError
from llmtest.tracing.store import Store, place

_failed: Final = pytest.StashKey[bool]()
SECTION: Final = "llmtest: traces"


class Keeping:
    """Keeps the traces of tests that failed, or of all. `attempt_at` says what a test has recorded in this attempt."""

    def __init__(self, config: pytest.Config, mode: str, attempt_at: Callable[[pytest.Item], Any]) -> None:
        self._mode = mode
        self._attempt_at = attempt_at
        self._store = Store(place(config.rootpath))
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
            # A subtest reports in the middle of its test, whose traces are then not whole.
            if report.when == "teardown" or (report.failed and not attempt.running):
                self._keep(item, report, attempt.page.recordings, failed or self._mode == "all")
        return report

    def _keep(self, item: pytest.Item, report: pytest.TestReport, recordings: list[Any], wanted: bool) -> None:
        try:
            if not wanted:
                self._store.forget(item.nodeid)
            elif self._store.keep(item.nodeid, recordings):
                self._tell(item, report)
        except StoreError as error:  # a report that fails would hide why the test failed
            report.sections.append((SECTION, f"the traces of this test were not kept\n{error}"))

    def _tell(self, item: pytest.Item, report: pytest.TestReport) -> None:
        kept = ("llmtest_trace", str(self._store.path))
        for properties in (item.user_properties, report.user_properties):  # JUnit takes those of the teardown
            if kept not in properties:
                properties.append(kept)
        if report.failed:
            elsewhere = "" if self._store.path == place() else f"--store {shlex.quote(str(self._store.path))} "
            report.sections.append((SECTION, f"llmtest show {elsewhere}{shlex.quote(item.nodeid)}"))
