"""Ids and times that a text shows as they are: `--llmtest-verify` found that they are the same in each run.

A mask hides a change from one constant to another. So a snapshot may hold the value itself; that it stands there is all that
later comparisons need to know.
"""

from __future__ import annotations

import re
from collections.abc import Container


class Constants:
    """Decides for each value that a mask would hide. `met` collects what it was asked about. Holds state."""

    __slots__ = ("_known", "met")

    def __init__(self, known: Container[str] = ()) -> None:
        self._known = known
        self.met: set[str] = set()

    def keep(self, value: str) -> bool:
        """True if `value` is shown as it is: an id or a time, or the text of a field, `key: value`."""
        self.met.add(value)
        return value in self._known


class ShownIn:
    """The values that the text of a snapshot shows as they are, and those of `known`."""

    def __init__(self, text: str, known: Container[str] = ()) -> None:
        self._text = text
        self._known = known

    def __contains__(self, value: object) -> bool:
        return value in self._known or self._stands(str(value))

    def _stands(self, value: str) -> bool:
        key, colon, shown = value.partition(": ")
        before = f'"?{re.escape(key)}"?(?:: |=)' if colon else ""
        return re.search(rf"(?<![\w-]){before}{re.escape(shown if colon else value)}(?![\w-])", self._text) is not None
