"""The marker `llm_faults`: an item of pytest for each fault at each call of a test.

The calls are known only when the test has run without faults, and items must be known when pytest collects: so that `-k`, `--lf`,
node ids and the workers of xdist mean the same items. So the test runs once while it is collected, with its fixtures.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest
from _pytest import python
from _pytest.runner import runtestprotocol

from llmtest.campaigns.driving import Driven
from llmtest.campaigns.injection import Injection
from llmtest.campaigns.kinds import Fault, check_kinds, faults_at, faults_of_program
from llmtest.campaigns.matrix import VERSION, Cell, Matrix
from llmtest.campaigns.verdicts import Clean, Survival, Verdict, check_effects, clean_run, injection_of, judge, survival
from llmtest.core.text import names, some_names
from llmtest.errors import CampaignError, FaultError
from llmtest.pytest_plugin import markers
from llmtest.pytest_plugin.arguments import TEST
from llmtest.pytest_plugin.attempt import ATTEMPT, Attempt, hidden
from llmtest.pytest_plugin.cassettes import mode_of
from llmtest.scripts.script import Script
from llmtest.scripts.tool_replay import RecordedAnswers

PLUGIN: Final = "llmtest-faults"
MARKER: Final = "llm_faults"
_OPTIONS: Final = ("kinds", "survives", "effects", "invariants", "max_tokens", "pairs")


@dataclass(frozen=True)
class Planned:
    """The faults of an item; none for the run that finds the calls. `test` is the node id of the test without faults."""

    test: str
    faults: tuple[Fault, ...] = ()
    clean: Clean = field(default_factory=lambda: Clean(()))
    wanted: Survival = field(default_factory=Survival)
    number: int = 0
    """The place of the item among those of the test."""


_planned: Final = pytest.StashKey[Planned]()
_clean: Final = pytest.StashKey[Clean]()
_verdict: Final = pytest.StashKey[Verdict]()
_failed_clean: Final = pytest.StashKey[tuple[str, str]]()  # when and why the run that finds the calls did not pass
_UNSTEADY: Final = """\
the test has passed now, but not when it was collected, and so no fault came
  then  {}
It must pass each time that it runs, also as the first test of a session."""
_alone: Final = pytest.StashKey[Sequence[pytest.Function]]()  # the items of the faults of a pair, each alone


def with_faults(item: pytest.Item) -> Iterator[pytest.Item]:
    """Yield the item, and one for each fault at each call of it."""
    yield item
    marks = list(item.iter_markers(MARKER)) if isinstance(item, pytest.Function) else []
    if not marks or not isinstance(item, pytest.Function):
        return
    try:
        kinds, wanted, has_pairs = _options_of(marks)
    except CampaignError as error:
        raise pytest.Collector.CollectError(f"{item.nodeid}: {error}") from None
    if item.get_closest_marker("llm_cassette") is not None and mode_of(item.config) != "none":
        return  # no real model is asked for the sake of a fault
    clean = _run_clean(_twin_of(item, Planned(item.nodeid)))
    if not isinstance(clean, Clean):
        item.stash[_failed_clean] = clean  # the test itself says why, if it fails again
        return
    try:
        check_effects(wanted, clean)
    except CampaignError as error:
        raise pytest.Collector.CollectError(f"{item.nodeid}: {error}") from None
    faults = [*faults_at(clean.calls, kinds), *faults_of_program(clean.moments, kinds)]
    if not faults:
        yield _item_without(item, clean)
    numbers = itertools.count()
    alone = [_item_with(item, Planned(item.nodeid, (fault,), clean, wanted, next(numbers))) for fault in faults]
    yield from alone
    for first, second in itertools.combinations(alone, 2) if has_pairs else ():
        both = (*first.stash[_planned].faults, *second.stash[_planned].faults)
        if both[0].call.key != both[1].call.key:
            pair = _item_with(item, Planned(item.nodeid, both, clean, wanted, next(numbers)))
            pair.stash[_alone] = [first, second]
            yield pair


def _options_of(marks: Sequence[pytest.Mark]) -> tuple[tuple[str, ...], Survival, bool]:
    """Return the kinds, what the test must survive, and whether pairs are wanted. The closest marker goes first."""
    given = {key: value for mark in reversed(marks) for key, value in mark.kwargs.items()}
    unknown = [key for key in given if key not in _OPTIONS]
    if unknown or any(mark.args for mark in marks):
        from llmtest.core.text import did_you_mean

        wrong = f"got {unknown[0]}={did_you_mean(unknown[0], _OPTIONS)}" if unknown else "got an argument without a name"
        raise CampaignError(f"the marker {MARKER} takes {names(_OPTIONS)} by name; {wrong}")
    kinds, has_pairs = check_kinds(given.pop("kinds", None)), bool(given.pop("pairs", False))
    return kinds, survival(given.pop("survives", None), **given), has_pairs


def _run_clean(item: pytest.Function) -> Clean | tuple[str, str]:
    """Run the test without faults; return its calls, or when and why it does not pass."""
    manager = item.config.pluginmanager
    if not manager.hasplugin(PLUGIN):
        manager.register(FaultItems(), PLUGIN)
    try:
        reports = runtestprotocol(item, log=False, nextitem=None)
    finally:
        if ATTEMPT in item.stash:
            item.stash[ATTEMPT].forget()
            del item.stash[ATTEMPT]
        capture: Any = manager.getplugin("capturemanager")
        if capture is not None and capture.is_globally_capturing():
            capture.resume_global_capture()  # pytest goes on to collect
    bad = next((report for report in reports if not report.passed), None)
    return item.stash.get(_clean, ("call", "it did not run")) if bad is None else (str(bad.when), _crash_of(bad))


def _crash_of(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = str(crash.message if crash is not None else report.longreprtext).strip().splitlines()
    return lines[0] if lines else report.outcome


def _item_with(item: pytest.Function, planned: Planned) -> pytest.Function:
    """Return the item of a test with faults."""
    return _twin_of(item, planned, _spec_of(item, " and ".join(map(str, planned.faults))))


def _item_without(item: pytest.Function, clean: Clean) -> pytest.Function:
    """Return the item of a test that can have no fault. It is skipped, so that this is never a pass."""
    made = _twin_of(item, Planned(item.nodeid), _spec_of(item, "no fault"))
    holes = f"; no script answers {some_names(clean.holes)}" if clean.holes else ""
    made.add_marker(pytest.mark.skip(reason=f"not exposed: no call of the test can have one of these faults{holes}"))
    return made


def _spec_of(item: pytest.Function, name: str) -> Any:
    # pytest 9.2 makes the node id of the parameters; before, of the name.
    spec: Any = getattr(item, "callspec", None) or _CALL_SPEC()
    return replace(spec, _idlist=[*spec._idlist, name])


def _twin_of(item: pytest.Function, planned: Planned, spec: Any = None) -> pytest.Function:
    """Return another item of the same test. It is of the same class: plugins for async tests have classes of their own."""
    made: pytest.Function = type(item).from_parent(
        item.parent,
        name=item.name if spec is None else f"{item.originalname}[{spec.id}]",
        callspec=spec or getattr(item, "callspec", None),
        fixtureinfo=item._fixtureinfo,
        originalname=item.originalname,
    )
    made.own_markers[:] = item.own_markers
    made.stash[_planned] = planned
    made.stash[TEST] = planned.test
    return made


_CALL_SPEC: Final[Any] = getattr(python, "CallSpec", None) or python.CallSpec2  # its name before pytest 9.2


class FaultItems:
    """The plugin that runs the items with faults. Registered when the first test with the marker is collected."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        if _planned in item.stash:
            item.stash[ATTEMPT].is_recorded = True
        yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        __tracebackhide__ = hidden
        planned = item.stash.get(_planned, None)
        if planned is None:
            return (yield)
        attempt = item.stash[ATTEMPT]
        assert attempt.recording is not None  # because `is_recorded` was set
        error: BaseException | None = None
        with injection_of(attempt.recording, planned.faults, planned.clean if planned.faults else None) as injection:
            attempt.drive = functools.partial(Driven, injection=injection)
            try:
                yield
            except (KeyboardInterrupt, SystemExit, pytest.skip.Exception, pytest.exit.Exception):
                raise
            except BaseException as raised:  # a fault of the program itself raises no Exception
                if not planned.faults:
                    raise
                error = raised
        if not planned.faults:
            item.stash[_clean] = clean_run(attempt.recording, injection)
            return
        verdict = _judge(planned, item, injection, error)
        item.stash[_verdict] = verdict
        _report(verdict, item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        when, why = item.stash.get(_failed_clean, ("", ""))
        if report.when == when and report.passed:
            report.outcome, report.longrepr = "failed", _UNSTEADY.format(why)
        if report.when == "call" and _verdict in item.stash:
            planned = item.stash[_planned]
            cell = Cell.of(item.stash[_verdict]).as_json()
            # It comes back from xdist's workers.
            told = {"test": planned.test, "number": planned.number, "cell": cell, "holes": list(planned.clean.holes)}
            vars(report)["llmtest_fault"] = told
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a pair; if it fails, run each of its faults alone, to say which is the smallest set."""
        if _alone not in item.stash:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = next((report for report in reports if report.failed), None)
        if failed is not None:
            failed.sections.append(("llmtest: smallest set", _smallest(item.stash[_alone], nextitem)))
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def _judge(planned: Planned, item: pytest.Item, injection: Injection, error: BaseException | None) -> Verdict:
    attempt: Attempt = item.stash[ATTEMPT]
    # What the program does not ask for after a fault is no mistake of the test.
    for double in attempt.page.doubles.values():
        if isinstance(double, Script | RecordedAnswers):
            double.owe_nothing()
    recording = attempt.recording
    assert recording is not None
    config = item.config
    rules = (*markers.suite_rules(config), *attempt.rules)
    found = [*attempt.page.violations, *markers.judge_rules(rules, attempt.page.recordings)]
    found += markers.judge_invariants(config, attempt.page.recordings)
    return judge(planned.faults, injection, recording, error, planned.clean, planned.wanted, found)


def _report(verdict: Verdict, item: pytest.Item) -> None:
    """Pass, skip or fail the item."""
    __tracebackhide__ = hidden
    if verdict.survived:
        return
    if verdict.outcome == "not exposed":
        raise pytest.skip.Exception(f"not exposed: {verdict.why}", _use_item_location=True)
    again = f'pytest "{item.nodeid}"'
    text = f"{verdict.outcome}: {verdict.name}; repeat: {again}" + (f"\n  {verdict.why}" if verdict.why else "")
    # With the frames of the program, which show where it failed.
    trace = None if verdict.error is None else verdict.error.__traceback__
    raise FaultError(text, verdict.outcome, verdict.name).with_traceback(trace) from None


def _smallest(alone: Sequence[pytest.Function], nextitem: pytest.Item | None) -> str:
    failing = []
    for item in alone:
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if any(report.failed for report in reports):
            failing.append(item.stash[_planned].faults[0])
    if failing:
        return f"{names(map(str, failing))}: fails alone, too"
    return "both faults: the test survives each of them alone"


# -- the matrix of a session, from the reports of all workers


def matrices(reports: Sequence[Any]) -> dict[str, Matrix]:
    """Return the matrix of each test, by its node id, from reports with `llmtest_fault`."""
    found: dict[str, dict[str, Cell]] = {}
    holes: dict[str, tuple[str, ...]] = {}
    for told in sorted((report.llmtest_fault for report in reports), key=lambda told: told["number"]):
        cell = Cell.from_json(told["cell"])
        found.setdefault(told["test"], {})[cell.name] = cell  # of a test that ran again, the last one
        holes[told["test"]] = tuple(told["holes"])
    return {test: Matrix(tuple(cells.values()), holes[test]) for test, cells in sorted(found.items())}


def write_matrices(found: Mapping[str, Matrix], path: Path) -> None:
    """Write the matrices as JSON, or as Markdown if the name of the file ends in `.md`."""
    from llmtest.trees.pending import write_text

    if path.suffix == ".md":
        text = "\n".join(f"## {test}\n\n{matrix.as_markdown()}" for test, matrix in found.items())
    else:
        tests = {test: matrix.as_json() for test, matrix in found.items()}
        text = json.dumps({"version": VERSION, "tests": tests}, ensure_ascii=False, indent=2) + "\n"
    write_text(path, text)
