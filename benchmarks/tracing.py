"""Tracing against the same run recorded; the writer against SQLite's own `executemany`; what lists cost in a large store."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

from benchmarks.harness import Ratio, measure
from benchmarks.recording import TURNS, run_agent
from llmtest import record, tracing_enabled
from llmtest.tracing import flush
from llmtest.tracing.rows import Rows, rows, traces_of
from llmtest.tracing.store import MIGRATIONS, SESSIONS, Store

LARGE = 1_000_000


def ratios(rounds: int) -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("LLMTEST_STORE")
        os.environ["LLMTEST_STORE"] = str(Path(folder) / "traced.sqlite")
        try:
            yield from _traced(max(rounds // 30, 3))
            yield from _written(Path(folder), max(rounds // 6, 5))
            yield from _listed(Path(folder), max(rounds // 30, 3))
        finally:
            flush()
            os.environ.pop("LLMTEST_STORE")
            os.environ.update({"LLMTEST_STORE": before} if before is not None else {})


def _traced(rounds: int) -> Iterator[Ratio]:
    def recorded() -> None:
        with record():
            run_agent(TURNS, [])

    def traced() -> None:
        with tracing_enabled("benchmark"):
            run_agent(TURNS, [])

    def traced_and_written() -> None:
        traced()
        flush()

    for name, work, bar in (("traced", traced, 1.15), ("traced, and in the store", traced_and_written, None)):
        yield measure(
            f"agent of {TURNS} turns, {name}",
            work,
            recorded,
            against="recorded",
            bar=bar,
            per=TURNS,
            rounds=rounds,
        )


def _written(folder: Path, rounds: int) -> Iterator[Ratio]:
    with record() as recording:
        run_agent(TURNS, [])
    (trace,) = traces_of(recording)
    ready = rows(trace)
    bare = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = NORMAL")
    for statement in MIGRATIONS[0].split(";"):
        bare.execute(statement)
    bare.execute("INSERT INTO sessions VALUES (1, 's')")
    with Store(folder / "ours.sqlite") as store:
        yield measure(
            f"writing a trace of {len(trace.events)} events, from frozen words",
            lambda: store.write("s", [rows(trace)], replace=True),
            lambda: _executemany(bare, ready),
            against="`executemany` of its rows",
            bar=3.0,
            per=len(trace.events),
            rounds=rounds,
        )
        yield measure(
            f"writing a trace of {len(trace.events)} events, from rows",
            lambda: store.write("s", [ready], replace=True),
            lambda: _executemany(bare, ready),
            against="`executemany` of its rows",
            bar=3.0,
            per=len(trace.events),
            rounds=rounds,
        )
    bare.close()


def _executemany(connection: sqlite3.Connection, trace: Rows) -> None:
    connection.execute("BEGIN")
    for table in ("runs", "lanes", "messages", "events", "traces"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute(f"INSERT INTO traces VALUES (1, 1, {', '.join('?' * len(trace.summary))})", trace.summary)
    for table in ("runs", "lanes", "messages", "events"):
        given = getattr(trace, table)
        connection.executemany(f"INSERT INTO {table} VALUES (1, {', '.join('?' * len(given[0]))})", given)
    connection.execute("COMMIT")


def _listed(folder: Path, rounds: int) -> Iterator[Ratio]:
    """Lists read no events: they cost the same, whatever the traces hold."""
    with Store(folder / "small.sqlite") as small, Store(folder / "large.sqlite") as large:
        _fill(small, 1_000, 1)
        _fill(large, 1_000, LARGE // 1_000)
        with closing(sqlite3.connect(large.path)) as connection:
            plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {SESSIONS}")]
        assert not [line for line in plan if "events" in line]
        yield measure(
            f"sessions of a store with {LARGE:,} events",
            large.sessions,
            small.sessions,
            against="1,000 events in as many traces",
            bar=1.5,
            rounds=rounds * 10,
        )


def _fill(store: Store, traces: int, events: int) -> None:
    summary = ("chain", "agent", "ended", None, 1, 1, 1, 0, events, events, 3, 7, "[]")
    for start in range(0, traces, 100):
        batch = []
        for number in range(start, start + 100):
            root = UUID(int=number + 1)
            lines = [(n, "on_text", root.bytes, None, n, n, None, 0, None, '{"text":"x"}') for n in range(events)]
            batch.append(Rows((str(root), *summary), [], [], [], lines))
        store.write(f"session {start}", batch)
