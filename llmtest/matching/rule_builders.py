"""How rules are written: `before("search", "book")`, `never("delete_*")`, `each("search").followed_by("answer")`.

Each verb makes a rule of `llmtest.matching.rules`, and says what it means of a recording that is
finite: where nothing happened, where a run never ended, where runs overlapped.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmtest.matching.rule import OrderOf, Per, Rule
from llmtest.matching.rules import AtLeastBetween, Before, Count, Ends, EndsBefore, FollowedBy, NeverAfter, NeverBetween, Only
from llmtest.matching.selectors import Either, Selector, selector


def before(first: object, second: object, *, per: Per | None = None, order: OrderOf = "cause") -> Rule:
    """`first` before `second`: each `second` begins when a `first` has ended. If no `second` comes, it holds.

    Order is what the program guarantees. Two runs that may run at the same time are in no order, and the rule is broken, with
    the word "overlapped", however they came in this recording; `order="recorded"` asks for the sequence that was recorded.
    A `first` that failed has ended too: say `called("search").returned(ANY)` if it must have succeeded.

    With `per="order_id"` the rule holds for each value of that argument by itself.

    >>> pass
    >>> before("search", "book")
    `search` before `book`

    It does not ask that `second` comes at all: add `at_least(1, "book")`.
    """
    return Before(selector(first), selector(second), per, order)


def after(second: object, first: object, *, per: Per | None = None, order: OrderOf = "cause") -> Rule:
    """`second` after `first`: the same rule as `before(first, second)`, said the other way round."""
    return Before(selector(first), selector(second), per, order, turned=True)


@dataclass(frozen=True, repr=False)
class Never(Count):
    """None of these, not once. `never(x).after(y)`: none that begins after a `y` has ended."""

    def after(self, end: object, *, order: OrderOf = "cause") -> Rule:
        """None that begins when an `end` has ended; or may, because nothing makes it come first."""
        return NeverAfter(self.which, selector(end), order)


def never(*which: object) -> Never:
    """None of these runs: not one begins. If nothing happened, it holds."""
    return Never(_either(which, "never"), 0, 0)


@dataclass(frozen=True)
class Each:
    """Some runs of which each ...; made by `each`. Not a rule yet: say `.followed_by(...)`, `.ends()` or `.ends_before(...)`."""

    which: Selector

    def followed_by(self, other: object, *, per: Per | None = None, order: OrderOf = "cause") -> Rule:
        """When it has ended, an `other` begins later. Broken if it never ends."""
        return FollowedBy(self.which, selector(other), per, order)

    def ends(self) -> Rule:
        """It has ended, with a result, an error or otherwise."""
        return Ends(self.which)

    def ends_before(self, other: object) -> Rule:
        """No `other` begins while it is going on: it has ended before the next one, or began after the last."""
        return EndsBefore(self.which, selector(other))


def each(which: object) -> Each:
    """Each of these runs ... `each("search").followed_by("answer")`. If there is none, the rule holds."""
    return Each(selector(which))


@dataclass(frozen=True)
class Between:
    """The time from the end of one thing to the beginning of another; made by `between`.

    Say `.never(...)` or `.at_least(...)`.
    """

    begin: Selector
    end: Selector
    order: OrderOf = "cause"

    def never(self, *which: object) -> Rule:
        """None of these begins in between."""
        return NeverBetween(_either(which, "between(...).never"), self.begin, self.end, self.order)

    def at_least(self, count: int, which: object) -> Rule:
        """`count` of these or more begin in between, each time. One that may as well begin before or after does not count.

        >>> pass
        >>> between("search", "book").at_least(1, "confirm")
        between `search` and `book` at least once `confirm`
        """
        return AtLeastBetween(selector(which), self.begin, self.end, _number(count), self.order)


def between(begin: object, end: object, *, order: OrderOf = "cause") -> Between:
    """From when a `begin` has ended to when the next `end` begins. If no `end` comes, there is no between."""
    return Between(selector(begin), selector(end), order)


def at_most(count: int, which: object, *, per: Per | None = None) -> Rule:
    """Not more than `count` of these; with `per="order_id"`, for each value of that argument."""
    return Count(selector(which), 0, _number(count), per)


def at_least(count: int, which: object, *, per: Per | None = None) -> Rule:
    """`count` of these or more. If nothing happened, it is broken; with `per`, each value that comes must come so often."""
    return Count(selector(which), _number(count), None, per)


def exactly(count: int, which: object, *, per: Per | None = None) -> Rule:
    """`count` of these, not more and not fewer; with `per`, of each value that comes."""
    return Count(selector(which), _number(count), _number(count), per)


def only(*which: object) -> Rule:
    """No tools but these; with `model(...)` among them also no other models, and so on for each kind."""
    if not which:
        raise TypeError("only() takes at least one tool name or selector")
    return Only(tuple(map(selector, which)))


def _either(which: tuple[object, ...], verb: str) -> Selector:
    if not which:
        raise TypeError(f"{verb}() takes at least one tool name or selector")
    selectors = [selector(one) for one in which]
    return selectors[0] if len(selectors) == 1 else Either(*selectors)


def _number(count: int) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"how often is a whole number, 0 or more; got {count!r}")
    return count
