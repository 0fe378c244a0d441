"""The answers of the table in docs/reference/dialects.md, as steps of a script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llmtest import call, reply, say, think

GPT, CLAUDE = "gpt-4o-2024-08-06", "claude-haiku-4-5-20251001"
NAMES = {"openai": GPT, "openai-responses": GPT, "anthropic": CLAUDE}
WAYS = ("invoke", "ainvoke", "stream", "astream")


def _weather(city: str, id: str) -> Any:
    return call("weather", city=city).deltas('{"city": ', f'"{city}"}}').with_id(id)


def _broken(reason: str | None = None) -> Any:
    asked = call("weather", city="Paris").malformed('{"city": ', '"Par').with_id("call_1")
    return replace(reply(asked, usage=(8, 5), stop_reason=reason), parts=asked.parts)


def _told(read: int, made: int, thought: int | None) -> Any:
    details = {"input_token_details": {"cache_read": read, **({"cache_creation": made} if made else {})}}
    thinking = {} if thought is None else {"output_token_details": {"reasoning": thought}}
    return {"input_tokens": 8, "output_tokens": 5, "total_tokens": 13, **details, **thinking}


@dataclass(frozen=True)
class Case:
    """One answer, in our words. `file` is its canned body, `bound` what is bound to both models."""

    step: Callable[[], Any]
    tools: bool = False
    file: str | None = None
    bound: Any = None
    whole: bool = True  # a cut-off stream has no counterpart among whole answers


def _breaking() -> Any:
    step = say(*SUNNY).then_fail(500)
    told = "The server had an error while processing your request."
    return replace(step, failure=replace(step.failure, message=told))  # type: ignore[type-var]


SUNNY = ("It is ", "sunny.")
PARIS, ROME = _weather("Paris", "call_1"), _weather("Rome", "call_2")
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
COMMON = {
    "text": Case(lambda: say(*SUNNY, usage=(8, 5))),
    "text, tools bound": Case(lambda: say(*SUNNY, usage=(8, 5)), tools=True, file="text"),
    "length": Case(lambda: say(*SUNNY, stop_reason="length", usage=(8, 5))),
    "tool_call": Case(lambda: reply(PARIS, usage=(8, 5)), tools=True),
    "parallel_calls": Case(lambda: reply(PARIS, ROME, usage=(8, 5)), tools=True),
    "text_and_call": Case(lambda: reply(say("Let me ", "look."), PARIS, usage=(8, 5)), tools=True),
    "refusal": Case(lambda: say("I can't ", "say.", refusal=True, usage=(8, 5))),
    "cut": Case(lambda: say(*SUNNY).then_truncate(), whole=False),
    "broken": Case(_breaking, whole=False),
    "cut_in_call": Case(lambda: _broken().then_truncate(), tools=True, whole=False),
}
THOUGHT = think("A clear ", "sky.")
CUT_THOUGHT = Case(THOUGHT.then_truncate, whole=False)
CUT_REFUSAL = Case(lambda: say("I can't ", "say.", refusal=True).then_truncate(), whole=False)
DEFAULT: dict[str, Any] = {"usage": _told(0, 0, 3)}
CASES: dict[str, dict[str, Case]] = {
    "openai": {
        **COMMON,
        "cut_in_refusal": CUT_REFUSAL,
        "reasoning": Case(lambda: reply(THOUGHT, say(*SUNNY), **DEFAULT)),
        "malformed": Case(_broken, tools=True),
        "no_usage": Case(lambda: say(*SUNNY, usage=False)),
        "cached": Case(
            lambda: say(*SUNNY, usage=_told(4, 0, None), response_metadata={"system_fingerprint": "fp_cbf1785567"}),
        ),
    },
    "openai-responses": {
        **COMMON,
        "cut_in_refusal": CUT_REFUSAL,
        "cut_in_reasoning": CUT_THOUGHT,
        "reasoning": Case(lambda: reply(THOUGHT, say(*SUNNY), **DEFAULT)),
        "reasoning_and_call": Case(lambda: reply(THOUGHT, PARIS, **DEFAULT), tools=True),
        "malformed": Case(lambda: _broken("length"), tools=True),
        "no_usage": Case(lambda: say(*SUNNY, usage=False)),
        "cached": Case(lambda: say(*SUNNY, usage=_told(4, 0, None))),
    },
    "anthropic": {
        **COMMON,
        "refusal": Case(
            lambda: say(
                "I can't ",
                "say.",
                refusal=True,
                usage=(8, 5),
                response_metadata={"stop_details": {"type": "refusal", "category": "cyber", "explanation": None}},
            )
        ),
        "text, thinking bound": Case(lambda: say(*SUNNY, usage=(8, 5)), bound=THINKING, file="text"),
        "reasoning": Case(lambda: reply(THOUGHT, say(*SUNNY), usage=(8, 5)), bound=THINKING),
        "reasoning_and_call": Case(lambda: reply(THOUGHT, PARIS, usage=(8, 5)), bound=THINKING, tools=True),
        "cut_in_reasoning": replace(CUT_THOUGHT, bound=THINKING),
        "malformed": Case(lambda: _broken("length"), tools=True, whole=False),
        "cached": Case(lambda: say(*SUNNY, usage=_told(4, 2, 3))),
    },
}
STATUSES = {"openai": (400, 429, 500), "openai-responses": (400, 429, 500), "anthropic": (400, 429, 500, 529)}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
]


def bound(model: Any, case: Case) -> Any:
    """Return the model with what is bound to it in this case."""
    if case.tools:
        return model.bind_tools(TOOLS, **(case.bound or {}))
    return model.bind(**case.bound) if case.bound else model
