"""Answers of LangChain's cache. Their only sign is a cost of zero in the usage, which a model may report itself.

So the method by which LangChain makes the answer from what its cache kept notes the message that it makes.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import LLMResult

_METHOD: Final = "_convert_cached_generations"
# By id, because a message has no hash; weakly, so that it lives no longer than the program needs it.
_made: Final[weakref.WeakValueDictionary[int, object]] = weakref.WeakValueDictionary()


def claims_cache(usage: object) -> bool:
    """True if `usage` is one as LangChain's cache writes it, with a cost of zero."""
    return (type(usage) is dict or isinstance(usage, Mapping)) and usage.get("total_cost") == 0


def is_own_claim(result: LLMResult) -> bool:
    """True if a model itself reports a cost of zero in `result`: its tokens were spent."""
    free = []
    for group in result.generations:  # plain loops: this runs at the end of each model call
        for generation in group:
            message = getattr(generation, "message", None)
            if claims_cache(getattr(message, "usage_metadata", None)):
                free.append(message)
    # `is`, because the id of a message that is gone may be that of another one now.
    return bool(free) and _is_watched() and not any(_made.get(id(message)) is message for message in free)


def install() -> None:
    """Note what LangChain makes of cached answers, from now on. An older LangChain has no such method."""
    original = getattr(BaseChatModel, _METHOD, None)
    if original is None:
        return

    @functools.wraps(original)
    def convert(self: BaseChatModel, cached: Any) -> Any:
        generations = original(self, cached)
        for message in (getattr(generation, "message", None) for generation in generations):
            _made[id(message)] = message
        return generations

    setattr(BaseChatModel, _METHOD, convert)


def _is_watched() -> bool:
    return hasattr(getattr(BaseChatModel, _METHOD, None), "__wrapped__")
