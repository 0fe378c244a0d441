"""Traces on disk: one SQLite file, written by many processes at once, consistent at any moment.

A *session* is a name; a *trace* is one root run with everything inside it, written in one transaction. Names, counts,
durations and tokens are in the rows of traces and runs, so that no list reads an event. `llmtest.tracing.rows` makes the
rows.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import getcwd  # not `os.getcwd`, which `blockbuster` forbids on an event loop
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin, get_type_hints

from llmtest.core.masks import show
from llmtest.core.own_folder import FOLDER, make_folder
from llmtest.core.text import did_you_mean
from llmtest.errors import StoreError
from llmtest.recording.recording import Recording
from llmtest.tracing.rows import Rows, column, of_all, revived, rows

FILE: Final = "traces.sqlite"
PATIENCE_S: Final = 30.0
"""How long a writer waits for other processes."""

APPLICATION: Final = 0x6C6C6D74
"""SQLite's `application_id` of such a file: `llmt`."""

MIGRATIONS: Final = (
    """
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    );
    CREATE TABLE traces (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
        root TEXT NOT NULL,
        kind TEXT NOT NULL, name TEXT NOT NULL, ended TEXT NOT NULL, error TEXT,
        started_ns INTEGER NOT NULL, duration_ns INTEGER,
        runs INTEGER NOT NULL, errors INTEGER NOT NULL, events INTEGER NOT NULL, inside INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        tags TEXT NOT NULL,
        UNIQUE (session, root)
    );
    CREATE INDEX traces_by_time ON traces (session, started_ns);
    CREATE TABLE runs (
        trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE, number INTEGER NOT NULL,
        depth INTEGER NOT NULL,
        kind TEXT NOT NULL, name TEXT NOT NULL, ended TEXT NOT NULL, error TEXT,
        started_ns INTEGER NOT NULL, duration_ns INTEGER,
        input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        PRIMARY KEY (trace, number)
    ) WITHOUT ROWID;
    CREATE TABLE lanes (
        trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE, number INTEGER NOT NULL,
        facts TEXT NOT NULL,
        PRIMARY KEY (trace, number)
    ) WITHOUT ROWID;
    CREATE TABLE messages (
        trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE, number INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (trace, number)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        trace INTEGER NOT NULL REFERENCES traces ON DELETE CASCADE, number INTEGER NOT NULL,
        kind TEXT NOT NULL, run BLOB NOT NULL, parent BLOB,
        monotonic_ns INTEGER NOT NULL, wall_ns INTEGER NOT NULL,
        lane INTEGER, moment INTEGER NOT NULL,
        about TEXT, payload TEXT NOT NULL,
        PRIMARY KEY (trace, number)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE verdicts (
        session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE,
        name TEXT NOT NULL, value REAL NOT NULL, passed INTEGER, why TEXT NOT NULL,
        PRIMARY KEY (session, name)
    ) WITHOUT ROWID;
    """,
)
"""Each statement upgrades a file by one version. Never change a released one: add another."""


def place(root: Path | None = None) -> Path:
    """Return the path of the store: `LLMTEST_STORE`, or `.llmtest/traces.sqlite` in `root`, by default the working directory."""
    path = os.environ.get("LLMTEST_STORE")
    if path:
        return Path(getcwd(), Path(path).expanduser())
    return (root or Path(getcwd())) / FOLDER / FILE


# -- lines of lists


@dataclass(frozen=True, slots=True)
class Stored:
    """A trace in the store, as lists show it. `key` is the last eight digits of the id of its root."""

    id: int
    session: str
    root: str
    kind: str
    name: str
    ended: str
    error: str | None
    started_ns: int
    duration_ns: int | None
    runs: int
    errors: int
    events: int
    inside: int
    input_tokens: int
    output_tokens: int
    tags: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.root[-8:]


Row = TypeVar("Row", "Stored", "SessionLine", "RunLine")


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A session, as lists show it."""

    name: str
    traces: int
    runs: int
    errors: int
    events: int
    input_tokens: int
    output_tokens: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run, as lists show it, with `depth` runs above it."""

    depth: int
    kind: str
    name: str
    ended: str
    error: str | None
    started_ns: int
    duration_ns: int | None
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """What a test or a scorer has said of a session: a value, usually from 0 to 1, and whether that has passed.

    `passed` is None where it is only a value. `why` is empty, or says in one line why it has not passed.
    """

    name: str
    value: float
    passed: bool | None
    why: str = ""


# -- the file


class Store:
    """A store in one file, which is created with its folder when it is first written. For one thread at a time.

    Raises:
        StoreError: from each method, if the file cannot be used; the message says why, and what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # writing

    def write(self, session: str, traces: Iterable[Rows], *, replace: bool = False, gone: Sequence[str] = ()) -> None:
        """Write all traces or none; an existing trace is replaced.

        `replace` deletes the other traces of the session. `gone` are the ids of roots whose traces are deleted.
        """
        with self._usable(), _transaction(self._open()) as connection:
            if replace:
                connection.execute("DELETE FROM sessions WHERE name = ?", (column(session),))
            connection.execute("INSERT OR IGNORE INTO sessions (name) VALUES (?)", (column(session),))
            (number,) = connection.execute("SELECT id FROM sessions WHERE name = ?", (column(session),)).fetchone()
            connection.executemany("DELETE FROM traces WHERE session = ? AND root = ?", [(number, root) for root in gone])
            for trace in traces:
                _insert(connection, number, trace)

    def keep(self, session: str, recordings: Iterable[Recording], verdicts: Iterable[StoredVerdict] = ()) -> bool:
        """Replace the traces of a session by those of recordings, with verdicts about them; True if these have any."""
        found = of_all(recordings)
        if found:
            self.write(session, [rows(trace) for trace in found], replace=True)
            self._judge(session, verdicts)
        return bool(found)

    def _judge(self, session: str, verdicts: Iterable[StoredVerdict]) -> None:
        values = [(column(one.name), one.value, one.passed, column(one.why), column(session)) for one in verdicts]
        if values:
            statement = "INSERT OR REPLACE INTO verdicts SELECT id, ?, ?, ?, ? FROM sessions WHERE name = ?"
            with self._usable(), _transaction(self._open()) as connection:
                connection.executemany(statement, values)

    def forget(self, session: str) -> None:
        """Delete a session, if it exists."""
        if not self.path.exists():
            return
        with self._usable(), _transaction(self._open()) as connection:
            connection.execute("DELETE FROM sessions WHERE name = ?", (column(session),))

    # reading

    def sessions(self) -> list[SessionLine]:
        """Return every session, the one with the latest trace last."""
        return [self._line(SessionLine, row, f"session {row[0]!r}") for row in self._all(SESSIONS)]

    def traces(self, session: str | None = None) -> list[Stored]:
        """Return the traces of a session, or of all, in the order in which they started."""
        where, values = ("WHERE sessions.name = ?", (column(session),)) if session is not None else ("", ())
        return self._traces(f"{where} ORDER BY started_ns, traces.id", values)

    def _traces(self, clauses: str, values: Sequence[object]) -> list[Stored]:
        found = self._all(f"{_TRACES} {clauses}", values)
        return [self._line(Stored, (*row[:-1], _tags(row[-1])), f"trace {row[0]}") for row in found]

    def find(self, name: str) -> list[Stored]:
        """Return the traces of a session, or the trace of a key.

        Raises:
            StoreError: there is neither; the message has the nearest name.
        """
        names = [session.name for session in self.sessions()]
        if column(name) in names:
            return self.traces(name)
        found = self._traces("WHERE root = ? OR substr(root, -8) = ? ORDER BY traces.id DESC LIMIT 1", (name, name))
        if not found:
            hint = did_you_mean(name, names, otherwise="`llmtest sessions` lists all sessions")
            raise StoreError(f"no session and no trace called {name!r} in {self.path}{hint}")
        return found

    def with_run(self, name: str) -> set[int]:
        """Return the ids of the traces that have a run of this name, in which `*` and `?` are wildcards."""
        return {row[0] for row in self._all("SELECT DISTINCT trace FROM runs WHERE name GLOB ?", (column(name),))}

    def verdicts(self, session: str) -> list[StoredVerdict]:
        """Return what tests and scorers have said of a session, by their names."""
        if not self._all("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'"):
            return []  # a file of an earlier version, which cannot be written
        query = "SELECT verdicts.name, value, passed, why FROM verdicts JOIN sessions ON id = session WHERE sessions.name = ?"
        rows = self._all(f"{query} ORDER BY verdicts.name", (column(session),))
        return [StoredVerdict(name, value, None if passed is None else bool(passed), why) for name, value, passed, why in rows]

    def runs(self, trace: Stored) -> list[RunLine]:
        """Return the runs of a trace: parents first, in the order in which they started."""
        columns = "depth, kind, name, ended, error, started_ns, duration_ns, input_tokens, output_tokens"
        rows = self._all(f"SELECT {columns} FROM runs WHERE trace = ? ORDER BY number", (trace.id,))
        return [self._line(RunLine, row, f"trace {trace.key}, run {number}") for number, row in enumerate(rows)]

    def load(self, trace: Stored) -> Recording:
        """Return a trace as a recording. A damaged row may show only when the recording is read."""
        lanes, messages, events = self.parts(trace)
        place = f"the trace store {self.path} is damaged: trace {trace.key}, "
        return revived(trace.inside, lanes, (messages, events), place=place)

    def parts(self, trace: Stored) -> tuple[list[str], list[str], list[Sequence[object]]]:
        """Return the facts of the lanes of a trace, its messages, and the columns of its events."""
        lanes = [row[0] for row in self._all("SELECT facts FROM lanes WHERE trace = ? ORDER BY number", (trace.id,))]
        messages = [row[0] for row in self._all("SELECT body FROM messages WHERE trace = ? ORDER BY number", (trace.id,))]
        columns = "number, kind, run, parent, monotonic_ns, wall_ns, lane, moment, about, payload"
        return lanes, messages, self._all(f"SELECT {columns} FROM events WHERE trace = ? ORDER BY number", (trace.id,))

    def _all(self, query: str, values: Sequence[object] = ()) -> list[Sequence[Any]]:
        if not self.path.exists():
            return []
        with self._usable():
            try:
                return self._open().execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if self._connection is not None or not _is_read_only(error):
                    raise
            self._connection = _open_read_only(self.path)
            return self._connection.execute(query, values).fetchall()

    def _line(self, line: type[Row], row: Sequence[Any], place: str) -> Row:
        """Return a row as a line of a list."""
        for (name, hint), value in zip(get_type_hints(line).items(), row, strict=True):
            if not isinstance(value, tuple if get_origin(hint) is tuple else hint):
                cause = f"{place}, `{name}` is {show(value)}"
                raise StoreError(f"the trace store {self.path} is damaged: {cause}\n  move the file away, or {_ELSEWHERE}")
        return line(*row)

    # the file

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Raise `StoreError` for errors of the file."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            with suppress(sqlite3.Error):
                self.close()
            raise StoreError(f"the trace store {self.path} {_wrong(error)}") from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if not self.path.parent.exists():
                make_folder(self.path.parent)
            connection = sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


SESSIONS: Final = """
    SELECT sessions.name, count(traces.id), coalesce(sum(runs), 0), coalesce(sum(errors), 0), coalesce(sum(events), 0),
        coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(max(started_ns), 0) AS last_ns
    FROM sessions LEFT JOIN traces ON traces.session = sessions.id GROUP BY sessions.id ORDER BY last_ns, sessions.id
"""
_TRACES: Final = """
    SELECT traces.id, sessions.name, root, kind, traces.name, ended, error, started_ns, duration_ns, runs, errors, events, inside,
        input_tokens, output_tokens, tags
    FROM traces JOIN sessions ON sessions.id = traces.session
"""


def _tags(text: Any) -> object:
    """Return the tags of a trace; the stored value itself if that is no list of texts."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return text
    return tuple(found) if isinstance(found, list) and all(isinstance(tag, str) for tag in found) else text


def _is_read_only(error: sqlite3.OperationalError) -> bool:
    """True if SQLite could not open a file because it, or its folder, cannot be written."""
    return any(words in str(error) for words in ("readonly database", "unable to open database file"))


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Open a file in a folder that cannot be written. SQLite then takes no locks, and reads no write-ahead log."""
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise _UnfitError("has newer traces in a log, which cannot be read without write permission", "copy the folder")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, check_same_thread=False)
    try:
        _version(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")  # in WAL, what was committed outlives the process, if not a power cut
    if _version(connection) < len(MIGRATIONS):
        _patiently(connection, "PRAGMA journal_mode = WAL")
        migrate(connection, MIGRATIONS)


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Execute a statement that locks the file. SQLite ignores its timeout here when several processes create one file."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.005)


def _version(connection: sqlite3.Connection) -> int:
    """Return the version of a file, 0 for an empty one, in one query, because another process may be creating it."""
    count = "(SELECT count(*) FROM sqlite_master)"
    found = f"SELECT user_version, application_id, {count} FROM pragma_user_version, pragma_application_id"
    version, application, tables = connection.execute(found).fetchone()
    if application != APPLICATION and (application or tables):
        raise _UnfitError("is the database of another program", "nothing was written to it")
    if version > len(MIGRATIONS):
        schema = f"schema {version}; this one knows {len(MIGRATIONS)}"
        raise _UnfitError(f"was written by a later version of llmtest ({schema})", "upgrade llmtest-kit")
    return int(version)


def migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Upgrade a file to the last of `migrations`, all or nothing."""
    with _transaction(connection):
        for number in range(_version(connection), len(migrations)):
            for statement in migrations[number].split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has already ended it
            connection.execute("ROLLBACK")
        raise


def _insert(connection: sqlite3.Connection, session: int, trace: Rows) -> None:
    connection.execute("DELETE FROM traces WHERE session = ? AND root = ?", (session, trace.summary[0]))
    marks = ", ".join("?" * (len(trace.summary) + 1))
    number = connection.execute(f"INSERT INTO traces VALUES (NULL, {marks})", (session, *trace.summary)).lastrowid
    for table in ("runs", "lanes", "messages", "events"):
        values = getattr(trace, table)
        if values:
            connection.executemany(f"INSERT INTO {table} VALUES ({number}, {', '.join('?' * len(values[0]))})", values)


# -- errors

_ELSEWHERE: Final = "set LLMTEST_STORE to another file"


class _UnfitError(sqlite3.DatabaseError):
    """A sound file that this version cannot use."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


def _wrong(error: sqlite3.Error | OSError) -> str:
    """Return what is wrong with the file, and what to do."""
    if isinstance(error, _UnfitError):
        return f"{error}\n  {error.remedy}, or {_ELSEWHERE}"
    text = str(error)
    if "full" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return f"has no room to grow ({text})\n  make room on the disk, or {_ELSEWHERE}"
    if "locked" in text:
        return f"was locked by another process for {PATIENCE_S:g} s ({text})\n  end that process, or {_ELSEWHERE}"
    if isinstance(error, OSError | sqlite3.OperationalError) and "decode" not in text:
        return f"cannot be opened or written ({text})\n  {_ELSEWHERE}, in a folder that can be written"
    return f"is damaged, or not a trace store ({text})\n  move the file away, or {_ELSEWHERE}"
