"""Intervals, tests and estimators for runs that pass or fail, and for scores.

Written in plain Python: importing `scipy.stats` takes seconds, and one function, the incomplete beta function, is all that
exact intervals need. The tests compare every number with scipy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from statistics import NormalDist, fmean
from typing import Final

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 4_096
"""How many resamples a bootstrap draws: the ends of a 95 % interval then vary with the seed by about 1 % of its width."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The values from `low` to `high`, both included: of 100 such intervals, 100 times `confidence` hold the true value.

    >>> interval = Interval(0.75, 0.99, 0.95)
    >>> 0.9 in interval, 0.5 in interval
    (True, False)
    """

    low: float
    high: float
    confidence: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


# -- pass rates


def clopper_pearson(passed: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the exact interval of a pass rate: it is too low or too high with at most half of `1 - confidence` each.

    `passed` of `total` runs have passed. The number of runs must be fixed before the first one: see `confidence_sequence`.
    Source: Clopper and Pearson, Biometrika 26 (1934), 404-413.

    Raises:
        ValueError: `passed` is not from 0 to `total`, or `confidence` is not between 0 and 1.

    >>> interval = clopper_pearson(19, 20)
    >>> f"{interval.low:.4f} to {interval.high:.4f}"
    '0.7513 to 0.9987'
    """
    _check(passed, total, confidence)
    tail = (1 - confidence) / 2
    return Interval(_lower(passed, total, tail), 1 - _lower(total - passed, total, tail), confidence)


def _lower(passed: int, total: int, tail: float) -> float:
    """Return the pass rate with which `passed` or more of `total` runs pass with the probability `tail`."""
    return beta_quantile(tail, passed, total - passed + 1) if passed else 0.0


def wilson(passed: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the score interval of a pass rate: shorter than the exact one, and right on average over all rates only.

    Near 0 and 1 it may miss the true rate more often than `confidence` says.
    Source: Wilson, Journal of the American Statistical Association 22 (1927), 209-212.

    Raises:
        ValueError: `passed` is not from 0 to `total`, or `confidence` is not between 0 and 1.

    >>> interval = wilson(19, 20)
    >>> f"{interval.low:.4f} to {interval.high:.4f}"
    '0.7639 to 0.9911'
    """
    _check(passed, total, confidence)
    if not total:
        return Interval(0.0, 1.0, confidence)
    rate = passed / total
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    shrink = 1 + z * z / total
    center = (rate + z * z / (2 * total)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total)) / shrink
    # At the ends the formula gives 0 and 1 but for rounding.
    low = center - half if passed else 0.0
    high = center + half if passed < total else 1.0
    return Interval(low, high, confidence)


def confidence_sequence(passed: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return an interval of a pass rate that may be looked at after each run: all of them hold the rate, with `confidence`.

    So a program may stop when an interval shows what it wants to know, and may add runs when it does not. Runs must be counted
    in the order in which they were started: what ends first may be what fails first.

    It holds the rates against which the runs are no evidence. The evidence against a rate is the likelihood of the runs under a
    mixture of all rates, with the density of Beta(1/2, 1/2), divided by that under this rate. Under the true rate this is a
    martingale that begins at 1, so by Ville's inequality it ever reaches `1 / (1 - confidence)` with at most `1 - confidence`.
    Sources: Robbins, Annals of Mathematical Statistics 41 (1970), 1397-1409; for this mixture, Krichevsky and Trofimov, IEEE
    Transactions on Information Theory 27 (1981), 199-207.

    Raises:
        ValueError: `passed` is not from 0 to `total`, or `confidence` is not between 0 and 1.

    >>> interval = confidence_sequence(19, 20)
    >>> f"{interval.low:.4f} to {interval.high:.4f}"
    '0.6693 to 0.9998'
    """
    _check(passed, total, confidence)
    limit = -math.log(1 - confidence)

    def is_possible(rate: float) -> bool:
        return log_evidence(passed, total, rate) < limit

    best = passed / total if total else 0.5
    low = 0.0 if not passed else _edge(best, 0.0, is_possible)
    high = 1.0 if passed == total else _edge(best, 1.0, is_possible)
    return Interval(low, high, confidence)


def log_evidence(passed: int, total: int, rate: float) -> float:
    """Return the logarithm of the evidence of runs against a pass rate between 0 and 1; see `confidence_sequence`."""
    failed = total - passed
    mixture = math.lgamma(passed + 0.5) + math.lgamma(failed + 0.5) - math.lgamma(total + 1) - math.log(math.pi)
    return mixture - passed * math.log(rate) - failed * math.log1p(-rate)


def _edge(inside: float, outside: float, holds: Callable[[float], bool]) -> float:
    """Return the last number from `inside` towards `outside` for which `holds` is true, to the precision of floats."""
    while (middle := (inside + outside) / 2) not in (inside, outside):
        if holds(middle):
            inside = middle
        else:
            outside = middle
    return inside


def _check(passed: int, total: int, confidence: float) -> None:
    if not 0 <= passed <= total:
        raise ValueError(f"of {total} runs, from 0 to {total} can pass; got {passed}")
    check_confidence(confidence)


def check_confidence(confidence: float) -> None:
    """Raise a ValueError unless `confidence` lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence= lies between 0 and 1, such as 0.95; got {confidence!r}")


def binomial(total: int, passed: int, rate: float) -> float:
    """Return the probability that exactly `passed` of `total` runs pass, if each passes with the probability `rate`."""
    if not 0 < rate < 1:
        return float(passed == (total if rate else 0))
    ways = math.lgamma(total + 1) - math.lgamma(passed + 1) - math.lgamma(total - passed + 1)
    return math.exp(ways + passed * math.log(rate) + (total - passed) * math.log1p(-rate))


def at_least_probability(passed: int, total: int, rate: float) -> float:
    """Return the probability that `passed` or more of `total` runs pass, if each passes with the probability `rate`."""
    return 1.0 if passed <= 0 else 0.0 if passed > total else incomplete_beta(passed, total - passed + 1, rate)


# -- pairs, and several attempts


def mcnemar(better: int, worse: int) -> float:
    """Return the p-value of McNemar's exact test: how likely so unequal numbers are if neither of two programs is better.

    Of cases that both programs ran once, `better` passed with the second one only, and `worse` with the first one only. Cases
    with equal results say nothing and are not counted. Two-sided.
    Source: McNemar, Psychometrika 12 (1947), 153-157; exact by the binomial distribution.

    Raises:
        ValueError: a number is negative.

    >>> f"{mcnemar(5, 0):.3f}, {mcnemar(6, 0):.3f}, {mcnemar(3, 3):.3f}"
    '0.063, 0.031, 1.000'
    """
    if better < 0 or worse < 0:
        raise ValueError(f"numbers of cases are 0 or more; got {better} and {worse}")
    return min(1.0, 2 * at_least_probability(max(better, worse), better + worse, 0.5))


def pass_at_k(passed: int, total: int, k: int) -> float:
    """Return pass@k: the probability that at least one of `k` attempts passes, estimated without bias from `total` runs.

    Source: Chen et al., "Evaluating Large Language Models Trained on Code" (2021), arXiv:2107.03374, equation 1.

    Raises:
        ValueError: `passed` is not from 0 to `total`, or `k` not from 1 to `total`.

    >>> pass_at_k(3, 10, 1), pass_at_k(3, 10, 3)
    (0.3, 0.7083333333333334)
    """
    _check_k(passed, total, k)
    ways = math.comb(total, k)
    return (ways - math.comb(total - passed, k)) / ways


def pass_hat_k(passed: int, total: int, k: int) -> float:
    """Return pass^k: the probability that all of `k` attempts pass, estimated without bias from `total` runs.

    Source: Yao et al., "tau-bench: A Benchmark for Tool-Agent-User Interaction" (2024), arXiv:2406.12045.

    Raises:
        ValueError: `passed` is not from 0 to `total`, or `k` not from 1 to `total`.

    >>> pass_hat_k(9, 10, 1), pass_hat_k(9, 10, 5)
    (0.9, 0.5)
    """
    _check_k(passed, total, k)
    return math.comb(passed, k) / math.comb(total, k)


def _check_k(passed: int, total: int, k: int) -> None:
    _check(passed, total, CONFIDENCE)
    if not 1 <= k <= total:
        raise ValueError(f"k lies from 1 to the number of runs, {total}; got {k}")


# -- means


def bootstrap_mean(
    values: Sequence[float], *, weights: Sequence[float] | None = None, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Return the interval of the mean of scores, in their unit, by the bootstrap: the means of resamples of the scores.

    `weights` says how much each score counts. Equal arguments give equal intervals: `seed` chooses the resamples. Plain
    percentiles of the means are too narrow for few scores, so they are moved outwards, as far as Student's t lies outside
    of the normal distribution.
    Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69 (2015), 371-386: the
    expanded percentile interval.

    Raises:
        ValueError: there are fewer than 2 scores, `weights` do not fit, or `confidence` is not between 0 and 1.

    >>> interval = bootstrap_mean([0.5, 0.75, 1.0, 1.0, 0.25, 0.8, 0.9, 1.0])
    >>> f"{interval.low:.2f} to {interval.high:.2f}"
    '0.53 to 0.96'

    Scores that are all equal give an interval without width: it knows nothing of scores that did not occur. For passes, ask for
    the interval of a pass rate.
    """
    check_confidence(confidence)
    size = len(values)
    if size < 2:
        raise ValueError(f"an interval of a mean takes 2 or more scores; got {size}")
    if weights is not None and (len(weights) != size or min(weights) <= 0):
        raise ValueError(f"weights= has one positive number for each of the {size} scores; got {list(weights)!r}")
    means = sorted(_resampled_means(values, weights, random.Random(seed)))
    outside = int(_expanded_tail(size, (1 - confidence) / 2) * RESAMPLES)
    return Interval(means[outside], means[-1 - outside], confidence)


def _resampled_means(values: Sequence[float], weights: Sequence[float] | None, source: random.Random) -> Iterator[float]:
    size = len(values)
    if weights is None:
        yield from (math.fsum(source.choices(values, k=size)) / size for _ in range(RESAMPLES))
        return
    pairs = list(zip(values, weights, strict=True))
    yield from (fmean(*zip(*source.choices(pairs, k=size), strict=True)) for _ in range(RESAMPLES))


@lru_cache(maxsize=256)
def _expanded_tail(size: int, tail: float) -> float:
    """Return the part of the means on each side of the interval: that of a normal distribution beyond a bound of Student's t."""
    freedom = size - 1
    x = beta_quantile(2 * tail, freedom / 2, 0.5)
    t = math.sqrt(freedom * (1 / x - 1))
    return NormalDist().cdf(-t * math.sqrt(size / freedom))


def paired_bootstrap(
    before: Sequence[float], after: Sequence[float], *, confidence: float = CONFIDENCE, seed: int = 0
) -> Interval:
    """Return the interval of the mean difference, `after` minus `before`, of scores of the same cases in the same order.

    What makes a case hard is in both of its scores, and does not widen the interval. See `bootstrap_mean` for the method.

    Raises:
        ValueError: the numbers of scores differ, there are fewer than 2, or `confidence` is not between 0 and 1.

    >>> interval = paired_bootstrap([0.2, 0.5, 0.9, 0.4], [0.4, 0.6, 1.0, 0.7])
    >>> interval.low > 0
    True
    """
    return bootstrap_mean(_differences(before, after), confidence=confidence, seed=seed)


def sign_flip(before: Sequence[float], after: Sequence[float], *, seed: int = 0) -> float:
    """Return the p-value of Fisher's test by sign flips: how likely so large a mean difference is if neither program is better.

    The scores are of the same cases in the same order. If neither is better, each difference might as well have the other sign.
    All combinations of signs are tried if they are no more than 4,096, else a sample of them that `seed` chooses. Two-sided, and
    exact for scores of any distribution, where a bootstrap of few scores is too ready to see a difference.
    Source: Fisher, The Design of Experiments (1935), section 21.

    Raises:
        ValueError: the numbers of scores differ.

    >>> sign_flip([0.2, 0.5, 0.9, 0.4], [0.4, 0.6, 1.0, 0.7])
    0.125
    """
    changes = [difference for difference in _differences(before, after) if difference]
    size, total = len(changes), math.fsum(changes)
    limit = abs(total) * (1 - _ROUNDING)
    if 1 << size <= RESAMPLES:
        flips, tried, extreme = iter(range(1 << size)), 1 << size, 0
    else:
        source = random.Random(seed)
        flips, tried, extreme = (source.getrandbits(size) for _ in range(RESAMPLES)), RESAMPLES + 1, 1  # one is what happened
    for flip in flips:
        flipped = math.fsum(compress(changes, map(int, f"{flip:0{size}b}")))
        extreme += abs(total - 2 * flipped) >= limit
    return extreme / tried


_ROUNDING: Final = 1e-9


def _differences(before: Sequence[float], after: Sequence[float]) -> list[float]:
    if len(before) != len(after):
        raise ValueError(f"pairs take as many scores before as after; got {len(before)} and {len(after)}")
    return [new - old for old, new in zip(before, after, strict=True)]


# -- the beta distribution


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function: the probability that a Beta(a, b) variable is at most `x`.

    Source: the continued fraction of DLMF 8.17.22, evaluated by Lentz's algorithm (DLMF 3.10).

    >>> incomplete_beta(1, 1, 0.25)
    0.25
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return min(1.0, math.exp(front) / (a * _beta_fraction(a, b, x)))


def _beta_fraction(a: float, b: float, x: float) -> float:
    value = c = 1.0
    d, step, change = 0.0, 0, 0.0
    while change != 1.0:
        step += 1
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d)
        c = 1 + term / c
        # The last bit may never settle.
        change = c * d if abs(c * d - 1) > _PRECISION else 1.0
        value *= c * d
    return value


_PRECISION: Final = 4e-16


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the number that a Beta(a, b) variable does not exceed with this probability, between 0 and 1."""
    log_scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    low, high, x, step = 0.0, 1.0, a / (a + b), 1.0
    while abs(step) > _PRECISION * x:
        error = incomplete_beta(a, b, x) - probability
        low, high = (low, x) if error > 0 else (x, high)
        density = math.exp(log_scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        # Newton's step, or half of what is left where that leads out of it.
        newton = x - error / density if density else high
        after = newton if low < newton < high else (low + high) / 2
        step, x = after - x, after
    return x
