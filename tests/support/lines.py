"""Runs on lines of control, written by hand: which task or thread each is on, and when it starts and ends."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from llmtest.concurrency.lanes import Lane
from llmtest.events import Event, FrozenDict, Run

PARENT = UUID(int=1)


HOME = Lane(1, "MainThread", 100)


def task(number: int, parent: Lane | None = HOME, attach: int = 0, joined: int | None = None) -> Lane:
    return Lane(number, "MainThread", 100, f"Task-{number}", parent, attach, joined)


def thread(number: int, parent: Lane | None = HOME, attach: int = 0, joined: int | None = None) -> Lane:
    return Lane(number, f"Worker-{number}", 100 + number, None, parent, attach, joined)


def run(
    name: str,
    start: int,
    end: int | None = None,
    lane: Lane | None = None,
    *tags: str,
    kind: Any = "chain",
    children: tuple[Run, ...] = (),
    **metadata: Any,
) -> Run:
    """A run that starts and ends at these numbers, which are also the moments of its line of control."""
    events = [Event(f"on_{kind}_start", uuid4(), PARENT, name, number=start, lane=lane, moment=start)]
    if end is not None:
        events.append(Event(f"on_{kind}_end", events[0].run_id, PARENT, name, number=end, lane=lane, moment=end))
    return Run(events[0].run_id, PARENT, kind, name, tags, FrozenDict(metadata), tuple(events), children)
