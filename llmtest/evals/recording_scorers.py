"""Scorers for recordings that compare them with a tree, a budget, or the protocol of callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from llmtest.core.text import amount, short
from llmtest.errors import ScorerError, TreeTextError
from llmtest.evals.scorers import OF_CASE, BuiltIn, named
from llmtest.evals.scores import CaseRun, Score, recorded

if TYPE_CHECKING:
    from llmtest.trees.rendering import Traced


def same_tree(expected: Any = OF_CASE) -> BuiltIn:
    """Return a scorer that passes a recording whose tree is the expected one. Its value is the part of the lines that agree.

    `expected` is the text of a tree, the `Path` of a snapshot, or another recording; by default, what the case expects. What
    snapshots mask is masked here too.

    Raises:
        ScorerError: a file cannot be read, or a text is no tree.

    >>> from llmtest import record, scripted_tool
    >>> from llmtest.evals import Case, CaseRun
    >>> with record() as recording:
    ...     _ = scripted_tool("search", "a hat", args={"q": str}).invoke({"q": "hat"})
    >>> run = CaseRun(Case("hat", "Find a hat"), recording=recording)
    >>> same_tree('tool search(q="hat")\\n  < "a hat"\\n')(run).passed
    True
    >>> same_tree('tool search(q="cap")\\n  < "a hat"\\n')(run)
    Score(value=0.5, passed=False, why='tool argument q "cap" → "hat" at search (1 of 2 lines, 1 cause)')
    """
    told = _tree_of(expected) if expected is not OF_CASE else None

    def scorer(run: CaseRun) -> Score:
        from llmtest.trees.differ import diff
        from llmtest.trees.rendering import Rendered

        wanted = told if told is not None else _tree_of(run.case.expected)
        difference = diff(wanted, Rendered(recorded(run, "same_tree"), wanted).text)
        if difference is None:
            return Score(1.0, True)
        return Score(max(0.0, 1 - difference.changed / difference.total), False, difference.headline)

    return named("same_tree", scorer)


def _tree_of(expected: Any) -> str:
    from llmtest.errors import PendingError
    from llmtest.trees import review
    from llmtest.trees.parsing import parse, renew_header
    from llmtest.trees.rendering import HEADER, render

    try:
        text = render(expected) if _is_traced(expected) else review.text_of(expected) if isinstance(expected, Path) else expected
        if not isinstance(text, str):
            raise ScorerError(f"the scorer `same_tree` expects a tree, a path or a recording; got {short(expected)}")
        parse(text)
    except (PendingError, TreeTextError) as error:
        raise ScorerError(f"the scorer `same_tree` expects a tree: {error}") from None
    bare = renew_header(text).removeprefix(f"{HEADER}\n").rstrip("\n")
    return f"{HEADER}\n{bare}\n"


def _is_traced(value: object) -> TypeGuard[Traced]:
    return hasattr(value, "roots") and hasattr(value, "late_events")


def within(**limits: Any) -> BuiltIn:
    """Return a scorer that passes a recording whose model calls kept to a budget.

    The limits are those of the marker `llm_budget`: `total_tokens`, `input_tokens`, `output_tokens`, `requests` and `cost`, the
    last with `prices` or by genai-prices. Limits are inclusive. A run of which it is not known what it spent does not pass.

    Raises:
        BudgetError: a limit is unknown or no number, or there is none.

    >>> from llmtest import ScriptedChatModel, record
    >>> from llmtest.evals import Case, CaseRun
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> within(total_tokens=2)(CaseRun(Case("hello", "hi"), recording=recording))
    Score(value=0.0, passed=False, why='the run spent more than its budget: total_tokens 3 of 2')
    """
    from llmtest.tokens.budget import budget

    most = budget([((), limits)], "within")

    def scorer(run: CaseRun) -> Score:
        from llmtest.core.source import shown_path
        from llmtest.tokens.budget import overspent
        from llmtest.tokens.counting import call_of

        recording = recorded(run, "within")
        unseen = [f"`{call.double}` at {shown_path(call.place)}" for call in recording.unseen_calls]
        told = overspent(most, [call_of(model) for model in recording.models], unseen, "the run", "")
        return Score(float(told is None), told is None, "" if told is None else _first_lines(told))

    return named("within", scorer)


def _first_lines(text: str) -> str:
    """Return what a text says first on one line: a cause may stand in the second."""
    first, *rest = text.splitlines()
    if first.endswith("is not known"):
        return f"{first}: {rest[0].strip()}"
    return first.removesuffix(":")


def conforms() -> BuiltIn:
    """Return a scorer that passes a recording whose callbacks keep the protocol: nothing in it is impossible.

    What is only unusual passes; see `llmtest.protocol.check`.

    >>> from llmtest import ScriptedChatModel, record
    >>> from llmtest.evals import Case, CaseRun
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> conforms()(CaseRun(Case("hello", "hi"), recording=recording)).passed
    True
    """

    def scorer(run: CaseRun) -> Score:
        from llmtest.protocol.run_checks import check

        broken = [found for found in check(recorded(run, "conforms")) if found.level == "impossible"]
        if not broken:
            return Score(1.0, True)
        more = f", and {amount(len(broken) - 1, 'more violation')}" if len(broken) > 1 else ""
        return Score(0.0, False, f"{broken[0].code}: {broken[0].text.splitlines()[0]}{more}")

    return named("conforms", scorer)
