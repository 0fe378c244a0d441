"""The folder `.llmtest`: it ignores itself in git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from llmtest.core.own_folder import make_folder, session_name


def test_the_folder_ignores_itself_from_the_first_file_on(tmp_path: Path) -> None:
    make_folder(tmp_path / ".llmtest" / "pending" / "tests")

    assert (tmp_path / ".llmtest" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / ".llmtest" / "pending" / "tests").is_dir()


def test_what_the_user_has_written_there_stays(tmp_path: Path) -> None:
    make_folder(tmp_path / ".llmtest")
    (tmp_path / ".llmtest" / ".gitignore").write_text("traces.sqlite\n")

    make_folder(tmp_path / ".llmtest" / "undo")

    assert (tmp_path / ".llmtest" / ".gitignore").read_text() == "traces.sqlite\n"


def test_other_folders_are_made_and_not_ignored(tmp_path: Path) -> None:
    make_folder(tmp_path / "__snapshots__" / "test_it")

    assert [path.name for path in tmp_path.rglob("*")] == ["__snapshots__", "test_it"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_sees_nothing_of_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    make_folder(tmp_path / ".llmtest" / "pending")
    (tmp_path / ".llmtest" / "pending" / "a.tree").write_text("text")

    said = subprocess.run(["git", "-C", tmp_path, "status", "--porcelain"], capture_output=True, text=True, check=True)

    assert said.stdout == ""


def test_a_session_is_named_by_its_time_and_its_process() -> None:
    date, time, milliseconds, process = session_name().split("-")

    assert (len(date), len(time), len(milliseconds), int(process)) == (8, 6, 3, os.getpid())
