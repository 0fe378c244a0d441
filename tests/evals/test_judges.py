"""Judges against labels of people, and what should not change a judge's mind."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest

from llmtest import ScriptedChatModel, structured
from llmtest.errors import ScorerError
from llmtest.evals.intervals import Interval, clopper_pearson, mcnemar
from llmtest.evals.judges import Bias, Rate, calibrate, pad, position_bias, verbosity_bias
from llmtest.evals.scores import Case, CaseRun, Score


def runs(number: int, output: Any = "x") -> list[CaseRun]:
    return [CaseRun(Case(f"c{n}", n), output) for n in range(number)]


def table(both_pass: int, only_judge: int, only_people: int, both_fail: int) -> tuple[Any, list[tuple[CaseRun, bool]]]:
    """A judge and labelled runs with these numbers of verdicts."""
    verdicts = [(True, True)] * both_pass + [(True, False)] * only_judge + [(False, True)] * only_people
    verdicts += [(False, False)] * both_fail
    return (lambda run: verdicts[run.case.inputs][0]), list(
        zip(runs(len(verdicts)), (label for _, label in verdicts), strict=True)
    )


@pytest.mark.parametrize(
    ("numbers", "kappa"),
    [((20, 5, 10, 15), 0.4), ((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593), ((5, 0, 0, 5), 1), ((5, 5, 0, 0), 0)],
)
def test_kappa_is_that_of_published_examples(numbers: tuple[int, int, int, int], kappa: float) -> None:
    assert calibrate(*table(*numbers)).kappa == pytest.approx(kappa, abs=5e-5)


def test_a_calibration_has_rates_with_intervals_and_the_cases() -> None:
    calibration = calibrate(*table(20, 10, 2, 8), confidence=0.9)

    assert calibration.agreement == Rate(28, 40, 0.9)
    assert calibration.agreement.interval == clopper_pearson(28, 40, confidence=0.9) != Interval(0, 1, 0.9)
    assert (calibration.false_pass, calibration.false_fail) == (Rate(10, 18, 0.9), Rate(2, 22, 0.9))
    assert calibration.false_fails == ("c30", "c31")
    assert str(calibration) == (
        "agreement   28 of 40, 70 %: from 55.9 % to 81.7 % (90 % confidence); kappa is 0.37\n"
        "false pass  10 of 18, 55.56 %: from 34 % to 75.7 % (90 % confidence);"
        " `c20`, `c21`, `c22`, `c23`, `c24`, `c25`, `c26`, `c27` and 2 more\n"
        "false fail  2 of 22, 9.09 %: from 1.6 % to 26 % (90 % confidence); `c30`, `c31`"
    )


def test_a_scripted_model_is_a_judge_without_a_network() -> None:
    model = ScriptedChatModel(structured({"good": True, "why": ""}), structured({"good": False, "why": "too short"}))
    rubric = model.with_structured_output(
        {"title": "Verdict", "type": "object", "properties": {"good": {"type": "boolean"}, "why": {"type": "string"}}}
    )

    def judge(run: CaseRun) -> Score:
        verdict: Any = rubric.invoke(f"Is this a good answer? {run.output}")
        return Score(float(verdict["good"]), verdict["good"], verdict["why"])

    first, second = runs(2)
    assert calibrate(judge, [(first, True), (second, False)]).agreement == Rate(2, 2, 0.95)


def test_a_judge_that_raises_fails_the_run() -> None:
    def judge(run: CaseRun) -> bool:
        raise TimeoutError

    first, second = runs(2)
    assert calibrate(judge, [(first, True), (second, False)]).false_fails == ("c0",)


# -- biases


def test_a_judge_that_rewards_length_is_found_and_one_that_is_fickle_is_not_biased() -> None:
    fickle = cycle([True, False, False, True])

    assert verbosity_bias(lambda run: len(run.output) > 100, runs(8)) == Bias("longer output", 8, 8, 0, mcnemar(8, 0))
    assert verbosity_bias(lambda run: next(fickle), runs(8)) == Bias("longer output", 8, 4, 4, 1.0)
    assert verbosity_bias(lambda run: "x" in run.output, runs(8)).changed == 0
    assert verbosity_bias(lambda run: run.output == "xx", runs(6), longer=lambda text: 2 * text).favoured == 6
    assert str(verbosity_bias(lambda run: len(run.output) < 9, runs(6))) == (
        "longer output: of 6, 0 changed for it and 6 against it (McNemar, p = 0.031)"
    )
    assert pad("Paris.").startswith("Paris.\n\n")


def test_a_judge_that_prefers_a_position_is_found() -> None:
    pairs = list(zip(runs(6, "short"), runs(6, "much longer"), strict=True))

    def by_length(first: CaseRun, second: CaseRun) -> Any:
        return "first" if len(first.output) > len(second.output) else "second"

    first, second, fair, tie = (
        position_bias(choose, pairs) for choose in (lambda a, b: "first", lambda a, b: "second", by_length, lambda a, b: "tie")
    )

    assert (first.favoured, first.disfavoured, first.p) == (6, 0, pytest.approx(2 / 64))
    assert (second.favoured, second.disfavoured, second.p) == (0, 6, pytest.approx(2 / 64))
    assert fair == tie == Bias("first position", 6, 0, 0, 1.0)


# -- what makes no sense


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (
            lambda: calibrate(lambda run: True, []),
            "a judge is calibrated on runs of which people pass some and fail some; of 0 they pass 0",
        ),
        (
            lambda: calibrate(lambda run: True, [(run, True) for run in runs(3)]),
            "a judge is calibrated on runs of which people pass some and fail some; of 3 they pass 3",
        ),
        (
            lambda: calibrate(lambda run: 0.7, [(run, True) for run in runs(3)]),
            "a judge says whether a run passes: a bool, or a Score with passed=True or False; it gave a number",
        ),
        (lambda: verbosity_bias(lambda run: True, runs(1, 7)), "the output of the case 'c0' has no text that could be longer"),
        (
            lambda: position_bias(lambda a, b: "A", [(runs(1)[0], runs(1)[0])]),  # type: ignore[arg-type, return-value]
            "a judge of two runs answers 'first', 'second' or 'tie'; got 'A'",
        ),
    ],
)
def test_a_judge_that_cannot_be_checked_is_an_error(ask: Any, error: str) -> None:
    with pytest.raises(ScorerError) as caught:
        ask()

    assert str(caught.value) == error
