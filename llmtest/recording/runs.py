"""Build the runs of a recording from its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from llmtest.events.callbacks import ENDINGS, START_KINDS, RunKind, may_fire
from llmtest.events.events import Event, Run
from llmtest.recording.views import Runs

if TYPE_CHECKING:
    from llmtest.order.happens_before import HappensBefore


def build_runs(events: Sequence[Event]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """Return all runs of some events, in order of their starts, and the roots.

    A program may give one id to several runs (a config with `run_id` that is used twice). The first run keeps the id; each
    further one, and its events, get an id that is derived from it.
    """
    own: dict[UUID, list[Event]] = {}
    children: dict[UUID, list[UUID]] = {}
    roots: list[UUID] = []
    shared: dict[UUID, list[UUID]] = {}
    for event in events:
        if shared or (event.kind in START_KINDS and event.run_id in own):
            event = _with_own_ids(event, shared, own)
        if event.kind in START_KINDS:
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


def _with_own_ids(event: Event, shared: dict[UUID, list[UUID]], own: Mapping[UUID, Sequence[Event]]) -> Event:
    """Return `event` with ids that only one run has. `shared` maps an id of several runs to theirs."""
    run_id, parent_id = event.run_id, event.parent_run_id
    if parent_id in shared:
        parent_id = _likely_run(shared[parent_id], event, own)
    if event.kind in START_KINDS and run_id in own:
        ids = shared.setdefault(run_id, [run_id])
        run_id = uuid5(run_id, str(len(ids)))
        ids.append(run_id)
    elif run_id in shared:
        run_id = _likely_run([key for key in shared[run_id] if may_fire(_kind(own[key]), event.kind)], event, own)
    return (
        event
        if run_id == event.run_id and parent_id == event.parent_run_id
        else replace(event, run_id=run_id, parent_run_id=parent_id)
    )


def _likely_run(ids: Sequence[UUID], event: Event, own: Mapping[UUID, Sequence[Event]]) -> UUID:
    """Return which of the runs with one id `event` is of: an open one on its lane, else the last open one, else the last."""
    going = [run_id for run_id in ids if own[run_id][-1].kind not in ENDINGS] or ids
    here = [run_id for run_id in going if own[run_id][0].lane is event.lane]
    return (here or going or [event.run_id])[-1]


def _kind(events: Sequence[Event]) -> RunKind:
    return START_KINDS[events[0].kind]


def _order_within(parent: Run, children: tuple[Run, ...]) -> HappensBefore:
    from llmtest.order.happens_before import HappensBefore

    return HappensBefore((replace(parent, children=children),))
