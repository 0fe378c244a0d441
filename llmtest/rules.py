"""Rules: sentences that must hold of a recording, `before("search", "book")`, and what each of them means.

Floor 0: standard library only. A rule is a value. `judge` asks a `Case` (a recording, seen through its order) and gives a
`Verdict`. A rule holds if it holds whatever the schedule: "before" is never an accident of when things happened to start.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, Literal, Protocol

from llmtest.errors import UnjudgedError
from llmtest.events import Document, Event, Message, Run, Structured, ToolCall
from llmtest.selecting import EventSelector, Selector, short

Hit = Run | Event
"""What a selector means in a recording."""

OrderOf = Literal["cause", "recorded"]
"""Whether one thing came before another because the program says so, or because it was recorded earlier."""

Per = str | Callable[[Any], object]
"""The name of an argument, or a function of the run: the rule holds for each value by itself."""


class Case(Protocol):
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
    def judge(self, case: Case) -> Verdict:
        """Whether it is true."""

    @abstractmethod
    def selectors(self) -> Iterator[Selector]:
        """Every selector in it."""

    def needs_all(self) -> bool:
        """Whether a call that was not recorded could break it."""
        return True

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


def _name(hit: Hit) -> str:
    return f"`{hit.name}`" if isinstance(hit, Run) else f"{hit.kind} of `{hit.name}`"


def _start(hit: Hit) -> Event:
    return hit.start if isinstance(hit, Run) else hit


def _end(hit: Hit) -> Event:
    return hit.end or hit.start if isinstance(hit, Run) else hit


def value_of(per: Per | None, hit: Hit) -> Hashable:
    """The value of `per` of a run.

    Raises:
        UnjudgedError: it has none.
    """
    if per is None:
        return None
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


def _relation(case: Case, first: Hit, later: Hit, order: OrderOf) -> str:
    """How two things stand, of which the first should have ended before the other began."""
    if first is later:
        return f"{_name(first)} is one and the same run"
    if case.before(first, later, order):
        return f"{_name(first)} never ended"
    if case.before(later, first, order):
        return f"{_name(first)} came after {_name(later)}"
    if case.contains(first, later):
        return f"{_name(later)} ran inside {_name(first)}, which had not ended"
    if case.contains(later, first):
        return f"{_name(first)} ran inside {_name(later)}, which had begun"
    return f"{_name(first)} and {_name(later)} overlapped: nothing makes one wait for the other"


def _both(a: Hit, b: Hit) -> tuple[Event, ...]:
    """The beginnings and ends of two things, in order."""
    events = {id(event): event for event in (_start(a), _end(a), _start(b), _end(b))}
    return tuple(sorted(events.values(), key=lambda event: event.number))


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

    def judge(self, case: Case) -> Verdict:
        sources = case.hits(self.source)
        for one in case.hits(self.which):
            values = self._values(one)
            earlier = [source for source in sources if case.before(source, one, "cause")]
            if not any(_holds(leaf, value) for source in earlier for leaf in _leaves(source.output) for value in values):
                return self._broken(case, one, values, earlier, sources)
        return HOLDS

    def _values(self, one: Run) -> list[Any]:
        if self.arg is not None and self.arg not in one.args:
            raise UnjudgedError(f"{_name(one)} has no argument `{self.arg}`, so it cannot be told where it came from")
        given = one.input if self.arg is None else one.args[self.arg]
        values = [leaf for leaf in _leaves(given) if _says_something(leaf)]
        if not values:
            raise UnjudgedError(f"{_name(one)} was given no number and no text, so it cannot be told where it came from")
        return values

    def _broken(self, case: Case, one: Run, values: Sequence[Any], earlier: Sequence[Run], sources: Sequence[Run]) -> Verdict:
        given = ", ".join(short(value) for value in values[:3])
        if not sources:
            said = f"{_name(one)} was given {given}, and there was no {self.source}"
            return Verdict(False, said, (_start(one),), case.near(self.source), _tools(self.source))
        if not earlier:
            return Verdict(False, _relation(case, sources[0], one, "cause"), _both(sources[0], one))
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
class All(Rule):
    """Every one of these rules."""

    rules: tuple[Rule, ...]

    @property
    def sentence(self) -> str:
        return " and ".join(_inner(rule) for rule in self.rules)

    def selectors(self) -> Iterator[Selector]:
        for rule in self.rules:
            yield from rule.selectors()

    def needs_all(self) -> bool:
        return any(rule.needs_all() for rule in self.rules)

    def judge(self, case: Case) -> Verdict:
        verdicts = [judged(rule, case) for rule in self.rules]
        return next((v for v in verdicts if v.holds is False), next((v for v in verdicts if v.holds is None), HOLDS))


@dataclass(frozen=True, repr=False)
class Some(Rule):
    """At least one of these rules."""

    rules: tuple[Rule, ...]

    @property
    def sentence(self) -> str:
        return " or ".join(_inner(rule) for rule in self.rules)

    def selectors(self) -> Iterator[Selector]:
        for rule in self.rules:
            yield from rule.selectors()

    def needs_all(self) -> bool:
        return all(rule.needs_all() for rule in self.rules)

    def judge(self, case: Case) -> Verdict:
        verdicts = [judged(rule, case) for rule in self.rules]
        if any(verdict.holds for verdict in verdicts):
            return HOLDS
        said = "; and ".join(verdict.said for verdict in verdicts)
        events = {id(event): event for verdict in verdicts for event in verdict.witness[:2]}
        holds = None if any(verdict.holds is None for verdict in verdicts) else False
        return Verdict(holds, said, tuple(sorted(events.values(), key=lambda event: event.number))[:4])


@dataclass(frozen=True, repr=False)
class Not(Rule):
    """The opposite of a rule. What cannot be told of the rule cannot be told of its opposite."""

    rule: Rule

    @property
    def sentence(self) -> str:
        return f"not ({self.rule!r})"

    def selectors(self) -> Iterator[Selector]:
        yield from self.rule.selectors()

    def judge(self, case: Case) -> Verdict:
        verdict = judged(self.rule, case)
        if verdict.holds is None:
            return verdict
        if not verdict.holds:
            return HOLDS
        hits = [hit for which in self.rule.selectors() for hit in case.hits(which)[:1]]
        events = {id(event): event for event in map(_start, hits)}
        return Verdict(False, f"it holds: {self.rule!r}", tuple(sorted(events.values(), key=lambda event: event.number))[:4])


def _inner(rule: Rule) -> str:
    return f"({rule!r})" if isinstance(rule, All | Some) else repr(rule)


def judged(rule: Rule, case: Case) -> Verdict:
    """What a rule comes to; what cannot be told is said, and never raised."""
    try:
        return rule.judge(case)
    except UnjudgedError as missing:
        return Verdict(None, str(missing))
