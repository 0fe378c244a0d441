"""One attempt at one test: its page of the ledger, its recording, and what its reports show of them.

Only pytest and the standard library at module level; everything else is imported when a test uses it.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import unittest
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest
from _pytest.skipping import xfailed_key

from llmtest.pytest_plugin.arguments import pending_folder

if TYPE_CHECKING:
    from llmtest.errors import Violation
    from llmtest.ledger import Ledger
    from llmtest.protocol.run_checks import Broken
    from llmtest.pytest_plugin.snapshots import DeferredSession
    from llmtest.recording.recording import Recording
    from llmtest.tokens.budget import Budget
    from llmtest.tokens.calls import ModelCall
    from llmtest.tokens.counting import TokenCount
    from llmtest.trees.pending import Folder, Mismatch


MAX_LINES: Final = 40
"""Of a section that a failing test shows."""
MIN_LINES: Final = 10
"""Of a tree or a difference, however long the rest is."""
ONE_SCREEN: Final = 60
"""Of a whole failure: a tree or a difference takes what the rest leaves."""
ELSEWHERE: Final = "LLMTEST_ELSEWHERE"
"""The variable that is set in the process in which `verify` runs a test once more, and nothing is written."""
COUNTED: Final = ("total_tokens", "input_tokens", "output_tokens", "requests", "errors", "cached", "unreported")


def hidden(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """For `__tracebackhide__`. Not from groups: https://github.com/pytest-dev/pytest/issues/13734."""
    return not isinstance(excinfo.value, BaseExceptionGroup)


ALLOWED: Final = "run id used twice"
"""The code of what is impossible for a run, and allowed to a program."""


DIFFERS: Final = "snapshot differs"
"""The code of a named snapshot that differs."""


class Cassette(Protocol):
    """The cassette of a test, as far as its phases need it: `llmtest.pytest_plugin.cassettes.OpenCassette`."""

    @property
    def facts(self) -> dict[str, object]: ...
    @property
    def outlives_call(self) -> bool: ...
    def trim(self) -> None: ...
    def compare(self) -> list[Violation]: ...
    def close(self, *, passed: bool) -> list[Violation]: ...
    def explain(self, error: BaseException) -> None: ...


class PageJudge:
    """Judges what is on a page: what doubles and blocks have written, turns, and the protocol of its recordings. Holds state.

    `waived` are the rules of the protocol that the test may break.
    """

    def __init__(self, page: Ledger, modes: dict[str, str], place: tuple[str, int]) -> None:
        self._page, self._modes, self._place = page, modes, place
        self.waived: set[str] = set()
        self._broken: set[object] = set()
        self._unusual: list[Violation] = []

    def take(self, *, protocol: bool = True) -> list[Violation]:
        """Return what fails the test since the last time; of the `protocol` only if it is wanted, which takes a while."""
        from llmtest.errors import SWALLOWED

        if self._page.recordings:
            from llmtest.recording.recording import judge_turns

            for recording in self._page.recordings:
                judge_turns(recording)
        written = dict.fromkeys(self._page.take())  # a hypothesis test says the same for each example
        swallowed = [v for v in written if v.code == SWALLOWED]
        failing = self._graded(swallowed, self._modes["llmtest_handler_errors"])
        failing += self._graded(self._protocol(), self._modes["llmtest_protocol"]) if protocol else []
        return [v for v in written if v.code != SWALLOWED] + failing

    def take_unusual(self) -> list[Violation]:
        """Return what has been put aside since the last time, because it is only unusual."""
        found, self._unusual = self._unusual, []
        return found

    def _graded(self, found: list[Violation], mode: str) -> list[Violation]:
        """Return the violations of `found` that fail the test; the rest are warnings, or nothing."""
        told = [v for v in found if v.code not in self.waived]
        if mode == "warn":
            from llmtest.errors import LlmtestWarning

            for violation in told:
                warnings.warn_explicit(violation.text, LlmtestWarning, *self._place)
            return []
        return told if mode != "off" else []

    def _protocol(self) -> list[Violation]:
        """Return what the closed recordings break of the protocol. What is only unusual is put aside; also, with `strict`,
        what a known deviation of LangChain's explains, which the author of a test cannot mend. LangChain lets a program use
        a run id twice, and both runs are recorded whole: that is counted, and fails a test with `strict` only."""
        mode, closed = self._modes["llmtest_protocol"], [recording for recording in self._page.recordings if recording.closed]
        if mode == "off" or not closed:
            return []
        from llmtest.protocol import run_checks

        found = [broken for recording in closed for broken in run_checks.check(recording) if self._is_unsaid(broken)]
        strict = mode == "strict"
        failing = [
            b for b in found if (b.level == "impossible" and (strict or b.code != ALLOWED)) or (strict and not b.deviation)
        ]
        self._unusual += [b for b in found if b not in failing and b.code not in self.waived]
        return [*failing]

    def _is_unsaid(self, broken: Broken) -> bool:
        """True if no recording has told it yet: an outer block sees what an inner one sees, under other numbers."""
        key = (broken.code, *((event.kind, event.run_id) for event in broken.witnesses)) if broken.witnesses else broken.text
        new = key not in self._broken
        self._broken.add(key)
        return new


class Attempt:
    """The page of one attempt at one test, its recording, and what has been shown of it."""

    def __init__(self, item: pytest.Item, modes: dict[str, str]) -> None:
        from llmtest import ledger
        from llmtest.core import unread

        self.quiet = not item.config.getini("llmtest_langsmith")
        self.modes = modes
        self.page = ledger.Ledger(prefix(item.nodeid), self._touched, self._noted, _new_tally, test=item.nodeid)
        self.place = (str(item.path), (item.location[1] or 0) + 1)
        self.recording: Recording | None = None
        self.budget: Budget | None = None
        self.rules: tuple[Any, ...] = ()
        self.drive: Callable[[Any], Any] = lambda coroutine: coroutine
        """Drives the coroutine of an async test."""
        self.is_recorded = False
        """True if the test is recorded, whatever it asks for."""
        self.cassette: Cassette | None = None
        self._told: dict[str, int] = {}
        self.judge_of_page = PageJudge(self.page, modes, self.place)
        self._watching = False
        self.is_evaluated = False
        """True if its runs are repeats of an evaluation, which have pages of their own."""
        self.set_up = self.called = self.running = self.failed = False
        self.mismatches: list[Mismatch] = []
        self.matches: list[Mismatch] = []
        self.uncompared: Mismatch | None = None
        self._postponed: list[Violation] = []
        self.violations: list[Violation] = []  # those that its reports have told
        self.answers: list[Any] = []  # of rules and shapes that did not hold, as far as its reports have told them
        self.held: DeferredSession | None = None
        self._shown: set[object] = set()
        self._exits = ExitStack()
        self._exits.callback(_unmute, _muted.get())
        self._exits.enter_context(ledger.opened(self.page))
        self.unread = self._exits.enter_context(unread.collected())
        self.passed = False
        self.close = self._exits.close
        self._real_models = "allow" if item.get_closest_marker("allow_real_models") else modes["llmtest_real_models"]
        self._guards = self._passes_backoff = False
        if item.config.getini("llmtest_handler_errors_everywhere"):
            self._watch()
        if item.config.getini("llmtest_real_models_everywhere"):
            self._guard()

    def _touched(self) -> None:
        """The test uses us."""
        if self.quiet:
            mute()
        self._noted()

    @property
    def is_used(self) -> bool:
        """True if the test has used us by now."""
        page = self.page
        uses = page.recordings or page.doubles or page.journals or self.mismatches or self.matches
        return bool(uses or self.is_evaluated)

    def is_about(self, excinfo: pytest.ExceptionInfo[BaseException] | None) -> bool:
        """True if the test uses us, or fails with an error of ours."""
        return self.is_used or (excinfo is not None and excinfo.type.__module__ == "llmtest.errors")

    def _noted(self) -> None:
        """The test has opened a recording."""
        self._watch()
        self._guard()
        self._pass_backoff()

    def _pass_backoff(self) -> None:
        """From here on, what a library sleeps before it tries again passes in virtual time."""
        if not self._passes_backoff and self.modes["llmtest_backoff"] != "real":
            from llmtest.wire.clients import backoff

            self._passes_backoff = True
            self._exits.enter_context(backoff.virtual())

    def _guard(self) -> None:
        """From here on, no request of the test gets to a real model."""
        if not self._guards and self._real_models != "allow":
            from llmtest.wire import guard

            self._guards = True
            self._exits.enter_context(guard.guarding("warn" if self._real_models == "warn" else "error"))

    def allow_real_models(self) -> None:
        """From here on, the requests of the test get to real models, as with `--llmtest-live`."""
        from llmtest.wire import guard

        self._real_models = "allow"
        self._exits.enter_context(guard.allow_real_models())  # it may be guarded by now

    def _watch(self) -> None:
        if not self._watching and self.modes["llmtest_handler_errors"] != "off":
            from llmtest.langchain import swallowed

            self._watching = True
            self._exits.enter_context(swallowed.watch_handlers())

    def forget(self) -> None:
        """Let go of everything. An interrupted test had no teardown; other plugins keep tracebacks, and so this object."""
        if self.cassette is not None:
            self.cassette.close(passed=False)
        self.close()
        self.recording = None
        self.page.recordings.clear()
        self.page.journals.clear()

    @contextmanager
    def new_recording(self) -> Iterator[Recording]:
        from llmtest.capture.blocks import inside
        from llmtest.recording.recording import Recording

        self.recording = recording = Recording()
        self.page.note(recording)
        self._touched()  # also for what other fixtures do from here on
        # A fixture that the test function itself asks for, by `getfixturevalue`, comes too late to be wrapped around it.
        with inside(recording) if self.running else nullcontext():
            yield recording

    @contextmanager
    def call(self, item: pytest.Item) -> Iterator[None]:
        """The test function runs, inside the recording, wherever that is."""
        self.called = self.running = True
        wanted = self.is_recorded or self.budget is not None or self.rules or self.cassette is not None
        if wanted and self.recording is None:
            self._exits.enter_context(self.new_recording())
        if self.cassette is not None and self.recording is not None:
            self.recording.follows_test = True  # a cassette answers the calls of bare threads, too
        before = len(self.calls)
        with pytest.MonkeyPatch.context() as patch, ExitStack() as block:
            block.callback(self._end_of_call)
            if self.recording is not None and isinstance(item, pytest.Function):
                holder, name = _place(item)
                patch.setattr(holder, name, _wrap(getattr(holder, name), self))
            elif self.recording is not None:
                block.enter_context(self.inside())
            yield
        self._keep_to_budget(self.calls[before:])

    def _end_of_call(self) -> None:
        self.running = False
        self.page.end_gates()  # first of all: what waits at them may hold up what comes next
        if self.recording is not None:
            self.recording.close()

    @contextmanager
    def inside(self) -> Iterator[None]:
        from llmtest.capture.blocks import inside

        assert self.recording is not None
        muted = _muted.get()
        if self.quiet:
            mute()
        try:
            with inside(self.recording):
                yield
        finally:
            _unmute(muted)  # anyio runs all tests of a module in one context

    @property
    def calls(self) -> list[ModelCall]:
        """The model calls of this attempt so far, of fixtures too."""
        return self.page.counted.calls if self.page.counted is not None else []

    def _keep_to_budget(self, calls: list[ModelCall]) -> None:
        if self.budget is None:
            return
        from llmtest.core.source import shown_path
        from llmtest.errors import Violation
        from llmtest.tokens import budget

        missed = self.recording.unseen_calls if self.recording is not None else []
        unseen = [f"`{call.double}` at {shown_path(call.place)}" for call in missed]
        text = budget.overspent(self.budget, calls, unseen)
        if text is not None:
            self.page.write(Violation("over budget", text))

    def tell_tokens(self, report: pytest.TestReport) -> None:
        """Put into the report of a phase what was spent since the last one: of a rerun's teardown there is no report."""
        if self.page.counted is None:
            return
        now = {name: getattr(self.page.counted, name) for name in COUNTED}
        spent = {name: number - self._told.get(name, 0) for name, number in now.items()}
        self._told = now
        if any(spent.values()):
            vars(report)["llmtest_tokens"] = spent  # comes back from xdist's workers, as the trees do

    def compared(self, mismatch: Mismatch, matched: bool) -> None:
        (self.matches if matched else self.mismatches).append(mismatch)

    def postpone(self, mismatch: Mismatch, place: str) -> bool:
        """Fail the test at the end of its function for a snapshot that differs; False if the function does not run."""
        if not self.running:
            return False
        from llmtest.core.source import shown_path
        from llmtest.errors import Violation

        told = f"{mismatch.headline}\n  {mismatch.snapshot.name}, compared at {shown_path(place)}"
        self._postponed.append(Violation(DIFFERS, told))
        return True

    def comparisons(self) -> list[Mismatch]:
        """Every comparison with a snapshot."""
        return [*self.matches, *self.mismatches]

    def differences(self) -> list[Mismatch]:
        """The comparisons, and the one that the test did not come to."""
        return [*self.comparisons(), *([self.uncompared] if self.uncompared is not None else [])]

    def judge(self, item: pytest.Item, *, last: bool = False) -> None:
        """Fail the phase for the violations on the page. unittest keeps its own exceptions, which win.

        In the `last` phase it is too late to read an answer; a test that failed before it could has not ignored it.
        """
        failed = getattr(item, "_excinfo", None)
        if not failed and (self.passed or not last):
            self.page.violations += self.unread.take(living=last)
        found = [] if failed else self._take()
        found += [] if failed or last else self._postponed
        if found:
            fail(found)
        self.passed = not last and not failed

    def _take(self) -> list[Violation]:
        found = self.judge_of_page.take()
        return found if self.called else [v for v in found if v.code != "unused step"]  # no chance to ask for it

    def tell(self, report: pytest.TestReport, error: BaseException | None, item: pytest.Item) -> None:
        """Put into the report of a phase what the page still holds."""
        if report.when == "setup" and report.passed:
            return
        from llmtest.errors import summarize, violations_in

        known = violations_in(error)
        found = [v for v in self._take() if v not in known]
        self.violations += [v for v in dict.fromkeys((*known, *found)) if v not in self.violations]
        if report.skipped:
            postponed = self._postponed if report.when == "call" else []
            self._uncover(report, error, item, [*(v for v in found if v.code != "unused step"), *postponed])
        elif report.failed and found:
            report.sections.append(("llmtest: violations", _cut("\n\n".join(summarize(found)))))
        answers = _tell_answer(self.page, report)
        self.answers += answers
        chosen = [event.number for answer in answers for event in answer.events]
        if report.failed and (journals := [str(journal) for journal in self.page.journals]):
            report.sections.append(("llmtest: requests to the scripted server", _cut("\n\n".join(journals))))
        unusual = self.judge_of_page.take_unusual()
        if unusual:
            report.sections.append(("llmtest: unusual callbacks", _cut("\n\n".join(v.text for v in unusual))))
            vars(report)["llmtest_unusual"] = [violation.code for violation in unusual]
        trees = self.modes["llmtest_trees"]
        told = report.when == "call" and _tell_snapshots(report, self, item, alone=not found and self._fails_by_snapshot(error))
        if told and trees == "failed":
            return  # the diff shows what differs from the accepted tree
        if trees == "all" or (trees == "failed" and report.failed):
            from llmtest.core.text import text_of

            self._tell_trees(report, trees, chosen, {text_of(error), *(v.text for v in known)})

    def _fails_by_snapshot(self, error: BaseException | None) -> bool:
        """True if nothing but a snapshot fails the test. A comparison that is postponed raises nothing in the test itself."""
        from llmtest.errors import violations_in

        known = violations_in(error)
        raised = isinstance(error, AssertionError) and len(self._postponed) < len(self.mismatches)
        return all(violation.code == DIFFERS for violation in known) if known else raised

    def _uncover(self, report: pytest.TestReport, error: BaseException | None, item: pytest.Item, found: list[Violation]) -> None:
        """Fail a test that was skipped, or failed as it was expected to, for violations that this says nothing about."""
        from llmtest.errors import ViolationError

        if hasattr(report, "wasxfail"):
            if isinstance(error, pytest.xfail.Exception) or _is_expected(ViolationError(*found), item):
                return
            if found:
                del report.wasxfail
        if found:
            report.outcome, report.longrepr = "failed", str(ViolationError(*found))

    def accept_snapshots(self, report: pytest.TestReport) -> None:
        """Write new and changed snapshots, as far as they are to be accepted, once the test has passed to its end."""
        if self.held is None:
            return
        from llmtest.errors import SnapshotError

        if self.failed or ELSEWHERE in os.environ:
            self.held.drop()
            return
        try:
            self.held.write()
        except SnapshotError as error:
            report.outcome, report.longrepr = "failed", str(error)

    def _tell_trees(self, report: pytest.TestReport, trees: str, numbers: Collection[int], told: set[str]) -> None:
        """Show the tree of each recording around the events `numbers`. `told` are the messages that stand above."""
        recordings = [recording for recording in self.page.recordings if self._is_new(recording)]
        if recordings and report.failed:
            most = max(_room(report) // len(recordings), MIN_LINES)
            shown = [_around(recording, numbers, told, most) for recording in recordings]
            report.sections.append(("llmtest: run tree", _cut("\n\n".join(shown))))
        if trees == "all":
            texts = [_tree(recording) for recording in recordings]
            counts = [_tokens_line(recording) for recording in recordings]
            # An attribute of the report, because it comes back from xdist's workers and goes into no JUnit file.
            vars(report)["llmtest_trees"] = [f"{text}\n{count}" for text, count in zip(texts, counts, strict=True)]

    def _is_new(self, recording: Recording) -> bool:
        """True if it has runs that were not shown: an inner block shows nothing that the outer one does not."""
        runs = {run.id for run in recording.runs} - self._shown
        self._shown |= runs
        return bool(runs)


ATTEMPT: Final = pytest.StashKey[Attempt]()


def attempt_of(item: pytest.Item) -> Attempt | None:
    """Return the attempt at a test that runs, or that has just ended."""
    return item.stash.get(ATTEMPT, None)


def prefix(name: str) -> str:
    """Return what makes ids unique over tests; the same in every run, on every worker."""
    return f"{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}_"


def _place(item: pytest.Function) -> tuple[object, str]:
    """Return where the runner of this test looks up the function that it will call."""
    handle = getattr(item.obj, "hypothesis", None)
    if hasattr(handle, "inner_test"):  # one event loop for each example, so also one wrapper for each
        return handle, "inner_test"
    if isinstance(item.instance, unittest.TestCase) and inspect.iscoroutinefunction(item.obj):
        return item.instance, item.name
    return item, "obj"


def _wrap(function: Callable[..., Any], attempt: Attempt) -> Callable[..., object]:
    """Return `function` inside a block, entered in the context in which it runs: a fixture's context may be another one."""

    @functools.wraps(function)
    def test(*args: object, **kwargs: object) -> Any:
        __tracebackhide__ = hidden
        with attempt.inside():
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def async_test(*args: object, **kwargs: object) -> object:
        __tracebackhide__ = hidden
        with attempt.inside():
            return await attempt.drive(function(*args, **kwargs))

    return async_test if inspect.iscoroutinefunction(function) else test


def _is_expected(error: Exception, item: pytest.Item) -> bool:
    """True if the marker `xfail` of the test means `error` too."""
    xfailed = item.stash.get(xfailed_key, None)
    raises = None if xfailed is None else xfailed.raises
    if raises is None or isinstance(raises, type | tuple):
        return raises is None or isinstance(error, raises)
    return raises.matches(error)


# -- what its reports show


def say_headline(error: BaseException, attempt: Attempt) -> None:
    """Replace pytest's `assert <headline>` by the headline alone, which is a sentence, and shorter."""
    told = error.args[0] if isinstance(error, AssertionError) and error.args else None
    for mismatch in attempt.mismatches:
        if told == f"assert {mismatch.headline}":
            error.args = (mismatch.headline,)
    if attempt.page.answer is not None and isinstance(told, str):
        headline = repr(attempt.page.answer)
        if told.splitlines()[:1] == [f"assert {headline}"]:  # pytest goes on to say where it comes from
            error.args = (headline,)


def _tell_snapshots(report: pytest.TestReport, attempt: Attempt, item: pytest.Item, *, alone: bool) -> bool:
    """Put the diffs of a failed test into its report and keep what it received; forget what was kept of one that matched.

    Of a test that failed before it compared anything, the difference from its snapshot is shown, too.
    """
    config = item.config
    failed = report.failed or (report.skipped and hasattr(report, "wasxfail"))
    names = attempt.held.names if attempt.held is not None and failed else []
    if names:
        report.sections.append(("llmtest: snapshot", f"not accepted, because the test failed: {', '.join(names)}"))
    if not attempt.mismatches and not attempt.matches:
        return report.failed and not names and _tell_uncompared(report, attempt, item)
    folder = pending_folder(config)
    for mismatch in attempt.matches:
        with suppress(OSError):  # a folder that cannot be written holds nothing that is pending
            folder.forget(mismatch)
    for mismatch in attempt.mismatches if report.failed else ():
        kept, problem = _keep(folder, mismatch)
        color = _has_color(config)
        headline = [] if mismatch.headline in report.longreprtext else [mismatch.headline]
        footer = problem or mismatch.footer(config.rootpath, kept, alone=alone)
        limit = max(_room(report) - len(headline) - len(footer), MIN_LINES)
        lines = [*headline, *mismatch.lines(color=color, limit=limit), *footer]
        report.sections.append(("llmtest: snapshot", "\n".join(lines)))
        if kept is not None:
            vars(report)["llmtest_pending"] = True  # comes back from xdist's workers
    return report.failed and bool(attempt.mismatches)


def _tell_uncompared(report: pytest.TestReport, attempt: Attempt, item: pytest.Item) -> bool:
    """Put the difference from the snapshot into the report of a test that failed before it compared its recording."""
    if attempt.recording is None or "llm_snapshot" not in getattr(item, "fixturenames", ()):
        return False
    from llmtest.pytest_plugin.snapshots import uncompared

    attempt.uncompared = found = uncompared(item, attempt.recording)
    if found is None:
        return False
    lines = [found.headline, *found.lines(limit=_room(report) - 1, color=_has_color(item.config))]
    report.sections.append(("llmtest: snapshot", "\n".join(lines)))
    return True


def _room(report: pytest.TestReport) -> int:
    """Return how many lines another section may have, so that the whole failure fits on one screen."""
    ours = [text for title, text in report.sections if title.startswith("llmtest: ")]
    used = sum(len(text.splitlines()) + 1 for text in (report.longreprtext, *ours)) + 2  # headings, this one and that of the test
    return min(max(ONE_SCREEN - used, MIN_LINES), MAX_LINES)


def _has_color(config: pytest.Config) -> bool:
    return config.pluginmanager.hasplugin("terminalreporter") and bool(config.get_terminal_writer().hasmarkup)


def _keep(folder: Folder, mismatch: Mismatch) -> tuple[Path | None, list[str]]:
    """Keep what was received as pending. Return its file, and else what is wrong with the folder."""
    try:
        return folder.keep(mismatch), []
    except OSError as error:
        return None, [f"  nothing was kept for `llmtest accept`, because the file cannot be written: {error}"]


def _tell_answer(page: Any, report: pytest.TestReport) -> list[Any]:
    """Put the last rule or shape that did not hold into the report, in full; return what was put there."""
    if not report.failed or page.answer is None:
        return []
    answer, page.answer = page.answer, None
    report.sections.append(("llmtest: explanation", str(answer)))
    return [answer]


def fail(found: list[Violation]) -> None:
    from llmtest.errors import ViolationError

    raise ViolationError(*found)


def place_skip(report: pytest.TestReport, item: pytest.Item) -> None:
    """Let a test that we have skipped be skipped at its own place, and not at ours."""
    if report.skipped and isinstance(report.longrepr, tuple) and "pytest_plugin" in report.longrepr[0]:
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, report.longrepr[2])


def is_ours(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    return excinfo.traceback[-1].frame.code.raw is fail.__code__


def without_frames(excinfo: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> Any:
    """Return the message alone, at the place of the test: we raised it after the test, so its traceback says nothing."""
    shown = excinfo.getrepr(style="value")
    assert shown.reprcrash is not None
    shown.reprcrash.path, shown.reprcrash.lineno = str(item.path), (item.location[1] or 0) + 1
    return shown


def _tree(recording: Recording) -> str:
    try:
        return str(recording).rstrip()
    except Exception as error:  # pragma: no cover - a fault of ours, whose report would hide why the test failed
        return f"the run tree could not be rendered: {type(error).__name__}: {error}"


def _around(recording: Recording, numbers: Collection[int], told: set[str], most: int) -> str:
    """Return the tree around what failed."""
    from llmtest.trees.around import around

    try:
        events = list(recording) if numbers else []
        return around(recording, {events[n].run_id for n in numbers if n < len(events)}, told=told, most=most)
    except Exception as error:  # a report that fails would hide why the test failed
        return f"the run tree could not be rendered: {type(error).__name__}: {error}"


def _tokens_line(recording: Recording) -> str:
    from llmtest.errors import UnjudgedError

    usage = recording.usage
    try:
        return f"tokens: {usage.input_tokens} in, {usage.output_tokens} out"
    except UnjudgedError as error:
        return f"tokens: {error}"


def _cut(text: str) -> str:
    from llmtest.core.text import capped

    return capped(text.splitlines(), MAX_LINES + 1, tail=0)


def _new_tally() -> TokenCount:
    from llmtest.tokens.counting import TokenCount

    tally = TokenCount()
    tally.holds_runs = False
    return tally


# -- LangSmith

_muted: ContextVar[dict[ContextVar[object], object] | None] = ContextVar("llmtest_muted", default=None)
"""What the variables of langsmith were before we turned it off, in contexts in which we did."""


def mute() -> None:
    """Turn tracing to LangSmith off in this context: a key in the environment would upload every run of a test."""
    if _muted.get() is not None:
        return
    before: dict[ContextVar[object], object] = {}
    with suppress(ImportError):
        from langsmith import tracing_context

        # The block is not left open: if it were collected with its task, it would restore another context than its own.
        with tracing_context(enabled=False):
            inside = copy_context()
        before = {var: value for var, value in copy_context().items() if value is not inside.get(var)}
        for var in before:
            var.set(inside.get(var))
    _muted.set(before)


def _unmute(until: dict[ContextVar[object], object] | None) -> None:
    """Turn it on again in this context, which is pytest's own; those of tasks and threads are gone."""
    before = _muted.get()
    if before is not None and before is not until:
        for var, value in before.items():
            var.set(value)
        _muted.set(until)
