"""Verdicts as events of spans: `gen_ai.evaluation.result`, as the GenAI conventions have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmtest.core.masks import publish
from llmtest.evals.scores import Score, Scores
from llmtest.matching.answers import Answer
from llmtest.otel import conventions as names
from llmtest.otel.spans import Span, SpanEvent


def evaluated(spans: Sequence[Span], verdicts: Mapping[str, Score | Answer | bool]) -> list[Span]:
    """Return spans with verdicts about them: one event for each, at the end of the outermost span of each trace.

    A verdict is a `Score` of `llmtest.evals`, the `Answer` of a rule (`recording.obeys(...)`), or a bool; its name is the key.
    All scores of a run are such a mapping: `evaluated(spans_of(run.recording), score(run, is_polite))`. What cannot be told has
    no label.

    >>> from llmtest import ScriptedChatModel, record
    >>> from llmtest.matching import at_most, model
    >>> from llmtest.otel import spans_of
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> (span,) = evaluated(spans_of(recording), {"few calls": recording.obeys(at_most(3, model()))})
    >>> span.events[0].attributes["gen_ai.evaluation.score.label"]
    'pass'

    It does not send them: put the spans into a file with `llmtest.otel.otlp.write_json`, or send them yourself.
    """
    events = [_event(name, verdict) for name, verdict in verdicts.items()]
    if isinstance(verdicts, Scores) and verdicts.error:
        events.append(
            {names.EVALUATION_NAME: "run", names.EVALUATION_LABEL: "fail", names.EVALUATION_EXPLANATION: verdicts.error}
        )
    inside = {(span.trace_id, span.span_id) for span in spans}
    return [
        span
        if (span.trace_id, span.parent_id) in inside
        else replace(span, events=(*span.events, *(SpanEvent(names.EVALUATION, span.end_ns, told) for told in events)))
        for span in spans
    ]


def _event(name: str, verdict: Score | Answer | bool) -> dict[str, Any]:
    return {key: value for key, value in _told(name, verdict) if value is not None}


def _told(name: str, verdict: Score | Answer | bool) -> Iterator[tuple[str, Any]]:
    yield names.EVALUATION_NAME, publish(name)
    if isinstance(verdict, Score):
        passed, why = verdict.passed, verdict.why
        yield names.EVALUATION_SCORE, float(verdict.value)
    else:
        passed = verdict if isinstance(verdict, bool) else verdict.holds
        why = "" if isinstance(verdict, bool) else verdict.said
        yield names.EVALUATION_SCORE, None if passed is None else float(passed)
    yield names.EVALUATION_LABEL, None if passed is None else "pass" if passed else "fail"
    yield names.EVALUATION_EXPLANATION, publish(why) or None
