"""The gate before a judge: who passes it, what it says to the others, and what makes a kept calibration that of another judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmtest import ScriptedChatModel, structured
from llmtest.errors import CalibrationError, LlmtestError, ScorerError
from llmtest.evals.judges import Calibration, calibrate
from llmtest.evals.model_judge import ModelJudge, judge
from llmtest.evals.qualification import qualify
from llmtest.evals.scores import Case, CaseRun

Labelled = list[tuple[CaseRun, bool]]


def labelled(number: int) -> Labelled:
    return [(CaseRun(Case(f"c{n}", n), "Paris" if n % 2 else "Lyon"), n % 2 == 1) for n in range(number)]


def wrong_about(*numbers: int) -> Callable[[CaseRun], bool]:
    def careless(run: CaseRun) -> bool:
        return (run.output == "Paris") != (run.case.inputs in numbers)

    return careless


def model_judge(number: int = 40, *, rubric: str = "names Paris", **options: Any) -> ModelJudge:
    answers = [structured({"why": "", "passed": n % 2 == 1}) for n in range(number)]
    return judge(ScriptedChatModel(*answers, **options), rubric, name="paris")


def refused(ask: Callable[[], object], error: type[LlmtestError] = CalibrationError) -> str:
    with pytest.raises(error) as caught:
        ask()
    return str(caught.value)


def test_a_judge_whose_intervals_reach_all_bars_is_returned() -> None:
    good = wrong_about(0)

    assert qualify(good, labelled(200), agreement=0.95, false_pass=0.06, false_fail=0.04, kappa=0.89) is good


def test_a_judge_below_its_bars_is_told_what_was_measured_and_how_many_labels_it_takes() -> None:
    text = refused(lambda: qualify(wrong_about(1, 2, 3), labelled(60), agreement=0.9, false_pass=0.01, false_fail=0.2, kappa=0.8))

    assert text == (
        "the judge `careless` is not shown to judge as people do (95 % confidence)\n"
        "  agreement   57 of 60, 95 %: from 86 % to 99 % (95 % confidence); at least 90 % is required\n"
        "    a new set of 154 labelled runs would show it, if the rate stays 95 %\n"
        "  kappa       0.90: from 0.56 to 0.99; at least 0.8 is required\n"
        "    a new set of about 329 labelled runs would show it, if it stays 0.90\n"
        "  false pass  1 of 30, 3.33 %: from 0 % to 17.3 % (95 % confidence); at most 1 % is required\n"
        "    no number of labels would show it, if the rate stays 3.33 %\n"
        "  false fail  2 of 30, 6.67 %: from 0.8 % to 22.1 % (95 % confidence); at most 20 % is required\n"
        "    a new set of 41 runs that people pass would show it, if the rate stays 6.67 %"
    )


@pytest.mark.parametrize(("wrong", "bar"), [(0, 0.96), (2, 0.75), (6, 0.6)])
def test_the_labels_for_kappa_are_enough_and_hardly_too_many(wrong: int, bar: float) -> None:
    text = refused(lambda: qualify(wrong_about(*range(wrong)), labelled(60), kappa=bar))
    number = int(text.partition("about ")[2].split()[0].replace(",", ""))

    def low(size: int) -> float:
        return calibrate(wrong_about(*range(round(wrong * size / 60))), labelled(size)).kappa_interval.low

    assert low(number + number % 2) >= bar - 0.01
    assert low(round(number * 0.4) * 2) < bar


def test_few_labels_show_nothing_however_well_they_agree() -> None:
    text = refused(lambda: qualify(wrong_about(), labelled(4), kappa=0.1))

    assert text.splitlines()[1:] == [
        "  kappa       1.00: from -0.77 to 1.00; at least 0.1 is required",
        "    a new set of about 15 labelled runs would show it, if it stays 1.00",
    ]
    assert refused(lambda: qualify(wrong_about(1), labelled(40), kappa=0.99)).endswith(
        "no number of labels would show it, if it stays 0.95"
    )


# -- files


def test_a_calibration_is_written_once_and_asks_nothing_again(tmp_path: Path) -> None:
    path = tmp_path / "paris.json"
    first, again = model_judge(), model_judge(0)

    assert qualify(first, labelled(40), kept=path, agreement=0.9) is first
    assert qualify(again, labelled(40), kept=path, agreement=0.9) is again
    assert qualify(again, kept=path, agreement=0.9) is again
    assert again.asked == 0
    assert (again.is_qualified, model_judge(0).is_qualified) == (True, False)
    assert Calibration.load(path) == calibrate(model_judge(), labelled(40))
    assert "at least 95 % is required" in refused(lambda: qualify(again, kept=path, agreement=0.95))


def test_a_calibration_of_another_judge_is_an_error_that_says_what_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "paris.json"
    first = model_judge()
    qualify(first, labelled(40), kept=path, agreement=0.8)
    other = model_judge(0, rubric="names Lyon", model_name="gpt-x")
    hashes = json.loads(path.read_text("utf-8"))

    text = refused(lambda: qualify(other, labelled(38), kept=path, agreement=0.8))

    assert [line.rpartition(" ")[0] for line in text.splitlines()] == [
        f"{path}: this calibration is not of this",
        f"  the rubric has changed: its hash was {hashes['judge']['rubric']}, and is",
        "  the model has changed: it was scripted, and is",
        f"  the labelled runs have changed: their hash was {hashes['labelled']}, and is",
        "  delete the file, and calibrate the judge",
    ]


def test_other_parameters_of_a_model_are_another_judge(tmp_path: Path) -> None:
    path = tmp_path / "paris.json"
    first = model_judge()
    qualify(first, labelled(40), kept=path, agreement=0.8)
    first.model_hash = "other"

    text = refused(lambda: qualify(first, kept=path, agreement=0.8))

    assert text.splitlines()[1] == "  the model has changed: other parameters of scripted"


def test_no_bar_no_labels_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cases: list[tuple[Callable[[], object], type[LlmtestError], str]] = [
        (
            lambda: qualify(wrong_about(), labelled(4)),
            ScorerError,
            "qualify without a bar: give one or more of agreement=, false_pass=, false_fail= and kappa=",
        ),
        (
            lambda: qualify(wrong_about(), labelled(4), false_pass=5),
            ScorerError,
            "false_pass= of qualify is a number between 0 and 1, such as 0.9; got 5",
        ),
        (
            lambda: qualify(wrong_about(), agreement=0.9),
            ScorerError,
            "qualify takes labelled runs, or kept=, a file with a calibration, or both",
        ),
        (
            lambda: qualify(model_judge(0), kept="no.json", agreement=0.9),
            CalibrationError,
            "the judge is not calibrated: there is no file no.json\n  write it with `calibrate(judge, labelled).save(...)`",
        ),
        (
            lambda: qualify(wrong_about(), labelled(4), kept="x.json", agreement=0.9),
            CalibrationError,
            "kept= of qualify is for judges of `judge(model, rubric)`: a plain function does not tell its rubric and its model,"
            " so whether a calibration is that of this judge cannot be told",
        ),
    ]

    assert [refused(ask, error) for ask, error, _ in cases] == [text for *_, text in cases]
    assert list(tmp_path.iterdir()) == []
