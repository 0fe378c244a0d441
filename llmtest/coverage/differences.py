"""What a branch adds and loses: two sets of coverage data, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtest.coverage.items import Item
from llmtest.coverage.report import Report, State


@dataclass(frozen=True)
class Change:
    """What became of an item. `before` and `after` are its states; None where it is not in the inventory.

    `is_program_gone`: no test meets its program any more.
    """

    item: Item
    before: State | None
    after: State | None
    is_program_gone: bool = False

    @property
    def sentence(self) -> str:
        """The change, as a person reads it.

        >>> Change(Item("a", "tools", "book.raised", "`book`", "raised"), "hit", "missed").sentence
        'lost: `book` never raised (a)'
        """
        if self.before == "hit" and self.after != "hit":
            if self.after is not None:
                return f"lost: {self.item.missing} ({self.item.program})"
            how = "lost, because no test meets the program" if self.is_program_gone else "no longer in the program"
            return f"{how}: {self.item.sentence} ({self.item.program})"
        if self.after == "hit":
            return f"{'gained' if self.before is not None else 'new and hit'}: {self.item.sentence} ({self.item.program})"
        return f"{self.after or 'gone'}, was {self.before or 'not there'}: {self.item.missing} ({self.item.program})"

    @property
    def is_loss(self) -> bool:
        """True if the tests hit less than before: an item or a whole program is lost, or a new item is missed."""
        if self.before == "hit":
            return self.is_program_gone if self.after is None else self.after not in ("hit", "excluded")
        return self.before is None and self.after == "missed"

    def to_plain(self) -> dict[str, Any]:
        return {"id": self.item.id, "before": self.before, "after": self.after, "sentence": self.sentence}


def compare(base: Report, head: Report) -> list[Change]:
    """Return the items whose states differ, losses first."""
    before = {row.item.id: row for row in base.rows}
    after = {row.item.id: row for row in head.rows}
    programs = {row.item.program for row in head.rows}
    changes = []
    for item_id in dict.fromkeys((*before, *after)):
        old, new = before.get(item_id), after.get(item_id)
        states = (old.state if old else None, new.state if new else None)
        if states[0] != states[1]:
            row = new or old
            assert row is not None
            changes.append(Change(row.item, *states, row.item.program not in programs))
    return sorted(changes, key=lambda change: (not change.is_loss, change.item.id))
