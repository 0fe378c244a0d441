"""Judge shapes and rules on a recording."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress, starmap
from typing import Any, Protocol

from llmtest.core.text import is_slip, named, names, nearest
from llmtest.errors import UnjudgedError
from llmtest.events.events import Event, Run, UnseenCall
from llmtest.matching.answers import Answer, of_rule, offered_tools
from llmtest.matching.rule import Hit, OrderOf, Per, Rule, SelectorLike, Verdict, judged, value_of
from llmtest.matching.selectors import EventSelector
from llmtest.order.happens_before import HappensBefore, Hits


class Judgeable(Protocol):
    """What rules are asked of: a `Recording`."""

    @property
    def unseen_calls(self) -> list[UnseenCall]: ...
    def __iter__(self) -> Iterator[Event]: ...
    def order(self) -> HappensBefore: ...


# -- a recording as rules see it


class RuleEvaluator:
    """What a rule asks of one recording. Made for one question."""

    few = 8
    """Of fewer than so many it is quicker to ask each than to make what tells of many at a look."""

    def __init__(self, recording: Judgeable, *, strict: bool = False) -> None:
        self.order = recording.order()
        self.is_open = self.order.is_open
        self.unknown: Collection[str] = self.order.unknown
        self._strict = strict
        self._is_literal = False

    @property
    def runs(self) -> Sequence[Run]:
        return self.order.runs

    def hits(self, which: SelectorLike) -> Hits:
        """Return the runs or events that a selector selects, in order.

        Raises:
            UnjudgedError: it asks for an argument that no such run has.
        """
        conditions = which.conditions
        options = [*which.options()]
        for option in options:
            conditions += option.conditions
            if isinstance(option, EventSelector):
                return self._mixed(which, options)
        # Runs are indexed by kind and name: a long recording has few names, and only they are compared with the selector.
        names = self.order.by_name
        found = self.order.named(tuple(compress(names, starmap(which.accepts, names))))
        if not conditions:
            return found
        for option in options if not self._is_literal else ():
            expect_arguments(option, found)
        # An index by first argument: most rules name one, and most runs differ in it.
        likely = found if which.first is None else found.with_argument(*which.first)
        return Hits(which.among(likely), self.order)

    def holds_literally(self, rule: Rule) -> bool:
        """True if a rule that cannot be told holds with its arguments taken as they are written."""
        # A flag and no argument, because it is the rule that asks for hits, and it passes nothing on.
        self._is_literal = True
        try:
            return rule.judge(self).holds is True
        except UnjudgedError:
            return False
        finally:
            self._is_literal = False

    def unknown_tool(self, which: SelectorLike) -> str | None:
        """Return why a selector seems to name a tool wrongly; None if it does not."""
        return unknown_tool(which, self.order, strict=self._strict)

    def _mixed(self, which: SelectorLike, options: Sequence[SelectorLike]) -> Hits:
        """Return the hits of a selector of which a part selects events."""
        asked = [option for option in options if isinstance(option, EventSelector)]
        events = self.order.of_events(tuple(kind for kind in self.order.by_event if any(o.accepts(kind, "") for o in asked)))
        # Events and runs together have no index; they are asked one by one.
        pure = len(asked) == len(options)
        if pure and not any(option.conditions for option in options):
            return events
        if pure:
            return self.order.mixed(which.among(events), "events")
        return self.order.mixed([one for one in (*events, *self.order.runs) if _means(which, one)], "both")

    def window(self, one: Hit, hits: Hits, order: OrderOf) -> tuple[int, int]:
        """Return two numbers: hits before the first surely begin before `one`, hits from the second on surely come after it."""
        if len(hits) < self.few:
            return 0, len(hits)
        if order == "cause":
            return self.order.window(one, hits)
        return hits.around(one) if hits.in_sequence else (0, len(hits))

    def windows(self, ones: Hits, hits: Hits) -> Iterable[tuple[Hit, int, int]]:
        """Return the `window` of each of `ones`, by cause; nothing surely comes after one that has not ended."""
        if ones.content == hits.content == "runs":
            return self.order.windows(ones, hits)
        windows = ((one, *self.window(one, hits, "cause")) for one in ones)
        return ((one, start, len(hits) if self.is_open(one) else stop) for one, start, stop in windows)

    def _as_recorded(self, order: OrderOf, *hits: Hits) -> bool:
        """True if the sequence that was recorded is the one that counts."""
        alike = {one.content for one in hits}
        return order == "recorded" or (self.order.single and alike in ({"runs"}, {"events"}))

    def recorded_between(self, ones: Hits, begins: Hits, ends: Hits, order: OrderOf) -> Iterable[tuple[Hit, Hit, Hit]] | None:
        """Return each of `ones` that began after one of `begins` had ended and before the next of `ends`, with the two; None if
        that must be checked one by one."""
        return self.order.recorded_between(ones, begins, ends) if self._as_recorded(order, ones, begins, ends) else None

    def needs_check_before_all(self, ones: Hits, hits: Hits, order: OrderOf) -> Sequence[Hit]:
        """Return those of `ones` that must be checked: all of `hits` come after the others."""
        runs = ones.content == hits.content == "runs"
        if not (runs or self._as_recorded(order, ones, hits)):
            return ones
        return self.order.needs_check_before_all(ones, hits, order if runs else "recorded")

    def needs_check_between(self, ones: Hits, begins: Hits, ends: Hits) -> Sequence[Hit]:
        """Return those of `ones` that must be checked: each of `begins` before the others was closed by one of `ends`."""
        runs = all(hits.content == "runs" for hits in (ones, begins, ends))
        return self.order.needs_check_between(ones, begins, ends) if runs else ones

    def needs_check_filled(self, begins: Hits, ones: Hits, ends: Hits, least: int, order: OrderOf) -> Sequence[Hit]:
        """Return those of `begins` that must be checked: at least `least` of `ones` come between the others and the next end."""
        if self._as_recorded(order, begins, ones, ends):
            return self.order.needs_check_filled_as_recorded(begins, ones, ends, least)
        runs = all(hits.content == "runs" for hits in (begins, ones, ends))
        return self.order.needs_check_filled(begins, ones, ends, least) if runs else begins

    def needs_check_before(self, firsts: Hits, seconds: Hits, per: Per | None, order: OrderOf) -> Sequence[Hit]:
        """Return those of `seconds` that must be checked: the others surely come after one of `firsts` with their value."""
        return self._after_a_look(self.order.needs_check_before, firsts, seconds, per, order, seconds)

    def needs_check_after(self, firsts: Hits, seconds: Hits, per: Per | None, order: OrderOf) -> Sequence[Hit]:
        """Return those of `firsts` that must be checked: after the others surely comes one of `seconds` with their value."""
        return self._after_a_look(self.order.needs_check_after, firsts, seconds, per, order, firsts)

    def _after_a_look(
        self, look: Callable[..., Sequence[Hit]], firsts: Hits, seconds: Hits, per: Any, order: OrderOf, every: Hits
    ) -> Sequence[Hit]:
        runs = firsts.content == seconds.content == "runs"
        # A function may raise for some runs, which must be told of the very run.
        if callable(per) or not (runs or self._as_recorded(order, firsts, seconds)):
            return every
        try:
            left = look(firsts, seconds, per, order if runs else "recorded", partial(value_of, per))
        except UnjudgedError:  # some have no value; whether that matters is told one by one
            return every
        return left

    def counts(self, hits: Hits, per: Per | None) -> Mapping[Hashable, int] | None:
        """Return the number of hits of each value, or None where each must be asked."""
        if per is None or callable(per):
            return None
        return hits.counts(per, partial(value_of, per))

    def near(self, which: SelectorLike) -> tuple[Run, str] | None:
        """Return the run that comes nearest to being meant, and why it is not."""
        alike = (run for run in self.order.runs if which.accepts(run.kind, run.name))
        found = next(((run, why) for run in alike if (why := which.misses(run))), None)
        return found or self._alike(which)

    def _alike(self, which: SelectorLike) -> tuple[Run, str] | None:
        for option in which.options():
            names = {name: runs[0] for (kind, name), runs in self.order.by_name.items() if kind in option.kinds}
            wanted = option.name if isinstance(option.name, str) else option.name.pattern
            name = nearest(wanted, names)
            if name is not None:
                return names[name], f"it is `{name}`"
        return None

    def before(self, a: Hit, b: Hit, order: OrderOf) -> bool:
        if order == "recorded":
            # The number of an event is its place in this recording. Another schedule may record another order.
            ended = a.end if isinstance(a, Run) else a
            return ended is not None and ended.number < (b.start if isinstance(b, Run) else b).number
        return self.order.before(a, b) if isinstance(a, Run) and isinstance(b, Run) else self.order.happened(a, b)

    def contains(self, a: Hit, b: Hit) -> bool:
        """True if `b` runs or happens within `a`."""
        if not isinstance(a, Run):
            return False
        # An event lies within its own run; a run does not lie within itself.
        inner = self.order.run_of(b)
        return self.order.contains(a, inner) or (inner is a and inner is not b)


def _means(which: SelectorLike, one: Hit) -> bool:
    """True if one of mixed events and runs is meant."""
    return any(
        option.misses(one) is None for option in which.options() if isinstance(option, EventSelector) == isinstance(one, Event)
    )


def unknown_tool(which: SelectorLike, order: HappensBefore, *, strict: bool = False) -> str | None:
    """Return why a selector seems to name a tool wrongly: none is called so, and one nearly; None if it does not.

    A tool is known if it ran, was bound to a model, or was called by a message or by a step of a script. With `strict` a tool
    that is not known is wrong, also where no name is near.
    """
    for option in which.options():
        if "tool" not in option.kinds or not isinstance(option.name, str) or any(option.accepts(*key) for key in order.by_name):
            continue
        known = dict.fromkeys(_known_tools(order))
        if any(named(option.name, name) for name in known):
            continue
        ran = dict.fromkeys(name for kind, name in order.by_name if kind in option.kinds)
        near = [name for name in (*ran, *known) if is_slip(option.name, name)]
        if not (near or strict):
            continue
        hint = nearest(option.name, near or [*ran, *known]) or next(iter(near), None)
        return f"no tool `{option.name}` ran, was bound or was asked for" + (f", nearest `{hint}`" if hint else "")
    return None


def _known_tools(order: HappensBefore) -> Iterator[str]:
    """Yield the names of tools that the program or a script knows, whether they ran or not."""
    # A tool that is bound and never called is no slip: a rule such as never("delete") is about just that.
    yield from offered_tools()
    yield from order.tools_of_models


def expect_arguments(option: SelectorLike, runs: Sequence[Run]) -> None:
    """A misspelt argument would never match, and a rule with `never` would hold for ever."""
    # Runs of plain text have no arguments and prove nothing: a condition of such a run cannot be told.
    keys = [condition.argument for condition in option.conditions if condition.argument is not None]
    for key in keys:
        if not any(not run.args or key in run.args for run in runs if option.accepts(run.kind, run.name)):
            alike = [run for run in runs if option.accepts(run.kind, run.name)]
            if not alike:
                return
            theirs = names(dict.fromkeys(name for run in alike for name in run.args))
            raise UnjudgedError(f"no run of {_quoted(alike)} has an argument `{key}`; they have {theirs}")


def _quoted(runs: Sequence[Run]) -> str:
    return names(dict.fromkeys(run.name for run in runs))


# -- rules


def judge(recording: Judgeable, rules: Sequence[Rule], *, strict: bool = False) -> Iterator[Answer]:
    """Yield the answer of each rule. With `strict`, each tool that is named must be known.

    Raises:
        TypeError: something is no rule, or there is none.
    """
    check_rules(rules, "obeys()")
    evaluator = RuleEvaluator(recording, strict=strict)
    for rule in rules:
        verdict = judged(rule, evaluator)
        # What is broken stays broken, whatever was not recorded; what holds may not.
        if verdict.holds and recording.unseen_calls and rule.needs_all():
            verdict = _unseen(recording.unseen_calls)
        yield of_rule(rule, verdict, evaluator.order)


def check_rules(rules: Sequence[Rule], who: str) -> None:
    """Raise unless these are rules.

    Raises:
        TypeError: something is no rule, or there is none.
    """
    if not rules:
        raise TypeError(f"{who} takes at least one rule: before(...), never(...), each(...).followed_by(...), ...")
    for rule in rules:
        if not isinstance(rule, Rule):
            hint = "; say .followed_by(...), .ends() or .never(...) of it" if hasattr(rule, "__dataclass_fields__") else ""
            raise TypeError(f"{who} takes rules, before(...), never(...), ...; got {type(rule).__name__} {rule!r}{hint}")


def _unseen(calls: Sequence[UnseenCall]) -> Verdict:
    call = calls[0]
    more = f" and {len(calls) - 1} more" if len(calls) > 1 else ""
    why = f"a call of `{call.double}` from thread {call.thread} at {call.place}{more} was not recorded ({call.cause})"
    if call.cause == "missing span":
        why = f"{call.double}{more} is missing in {call.place}"
    return Verdict(None, f"{why}; whether the rule holds of it is not known", suspected=True)
