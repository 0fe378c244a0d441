"""The report: each item with its state, counted by program and kind, held against thresholds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

from llmtest.core.text import amount, did_you_mean
from llmtest.coverage.data import CoverageData
from llmtest.coverage.items import KINDS, Item, Kind
from llmtest.errors import CoverageError

State = Literal["hit", "missed", "ambiguous", "unknown", "excluded"]
"""`ambiguous`: it may have happened, and the recordings cannot tell; `unknown`: no recording ever can."""


@dataclass(frozen=True)
class Exclude:
    """Items that do not count, and why."""

    pattern: str
    reason: str


def parse_excludes(lines: Iterable[str], source: str = "llmtest_cov_exclude") -> list[Exclude]:
    """Read lines `PATTERN because REASON`.

    Raises:
        CoverageError: a line has no reason.
    """
    found = []
    for line in lines:
        pattern, because, reason = line.partition(" because ")
        if not because or not reason.strip() or not pattern.strip():
            raise CoverageError(
                f"a line of {source} is `PATTERN because REASON`; got {line!r}"
                "\n  for example: */models/*.refusal because the provider never refuses"
            )
        found.append(Exclude(pattern.strip(), reason.strip()))
    return found


_LIMIT: Final = re.compile(r"(?:(\w+)=)?(\d+(?:\.\d+)?)%?")


def parse_limits(text: str, source: str = "--llmtest-cov-fail-under") -> dict[str, float]:
    """Read the least coverage in percent: `90` of all items, `nodes=100,tools=90` by kind. The key of all items is empty.

    Raises:
        CoverageError: it is no such text.
    """
    limits: dict[str, float] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        match = _LIMIT.fullmatch(part)
        kind = (match[1] or "") if match else ""
        if match is None or float(match[2]) > 100 or (kind and kind not in KINDS):
            hint = did_you_mean(part.partition("=")[0], KINDS, otherwise=f"the kinds are {', '.join(KINDS)}")
            raise CoverageError(f"{source} is a number up to 100, or KIND=NUMBER, several with commas; got {part!r}{hint}")
        limits[kind] = float(match[2])
    return limits


@dataclass(frozen=True)
class Row:
    """An item, its state, why it is excluded or cannot be judged, and the tests that hit it, if their names were kept."""

    item: Item
    state: State
    reason: str = ""
    tests: Sequence[str] = ()


@dataclass(frozen=True)
class Counts:
    """How many items are in each state. What is ambiguous, unknown or excluded is in no percentage."""

    hit: int = 0
    missed: int = 0
    ambiguous: int = 0
    unknown: int = 0
    excluded: int = 0

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Counts:
        states = [row.state for row in rows]
        return cls(*(states.count(state) for state in ("hit", "missed", "ambiguous", "unknown", "excluded")))

    @property
    def total(self) -> int:
        """The items that count."""
        return self.hit + self.missed

    @property
    def percent(self) -> float:
        """The share of what counts that was hit, in percent; 100 if nothing counts."""
        return 100.0 * self.hit / self.total if self.total else 100.0

    @property
    def shown(self) -> str:
        """The percentage as text. It is 100% and 0% only where nothing is missing and nothing is hit."""
        rounded = round(self.percent)
        if self.missed and rounded == 100:
            return "99%"
        return "1%" if self.hit and rounded == 0 else f"{rounded}%"


@dataclass
class Report:
    """All items of some data. Programs that the user did not name do not count if some are named."""

    data: CoverageData
    excludes: Sequence[Exclude] = ()
    _used: set[str] = field(default_factory=set)

    @cached_property
    def rows(self) -> list[Row]:
        """One row for each item, by program, kind and name."""
        contexts = self.data.contexts()
        kept = [item for item in self.data.inventory if not self.data.programs or item.program in self.data.programs]
        kept.sort(key=lambda item: (item.program, KINDS.index(item.kind), item.name))
        return [self._row(item, contexts.get(item.id, ())) for item in kept]

    def _row(self, item: Item, tests: Sequence[str]) -> Row:
        for exclude in self.excludes:
            if item.matches(exclude.pattern):
                self._used.add(exclude.pattern)
                return Row(item, "excluded", exclude.reason, tests)
        if item.unknown:
            return Row(item, "unknown", item.unknown, tests)
        if item.id in self.data.hits:
            return Row(item, "hit", tests=tests)
        if item.id in self.data.ambiguous:
            return Row(item, "ambiguous", "more than one node can have led there, or the recording does not tell")
        return Row(item, "missed")

    @property
    def counts(self) -> Counts:
        return Counts.of(self.rows)

    def programs(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.item.program, []).append(row)
        return found

    def missing(self) -> list[Row]:
        return [row for row in self.rows if row.state == "missed"]

    def notes(self) -> list[str]:
        """Return what a reader of the report must know: files that are not whole, excludes that exclude nothing."""
        rows = self.rows
        torn = [f"{path}: its last line is not whole; the test that ran then is not counted" for path in self.data.torn]
        unused = [exclude.pattern for exclude in self.excludes if exclude.pattern not in self._used]
        ids = [row.item.id for row in rows]
        hints = [f"no item matches the exclude {pattern!r}{did_you_mean(pattern, ids)}" for pattern in unused]
        exact = {exclude.pattern for exclude in self.excludes}  # a pattern with `*` may well mean items that are hit, too
        needless = [item_id for item_id in ids if item_id in exact and item_id in self.data.hits]
        hints += [f"{item_id} is excluded, and a test hits it" for item_id in needless]
        absent = sorted(self.data.programs - {item.program for item in self.data.inventory})
        return [*torn, *hints, *(f"the program {label} has no items" for label in absent)]

    def broken_limits(self, limits: Mapping[str, float]) -> list[str]:
        """Return a sentence for each limit that is not reached."""
        if not self.rows and any(limits.values()):
            return ["no program was met, so no limit of coverage is reached"]
        broken = []
        for kind, least in limits.items():
            counts = Counts.of(row for row in self.rows if not kind or row.item.kind == kind)
            if counts.percent < least:
                of = f"coverage of {kind}" if kind else "coverage"
                missed = amount(counts.missed, "item")
                broken.append(f"{of} is {counts.percent:.2f}%, less than {least:g}%: {missed} missed")
        return broken


def by_kind(rows: Iterable[Row]) -> dict[Kind, list[Row]]:
    """Return rows by the kind of their items, in the order of `KINDS`."""
    found: dict[Kind, list[Row]] = {}
    for row in rows:
        found.setdefault(row.item.kind, []).append(row)
    return dict(sorted(found.items(), key=lambda pair: KINDS.index(pair[0])))
