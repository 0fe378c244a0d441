"""What must not have happened, and who is told.

The scripted doubles write every `Violation` down here when it happens; the pytest plugin reads the
page at the end of the test. It is apart from `llmtest.scripts.script` because the plugin needs it in every test and
it costs next to nothing to import.

Process-wide on purpose: a call from a bare thread has lost its context, but it still belongs to the test
that is running.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from llmtest.core.lazy import exports
from llmtest.errors import Violation, ViolationError, is_expected


class Gate(Protocol):
    """What the ledger asks of a gate at which a call of the test has waited: to open, and to say if nobody had opened it."""

    def end(self) -> None: ...


class Double(Protocol):
    """What the ledger asks of a script: which of its steps were never served."""

    def unused(self) -> list[Violation]: ...


class Ledger:
    """One page: the violations, scripts and recordings of one test, or of one fixture.

    Holds state; appends are atomic, so any thread may write. `on_touch` is called when a double is made or called,
    `on_note` when a recording is opened. `new_tally` makes what counts the tokens of a test.
    """

    def __init__(
        self,
        prefix: str = "",
        on_touch: Callable[[], None] | None = None,
        on_note: Callable[[], None] | None = None,
        new_tally: Callable[[], Any] | None = None,
    ) -> None:
        self.violations: list[Violation] = []
        self.recordings: list[Any] = []
        self._gates: list[Gate] = []
        self.answer: Any = None
        """The last rule or shape that did not hold, as an `Answer`, for the report."""
        self.on_touch = on_touch
        self.on_note = on_note
        self.doubles: dict[int, Double] = {}
        self.outlives_test = False
        """True for the page of a living fixture of wider scope than a test."""
        self.new_tally = new_tally
        self._tally: dict[str, Any] = {}
        self._unasked: list[Double] = []
        self._prefix = prefix
        self._numbers = itertools.count(1)

    def fresh_id(self, kind: str) -> str:
        """An id that is unique over all doubles of this test, and the same in every run of it."""
        return f"{kind}_{self._prefix}{next(self._numbers)}"

    def tally(self) -> Any:
        """What counts the tokens of this test, made when it is first asked for; None if they are not counted."""
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
        """A double was made or called while this page was open, whoever looks after it."""
        if self.on_touch is not None:
            self.on_touch()

    def touch(self, double: Double) -> None:
        """This page looks after `double`."""
        if id(double) not in self.doubles:
            self.doubles[id(double)] = double
            self._unasked.append(double)

    def write(self, violation: Violation) -> None:
        self.violations.append(violation)

    def note(self, recording: Any) -> None:
        self.recordings.append(recording)
        if self.on_note is not None:
            self.on_note()

    def keep_gate(self, gate: Gate) -> None:
        """A call has come to `gate` while this page was open."""
        self._gates.append(gate)

    def end_gates(self) -> None:
        """The test is over, so that nobody will release a gate any more."""
        while self._gates:
            self._gates.pop(0).end()

    def pass_gates(self, page: Ledger) -> None:
        """Another page looks after the gates from here on."""
        gates, self._gates = self._gates, []
        for gate in gates:
            page.keep_gate(gate)

    def take(self) -> list[Violation]:
        """What has been written since the last `take`, then unused steps. Each double is asked for them once."""
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
        """Keeps no reference."""

    def write(self, violation: Violation) -> None:
        """Nobody would read it; the script keeps it."""

    def keep_gate(self, gate: Gate) -> None:
        """Keeps no reference; it opens by itself."""

    def note(self, recording: Any) -> None:
        """Keeps no reference."""


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


def current() -> Ledger:
    """The page that is being written now: the innermost open one."""
    return _open[-1] if _open else _outside


def tally() -> Any:
    """What counts the tokens of the test that is running, or None. The page of a fixture has none of its own."""
    for page in reversed(_open):
        if page.new_tally is not None or isinstance(page, Outside):
            return page.tally()
    return None


# A task or a carried thread has the page of its spawner in its context, also when that test is over.
_spawned_on: ContextVar[weakref.ref[Ledger] | None] = ContextVar("llmtest_page", default=None)


@contextmanager
def opened(ledger: Ledger) -> Iterator[Ledger]:
    """Makes `ledger` the current page for the length of the block."""
    _open.append(ledger)
    outer = _spawned_on.get()
    _spawned_on.set(weakref.ref(ledger))
    try:
        yield ledger
    finally:
        _spawned_on.set(outer)
        _open.remove(ledger)


def is_left_over() -> bool:
    """True if the work that asks was started by a test that is over. Unknown work, such as that of a bare thread, is not."""
    ref = _spawned_on.get()
    page = ref() if ref is not None else None
    return ref is not None and (page is None or not (page in _open or page.outlives_test))


def made(double: Double) -> None:
    """A double was made: the current page looks after it."""
    current().notice()
    current().touch(double)


def called(double: Double) -> None:
    """A double was called: the current page looks after it, unless a page further out made it."""
    if not _open:
        return
    current().notice()
    if not any(ledger.owns(double) for ledger in (*_fixtures, *_open)):
        current().touch(double)


# Pages of fixtures that outlive a test: a double of theirs is asked for unused steps when they end.
_fixtures: list[Ledger] = []


@contextmanager
def kept(page: Ledger) -> Iterator[Ledger]:
    """Makes `page` current while a fixture of wider scope than a test is set up, and keeps it for as long as that lives.

    What happens meanwhile belongs to the test; the doubles that were made belong to the fixture. A fixture that fails
    keeps nothing.
    """
    page.outlives_test = True
    try:
        with opened(page):
            yield page
        if page.doubles:
            _fixtures.append(page)
    finally:
        for violation in page.violations:
            current().write(violation)
        for recording in page.recordings:
            current().note(recording)
        page.pass_gates(current())
        page.violations, page.recordings = [], []


def release(page: Ledger) -> list[Violation]:
    """The fixture of `page` has ended: what its doubles were never asked for."""
    page.outlives_test = False
    if page not in _fixtures:
        return []
    _fixtures.remove(page)
    return page.take()


def report(violation: Violation, own: list[Violation]) -> ViolationError:
    """Writes `violation` down, in the double's `own` list too, unless it was expected; returns the exception to raise for it.

    Secrets in its text are masked: it goes into the logs of a CI.
    """
    from llmtest.core.masks import table  # the unused plugin loads the ledger, and reports nothing

    violation = replace(violation, text=table().without_secrets(violation.text))
    if not is_expected(violation):
        own.append(violation)
        current().write(violation)
        if tell_parent is not None:
            tell_parent(violation)
    return ViolationError(violation)


def note_recording(recording: Any) -> None:
    """A recording was opened: a failing test shows its tree."""
    current().note(recording)


if not TYPE_CHECKING:
    __getattr__, __dir__ = exports(__name__)
