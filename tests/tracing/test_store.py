"""The trace store: what is in it is whole, exact and masked; many processes write at once; what is wrong is said."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from llmtest import Recording, ScriptedChatModel, fail, record, say
from llmtest.errors import StoreError
from llmtest.tracing.rows import rows, traces_of
from llmtest.tracing.store import MIGRATIONS, SESSIONS, RunLine, SessionLine, Store, _patiently, migrate, place
from tests.support.stored import program, stored

# -- lists


def test_lists_say_what_the_runs_say(store):
    recording = program("one", "two")
    store.keep("s", [recording])

    (session,) = store.sessions()
    first, second = store.traces("s")

    last = recording.roots[1].start.wall_ns
    assert session == SessionLine("s", 2, len(recording.runs), 0, len(recording), 2, 4, last)
    assert [(t.name, t.kind, t.ended, t.error, t.tags, t.input_tokens, t.output_tokens) for t in (first, second)] == [
        ("one", "chain", "ended", None, ("a",), 1, 2),
        ("two", "chain", "ended", None, ("a",), 1, 2),
    ]
    walked = list(recording.roots[0].walk())
    assert [(run.kind, run.name, run.started_ns) for run in store.runs(first)] == [
        (r.kind, r.name, r.start.wall_ns) for r in walked
    ]
    assert [run.depth for run in store.runs(first)] == [0, 1, 1, 1, 2]
    assert first.duration_ns == recording.roots[0].end.monotonic_ns - recording.roots[0].start.monotonic_ns


def test_an_error_stands_in_the_lists(store):
    with record() as recording, pytest.raises(ValueError):
        ScriptedChatModel(fail(ValueError("no"))).with_config(run_name="bad").invoke("hi")
    store.keep("s", [recording])

    (trace,) = store.traces()

    assert (trace.ended, trace.error, trace.errors) == ("error", "ValueError: no", 1)
    assert [(run.ended, run.error) for run in store.runs(trace)] == [("error", "ValueError: no")]


def test_a_trace_is_found_by_its_session_its_key_and_its_id(store):
    store.keep("s", [program("one")])
    store.keep("t", [program("two")])
    (trace,) = store.traces("t")

    found = [store.find(what) for what in ("t", trace.key, trace.root)]

    assert found == [[trace]] * 3
    assert store.with_run("weath*") == {other.id for other in store.traces()}
    assert store.with_run("tw?") == {trace.id}


def test_what_is_not_there_is_an_error_with_the_nearest(store, path):
    store.keep("my session", [program("one")])

    with pytest.raises(StoreError) as near:
        store.find("my sesion")
    with pytest.raises(StoreError) as far:
        store.find("x")

    assert str(near.value) == f"no session and no trace called 'my sesion' in {path}; did you mean `my session`?"
    assert str(far.value) == f"no session and no trace called 'x' in {path}; `llmtest sessions` lists all sessions"


def test_reading_makes_no_file(store, path):
    assert (store.sessions(), store.traces(), store.with_run("*")) == ([], [], set())
    store.forget("s")
    assert not path.parent.exists()


def test_lists_read_no_events(store):
    store.keep("s", [program("one")])

    queries = [SESSIONS, "SELECT * FROM runs WHERE trace = 1", "SELECT * FROM traces"]
    with closing(sqlite3.connect(store.path)) as connection:
        plans = [row[-1] for query in queries for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]

    assert [line for line in plans if "events" in line or "messages" in line] == []


# -- writing


def test_the_same_trace_is_written_anew_not_twice(store):
    recording = program("one")
    early = Recording()
    early._raw = recording._raw[:3]
    store.write("s", [rows(trace) for trace in traces_of(early)])

    store.write("s", [rows(trace) for trace in traces_of(recording)])

    (back,) = (store.load(trace) for trace in store.find("s"))
    assert list(back) == list(recording)


def test_keeping_forgets_what_was_kept_before_and_only_that(store):
    store.keep("s", [program("one")])
    store.keep("t", [program("other")])
    store.keep("s", [program("two")])

    assert [(trace.session, trace.name) for trace in store.traces()] == [("t", "other"), ("s", "two")]
    assert store.keep("s", []) is False
    store.forget("s")
    assert [session.name for session in store.sessions()] == ["t"]
    rest = store._all("SELECT DISTINCT trace FROM events")
    assert [row[0] for row in rest] == [trace.id for trace in store.traces()]


def test_git_does_not_see_the_folder(store, path):
    store.keep("s", [program("one")])

    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_a_folder_of_somebody_elses_is_left_as_it_is(tmp_path):
    with Store(tmp_path / "mine" / "a.sqlite") as store:
        store.keep("s", [program("one")])

    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["a.sqlite"]


def test_a_failure_in_the_middle_leaves_nothing(store, path):
    store.keep("s", [program("one")])
    good, bad = (rows(trace) for trace in traces_of(program("two", "three")))
    bad.events.append(bad.events[0])  # a number twice

    with pytest.raises(StoreError, match=r"is damaged, or not a trace store \(UNIQUE constraint failed"):
        store.write("s", [good, bad])

    assert [trace.name for trace in store.traces("s")] == ["one"]


def test_hostile_content_is_read_back_or_masked(store):
    hostile = "\x1b[2J\x00\u202e\ud800\U0001f600" + "x" * 10_000_000

    with record() as recording:
        RunnableLambda(lambda _: {"api_key": "abc", hostile[:5]: hostile}).with_config(run_name=hostile[:5]).invoke(hostile)

    (back,) = stored(recording, store)

    assert back.runs[0].name == hostile[:5]
    assert back.runs[0].input == hostile
    assert back.runs[0].output == {"api_key": "<mask:api_key>", hostile[:5]: hostile}
    assert store.traces()[0].name == "\x1b[2J\x00"


def test_a_secret_that_streams_in_tokens_is_masked(store):
    tokens = ["my key: ", "sk-abc", "defghijkl", "mnopqrstuv", " ok", "?"]
    with record() as recording:
        list(ScriptedChatModel(say(tokens=tokens)).stream("hi"))

    (back,) = stored(recording, store)

    assert back.models[0].tokens[:6] == ["my key: ", "<mask:secret>", "", "", " ok", "?"]
    assert back.models[0].output.text == "my key: <mask:secret> ok?"
    assert b"defghijkl" not in store.path.read_bytes() + Path(f"{store.path}-wal").read_bytes()


def test_a_name_and_an_error_have_no_secrets(store):
    key = "sk-" + "a1" * 12
    with record() as recording, pytest.raises(ValueError):
        ScriptedChatModel(fail(ValueError(key))).with_config(run_name=key, tags=[key]).invoke("hi")
    store.keep("s", [recording])

    (trace,) = store.traces()

    assert (trace.name, trace.error, trace.tags) == ("<mask:secret>", "ValueError: <mask:secret>", ("<mask:secret>",))
    assert key.encode() not in store.path.read_bytes() + Path(f"{store.path}-wal").read_bytes()


# -- the file


def test_a_file_is_lifted_from_version_to_version():
    connection = sqlite3.connect(":memory:", isolation_level=None)

    migrate(connection, MIGRATIONS[:1])
    migrate(connection, [*MIGRATIONS[:1], "ALTER TABLE sessions ADD COLUMN note TEXT; CREATE TABLE more (id INTEGER)"])

    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    assert names == ["events", "lanes", "messages", "more", "runs", "sessions", "traces"]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()


def test_a_migration_that_fails_changes_nothing():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, MIGRATIONS)

    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [*MIGRATIONS, "CREATE TABLE more (id INTEGER); CREATE TABLE more (id INTEGER)"])

    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)
    connection.close()


def wrong(path: Path) -> str:
    with Store(path) as store, pytest.raises(StoreError) as caught:
        store.keep("s", [program("one")])
    return str(caught.value)


def test_a_later_file_is_left_alone(path, store):
    store.keep("s", [program("one")])
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    assert wrong(path) == (
        f"the trace store {path} was written by a later version of llmtest (schema 99; this one knows {len(MIGRATIONS)})\n"
        "  upgrade llmtest-kit, or set LLMTEST_STORE to another file"
    )


def test_the_database_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "their.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.close()
    before = path.read_bytes()

    assert wrong(path) == (
        f"the trace store {path} is the database of another program\n"
        "  nothing was written to it, or set LLMTEST_STORE to another file"
    )
    assert path.read_bytes() == before


def test_a_damaged_file_is_said_to_be_one(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database" * 1000)

    assert wrong(path) == (
        f"the trace store {path} is damaged, or not a trace store (file is not a database)\n"
        "  move the file away, or set LLMTEST_STORE to another file"
    )


def test_a_place_that_cannot_be_written_is_said_to_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "traces.sqlite"

    assert wrong(path).splitlines()[0].startswith(f"the trace store {path} cannot be opened or written (")
    assert wrong(path).splitlines()[1] == "  set LLMTEST_STORE to another file, in a folder that can be written"


def test_a_full_disk_is_said_to_be_full(store, path):
    store.keep("s", [program("one")])
    store._open().execute("PRAGMA max_page_count = 30")
    with record() as large:
        RunnableLambda(str).invoke("x" * 1_000_000)

    with pytest.raises(StoreError) as caught:
        store.keep("t", [large])

    assert str(caught.value) == (
        f"the trace store {path} has no room to grow (database or disk is full)\n"
        "  make room on the disk, or set LLMTEST_STORE to another file"
    )
    assert [session.name for session in store.sessions()] == ["s"]


def test_a_file_that_another_process_keeps_locked_is_said_to_be_locked(store, path):
    store.keep("s", [program("one")])
    store._open().execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError) as caught:
        store.keep("t", [program("two")])

    other.close()
    assert str(caught.value) == (
        f"the trace store {path} was locked by another process for 30 s (database is locked)\n"
        "  end that process, or set LLMTEST_STORE to another file"
    )


def test_the_place_is_in_the_working_directory_or_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMTEST_STORE", raising=False)
    assert place() == tmp_path / ".llmtest" / "traces.sqlite"
    assert place(tmp_path / "a") == tmp_path / "a" / ".llmtest" / "traces.sqlite"

    monkeypatch.setenv("LLMTEST_STORE", "b.sqlite")
    assert place() == place(tmp_path / "a") == tmp_path / "b.sqlite"


class Busy:
    """A database that another process is making for a moment."""

    def __init__(self, *errors: str) -> None:
        self.errors = list(errors)

    def execute(self, statement: str) -> None:
        if self.errors:
            raise sqlite3.OperationalError(self.errors.pop())


def test_a_file_that_another_process_is_making_is_waited_for():
    busy = Busy("database is locked")

    _patiently(busy, "PRAGMA journal_mode = WAL")

    assert busy.errors == []
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        _patiently(Busy("disk I/O error"), "PRAGMA journal_mode = WAL")


# -- processes

WRITES = """
import sys
import tempfile
from pathlib import Path
from uuid import UUID
from llmtest.recording import Recording
from llmtest.tracing.store import Store
from llmtest.events import FrozenDict

def recording(number):
    made = Recording()
    run = UUID(int=(int(sys.argv[2]) << 32) + number + 1)
    empty = lambda: FrozenDict(metadata=FrozenDict(), payload=FrozenDict(inputs=number))
    made._raw = [("on_chain_start", run, None, (f"run {number}", (), empty), 1, 1, None)]
    made._raw += [("on_text", run, None, lambda: FrozenDict(text="x" * 100), 2, 2, None)] * 20
    made._raw += [("on_chain_end", run, None, lambda: FrozenDict(outputs=number), 3, 3, None)]
    return made
"""
EIGHT = f"""{WRITES}
with Store(Path(sys.argv[1])) as store:
    for number in range(25):
        store.keep(f"{{sys.argv[2]}} {{number}}", [recording(number)])
"""
UNTIL_KILLED = f"""{WRITES}
from llmtest.tracing.rows import rows, traces_of
with Store(Path(sys.argv[1])) as store:
    number = 0
    while True:
        store.write("s", [rows(trace) for trace in traces_of(recording(number))])
        print(number, flush=True)
        number += 1
"""


def start(script: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options)


def test_eight_processes_write_at_once_and_nothing_is_lost(path, store):
    path.parent.mkdir()

    processes = [start(EIGHT, path, number) for number in range(8)]

    assert [process.wait() for process in processes] == [0] * 8
    for process in processes:
        process.stdout.close()
    assert len(store.sessions()) == 200
    assert {(trace.events, trace.ended) for trace in store.traces()} == {(22, "ended")}


def killed(path: Path, number: int, wait_s: float) -> int:
    """Starts a writer, kills it, and returns how many traces it had said to be written."""
    process = start(UNTIL_KILLED, path, number)
    acknowledged = process.stdout.readline()
    time.sleep(wait_s)
    process.send_signal(signal.SIGKILL)
    lines = acknowledged + process.stdout.read()
    process.stdout.close()
    process.wait()
    return lines.count("\n")


def in_store(path: Path) -> int:
    """How many whole traces a store has; all of them are read."""
    with Store(path) as store:
        traces = store.traces()
        assert {len(store.load(trace)) for trace in traces} == {22}
        assert store._all("PRAGMA integrity_check") == [("ok",)]
        return len(traces)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_what_was_acknowledged_outlives_a_kill_and_nothing_is_half(path):
    acknowledged = killed(path, 0, 0.0)

    assert acknowledged <= in_store(path) <= acknowledged + 1


@pytest.mark.soak
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_fifty_kills_at_random_points_lose_nothing(path, rounds):
    moments, acknowledged = random.Random(7), 0

    for number in rounds(50):
        acknowledged += killed(path, number, moments.uniform(0, 0.3))
        found = in_store(path)
        assert acknowledged <= found <= acknowledged + number + 1


def test_a_run_line_is_plain(store):
    store.keep("s", [program("one")])

    (first, *_) = store.runs(store.traces()[0])

    assert first == RunLine(0, "chain", "one", "ended", None, first.started_ns, first.duration_ns, 0, 0)


# -- damaged rows, and files that cannot be written


def damage(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "read", "cause"),
    [
        ("UPDATE traces SET tags = '{}'", Store.traces, "trace 1, `tags` is '{}'"),
        ("UPDATE traces SET tags = 'x'", Store.traces, "trace 1, `tags` is 'x'"),
        ("UPDATE traces SET name = x'00'", Store.traces, "trace 1, `name` is b'\\x00'"),
        ("UPDATE traces SET runs = 'x'", Store.sessions, "session 's', `runs` is 0.0"),
    ],
)
def test_a_damaged_line_is_an_error_with_its_place(store, statement, read, cause):
    store.keep("s", [program("one")])
    damage(store.path, statement)

    with pytest.raises(StoreError) as caught:
        read(store)

    assert str(caught.value) == (
        f"the trace store {store.path} is damaged: {cause}\n  move the file away, or set LLMTEST_STORE to another file"
    )


def test_a_store_without_a_table_is_an_error_that_names_the_table(store):
    store.keep("s", [program("one")])
    (trace,) = store.traces()
    damage(store.path, "DROP TABLE messages")

    with Store(store.path) as again, pytest.raises(StoreError) as caught:
        again.load(trace)

    assert str(caught.value) == (
        f"the trace store {store.path} cannot be opened or written (no such table: messages)\n"
        "  set LLMTEST_STORE to another file, in a folder that can be written"
    )


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("UPDATE lanes SET facts = '{}'", "lanes cannot be read (KeyError: 'number')"),
        ("UPDATE events SET kind = 'on_x' WHERE number = 2", "event 2 cannot be read (ValueError: no event: 'on_x' at "),
        ("UPDATE events SET payload = '[' WHERE number = 2", "event 2 cannot be read (JSONDecodeError: "),
        (
            "UPDATE events SET about = '[1, [], {}]'",
            "event 0 cannot be read (ValueError: no start of a run: 1, [])",
        ),
        ("UPDATE events SET run = x'00' WHERE number = 3", "event 3 cannot be read (ValueError: bytes is not a 16-char string)"),
        ("UPDATE messages SET body = '{\"role\": 5}'", "event 3 cannot be read (TypeError: Message.role is int)"),
    ],
)
def test_a_damaged_event_is_an_error_with_its_place(store, statement, cause):
    store.keep("s", [program("one")])
    damage(store.path, statement)
    (trace,) = store.traces()

    with pytest.raises(StoreError) as caught:
        str(store.load(trace))

    assert str(caught.value).startswith(f"the trace store {store.path} is damaged: trace {trace.key}, {cause}")


@pytest.fixture
def frozen_folder() -> Any:
    """A folder with a store, neither of which can be written."""
    folder = Path(tempfile.mkdtemp())
    with Store(folder / "t.sqlite") as store:
        store.keep("s", [program("one")])
    (folder / "t.sqlite").chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:  # for whom no file is read-only
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="folders without write permission are of POSIX")
def test_a_read_only_store_can_be_read(frozen_folder):
    with Store(frozen_folder / "t.sqlite") as store:
        (trace,) = store.traces()
        assert ([session.name for session in store.sessions()], store.load(trace).tools) == (["s"], ["weather"])
        with pytest.raises(StoreError, match=r"^the trace store \S+ cannot be opened or written \(attempt to write a readonly"):
            store.keep("t", [program("two")])


@pytest.mark.skipif(os.name != "posix", reason="folders without write permission are of POSIX")
def test_a_read_only_store_with_a_log_says_what_is_missing(frozen_folder):
    path = frozen_folder / "t.sqlite"
    os.seteuid(os.getuid())
    frozen_folder.chmod(0o755)
    Path(f"{path}-wal").write_bytes(b"x")
    Path(f"{path}-wal").chmod(0o400)
    frozen_folder.chmod(0o555)
    if os.getuid() == 0:
        os.seteuid(65534)

    with Store(path) as store, pytest.raises(StoreError) as caught:
        store.sessions()

    assert str(caught.value) == (
        f"the trace store {path} has newer traces in a log, which cannot be read without write permission\n"
        "  copy the folder, or set LLMTEST_STORE to another file"
    )


@pytest.mark.skipif(os.name != "posix", reason="folders without write permission are of POSIX")
def test_a_read_only_file_of_another_version_is_closed_again(frozen_folder):
    path = frozen_folder / "t.sqlite"
    os.seteuid(os.getuid())
    frozen_folder.chmod(0o755)
    path.chmod(0o644)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    path.chmod(0o444)
    frozen_folder.chmod(0o555)
    if os.getuid() == 0:
        os.seteuid(65534)

    with Store(path) as store, pytest.raises(StoreError, match="later version of llmtest"):
        store.sessions()


@pytest.mark.skipif(os.name != "posix", reason="folders without write permission are of POSIX")
def test_a_read_only_store_of_before_there_were_verdicts_has_none(frozen_folder):
    path = frozen_folder / "t.sqlite"
    os.seteuid(os.getuid())
    frozen_folder.chmod(0o755)
    path.chmod(0o644)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE verdicts")
        connection.execute("PRAGMA user_version = 1")
    path.chmod(0o444)
    frozen_folder.chmod(0o555)
    if os.getuid() == 0:
        os.seteuid(65534)

    with Store(path) as store:
        assert store.verdicts("s") == []
