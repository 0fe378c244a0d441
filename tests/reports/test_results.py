"""Results: their groups, their figures, and their file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmtest.errors import ReportError
from llmtest.reports.results import Result, Results, joined, read
from tests.reports.conftest import MIXED, TOKENS, failed, failure


def test_failures_with_one_cause_are_one_group_and_the_largest_comes_first() -> None:
    first = failed("test_0", failure("another cause"))

    groups = Results((first, *MIXED.tests)).by_cause()

    assert [(group.title, group.tests) for group in groups] == [
        ("2 tests: snapshot differs", ["tests/test_it.py::test_a", "tests/test_it.py::test_c"]),
        ("another cause", ["tests/test_it.py::test_0"]),
        ("1 of 2 steps was never used", ["tests/test_it.py::test_d"]),
    ]


def test_a_test_with_two_failures_of_one_cause_is_one_test() -> None:
    (group,) = Results((failed("test_a", failure(), failure(when="teardown")),)).by_cause()

    assert (group.title, group.tests) == ("snapshot differs", ["tests/test_it.py::test_a"])


def test_the_headline_counts_each_status() -> None:
    assert MIXED.headline == "2 failed, 1 error, 1 passed, 1 skipped"
    assert Results(()).headline == "no tests"


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ((), ""),
        ((None,), "1,500 tokens (1,000 in, 500 out) in 3 model calls of 1 test"),
        ((0.5, 0.25), "3,000 tokens (2,000 in, 1,000 out) in 6 model calls of 2 tests; $0.7500"),
        (
            (0.5, None),
            "3,000 tokens (2,000 in, 1,000 out) in 6 model calls of 2 tests; $0.5000 and what 1 test of unknown cost spent",
        ),
    ],
    ids=["no calls", "no prices", "prices", "some prices"],
)
def test_what_was_spent_says_what_is_not_known(costs: tuple[float | None, ...], said: str) -> None:
    tests = [Result(f"t{number}", "passed", tokens=TOKENS, cost=cost) for number, cost in enumerate(costs)]

    assert Results((*tests, Result("none", "passed"))).spent == said


def test_only_some_failures_may_be_asked_for() -> None:
    found = MIXED.only(lambda one: one.when == "teardown")

    assert [result.test for result in found.failed] == ["tests/test_it.py::test_d"]
    assert len(found.tests) == len(MIXED.tests)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(MIXED.to_json(), "utf-8")

    assert read(tmp_path / "results.json") == MIXED


def test_lone_surrogates_are_read_as_they_were_written(tmp_path: Path) -> None:
    odd = Results((failed("test_\ud800", failure("cause \\\ud800", details="\udfff\n")),))
    (tmp_path / "results.json").write_text(odd.to_json(), "utf-8")

    assert read(tmp_path / "results.json") == odd


def test_the_job_of_a_file_is_that_of_its_results() -> None:
    found = Results.from_json(MIXED.to_json(), "results.json", "py312")

    assert {result.job for result in found.tests} == {"py312"}


def test_results_are_joined_in_order() -> None:
    assert joined([MIXED, Results((failed("test_z"),))]).tests == (*MIXED.tests, failed("test_z"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "results.json is no file of results: JSONDecodeError: Expecting property name"),
        ("[]", "results.json: it has no results"),
        ("{}", "results.json: it has no results"),
        ('{"llmtest_results": 2}', "results.json: it has the format 2, and this llmtest reads 1"),
        ('{"llmtest_results": 1}', "results.json is no file of results: KeyError: 'tests'"),
        (
            '{"llmtest_results": 1, "tests": [{"status": "fine"}]}',
            "results.json is no file of results: ValueError: 'fine' is no status",
        ),
        (
            '{"llmtest_results": 1, "tests": [{"test": "t", "status": "passed", "seconds": "a"}]}',
            "results.json is no file of results: ValueError: could not convert string to float: 'a'",
        ),
    ],
    ids=["no JSON", "a list", "an object", "a later format", "no tests", "a status", "a number"],
)
def test_what_is_no_file_of_results_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(ReportError) as caught:
        Results.from_json(text, "results.json")

    assert str(caught.value).startswith(problem)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")

    for name in ("none", "binary"):
        with pytest.raises(ReportError, match=rf"{name} cannot be read: "):
            read(tmp_path / name)


def test_values_of_a_foreign_file_have_their_types() -> None:
    told = json.loads(MIXED.to_json())
    told["tests"][0]["failures"][0]["cause"] = ["<script>"]
    told["tests"][0]["failures"][0]["line"] = "12"

    found = Results.from_json(json.dumps(told), "results.json").tests[0].failures[0]

    assert (found.cause, found.line) == ("['<script>']", 12)
