"""The built-in scorers: what passes, the value of what nearly does, and the one line that says why not."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from llmtest import ScriptedEmbeddings, record, scripted_tool
from llmtest.errors import ScorerError
from llmtest.evals.scorers import (
    BuiltIn,
    close_to,
    contains,
    exact,
    json_equal,
    obeys,
    regex,
    similar,
    text_of,
    tools,
    trajectory,
)
from llmtest.evals.scores import Case, CaseRun, Score
from llmtest.events.words import FrozenDict, Message, Structured
from llmtest.matching import at_least, at_most, never

PASSED = Score(1.0, True)


def run(output: Any, expected: Any = None, recording: Any = None) -> CaseRun:
    return CaseRun(Case("a", "x", expected), output, recording)


# -- texts and numbers


@pytest.mark.parametrize(
    "output",
    [
        "Paris",
        AIMessage("Paris"),
        AIMessage([{"type": "text", "text": "Paris"}]),
        Message("ai", "Paris"),
        {"messages": [AIMessage("hm"), AIMessage("Paris")]},
    ],
    ids=["text", "message", "blocks", "recorded", "state"],
)
def test_the_text_of_an_output_is_compared(output: Any) -> None:
    assert exact()(run(output, "Paris")) == exact("Paris")(run(output)) == PASSED
    assert contains()(run(output, "ari")) == regex("^P")(run(output)) == PASSED


@pytest.mark.parametrize("output", [None, 1, {}, {"messages": []}, {"messages": "x"}, object(), AIMessage])
def test_other_outputs_have_no_text(output: Any) -> None:
    assert text_of(output) is None


@pytest.mark.parametrize(
    ("output", "expected", "score"),
    [
        ("Lyon", "Paris", Score(0.0, False, "expected 'Paris', got 'Lyon'")),
        (None, "Paris", Score(0.0, False, "expected 'Paris', got None")),
        ({"a": [1]}, {"a": [1]}, PASSED),
        ({"a": [1]}, {"a": [2]}, Score(0.0, False, "expected {'a': [2]}, got {'a': [1]}")),
        (1, True, Score(0.0, False, "expected True, got 1")),
        (None, None, PASSED),
        ("my key is sk-" + "a1b2c3d4e5" * 3, "x", Score(0.0, False, "expected 'x', got 'my key is <mask:secret>'")),
    ],
)
def test_exact(output: Any, expected: Any, score: Score) -> None:
    assert exact()(run(output, expected)) == score


@pytest.mark.parametrize(
    ("scorer", "output", "expected", "score"),
    [
        (contains(), "It is Paris.", ["Paris", "It"], PASSED),
        (contains(ignore_case=True), "it is PARIS.", "Paris", PASSED),
        (contains("a", "b", "c"), "xa", None, Score(1 - 2 / 3, False, "'b', 'c' are missing in 'xa'")),
        (contains("a"), {}, None, Score(0.0, False, "the output has no text: {}")),
        (regex(r"\d+"), "ORD-7", None, PASSED),
        (regex(r"^\d+$"), "ORD-7", None, Score(0.0, False, "'^\\\\d+$' finds nothing in 'ORD-7'")),
        (regex(r"x"), 7, None, Score(0.0, False, "the output has no text: 7")),
        (close_to(), 0.1 + 0.2, 0.3, PASSED),
        (close_to(absolute=1), AIMessage(" 13 "), "12", PASSED),
        (close_to(12, relative=0.1), "13", None, PASSED),
        (close_to(), 13, 12, Score(0.0, False, "expected 12, got 13: the difference is 1")),
        (close_to(), "twelve", 12, Score(0.0, False, "the output is no number: 'twelve'")),
        (close_to(), True, 1, Score(0.0, False, "the output is no number: True")),
        (close_to(), "nan", 1, Score(0.0, False, "the output is no number: 'nan'")),
    ],
)
def test_texts_and_numbers(scorer: BuiltIn, output: Any, expected: Any, score: Score) -> None:
    assert scorer(run(output, expected)) == score


# -- structured values


class Order(BaseModel):
    id: int
    text: str = "hat"


@dataclass
class Item:
    name: str


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"id": 7, "text": "hat"}', {"id": 7, "text": "hat"}),
        (AIMessage('{"id": 7, "text": "hat"}'), Order(id=7)),
        (Order(id=7), FrozenDict(id=7, text="hat")),
        (Structured("Order", FrozenDict(id=7, text="hat")), Order(id=7)),
        ([Item("hat")], [{"name": "hat"}]),
        ({"orders": [Order(id=7)]}, {"orders": [{"id": 7.0, "text": "hat"}]}),
        ("[]", []),
        ({}, {}),
        (None, None),
    ],
)
def test_equal_values_are_equal_in_every_form(output: Any, expected: Any) -> None:
    assert json_equal()(run(output, expected)) == PASSED


@pytest.mark.parametrize(
    ("output", "expected", "value", "why"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, 1 / 2, "at $.b: expected 3, got 2 (1 of 2 values agree)"),
        ({"a": 1}, {"a": 1, "b": [2, 3]}, 1 / 3, "at $.b: expected [2, 3], got nothing (1 of 3 values agree)"),
        ({"a": 1, "c": 4}, {"a": 1}, 1 / 2, "at $.c: expected nothing, got 4 (1 of 2 values agree)"),
        ([1, 2], [1], 1 / 2, "at $[1]: expected nothing, got 2 (1 of 2 values agree)"),
        ([1], [1, 2, 3], 1 / 3, "at $[1]: expected 2, got nothing (1 of 3 values agree)"),
        ({"a": True}, {"a": 1}, 0, "at $.a: expected 1, got True (0 of 1 value agree)"),
        ({"a": []}, {"a": {}}, 0, "at $.a: expected {}, got [] (0 of 1 value agree)"),
        ("{'a': 1}", {}, 0, "the output is no JSON: Expecting property name enclosed in double quotes, in \"{'a': 1}\""),
    ],
)
def test_values_that_differ_have_a_partial_score_and_the_first_place(output: Any, expected: Any, value: float, why: str) -> None:
    assert json_equal()(run(output, expected)) == Score(value, False, why)


def test_a_part_of_the_values_may_be_enough() -> None:
    assert json_equal({"a": 1, "b": 2}, at_least=0.5)(run({"a": 1, "b": 3})) == Score(0.5, True)


# -- recordings


def recorded(*calls: tuple[str, dict[str, Any]]) -> Any:
    with record() as recording:
        for name, args in calls:
            scripted_tool(name, "ok", args={key: type(value) for key, value in args.items()}).invoke(args)
    return recording


ORDER = recorded(("find", {"q": "hat"}), ("find", {"q": "cap"}), ("buy", {"id": 7}))


@pytest.mark.parametrize(
    ("mode", "expected", "value", "passed"),
    [
        ("strict", ["find", "find", "buy"], 1, True),
        ("strict", ["find", "buy", "find"], 2 / 3, False),
        ("strict", ["find", "buy"], 2 / 3, False),
        ("strict", ["find", {"name": "find", "args": {"q": "cap"}}, {"name": "buy"}], 1, True),
        ("strict", [], 0, False),
        ("in_order", ["find", "buy"], 1, True),
        ("in_order", ["buy", "find"], 1 / 2, False),
        ("unordered", ["buy", "find", "find"], 1, True),
        ("unordered", ["buy", "find"], 2 / 3, False),
        ("unordered", ["find", {"name": "find", "args": {"q": "hat"}}, "buy"], 1, True),
        ("unordered", [{"name": "find", "args": {"q": "hat"}}, {"name": "find", "args": {"q": "hat"}}, "buy"], 2 / 3, False),
        ("subset", ["find", "find", "buy", "pay"], 1, True),
        ("subset", ["find", "buy"], 2 / 3, False),
        ("superset", ["buy"], 1, True),
        ("superset", ["buy", "pay"], 1 / 2, False),
        ("superset", [], 1, True),
    ],
)
def test_trajectories(mode: Any, expected: list[Any], value: float, passed: bool) -> None:
    score = trajectory(mode=mode)(run("", expected, ORDER))

    assert (score.value, score.passed) == (pytest.approx(value), passed)
    assert bool(score.why) != passed


def test_a_trajectory_says_what_was_called_and_the_arguments_where_they_count() -> None:
    wanted = [{"name": "buy", "args": {"id": 8}}, "find"]

    assert trajectory(wanted)(run("", recording=ORDER)).why == (
        "expected `buy` with {'id': 8}, `find`; got `find`, `find`, `buy`; `buy` had {'id': 7}"
    )
    assert trajectory([])(run("", recording=ORDER)).why == "expected no calls; got `find`, `find`, `buy`"


def test_shapes_and_rules_are_scores() -> None:
    whole = run("", recording=ORDER)

    assert tools(["find", ..., "buy"])(whole) == obeys(never("pay"), at_most(2, "find"))(whole) == PASSED
    assert tools(["buy", ...])(whole) == Score(
        0.0, False, "broken: tools == ['buy', ...]: called('find', q='hat') at item 0, where 'buy' was due (event 0)"
    )
    assert obeys(never("buy"), at_least(1, "find"))(whole) == Score(0.5, False, "broken: never `buy`: `buy` was called (event 4)")


# -- meaning


def test_similarity_is_the_cosine_of_the_vectors_of_a_model_that_is_handed_over() -> None:
    model = ScriptedEmbeddings(vectors={"Paris": [2.0, 0.0], "Lyon": [0.6, 0.8], "": [0.0, 0.0]})
    scorer = similar(model, at_least=0.6)

    assert scorer(run("Paris", "Paris")) == PASSED
    assert scorer(run(AIMessage("Lyon"), "Paris")) == Score(0.6, True)
    assert scorer(run("", "Paris")) == Score(0.0, False, "the similarity of '' to 'Paris' is 0; required is 0.6")
    assert scorer(run(7, "Paris")) == Score(0.0, False, "the output has no text: 7")
    assert len(model.calls) == 3


# -- what makes no sense


def test_a_signature_says_that_the_case_knows_what_is_expected() -> None:
    assert str(signature(exact)) == "(expected: 'Any' = OF_CASE) -> 'BuiltIn'"


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda: contains()(run("x", 7)), "the scorer `contains` expects a text or a list of texts; the case expects 7"),
        (lambda: contains()(run("x", [])), "the scorer `contains` expects a text or a list of texts; the case expects []"),
        (lambda: close_to()(run("7", "x")), "the scorer `close_to` expects a number; the case expects 'x'"),
        (
            lambda: trajectory(mode="unorderd"),
            "mode= of `trajectory` has the unknown value 'unorderd'; did you mean `unordered`?",
        ),  # type: ignore[arg-type]
        (
            lambda: trajectory(mode="x"),  # type: ignore[arg-type]
            "mode= of `trajectory` has the unknown value 'x'; it is one of strict, in_order, unordered, subset, superset",
        ),
        (lambda: trajectory()(run("", "find", ORDER)), "the scorer `trajectory` expects a list of tool calls; got 'find'"),
        (lambda: trajectory([7])(run("", None, ORDER)), 'a tool call is a name, or {"name": ..., "args": {...}}; got 7'),
        (
            lambda: trajectory([{"name": "find", "args": 7}])(run("", None, ORDER)),
            "a tool call is a name, or {\"name\": ..., \"args\": {...}}; got {'args': 7, 'name': 'find'}",
        ),
        (
            lambda: tools(["find"])(run("")),
            "the scorer `tools` looks at what was recorded; make the run with CaseRun(recording=...)",
        ),
        (lambda: obeys(), "the scorer `obeys` takes one rule or more"),
        (
            lambda: similar(ScriptedEmbeddings(), at_least=1)(run("x", 7)),
            "the scorer `similar` expects a text; the case expects 7",
        ),
    ],
)
def test_a_scorer_that_can_score_no_run_is_an_error(ask: Any, error: str) -> None:
    with pytest.raises(ScorerError) as caught:
        ask()

    assert str(caught.value) == error
