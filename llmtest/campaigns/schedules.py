"""Schedules: which of the tasks or threads that could go on goes on. Which ones are tried, and the smallest one that fails.

A schedule is a list of decisions, one for each time that several could go on: 0 is the usual order, and so is every decision that
is missing at its end. Any list of numbers is a schedule.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from llmtest.errors import CampaignError

Decisions = tuple[int, ...]
MAX_BOUND: Final = 2
"""How many deviations from the usual order are tried everywhere, if nothing else is asked for."""
MAX_QUEUED: Final = 100_000
MAX_ALTERNATIVES: Final = 16
"""A decision among more, such as a random number, is none of the order."""
SHRINK_RUNS: Final = 200


def check_numbers(given: Mapping[str, object], who: str) -> None:
    """Refuse numbers that are none, before a campaign without runs could pass. `bound` may be None.

    Raises:
        CampaignError: with the name of the number, and of `who` takes it.
    """
    for key, value in given.items():
        if not (type(value) is int and value >= (key == "runs")) and not (key == "bound" and value is None):
            least = "of 1 or more" if key == "runs" else "and not negative"
            raise CampaignError(f"{key}= of {who} is a whole number {least}; got {value!r}")


class Plan(NamedTuple):
    """A schedule to run: its decisions, and then those of a random walk of this seed; None: the usual order from there on."""

    decisions: Decisions
    seed: int | None = None


class Schedules:
    """The schedules of a campaign: every one with no deviation from the usual order, with one, with two, and then random ones.

    Holds state: `note` tells it what a run has decided. With `bound`, only schedules of so many deviations, and no random ones.
    """

    def __init__(self, runs: int, seed: int, bound: int | None = None) -> None:
        self._runs = runs
        self._bound = MAX_BOUND if bound is None else bound
        self._has_random = bound is None
        self._seeds = random.Random(seed)
        self._levels: list[deque[Decisions]] = [deque([()])]
        self._running: tuple[Decisions, int] | None = None
        self._is_cut = False
        self.ran = 0

    def __iter__(self) -> Iterator[Plan]:
        while self.ran < self._runs:
            plan = self._next()
            if plan is None:
                return
            self.ran += 1
            yield plan

    def _next(self) -> Plan | None:
        # With random ones, half of the runs are theirs.
        if not self._has_random or self.ran < max(1, self._runs // 2):
            for level, waiting in enumerate(self._levels):
                if waiting:
                    self._running = waiting.popleft(), level
                    return Plan(self._running[0])
        self._running = None
        return Plan((), self._seeds.getrandbits(32)) if self._has_random else None

    def note(self, decisions: Sequence[tuple[int, int]]) -> None:
        """Note what the last run has decided: for each decision, among how many, and which one."""
        if self._running is None:
            return
        prefix, level = self._running
        self._running = None
        if level >= self._bound:
            return
        if len(self._levels) == level + 1:
            self._levels.append(deque())
        chosen = tuple(value for _, value in decisions)
        for position in range(len(prefix), len(decisions)):
            among = decisions[position][0]
            for other in range(1, among if among <= MAX_ALTERNATIVES else 0):
                if len(self._levels[level + 1]) >= MAX_QUEUED:
                    self._is_cut = True
                    return
                self._levels[level + 1].append((*chosen[:position], other))

    @property
    def exhausted(self) -> int | None:
        """The largest number of deviations for which every schedule has run; None if not even the usual one has."""
        if self._is_cut:
            return None
        full = itertools.takewhile(lambda waiting: not waiting, self._levels)
        done = sum(1 for _ in full) - 1
        # Without a next level, no run had a choice: there are no further schedules.
        return None if done < 0 else self._bound if done == len(self._levels) - 1 else done


def strip(decisions: Sequence[int]) -> Decisions:
    """Return decisions without those at the end that are the usual ones."""
    end = len(decisions)
    while end and decisions[end - 1] == 0:
        end -= 1
    return tuple(decisions[:end])


def deviations(decisions: Sequence[int]) -> int:
    """Return how often a schedule deviates from the usual order."""
    return sum(1 for decision in decisions if decision)


def shrink(decisions: Sequence[int], fails: Callable[[Decisions], bool], runs: int = SHRINK_RUNS) -> Decisions:
    """Return the schedule with the fewest deviations that still fails, as far as `runs` attempts find it."""
    best, left = strip(decisions), runs

    def accept(candidate: Decisions) -> bool:
        nonlocal best, left
        candidate = strip(candidate)
        if left <= 0 or candidate == best or _cost(candidate) >= _cost(best):
            return False
        left -= 1
        if fails(candidate):
            best = candidate
            return True
        return False

    improved = True
    while improved and left > 0:
        improved = any([_shorten(lambda: best, accept), _reset(lambda: best, accept), _lower(lambda: best, accept)])
    return best


def _cost(decisions: Decisions) -> tuple[int, int, int]:
    return deviations(decisions), sum(decisions), len(decisions)


def _shorten(best: Callable[[], Decisions], accept: Callable[[Decisions], bool]) -> bool:
    """What comes after the failure does not matter."""
    changed, step = False, max(1, len(best()) // 2)
    while step and best():
        if accept(best()[: max(0, len(best()) - step)]):
            changed = True
        else:
            step //= 2
    return changed


def _reset(best: Callable[[], Decisions], accept: Callable[[Decisions], bool]) -> bool:
    """Decide as usual, in ever smaller rows of decisions."""
    changed, size = False, max(1, len(best()) // 2)
    while size:
        start = 0
        while start < len(best()):
            row = best()[start : start + size]
            if any(row) and accept((*best()[:start], *[0] * len(row), *best()[start + size :])):
                changed = True
            else:
                start += size
        size //= 2
    return changed


def _lower(best: Callable[[], Decisions], accept: Callable[[Decisions], bool]) -> bool:
    changed = False
    for position in range(len(best())):
        while position < len(best()) and best()[position] > 1:
            if not accept((*best()[:position], best()[position] - 1, *best()[position + 1 :])):
                break
            changed = True
    return changed
