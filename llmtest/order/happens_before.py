"""The certain order of any two runs of a recording, whatever the schedule.

`llmtest.order.siblings` orders siblings. `HappensBefore` asks it once for each group of siblings. To compare any two runs, it
climbs to the siblings below their nearest common ancestor.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain, repeat
from operator import le
from typing import Any, Literal
from uuid import UUID

from llmtest.concurrency.lanes import Lane
from llmtest.core.literals import ConcurrentGroup
from llmtest.events.callbacks import MODELS
from llmtest.events.events import Event, Run
from llmtest.events.words import FrozenDict, Message
from llmtest.order.nesting import Nesting, is_as_reported
from llmtest.order.siblings import Item, are_in_sequence, home_of, item_of, layers, leads, precedes


class Hits(list[Any]):
    """Runs or events in order, with indexes that find those before and after a run quickly.

    The items never change, so each index is built once, on first use.
    """

    def __init__(self, items: Iterable[Any], order: HappensBefore, content: Literal["runs", "events", "both"] = "runs") -> None:
        super().__init__(items)
        self.content = content
        """The kinds of items that may be among these."""
        self._order = order
        self._keys: dict[str | None, Sequence[Hashable]] = {}
        self._soonest: dict[tuple[str | None, str], Mapping[Hashable, float]] = {}
        self._latest: dict[tuple[str | None, str], Mapping[Hashable, float]] = {}
        self._counts: dict[str, Counter[Hashable]] = {}

    @cached_property
    def args(self) -> list[FrozenDict]:
        """The arguments of each item."""
        return [run.args for run in self]

    def with_argument(self, key: str, expected: object) -> Sequence[Run | Event]:
        """Return the items whose argument `key` may equal a plain value: all but those with another value of its type."""
        # By exact type: a value of another class may have an `==` of its own, and is judged by itself later.
        kind = type(expected)
        rows = zip(self, self.args, strict=True)
        return [run for run, args in rows if type(actual := args.get(key)) is not kind or actual == expected]

    @cached_property
    def spans(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """Of each item: its `clear`, its `stop` (that of the whole recording if it is open), and its position."""
        # Three lists, not a list of triples: each question reads one column of all items, in a `map` without Python code.
        order, end = self._order, len(self._order.runs)
        seats = [order.seat(order.run_of(item)) for item in self]
        stops = [end if order.is_open(run) else seat.stop for run, seat in zip(self, seats, strict=True)]
        return [seat.clear for seat in seats], stops, [seat.position for seat in seats]

    def keys(self, per: str | None, value: Callable[[object], Hashable]) -> Iterable[Hashable]:
        """Return the value of each item; without `per` all are alike."""
        if per is None:
            return repeat(None, len(self))
        if per not in self._keys:
            self._keys[per] = [value(item) for item in self]
        return self._keys[per]

    def counts(self, per: str, value: Callable[[object], Hashable]) -> Counter[Hashable]:
        """Return the number of items of each value."""
        if per not in self._counts:
            self._counts[per] = Counter(self.keys(per, value))
        return self._counts[per]

    @cached_property
    def numbers(self) -> tuple[Sequence[int], Sequence[float]]:
        """Of each item: the number of its first event, and one more than the number of its last."""
        starts = [(item.start if isinstance(item, Run) else item).number for item in self]
        ends = [item.end if isinstance(item, Run) else item for item in self]
        # An open run ends after all that was recorded, so it comes before nothing.
        return starts, [math.inf if end is None else end.number + 1 for end in ends]

    @cached_property
    def overs(self) -> list[int]:
        """Of each item: the number of the first event after its end; of an open run, the number after all events."""
        after_all = self._order.size - 1
        return [after_all if end == math.inf else int(end) for end in self.numbers[1]]

    def marks(self, order: str) -> tuple[Sequence[float], Sequence[float]]:
        """Return two numbers for each item: `a` came before `b` for certain if its second is not above the first of `b`."""
        return self.numbers if order == "recorded" else self.spans[:2]

    @cached_property
    def ended(self) -> list[int]:
        """By number of event: how many items had ended before it."""
        return _counts(sorted(int(end) for end in self.numbers[1] if end != math.inf), self._order.size)

    @cached_property
    def begun(self) -> list[int]:
        """By number of event: how many items had begun before it."""
        return _counts(sorted(start + 1 for start in self.numbers[0]), self._order.size)

    @cached_property
    def in_sequence(self) -> bool:
        """True if the items stand in the order in which they began."""
        starts = self.numbers[0]
        return all(map(le, starts, starts[1:]))

    def around(self, item: Run | Event) -> tuple[int, int]:
        """Return two indexes into items in sequence: before the first they began before `item`, from the second on after it."""
        end = item.end if isinstance(item, Run) else item
        starts = self.numbers[0]
        first = bisect_left(starts, (item.start if isinstance(item, Run) else item).number)
        return first, len(starts) if end is None else max(first, bisect_right(starts, end.number))

    def soonest(self, per: str | None, order: str, value: Callable[[object], Hashable]) -> Mapping[Hashable, float]:
        """Return, by value, the mark at which the first of its items had surely ended."""
        if (per, order) not in self._soonest:
            found: dict[Hashable, float] = {}
            for key, mark in zip(self.keys(per, value), self.marks(order)[1], strict=True):
                found[key] = min(mark, found.get(key, math.inf))
            self._soonest[per, order] = found
        return self._soonest[per, order]

    def latest(self, per: str | None, order: str, value: Callable[[object], Hashable]) -> Mapping[Hashable, float]:
        """Return, by value, the mark up to which all had surely ended before the last of its items began."""
        if (per, order) not in self._latest:
            found: dict[Hashable, float] = {}
            for key, mark in zip(self.keys(per, value), self.marks(order)[0], strict=True):
                found[key] = max(mark, found.get(key, -1))
            self._latest[per, order] = found
        return self._latest[per, order]

    @cached_property
    def earlier(self) -> list[int]:
        """By position: how many items stand before it."""
        return _counts([place + 1 for place in self.spans[2]], len(self._order.runs) + 1)

    @cached_property
    def unclear(self) -> list[int]:
        """By position: the index from which on all items are clear of it."""
        lows = [*accumulate(reversed(self.spans[0]), min)][::-1]
        return _counts(lows, len(self._order.runs) + 1)

    @cached_property
    def highs(self) -> list[int]:
        """Of each item: the highest `stop` up to it."""
        return [*accumulate(self.spans[1], max)]


def _counts(values: Sequence[int], size: int) -> list[int]:
    """Return, for each number below `size`, how many of these ascending values are not above it."""
    counts: list[int] = []
    for n, value in enumerate(values):
        counts.extend(repeat(n, value - len(counts)))
    return [*counts, *repeat(len(values), size - len(counts))]


@dataclass(slots=True, eq=False)
class _Stretch:
    """A single sibling, or several of which some are concurrent. All come after those of the stretch before."""

    home: Lane | None
    first: Run
    items: list[Item] = field(default_factory=list)
    down: dict[int, int] | None = None

    def below(self, number: int) -> int:
        """Return a bit for each sibling of this stretch that comes before one of them."""
        # Only on demand: most stretches are never asked.
        if self.down is None:
            self.down = _closed(self.items, self.home)
        return self.down.get(number, 0)

    def earlier(self, number: int) -> Iterator[Run]:
        """Yield the siblings of this stretch that come before one of them."""
        below = self.below(number)
        for item in self.items if below else ():
            if below & 1 and item.run is not None:
                yield item.run
            below >>= 1


@dataclass(slots=True, eq=False)
class _Seat:
    """The place of a run: the run around it, its stretch among its siblings, and its number there.

    `position` counts all runs in an order that the program does not contradict. All runs below `clear` come before this one
    or contain it. The runs inside it are those from its position up to `stop`.
    """

    parent: Run | None
    depth: int
    stretch: int
    number: int
    group: list[_Stretch]
    position: int = 0
    clear: int = 0
    stop: int = 0


class HappensBefore:
    """The order of the runs of some trees. A question costs a climb to the common ancestor at most."""

    def __init__(self, roots: Sequence[Run]) -> None:
        self._seats: dict[Run, _Seat] = {}
        self.runs: list[Run] = []
        self._turns: dict[str, int] = {}
        self.by_id: dict[UUID, Run] = {}
        self.by_name: dict[tuple[str, str], list[Run]] = {}
        self._named: dict[tuple[tuple[str, str], ...], Hits] = {}
        self._kinds: dict[tuple[str, ...], Hits] = {}
        self._open: set[int] = set()
        self.is_linear = True
        """True if of any two runs one comes before or contains the other."""
        self.unknown: set[str] = set()
        """What the source of some run does not tell: see `Run.unknown`."""
        self._home = home_of(roots)
        self._sit(roots)

    def _sit(self, roots: Sequence[Run]) -> None:
        nesting = None if is_as_reported(roots) else Nesting(roots)
        # A list instead of recursion: no tree is too deep for it.
        todo: list[tuple[Run | None, _Seat | None]] = [(None, None)]
        while todo:
            run, seat = todo.pop()
            if run is not None and seat is not None:
                self._place(run, seat)
            inside = nesting.inside(run) if nesting is not None else roots if run is None else run.children
            if inside:
                home = run.start.lane if run is not None else self._home
                todo += reversed(self._group(run, seat.depth + 1 if seat else 0, inside, home))
        # Backwards: what is inside a run has its `stop` before the run itself.
        for run in reversed(self.runs):
            seat = self._seats[run]
            seat.stop = max(seat.stop, seat.position + 1)
            if seat.parent is not None:
                above = self._seats[seat.parent]
                above.stop = max(above.stop, seat.stop)

    def _place(self, run: Run, seat: _Seat) -> None:
        seat.position = len(self.runs)
        self.runs.append(run)
        self.by_id[run.id] = run
        self.by_name.setdefault((run.kind, run.name), []).append(run)
        self._seats[run] = seat
        if "unknown" in run.start.payload:
            self.unknown.update(run.unknown)
        above = self._seats[seat.parent] if seat.parent is not None else None
        first = seat.group[seat.stretch].first
        # Whatever may run beside its parent may run beside it too; of its siblings, only those of its own stretch.
        seat.clear = above.clear if above is not None and above.clear < above.position else self._seats[first].position
        self.is_linear = self.is_linear and seat.clear == seat.position
        if run.end is None:
            self._open.add(id(run))  # by id: events are looked up too, and to hash a frozen event is to hash its payload
        # Only the id of a call links a tool run to the model run that asked for it: they are siblings, or not even that.
        if run.kind == "chat" and isinstance(run.output, Message):
            self._turns.update((call.id, seat.position) for call in run.output.tool_calls if call.id is not None)

    def _group(self, parent: Run | None, depth: int, runs: Sequence[Run], home: Lane | None) -> list[tuple[Run, _Seat]]:
        group: list[_Stretch] = []
        seats: list[tuple[Run, _Seat]] = []
        if are_in_sequence(runs, home):
            for n, run in enumerate(runs):
                group.append(_Stretch(home, run))
                seats.append((run, _Seat(parent, depth, n, 0, group)))
            return seats
        items = [item_of(run, parent) for run in runs]
        group += _stretches(layers(items, home), home)
        for s, stretch in enumerate(group):
            seats += [
                (item.run, _Seat(parent, depth, s, n, group)) for n, item in enumerate(stretch.items) if item.run is not None
            ]
        return seats

    def before(self, a: Run, b: Run) -> bool:
        """True if `a` came before `b` for certain: it had ended, or would have, when `b` began, in every legal schedule.

        False for a run and what it contains, and for concurrent runs. So two runs are certainly ordered, and neither took
        its turn by luck, if `before` holds one way or the other (see `are_ordered`).
        """
        x, y = self._seats[a], self._seats[b]
        if x.position >= y.position:
            return False
        # Two numbers answer for almost all pairs. Only a run that is concurrent with something has to climb.
        if x.position < y.clear:
            return x.stop <= y.position
        while x.depth > y.depth and x.parent is not None:
            x = self._seats[x.parent]
        while y.depth > x.depth and y.parent is not None:
            y = self._seats[y.parent]
        while x.parent is not y.parent and x.parent is not None and y.parent is not None:
            x, y = self._seats[x.parent], self._seats[y.parent]
        if x is y:
            return False
        return x.stretch < y.stretch or (x.stretch == y.stretch and x.group[x.stretch].below(y.number) >> x.number & 1 == 1)

    def are_ordered(self, a: Run, b: Run) -> bool:
        """True if the program, not chance, decides which of two runs began first.

        So it is no luck which of them took the first step of a script that both share. It holds too for runs that overlap on
        one line of control, as the prompts of one `generate` do; between threads and tasks, only for a known wait.
        """
        first, second = sorted((a, b), key=lambda run: run.start.number)
        if self.before(a, b) or self.before(b, a) or self.contains(first, second):
            return True
        x, y = first.start, second.start
        return x.lane is not None and y.lane is not None and leads((x.lane, x.moment), (y.lane, y.moment), self._home)

    def contains(self, a: Run, b: Run) -> bool:
        """True if `b` runs inside `a`."""
        return self._seats[a].position < self._seats[b].position < self._seats[a].stop

    def position(self, run: Run) -> int:
        """Return the index of a run in an order that the program does not contradict."""
        return self._seats[run].position

    def seat(self, run: Run) -> _Seat:
        """Return the place of a run. All runs at positions below `clear` come before it or contain it."""
        return self._seats[run]

    def is_open(self, item: Run | Event) -> bool:
        """True for a run that has not ended."""
        return id(item) in self._open

    def path(self, run: Run) -> tuple[str, ...]:
        """Return the names of the runs around it, from the outside, and its own."""
        names, around = [run.name], self._seats[run].parent
        while around is not None:
            names.append(around.name)
            around = self._seats[around].parent
        return tuple(reversed(names))

    def turn(self, run: Run) -> int | None:
        """Return the position of the model run that asked for a tool run."""
        return self._turns.get(run.tool_call_id) if run.tool_call_id is not None else None

    def happened(self, a: Run | Event, b: Run | Event) -> bool:
        """True if `a` came before `b` for certain, where at least one is an event of a run."""
        x, y = self.run_of(a), self.run_of(b)
        if x is y or self.contains(x, y) or self.contains(y, x):
            return self._on_one_line(a, x, b, y)
        return self.before(x, y)

    def run_of(self, item: Run | Event) -> Run:
        """Return a run itself, or the run of an event."""
        return item if isinstance(item, Run) else self.by_id[item.run_id]

    def _on_one_line(self, a: Run | Event, x: Run, b: Run | Event, y: Run) -> bool:
        """`happened` of an event of a run and something inside that run."""
        if a is not b and x.start is a and (x is y or self.contains(x, y)):
            return b is not x  # a run begins before all that is in it, on whatever line of control that happens
        if (isinstance(a, Run) and not self.contains(y, x)) or (isinstance(b, Run) and not self.contains(x, y)):
            return False
        # Across lines the numbers of events are chance, even inside one run: they tell only which was recorded first.
        first = (a.end if isinstance(a, Run) else a), (b.start if isinstance(b, Run) else b)
        return first[0] is not None and first[0].number < first[1].number and first[0].lane is first[1].lane

    @cached_property
    def by_event(self) -> Mapping[str, Sequence[Event]]:
        """The events of all runs, in order, by kind."""
        found: dict[str, list[Event]] = {}
        for event in sorted((event for run in self.runs for event in run.events), key=lambda event: event.number):
            found.setdefault(event.kind, []).append(event)
        return found

    @cached_property
    def tools_of_models(self) -> Collection[str]:
        """The names of tools that were bound to a model, or that a message of its conversation calls."""
        found: dict[str, None] = {}
        read: set[int] = set()  # an agent hands its whole conversation to each call of its model
        for run in self.runs:
            if run.kind in MODELS:
                found.update(dict.fromkeys(map(str, run.start.payload.get("tools") or ())))
                fresh = [message for message in run.messages if id(message) not in read]
                read.update(map(id, fresh))
                found.update((call.name, None) for message in fresh for call in message.tool_calls)
        return found

    @cached_property
    def size(self) -> int:
        """The highest number of an event, and two more: one after it, and one for the end."""
        return max((event.number for run in self.runs for event in run.events), default=0) + 2

    @cached_property
    def single(self) -> bool:
        """True if all happened on one line of control, so that the recorded sequence is the only one."""
        return self.is_linear and len({id(event.lane) for run in self.runs for event in run.events}) < 2

    def of_events(self, kinds: tuple[str, ...]) -> Hits:
        """Return the events of some kinds, in order. They are cached, with their indexes."""
        if kinds not in self._kinds:
            events = [event for kind in kinds for event in self.by_event[kind]]
            self._kinds[kinds] = self.mixed(events, "events")
        return self._kinds[kinds]

    def mixed(self, found: Sequence[Run | Event], content: Literal["events", "both"]) -> Hits:
        """Return items of which some are events, in order: as recorded if that is the only one."""

        def place(item: Run | Event) -> tuple[int, int]:
            number = (item.start if isinstance(item, Run) else item).number
            return 0 if self.single else self.position(self.run_of(item)), number

        return Hits(sorted(found, key=place), self, content)

    def named(self, names: tuple[tuple[str, str], ...]) -> Hits:
        """Return the runs of some kinds and names, in order. They are cached, with their indexes."""
        known = self._named.get(names)
        if known is None:
            runs = chain.from_iterable(map(self.by_name.__getitem__, names))
            known = self._named[names] = Hits(runs if len(names) == 1 else sorted(runs, key=self.position), self)
        return known

    def window(self, item: Run | Event, hits: Hits) -> tuple[int, int]:
        """Return two indexes into `hits`: those before the first come before `item` or contain it; from the second on they
        come after it. A run comes neither before nor after an event inside it."""
        seat = self._seats[self.run_of(item)]
        # The runs below `clear` come before. A run around an event stands there too, but has not ended.
        start = hits.earlier[seat.clear]
        if hits.content != "runs" or isinstance(item, Event):
            start = min(start, bisect_right(hits.highs, seat.position))
        return start, max(start, hits.earlier[seat.stop], hits.unclear[seat.position])

    def windows(self, items: Hits, hits: Hits) -> Iterator[tuple[Run, int, int]]:
        """Yield each item with its `window`; nothing surely comes after an open run."""
        clears, stops, places = items.spans
        earlier, unclear = hits.earlier.__getitem__, hits.unclear.__getitem__
        for item, start, stop, clear in zip(items, map(earlier, clears), map(earlier, stops), map(unclear, places), strict=True):
            yield item, start, max(start, stop, clear) if start < stop or start < clear else start

    def needs_check_before(
        self, firsts: Hits, seconds: Hits, per: str | None, order: str, value: Callable[[object], Hashable]
    ) -> list[Run]:
        """Return those of `seconds` for which it is not certain at once that one of `firsts` with their value ended before."""
        # The first to end decides for all: if even that had not surely ended, all have to be compared with this one.
        soonest, far = firsts.soonest(per, order, value).get, math.inf
        rows = zip(seconds, seconds.keys(per, value), seconds.marks(order)[0], strict=True)
        return [second for second, key, begin in rows if soonest(key, far) > begin]

    def needs_check_after(
        self, firsts: Hits, seconds: Hits, per: str | None, order: str, value: Callable[[object], Hashable]
    ) -> list[Run]:
        """Return those of `firsts` for which it is not certain at once that one of `seconds` with their value comes after."""
        latest = seconds.latest(per, order, value).get
        rows = zip(firsts, firsts.keys(per, value), firsts.marks(order)[1], strict=True)
        return [first for first, key, end in rows if latest(key, -1) < end]

    def needs_check_before_all(self, items: Hits, hits: Hits, order: str) -> list[Run | Event]:
        """Return those of `items` for which it is not certain at once that all of `hits` come after them."""
        if order == "recorded":
            first = min(hits.numbers[0], default=math.inf)
            return [item for item, end in zip(items, items.numbers[1], strict=True) if end > first]
        if not hits:
            return []
        first, low = hits.spans[2][0], min(hits.spans[0])
        rows = zip(items, *items.spans, strict=True)
        return [item for item, _, stop, place in rows if stop > first or place >= low]

    def closed(self, begins: Hits, ends: Hits) -> list[float]:
        """Return, by how many of `ends` have begun, how many of `begins` the last of them closed; after the last, all."""
        marks = map(ends.spans[2].__getitem__, range(len(ends) - 1))
        clears = map(ends.spans[0].__getitem__, range(len(ends) - 1))
        closed = [min(begins.earlier[clear], bisect_right(begins.highs, at)) for at, clear in zip(marks, clears, strict=True)]
        return [0, *closed, math.inf] if ends else [math.inf]

    def needs_check_between(self, items: Hits, begins: Hits, ends: Hits) -> list[Run]:
        """Return those of `items` for which it is not certain at once that each of `begins` before them was closed by an end."""
        clears, stops, places = items.spans
        sides = []
        for hits in (begins, ends):
            earlier, unclear = hits.earlier.__getitem__, hits.unclear.__getitem__
            sides += [map(earlier, clears), map(earlier, stops), map(unclear, places)]
        closed = self.closed(begins, ends)
        rows = zip(items, *sides, strict=True)
        return [item for item, b, c, d, e, f, g in rows if b > closed[e] or b < c or b < d or e < f or e < g]

    def recorded_between(self, items: Hits, begins: Hits, ends: Hits) -> Iterator[tuple[Any, Any, Any]]:
        """Yield those of `items` that began, as recorded, after the end of one of `begins` and before the next of `ends`: each
        with the two."""
        starts, closings = sorted(ends.numbers[0]), [0, *map(begins.ended.__getitem__, sorted(ends.numbers[0])), math.inf]
        ended, begun = begins.ended.__getitem__, ends.begun.__getitem__
        rows = zip(items, items.numbers[0], map(ended, items.numbers[0]), map(begun, items.numbers[0]), strict=True)
        for item, at, low, count in rows:
            if low > closings[count] and count < len(starts) and at < starts[count]:
                begin = max((end, n) for n, end in enumerate(begins.numbers[1]) if end <= at)[1]
                yield item, begins[begin], ends[ends.numbers[0].index(starts[count])]

    def needs_check_filled(self, begins: Hits, items: Hits, ends: Hits, least: int) -> list[Run]:
        """Return those of `begins` for which it is not certain at once that `least` of `items` come after them and before each
        of `ends` that may follow them."""
        if not least:
            return []
        clears, stops, places = begins.spans
        # Those of `ends` below the first index came before or around; those of `items` from the second index on come after.
        firsts = map(ends.earlier.__getitem__, clears)
        afters = map(max, map(items.earlier.__getitem__, stops), map(items.unclear.__getitem__, places))
        # From this index on, all of `ends` come after one of `items` or inside it, and so after all items before that one.
        closed = [ends.unclear[place] for place in items.spans[2]]
        total, enough = len(ends), len(items) - least
        rows = zip(begins, firsts, afters, strict=True)
        return [begin for begin, end, n in rows if end < total and (n > enough or closed[n + least - 1] > end)]

    def needs_check_filled_as_recorded(self, begins: Hits, items: Hits, ends: Hits, least: int) -> list[Run | Event]:
        """Return those of `begins` after which the next of `ends` began, as recorded, before `least` of `items` had."""
        # By end: how many of `items` may have begun when one of `begins` was over, so that `least` are still to come.
        most = [items.begun[start] - least for start in sorted(ends.numbers[0])]
        rows = zip(begins, map(items.begun.__getitem__, begins.overs), map(ends.begun.__getitem__, begins.overs), strict=True)
        return [begin for begin, count, end in rows if end < len(most) and count > most[end]]

    def arrange(self, runs: Sequence[Run]) -> tuple[Sequence[Run], Sequence[ConcurrentGroup]]:
        """Return runs in an order that the program does not contradict, and the groups of neighbours that are concurrent or of
        one turn."""
        if self.is_linear and not self._turns:
            places = [self._seats[run].position for run in runs]
            return runs if places == sorted(places) else sorted(runs, key=self.position), ()
        placed = sorted(runs, key=self.position)
        return placed, [self._concurrent(placed, *span) for span in self._spans(placed)]

    def _spans(self, runs: Sequence[Run]) -> Iterator[tuple[int, int]]:
        """Yield the start and stop of each group of neighbours that are concurrent or of one turn."""
        seats = [self._seats[run] for run in runs]
        turns = [self.turn(run) for run in runs]
        last = {turn: n for n, turn in enumerate(turns) if turn is not None}
        low, cut = len(self.runs), [True] * (len(runs) + 1)
        # Cut between two neighbours if all from the second on are clear of all up to the first.
        for n in range(len(runs) - 1, 0, -1):
            low = min(low, seats[n].clear)
            cut[n] = seats[n - 1].position < low
        # Never cut a turn: its tools are matched as one group, even where the program called them one by one.
        start, reach = 0, -1
        for n in range(len(runs)):
            turn = turns[n]
            reach = max(reach, last[turn] if turn is not None else -1)
            if n + 1 == len(runs) or (cut[n + 1] and n >= reach):
                if n > start:
                    yield start, n + 1
                start = n + 1

    def _concurrent(self, runs: Sequence[Run], start: int, stop: int) -> ConcurrentGroup:
        inside = runs[start:stop]
        positions = [self._seats[run].position for run in inside]
        down = tuple(self._earlier(self._seats[run], positions) for run in inside)
        return ConcurrentGroup(start, stop, down, tuple(self.turn(run) for run in inside))

    def _earlier(self, seat: _Seat, positions: Sequence[int]) -> int:
        """Return a bit for each run at these positions that comes before a run or contains it."""

        def span(begin: int, end: int) -> int:
            return (1 << bisect_left(positions, end)) - (1 << bisect_left(positions, begin))

        below, at = span(0, seat.clear), seat
        # Whole subtrees at once: of n concurrent runs no pair is compared.
        while at.position > seat.clear:
            stretch = at.group[at.stretch]
            below |= span(self._seats[at.group[0].first].position, self._seats[stretch.first].position)
            for sibling in stretch.earlier(at.number):
                below |= span(self._seats[sibling].position, self._seats[sibling].stop)
            if at.parent is None:
                break
            at = self._seats[at.parent]
            below |= span(at.position, at.position + 1)
        return below


def _stretches(ordered: Sequence[Sequence[Item]], home: Lane | None) -> list[_Stretch]:
    """Return siblings cut wherever all before the cut come before all after it."""
    group: list[_Stretch] = []
    for layer in ordered:
        heads = {_key(item): item for item in group[-1].items} if group else {}
        if not group or all(precedes(a, b, home) for a in heads.values() for b in layer):
            assert layer[0].run is not None
            group.append(_Stretch(home, layer[0].run))
        group[-1].items += layer
    return group


def _closed(items: Sequence[Item], home: Lane | None) -> dict[int, int]:
    """Return, for each sibling of a stretch, a bit mask of the siblings before it, directly or through others."""
    down: dict[int, int] = {}
    alike: dict[Hashable, tuple[Item, int]] = {}
    for n, item in enumerate(items):
        below = 0
        # One comparison answers for all items of a key: n tasks that are awaited together cost n comparisons, not n * n.
        for head, masks in alike.values():
            if masks & ~below and precedes(head, item, home):
                below |= masks
        down[n] = below
        key = _key(item)
        alike[key] = (item, alike.get(key, (item, 0))[1] | 1 << n | below)
    return down


def _key(item: Item) -> Hashable:
    """Return what is equal for items that precede exactly the same items. Items that share a lane do so by their ends."""
    return item.kind if item.is_alone else id(item)
