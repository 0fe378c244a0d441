"""The turns of scripts, judged by the order that a recording knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from llmtest import ledger
from llmtest.events.events import Run
from llmtest.scripts.script import Script

if TYPE_CHECKING:
    from llmtest.order.happens_before import HappensBefore


class OrderedRuns(Protocol):
    """A recording, as far as turns need it."""

    @property
    def runs(self) -> Iterable[Run]: ...

    def order(self) -> HappensBefore: ...


def judge_turns(recording: OrderedRuns) -> None:
    """Report the runs of `recording` that take steps of one script in an order that the program does not decide."""
    contested = [double for double in ledger.doubles() if isinstance(double, Script) and double.is_contested]
    if contested:
        runs = {run.id: run for run in recording.runs}
        for script in contested:
            script.judge_turns(runs.get, recording.order().are_ordered)
