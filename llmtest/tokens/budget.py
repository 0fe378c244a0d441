"""Budgets: how much the model calls of one test may spend.

`@pytest.mark.llm_budget(...)` in words: what it may say, and how a test that spent more is told so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmtest.core.text import amount, did_you_mean
from llmtest.errors import BudgetError, PriceError
from llmtest.tokens.calls import Counts, ModelCall
from llmtest.tokens.prices import Prices, checked, cost_of

LIMITS: Final = ("total_tokens", "input_tokens", "output_tokens", "requests", "cost")
MAX_CALLS: Final = 5
"""Calls that a failing test shows: those that spent most."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that the calls of a test may spend."""

    limits: Mapping[str, float]
    prices: Prices | None = None


def budget(marks: Sequence[tuple[tuple[object, ...], Mapping[str, object]]], said_by: str = "llm_budget") -> Budget:
    """Return the budget of a test, from the arguments of its markers, the outermost first: a narrower one changes what it names.

    `said_by` is what errors call a marker.

    Raises:
        BudgetError: a marker has positional arguments, an unknown name, no limit, or a limit that is no number.
    """
    said: dict[str, Any] = {}
    for args, kwargs in marks:
        if args:
            raise BudgetError(f"{said_by} takes its limits by name, as {said_by}(total_tokens={args[0]!r}); got {args[0]!r}")
        for name, value in kwargs.items():
            _check(name, value, said_by)
        said |= kwargs
    prices = said.pop("prices", None)
    if not said:
        raise BudgetError(f"{said_by} without a limit; give one or more of {', '.join(LIMITS)}")
    return Budget(said, checked(prices))


def _check(name: str, value: Any, said_by: str) -> None:
    if name == "prices":
        return
    if name not in LIMITS:
        hint = did_you_mean(name, (*LIMITS, "prices"), otherwise=f"there are {', '.join(LIMITS)}, and prices")
        raise BudgetError(f"{said_by} has no limit called `{name}`{hint}")
    # Nothing is above NaN or infinity, so such a limit would let any spending pass.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BudgetError(f"the limit `{name}` of {said_by} is a number, 0 or more; got {value!r}")


def overspent(
    budget: Budget, calls: Sequence[ModelCall], unseen: Sequence[str] = (), said: str = "this test", of: str = " (llm_budget)"
) -> str | None:
    """Return what to tell a test that spent more than it may, or whose spending is not known; None if it kept to its budget.

    `unseen` describes the calls that happened in the test and that nothing counted. `said` and `of` name the test and its budget.
    """
    not_known = f"whether {said} kept to its budget{of} is not known"
    counts = Counts(calls)
    spent: dict[str, float] = {name: getattr(counts, name) for name in budget.limits if name != "cost"}
    over = _over(budget, spent)
    if over:  # what is not known is more
        return _told(over, calls, said, of)
    if unseen:
        lines = "\n".join(f"    {line}" for line in unseen[:MAX_CALLS])
        return f"{not_known}: {amount(len(unseen), 'call')} happened that nothing counted\n{lines}\n{_REACH}"
    unknown = [call for call in calls if not call.is_known]
    if unknown and any(name.endswith("_tokens") for name in budget.limits):
        silent = all(call.ended == "ended" for call in unknown)
        what = "reported no usage" if silent else "have not told what they spent"
        hint = "let the model report it (`stream_usage=True` of many)" if silent else "let each call end in the test"
        return (
            f"{not_known}: {len(unknown)} of {len(calls)} model calls {what}\n{_listed(unknown)}\n  {hint}, or limit `requests`"
        )
    try:
        over = _over_cost(budget, calls)
    except PriceError as error:
        return f"{not_known}\n  {error}"
    return _told(over, calls, said, of) if over else None


_REACH: Final = "  carry the context to them: llmtest.carry_context(target), or the ini key llmtest_follow = test"


def _over_cost(budget: Budget, calls: Sequence[ModelCall]) -> list[str]:
    if "cost" not in budget.limits:
        return []
    return _over(budget, {"cost": sum(cost_of(call, budget.prices) for call in calls if not call.cached)})


def _over(budget: Budget, spent: Mapping[str, float]) -> list[str]:
    limits = budget.limits
    return [f"{name} {_figure(figure)} of {limits[name]:,}" for name, figure in spent.items() if figure > limits[name]]


def _figure(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"


def _told(over: Sequence[str], calls: Sequence[ModelCall], said: str, of: str) -> str:
    most = sorted(calls, key=lambda call: -call.spent.total_tokens)
    rest = len(most) - MAX_CALLS
    more = f"\n    ... {rest} more" if rest > 0 else ""
    return (
        f"{said} spent more than its budget{of}: {', '.join(over)}"
        f"\n  the model calls that spent most, of {len(calls)}:\n{_listed(most)}{more}"
        "\n  raise the limit, or make fewer or shorter calls"
    )


def _listed(calls: Sequence[ModelCall]) -> str:
    return "\n".join(f"    {call}" for call in calls[:MAX_CALLS])
