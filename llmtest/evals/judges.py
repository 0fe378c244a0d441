"""Judges: whether a scorer that is a model judges as people do. Ask before its verdicts count for anything.

A judge is a scorer, so a scripted model makes one without a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from llmtest.core.text import some_names
from llmtest.errors import ScorerError
from llmtest.evals.intervals import CONFIDENCE, Interval, clopper_pearson, mcnemar
from llmtest.evals.scorers import text_of
from llmtest.evals.scores import CaseRun, Scorer, score
from llmtest.evals.verdicts import interval_text, percent


@dataclass(frozen=True)
class Rate:
    """A number of cases, `count` of `total`, and the exact interval of its rate."""

    count: int
    total: int
    confidence: float

    @property
    def value(self) -> float:
        return self.count / self.total

    @property
    def interval(self) -> Interval:
        return clopper_pearson(self.count, self.total, confidence=self.confidence)

    def __str__(self) -> str:
        return f"{self.count:,} of {self.total:,}, {percent(self.value)}: {interval_text(self.interval)}"


@dataclass(frozen=True)
class Calibration:
    """How a judge agrees with labels of people.

    `agreement` is the part of all runs that both judge alike, `false_pass` the part of the runs that people fail and the judge
    passes, `false_fail` the part of those that people pass and the judge fails. `kappa` is Cohen's: the agreement beyond that of
    two judges who pass as many runs at random; 1 is perfect, 0 is chance. `false_passes` and `false_fails` are the ids of these
    cases.
    """

    agreement: Rate
    kappa: float
    false_pass: Rate
    false_fail: Rate
    false_passes: tuple[str, ...]
    false_fails: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"agreement   {self.agreement}; kappa is {self.kappa:.2f}"]
        for word, rate, cases in (
            ("false pass", self.false_pass, self.false_passes),
            ("false fail", self.false_fail, self.false_fails),
        ):
            lines.append(f"{word}  {rate}" + (f"; {some_names(cases)}" if cases else ""))
        return "\n".join(lines)


def calibrate(judge: Scorer, labelled: Iterable[tuple[CaseRun, bool]], *, confidence: float = CONFIDENCE) -> Calibration:
    """Return how a judge agrees with people: `labelled` are runs, each with whether people say that it passes.

    The judge is asked once for each run. A judge that raises an exception fails the run, as in `score`.
    Source of kappa: Cohen, Educational and Psychological Measurement 20 (1960), 37-46.

    Raises:
        ScorerError: the judge gives a number and no verdict, or people pass all runs, or none.
        ValueError: `confidence` is not between 0 and 1.

    >>> from llmtest.evals import Case
    >>> answers = {"Paris": True, "Paris, France": True, "Lyon": False, "Paris or Lyon": False}
    >>> labelled = [(CaseRun(Case(text, "The capital?"), output=text), passes) for text, passes in answers.items()]
    >>> def judge(run):
    ...     return "Paris" in run.output
    >>> print(calibrate(judge, labelled))
    agreement   3 of 4, 75 %: from 19.4 % to 99.4 % (95 % confidence); kappa is 0.50
    false pass  1 of 2, 50 %: from 1.2 % to 98.8 % (95 % confidence); `Paris or Lyon`
    false fail  0 of 2, 0 %: from 0 % to 84.2 % (95 % confidence)

    It does not say how the judge is on runs unlike the labelled ones.
    """
    judged = [(run, label, _verdict(judge, run)) for run, label in labelled]
    size, passes = len(judged), sum(label for _, label, _ in judged)
    if not 0 < passes < size:
        raise ScorerError(
            f"a judge is calibrated on runs of which people pass some and fail some; of {size:,} they pass {passes:,}"
        )
    false_passes = tuple(run.case.id for run, label, verdict in judged if verdict and not label)
    false_fails = tuple(run.case.id for run, label, verdict in judged if label and not verdict)
    agreement = Rate(size - len(false_passes) - len(false_fails), size, confidence)
    judge_passes = passes + len(false_passes) - len(false_fails)
    by_chance = (passes * judge_passes + (size - passes) * (size - judge_passes)) / size**2
    return Calibration(
        agreement,
        (agreement.value - by_chance) / (1 - by_chance),
        Rate(len(false_passes), size - passes, confidence),
        Rate(len(false_fails), passes, confidence),
        false_passes,
        false_fails,
    )


def _verdict(judge: Scorer, run: CaseRun) -> bool:
    """Return whether a judge passes a run."""
    passed = score(run, judge=judge)["judge"].passed
    if passed is None:
        raise ScorerError("a judge says whether a run passes: a bool, or a Score with passed=True or False; it gave a number")
    return passed


# -- biases


@dataclass(frozen=True)
class Bias:
    """How often a judge changed its mind for a reason that should not count: `favoured` times for it, `disfavoured` against it.

    `asked` is the number of runs or pairs. `p` is how likely so unequal numbers are without a bias (McNemar's exact test).
    """

    name: str
    asked: int
    favoured: int
    disfavoured: int
    p: float

    @property
    def changed(self) -> int:
        """How often the judge changed its mind at all: many changes in both directions are no bias, and no reliable judge."""
        return self.favoured + self.disfavoured

    def __str__(self) -> str:
        what = f"of {self.asked:,}, {self.favoured:,} changed for it and {self.disfavoured:,} against it"
        return f"{self.name}: {what} (McNemar, p = {self.p:.2g})"


def pad(text: str) -> str:
    """Return a text that is longer and says no more."""
    return (
        f"{text}\n\nIn other words, to be complete and to avoid any misunderstanding: the answer to your question is the one that"
        " is given above. Nothing needs to be added to it, and nothing in it depends on what is said in this paragraph."
    )


def verbosity_bias(judge: Scorer, runs: Iterable[CaseRun], *, longer: Callable[[str], str] = pad) -> Bias:
    """Return whether a judge passes runs for their length: each is judged as it is, and with an output made `longer`.

    The judge is asked twice for each run. `favoured` are runs that pass only with the longer output.
    Source of the check: Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena" (2023), arXiv:2306.05685.

    Raises:
        ScorerError: an output has no text, or the judge gives no verdict.

    >>> from llmtest.evals import Case
    >>> runs = [CaseRun(Case(f"case-{n}", "Why?"), output="Because.") for n in range(6)]
    >>> print(verbosity_bias(lambda run: len(run.output) > 50, runs))
    longer output: of 6, 6 changed for it and 0 against it (McNemar, p = 0.031)
    """
    changes = []
    for run in runs:
        text = text_of(run.output)
        if text is None:
            raise ScorerError(f"the output of the case {run.case.id!r} has no text that could be longer")
        changes.append(_verdict(judge, replace(run, output=longer(text))) - _verdict(judge, run))
    return _bias("longer output", len(changes), changes.count(1), changes.count(-1))


def position_bias(
    choose: Callable[[CaseRun, CaseRun], Literal["first", "second", "tie"]], pairs: Iterable[tuple[CaseRun, CaseRun]]
) -> Bias:
    """Return whether a judge of two runs prefers the one that it sees first: each pair is judged in both orders.

    `choose` is asked twice for each pair. `favoured` are pairs of which it chose the first in both orders, `disfavoured` those
    of which it chose the second. Source of the check: see `verbosity_bias`.

    Raises:
        ScorerError: `choose` returns something else than `"first"`, `"second"` or `"tie"`.

    >>> from llmtest.evals import Case
    >>> run = CaseRun(Case("france", "The capital?"), output="Paris")
    >>> print(position_bias(lambda a, b: "first", [(run, run)] * 6))
    first position: of 6, 6 changed for it and 0 against it (McNemar, p = 0.031)
    """
    chosen = [(choose(a, b), choose(b, a)) for a, b in pairs]
    wrong = next((word for words in chosen for word in words if word not in ("first", "second", "tie")), None)
    if wrong is not None:
        raise ScorerError(f"a judge of two runs answers 'first', 'second' or 'tie'; got {wrong!r}")
    return _bias("first position", len(chosen), chosen.count(("first", "first")), chosen.count(("second", "second")))


def _bias(name: str, asked: int, favoured: int, disfavoured: int) -> Bias:
    return Bias(name, asked, favoured, disfavoured, mcnemar(favoured, disfavoured))
