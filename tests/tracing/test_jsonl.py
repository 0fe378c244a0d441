"""Traces as JSON lines: the commands `export` and `import`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from uuid import UUID

import pytest

from llmtest.cli import commands
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
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{text}\n"))

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

    commands.main(["export"])

    assert capsys.readouterr().err == "\r1 of 3 traces\r\r2 of 3 traces\r\r3 of 3 traces\r3 traces\n"
