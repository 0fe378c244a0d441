"""Comparisons: whether later results are better than a baseline, worse, or not told apart from it.

Results are compared case by case: what makes a case hard is in both, so fewer cases show a difference.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Literal

from llmtest.core.text import amount, names, some_names
from llmtest.errors import BaselineError
from llmtest.evals.baselines import SPENT, Baseline, CaseResult
from llmtest.evals.intervals import (
    CONFIDENCE,
    Interval,
    at_least_probability,
    binomial,
    check_confidence,
    mcnemar,
    paired_bootstrap,
    sign_flip,
)
from llmtest.evals.verdicts import percent
from llmtest.events.words import EMPTY

MAX_CASES: Final = 8
"""The most flipped cases that a text shows."""
PASSES: Final = "passes"
KINDS: Final = (PASSES, "scores", *SPENT)
"""What may have become worse."""

Change = Literal["better", "worse", "no evidence"]


@dataclass(frozen=True)
class Difference:
    """How the values of the same cases differ: the means `before` and `after`, and how many cases are `better` and `worse`.

    A higher value is better, except of what is `spent`. `p` is how likely so large a difference is by chance alone, by the test
    that `test` names.
    `interval` is that of the mean difference; None where each value is 0 or 1, or there is one case. `outcome` is `"better"` or
    `"worse"` if `p` is at most `1 - confidence`, and the interval, if there is one, does not hold 0.
    """

    name: str
    outcome: Change
    before: float
    after: float
    better: int
    worse: int
    p: float
    interval: Interval | None
    test: Literal["McNemar", "sign flips"]
    spent: bool = False

    def __str__(self) -> str:
        number = amount_spent if self.spent else percent if self.name == PASSES else "{:.4g}".format
        text = f"{self.name}: {self.outcome}: {number(self.after)}, {number(self.before)} before"
        text += f"; {amount(self.worse, 'case')} worse and {self.better:,} better"
        if self.interval is not None:
            low, high = (f"{'-' if end < 0 else '+'}{number(abs(end))}" for end in (self.interval.low, self.interval.high))
            text += f"; the mean difference is from {low} to {high}"
        return f"{text} ({self.test}, p = {self.p:.2g})"


def amount_spent(number: float) -> str:
    """Return tokens, money or seconds as a text of a few digits."""
    return f"{number:,.0f}" if number >= 1_000 else f"{number:.4g}"


@dataclass(frozen=True)
class CaseChange:
    """A case that most runs passed before and do not pass now, or the other way round."""

    before: CaseResult
    after: CaseResult

    @property
    def id(self) -> str:
        return self.after.id

    def __str__(self) -> str:
        if self.before.total == self.after.total == 1:
            return f"`{self.id}`"
        shown = (f"{result.passed:,} of {result.total:,}" for result in (self.before, self.after))
        return f"`{self.id}` ({' -> '.join(shown)})"


@dataclass(frozen=True)
class Comparison:
    """What became of each case since a baseline. Its text says it in a few lines.

    `passes` compares passed runs, `scores` the values of each scorer, by its name, `spending` the `tokens`, the `cost` and the
    `seconds` of a run; each difference is wrong with a probability of at most `1 - confidence`, by itself. `now_failing` and
    `now_passing` are the cases that flipped, the largest change first. `uncompared` are scorers that only one side has, and what
    was spent where one side does not know it of each case.
    """

    passes: Difference
    scores: Mapping[str, Difference]
    now_failing: tuple[CaseChange, ...]
    now_passing: tuple[CaseChange, ...]
    uncompared: tuple[str, ...]
    cases: int
    confidence: float
    spending: Mapping[str, Difference] = EMPTY

    @property
    def outcome(self) -> Change:
        """That of the passes. A scorer that has become worse while runs pass as often is in `scores`."""
        return self.passes.outcome

    def regressions(self, kinds: Collection[str] = (PASSES,)) -> list[Difference]:
        """Return what has become worse, of these kinds: `passes`, `scores`, `tokens`, `cost`, `seconds`."""
        found = [(PASSES, self.passes), *(("scores", score) for score in self.scores.values()), *self.spending.items()]
        return [difference for kind, difference in found if kind in kinds and difference.outcome == "worse"]

    def __str__(self) -> str:
        lines = [str(self.passes)]
        for word, changes in (("now failing", self.now_failing), ("now passing", self.now_passing)):
            if changes:
                more = f" and {len(changes) - MAX_CASES:,} more" if len(changes) > MAX_CASES else ""
                lines.append(f"  {word}  {', '.join(map(str, changes[:MAX_CASES]))}{more}")
        if self.outcome == "no evidence" and self.cases < fewest_changes(self.confidence):
            lines.append(f"  {plan_comparison(self.cases, confidence=self.confidence)}")
        lines += map(str, (*self.scores.values(), *self.spending.values()))
        lines += [f"not compared, because one side lacks them: {names(self.uncompared)}"] if self.uncompared else []
        return "\n".join(lines)


def compare(before: Baseline, after: Baseline, *, confidence: float = CONFIDENCE) -> Comparison:
    """Return whether `after` is better or worse than `before`, or whether they show no difference.

    Passes of one run for each case are compared by McNemar's exact test; pass rates of several runs, and scores, by sign flips,
    with a bootstrap interval of the mean difference. Each case counts once, whatever its weight.

    Raises:
        BaselineError: they are of other cases; the message says which.
        ValueError: `confidence` is not between 0 and 1.

    >>> def results(*passed):
    ...     cases = tuple(CaseResult(f"case-{n}", "0", number, 1) for n, number in enumerate(passed))
    ...     return Baseline("demo", "0", cases)
    >>> comparison = compare(results(1, 1, 1, 1, 1, 1, 1, 0), results(0, 0, 0, 0, 0, 0, 1, 0))
    >>> print(comparison)
    passes: worse: 12.5 %, 87.5 % before; 6 cases worse and 0 better (McNemar, p = 0.031)
      now failing  `case-0`, `case-1`, `case-2`, `case-3`, `case-4`, `case-5`
    """
    check_confidence(confidence)
    _check_cases(before, after)
    earlier = {case.id: case for case in before.cases}
    pairs = [CaseChange(earlier[case.id], case) for case in after.cases]
    scores, lost = _differences([(pair.before.scores, pair.after.scores) for pair in pairs], confidence)
    spending, unknown = _differences([(pair.before.spent, pair.after.spent) for pair in pairs], confidence, spent=True)
    flips = sorted(
        (pair for pair in pairs if pair.before.passes != pair.after.passes),
        key=lambda pair: (-abs(pair.after.rate - pair.before.rate), pair.id),
    )
    return Comparison(
        _difference(PASSES, [(pair.before.rate, pair.after.rate) for pair in pairs], confidence),
        scores,
        tuple(pair for pair in flips if pair.before.passes),
        tuple(pair for pair in flips if pair.after.passes),
        (*lost, *unknown),
        len(pairs),
        confidence,
        spending,
    )


def _differences(
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]], confidence: float, *, spent: bool = False
) -> tuple[dict[str, Difference], list[str]]:
    """Return the differences of the values that each case has on both sides, and the names of the others."""
    known = sorted({name for pair in pairs for side in pair for name in side})
    common = [name for name in known if all(name in side for pair in pairs for side in pair)]
    values = {name: [(before[name], after[name]) for before, after in pairs] for name in common}
    found = {name: _difference(name, values[name], confidence, spent=spent) for name in common}
    return found, [name for name in known if name not in common]


def _difference(name: str, pairs: Sequence[tuple[float, float]], confidence: float, *, spent: bool = False) -> Difference:
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    higher, lower = sum(new > old for old, new in pairs), sum(new < old for old, new in pairs)
    better, worse = (lower, higher) if spent else (higher, lower)
    interval, test = None, _TESTS[{*before, *after} <= {0, 1}]
    if test == "McNemar":
        p = mcnemar(better, worse)
    else:
        p = sign_flip(before, after)
        interval = paired_bootstrap(before, after, confidence=confidence) if len(pairs) > 1 else None
    change = fmean(after) - fmean(before)
    is_evidence = p <= _limit(confidence) and (interval is None or 0 not in interval)
    outcome: Change = "no evidence" if not is_evidence else "better" if (change > 0) != spent else "worse"
    return Difference(name, outcome, fmean(before), fmean(after), better, worse, p, interval, test, spent)


_TESTS: Final[dict[bool, Literal["McNemar", "sign flips"]]] = {True: "McNemar", False: "sign flips"}


def _limit(confidence: float) -> float:
    """Return the largest p-value that is evidence. Its last bits are those of rounding: 1 - 0.9 is less than 0.1."""
    return (1 - confidence) * (1 + 1e-9)


def _check_cases(before: Baseline, after: Baseline) -> None:
    if None not in (before.live, after.live) and before.live != after.live:
        answered = {True: "real models", False: "scripts or cassettes"}
        was, now = (answered[bool(side.live)] for side in (before, after))
        raise BaselineError(f"the baseline is of answers of {was}, and these results are of answers of {now}")
    old, new = ({case.id: case.hash for case in results.cases} for results in (before, after))
    if not old.keys() & new.keys():
        raise BaselineError(
            f"the baseline is of another dataset: {before.dataset} with the hash {before.hash} has no case of {after.dataset}"
            f" with the hash {after.hash}"
        )
    groups = {
        "changed": [identity for identity in new if identity in old and old[identity] != new[identity]],
        "new": [identity for identity in new if identity not in old],
        "gone": [identity for identity in old if identity not in new],
    }
    if any(groups.values()):
        lines = [f"  {word:8}{some_names(found)}" for word, found in groups.items() if found]
        raise BaselineError("\n".join(["the baseline is of other cases than these results", *lines, "  write a new baseline"]))


# -- before a token is spent


def fewest_changes(confidence: float = CONFIDENCE) -> int:
    """Return how many cases must change, all the same way, to be evidence.

    >>> fewest_changes()
    6
    """
    check_confidence(confidence)
    number = 1
    while mcnemar(number, 0) > _limit(confidence):
        number += 1
    return number


def plan_comparison(cases: int, *, confidence: float = CONFIDENCE) -> str:
    """Return what a comparison of this number of cases, each run once, can show and cannot show.

    >>> print(plan_comparison(5))
    5 cases cannot show a difference: even 5:0 is chance with p = 0.063 (95 % confidence); 6 cases can
    >>> print(plan_comparison(5, confidence=0.9))
    5 cases can only show 5:0: all must change the same way (90 % confidence)
    """
    fewest, sure = fewest_changes(confidence), f"({percent(confidence)} confidence)"
    if cases < fewest:
        chance = f"even {cases:,}:0 is chance with p = {mcnemar(cases, 0):.2g} {sure}"
        return f"{amount(cases, 'case')} cannot show a difference: {chance}; {amount(fewest, 'case')} can"
    if cases == fewest:
        return f"{amount(cases, 'case')} can only show {cases:,}:0: all must change the same way {sure}"
    enough = f"{fewest:,} that change the same way are enough, if none changes the other way {sure}"
    return f"{amount(cases, 'case')} can show a difference: {enough}"


def comparison_power(cases: int, *, before: float, after: float, confidence: float = CONFIDENCE) -> float:
    """Return how likely a comparison of this number of cases, each run once, finds a change of the pass rate, in its direction.

    `before` and `after` are the true pass rates; whether a case passes before and whether it passes after are taken to be
    independent, which is the worst case of a program that has changed: where the same cases stay hard, fewer are needed.

    Raises:
        ValueError: there are no cases, or a rate is not from 0 to 1.

    >>> round(comparison_power(200, before=0.95, after=0.85), 2), round(comparison_power(50, before=0.95, after=0.85), 2)
    (0.9, 0.26)
    """
    if cases < 1 or not (0 <= before <= 1 and 0 <= after <= 1):
        raise ValueError(
            f"a comparison is of 1 case or more, and of pass rates from 0 to 1; got {cases}, {before!r} and {after!r}"
        )
    check_confidence(confidence)
    flips, worse = before * (1 - after) + (1 - before) * after, before * (1 - after)
    if not flips:
        return 0.0
    part = max(worse / flips, 1 - worse / flips)  # of the flipped cases, those that flip the more likely way
    return math.fsum(
        binomial(cases, number, flips) * at_least_probability(_enough(number, confidence), number, part)
        for number in range(fewest_changes(confidence), cases + 1)
    )


def _enough(flips: int, confidence: float) -> int:
    """Return how many of the flipped cases must flip the same way to be evidence, if all are."""
    low, high = flips // 2, flips
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mcnemar(middle, flips - middle) <= _limit(confidence) else (middle, high)
    return high
