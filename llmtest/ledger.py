"""The violations of one test, and who is told.

The scripted doubles write every `Violation` on a page when it happens; the pytest plugin reads the page at the end of the
test. It is apart from `llmtest.scripts.script` because the plugin needs it in every test and it costs next to nothing to
import.

Process-wide on purpose: a call on a bare thread has lost its context, but it still belongs to the test that is running. Only
a thread that was at work when its test ended goes on writing on the page of that test.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

from llmtest import errors
from llmtest.core.lazy import exports
from llmtest.errors import Violation, ViolationError, is_expected, keepers, withdrawers


class Gate(Protocol):
    """What the ledger asks of a gate at which a call of the test has waited: to open, and to say if it was never released."""

    def end(self) -> None: ...


class Double(Protocol):
    """What the ledger asks of a script: which of its steps were never served."""

    def unused(self) -> list[Violation]: ...


class Block(Protocol):
    """What the ledger asks of a block that a test has opened: to close, and to say if it was left open."""

    def end_of_test(self) -> list[Violation]: ...


class Ledger:
    """One page: the violations, scripts, blocks and recordings of one test, or of one fixture.

    Holds state; appends are atomic, so any thread may write. `on_touch` is called when a double is made or called,
    `on_note` when a recording is opened. `new_tally` makes what counts the tokens of a test. `test` is the node id.
    """

    def __init__(
        self,
        prefix: str = "",
        on_touch: Callable[[], None] | None = None,
        on_note: Callable[[], None] | None = None,
        new_tally: Callable[[], Any] | None = None,
        *,
        test: str = "",
    ) -> None:
        self.test = test
        self.violations: list[Violation] = []
        self.recordings: list[Any] = []
        self.journals: list[Any] = []
        """The requests to each scripted server of the test, for the report."""
        self._gates: list[Gate] = []
        self.blocks: dict[int, Block] = {}
        self.answer: object = None
        """The last rule or shape that did not hold, as an `Answer`, for the report."""
        self.on_touch = on_touch
        self.on_note = on_note
        self.doubles: dict[int, Double] = {}
        self.outlives_test = False
        """True for the page of a living fixture of wider scope than a test."""
        self.new_tally = new_tally
        self._tally: dict[str, object] = {}
        self._unasked: list[Double] = []
        self._deferred: list[Double] = []
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._thread = threading.get_ident()
        self._threads_before = WeakSet(threading.enumerate() if test else ())
        for thread in _waiting([*_outliving]) if test else ():
            del _outliving[thread]  # it has come back to its pool

    def fresh_id(self, kind: str) -> str:
        """Return an id that is unique over all doubles of this test, and the same in every run of it."""
        return f"{kind}_{self._prefix}{next(self._numbers)}"

    def tally(self) -> object:
        """Return what counts the tokens of this test, made when it is first asked for; None if they are not counted."""
        if not self._tally and self.new_tally is not None:
            self._tally.setdefault("tally", self.new_tally())  # atomic: two threads get the same
        return self.counted

    @property
    def counted(self) -> Any:
        """The tally of this test, if anything was counted."""
        return self._tally.get("tally")

    def owns(self, double: Double) -> bool:
        return id(double) in self.doubles

    def notice(self) -> None:
        """A double was made or called while this page was open, on whatever page it stands."""
        if self.on_touch is not None:
            self.on_touch()

    def touch(self, double: Double) -> None:
        """This page looks after `double`."""
        if id(double) not in self.doubles:
            self.doubles[id(double)] = double
            self._unasked.append(double)

    def defer(self, doubles: Iterable[Double]) -> None:
        """Ask these doubles for unused steps only after `ask_deferred`."""
        later = list(doubles)
        self._unasked = [double for double in self._unasked if double not in later]
        self._deferred += later

    def ask_deferred(self) -> None:
        """From here on, the doubles that were deferred owe their steps, too."""
        self._unasked += self._deferred
        self._deferred = []

    def write(self, violation: Violation) -> None:
        self.violations.append(violation)

    def note(self, recording: Any) -> None:
        self.recordings.append(recording)
        if self.on_note is not None:
            self.on_note()

    def note_journal(self, journal: Any) -> None:
        """A scripted server was started."""
        self.journals.append(journal)
        self.notice()

    def keep_gate(self, gate: Gate) -> None:
        """A call has come to `gate` while this page was open."""
        self._gates.append(gate)

    def end_gates(self) -> None:
        """Open the gates: the test is over, and cannot release them any more."""
        while self._gates:
            self._gates.pop(0).end()

    def pass_gates(self, page: Ledger) -> None:
        """Another page looks after the gates from here on."""
        gates, self._gates = self._gates, []
        for gate in gates:
            page.keep_gate(gate)

    def keep_block(self, block: Block) -> None:
        """`block` was opened by the test. What another thread opens, as a server does, may outlive it."""
        if threading.get_ident() == self._thread:
            self.blocks[id(block)] = block

    def end_blocks(self) -> None:
        """Close the blocks that are still open, and write down what is wrong about that."""
        while self.blocks:
            _, block = self.blocks.popitem()
            self.violations += block.end_of_test()

    def end(self) -> list[threading.Thread]:
        """The test is over. Return the threads that it started and that are at work: they go on writing here."""
        started = [t for t in threading.enumerate() if t not in self._threads_before and t not in _of_fixtures]
        idle = _waiting(started)
        working = [thread for thread in started if thread not in idle]
        for thread in working:
            _outliving.setdefault(thread, self)
        return working

    def take(self) -> list[Violation]:
        """Return what has been written since the last `take`, then unused steps. Each double is asked for them once."""
        if hear_children is not None:
            hear_children()
        number = len(self.violations)
        written = self.violations[:number]
        del self.violations[:number]
        asked, self._unasked = self._unasked, []
        return [*written, *(violation for double in asked for violation in double.unused())]


class Outside(Ledger):
    """Outside a test: ids are numbered, nothing is kept; `model.verify()` asks the script itself."""

    def touch(self, double: Double) -> None:
        """Keep no reference."""

    def write(self, violation: Violation) -> None:
        """Keep nothing: the script has it."""

    def keep_gate(self, gate: Gate) -> None:
        """Keep no reference; it opens by itself."""

    def keep_block(self, block: Block) -> None:
        """Keep no reference; a program may leave it open."""

    def note(self, recording: Any) -> None:
        """Keep no reference."""

    def note_journal(self, journal: Any) -> None:
        """Keep no reference."""


_outside = Outside()

_open: list[Ledger] = []


is_forked = False
"""True in a process that was forked while a test or a block was open. Its page and its blocks are copies."""
hear_children: Callable[[], None] | None = None
"""Writes down what forked processes have reported. Set at the first fork of a test or block."""
tell_parent: Callable[[Violation], None] | None = None
"""Reports a violation to the process that this one was forked from. Set in the child."""


def open_pages() -> list[Ledger]:
    """Return the pages that are open, the current one last."""
    return [*_open]


# -- threads that outlive their test

_outliving: WeakKeyDictionary[threading.Thread, Ledger] = WeakKeyDictionary()
"""The page of the test that started a thread which was at work when that test ended."""
_of_fixtures: WeakSet[threading.Thread] = WeakSet()
"""Threads that a fixture of wider scope than a test started: they work for each test in turn."""
_WAITING: Final = ("queue.py", "selectors.py", "concurrent/futures/thread.py", "concurrent/futures/_base.py")
"""Where a thread waits for work of others: such a thread belongs to no test."""


def _waiting(threads: list[threading.Thread]) -> list[threading.Thread]:
    """Return those of `threads` whose innermost code is that of a pool or an event loop which waits for work."""
    frames: dict[int, Any] = dict(sys._current_frames()) if threads else {}
    return [thread for thread in threads if _is_waiting(frames.get(thread.ident or 0))]


def _is_waiting(frame: Any) -> bool:
    while frame is not None and frame.f_code.co_filename.endswith("threading.py") and frame.f_back is not None:
        frame = frame.f_back
    return frame is None or frame.f_code.co_filename.replace("\\", "/").endswith(_WAITING)


def page_of_thread() -> Ledger | None:
    """Return the page of an earlier test, if this thread is at work for it still."""
    return _outliving.get(threading.current_thread()) if _outliving else None


# -- the page that is written now


def current() -> Ledger:
    """Return the page that is written now: the innermost open one, or that of the test which this thread outlives."""
    if _outliving and (page := page_of_thread()) is not None:
        return page
    if _repeats and (repeat := _page_of_repeat.get()) in _repeats:
        return repeat
    return _open[-1] if _open else _outside


def tally() -> Any:
    """Return what counts the tokens of the test that is running, or None. The page of a fixture has none of its own."""
    if _repeats and (repeat := _page_of_repeat.get()) in _repeats:
        return repeat.tally()
    for page in reversed(_open):
        if page.new_tally is not None or isinstance(page, Outside):
            return page.tally()
    return None


# A task or a carried thread has the page of its spawner in its context, also when that test is over.
_spawned_on: ContextVar[weakref.ref[Ledger] | None] = ContextVar("llmtest_page", default=None)


@contextmanager
def opened(ledger: Ledger) -> Iterator[Ledger]:
    """Make `ledger` the current page for the length of the block."""
    _open.append(ledger)
    outer = _spawned_on.get()
    _spawned_on.set(weakref.ref(ledger))
    try:
        yield ledger
    finally:
        _spawned_on.set(outer)
        _open.remove(ledger)


# Several repeats of one test may run at once, each with a page of its own, which is found by the context of the repeat.
_page_of_repeat: ContextVar[Ledger] = ContextVar("llmtest_page_of_repeat", default=_outside)
_repeats: set[Ledger] = set()


@contextmanager
def opened_for_repeat(page: Ledger) -> Iterator[Ledger]:
    """Make `page` the current one in this context, for the length of the block. Elsewhere the page of the test stays so."""
    _repeats.add(page)
    outer, before = _spawned_on.get(), _page_of_repeat.get()
    _spawned_on.set(weakref.ref(page))
    _page_of_repeat.set(page)
    try:
        yield page
    finally:
        _page_of_repeat.set(before)
        _spawned_on.set(outer)
        _repeats.discard(page)


def is_left_over() -> bool:
    """True if the work that asks was started by a test that is over. Work of unknown origin is not."""
    if page_of_thread() is not None:
        return True
    ref = _spawned_on.get()
    page = ref() if ref is not None else None
    return ref is not None and (page is None or not (page in _open or page in _repeats or page.outlives_test))


def made(double: Double) -> None:
    """A double was made: the current page looks after it."""
    if not _open:
        _warn_without_plugin()
    current().notice()
    current().touch(double)


def _warn_without_plugin() -> None:
    """Say that a test runs in a pytest which has not loaded our plugin: its doubles would fail no test."""
    # The variable alone is not enough: a program that a test starts inherits it.
    if "PYTEST_CURRENT_TEST" in os.environ and "_pytest.runner" in sys.modules:
        warnings.warn(
            "pytest runs without the plugin of llmtest: no unused step and no swallowed violation of a double fails a test;"
            " add `-p llmtest.pytest_plugin`, or call `model.verify()` at the end of each test",
            errors.LlmtestWarning,
            stacklevel=4,
        )


def called(double: Double) -> None:
    """A double was called: the current page looks after it, unless a page further out made it."""
    if not _open:
        return
    current().notice()
    if not any(ledger.owns(double) for ledger in (*_fixtures, *_open, *_repeats)):
        current().touch(double)


# Pages of fixtures that outlive a test: a double of theirs is asked for unused steps when they end.
_fixtures: list[Ledger] = []


@contextmanager
def kept(page: Ledger) -> Iterator[Ledger]:
    """Make `page` current while a fixture of wider scope than a test is set up, and keep it for as long as that lives.

    What happens meanwhile belongs to the test; the doubles, the blocks and the threads that were made belong to the fixture.
    A fixture that fails keeps nothing.
    """
    threads = {*threading.enumerate()}
    page.outlives_test = True
    try:
        with opened(page):
            yield page
        if page.doubles or page.blocks:
            _fixtures.append(page)
    finally:
        _of_fixtures.update({*threading.enumerate()} - threads)
        for violation in page.violations:
            current().write(violation)
        for recording in page.recordings:
            current().note(recording)
        page.pass_gates(current())
        page.violations, page.recordings = [], []


def release(page: Ledger) -> list[Violation]:
    """Return what the doubles of a fixture that has ended were never asked for, and the blocks that it left open."""
    page.outlives_test = False
    if page not in _fixtures:
        return []
    _fixtures.remove(page)
    page.end_blocks()
    return page.take()


def keep_block(block: Block) -> None:
    """A block was opened, or made with rules: the test in which it was must leave it."""
    current().keep_block(block)


def drop_block(block: Block) -> None:
    """A block was left as it should be."""
    for page in (*_open, *_fixtures, *_repeats):
        page.blocks.pop(id(block), None)


def withdraw(violation: Violation) -> None:
    """A violation was expected after all: take it off its page."""
    for page in (*_open, *_fixtures, *_repeats):
        page.violations[:] = [written for written in page.violations if written is not violation]


keepers.append(keep_block)
withdrawers.append(withdraw)


def report(violation: Violation, own: list[Violation], double: Double | None = None) -> ViolationError:
    """Write `violation` down, in the double's `own` list too, unless it was expected; return the exception to raise for it.

    Secrets in its text are masked: it goes into the logs of a CI.
    """
    from llmtest.core.masks import publish  # the unused plugin loads the ledger, and reports nothing

    violation = replace(violation, text=publish(violation.text))
    if not is_expected(violation):
        own.append(violation)
        _page_for(double).write(violation)
        if tell_parent is not None:
            tell_parent(violation)
    return ViolationError(violation)


def _page_for(double: Double | None) -> Ledger:
    """Return the page for a violation of a double: of the repeat that has made it, or else of the test that is running."""
    if double is None or current() in _repeats:
        return current()
    owner = next((page for page in [*_repeats] if page.owns(double)), None)
    # A double of an open page is called for the test that is running, whatever thread calls it.
    is_of_test = any(page.owns(double) for page in (*_fixtures, *_open))
    return owner or (_open[-1] if is_of_test and _open else current())


def doubles() -> list[Double]:
    """Return every double that a page looks after: of the running test, and of fixtures that outlive it."""
    return list({id(double): double for page in (*_fixtures, *_open, *_repeats) for double in page.doubles.values()}.values())


def note_recording(recording: Any) -> None:
    """A recording was opened: a failing test shows its tree."""
    current().note(recording)


if not TYPE_CHECKING:
    __getattr__, __dir__ = exports(__name__)
