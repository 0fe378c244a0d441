"""The gate before a judge: its verdicts count only if it has been shown to judge as people do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from llmtest.core.source import shown_path
from llmtest.core.text import amount
from llmtest.errors import CalibrationError, ScorerError
from llmtest.evals.judges import Calibration, Rate, calibrate, judge_hashes, labelled_hash
from llmtest.evals.model_judge import ModelJudge
from llmtest.evals.scores import CaseRun, Scorer
from llmtest.evals.verdicts import Requirement, percent

J = TypeVar("J", bound="Callable[[CaseRun], Any]")
MAX_FACTOR: Final = 10_000
"""A bar that takes this many times the labels is out of reach."""


def qualify(
    judge: J,
    labelled: Iterable[tuple[CaseRun, bool]] | None = None,
    *,
    kept: Path | str | None = None,
    agreement: float | None = None,
    false_pass: float | None = None,
    false_fail: float | None = None,
    kappa: float | None = None,
) -> J:
    """Return the judge, if it has been shown to agree with people; else raise an error that says what was measured.

    `labelled` are runs with the labels of people, on which the judge is calibrated; `kept` is a file with the calibration. With
    both, the file is written if it is missing, and used if it is there. At least one bar is required: `agreement` and `kappa`
    are reached if the whole interval is at or above them, `false_pass` and `false_fail` if all of it is at or below. The
    confidence is 95 %, or that of the file.

    Raises:
        CalibrationError: a bar is not reached; the message says how many labels would show it. Or there is no file, or it is of
            another rubric, another model, or other labelled runs: delete it, and calibrate again.
        ScorerError: there is no bar, neither labels nor a file, or the judge cannot be calibrated.

    >>> from llmtest.evals import Case, CaseRun
    >>> labelled = [(CaseRun(Case(f"c{n}", n), output="Paris" if n % 2 else "Lyon"), n % 2 == 1) for n in range(40)]
    >>> judge = qualify(lambda run: run.output == "Paris", labelled, agreement=0.9)
    >>> judge(labelled[1][0])
    True

    It does not know runs unlike the labelled ones: label runs of the program that is judged, and new ones from time to time.
    """
    bars = {"agreement": agreement, "kappa": kappa, "false pass": false_pass, "false fail": false_fail}
    required = {word: bar for word, bar in bars.items() if bar is not None}
    if not required:
        raise ScorerError("qualify without a bar: give one or more of agreement=, false_pass=, false_fail= and kappa=")
    for word, bar in required.items():
        if isinstance(bar, bool) or not 0 < bar < 1:
            raise ScorerError(f"{word.replace(' ', '_')}= of qualify is a number between 0 and 1, such as 0.9; got {bar!r}")
    calibration = _calibration(judge, labelled, kept)
    missed = [line for word, bar in required.items() for line in _missed(calibration, word, bar)]
    if missed:
        name = getattr(judge, "__name__", type(judge).__name__)
        sure = percent(calibration.agreement.confidence)
        raise CalibrationError("\n".join([f"the judge `{name}` is not shown to judge as people do ({sure} confidence)", *missed]))
    if isinstance(judge, ModelJudge):
        judge.is_qualified = True
    return judge


def _calibration(judge: Scorer, labelled: Iterable[tuple[CaseRun, bool]] | None, kept: Path | str | None) -> Calibration:
    if kept is None:
        if labelled is None:
            raise ScorerError("qualify takes labelled runs, or kept=, a file with a calibration, or both")
        return calibrate(judge, labelled)
    if not judge_hashes(judge):
        raise CalibrationError(
            "kept= of qualify is for judges of `judge(model, rubric)`: a plain function does not tell its rubric and its model,"
            " so whether a calibration is that of this judge cannot be told"
        )
    runs = None if labelled is None else list(labelled)
    if runs is not None and not Path(kept).exists():
        made = calibrate(judge, runs)
        made.save(kept)
        return made
    found = Calibration.load(kept)
    changed = list(_changed(found, judge, runs))
    if changed:
        lines = "\n".join(f"  {line}" for line in changed)
        again = "delete the file, and calibrate the judge again"
        raise CalibrationError(f"{shown_path(str(kept))}: this calibration is not of this judge\n{lines}\n  {again}")
    return found


def _changed(found: Calibration, judge: Scorer, labelled: Iterable[tuple[CaseRun, bool]] | None) -> Iterator[str]:
    now: Mapping[str, str] = judge_hashes(judge)
    if now["rubric"] != found.judge.get("rubric"):
        yield f"the rubric has changed: its hash was {found.judge.get('rubric')}, and is {now['rubric']}"
    if now["model"] != found.judge.get("model"):
        names = found.judge.get("model_name"), now["model_name"]
        what = f"it was {names[0]}, and is {names[1]}" if names[0] != names[1] else f"other parameters of {names[0]}"
        yield f"the model has changed: {what}"
    if labelled is not None and (hash_now := labelled_hash(labelled)) != found.labelled:
        yield f"the labelled runs have changed: their hash was {found.labelled}, and is {hash_now}"


def _missed(calibration: Calibration, word: str, bar: float) -> Iterator[str]:
    """Yield a line about a bar that is not reached, and how many labels would show that it is."""
    if word == "kappa":
        interval = calibration.kappa_interval
        if interval.low < bar:
            shown = f"{calibration.kappa:.2f}: from {interval.low:.2f} to {interval.high:.2f}"
            yield f"  kappa       {shown}; at least {bar:g} is required\n    {_labels_for_kappa(calibration, bar)}"
        return
    rate: Rate = getattr(calibration, word.replace(" ", "_"))
    good, least = (rate.count, bar) if word == "agreement" else (rate.total - rate.count, 1 - bar)
    verdict = Requirement(least, rate.confidence).judge(good, rate.total)
    reached = rate.interval.low >= bar if word == "agreement" else rate.interval.high <= bar
    if reached:
        return
    side = "at least" if word == "agreement" else "at most"
    runs = {"agreement": "labelled runs", "false pass": "runs that people fail", "false fail": "runs that people pass"}[word]
    more = verdict.more if good > least * rate.total else None
    hint = f"no number of labels would show it, if the rate stays {percent(rate.value)}"
    if more:
        hint = f"a new set of {rate.total + more:,} {runs} would show it, if the rate stays {percent(rate.value)}"
    yield f"  {word:10}  {rate}; {side} {percent(bar)} is required\n    {hint}"


def _labels_for_kappa(calibration: Calibration, bar: float) -> str:
    """Return how many labels would show kappa to be at least `bar`, if all numbers grow alike."""

    def low(factor: float) -> float:
        rates = {
            name: replace(rate, count=round(rate.count * factor), total=round(rate.total * factor))
            for name in ("agreement", "false_pass", "false_fail")
            for rate in [getattr(calibration, name)]
        }
        return replace(calibration, **rates).kappa_interval.low

    if calibration.kappa <= bar or low(MAX_FACTOR) < bar:
        return f"no number of labels would show it, if it stays {calibration.kappa:.2f}"
    step, factor = 1.0, 1.0
    while low(factor + step) < bar:
        factor, step = factor + step, step * 2
    while step * calibration.agreement.total > 1:
        step /= 2
        factor += step if low(factor + step) < bar else 0
    total = round((factor + step) * calibration.agreement.total)
    return f"a new set of about {amount(total, 'labelled run')} would show it, if it stays {calibration.kappa:.2f}"
