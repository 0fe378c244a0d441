"""`llmtest cov`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmtest.cli import commands
from llmtest.coverage import items
from llmtest.coverage.data import Writer, load
from llmtest.coverage.items import Inventory

PROGRAM = """
from langchain_core.runnables import RunnableLambda

def clerk(text):
    return text

def build():
    return RunnableLambda(clerk).with_config(run_name="clerk")
"""


def write(path: Path, *hits: str) -> None:
    inventory = Inventory([items.node("desk", "plan"), items.node("desk", "book"), items.mode("clerk", "stream")])
    writer = Writer(path)
    writer.add(inventory, [f"desk/nodes/{name}" for name in hits], [])
    writer.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nllmtest_cov = clerks:build\nllmtest_cov_exclude =\n    *gone* because it is gone\n"
    )
    (tmp_path / "clerks.py").write_text(PROGRAM)
    write(tmp_path / ".llmtest" / "coverage" / "main.jsonl", "plan")
    write(tmp_path / "job" / "gw0.jsonl", "book")
    return tmp_path


def test_combine_joins_files_and_tells_of_a_torn_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (project / "job" / "gw0.jsonl").open("a") as file:
        file.write('{"hit"')

    assert commands.main(["cov", "combine", ".llmtest/coverage", "job", "-o", "all.jsonl"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "all.jsonl: 2 tests of 2 workers, 3 items",
        "job/gw0.jsonl: its last line is not whole; the test that ran then is not counted",
    ]
    assert load([project / "all.jsonl"]).hits == {"desk/nodes/plan", "desk/nodes/book"}


def test_combine_takes_the_files_of_the_project(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["cov", "combine"]) == 0
    assert capsys.readouterr().out == "llmtest-coverage.jsonl: 1 test of 1 worker, 3 items\n"


def test_report_has_a_table_and_limits(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["cov", "report", "--fail-under", "90,nodes=50"]) == 1

    told = capsys.readouterr()
    assert told.out.splitlines()[2:6] == [
        "clerk    modes              1     0      1           0      0%",
        "    `clerk` never called by `stream`",
        "desk     nodes              2     1      1           0     50%",
        "    node `book` never ran",
    ]
    assert "note: no item matches the exclude '*gone*'" in told.out
    assert told.err == "llmtest cov report: coverage is 33.33%, less than 90%: 2 items missed\n"


def test_report_in_other_formats(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["cov", "report", "job", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["nodes"]["hit"] == 1
    assert commands.main(["cov", "report", "job", "--format=html", "-o", "page.html"]) == 0
    assert capsys.readouterr().out == ""
    assert (project / "page.html").read_text("utf-8").startswith("<!doctype html>")
    assert commands.main(["cov", "report", "job", "--format=term", "-o", "table.txt"]) == 0
    assert (project / "table.txt").read_text("utf-8").startswith("Program ")


def test_report_reads_the_folder_of_the_ini_key(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pytest.ini").write_text("[pytest]\nllmtest_cov_data = job\n")

    assert commands.main(["cov", "report", "--format=term"]) == 0
    assert "desk     nodes              2     1      1" in capsys.readouterr().out


def test_diff_says_what_is_lost_and_gained(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["cov", "diff", "job"]) == 1

    told = capsys.readouterr()
    assert told.out.splitlines() == ["lost: node `book` never ran (desk)", "gained: node `plan` ran (desk)"]
    assert told.err == "llmtest cov diff: 33% -> 33%, 2 changes, 1 of them lost\n"
    assert commands.main(["cov", "diff", "job", "--json"]) == 1
    assert [change["id"] for change in json.loads(capsys.readouterr().out)] == ["desk/nodes/book", "desk/nodes/plan"]
    assert commands.main(["cov", "diff", "job", "job"]) == 0


def test_suggest_writes_tests_to_a_new_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["cov", "suggest", "clerk/*", "-o", "test_more.py"]) == 0
    text = (project / "test_more.py").read_text("utf-8")
    assert "from clerks import build" in text
    assert "    list(program.stream(given))" in text
    assert capsys.readouterr().err == "llmtest cov suggest: 1 test in test_more.py\n"

    assert commands.main(["cov", "suggest", "-o", "test_more.py"]) == 2
    assert (
        capsys.readouterr().err == "llmtest cov suggest: test_more.py is there already; suggestions are written to a new file\n"
    )

    assert commands.main(["cov", "suggest", "--data", "job", "--program", "clerks:build"]) == 0
    told = capsys.readouterr()
    assert "def test_desk_plan():" in told.out
    assert told.err == "llmtest cov suggest: 2 tests\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["report", "no"], "there is no file or folder no\n  `pytest --llmtest-cov` writes one"),
        (
            ["report", "--fail-under=x=3"],
            "--fail-under is a number up to 100, or KIND=NUMBER, several with commas; got 'x=3'; the kinds are "
            + ", ".join(items.KINDS),
        ),
        (
            ["suggest", "--program", "clerks:gone"],
            "there is no program clerks:gone: module 'clerks' has no attribute 'gone'\n  a program is named as `module:object`",
        ),
    ],
)
def test_errors(project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert commands.main(["cov", *arguments]) == 2
    assert capsys.readouterr().err == f"llmtest cov {arguments[0]}: {told}\n"
