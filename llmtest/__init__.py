"""Test programs built on language models.

The house, from the ground up; imports go down only:

    floor 0  words      errors     every exception of ours; Violation, expect_violation
                        ledger     the violations of a test, and who is told of them
                        events     Event, Run, Usage, Message, ...: the frozen payloads of a recording
                        gates      hold(): where a call waits until the test lets it go on
                        script     say, call, reply, fail, ...; Script; what a token is
                        scriptfile script files, read and written
    floor 1  thought    blocks     which run belongs to which block; with, async with, decorators
                        recording  record(), Recording: what a block or a test caught
                        counting   count_tokens(), TokenCount: what it cost
                        rendering  recording -> canonical tree -> text
                        tracing    tracing_enabled(), load_traces(): recordings in the trace store
    floor 2  hands      langchain/ the only room that imports langchain_core: tap, freezing, models, doubles
                        snapshots  the only room that imports syrupy
    floor 3  doors      pytest_plugin, cli

Everything here is loaded when it is first used: `import llmtest` imports no other module of ours.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from llmtest.capture.threads import carry_context
    from llmtest.errors import LlmtestError, ViolationError, expect_violation
    from llmtest.langchain.chat_model import ScriptedChatModel
    from llmtest.langchain.embeddings import ScriptedEmbeddings
    from llmtest.langchain.retriever import ScriptedRetriever
    from llmtest.langchain.text_model import ScriptedLLM
    from llmtest.langchain.tool import scripted_tool
    from llmtest.recording.recording import Recording, record
    from llmtest.scripts.gates import hold
    from llmtest.scripts.requests import on
    from llmtest.scripts.script import Script
    from llmtest.scripts.steps import call, fail, give, reply, respond, say, structured, think
    from llmtest.tokens.counting import count_tokens
    from llmtest.tracing.session import load_traces, tracing_enabled

_HOME = {
    "LlmtestError": "errors",
    "Recording": "recording.recording",
    "Script": "scripts.script",
    "ScriptedChatModel": "langchain.chat_model",
    "ScriptedEmbeddings": "langchain.embeddings",
    "ScriptedLLM": "langchain.text_model",
    "ScriptedRetriever": "langchain.retriever",
    "ViolationError": "errors",
    "call": "scripts.steps",
    "carry_context": "capture.threads",
    "count_tokens": "tokens.counting",
    "expect_violation": "errors",
    "fail": "scripts.steps",
    "give": "scripts.steps",
    "hold": "scripts.gates",
    "load_traces": "tracing.session",
    "on": "scripts.requests",
    "record": "recording.recording",
    "reply": "scripts.steps",
    "respond": "scripts.steps",
    "say": "scripts.steps",
    "scripted_tool": "langchain.tool",
    "structured": "scripts.steps",
    "think": "scripts.steps",
    "tracing_enabled": "tracing.session",
}

_MOVED = ("Event", "Run", "load")  # here too, so that only they import `llmtest.core.moved`

__all__ = [
    "LlmtestError",
    "Recording",
    "Script",
    "ScriptedChatModel",
    "ScriptedEmbeddings",
    "ScriptedLLM",
    "ScriptedRetriever",
    "ViolationError",
    "call",
    "carry_context",
    "count_tokens",
    "expect_violation",
    "fail",
    "give",
    "hold",
    "load_traces",
    "on",
    "record",
    "reply",
    "respond",
    "say",
    "scripted_tool",
    "structured",
    "think",
    "tracing_enabled",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MOVED:
        from llmtest.core.moved import moved

        return moved(__name__, name)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not kept here: whoever runs pytest inside pytest forgets modules, and must not find their old classes again.
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


if os.environ.get("LLMTEST_TRACING"):
    # Runs are traced from here on, also in a program that opens no block. Which of them is decided when they start.
    from importlib import import_module

    import_module("llmtest.langchain.tap").install()
