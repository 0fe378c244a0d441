"""The phases of a test, as hooks of pytest.

For each attempt at a test a page of the ledger is open, from its setup to the end of its teardown. What is on it fails
the test in the phase in which it happened, unless the test has already failed or was skipped.
"""

from __future__ import annotations

import functools
from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from llmtest.pytest_plugin import late, markers
from llmtest.pytest_plugin.attempt import (
    ATTEMPT,
    Attempt,
    attempt_of,
    fail,
    hidden,
    is_ours,
    mute,
    prefix,
    say_headline,
    without_frames,
)
from llmtest.pytest_plugin.options import MODES, PROVIDERS, VERIFICATION

if TYPE_CHECKING:
    from llmtest.ledger import Ledger

_sharing: Final = pytest.StashKey[set[str]]()  # names of fixtures that share doubles between tests
_running: Final = pytest.StashKey[Attempt]()  # of a session: the one that runs


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Doubles that are made while tests are collected belong to no test; least of all to one that runs this pytest."""
    from llmtest import ledger

    outside = ExitStack()
    outside.enter_context(ledger.opened(ledger.Outside()))
    session.config.add_cleanup(outside.close)
    session.config.pluginmanager.register(CassettesFirst(), "llmtest-cassettes")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    __tracebackhide__ = hidden
    try:
        return (yield)
    finally:
        if ATTEMPT in item.stash:
            item.stash[ATTEMPT].forget()
            del item.stash[ATTEMPT]
        late.tell(item.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = hidden
    item.stash[ATTEMPT] = item.session.stash[_running] = attempt = Attempt(item, item.config.stash[MODES])
    yield
    attempt.set_up = True
    markers.check_campaigns(item)
    attempt.judge_of_page.waived = markers.waived(item)
    # Before a shared double is called, because by then the run that calls it has begun.
    shared = not item.session.stash.get(_sharing, set()).isdisjoint(getattr(item, "fixturenames", ()))
    if attempt.quiet and (shared or PROVIDERS in item.config.stash):
        mute()
    markers.check_case(item)
    attempt.budget = markers.budget_of(item)
    attempt.rules = markers.rules_of(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    """Look after the files of cassettes, where there may be some."""
    collected = list(items)  # before a hook takes some of them away
    result = yield
    folders = {item.path.parent for item in collected}
    has_marker = any(item.get_closest_marker("llm_cassette") is not None for item in collected)
    if has_marker or config.getini("llmtest_cassettes") or any((folder / "cassettes").is_dir() for folder in folders):
        from llmtest.pytest_plugin.unused_cassettes import CassetteFiles

        config.pluginmanager.register(CassetteFiles(config, collected), "llmtest-cassette-files")
    return result


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make an item for each case of a test with `llm_eval`; behind other parameters, so that the id ends in the case."""
    marks = list(metafunc.definition.iter_markers("llm_eval"))
    if marks:
        from llmtest.pytest_plugin.eval_session import evals_of

        evals_of(metafunc.config).generate(metafunc, marks)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Add to a test with the marker `llm_faults` an item for each fault; look at those with `llm_interleave`."""
    made = yield
    items = made if isinstance(made, list) else [made]
    functions = [item for item in items if isinstance(item, pytest.Function)]
    interleaved = [item for item in functions if item.get_closest_marker("llm_interleave") is not None]
    if interleaved:
        from llmtest.pytest_plugin import interleavings

        for item in interleaved:
            interleavings.check_marker(item)
            interleavings.open_plugin(item.config)
    if any(item.get_closest_marker("llm_faults") is not None for item in functions):
        from llmtest.pytest_plugin.fault_items import with_faults

        return [each for item in items for each in with_faults(item)]
    return made


class CassettesFirst:
    """The plugin that opens the cassette of a test before its fixtures. A wrapper could not fail the setup.

    It is registered late, so it comes before pytest's own setup; the marks `skip` and `xfail` are judged before, with `tryfirst`.
    """

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        __tracebackhide__ = hidden
        wanted = item.config.getini("llmtest_cassettes") or item.get_closest_marker("llm_cassette") is not None
        if wanted and not item.config.getoption("llmtest_live"):
            from llmtest.pytest_plugin.cassettes import open_cassette

            attempt = item.stash[ATTEMPT]
            attempt.cassette = open_cassette(item, attempt)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = hidden
    attempt = item.stash[ATTEMPT]
    with attempt.call(item):
        yield
    cassette = attempt.cassette if attempt.cassette is not None and not attempt.cassette.outlives_call else None
    if cassette is not None and not attempt.page.violations:
        cassette.trim()
    attempt.page.violations += markers.judge_rules((*markers.suite_rules(item.config), *attempt.rules), attempt.page.recordings)
    attempt.page.violations += markers.judge_invariants(item.config, attempt.page.recordings)
    attempt.judge(item)
    if cassette is not None and (found := cassette.compare()):
        fail(found)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    __tracebackhide__ = hidden
    attempt = attempt_of(item)
    try:
        if attempt is not None:  # another plugin's setup may have failed before ours
            attempt.page.end_gates()  # where the setup failed there was no call
        yield
        if attempt is not None:
            attempt.page.end_gates()
            if attempt.cassette is not None:
                attempt.page.violations += attempt.cassette.close(passed=attempt.passed and not attempt.failed)
            attempt.page.end_blocks()
            attempt.judge(item, last=True)
    finally:
        if attempt is not None:
            if attempt.cassette is not None:
                attempt.cassette.close(passed=False)  # where a fixture's teardown failed; else it is closed
            attempt.page.end_blocks()  # where a fixture's teardown failed, for the section of its report
            attempt.close()
            late.watch(item, attempt.page)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """A fixture of wider scope than a test looks after the doubles that are made in it."""
    __tracebackhide__ = hidden
    if fixturedef.scope == "function":
        return (yield)
    from llmtest import ledger

    test = ledger.current()
    page = ledger.Ledger(prefix(f"{request.node.nodeid}::{fixturedef.argname}"), test.on_touch, test.on_note)
    request.addfinalizer(functools.partial(_end_of_fixture, request, page))  # added first, so it comes after the fixture's own
    with ledger.kept(page):
        result = yield
    if page.doubles:
        request.session.stash.setdefault(_sharing, set()).add(fixturedef.argname)
    return result


def _end_of_fixture(request: pytest.FixtureRequest, page: Ledger) -> None:
    """Tell what the fixture of `page` has left over: in the test that ends it, and not in one for which it is set up anew."""
    from llmtest import ledger

    found = ledger.release(page)
    if not found or isinstance(ledger.current(), ledger.Outside):  # an interrupted session ends outside any test
        return
    attempt = request.session.stash[_running]
    if attempt.set_up:
        fail(found)
    item = request._pyfuncitem
    page.violations += found
    told = f"the fixture `{request.fixturename}`, which was set up for this test, has ended"
    late.keep(item, told, page.violations)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    __tracebackhide__ = hidden
    attempt = attempt_of(item)
    if attempt is not None and call.excinfo is not None:
        say_headline(call.excinfo.value, attempt)
        if attempt.cassette is not None:
            attempt.cassette.explain(call.excinfo.value)
    report = yield
    if attempt is not None and call.excinfo is not None and report.failed:
        _shorten(report, call.excinfo, attempt, item)
    if attempt is not None and not attempt.running:  # a subtest reports in the middle of its test
        attempt.tell(report, call.excinfo.value if call.excinfo is not None else None, item)
        attempt.tell_tokens(report)
        if report.when == "teardown" and attempt.cassette is not None:
            vars(report).update(attempt.cassette.facts)  # they come back from xdist's workers
        attempt.failed = attempt.failed or report.failed or (report.skipped and hasattr(report, "wasxfail"))
        verification = item.config.stash[VERIFICATION]
        if report.when == "teardown" and (verification is None or not verification.takes(item)):
            attempt.accept_snapshots(report)
    elif attempt is not None:
        attempt.failed = attempt.failed or report.failed
    return report


def _shorten(
    report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException], attempt: Attempt, item: pytest.Item
) -> None:
    """Show the message of a failure first, and few frames of others."""
    if not attempt.running and is_ours(excinfo):
        report.longrepr = without_frames(excinfo, item)
    elif attempt.is_about(excinfo):
        from llmtest.pytest_plugin.failures import fold, set_summary

        set_summary(report, excinfo.value)
        if attempt.modes["llmtest_frames"] != "all" and not item.config.getoption("fulltrace", False):
            fold(report, excinfo.value, item.config)


@pytest.hookimpl(wrapper=True)
def pytest_assertrepr_compare(op: str, left: object, right: object) -> Generator[None, list[Any], list[Any]]:
    """One line: what pytest would cut is a section of the report."""
    if op == "==" and (_is_snapshot(left) or _is_snapshot(right)):
        from llmtest.concurrency.asyncio_state import without_loop

        with without_loop():  # syrupy looks for files
            explanations = yield
    else:
        explanations = yield
    headline = _headline(left, right) if op == "==" else ""
    return [[headline]] if headline else explanations


def _headline(left: object, right: object) -> str:
    """The first difference from a snapshot, or why a shape does not match; empty for other comparisons."""
    snapshot = next((side for side in (left, right) if _is_snapshot(side)), None)
    if snapshot is not None:
        return str(getattr(snapshot, "headline", "") or "")
    if type(left).__module__ not in ("llmtest.recording.views", "llmtest.core.sequences"):
        return ""
    from llmtest.recording.views import compared

    answer = compared(left, right)
    return "" if answer is None else repr(answer)


def _is_snapshot(side: object) -> bool:
    return type(side).__name__ == "TreeAssertion" and type(side).__module__ == "llmtest.pytest_plugin.snapshots"
