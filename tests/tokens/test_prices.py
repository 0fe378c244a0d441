"""What a model call costs: by a table, by genai-prices, and when it is not known."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import pytest

from llmtest import ScriptedChatModel, count_tokens, fail
from llmtest.errors import PriceError
from llmtest.events import Usage
from llmtest.tokens import ModelCall
from llmtest.tokens.prices import cost_of

PRICES = {"gpt": (2.0, 10.0), "claude": (3.0, 15.0, 0.3, 3.75)}


def test_cost_is_by_a_table_of_prices_per_million() -> None:
    assert cost_of(ModelCall("m", "gpt", usage=Usage(1_000_000, 100_000, 1_100_000), ended="ended"), PRICES) == 3.0


def test_cost_of_what_a_prompt_cache_read_and_wrote() -> None:
    details: Any = {"cache_read": 600_000, "cache_creation": 100_000}
    spent = Usage(1_000_000, 0, 1_000_000, details)

    assert cost_of(ModelCall("m", "claude", usage=spent, ended="ended"), PRICES) == pytest.approx(
        0.3 * 3 + 0.6 * 0.3 + 0.1 * 3.75
    )
    assert cost_of(ModelCall("m", "gpt", usage=spent, ended="ended"), PRICES) == 2.0


def told(model: str | None, prices: Any = None, **fields: Any) -> str:
    with pytest.raises(PriceError) as caught:
        cost_of(ModelCall("Fake", model, **{"usage": Usage(1, 1, 2), "ended": "ended", **fields}), prices)
    return str(caught.value)


def test_an_unknown_model_is_an_error_that_names_it() -> None:
    assert (
        told("gpd", PRICES) == "no price for the model 'gpd'; did you mean `gpt`?\n  add it to prices=: {'gpd': (input, output)}"
    )
    assert told("zzz", PRICES) == (
        "no price for the model 'zzz'; the table has `gpt`, `claude`\n  add it to prices=: {'zzz': (input, output)}"
    )
    assert (
        told("zzz", {}) == "no price for the model 'zzz'; the table has no model\n  add it to prices=: {'zzz': (input, output)}"
    )


def test_a_call_without_a_name_or_without_usage_has_no_cost() -> None:
    assert told(None, PRICES) == "the cost of a call is not known, because it tells no name of a model: `Fake`: 1 in, 1 out"
    assert told("gpt", PRICES, usage=None) == (
        "the cost of a call is not known, because it reported no usage: `Fake` gpt: usage not known"
    )


def test_a_call_that_failed_before_it_reported_anything_costs_nothing() -> None:
    with count_tokens(prices={"scripted": (1, 1)}) as tokens, suppress(TimeoutError):
        ScriptedChatModel(fail(TimeoutError)).invoke("hi")

    assert tokens.total_cost == 0


def test_a_price_of_genai_prices_is_used_where_no_table_is_given() -> None:
    details: Any = {"cache_read": 1000}
    spent = Usage(1_000_000, 0, 1_000_000, details)

    assert cost_of(ModelCall("m", "gpt-4o", usage=Usage(1_000_000, 0, 1_000_000), ended="ended")) == 2.5
    assert 0 < cost_of(ModelCall("m", "gpt-4o", usage=spent, ended="ended")) < 2.5


def test_a_model_that_genai_prices_does_not_know_is_an_error_that_names_it() -> None:
    import genai_prices

    assert told("zzz") == (
        f"no price for the model 'zzz' in genai-prices {genai_prices.__version__}"
        "\n  give a table: count_tokens(prices={'zzz': (input, output)})"
    )


def test_usage_that_genai_prices_cannot_make_sense_of_is_an_error_that_names_the_model() -> None:
    details: Any = {"cache_read": 2}

    assert told("gpt-4o", usage=Usage(1, 0, 1, details)) == (
        "no price for a call of the model 'gpt-4o', because its usage contradicts itself:"
        " Invalid usage data: cache_read_tokens (2) cannot exceed input_tokens (1)"
    )


def test_without_genai_prices_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)

    assert told("gpt") == (
        "no price for the model 'gpt': give a table, count_tokens(prices={'gpt': (input, output)}),"
        "\n  or install genai-prices, which knows those of many providers: pip install 'llmtest-kit[cost]'"
    )


@pytest.mark.parametrize("row", [(1,), (1, 2, 3, 4, 5), 1, ("1", "2"), (1, -2)])
def test_a_row_of_prices_that_is_none_is_an_error(row: Any) -> None:
    with pytest.raises(TypeError) as caught:
        count_tokens(prices={"gpt": row})

    assert str(caught.value) == (
        "prices of 'gpt' are a tuple (input, output, cache_read, cache_write) per million tokens, of which the last"
        f" two may be left out; got {row!r}"
    )


@pytest.mark.parametrize(
    ("ended", "why"), [("open", "it has not ended"), ("closed early", "it was broken off"), ("cancelled", "it was broken off")]
)
def test_the_cost_of_a_call_that_has_not_told_all_is_not_known(ended, why) -> None:
    with pytest.raises(PriceError) as caught:
        cost_of(ModelCall("Fake", "gpt", usage=Usage(1, 0, 1), ended=ended), {"gpt": (1, 1)})

    said = f"the cost of a call is not known, because {why}: `Fake` gpt: 1 in, 0 out until then, {ended}"
    assert str(caught.value) == said
