"""Verdicts as events of spans."""

from __future__ import annotations

from typing import Any

from llmtest import ScriptedChatModel, record
from llmtest.evals.datasets import Case
from llmtest.evals.scores import CaseRun, Score, score
from llmtest.matching import at_most, event, model, never
from llmtest.otel import evaluated, recordings_of, spans_of
from tests.support.spans import span


def told(verdicts: Any) -> list[dict[str, Any]]:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    (made,) = evaluated(spans_of(recording), verdicts)
    assert {event.name for event in made.events} == {"gen_ai.evaluation.result"}
    prefix = "gen_ai.evaluation."
    return [{key.removeprefix(prefix): value for key, value in event.attributes.items()} for event in made.events]


def test_scores_of_a_run() -> None:
    run = CaseRun(Case("france", "What is the capital?", "Paris"), output="It is Paris.")

    assert told(score(run, short=lambda run: len(run.output) < 10, length=lambda run: len(run.output))) == [
        {"name": "short", "score.value": 0.0, "score.label": "fail", "explanation": "it returned False"},
        {"name": "length", "score.value": 12.0},
    ]


def test_a_run_that_crashed_fails() -> None:
    run = CaseRun(Case("france", "What is the capital?", "Paris"), error=KeyError("x"))

    (first, last) = told(score(run, short=lambda run: True))

    assert first["score.label"] == last["score.label"] == "fail"
    assert (last["name"], "KeyError" in last["explanation"]) == ("run", True)


def test_answers_of_rules_and_bools() -> None:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    (spans,) = recordings_of(spans_of(recording))
    verdicts = {
        "few": recording.obeys(at_most(3, model())),
        "none": recording.obeys(at_most(0, model())),
        "unknown": spans.obeys(never(event("on_retry"))),
        "polite": True,
        "scored": Score(0.5),
    }
    assert not verdicts["none"]
    assert not verdicts["unknown"]

    found = {each["name"]: (each.get("score.value"), each.get("score.label")) for each in told(verdicts)}

    assert found == {
        "few": (1.0, "pass"),
        "none": (0.0, "fail"),
        "unknown": (None, None),
        "polite": (1.0, "pass"),
        "scored": (0.5, None),
    }


def test_only_the_outermost_span_of_each_trace_has_them() -> None:
    spans = [span("a", 1), span("b", 2, 1), span("c", 1, trace=2), span("d", 3, 9)]

    assert [len(each.events) for each in evaluated(spans, {"x": True})] == [1, 0, 1, 1]


def test_the_name_of_a_verdict_has_no_secrets() -> None:
    (verdict,) = told({f"test_login[sk-{'a1' * 24}]": False})

    assert verdict["name"] == "test_login[<mask:secret>]"
