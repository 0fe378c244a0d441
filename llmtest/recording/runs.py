"""Build the runs of a recording from its events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from llmtest.events.callbacks import START_KINDS
from llmtest.events.events import Event, Run
from llmtest.recording.views import Runs

if TYPE_CHECKING:
    from llmtest.order.happens_before import HappensBefore


def build_runs(events: Sequence[Event]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """Return all runs of some events, in order of their starts, and the roots."""
    own: dict[UUID, list[Event]] = {}
    children: dict[UUID, list[UUID]] = {}
    roots: list[UUID] = []
    for event in events:
        if event.kind in START_KINDS and event.run_id not in own:
            own[event.run_id] = [event]
            parent = event.parent_run_id
            (roots if parent is None or parent not in own else children.setdefault(parent, [])).append(event.run_id)
        elif event.run_id in own:
            own[event.run_id].append(event)
    # Children before parents, so that a Run can be frozen.
    built: dict[UUID, Run] = {}
    for run_id in reversed(own):
        start = own[run_id][0]
        fields = (START_KINDS[start.kind], start.name, start.tags, start.metadata, tuple(own[run_id]))
        inside = tuple(map(built.__getitem__, children.get(run_id, ())))
        run = Run(run_id, start.parent_run_id, *fields, _NO_RUNS)
        if inside:
            # They refer to a parent without children: a circle would keep a recording alive until it is collected.
            around = Runs(inside, f"children of {run.name}", partial(_order_within, run, inside))
            run = Run(run_id, start.parent_run_id, *fields, around)
        built[run_id] = run
    return tuple(map(built.__getitem__, own)), tuple(map(built.__getitem__, roots))


_NO_RUNS: Final = Runs(())


def _order_within(parent: Run, children: tuple[Run, ...]) -> HappensBefore:
    from llmtest.order.happens_before import HappensBefore

    return HappensBefore((replace(parent, children=children),))
