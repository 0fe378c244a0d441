"""Tracing: which recordings are written to the store, and by whom.

The program only records. A thread of ours looks a few times a second at what is traced, makes rows of the traces
whose root has ended, and writes them; `flush` does the same at once. What goes wrong there is one warning in the log, and
never an exception in the program.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from llmtest.errors import StoreError
from llmtest.events.callbacks import ENDINGS, START_KINDS
from llmtest.recording.recording import Recording
from llmtest.tracing.rows import Rows, Splitter, rows
from llmtest.tracing.store import Store, place

INTERVAL_S: Final = 0.1
"""Between two looks at what is traced; a trace is in the store at most twice that after its root has ended."""

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT: Final = "default"
_log: Final = logging.getLogger("llmtest")


class _TracedRecording(Recording):
    """A recording that goes to the store."""

    traced = True
    word = "tracing_enabled"


class Session:
    """A session that is being traced: what `tracing_enabled` gives, which is the block.

    `recording` holds all that the block caught, also when the store cannot be reached. `name` is the name of the session,
    `store` the file. It is always truthy.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.store = place()
        self.recording: Recording = _TracedRecording()

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Session {self.name!r}: {self.recording!r}>"

    def __enter__(self) -> Self:
        self.recording.__enter__()
        self.store = place()
        _writers[0].track(Tracked(self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.recording.__exit__(kind, error, trace)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: F) -> F:
        """`function`, each call of which is traced; a generator's, while it runs and not while it waits at a yield."""
        traced = self.recording(function)
        _writers[0].track(Tracked(self))
        return traced


def tracing_enabled(session: str = DEFAULT) -> Session:
    """Writes every run that starts inside the block to the trace store, under the name of a session. Gives a `Session`.

    Its `recording` is what `record()` would have given, and the same rule says which run belongs to it. A session of that
    name that is there already grows. Each root run is one trace, in the store at most 0.2 s after it has ended, and when
    `llmtest.tracing.flush()` has returned; at the end of the process the rest is written. The file is
    `.llmtest/traces.sqlite`, or what `LLMTEST_STORE` says. Secrets are masked in it.

    Works as `with`, as `async with`, and as a decorator of functions and generators, sync and async; may be nested, in which
    case both sessions get the run. Thread-safe and task-safe. A store that cannot be written is one warning of the logger
    `llmtest` for each session, and never an exception.

    >>> import os, tempfile
    >>> from llmtest import ScriptedChatModel, load_traces, tracing_enabled
    >>> os.environ["LLMTEST_STORE"] = tempfile.mkdtemp() + "/traces.sqlite"
    >>> with tracing_enabled("greetings") as session:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> [trace.kinds for trace in load_traces("greetings")]
    [['on_chat_model_start', 'on_llm_end']]
    >>> del os.environ["LLMTEST_STORE"]

    It does not trace runs that started before the block; `LLMTEST_TRACING=true` traces the whole process.
    """
    return Session(session)


def whole_process() -> Recording:
    """The recording of one root run that is traced because of `LLMTEST_TRACING`. It lives until it is written."""
    session = Session(DEFAULT)
    _writers[0].track(Tracked(session, single=True))
    return session.recording


def flush() -> None:
    """Writes all that was traced so far, also of runs that are still open; returns when it is in the store.

    Safe from any thread. It blocks an event loop for as long as the disk takes. A process that ends with `os._exit`, as
    those of `multiprocessing` do, calls it last. It raises nothing: see `tracing_enabled`.
    """
    _writers[0].write(everything=True)


def load_traces(session: str, *, store: Path | str | None = None) -> list[Recording]:
    """The traces of a session as recordings, one for each root run, in the order in which they started.

    `session` is its name, or the key of one trace as `llmtest sessions` and `llmtest show` print it. `store` is the file; by
    default the one that is written here. What this process has traced so far is written first. Shapes, rules, snapshots and
    `llmtest.protocol.check` work on them as on recordings that were never stored.

    Raises:
        StoreError: there is no such session or trace, with the nearest; or the file cannot be read.

    It does not bring back what was masked.
    """
    flush()
    with Store(Path(store) if store is not None else place()) as opened:
        return [opened.load(trace) for trace in opened.find(session)]


# -- what is traced


class Tracked:
    """A recording that is being traced: what of it is in the store, and what has to be written."""

    def __init__(self, session: Session, *, single: bool = False) -> None:
        self.session = session
        self._single = single  # it has one root, and no block
        self._parts = Splitter(session.recording)
        self._open: dict[UUID, set[UUID]] = {}
        self._dirty: dict[UUID, None] = {}
        self._written: set[UUID] = set()
        self._foreign: set[UUID] = set()

    def due(self, *, everything: bool) -> list[UUID]:
        """The roots that have to be written now: those that have ended, and those that nobody will wait for any longer."""
        for root, events in self._parts.take().items():
            self._follow(root, events)
        closed = self.session.recording.closed
        return [root for root in self._dirty if everything or self._is_due(root, closed)]

    def _follow(self, root: UUID, events: Iterable[tuple[str, UUID]]) -> None:
        running = self._open.setdefault(root, set())
        for kind, run_id in events:
            if kind in START_KINDS:
                running.add(run_id)
            elif kind in ENDINGS:
                running.discard(run_id)
        if root not in self._foreign:
            self._dirty[root] = None

    def _is_due(self, root: UUID, closed: bool) -> bool:
        """A trace is written when its root has ended, and once more when all that it left behind has ended."""
        running = self._open[root]
        return not running or (root not in self._written and (closed or root not in running))

    def take(self, root: UUID) -> Rows:
        self._dirty.pop(root)
        self._written.add(root)
        return rows(self._parts.trace(root))

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.idle and (self.session.recording.closed or (self._single and bool(self._open)))

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written, and nothing runs."""
        return not self._dirty and not any(self._open.values())

    def inherit(self) -> None:
        """In a forked process: what began before belongs to the one that began it."""
        self.session.recording._lock = threading.Lock()  # the thread that held it is not here
        self._parts.take()
        self._foreign.update(self._parts.roots)
        self._dirty.clear()
        self._open.clear()


# -- who writes


class _Writer:
    """Writes what is tracked. `write` may be called from any thread; one pass at a time."""

    def __init__(self) -> None:
        self._tracked: list[Tracked] = []
        self._stores: dict[Path, Store] = {}
        self._warned: set[tuple[Path, str]] = set()
        self._pass = threading.Lock()
        self._work = threading.Event()
        self._starting = threading.Lock()

    def track(self, tracked: Tracked) -> None:
        self._tracked.append(tracked)
        self._work.set()
        if self._starting.acquire(blocking=False):
            threading.Thread(target=self._go_on, name="llmtest traces", daemon=True).start()

    def _go_on(self) -> None:
        while True:
            self._work.wait()
            time.sleep(INTERVAL_S)
            self.write()

    def write(self, *, everything: bool = False) -> None:
        """One look at all that is tracked."""
        with self._pass:
            self._work.clear()
            for tracked in list(self._tracked):
                roots = tracked.due(everything=everything)
                if roots:
                    self._write(tracked, roots)
                if tracked.over:
                    self._tracked.remove(tracked)
            if self._tracked:
                self._work.set()
            if all(tracked.idle for tracked in self._tracked):
                self._close()

    def _write(self, tracked: Tracked, roots: Iterable[UUID]) -> None:
        session = tracked.session
        try:
            taken = [tracked.take(root) for root in roots]
            self._stores.setdefault(session.store, Store(session.store)).write(session.name, taken)
        except StoreError as error:
            self._warn(session, str(error))
        except Exception as error:  # of ours; the program must not pay for it
            self._warn(session, f"a trace could not be written: {type(error).__name__}: {error}", error)

    def _warn(self, session: Session, why: str, error: Exception | None = None) -> None:
        if (session.store, session.name) not in self._warned:
            self._warned.add((session.store, session.name))
            what = f"session {session.name!r} is not stored; the program goes on, and the block's `.recording` has everything"
            _log.warning("%s\n%s", what, why, exc_info=error)

    def _close(self) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    def heir(self) -> _Writer:
        """In a forked process: a writer for what comes there."""
        heir = _Writer()
        for tracked in self._tracked:
            tracked.inherit()
            heir.track(tracked)
        return heir


_writers: Final = [_Writer()]
"""The first is that of this process; those after it belong to the processes that it was forked from, and are left alone."""


def _forked() -> None:
    _writers.insert(0, _writers[0].heir())


with suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_forked)
atexit.register(flush)
