"""Shapes of runs: a literal that the runs of a recording must match, with `...`, `together(...)`, `called(...)[1:3]`.

`llmtest.core.sequences` says what a literal means and matches it. Here stands what it means of
runs (`RunLine`), and why a line has not a shape (`Mismatch`).
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from llmtest.core.literals import Element, Line, Taker
from llmtest.core.masks import show
from llmtest.core.sequences import Shape, bits
from llmtest.core.text import PLAIN, fits, nearest, tool_name
from llmtest.errors import UnjudgedError
from llmtest.events.events import Run
from llmtest.matching.rule import Condition, Hit
from llmtest.matching.selectors import Selector, by_name, called
from llmtest.order.happens_before import HappensBefore


@dataclass(frozen=True)
class RunLine(Line):
    """Runs as a shape sees them: a bare string means a run of that name, another value the runs whose name it fits."""

    order: HappensBefore | None = None

    def taker(self, element: object) -> Taker:
        if isinstance(element, Selector):
            return element
        if isinstance(element, str | re.Pattern):
            return by_name(element)
        if isinstance(element, Run):
            return _this(element)
        # A tool in a shape means its calls, so that a test need not write its name as text.
        tool = tool_name(element)
        return _Fitting(element) if tool is None else called(tool)

    def look(self, item: Any) -> Hashable:
        return item.kind, item.name

    @property
    def only_turns(self) -> bool:  # type: ignore[override]  # of each line by itself
        """True if the source of the runs does not tell the order of all of them."""
        return self.order is not None and "order" in self.order.unknown

    def likely(self, taker: Taker) -> Iterator[int]:
        # A shape of a long recording asks for a few runs. Found by kind, name and first argument, they are all it looks at.
        for option in cast("Selector", taker).options():
            for look, runs in self._places.items():
                if option.accepts(*look):
                    yield from self._asked(option, look, runs)

    def _asked(self, option: Selector, look: tuple[str, str], runs: Sequence[tuple[int, Run]]) -> Iterator[int]:
        if option.first is None:
            yield from self._meant(option, runs)
        else:
            key, expected = option.first
            values, others = self._by_value(look, key)
            yield from values.get(expected, ())
            yield from others

    def _meant(self, option: Selector, runs: Sequence[tuple[int, Run]]) -> Iterator[int]:
        try:
            # By identity: runs are frozen dataclasses, whose equality would compare all their events.
            meant = {id(run) for run in option.among([run for _, run in runs])}
        except UnjudgedError:  # of which run, is found out when each is asked about
            meant = {id(run) for _, run in runs}
        return (number for number, run in runs if id(run) in meant)

    @cached_property
    def _places(self) -> Mapping[tuple[str, str], Sequence[tuple[int, Run]]]:
        """The runs of each kind and name, each with the number of its part."""
        places: dict[tuple[str, str], list[tuple[int, Run]]] = {}
        for number, part in enumerate(self.parts):
            for run in self.inside(part):
                places.setdefault((run.kind, run.name), []).append((number, run))
        return places

    @cached_property
    def _values(self) -> dict[Hashable, tuple[dict[Any, list[int]], list[int]]]:
        return {}

    def _by_value(self, look: tuple[str, str], key: str) -> tuple[dict[Any, list[int]], list[int]]:
        """Return the parts with such a run by the value of an argument, and the parts where it is absent or not plain."""
        known = self._values.get((look, key))
        if known is None:
            known = self._values[look, key] = {}, []
            for number, run in self._places[look]:
                value = run.args.get(key, self)  # what is absent is of no plain type either
                (known[0].setdefault(value, []) if type(value) in PLAIN else known[1]).append(number)
        return known


class _Fitting(Selector):
    """Runs whose name fits a value that is no name: a matcher, or what can only be wrong."""

    def __init__(self, expected: object) -> None:
        super().__init__(repr(expected), frozenset(), "")
        self.expected = expected

    def accepts(self, kind: str, name: str) -> bool:
        return fits(self.expected, name)

    def misses(self, run: Hit) -> str | None:
        return None if fits(self.expected, run.name) else f"it is {show(run.name)}"


def _this(expected: Run) -> Selector:
    # A run of another recording has another identity, even if all that is recorded of it is equal.
    made = by_name(expected.name)
    made.conditions = (Condition("", lambda run: run is expected, lambda run: "it is another run of that name"),)
    return made


_lines: weakref.WeakKeyDictionary[HappensBefore, dict[int, tuple[Sequence[Run], RunLine]]] = weakref.WeakKeyDictionary()
"""The lines of each order, by the identity of the runs. A recording is compared often, and its tools are one tuple."""


def line_of(runs: Sequence[Run], order: HappensBefore) -> RunLine:
    """Return these runs as a line, in an order that is certain. Made once for each order and sequence of runs."""
    lines = _lines.setdefault(order, {})
    known = lines.get(id(runs))
    if known is None or known[0] is not runs:
        # The tuple is kept beside its line, so that its id cannot be taken by another one.
        known = lines[id(runs)] = (runs, RunLine(*order.arrange(runs), order))
    return known[1]


# -- why it does not match


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a line has not a shape: how far it went, what was due there, and what came nearest.

    `at` is the number of the first item that does not fit, the length of the line if something is missing at its end;
    `due` what could have come there; `near` the number of the item that comes nearest to what was due, and `why` it is not it.
    """

    at: int
    stop: int
    due: tuple[Element, ...]
    near: int | None = None
    why: str = ""
    gave_up: bool = False


def mismatch(literal: Sequence[object], line: Line) -> Mismatch:
    """Return why a line that has not this shape has not got it."""
    shape = Shape(literal, line)
    reached, most = shape.begin, _furthest(shape.begin)
    at = stop = 0
    for start, end, states in shape.walk():
        if states:
            reached, most, at, stop = states, max(most, _furthest(states)), end, end
        elif start == at:
            stop = end
    died = at < len(line.items)
    # Where the line ends too soon, many places may be reached. The furthest is the one that a reader has in mind.
    places = bits(reached) if died else [most]
    due = tuple(element for n, element in enumerate(shape.elements) if n in places and element.role != "gap")
    return Mismatch(at, stop, due, *_nearest(line, due, at if died else 0), shape.gave_up)


def _furthest(states: int) -> int:
    # A set of places is an int with a bit for each, as in `llmtest.core.sequences`.
    return states.bit_length() - 1


def _nearest(line: Line, due: Sequence[Element], start: int) -> tuple[int | None, str]:
    """Return the item from `start` on that comes nearest to what is due, and why it is not it."""
    takers = [member.taker for element in due for member in element.members]
    items = list(enumerate(line.items))[start:]
    for taker in takers:
        for n, item in items:
            # Of the right kind and name, so it is the arguments that differ: nearer than any name that is only alike.
            if taker.may_take(item) and (why := _why(taker, item)):
                return n, why
    # Reversed, so that the first item of a name is the one that is shown.
    names = {str(getattr(item, "name", item)): n for n, item in reversed(items)}
    for taker in takers:
        close = nearest(taker.name, names) if isinstance(taker.name, str) else None
        if close is not None and (why := _why(taker, line.items[names[close]])):
            return names[close], why
    return None, ""


def _why(taker: Taker, item: object) -> str | None:
    try:
        return taker.misses(item)
    except UnjudgedError as missing:
        return str(missing)


def mark(literal: Sequence[object], line: RunLine) -> None:
    """Show each selector that means a run as that run, in order; the others as they are written."""
    elements = Shape(literal, line).elements
    selectors = [(cast("Selector", member.taker), element) for element in elements for member in element.members]
    for selector, _ in selectors:
        selector.seen = None
    here = 0
    for selector, element in selectors:
        found = next((n for n in range(here, len(line.items)) if selector.takes(line.items[n])), None)
        if found is not None:
            selector.seen = line.items[found]
            here = found + (element.role != "group")
