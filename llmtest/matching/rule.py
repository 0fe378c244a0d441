"""A rule: a sentence that must hold of a recording, and what it asks of the recording and of selectors to be judged.

A rule is a value. `judge` asks a `RuleContext` (a recording, seen through its order) and gives a
`Verdict`. `watch` gives a `Watch`, which suspects while the program runs that the rule is broken for good. Selectors are known
here only by what rules ask of them (`SelectorLike`), because a selector makes a rule too: `called("pay").came_from("ask")`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, Protocol, Self
from uuid import UUID

from llmtest.core.masks import show
from llmtest.core.text import Name
from llmtest.errors import UnjudgedError
from llmtest.events.callbacks import ENDINGS, START_KINDS
from llmtest.events.events import Event, Run
from llmtest.events.words import Document, Message, Structured, ToolCall
from llmtest.order.happens_before import Hits

Hit = Run | Event
"""What a selector means in a recording."""

OrderOf = Literal["cause", "recorded"]
"""Whether one thing came before another because the program says so, or because it was recorded earlier."""

Per = str | Callable[[Any], object]
"""The name of an argument, or a function of the run: the rule holds for each value by itself."""


# -- what a rule asks


class Condition(NamedTuple):
    """What a selector asks beyond kind and name: how it is written, what must be true of a run, and why it is not."""

    text: str
    holds: Callable[[Any], object]
    why: Callable[[Any], str]
    argument: str | None = None


class SelectorLike(Protocol):
    """What a rule asks of a selector: which runs or events it means. See `llmtest.matching.Selector`."""

    @property
    def kinds(self) -> frozenset[str]: ...
    @property
    def name(self) -> Name: ...
    @property
    def conditions(self) -> tuple[Condition, ...]: ...
    @property
    def first(self) -> tuple[str, object] | None: ...
    def accepts(self, kind: str, name: str) -> bool: ...
    def misses(self, run: Hit) -> str | None: ...
    def among(self, runs: Sequence[Hit]) -> Sequence[Hit]: ...
    def options(self) -> Iterator[SelectorLike]: ...


class RuleContext(Protocol):
    """What a rule asks of a recording."""

    @property
    def runs(self) -> Sequence[Run]: ...
    @property
    def unknown(self) -> Collection[str]: ...
    def hits(self, which: SelectorLike) -> Hits: ...
    def window(self, one: Hit, hits: Hits, order: OrderOf) -> tuple[int, int]: ...
    def windows(self, ones: Hits, hits: Hits) -> Iterable[tuple[Hit, int, int]]: ...
    def needs_check_before_all(self, ones: Hits, hits: Hits, order: OrderOf) -> Sequence[Hit]: ...
    def needs_check_between(self, ones: Hits, begins: Hits, ends: Hits) -> Sequence[Hit]: ...
    def recorded_between(self, ones: Hits, begins: Hits, ends: Hits, order: OrderOf) -> Iterable[tuple[Hit, Hit, Hit]] | None: ...
    def needs_check_filled(self, begins: Hits, ones: Hits, ends: Hits, least: int, order: OrderOf) -> Sequence[Hit]: ...
    def needs_check_before(self, firsts: Hits, seconds: Hits, per: Per | None, order: OrderOf) -> Sequence[Hit]: ...
    def needs_check_after(self, firsts: Hits, seconds: Hits, per: Per | None, order: OrderOf) -> Sequence[Hit]: ...
    def counts(self, hits: Hits, per: Per | None) -> Mapping[Hashable, int] | None: ...
    def is_open(self, hit: Hit) -> bool: ...
    def unknown_tool(self, which: SelectorLike) -> str | None: ...
    def holds_literally(self, rule: Rule) -> bool: ...
    def near(self, which: SelectorLike) -> tuple[Run, str] | None: ...
    def before(self, a: Hit, b: Hit, order: OrderOf) -> bool: ...
    def contains(self, a: Hit, b: Hit) -> bool: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rule holds (None: it cannot be told, which is a failure), what was found, and the events that show it."""

    holds: bool | None
    said: str = ""
    witness: tuple[Event, ...] = ()
    near: tuple[Run, str] | None = None
    missing: tuple[str, ...] = ()
    suspected: bool = False
    """Where it cannot be told: whether the rule holds of what is known."""
    in_any_order: bool = False
    """Where it is broken: whether that is so in whichever order things came."""


HOLDS: Final = Verdict(True)


@dataclass(frozen=True)
class Rule(ABC):
    """A sentence that must hold of a recording. Its repr is the sentence.

    `a & b` holds when both hold, `a | b` when one does, `~a` when `a` is broken. `rule.named("refunds are approved")` gives it a
    name that stands before the sentence. Rules are values: equal rules are equal, and one rule may be used anywhere.

    It is judged on the runs that were recorded; a rule says nothing about what must not be recorded at all.
    """

    title: str = field(default="", kw_only=True)

    @property
    @abstractmethod
    def sentence(self) -> str:
        """What must be true, in words."""

    @abstractmethod
    def judge(self, context: RuleContext) -> Verdict:
        """Return the verdict, asking `context` for runs and their order."""

    @abstractmethod
    def selectors(self) -> Iterator[SelectorLike]:
        """Yield every selector in it."""

    def needs_all(self) -> bool:
        """True if a call that was not recorded could break it."""
        return True

    def watch(self) -> Watch | JointWatch | None:
        """Return what suspects, while the program runs, that the rule is broken for good; None if only the end can tell."""
        return None

    def in_known_order(self, verdict: Verdict, unknown: Collection[str]) -> Verdict:
        """Return the verdict of the rule where a part of the order of runs is `unknown`.

        A rule that holds was held against each order that is possible. One that is broken may hold in the true order.
        """
        if verdict.holds is False and "order" in unknown and not verdict.in_any_order:
            return Verdict(None, f"{verdict.said}, as far as spans tell the order", verdict.witness)
        return verdict

    def named(self, title: str) -> Self:
        """Return the same rule with a name."""
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


def value_of(per: Per, hit: Hit) -> Hashable:
    """Return the value of `per` of a run.

    Raises:
        UnjudgedError: it has none.
    """
    if not isinstance(per, str):
        try:
            value: Any = per(hit)
        except Exception as error:  # code of the test; what it cannot look at cannot be told
            raise UnjudgedError(f"per= of {name_of(hit)} raised {type(error).__name__}: {error}") from error
    else:
        values = hit.args if isinstance(hit, Run) else hit.payload
        if per not in values:
            raise UnjudgedError(f"{name_of(hit)} has no argument `{per}`, so it cannot be told for which one it was")
        value = values[per]
    # A list or a dict as value is told apart by its text.
    return value if isinstance(value, Hashable) else repr(value)


def relation(context: RuleContext, first: Hit, later: Hit, order: OrderOf) -> str:
    """Return how two hits stand, of which the first should have ended before the other began."""
    if first is later:
        return f"{name_of(first)} is one and the same run"
    # Before it and yet not good enough: then it is open.
    if context.before(first, later, order):
        return f"{name_of(first)} never ended"
    if context.before(later, first, order):
        return f"{name_of(first)} came after {name_of(later)}"
    if context.contains(first, later):
        return f"{name_of(later)} ran inside {name_of(first)}, which had not ended"
    if context.contains(later, first):
        return f"{name_of(first)} ran inside {name_of(later)}, which had begun"
    return f"{name_of(first)} and {name_of(later)} overlapped: nothing makes one wait for the other"


def events_of(*hits: Hit) -> tuple[Event, ...]:
    """Return the beginnings and ends of these runs, and these events, in order."""
    # By number, because a run and one of its events may both be shown.
    events: dict[int, Event] = {}
    for hit in hits:
        for event in (hit.start, hit.end or hit.start) if isinstance(hit, Run) else (hit,):
            events[event.number] = event
    return tuple(map(events.__getitem__, sorted(events)))


def tool_names(which: SelectorLike) -> tuple[str, ...]:
    """Return the names of tools that a selector means, where they are plain names."""
    options = (option for option in which.options() if option.kinds == frozenset({"tool"}))
    return tuple(option.name for option in options if isinstance(option.name, str) and "*" not in option.name)


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
    value: object = None
    counted: bool = False

    def ask(self, run: Run) -> None:
        """Find out what is not known yet, as far as `run` tells it."""
        which = zip(self.watch.selectors, self.meant, strict=True)
        self.meant = tuple(_means(one, run) if meant is None else meant for one, meant in which)
        if self.value is UNKNOWN and self.watch.per is not None:
            with suppress(UnjudgedError):  # the end of the run may tell; what is never known breaks no rule
                self.value = value_of(self.watch.per, run)

    @property
    def asks(self) -> bool:
        """True if something is not known yet."""
        return self.value is UNKNOWN or None in self.meant


def _means(which: SelectorLike, run: Run) -> bool | None:
    try:
        return which.misses(run) is None
    except UnjudgedError:
        return None


def ended_unseen(run: WatchedRun) -> bool:
    """Return False: the `ended` of a watch whose rule only the beginning of a run can break."""
    return False


@dataclass(slots=True, eq=False)
class Watch:
    """Suspects that a rule is broken for good. Holds state: one watch is for one recording.

    `began` and `ended` get each run that one of `selectors` may mean, in the order of the recording, and return whether the
    rule is broken for good by that, as far as it was recorded. What cannot be told never breaks a rule here.
    """

    selectors: tuple[SelectorLike, ...]
    began: Callable[[WatchedRun], bool]
    ended: Callable[[WatchedRun], bool] = ended_unseen
    per: Per | None = None
    broken: bool = False

    def leaves(self) -> Iterator[Watch]:
        """Yield each watch that gets runs."""
        yield self

    def role(self, kind: str, name: str) -> tuple[bool | None, ...]:
        """Return what runs of this name are to it, as far as a name tells."""
        return tuple(_plainly(which) if which.accepts(kind, name) else False for which in self.selectors)


def _plainly(which: SelectorLike) -> bool | None:
    return None if any(option.conditions for option in (which, *which.options())) else True


@dataclass(slots=True, eq=False)
class JointWatch:
    """The watches of a rule that is made of rules. `broken_by` is `any` if one broken part breaks it, `all` if only all do."""

    broken_by: Callable[[Iterable[object]], bool]
    parts: Sequence[Watch | JointWatch]

    @property
    def broken(self) -> bool:
        return self.broken_by(part.broken for part in self.parts)

    def leaves(self) -> Iterator[Watch]:
        """Yield each watch that gets runs."""
        for part in self.parts:
            yield from part.leaves()


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

    def judge(self, context: RuleContext) -> Verdict:
        sources = context.hits(self.source)
        for one in context.hits(self.which):
            values = self._values(one)
            # By cause: a result that was merely recorded earlier may be later in the next run.
            earlier = [source for source in sources if context.before(source, one, "cause")]
            if not any(_holds(leaf, value) for source in earlier for leaf in _leaves(source.output) for value in values):
                silent = next((source for source in earlier if "output" in source.unknown), None)
                if silent is not None:
                    raise UnjudgedError(f"the span of {name_of(silent)} does not tell what it returned")
                return self._broken(context, one, values, earlier, sources)
        return HOLDS

    def _values(self, one: Run) -> list[object]:
        if self.arg is not None and self.arg not in one.args and "input" not in one.unknown:
            raise UnjudgedError(f"{name_of(one)} has no argument `{self.arg}`, so it cannot be told where it came from")
        if "input" in one.unknown:
            raise UnjudgedError(f"the span of {name_of(one)} does not tell its input, so it cannot be told where it came from")
        given = one.input if self.arg is None else one.args[self.arg]
        values = [leaf for leaf in _leaves(given) if _says_something(leaf)]
        if not values:
            raise UnjudgedError(f"{name_of(one)} was given no number and no text, so it cannot be told where it came from")
        return values

    def _broken(
        self, context: RuleContext, one: Run, values: Sequence[object], earlier: Sequence[Run], sources: Sequence[Run]
    ) -> Verdict:
        given = ", ".join(show(value, self.arg or "") for value in values[:3])
        if not sources:
            said = f"{name_of(one)} was given {given}, and there was no {self.source}"
            return Verdict(False, said, (start_of(one),), context.near(self.source), tool_names(self.source))
        if not earlier:
            return Verdict(False, relation(context, sources[0], one, "cause"), events_of(sources[0], one))
        last = earlier[-1]
        said = f"{name_of(one)} was given {given}, which {name_of(last)} did not return: it returned {_result(last)}"
        return Verdict(False, said, (end_of(last), start_of(one)))


def _result(run: Run) -> str:
    return show(run.output.text if isinstance(run.output, Message) else run.output)


def _says_something(leaf: object) -> bool:
    # bool is a subclass of int; True and False are in nearly every result.
    return isinstance(leaf, int | float | str) and not isinstance(leaf, bool) and leaf != ""


def _holds(leaf: object, value: object) -> bool:
    """True if a result has a value: it is equal, or a word in its text."""
    # As a word: the id 7 must not be found in 17. Numbers of a result may be written within a text.
    if isinstance(leaf, str):
        return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", leaf) is not None
    return bool(leaf == value) and not isinstance(leaf, bool)


def _leaves(value: object) -> Iterator[object]:
    """Yield the numbers and texts in a value."""
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

    def selectors(self) -> Iterator[SelectorLike]:
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
        # What is broken is broken, whatever else cannot be told.
        return next((v for v in verdicts if v.holds is False), next((v for v in verdicts if v.holds is None), HOLDS))

    def watch(self) -> JointWatch:
        """Suspect the rule when one of its parts is suspected."""
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
        events = events_of(*(event for verdict in verdicts for event in verdict.witness[:2]))
        # What cannot be told might hold, so the whole is not surely broken.
        holds = None if any(verdict.holds is None for verdict in verdicts) else False
        return Verdict(holds, said, events[:4])

    def watch(self) -> JointWatch | None:
        """Suspect the rule when all of its parts are suspected; None if only the end can judge one of them."""
        watches = [watch for rule in self.rules if (watch := rule.watch()) is not None]
        # One rule without a watch may still hold at the end, and then the whole does.
        return JointWatch(all, watches) if len(watches) == len(self.rules) else None


@dataclass(frozen=True, repr=False)
class Not(Rule):
    """The opposite of a rule. What cannot be told of the rule cannot be told of its opposite."""

    rule: Rule

    @property
    def sentence(self) -> str:
        return f"not ({self.rule!r})"

    def selectors(self) -> Iterator[SelectorLike]:
        yield from self.rule.selectors()

    def judge(self, context: RuleContext) -> Verdict:
        verdict = judged(self.rule, context)
        if verdict.holds is None:
            return replace(verdict, suspected=False)  # that the rule seems to hold says nothing for its opposite
        if not verdict.holds:
            return HOLDS
        hits = [start_of(hit) for which in self.rule.selectors() for hit in context.hits(which)[:1]]
        return Verdict(False, f"it holds: {self.rule!r}", events_of(*hits)[:4])


def _inner(rule: Rule) -> str:
    return f"({rule!r})" if isinstance(rule, Joint) else repr(rule)


def _as_far_as_known(rule: Rule, verdict: Verdict, unknown: Collection[str]) -> Verdict:
    """Return the verdict of a rule of runs whose source does not tell all."""
    kinds = [option.name for which in rule.selectors() for option in which.options() if not option.kinds]
    if kinds and not all(isinstance(kind, str) and kind in TOLD_BY_SPANS for kind in kinds) and "notes" in unknown:
        return Verdict(
            None, "spans do not tell each callback, so whether one fired is not known", suspected=verdict.holds is True
        )
    if getattr(rule, "order", "cause") == "recorded":
        if "clock" not in unknown:
            return verdict
        return Verdict(None, "the spans come from several processes, whose clocks make no order", suspected=verdict.holds is True)
    return rule.in_known_order(verdict, unknown)


TOLD_BY_SPANS: Final = frozenset({*START_KINDS, *ENDINGS})
"""The callbacks that a span tells of: the start and the end of its run."""


def judged(rule: Rule, context: RuleContext) -> Verdict:
    """Return the verdict of a rule. `UnjudgedError` becomes the verdict "cannot tell"."""
    try:
        verdict = rule.judge(context)
    except UnjudgedError as missing:
        return Verdict(None, str(missing), suspected=context.holds_literally(rule))
    if verdict.holds is not None and not isinstance(rule, Joint | Not) and context.unknown:  # its parts were asked
        verdict = _as_far_as_known(rule, verdict, context.unknown)
    if verdict.holds and not isinstance(rule, Joint):
        # A misspelt name is never found, and so a rule against it would hold for ever.
        unknown = next(filter(None, map(context.unknown_tool, rule.selectors())), None)
        return verdict if unknown is None else Verdict(None, unknown, suspected=True)
    return verdict
