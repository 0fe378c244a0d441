"""Prices of tokens, and what a model call costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmtest.core.text import did_you_mean, names
from llmtest.errors import PriceError
from llmtest.events.words import Usage
from llmtest.tokens.calls import ModelCall

Prices = Mapping[str, tuple[float, ...]]
"""By model, the price of a million tokens: (input, output), (input, output, cache_read) or with cache_write as the fourth."""


# -- prices


def checked(prices: Prices | None) -> Prices | None:
    """A copy of a table of prices.

    Raises:
        TypeError: a row is no tuple of two to four numbers.
    """
    for model, row in (prices or {}).items():
        numbers = isinstance(row, tuple | list) and all(isinstance(n, int | float) and n >= 0 for n in row)
        if not numbers or not 2 <= len(row) <= 4:
            raise TypeError(
                f"prices of {model!r} are a tuple (input, output, cache_read, cache_write) per million tokens, of which the last"
                f" two may be left out; got {row!r}"
            )
    return None if prices is None else dict(prices)


def cost_of(call: ModelCall, prices: Prices | None = None) -> float:
    """What one call cost, by a table of prices or else by genai-prices.

    Raises:
        PriceError: the price of its model is not known, or what it spent is not.
    """
    if not call.is_known:
        why = {"ended": "it reported no usage", "open": "it has not ended"}.get(call.ended, "it was broken off")
        raise PriceError(f"the cost of a call is not known, because {why}: {call}")
    if call.model is None:
        raise PriceError(f"the cost of a call is not known, because it tells no name of a model: {call}")
    return price_of(call.model, call.spent, prices)


def price_of(model: str, usage: Usage, prices: Prices | None = None) -> float:
    """Return what `usage` of a model costs, by a table of prices or else by genai-prices.

    >>> price_of("gpt-x", Usage(1_000_000, 1_000, 1_001_000), {"gpt-x": (1.25, 10.0)})
    1.26

    Raises:
        PriceError: the price of the model is not known.
    """
    return _by_table(model, usage, prices) if prices is not None else _by_genai_prices(model, usage)


def _by_table(model: str, usage: Usage, prices: Prices) -> float:
    if model not in prices:
        hint = did_you_mean(model, prices, otherwise=f"the table has {names(prices, 'no model')}")
        raise PriceError(f"no price for the model {model!r}{hint}\n  add it to prices=: {{{model!r}: (input, output)}}")
    into, out, read, write = (*prices[model], *[prices[model][0]] * 2)[:4]
    of_read, of_write = _cache(usage)
    rest = usage.input_tokens - of_read - of_write
    return (rest * into + of_read * read + of_write * write + usage.output_tokens * out) / 1_000_000


def _cache(usage: Usage) -> tuple[int, int]:
    return usage.input_details.get("cache_read", 0), usage.input_details.get("cache_creation", 0)


def _by_genai_prices(model: str, usage: Usage) -> float:
    try:
        import genai_prices
    except ImportError:
        raise PriceError(
            f"no price for the model {model!r}: give a table, count_tokens(prices={{{model!r}: (input, output)}}),"
            "\n  or install genai-prices, which knows those of many providers: pip install 'llmtest-kit[cost]'"
        ) from None
    read, write = _cache(usage)
    counts: Any = {"cache_read_tokens": read, "cache_write_tokens": write}
    spent = genai_prices.Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, **counts)
    try:
        return float(genai_prices.calc_price(spent, model).total_price)
    except LookupError:
        raise PriceError(
            f"no price for the model {model!r} in genai-prices {genai_prices.__version__}"
            f"\n  give a table: count_tokens(prices={{{model!r}: (input, output)}})"
        ) from None
    except ValueError as error:
        raise PriceError(f"no price for a call of the model {model!r}, because its usage contradicts itself: {error}") from error
