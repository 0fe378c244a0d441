"""Scorers that compare a recording with a tree, a budget and the protocol: what passes, and the one line that says why not."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from llmtest import Recording, ScriptedChatModel, record, say, scripted_tool
from llmtest.errors import BudgetError, ScorerError
from llmtest.evals.recording_scorers import conforms, same_tree, within
from llmtest.evals.scores import Case, CaseRun, Score
from llmtest.ledger import Ledger, opened
from llmtest.protocol import check
from llmtest.trees import render
from tests.support.recordings import doctored

PASSED = Score(1.0, True)


def searched(what: str) -> Recording:
    with record() as recording:
        scripted_tool("search", "a hat", args={"q": str}).invoke({"q": what})
    return recording


def asked(*answers: Any) -> Recording:
    model = ScriptedChatModel(*answers, model_name="gpt-x")
    with record() as recording:
        for _ in answers:
            model.invoke("hi")
    return recording


def run(recording: Recording | None, expected: Any = None) -> CaseRun:
    return CaseRun(Case("hat", "Find a hat", expected), "a hat", recording)


# -- trees


def test_equal_trees_pass_however_they_are_told(tmp_path: Path) -> None:
    hat = searched("hat")
    text = render(hat)
    (tmp_path / "hat.tree").write_text(f"# llmtest tree v1\n# test a\n# snapshot b\n{text}", "utf-8")

    for expected in (
        text,
        text.rstrip(),
        f"# llmtest tree v1\n{text}",
        searched("hat"),
        hat.only(kinds="tool"),
        tmp_path / "hat.tree",
    ):
        assert same_tree(expected)(run(hat)) == PASSED
    assert same_tree()(run(hat, text)) == PASSED


def test_a_tree_that_differs_has_the_part_that_agrees_and_the_first_difference() -> None:
    score = same_tree(searched("cap"))(run(searched("hat")))

    assert score == Score(0.5, False, 'tool argument q "cap" → "hat" at search (1 of 2 lines, 1 cause)')
    assert same_tree(searched("cap"))(run(record())).value == 0


def test_an_id_that_the_tree_shows_is_shown_again() -> None:
    identity = "5f0c1f9e-3a51-4c3e-9d53-0b7a3f3e2c11"
    found = searched(identity)
    shown = f'tool search(q="{identity}")\n  < "a hat"\n'

    assert identity not in render(found)
    assert same_tree(shown)(run(found)) == PASSED


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        (7, "the scorer `same_tree` expects a tree, a path or a recording; got 7"),
        (None, "the scorer `same_tree` expects a tree, a path or a recording; got None"),
        (Path("no.tree"), "the scorer `same_tree` expects a tree: there is no file no.tree"),
        ("tool search\n      < deep", "the scorer `same_tree` expects a tree: line 2: "),
    ],
)
def test_what_is_no_tree_is_an_error(expected: Any, error: str) -> None:
    with pytest.raises(ScorerError) as at_once:
        same_tree(expected)
    with pytest.raises(ScorerError) as later:
        same_tree()(run(searched("hat"), expected))

    assert str(at_once.value).startswith(error)
    assert str(later.value) == str(at_once.value)


# -- budgets


PRICES = {"gpt-x": (1.0, 2.0)}


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"total_tokens": 6, "requests": 2}, ""),
        ({"total_tokens": 5}, "the run spent more than its budget: total_tokens 6 of 5"),
        ({"requests": 1, "input_tokens": 1}, "the run spent more than its budget: requests 2 of 1, input_tokens 2 of 1"),
        ({"cost": 1.0, "prices": PRICES}, ""),
        ({"cost": 0.000001, "prices": PRICES}, "the run spent more than its budget: cost 1e-05 of 1e-06"),
        (
            {"cost": 1.0, "prices": {"gpt-y": (1.0, 2.0)}},
            "whether the run kept to its budget is not known: no price for the model 'gpt-x'; did you mean `gpt-y`?",
        ),
    ],
)
def test_a_run_keeps_to_its_budget_or_does_not_pass(limits: dict[str, Any], why: str) -> None:
    assert within(**limits)(run(asked("Hello there", "Hello you"))) == Score(float(not why), not why, why)


def test_unknown_usage_does_not_pass() -> None:
    silent = asked(say("Hello", usage=False), "Hello")

    assert within(total_tokens=100)(run(silent)) == Score(
        0.0, False, "whether the run kept to its budget is not known: 1 of 2 model calls reported no usage"
    )
    assert within(requests=2)(run(silent)) == PASSED


def test_a_call_that_was_not_seen_does_not_pass() -> None:
    model = ScriptedChatModel("Hello")
    thread = threading.Thread(target=lambda: model.invoke("hi"))
    with opened(Ledger()), record() as recording:
        thread.start()
        thread.join()

    assert within(requests=5)(run(recording)) == Score(
        0.0, False, "whether the run kept to its budget is not known: 1 call happened that nothing counted"
    )


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({}, "within without a limit; give one or more of total_tokens, input_tokens, output_tokens, requests, cost"),
        ({"tokens": 1}, "within has no limit called `tokens`; did you mean `total_tokens`?"),
        ({"requests": -1}, "the limit `requests` of within is a number, 0 or more; got -1"),
    ],
)
def test_a_budget_that_makes_no_sense_is_an_error(limits: dict[str, Any], error: str) -> None:
    with pytest.raises(BudgetError) as caught:
        within(**limits)

    assert str(caught.value) == error


# -- the protocol


def test_callbacks_that_keep_the_protocol_pass() -> None:
    good = asked("Hello")
    second_end = doctored(good, lambda raw: raw.append(raw[-1]))
    two = doctored(good, lambda raw: (raw.append(raw[-1]), raw.insert(0, raw[-1])))

    unusual = doctored(good, lambda raw: raw.pop())  # a run that never ended
    assert check(unusual)
    assert conforms()(run(good)) == conforms()(run(unusual)) == PASSED
    broken = conforms()(run(second_end))
    assert (broken.passed, broken.why) == (False, "one end: chat `gpt-x` ended twice")
    assert ", and " in conforms()(run(two)).why


@pytest.mark.parametrize("scorer", [same_tree(searched("hat")), within(requests=1), conforms()])
def test_without_a_recording_there_is_nothing_to_score(scorer: Any) -> None:
    with pytest.raises(ScorerError) as caught:
        scorer(run(None))

    name = scorer.__name__
    assert str(caught.value) == f"the scorer `{name}` looks at what was recorded; make the run with CaseRun(recording=...)"
