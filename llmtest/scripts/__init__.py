"""What a double says, and which step answers which call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.scripts.gates import hold
    from llmtest.scripts.requests import Request, on
    from llmtest.scripts.script import Script
    from llmtest.scripts.steps import call, fail, give, reply, respond, say, structured, think

__all__ = [
    "Request",
    "Script",
    "call",
    "fail",
    "give",
    "hold",
    "on",
    "reply",
    "respond",
    "say",
    "structured",
    "think",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "gates": ["hold"],
        "requests": ["Request", "on"],
        "script": ["Script"],
        "steps": ["call", "fail", "give", "reply", "respond", "say", "structured", "think"],
    },
)
