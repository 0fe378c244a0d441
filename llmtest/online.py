"""Rules while the program runs: `record(rules=[...])` stops what would break one of them for good.

Floor 1. Each rule that can be lost before the end has a `Watch`, which counts: a start or an end costs it about the same
however long the recording is, and a run whose name no rule means costs a look into a dict. A watch goes by what was recorded,
and only suspects; before anything is stopped, the rule itself is judged on the recording so far. Who sees callbacks
(`llmtest.langchain.stopping`) asks `stopped` after each start.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from uuid import UUID

from llmtest import blocks, ledger
from llmtest.blocks import Block, RawEvent
from llmtest.errors import BROKEN_RULE, UnjudgedError, Violation, ViolationError
from llmtest.events import END_KINDS, ERROR_KINDS, START_KINDS, Run
from llmtest.matching import check_rules, judge
from llmtest.recording import Recording
from llmtest.rules import All, Before, Count, EndsBefore, NeverAfter, NeverBetween, Only, Per, Rule, Some, value_of
from llmtest.selecting import EventSelector, Selector

SOURCE: Final = "llmtest.langchain.stopping"
"""The module that stops tools and models; a recording with rules has it attached."""

_ENDS: Final = END_KINDS | ERROR_KINDS
_UNKNOWN: Final = object()
"""The value of `per` of a run that does not tell it yet."""

_broken: weakref.WeakKeyDictionary[Block, Violation] = weakref.WeakKeyDictionary()
"""The recordings of which no tool and no model starts any more."""


def stopped(run_ids: Iterable[UUID]) -> ViolationError | None:
    """What to raise instead of going on with runs that have just started; None: they go on."""
    if not _broken:
        return None
    members = (block for run_id in run_ids for block in blocks.membership(run_id) or ())
    found = dict.fromkeys(_broken[block] for block in members if block in _broken)
    return ViolationError(*found) if found else None


# -- what is known of a run that has not ended


class _SoFar(tuple[Any, ...]):
    """The events or the children of a run that goes on: the first event is known, how many there will be is not."""

    __slots__ = ()

    def _unknown(self, *_: Any) -> NoReturn:
        raise UnjudgedError("the run has not ended")

    __iter__ = __len__ = __contains__ = __reversed__ = _unknown

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(0) if index == 0 else self._unknown()


class _Begun(Run):
    """A run at its start. A condition that asks for more than that cannot be told yet."""

    __slots__ = ()

    @property
    def end(self) -> NoReturn:
        raise UnjudgedError("the run has not ended")


@dataclass(slots=True)
class Taking:
    """What a run is to one watch: whether each of its selectors means it (None: that cannot be told yet), and for which value."""

    watch: Watch
    run_id: UUID
    kind: str
    meant: tuple[bool | None, ...]
    value: Any = None
    counted: bool = False

    def ask(self, run: Run) -> None:
        """Finds out what is not known, if `run` tells it."""
        which = zip(self.watch.which, self.meant, strict=True)
        self.meant = tuple(_means(one, run) if meant is None else meant for one, meant in which)
        if self.value is _UNKNOWN:
            self.value = _valued(self.watch.per, run)

    @property
    def asks(self) -> bool:
        return self.value is _UNKNOWN or None in self.meant


def _means(which: Selector, run: Run) -> bool | None:
    try:
        return which.misses(run) is None
    except UnjudgedError:
        return None


def _valued(per: Per | None, run: Run) -> Hashable:
    try:
        return value_of(per, run)
    except UnjudgedError:
        return _UNKNOWN


# -- one rule each


class Watch(ABC):
    """One rule of which it shows before the end that it is lost. `began` and `ended` say whether it is, by what is recorded.

    What cannot be told never loses a rule here.
    """

    def __init__(self, rule: Any, *which: Selector, per: Per | None = None) -> None:
        self.rule: Rule = rule
        self.which = which
        self.per = per

    @abstractmethod
    def began(self, one: Taking) -> bool: ...

    def ended(self, one: Taking) -> bool:
        return False

    def role(self, kind: str, name: str) -> tuple[bool | None, ...]:
        """What runs of this name are to it, as far as a name tells."""
        return tuple(_plainly(one) if one.accepts(kind, name) else False for one in self.which)


def _plainly(which: Selector) -> bool | None:
    return None if any(one.conditions for one in (which, *which.options())) else True


class _Count(Watch):
    """Too many."""

    def __init__(self, rule: Count, most: int) -> None:
        super().__init__(rule, rule.which, per=rule.per)
        self._most = most
        self._counts: Counter[Any] = Counter()

    def began(self, one: Taking) -> bool:
        if one.counted or not one.meant[0] or one.value is _UNKNOWN:
            return False
        one.counted = True
        self._counts[one.value] += 1
        return self._counts[one.value] > self._most

    ended = began


class _Only(Watch):
    """One of these kinds that is none of these."""

    def __init__(self, rule: Only) -> None:
        kinds = frozenset().union(*(one.kinds for one in rule.which))
        super().__init__(rule, Selector("", kinds, ""), *rule.which)

    def began(self, one: Taking) -> bool:
        return one.meant[0] is True and not any(meant is not False for meant in one.meant[1:])


class _Before(Watch):
    """The second begins, and no first has ended."""

    def __init__(self, rule: Before) -> None:
        super().__init__(rule, rule.first, rule.second, per=rule.per)
        self._done: set[Any] = set()

    def began(self, one: Taking) -> bool:
        # The steps of a chain that streams begin before what they wait for has ended; tools and models do not.
        late = one.meant[1] is True and one.kind != "chain" and one.value is not _UNKNOWN
        return late and self._done.isdisjoint((one.value, _UNKNOWN))

    def ended(self, one: Taking) -> bool:
        if one.meant[0] is not False:
            self._done.add(one.value)
        return False


class _EndsBefore(Watch):
    """The other begins, and one goes on."""

    def __init__(self, rule: EndsBefore) -> None:
        super().__init__(rule, rule.each, rule.other)
        self._going: set[UUID] = set()

    def began(self, one: Taking) -> bool:
        lost = bool(self._going) and one.meant[1] is True and one.kind != "chain"  # as above
        if one.meant[0]:
            self._going.add(one.run_id)
        return lost

    def ended(self, one: Taking) -> bool:
        self._going.discard(one.run_id)
        return False


class _NeverAfter(Watch):
    """One begins, and an end is over."""

    def __init__(self, rule: NeverAfter) -> None:
        super().__init__(rule, rule.which, rule.end)
        self._over = False

    def began(self, one: Taking) -> bool:
        return self._over and one.meant[0] is True

    def ended(self, one: Taking) -> bool:
        self._over = self._over or one.meant[1] is True
        return False


class _NeverBetween(Watch):
    """The end begins, and one has begun since the beginning was over. Without an end there is no between."""

    def __init__(self, rule: NeverBetween) -> None:
        super().__init__(rule, rule.which, rule.begin, rule.end)
        self._open = self._dirty = False

    def began(self, one: Taking) -> bool:
        which, _, end = one.meant
        lost = self._dirty and end is True
        if end is not False:  # what may be an end may have been one
            self._open = self._dirty = False
        elif which and self._open:
            self._dirty = True
        return lost

    def ended(self, one: Taking) -> bool:
        self._open = self._open or one.meant[1] is True
        return False


def watch(rule: Rule) -> Watch | None:
    """What watches this rule; None for one that is judged at the end only."""
    if any(isinstance(option, EventSelector) for which in rule.selectors() for option in which.options()):
        return None
    if isinstance(rule, Count):
        return _Count(rule, rule.most) if rule.most is not None else None
    found = next((made for kind, made in _WATCHES if isinstance(rule, kind)), None)
    return found(rule) if found is not None else None


_WATCHES: Final[Sequence[tuple[type[Rule], Any]]] = (
    (Only, _Only),
    (Before, _Before),
    (EndsBefore, _EndsBefore),
    (NeverAfter, _NeverAfter),
    (NeverBetween, _NeverBetween),
)


def _leaves(rule: Rule) -> Iterator[Rule]:
    if isinstance(rule, All | Some):
        for part in rule.rules:
            yield from _leaves(part)
    else:
        yield rule


# -- all rules of a recording


@dataclass(slots=True)
class _Going:
    """A run that has begun: its events, as long as somebody has to ask them, and what it is to whom."""

    raws: list[RawEvent]
    takings: list[Taking]
    asks: bool


class Watched(list[RawEvent]):
    """The events of a recording that must obey rules, and the rules. Holds state; any thread may append."""

    def __init__(self, recording: Recording, rules: Sequence[Rule]) -> None:
        super().__init__()
        check_rules(rules, "record(rules=...)")
        self.rules = rules
        self.violation: Violation | None = None
        self._unsaid: list[Violation] = []
        self._recording = weakref.ref(recording)
        self._watches = [(rule, made) for rule in rules for leaf in _leaves(rule) if (made := watch(leaf)) is not None]
        self._lost: set[int] = set()
        self._roles: dict[tuple[str, str], list[tuple[Watch, tuple[bool | None, ...]]]] = {}
        self._going: dict[UUID, _Going] = {}
        self._lock = threading.Lock()

    def append(self, raw: RawEvent, /) -> None:
        kind, run_id = raw[0], raw[1]
        if kind in START_KINDS:
            going = self._begin(raw)
        else:
            going = self._going.get(run_id)
            if going is not None and going.asks:
                going.raws.append(raw)
        if going is None or (kind not in START_KINDS and kind not in _ENDS):
            super().append(raw)
            return
        if kind in _ENDS:
            self._end(run_id, going)
        with self._lock:  # so that the watches see it in the order in which it is recorded
            super().append(raw)
            lost = [taking.watch for taking in going.takings if self._told(kind, taking)]
            self._lost.update(id(one.rule) for one in lost)
        if lost:
            for rule in [rule for rule, one in self._watches if one in lost and self._is_lost(rule)]:
                self._judge(rule)

    def _told(self, kind: str, taking: Taking) -> bool:
        return taking.watch.began(taking) if kind in START_KINDS else taking.watch.ended(taking)

    def _begin(self, raw: RawEvent) -> _Going | None:
        kind, run_id, name = START_KINDS[raw[0]], raw[1], raw[3][0]
        roles = self._roles.get((kind, name))
        if roles is None:
            roles = self._roles[kind, name] = self._roles_of(kind, name)
        if not roles or self.violation is not None:
            return None
        takings = [Taking(one, run_id, kind, role, None if one.per is None else _UNKNOWN) for one, role in roles]
        if any(taking.asks for taking in takings):
            start = self._owner()._event(len(self), raw)
            run = _Begun(run_id, raw[2], kind, name, start.tags, start.metadata, _SoFar((start,)), _SoFar())
            for taking in takings:
                taking.ask(run)
        going = self._going[run_id] = _Going([raw], takings, any(taking.asks for taking in takings))
        return going

    def _roles_of(self, kind: str, name: str) -> list[tuple[Watch, tuple[bool | None, ...]]]:
        roles = ((one, one.role(kind, name)) for _, one in self._watches)
        return [(one, role) for one, role in roles if any(meant is not False for meant in role)]

    def _end(self, run_id: UUID, going: _Going) -> None:
        self._going.pop(run_id, None)
        if going.asks:
            events = tuple(self._owner()._event(0, raw) for raw in going.raws)
            start = events[0]
            about = (START_KINDS[start.kind], start.name, start.tags, start.metadata)
            for taking in going.takings:
                taking.ask(Run(run_id, start.parent_run_id, *about, events, _SoFar()))

    def _is_lost(self, rule: Rule) -> bool:
        if isinstance(rule, All):
            return any(map(self._is_lost, rule.rules))
        return all(map(self._is_lost, rule.rules)) if isinstance(rule, Some) else id(rule) in self._lost

    def _owner(self) -> Recording:
        recording = self._recording()
        assert recording is not None  # who appends holds it
        return recording

    # what comes of it

    def _judge(self, rule: Rule) -> None:
        """A watch suspects that a rule is lost: if it is, nothing more may start."""
        recording = self._owner()
        (answer,) = judge(recording, [rule])
        if answer or recording.closed:
            return
        with self._lock:
            if self.violation is not None:
                return
            self.violation = _broken[recording] = violation = Violation(BROKEN_RULE, f"{answer}\n{_STOPPED}")
        ledger.report(violation, self._unsaid)

    def conclude(self, *, failed: bool) -> None:
        """The block has ended: judges what is open, and raises what nobody expected, unless the block failed anyway.

        Raises:
            ViolationError: a rule does not hold.
        """
        __tracebackhide__ = True
        if self.violation is None:
            for answer in judge(self._owner(), self.rules):
                if not answer:
                    ledger.report(Violation(BROKEN_RULE, str(answer)), self._unsaid)
        if self._unsaid and not failed:
            raise ViolationError(*self._unsaid)


_STOPPED: Final = "  stopped  no tool and no model of this recording runs from here on"
