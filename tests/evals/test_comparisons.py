"""Comparisons with a baseline: what is found, what is not, and how often by chance."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from llmtest.errors import BaselineError
from llmtest.evals import intervals
from llmtest.evals.baselines import Baseline, CaseResult
from llmtest.evals.comparisons import KINDS, compare, comparison_power, fewest_changes, plan_comparison
from llmtest.evals.intervals import mcnemar
from llmtest.events.words import FrozenDict


def results(*passed: int, total: int = 1, spent: dict[str, list[float]] | None = None, **values: list[float]) -> Baseline:
    """The results of cases called 0, 1, ... with these numbers of passes, these values of scorers, and what a run spent."""

    def of(lists: dict[str, list[float]], n: int) -> FrozenDict:
        return FrozenDict({name: numbers[n] for name, numbers in lists.items() if n < len(numbers)})

    cases = [CaseResult(str(n), f"h{n}", number, total, of(values, n), of(spent or {}, n)) for n, number in enumerate(passed)]
    return Baseline("demo", "h", tuple(cases))


# -- comparing


def test_passes_are_compared_by_mcnemar_and_the_flipped_cases_are_named() -> None:
    before, after = results(*[1] * 9, 0, 0), results(*[0] * 8, 1, 1, 0)

    comparison = compare(before, after)

    assert str(comparison) == (
        "passes: worse: 18.18 %, 81.82 % before; 8 cases worse and 1 better (McNemar, p = 0.039)\n"
        "  now failing  `0`, `1`, `2`, `3`, `4`, `5`, `6`, `7`\n"
        "  now passing  `9`"
    )
    assert (comparison.outcome, comparison.passes.p) == ("worse", mcnemar(1, 8))
    assert compare(after, before).outcome == "better"
    assert [change.id for change in compare(after, before).now_failing] == ["9"]


def test_pass_rates_of_several_runs_have_an_interval_and_the_largest_change_comes_first() -> None:
    before = results(*[10] * 12, total=10)
    after = results(*[8] * 10, 4, 0, total=10)

    assert str(compare(before, after)) == (
        "passes: worse: 70 %, 100 % before; 12 cases worse and 0 better;"
        " the mean difference is from -50 % to -20 % (sign flips, p = 0.00049)\n"
        "  now failing  `11` (10 of 10 -> 0 of 10), `10` (10 of 10 -> 4 of 10)"
    )


def test_no_evidence_is_said_and_what_it_would_take() -> None:
    assert str(compare(results(1, 1, 1, 1, 1), results(0, 0, 0, 0, 0))) == (
        "passes: no evidence: 0 %, 100 % before; 5 cases worse and 0 better (McNemar, p = 0.063)\n"
        "  now failing  `0`, `1`, `2`, `3`, `4`\n"
        "  5 cases cannot show a difference: even 5:0 is chance with p = 0.063 (95 % confidence); 6 cases can"
    )
    assert compare(results(1, 1, 1, 1, 1), results(0, 0, 0, 0, 0), confidence=0.9).outcome == "worse"
    assert compare(results(3, total=4), results(4, total=4)).passes.interval is None


def test_scores_are_compared_by_name_and_those_of_one_side_are_told() -> None:
    low, high = [0.1 * n for n in range(8)], [0.1 * n + 0.2 for n in range(8)]
    before = results(*[1] * 8, same=low, other=low, gone=low)
    after = results(*[1] * 8, same=low, other=high, new=low)

    comparison = compare(before, after)

    assert str(comparison) == (
        "passes: no evidence: 100 %, 100 % before; 0 cases worse and 0 better (McNemar, p = 1)\n"
        "other: better: 0.55, 0.35 before; 0 cases worse and 8 better;"
        " the mean difference is from +0.2 to +0.2 (sign flips, p = 0.0078)\n"
        "same: no evidence: 0.35, 0.35 before; 0 cases worse and 0 better;"
        " the mean difference is from +0 to +0 (sign flips, p = 1)\n"
        "not compared, because one side lacks them: `gone`, `new`"
    )
    assert (comparison.outcome, comparison.scores["other"].outcome) == ("no evidence", "better")


def test_less_is_better_of_what_a_run_spends() -> None:
    few, many = [1_000.0 + n for n in range(8)], [1_200.0 + 2 * n for n in range(8)]
    cents = [0.001 * n for n in range(8)]
    before = results(*[1] * 8, spent={"tokens": few, "cost": cents, "seconds": cents})
    after = results(*[1] * 8, spent={"tokens": many, "cost": cents[:3], "seconds": cents})

    comparison = compare(before, after)

    assert str(comparison) == (
        "passes: no evidence: 100 %, 100 % before; 0 cases worse and 0 better (McNemar, p = 1)\n"
        "seconds: no evidence: 0.0035, 0.0035 before; 0 cases worse and 0 better;"
        " the mean difference is from +0 to +0 (sign flips, p = 1)\n"
        "tokens: worse: 1,207, 1,004 before; 8 cases worse and 0 better;"
        " the mean difference is from +201.4 to +205.5 (sign flips, p = 0.0078)\n"
        "not compared, because one side lacks them: `cost`"
    )
    assert comparison.outcome == "no evidence"
    assert compare(after, before).spending["tokens"].outcome == "better"
    assert comparison.regressions() == []
    assert comparison.regressions(["tokens", "passes", "seconds"]) == [comparison.spending["tokens"]]


def test_regressions_are_of_the_kinds_that_are_asked_for() -> None:
    low, high = [0.1 * n for n in range(8)], [0.1 * n + 0.2 for n in range(8)]
    comparison = compare(results(*[1] * 8, x=high), results(*[0] * 8, x=low))

    assert comparison.regressions() == [comparison.passes]
    assert comparison.regressions(KINDS) == [comparison.passes, comparison.scores["x"]]
    assert comparison.regressions(["scores"]) == [comparison.scores["x"]]


def test_many_flipped_cases_are_counted() -> None:
    text = str(compare(results(*[1] * 30), results(*[0] * 30)))

    assert text.splitlines()[1] == "  now failing  `0`, `1`, `10`, `11`, `12`, `13`, `14`, `15` and 22 more"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda old: [*old[:1], CaseResult("1", "changed", 1, 1), *old[2:]], "  changed `1`"),
        (lambda old: [*old, CaseResult("new", "h", 1, 1)], "  new     `new`"),
        (lambda old: old[:1], "  gone    `1`, `2`, `3`, `4`, `5`, `6`, `7`, `8` and 3 more"),
    ],
)
def test_a_baseline_of_other_cases_is_an_error_that_says_which(change: Any, error: str) -> None:
    before = results(*[1] * 12)

    with pytest.raises(BaselineError) as caught:
        compare(before, Baseline("demo", "x", tuple(change(list(before.cases)))))

    assert str(caught.value) == f"the baseline is of other cases than these results\n{error}\n  write a new baseline"


def test_a_baseline_of_another_dataset_is_an_error() -> None:
    with pytest.raises(BaselineError) as caught:
        compare(Baseline("letters", "0", (CaseResult("a", "1", 1, 1),)), results(1))

    assert str(caught.value) == "the baseline is of another dataset: letters with the hash 0 has no case of demo with the hash h"


@pytest.mark.parametrize("live", [True, False])
def test_answers_of_real_models_are_not_compared_with_those_of_scripts(live: bool) -> None:
    before, after = replace(results(1), live=live), replace(results(1), live=not live)

    with pytest.raises(BaselineError) as caught:
        compare(before, after)

    scripts = "scripts or cassettes"
    was, now = ("real models", scripts) if live else (scripts, "real models")
    assert str(caught.value) == f"the baseline is of answers of {was}, and these results are of answers of {now}"
    assert compare(before, results(1)).outcome == compare(before, before).outcome == "no evidence"


# -- how often


def outcomes(rates: tuple[float, float], cases: int, experiments: int, total: int = 1) -> dict[str, float]:
    """The part of each outcome when programs with these pass rates are compared."""
    source = random.Random(cases)

    def made(rate: float) -> Baseline:
        return results(*(sum(source.random() < rate for _ in range(total)) for _ in range(cases)), total=total)

    found = [compare(made(rates[0]), made(rates[1])).outcome for _ in range(experiments)]
    return {outcome: found.count(outcome) / experiments for outcome in ("better", "worse", "no evidence")}


def power(old: float, new: float, cases: int, confidence: float = 0.95) -> float:
    """The probability that McNemar's test finds the new program worse, by enumeration of the numbers of flipped cases."""
    worse, better = old * (1 - new), (1 - old) * new
    flips = stats.binom.pmf(range(cases + 1), cases, worse + better)
    return math.fsum(
        chance * part
        for number, chance in enumerate(flips)
        for fell, part in enumerate(stats.binom.pmf(range(number + 1), number, worse / (worse + better)))
        if fell * 2 > number and mcnemar(number - fell, fell) <= 1 - confidence + 1e-9
    )


@pytest.mark.parametrize(
    ("cases", "rates"),
    [(1, (0.9, 0.1)), (6, (1.0, 0.0)), (50, (0.95, 0.85)), (200, (0.95, 0.85)), (120, (0.4, 0.55)), (80, (0.7, 0.7))],
)
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_the_power_is_that_of_an_enumeration(cases: int, rates: tuple[float, float], confidence: float) -> None:
    old, new = rates
    wanted = power(max(rates), min(rates), cases, confidence)

    assert comparison_power(cases, before=old, after=new, confidence=confidence) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_program_that_never_changes_is_never_found_to_have_changed(rate: float) -> None:
    assert comparison_power(100, before=rate, after=rate) == 0


@pytest.mark.parametrize("given", [(0, 0.5, 0.5), (5, -0.1, 0.5), (5, 0.5, 1.1)])
def test_a_power_of_nothing_is_an_error(given: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match=r"a comparison is of 1 case or more, and of pass rates from 0 to 1; got "):
        comparison_power(given[0], before=given[1], after=given[2])


def test_a_planted_regression_of_10_points_is_found_with_the_stated_power() -> None:
    found = outcomes((0.95, 0.85), 200, 150)

    stated = comparison_power(200, before=0.95, after=0.85)
    assert stated == pytest.approx(0.90, abs=0.01)
    assert found["worse"] == pytest.approx(stated, abs=0.06)
    assert found["better"] == 0


def test_equal_spending_is_not_called_different_more_often_than_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    source = random.Random(1)

    def spent(factor: float) -> Baseline:
        """Cases of which some always cost much, with a long tail as durations have."""
        return results(*[1] * 30, spent={"cost": [factor * (n + 1) * source.lognormvariate(0, 0.5) for n in range(30)]})

    equal = [compare(spent(1), spent(1)).spending["cost"].outcome for _ in range(400)]
    dearer = [compare(spent(1), spent(1.5)).spending["cost"].outcome for _ in range(60)]

    assert equal.count("no evidence") >= 0.95 * 400 - 3 * math.sqrt(400 * 0.05 * 0.95)
    assert dearer.count("worse") >= 30
    assert "better" not in dearer


def test_equal_programs_are_not_called_different_more_often_than_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)

    assert outcomes((0.9, 0.9), 60, 300)["no evidence"] >= 0.95
    assert outcomes((0.8, 0.8), 15, 150, total=5)["no evidence"] >= 0.95


@pytest.mark.soak
@pytest.mark.parametrize(("rate", "cases", "total"), [(0.9, 200, 1), (0.5, 100, 1), (0.8, 20, 10)])
def test_equal_programs_in_10_000_comparisons(rate: float, cases: int, total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)

    assert outcomes((rate, rate), cases, 10_000, total)["no evidence"] >= 0.945


# -- before a token is spent


def test_a_plan_says_what_a_comparison_can_show() -> None:
    assert [fewest_changes(confidence) for confidence in (0.8, 0.9, 0.95, 0.99)] == [4, 5, 6, 8]
    assert [plan_comparison(cases) for cases in (1, 6, 50)] == [
        "1 case cannot show a difference: even 1:0 is chance with p = 1 (95 % confidence); 6 cases can",
        "6 cases can only show 6:0: all must change the same way (95 % confidence)",
        "50 cases can show a difference: 6 that change the same way are enough, if none changes the other way (95 % confidence)",
    ]
    assert plan_comparison(5, confidence=0.9) == "5 cases can only show 5:0: all must change the same way (90 % confidence)"


def test_a_confidence_that_makes_no_sense_is_an_error() -> None:
    with pytest.raises(ValueError, match="confidence= lies between 0 and 1"):
        compare(results(1), results(1), confidence=95)
