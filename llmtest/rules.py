"""Rules: sentences that must hold of a recording, `before("search", "book")`, and what each of them means.

Floor 0: standard library only. A rule holds if it holds whatever the schedule: "before" is never an accident of when things
happened to start.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from llmtest.core.values import short
from llmtest.rule import HOLDS, Case, Hit, OrderOf, Per, Rule, Verdict, value_of
from llmtest.rule import end_of as _end
from llmtest.rule import name_of as _name
from llmtest.rule import relation as _relation
from llmtest.rule import start_and_end as _both
from llmtest.rule import start_of as _start
from llmtest.rule import tool_names as _tools
from llmtest.selecting import EventSelector, Selector

# -- words


def _by(per: Per | None) -> str:
    if per is None:
        return ""
    return f", for each `{per}`" if isinstance(per, str) else f", for each {getattr(per, '__name__', short(per))}"


def _recorded(order: OrderOf) -> str:
    return ", as recorded" if order == "recorded" else ""


def _listed(which: Sequence[Selector], last: str = "or") -> str:
    texts = [str(one) for one in which]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _for(per: Per | None, value: Hashable) -> str:
    return f" for {short(value)}" if per is not None else ""


def _grouped(hits: Sequence[Any], per: Per | None) -> Mapping[Hashable, Sequence[Any]]:
    if per is None:
        return {None: hits} if hits else {}
    groups: dict[Hashable, list[Any]] = {}
    for hit in hits:
        groups.setdefault(value_of(per, hit), []).append(hit)
    return groups


# -- one thing before another


@dataclass(frozen=True, repr=False)
class Before(Rule):
    """Each `second` comes after a `first` that has ended. Holds if there is no `second`."""

    first: Selector
    second: Selector
    per: Per | None = None
    order: OrderOf = "cause"
    turned: bool = False

    @property
    def sentence(self) -> str:
        words = (self.second, "after", self.first) if self.turned else (self.first, "before", self.second)
        return f"{' '.join(map(str, words))}{_by(self.per)}{_recorded(self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.first, self.second)

    def judge(self, case: Case) -> Verdict:
        every, seconds = case.hits(self.first), case.hits(self.second)
        left = self._unsure(case, every, seconds)
        firsts = _grouped(every, self.per) if left else {}
        for later in left:
            value = value_of(self.per, later)
            mine = firsts.get(value, [])
            if not any(not case.is_open(one) and case.before(one, later, self.order) for one in mine):
                return self._broken(case, later, mine, _for(self.per, value))
        return HOLDS

    def _unsure(self, case: Case, firsts: Sequence[Hit], seconds: Sequence[Hit]) -> Sequence[Hit]:
        """Which of `seconds` must be looked at: all that are left come after one of `firsts` that has ended."""
        ended = next((one for one in firsts if not case.is_open(one)), None)
        if self.per is None and self.order == "cause":
            return seconds if ended is None else seconds[: case.window(ended, seconds, self.order)[1]]
        return case.unled(firsts, seconds, self.per, self.order)

    def _broken(self, case: Case, later: Hit, firsts: Sequence[Hit], which: str) -> Verdict:
        if not firsts:
            said = f"{_name(later)} was called{which}, and there was no {self.first}{which}"
            return Verdict(False, said, (_start(later),), case.near(self.first), _tools(self.first))
        close = firsts if self.per is not None else firsts[: case.window(later, firsts, self.order)[1]]
        near = next((one for one in close if case.before(one, later, self.order)), None)  # open, or it would do
        near = near or next((one for one in close if not case.before(later, one, self.order)), firsts[0])
        return Verdict(False, _relation(case, near, later, self.order), _both(near, later))


@dataclass(frozen=True, repr=False)
class FollowedBy(Rule):
    """After each `first` has ended, a `second` comes. Holds if there is no `first`."""

    first: Selector
    second: Selector
    per: Per | None = None
    order: OrderOf = "cause"

    @property
    def sentence(self) -> str:
        return f"each {self.first} is followed by {self.second}{_by(self.per)}{_recorded(self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.first, self.second)

    def judge(self, case: Case) -> Verdict:
        every = case.hits(self.second)
        left = case.unfollowed(case.hits(self.first), every, self.per, self.order)
        seconds = _grouped(every, self.per) if left else {}
        for first in left:
            value = value_of(self.per, first)
            mine = seconds.get(value, [])
            start = case.window(first, every, self.order)[0] if self.per is None else 0
            later = (mine[n] for n in range(len(mine) - 1, start - 1, -1))
            if case.is_open(first) or not any(case.before(first, one, self.order) for one in later):
                return self._broken(case, first, mine, _for(self.per, value))
        return HOLDS

    def _broken(self, case: Case, first: Hit, seconds: Sequence[Hit], which: str) -> Verdict:
        if case.is_open(first):
            return Verdict(False, f"{_name(first)} never ended", (_start(first),))
        if not seconds:
            said = f"{_name(first)} ended{which}, and no {self.second} came{which}"
            return Verdict(False, said, (_end(first),), case.near(self.second), _tools(self.second))
        near = next((one for one in reversed(seconds) if not case.before(one, first, self.order)), seconds[-1])
        return Verdict(False, _relation(case, first, near, self.order), _both(first, near))


@dataclass(frozen=True, repr=False)
class EndsBefore(Rule):
    """Nothing of `other` begins while one of `each` is going on: each has ended before the next `other`, or comes after it."""

    each: Selector
    other: Selector

    @property
    def sentence(self) -> str:
        return f"each {self.each} ends before the next {self.other}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.each, self.other)

    def judge(self, case: Case) -> Verdict:
        others = case.hits(self.other)
        for one, start, stop in case.windows(case.hits(self.each), others):
            for other in others[start:stop] if start < stop else ():
                if one is not other and not case.before(other, one, "cause") and not self._done(case, one, other):
                    return Verdict(False, _relation(case, one, other, "cause"), _both(one, other))
        return HOLDS

    def _done(self, case: Case, one: Hit, other: Hit) -> bool:
        return case.contains(other, one) or (not case.is_open(one) and case.before(one, other, "cause"))


@dataclass(frozen=True, repr=False)
class Ends(Rule):
    """Each of these runs has ended, however."""

    each: Selector

    @property
    def sentence(self) -> str:
        return f"each {self.each} ends"

    def selectors(self) -> Iterator[Selector]:
        yield self.each

    def judge(self, case: Case) -> Verdict:
        left = [one for one in case.hits(self.each) if case.is_open(one)]
        if not left:
            return HOLDS
        return Verdict(False, f"{_name(left[0])} never ended", tuple(map(_start, left[:4])))


@dataclass(frozen=True, repr=False)
class NeverAfter(Rule):
    """None of `which` begins after an `end` has ended. Holds if there is no `end`."""

    which: Selector
    end: Selector
    order: OrderOf = "cause"

    @property
    def sentence(self) -> str:
        return f"never {self.which} after {self.end}{_recorded(self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.which, self.end)

    def judge(self, case: Case) -> Verdict:
        ends = case.hits(self.end)
        for one in case.late(case.hits(self.which), ends, self.order):
            stop = len(ends) if case.is_open(one) else case.window(one, ends, self.order)[1]
            for end in ends[:stop]:
                began = one is end or case.contains(one, end) or case.contains(end, one)
                if not began and not case.before(one, end, self.order):
                    return Verdict(False, self._said(case, one, end), _both(end, one))
        return HOLDS

    def _said(self, case: Case, one: Hit, end: Hit) -> str:
        if case.before(end, one, self.order):
            return f"{_name(one)} came after {_name(end)}"
        return f"{_name(end)} and {_name(one)} overlapped: nothing makes {_name(one)} come first"


def _backwards(hits: Sequence[Hit], count: int) -> Iterator[Hit]:
    """The first so many, the last of them first; without a copy, for it is asked of each run."""
    return (hits[n] for n in range(count - 1, -1, -1))


@dataclass(frozen=True, repr=False)
class NeverBetween(Rule):
    """From the end of a `begin` to the beginning of the next `end`, none of `which` begins."""

    which: Selector
    begin: Selector
    end: Selector
    order: OrderOf = "cause"

    @property
    def sentence(self) -> str:
        return f"between {self.begin} and {self.end} never {self.which}{_recorded(self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.begin, self.end, self.which)

    def judge(self, case: Case) -> Verdict:
        begins, ends, ones = case.hits(self.begin), case.hits(self.end), case.hits(self.which)
        found = case.left_open(ones, begins, ends, self.order)
        if found is None:
            closing = {id(end) for end in ends}
            left = (one for one in case.unclosed(ones, begins, ends) if id(one) not in closing)
            found = ((one, *around) for one in left for around in self._around(case, one, begins, ends))
        broken = next(iter(found), None)
        return HOLDS if broken is None else self._broken(case, *broken)

    def _around(self, case: Case, one: Hit, begins: Sequence[Hit], ends: Sequence[Hit]) -> Iterator[tuple[Hit, Hit]]:
        """The `begin`s and `end`s between which `one` may begin."""
        start, stop = case.window(one, ends, self.order)
        unsure = [(end, self._first(case, end, one)) for end in ends[start:stop]]
        later = [*(end for end, closed in unsure if not closed), *ends[max(stop, len(ends) - 1) :]]
        closed = [end for end, closed in reversed(unsure) if closed]
        for n in range(case.window(one, begins, self.order)[1] - 1, -1, -1) if later else ():
            begin = begins[n]
            if begin is one or case.contains(one, begin) or case.contains(begin, one) or case.before(one, begin, self.order):
                continue
            if any(case.before(begin, end, self.order) for end in chain(closed, _backwards(ends, start))):
                if case.window(next(chain(closed, _backwards(ends, start))), begins, self.order)[0] > n:
                    return  # all that are left come before this end too
                continue
            open_to = (end for end in later if end is not begin and not case.contains(begin, end))
            yield from ((begin, end) for end in open_to if not self._first(case, end, begin))

    def _first(self, case: Case, a: Hit, b: Hit) -> bool:
        """Whether `a` began before `b` for certain."""
        return case.before(a, b, self.order) or case.contains(a, b)

    def _broken(self, case: Case, one: Hit, begin: Hit, end: Hit) -> Verdict:
        certain = case.before(begin, one, self.order) and self._first(case, one, end)
        events = sorted({id(e): e for e in (_end(begin), _start(one), _start(end))}.values(), key=lambda event: event.number)
        if certain:
            return Verdict(False, f"{_name(one)} came after {_name(begin)} and before {_name(end)}", tuple(events))
        said = f"{_name(one)} overlapped with {_name(begin)} or {_name(end)}: nothing keeps it from coming between them"
        return Verdict(False, said, tuple(events))


# -- how often


@dataclass(frozen=True, repr=False)
class Count(Rule):
    """There are at least `least` and at most `most` of these; with `per`, for each value by itself."""

    which: Selector
    least: int
    most: int | None
    per: Per | None = None

    @property
    def sentence(self) -> str:
        if self.most is None:
            word, count = "at least", self.least
        else:
            word, count = ("exactly" if self.least == self.most else "at most"), self.most
        if count == 0:
            return f"never {self.which}{_by(self.per)}"
        return f"{self.which} {word} {_times(count)}{_by(self.per)}"

    def selectors(self) -> Iterator[Selector]:
        yield self.which

    def needs_all(self) -> bool:
        return self.most is not None

    def judge(self, case: Case) -> Verdict:
        every = case.hits(self.which)
        counts = case.counts(every, self.per)
        if counts and min(counts.values()) >= self.least and (self.most is None or max(counts.values()) <= self.most):
            return HOLDS
        groups = _grouped(every, self.per)
        for value, hits in (groups or {None: []}).items():
            if len(hits) < self.least or (self.most is not None and len(hits) > self.most):
                return self._broken(case, hits, _for(self.per, value))
        return HOLDS

    def _broken(self, case: Case, hits: Sequence[Hit], which: str) -> Verdict:
        if self.most == 0:
            return Verdict(False, f"{_name(hits[0])} was called", tuple(map(_start, hits[:4])))
        said = f"{self.which} came {_times(len(hits))}{which}"
        if len(hits) < self.least:
            return Verdict(False, said, tuple(map(_start, hits[:4])), case.near(self.which), _tools(self.which))
        return Verdict(False, said, tuple(map(_start, hits[self.most or 0 :][:4])))


@dataclass(frozen=True, repr=False)
class Only(Rule):
    """Of the kinds of runs that are named there are no others than these."""

    which: tuple[Selector, ...]

    @property
    def sentence(self) -> str:
        return f"only {_listed(self.which)}"

    def selectors(self) -> Iterator[Selector]:
        yield from self.which

    def judge(self, case: Case) -> Verdict:
        kinds = frozenset().union(*(one.kinds for one in self.which))
        allowed = set().union(*(map(id, case.hits(one)) for one in self.which))
        events = any(isinstance(option, EventSelector) for one in self.which for option in one.options())
        if not events and sum(run.kind in kinds for run in case.runs) == len(allowed):
            return HOLDS
        others = [run for run in case.runs if run.kind in kinds and id(run) not in allowed]
        if not others:
            return HOLDS
        said = f"{_name(others[0])} was called"
        why = next(filter(None, (one.misses(others[0]) for one in self.which if one.accepts(others[0].kind, others[0].name))), "")
        return Verdict(False, f"{said}: {why}" if why else said, tuple(map(_start, others[:4])))
