"""A rule: a sentence that must hold of a recording, and what it asks of the recording and of selectors to be judged.

Floor 0: standard library only. A rule is a value. `judge` asks a `Case` (a recording, seen through its order) and gives a
`Verdict`. Selectors are known here only by what rules ask of them (`SelectorLike`), because a selector makes a rule too:
`called("pay").came_from("ask")`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, Protocol

from llmtest.core.values import Name, short
from llmtest.events import Document, Event, Message, Run, Structured, ToolCall

Hit = Run | Event
"""What a selector means in a recording."""

OrderOf = Literal["cause", "recorded"]
"""Whether one thing came before another because the program says so, or because it was recorded earlier."""

Per = str | Callable[[Any], object]
"""The name of an argument, or a function of the run: the rule holds for each value by itself."""


class UnjudgedError(Exception):
    """It cannot be told whether a run is meant: what would tell it is missing. A failure, never a silent pass."""


# -- what a rule asks


class Condition(NamedTuple):
    """What a selector asks beyond kind and name: how it is written, what must be true of a run, and why it is not."""

    text: str
    holds: Callable[[Any], object]
    why: Callable[[Any], str]
    argument: str | None = None


class SelectorLike(Protocol):
    """What a rule asks of a selector: which runs or events it means. See `llmtest.selecting.Selector`."""

    @property
    def kinds(self) -> frozenset[str]: ...
    @property
    def name(self) -> Name: ...
    @property
    def conditions(self) -> Sequence[Condition]: ...
    @property
    def first(self) -> tuple[str, Any] | None: ...
    def accepts(self, kind: str, name: str) -> bool: ...
    def misses(self, run: Any) -> str | None: ...
    def among(self, runs: Sequence[Any]) -> Sequence[Any]: ...
    def options(self) -> Iterator[SelectorLike]: ...


class Case(Protocol):
    """What a rule asks of a recording."""

    @property
    def runs(self) -> Sequence[Run]: ...
    def hits(self, which: SelectorLike) -> Sequence[Any]: ...
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
    def near(self, which: SelectorLike) -> tuple[Run, str] | None: ...
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
    def selectors(self) -> Iterator[SelectorLike]:
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


# -- words and events of what was found


def name_of(hit: Hit) -> str:
    return f"`{hit.name}`" if isinstance(hit, Run) else f"{hit.kind} of `{hit.name}`"


def start_of(hit: Hit) -> Event:
    return hit.start if isinstance(hit, Run) else hit


def end_of(hit: Hit) -> Event:
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
            raise UnjudgedError(f"per= of {name_of(hit)} raised {type(error).__name__}: {error}") from error
    else:
        values = hit.args if isinstance(hit, Run) else hit.payload
        if per not in values:
            raise UnjudgedError(f"{name_of(hit)} has no argument `{per}`, so it cannot be told for which one it was")
        value = values[per]
    return value if isinstance(value, Hashable) else repr(value)


def relation(case: Case, first: Hit, later: Hit, order: OrderOf) -> str:
    """How two things stand, of which the first should have ended before the other began."""
    if first is later:
        return f"{name_of(first)} is one and the same run"
    if case.before(first, later, order):
        return f"{name_of(first)} never ended"
    if case.before(later, first, order):
        return f"{name_of(first)} came after {name_of(later)}"
    if case.contains(first, later):
        return f"{name_of(later)} ran inside {name_of(first)}, which had not ended"
    if case.contains(later, first):
        return f"{name_of(first)} ran inside {name_of(later)}, which had begun"
    return f"{name_of(first)} and {name_of(later)} overlapped: nothing makes one wait for the other"


def start_and_end(a: Hit, b: Hit) -> tuple[Event, ...]:
    """The beginnings and ends of two things, in order."""
    events = {id(event): event for event in (start_of(a), end_of(a), start_of(b), end_of(b))}
    return tuple(sorted(events.values(), key=lambda event: event.number))


def tool_names(which: SelectorLike) -> tuple[str, ...]:
    """The names of tools that a selector means, where they are plain names."""
    options = (option for option in which.options() if option.kinds == frozenset({"tool"}))
    return tuple(option.name for option in options if isinstance(option.name, str) and "*" not in option.name)


# -- where values come from


@dataclass(frozen=True, repr=False)
class CameFrom(Rule):
    """A value in the input of each `which` is in the result of a `source` that had ended before it.

    With `arg`, the value of that argument. A value is a number or a text that is not empty; a text of a result holds it if it
    stands in it as a word. True, False and None say too little.
    """

    which: SelectorLike
    source: SelectorLike
    arg: str | None = None

    @property
    def sentence(self) -> str:
        what = f"`{self.arg}` of each" if self.arg is not None else "a value in each"
        return f"{what} {self.which} came from {self.source}"

    def selectors(self) -> Iterator[SelectorLike]:
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
            raise UnjudgedError(f"{name_of(one)} has no argument `{self.arg}`, so it cannot be told where it came from")
        given = one.input if self.arg is None else one.args[self.arg]
        values = [leaf for leaf in _leaves(given) if _says_something(leaf)]
        if not values:
            raise UnjudgedError(f"{name_of(one)} was given no number and no text, so it cannot be told where it came from")
        return values

    def _broken(self, case: Case, one: Run, values: Sequence[Any], earlier: Sequence[Run], sources: Sequence[Run]) -> Verdict:
        given = ", ".join(short(value) for value in values[:3])
        if not sources:
            said = f"{name_of(one)} was given {given}, and there was no {self.source}"
            return Verdict(False, said, (start_of(one),), case.near(self.source), tool_names(self.source))
        if not earlier:
            return Verdict(False, relation(case, sources[0], one, "cause"), start_and_end(sources[0], one))
        last = earlier[-1]
        said = f"{name_of(one)} was given {given}, which {name_of(last)} did not return: it returned {_result(last)}"
        return Verdict(False, said, (end_of(last), start_of(one)))


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

    def selectors(self) -> Iterator[SelectorLike]:
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

    def selectors(self) -> Iterator[SelectorLike]:
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

    def selectors(self) -> Iterator[SelectorLike]:
        yield from self.rule.selectors()

    def judge(self, case: Case) -> Verdict:
        verdict = judged(self.rule, case)
        if verdict.holds is None:
            return verdict
        if not verdict.holds:
            return HOLDS
        hits = [hit for which in self.rule.selectors() for hit in case.hits(which)[:1]]
        events = {id(event): event for event in map(start_of, hits)}
        return Verdict(False, f"it holds: {self.rule!r}", tuple(sorted(events.values(), key=lambda event: event.number))[:4])


def _inner(rule: Rule) -> str:
    return f"({rule!r})" if isinstance(rule, All | Some) else repr(rule)


def judged(rule: Rule, case: Case) -> Verdict:
    """What a rule comes to; what cannot be told is said, and never raised."""
    try:
        return rule.judge(case)
    except UnjudgedError as missing:
        return Verdict(None, str(missing))
