"""Test programs built on language models.

The house, from the ground up; imports go down only:

    floor 0  words      ledger     violations, and who is told of them
                        events     Event, Run, Usage, Message, ...: the frozen payloads of a recording
                        script     say, call, reply, fail, ...; Script; what a token is
                        scriptfile script files, read and written
    floor 1  thought    recording  record(), Recording; which run belongs to which recording
                        rendering  recording -> canonical tree -> text
    floor 2  hands      langchain/ the only room that imports langchain_core: tap, freezing, models
                        snapshots  the only room that imports syrupy
    floor 3  doors      pytest_plugin, cli

Everything here is loaded when it is first used: `import llmtest` imports no other module of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from llmtest.events import Event, Message, Run, ToolCall, Usage
    from llmtest.langchain.models import ScriptedChatModel, ScriptedLLM
    from llmtest.ledger import LlmtestError, Violation, ViolationError, expect_violation
    from llmtest.recording import Recording, record
    from llmtest.script import Script, ScriptError, call, fail, reply, say, think

_HOME = {
    "Event": "events",
    "LlmtestError": "ledger",
    "Message": "events",
    "Recording": "recording",
    "Run": "events",
    "Script": "script",
    "ScriptError": "script",
    "ScriptedChatModel": "langchain.models",
    "ScriptedLLM": "langchain.models",
    "ToolCall": "events",
    "Usage": "events",
    "Violation": "ledger",
    "ViolationError": "ledger",
    "call": "script",
    "expect_violation": "ledger",
    "fail": "script",
    "record": "recording",
    "reply": "script",
    "say": "script",
    "think": "script",
}

__all__ = [
    "Event",
    "LlmtestError",
    "Message",
    "Recording",
    "Run",
    "Script",
    "ScriptError",
    "ScriptedChatModel",
    "ScriptedLLM",
    "ToolCall",
    "Usage",
    "Violation",
    "ViolationError",
    "call",
    "expect_violation",
    "fail",
    "record",
    "reply",
    "say",
    "think",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
