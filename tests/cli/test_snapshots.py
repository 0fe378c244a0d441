"""`llmtest pending`, `accept`, `reject`, `diff`: that the commands reach the review of snapshots."""

from __future__ import annotations

import json
import os
import zipfile
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


# -- from CI, and back


@pytest.fixture
def artifact(folder: Path) -> Path:
    """The report of a job in which one of two snapshots has changed; both say so, for two tests."""
    texts = {}
    for name in ("test_x", "test_y"):
        target = f"__snapshots__/test_a/{name}.tree"
        old = '# llmtest tree v1\nchat Model\n  > u1: "hi"\n  < a1: "Hello"\n'
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).write_text(old, "utf-8")
        about = f'# llmtest tree v1\n# test "test_a.py::{name}"\n# snapshot "{target}"\n'
        texts[f"pending/test_a.py/{name}.tree"] = old.replace("# llmtest tree v1\n", about).replace("Hello", "Bye")
    with zipfile.ZipFile(folder / "report.zip", "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return folder / "report.zip"


def accepted(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "__snapshots__").rglob("*.tree") if "Bye" in path.read_text("utf-8"))


def test_what_a_job_of_ci_has_kept_is_accepted_here_and_undone(
    folder: Path, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = [commands.main(["accept", "--from-ci", str(artifact), *more]) for more in (["--dry-run"], [])]
    both = accepted(folder)
    codes.append(commands.main(["accept", "--undo"]))

    assert codes == [0, 0, 0]
    assert both == ["test_x", "test_y"]
    assert accepted(folder) == []
    captured = capsys.readouterr()
    assert captured.err == f"2 pending files from {artifact}\n" * 2
    headline = 'snapshot differs: AI message "Hello" → "Bye" at Model (1 of 3 lines, 1 cause)'
    assert captured.out.splitlines() == [
        *(
            line
            for name in ("x", "y")
            for line in (f"would accept  test_a.py::test_{name}: __snapshots__/test_a/test_{name}.tree", f"  {headline}")
        ),
        *(f"accepted  test_a.py::test_{name}: __snapshots__/test_a/test_{name}.tree" for name in ("x", "y")),
        *(f"undone    test_a.py::test_{name}: __snapshots__/test_a/test_{name}.tree" for name in ("x", "y")),
    ]


def test_a_dry_run_leaves_nothing(folder: Path, artifact: Path) -> None:
    commands.main(["accept", "--from-ci", str(artifact), "--dry-run"])

    assert not (folder / ".llmtest").exists()


def test_only_what_has_come_from_ci_is_meant(folder: Path, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    local = folder / ".llmtest" / "pending" / "test_b.py" / "test_z.tree"
    local.parent.mkdir(parents=True)
    local.write_text('# llmtest tree v1\n# test "test_b.py::test_z"\n# snapshot "__snapshots__/test_b/test_z.tree"\nx\n', "utf-8")

    assert commands.main(["accept", "test_y", f"--from-ci={artifact}"]) == 0
    assert commands.main(["review", "--from-ci", str(artifact)]) == 0

    assert accepted(folder) == ["test_y"]
    assert local.exists()
    assert "test_z" not in capsys.readouterr().out


def test_one_of_several_is_accepted_with_those_alike(folder: Path, artifact: Path) -> None:
    assert commands.main(["accept", "test_x", "--all-like", f"--from-ci={artifact}"]) == 0

    assert accepted(folder) == ["test_x", "test_y"]


def test_a_run_is_downloaded_by_gh(folder: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.name != "posix":
        pytest.skip("the command is a shell script")
    gh = folder / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(
        f'#!/bin/sh\n[ "$1 $2 $3 $4" = "run download 42 --dir" ] && cp {artifact} "$5" && cd "$5" && unzip -q report.zip\n'
    )
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", str(gh.parent), prepend=os.pathsep)

    assert commands.main(["accept", "--from-ci", "42"]) == 0

    assert accepted(folder) == ["test_x", "test_y"]


def test_without_gh_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")

    assert commands.main(["accept", "--from-ci"]) == 2
    assert capsys.readouterr().err == (
        "llmtest accept: the latest run of this branch is asked for with the command `gh`, which is not installed"
        " (https://cli.github.com)\n"
        "  or download the artifact in a browser, and name its file: llmtest accept --from-ci FILE\n"
    )


@pytest.mark.parametrize("more", [["name"], ["--all-like"], ["--dry-run"], ["--from-ci=1"]])
def test_undo_takes_nothing_else(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["accept", "--undo", *more]) == 2
    assert capsys.readouterr().err == (
        "llmtest accept: --undo undoes the whole last accept, so it takes no names and no other options\n"
    )
