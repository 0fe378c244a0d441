"""The benchmarks are not run here, but they can be: a name that moved is found at once."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import noticed
from benchmarks.floors import FLOORS

README = Path(__file__).parent.parent / "README.md"


def test_every_suite_can_be_asked_for() -> None:
    assert [name for name, ratios in benchmarks.SUITES.items() if not callable(ratios)] == []


def test_a_suite_gives_its_rows_to_machines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "protocol", "--json"])
    monkeypatch.setitem(benchmarks.SUITES, "protocol", lambda rounds: iter(()))

    assert benchmarks.main() == 0
    assert json.loads(capsys.readouterr().out)["ratios"] == []


def test_each_floor_is_of_a_row_that_the_page_shows_as_missed() -> None:
    page = (README.parent / "benchmarks" / "README.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines()]
    missed = {row[1] for row in rows if len(row) == 9 and "missed" in row[4]}

    assert set(FLOORS) - missed == set()


# -- what tests notice


def test_a_change_of_each_kind_is_made() -> None:
    source = "@tool\ndef f(a, b=1):\n    '''What it does.'''\n    return g(a > b, [a], flag=True)\n"

    assert sorted(words for words, _ in noticed.changes(ast.parse(source))) == [
        "line 2: 2 for 1",
        "line 2: without the statement of line 4",
        "line 3: another text than 'What it does.'",
        "line 4: not True",
        "line 4: the other way round",
        "line 4: without flag=",
        "line 4: without item 0 of a list",
    ]


def test_the_readme_names_the_tests_in_the_order_of_the_table() -> None:
    rows = re.findall(r"^\| (.+) \| \d+ \|$", README.read_text("utf-8"), re.MULTILINE)

    assert rows == list(noticed.TESTS)


@pytest.mark.soak
def test_the_readme_has_the_table_that_the_benchmark_makes() -> None:
    command = [sys.executable, "-m", "benchmarks.noticed"]  # in a process without a test, which would count the broken scripts
    done = subprocess.run(command, cwd=README.parent, capture_output=True, encoding="utf-8", check=True)

    assert done.stdout.strip() in README.read_text("utf-8")
