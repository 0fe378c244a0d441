"""What threads of a test do after its end: an error of that test, not of the one that runs by then."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Generator
from threading import Thread
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from llmtest.errors import Violation
    from llmtest.ledger import Ledger
    from llmtest.pytest_plugin.arguments import Worker

LATE_S: Final = 1.0
"""How long the end of the session waits for threads that were at work when their test ended."""
_SENT: Final = "llmtest_late"

_late: Final = pytest.StashKey[list["LateViolations"]]()
_threads: Final = pytest.StashKey[list[Thread]]()  # those that were at work when their test ended


class LateViolations:
    """What is written on the page of a test after its last report; `told` says why it comes so late."""

    # Not a dataclass: to make one takes half a millisecond of each session, also of those without llmtest.
    def __init__(self, nodeid: str, location: tuple[str, int | None, str], told: str, violations: list[Violation]) -> None:
        self.nodeid = nodeid
        self.location = location
        self.told = told
        self.violations = violations

    def take(self) -> str:
        """Return the text of the violations so far, each once."""
        from llmtest.errors import summarize

        found = self.violations[:]
        del self.violations[: len(found)]
        return "\n\n".join([self.told, *summarize(found)]) if found else ""


def open_session(config: pytest.Config) -> None:
    config.stash[_late], config.stash[_threads] = [], []


def keep(item: pytest.Item, told: str, violations: list[Violation]) -> None:
    """Report what is, or will be, in `violations` for a test that has had its last report."""
    item.config.stash[_late].append(LateViolations(item.nodeid, item.location, told, violations))


def watch(item: pytest.Item, page: Ledger) -> None:
    """Watch the page of a test that has ended, if threads which it started are at work."""
    threads = page.end()
    if threads:
        names = ", ".join(f"`{thread.name}`" for thread in threads)
        keep(item, f"after the end of this test, which has not waited for its thread {names}", page.violations)
        item.config.stash[_threads] += threads


def tell(config: pytest.Config) -> None:
    """Report late violations as an error of the test that caused them. xdist takes reports of the running test only."""
    for late in config.stash[_late]:
        text = late.take()
        if text and hasattr(config, "workeroutput"):
            config.workeroutput.setdefault(_SENT, []).append([late.nodeid, list(late.location), text])
        elif text:
            _log(config, late.nodeid, late.location, text)


def _log(config: pytest.Config, nodeid: str, location: tuple[str, int | None, str], text: str) -> None:
    report = pytest.TestReport(nodeid, location, {}, "failed", text, "teardown")
    config.hook.pytest_runtest_logreport(report=report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        evals = session.config.pluginmanager.get_plugin("llmtest-evals")
        if evals is not None:
            evals.judge_sets(session)
        until = time.perf_counter() + LATE_S
        for thread in session.config.stash[_threads]:
            thread.join(max(0.0, until - time.perf_counter()))
        tell(session.config)
        atexit.register(_tell_last, session.config.stash[_late])  # what a thread does after that has no report any more


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Worker) -> None:
    for nodeid, location, text in (getattr(node, "workeroutput", None) or {}).get(_SENT, ()):
        _log(node.config, nodeid, tuple(location), text)


def _tell_last(late: list[LateViolations]) -> None:
    for violations in late:
        text = violations.take()
        if text:
            sys.stderr.write(f"llmtest: {violations.nodeid}: {text}\n")  # pragma: no cover - the threads that last till then
