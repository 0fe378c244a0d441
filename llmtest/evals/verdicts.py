"""Verdicts: whether runs show that a program passes often enough, whether they show that it does not, or neither.

A verdict comes from an interval of the pass rate, never from the rate itself: 9 of 10 runs may pass by luck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, Literal, Protocol, get_args

from llmtest.core.text import amount, did_you_mean
from llmtest.evals.intervals import (
    CONFIDENCE,
    Interval,
    at_least_probability,
    check_confidence,
    clopper_pearson,
    confidence_sequence,
    log_evidence,
    wilson,
)

Outcome = Literal["pass", "fail", "undecided"]
Method = Literal["exact", "wilson", "sequence"]
MAX_REPEATS: Final = 1_000_000
"""A verdict that takes many more repeats than this is out of reach."""

_INTERVALS: Final[dict[str, Callable[..., Interval]]] = {
    "exact": clopper_pearson,
    "wilson": wilson,
    "sequence": confidence_sequence,
}


@lru_cache(maxsize=4096)
def _interval(method: Method, passed: int, total: int, confidence: float) -> Interval:
    return _INTERVALS[method](passed, total, confidence=confidence)


@dataclass(frozen=True)
class Requirement:
    """A pass rate that a program must have, `at_least`, and how sure a verdict about it must be, `confidence`; both from 0 to 1.

    `method` chooses the interval of the pass rate:

    - `"exact"`: Clopper and Pearson's, for a number of repeats that is fixed before the first. A wrong verdict has a probability
      of at most half of `1 - confidence`, so 2.5 % by default.
    - `"wilson"`: shorter, and right on average over all rates only: one run that fails is a verdict against `at_least=0.9`, and
      one in ten does.
    - `"sequence"`: may be judged after each repeat, and repeats may be added. A wrong verdict at any time has a probability of at
      most `1 - confidence`. It takes more repeats near the bound, and fewer far from it.

    Raises:
        ValueError: a number is not between 0 and 1, or the method is unknown.

    >>> print(Requirement(0.9).judge(98, 100))
    pass: 98 of 100 passed, so the pass rate is from 92.9 % to 99.8 % (95 % confidence); 90 % is required
    """

    at_least: float
    confidence: float = CONFIDENCE
    method: Method = "exact"

    def __post_init__(self) -> None:
        if self.at_least == 1:
            raise ValueError("at_least=1: no number of repeats shows that every run passes; require less, such as 0.99")
        if not 0 < self.at_least < 1:
            raise ValueError(f"at_least= is a pass rate between 0 and 1, such as 0.9; got {self.at_least!r}")
        check_confidence(self.confidence)
        if self.method not in get_args(Method):
            hint = did_you_mean(str(self.method), get_args(Method), otherwise=f"it is one of {', '.join(get_args(Method))}")
            raise ValueError(f"method= has the unknown value {self.method!r}{hint}")

    def interval(self, passed: int, total: int) -> Interval:
        """Return the interval of the pass rate after `total` repeats."""
        return _interval(self.method, passed, total, self.confidence)

    def judge(self, passed: int, total: int) -> Verdict:
        """Return the verdict of `total` repeats, of which `passed` have passed. A run that crashed is a repeat that failed.

        Raises:
            ValueError: `passed` is not from 0 to `total`.
        """
        return Verdict(self, passed, total, total, self.interval(passed, total))

    def settle(self, passed: int, total: int, repeats: int) -> Verdict | None:
        """Return the verdict of a plan of `repeats` as soon as `total` of them settle it; None while it is open.

        With `"exact"` and `"wilson"` that is when the repeats that are left cannot change it, whether all of them pass or all
        fail ("curtailment"). It is the verdict that the whole plan would have come to, so stopping changes no error rate. With
        `"sequence"` it is also when the interval of the repeats so far decides.

        Count repeats in the order in which they were started, not in which they ended: slow runs may be those that fail.

        Raises:
            ValueError: `passed` is not from 0 to `total`, or `total` is more than `repeats`.

        >>> requirement = Requirement(0.9)
        >>> requirement.settle(20, 30, 100) is None
        True
        >>> print(requirement.settle(10, 30, 100))
        fail: 10 of 30 passed with 70 open, so the pass rate is from 4.9 % to 87.4 % (95 % confidence); 90 % is required
        """
        if total > repeats:
            raise ValueError(f"{amount(total, 'repeat')} cannot be part of {repeats:,}")
        if self.method == "sequence" and (verdict := self.judge(passed, total)).outcome != "undecided":
            return verdict
        if self.outcome(passed, repeats) != self.outcome(passed + repeats - total, repeats):
            return None
        return _bounded(self, passed, total, repeats)

    def outcome_of(self, interval: Interval) -> Outcome:
        """Return what an interval of the pass rate shows."""
        if interval.low >= self.at_least:
            return "pass"
        return "fail" if interval.high < self.at_least else "undecided"

    def outcome(self, passed: int, total: int) -> Outcome:
        """Return the outcome of `judge` alone."""
        return self.outcome_of(self.interval(passed, total))

    def plan(self, repeats: int) -> Plan:
        """Return what this number of repeats can show and cannot show, before any of them is run.

        Raises:
            ValueError: `repeats` is less than 1.
        """
        if repeats < 1:
            raise ValueError(f"repeats= is 1 or more; got {repeats}")
        return Plan(self, repeats)


@dataclass(frozen=True)
class Verdict:
    """What repeats show: `outcome` is `"pass"`, `"fail"` or `"undecided"`. Its text says why, and what would decide.

    `interval` is that of the pass rate after all `repeats` of the plan, of which `total` were run and `passed` passed. If fewer
    were run than planned, it is from the lower end if the rest fails to the upper end if the rest passes.
    """

    requirement: Requirement
    passed: int
    total: int
    repeats: int
    interval: Interval

    @cached_property
    def outcome(self) -> Outcome:
        return self.requirement.outcome_of(self.interval)

    @cached_property
    def more(self) -> int | None:
        """How many more repeats would decide if the pass rate stays as it is; None if that takes more than a million.

        0 if this is decided. None, too, if nothing was run.
        """
        if self.outcome != "undecided":
            return 0
        if not self.total:
            return None

        def decides(total: int) -> bool:
            # Whole numbers, rounded towards the required rate: repeats that do not decide now may not seem to by rounding.
            now, rest = divmod(self.passed * total, self.total)
            passed = now + (rest > 0 and self.passed < self.requirement.at_least * self.total)
            return self.requirement.outcome(passed, total) != "undecided"

        found = _first(self.total, decides, MAX_REPEATS)
        return None if found is None else found - self.total

    @cached_property
    def more_passes(self) -> int:
        """How many more repeats would turn this into a pass if all of them pass; 0 if this is decided."""
        if self.outcome != "undecided":
            return 0
        failed = self.total - self.passed
        found = _first(self.total, lambda total: self.requirement.outcome(total - failed, total) == "pass")
        assert found is not None  # however high the required rate, so many passes exceed it
        return found - self.total

    def __str__(self) -> str:
        rest = "" if self.total == self.repeats else f" with {self.repeats - self.total:,} open"
        rate = f"the pass rate is {interval_text(self.interval)}; {percent(self.requirement.at_least)} is required"
        line = f"{self.outcome}: {self.passed:,} of {self.total:,} passed{rest}, so {rate}"
        return line if self.outcome != "undecided" else f"{line}\n  {self._hint()}"

    def _hint(self) -> str:
        """Return how many repeats would decide."""
        if not self.total:
            return f"{amount(self.more_passes, 'repeat')} would decide, if all of them pass"
        share = "all" if self.passed == self.total else percent(self.passed / self.total)
        failed = self.total - self.passed
        if self.requirement.method == "sequence":
            usual = f"{amount(self.more or 0, 'more repeat')} would decide, if {share} of them pass"
            fewest = f"{self.more_passes:,} more, if all of these pass"
        else:
            # Repeats that are added because of a look at the first ones would make this interval wrong more often.
            usual = f"a new set of {self.total + (self.more or 0):,} repeats would decide, if {share} of them pass"
            fewest = f"a new set of {self.total + self.more_passes:,}, if at most {failed:,} fail"
        if self.more is None:
            usual = f"if the pass rate stays {share}, not even {MAX_REPEATS:,} repeats would decide"
        return usual if self.more == self.more_passes else f"{usual}; or {fewest}"


class Tally:
    """The repeats of one case of a set, as they end, and its verdict as soon as that is certain. Holds state; for one thread.

    A case stops when it is certain to fail, or to pass even if the repeats that are left fail. If it is `alone` in its set, it
    stops with whatever `Requirement.settle` decides. Repeats count in the order in which they were started: one that has ended
    before an earlier one waits for it.

    >>> tally = Tally(Requirement(0.9), repeats=10)
    >>> for number, passed in enumerate([True, False, False, False, False]):
    ...     tally.add(number, passed)
    >>> tally.is_settled, tally.verdict.outcome
    (True, 'fail')
    """

    def __init__(self, requirement: Requirement, repeats: int, *, alone: bool = False) -> None:
        self.requirement, self.repeats = requirement, repeats
        self._alone = alone
        self._ended: dict[int, bool] = {}
        self._counted = self._passed_in_order = 0
        self._settled: Verdict | None = None

    def add(self, repeat: int, passed: bool) -> None:
        """Count a repeat, by its number from 0."""
        self._ended[repeat] = passed
        while self._settled is None and self._counted in self._ended:
            self._passed_in_order += self._ended[self._counted]
            self._counted += 1
            self._settled = self._settle()

    def _settle(self) -> Verdict | None:
        passed, total = self._passed_in_order, self._counted
        if self._alone and self.requirement.method == "sequence":
            verdict = self.requirement.judge(passed, total)
            return verdict if verdict.outcome != "undecided" else None
        worst, best = (self.requirement.outcome(number, self.repeats) for number in (passed, passed + self.repeats - total))
        return self._bounded() if worst == "pass" or best == "fail" else None

    def _bounded(self) -> Verdict:
        """Return the verdict of the whole plan, whatever comes of the repeats that are left."""
        return _bounded(self.requirement, self.passed, self.total, self.repeats)

    @property
    def passed(self) -> int:
        return sum(self._ended.values())

    @property
    def total(self) -> int:
        """How many repeats have ended."""
        return len(self._ended)

    @property
    def is_settled(self) -> bool:
        """True if no repeat that is left can change the verdict."""
        return self._settled is not None

    @property
    def open(self) -> int:
        """How many repeats of the plan were not run because the verdict was certain."""
        return self.repeats - self.total if self.is_settled else 0

    @property
    def verdict(self) -> Verdict:
        """The verdict of what has run."""
        if self._settled is None:
            return self.requirement.judge(self.passed, self.total)
        return self._settled if self._settled.total == self._settled.repeats else self._bounded()


class CountedCase(Protocol):
    """What the verdict of a set takes of each of its cases: a `Tally`, or the same numbers from another process."""

    @property
    def passed(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def open(self) -> int: ...
    @property
    def verdict(self) -> Verdict: ...


def judge_set(requirement: Requirement, cases: Iterable[CountedCase], *, unrun: int = 0) -> Verdict:
    """Return the verdict of the cases of a set together: of their mean pass rate. `unrun` more cases have no run at all.

    What a case did not run may have passed or failed: its own verdict was certain, or the set may cost no more, and the cases
    that ran longest are not the mean of all. The interval is from the lower end if all of that failed to the upper end if all
    passed, so that stopping makes no verdict wrong more often. Each case has as many repeats as the one that has most.
    """
    found = [*cases]
    if len(found) == 1 and not unrun:
        return found[0].verdict
    passed, total = sum(case.passed for case in found), sum(case.total for case in found)
    repeats = max((case.total + case.open for case in found), default=0)
    return _bounded(requirement, passed, total, repeats * (len(found) + unrun))


def _bounded(requirement: Requirement, passed: int, total: int, repeats: int) -> Verdict:
    worst, best = requirement.interval(passed, repeats), requirement.interval(passed + repeats - total, repeats)
    return Verdict(requirement, passed, total, repeats, Interval(worst.low, best.high, requirement.confidence))


def _first(beyond: int, holds: Callable[[int], bool], limit: float = math.inf) -> int | None:
    """Return the first number after `beyond` from which on `holds` is true; None if it lies far beyond `limit`."""
    low, step = beyond, 1
    while not holds(low + step):
        low, step = low + step, 2 * step
        if low > limit:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True)
class Plan:
    """What a number of repeats can show about a requirement, and what not. `str(plan)` says it in words.

    >>> print(Requirement(0.9).plan(5))
    5 repeats cannot show a pass rate of 90 %: if all pass, it is from 47.8 % to 100 % (95 % confidence)
      only that it is lower, if 2 or fewer pass
      36 repeats can show 90 %, if all of them pass; fewer cannot
    >>> print(Requirement(0.9).plan(100))
    100 repeats can show a pass rate of 90 % if 96 or more pass, and that it is lower if 83 or fewer pass (95 % confidence)
    """

    requirement: Requirement
    repeats: int

    @cached_property
    def pass_from(self) -> int | None:
        """The fewest passes with which the verdict is `pass`; None if even all are too few."""
        return self._boundary(lambda passed: self.requirement.outcome(passed, self.repeats) == "pass")

    @cached_property
    def fail_to(self) -> int | None:
        """The most passes with which the verdict is `fail`; None if even no pass is too many."""
        first = self._boundary(lambda passed: self.requirement.outcome(passed, self.repeats) != "fail")
        return first - 1 if first else None

    def _boundary(self, holds: Callable[[int], bool]) -> int | None:
        if not holds(self.repeats):
            return None
        return _first(-1, lambda passed: passed >= self.repeats or holds(passed))

    @cached_property
    def fewest(self) -> int:
        """The fewest repeats that can show the required pass rate: all of them must pass."""
        return self.requirement.judge(0, 0).more_passes

    def chances(self, rate: float) -> dict[Outcome, float]:
        """Return the probability of each outcome if the true pass rate is `rate`, from 0 to 1.

        With the method `"sequence"`, of a plan that is judged after each repeat and stops at the first verdict; that takes a
        second for 5,000 repeats.

        Raises:
            ValueError: `rate` is not from 0 to 1.

        >>> chances = Requirement(0.9).plan(100).chances(0.98)
        >>> {outcome: round(chance, 3) for outcome, chance in chances.items()}
        {'pass': 0.949, 'fail': 0.0, 'undecided': 0.051}
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"a pass rate lies from 0 to 1; got {rate!r}")
        passes, fails = self._sequential(rate) if self.requirement.method == "sequence" else self._at_once(rate)
        return {"pass": passes, "fail": fails, "undecided": max(0.0, 1 - passes - fails)}

    def _at_once(self, rate: float) -> tuple[float, float]:
        passes = at_least_probability(self.pass_from, self.repeats, rate) if self.pass_from is not None else 0.0
        fails = at_least_probability(self.repeats - self.fail_to, self.repeats, 1 - rate) if self.fail_to is not None else 0.0
        return passes, fails

    def _sequential(self, rate: float) -> tuple[float, float]:
        """Follow the probabilities of all numbers of passes from repeat to repeat, until a verdict takes them."""
        bound, limit = self.requirement.at_least, -math.log(1 - self.requirement.confidence)
        undecided, passes, fails = {0: 1.0}, 0.0, 0.0
        for total in range(1, self.repeats + 1):
            after: dict[int, float] = {}
            for passed, chance in undecided.items():
                for now, part in ((passed, chance * (1 - rate)), (passed + 1, chance * rate)):
                    if part > _NEGLIGIBLE:
                        after[now] = after.get(now, 0.0) + part
            # The numbers in between are undecided, so only those at the ends are asked.
            for passed in sorted(after):
                if passed > bound * total or log_evidence(passed, total, bound) < limit:
                    break
                fails += after.pop(passed)
            for passed in sorted(after, reverse=True):
                if passed <= bound * total or log_evidence(passed, total, bound) < limit:
                    break
                passes += after.pop(passed)
            undecided = after
        return passes, fails

    def __str__(self) -> str:
        required, number = percent(self.requirement.at_least), amount(self.repeats, "repeat")
        lower = None if self.fail_to is None else f"if {self.fail_to:,} or fewer pass" if self.fail_to else "if none passes"
        if self.pass_from is not None:
            enough = "all pass" if self.pass_from == self.repeats else f"{self.pass_from:,} or more pass"
            also = f", and that it is lower {lower}" if lower else ", and cannot show that it is lower"
            confidence = f"({percent(self.requirement.confidence)} confidence)"
            return f"{number} can show a pass rate of {required} if {enough}{also} {confidence}"
        all_pass = interval_text(self.requirement.interval(self.repeats, self.repeats))
        return (
            f"{number} cannot show a pass rate of {required}: if all pass, it is {all_pass}\n"
            f"  {f'only that it is lower, {lower}' if lower else 'nor that it is lower'}\n"
            f"  {amount(self.fewest, 'repeat')} can show {required}, if all of them pass; fewer cannot"
        )


_NEGLIGIBLE: Final = 1e-18


def interval_text(interval: Interval) -> str:
    """Return an interval of a pass rate with its confidence; see `ends_text`."""
    return f"from {ends_text(interval)} ({percent(interval.confidence)} confidence)"


def ends_text(interval: Interval) -> str:
    """Return the ends of an interval of a pass rate, rounded outwards, so that the text claims no more than the numbers."""
    low, high = (math.floor(interval.low * 1000) / 1000, math.ceil(interval.high * 1000) / 1000)
    return f"{percent(low)} to {percent(high)}"


def percent(rate: float) -> str:
    """Return a rate as a text with at most two decimals: `90 %`, `99.5 %`."""
    return f"{round(rate * 100, 2):g} %"
