"""Rules while the program runs: `record(rules=[...])` stops what would break one of them for good.

Each rule that can be broken before the end has a `Watch`, which counts: a start or an end costs it about the same
however long the recording is, and a run whose name no rule means costs a look into a dict. `Rule.watch` says what a rule watches
for; here its watches get the runs that they ask for. A watch goes by what was recorded, and only suspects; before anything is
stopped, the rule itself is judged on the recording so far. `llmtest.langchain.enforcing` sees callbacks, and asks `stopped`
after each start.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol
from uuid import UUID

from llmtest import ledger
from llmtest.capture import membership
from llmtest.capture.blocks import Block, RawEvent
from llmtest.core.masks import publish
from llmtest.errors import BROKEN_RULE, UnjudgedError, Violation, ViolationError
from llmtest.events.callbacks import ENDINGS, START_KINDS
from llmtest.events.events import Event, Run
from llmtest.matching.engine import Judgeable, check_rules, judge
from llmtest.matching.rule import UNKNOWN, Rule, Watch, WatchedRun

SOURCE: Final = "llmtest.langchain.enforcing"
"""The module that stops tools and models; a recording with rules has it attached."""


class Enforceable(Judgeable, Protocol):
    """What enforcing asks of a recording."""

    @property
    def closed(self) -> bool: ...
    def event_of(self, raw: RawEvent, number: int) -> Event: ...


_broken: weakref.WeakKeyDictionary[Block | Enforceable, Violation] = weakref.WeakKeyDictionary()
"""The recordings of which no tool and no model starts any more."""


def stopped(run_ids: Iterable[UUID]) -> ViolationError | None:
    """Return the error to raise for runs that have just started, or None if they may go on."""
    if not _broken:
        return None
    # A run belongs to every block that was open around it; one broken block is enough.
    members = (block for run_id in run_ids for block in membership.membership(run_id) or ())
    found = dict.fromkeys(_broken[block] for block in members if block in _broken)
    return ViolationError(*found) if found else None


# -- what is known of a run that has not ended


class _SoFar(tuple[Any, ...]):
    """The events or the children of a run that goes on: the first event is known, how many there will be is not."""

    __slots__ = ()

    def _unknown(self, *_: object) -> NoReturn:
        raise UnjudgedError("the run has not ended")

    __iter__ = __len__ = __contains__ = __reversed__ = _unknown

    def __getitem__(self, index: object) -> Any:
        return super().__getitem__(0) if index == 0 else self._unknown()


class _Begun(Run):
    """A run at its start. A condition that asks for more than that cannot be told yet."""

    __slots__ = ()

    @property
    def end(self) -> NoReturn:
        raise UnjudgedError("the run has not ended")


# -- all rules of a recording


@dataclass(slots=True)
class _Going:
    """A run that has begun: its events, as long as a watch must ask them, and what the run is to each watch."""

    raws: list[RawEvent]
    watched: list[WatchedRun]
    asks: bool


class Watched(list[RawEvent]):
    """The events of a recording that must obey rules, and the rules. Holds state; any thread may append."""

    def __init__(self, recording: Enforceable, rules: Sequence[Rule]) -> None:
        super().__init__()
        check_rules(rules, "record(rules=...)")
        self.rules = rules
        self.violation: Violation | None = None
        self._unsaid: list[Violation] = []
        # Weak, because the recording owns this list: a cycle would keep both until a collection.
        self._recording = weakref.ref(recording)
        self._watched = [(rule, watch) for rule in rules if (watch := rule.watch()) is not None]
        self._watches = [leaf for _, watch in self._watched for leaf in watch.leaves()]
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
        if going is None or (kind not in START_KINDS and kind not in ENDINGS):
            super().append(raw)
            return
        if kind in ENDINGS:
            self._end(run_id, going)
        with self._lock:  # so that the watches see it in the order in which it is recorded
            super().append(raw)
            if kind in START_KINDS:
                broken = {run.watch for run in going.watched if run.watch.began(run)}
            else:
                broken = {run.watch for run in going.watched if run.watch.ended(run)}
            for watch in broken:
                watch.broken = True
        if broken:
            for rule in [rule for rule, joint in self._watched if joint.broken and not broken.isdisjoint(joint.leaves())]:
                self._judge(rule)

    def _begin(self, raw: RawEvent) -> _Going | None:
        kind, run_id, name = START_KINDS[raw[0]], raw[1], raw[3][0]
        # A program repeats a few names many times; what a name is to each watch does not change.
        roles = self._roles.get((kind, name))
        if roles is None:
            roles = self._roles[kind, name] = self._roles_of(kind, name)
        # Once a rule is broken nothing more may start, so there is nothing left to watch.
        if not roles or self.violation is not None:
            return None
        watched = [WatchedRun(watch, run_id, kind, role, None if watch.per is None else UNKNOWN) for watch, role in roles]
        if any(one.asks for one in watched):
            start = self._owner().event_of(raw, len(self))
            run = _Begun(run_id, raw[2], kind, name, start.tags, start.metadata, _SoFar((start,)), _SoFar())
            for one in watched:
                one.ask(run)
        going = self._going[run_id] = _Going([raw], watched, any(one.asks for one in watched))
        return going

    def _roles_of(self, kind: str, name: str) -> list[tuple[Watch, tuple[bool | None, ...]]]:
        roles = ((one, one.role(kind, name)) for one in self._watches)
        return [(one, role) for one, role in roles if any(meant is not False for meant in role)]

    def _end(self, run_id: UUID, going: _Going) -> None:
        self._going.pop(run_id, None)
        # Only now all its events are known, so what could not be told at the start is asked again.
        if going.asks:
            recording = self._owner()
            # Their numbers are not known here, and no condition may ask for them.
            events = tuple(recording.event_of(raw, 0) for raw in going.raws)
            start = events[0]
            about = (START_KINDS[start.kind], start.name, start.tags, start.metadata)
            for one in going.watched:
                one.ask(Run(run_id, start.parent_run_id, *about, events, _SoFar()))

    def _owner(self) -> Enforceable:
        recording = self._recording()
        assert recording is not None  # the caller of `append` holds it
        return recording

    # what comes of it

    def _judge(self, rule: Rule) -> None:
        """Judge a rule that a watch suspects: if it is broken, nothing more may start."""
        recording = self._owner()
        # A watch counts in the order of events; only the order of the program decides.
        # Outside the lock, because judging reads the recording and may call functions of the test.
        (answer,) = judge(recording, [rule])
        if answer.holds or recording.closed:
            return
        with self._lock:
            if self.violation is not None:
                return
            self.violation = _broken[recording] = violation = Violation(BROKEN_RULE, publish(f"{answer}\n{_STOPPED}"))
        ledger.report(violation, self._unsaid)

    def conclude(self, *, failed: bool) -> None:
        """Judge the rules that only the end decides, and raise unexpected violations unless the block itself failed.

        Raises:
            ViolationError: a rule does not hold.
        """
        __tracebackhide__ = True
        if self.violation is None:
            broken = dict.fromkeys(str(answer) for answer in judge(self._owner(), self.rules) if not answer.holds)
            # A decorator is judged at the end of each test: what an earlier one was told is not the fault of this one.
            told = {violation.text for violation in self._unsaid}
            for text in [text for text in broken if text not in told]:
                ledger.report(Violation(BROKEN_RULE, text), self._unsaid)
        # An exception of the program comes first; the violation is on the ledger anyway.
        if self._unsaid and not failed:
            raise ViolationError(*self._unsaid)


_STOPPED: Final = "  stopped  no tool and no model of this recording runs from here on"
