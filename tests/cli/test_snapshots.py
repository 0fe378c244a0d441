"""`llmtest pending`, `accept`, `reject`, `diff`: that the commands reach the review of snapshots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmtest.cli import commands


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_nothing_is_pending(capsys: pytest.CaptureFixture[str]) -> None:
    codes = [commands.main(arguments) for arguments in (["pending"], ["review"], ["accept"], ["reject"])]

    assert codes == [0, 0, 0, 0]
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), len(set(lines))) == (4, 1)
    assert "pending" in lines[0]


def test_pending_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["pending", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_equal_files_do_not_differ(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.tree", "b.tree"):
        (folder / name).write_text('# llmtest tree v1\nchain agent\n  > "hi"\n  < "ho"\n', "utf-8")

    assert commands.main(["diff", "a.tree", "b.tree"]) == 0
    assert capsys.readouterr().out == ""


def test_a_session_that_does_not_exist_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["diff", "a.tree", "b", "--store", "none.sqlite"]) == 2
    assert capsys.readouterr().err == (
        "llmtest diff: no session and no trace called 'a.tree' in none.sqlite; `llmtest sessions` lists all sessions\n"
    )
