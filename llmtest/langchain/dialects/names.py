"""Every dialect by its name: a scripted answer in the chunks, messages and errors of a provider's integration.

A dialect is a class over the plain answer, from which it has its ids and counts. tests/langchain/dialects/ compares them with
the integrations, which are imported only to raise their errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmtest.core.text import did_you_mean
from llmtest.errors import ScriptError
from llmtest.langchain.dialects.anthropic import Anthropic
from llmtest.langchain.dialects.base import Dialect
from llmtest.langchain.dialects.openai import OpenAI
from llmtest.langchain.dialects.openai_responses import Responses
from llmtest.scripts.script import Script


def check(name: object, script: object) -> None:
    """Raise `ScriptError` for an unknown dialect, with the nearest name; the `script` of that model then owes no calls."""
    if name in NAMES:
        return
    if isinstance(script, Script):
        script.waive_steps()
    *most, last = map(repr, NAMES)
    raise ScriptError(f"dialect= is {', '.join(most)} or {last}; got {name!r}{did_you_mean(str(name), NAMES)}")


CLASSES: Final[Mapping[str, type[Dialect]]] = {kind.name: kind for kind in (OpenAI, Responses, Anthropic)}
NAMES: Final = ("plain", *CLASSES)
