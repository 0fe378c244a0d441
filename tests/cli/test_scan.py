"""`llmtest scan`: its exit codes, its output, and the hook for pre-commit. tests/tracing tests what it finds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import llmtest
from llmtest.cli import commands
from tests.support.stored import fill_store

KEY = "sk-proj-A1b2C3d4E5f6G7h8I9j0K1l2"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "none.sqlite"))
    monkeypatch.setenv("NO_COLOR", "1")
    Path("tests/greeting.yaml").write_text("# llmtest script v1\nsteps: [Hello]\n")
    return tmp_path


def test_a_project_without_secrets_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["scan"]) == 0
    assert capsys.readouterr() == ("", "llmtest scan: 1 file: no likely secret\n")


def test_each_likely_secret_is_a_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tests/greeting.yaml").write_text(f"# llmtest script v1\nsteps:\n  - Hello\n  - the key is {KEY}\n")

    assert commands.main(["scan", "tests"]) == 1

    out, err = capsys.readouterr()
    assert out == "tests/greeting.yaml:4: a key of OpenAI, the key is <mask:secret>\n"
    assert err == "llmtest scan: 1 file: 1 likely secret\n"
    assert commands.main(["scan", "tests/greeting.yaml", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"file": "tests/greeting.yaml", "line": 4, "kind": "a key of OpenAI", "excerpt": "the key is <mask:secret>"}
    ]


def test_the_masks_of_the_project_are_used_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pyproject.toml").write_text("[tool.pytest.ini_options]\nllmtest_masks = ['greeting = Hel+o']\n")

    assert commands.main(["scan"]) == 1

    assert capsys.readouterr() == (
        "tests/greeting.yaml:2: `greeting` of llmtest_masks, <mask:greeting>\n",
        "llmtest scan: 1 file: 1 likely secret; with llmtest_masks of pyproject.toml: `greeting`\n",
    )


def test_without_paths_the_trace_store_is_read_and_with_paths_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = fill_store(tmp_path, monkeypatch)

    told = []
    for arguments in ([], ["tests"], ["tests", "--store", str(store)]):
        assert commands.main(["scan", *arguments]) == 0
        told.append(capsys.readouterr().err)

    assert told == [
        "llmtest scan: 1 file and 3 traces: no likely secret\n",
        "llmtest scan: 1 file: no likely secret\n",
        "llmtest scan: 1 file and 3 traces: no likely secret\n",
    ]


def test_what_git_ignores_is_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tests/.secrets").mkdir()
    Path("tests/.secrets/a.yaml.json").write_text(json.dumps({"<mask:secret>": [KEY]}))

    assert commands.main(["scan"]) == 0
    assert capsys.readouterr().err == (
        "llmtest scan: 1 file: no likely secret\n  1 file in .secrets/ left out, because git ignores them; --all reads them\n"
    )
    assert commands.main(["scan", "--all"]) == 1
    assert capsys.readouterr().out == "tests/.secrets/a.yaml.json:1: kept apart from its cassette, <mask:secret>\n"


def test_a_path_that_is_not_there_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["scan", "none"]) == 2
    assert capsys.readouterr().err == "llmtest scan: there is no file and no folder `none`\n"


def test_the_hook_for_pre_commit_runs_the_command_on_files_of_ours() -> None:
    hook = (Path(llmtest.__file__).parent.parent / ".pre-commit-hooks.yaml").read_text("utf-8")
    files = re.search(r"^  files: (.*)$", hook, re.MULTILINE)

    assert "\n  entry: llmtest scan\n" in hook
    assert files is not None
    assert [bool(re.search(files[1], name)) for name in ("a/t.tree", "a/b.yaml", "c.yml", "d.py", "a.yaml.json")] == [
        *([True] * 3),
        *([False] * 2),
    ]
