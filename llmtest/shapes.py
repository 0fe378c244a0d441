"""Shapes: a literal that a sequence of runs, names or tokens must match, with `...`, `together(...)`, `called(...)[1:3]`.

Floor 0: standard library only. What a shape means, exactly: the runs can be put one after the other, in an order that the
program does not contradict, and cut into pieces, one for each element, so that `...` has any runs, every other element has
runs that it means, the runs of a `together` are concurrent or of one turn, and whatever an element other than `...` has
ended before the next such element began. So `...` also takes what ran beside its neighbours.

It is matched as an automaton whose states are the places between elements, a bit each, so its time is that of one pass,
whatever the shape. Where runs overlapped (a `Tangle`) the pass looks at which of them come before which.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from llmtest.errors import UnjudgedError
from llmtest.events import Run
from llmtest.selecting import PLAIN, Condition, Repeated, Selector, Together, by_name, fits, named, short

Role = Literal["gap", "one", "may", "many", "group"]
"""What an element takes: anything; one; at most one; any number; those of a `Together`."""


@dataclass(frozen=True, slots=True)
class Tangle:
    """Neighbours in a line, from `start` to `stop`, of which some overlapped or are of one turn.

    `down[i]` has a bit for each of them that comes before the i-th; `turns[i]` is equal for those of one turn.
    """

    start: int
    stop: int
    down: tuple[int, ...]
    turns: tuple[Hashable, ...]


@dataclass(frozen=True)
class Parts:
    """A line cut into its tangles and the items between them: all `parts`, and of each its look, which is equal where a shape
    without conditions cannot tell two parts apart. `inside(part)` has its items."""

    parts: Sequence[Any]
    looks: Sequence[Hashable]
    inside: Callable[[Any], Sequence[Any]]
    _values: dict[Hashable, tuple[dict[Any, list[int]], list[int]]] = field(default_factory=dict)

    @cached_property
    def places(self) -> Mapping[tuple[str, str], Sequence[tuple[int, Run]]]:
        """The runs of each kind and name, each with the number of its part."""
        places: dict[tuple[str, str], list[tuple[int, Run]]] = {}
        for number, part in enumerate(self.parts):
            for run in self.inside(part):
                places.setdefault((run.kind, run.name), []).append((number, run))
        return places

    def likely(self, which: Selector) -> Iterator[int]:
        """The numbers of all parts that have a run which is meant, and of some others."""
        for name, runs in self.places.items():
            if which.accepts(*name):
                if which.first is None:
                    yield from self._meant(which, runs)
                else:
                    key, expected = which.first
                    values, others = self._by_value(name, key)
                    yield from values.get(expected, ())
                    yield from others

    def _meant(self, which: Selector, runs: Sequence[tuple[int, Run]]) -> Iterator[int]:
        try:
            meant = {id(run) for run in which.among([run for _, run in runs])}
        except UnjudgedError:  # of which, is told one by one
            meant = {id(run) for _, run in runs}
        return (number for number, run in runs if id(run) in meant)

    def _by_value(self, name: tuple[str, str], key: str) -> tuple[dict[Any, list[int]], list[int]]:
        """The runs of this kind and name by the value of an argument; and those where it is absent, or no plain value."""
        known = self._values.get((name, key))
        if known is None:
            known = self._values[name, key] = {}, []
            for number, run in self.places[name]:
                value = run.args.get(key, self)
                (known[0].setdefault(value, []) if type(value) in PLAIN else known[1]).append(number)
        return known


@dataclass(frozen=True)
class Line:
    """What a shape is compared with. Runs stand in an order that the program does not contradict."""

    items: Sequence[Any]
    tangles: Sequence[Tangle] = ()
    reading: Literal["runs", "names", "texts"] = "runs"

    @cached_property
    def cut(self) -> Parts:
        """Its parts. Kept, because a line of runs is compared often."""
        if self.reading != "runs":
            return Parts(self.items, self.items, self.inside)
        parts = [*self._parts()]
        known: dict[Hashable, int] = {}
        return Parts(parts, [known.setdefault(self.look(part), len(known)) for part in parts], self.inside)

    def inside(self, part: Any) -> Sequence[Any]:
        """The items in a part."""
        return self.items[part.start : part.stop] if isinstance(part, Tangle) else (part,)

    def _parts(self) -> Iterator[Any]:
        here = 0
        for tangle in self.tangles:
            yield from self.items[here : tangle.start]
            yield tangle
            here = tangle.stop
        yield from self.items[here:]

    def look(self, part: Any) -> Hashable:
        """Equal for parts that look alike."""
        if isinstance(part, Run):
            return part.kind, part.name
        turns = [part.turns.index(turn) if turn is not None else -1 for turn in part.turns]
        return part.down, *turns, *((run.kind, run.name) for run in self.items[part.start : part.stop])


# -- elements


class _Text(Selector):
    """A text or another plain value that is as expected."""

    def __init__(self, expected: Any, glob: bool) -> None:
        super().__init__(repr(expected), frozenset(), "")
        self.expected = expected
        self.glob = glob

    def accepts(self, kind: str, name: Any) -> bool:
        if self.glob and isinstance(self.expected, str):
            return named(self.expected, name)
        return fits(self.expected, name)

    def misses(self, run: Any) -> str | None:
        value = run.name if isinstance(run, Run) else run
        return None if self.accepts("", value) else f"it is {short(value)}"

    def means(self, run: Any) -> bool:
        return self.misses(run) is None


def _same(expected: Run) -> Selector:
    made = by_name(expected.name)
    made.conditions = (Condition("", lambda run: run is expected, lambda run: "it is another run of that name"),)
    return made


def _as_selector(given: Any, line: Line) -> Selector:
    if line.reading != "runs":
        return _Text(given, line.reading == "names")
    if isinstance(given, Selector):
        return given
    if isinstance(given, str | re.Pattern):
        return by_name(given)
    return _same(given) if isinstance(given, Run) else _Text(given, False)


@dataclass(frozen=True, slots=True)
class Member:
    """What an element takes of one kind: these, so many of them."""

    selector: Selector
    least: int = 1
    most: float = 1

    @property
    def dynamic(self) -> bool:
        return any(option.conditions for option in (self.selector, *self.selector.options()))


@dataclass(frozen=True, slots=True)
class Element:
    """One state of the automaton: what it takes, and the place in the shape where that is written."""

    role: Role
    written: int
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


def _elements(shape: Sequence[Any], line: Line) -> Iterator[Element]:
    for place, given in enumerate(shape):
        if given is ...:
            yield Element("gap", place)
        elif isinstance(given, Together | set | frozenset):
            yield Element("group", place, tuple(_member(one, line) for one in _members(given)))
        elif isinstance(given, Repeated):
            member = _member(given, line)
            alone = (Member(member.selector),)
            yield from [Element("one", place, alone)] * member.least
            if member.most == math.inf:
                yield Element("many", place, alone)
            else:
                yield from [Element("may", place, alone)] * int(member.most - member.least)
        else:
            yield Element("one", place, (_member(given, line),))


def _members(given: Any) -> Sequence[Any]:
    return given.members if isinstance(given, Together) else sorted(given, key=repr)


def _member(given: Any, line: Line) -> Member:
    if isinstance(given, Repeated):
        return Member(_as_selector(given.selector, line), given.least, math.inf if given.most is None else given.most)
    return Member(_as_selector(given, line))


def seats(members: Sequence[Member], items: Sequence[Any], means: Callable[[Member, Any], bool]) -> bool:
    """Whether each item can be given to a member that means it, so that each member has as many as it must and may.

    If all items can be seated, and all seats that must be taken can be taken, then both at once (Mendelsohn and Dulmage, 1958).
    """
    chairs = [(member, number < member.least) for member in members for number in range(int(min(member.most, len(items))))]
    open_to = [[c for c, (member, _) in enumerate(chairs) if means(member, item)] for item in items]
    owed = [c for c, (_, must) in enumerate(chairs) if must]
    if len(owed) < sum(member.least for member in members):
        return False
    guests = {c: [i for i, free in enumerate(open_to) if c in free] for c in owed}
    return _paired(open_to) and _paired(list(guests.values()))


def _paired(wishes: Sequence[Sequence[int]]) -> bool:
    """Whether each can have one of its wishes, and no two the same (Kuhn's algorithm)."""
    owner: dict[int, int] = {}

    def placed(who: int, tried: set[int]) -> bool:
        for wish in wishes[who]:
            if wish not in tried:
                tried.add(wish)
                if wish not in owner or placed(owner[wish], tried):
                    owner[wish] = who
                    return True
        return False

    return all(placed(who, set()) for who in range(len(wishes)))


# -- the automaton


@dataclass(slots=True, eq=False)
class _Row:
    """Where the automaton is when it is at these places, and where it comes to by a part of each look: one without a run that
    a condition is true of, or, under a look with answers, one of which these are true."""

    states: int
    after: dict[Hashable, _Row] = field(default_factory=dict)


class Shape:
    """A literal, read for a line. A state is a set of places in it, as bits; place n is before element n."""

    def __init__(self, shape: Sequence[Any], line: Line) -> None:
        self.written = list(shape)
        self.line = line
        self.elements = tuple(_elements(shape, line))
        self.groups = tuple(n for n, element in enumerate(self.elements) if element.role == "group")
        self.end = 1 << len(self.elements)
        self._stays = self._bits("gap")
        self._empties = sum(1 << n for n, element in enumerate(self.elements) if element.may_be_empty)
        self._loops = self._bits("many")
        self._single = sum(1 << n for n, e in enumerate(self.elements) if e.role in ("one", "may", "many"))
        self._known: dict[Hashable, tuple[int, list[int]]] = {}
        self._table: dict[int, dict[int, int]] = {}
        self._rows: dict[int, _Row] = {}
        self._questions: dict[tuple[int, Hashable], Sequence[tuple[Member, int]]] = {}
        self._conditional = [(n, m) for n, element in enumerate(self.elements) for m in element.members if m.dynamic]
        self._weaves: dict[Hashable, int] = {}
        self.gave_up = False

    def _bits(self, role: Role) -> int:
        return sum(1 << n for n, element in enumerate(self.elements) if element.role == role)

    @property
    def begin(self) -> int:
        return self.closed(1)

    def closed(self, states: int) -> int:
        """With the places that are reached through elements that may take nothing."""
        fresh = states
        while fresh := (fresh & self._empties) << 1 & ~states:
            states |= fresh
        return states

    # one item

    def means(self, member: Member, item: Any) -> bool:
        """Whether an item is meant; what cannot be told is not."""
        try:
            return member.selector.means(item)
        except UnjudgedError:
            return False

    def takers(self, item: Any, states: int = ~0) -> int:
        """The elements that take this item, by itself; those at other places than `states` may be left out."""
        run = isinstance(item, Run)
        known = self._known.get((item.kind, item.name) if run else item) if run or type(item) is str else None
        if known is None:
            known = self._look(item, run)
        bits, doubtful = known
        for n in doubtful:
            if states >> n & 1 and self.means(self.elements[n].members[0], item):
                bits |= 1 << n
        return bits

    def _look(self, item: Any, run: bool) -> tuple[int, list[int]]:
        """What is known of all items of this kind and name: the elements that take each, and those that look closer."""
        bits, doubtful = 0, []
        kind, name = (item.kind, item.name) if run else ("", item)
        for n, element in enumerate(self.elements):
            if self._single >> n & 1 and element.members[0].selector.accepts(kind, name):
                if element.members[0].dynamic:
                    doubtful.append(n)
                else:
                    bits |= 1 << n
        if run or type(item) is str:
            self._known[(kind, name) if run else item] = bits, doubtful
        return bits, doubtful

    def step(self, states: int, takers: int) -> int:
        """The places after one item that comes after all before it."""
        row = self._table.get(states)
        if row is None:
            row = self._table[states] = {}
        after = row.get(takers)
        if after is None:
            taken = states & takers
            after = row[takers] = self.closed(states & self._stays | (taken & self._loops) | (taken & ~self._loops) << 1)
        return after

    # the whole line

    def walk(self) -> Iterator[tuple[int, int, int]]:
        """The places after each stretch of the line, with where the stretch begins and ends."""
        states, here = self.begin, 0
        for tangle in (*self.line.tangles, None):
            stop = tangle.start if tangle is not None else len(self.line.items)
            for after in self._straight(states, here, stop):
                here, states = here + 1, after
                yield here - 1, here, states
            if tangle is not None:
                here, states = tangle.stop, self._woven(tangle, self.line.look(tangle), states)
                yield tangle.start, tangle.stop, states

    def _woven(self, tangle: Tangle, look: Hashable, states: int) -> int:
        """The places after a tangle. Programs repeat themselves: what looks the same comes to the same."""
        runs = self.line.items[tangle.start : tangle.stop]
        key = (states, look, *(self.means(member, run) for _, member in self._conditional for run in runs))
        if key not in self._weaves:
            self._weaves[key] = Weave(self, tangle).through(states)
        return self._weaves[key]

    def _straight(self, states: int, start: int, stop: int) -> Iterator[int]:
        """The places after each item from `start` to `stop`, which come one after the other."""
        later: dict[int, int] = {}
        items = self.line.items
        for here in range(start, stop):
            item = items[here]
            for n in self.groups:
                if states >> n & 1:
                    self._group(n, here, stop, later)
            states = self.step(states, self.takers(item, states)) | self.closed(later.pop(here + 1, 0))
            yield states

    def _group(self, n: int, here: int, stop: int, later: dict[int, int]) -> None:
        """A set of plain texts takes the next ones, in any order. Runs that come one after the other are not together."""
        element = self.elements[n]
        most = min(element.most, stop - here, 1 if self.line.reading == "runs" else math.inf)
        for count in range(max(element.least, 1), int(most) + 1):
            if seats(element.members, self.line.items[here : here + count], self.means):
                later[here + count] = later.get(here + count, 0) | 1 << n + 1

    def matches(self) -> bool:
        if self.line.reading == "runs" or (not self.groups and {*map(type, self.line.items)} == {str}):
            return bool(self._quick() & self.end)
        # To the end: a group of texts may be under way where no place is reached.
        last = deque(self.walk(), maxlen=1)
        return bool((last.pop()[2] if last else self.begin) & self.end)

    # the whole line, part by part

    def _quick(self) -> int:
        """The places at the end of a line of runs; or of texts, if the shape has no groups."""
        row, cut, here = self._row(self.begin), self.line.cut, 0
        for stop in (*self._stops(), len(cut.parts)):
            for look, part in zip(cut.looks[here:stop], cut.parts[here:stop], strict=True):
                row = row.after.get(look) or self._after(row, look, part, look)
            if stop < len(cut.parts):
                row = self._through(row, cut.looks[stop], cut.parts[stop])
            here = stop + 1
        return row.states

    def _stops(self) -> Sequence[int]:
        """The numbers of the parts that must be asked: a condition may be true of a run in them."""
        options = (option for _, member in self._conditional for option in member.selector.options())
        return sorted({number for option in options for number in self.line.cut.likely(option)})

    def _row(self, states: int) -> _Row:
        row = self._rows.get(states)
        if row is None:
            row = self._rows[states] = _Row(states)
        return row

    def _through(self, row: _Row, look: Hashable, part: Any) -> _Row:
        """The row after a part that must be asked."""
        runs = self.line.inside(part)
        key = (look, *[self.means(member, runs[n]) for member, n in self._asked(row.states, look, runs)])
        return row.after.get(key) or self._after(row, look, part, key)

    def _asked(self, states: int, look: Hashable, runs: Sequence[Any]) -> Sequence[tuple[Member, int]]:
        """The members with conditions that matter from these places on, and which of the runs of such a part they may mean."""
        known = self._questions.get((states, look))
        if known is None:
            due = [m for n, m in self._conditional if (states >> n & 1 if len(runs) == 1 else states & (2 << n) - 1)]
            known = [(m, n) for m in due for n, run in enumerate(runs) if m.selector.accepts(run.kind, run.name)]
            self._questions[states, look] = known
        return known

    def _after(self, row: _Row, look: Hashable, part: Any, key: Hashable) -> _Row:
        """The row after this very part, kept for those that are like it."""
        row.after[key] = after = self._row(self._told(part, look, row.states))
        return after

    def _told(self, part: Any, look: Hashable, states: int) -> int:
        """The places after this very part."""
        if isinstance(part, Tangle):
            return self._woven(part, look, states)
        groups = sum(1 << n for n in self.groups if states >> n & 1 and self._fills(n, part))
        return self.step(states, self.takers(part, states) | groups)

    def _fills(self, n: int, item: Any) -> bool:
        """Whether a run that overlapped with no other is all that a group has."""
        return self.elements[n].least <= 1 and seats(self.elements[n].members, [item], self.means)


# -- where runs overlapped

_TRIES: Final = 10_000
"""How many sets of runs that overlapped are tried for one `together`."""

_Thread = tuple[int, int, int, bool]
"""How far one way through a tangle is: the place in the shape; the runs of the last element; the runs of the elements since
the last `...`; whether there was none yet in this tangle. Runs are bits."""


@dataclass(slots=True)
class Weave:
    """The ways of a shape through one tangle. What lies between two elements without `...` must be taken by them."""

    shape: Shape
    tangle: Tangle
    _up: list[int] = field(default_factory=list)

    def through(self, states: int) -> int:
        """The places after the tangle, from those before it."""
        down = self.tangle.down
        self._up = [sum(1 << b for b in range(len(down)) if down[b] >> a & 1) for a in range(len(down))]
        todo: list[_Thread] = [(n, 0, 0, True) for n in range(len(self.shape.elements) + 1) if states >> n & 1]
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
        """The place, if the tangle can be left there: everything that was not taken must have a `...` to be in."""
        place, _, taken, whole = thread
        if place < len(self.shape.elements) and self.shape.elements[place].role == "gap":
            return 1 << place
        untaken = ~taken & ((1 << len(self.tangle.down)) - 1)
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
        return bool(self.shape.takers(self.shape.line.items[self.tangle.start + i]) >> place & 1)

    def _above(self, taken: int) -> int:
        """The runs that come after one of `taken`."""
        return sum(1 << i for i, below in enumerate(self.tangle.down) if below & taken)

    def _free(self, last: int, taken: int, whole: bool) -> Iterator[int]:
        """The runs that may be next: after all of the last element, and nothing left behind that had to be taken."""
        after = [i for i, below in enumerate(self.tangle.down) if last & ~below == 0 and not taken >> i & 1]
        yield from (i for i in after if self._leaves_nothing(1 << i, taken, whole))

    def _leaves_nothing(self, chosen: int, taken: int, whole: bool) -> bool:
        """Whether what lies between these runs and those taken since the last `...` is taken too."""
        due = ~(taken | chosen) & (~0 if whole else self._above(taken | chosen))
        return not any(self.tangle.down[i] & due for i in _bits(chosen))

    def _sets(self, element: Element, last: int, taken: int, whole: bool) -> Iterator[int]:
        """The sets of runs that a group may take. Of runs that nothing tells apart only the first ones are tried.

        There may be more such sets than anyone can look at, so the search gives up after `_TRIES`, and says so.
        """
        classes = list(self._alike(element, last, taken).values())
        todo = [(0, 0)]
        for _ in range(_TRIES):
            if not todo:
                return
            number, chosen = todo.pop()
            if number < len(classes):
                todo += [(number + 1, more) for more in self._picks(classes[number], chosen, element.most)]
            elif element.least <= chosen.bit_count() <= element.most and self._seated(element, chosen, taken, whole):
                yield chosen
        self.shape.gave_up = True

    def _alike(self, element: Element, last: int, taken: int) -> dict[Hashable, list[int]]:
        """The runs that a group may take, those together that stand and suit alike."""
        alike: dict[Hashable, list[int]] = {}
        for i, below in enumerate(self.tangle.down):
            if last & ~below == 0 and not taken >> i & 1:
                item = self.shape.line.items[self.tangle.start + i]
                suit = tuple(self.shape.means(member, item) for member in element.members)
                if any(suit):
                    key = (suit, below, self._up[i], self.tangle.turns[i], self.shape.takers(item))
                    alike.setdefault(key, []).append(i)
        return alike

    def _picks(self, alike: list[int], chosen: int, most: float) -> Iterator[int]:
        """`chosen`, and with one, two, ... of these, as long as all of them are together."""
        yield chosen
        for i in alike:
            if chosen.bit_count() >= most or not self._together(i, chosen):
                return
            chosen |= 1 << i
            yield chosen

    def _together(self, i: int, chosen: int) -> bool:
        turn = self.tangle.turns[i]
        ordered = (self.tangle.down[i] | self._up[i]) & chosen
        return all(turn is not None and self.tangle.turns[j] == turn for j in _bits(ordered))

    def _seated(self, element: Element, chosen: int, taken: int, whole: bool) -> bool:
        items = [self.shape.line.items[self.tangle.start + i] for i in _bits(chosen)]
        return bool(items) and self._leaves_nothing(chosen, taken, whole) and seats(element.members, items, self.shape.means)


# -- what a test asks


def is_shape(value: object) -> bool:
    """Whether runs, names and tokens compare themselves with this value by the rules of shapes."""
    return isinstance(value, list | tuple)


def matches(shape: Sequence[Any], line: Line) -> bool:
    """Whether the line has this shape. Matchers that raise match nothing: a comparison answers."""
    return Shape(shape, line).matches()


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


_CUTOFF: Final = 0.6


def mismatch(shape: Sequence[Any], line: Line) -> Mismatch:
    """Why a line that has not this shape has not got it."""
    read = Shape(shape, line)
    reached, most = read.begin, _furthest(read.begin)
    at = stop = 0
    for start, end, states in read.walk():
        if states:
            reached, most, at, stop = states, max(most, _furthest(states)), end, end
        elif start == at:
            stop = end
    died = at < len(line.items)
    places = _bits(reached) if died else [most]
    due = tuple(element for n, element in enumerate(read.elements) if n in places and element.role != "gap")
    return Mismatch(at, stop, due, *_nearest(read, due, at if died else 0), read.gave_up)


def _furthest(states: int) -> int:
    return states.bit_length() - 1


def _bits(states: int) -> list[int]:
    return [n for n in range(states.bit_length()) if states >> n & 1]


def _nearest(shape: Shape, due: Sequence[Element], start: int) -> tuple[int | None, str]:
    """The item from `start` on that comes nearest to what is due, and why it is not it."""
    members = [member for element in due for member in element.members]
    items = list(enumerate(shape.line.items))[start:]
    for member in members:
        for n, item in items:
            why = _why(member, item)
            if why and isinstance(item, Run) and member.selector.accepts(item.kind, item.name):
                return n, why
    names = {str(getattr(item, "name", item)): n for n, item in reversed(items)}
    for member in members:
        expected = getattr(member.selector, "expected", member.selector.name)
        for close in difflib.get_close_matches(expected, names, n=1, cutoff=_CUTOFF) if isinstance(expected, str) else ():
            why = _why(member, shape.line.items[names[close]])
            if why:
                return names[close], why
    return None, ""


def _why(member: Member, item: Any) -> str | None:
    try:
        return member.selector.misses(item)
    except UnjudgedError as missing:
        return str(missing)


def mark(shape: Sequence[Any], line: Line) -> None:
    """Lets each matcher that means a run be shown as that run, in order; the others as they are written."""
    read = Shape(shape, line)
    here = 0
    for element in read.elements:
        for member in element.members:
            member.selector.seen = None
    for element in read.elements:
        for member in element.members:
            for n in range(here, len(line.items)):
                if read.means(member, line.items[n]):
                    member.selector.seen = line.items[n] if line.reading == "runs" else None
                    here = n + (element.role != "group")
                    break
