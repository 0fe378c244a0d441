"""`llmtest merge`: reports of several jobs, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmtest.cli import commands
from llmtest.reports.joining import write_report
from llmtest.reports.results import Result, Results
from llmtest.trees.artifacts import Kept
from llmtest.trees.rendering import HEADER
from llmtest.viewer.cases import Case, Detail, pack
from llmtest.viewer.page import page, write_page
from tests.support.pages import rows_of


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


def test_pages_are_joined_and_a_report_without_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("test_it.py::test_a", "passed", detail=Detail(pack("{}"), "chat Model"))
    for job in ("one", "two", "three"):
        report(job)
    for job in ("one", "two"):
        write_page(Path(job, "page.html"), [case], title="shop")

    code = commands.main(["merge", "one", "two", "three", "-o", "all"])

    assert (code, capsys.readouterr().out) == (
        0,
        "all: 3 passed; 1 snapshot pending\n"
        "all/page.html: 3 tests (0.1 MB)\n"
        "without traces: three has no page; `pytest --llmtest-html` writes one\n",
    )
    names = [f"test_it.py::test_a · {job}" for job in ("one", "two", "three")]
    assert [row[0] for row in rows_of(Path("all", "page.html").read_text("utf-8"))] == names


def test_a_joined_report_is_joined_again_and_keeps_no_old_page(capsys: pytest.CaptureFixture[str]) -> None:
    report("one")
    report("two")
    Path("one", "page.html").write_text(page([Case("test_it.py::test_a", "passed")]))

    codes = [commands.main(["merge", *args]) for args in (["one", "-o", "all"], ["all", "-o", "again"], ["two", "-o", "all"])]

    assert codes == [0, 0, 0]
    assert Path("again", "page.html").read_text() == Path("one", "page.html").read_text()
    assert not Path("all", "page.html").exists()


def test_nothing_is_written_if_a_page_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    report("one")
    Path("one", "page.html").write_text("<html>")

    code = commands.main(["merge", "one", "-o", "all"])

    assert (code, capsys.readouterr().err) == (
        2,
        "llmtest merge: one/page.html is no page of llmtest, or it was cut or edited: it has no index\n"
        "  download it again, or delete it to join the reports without it\n",
    )
    assert not Path("all").exists()
