"""Sequences: matches items in order with a literal, `["plan", ..., together("a", "b"), called("book")[1:3]]`.

A `Line` holds the items and reads each element of the literal as a `Taker`; takers answer which items they may take, so nothing
here knows what an item is. What a literal means, exactly: the items can be put one after the other, in an order that the line
allows, and cut into pieces, one for each element, so that `...` has any items, every other element has items that it takes,
the items of a group are concurrent or of one turn, and whatever an element other than `...` has ended before the next such
element began. So `...` also takes what was concurrent with its neighbours.

The literal is matched as an automaton whose states are the places between its elements, one bit each. A set of places is then
one int, and the time is that of one pass over the line, whatever the literal. Concurrent items (a `ConcurrentGroup`) have no
single order, so the pass hands them to a `GroupMatcher`, which knows which of them come before which.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar, Final, SupportsIndex

from llmtest.core.literals import ConcurrentGroup, Element, Line, Member, Taker, can_assign, read_elements
from llmtest.core.masks import show
from llmtest.core.text import fits, named, short
from llmtest.core.unread import unequal

# -- the automaton


@dataclass(slots=True, eq=False)
class _Row:
    """The automaton at these places, and where it comes to by a part of each look: one without an item that a conditional taker
    takes, or, under a look with answers, one of which these are true."""

    states: int
    after: dict[Hashable, _Row] = field(default_factory=dict)


class Shape:
    """A literal, read for a line. Its states are the places in it, as the bits of an int; place n is before element n."""

    def __init__(self, literal: Sequence[object], line: Line) -> None:
        self.line = line
        self.elements = tuple(read_elements(literal, line))
        self.end = 1 << len(self.elements)
        self.gave_up = False
        """Whether a group had more concurrent items than can be tried, so that a match may have been missed."""
        self._groups = [n for n, element in enumerate(self.elements) if element.role == "group"]
        # The elements by what the automaton does at them, as bits: `step` treats all places at once.
        self._stays = self._places(lambda element: element.role == "gap")
        self._loops = self._places(lambda element: element.role == "many")
        self._single = self._places(lambda element: element.role in ("one", "may", "many"))
        self._empties = self._places(lambda element: element.may_be_empty)
        self._conditional = [(n, m) for n, element in enumerate(self.elements) for m in element.members if m.taker.is_conditional]
        # Programs repeat themselves, so what was found out is remembered by look, and by place.
        self._known: dict[Hashable, tuple[int, list[int]]] = {}
        self._steps: dict[int, dict[int, int]] = {}
        self._rows: dict[int, _Row] = {}
        self._questions: dict[tuple[int, Hashable], Sequence[tuple[Member, int]]] = {}
        self._after_groups: dict[Hashable, int] = {}

    def _places(self, is_meant: Callable[[Element], bool]) -> int:
        return sum(1 << n for n, element in enumerate(self.elements) if is_meant(element))

    @property
    def begin(self) -> int:
        """The places before the first item."""
        return self.closed(1)

    def closed(self, states: int) -> int:
        """Return these places and those that are reached from them through elements that may take nothing."""
        fresh = states
        while fresh := (fresh & self._empties) << 1 & ~states:
            states |= fresh
        return states

    def matches(self) -> bool:
        """True if the line has this shape."""
        if not (self._groups and self.line.takes_neighbours):
            return bool(self._by_look() & self.end)
        # To the end: a group of neighbours may be under way where no place is reached.
        last = deque(self.walk(), maxlen=1)
        return bool((last.pop()[2] if last else self.begin) & self.end)

    # one item

    def takers(self, item: object, states: int = ~0) -> int:
        """Return the elements that take this item alone; those at other places than `states` may be left out."""
        look = self.line.look(item)
        known = self._known.get(look)
        if known is None:
            known = self._known[look] = self._ask(item)
        taking, doubtful = known
        for n in doubtful:
            if states >> n & 1 and self.elements[n].members[0].taker.takes(item):
                taking |= 1 << n
        return taking

    def _ask(self, item: object) -> tuple[int, list[int]]:
        """Return, for all items of one look, the elements that take each, and the elements to ask about each."""
        likely = [
            (n, element.members[0].taker)
            for n, element in enumerate(self.elements)
            if self._single >> n & 1 and element.members[0].taker.may_take(item)
        ]
        certain = sum(1 << n for n, taker in likely if not taker.is_conditional)
        return certain, [n for n, taker in likely if taker.is_conditional]

    def step(self, states: int, takers: int) -> int:
        """Return the places after one item that comes after all before it."""
        row = self._steps.get(states)
        if row is None:
            row = self._steps[states] = {}
        after = row.get(takers)
        if after is None:
            taken = states & takers
            after = row[takers] = self.closed(states & self._stays | (taken & self._loops) | (taken & ~self._loops) << 1)
        return after

    # item by item: it tells where a line goes wrong

    def walk(self) -> Iterator[tuple[int, int, int]]:
        """Yield the places after each stretch of the line, with where the stretch begins and ends."""
        states, here = self.begin, 0
        for group in (*self.line.groups, None):
            stop = group.start if group is not None else len(self.line.items)
            for after in self._straight(states, here, stop):
                here, states = here + 1, after
                yield here - 1, here, states
            if group is not None:
                here, states = group.stop, self._through_group(group, self.line.look_of(group), states)
                yield group.start, group.stop, states

    def _straight(self, states: int, start: int, stop: int) -> Iterator[int]:
        """Yield the places after each item from `start` to `stop`, which come one after the other."""
        later: dict[int, int] = {}
        items = self.line.items
        for here in range(start, stop):
            item = items[here]
            for n in self._groups:
                if states >> n & 1:
                    self._fill(n, here, stop, later)
            states = self.step(states, self.takers(item, states)) | self.closed(later.pop(here + 1, 0))
            yield states

    def _fill(self, n: int, here: int, stop: int, later: dict[int, int]) -> None:
        """Note where the automaton is later, if a group takes the items from here on."""
        element = self.elements[n]
        most = min(element.most, stop - here, math.inf if self.line.takes_neighbours else 1)
        for count in range(max(element.least, 1), int(most) + 1):
            if can_assign(element.members, self.line.items[here : here + count]):
                later[here + count] = later.get(here + count, 0) | 1 << n + 1

    def _through_group(self, group: ConcurrentGroup, look: Hashable, states: int) -> int:
        """Return the places after a group. To find them may be costly, so groups that look and answer alike are matched once."""
        items = self.line.inside(group)
        key = (states, look, *(member.taker.takes(item) for _, member in self._conditional for item in items))
        if key not in self._after_groups:
            self._after_groups[key] = GroupMatcher(self, group).through(states)
        return self._after_groups[key]

    # part by part: it tells only whether the line matches, at the cost of a look into a dict for most parts

    def _by_look(self) -> int:
        """Return the places at the end of the line."""
        row, looks, parts, here = self._row(self.begin), self.line.looks, self.line.parts, 0
        # A part that no conditional taker may take needs no question. It is most of them, and the inner loop passes over it.
        for stop in (*self._stops(), len(parts)):
            for look, part in zip(looks[here:stop], parts[here:stop], strict=True):
                row = row.after.get(look) or self._after(row, look, part, look)
            if stop < len(parts):
                row = self._through(row, looks[stop], parts[stop])
            here = stop + 1
        return row.states

    def _stops(self) -> Sequence[int]:
        """Return the numbers of the parts that must be asked about: a conditional taker may take an item in them."""
        return sorted({number for _, member in self._conditional for number in self.line.likely(member.taker)})

    def _row(self, states: int) -> _Row:
        row = self._rows.get(states)
        if row is None:
            row = self._rows[states] = _Row(states)
        return row

    def _through(self, row: _Row, look: Hashable, part: object) -> _Row:
        """Return the row after a part that must be asked about."""
        items = self.line.inside(part)
        key = (look, *[member.taker.takes(items[n]) for member, n in self._asked(row.states, look, items)])
        return row.after.get(key) or self._after(row, look, part, key)

    def _asked(self, states: int, look: Hashable, items: Sequence[object]) -> Sequence[tuple[Member, int]]:
        """Return the conditional members that matter from these places on, each with the numbers of items that it may take."""
        known = self._questions.get((states, look))
        if known is None:
            # One item moves a place by one element; a group of items may pass over many, so those further on matter too.
            due = [m for n, m in self._conditional if (states >> n & 1 if len(items) == 1 else states & (2 << n) - 1)]
            known = [(m, n) for m in due for n, item in enumerate(items) if m.taker.may_take(item)]
            self._questions[states, look] = known
        return known

    def _after(self, row: _Row, look: Hashable, part: object, key: Hashable) -> _Row:
        """Return the row after this very part, remembered for those that are like it."""
        row.after[key] = after = self._row(self._follow(part, look, row.states))
        return after

    def _follow(self, part: object, look: Hashable, states: int) -> int:
        """Return the places after this very part."""
        if isinstance(part, ConcurrentGroup):
            return self._through_group(part, look, states)
        groups = sum(1 << n for n in self._groups if states >> n & 1 and self._is_filled_by(n, part))
        return self.step(states, self.takers(part, states) | groups)

    def _is_filled_by(self, n: int, item: object) -> bool:
        """True if an item that was concurrent with no other is all that a group needs."""
        return self.elements[n].least <= 1 and can_assign(self.elements[n].members, [item])


# -- concurrent items

MAX_TRIED_SETS: Final = 10_000
"""How many sets of concurrent items are tried for one `together`."""

_Thread = tuple[int, int, int, bool]
"""How far one way through a group is: the place in the shape; the items of the last element; the items of the elements since
the last `...`; whether there was none yet in this group. Items are bits."""


@dataclass(slots=True)
class GroupMatcher:
    """The ways of a shape through one group. What lies between two elements without `...` must be taken by them."""

    shape: Shape
    group: ConcurrentGroup
    _up: list[int] = field(default_factory=list)

    def through(self, states: int) -> int:
        """Return the places after the group, from those before it."""
        down = self.group.down
        self._up = [0] * len(down)
        for b, below in enumerate(down):
            for a in bits(below):
                self._up[a] |= 1 << b
        todo: list[_Thread] = [(n, 0, 0, True) for n in range(len(self.shape.elements) + 1) if states >> n & 1]
        # Many orders of the items lead to the same thread. Each is followed once, and that keeps the search from exploding.
        seen = set(todo)
        left = 0
        for thread in todo:  # grows while it is read
            left |= self._leaving(thread)
            for further in self._next(thread):
                if further not in seen:
                    seen.add(further)
                    todo.append(further)
        return self.shape.closed(left)

    def _leaving(self, thread: _Thread) -> int:
        """Return the place, if the group can be left there: everything that was not taken must have a `...` to be in."""
        place, _, taken, whole = thread
        if place < len(self.shape.elements) and self.shape.elements[place].role == "gap":
            return 1 << place
        # A `...` before `taken` may hold whatever does not come after it; without any `...`, nothing may be left over.
        untaken = ~taken & ((1 << len(self.group.down)) - 1)
        return 0 if untaken & (untaken if whole else self._above(taken)) else 1 << place

    def _next(self, thread: _Thread) -> Iterator[_Thread]:
        place, last, taken, whole = thread
        if place == len(self.shape.elements):
            return
        element = self.shape.elements[place]
        if element.role == "gap":
            yield place + 1, last, 0, False
        elif element.may_be_empty:
            yield place + 1, last, taken, whole
        if element.role == "group":
            yield from ((place + 1, new, taken | new, whole) for new in self._sets(element, last, taken, whole))
        elif element.role != "gap":
            to = place if element.role == "many" else place + 1
            yield from ((to, 1 << i, taken | 1 << i, whole) for i in self._free(last, taken, whole) if self._takes(place, i))

    def _takes(self, place: int, i: int) -> bool:
        return bool(self.shape.takers(self._item(i)) >> place & 1)

    def _item(self, i: int) -> object:
        return self.shape.line.items[self.group.start + i]

    def _above(self, taken: int) -> int:
        """Return the items that come after one of `taken`."""
        return sum(1 << i for i, below in enumerate(self.group.down) if below & taken)

    def _free(self, last: int, taken: int, whole: bool) -> Iterator[int]:
        """Return the items that may be next: after all of the last element, and nothing left behind that had to be taken."""
        return (i for i in self._after(last, taken) if self._leaves_nothing(1 << i, taken, whole))

    def _after(self, last: int, taken: int) -> list[int]:
        """Return the items that were not taken and come after all of the last element."""
        return [i for i, below in enumerate(self.group.down) if last & ~below == 0 and not taken >> i & 1]

    def _leaves_nothing(self, chosen: int, taken: int, whole: bool) -> bool:
        """True if what lies between these items and those taken since the last `...` is taken too."""
        due = ~(taken | chosen) & (~0 if whole else self._above(taken | chosen))
        return not any(self.group.down[i] & due for i in bits(chosen))

    def _sets(self, element: Element, last: int, taken: int, whole: bool) -> Iterator[int]:
        """Yield the sets of items that a `together` may take. Of items that nothing tells apart only the first ones are tried.

        There may still be more such sets than anyone can look at, so the search gives up after `MAX_TRIED_SETS`, and says so.
        """
        classes = list(self._alike(element, last, taken).values())
        rest = [*accumulate(map(len, reversed(classes)), initial=0)][::-1]
        todo = [(0, 0)]
        for _ in range(MAX_TRIED_SETS):
            # What cannot become enough any more is no set, and does not count as tried.
            while todo and todo[-1][1].bit_count() + rest[todo[-1][0]] < element.least:
                todo.pop()
            if not todo:
                return
            number, chosen = todo.pop()
            if number < len(classes):
                todo += [(number + 1, more) for more in self._picks(classes[number], chosen, element.most)]
            elif element.least <= chosen.bit_count() <= element.most and self._can_take(element, chosen, taken, whole):
                yield chosen
        self.shape.gave_up = True

    def _alike(self, element: Element, last: int, taken: int) -> dict[Hashable, list[int]]:
        """Return the items that a `together` may take, grouped by takers, and by the items before and after."""
        alike: dict[Hashable, list[int]] = {}
        for i in self._after(last, taken):
            item = self._item(i)
            suits = tuple(member.taker.takes(item) for member in element.members)
            if any(suits):
                key = (suits, self.group.down[i], self._up[i], self.group.turns[i], self.shape.takers(item))
                alike.setdefault(key, []).append(i)
        return alike

    def _picks(self, alike: list[int], chosen: int, most: float) -> Iterator[int]:
        """`chosen`, and with one, two, ... of these, as long as all of them are together."""
        yield chosen
        for i in alike:
            if chosen.bit_count() >= most or not self._are_together(i, chosen):
                return
            chosen |= 1 << i
            yield chosen

    def _are_together(self, i: int, chosen: int) -> bool:
        """True if an item is of one turn with each of `chosen` that it is not concurrent with."""
        turn = self.group.turns[i]
        ordered = chosen if self.shape.line.only_turns else (self.group.down[i] | self._up[i]) & chosen
        return all(turn is not None and self.group.turns[j] == turn for j in bits(ordered))

    def _can_take(self, element: Element, chosen: int, taken: int, whole: bool) -> bool:
        items = [self._item(i) for i in bits(chosen)]
        return bool(items) and self._leaves_nothing(chosen, taken, whole) and can_assign(element.members, items)


def bits(number: int) -> list[int]:
    """Return the numbers of the bits that are set."""
    return [n for n in range(number.bit_length()) if number >> n & 1]


# -- texts


@dataclass(frozen=True, slots=True, eq=False)
class TextTaker:
    """A text or another plain value: it takes what is as expected."""

    name: object
    has_wildcards: bool
    is_conditional: ClassVar[bool] = False

    @property
    def text(self) -> str:
        return repr(self.name)

    def takes(self, item: Any) -> bool:
        if self.has_wildcards and isinstance(self.name, str):
            return named(self.name, item)
        return fits(self.name, item)

    may_take = takes

    def misses(self, item: object) -> str | None:
        return None if self.takes(item) else f"it is {show(item)}"


@dataclass(frozen=True)
class TextLine(Line):
    """Tokens, or names in which `*` stands for anything, one after the other; a set takes the next ones in any order."""

    has_wildcards: bool = False
    takes_neighbours = True

    def taker(self, element: object) -> Taker:
        return TextTaker(element, self.has_wildcards)

    def look(self, item: object) -> Hashable:
        return item if type(item) is str else id(item)  # a content block is a dict, which has no hash

    @cached_property
    def looks(self) -> Sequence[Hashable]:
        # A text is its own look. There may be many thousands of them, and to number them would be most of the time.
        return self.items if not self.groups and {*map(type, self.items)} <= {str} else super().looks


class Tokens(list[Any]):
    """Plain values in order: a list whose `==` understands shapes, `["It is", ..., "Paris."]`. It answers and never raises."""

    has_wildcards: ClassVar[bool] = False
    _noun: ClassVar[str] = "tokens"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | tuple):
            return NotImplemented
        return self._has_shape(other) or unequal(f"{self._noun} == {short(other)}")

    def __ne__(self, other: object) -> bool:
        if not isinstance(other, list | tuple):
            return NotImplemented
        return not self._has_shape(other) or unequal(f"{self._noun} != {short(other)}")

    def __contains__(self, item: object) -> bool:
        return any(map(self._taker(item).takes, self))

    def count(self, item: object) -> int:
        """Return how many are as `item`, which may be a matcher or a pattern as in a shape."""
        return sum(map(self._taker(item).takes, self))

    def index(self, item: object, start: SupportsIndex = 0, stop: SupportsIndex = sys.maxsize) -> int:
        """Return the number of the first that is as `item`, which may be a matcher or a pattern as in a shape."""
        takes = self._taker(item).takes
        found = next((n for n in range(len(self))[start:stop] if takes(self[n])), None)
        if found is None:
            raise ValueError(f"{short(item)} is not among the {self._noun}")
        return found

    __hash__ = None

    def _has_shape(self, literal: Sequence[object]) -> bool:
        return Shape(literal, self.line()).matches()

    def _taker(self, item: object) -> TextTaker:
        return TextTaker(item, self.has_wildcards)

    def line(self) -> TextLine:
        """Return what a shape is compared with."""
        return TextLine(list(self), has_wildcards=self.has_wildcards)


class UnknownTokens(Tokens):
    """The tokens of a run whose source does not tell them one by one: neither equal to a shape nor different from it."""

    def _has_shape(self, literal: Sequence[object]) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return unequal(f"{self._noun} != {short(other)}") if isinstance(other, list | tuple) else NotImplemented

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    __hash__ = None


class Names(Tokens):
    """Names in order; in a shape, `*` in a name stands for anything."""

    has_wildcards = True
    _noun = "kinds"
