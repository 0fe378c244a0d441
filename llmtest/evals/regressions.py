"""Comparisons of several sets at once, and why the cases have flipped: the tree diff of their recordings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtest.core.text import amount, did_you_mean, some_names
from llmtest.errors import BaselineError, StoreError
from llmtest.evals.baselines import Baseline
from llmtest.evals.comparisons import KINDS, PASSES, CaseChange, Comparison, compare
from llmtest.evals.intervals import CONFIDENCE
from llmtest.tracing.store import Store

MAX_DIFFS: Final = 5
"""The most flipped cases whose tree diff a text has."""
MAX_DIFF_LINES: Final = 20
"""Of one tree diff."""


@dataclass(frozen=True)
class Compared:
    """The comparison of one set, and the name of its test."""

    test: str
    comparison: Comparison

    def regressions(self, kinds: Collection[str] = (PASSES,)) -> list[str]:
        """Return what has become worse, as texts."""
        return [str(difference) for difference in self.comparison.regressions(kinds)]

    def lines(self, store: Path | None = None, *, color: bool = False) -> Iterator[str]:
        """Yield the text of the comparison, with the tree diff of each case that now fails, if `store` has both recordings."""
        yield self.test or "all runs"
        yield from (f"  {line}" for line in str(self.comparison).splitlines())
        changes = self.comparison.now_failing
        if store is None or self.comparison.outcome != "worse":
            return
        for change in changes[:MAX_DIFFS]:
            yield from (f"  {line}" for line in tree_diff(change, store, color=color))
        if len(changes) > MAX_DIFFS:
            yield f"  ... and the diffs of {amount(len(changes) - MAX_DIFFS, 'more case')}"


def compare_all(before: Sequence[Baseline], after: Sequence[Baseline], *, confidence: float = CONFIDENCE) -> list[Compared]:
    """Return the comparison of each set, in the order of `after`. One set is paired with one, several by their tests.

    Raises:
        BaselineError: a set of one side is not on the other; or sets are of other cases (see `compare`).
    """
    if len(before) == len(after) == 1:
        return [Compared(after[0].test, compare(before[0], after[0], confidence=confidence))]
    earlier = {baseline.test: baseline for baseline in before}
    later = {baseline.test: baseline for baseline in after}
    lines = [
        f"  only {side}  {some_names(missing)}{did_you_mean(missing[0], others) if len(missing) == 1 else ''}"
        for side, missing, others in (
            ("before", [test for test in earlier if test not in later], later),
            ("after ", [test for test in later if test not in earlier], earlier),
        )
        if missing
    ]
    if lines:
        raise BaselineError("\n".join(["the results are of other tests than the baseline", *lines, "  accept a new baseline"]))
    return [Compared(test, compare(earlier[test], later[test], confidence=confidence)) for test in later]


def check_kinds(kinds: Collection[str], said_by: str) -> None:
    """Raise an error unless all of these are kinds of regressions.

    Raises:
        BaselineError: one is unknown; `said_by` is where it stands.
    """
    for kind in kinds:
        if kind not in KINDS:
            hint = did_you_mean(kind, KINDS, otherwise=f"it takes {', '.join(KINDS)}")
            raise BaselineError(f"{said_by} has the unknown word {kind!r}{hint}")


def tree_diff(change: CaseChange, store: Path, *, color: bool = False) -> Iterator[str]:
    """Yield the tree diff of a case that flipped, from a run that passed to one that failed; or why there is none.

    The recordings are those that the trace store has under the names in the results.
    """
    names = change.before.trace, change.after.trace
    yield f"{change}:"
    if None in names or names[0] == names[1]:
        side = "before and now" if names[0] == names[1] else "before" if names[0] is None else "now"
        yield f"  no tree diff: the traces of {side} were not kept"
        return
    try:
        with Store(store) as opened:
            texts = [_text(opened, str(name)) for name in names]
    except StoreError as error:
        yield f"  no tree diff: {str(error).splitlines()[0]}"
        return
    from llmtest.trees.differ import diff

    difference = diff(*texts)
    if difference is None:
        yield "  the trees are equal: the difference is in a score, an answer outside of the recording, or the program"
        return
    yield f"  {difference.headline}"
    yield from (f"    {line}" for line in difference.lines(limit=MAX_DIFF_LINES, color=color))


def _text(store: Store, name: str) -> str:
    from llmtest.trees.rendering import render

    return "".join(render(store.load(trace)) for trace in store.find(name))
