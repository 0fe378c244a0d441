from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmtest.coverage import formats, items
from llmtest.coverage.data import CoverageData, load
from llmtest.coverage.formats import as_json, lcov, markdown, terminal, xml
from llmtest.coverage.report import Exclude, Report


@pytest.fixture
def report(written: Callable[..., CoverageData]) -> Report:
    data = written(("test_it", ["desk/nodes/plan", "desk/edges/__start__->plan"], ["desk/edges/plan->book"]))
    return Report(data, [Exclude("*hotel*", "never raises")])


def test_a_table_with_what_is_missing(report: Report) -> None:
    assert "\n".join(line for line, _ in terminal(report, with_missing=True)) == (
        """\
Program  Kind           Items   Hit   Miss   Ambiguous   Cover
--------------------------------------------------------------
desk     nodes              2     1      1           0     50%
    node `book` never ran
desk     edges              2     1      1           1     50%
    edge `book → __end__` never taken
    unknown: branch `route` of `plan`, because the targets of `route` are not declared: give `path_map`, or annotate its return type with Literal
    cannot tell: edge `plan → book` taken
desk     tools              0     0      0           0    100%
--------------------------------------------------------------
TOTAL                       4     2      2           1     50%
not counted: 1 excluded, 1 unknown"""  # noqa: E501
    )


def test_a_table_without_what_is_missing_and_with_colors(report: Report) -> None:
    styles = {line.split()[1]: style for line, style in terminal(report, with_missing=False) if line.startswith("desk")}

    assert styles == {"nodes": "33", "edges": "33", "tools": ""}
    assert not any("never" in line for line, _ in terminal(report, with_missing=False))


def test_a_session_without_programs_says_so(written: Callable[..., CoverageData]) -> None:
    lines = list(terminal(Report(written(things=[])), with_missing=True))

    assert lines == [("no program was met: no test ran a graph, an agent or a chain", "33")]


def test_a_terminal_is_not_flooded(written: Callable[..., CoverageData], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_LINES", 2)
    data = written(("t", [], []), things=[items.node("a", f"n{number}") for number in range(5)])

    lines = [line for line, _ in terminal(Report(data), with_missing=True)]

    assert sum("never ran" in line for line in lines) == 2
    assert "    ... 3 more lines; `--llmtest-cov-report=json` has all" in lines


def test_markdown(report: Report) -> None:
    assert markdown(report) == (
        """\
# Behaviour coverage

**50%** of 4 items

| program | kind | items | hit | missed | ambiguous | cover |
|---|---|---:|---:|---:|---:|---:|
| desk | nodes | 2 | 1 | 1 | 0 | 50% |
| desk | edges | 2 | 1 | 1 | 1 | 50% |
| desk | tools | 0 | 0 | 0 | 0 | 100% |

## desk

- node `book` never ran
- edge `book → __end__` never taken
- unknown: branch `route` of `plan` judged (the targets of `route` are not declared: give `path_map`, or annotate its return type with Literal)
- ambiguous: edge `plan → book` taken (more than one node can have led there, or the recording does not tell)
- excluded: `hotel` raised (never raises)
"""  # noqa: E501
    )


def test_markdown_of_odd_names_stays_text(written: Callable[..., CoverageData]) -> None:
    data = written(("t", [], []), things=[items.node("a|b<c>", "x_y")])

    text = markdown(Report(data, [Exclude("nothing*", "r")]))

    assert "| a\\|b\\<c\\> | nodes |" in text
    assert "- node `x_y` never ran" in text
    assert "> no item matches the exclude 'nothing*'" in text


def test_json(report: Report) -> None:
    found = json.loads(as_json(report))

    assert found["totals"]["all"] == {"hit": 2, "missed": 2, "ambiguous": 1, "unknown": 1, "excluded": 1, "percent": 50.0}
    assert found["items"][1] == {
        "id": "desk/nodes/plan",
        "program": "desk",
        "kind": "nodes",
        "name": "plan",
        "state": "hit",
        "sentence": "node `plan` ran",
        "place": "app.py:3",
        "tests": ["test_it"],
    }
    assert found["items"][0]["sentence"] == "node `book` never ran"
    assert (found["format"], found["tests"], found["notes"]) == (1, 1, [])


def test_cobertura_has_a_branch_for_each_item_of_a_line(report: Report) -> None:
    root = ElementTree.fromstring(xml(report))

    assert (root.tag, root.get("branch-rate"), root.get("branches-valid")) == ("coverage", "0.5000", "4")
    lines = {
        (one.get("filename"), line.get("number")): (line.get("hits"), line.get("condition-coverage"))
        for one in root.iter("class")
        for line in one.iter("line")
    }
    assert lines == {
        ("app.py", "3"): ("1", "100% (1/1)"),
        ("app.py", "7"): ("0", "0% (0/2)"),
        ("llmtest:desk", "1"): ("1", "100% (1/1)"),
    }


def test_lcov_has_a_branch_for_each_item_of_a_line(report: Report) -> None:
    expected = """
        TN:llmtest SF:app.py BRDA:3,0,0,1 BRDA:7,0,0,0 BRDA:7,0,1,0 BRF:3 BRH:1 DA:3,1 DA:7,0 LF:2 LH:1 end_of_record
        TN:llmtest SF:llmtest:desk BRDA:1,0,0,1 BRF:1 BRH:1 DA:1,1 LF:1 LH:1 end_of_record
    """
    assert " ".join(lcov(report).split()) == " ".join(expected.split())


def test_a_file_that_broke_off_is_told_also_without_a_program(tmp_path: Path) -> None:
    (tmp_path / "main.jsonl").write_text('{"llmtest-cov')

    lines = [line for line, _ in terminal(Report(load([tmp_path])), with_missing=False)]

    assert lines[1:] == [f"note: {tmp_path / 'main.jsonl'}: its last line is not whole; the test that ran then is not counted"]


def test_markdown_says_nothing_more_of_a_program_without_a_gap(written: Callable[..., CoverageData]) -> None:
    things = [items.node("whole", "a"), items.node("torn", "b")]

    text = markdown(Report(written(("t", ["whole/nodes/a"], []), things=things)))

    assert "## torn\n\n- node `b` never ran" in text
    assert "## whole" not in text
