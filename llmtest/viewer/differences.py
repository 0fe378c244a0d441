"""Snapshots of a test as the page shows them: expected, received, and the rows of the difference side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from llmtest.core.masks import table
from llmtest.trees.differ import Row, diff
from llmtest.viewer.cutting import cut_lines, cut_text

MAX_LINES: Final = 50_000
MAX_CHARACTERS: Final = 20_000
"""Of one line."""
MAX_ROWS: Final = 5_000
_NOTES: Final = ("", "first", "cause", "follows")


def compared(name: str, expected: str | None, received: str | None, headline: str) -> dict[str, Any]:
    """Return one comparison with a snapshot as plain data.

    `rows` are rows of the difference: depth, the expected line, the received one (None where there is none), and a note: 0,
    1 for the first difference, 2 for another cause, 3 for what follows from an earlier one. `folded` is how many equal
    lines are not among them. A comparison that matched has no rows, is `same`, and has its text once, under `received`.
    """
    # Trees have no secrets; a snapshot of a plain text is as the test made it.
    expected, received = (None if text is None else table().without_secrets(text) for text in (expected, received))
    rows: list[list[Any]] = []
    folded = 0
    if expected is not None and received is not None:
        difference = diff(expected, received)
        if difference is not None:
            rows, folded = list(_paired(difference.rows)), difference.folded
    same = expected is not None and expected == received
    return {
        "name": name,
        "same": same,
        "expected": None if expected is None or same else shown(expected.splitlines()),
        "received": None if received is None else shown(received.splitlines()),
        "headline": headline,
        "rows": rows[:MAX_ROWS],
        "folded": folded,
        "more": max(0, len(rows) - MAX_ROWS),
    }


def shown(lines: Sequence[str]) -> str:
    """Return the lines of a tree as one text, cut where it is too long to read."""
    return cut_lines(lines, MAX_LINES, MAX_CHARACTERS)


def _paired(rows: Sequence[Row]) -> Iterator[list[Any]]:
    """Yield rows with the removed and the added lines of a place side by side."""
    for (same, _), group in groupby(rows, key=lambda row: (row.mark == " ", row.depth)):
        block = list(group)
        if same:
            yield from ([row.depth, line, line, 0] for row in block for line in (cut_text(row.text, MAX_CHARACTERS),))
            continue
        yield from _side_by_side(block)


def _side_by_side(block: Sequence[Row]) -> Iterator[list[Any]]:
    """Yield removed and added rows in pairs. The differ puts a row right after the one that it replaces."""
    for removed, added in _replacements(block):
        alone = max(0, len(removed) - len(added))
        left: list[Row | None] = [*removed, *[None] * (len(added) - len(removed))]
        right: list[Row | None] = [*[None] * alone, *added]
        for pair in zip(left, right, strict=True):
            texts = [None if row is None else cut_text(row.text, MAX_CHARACTERS) for row in pair]
            yield [block[0].depth, *texts, max(_NOTES.index(row.note) if row else 0 for row in pair)]


def _replacements(block: Sequence[Row]) -> Iterator[tuple[list[Row], list[Row]]]:
    """Yield removed rows with the added ones that follow them."""
    removed: list[Row] = []
    for mark, group in groupby(block, key=lambda row: row.mark):
        if mark == "-":
            removed = list(group)
        else:
            yield removed, list(group)
            removed = []
    if removed:
        yield removed, []
