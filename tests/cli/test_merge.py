"""`llmtest merge`: reports of several jobs, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmtest.cli import commands
from llmtest.reports.joining import write_report
from llmtest.reports.results import Result, Results
from llmtest.trees.artifacts import Kept
from llmtest.trees.rendering import HEADER


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return tmp_path


def report(name: str, text: str = "x") -> None:
    target = "__snapshots__/test_it/test_a.tree"
    kept = Kept("test_it.py::test_a", target, f'{HEADER}\n# test "test_it.py::test_a"\n# snapshot "{target}"\n{text}\n')
    write_report(Path(name), Results((Result("test_it.py::test_a", "passed"),)), [kept])


def test_reports_are_joined_and_the_summary_is_shown_on_github(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report("one")
    report("two")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "step.md"))
    (folder / "step.md").write_text("before\n")

    code = commands.main(["merge", "one", "two", "-o", "all"])

    assert (code, capsys.readouterr().out) == (0, "all: 2 passed; 1 snapshot pending\n")
    assert (folder / "step.md").read_text() == "before\n### llmtest: 2 passed\n"
    assert (folder / "all" / "pending" / "test_it.py" / "test_a.tree").is_file()


def test_texts_that_clash_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    report("one")
    report("two", "y")

    code = commands.main(["merge", "one", "two"])

    assert (code, capsys.readouterr().out) == (
        1,
        "llmtest-report: 2 passed; 0 snapshots pending\n"
        "not joined: __snapshots__/test_it/test_a.tree is different in one and in two\n",
    )


def test_what_is_no_report_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code = commands.main(["merge", "none"])

    assert (code, capsys.readouterr().err) == (2, "llmtest merge: none is no folder and no file\n")
