"""Token counts, prices and budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.tokens.calls import Counts, ModelCall
    from llmtest.tokens.counting import TokenCount, count_tokens
    from llmtest.tokens.prices import Prices

__all__ = [
    "Counts",
    "ModelCall",
    "Prices",
    "TokenCount",
    "count_tokens",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "calls": ["Counts", "ModelCall"],
        "counting": ["TokenCount", "count_tokens"],
        "prices": ["Prices"],
    },
)
