"""Rules: sentences that must hold of a recording, `before("search", "book")`, and what each of them means.

A rule is a value, and its class says twice what it means, side by side. `judge` asks a
`RuleContext` (a recording, seen through its order) and gives a `Verdict`: a rule holds if it holds whatever the schedule,
"before" is never an accident of when things happened to start. `watch` gives a `Watch`, which suspects while the program runs
that the rule is broken for good; it goes by what is recorded, and `judge` has the last word before anything is stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, filterfalse
from typing import Any
from uuid import UUID

from llmtest.core.masks import show
from llmtest.core.text import short, times
from llmtest.matching.rule import (
    HOLDS,
    UNKNOWN,
    Hit,
    OrderOf,
    Per,
    Rule,
    RuleContext,
    Verdict,
    Watch,
    WatchedRun,
    end_of,
    ended_unseen,
    events_of,
    name_of,
    relation,
    start_of,
    tool_names,
    value_of,
)
from llmtest.matching.selectors import EventSelector, Selector
from llmtest.order.happens_before import Hits

# -- words


def _terms(per: Per | None, order: OrderOf = "cause") -> str:
    """Return the words for `per` and `order` in a sentence."""
    name = per if per is None or isinstance(per, str) else getattr(per, "__name__", short(per))
    shown = f"`{name}`" if isinstance(per, str) else name
    return ("" if per is None else f", for each {shown}") + (", as recorded" if order == "recorded" else "")


def _listed(which: Sequence[Selector], last: str = "or") -> str:
    texts = [str(one) for one in which]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def _for(per: Per | None, value: Hashable) -> str:
    return f" for {show(value, per if isinstance(per, str) else '')}" if per is not None else ""


def _with_same_value(
    ones: Sequence[Hit], others: Sequence[Hit], per: Per | None
) -> Iterator[tuple[Hit, Hashable, Sequence[Hit]]]:
    """Yield each of `ones` with its value of `per`, and those of `others` that have the same value."""
    groups = _grouped(others, per) if ones and per is not None else {}
    for one in ones:
        value = value_of(per, one) if per is not None else None
        # A value that no other has is an empty group, not all of them.
        yield one, value, others if per is None else groups.get(value, ())


def _grouped(hits: Sequence[Any], per: Per | None) -> Mapping[Hashable, Sequence[Any]]:
    if per is None:
        return {None: hits} if hits else {}
    groups: dict[Hashable, list[object]] = {}
    for hit in hits:
        groups.setdefault(value_of(per, hit), []).append(hit)
    return groups


def _watch_runs(
    *selectors: Selector,
    began: Callable[[WatchedRun], bool],
    ended: Callable[[WatchedRun], bool] = ended_unseen,
    per: Per | None = None,
) -> Watch | None:
    """Return a watch, or None if a selector means events: these are not watched."""
    of_events = any(isinstance(option, EventSelector) for which in selectors for option in which.options())
    # Events of a run that goes on are read when it ends, so a watch of events would come too late.
    return None if of_events else Watch(selectors, began, ended, per)


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
        return f"{' '.join(map(str, words))}{_terms(self.per, self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.first, self.second)

    def judge(self, context: RuleContext) -> Verdict:
        every, seconds = context.hits(self.first), context.hits(self.second)
        if self.per is None and self.order == "cause":
            ended = next(filterfalse(context.is_open, every), None)  # what surely comes after it needs no other
            # The window is found by bisection, so a long recording costs little where the order is plain.
            left: Sequence[Hit] = seconds if ended is None else seconds[: context.window(ended, seconds, self.order)[1]]
        else:
            left = context.needs_check_before(every, seconds, self.per, self.order)
        for later, value, firsts in _with_same_value(left, every, self.per):
            for first in firsts:
                if context.before(first, later, self.order) and not context.is_open(first):
                    break
            else:
                return self._broken(context, later, firsts, value)
        return HOLDS

    def _broken(self, context: RuleContext, later: Hit, firsts: Sequence[Hit], value: Hashable) -> Verdict:
        if not firsts:
            which = _for(self.per, value)
            said = f"{name_of(later)} was called{which}, and there was no {self.first}{which}"
            like = context.near(self.first)
            return Verdict(False, said, (start_of(later),), like, tool_names(self.first), in_any_order=True)
        close = firsts if self.per is not None else firsts[: context.window(later, context.hits(self.first), self.order)[1]]
        near: Hit | None = None
        for one in close:
            if context.before(one, later, self.order):
                near = one  # it is open, or it would do
                break
            if near is None and not context.before(later, one, self.order):
                near = one  # it overlapped
        near = near or firsts[0]
        turned = bool(context.unknown) and all(context.before(later, one, self.order) for one in firsts)
        return Verdict(False, relation(context, near, later, self.order), events_of(near, later), in_any_order=turned)

    def watch(self) -> Watch | None:
        """Suspect the rule when a `second` begins and no `first` has ended."""
        done: set[object] = set()

        def began(run: WatchedRun) -> bool:
            late = run.meant[1] is True and _begins_in_time(run) and run.value is not UNKNOWN
            return late and done.isdisjoint((run.value, UNKNOWN))

        def ended(run: WatchedRun) -> bool:
            if run.meant[0] is not False:
                # What may have been a `first` counts as one: a watch must not suspect what the end may excuse.
                done.add(run.value)
            return False

        return _watch_runs(self.first, self.second, began=began, ended=ended, per=self.per)


def _begins_in_time(run: WatchedRun) -> bool:
    """True if a run begins only when what it waits for is over. The steps of a chain that streams begin before."""
    return run.kind != "chain"


@dataclass(frozen=True, repr=False)
class FollowedBy(Rule):
    """After each `first` has ended, a `second` comes. Holds if there is no `first`."""

    first: Selector
    second: Selector
    per: Per | None = None
    order: OrderOf = "cause"

    @property
    def sentence(self) -> str:
        return f"each {self.first} is followed by {self.second}{_terms(self.per, self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.first, self.second)

    def judge(self, context: RuleContext) -> Verdict:
        every = context.hits(self.second)
        left = context.needs_check_after(context.hits(self.first), every, self.per, self.order)
        for first, value, mine in _with_same_value(left, every, self.per):
            start = context.window(first, every, self.order)[0] if self.per is None else 0
            # From the last one back: in most programs the last `second` comes after everything.
            later = (mine[n] for n in range(len(mine) - 1, start - 1, -1))
            if context.is_open(first) or not any(context.before(first, one, self.order) for one in later):
                return self._broken(context, first, mine, _for(self.per, value))
        return HOLDS

    def _broken(self, context: RuleContext, first: Hit, seconds: Sequence[Hit], which: str) -> Verdict:
        # Said first: nothing can follow what never ended, and that is the cause.
        if context.is_open(first):
            return Verdict(False, f"{name_of(first)} never ended", (start_of(first),), in_any_order=True)
        if not seconds:
            said = f"{name_of(first)} ended{which}, and no {self.second} came{which}"
            close = context.near(self.second)
            return Verdict(False, said, (end_of(first),), close, tool_names(self.second), in_any_order=True)
        near = next((one for one in reversed(seconds) if not context.before(one, first, self.order)), seconds[-1])
        turned = bool(context.unknown) and all(context.before(one, first, self.order) for one in seconds)
        return Verdict(False, relation(context, first, near, self.order), events_of(first, near), in_any_order=turned)


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

    def judge(self, context: RuleContext) -> Verdict:
        others = context.hits(self.other)
        for one, start, stop in context.windows(context.hits(self.each), others):
            for other in others[start:stop] if start < stop else ():
                if one is not other and not context.before(other, one, "cause") and not self._done(context, one, other):
                    return Verdict(False, relation(context, one, other, "cause"), events_of(one, other))
        return HOLDS

    def _done(self, context: RuleContext, one: Hit, other: Hit) -> bool:
        return context.contains(other, one) or (not context.is_open(one) and context.before(one, other, "cause"))

    def watch(self) -> Watch | None:
        """Suspect the rule when an `other` begins while one of `each` is running."""
        going: set[UUID] = set()

        def began(run: WatchedRun) -> bool:
            # Asked before the run is noted itself: a run that both selectors mean does not begin within itself.
            broken = bool(going) and run.meant[1] is True and _begins_in_time(run)
            if run.meant[0]:
                going.add(run.run_id)
            return broken

        def ended(run: WatchedRun) -> bool:
            going.discard(run.run_id)
            return False

        return _watch_runs(self.each, self.other, began=began, ended=ended)


@dataclass(frozen=True, repr=False)
class Ends(Rule):
    """Each of these runs has ended, however."""

    each: Selector

    @property
    def sentence(self) -> str:
        return f"each {self.each} ends"

    def selectors(self) -> Iterator[Selector]:
        yield self.each

    def in_known_order(self, verdict: Verdict, unknown: Collection[str]) -> Verdict:
        return verdict  # in whichever order things came

    def judge(self, context: RuleContext) -> Verdict:
        left = [one for one in context.hits(self.each) if context.is_open(one)]
        if not left:
            return HOLDS
        return Verdict(False, f"{name_of(left[0])} never ended", tuple(map(start_of, left[:4])))


@dataclass(frozen=True, repr=False)
class NeverAfter(Rule):
    """None of `which` begins after an `end` has ended. Holds if there is no `end`."""

    which: Selector
    end: Selector
    order: OrderOf = "cause"

    @property
    def sentence(self) -> str:
        return f"never {self.which} after {self.end}{_terms(None, self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.which, self.end)

    def judge(self, context: RuleContext) -> Verdict:
        ends = context.hits(self.end)
        for one in context.needs_check_before_all(context.hits(self.which), ends, self.order):
            # An open run comes before nothing, so no end can be passed over.
            stop = len(ends) if context.is_open(one) else context.window(one, ends, self.order)[1]
            for end in ends[:stop]:
                # A run that contains the end, or runs inside it, began before it ended.
                began = one is end or context.contains(one, end) or context.contains(end, one)
                if not began and not context.before(one, end, self.order):
                    return Verdict(False, self._said(context, one, end), events_of(end, one))
        return HOLDS

    def _said(self, context: RuleContext, one: Hit, end: Hit) -> str:
        if context.before(end, one, self.order):
            return f"{name_of(one)} came after {name_of(end)}"
        return f"{name_of(end)} and {name_of(one)} overlapped: nothing makes {name_of(one)} come first"

    def watch(self) -> Watch | None:
        """Suspect the rule when one of `which` begins after an `end` has ended."""
        is_over = False

        def began(run: WatchedRun) -> bool:
            return is_over and run.meant[0] is True

        def ended(run: WatchedRun) -> bool:
            nonlocal is_over
            is_over = is_over or run.meant[1] is True
            return False

        return _watch_runs(self.which, self.end, began=began, ended=ended)


def _backwards(hits: Sequence[Hit], count: int) -> Iterator[Hit]:
    """Yield the first `count` hits backwards, without a copy, because each run asks for it."""
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
        return f"between {self.begin} and {self.end} never {self.which}{_terms(None, self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.begin, self.end, self.which)

    def judge(self, context: RuleContext) -> Verdict:
        begins, ends, ones = context.hits(self.begin), context.hits(self.end), context.hits(self.which)
        found = context.recorded_between(ones, begins, ends, self.order)
        if found is None:
            # An end that is one of `which` too closes the interval and breaks nothing. By identity, which asks no event.
            closing = {id(end) for end in ends}
            left = (one for one in context.needs_check_between(ones, begins, ends) if id(one) not in closing)
            found = ((one, *around) for one in left for around in self._around(context, one, begins, ends))
        broken = next(iter(found), None)
        return HOLDS if broken is None else self._broken(context, *broken)

    def _around(self, context: RuleContext, one: Hit, begins: Hits, ends: Hits) -> Iterator[tuple[Hit, Hit]]:
        """Yield the `begin`s and `end`s between which `one` may begin."""
        start, stop = context.window(one, ends, self.order)
        unsure = [(end, self._first(context, end, one)) for end in ends[start:stop]]
        later = [*(end for end, closed in unsure if not closed), *ends[max(stop, len(ends) - 1) :]]
        closed = [end for end, closed in reversed(unsure) if closed]
        for n in range(context.window(one, begins, self.order)[1] - 1, -1, -1) if later else ():
            begin = begins[n]
            if begin is one or self._first(context, one, begin) or context.contains(begin, one):
                continue
            if any(context.before(begin, end, self.order) for end in chain(closed, _backwards(ends, start))):
                if context.window(next(chain(closed, _backwards(ends, start))), begins, self.order)[0] > n:
                    return  # all that are left come before this end too
                continue
            open_to = (end for end in later if end is not begin and not context.contains(begin, end))
            yield from ((begin, end) for end in open_to if not self._first(context, end, begin))

    def _first(self, context: RuleContext, a: Hit, b: Hit) -> bool:
        """True if `a` began before `b` for certain."""
        return context.before(a, b, self.order) or context.contains(a, b)

    def _broken(self, context: RuleContext, one: Hit, begin: Hit, end: Hit) -> Verdict:
        certain = context.before(begin, one, self.order) and self._first(context, one, end)
        events = events_of(end_of(begin), start_of(one), start_of(end))
        if certain:
            return Verdict(False, f"{name_of(one)} came after {name_of(begin)} and before {name_of(end)}", events)
        said = f"{name_of(one)} overlapped with {name_of(begin)} or {name_of(end)}: nothing keeps it from coming between them"
        return Verdict(False, said, events)

    def watch(self) -> Watch | None:
        """Suspect the rule when an `end` begins and one of `which` has begun since a `begin` ended."""
        is_open = has_begun = False

        def began(run: WatchedRun) -> bool:
            nonlocal is_open, has_begun
            which, _, end = run.meant
            broken = has_begun and end is True
            if end is not False:  # what may be an end may have been one
                is_open = has_begun = False
            elif which and is_open:
                has_begun = True
            return broken

        def ended(run: WatchedRun) -> bool:
            nonlocal is_open
            is_open = is_open or run.meant[1] is True
            return False

        return _watch_runs(self.which, self.begin, self.end, began=began, ended=ended)


@dataclass(frozen=True, repr=False)
class AtLeastBetween(Rule):
    """From the end of each `begin` to the beginning of the next `end`, at least `least` of `which` begin.

    A schedule breaks it if it has an `end` come as early as it can. Before that `end` then come those of `which`, and other
    `end`s, that must come between the two; so it is broken by an `end` that may follow a `begin`, with too few of `which`
    and no other `end` certain between them. No sequence has to be tried.
    """

    which: Selector
    begin: Selector
    end: Selector
    least: int
    order: OrderOf = "cause"

    @property
    def sentence(self) -> str:
        return f"between {self.begin} and {self.end} at least {times(self.least)} {self.which}{_terms(None, self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.begin, self.end, self.which)

    def judge(self, context: RuleContext) -> Verdict:
        begins, ends, ones = context.hits(self.begin), context.hits(self.end), context.hits(self.which)
        for begin in context.needs_check_filled(begins, ones, ends, self.least, self.order):
            if context.is_open(begin):
                continue
            for end in self._next(context, begin, ends):
                near = ones[context.window(begin, ones, self.order)[0] : context.window(end, ones, self.order)[1]]
                after = [one for one in near if one is not end and context.before(begin, one, self.order)]
                between = sum(self._first(context, one, end) for one in after)
                if between < self.least:
                    verdict = self._broken(context, begin, end, near, between)
                    return verdict if ones else replace(verdict, near=context.near(self.which), missing=tool_names(self.which))
        return HOLDS

    def _next(self, context: RuleContext, begin: Hit, ends: Hits) -> Iterator[Hit]:
        """Yield each of `ends` that may be the next one after `begin` has ended."""
        # Only ends that may be the next one are asked, so the cost grows with what overlaps and not with the recording.
        start, stop = context.window(begin, ends, self.order)
        if stop < len(ends):  # what surely comes after an end that surely comes after it is not the next one
            stop = max(stop + 1, context.window(ends[stop], ends, self.order)[1])
        near = ends[start:stop]
        after = [end for end in near if context.before(begin, end, self.order)]
        for end in near:
            other = any(one is not end and self._first(context, one, end) for one in after)
            if not other and self._may_follow(context, begin, end):
                yield end

    def _may_follow(self, context: RuleContext, begin: Hit, end: Hit) -> bool:
        """True if a schedule has `end` begin when `begin` has ended."""
        if self.order == "recorded":
            return context.before(begin, end, self.order)
        return end is not begin and not (self._first(context, end, begin) or context.contains(begin, end))

    def _first(self, context: RuleContext, a: Hit, b: Hit) -> bool:
        """True if `a` began before `b` for certain."""
        if self.order == "recorded":
            return start_of(a).number < start_of(b).number
        return context.before(a, b, self.order) or context.contains(a, b)

    def _broken(self, context: RuleContext, begin: Hit, end: Hit, near: Sequence[Hit], between: int) -> Verdict:
        beside = next((one for one in near if self._is_beside(context, one, begin, end)), None)
        events = events_of(end_of(begin), start_of(end))
        if beside is not None:
            said = f"{name_of(beside)} overlapped with {name_of(begin)} or {name_of(end)}: nothing makes it come between them"
            events = events_of(*events, start_of(beside))
        elif context.before(begin, end, self.order):
            said = f"{self.which} came {times(between)} between {name_of(begin)} and {name_of(end)}"
        else:
            said = f"{name_of(end)} may come after {name_of(begin)}, and {self.which} {times(between)} between them"
        return Verdict(False, said, events)

    def _is_beside(self, context: RuleContext, one: Hit, begin: Hit, end: Hit) -> bool:
        """True if `one` may begin between `begin` and `end`, and may not."""
        if one is end or not self._may_follow(context, begin, one) or self._first(context, end, one):
            return False
        return not (context.before(begin, one, self.order) and self._first(context, one, end))

    def watch(self) -> Watch | None:
        """Suspect the rule when an `end` begins and too few of `which` have begun since the last `begin` ended."""
        count: int | None = None

        def began(run: WatchedRun) -> bool:
            nonlocal count
            which, _, end = run.meant
            broken = end is True and count is not None and count < self.least and _begins_in_time(run)
            if end is not False:  # what may be an end may have been one
                count = None
            elif which is not False and count is not None:  # what may be one of them counts
                count += 1
            return broken

        def ended(run: WatchedRun) -> bool:
            nonlocal count
            count = 0 if run.meant[1] is True else count
            return False

        return _watch_runs(self.which, self.begin, self.end, began=began, ended=ended)


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
            return f"never {self.which}{_terms(self.per, 'cause')}"
        return f"{self.which} {word} {times(count)}{_terms(self.per, 'cause')}"

    def selectors(self) -> Iterator[Selector]:
        yield self.which

    def needs_all(self) -> bool:
        # A call that was not recorded can make too many of them, but never too few.
        return self.most is not None

    def in_known_order(self, verdict: Verdict, unknown: Collection[str]) -> Verdict:
        return verdict  # in whichever order things came

    def judge(self, context: RuleContext) -> Verdict:
        every = context.hits(self.which)
        # The index of an argument counts all values at a look; the groups are made only to say which one is wrong.
        counts = context.counts(every, self.per)
        if counts and min(counts.values()) >= self.least and (self.most is None or max(counts.values()) <= self.most):
            return HOLDS
        groups = _grouped(every, self.per)
        for value, hits in (groups or {None: []}).items():
            if len(hits) < self.least or (self.most is not None and len(hits) > self.most):
                return self._broken(context, hits, _for(self.per, value))
        return HOLDS

    def _broken(self, context: RuleContext, hits: Sequence[Hit], which: str) -> Verdict:
        if self.most == 0:
            return Verdict(False, f"{name_of(hits[0])} was called", tuple(map(start_of, hits[:4])))
        said = f"{self.which} came {times(len(hits))}{which}"
        if len(hits) < self.least:
            return Verdict(False, said, tuple(map(start_of, hits[:4])), context.near(self.which), tool_names(self.which))
        return Verdict(False, said, tuple(map(start_of, hits[self.most or 0 :][:4])))

    def watch(self) -> Watch | None:
        """Suspect the rule when more than `most` have begun. Only the end can tell that there are too few."""
        most, counts = self.most, Counter[Any]()
        if most is None:
            return None

        def count(run: WatchedRun) -> bool:
            if run.counted or not run.meant[0] or run.value is UNKNOWN:
                return False
            # Once for each run: its start and its end may both tell that it is one of these.
            run.counted = True
            counts[run.value] += 1
            return counts[run.value] > most

        return _watch_runs(self.which, began=count, ended=count, per=self.per)


@dataclass(frozen=True, repr=False)
class Only(Rule):
    """Of the kinds of runs that are named there are no others than these."""

    which: tuple[Selector, ...]

    @property
    def sentence(self) -> str:
        return f"only {_listed(self.which)}"

    def selectors(self) -> Iterator[Selector]:
        yield from self.which

    def in_known_order(self, verdict: Verdict, unknown: Collection[str]) -> Verdict:
        return verdict  # in whichever order things came

    def judge(self, context: RuleContext) -> Verdict:
        kinds = frozenset().union(*(one.kinds for one in self.which))
        # By identity: two runs may be equal as values.
        allowed = set().union(*(map(id, context.hits(one)) for one in self.which))
        events = any(isinstance(option, EventSelector) for one in self.which for option in one.options())
        if not events and sum(run.kind in kinds for run in context.runs) == len(allowed):
            return HOLDS
        others = [run for run in context.runs if run.kind in kinds and id(run) not in allowed]
        if not others:
            return HOLDS
        said = f"{name_of(others[0])} was called"
        why = next(filter(None, (one.misses(others[0]) for one in self.which if one.accepts(others[0].kind, others[0].name))), "")
        return Verdict(False, f"{said}: {why}" if why else said, tuple(map(start_of, others[:4])))

    def watch(self) -> Watch | None:
        """Suspect the rule when a run of one of these kinds begins that is none of these."""
        kinds = frozenset().union(*(one.kinds for one in self.which))

        def began(run: WatchedRun) -> bool:
            return run.meant[0] is True and not any(meant is not False for meant in run.meant[1:])

        return _watch_runs(Selector("", kinds, ""), *self.which, began=began)
