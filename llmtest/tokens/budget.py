"""Budgets: how much the model calls of one test may spend.

`@pytest.mark.llm_budget(...)` in words: what it may say, and how a test that spent more is told so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmtest.core.text import did_you_mean
from llmtest.errors import BudgetError, PriceError
from llmtest.tokens.calls import Counts, ModelCall
from llmtest.tokens.prices import Prices, checked, cost_of

LIMITS: Final = ("total_tokens", "input_tokens", "output_tokens", "requests", "cost")
SHOWN: Final = 5
"""How many of the calls that spent most a failing test shows."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that the calls of a test may spend."""

    limits: Mapping[str, float]
    prices: Prices | None = None


def budget(marks: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> Budget:
    """The budget of a test, from the arguments of its markers, the outermost first: a narrower one changes what it names.

    Raises:
        BudgetError: a marker has positional arguments, an unknown name, no limit, or a limit that is no number.
    """
    said: dict[str, Any] = {}
    for args, kwargs in marks:
        if args:
            raise BudgetError(f"llm_budget takes its limits by name, as llm_budget(total_tokens={args[0]!r}); got {args[0]!r}")
        for name, value in kwargs.items():
            _check(name, value)
        said |= kwargs
    prices = said.pop("prices", None)
    if not said:
        raise BudgetError(f"llm_budget without a limit; give one or more of {', '.join(LIMITS)}")
    return Budget(said, checked(prices))


def _check(name: str, value: Any) -> None:
    if name == "prices":
        return
    if name not in LIMITS:
        hint = did_you_mean(name, (*LIMITS, "prices"), otherwise=f"there are {', '.join(LIMITS)}, and prices")
        raise BudgetError(f"llm_budget has no limit called `{name}`{hint}")
    # Nothing is above NaN or infinity, so such a limit would let any spending pass.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BudgetError(f"the limit `{name}` of llm_budget is a number, 0 or more; got {value!r}")


def overspent(budget: Budget, calls: Sequence[ModelCall]) -> str | None:
    """What to tell a test that spent more than it may, or whose spending is not known; None if it kept to its budget."""
    counts = Counts(calls)
    try:
        spent = {name: _spent(name, counts, calls, budget.prices) for name in budget.limits}
    except PriceError as error:
        return f"whether this test kept to its budget (llm_budget) is not known\n  {error}"
    if counts.unreported and any(name.endswith("_tokens") for name in spent):
        silent = [call for call in calls if call.ended == "ended" and not call.cached and call.usage is None]
        return (
            f"whether this test kept to its budget (llm_budget) is not known: {len(silent)} of {len(calls)} model calls reported"
            f" no usage\n{_listed(silent)}\n  let the model report it (`stream_usage=True` of many), or limit `requests`"
        )
    over = [f"{name} {_figure(spent[name])} of {limit:,}" for name, limit in budget.limits.items() if spent[name] > limit]
    return _told(over, calls) if over else None


def _spent(name: str, counts: Counts, calls: Sequence[ModelCall], prices: Prices | None) -> float:
    if name != "cost":
        figure: int = getattr(counts, name)
        return figure
    return sum(cost_of(call, prices) for call in calls if not call.cached and call.ended != "open")


def _figure(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"


def _told(over: Sequence[str], calls: Sequence[ModelCall]) -> str:
    most = sorted(calls, key=lambda call: -call.spent.total_tokens)
    rest = len(most) - SHOWN
    more = f"\n    ... {rest} more" if rest > 0 else ""
    return (
        f"this test spent more than its budget (llm_budget): {', '.join(over)}"
        f"\n  the model calls that spent most, of {len(calls)}:\n{_listed(most)}{more}"
        "\n  raise the limit, or make fewer or shorter calls"
    )


def _listed(calls: Sequence[ModelCall]) -> str:
    return "\n".join(f"    {call}" for call in calls[:SHOWN])
