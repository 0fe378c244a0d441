"""Traces as JSON lines: the commands `export` and `import`."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from llmtest.cli import commands
from llmtest.tracing.jsonl import numbered_rows
from llmtest.tracing.store import Store, place
from tests.support.stored import BEGAN, fill_store, run


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return fill_store(tmp_path, monkeypatch)


def test_what_is_exported_is_imported(capsys, tmp_path):
    lines, other = tmp_path / "a.jsonl", str(tmp_path / "other.sqlite")
    run(capsys, "export", "-o", str(lines))

    run(capsys, "import", "--store", other, str(lines))

    assert run(capsys, "export", "--store", other) == lines.read_text("utf-8")
    assert run(capsys, "sessions", "--store", other) == run(capsys, "sessions")
    with Store(place()) as here, Store(Path(other)) as there:
        loaded = [[list(store.load(trace)) for trace in store.traces()] for store in (here, there)]
    assert loaded[0] == loaded[1]


def test_only_some_are_exported_and_into_one_session(capsys, tmp_path, monkeypatch):
    text = run(capsys, "export", "broken", "--errors")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{text}\n".encode())))

    run(capsys, "import", "-", "--session", "copied")

    assert [json.loads(line)["root"] for line in text.splitlines()] == [str(UUID(int=0x201))]
    assert run(capsys, "show", "copied").startswith("copied 00000201 · ")


def test_a_line_is_json_that_anybody_can_read(capsys):
    found = json.loads(run(capsys, "export", "paris"))

    assert {name: found[name] for name in ("llmtest", "session", "root", "inside", "lanes")} == {
        "llmtest": 1,
        "session": "paris",
        "root": str(UUID(int=0x101)),
        "inside": 6,
        "lanes": [],
    }
    assert found["messages"][0] == {"role": "human", "content": "hi"}
    assert found["events"][0] == [
        "on_chain_start",
        str(UUID(int=0x101)),
        None,
        0,
        BEGAN,
        None,
        0,
        ["agent", ["prod", "a"], {}],
        {"inputs": "hi"},
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not a trace that `llmtest export` wrote (JSONDecodeError: "),
        ("[]", "line 1 is not a trace that `llmtest export` wrote (TypeError: "),
        ("{}", "line 1 is not a trace that `llmtest export` wrote (KeyError: 'llmtest')\n"),
        ('{"llmtest": 9}', "line 1 has format 9; this version of llmtest reads format 1\n"),
    ],
)
def test_a_line_that_is_no_trace(line, message, capsys, tmp_path):
    (tmp_path / "a.jsonl").write_text(f"{line}\n")

    assert run(capsys, "import", str(tmp_path / "a.jsonl"), code=2).startswith(f"llmtest import: {message}")


@pytest.mark.parametrize(
    "harm",
    [
        {"events": [["on_chain_start", "x", None, 0, 0, None, 0, None, {}]]},
        {"events": [["on_text", str(UUID(int=1)), None, 0, 0, None, 0, None, []]]},
        {"events": [["on_text", str(UUID(int=1)), None, 0, 0, None, 0, None, {"a": {"$w": "os.system"}}]]},
        {"events": [["on_text", str(UUID(int=1)), None, 0, 0, None, 0, None, {"a": {"$w": "Message", "nobody": 1}}]]},
        {"events": [["on_text", str(UUID(int=1)), None, 0, 0, None, 0, None, {"a": {"$w": "@", "n": 7}}]]},
        {"lanes": [{}]},
        {"root": "x"},
    ],
)
def test_a_trace_that_was_tampered_with_is_not_taken_in(harm, capsys, tmp_path):
    good = {"llmtest": 1, "session": "s", "root": str(UUID(int=1)), "inside": 1, "lanes": [], "messages": [], "events": []}
    (tmp_path / "a.jsonl").write_text(json.dumps({**good, **harm}))
    before = run(capsys, "sessions")

    text = run(capsys, "import", str(tmp_path / "a.jsonl"), code=2)

    assert text.startswith("llmtest import: line 1 is not a trace that `llmtest export` wrote (")
    assert run(capsys, "sessions") == before


def test_a_file_that_is_not_there(capsys, tmp_path):
    assert run(capsys, "import", str(tmp_path / "no"), code=2) == (
        f"llmtest import: [Errno 2] No such file or directory: '{tmp_path / 'no'}'\n"
    )


def test_progress_is_for_terminals(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delenv("TERM", raising=False)

    commands.main(["export"])

    said = capsys.readouterr().err
    assert said.startswith("\r1 of 3 traces\r")
    assert said.endswith("\r3 of 3 traces\r             \r3 traces\n")


# -- lines of other programs

ID = str(UUID(int=1))


def line(at: str = "", value: Any = None, **parts: Any) -> str:
    """A correct line, with another value at a path such as `events.0.7.1`."""
    start = ["on_chain_start", ID, None, 1, 1, None, 0, ["agent", ["tag"], {}], {"inputs": "hi"}]
    end = ["on_chain_end", ID, None, 2, 2, None, 0, None, {"outputs": "ho"}]
    made: Any = {"llmtest": 1, "session": "s", "root": ID, "inside": 2, "lanes": [], "messages": [], "events": [start, end]}
    made.update(parts)
    if at:
        *path, last = [int(key) if key.isdigit() else key for key in at.split(".")]
        inner = made
        for key in path:
            inner = inner[key]
        inner[last] = value
    return json.dumps(made)


def lane(number: int, parent: int | None, **facts: Any) -> dict[str, Any]:
    return {"number": number, "thread": "t", "thread_id": 1, "task": None, "attach": 0, "joined": None, "parent": parent, **facts}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def message(*inner: int) -> dict[str, Any]:
    return {"role": "human", "content": "x", "artifact": [{"$w": "@", "n": number} for number in inner]}


def runs(count: int) -> list[Any]:
    """Runs, each within the one before."""
    ids = [str(UUID(int=number)) for number in range(1, count + 1)]
    return [["on_chain_start", own, above, 1, 1, None, 0, None, {}] for above, own in zip([None, *ids], ids, strict=False)]


WRONG = {
    "a kind": (line("events.0.0", "on_x"), "event 0 cannot be read (ValueError: no event: 'on_x' at 1, 1, 0)"),
    "a time that is a text": (line("events.0.3", "1"), "TypeError: bad operand type for abs(): 'str'"),
    "a fraction": (
        line("events.1.3", 1.5),
        "event 1 cannot be read (ValueError: no event: 'on_chain_end' at 1.5, 2, 0)",
    ),
    "a time of more than 64 bits": (line("events.1.4", 1 << 63), "ValueError: event 1 has a number of more than 64 bits"),
    "a name": (line("events.0.7.0", 5), "event 0 cannot be read (ValueError: no start of a run: 5, ['tag'])"),
    "a tag": (line("events.0.7.1.0", 5), "event 0 cannot be read (ValueError: no start of a run: 'agent', [5])"),
    "metadata": (line("events.0.7.2", []), "event 0 cannot be read (ValueError: no start of a run: 'agent', ['tag'])"),
    "a payload": (line("events.1.8", 5), "event 1 cannot be read (TypeError: a payload is an object; got int)"),
    "a session": (line("session", 5), "TypeError: a session is named by a text; got int"),
    "a field of a message": (
        line("events.1.8", {"outputs": {"$w": "@", "n": 0}}, messages=[{"role": 5}]),
        "event 1 cannot be read (TypeError: Message.role is int)",
    ),
    "a message in itself": (line(messages=[message(0)]), "CycleError: ('nodes are in a cycle', [0, 0])"),
    "messages that multiply": (
        line(messages=[message(), *(message(n, n) for n in range(60))]),
        "ValueError: message 16 holds more than 100,000 others",
    ),
    "lanes in a circle": (
        line(lanes=[lane(1, 2), lane(2, 1)]),
        "lanes cannot be read (CycleError: ('nodes are in a cycle', [1, 2, 1]))",
    ),
    "a lane without its spawner": (line(lanes=[lane(1, 2)]), "lanes cannot be read (KeyError: 2)"),
    "a moment of a lane": (
        line(lanes=[lane(1, None, attach="x")]),
        "lanes cannot be read (TypeError: no lane: {'attach': 'x', 'joined': None, 'number': 1, 'parent': None, ...})",
    ),
    "a deep value": (line("events.1.8", {"outputs": nested(300)}), "ValueError: values are nested more than 300 deep"),
    "a very deep value": ("[" * 100_000, "values are nested more than 300 deep"),
    "deep runs": (line(events=runs(2_002)), "ValueError: runs are nested more than 2,000 deep"),
}


@pytest.mark.parametrize(("text", "cause"), WRONG.values(), ids=WRONG)
def test_a_malformed_line_is_an_error_with_its_number(text, cause, capsys, tmp_path):
    (tmp_path / "a.jsonl").write_text(f"{line()}\n\n{text}\n")

    shown = run(capsys, "import", str(tmp_path / "a.jsonl"), code=2)

    assert shown == f"llmtest import: line 3 is not a trace that `llmtest export` wrote ({cause})\n"
    assert run(capsys, "show", "s").startswith("s 00000001 · ")


@pytest.mark.parametrize(
    "text",
    [
        line("events.0.7", ["\x1b[2J\n\ud800", ["\x1b\n"], {"\x1b": "\x1b"}]),
        line("session", "\x1b[2J\ud800"),
        line("events.1.4", -(1 << 62)),
        line("events.1.8", {"outputs": nested(250)}),
        line("events.1.8", {"outputs": message(0)}, messages=[message()]),
        line(lanes=[lane(1, 7), lane(7, None)]),
    ],
)
def test_whatever_is_imported_can_be_shown(text, capsys, tmp_path):
    (tmp_path / "a.jsonl").write_text(text)
    run(capsys, "import", str(tmp_path / "a.jsonl"))

    for command in (["sessions"], ["show", "--tree"], ["show", "00000001"], ["show", "00000001", "--tree"], ["export"]):
        shown = run(capsys, *command)
        assert [character for character in shown if character != "\n" and not character.isprintable()] == []


def test_a_gzip_file_is_read(capsys, tmp_path):
    text = run(capsys, "export", "paris")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))

    run(capsys, "import", str(tmp_path / "a.jsonl.gz"), "--session", "copied")

    assert run(capsys, "show", "copied").startswith("copied 00000101 · ")


UNREADABLE = {
    "not UTF-8": (b"\n\xff\n", "line 2 cannot be read (UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: "),
    "cut off": (
        gzip.compress(b"x" * 99)[:-9],
        "line 1 cannot be read (EOFError: Compressed file ended before ",
    ),
    "not gzip": (b"\x1f\x8b\x00\x00" + b"x" * 20, "line 1 cannot be read (BadGzipFile: Unknown compression method)"),
    "too long": (gzip.compress(b"\n" + b"x" * 2_000), "line 2 is longer than 0 MiB"),
}


@pytest.mark.parametrize(("data", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_file_is_an_error_with_the_line(data, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("llmtest.tracing.jsonl.MAX_LINE_BYTES", 1_000)
    (tmp_path / "a").write_bytes(data)

    assert run(capsys, "import", str(tmp_path / "a"), code=2).startswith(f"llmtest import: {message}")


def test_a_damaged_row_is_not_exported(capsys, path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE events SET payload = '['")

    said = run(capsys, "export", "paris", code=2)

    assert said.startswith(f"llmtest export: the trace store {path} is damaged: trace ")
    assert "cannot be exported (JSONDecodeError: " in said


def test_rows_of_many_small_values_are_not_too_deep():
    row = ["on_custom_event", str(UUID(int=1)), None, 0, BEGAN, None, 0, ["agent", [], {}], {"name": "x", "data": [[]] * 400}]

    ((number, *_),) = numbered_rows(json.dumps([[7, *row]]))

    assert number == 7
