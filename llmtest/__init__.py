"""Test programs built on language models.

Each folder is a package with one purpose. A package imports only packages that stand above it:

    errors         every exception that a user can catch; Violation, expect_violation
    concurrency    which thread or task runs, who spawned it, who waits for it
    core           text, masks, source lines, sequences
    ledger         the violations of one test, and who is told
    events         the frozen words of a recording: Event, Run, Usage, Message, ...
    scripts        what a fake says, and which step answers which call
    capture        which run belongs to which block
    order          what came before what; virtual time
    auto           a model without a script
    tokens         count_tokens, prices, budgets
    wire           bytes of a provider and our words; no real call gets out
    cassettes      runs on disk that answer again
    trees          a recording as text, back, and compared
    matching       what must be true of a recording: selectors, shapes, rules
    recording      record(), Recording
    protocol       what a correct stream of callbacks is
    tracing        recordings on disk
    campaigns      every fault at every call
    langchain      the doubles and the tap; the only package that imports LangChain, with the next one
    conformance    checks of handlers, models, tools and retrievers of others
    otel           recordings as spans of OpenTelemetry, and spans as recordings
    pytest_plugin  fixtures, markers, options, reports; the only package that imports syrupy
    cli            `llmtest ...`

Every name is loaded when it is first used: `import llmtest` imports no other package of ours but `llmtest.core.lazy`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

__version__ = "0.1.0"

if TYPE_CHECKING:
    from llmtest.capture.blocks import carry_context as carry_context
    from llmtest.errors import (
        LlmtestError as LlmtestError,
        ViolationError as ViolationError,
        expect_violation as expect_violation,
    )
    from llmtest.langchain.chat_model import ScriptedChatModel as ScriptedChatModel
    from llmtest.langchain.embeddings import ScriptedEmbeddings as ScriptedEmbeddings
    from llmtest.langchain.retriever import ScriptedRetriever as ScriptedRetriever
    from llmtest.langchain.text_model import ScriptedLLM as ScriptedLLM
    from llmtest.langchain.tool import scripted_tool as scripted_tool
    from llmtest.recording.recording import Recording as Recording, record as record
    from llmtest.scripts.gates import hold as hold
    from llmtest.scripts.requests import on as on
    from llmtest.scripts.script import Script as Script
    from llmtest.scripts.steps import (
        call as call,
        fail as fail,
        give as give,
        reply as reply,
        respond as respond,
        say as say,
        structured as structured,
        think as think,
    )
    from llmtest.tokens.counting import count_tokens as count_tokens
    from llmtest.tracing.session import load_traces as load_traces, tracing_enabled as tracing_enabled
else:
    __getattr__, __dir__ = exports(__name__)

if os.environ.get("LLMTEST_TRACING"):
    # Runs are traced from here on, also in a program that opens no block.
    from importlib import import_module

    import_module("llmtest.langchain.tap").install()
