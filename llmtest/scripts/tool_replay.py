"""Which recorded answer of a tool is for which call: by name, arguments and occurrence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final
from uuid import UUID

from llmtest import ledger
from llmtest.concurrency import lanes
from llmtest.concurrency.lanes import Lane
from llmtest.core.masks import publish, table
from llmtest.core.text import amount, capped, did_you_mean, named, names, nearest, times
from llmtest.errors import ScriptError, Violation, ViolationError, is_expected
from llmtest.events.events import Run
from llmtest.events.words import FrozenDict
from llmtest.scripts.step_types import as_texts
from llmtest.scripts.tool_answers import ToolAnswer, as_key, show_args, without

Injected = Callable[[Iterable[str]], set[str]]
"""Which of some names of arguments are injected by the program: they are no part of a call."""

MAX_SHOWN: Final = 8


@dataclass(slots=True, eq=False)
class Taken:
    """An answer that a call has taken. Holds state: the run of the call, and whether the call is still open."""

    answer: ToolAnswer
    call: int
    lane: Lane
    run_id: UUID | None = None
    is_open: bool = True


class RecordedAnswers:
    """The recorded answers of tools, given to the calls of another run: each exactly once.

    The n-th call with some arguments gets the n-th answer that was recorded for them. Arguments are compared as JSON; those
    that the program injects do not count. `names` are the tools that answer so; `*` in a name stands for any text. A tool with an
    empty list was not called. While answers are recorded (`is_growing`), a call without one is no violation: the tool runs.

    Violations: a call that was not recorded, or once more than it was recorded (`"unexpected tool call"`); concurrent calls with
    equal arguments and different answers, so that chance decides who gets which (`"competing calls"`); and an answer left
    unused at the end of the test (`"unused step"`; `verify()` outside pytest).

    Thread-safe: taking an answer is one locked act.

    Raises:
        ScriptError: a name fits no recorded tool.
    """

    def __init__(
        self, answers: Mapping[str, Sequence[ToolAnswer]], names: str | Sequence[str] = ("*",), *, is_growing: bool = False
    ) -> None:
        self.names = as_texts("names", names)
        self.is_growing = is_growing
        self._answers = {name: tuple(given) for name, given in answers.items() if given}
        self.violations: list[Violation] = []
        for name in () if is_growing else self.names:
            _check_name(name, answers, self._answers)
        self._lock = threading.Lock()
        self._calls = 0
        self._taken: set[tuple[str, int]] = set()
        self._places: dict[tuple[str, frozenset[str]], dict[str, list[int]]] = {}
        self._arguments = {
            name: {*chain.from_iterable(_names_of(a.args) for a in given)} for name, given in self._answers.items()
        }
        self._turns: dict[tuple[str, str], list[Taken]] = {}
        self._doubles: set[str] = set()
        self._told: set[tuple[int, int]] = set()
        ledger.made(self)

    def __repr__(self) -> str:
        recorded = sum(len(given) for given in self._recorded().values())
        return f"<{type(self).__name__}: {len(self._taken)} of {amount(recorded, 'answer')} used>"

    def covers(self, name: str) -> bool:
        """True if calls of a tool of this name get recorded answers."""
        return any(named(pattern, name) for pattern in self.names)

    def owe_nothing(self) -> None:
        """Take all answers as used: the program was given a fault, and went another way."""
        with self._lock:
            self._taken |= {(name, number) for name, given in self._answers.items() for number in range(len(given))}

    def leave_to_double(self, name: str) -> None:
        """A scripted tool of this name answers for itself: the recorded answers of the name may stay unused."""
        self._doubles.add(name)

    def take(self, name: str, args: FrozenDict | str, injected: Injected = lambda names: set()) -> Taken | None:
        """Return the answer for a call; None if the tool is to run, because answers are recorded and it has none.

        Mark the answer with the id of its run, and as no longer open when the call is over.

        Raises:
            ViolationError: the call was not recorded, or once more than it was; a concurrent call competes for the answer.
        """
        ledger.called(self)
        recorded = self._answers.get(name, ())
        hidden = frozenset(injected({*_names_of(args), *self._arguments.get(name, ())}))
        args, places = without(args, hidden), self._places_of(name, hidden)
        key, lane, taken = as_key(args), lanes.current(), None
        if key not in places:  # it may have been recorded with a mask in place of a secret
            key = as_key(table().hide_leaves(args))
        positions = places.get(key, ())
        with self._lock:
            self._calls += 1
            position = next((n for n in positions if (name, n) not in self._taken), None)
            turns = self._turns.setdefault((name, key), [])
            if position is not None:
                self._taken.add((name, position))
                taken = Taken(recorded[position], self._calls, lane)
                rival = next((turn for turn in turns if turn.is_open and _compete(turn, taken)), None)
                turns.append(taken)
        if taken is None and self.is_growing:
            return None
        if taken is None:
            near = [without(answer.args, hidden) for answer in recorded]
            raise self._violate("unexpected tool call", _unexpected(name, args, near, len(positions), list(self._recorded())))
        if rival is not None:
            taken.is_open = False
            raise self._report_luck(name, rival, taken)
        if taken.answer.unknown:
            raise self.no_answer(name, taken.answer)
        return taken

    def no_answer(self, name: str, answer: ToolAnswer, why: str = "") -> ViolationError:
        """Report that a recorded answer cannot be repeated; return the exception to raise for it."""
        text = (
            f"the recorded tool `{name}` has no answer for this call: when it was recorded, it {why or answer.unknown}\n"
            f"  called  {show_args(answer.args)}\n  {_use_the_real_one(name)}"
        )
        return self._violate("unexpected tool call", text)

    @property
    def is_contested(self) -> bool:
        """True if calls on several lines of control have taken different answers for equal arguments."""
        return any(len({turn.lane for turn in turns}) > 1 for turns in self._turns.values() if _differ(turns))

    def judge_turns(self, find: Callable[[UUID], Run | None], are_ordered: Callable[[Run, Run], bool]) -> None:
        """Report two calls of a recording with equal arguments and different answers that the program does not order.

        `find` returns a run of the recording. Calls that overlap are reported while they run; this finds the others too.
        """
        for (name, _), turns in list(self._turns.items()):
            seen = [(turn, run) for turn in list(turns) if turn.run_id and (run := find(turn.run_id)) is not None]
            for position, (later, run) in enumerate(seen):
                before = ((t, r) for t, r in reversed(seen[:position]) if t.answer.said != later.answer.said)
                earlier = next(before, None)
                if earlier is not None and earlier[0].lane is not later.lane and not are_ordered(earlier[1], run):
                    self._report_luck(name, earlier[0], later)

    def unused(self) -> list[Violation]:
        """Return one violation for all answers that no call has taken; an empty list if all were taken.

        An answer of a call that was made in the body of a tool is not missed if that tool did not run its body.
        """
        recorded = self._recorded()
        owed = [
            (name, answer)
            for name, given in recorded.items()
            for position, answer in enumerate(given)
            if (name, position) not in self._taken and name not in self._doubles and not any(map(self.covers, answer.within))
        ]
        if not owed:
            return []
        total = sum(len(given) for given in recorded.values())
        head = f"{len(owed)} of {amount(total, 'recorded answer')} of tools {'was' if len(owed) == 1 else 'were'} never used"
        lines = [head, *(f"  `{name}`  {answer}" for name, answer in owed)]
        hint = "  the program stopped early, or calls these tools otherwise now; find out why, or record the run again"
        return [Violation("unused step", publish(capped([*lines, hint])))]

    def found(self) -> list[Violation]:
        """Return every violation so far, and the unused answers.

        Unused answers that an `expect_violation("unused step")` block expects here are not reported again.
        """
        unused = self.unused()
        if any(map(is_expected, unused)):
            self.waive()
        return [*self.violations, *unused]

    def waive(self) -> None:
        """Take all answers as used."""
        self._taken.update((name, n) for name, given in self._answers.items() for n in range(len(given)))

    def verify(self) -> None:
        """Raise a `ViolationError` with all that `found` returns. The pytest plugin does this for you."""
        if found := self.found():
            raise ViolationError(*found)

    def _places_of(self, name: str, hidden: frozenset[str]) -> dict[str, list[int]]:
        """Return the positions of the recorded calls of a tool, by their keys. They are computed once."""
        known = self._places.get((name, hidden))
        if known is None:
            known = {}
            for position, answer in enumerate(self._answers.get(name, ())):
                known.setdefault(as_key(without(answer.args, hidden)), []).append(position)
            self._places[name, hidden] = known
        return known

    def _recorded(self) -> dict[str, tuple[ToolAnswer, ...]]:
        return {name: given for name, given in self._answers.items() if self.covers(name)}

    def _report_luck(self, name: str, earlier: Taken, later: Taken) -> ViolationError:
        pair = (earlier.call, later.call)
        text = (
            f"two concurrent calls of the recorded tool `{name}` have equal arguments and different answers;"
            " which call gets which answer is a race\n"
            f"  called  {show_args(later.answer.args)}\n"
            f"  call {earlier.call}  {earlier.answer.outcome}\n"
            f"  call {later.call}  {later.answer.outcome}\n"
            f"  give the calls arguments that tell them apart, or {_use_the_real_one(name)}"
        )
        violation = Violation("competing calls", text)
        if pair in self._told:
            return ViolationError(violation)
        self._told.add(pair)
        return ledger.report(violation, self.violations, self)

    def _violate(self, code: str, text: str) -> ViolationError:
        return ledger.report(Violation(code, text), self.violations, self)


def _check_name(name: str, known: Iterable[str], recorded: Mapping[str, object]) -> None:
    if name == "*" or any(named(name, tool) for tool in known):
        return
    hint = did_you_mean(name, recorded)
    raise ScriptError(f"names= has `{name}`, but no call of such a tool was recorded{hint}\n  recorded  {names(recorded)}")


def _names_of(args: FrozenDict | str) -> Iterable[str]:
    return () if isinstance(args, str) else args


def _compete(earlier: Taken, later: Taken) -> bool:
    """True if two calls may take their answers in the other order, and that would change something."""
    before, after = earlier.lane, later.lane
    return earlier.answer.said != later.answer.said and not (after.within(before) or before.is_over_before(after))


def _differ(turns: Sequence[Taken]) -> bool:
    return any(turn.answer.said != turns[0].answer.said for turn in turns)


def _unexpected(
    name: str, args: FrozenDict | str, recorded: Sequence[FrozenDict | str], number: int, others: Sequence[str]
) -> str:
    """Return the text about a call that has no recorded answer; it was recorded `number` times with these arguments."""
    again = f"record the run again, or {_use_the_real_one(name)}"
    if number:
        head = f"unexpected call of the recorded tool `{name}`: with these arguments it was recorded {times(number)}"
        return f"{head}, and this is one call more\n  called  {show_args(args)}\n  {again}"
    if not recorded:
        head = f"unexpected call of the recorded tool `{name}`: no call of it was recorded"
        return f"{head}\n  called    {show_args(args)}\n  recorded  {names(others)}\n  {again}"
    shown = list(dict.fromkeys(map(show_args, recorded)))
    near = nearest(show_args(args), shown, 0.0)
    head = f"unexpected call of the recorded tool `{name}`: it was not recorded with these arguments"
    more = [f"  recorded  {text}" for text in shown if text != near]
    more = more if len(more) <= MAX_SHOWN else [*more[:MAX_SHOWN], f"  ... and {len(more) - MAX_SHOWN} more"]
    return "\n".join([head, f"  called    {show_args(args)}", f"  nearest   {near}", *more, f"  {again}"])


def _use_the_real_one(name: str) -> str:
    return f"let the real tool run: leave `{name}` out of names="
