"""Budgets: what a marker may say, and what is told of a test that spent more, or of which that is not known."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest.errors import BudgetError
from llmtest.events import Usage
from llmtest.tokens import ModelCall
from llmtest.tokens.budget import MAX_CALLS, Budget, budget, overspent


def spent(into: int, out: int, **fields: Any) -> ModelCall:
    return ModelCall("Fake", "gpt", **{"usage": Usage(into, out, into + out), "ended": "ended", **fields})


def test_a_narrower_marker_changes_what_it_names() -> None:
    marks = [((), {"requests": 1, "cost": 2.5}), ((), {"requests": 3, "prices": {"gpt": (1, 1)}})]

    assert budget(marks) == Budget({"requests": 3, "cost": 2.5}, {"gpt": (1, 1)})


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((100,), {}, "llm_budget takes its limits by name, as llm_budget(total_tokens=100); got 100"),
        (
            (),
            {"token": 100},
            "llm_budget has no limit called `token`; there are total_tokens, input_tokens, output_tokens, requests, cost,"
            " and prices",
        ),
        ((), {"total_token": 100}, "llm_budget has no limit called `total_token`; did you mean `total_tokens`?"),
        (
            (),
            {},
            "llm_budget without a limit; give one or more of total_tokens, input_tokens, output_tokens, requests, cost",
        ),
        ((), {"requests": "3"}, "the limit `requests` of llm_budget is a number, 0 or more; got '3'"),
        ((), {"requests": -1}, "the limit `requests` of llm_budget is a number, 0 or more; got -1"),
        ((), {"cost": float("nan")}, "the limit `cost` of llm_budget is a number, 0 or more; got nan"),
        ((), {"cost": float("inf")}, "the limit `cost` of llm_budget is a number, 0 or more; got inf"),
        ((), {"requests": True}, "the limit `requests` of llm_budget is a number, 0 or more; got True"),
    ],
)
def test_what_says_no_limit_is_refused(args: tuple[Any, ...], kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(BudgetError) as caught:
        budget([(args, kwargs)])

    assert str(caught.value) == text


def test_prices_that_are_none_are_refused() -> None:
    with pytest.raises((BudgetError, TypeError)) as caught:
        budget([((), {"cost": 1, "prices": {"gpt": 3}})])

    assert str(caught.value).startswith("prices of 'gpt' are a tuple (input, output, cache_read, cache_write)")


@pytest.mark.parametrize("limits", [{"requests": 2}, {"total_tokens": 12}, {"input_tokens": 8}, {"output_tokens": 4}])
def test_a_limit_is_inclusive(limits: dict[str, float]) -> None:
    calls = [spent(3, 1), spent(5, 3)]

    assert overspent(Budget(limits), calls) is None
    assert overspent(Budget({name: most - 1 for name, most in limits.items()}), calls) is not None


def test_who_spent_most_is_shown_and_the_rest_is_counted() -> None:
    calls = [spent(number, 0) for number in range(MAX_CALLS + 2)]

    assert overspent(Budget({"total_tokens": 3, "requests": 99}), calls) == (
        "this test spent more than its budget (llm_budget): total_tokens 21 of 3\n"
        "  the model calls that spent most, of 7:\n"
        "    `Fake` gpt: 6 in, 0 out\n"
        "    `Fake` gpt: 5 in, 0 out\n"
        "    `Fake` gpt: 4 in, 0 out\n"
        "    `Fake` gpt: 3 in, 0 out\n"
        "    `Fake` gpt: 2 in, 0 out\n"
        "    ... 2 more\n"
        "  raise the limit, or make fewer or shorter calls"
    )


def test_a_limit_that_is_passed_is_told_before_what_is_not_known() -> None:
    told = overspent(Budget({"requests": 0, "total_tokens": 9}), [spent(1, 1, usage=None)], ["a call at app.py:3"])

    assert told is not None
    assert told.startswith("this test spent more than its budget (llm_budget): requests 1 of 0\n")


def test_a_call_that_nothing_counted_leaves_the_spending_unknown() -> None:
    assert overspent(Budget({"requests": 5}), [], ["a call at app.py:3"]) == (
        "whether this test kept to its budget (llm_budget) is not known: 1 call happened that nothing counted\n"
        "    a call at app.py:3\n"
        "  carry the context to them: llmtest.carry_context(target), or the ini key llmtest_follow = test"
    )


@pytest.mark.parametrize(
    ("call", "what", "hint"),
    [
        (spent(0, 0, usage=None), "reported no usage", "let the model report it (`stream_usage=True` of many)"),
        (spent(0, 0, usage=None, ended="open"), "have not told what they spent", "let each call end in the test"),
    ],
)
def test_a_budget_of_tokens_needs_the_usage_of_each_call(call: ModelCall, what: str, hint: str) -> None:
    assert overspent(Budget({"total_tokens": 100}), [spent(1, 1), call]) == (
        f"whether this test kept to its budget (llm_budget) is not known: 1 of 2 model calls {what}\n"
        f"    {call}\n  {hint}, or limit `requests`"
    )
    assert overspent(Budget({"requests": 2}), [spent(1, 1), call]) is None


def test_a_cost_is_summed_without_what_the_cache_answered() -> None:
    calls = [spent(1_000_000, 0), spent(1_000_000, 0, cached=True)]
    prices = {"gpt": (2.0, 10.0)}

    assert overspent(Budget({"cost": 2}, prices), calls) is None
    assert str(overspent(Budget({"cost": 1.5}, prices), calls)).startswith(
        "this test spent more than its budget (llm_budget): cost 2 of 1.5\n"
    )
    assert overspent(Budget({"cost": 9}, {}), calls) == (
        "whether this test kept to its budget (llm_budget) is not known\n"
        "  no price for the model 'gpt'; the table has no model\n  add it to prices=: {'gpt': (input, output)}"
    )
