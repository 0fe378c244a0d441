"""The run that a call of a double belongs to, with its tags and metadata.

They are looked up only when a step or a diagnostic needs them, and no run lives longer because of it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from traceback import walk_stack
from typing import Any

from langchain_core.runnables.config import var_child_runnable_config


def run_of(run_manager: Any, model: Any) -> Any:
    """Return the run manager of the call that is being answered. LangChain's frames above `_stream` have it, `_stream` not."""
    if run_manager is not None:
        return run_manager
    for frame, _ in islice(walk_stack(sys._getframe(1)), 8):
        if frame.f_locals.get("self") is model and frame.f_locals.get("run_manager") is not None:
            return frame.f_locals["run_manager"]
    return None


def weakly(run: Any) -> Callable[[], Any]:
    """Return a function that gives the run manager while its run is open; it must not live longer."""
    return (lambda: None) if run is None else weakref.ref(run)


def about(run: Any) -> tuple[Sequence[str], Mapping[str, Any]]:
    """Return the tags and metadata of a run, with LangGraph's thread from the configuration around it."""
    config: Mapping[str, Any] = var_child_runnable_config.get() or {}
    configurable = config.get("configurable") or {}
    thread = {"thread_id": configurable["thread_id"]} if "thread_id" in configurable else {}
    if run is None:
        return config.get("tags") or (), {**thread, **(config.get("metadata") or {})}
    return run.tags, {**thread, **run.metadata}
