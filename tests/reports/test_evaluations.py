"""Results of evaluations as Markdown."""

from __future__ import annotations

from pathlib import Path

from llmtest.evals.results import Results, RunError
from llmtest.evals.summaries import Summary
from llmtest.reports.evaluations import MAX_CASES, evaluations
from tests.support.evaluated import write_set


def test_a_row_for_each_set_and_the_cases_that_failed(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": [True] * 40}, test="test_x.py::test_good[a|b]", scores={})
    write_set(tmp_path, {"x`y": [True, False, True], "z": [True] * 3}, test="test_x.py::test_bad", worker="b", trace="t #1")

    good, bad = sorted(map(Summary, Results.load(tmp_path)), key=lambda summary: -summary.results.passed)

    assert evaluations([good, bad]) == (
        "### Evaluations\n\n"
        "| set | verdict | passed | pass rate | required |\n"
        "|---|---|---:|---|---:|\n"
        "| `test_x.py::test_good[a\\|b]` | **pass** | 40 of 40 | 91.1 % to 100 % | 90 % |\n"
        "| `test_x.py::test_bad` | **undecided** | 5 of 6 | 35.8 % to 99.6 % | 90 % |\n"
        "\n#### `test_x.py::test_good[a|b]`\n\n"
        "- pass@1 100 %, pass^1 100 %\n- pass@2 100 %, pass^2 100 %\n- pass@3 100 %, pass^3 100 %\n- pass@5 100 %, pass^5 100 %\n"
        "- pass@10 100 %, pass^10 100 %\n- pass@20 100 %, pass^20 100 %\n"
        "\n#### `test_x.py::test_bad`\n\n"
        "- `exact 83.33 %, from 35.8 % to 99.6 % (95 % confidence)`\n"
        "- pass@1 83.33 %, pass^1 83.33 %\n- pass@2 100 %, pass^2 66.67 %\n- pass@3 100 %, pass^3 50 %\n"
        "- undecided, 2 of 3: ``x`y``: `exact: expected 'Paris', got 'Lyon'` (`llmtest show 't #1'`)\n"
    )


def test_attempts_are_biased_where_cases_stopped_early(tmp_path: Path) -> None:
    folder = write_set(tmp_path, {"a": [True] * 2, "b": [False] * 3}, scores={})

    assert "- pass@1 50 %, pass^1 50 % (biased: 1 case stopped early)\n" in evaluations([*map(Summary, Results.load(folder))])


def test_a_set_with_nothing_to_tell_is_a_row(tmp_path: Path) -> None:
    found = [Summary(one) for one in Results.load(write_set(tmp_path, {"a": [True]}, scores={}))]

    assert evaluations(found).count("\n") == 5


def test_many_cases_are_counted_and_a_text_of_a_program_stays_text(tmp_path: Path) -> None:
    error = RunError("ValueError", "<b>| no\n# city")
    passed = {f"c{n:02}": [False] for n in range(MAX_CASES + 2)}

    page = evaluations([Summary(one) for one in Results.load(write_set(tmp_path, passed, scores={}, error=error))])

    assert page.endswith("- ... and 2 more cases\n")
    assert "- undecided, 0 of 1: `c00`: `ValueError: <b>| no # city`\n" in page
