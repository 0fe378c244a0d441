"""`--llmtest-verify=N`: a new or changed snapshot counts only if N runs of its test agree.

Each run sets up and tears down the test's own fixtures. One more runs elsewhere: see there. Nothing is written before that.
An id or a time that is the same in all of them is a constant of the program, and no mask hides it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from _pytest.runner import runtestprotocol

from llmtest.pytest_plugin.arguments import pending_folder

if TYPE_CHECKING:
    from pathlib import Path

    from _pytest._code.code import TerminalRepr
    from _pytest.terminal import TerminalReporter

    from llmtest.pytest_plugin.attempt import Attempt
    from llmtest.trees.differ import Difference
    from llmtest.trees.pending import Mismatch

FIXTURE: Final = "llm_snapshot"


class Verification:
    """The plugin that runs the tests which compare a snapshot. `attempt_of` returns the attempt at a test that ended last."""

    def __init__(self, runs: int, attempt_of: Callable[[pytest.Item], Attempt | None]) -> None:
        self._runs = runs
        self._attempt_of = attempt_of

    def takes(self, item: pytest.Item) -> bool:
        """True if the test may compare a snapshot: it asks for the fixture, or may do so later, by `getfixturevalue`."""
        return not {FIXTURE, "request"}.isdisjoint(getattr(item, "fixturenames", ()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not self.takes(item):
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
        others: list[Mapping[Path, Mismatch]] = []
        for number in range(2, self._runs + 1) if changed else ():
            with _shown_progress(item.config, f"run {number} of {self._runs}"):
                again, other = self._run(item, nextitem)
            attempts.append(other)
            others.append({mismatch.snapshot: mismatch for mismatch in other.comparisons()})
            which = f"run {number} of {self._runs}"
            if [(r.when, r.outcome) for r in again] != [(r.when, r.outcome) for r in reports]:
                self._drop(item, attempts, changed)
                return _ended_otherwise(again, which)
            texts = {str(file): mismatch.received or "" for file, mismatch in others[-1].items()}
            differing = _differing(changed, texts)
            if differing is not None:
                self._drop(item, attempts, changed)
                return _unstable(item, reports, *differing, which)
        constants = {str(mismatch.snapshot): _constants(mismatch, others) for mismatch in changed}
        problem = self._elsewhere(item, reports, changed, constants) if changed else None
        if problem is not None:
            self._drop(item, attempts, changed)
            return problem
        self._show_constants(item, first, changed, constants)
        first.accept_snapshots(reports[-1])
        return reports

    def _elsewhere(
        self, item: pytest.Item, reports: list[pytest.TestReport], changed: list[Mismatch], constants: dict[str, frozenset[str]]
    ) -> list[pytest.TestReport] | None:
        """Run the test once in another process. Return the reports of a test that differs there; keep of `constants` what is
        the same there."""
        from llmtest.pytest_plugin import elsewhere

        which = "a run with another hash seed, temporary directory and day"
        with _shown_progress(item.config, "run in another process"):
            found = elsewhere.run(item, {name: sorted(values) for name, values in constants.items()})
        if found.outcomes != [[str(report.when), report.outcome] for report in reports]:
            reports[-1].sections.append(("llmtest: output of the other process", found.output))
            return _ended_otherwise(reports, which)
        for mismatch in changed:
            name = str(mismatch.snapshot)
            there = frozenset(found.constants.get(name, ()))
            stays = mismatch.source is not None and mismatch.source.show(there) == found.shown.get(name)
            constants[name] = there if stays else frozenset()
        differing = _differing(changed, found.texts)
        return None if differing is None else _unstable(item, reports, *differing, which)

    def _show_constants(
        self, item: pytest.Item, first: Attempt, changed: list[Mismatch], constants: Mapping[str, frozenset[str]]
    ) -> None:
        """Write into the texts that are to be accepted what is the same in each run, in place of its masks."""
        for mismatch in changed:
            values = constants[str(mismatch.snapshot)]
            if not values or mismatch.source is None:
                continue
            text = mismatch.source.show(values)
            if first.held is not None:  # pragma: no branch - else syrupy itself holds nothing back
                first.held.replace(mismatch.snapshot, text)
            if mismatch in first.mismatches:
                pending_folder(item.config).keep(replace(mismatch, received=text))

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> tuple[list[pytest.TestReport], Attempt]:
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        attempt = self._attempt_of(item)
        assert attempt is not None  # the test has just run
        return reports, attempt

    def _drop(self, item: pytest.Item, attempts: list[Attempt], changed: list[Mismatch]) -> None:
        """Neither write nor keep what the test compared: it is no snapshot."""
        for attempt in attempts:
            if attempt.held is not None:
                attempt.held.drop()
        for mismatch in changed:
            pending_folder(item.config).forget(mismatch)


@contextmanager
def _shown_progress(config: pytest.Config, text: str) -> Iterator[None]:
    """Show `text` on a terminal while the block runs, after what pytest has written on the line. On no worker of xdist."""
    reporter: TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not reporter.isatty or os.environ.get("TERM") == "dumb" or hasattr(config, "workerinput"):
        yield
        return
    file = config.get_terminal_writer()._file  # the writer itself would count these characters as the width of the line
    file.write(f"\x1b7 {text}\x1b8")  # the cursor stays where it was
    file.flush()
    try:
        yield
    finally:
        file.write("\x1b[K")
        file.flush()


def _constants(mismatch: Mismatch, others: Sequence[Mapping[Path, Mismatch]]) -> frozenset[str]:
    """Return the ids and times that are the same in each run, and each at its place."""
    again = [other[mismatch.snapshot].source for other in others if mismatch.snapshot in other]
    if mismatch.source is None or not mismatch.source.met:
        return frozenset()
    same = mismatch.source.met.intersection(*(source.met for source in again if source is not None))
    shown = mismatch.source.show(same)
    return same if all(source is not None and source.show(same) == shown for source in again) else frozenset()


def _differing(changed: list[Mismatch], texts: Mapping[str, str]) -> tuple[str, Difference] | None:
    """Return the name of the first snapshot of which another text came, and the difference."""
    from llmtest.trees.differ import diff

    for mismatch in changed:
        difference = diff(mismatch.received or "", texts.get(str(mismatch.snapshot), ""))
        if difference is not None:
            return mismatch.snapshot.name, difference
    return None


def _ended_otherwise(reports: list[pytest.TestReport], which: str) -> list[pytest.TestReport]:
    """Return the reports of a run that ended in another way than the first; one of them fails."""
    told = next((report for report in reports if report.failed), reports[-1])
    text = f"{which} of the test ended in another way than the first one, so its snapshot was not accepted"
    if not told.failed:
        told.outcome, told.longrepr = "failed", text
    told.sections.append(("llmtest: verify", text))
    return reports


def _unstable(
    item: pytest.Item, reports: list[pytest.TestReport], name: str, difference: Difference, which: str
) -> list[pytest.TestReport]:
    text = f"snapshot not stable: in {which}, {name} came out otherwise: {difference.headline}"
    report = next(report for report in reports if report.when == "call")
    report.outcome, report.longrepr = "failed", _shown(item, text)
    report.sections[:] = [section for section in report.sections if not section[0].startswith("llmtest: ")]
    report.sections.append(("llmtest: verify", "\n".join([*difference.lines(), "  nothing was written"])))
    return reports


def _shown(item: pytest.Item, text: str) -> TerminalRepr:
    """Return an error of one line, at the place of the test."""
    try:
        raise AssertionError(text)
    except AssertionError as error:
        shown = pytest.ExceptionInfo.from_exception(error).getrepr(style="value")
    assert shown.reprcrash is not None
    shown.reprcrash.path, shown.reprcrash.lineno = str(item.path), (item.location[1] or 0) + 1
    return shown
