"""Rules: sentences that must hold of a recording, `before("search", "book")`, and what each of them means.

Floor 0: standard library only. A rule is a value, and its class says twice what it means, side by side. `judge` asks a
`RuleContext` (a recording, seen through its order) and gives a `Verdict`: a rule holds if it holds whatever the schedule,
"before" is never an accident of when things happened to start. `watch` gives a `Watch`, which suspects while the program runs
that the rule is broken for good; it goes by what is recorded, and `judge` has the last word before anything is stopped.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, filterfalse
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from llmtest.events import Document, Event, Message, Run, Structured, ToolCall
from llmtest.selecting import EventSelector, Selector, UnjudgedError, short

Hit = Run | Event
"""What a selector means in a recording."""

OrderOf = Literal["cause", "recorded"]
"""Whether one thing came before another because the program says so, or because it was recorded earlier."""

Per = str | Callable[[Any], object]
"""The name of an argument, or a function of the run: the rule holds for each value by itself."""


class RuleContext(Protocol):
    """What a rule asks of a recording."""

    @property
    def runs(self) -> Sequence[Run]: ...
    def hits(self, which: Selector) -> Sequence[Any]: ...
    def window(self, one: Any, hits: Sequence[Any], order: OrderOf) -> tuple[int, int]: ...
    def windows(self, ones: Sequence[Any], hits: Sequence[Any]) -> Iterable[tuple[Any, int, int]]: ...
    def late(self, ones: Sequence[Any], hits: Sequence[Any], order: OrderOf) -> Sequence[Any]: ...
    def unclosed(self, ones: Sequence[Any], begins: Sequence[Any], ends: Sequence[Any]) -> Sequence[Any]: ...
    def left_open(
        self, ones: Sequence[Any], begins: Sequence[Any], ends: Sequence[Any], order: OrderOf
    ) -> Iterable[tuple[Any, Any, Any]] | None: ...
    def unfilled(
        self, begins: Sequence[Any], ones: Sequence[Any], ends: Sequence[Any], least: int, order: OrderOf
    ) -> Sequence[Any]: ...
    def unled(self, firsts: Sequence[Any], seconds: Sequence[Any], per: Per | None, order: OrderOf) -> Sequence[Any]: ...
    def unfollowed(self, firsts: Sequence[Any], seconds: Sequence[Any], per: Per | None, order: OrderOf) -> Sequence[Any]: ...
    def counts(self, hits: Sequence[Any], per: Per | None) -> Mapping[Hashable, int] | None: ...
    def is_open(self, hit: Any) -> bool: ...
    def near(self, which: Selector) -> tuple[Run, str] | None: ...
    def before(self, a: Any, b: Any, order: OrderOf) -> bool: ...
    def contains(self, a: Any, b: Any) -> bool: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rule holds (None: it cannot be told, which is a failure), what was found, and the events that show it."""

    holds: bool | None
    said: str = ""
    witness: tuple[Event, ...] = ()
    near: tuple[Run, str] | None = None
    missing: tuple[str, ...] = ()


HOLDS: Final = Verdict(True)


@dataclass(frozen=True)
class Rule(ABC):
    """A sentence that must hold of a recording. Its repr is the sentence.

    `a & b` holds when both hold, `a | b` when one does, `~a` when `a` is broken. `rule.named("refunds are approved")` gives it a
    name that stands before the sentence. Rules are values: equal rules are equal, and one rule may be used anywhere.

    It is judged on the runs that were recorded; what must not have been recorded at all is no matter of a rule.
    """

    title: str = field(default="", kw_only=True)

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What must be true, in words."""

    @abstractmethod
    def judge(self, context: RuleContext) -> Verdict:
        """Whether it is true."""

    @abstractmethod
    def selectors(self) -> Iterator[Selector]:
        """Every selector in it."""

    def needs_all(self) -> bool:
        """Whether a call that was not recorded could break it."""
        return True

    def watch(self) -> Watch | JointWatch | None:
        """Return what suspects, while the program runs, that the rule is broken for good; None if only the end can tell."""
        return None

    def named(self, title: str) -> Any:
        """The same rule with a name."""
        return replace(self, title=title)

    def __and__(self, other: Rule) -> Rule:
        return All((self, other)) if isinstance(other, Rule) else NotImplemented

    def __or__(self, other: Rule) -> Rule:
        return Some((self, other)) if isinstance(other, Rule) else NotImplemented

    def __invert__(self) -> Rule:
        return Not(self)

    def __repr__(self) -> str:
        return f"{self.title}: {self.sentence}" if self.title else self.sentence


# -- words


def _terms(per: Per | None, order: OrderOf = "cause") -> str:
    """What a sentence says of `per` and `order`."""
    name = per if per is None or isinstance(per, str) else getattr(per, "__name__", short(per))
    shown = f"`{name}`" if isinstance(per, str) else name
    return ("" if per is None else f", for each {shown}") + (", as recorded" if order == "recorded" else "")


def _listed(which: Sequence[Selector], last: str = "or") -> str:
    texts = [str(one) for one in which]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _name(hit: Hit) -> str:
    return f"`{hit.name}`" if isinstance(hit, Run) else f"{hit.kind} of `{hit.name}`"


def _start(hit: Hit) -> Event:
    return hit.start if isinstance(hit, Run) else hit


def _end(hit: Hit) -> Event:
    return hit.end or hit.start if isinstance(hit, Run) else hit


def value_of(per: Per, hit: Hit) -> Hashable:
    """The value of `per` of a run.

    Raises:
        UnjudgedError: it has none.
    """
    if not isinstance(per, str):
        try:
            value: Any = per(hit)
        except Exception as error:  # a stranger's code; what it cannot look at cannot be told
            raise UnjudgedError(f"per= of {_name(hit)} raised {type(error).__name__}: {error}") from error
    else:
        values = hit.args if isinstance(hit, Run) else hit.payload
        if per not in values:
            raise UnjudgedError(f"{_name(hit)} has no argument `{per}`, so it cannot be told for which one it was")
        value = values[per]
    return value if isinstance(value, Hashable) else repr(value)


def _for(per: Per | None, value: Hashable) -> str:
    return f" for {short(value)}" if per is not None else ""


def _with_same_value(
    ones: Sequence[Hit], others: Sequence[Hit], per: Per | None
) -> Iterator[tuple[Hit, Hashable, Sequence[Hit]]]:
    """Yield each of `ones` with its value of `per`, and those of `others` that have the same value."""
    groups = _grouped(others, per) if ones and per is not None else {}
    for one in ones:
        value = value_of(per, one) if per is not None else None
        yield one, value, others if per is None else groups.get(value, ())


def _grouped(hits: Sequence[Any], per: Per | None) -> Mapping[Hashable, Sequence[Any]]:
    if per is None:
        return {None: hits} if hits else {}
    groups: dict[Hashable, list[Any]] = {}
    for hit in hits:
        groups.setdefault(value_of(per, hit), []).append(hit)
    return groups


# -- while the program runs

UNKNOWN: Final = object()
"""The value of `per` of a run that does not tell it yet."""


@dataclass(slots=True)
class WatchedRun:
    """What a run is to one watch: whether each of its selectors means it (None: that cannot be told yet), and for which value."""

    watch: Watch
    run_id: UUID
    kind: str
    meant: tuple[bool | None, ...]
    value: Any = None
    counted: bool = False

    def ask(self, run: Run) -> None:
        """Find out what is not known yet, as far as `run` tells it."""
        which = zip(self.watch.selectors, self.meant, strict=True)
        self.meant = tuple(_means(one, run) if meant is None else meant for one, meant in which)
        if self.value is UNKNOWN and self.watch.per is not None:
            with suppress(UnjudgedError):  # the end of the run may tell; what is never known loses no rule
                self.value = value_of(self.watch.per, run)

    @property
    def asks(self) -> bool:
        """Whether something is not known yet."""
        return self.value is UNKNOWN or None in self.meant


def _means(which: Selector, run: Run) -> bool | None:
    try:
        return which.misses(run) is None
    except UnjudgedError:
        return None


def _ended_unseen(run: WatchedRun) -> bool:
    """The `ended` of a watch to which it does not matter that a run has ended."""
    return False


@dataclass(slots=True, eq=False)
class Watch:
    """Suspects that a rule is broken for good. Holds state: one watch is for one recording.

    `began` and `ended` get each run that one of `selectors` may mean, in the order of the recording, and return whether the
    rule is lost by that, as far as it was recorded. What cannot be told never loses a rule here.
    """

    selectors: tuple[Selector, ...]
    began: Callable[[WatchedRun], bool]
    ended: Callable[[WatchedRun], bool] = _ended_unseen
    per: Per | None = None
    lost: bool = False

    def leaves(self) -> Iterator[Watch]:
        """Yield each watch that gets runs."""
        yield self

    def role(self, kind: str, name: str) -> tuple[bool | None, ...]:
        """Return what runs of this name are to it, as far as a name tells."""
        return tuple(_plainly(which) if which.accepts(kind, name) else False for which in self.selectors)


def _plainly(which: Selector) -> bool | None:
    return None if any(option.conditions for option in (which, *which.options())) else True


@dataclass(slots=True, eq=False)
class JointWatch:
    """The watches of a rule that is made of rules. `lost_by` is `any` if one of them loses the rule, `all` if only all do."""

    lost_by: Callable[[Iterable[object]], bool]
    parts: Sequence[Watch | JointWatch]

    @property
    def lost(self) -> bool:
        return self.lost_by(part.lost for part in self.parts)

    def leaves(self) -> Iterator[Watch]:
        """Yield each watch that gets runs."""
        for part in self.parts:
            yield from part.leaves()


def _watch_runs(
    *selectors: Selector,
    began: Callable[[WatchedRun], bool],
    ended: Callable[[WatchedRun], bool] = _ended_unseen,
    per: Per | None = None,
) -> Watch | None:
    """Return a watch, or None if a selector means events: these are not watched."""
    of_events = any(isinstance(option, EventSelector) for which in selectors for option in which.options())
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
            left = seconds if ended is None else seconds[: context.window(ended, seconds, self.order)[1]]
        else:
            left = context.unled(every, seconds, self.per, self.order)
        for later, value, firsts in _with_same_value(left, every, self.per):
            for first in firsts:
                if not context.is_open(first) and context.before(first, later, self.order):
                    break
            else:
                return self._broken(context, later, firsts, value)
        return HOLDS

    def _broken(self, context: RuleContext, later: Hit, firsts: Sequence[Hit], value: Hashable) -> Verdict:
        if not firsts:
            which = _for(self.per, value)
            said = f"{_name(later)} was called{which}, and there was no {self.first}{which}"
            return Verdict(False, said, (_start(later),), context.near(self.first), _tools(self.first))
        close = firsts if self.per is not None else firsts[: context.window(later, firsts, self.order)[1]]
        near: Hit | None = None
        for one in close:
            if context.before(one, later, self.order):
                near = one  # it is open, or it would do
                break
            if near is None and not context.before(later, one, self.order):
                near = one  # it overlapped
        near = near or firsts[0]
        return Verdict(False, _relation(context, near, later, self.order), _events_of(near, later))

    def watch(self) -> Watch | None:
        """Lost when a `second` begins and no `first` has ended."""
        done: set[Any] = set()

        def began(run: WatchedRun) -> bool:
            late = run.meant[1] is True and _begins_in_time(run) and run.value is not UNKNOWN
            return late and done.isdisjoint((run.value, UNKNOWN))

        def ended(run: WatchedRun) -> bool:
            if run.meant[0] is not False:
                done.add(run.value)
            return False

        return _watch_runs(self.first, self.second, began=began, ended=ended, per=self.per)


def _begins_in_time(run: WatchedRun) -> bool:
    """Whether a run begins only when what it waits for is over. The steps of a chain that streams begin before."""
    return run.kind != "chain"


def _relation(context: RuleContext, first: Hit, later: Hit, order: OrderOf) -> str:
    """How two things stand, of which the first should have ended before the other began."""
    if first is later:
        return f"{_name(first)} is one and the same run"
    if context.before(first, later, order):
        return f"{_name(first)} never ended"
    if context.before(later, first, order):
        return f"{_name(first)} came after {_name(later)}"
    if context.contains(first, later):
        return f"{_name(later)} ran inside {_name(first)}, which had not ended"
    if context.contains(later, first):
        return f"{_name(first)} ran inside {_name(later)}, which had begun"
    return f"{_name(first)} and {_name(later)} overlapped: nothing makes one wait for the other"


def _events_of(*hits: Hit) -> tuple[Event, ...]:
    """The beginnings and ends of these runs, and these events, in order."""
    events: dict[int, Event] = {}
    for hit in hits:
        for event in (hit.start, hit.end or hit.start) if isinstance(hit, Run) else (hit,):
            events[event.number] = event
    return tuple(map(events.__getitem__, sorted(events)))


def _tools(which: Selector) -> tuple[str, ...]:
    """The names of tools that a selector means, where they are plain names."""
    options = (option for option in which.options() if option.kinds == frozenset({"tool"}))
    return tuple(option.name for option in options if isinstance(option.name, str) and "*" not in option.name)


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
        left = context.unfollowed(context.hits(self.first), every, self.per, self.order)
        for first, value, mine in _with_same_value(left, every, self.per):
            start = context.window(first, every, self.order)[0] if self.per is None else 0
            later = (mine[n] for n in range(len(mine) - 1, start - 1, -1))
            if context.is_open(first) or not any(context.before(first, one, self.order) for one in later):
                return self._broken(context, first, mine, _for(self.per, value))
        return HOLDS

    def _broken(self, context: RuleContext, first: Hit, seconds: Sequence[Hit], which: str) -> Verdict:
        if context.is_open(first):
            return Verdict(False, f"{_name(first)} never ended", (_start(first),))
        if not seconds:
            said = f"{_name(first)} ended{which}, and no {self.second} came{which}"
            return Verdict(False, said, (_end(first),), context.near(self.second), _tools(self.second))
        near = next((one for one in reversed(seconds) if not context.before(one, first, self.order)), seconds[-1])
        return Verdict(False, _relation(context, first, near, self.order), _events_of(first, near))


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
                    return Verdict(False, _relation(context, one, other, "cause"), _events_of(one, other))
        return HOLDS

    def _done(self, context: RuleContext, one: Hit, other: Hit) -> bool:
        return context.contains(other, one) or (not context.is_open(one) and context.before(one, other, "cause"))

    def watch(self) -> Watch | None:
        """Lost when an `other` begins and one of `each` goes on."""
        going: set[UUID] = set()

        def began(run: WatchedRun) -> bool:
            lost = bool(going) and run.meant[1] is True and _begins_in_time(run)
            if run.meant[0]:
                going.add(run.run_id)
            return lost

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

    def judge(self, context: RuleContext) -> Verdict:
        left = [one for one in context.hits(self.each) if context.is_open(one)]
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
        return f"never {self.which} after {self.end}{_terms(None, self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.which, self.end)

    def judge(self, context: RuleContext) -> Verdict:
        ends = context.hits(self.end)
        for one in context.late(context.hits(self.which), ends, self.order):
            stop = len(ends) if context.is_open(one) else context.window(one, ends, self.order)[1]
            for end in ends[:stop]:
                began = one is end or context.contains(one, end) or context.contains(end, one)
                if not began and not context.before(one, end, self.order):
                    return Verdict(False, self._said(context, one, end), _events_of(end, one))
        return HOLDS

    def _said(self, context: RuleContext, one: Hit, end: Hit) -> str:
        if context.before(end, one, self.order):
            return f"{_name(one)} came after {_name(end)}"
        return f"{_name(end)} and {_name(one)} overlapped: nothing makes {_name(one)} come first"

    def watch(self) -> Watch | None:
        """Lost when one of `which` begins and an `end` has ended."""
        is_over = False

        def began(run: WatchedRun) -> bool:
            return is_over and run.meant[0] is True

        def ended(run: WatchedRun) -> bool:
            nonlocal is_over
            is_over = is_over or run.meant[1] is True
            return False

        return _watch_runs(self.which, self.end, began=began, ended=ended)


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
        return f"between {self.begin} and {self.end} never {self.which}{_terms(None, self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.begin, self.end, self.which)

    def judge(self, context: RuleContext) -> Verdict:
        begins, ends, ones = context.hits(self.begin), context.hits(self.end), context.hits(self.which)
        found = context.left_open(ones, begins, ends, self.order)
        if found is None:
            closing = {id(end) for end in ends}
            left = (one for one in context.unclosed(ones, begins, ends) if id(one) not in closing)
            found = ((one, *around) for one in left for around in self._around(context, one, begins, ends))
        broken = next(iter(found), None)
        return HOLDS if broken is None else self._broken(context, *broken)

    def _around(self, context: RuleContext, one: Hit, begins: Sequence[Hit], ends: Sequence[Hit]) -> Iterator[tuple[Hit, Hit]]:
        """The `begin`s and `end`s between which `one` may begin."""
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
        """Whether `a` began before `b` for certain."""
        return context.before(a, b, self.order) or context.contains(a, b)

    def _broken(self, context: RuleContext, one: Hit, begin: Hit, end: Hit) -> Verdict:
        certain = context.before(begin, one, self.order) and self._first(context, one, end)
        events = _events_of(_end(begin), _start(one), _start(end))
        if certain:
            return Verdict(False, f"{_name(one)} came after {_name(begin)} and before {_name(end)}", events)
        said = f"{_name(one)} overlapped with {_name(begin)} or {_name(end)}: nothing keeps it from coming between them"
        return Verdict(False, said, events)

    def watch(self) -> Watch | None:
        """Lost when an `end` begins, and one of `which` has begun since a `begin` was over. Without an end nothing is between."""
        is_open = has_begun = False

        def began(run: WatchedRun) -> bool:
            nonlocal is_open, has_begun
            which, _, end = run.meant
            lost = has_begun and end is True
            if end is not False:  # what may be an end may have been one
                is_open = has_begun = False
            elif which and is_open:
                has_begun = True
            return lost

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
        return f"between {self.begin} and {self.end} at least {_times(self.least)} {self.which}{_terms(None, self.order)}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.begin, self.end, self.which)

    def judge(self, context: RuleContext) -> Verdict:
        begins, ends, ones = context.hits(self.begin), context.hits(self.end), context.hits(self.which)
        for begin in context.unfilled(begins, ones, ends, self.least, self.order):
            if context.is_open(begin):
                continue
            for end in self._next(context, begin, ends):
                near = ones[context.window(begin, ones, self.order)[0] : context.window(end, ones, self.order)[1]]
                after = [one for one in near if one is not end and context.before(begin, one, self.order)]
                between = sum(self._first(context, one, end) for one in after)
                if between < self.least:
                    verdict = self._broken(context, begin, end, near, between)
                    return verdict if ones else replace(verdict, near=context.near(self.which), missing=_tools(self.which))
        return HOLDS

    def _next(self, context: RuleContext, begin: Hit, ends: Sequence[Hit]) -> Iterator[Hit]:
        """Each of `ends` that may be the next one after `begin` has ended."""
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
        """Whether a schedule has `end` begin when `begin` has ended."""
        if self.order == "recorded":
            return context.before(begin, end, self.order)
        return end is not begin and not (self._first(context, end, begin) or context.contains(begin, end))

    def _first(self, context: RuleContext, a: Hit, b: Hit) -> bool:
        """Whether `a` began before `b` for certain."""
        if self.order == "recorded":
            return _start(a).number < _start(b).number
        return context.before(a, b, self.order) or context.contains(a, b)

    def _broken(self, context: RuleContext, begin: Hit, end: Hit, near: Sequence[Hit], between: int) -> Verdict:
        beside = next((one for one in near if self._is_beside(context, one, begin, end)), None)
        events = _events_of(_end(begin), _start(end))
        if beside is not None:
            said = f"{_name(beside)} overlapped with {_name(begin)} or {_name(end)}: nothing makes it come between them"
            events = _events_of(*events, _start(beside))
        elif context.before(begin, end, self.order):
            said = f"{self.which} came {_times(between)} between {_name(begin)} and {_name(end)}"
        else:
            said = f"{_name(end)} may come after {_name(begin)}, and {self.which} {_times(between)} between them"
        return Verdict(False, said, events)

    def _is_beside(self, context: RuleContext, one: Hit, begin: Hit, end: Hit) -> bool:
        """Whether `one` may begin between `begin` and `end`, and may not."""
        if one is end or not self._may_follow(context, begin, one) or self._first(context, end, one):
            return False
        return not (context.before(begin, one, self.order) and self._first(context, one, end))

    def watch(self) -> Watch | None:
        """Lost when an `end` begins, and too few of `which` have begun since the last `begin` was over."""
        count: int | None = None

        def began(run: WatchedRun) -> bool:
            nonlocal count
            which, _, end = run.meant
            lost = end is True and count is not None and count < self.least and _begins_in_time(run)
            if end is not False:  # what may be an end may have been one
                count = None
            elif which is not False and count is not None:  # what may be one of them counts
                count += 1
            return lost

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
        return f"{self.which} {word} {_times(count)}{_terms(self.per, 'cause')}"

    def selectors(self) -> Iterator[Selector]:
        yield self.which

    def needs_all(self) -> bool:
        return self.most is not None

    def judge(self, context: RuleContext) -> Verdict:
        every = context.hits(self.which)
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
            return Verdict(False, f"{_name(hits[0])} was called", tuple(map(_start, hits[:4])))
        said = f"{self.which} came {_times(len(hits))}{which}"
        if len(hits) < self.least:
            return Verdict(False, said, tuple(map(_start, hits[:4])), context.near(self.which), _tools(self.which))
        return Verdict(False, said, tuple(map(_start, hits[self.most or 0 :][:4])))

    def watch(self) -> Watch | None:
        """Lost when one more than `most` begins; too few are seen at the end only."""
        most, counts = self.most, Counter[Any]()
        if most is None:
            return None

        def count(run: WatchedRun) -> bool:
            if run.counted or not run.meant[0] or run.value is UNKNOWN:
                return False
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

    def judge(self, context: RuleContext) -> Verdict:
        kinds = frozenset().union(*(one.kinds for one in self.which))
        allowed = set().union(*(map(id, context.hits(one)) for one in self.which))
        events = any(isinstance(option, EventSelector) for one in self.which for option in one.options())
        if not events and sum(run.kind in kinds for run in context.runs) == len(allowed):
            return HOLDS
        others = [run for run in context.runs if run.kind in kinds and id(run) not in allowed]
        if not others:
            return HOLDS
        said = f"{_name(others[0])} was called"
        why = next(filter(None, (one.misses(others[0]) for one in self.which if one.accepts(others[0].kind, others[0].name))), "")
        return Verdict(False, f"{said}: {why}" if why else said, tuple(map(_start, others[:4])))

    def watch(self) -> Watch | None:
        """Lost when a run of one of these kinds begins that is none of these."""
        kinds = frozenset().union(*(one.kinds for one in self.which))

        def began(run: WatchedRun) -> bool:
            return run.meant[0] is True and not any(meant is not False for meant in run.meant[1:])

        return _watch_runs(Selector("", kinds, ""), *self.which, began=began)


# -- where values come from


@dataclass(frozen=True, repr=False)
class CameFrom(Rule):
    """A value in the input of each `which` is in the result of a `source` that had ended before it.

    With `arg`, the value of that argument. A value is a number or a text that is not empty; a text of a result holds it if it
    stands in it as a word. True, False and None say too little.
    """

    which: Selector
    source: Selector
    arg: str | None = None

    @property
    def sentence(self) -> str:
        what = f"`{self.arg}` of each" if self.arg is not None else "a value in each"
        return f"{what} {self.which} came from {self.source}"

    def selectors(self) -> Iterator[Selector]:
        yield from (self.which, self.source)

    def judge(self, context: RuleContext) -> Verdict:
        sources = context.hits(self.source)
        for one in context.hits(self.which):
            values = self._values(one)
            earlier = [source for source in sources if context.before(source, one, "cause")]
            if not any(_holds(leaf, value) for source in earlier for leaf in _leaves(source.output) for value in values):
                return self._broken(context, one, values, earlier, sources)
        return HOLDS

    def _values(self, one: Run) -> list[Any]:
        if self.arg is not None and self.arg not in one.args:
            raise UnjudgedError(f"{_name(one)} has no argument `{self.arg}`, so it cannot be told where it came from")
        given = one.input if self.arg is None else one.args[self.arg]
        values = [leaf for leaf in _leaves(given) if _says_something(leaf)]
        if not values:
            raise UnjudgedError(f"{_name(one)} was given no number and no text, so it cannot be told where it came from")
        return values

    def _broken(
        self, context: RuleContext, one: Run, values: Sequence[Any], earlier: Sequence[Run], sources: Sequence[Run]
    ) -> Verdict:
        given = ", ".join(short(value) for value in values[:3])
        if not sources:
            said = f"{_name(one)} was given {given}, and there was no {self.source}"
            return Verdict(False, said, (_start(one),), context.near(self.source), _tools(self.source))
        if not earlier:
            return Verdict(False, _relation(context, sources[0], one, "cause"), _events_of(sources[0], one))
        said = f"{_name(one)} was given {given}, which {_name(earlier[-1])} did not return: it returned {_result(earlier[-1])}"
        return Verdict(False, said, (_end(earlier[-1]), _start(one)))


def _result(run: Run) -> str:
    return short(run.output.text if isinstance(run.output, Message) else run.output)


def _says_something(leaf: Any) -> bool:
    return isinstance(leaf, int | float | str) and not isinstance(leaf, bool) and leaf != ""


def _holds(leaf: Any, value: Any) -> bool:
    """Whether a result has a value: it is equal, or a word in its text."""
    if isinstance(leaf, str):
        return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", leaf) is not None
    return bool(leaf == value) and not isinstance(leaf, bool)


def _leaves(value: Any) -> Iterator[Any]:
    """The numbers and texts in a value."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, Message):
        yield from _leaves([value.content, value.artifact, [call.args for call in value.tool_calls]])
    elif isinstance(value, Document):
        yield from _leaves([value.page_content, value.metadata, value.id])
    elif isinstance(value, Structured):
        yield from _leaves(value.fields)
    elif isinstance(value, ToolCall):
        yield from _leaves(value.args)
    else:
        yield value


# -- rules of rules


@dataclass(frozen=True, repr=False)
class Joint(Rule):
    """A rule that is made of rules."""

    rules: tuple[Rule, ...]

    def selectors(self) -> Iterator[Selector]:
        for rule in self.rules:
            yield from rule.selectors()


@dataclass(frozen=True, repr=False)
class All(Joint):
    """Every one of these rules."""

    @property
    def sentence(self) -> str:
        return " and ".join(_inner(rule) for rule in self.rules)

    def needs_all(self) -> bool:
        return any(rule.needs_all() for rule in self.rules)

    def judge(self, context: RuleContext) -> Verdict:
        verdicts = [judged(rule, context) for rule in self.rules]
        return next((v for v in verdicts if v.holds is False), next((v for v in verdicts if v.holds is None), HOLDS))

    def watch(self) -> JointWatch:
        """Lost when one of them is."""
        return JointWatch(any, [watch for rule in self.rules if (watch := rule.watch()) is not None])


@dataclass(frozen=True, repr=False)
class Some(Joint):
    """At least one of these rules."""

    @property
    def sentence(self) -> str:
        return " or ".join(_inner(rule) for rule in self.rules)

    def needs_all(self) -> bool:
        return all(rule.needs_all() for rule in self.rules)

    def judge(self, context: RuleContext) -> Verdict:
        verdicts = [judged(rule, context) for rule in self.rules]
        if any(verdict.holds for verdict in verdicts):
            return HOLDS
        said = "; and ".join(verdict.said for verdict in verdicts)
        events = _events_of(*(event for verdict in verdicts for event in verdict.witness[:2]))
        holds = None if any(verdict.holds is None for verdict in verdicts) else False
        return Verdict(holds, said, events[:4])

    def watch(self) -> JointWatch | None:
        """Lost when all of them are; a rule that only the end can judge keeps it from being lost before."""
        watches = [watch for rule in self.rules if (watch := rule.watch()) is not None]
        return JointWatch(all, watches) if len(watches) == len(self.rules) else None


@dataclass(frozen=True, repr=False)
class Not(Rule):
    """The opposite of a rule. What cannot be told of the rule cannot be told of its opposite."""

    rule: Rule

    @property
    def sentence(self) -> str:
        return f"not ({self.rule!r})"

    def selectors(self) -> Iterator[Selector]:
        yield from self.rule.selectors()

    def judge(self, context: RuleContext) -> Verdict:
        verdict = judged(self.rule, context)
        if verdict.holds is None:
            return verdict
        if not verdict.holds:
            return HOLDS
        hits = [_start(hit) for which in self.rule.selectors() for hit in context.hits(which)[:1]]
        return Verdict(False, f"it holds: {self.rule!r}", _events_of(*hits)[:4])


def _inner(rule: Rule) -> str:
    return f"({rule!r})" if isinstance(rule, Joint) else repr(rule)


def judged(rule: Rule, context: RuleContext) -> Verdict:
    """What a rule comes to; what cannot be told is said, and never raised."""
    try:
        return rule.judge(context)
    except UnjudgedError as missing:
        return Verdict(None, str(missing))
