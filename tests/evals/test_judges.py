"""Judges against labels of people, and what should not change a judge's mind."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from llmtest import ScriptedChatModel, record, structured
from llmtest.errors import CalibrationError, DatasetError, ScorerError
from llmtest.evals.datasets import Dataset
from llmtest.evals.intervals import Interval, clopper_pearson, mcnemar
from llmtest.evals.judges import (
    Bias,
    Calibration,
    Rate,
    calibrate,
    labelled_hash,
    labelled_runs,
    pad,
    position_bias,
    verbosity_bias,
)
from llmtest.evals.model_judge import judge
from llmtest.evals.scores import Case, CaseRun, Score
from llmtest.events.words import FrozenDict


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


def test_a_judge_that_gives_no_verdict_is_wrong_whatever_people_say() -> None:
    def silent(run: CaseRun) -> bool:
        raise TimeoutError

    def asserting(run: CaseRun) -> bool:
        assert run.case.inputs == 0
        return True

    first, second = runs(2)
    none, good = (calibrate(judge, [(first, True), (second, False)]) for judge in (silent, asserting))
    assert (none.agreement.count, none.kappa, none.no_verdicts) == (0, -1, ("c0", "c1"))
    assert (none.false_fails, none.false_passes, none.wrong_without_verdict) == (("c0",), (), 1)
    assert str(none).endswith("\nno verdict  2: `c0`, `c1`")
    assert none.kappa_interval.low == -1 < none.kappa_interval.high
    assert (good.agreement.count, good.kappa, good.no_verdicts) == (2, 1, ())


# -- kappa


def as_table(numbers: tuple[int, int, int, int]) -> list[list[int]]:
    both_pass, only_judge, only_people, both_fail = numbers
    return [[both_pass, only_judge], [only_people, both_fail]]


@pytest.mark.parametrize(
    "numbers", [(20, 5, 10, 15), (45, 15, 25, 15), (25, 35, 5, 35), (180, 12, 9, 99), (400, 3, 8, 40), (5, 5, 5, 5)]
)
def test_kappa_is_that_of_statsmodels_and_its_interval_a_little_wider(numbers: tuple[int, int, int, int]) -> None:
    expected = cohens_kappa(as_table(numbers))

    found = calibrate(*table(*numbers))

    assert found.kappa == pytest.approx(expected.kappa, abs=1e-12)
    width = expected.kappa_upp - expected.kappa_low
    assert found.kappa_interval.low < expected.kappa < found.kappa_interval.high
    assert width < found.kappa_interval.high - found.kappa_interval.low < 2.1 * width


def kappa_of(sensitivity: float, specificity: float, passing: float) -> float:
    """Kappa by its definition, from the four probabilities."""
    both_pass, both_fail = passing * sensitivity, (1 - passing) * specificity
    judge_passes = both_pass + (1 - passing) * (1 - specificity)
    chance = passing * judge_passes + (1 - passing) * (1 - judge_passes)
    return (both_pass + both_fail - chance) / (1 - chance)


@pytest.mark.parametrize(
    ("size", "passes", "sensitivity", "specificity"),
    [(20, 10, 0.9, 0.8), (50, 40, 0.95, 0.6), (30, 6, 0.99, 0.99), (8, 4, 0.5, 0.5)],
)
def test_the_interval_of_kappa_holds_the_true_one_as_often_as_it_says(
    size: int, passes: int, sensitivity: float, specificity: float
) -> None:
    """All outcomes, each with its probability: no simulation."""
    true, held = kappa_of(sensitivity, specificity, passes / size), 0.0
    for hits in range(passes + 1):
        for wrong in range(size - passes + 1):
            rates = (
                Rate(size - wrong - passes + hits, size, 0.95),
                Rate(wrong, size - passes, 0.95),
                Rate(passes - hits, passes, 0.95),
            )
            chance = stats.binom.pmf(hits, passes, sensitivity) * stats.binom.pmf(wrong, size - passes, 1 - specificity)
            held += chance * (true in Calibration(rates[0], 0.0, *rates[1:]).kappa_interval)

    assert held >= 0.95


# -- files


def test_a_calibration_is_written_and_read(tmp_path: Path) -> None:
    model = ScriptedChatModel(structured({"why": "", "passed": True}), structured({"why": "", "passed": True}))
    first, second = runs(2)
    calibration = calibrate(judge(model, "rubric"), [(first, True), (second, False)])

    calibration.save(tmp_path / "kept.json")

    assert Calibration.load(tmp_path / "kept.json") == calibration
    assert set(calibration.judge) == {"rubric", "model", "model_name"}
    assert calibration.labelled == labelled_hash([(second, False), (first, True)])
    assert calibration.labelled != labelled_hash([(second, True), (first, True)])


def test_the_tree_of_a_labelled_run_is_part_of_it() -> None:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    (one,) = runs(1)

    assert labelled_hash([(one, True)]) != labelled_hash([(replace(one, recording=recording), True)])


WHOLE = json.loads(
    '{"llmtest_calibration": 1, "agreement": {"count": 1, "total": 2, "confidence": 0.95}, "kappa": 0,'
    ' "false_pass": {"count": 1, "total": 1, "confidence": 0.95}, "false_fail": {"count": 0, "total": 1, "confidence": 0.95},'
    ' "false_passes": [], "false_fails": [], "no_verdicts": [], "judge": {}, "labelled": ""}'
)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "x.json: this is no calibration: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "x.json: this is no calibration: TypeError: pop expected at most 1 argument, got 0"),
        ("{}", "x.json: this is no calibration: KeyError: 'llmtest_calibration'"),
        ('{"llmtest_calibration": 2}', "x.json: the calibration has the format 2; this version of llmtest knows 1"),
        ('{"llmtest_calibration": 1}', "x.json: this is no calibration: KeyError: 'agreement'"),
        (
            json.dumps(WHOLE | {"agreement": {"count": 3, "total": 2, "confidence": 0.95}}),
            "x.json: this is no calibration: ValueError: `agreement` is no rate",
        ),
        (
            json.dumps(WHOLE | {"agreement": {"count": 2, "total": 2, "confidence": 0.95}}),
            "x.json: this is no calibration: ValueError: its numbers contradict one another",
        ),
    ],
)
def test_a_file_that_is_no_calibration_is_an_error(
    text: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.json").write_text(text)

    with pytest.raises(CalibrationError) as caught:
        Calibration.load("x.json")

    assert (
        str(caught.value).partition("this is no calibration: TypeError")[0]
        == error.partition("this is no calibration: TypeError")[0]
    )


def test_a_calibration_that_cannot_be_kept_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    function = calibrate(*table(2, 1, 1, 2))
    Path("file").touch()

    with pytest.raises(CalibrationError) as plain:
        function.save("x.json")
    with pytest.raises(CalibrationError) as written:
        replace(function, judge=FrozenDict({"rubric": "r"})).save("file/x.json")

    assert str(plain.value) == (
        "the calibration of a judge that is a plain function cannot be kept: it does not tell its rubric and its model\n"
        "  make the judge with `judge(model, rubric)`, or give `qualify` the labelled runs"
    )
    assert str(written.value) == "file/x.json: the calibration cannot be written: File exists"


@pytest.mark.parametrize("label", [True, False, "yes", "No", "TRUE"])
def test_labelled_runs_stand_in_a_dataset(label: bool | str) -> None:
    dataset = Dataset([{"id": "a", "inputs": "x", "metadata": {"output": "y", "passes": label}}])

    ((run, passes),) = labelled_runs(dataset)

    assert (run.case, run.output, passes) == (dataset[0], "y", str(label).lower() in ("true", "yes"))


@pytest.mark.parametrize("metadata", [{}, {"output": "y"}, {"passes": True}, {"output": "y", "passes": "perhaps"}])
def test_a_case_that_is_no_labelled_run_is_an_error(metadata: dict[str, Any]) -> None:
    with pytest.raises(DatasetError) as caught:
        labelled_runs(Dataset([{"id": "a", "inputs": "x", "metadata": metadata}]))

    assert str(caught.value) == (
        "the case 'a' of dataset is no labelled run: its `metadata` has the `output` of a program, and whether it `passes`, true"
        f" or false; got {metadata!r}"
    )


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
