"""The marker `llm_interleave` and the option `--llmtest-shuffle`: tests under controlled schedules.

A test with the marker runs again and again, with fresh fixtures, each time under another schedule; with the option, once under
another order than asyncio's. The function of an async test runs in the event loop of `llmtest.campaigns.interleaving`, whichever
plugin would have run it; the threads of any other take turns.
"""

from __future__ import annotations

import functools
import inspect
import os
import random
from collections.abc import Generator
from typing import Any, Final
from zlib import crc32

import pytest
from _pytest.runner import runtestprotocol

from llmtest.campaigns.interleaving import Orders, Ran, controlled, decode, encode, explain, explore
from llmtest.campaigns.schedules import Plan, check_numbers
from llmtest.core.text import did_you_mean, names
from llmtest.errors import CampaignError
from llmtest.pytest_plugin.attempt import ATTEMPT, hidden

PLUGIN: Final = "llmtest-interleavings"
MARKER: Final = "llm_interleave"
RUNS: Final = 200
_OPTIONS: Final = ("runs", "seed", "bound")
_RECORDED: Final = frozenset({"llm_recording", "llm_snapshot", "scripted_chat_model", "scripted_llm", "scripted_providers"})
"""The fixtures of a recorded test."""

_plan: Final = pytest.StashKey[Plan]()
_ran: Final = pytest.StashKey[Ran]()


def open_plugin(config: pytest.Config) -> None:
    """Register the plugin, once."""
    if not config.pluginmanager.hasplugin(PLUGIN):
        config.pluginmanager.register(Interleavings(config), PLUGIN)


def check_marker(item: pytest.Function) -> None:
    """Refuse a marker that says what it cannot, when the test is collected.

    Raises:
        CollectError: an option is unknown, or no number.
    """
    try:
        _options_of(item)
    except CampaignError as error:
        raise pytest.Collector.CollectError(f"{item.nodeid}: {error}") from None


def _options_of(item: pytest.Item) -> dict[str, Any]:
    marks = list(item.iter_markers(MARKER))
    given = {key: value for mark in reversed(marks) for key, value in mark.kwargs.items()}
    unknown = next((key for key in given if key not in _OPTIONS), None)
    if unknown is not None or any(mark.args for mark in marks):
        wrong = f"got {unknown}={did_you_mean(unknown, _OPTIONS)}" if unknown else "got an argument without a name"
        raise CampaignError(f"the marker {MARKER} takes {names(_OPTIONS)} by name; {wrong}")
    check_numbers(given, f"the marker {MARKER}")
    return {"runs": RUNS, "seed": 0, "bound": None, **given}


class Interleavings:
    """The plugin that runs tests under schedules."""

    def __init__(self, config: pytest.Config) -> None:
        word = config.getoption("llmtest_schedule")
        self._schedule = None if word is None else decode(word)
        self._seed = _seed_of(config)

    # -- one run

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        if _plan not in item.stash and self._is_shuffled(item):
            item.stash[_plan] = Plan((), crc32(f"{self._seed}:{item.nodeid}".encode()))
        if _plan in item.stash:
            item.stash[ATTEMPT].is_recorded = True
        yield

    def _is_shuffled(self, item: pytest.Item) -> bool:
        if self._seed is None or not isinstance(item, pytest.Function):
            return False
        return inspect.iscoroutinefunction(item.function) and not _RECORDED.isdisjoint(item.fixturenames)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        __tracebackhide__ = hidden
        if _plan not in item.stash:
            return (yield)
        assert isinstance(item, pytest.Function)
        vars(item)["runtest"] = functools.partial(_run, item, item.stash[_plan])
        try:
            yield
        finally:
            del vars(item)["runtest"]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "call" and _plan in item.stash and item.get_closest_marker(MARKER) is None:
            vars(report)["llmtest_shuffle"] = self._seed
            if report.failed and _ran in item.stash:
                report.sections.append(("llmtest: orders", _repeat(item, encode(item.stash[_ran].schedule))))
        return report

    # -- all runs of a test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if item.get_closest_marker(MARKER) is None and (self._schedule is None or not isinstance(item, pytest.Function)):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._explored(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _explored(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        last: list[list[pytest.TestReport]] = []
        failed: list[list[pytest.TestReport]] = []

        def run(plan: Plan) -> Ran:
            item.stash[_plan] = plan
            item.stash.setdefault(_ran, _NOTHING)
            item.stash[_ran] = _NOTHING
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            last[:] = [reports]
            ran = item.stash[_ran]
            bad = next((report for report in reports if report.failed), None)
            if bad is not None:
                failed[:] = [reports]
            error = ran.error or (AssertionError(bad.longreprtext) if bad is not None else None)
            return ran._replace(error=error)

        try:
            if self._schedule is not None:
                run(Plan(self._schedule))
                return last[0]
            found = explore(run, **_options_of(item))
        finally:
            item.stash.setdefault(_plan, Plan(()))
            del item.stash[_plan]
        return _told(item, found, failed[0] if found.failing is not None else last[0])


_NOTHING: Final = Ran((), None, ())
"""Of a run that did not come to the function of the test: its setup failed, or it was skipped."""


def _run(item: pytest.Function, plan: Plan) -> None:
    __tracebackhide__ = hidden
    recording = item.stash[ATTEMPT].recording
    assert recording is not None  # because `is_recorded` was set
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    item.stash[_ran] = ran = controlled(functools.partial(item.obj, **arguments), plan, recording)
    if ran.error is not None:
        raise ran.error


def _told(item: pytest.Item, found: Orders, reports: list[pytest.TestReport]) -> list[pytest.TestReport]:
    report = next((report for report in reports if report.failed), reports[-1])
    call = next((report for report in reports if report.when == "call"), report)
    vars(call)["llmtest_orders"] = str(found)
    if found.failing is not None:
        report.sections.append(("llmtest: orders", f"{_repeat(item, found.token)}\n{explain(found)}"))
    return reports


def _repeat(item: pytest.Item, word: str) -> str:
    return f'repeat: pytest "{item.nodeid}" --llmtest-schedule={word}'


def _seed_of(config: pytest.Config) -> int | None:
    """Return the seed of the session, the same on all workers of xdist; None if tests are not shuffled."""
    told = config.getoption("llmtest_shuffle")
    if told is None:
        return None
    if told == "random":
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
        return crc32(run.encode()) if run else random.SystemRandom().getrandbits(32)
    if not told.isdecimal():
        raise pytest.UsageError(f"--llmtest-shuffle takes the seed that a session has printed, a whole number; got {told!r}")
    return int(told)
