"""What a set of results came to: its verdict, its cases, mean scores, pass@k and pass^k, and what a run spent.

In words for the terminal, and as JSON for other programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, Final

from llmtest.core.text import amount, clip
from llmtest.evals.baselines import mean_spent
from llmtest.evals.comparisons import amount_spent
from llmtest.evals.intervals import Interval, bootstrap_mean, clopper_pearson, pass_at_k, pass_hat_k
from llmtest.evals.results import RepeatResult, SetResults
from llmtest.evals.verdicts import Outcome, Verdict, interval_text, percent

ATTEMPTS: Final = (1, 2, 3, 5, 10, 20, 50, 100)
"""The numbers of attempts for which pass@k and pass^k are told, as far as each case has so many runs."""
MAX_WHY: Final = 120


@dataclass(frozen=True, slots=True)
class MeanScore:
    """The mean of one scorer over the cases. `interval` is None if there is one run only, or all values are equal.

    Each case counts by the mean of its runs, because the runs of one case are alike, and with its weight. `is_rate` tells that
    all values are 0 or 1.
    """

    name: str
    mean: float
    interval: Interval | None
    is_rate: bool

    def __str__(self) -> str:
        number = percent if self.is_rate else "{:.4g}".format
        if self.interval is None:
            return f"{self.name} {number(self.mean)}"
        if self.is_rate:
            return f"{self.name} {percent(self.mean)}, {interval_text(self.interval)}"
        ends = f"from {number(self.interval.low)} to {number(self.interval.high)}"
        return f"{self.name} {number(self.mean)}, {ends} ({percent(self.interval.confidence)} confidence)"


@dataclass(frozen=True, slots=True)
class CaseSummary:
    """One case: how many of its runs passed, its verdict, and the first run that failed; None if none did."""

    id: str
    passed: int
    total: int
    verdict: Verdict
    failed: RepeatResult | None

    @property
    def outcome(self) -> Outcome:
        return self.verdict.outcome

    def __str__(self) -> str:
        why = f": {clip(self.failed.why, MAX_WHY)}" if self.failed is not None and self.failed.why else ""
        return f"{self.outcome:9} {self.passed:,} of {self.total:,}  `{self.id}`{why}"


@dataclass(frozen=True)
class Summary:
    """What the results of one set came to. Everything is computed when it is first asked."""

    results: SetResults

    @cached_property
    def verdict(self) -> Verdict:
        """That of all cases together."""
        return self.results.verdict

    @cached_property
    def cases(self) -> list[CaseSummary]:
        """Each case, in the order of the results."""
        return [
            CaseSummary(
                case,
                sum(repeat.passed for repeat in repeats),
                len(repeats),
                self.results.tally(case).verdict,
                next((repeat for repeat in repeats if not repeat.passed), None),
            )
            for case, repeats in self.results.cases.items()
        ]

    @cached_property
    def outcomes(self) -> Counter[Outcome]:
        """How many cases pass, fail, and are undecided, by their own verdicts."""
        return Counter(case.outcome for case in self.cases)

    @cached_property
    def stopped(self) -> int:
        """How many cases have fewer runs than planned: their verdict was certain, or the session ended."""
        return sum(case.total < self.results.head.repeats for case in self.cases)

    @cached_property
    def scores(self) -> list[MeanScore]:
        """The mean of each scorer that judged every run, by name."""
        groups = [[repeat.scores for repeat in repeats] for repeats in self.results.cases.values()]
        weights = [repeats[0].weight for repeats in self.results.cases.values()]
        every = [scores for group in groups for scores in group]
        known = sorted({name for scores in every for name in scores})
        confidence = self.results.head.requirement.confidence
        return [
            _mean(name, [[scores[name].value for scores in group] for group in groups], weights, confidence)
            for name in known
            if all(name in scores for scores in every)
        ]

    @cached_property
    def attempts(self) -> dict[int, tuple[float, float]]:
        """pass@k and pass^k by the number of attempts `k`: the means over all cases. Empty if a case has one run only.

        They are without bias if each case ran as often as planned: see `stopped`.
        """
        fewest = min((case.total for case in self.cases), default=0)
        if fewest < 2:
            return {}
        return {
            k: (
                fmean(pass_at_k(case.passed, case.total, k) for case in self.cases),
                fmean(pass_hat_k(case.passed, case.total, k) for case in self.cases),
            )
            for k in ATTEMPTS
            if k <= fewest
        }

    @cached_property
    def spent(self) -> Mapping[str, float]:
        """The mean `tokens`, `cost` and `seconds` of a run; without what is not known of each run."""
        return mean_spent(repeat.spent for repeat in self.results.repeats)

    def lines(self) -> Iterator[str]:
        """Yield the text of the summary: the test, its verdict, and a line for each fact that is known."""
        yield f"{self.results.test} · {self.results.head.dataset}"
        yield from (f"  {line}" for line in str(self.verdict).splitlines())
        yield f"  cases    {self._counts()}"
        yield from (f"  score    {score}" for score in self.scores)
        if self.attempts:
            yield f"  attempts {self._attempts()}"
        if self.spent:
            yield f"  a run    {', '.join(_spent(name, value) for name, value in self.spent.items())}"
        for case in sorted(self.cases, key=lambda case: case.passed / case.total):
            if case.failed is not None:
                yield f"    {case}"

    def _counts(self) -> str:
        said = [f"{self.outcomes[outcome]:,} {outcome}" for outcome in ("pass", "fail", "undecided") if self.outcomes[outcome]]
        missing = self.results.head.cases - len(self.cases)
        return ", ".join([*said, *([f"{missing:,} without a run"] if missing else [])]) or "none"

    def _attempts(self) -> str:
        shown = ", ".join(f"pass@{k} {percent(one)}, pass^{k} {percent(every)}" for k, (one, every) in self.attempts.items())
        return f"{shown} (biased: {amount(self.stopped, 'case')} stopped early)" if self.stopped else shown

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "test": self.results.test,
            "dataset": self.results.head.dataset,
            "hash": self.results.head.hash,
            "outcome": self.verdict.outcome,
            "passed": self.verdict.passed,
            "total": self.verdict.total,
            "planned": self.results.head.cases * self.results.head.repeats,
            "interval": asdict(self.verdict.interval),
            "at_least": self.verdict.requirement.at_least,
            "method": self.verdict.requirement.method,
            "cases": [_case_json(case) for case in self.cases],
            "scores": {score.name: {"mean": score.mean, "interval": _interval_json(score.interval)} for score in self.scores},
            "attempts": {str(k): {"pass@k": one, "pass^k": every} for k, (one, every) in self.attempts.items()},
            "stopped_early": self.stopped,
            "spent": dict(self.spent),
            "cost": self.results.cost,
        }


def _case_json(case: CaseSummary) -> dict[str, Any]:
    failed = case.failed
    told = {"id": case.id, "outcome": case.outcome, "passed": case.passed, "total": case.total}
    return told | {"why": failed.why if failed else "", "trace": failed.trace if failed else None}


def _interval_json(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)


def _mean(name: str, groups: Sequence[Sequence[float]], weights: Sequence[float], confidence: float) -> MeanScore:
    """Return the mean of the means of groups, by their weights. One group alone is taken run by run."""
    values = [fmean(group) for group in groups] if len(groups) > 1 else list(groups[0])
    counting = weights if len(groups) > 1 and len({*weights}) > 1 else None
    every = [value for group in groups for value in group]
    is_rate = {*every} <= {0, 1}
    if is_rate and counting is None and len({*map(len, groups)}) == 1:  # then the runs have the mean of the cases
        interval: Interval | None = clopper_pearson(int(sum(every)), len(every), confidence=confidence)
    else:
        # Of equal values the bootstrap knows no others: its interval, without width, would claim to be certain.
        interval = bootstrap_mean(values, weights=counting, confidence=confidence) if len({*values}) > 1 else None
    return MeanScore(name, fmean(values, counting), interval, is_rate)


def _spent(name: str, value: float) -> str:
    return f"{amount_spent(value)} {name}" if name != "cost" else f"cost {amount_spent(value)}"
