"""Tracing: recordings that are written to the store while the program runs.

The program only records. A background thread looks a few times a second at the traced recordings, makes rows of the traces
whose root has ended, and writes them; `flush` does the same at once. A failure there is one warning in the log, and never
an exception in the program.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from llmtest.errors import OtelError, StoreError
from llmtest.events.callbacks import ENDINGS, START_KINDS
from llmtest.recording.recording import Recording
from llmtest.tracing.rows import Rows, Splitter, rows
from llmtest.tracing.store import Store, place

INTERVAL_S: Final = 0.1
"""Time between two passes of the background thread; a trace is in the store at most twice that after its root has ended."""

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT: Final = "default"
_log: Final = logging.getLogger("llmtest")


class _TracedRecording(Recording):
    """A recording that is written to the store."""

    traced = True
    word = "tracing_enabled"


class Session:
    """A traced session: the block that `tracing_enabled` returns, and what it yields.

    `recording` has all runs of the block, even if the store cannot be written. `name` is the name of the session, `store`
    the file. It is always truthy.
    """

    def __init__(self, name: str, export: object = None) -> None:
        self.name = name
        self.store = place()
        self.recording: Recording = _TracedRecording()
        self.export: Any = _live(export) if export is not None else _live_of_environment()
        """What sends its finished traces to a backend, with the counts of what was sent and lost; None without one."""

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
        """Return `function` with each call traced; a generator is traced while it runs, not while it waits at a yield."""
        traced = self.recording(function)
        _writers[0].track(Tracked(self))
        return traced


def tracing_enabled(session: str = DEFAULT, *, export: object = None) -> Session:
    """Write every run that starts inside the block to the trace store, under the name of a session. Yield a `Session`.

    Its `recording` equals that of `record()`: the same rule says which run belongs to it. An existing session of that name
    grows. Each root run is one trace, in the store at most 0.2 s after it has ended, and always when
    `llmtest.tracing.flush()` has returned; the rest is written at the end of the process. The file is
    `.llmtest/traces.sqlite`, or the one that `LLMTEST_STORE` names. Secrets are masked in it.

    `export` also sends each finished trace to a backend, by OTLP over HTTP in the background: a URL, or an
    `llmtest.otel.live(URL, Options(...))`, which says how much spans tell. `LLMTEST_OTLP_ENDPOINT` does it for the whole process.

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

    Raises:
        OtelError: `export` is no URL, or the packages of OpenTelemetry are not installed.

    It does not trace runs that started before the block; `LLMTEST_TRACING=true` traces the whole process.
    """
    return Session(session, export)


_exports: Final[dict[int, Any]] = {}
"""The live exports of this process, by identity. They are closed at its end."""


def _live(target: object, **options: str) -> Any:
    """Return the live export to a URL, or `target` itself if it is one. A package below this one makes it."""
    otel = import_module("llmtest.otel.sending")
    export = otel.live(target, otel.Options(**options) if options else None)
    for known in [key for key, other in _exports.items() if other.is_closed]:
        del _exports[known]
    _exports[id(export)] = export
    return export


def _live_of_environment() -> Any:
    """Return the live export that the environment asks for; None without one, or if it cannot be: that is one warning."""
    url = os.environ.get("LLMTEST_OTLP_ENDPOINT")
    if not url:
        return None
    named = {"content": "LLMTEST_OTLP_CONTENT", "convention": "LLMTEST_OTLP_CONVENTION"}
    try:
        return _live(url, **{key: os.environ[name] for key, name in named.items() if os.environ.get(name)})
    except OtelError as error:
        if url not in _refused:
            _refused.add(url)
            _log.warning("LLMTEST_OTLP_ENDPOINT: %s\n  no trace is exported; the program goes on", error)
        return None


_refused: Final[set[str]] = set()


def whole_process() -> Recording:
    """Return the recording of one root run that is traced because of `LLMTEST_TRACING`. It lives until it is written."""
    session = Session(DEFAULT)
    _writers[0].track(Tracked(session, single=True))
    return session.recording


def flush() -> None:
    """Write everything that was traced so far, including open runs; return when it is in the store.

    Thread-safe. It blocks an event loop while the disk writes. A process that ends with `os._exit`, such as one of
    `multiprocessing`, must call it before. It raises nothing: see `tracing_enabled`.
    """
    _writers[0].write(everything=True)


def load_traces(session: str, *, store: Path | str | None = None) -> list[Recording]:
    """Return the traces of a session as recordings, one for each root run, in the order in which they started.

    `session` is its name, or the key of one trace as `llmtest show` prints it; or the path of a file: JSON lines of
    `llmtest export`, OTLP (JSON or protobuf), or an export of LangSmith, Langfuse or Jaeger, plain or gzip. What spans do not
    tell is unknown (`Run.unknown`). `store` is the file of the store, by default the one that this process writes. Everything
    that this process has traced so far is written first. Shapes, rules, snapshots and `llmtest.protocol.check` work on them as on
    recordings that were never stored.

    Raises:
        StoreError: there is no such session or trace (the message has the nearest name), or the store cannot be read.
        OtelError: the file has no traces, or is damaged; the message has the place.

    It does not restore masked values.
    """
    if store is None and Path(session).is_file():
        files = import_module("llmtest.otel.files")  # a package below this one: it reads files of other tools
        return list(files.load(Path(session)))
    flush()
    with Store(Path(store) if store is not None else place()) as opened:
        return [opened.load(trace) for trace in opened.find(session)]


# -- traced recordings


class Tracked:
    """A traced recording: which of its traces are in the store, and which have to be written."""

    def __init__(self, session: Session, *, single: bool = False) -> None:
        self.session = session
        self._single = single  # it has one root, and no block
        self._parts = Splitter(session.recording)
        self._open: dict[UUID, set[UUID]] = {}
        self._dirty: dict[UUID, None] = {}
        self._written: set[UUID] = set()
        self._exported: set[UUID] = set()
        self._foreign: set[UUID] = set()

    def due(self, *, everything: bool) -> list[UUID]:
        """Return the roots to write now: those that have ended, and open ones when the block has closed."""
        for root, events in self._parts.update().items():
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
        """True when its root has ended, and once more when all runs that it left behind have ended."""
        running = self._open[root]
        return not running or (root not in self._written and (closed or root not in running))

    def rows(self, root: UUID, *, everything: bool = False) -> Rows:
        """Return the rows of a trace, and count it as written. A trace that is over goes to the live export, once."""
        self._dirty.pop(root)
        self._written.add(root)
        trace = self._parts.trace(root)
        if self.session.export is not None and root not in self._exported and (everything or not self._open[root]):
            self._exported.add(root)
            self.session.export.put(trace)
        return rows(trace)

    @property
    def over(self) -> bool:
        """True if no more events can come."""
        return self.idle and (self.session.recording.closed or (self._single and bool(self._open)))

    @property
    def idle(self) -> bool:
        """True if nothing has to be written, and no run is open."""
        return not self._dirty and not any(self._open.values())

    def inherit(self) -> None:
        """Leave the runs that began before a fork to the parent process. Called in the child."""
        self.session.recording._lock = threading.Lock()  # the thread that held it does not exist here
        self._parts.update()
        self._foreign.update(self._parts.roots)
        self._dirty.clear()
        self._open.clear()


# -- the writer


class _Writer:
    """Write tracked recordings. `write` may be called from any thread; one pass runs at a time."""

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
        """Write all tracked recordings that are due, in one pass."""
        with self._pass:
            self._work.clear()
            for tracked in list(self._tracked):
                roots = tracked.due(everything=everything)
                if roots:
                    self._write(tracked, roots, everything)
                if tracked.over:
                    self._tracked.remove(tracked)
            if self._tracked:
                self._work.set()
            if all(tracked.idle for tracked in self._tracked):
                self._close()

    def _write(self, tracked: Tracked, roots: Iterable[UUID], everything: bool) -> None:
        session = tracked.session
        # An open trace is exported only when nothing more can come: a span is sent once.
        last = everything and session.recording.closed
        try:
            traces = [tracked.rows(root, everything=last) for root in roots]
            self._stores.setdefault(session.store, Store(session.store)).write(session.name, traces)
        except StoreError as error:
            self._warn(session, str(error))
        except Exception as error:  # an error of ours must not break the program
            self._warn(session, f"a trace could not be written: {type(error).__name__}: {error}", error)

    def _warn(self, session: Session, why: str, error: Exception | None = None) -> None:
        if (session.store, session.name) not in self._warned:
            self._warned.add((session.store, session.name))
            effect = f"session {session.name!r} is not stored; the program goes on, and the block's `.recording` has everything"
            _log.warning("%s\n%s", effect, why, exc_info=error)

    def _close(self) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    def heir(self) -> _Writer:
        """Return the writer of a forked process. Called in the child."""
        heir = _Writer()
        for tracked in self._tracked:
            tracked.inherit()
            heir.track(tracked)
        return heir


_writers: Final = [_Writer()]
"""The writer of this process, then those of the processes that it was forked from, which must stay as they are."""


def _forked() -> None:
    _writers.insert(0, _writers[0].heir())


with suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_forked)


def _at_exit() -> None:
    flush()
    for export in _exports.values():
        export.close()


atexit.register(_at_exit)
