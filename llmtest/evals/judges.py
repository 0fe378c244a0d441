"""Judges: whether a scorer that is a model judges as people do. Ask before its verdicts count for anything.

A judge is a scorer, so a scripted model makes one without a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

from llmtest.core.own_folder import make_folder
from llmtest.core.progress import progress
from llmtest.core.source import shown_path
from llmtest.core.text import short, some_names
from llmtest.errors import CalibrationError, DatasetError, ScorerError
from llmtest.evals.datasets import Dataset, content_hash
from llmtest.evals.intervals import CONFIDENCE, Interval, clopper_pearson, mcnemar
from llmtest.evals.model_judge import ModelJudge, shown_output
from llmtest.evals.scorers import text_of
from llmtest.evals.scores import CaseRun, Scorer, score
from llmtest.evals.verdicts import interval_text, percent
from llmtest.events.words import EMPTY, FrozenDict


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
    passes, `false_fail` the part of those that people pass and the judge does not. `kappa` is Cohen's: the agreement beyond that
    of two judges who pass as many runs at random; 1 is perfect, 0 is chance. `false_passes` and `false_fails` are the ids of
    these cases, `no_verdicts` those of runs about which the judge gave no verdict: about them it was wrong, whatever people say.

    `judge` and `labelled` are hashes of the judge (its rubric and its model) and of the labelled runs; a judge that is a plain
    function has none.
    """

    agreement: Rate
    kappa: float
    false_pass: Rate
    false_fail: Rate
    false_passes: tuple[str, ...] = ()
    false_fails: tuple[str, ...] = ()
    no_verdicts: tuple[str, ...] = ()
    judge: FrozenDict = EMPTY
    labelled: str = ""

    @property
    def kappa_interval(self) -> Interval:
        """The interval of kappa, for runs of which people pass as many as of these.

        Kappa falls with both error rates, which are of different runs: it is lowest where both are at the upper ends of their
        exact intervals. These are wider than for one rate, so that both hold the true rates with the confidence together. It is
        wider than the usual intervals, which have no width where a judge makes no mistake.
        """
        return _kappa_interval(self.false_pass, self.false_fail, self.wrong_without_verdict, self.agreement.confidence)

    @property
    def wrong_without_verdict(self) -> int:
        """The number of runs that people fail, and about which the judge gave no verdict."""
        wrong = self.agreement.total - self.agreement.count
        return wrong - self.false_pass.count - self.false_fail.count

    def __str__(self) -> str:
        lines = [f"agreement   {self.agreement}; kappa is {self.kappa:.2f}"]
        for word, rate, cases in (
            ("false pass", self.false_pass, self.false_passes),
            ("false fail", self.false_fail, self.false_fails),
        ):
            lines.append(f"{word}  {rate}" + (f"; {some_names(cases)}" if cases else ""))
        lines += [f"no verdict  {len(self.no_verdicts):,}: {some_names(self.no_verdicts)}"] if self.no_verdicts else []
        return "\n".join(lines)

    def save(self, path: Path | str) -> None:
        """Write a file of JSON, for `qualify`, and make its folder. It holds numbers, hashes and ids of cases: commit it.

        Raises:
            CalibrationError: the file cannot be written, or the judge is a plain function: whether a kept calibration is that of
                such a judge cannot be told.
        """
        if not self.judge:
            raise CalibrationError(
                "the calibration of a judge that is a plain function cannot be kept: it does not tell its rubric and its model"
                "\n  make the judge with `judge(model, rubric)`, or give `qualify` the labelled runs"
            )
        told = {"llmtest_calibration": FORMAT, **asdict(replace(self, judge=EMPTY)), "judge": dict(self.judge)}
        text = json.dumps(told, indent=1, ensure_ascii=False)
        try:
            make_folder(Path(path).parent)
            Path(path).write_text(f"{text}\n", "utf-8")
        except OSError as error:
            raise CalibrationError(f"{shown_path(str(path))}: the calibration cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Return the calibration of a file.

        Raises:
            CalibrationError: there is no such file, or it is no calibration.
        """
        shown = shown_path(str(path))
        try:
            found = json.loads(Path(path).read_text("utf-8"))
            version = found.pop("llmtest_calibration")
        except FileNotFoundError:
            hint = "write it with `calibrate(judge, labelled).save(...)`"
            raise CalibrationError(f"the judge is not calibrated: there is no file {shown}\n  {hint}") from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CalibrationError(f"{shown}: this is no calibration: {type(error).__name__}: {error}") from None
        if version != FORMAT:
            raise CalibrationError(f"{shown}: the calibration has the format {version}; this version of llmtest knows {FORMAT}")
        try:
            return cls(**_revived(found))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise CalibrationError(f"{shown}: this is no calibration: {type(error).__name__}: {error}") from None


FORMAT: Final = 1


def _revived(found: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a calibration from those of a file."""
    rates = {name: Rate(**found[name]) for name in ("agreement", "false_pass", "false_fail")}
    for name, rate in rates.items():
        if not 0 <= rate.count <= rate.total or not rate.total or not 0 < rate.confidence < 1:
            raise ValueError(f"`{name}` is no rate")
    agreement, of_fails, of_passes = rates.values()
    right = agreement.total - of_fails.count - of_passes.count
    if agreement.total != of_fails.total + of_passes.total or not right - of_fails.total <= agreement.count <= right:
        raise ValueError("its numbers contradict one another")
    cases = {name: tuple(map(str, found[name])) for name in ("false_passes", "false_fails", "no_verdicts")}
    told = {str(name): str(value) for name, value in found["judge"].items()}
    return {**found, **rates, **cases, "kappa": float(found["kappa"]), "judge": FrozenDict(told)}


def calibrate(judge: Scorer, labelled: Iterable[tuple[CaseRun, bool]], *, confidence: float = CONFIDENCE) -> Calibration:
    """Return how a judge agrees with people: `labelled` are runs, each with whether people say that it passes.

    The judge is asked once for each run. A judge that raises an exception gives no verdict, which is wrong whatever people say.
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
    runs = list(labelled)
    judged = []
    with progress("labelled runs") as step:
        for run, label in runs:
            judged.append((run.case.id, label, _verdict_or_none(judge, run)))
            step(len(judged), len(runs))
    size, passes = len(judged), sum(label for _, label, _ in judged)
    if not 0 < passes < size:
        raise ScorerError(
            f"a judge is calibrated on runs of which people pass some and fail some; of {size:,} they pass {passes:,}"
        )
    false_passes = tuple(name for name, label, verdict in judged if verdict and not label)
    false_fails = tuple(name for name, label, verdict in judged if label and not verdict)
    agreement = Rate(sum(label == verdict for _, label, verdict in judged), size, confidence)
    wrong_passes = size - agreement.count - len(false_fails)
    return Calibration(
        agreement,
        _kappa(wrong_passes / (size - passes), len(false_fails) / passes, passes / size),
        Rate(len(false_passes), size - passes, confidence),
        Rate(len(false_fails), passes, confidence),
        false_passes,
        false_fails,
        tuple(name for name, _, verdict in judged if verdict is None),
        judge_hashes(judge),
        labelled_hash(runs) if isinstance(judge, ModelJudge) else "",
    )


def judge_hashes(judge: Scorer) -> FrozenDict:
    """Return what a judge made with `judge` is known by: its `rubric` and its `model`; nothing of a plain function."""
    if not isinstance(judge, ModelJudge):
        return EMPTY
    return FrozenDict({"rubric": judge.rubric_hash, "model": judge.model_hash, "model_name": judge.model})


def labelled_hash(labelled: Iterable[tuple[CaseRun, bool]]) -> str:
    """Return the hash of labelled runs: it changes with their cases, outputs and labels, and not with their order."""
    return content_hash(sorted([run.case.hash, *shown_output(run), label] for run, label in labelled))


def labelled_runs(dataset: Dataset) -> list[tuple[CaseRun, bool]]:
    """Return the labelled runs that a dataset holds: in the `metadata` of each case, the `output`, and whether it `passes`.

    `passes` is true or false, in a table `true`, `false`, `yes` or `no`.

    Raises:
        DatasetError: a case has no output or no label.

    >>> from llmtest.evals import Dataset
    >>> case = {"id": "france", "inputs": "The capital of France?", "metadata": {"output": "Paris", "passes": True}}
    >>> [(run.output, passes) for run, passes in labelled_runs(Dataset([case]))]
    [('Paris', True)]
    """
    found = []
    for case in dataset:
        label = _LABELS.get(str(case.metadata.get("passes")).lower())
        if label is None or "output" not in case.metadata:
            raise DatasetError(
                f"the case {case.id!r} of {dataset.name} is no labelled run: its `metadata` has the `output` of a program, and"
                f" whether it `passes`, true or false; got {short(dict(case.metadata))}"
            )
        found.append((CaseRun(case, case.metadata["output"]), label))
    return found


_LABELS: Final = {"true": True, "yes": True, "false": False, "no": False}


def _kappa(false_pass: float, false_fail: float, passing: float) -> float:
    """Return Cohen's kappa, where people pass the part `passing` of all runs."""
    judge_passes = passing * (1 - false_fail) + (1 - passing) * false_pass
    by_chance = passing * judge_passes + (1 - passing) * (1 - judge_passes)
    agreement = 1 - passing * false_fail - (1 - passing) * false_pass
    return (agreement - by_chance) / (1 - by_chance)


def _kappa_interval(false_pass: Rate, false_fail: Rate, wrong_without_verdict: int, confidence: float) -> Interval:
    passing = false_fail.total / (false_fail.total + false_pass.total)
    of_fails, of_passes = (
        clopper_pearson(count, total, confidence=math.sqrt(confidence))
        for count, total in (
            (false_pass.count + wrong_without_verdict, false_pass.total),
            (false_fail.count, false_fail.total),
        )
    )
    low, high = (_kappa(*ends, passing) for ends in ((of_fails.high, of_passes.high), (of_fails.low, of_passes.low)))
    return Interval(low, high, confidence)


def _verdict_or_none(judge: Scorer, run: CaseRun) -> bool | None:
    """Return whether a judge passes a run; None if it raises an exception in place of a verdict."""
    silent = False

    def asked(run: CaseRun) -> Any:
        nonlocal silent
        try:
            return judge(run)
        except (ScorerError, AssertionError):  # an assertion that does not hold is a verdict
            raise
        except Exception:
            silent = True
            raise

    verdict = _verdict(asked, run)
    return None if silent else verdict


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
