"""Token counts, prices and budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.tokens.calls import Counts as Counts, ModelCall as ModelCall
    from llmtest.tokens.counting import TokenCount as TokenCount, count_tokens as count_tokens
    from llmtest.tokens.prices import Prices as Prices
else:
    __getattr__, __dir__ = exports(__name__)
