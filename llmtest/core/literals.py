"""Literals: what may stand in one, and the line of items that it is compared with.

Nothing here knows what an item is: a `Line` reads each element of a literal as a `Taker`, which answers which items it may take.
What a literal means and how it is matched is the matter of `llmtest.core.sequences`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

# -- what stands in a literal


class Repeated(NamedTuple):
    """An element, and how many items it takes: `most` is None for any number."""

    element: object
    least: int
    most: int | None

    def __repr__(self) -> str:
        times = str(self.least) if self.least == self.most else f"{self.least or ''}:{'' if self.most is None else self.most}"
        return f"{self.element!r}[{times}]"


def bounds_of(count: int | slice) -> tuple[int, int | None]:
    """Return the least and the most of `[count]`, where a slice is inclusive at both ends.

    Raises:
        TypeError: it is neither an int nor a slice without a step.
        ValueError: no number of items is in that range.
    """
    if isinstance(count, int):
        low: object = count
        high: object = count
    elif isinstance(count, slice) and count.step is None:
        low, high = 0 if count.start is None else count.start, count.stop
    else:
        raise TypeError(f"how often is [n] or [least:most]; got [{count!r}]")
    if not isinstance(low, int) or not isinstance(high, int | None) or low < 0 or (high is not None and high < max(low, 1)):
        raise ValueError(f"how often is [n] or [least:most], both inclusive, 0 <= least <= most, 1 <= most; got {count!r}")
    return low, high


class Together:
    """Items of one turn, or concurrent ones, in any order; in a literal, a set means the same."""

    def __init__(self, members: tuple[object, ...]) -> None:
        self.members = members

    def __repr__(self) -> str:
        return f"together({', '.join(map(repr, self.members))})"


# -- what it is matched with


class Taker(Protocol):
    """What an element of a literal stands for: it answers which items it may take."""

    @property
    def name(self) -> object:
        """What its items are called, to find the nearest miss."""

    @property
    def text(self) -> str:
        """How it is written."""

    @property
    def is_conditional(self) -> bool:
        """True if it may take one of two items that look alike, and not the other."""

    def may_take(self, item: Any) -> bool:
        """True if it takes items that look like this one; if it is conditional, perhaps not all of them."""

    def takes(self, item: Any) -> bool:
        """True if it takes this very item. If it cannot be told, it does not."""

    def misses(self, item: Any) -> str | None:
        """Return why it does not take this item, or None if it does."""


@dataclass(frozen=True, slots=True)
class ConcurrentGroup:
    """Neighbours in a line, from `start` to `stop`, of which some overlapped or are of one turn.

    `down[i]` has a bit for each of them that comes before the i-th; `turns[i]` is equal for those of one turn, None for an item
    of no turn.
    """

    start: int
    stop: int
    down: tuple[int, ...]
    turns: tuple[Hashable, ...]


@dataclass(frozen=True)
class Line(ABC):
    """What a literal is compared with: items in an order that is not contradicted, and the groups of concurrent ones.

    Its `parts` are the groups and the items between them. Two parts that look alike (`look`, `looks`) differ for conditional
    takers only, so whatever else is found out about one of them is remembered for all.
    """

    items: Sequence[Any]
    groups: Sequence[ConcurrentGroup] = ()

    takes_neighbours: ClassVar[bool] = False
    """Whether items that follow one another can fill a `together`; if not, only concurrent ones can, or those of one turn."""
    only_turns: ClassVar[bool] = False
    """Whether the items of a group may have come one after the other, so that only those of one turn can fill a `together`."""

    @abstractmethod
    def taker(self, element: object) -> Taker:
        """Return what an element of the literal stands for, which is neither `...` nor a group nor a repetition."""

    @abstractmethod
    def look(self, item: object) -> Hashable:
        """Return a key that is equal for items that look alike."""

    def likely(self, taker: Taker) -> Iterable[int]:
        """Return the numbers of all parts that have an item which this conditional taker takes, and of others too."""
        return (number for number, part in enumerate(self.parts) if any(map(taker.may_take, self.inside(part))))

    @cached_property
    def parts(self) -> Sequence[object]:
        """The groups and the items between them. Kept, because a line of runs is compared often."""
        return list(self._parts()) if self.groups else self.items

    @cached_property
    def looks(self) -> Sequence[Hashable]:
        """The look of each part, as a number."""
        # The look of a group is a long tuple. Numbered once here, it is never hashed again while literals are matched.
        known: dict[Hashable, int] = {}
        return [known.setdefault(self.look_of(part), len(known)) for part in self.parts]

    def inside(self, part: object) -> Sequence[Any]:
        """Return the items of a part."""
        return self.items[part.start : part.stop] if isinstance(part, ConcurrentGroup) else (part,)

    def look_of(self, part: object) -> Hashable:
        """Return a key that is equal for parts that look alike."""
        if not isinstance(part, ConcurrentGroup):
            return self.look(part)
        # Turns are told apart by who shares one, and not by which turn it is: else no two groups would look alike.
        turns = [part.turns.index(turn) if turn is not None else -1 for turn in part.turns]
        return part.down, *turns, *map(self.look, self.inside(part))

    def _parts(self) -> Iterator[object]:
        here = 0
        for group in self.groups:
            yield from self.items[here : group.start]
            yield group
            here = group.stop
        yield from self.items[here:]


# -- elements

Role = Literal["gap", "one", "may", "many", "group"]
"""What an element takes: anything; one item; at most one; any number; those of a `Together`."""


@dataclass(frozen=True, slots=True)
class Member:
    """The items that an element takes of one kind, and how many of them."""

    taker: Taker
    least: int = 1
    most: float = 1


@dataclass(frozen=True, slots=True)
class Element:
    """One state of the automaton: what it takes. Only a group has several members, only a gap has none."""

    role: Role
    members: tuple[Member, ...] = ()

    @property
    def least(self) -> int:
        return sum(member.least for member in self.members)

    @property
    def most(self) -> float:
        return sum(member.most for member in self.members)

    @property
    def may_be_empty(self) -> bool:
        return self.role in ("gap", "may", "many") or (self.role == "group" and self.least == 0)


def read_elements(literal: Sequence[object], line: Line) -> Iterator[Element]:
    """Read each element of a literal as the line takes it."""
    for written in literal:
        if written is ...:
            yield Element("gap")
        elif isinstance(written, Together | set | frozenset):
            # A set has no order of its own; sorted, a failure text is the same in every process.
            members = written.members if isinstance(written, Together) else sorted(written, key=repr)
            yield Element("group", tuple(_member(one, line) for one in members))
        else:
            yield from _in_sequence(_member(written, line))


def _in_sequence(member: Member) -> Iterator[Element]:
    """A repetition as elements that take one item each, because a state of the automaton cannot count."""
    alone = (Member(member.taker),)
    yield from [Element("one", alone)] * member.least
    if member.most == math.inf:
        yield Element("many", alone)
    else:
        yield from [Element("may", alone)] * int(member.most - member.least)


def _member(written: object, line: Line) -> Member:
    if isinstance(written, Repeated):
        return Member(line.taker(written.element), written.least, math.inf if written.most is None else written.most)
    return Member(line.taker(written))


def can_assign(members: Sequence[Member], items: Sequence[object]) -> bool:
    """True if each item can be assigned to a member that takes it, so that each member has as many as it must and may.

    If all items can be assigned, and all that a member must have can be found, then both at once (Mendelsohn and Dulmage,
    1958). So two flows decide it, each found by itself. Items that the same members take are one amount: time does not grow
    with the square of their number.
    """
    alike = Counter(tuple(member.taker.takes(item) for member in members) for item in items)
    takes, amounts = list(alike), list(alike.values())
    taken = [[suits[member] for suits in takes] for member in range(len(members))]
    most, least = [member.most for member in members], [member.least for member in members]
    return can_spread(amounts, most, takes) and can_spread(least, amounts, taken)


def can_spread(amounts: Sequence[float], limits: Sequence[float], fits: Sequence[Sequence[bool]]) -> bool:
    """True if all amounts can be spread over the places that fit them, none over its limit (Ford and Fulkerson, 1956)."""
    free = list(limits)
    spread = [[0.0] * len(limits) for _ in amounts]

    def put(source: int, amount: float, tried: set[int]) -> float:
        """Put as much of this amount as one place can take, if others can make room there; return how much that was."""
        for place in range(len(limits)):
            if not fits[source][place] or place in tried:
                continue
            tried.add(place)
            moved = min(amount, free[place])
            free[place] -= moved
            others = iter(range(len(amounts)))
            while not moved and (other := next(others, None)) is not None:
                if other != source and spread[other][place]:
                    moved = put(other, min(amount, spread[other][place]), tried)
                    spread[other][place] -= moved
            if moved:
                spread[source][place] += moved
                return moved
        return 0

    for source, amount in enumerate(amounts):
        while amount > 0:
            moved = put(source, amount, set())
            if not moved:
                return False
            amount -= moved
    return True
