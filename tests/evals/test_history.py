"""Sessions over time, what a name stands for, and parts of a session that become one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmtest.errors import BaselineError, ResultsError
from llmtest.evals.baselines import save_baselines
from llmtest.evals.history import baselines_of, combine, describe, points, results_of, sparkline
from llmtest.evals.intervals import clopper_pearson
from llmtest.evals.results import Results, find_session, sessions_folder
from tests.support.evaluated import TEST, write_session, write_set

GOOD, BAD = {"a": [True] * 4}, {"a": [True, False, False, False]}


def test_each_set_of_each_session_is_a_point(tmp_path: Path) -> None:
    write_session(tmp_path, "20260102", BAD)
    write_session(tmp_path, "20260101", GOOD)
    write_session(tmp_path, "20260102", {"b": [True]}, test="other", worker="gw1")
    (sessions_folder(tmp_path) / "20260103").mkdir()  # one that ended before its first result

    found, problems = points(tmp_path)

    assert [(point.session, point.test, point.rate) for point in found] == [
        ("20260101", TEST, 1.0),
        ("20260102", "other", 1.0),
        ("20260102", TEST, 0.25),
    ]
    assert found[2].interval == clopper_pearson(1, 4)
    assert (found[2].to_json()["rate"], found[2].to_json()["outcome"]) == (0.25, "fail")
    assert [point.session for point in points(tmp_path, last=2)[0]] == ["20260102", "20260102"]
    assert problems == []
    assert points(tmp_path / "none") == ([], [])


def test_a_set_without_a_run_has_no_rate(tmp_path: Path) -> None:
    write_session(tmp_path, "1", {"a": []}, repeats=3)

    ((point,), _) = points(tmp_path)

    assert (point.rate, point.outcome) == (None, "undecided")


def test_a_session_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    write_session(tmp_path, "1", GOOD)
    (write_session(tmp_path, "2", GOOD) / "main.jsonl").write_text("no\n")
    write_session(tmp_path, "3", GOOD)

    found, (problem,) = points(tmp_path)

    assert [point.session for point in found] == ["1", "3"]
    assert problem.endswith("2/main.jsonl:1: the line is not JSON: Expecting value: line 1 column 1 (char 0)")


def test_bars_from_0_to_1() -> None:
    assert sparkline([0.0, 0.124, 0.126, 0.99, 1.0, None]) == "▁▁▂██·"


# -- what a name stands for


def test_a_name_is_a_session_a_folder_a_file_or_a_baseline(tmp_path: Path) -> None:
    write_session(tmp_path, "1", GOOD)
    write_session(tmp_path, "2", BAD)
    folder = write_set(tmp_path / "elsewhere", GOOD)
    (file,) = folder.iterdir()
    save_baselines(baselines_of(tmp_path, "2"), tmp_path / "base.jsonl")

    assert [results_of(tmp_path, name)[0].passed for name in ("", "1", "2", str(folder), str(file))] == [1, 4, 1, 4, 4]
    assert baselines_of(tmp_path) == baselines_of(tmp_path, str(tmp_path / "base.jsonl")) == baselines_of(tmp_path, "2")
    assert baselines_of(tmp_path, str(file))[0].cases[0].passed == 4


def test_a_name_of_nothing_and_results_of_a_part_are_errors(tmp_path: Path) -> None:
    write_session(tmp_path, "one", GOOD, of=["a", "b"])

    with pytest.raises(ResultsError, match="did you mean `one`"):
        results_of(tmp_path, "ones")
    with pytest.raises(BaselineError, match="1 of 2 cases"):
        baselines_of(tmp_path)
    (find_session(tmp_path) / "main.jsonl").write_text("")
    with pytest.raises(ResultsError) as caught:
        baselines_of(tmp_path)
    assert str(caught.value) == "the last session has no results"


# -- parts


def test_parts_become_one(tmp_path: Path) -> None:
    first = write_set(tmp_path / "1", {"a": [True, True]}, of=["a", "b"], repeats=2)
    write_set(tmp_path / "2", {"b": [False, True]}, of=["a", "b"], repeats=2, worker="gw0")
    write_set(tmp_path / "2", {"c": [True]}, test="other", worker="gw1")

    results = combine([first, tmp_path / "2", tmp_path / "2" / "gw0.jsonl"], tmp_path / "all")

    assert describe(results) == "2 sets, 5 runs"
    again = Results.load(tmp_path / "all")
    assert [found.cases for found in again] == [found.cases for found in results]
    assert [found.head for found in again] == [found.head for found in results]
    assert (again[TEST].passed, again[TEST].missing, again[TEST].baseline().cases[1].id) == (3, 0, "b")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            lambda folder: (folder / "all").mkdir() or (folder / "all" / "x").touch(),
            "all: the folder is not empty; name a new one",
        ),
        (lambda folder: (folder / "all").touch(), "all: the folder is not empty; name a new one"),
        (lambda folder: (folder / "1" / "main.jsonl").unlink(), "1: the folder has no files of results (*.jsonl)"),
        (lambda folder: write_set(folder / "1", {"a": [False]}, worker="gw0"), "two different results"),
    ],
    ids=["not empty", "a file", "no results", "contradiction"],
)
def test_what_cannot_be_one_is_an_error_and_nothing_is_written(
    change: Any, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "1", {"a": [True]})
    change(tmp_path)
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ResultsError) as caught:
        combine([Path("1")], Path("all"))

    assert error in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before
