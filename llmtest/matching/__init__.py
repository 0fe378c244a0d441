"""What must be true of a recording: selectors, shapes and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.matching.answers import Answer
    from llmtest.matching.rule import Rule
    from llmtest.matching.rule_builders import after, at_least, at_most, before, between, each, exactly, never, only
    from llmtest.matching.selectors import Selector, called, chain, event, model, node, retriever, together

__all__ = [
    "Answer",
    "Rule",
    "Selector",
    "after",
    "at_least",
    "at_most",
    "before",
    "between",
    "called",
    "chain",
    "each",
    "event",
    "exactly",
    "model",
    "never",
    "node",
    "only",
    "retriever",
    "together",
]

_get, __dir__ = exports(
    __name__,
    {
        "answers": ["Answer"],
        "rule": ["Rule"],
        "rule_builders": ["after", "at_least", "at_most", "before", "between", "each", "exactly", "never", "only"],
        "selectors": ["Selector", "called", "chain", "event", "model", "node", "retriever", "together"],
    },
)


if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "MatchError":
            from llmtest.core.moved import moved

            return moved(__name__, name)
        return _get(name)
