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
from typing import Any, Final, NamedTuple

import pytest
from _pytest import python
from _pytest.runner import runtestprotocol

from llmtest.campaigns.driving import Driven
from llmtest.campaigns.injection import Injection
from llmtest.campaigns.kinds import MAX_CHUNKS, Fault, check_chunks, check_kinds, plan
from llmtest.campaigns.matrix import VERSION, Cell, Matrix, matrix_of
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
_OPTIONS: Final = ("kinds", "survives", "effects", "invariants", "max_tokens", "pairs", "chunks", "snapshot")


@dataclass(frozen=True)
class Planned:
    """The faults of an item; none for the run that finds the calls. `test` is the node id of the test without faults."""

    test: str
    faults: tuple[Fault, ...] = ()
    clean: Clean = field(default_factory=lambda: Clean(()))
    wanted: Survival = field(default_factory=Survival)
    left_out: tuple[str, ...] = ()
    number: int = 0
    """The place of the item among those of the test."""
    has_snapshot: bool = False
    """True if the snapshot of the matrix says which outcomes are expected."""


_planned: Final = pytest.StashKey[Planned]()
_clean: Final = pytest.StashKey[Clean]()
_verdict: Final = pytest.StashKey[Verdict]()
_failed_clean: Final = pytest.StashKey[tuple[str, str]]()  # when and why the run that finds the calls did not pass
_UNSTEADY: Final = """\
the test has passed now, but not when it was collected, and so no fault came
  then  {}
It must pass each time that it runs, also as the first test of a session."""
_alone: Final = pytest.StashKey[Sequence[pytest.Function]]()  # the items of the faults of a pair, each alone
_every: Final = pytest.StashKey[Sequence[pytest.Function]]()  # the items whose outcomes a matrix has


def with_faults(item: pytest.Item) -> Iterator[pytest.Item]:
    """Yield the item, and one for each fault at each call of it."""
    yield item
    if not isinstance(item, pytest.Function) or not (marks := list(item.iter_markers(MARKER))):
        return
    try:
        options = _options_of(marks)
    except CampaignError as error:
        raise pytest.Collector.CollectError(f"{item.nodeid}: {error}") from None
    if item.get_closest_marker("llm_cassette") is not None and mode_of(item.config) != "none":
        return  # no real model is asked for the sake of a fault
    clean = _run_clean(_twin_of(item, Planned(item.nodeid)))
    if not isinstance(clean, Clean):
        item.stash[_failed_clean] = clean  # the test itself says why, if it fails again
        return
    try:
        check_effects(options.wanted, clean)
    except CampaignError as error:
        raise pytest.Collector.CollectError(f"{item.nodeid}: {error}") from None
    faults, left_out = plan(clean.calls, clean.moments, options.kinds, options.chunks)
    if not faults:
        yield _item_without(item, clean)
        return
    of_all = Planned(item.nodeid, (), clean, options.wanted, (*left_out, *clean.left_out), has_snapshot=options.snapshot)
    alone = [_item_with(item, replace(of_all, faults=(fault,), number=number)) for number, fault in enumerate(faults)]
    pairs = list(_pairs(item, of_all, alone)) if options.pairs else []
    yield from (*alone, *pairs)
    if options.snapshot:
        yield _item_of_matrix(item, of_all, [*alone, *pairs])


def _pairs(item: pytest.Function, of_all: Planned, alone: Sequence[pytest.Function]) -> Iterator[pytest.Function]:
    numbers = itertools.count(len(alone))
    for first, second in itertools.combinations(alone, 2):
        both = (*first.stash[_planned].faults, *second.stash[_planned].faults)
        if both[0].call.key != both[1].call.key:
            pair = _item_with(item, replace(of_all, faults=both, number=next(numbers)))
            pair.stash[_alone] = [first, second]
            yield pair


class _Options(NamedTuple):
    """What the markers of a test ask for. `chunks` is None for all of them."""

    kinds: tuple[str, ...]
    wanted: Survival
    pairs: bool
    chunks: int | None
    snapshot: bool


def _options_of(marks: Sequence[pytest.Mark]) -> _Options:
    """Return what markers ask for. The closest one goes first."""
    given = {key: value for mark in reversed(marks) for key, value in mark.kwargs.items()}
    unknown = [key for key in given if key not in _OPTIONS]
    if unknown or any(mark.args for mark in marks):
        from llmtest.core.text import did_you_mean

        wrong = f"got {unknown[0]}={did_you_mean(unknown[0], _OPTIONS)}" if unknown else "got an argument without a name"
        raise CampaignError(f"the marker {MARKER} takes {names(_OPTIONS)} by name; {wrong}")
    kinds, chunks = check_kinds(given.pop("kinds", None)), check_chunks(given.pop("chunks", MAX_CHUNKS))
    pairs, snapshot = bool(given.pop("pairs", False)), bool(given.pop("snapshot", False))
    return _Options(kinds, survival(given.pop("survives", None), **given), pairs, chunks, snapshot)


def _run_clean(item: pytest.Function) -> Clean | tuple[str, str]:
    """Run the test without faults; return its calls, or when and why it does not pass."""
    manager = item.config.pluginmanager
    if not manager.hasplugin(PLUGIN):
        manager.register(FaultItems(), PLUGIN)
    try:
        reports = runtestprotocol(item, log=False, nextitem=None)
    finally:
        item.stash[ATTEMPT].forget()
        del item.stash[ATTEMPT]
        capture: Any = manager.getplugin("capturemanager")
        if capture is not None and capture.is_globally_capturing():  # not with `-s`
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
    holes = f"; none can come at {some_names(clean.holes)}" if clean.holes else ""
    unseen = "".join(f"; {each}" for each in clean.unseen)
    made.add_marker(pytest.mark.skip(reason=f"not exposed: no call of the test can have one of these faults{holes}{unseen}"))
    return made


class _MatrixItem(pytest.Function):
    """The test of a matrix. It is not async, also where the markers around it say so."""

    def iter_markers_with_node(self, name: str | None = None) -> Iterator[tuple[Any, pytest.Mark]]:
        return ((node, mark) for node, mark in super().iter_markers_with_node(name) if mark.name not in _OF_RUNNERS)


_OF_RUNNERS: Final = frozenset({"asyncio", "anyio", "trio", MARKER})


def _item_of_matrix(item: pytest.Function, of_all: Planned, every: Sequence[pytest.Function]) -> pytest.Function:
    """Return the item that compares the matrix of a test with its snapshot."""

    def matrix(llm_snapshot: Any) -> None:
        __tracebackhide__ = hidden
        unjudged = next((each for each in every if _verdict not in each.stash), None)
        assert unjudged is None, f"a fault has no outcome: {unjudged.nodeid} did not run"
        verdicts = [each.stash[_verdict] for each in every]
        assert str(matrix_of(verdicts, of_all.clean.holes, of_all.left_out)) == llm_snapshot

    manager: Any = item.session._fixturemanager
    spec = _spec_of(item, "matrix")
    made: pytest.Function = _MatrixItem.from_parent(
        item.parent,
        name=f"{item.originalname}[{spec.id}]",
        callspec=spec,
        callobj=matrix,
        fixtureinfo=manager.getfixtureinfo(item, matrix, None),
        originalname=item.originalname,
    )
    made.stash[_every] = every
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
            except (KeyboardInterrupt, pytest.skip.Exception, pytest.exit.Exception):
                raise
            except BaseException as raised:  # a fault of the program itself raises no Exception
                if not planned.faults:
                    raise
                error = raised
        if not planned.faults:
            assert isinstance(item, pytest.Function)  # no other has the marker
            arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames if name in item.funcargs}
            item.stash[_clean] = clean_run(attempt.recording, injection, functools.partial(item.obj, **arguments))
            return
        verdict = _judge(planned, item, injection, error)
        item.stash[_verdict] = verdict
        _report(verdict, item, planned)

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
            vars(report)["llmtest_fault"] = told | {"left_out": list(planned.left_out)}
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a pair; if it fails, run each of its faults alone, to say which is the smallest set. Before a matrix, run what
        has no outcome yet: it was not chosen, or ran on another worker."""
        for each in item.stash.get(_every, ()):
            if _verdict not in each.stash:
                runtestprotocol(each, log=False, nextitem=item)
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
        if isinstance(double, Script | RecordedAnswers):  # pragma: no branch  # there is no other kind of double
            double.owe_nothing()
    recording = attempt.recording
    assert recording is not None
    config = item.config
    rules = (*markers.suite_rules(config), *attempt.rules)
    found = [*attempt.page.violations, *markers.judge_rules(rules, attempt.page.recordings)]
    found += markers.judge_invariants(config, attempt.page.recordings)
    return judge(planned.faults, injection, recording, error, planned.clean, planned.wanted, found)


def _report(verdict: Verdict, item: pytest.Item, planned: Planned) -> None:
    """Pass, skip or fail the item; with a snapshot of the matrix, what it does not survive is expected to fail."""
    __tracebackhide__ = hidden
    if verdict.survived:
        return
    if verdict.outcome == "not exposed":
        raise pytest.skip.Exception(f"not exposed: {verdict.why}", _use_item_location=True)
    again = f'pytest "{item.nodeid}"'
    text = f"{verdict.outcome}: {verdict.name}; repeat: {again}" + (f"\n  {verdict.why}" if verdict.why else "")
    if planned.has_snapshot:
        raise pytest.xfail.Exception(text)  # the snapshot says whether it is the outcome that was accepted
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
    about: dict[str, dict[str, Any]] = {}
    for told in sorted((report.llmtest_fault for report in reports), key=lambda told: told["number"]):
        cell = Cell.from_json(told["cell"])
        found.setdefault(told["test"], {})[cell.name] = cell  # of a test that ran again, the last one
        about[told["test"]] = {"holes": tuple(told["holes"]), "left_out": tuple(told["left_out"])}
    return {test: Matrix(tuple(cells.values()), **about[test]) for test, cells in sorted(found.items())}


def write_matrices(found: Mapping[str, Matrix], path: Path) -> None:
    """Write the matrices as JSON, or as Markdown if the name of the file ends in `.md`."""
    from llmtest.trees.pending import write_text

    if path.suffix == ".md":
        text = "\n".join(f"## {test}\n\n{matrix.as_markdown()}" for test, matrix in found.items())
    else:
        tests = {test: matrix.as_json() for test, matrix in found.items()}
        text = json.dumps({"version": VERSION, "tests": tests}, ensure_ascii=False, indent=2) + "\n"
    write_text(path, text)
