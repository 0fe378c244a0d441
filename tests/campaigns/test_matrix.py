"""The matrix of a campaign, as text, Markdown and JSON."""

from __future__ import annotations

import json

import pytest

from llmtest.campaigns.matrix import Cell, Matrix
from llmtest.errors import FaultError

CELLS = (
    Cell(("model#1",), ("timeout",), "recovered"),
    Cell(("model#1",), ("empty answer",), "wrong and silent", "AssertionError: a | b"),
    Cell(("search#1",), ("returns nothing",), "not exposed", "nothing changed"),
    Cell(("model#1", "search#1"), ("timeout", "returns nothing"), "crash", "KeyError: 'x'"),
)
MATRIX = Matrix(CELLS, ("other#1",))


def test_as_text() -> None:
    assert str(MATRIX) == (
        "4 faults at 2 calls: 1 recovered, 1 wrong and silent, 1 crash, 1 not exposed\n"
        "  model#1\n"
        "    recovered         timeout\n"
        "    wrong and silent  empty answer\n"
        "  search#1\n"
        "    not exposed       returns nothing\n"
        "  model#1 and search#1\n"
        "    crash             timeout and returns nothing\n"
        "  holes, where no fault can come: `other#1`"
    )


def test_as_markdown() -> None:
    assert MATRIX.as_markdown() == (
        "4 faults at 2 calls: 1 recovered, 1 wrong and silent, 1 crash, 1 not exposed\n"
        "\n"
        "| call | fault | outcome | why |\n"
        "| --- | --- | --- | --- |\n"
        "| model#1 | timeout | recovered |  |\n"
        "| model#1 | empty answer | wrong and silent | AssertionError: a \\| b |\n"
        "| search#1 | returns nothing | not exposed | nothing changed |\n"
        "| model#1 and search#1 | timeout and returns nothing | crash | KeyError: 'x' |\n"
    )


def test_as_json_and_back() -> None:
    read = json.loads(json.dumps(MATRIX.as_json()))

    assert read["version"] == 1
    assert read["counts"] == {"recovered": 1, "wrong and silent": 1, "crash": 1, "not exposed": 1}
    assert read["cells"][3] == {
        "calls": ["model#1", "search#1"],
        "faults": ["timeout", "returns nothing"],
        "outcome": "crash",
        "why": "KeyError: 'x'",
    }
    assert Matrix.from_json(read) == MATRIX


def test_an_outcome_is_found_by_the_name_of_the_fault() -> None:
    assert MATRIX["model#1 timeout"] == "recovered"
    assert MATRIX["model#1 timeout and search#1 returns nothing"] == "crash"
    with pytest.raises(LookupError) as caught:
        MATRIX["model#1 time out"]
    assert str(caught.value) == "the matrix has no fault 'model#1 time out'; did you mean `model#1 timeout`?"


def test_it_is_checked_by_its_failed_cells() -> None:
    assert [cell.name for cell in MATRIX.failed] == [
        "model#1 empty answer",
        "model#1 timeout and search#1 returns nothing",
    ]
    with pytest.raises(FaultError):
        MATRIX.check()
    Matrix(CELLS[:1]).check()
    Matrix((CELLS[0], *CELLS[2:3])).check()


def test_it_is_a_sequence_of_cells() -> None:
    assert len(MATRIX) == 4
    assert [*MATRIX] == [*CELLS]
    assert str(Matrix(())) == "0 faults at 0 calls: none"


def test_calls_in_a_row_that_end_alike_are_one_row() -> None:
    cells = [Cell((f"chunk#{number}",), ("consumer stops",), "recovered") for number in range(1, 24)]
    mixed = [Cell((f"model#{number}",), ("timeout",), "crash" if number == 2 else "recovered") for number in (1, 2, 3)]

    assert str(Matrix((*mixed, *cells))) == (
        "26 faults at 3 calls and 23 moments: 25 recovered, 1 crash\n"
        "  model#1\n"
        "    recovered         timeout\n"
        "  model#2\n"
        "    crash             timeout\n"
        "  model#3\n"
        "    recovered         timeout\n"
        "  chunk#1 to chunk#23\n"
        "    recovered         consumer stops"
    )
    assert Matrix(tuple(cells[:1])).summary() == "1 fault at 1 moment: 1 recovered"
