"""Documented import paths that have moved, and how the old ones keep working.

`llmtest.core.lazy.exports` asks here for each name that a module does not have.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any, Final

MOVED: Final = {
    "llmtest.Event": "llmtest.events.Event",
    "llmtest.Run": "llmtest.events.Run",
    "llmtest.load": "llmtest.load_traces",
    "llmtest.differ.compare": "llmtest.trees.diff",
    "llmtest.langchain.conformance.check_chat_model": "llmtest.conformance.check_chat_model",
    "llmtest.langchain.conformance.check_handler": "llmtest.conformance.check_handler",
    "llmtest.langchain.conformance.check_llm": "llmtest.conformance.check_llm",
    "llmtest.langchain.conformance.check_retriever": "llmtest.conformance.check_retriever",
    "llmtest.langchain.conformance.check_tool": "llmtest.conformance.check_tool",
    "llmtest.ledger.LlmtestError": "llmtest.errors.LlmtestError",
    "llmtest.ledger.LlmtestWarning": "llmtest.errors.LlmtestWarning",
    "llmtest.ledger.expect_violation": "llmtest.errors.expect_violation",
    "llmtest.matching.MatchError": "llmtest.errors.MatchError",
    "llmtest.rendering.render": "llmtest.trees.render",
    "llmtest.steps.ScriptError": "llmtest.errors.ScriptError",
    "llmtest.steps.StatusError": "llmtest.errors.StatusError",
    "llmtest.treetext.head": "llmtest.trees.head",
    "llmtest.treetext.read": "llmtest.trees.parse",
    "llmtest.treetext.write": "llmtest.trees.write",
    "llmtest.vocabulary.give": "llmtest.give",
}
"""The old path of each name that has moved, and the new one."""


def moved(module: str, name: str) -> Any:
    """Return the object that `module.name` names today, with a `DeprecationWarning` that has its new path.

    Raises:
        AttributeError: `module` never had that name.
    """
    old = f"{module}.{name}"
    if old not in MOVED:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    # Two frames up, past the `__getattr__` of the module, is the line that uses the old path.
    warnings.warn(f"`{old}` is now `{MOVED[old]}`", DeprecationWarning, stacklevel=3)
    home, _, new_name = MOVED[old].rpartition(".")
    return getattr(import_module(home), new_name)
