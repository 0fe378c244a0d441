"""Who asks a double: the run that its call belongs to, and the tags and metadata of that.

Nobody keeps a run longer than it is open, and nothing is looked up before somebody wants to know it.
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
    """The run manager of the call that is being answered. `_stream` is not given it, but whoever calls it holds it."""
    if run_manager is not None:
        return run_manager
    for frame, _ in islice(walk_stack(sys._getframe(1)), 8):
        if frame.f_locals.get("self") is model and frame.f_locals.get("run_manager") is not None:
            return frame.f_locals["run_manager"]
    return None


def weakly(run: Any) -> Callable[[], Any]:
    """A run manager lives as long as its run is open, and nobody may keep it alive longer."""
    return (lambda: None) if run is None else weakref.ref(run)


def about(run: Any) -> tuple[Sequence[str], Mapping[str, Any]]:
    """Tags and metadata of a run; what is bound by the configuration around it, such as LangGraph's thread, is in it."""
    config: Mapping[str, Any] = var_child_runnable_config.get() or {}
    configurable = config.get("configurable") or {}
    thread = {"thread_id": configurable["thread_id"]} if "thread_id" in configurable else {}
    if run is None:
        return config.get("tags") or (), {**thread, **(config.get("metadata") or {})}
    return run.tags, {**thread, **run.metadata}
