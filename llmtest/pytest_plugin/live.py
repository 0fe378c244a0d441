"""`--llmtest-live`: tests with `llm_eval` or `llm_cassette` ask real models.

Imported only in a session with this option.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import pytest

from llmtest.pytest_plugin.attempt import ATTEMPT, place_skip
from llmtest.pytest_plugin.cassettes import has_cassette, missing_key

_live: Final = pytest.StashKey[bool]()


def skip_without_key(error: BaseException) -> None:
    """Skip the test if an SDK has found no key."""
    variable = missing_key(error)
    if variable:
        pytest.skip(f"--llmtest-live asks the real model, and there is no key for it: set the environment variable {variable}")


class Live:
    """The plugin that lets the requests of such tests through."""

    @pytest.hookimpl
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if item.get_closest_marker("llm_eval") is not None or has_cassette(item):
            item.stash[_live] = True
            item.stash[ATTEMPT].allow_real_models()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        __tracebackhide__ = True
        if call.excinfo is not None and call.when != "teardown" and item.stash.get(_live, False):
            try:
                skip_without_key(call.excinfo.value)
            except pytest.skip.Exception:
                call.excinfo = pytest.ExceptionInfo.from_current()
        report = yield
        place_skip(report, item)
        return report
