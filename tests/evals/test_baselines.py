"""Baselines on disk: what is written, what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmtest.errors import BaselineError
from llmtest.evals.baselines import Baseline, CaseResult, load_baselines, mean_spent, save_baselines
from llmtest.evals.datasets import Dataset, hash_of_cases
from llmtest.evals.scores import CaseRun, Score, Scores, score
from llmtest.events.words import FrozenDict

DATASET = Dataset([{"id": name, "inputs": name} for name in ("a", "b", "ü")], name="letters")


def run(passed: bool, **values: float) -> Scores:
    return Scores({"passes": Score(float(passed), passed)} | {name: Score(value) for name, value in values.items()})


def results(*passed: int) -> Baseline:
    """The results of cases called 0, 1, ... that ran once."""
    return Baseline("demo", "h", tuple(CaseResult(str(n), f"h{n}", number, 1) for n, number in enumerate(passed)))


# -- files


def test_results_of_runs_are_written_and_read(tmp_path: Path) -> None:
    runs = {
        "a": [run(True, length=1 / 3), run(False, length=1)],
        "b": [run(True, length=2)],
        "ü": [score(CaseRun(DATASET["ü"], error=TimeoutError()), passes=lambda run: True, length=lambda run: 1)],
    }

    baseline = Baseline.of(DATASET, runs)
    baseline.save(tmp_path / "baseline.jsonl")

    assert Baseline.load(tmp_path / "baseline.jsonl") == baseline
    hashes = [case.hash for case in DATASET]
    assert (tmp_path / "baseline.jsonl").read_text("utf-8").splitlines() == [
        f'{{"llmtest_baseline": 1, "dataset": "letters", "hash": "{DATASET.hash}", "cases": 3}}',
        f'{{"id": "a", "hash": "{hashes[0]}", "passed": 1, "total": 2, "scores": {{"length": 0.666667, "passes": 0.5}}}}',
        f'{{"id": "b", "hash": "{hashes[1]}", "passed": 1, "total": 1, "scores": {{"length": 2.0, "passes": 1.0}}}}',
        f'{{"id": "ü", "hash": "{hashes[2]}", "passed": 0, "total": 1, "scores": {{"length": 0.0, "passes": 0.0}}}}',
    ]


@pytest.mark.parametrize(
    ("runs", "error"),
    [
        ({"a": [run(True)], "b": [], "x": []}, "letters has no case 'x'"),
        ({"a": [run(True)], "b": []}, "2 cases of letters without a run: `b`, `ü`"),
        (
            {name: [run(True), run(True, **{name: 1})] for name in ("a", "b", "ü")},
            "the runs of the case 'a' have different scorers",
        ),
    ],
)
def test_results_are_of_all_cases_and_no_others(runs: Any, error: str) -> None:
    with pytest.raises(BaselineError) as caught:
        Baseline.of(DATASET, runs)

    assert str(caught.value) == error


def test_a_name_that_looks_like_a_secret_is_not_written(tmp_path: Path) -> None:
    dataset = Dataset([{"id": "sk-" + "a1b2c3d4e5" * 3, "inputs": 1}])

    with pytest.raises(BaselineError) as caught:
        Baseline.of(dataset, {dataset.ids[0]: [run(True)]}).save(tmp_path / "x.jsonl")

    assert str(caught.value) == ("a baseline is committed, and the name '<mask:secret>' of a case or scorer looks like a secret")
    assert list(tmp_path.iterdir()) == []


HEAD = '{"llmtest_baseline": 1, "dataset": "d", "hash": "0", "cases": 1}\n'
LINE = '{"id": "a", "hash": "1", "passed": 1, "total": 1, "scores": {}}\n'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "x.jsonl: this is no baseline: its first line has no `llmtest_baseline`"),
        ("7", "x.jsonl: this is no baseline: its first line has no `llmtest_baseline`"),
        (LINE, "x.jsonl: this is no baseline: its first line has no `llmtest_baseline`"),
        ('{"llmtest_baseline": 1, "dataset": "d", "cases": 1}', "x.jsonl:1: line 1 has no `hash`"),
        (
            HEAD.replace(": 1,", ": 2,"),
            "x.jsonl:1: the baseline has the format 2; this version of llmtest knows 1",
        ),
        (HEAD + "<<<<<<< ours\n", "x.jsonl:2: not JSON: Expecting value at character 1"),
        (
            HEAD + LINE.replace("passed", "pased"),
            "x.jsonl:2: line 2 has the unknown key `pased`\n"
            "  expected  `id`, `hash`, `passed`, `total`, `scores`, `spent` or `trace`\n"
            "  did you mean `passed`?",
        ),
        (HEAD + LINE.replace('"passed": 1', '"passed": 2'), "x.jsonl:2: line 2 has 2 passes of 1 runs"),
        (
            HEAD + LINE.replace('"passed": 1', '"passed": 1.5'),
            "x.jsonl:2: `passed` of line 2 must be a whole number of runs; got the float 1.5",
        ),
        (HEAD + LINE.replace("{}", '{"x": NaN}'), "x.jsonl:2: `x` of `scores` of line 2 is not a JSON value; got the float NaN"),
        (
            HEAD + LINE,
            "x.jsonl: the lines are not those that were written: the first says 1 case with the hash '0', and 1 case follow\n"
            "  a merge or an edit has changed the file; write it again",
        ),
        (
            HEAD,
            "x.jsonl: the lines are not those that were written: the first says 1 case with the hash '0', and 0 cases follow\n"
            "  a merge or an edit has changed the file; write it again",
        ),
    ],
)
def test_a_file_that_is_no_baseline_is_an_error(text: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.jsonl").write_text(text, "utf-8")

    with pytest.raises(BaselineError) as caught:
        Baseline.load("x.jsonl")

    assert str(caught.value) == error


def test_a_file_with_another_number_of_lines_than_it_says_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    Baseline.of(DATASET, {name: [run(True)] for name in DATASET.ids}).save(path)
    path.write_text(path.read_text("utf-8").replace('"cases": 3', '"cases": 4'), "utf-8")

    with pytest.raises(BaselineError, match=r"the first says 4 cases with the hash .*, and 3 cases follow"):
        Baseline.load(path)


def test_a_file_that_cannot_be_read_or_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()

    with pytest.raises(BaselineError) as read:
        Baseline.load("x.jsonl")
    with pytest.raises(BaselineError) as written:
        results(1).save("file/x.jsonl")

    assert str(read.value) == "x.jsonl: the baseline cannot be read: No such file or directory"
    assert str(written.value) == "file/x.jsonl: the baseline cannot be written: File exists"


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    results(1).save(tmp_path / "a" / "b" / "x.jsonl")

    assert (tmp_path / "a" / "b" / "x.jsonl").is_file()


# -- what a run spent, and several tests


def test_what_runs_spent_is_a_mean_of_what_is_known_of_all() -> None:
    runs: list[dict[str, float | None]] = [
        {"tokens": 10, "cost": 1 / 3000, "seconds": 1.0},
        {"tokens": 11, "cost": 1 / 3000, "seconds": None},
    ]

    assert mean_spent(runs) == {"tokens": 10.5, "cost": 0.000333333}
    assert mean_spent([{"seconds": 0.0}]) == {"seconds": 0.0}
    assert mean_spent([]) == {}


def both() -> list[Baseline]:
    spent = FrozenDict({"tokens": 12.5, "cost": 0.001})
    cases = (CaseResult("a", "1", 1, 1, FrozenDict({"x": 1.0}), spent, "abcd1234"),)
    first = Baseline("one", hash_of_cases(["1"]), cases, "test_x.py::test_one")
    return [first, Baseline("two", hash_of_cases(["2"]), (CaseResult("b", "2", 0, 3),), "test_x.py::test_two", live=True)]


def test_one_file_has_the_baselines_of_several_tests(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"

    save_baselines(both(), path)

    assert load_baselines(path) == both()
    one, two = (hash_of_cases([case]) for case in ("1", "2"))
    assert path.read_text("utf-8").splitlines() == [
        f'{{"llmtest_baseline": 1, "dataset": "one", "hash": "{one}", "cases": 1, "test": "test_x.py::test_one"}}',
        '{"id": "a", "hash": "1", "passed": 1, "total": 1, "scores": {"x": 1.0}, "spent": {"tokens": 12.5, "cost": 0.001}, '
        '"trace": "abcd1234"}',
        f'{{"llmtest_baseline": 1, "dataset": "two", "hash": "{two}", "cases": 1, "test": "test_x.py::test_two", "live": true}}',
        '{"id": "b", "hash": "2", "passed": 0, "total": 3, "scores": {}}',
    ]


def test_a_file_of_several_tests_is_not_one_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_baselines(both(), "all.jsonl")
    save_baselines([both()[0], both()[0]], "twice.jsonl")

    with pytest.raises(BaselineError) as several:
        Baseline.load("all.jsonl")
    with pytest.raises(BaselineError) as twice:
        load_baselines("twice.jsonl")

    assert str(several.value) == (
        "all.jsonl: the file has the baselines of `test_x.py::test_one`, `test_x.py::test_two`; `load_baselines` returns all"
    )
    assert str(twice.value) == "twice.jsonl: the file has two baselines of the test 'test_x.py::test_one'"
