"""The run that a call belongs to, with its tags and metadata.

A run is referred to weakly, so that it lives no longer than it is open, and is looked up only when it is needed.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from traceback import walk_stack
from types import CodeType, FrameType
from typing import Final, Literal, cast
from uuid import UUID

from langchain_core.callbacks import BaseRunManager
from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables.config import RunnableConfig, var_child_runnable_config

from llmtest.langchain import batches
from llmtest.scripts.requests import Origin

RunManager = BaseRunManager | None
"""The run of a call. A call past the callbacks has none."""


def run_of(run_manager: RunManager, model: object) -> RunManager:
    """Return the run manager of the call that is being answered. `_stream` does not get it, but its caller has it."""
    if run_manager is not None:
        return run_manager
    # A few frames are enough: only generators of LangChain and of ours stand between. A whole stack would cost each call.
    for frame, _ in islice(walk_stack(sys._getframe(1)), 8):
        if frame.f_locals.get("self") is model and frame.f_locals.get("run_manager") is not None:
            found: BaseRunManager = frame.f_locals["run_manager"]
            return found
    return None


def weakly(run: RunManager) -> Callable[[], RunManager]:
    """Return a weak reference to a run manager, or a function that returns None for a call without one."""
    # A request may be kept by a test; the manager holds all handlers, and so the recordings.
    return (lambda: None) if run is None else weakref.ref(run)


def about(run: RunManager) -> tuple[Sequence[str], Mapping[str, object]]:
    """Return the tags and metadata of a run, and the `thread_id` of the configuration around it."""
    config = var_child_runnable_config.get() or RunnableConfig()
    configurable = config.get("configurable") or {}
    thread = {"thread_id": configurable["thread_id"]} if "thread_id" in configurable else {}
    if run is None:
        return config.get("tags") or (), {**thread, **(config.get("metadata") or {})}
    return run.tags, {**thread, **run.metadata}


def run_around() -> UUID | None:
    """Return the id of the run around this, as the body of a tool gets it for the parent of its own runs; None outside of one."""
    config = var_child_runnable_config.get()
    callbacks = config.get("callbacks") if config is not None else None
    return getattr(callbacks, "parent_run_id", None)


_OF_A_HANDLER: Final = frozenset(("handle_event", "ahandle_event"))


def calling() -> Origin:
    """Return where a request on this stack comes from: the run of the model that makes it, if LangChain's model does.

    An awaited call has the coroutines that wait for it on its stack, as long as no task or thread stands between.
    """
    run = model = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        kind = (_known.get(id(code)) or _look(frame))[1]
        if kind is not None:
            if kind == "handler":
                break  # what a handler does is not done by the run that it hears of
            # A stream does not hand its run to `_stream`, but has it. The locals of a frame are copied when they are read.
            variables = frame.f_locals
            if isinstance(variables.get("self"), BaseLanguageModel):
                model, run = variables["self"], variables.get("run_manager")
                if run is not None:
                    break
        frame = frame.f_back
    found = about(run)
    return Origin(weakly(run), lambda: found, None if model is None else batches.place_of(model))


_Kind = Literal["model", "handler"] | None
"""Whether a function calls a handler, or may be a model's that has a run."""
_known: dict[int, tuple[CodeType, _Kind]] = {}
"""The kinds of functions by the identity of their code: its hash takes longer than the question."""
_MAX_KNOWN: Final = 4096


def _look(frame: FrameType) -> tuple[CodeType, _Kind]:
    if len(_known) >= _MAX_KNOWN:
        _known.clear()  # pragma: no cover - a process that has called models from thousands of functions
    code, kind = frame.f_code, cast("_Kind", None)
    if code.co_name in _OF_A_HANDLER and frame.f_globals.get("__name__") == BaseRunManager.__module__:
        kind = "handler"
    elif "run_manager" in code.co_varnames or "run_manager" in code.co_cellvars:
        kind = "model"
    found = _known[id(code)] = (code, kind)
    return found
