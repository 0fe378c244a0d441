"""Baselines: results that are committed, and whether later results are better, worse, or not told apart from them.

Results are compared case by case: what makes a case hard is in both, so fewer cases show a difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final, Literal, Self

from llmtest.core.masks import table
from llmtest.core.source import shown_path
from llmtest.core.text import amount, did_you_mean, names, some_names
from llmtest.errors import BaselineError, ScriptError
from llmtest.evals.datasets import Dataset, hash_of_cases
from llmtest.evals.intervals import CONFIDENCE, Interval, check_confidence, mcnemar, paired_bootstrap, sign_flip
from llmtest.evals.json_nodes import json_line_nodes
from llmtest.evals.scores import Scores
from llmtest.evals.verdicts import percent
from llmtest.events.words import EMPTY, FrozenDict
from llmtest.scripts.yaml_nodes import At, decode

FORMAT: Final = 1
DIGITS: Final = 6
"""Decimals of a mean score in a file."""
MAX_CASES: Final = 8
"""The most flipped cases that a text shows."""


# -- results


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What the runs of one case came to: `passed` of `total`, and the mean value of each scorer. `hash` is that of the case."""

    id: str
    hash: str
    passed: int
    total: int
    scores: FrozenDict = EMPTY

    @property
    def rate(self) -> float:
        return self.passed / self.total

    @property
    def passes(self) -> bool:
        """True if more than half of the runs passed."""
        return self.passed * 2 > self.total


@dataclass(frozen=True)
class Baseline:
    """The results of a dataset: those of a file, or of the runs just made. `dataset` is its name, `hash` that of its cases.

    A file has a line for each case: its id, its hash, numbers. It holds no inputs, outputs or reasons, so it can be committed.

    >>> from llmtest.evals import CaseRun, exact, score
    >>> dataset = Dataset([{"id": "france", "inputs": "The capital of France?", "expected": "Paris"}])
    >>> scores = score(CaseRun(dataset["france"], output="Paris"), exact())
    >>> Baseline.of(dataset, {"france": [scores]}).cases[0].passed
    1
    """

    dataset: str
    hash: str
    cases: tuple[CaseResult, ...]

    @classmethod
    def of(cls, dataset: Dataset, runs: Mapping[str, Sequence[Scores]]) -> Self:
        """Return the results of runs: the scores of each run, in a list for each case, by its id.

        Raises:
            BaselineError: a case has no runs, runs are of an unknown case, or the runs of a case have different scorers.
        """
        unknown = next((identity for identity in runs if identity not in dataset.ids), None)
        if unknown is not None:
            raise BaselineError(f"{dataset.name} has no case {unknown!r}{did_you_mean(unknown, dataset.ids)}")
        missing = [case.id for case in dataset if not runs.get(case.id)]
        if missing:
            raise BaselineError(f"{amount(len(missing), 'case')} of {dataset.name} without a run: {some_names(missing)}")
        results = []
        for case in dataset:
            scored = runs[case.id]
            if any(set(scores) != set(scored[0]) for scores in scored):
                raise BaselineError(f"the runs of the case {case.id!r} have different scorers")
            means = {name: round(fmean(scores[name].value for scores in scored), DIGITS) for name in sorted(scored[0])}
            passed = sum(scores.passed for scores in scored)
            results.append(CaseResult(case.id, case.hash, passed, len(scored), FrozenDict(means)))
        return cls(dataset.name, dataset.hash, tuple(results))

    def save(self, path: Path | str) -> None:
        """Write the file. Equal results make equal files.

        Raises:
            BaselineError: the file cannot be written, or the name of a case or scorer looks like a secret.
        """
        for name in (self.dataset, *(name for case in self.cases for name in (case.id, *case.scores))):
            hidden = table().without_secrets(name)
            if hidden != name:
                raise BaselineError(f"a baseline is committed, and the name {hidden!r} of a case or scorer looks like a secret")
        head = {"llmtest_baseline": FORMAT, "dataset": self.dataset, "hash": self.hash, "cases": len(self.cases)}
        lines = [
            {"id": case.id, "hash": case.hash, "passed": case.passed, "total": case.total, "scores": case.scores}
            for case in self.cases
        ]
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in (head, *lines))
        try:
            Path(path).write_bytes(text.encode("utf-8"))
        except OSError as error:
            raise BaselineError(f"{shown_path(str(path))}: the baseline cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Return the results of a file.

        Raises:
            BaselineError: it cannot be read, or is no baseline; with the line.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise BaselineError(f"{shown_path(str(path))}: the baseline cannot be read: {error.strerror}") from None
        try:
            nodes = json_line_nodes(decode(content, str(path)), str(path))
            places = [At(str(path), node, f"line {node.line}") for node in nodes]
            if not places or places[0].kind != "map" or "llmtest_baseline" not in places[0].pairs():
                raise BaselineError(f"{shown_path(str(path))}: this is no baseline: its first line has no `llmtest_baseline`")
            head = _required(places[0], "llmtest_baseline", "dataset", "hash", "cases")
            version = head["llmtest_baseline"].number(int, "a whole number")
            if version != FORMAT:
                raise head["llmtest_baseline"].error(
                    f"the baseline has the format {version}; this version of llmtest knows {FORMAT}"
                )
            found = cls(head["dataset"].text(), head["hash"].text(), tuple(_result(at) for at in places[1:]))
            expected = head["cases"].number(int, "a whole number")
        except ScriptError as error:
            raise BaselineError(str(error)) from None
        if len(found.cases) != expected or hash_of_cases(case.hash for case in found.cases) != found.hash:
            raise BaselineError(
                f"{shown_path(str(path))}: the lines are not those that were written: the first says {amount(expected, 'case')}"
                f" with the hash {found.hash!r}, and {amount(len(found.cases), 'case')} follow\n"
                "  a merge or an edit has changed the file; write it again"
            )
        return found


def _required(at: At, *fields: str) -> Mapping[str, At]:
    given = at.only(fields)
    missing = [field for field in fields if field not in given]
    if missing:
        raise at.error(f"{at.name} has no `{missing[0]}`")
    return given


def _result(at: At) -> CaseResult:
    given = _required(at, "id", "hash", "passed", "total", "scores")
    passed, total = (given[field].number(int, "a whole number of runs") for field in ("passed", "total"))
    if not 0 < total >= passed:
        raise given["passed"].error(f"{at.name} has {passed} passes of {total} runs")
    scores = {name: value.any_number("a number") for name, value in given["scores"].mapped("a mapping of scores")}
    return CaseResult(given["id"].text(), given["hash"].text(), passed, total, FrozenDict(scores))


# -- comparing

Change = Literal["better", "worse", "no evidence"]


@dataclass(frozen=True)
class Difference:
    """How the values of the same cases differ: the means `before` and `after`, and how many cases are `better` and `worse`.

    A higher value is better. `p` is how likely so large a difference is by chance alone, by the test that `test` names.
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

    def __str__(self) -> str:
        number = percent if self.name == PASSES else "{:.4g}".format
        text = f"{self.name}: {self.outcome}: {number(self.after)}, {number(self.before)} before"
        text += f"; {amount(self.worse, 'case')} worse and {self.better:,} better"
        if self.interval is not None:
            low, high = (f"{'-' if end < 0 else '+'}{number(abs(end))}" for end in (self.interval.low, self.interval.high))
            text += f"; the mean difference is from {low} to {high}"
        return f"{text} ({self.test}, p = {self.p:.2g})"


PASSES: Final = "passes"


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

    `passes` compares passed runs, `scores` the values of each scorer, by its name; each difference is wrong with a probability of
    at most `1 - confidence`, by itself. `now_failing` and `now_passing` are the cases that flipped, the largest change first.
    `uncompared` are scorers that only one side has.
    """

    passes: Difference
    scores: Mapping[str, Difference]
    now_failing: tuple[CaseChange, ...]
    now_passing: tuple[CaseChange, ...]
    uncompared: tuple[str, ...]
    cases: int
    confidence: float

    @property
    def outcome(self) -> Change:
        """That of the passes. A scorer that has become worse while runs pass as often is in `scores`."""
        return self.passes.outcome

    def __str__(self) -> str:
        lines = [str(self.passes)]
        for word, changes in (("now failing", self.now_failing), ("now passing", self.now_passing)):
            if changes:
                more = f" and {len(changes) - MAX_CASES:,} more" if len(changes) > MAX_CASES else ""
                lines.append(f"  {word}  {', '.join(map(str, changes[:MAX_CASES]))}{more}")
        if self.outcome == "no evidence" and self.cases < fewest_changes(self.confidence):
            lines.append(f"  {plan_comparison(self.cases, confidence=self.confidence)}")
        lines += map(str, self.scores.values())
        lines += [f"compared with nothing: {names(self.uncompared)}"] if self.uncompared else []
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
    scorers = [{name for case in results.cases for name in case.scores} for results in (before, after)]
    common = sorted(
        name
        for name in scorers[0] & scorers[1]
        if all(name in side.scores for pair in pairs for side in (pair.before, pair.after))
    )
    flips = sorted(
        (pair for pair in pairs if pair.before.passes != pair.after.passes),
        key=lambda pair: (-abs(pair.after.rate - pair.before.rate), pair.id),
    )
    return Comparison(
        _difference(PASSES, [(pair.before.rate, pair.after.rate) for pair in pairs], confidence),
        {
            name: _difference(name, [(pair.before.scores[name], pair.after.scores[name]) for pair in pairs], confidence)
            for name in common
        },
        tuple(pair for pair in flips if pair.before.passes),
        tuple(pair for pair in flips if pair.after.passes),
        tuple(sorted((scorers[0] | scorers[1]) - set(common))),
        len(pairs),
        confidence,
    )


def _difference(name: str, pairs: Sequence[tuple[float, float]], confidence: float) -> Difference:
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    better, worse = sum(new > old for old, new in pairs), sum(new < old for old, new in pairs)
    interval, test = None, _TESTS[{*before, *after} <= {0, 1}]
    if test == "McNemar":
        p = mcnemar(better, worse)
    else:
        p = sign_flip(before, after)
        interval = paired_bootstrap(before, after, confidence=confidence) if len(pairs) > 1 else None
    change = fmean(after) - fmean(before)
    is_evidence = p <= _limit(confidence) and (interval is None or 0 not in interval)
    outcome: Change = "no evidence" if not is_evidence else "better" if change > 0 else "worse"
    return Difference(name, outcome, fmean(before), fmean(after), better, worse, p, interval, test)


_TESTS: Final[dict[bool, Literal["McNemar", "sign flips"]]] = {True: "McNemar", False: "sign flips"}


def _limit(confidence: float) -> float:
    """Return the largest p-value that is evidence. Its last bits are those of rounding: 1 - 0.9 is less than 0.1."""
    return (1 - confidence) * (1 + 1e-9)


def _check_cases(before: Baseline, after: Baseline) -> None:
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
