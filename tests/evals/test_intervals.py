"""The statistics against scipy, published tables, exact enumeration and seeded simulation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from llmtest.evals import intervals
from llmtest.evals.intervals import (
    Interval,
    bootstrap_mean,
    clopper_pearson,
    confidence_sequence,
    mcnemar,
    paired_bootstrap,
    pass_at_k,
    pass_hat_k,
    sign_flip,
    wilson,
)

Method = Callable[..., Interval]
COUNTS = [(passed, total) for total in (1, 2, 7, 20, 100, 1000) for passed in {0, 1, total // 3, total // 2, total - 1, total}]
CONFIDENCES = (0.8, 0.95, 0.999)


@cache
def ends(method: Method, passed: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    interval = method(passed, total, confidence=confidence)
    return interval.low, interval.high


# -- pass rates


@pytest.mark.parametrize(("method", "name"), [(clopper_pearson, "exact"), (wilson, "wilson")])
def test_intervals_of_a_pass_rate_are_those_of_scipy(method: Method, name: Any) -> None:
    for (passed, total), confidence in product(COUNTS, CONFIDENCES):
        expected = stats.binomtest(passed, total).proportion_ci(confidence, method=name)

        assert ends(method, passed, total, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("passed", "total", "exact", "score"),
    [
        (81, 263, (0.2527, 0.3676), (0.2553, 0.3662)),
        (15, 148, (0.0578, 0.1617), (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1684), (0.0000, 0.1611)),
        (1, 29, (0.0009, 0.1776), (0.0061, 0.1718)),
    ],
)
def test_intervals_of_a_pass_rate_are_those_of_table_1_of_newcombe_1998(
    passed: int, total: int, exact: tuple[float, float], score: tuple[float, float]
) -> None:
    assert ends(clopper_pearson, passed, total) == pytest.approx(exact, abs=5e-5)
    assert ends(wilson, passed, total) == pytest.approx(score, abs=5e-5)


@pytest.mark.parametrize("method", [clopper_pearson, wilson, confidence_sequence])
def test_no_runs_show_nothing_and_no_interval_leaves_0_to_1(method: Method) -> None:
    assert method(0, 0) == Interval(0.0, 1.0, 0.95)
    for passed, total in COUNTS:
        low, high = ends(method, passed, total)
        assert 0 <= low <= passed / total <= high <= 1
        assert (low == 0, high == 1) == (passed == 0, passed == total)
        assert ends(method, total - passed, total) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def coverage(method: Method, total: int, rate: float) -> float:
    """The probability that the interval of `total` runs holds the true rate, by enumeration of all outcomes."""
    chances = stats.binom.pmf(range(total + 1), total, rate)
    return math.fsum(chance for passed, chance in enumerate(chances) if (e := ends(method, passed, total))[0] <= rate <= e[1])


def test_the_exact_interval_holds_every_rate_with_its_confidence_and_wilson_on_average() -> None:
    rates = [number / 100 for number in range(1, 100)]
    for total in (1, 5, 10, 30, 60):
        exact = [coverage(clopper_pearson, total, rate) for rate in rates]
        score = [coverage(wilson, total, rate) for rate in rates]

        assert min(exact) >= 0.95
        assert fmean(score) == pytest.approx(0.95, abs=0.03)
        assert min(score) < 0.95


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.97])
def test_simulated_exact_intervals_hold_the_rate(rate: float) -> None:
    source = random.Random(rate)

    held = 0
    for _ in range(10_000):
        low, high = ends(clopper_pearson, sum(source.random() < rate for _ in range(20)), 20)
        held += low <= rate <= high

    assert held / 10_000 >= 0.945


# -- the confidence sequence


def test_the_ends_of_the_sequence_are_where_the_evidence_reaches_its_limit() -> None:
    for (passed, total), confidence in product(COUNTS, CONFIDENCES):
        low, high = ends(confidence_sequence, passed, total, confidence)
        for end in {low, high} - {0.0, 1.0}:
            mixture = special.betaln(passed + 0.5, total - passed + 0.5) - special.betaln(0.5, 0.5)
            likelihood = special.xlogy(passed, end) + special.xlog1py(total - passed, -end)
            assert mixture - likelihood == pytest.approx(-math.log(1 - confidence), abs=1e-7)


def missed(method: Method, rate: float, experiments: int, runs: int) -> float:
    """The part of seeded experiments in which an interval misses the true rate after any of its runs."""
    source, found = random.Random(rate), 0
    for _ in range(experiments):
        passed = 0
        for total in range(1, runs + 1):
            passed += source.random() < rate
            low, high = ends(method, passed, total)
            if not low <= rate <= high:
                found += 1
                break
    return found / experiments


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_the_sequence_holds_the_rate_after_every_run_and_an_interval_for_one_look_does_not(rate: float) -> None:
    assert missed(confidence_sequence, rate, 500, 100) <= 0.05
    assert missed(wilson, rate, 500, 100) > 0.15


@pytest.mark.soak
@pytest.mark.parametrize("rate", [0.02, 0.5, 0.8, 0.9, 0.99])
def test_the_sequence_holds_the_rate_in_10_000_long_experiments(rate: float) -> None:
    assert missed(confidence_sequence, rate, 10_000, 500) <= 0.055


# -- pairs


def test_mcnemar_is_the_binomial_test_of_scipy() -> None:
    for better, worse in product(range(12), repeat=2):
        expected = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
        assert mcnemar(better, worse) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize(("pairs", "most"), [(6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (17, 4), (20, 5), (25, 7)])
def test_mcnemar_has_the_critical_values_of_the_sign_test(pairs: int, most: int) -> None:
    # The two-sided 5 % column of the tables in textbooks on nonparametric statistics.
    assert mcnemar(pairs - most, most) <= 0.05 < mcnemar(pairs - most - 1, most + 1)


def test_five_cases_can_show_no_difference_and_six_only_6_to_0() -> None:
    assert [mcnemar(5, 0), mcnemar(6, 0), mcnemar(6, 1)] == pytest.approx([0.0625, 0.03125, 0.125])


def test_sign_flips_of_passes_are_mcnemar_and_those_of_scores_are_the_permutation_test_of_scipy() -> None:
    source = random.Random(1)
    scores = [round(source.random(), 2) for _ in range(9)], [round(source.random() + 0.2, 2) for _ in range(9)]
    expected = stats.permutation_test(scores, lambda a, b: fmean(b) - fmean(a), permutation_type="samples", n_resamples=10_000)

    assert sign_flip([0, 0, 0, 0, 0, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1, 0, 0, 1]) == pytest.approx(mcnemar(6, 1))
    assert sign_flip(*scores) == pytest.approx(expected.pvalue, abs=1e-12)
    assert sign_flip([0.5, 0.5], [0.5, 0.5]) == 1.0


def test_sign_flips_of_many_scores_are_a_seeded_sample() -> None:
    source = random.Random(2)
    before = [source.random() for _ in range(60)]
    after = [min(1.0, score + source.gauss(0.05, 0.2)) for score in before]
    exact = stats.ttest_rel(before, after).pvalue  # for 60 scores nearly the same

    assert sign_flip(before, after) == sign_flip(before, after)
    assert sign_flip(before, after, seed=1) == pytest.approx(exact, abs=0.02)


# -- several attempts


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.93])
def test_pass_at_k_and_pass_hat_k_are_unbiased(rate: float) -> None:
    for total, k in ((1, 1), (5, 2), (10, 3), (10, 10)):
        chances = [float(chance) for chance in stats.binom.pmf(range(total + 1), total, rate)]
        at, hat = (math.fsum(c * of(n, total, k) for n, c in enumerate(chances)) for of in (pass_at_k, pass_hat_k))

        assert (at, hat) == pytest.approx((1 - (1 - rate) ** k, rate**k), abs=1e-12)


def test_pass_at_k_of_many_runs_needs_no_large_floats() -> None:
    assert (pass_at_k(1, 5_000, 2_500), pass_hat_k(4_999, 5_000, 2_500)) == (0.5, 0.5)
    assert (pass_at_k(0, 3, 2), pass_at_k(2, 3, 2), pass_hat_k(1, 3, 2)) == (0.0, 1.0, 0.0)


# -- means


@pytest.mark.parametrize("size", [5, 40])
def test_a_bootstrap_is_the_percentile_interval_of_scipy_moved_outwards(size: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 20_000)
    source = random.Random(3)
    scores = [source.random() ** 2 for _ in range(size)]
    t = stats.t.ppf(0.975, size - 1) * math.sqrt(size / (size - 1))
    wider = 2 * stats.norm.cdf(t) - 1
    expected = stats.bootstrap(
        (scores,), np.mean, method="percentile", confidence_level=wider, n_resamples=20_000, rng=1
    ).confidence_interval

    interval = bootstrap_mean(scores)

    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.006)


def test_equal_seeds_give_equal_intervals() -> None:
    scores = [0.1, 0.2, 0.3, 0.5, 0.9, 0.95]

    assert bootstrap_mean(scores) == bootstrap_mean(scores) != bootstrap_mean(scores, seed=1)


def test_weights_count_as_copies_do() -> None:
    scores = [0.1, 0.4, 0.9, 0.7, 0.2, 0.6]

    assert bootstrap_mean(scores, weights=[2.0] * 6) == bootstrap_mean(scores)
    heavy = bootstrap_mean([0.0, 1.0] * 20, weights=[1, 3] * 20)
    assert 0.75 in heavy
    assert 0.5 not in heavy


def test_pairs_know_that_a_hard_case_is_hard_twice() -> None:
    source = random.Random(4)
    before = [source.random() for _ in range(30)]
    after = [score + 0.05 + source.gauss(0, 0.02) for score in before]

    paired, alone = paired_bootstrap(before, after), bootstrap_mean(after)

    assert 0.05 in paired
    assert (paired.high - paired.low) * 5 < alone.high - alone.low
    assert paired == bootstrap_mean([new - old for old, new in zip(before, after, strict=True)])


@pytest.mark.parametrize("draw", [random.Random.random, lambda source: source.gauss(0.5, 1)], ids=["uniform", "normal"])
def test_a_bootstrap_of_few_scores_holds_the_mean(draw: Callable[[random.Random], float], monkeypatch: Any) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    source = random.Random(5)

    held = sum(0.5 in bootstrap_mean([draw(source) for _ in range(15)], seed=n) for n in range(300))

    assert held / 300 >= 0.92


def called_different(size: int, power: int, experiments: int) -> float:
    """The part of seeded experiments in which sign flips tell two equal programs apart."""
    source, found = random.Random(size), 0
    for seed in range(experiments):
        found += sign_flip([0.0] * size, [source.gauss(0, 1) ** power for _ in range(size)], seed=seed) <= 0.05
    return found / experiments


@pytest.mark.parametrize(("size", "power"), [(6, 1), (15, 3)])
def test_equal_programs_are_not_told_apart_more_often_than_agreed(size: int, power: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)

    assert called_different(size, power, 400) <= 0.06


@pytest.mark.soak
@pytest.mark.parametrize(("size", "power"), [(6, 3), (15, 3), (40, 3)])
def test_equal_programs_are_not_told_apart_in_10_000_experiments(size: int, power: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)

    assert called_different(size, power, 10_000) <= 0.055


# -- the beta distribution


def test_the_incomplete_beta_function_is_that_of_scipy() -> None:
    for a, b, x in product((0.5, 1, 3, 50, 5000), (0.5, 1, 3, 50, 5000), (0, 1e-6, 0.01, 0.3, 0.5, 0.77, 0.999, 1)):
        assert intervals.incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), abs=1e-11)


def test_the_probability_of_passes_is_that_of_scipy() -> None:
    for passed in range(-1, 13):
        expected = stats.binom.sf(passed - 1, 11, 0.8)
        assert intervals.at_least_probability(passed, 11, 0.8) == pytest.approx(expected, abs=1e-13)


# -- what makes no sense


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda: clopper_pearson(3, 2), "of 2 runs, from 0 to 2 can pass; got 3"),
        (lambda: wilson(-1, 2), "of 2 runs, from 0 to 2 can pass; got -1"),
        (lambda: confidence_sequence(1, 2, confidence=95), "confidence= lies between 0 and 1, such as 0.95; got 95"),
        (lambda: mcnemar(-1, 2), "numbers of cases are 0 or more; got -1 and 2"),
        (lambda: mcnemar(1, -2), "numbers of cases are 0 or more; got 1 and -2"),
        (lambda: pass_at_k(1, 2, 3), "k lies from 1 to the number of runs, 2; got 3"),
        (lambda: pass_hat_k(1, 2, 0), "k lies from 1 to the number of runs, 2; got 0"),
        (lambda: bootstrap_mean([1.0]), "an interval of a mean takes 2 or more scores; got 1"),
        (lambda: bootstrap_mean([1, 2], confidence=1), "confidence= lies between 0 and 1, such as 0.95; got 1"),
        (lambda: bootstrap_mean([1, 2], weights=[1]), "weights= has one positive number for each of the 2 scores; got [1]"),
        (lambda: bootstrap_mean([1, 2], weights=[1, 0]), "weights= has one positive number for each of the 2 scores; got [1, 0]"),
        (lambda: paired_bootstrap([1, 2], [1]), "pairs take as many scores before as after; got 2 and 1"),
    ],
)
def test_bad_numbers_are_errors(ask: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        ask()

    assert str(caught.value) == text
