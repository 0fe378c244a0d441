"""Comparisons of several sets, and the tree diffs of the cases that flipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmtest import record, scripted_tool
from llmtest.errors import BaselineError
from llmtest.evals.baselines import Baseline, CaseResult
from llmtest.evals.comparisons import CaseChange
from llmtest.evals.regressions import MAX_DIFFS, check_kinds, compare_all, tree_diff
from llmtest.tracing.store import Store


def results(*passed: int, test: str = "test_x.py::test_it", traces: str = "") -> Baseline:
    cases = [CaseResult(str(n), f"h{n}", one, 1, trace=f"{traces}{n}" if traces else None) for n, one in enumerate(passed)]
    return Baseline("demo", "h", tuple(cases), test)


def keep(store: Path, name: str, city: str) -> None:
    with record() as recording:
        scripted_tool("weather", "18 °C", args={"city": str}).invoke({"city": city})
    with Store(store) as opened:
        opened.keep(name, [recording])


def diff_of(before: str | None, after: str | None, store: Path) -> list[str]:
    change = CaseChange(CaseResult("oslo", "h", 1, 1, trace=before), CaseResult("oslo", "h", 0, 1, trace=after))
    return list(tree_diff(change, store))


def test_a_flipped_case_has_the_tree_diff_of_its_recordings(tmp_path: Path) -> None:
    store = tmp_path / "traces.sqlite"
    keep(store, "old #1", "Oslo")
    keep(store, "new #1", "Lyon")

    assert diff_of("old #1", "new #1", store) == [
        "`oslo`:",
        '  tool argument city "Oslo" → "Lyon" at weather (1 of 2 lines, 1 cause)',
        '    - tool weather(city="Oslo")',
        '    + tool weather(city="Lyon")  ◀ first difference',
        "      … 1 unchanged line",
    ]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ((None, "new"), "no tree diff: the traces of before were not kept"),
        (("old", None), "no tree diff: the traces of now were not kept"),
        ((None, None), "no tree diff: the traces of before and now were not kept"),
        (("new", "new"), "no tree diff: the traces of before and now were not kept"),
        (
            ("old", "gone"),
            "no tree diff: no session and no trace called 'gone' in {store}; `llmtest sessions` lists all sessions",
        ),
        (
            ("old", "alike"),
            "the trees are equal: the difference is in a score, an answer outside of the recording, or the program",
        ),
    ],
)
def test_without_both_recordings_it_says_why(names: tuple[str | None, str | None], why: str, tmp_path: Path) -> None:
    store = tmp_path / "traces.sqlite"
    keep(store, "old", "Oslo")
    keep(store, "alike", "Oslo")

    assert diff_of(*names, store) == ["`oslo`:", f"  {why.format(store=store)}"]


def test_the_diffs_stand_below_a_regression_and_nowhere_else(tmp_path: Path) -> None:
    store = tmp_path / "traces.sqlite"
    for n in range(8):
        keep(store, f"old{n}", "Oslo")
        keep(store, f"new{n}", "Lyon")
    before, after = results(*[1] * 8, traces="old"), results(*[0] * 8, traces="new")

    (worse,), (better,), (none,) = (
        compare_all([one], [other]) for one, other in ((before, after), (after, before), (before, results(*[1] * 7, 0)))
    )

    (few,) = compare_all([results(*[1] * 8, traces="old")], [results(*[0] * 5, 1, 1, 1, traces="new")], confidence=0.9)

    lines = list(worse.lines(store))
    assert lines[:2] == [
        "test_x.py::test_it",
        "  passes: worse: 0 %, 100 % before; 8 cases worse and 0 better (McNemar, p = 0.0078)",
    ]
    assert sum("first difference" in line for line in lines) == MAX_DIFFS
    assert lines[-1] == "  ... and the diffs of 3 more cases"
    assert len(list(worse.lines())) == 3
    assert not any("diff" in line for compared in (better, none) for line in compared.lines(store))
    assert few.comparison.outcome == "worse"
    assert "more case" not in "\n".join(few.lines(store))
    assert worse.regressions() == [lines[1].strip()]
    assert worse.regressions(["tokens"]) == better.regressions() == []
    assert next(iter(compare_all([results(1, test="")], [results(1, test="")])[0].lines())) == "all runs"


# -- several sets


def test_sets_are_paired_by_their_tests_or_one_with_one() -> None:
    old, new = ([results(1, test=test) for test in tests] for tests in (("a", "b"), ("b", "a")))

    assert [compared.test for compared in compare_all(old, new)] == ["b", "a"]
    assert [compared.test for compared in compare_all(old[:1], new[:1])] == ["b"]


def test_a_set_of_one_side_alone_is_an_error() -> None:
    old, new = ([results(1, test=test) for test in tests] for tests in (("test_a", "x"), ("test_b", "x", "yyyyy")))

    with pytest.raises(BaselineError) as caught:
        compare_all(old, new)

    assert str(caught.value) == (
        "the results are of other tests than the baseline\n"
        "  only before  `test_a`; did you mean `test_b`?\n"
        "  only after   `test_b`, `yyyyy`\n"
        "  accept a new baseline"
    )


@pytest.mark.parametrize(
    ("kinds", "error"),
    [
        (["passes", "token"], "--x has the unknown word 'token'; did you mean `tokens`?"),
        (["money"], "--x has the unknown word 'money'; it takes passes, scores, tokens, cost, seconds"),
    ],
)
def test_an_unknown_kind_is_an_error(kinds: list[str], error: str) -> None:
    check_kinds(["passes", "scores", "tokens", "cost", "seconds"], "--x")

    with pytest.raises(BaselineError) as caught:
        check_kinds(kinds, "--x")

    assert str(caught.value) == error
