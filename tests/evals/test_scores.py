"""What a scorer may return, and what becomes of crashed runs and of scorers that fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmtest import record
from llmtest.errors import EvaluationError, ScorerError, StatusError, UnjudgedError
from llmtest.evals.scores import Case, CaseRun, Score, score
from llmtest.matching import at_least, never

CASE = Case("france", "What is the capital?", "Paris")
RUN = CaseRun(CASE, output="Lyon")


def raises(error: BaseException) -> Any:
    def scorer(run: CaseRun) -> bool:
        raise error

    return scorer


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (True, Score(1.0, True)),
        (False, Score(0.0, False, "it returned False")),
        (0.25, Score(0.25)),
        (3, Score(3.0)),
        (np.float64(0.5) > 0.4, Score(1.0, True)),
        (np.float32(0.5), Score(0.5)),
        (Score(0.5, False, "half"), Score(0.5, False, "half")),
    ],
    ids=repr,
)
def test_a_scorer_returns_a_bool_a_number_or_a_score(returned: Any, expected: Score) -> None:
    assert dict(score(RUN, it=lambda run: returned)) == {"it": expected}


def test_an_answer_of_a_rule_is_a_score() -> None:
    with record() as recording:
        pass

    scores = score(
        CaseRun(CASE, recording=recording),
        kept=lambda run: run.recording.obeys(never("delete")),  # type: ignore[union-attr]
        broken=lambda run: run.recording.obeys(at_least(1, "search")),  # type: ignore[union-attr]
    )

    assert dict(scores) == {
        "kept": Score(1.0, True),
        "broken": Score(0.0, False, "broken: `search` at least once: `search` came not at all"),
    }


def test_a_number_only_measures_and_fails_no_run() -> None:
    scores = score(RUN, length=lambda run: len(run.output))

    assert (scores.passed, str(scores)) == (True, "passed")


def test_a_run_passes_if_no_scorer_failed_it_and_the_others_say_why_in_one_line_each() -> None:
    def is_paris(run: CaseRun) -> bool:
        assert run.output == "Paris", f"{run.output} is not Paris\nmore"
        return True

    scores = score(RUN, is_paris, other=lambda run: False, good=lambda run: True)

    assert not scores.passed
    assert str(scores) == "is_paris: Lyon is not Paris\nother: it returned False"
    assert repr(score(RUN, good=lambda run: True)) == "<Scores: {'good': Score(value=1.0, passed=True, why='')}>"
    assert (list(scores), len(scores), score(RUN).passed) == (["is_paris", "other", "good"], 3, True)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (KeyError("city"), "KeyError: 'city'"),
        (AssertionError(), "an assertion failed"),
        (AssertionError("no\nmore"), "no"),
        (UnjudgedError("it cannot be told"), "UnjudgedError: it cannot be told"),
        (ValueError("the key is sk-" + "a1b2c3d4e5" * 3), "ValueError: the key is <mask:secret>"),
        (ValueError("word " * 100), "ValueError: " + "word " * 36 + "word..."),
    ],
)
def test_a_scorer_that_raises_fails_the_run(error: Exception, why: str) -> None:
    assert score(RUN, it=raises(error))["it"] == Score(0.0, False, why)


def test_an_interrupt_is_no_score() -> None:
    with pytest.raises(KeyboardInterrupt):
        score(RUN, it=raises(KeyboardInterrupt()))


def test_a_run_that_crashed_fails_every_scorer_and_none_is_called() -> None:
    scores = score(CaseRun(CASE, error=TimeoutError("too slow")), it=raises(KeyboardInterrupt()), other=lambda run: 1.0)

    failed = Score(0.0, False, "the run crashed: TimeoutError: too slow")
    assert (dict(scores), scores.passed) == ({"it": failed, "other": failed}, False)
    assert str(scores) == "the run crashed: TimeoutError: too slow"
    assert not score(CaseRun(CASE, error=TimeoutError())).passed


def test_an_exception_whose_text_cannot_be_read_is_a_reason_too() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise KeyError("text")

    assert score(RUN, it=raises(OddError()))["it"].why == "OddError: (KeyError when read)"


async def later(run: CaseRun) -> bool:
    return True


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (None, "the scorer `it` returned None; it returns a bool, a finite number or a Score"),
        ("yes", "the scorer `it` returned 'yes'; it returns a bool, a finite number or a Score"),
        (float("nan"), "the scorer `it` returned nan; it returns a bool, a finite number or a Score"),
    ],
)
def test_a_scorer_that_returns_no_score_is_an_error(returned: Any, error: str) -> None:
    with pytest.raises(ScorerError) as caught:
        score(RUN, it=lambda run: returned)

    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda: score(RUN, later), "the scorer `later` is async; a scorer is a plain function"),
        (
            lambda: score(RUN, later, later),
            "two scorers have the name `later`; name one with a keyword: score(run, other_name=...)",
        ),
        (lambda: Score(float("inf")), "the value of a score is a finite number; got inf"),
        (
            lambda: score(RUN, it=lambda run: Score(float("nan"))),
            "the value of a score is a finite number; got nan",
        ),
    ],
)
def test_what_makes_no_sense_is_an_error(ask: Any, error: str) -> None:
    with pytest.raises(ScorerError) as caught:
        ask()

    assert str(caught.value) == error


def test_a_callable_object_has_the_name_of_its_class() -> None:
    class Polite:
        def __call__(self, run: CaseRun) -> bool:
            return True

    assert list(score(RUN, Polite())) == ["Polite"]


def test_a_scorer_whose_provider_refuses_says_nothing_about_the_run() -> None:
    """A run that has no score has not failed."""
    with pytest.raises(EvaluationError) as caught:
        score(RUN, similar=raises(StatusError(429)))

    assert str(caught.value) == (
        "the scorer `similar` was refused: StatusError: 429 Too Many Requests\n"
        "  a refusal says nothing about the run, which has no score"
    )
    assert isinstance(caught.value.__cause__, StatusError)
