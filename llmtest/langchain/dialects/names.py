"""Every dialect by its name: a scripted answer in the chunks, messages and errors of a provider's integration.

A dialect is a class over the plain answer, from which it has its ids and counts. tests/langchain/dialects/ compares them with
the integrations, which are imported only to raise their errors.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from llmtest.core.text import did_you_mean
from llmtest.errors import ScriptError
from llmtest.scripts.script import Script

if TYPE_CHECKING:
    from llmtest.langchain.dialects.base import Dialect

NAMES: Final = ("plain", "openai", "openai-responses", "anthropic")


def check(name: object, script: object) -> None:
    """Raise `ScriptError` for an unknown dialect, with the nearest name; the `script` of that model then owes no calls."""
    if name in NAMES:
        return
    if isinstance(script, Script):
        script.waive_steps()
    *most, last = map(repr, NAMES)
    raise ScriptError(f"dialect= is {', '.join(most)} or {last}; got {name!r}{did_you_mean(str(name), NAMES)}")


@functools.cache
def class_of(name: str) -> type[Dialect] | None:
    """Return the class of a dialect; None for `plain`, and for a name that is none. Most scripts are plain and import none."""
    if name == "openai":
        from llmtest.langchain.dialects.openai import OpenAI

        return OpenAI
    if name == "openai-responses":
        from llmtest.langchain.dialects.openai_responses import Responses

        return Responses
    if name == "anthropic":
        from llmtest.langchain.dialects.anthropic import Anthropic

        return Anthropic
    return None
