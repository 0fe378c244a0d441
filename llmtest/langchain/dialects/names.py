"""Every dialect by its name: a scripted answer in the chunks, messages and errors of a provider's integration.

A dialect is a class over the plain answer, from which it has its ids and counts. tests/langchain/dialects/ compares them with
the integrations, which are imported only to raise their errors.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Final

from llmtest.core.text import did_you_mean
from llmtest.errors import ScriptError
from llmtest.scripts.script import Script

if TYPE_CHECKING:
    from llmtest.langchain.dialects.base import Dialect

_CLASSES: Final = {
    "openai": "openai.OpenAI",
    "openai-responses": "openai_responses.Responses",
    "anthropic": "anthropic.Anthropic",
}
NAMES: Final = ("plain", *_CLASSES)


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
    """Return the class of a dialect; None for `plain`. Most scripts are plain, so its module is imported at its first use.

    Raises:
        ScriptError: the dialect is unknown. `model_copy` sets fields without a check.
    """
    if name == "plain":
        return None
    check(name, None)
    module, _, kind = _CLASSES[name].partition(".")
    found: type[Dialect] = getattr(importlib.import_module(f"llmtest.langchain.dialects.{module}"), kind)
    return found
