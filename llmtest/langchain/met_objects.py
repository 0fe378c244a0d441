"""Which object each recorded run is a run of, and how an entry point was called: both are on the stack when the run starts.

LangChain passes a name to its callbacks and no object. The method that fires them has it as its `self`, a few frames further
out. Nothing of the program is patched, and an object is only looked at after its test.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from types import FrameType
from typing import Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.tools import BaseTool

from llmtest.core.source import waiting_frames
from llmtest.coverage.hits import Met
from llmtest.coverage.programs import Component
from llmtest.events.events import Run
from llmtest.langchain import tap
from llmtest.langchain.inventory import Reader, has_items, is_program, tool_of
from llmtest.langchain.used_objects import is_graph

_CALLBACKS: Final = "langchain_core.callbacks.manager"
_LOOP: Final = "asyncio.events"
_ROUTER: Final = "langchain_core.runnables.router"
_STEPS: Final = "langgraph._internal._runnable"
_NEAR: Final = 8
"""In how many frames around a callback its object is. Measured: 4 in sync code, 5 in async code, and one more for a model."""
_FAR: Final = 40

_MODES: Final = {name: name for name in ("invoke", "ainvoke", "stream", "astream", "batch", "abatch")} | {
    "transform": "stream",  # what `stream` of a function is
    "atransform": "astream",
}


class MetObjects:
    """The objects of runs, by the numbers of the ids of the runs: to hash a number is faster. Any thread may add to it."""

    def __init__(self) -> None:
        self.of_run: dict[int, object] = {}
        self.modes: dict[int, str] = {}
        """Of runs without a parent, the name of the method that the program called."""
        self.routes: dict[int, tuple[object, str]] = {}
        """Of runs that a router has chosen, the router and the key."""

    def note(self, run_id: UUID, kind: str, is_root: bool) -> None:
        """Note the object of a run that starts now, on this stack. Of a model inside a program it says nothing: its call does."""
        frame: FrameType | None = sys._getframe(3)  # the callback of the tap, and what asks for it, are around this
        if kind in tap.MODEL_STARTS and not is_root:
            self._note_route(run_id, frame)
            return
        near = _NEAR
        while frame is not None and near:
            near -= 1
            name = frame.f_globals.get("__name__", "")
            if name == _LOOP:  # a task of its own, as `gather` makes one for each prompt: its object is on the stack of who waits
                frame = _waiting_frame()
                continue
            if name == _STEPS:  # of a graph: its object says nothing, and to ask for it makes a dict of all locals of the frame
                return
            if name != _CALLBACKS and not name.startswith("llmtest."):
                found = frame.f_locals.get("self")
                if found is not None and not isinstance(found, BaseCallbackManager):
                    self.of_run[run_id.int] = found
                    if is_root:
                        self.modes[run_id.int] = _mode(frame, found)
                    self._note_route(run_id, frame.f_back)
                    return
            frame = frame.f_back

    def _note_route(self, run_id: UUID, frame: FrameType | None) -> None:
        route = _route(frame)
        if route is not None:
            self.routes[run_id.int] = route

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the objects of all runs that start in the block, in every thread."""
        tap.hear_starts(self.note)
        try:
            yield
        finally:
            tap.forget_starts(self.note)


def _route(frame: FrameType | None) -> tuple[object, str] | None:
    """Return the router that called what these frames of LangChain belong to, and its key. A router makes no run."""
    # What wraps a call, such as a campaign, has frames of its own between the two.
    while frame is not None and (name := frame.f_globals.get("__name__", "")).startswith(("langchain_core.", "llmtest.")):
        if name == _ROUTER:
            found = frame.f_locals  # of a batch, it has the runnable and no router
            return (found["self"], str(found["key"])) if "self" in found and "key" in found else None
        frame = frame.f_back
    return None


def _waiting_frame() -> FrameType | None:
    """Return the frame of LangChain that waits for the current task."""
    found = (frame for frame, _ in waiting_frames() if str(frame.f_globals.get("__name__")).startswith("langchain_core."))
    return next(found, None)


def _mode(start: FrameType, item: object) -> str:
    """Return the outermost way of calling `item` on the stack; empty if there is none, as in a task of `gather`."""
    found = ""
    frame: FrameType | None = start
    for _ in range(_FAR):
        if frame is None:
            break
        told = _told_by(frame.f_code.co_qualname)
        if told in ("astream_events", "stream_events_v3") or (told == "astream" and _is_pumped(frame, item)):
            return told if told != "astream" else "stream_events_v3"
        if told and frame.f_locals.get("self") is item:
            found = told
        frame = frame.f_back
    return found


@lru_cache(maxsize=4096)
def _told_by(function: str) -> str:
    """Return the way of a call that a function is part of, by its name. `Runnable.batch` and its like call a function of their
    own, one for each input; `astream_events` reads the stream in a task of its own.
    """
    method, _, inner = function.partition(".<locals>.")
    name = function.rpartition(".")[2]
    batch = _BATCHES.get(method.rpartition(".")[2], "") if inner else ""
    return batch or _READERS.get(name, "") or _MODES.get(name, "")


_BATCHES: Final = {name + end: name for name in ("batch", "abatch") for end in ("", "_as_completed")}
_READERS: Final = {
    "consume_astream": "astream_events",
    "_pump_next": "stream_events_v3",
    "ensure_started": "stream_events_v3",
}


def _is_pumped(frame: FrameType, item: object) -> bool:
    """True for a graph that streams in version 3, in async code: its reader has a task for each step of the generator."""
    around = frame.f_back
    is_task = around is not None and around.f_globals.get("__name__") == _LOOP
    return is_task and frame.f_locals.get("self") is item and frame.f_locals.get("version") == "v2"


class Meeting:
    """What runs are runs of, by their objects, as `llmtest.coverage.hits` asks for it.

    `named` are programs that the user has named: they count even if they are a bare model or retriever.
    """

    def __init__(self, met: MetObjects, reader: Reader, named: Sequence[object] = ()) -> None:
        self._objects = met
        self._reader = reader
        self._named = named
        # The objects live as long as `met`, which is as long as this, so that their ids stand for them.
        self._known: dict[int, Met] = {}

    def met(self, run: Run) -> Met:
        item = self._objects.of_run.get(run.id.int)
        known = self._known.get(id(item))
        if known is None:
            known = self._known[id(item)] = self._read(item)
        if run.parent_id is not None or known.program is not None or item is None:
            return known
        is_entry = is_program(item) or any(item is one for one in self._named)
        return replace(known, program=self._reader.program(item, run.name), parts=self._reader.parts(item)) if is_entry else known

    def _read(self, item: object) -> Met:
        if is_graph(item):
            return Met(self._reader.program(item), self._reader.parts(item))
        items = partial(self._reader.items_of, item) if has_items(item) else None
        tool = tool_of(item) if isinstance(item, BaseTool) else None
        component = partial(self._reader.component, item) if self._reader.component(item, "") is not None else None
        return Met(component=component, tool=tool, items=items)

    def route_of(self, run: Run, program: str) -> tuple[Component, str] | None:
        found = self._objects.routes.get(run.id.int)
        component = self._reader.component(found[0], program) if found is not None else None
        return (component, found[1]) if component is not None and found is not None else None

    def mode_of(self, run: Run) -> str:
        return self._objects.modes.get(run.id.int, "")
