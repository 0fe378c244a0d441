"""Lines of control: which thread and which asyncio task runs now, and from where it was spawned.

Floor 0: standard library only. A lane travels with the context: a task or thread that copied its context finds its
spawner's lane there, sees that it is another line of control, and makes a lane of its own below it.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Lane:
    """One line of control: a thread, or an asyncio task on it. `parent` is the lane that it was spawned from, if known.

    Nobody changes one; it is not frozen because async code makes two for each model call.
    """

    number: int
    thread: str
    thread_id: int
    task: str | None = None
    parent: Lane | None = None
    owner: Any = field(default=None, repr=False)
    """A weak reference to the asyncio task, to recognise it by."""

    def is_foreign_to(self, other: Lane) -> bool:
        """Whether the two are on different threads, and nothing says that one comes from the other or both from a third."""
        return self.thread_id != other.thread_id and self._origin() is not other._origin()

    def _origin(self) -> Lane:
        lane = self
        while lane.parent is not None:
            lane = lane.parent
        return lane

    def within(self, other: Lane) -> bool:
        """Whether this is `other`, or was spawned from it, however indirectly."""
        lane: Lane | None = self
        while lane is not None and lane is not other:
            lane = lane.parent
        return lane is not None


_lane: ContextVar[Lane | None] = ContextVar("llmtest_lane", default=None)
_numbers = itertools.count(1)


def current() -> Lane:
    """The line of control that runs now."""
    loop = asyncio._get_running_loop()
    task = asyncio.current_task(loop) if loop is not None else None
    lane = _lane.get()
    thread_id = threading.get_ident()
    if lane is not None and lane.thread_id == thread_id and (lane.owner() if lane.owner else None) is task:
        return lane
    if lane is not None and lane.owner is not None and _is_over(lane.owner()):
        lane = lane.parent  # a stream that takes each step in a task of its own would else grow a lane a step
    owner = weakref.ref(task) if task is not None else None
    name = task.get_name() if task is not None else None
    here = lane is not None and lane.thread_id == thread_id
    thread = lane.thread if lane is not None and here else threading.current_thread().name
    lane = Lane(next(_numbers), thread, thread_id, name, lane, owner)
    _lane.set(lane)
    return lane


def empty_context() -> Context:
    """A context in which nothing is set, but from where it was made."""
    context = Context()
    context.run(_lane.set, current())
    return context


def _is_over(task: asyncio.Task[Any] | None) -> bool:
    return task is None or task.done()
