"""The matrix of a campaign: call × fault → outcome, as text, Markdown and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Self

from llmtest.campaigns.kinds import WORDS
from llmtest.campaigns.verdicts import FAILED, SURVIVED, Outcome, Verdict, outcomes
from llmtest.core.text import amount, some_names
from llmtest.errors import FaultError

VERSION: Final = 1
"""Of the JSON."""
_SEPARATOR: Final = " and "


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a matrix: the calls and the faults there (one of each, or those of a pair), the outcome, and why."""

    calls: tuple[str, ...]
    faults: tuple[str, ...]
    outcome: Outcome
    why: str = ""

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        calls = tuple(fault.call.label for fault in verdict.faults)
        return cls(calls, tuple(fault.words for fault in verdict.faults), verdict.outcome, verdict.why)

    @property
    def name(self) -> str:
        """The faults at their calls: `search#2 raises TimeoutError`."""
        return _SEPARATOR.join(f"{call} {fault}" for call, fault in zip(self.calls, self.faults, strict=True))

    def as_json(self) -> dict[str, Any]:
        return {"calls": list(self.calls), "faults": list(self.faults), "outcome": self.outcome, "why": self.why}

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> Self:
        return cls(tuple(read["calls"]), tuple(read["faults"]), read["outcome"], read["why"])


@dataclass(frozen=True, slots=True)
class Matrix:
    """The outcomes of a campaign. `str(matrix)` is its text, which `llm_snapshot` compares: a lost retry is a changed line.

    `holes` are the calls that cannot have a fault, because nothing of ours stands in their way. `left_out` says which chunks of
    long streams had none. `verdicts` has the witnesses and errors, in the order of the cells; empty for a matrix that was read.
    """

    cells: tuple[Cell, ...]
    holes: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.cells)

    def __getitem__(self, name: str) -> Outcome:
        """Return the outcome of the fault with this name: `matrix["search#2 raises TimeoutError"]`.

        Raises:
            LookupError: the matrix has no such fault.
        """
        from llmtest.core.text import did_you_mean

        found = {cell.name: cell.outcome for cell in self.cells}
        if name not in found:
            raise LookupError(f"the matrix has no fault {name!r}{did_you_mean(name, found)}")
        return found[name]

    @property
    def deviations(self) -> tuple[str, ...]:
        """The known deviations of LangChain and LangGraph that its runs have met: names of docs/reference/protocol.md."""
        return tuple(dict.fromkeys(name for verdict in self.verdicts for name in verdict.deviations))

    @property
    def failed(self) -> tuple[Cell, ...]:
        """The cells whose faults the program does not survive, or of which it cannot be told."""
        return tuple(cell for cell in self.cells if cell.outcome in FAILED)

    def counts(self) -> dict[Outcome, int]:
        """Return how many cells have each outcome, without those that none has."""
        found = Counter(cell.outcome for cell in self.cells)
        return {outcome: found[outcome] for outcome in outcomes() if found[outcome]}

    def check(self) -> None:
        """Raise a `FaultError` unless the program survives each fault that was exposed, and one was."""
        __tracebackhide__ = True
        is_proof = any(cell.outcome in SURVIVED for cell in self.cells)
        for cell in self.failed[:1] or (() if is_proof else self.cells[:1]):
            head = f"{cell.outcome}: {cell.name}" + (f"\n  {cell.why}" if cell.why else "")
            raise FaultError(f"{head}\n\n{self}", cell.outcome, cell.name)

    # -- as text

    def summary(self) -> str:
        """Return one line: how many faults at how many calls, and the outcomes."""
        at = {call: fault for cell in self.cells for call, fault in zip(cell.calls, cell.faults, strict=True)}
        moments = sum(fault in WORDS.values() for fault in at.values())
        places = [amount(n, noun) for n, noun in ((len(at) - moments, "call"), (moments, "moment")) if n or not at]
        counted = ", ".join(f"{number:,} {outcome}" for outcome, number in self.counts().items())
        return f"{amount(len(self.cells), 'fault')} at {' and '.join(places[: 2 if at else 1])}: {counted or 'none'}"

    def __str__(self) -> str:
        lines = [self.summary()]
        for (_, shown), rows in groupby(self._rows().items(), lambda row: (_base(row[0]), _shown(row[1]))):
            names = [calls for calls, _ in rows]
            lines += [f"  {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else ""), *shown]
        if self.holes:
            lines.append(f"  holes, where no fault can come: {some_names(self.holes)}")
        lines += [f"  left out: {each}" for each in self.left_out]
        return "\n".join(lines)

    def _rows(self) -> dict[str, list[Cell]]:
        rows: dict[str, list[Cell]] = {}
        for cell in self.cells:
            rows.setdefault(_SEPARATOR.join(cell.calls), []).append(cell)
        return rows

    def as_markdown(self) -> str:
        """Return a table in Markdown: a row for each fault at each call."""
        lines = [self.summary(), "", "| call | fault | outcome | why |", "| --- | --- | --- | --- |"]
        for cell in self.cells:
            texts = (_SEPARATOR.join(cell.calls), _SEPARATOR.join(cell.faults), cell.outcome, cell.why)
            shown = " | ".join(text.replace("|", "\\|") for text in texts)
            lines.append(f"| {shown} |")
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return the matrix as JSON values: `version`, `counts`, `cells`, `holes` and `left_out`."""
        cells = [cell.as_json() for cell in self.cells]
        more = {"holes": list(self.holes), "left_out": list(self.left_out)}
        return {"version": VERSION, "counts": self.counts(), "cells": cells, **more}

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> Self:
        """Return the matrix that `as_json` has written, without verdicts."""
        left_out = tuple(read.get("left_out", ()))  # not written before 0.2
        return cls(tuple(map(Cell.from_json, read["cells"])), tuple(read["holes"]), left_out=left_out)


def _base(calls: str) -> str:
    """Return the name of a call without its number: calls in a row that end alike are one row of the text."""
    return calls.rpartition("#")[0]


def _shown(cells: Sequence[Cell]) -> tuple[str, ...]:
    by_outcome = {outcome: [cell for cell in cells if cell.outcome == outcome] for outcome in outcomes()}
    return tuple(
        f"    {outcome:<16}  {', '.join(_SEPARATOR.join(cell.faults) for cell in those)}"
        for outcome, those in by_outcome.items()
        if those
    )


def matrix_of(verdicts: Sequence[Verdict], holes: Sequence[str] = (), left_out: Sequence[str] = ()) -> Matrix:
    """Return the matrix of these verdicts."""
    return Matrix(tuple(map(Cell.of, verdicts)), tuple(holes), tuple(verdicts), tuple(left_out))
