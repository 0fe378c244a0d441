"""Sequences that a recording shows: runs and kinds of events."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from llmtest.core.sequences import Names, Tokens
from llmtest.core.text import short
from llmtest.core.unread import unequal
from llmtest.events.events import Run

if TYPE_CHECKING:
    from llmtest.matching.answers import Answer
    from llmtest.matching.shapes import RunLine
    from llmtest.order.happens_before import HappensBefore


class Runs(Sequence[Run]):
    """Runs in the order in which they started.

    `in`, `count` and `index` take a name, a tool or a selector.
    `==` compares them with a shape: `recording.tools == ["plan", ..., together("search", "rate"), called("book", id=7)]`.
    Neighbours in a shape mean that the first had ended before the second began; runs that overlapped match
    `together(...)` only. It answers and never raises; `assert_matches` raises the whole explanation. Two `Runs` are equal
    if they are the same runs.
    """

    __slots__ = ("_order", "_runs", "_what")

    def __init__(self, runs: Iterable[Run], what: str = "runs", order: Callable[[], HappensBefore] | None = None) -> None:
        self._runs: tuple[Run, ...] = runs if isinstance(runs, tuple) else tuple(runs)
        self._what = what
        self._order = order

    @property
    def names(self) -> list[str]:
        return [run.name for run in self._runs]

    def tags(self, tag: str) -> Runs:
        """Return the runs that have this tag. In a name, `*` stands for anything."""
        return self._only(f"tags({tag!r})", lambda run: any(fnmatchcase(one, tag) for one in run.tags))

    def under(self, run: Run) -> Runs:
        """Return the runs inside `run`, however deep, without itself."""
        inside = {id(inner) for inner in run.walk()} - {id(run)}
        return self._only(f"under({run.name})", lambda one: id(one) in inside)

    def _only(self, what: str, true: Callable[[Run], bool]) -> Runs:
        return Runs((run for run in self._runs if true(run)), f"{self._what}.{what}", self._order)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        return Runs(self._runs[index], self._what, self._order) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __reversed__(self) -> Iterator[Run]:
        return reversed(self._runs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Runs):
            return self._runs == other._runs
        if not isinstance(other, list | tuple):
            return NotImplemented
        return self._has_shape(other) or unequal(f"{self._what} == {short(other)}")

    def __ne__(self, other: object) -> bool:
        if isinstance(other, Runs):
            return self._runs != other._runs
        if not isinstance(other, list | tuple):
            return NotImplemented
        return self._lacks_shape(other) or unequal(f"{self._what} != {short(other)}")

    __hash__ = None  # type: ignore[assignment]

    def _has_shape(self, shape: Sequence[object]) -> bool:
        from llmtest.matching import asserts

        return asserts.has_shape(self._line(), shape)

    def _lacks_shape(self, shape: Sequence[object]) -> bool:
        """True if the runs have not a shape, whatever their order, and no name in it seems to be misspelt."""
        from llmtest.matching import asserts

        line = self._line()
        if self._has_shape(shape) or asserts.may_have_another_order(line):
            return False
        return asserts.misspelt(line, shape, optional=False) is None

    def __contains__(self, item: object) -> bool:
        return bool(self._places(item))

    def count(self, item: object) -> int:
        """Return how many of the runs are meant by a name, a tool, `called(...)`, ...

        Raises:
            UnjudgedError: it cannot be told, or no run has the name and one nearly has it.
        """
        return len(self._places(item))

    def index(self, item: Any, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize) -> int:
        """Return the number of the first run that is meant by a name, a tool, `called(...)`, ...

        Raises:
            UnjudgedError: it cannot be told, or no run has the name and one nearly has it.
            ValueError: there is none.
        """
        among = range(len(self))[start:stop]
        found = next((number for number in self._places(item) if number in among), None)
        if found is None:
            raise ValueError(f"{short(item)} is not among the {self._what} {short(self.names)}")
        return found

    def _places(self, item: object) -> list[int]:
        from llmtest.matching import asserts

        return asserts.places_of(item, self._what, self._line())

    def _line(self) -> RunLine:
        from llmtest.matching.shapes import RunLine, line_of

        return line_of(self._runs, self._order()) if self._order is not None else RunLine(self._runs)

    def explain(self, shape: Sequence[object]) -> Answer:
        """Return an `Answer`: whether the runs have this shape, and why. It does not raise."""
        from llmtest.matching import asserts

        return asserts.explain_shape(self._what, self._line(), shape, self._order() if self._order else None)

    def assert_matches(self, shape: Sequence[object]) -> None:
        """Raise an `AssertionError` with the whole explanation, if the runs have not this shape."""
        __tracebackhide__ = True
        from llmtest.matching import asserts

        asserts.assert_shape(self._what, self._line(), shape, self._order() if self._order else None)

    def __repr__(self) -> str:
        return repr(self.names)


class Kinds(Names):
    """Callback names in the order in which they fired: a list that compares itself with a shape, `[..., "on_tool_*", ...]`."""

    def explain(self, shape: Sequence[object]) -> Answer:
        """Return an `Answer`: whether the names have this shape, and why. It does not raise."""
        from llmtest.matching import asserts

        return asserts.explain_shape("kinds", self.line(), shape, None)

    def assert_matches(self, shape: Sequence[object]) -> None:
        """Raise an `AssertionError` with the whole explanation, if the names have not this shape."""
        __tracebackhide__ = True
        from llmtest.matching import asserts

        asserts.assert_shape("kinds", self.line(), shape, None)


def compared(left: object, right: object) -> Answer | None:
    """Return why `left == right` is false, if that compares with a shape."""
    if not isinstance(right, list | tuple) or isinstance(right, Runs):
        return None
    if isinstance(left, Runs | Kinds):
        return left.explain(right)
    if not isinstance(left, Tokens):
        return None
    from llmtest.matching import asserts

    return asserts.explain_shape("tokens", left.line(), right, None)
