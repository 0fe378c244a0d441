"""What a set of results came to, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmtest.evals.intervals import bootstrap_mean, clopper_pearson
from llmtest.evals.results import Results, RunError
from llmtest.evals.scores import Score
from llmtest.evals.summaries import Summary
from tests.support.evaluated import TEST, write_set


def summary(folder: Path, passed: dict[str, list[bool]], **more: Any) -> Summary:
    return Summary(Results.load(write_set(folder, passed, **more))[0])


def lengths(case: str, number: int) -> dict[str, Score]:
    return {"length": Score(len(case) + number / 10), "exact": Score(1.0, True)}


def test_a_summary_in_words(tmp_path: Path) -> None:
    spent = {"input_tokens": 1_000, "output_tokens": 500, "cost": 0.0123}
    found = summary(tmp_path, {"a": [True] * 4, "bb": [True, False, False, True], "ü": [False] * 4}, scores=lengths, **spent)

    assert list(found.lines()) == [
        f"{TEST} · letters",
        "  fail: 6 of 12 passed, so the pass rate is from 21 % to 79 % (95 % confidence); 90 % is required",
        "  cases    1 fail, 2 undecided",
        "  score    exact 100 %, from 73.5 % to 100 % (95 % confidence)",
        "  score    length 1.483, from 1.15 to 2.15 (95 % confidence)",
        "  attempts pass@1 50 %, pass^1 50 %, pass@2 61.11 %, pass^2 38.89 %, pass@3 66.67 %, pass^3 33.33 %",
        "  a run    1,500 tokens, cost 0.0123, 0.25 seconds",
        "    fail      0 of 4  `ü`",
        "    undecided 2 of 4  `bb`",
    ]


def test_a_set_without_a_run_has_spent_nothing(tmp_path: Path) -> None:
    assert list(summary(tmp_path, {}, of=["a"], repeats=10).lines()) == [
        f"{TEST} · letters",
        "  undecided: 0 of 0 passed, so the pass rate is from 0 % to 100 % (95 % confidence); 90 % is required",
        "    36 repeats would decide, if all of them pass",
        "  cases    1 without a run",
    ]


def test_the_first_failure_of_a_case_says_why(tmp_path: Path) -> None:
    crashed = summary(tmp_path / "a", {"a": [False]}, error=RunError("TimeoutError", "too slow"), scores={}, seconds=0.5)
    scored = summary(tmp_path / "b", {"a": [True, False], "b": [True, True]}, repeats=10, of=["a", "b", "c"])

    assert [line.strip() for line in crashed.lines()][1:] == [
        "undecided: 0 of 1 passed, so the pass rate is from 0 % to 97.5 % (95 % confidence); 90 % is required",
        "a new set of 2 repeats would decide, if 0 % of them pass; or a new set of 54, if at most 1 fail",
        "cases    1 undecided",
        "a run    0.5 seconds",
        "undecided 0 of 1  `a`: TimeoutError: too slow",
    ]
    assert list(scored.lines())[3:] == [
        "  cases    2 undecided, 1 without a run",
        "  score    exact 75 %, from 19.4 % to 99.4 % (95 % confidence)",
        "  attempts pass@1 75 %, pass^1 75 %, pass@2 100 %, pass^2 50 % (biased: 2 cases stopped early)",
        "  a run    0.25 seconds",
        "    undecided 1 of 2  `a`: exact: expected 'Paris', got 'Lyon'",
    ]


def test_mean_scores_have_intervals_over_cases_or_over_the_runs_of_one(tmp_path: Path) -> None:
    def scores(case: str, number: int) -> dict[str, Score]:
        return {"x": Score(len(case) + number / 10), "flag": Score(float(number > 0))} | (
            {"odd": Score(1)} if case == "a" else {}
        )

    three = summary(tmp_path / "3", {"a": [True] * 2, "bb": [True] * 2, "cccc": [True] * 2}, scores=scores)
    uneven = summary(tmp_path / "u", {"a": [True] * 2, "bb": [True]}, scores=scores)
    single = summary(tmp_path / "1", {"a": [True] * 3}, scores=scores)
    once = summary(tmp_path / "0", {"a": [True]}, scores=lambda case, number: {"x": Score(0.5)})

    flag, x = three.scores
    assert (flag.name, flag.mean, flag.interval) == ("flag", 0.5, clopper_pearson(3, 6))
    assert (x.name, x.interval) == ("x", bootstrap_mean([1.05, 2.05, 4.05]))
    assert uneven.scores[0].interval == bootstrap_mean([0.5, 0.0])
    assert str(uneven.scores[0]).startswith("flag 25 %, from")
    assert {score.name: score.interval for score in single.scores}["x"] == bootstrap_mean([1.0, 1.1, 1.2])
    assert str(once.scores[0]) == "x 0.5"
    assert once.attempts == {}


def test_a_case_counts_in_a_mean_with_its_weight(tmp_path: Path) -> None:
    def heavy(case: str, number: int) -> float:
        return 3.0 if case == "a" else 1.0

    found = summary(tmp_path, {"a": [True] * 2, "b": [False] * 2}, weight=heavy)

    assert (found.scores[0].mean, found.scores[0].interval) == (0.75, bootstrap_mean([1.0, 0.0], weights=[3.0, 1.0]))


def test_means_of_equal_values_have_no_interval_because_it_would_have_no_width(tmp_path: Path) -> None:
    def heavy(case: str, number: int) -> float:
        return 3.0 if case == "a" else 1.0

    found = summary(tmp_path, {"a": [True] * 2, "b": [True] * 2}, weight=heavy)

    assert (found.scores[0].mean, found.scores[0].interval) == (1.0, None)
    assert str(found.scores[0]) == "exact 100 %"


def test_a_summary_as_json(tmp_path: Path) -> None:
    found = summary(tmp_path, {"a": [True, False], "b": [True, True]}, trace=lambda case, number: f"{case}{number}", cost=None)

    told = json.loads(json.dumps(found.to_json()))

    assert told["interval"] == {
        "low": pytest.approx(0.1941, abs=1e-4),
        "high": pytest.approx(0.9937, abs=1e-4),
        "confidence": 0.95,
    }
    assert told["cases"] == [
        {"id": "a", "outcome": "undecided", "passed": 1, "total": 2, "why": "exact: expected 'Paris', got 'Lyon'", "trace": "a1"},
        {"id": "b", "outcome": "undecided", "passed": 2, "total": 2, "why": "", "trace": None},
    ]
    assert told["attempts"] == {"1": {"pass@k": 0.75, "pass^k": 0.75}, "2": {"pass@k": 1.0, "pass^k": 0.5}}
    assert (told["outcome"], told["passed"], told["total"], told["planned"], told["cost"]) == ("undecided", 3, 4, 4, None)
    assert told["scores"]["exact"]["mean"] == 0.75
    assert (told["spent"], told["stopped_early"]) == ({"seconds": 0.25}, 0)
