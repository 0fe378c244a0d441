"""Who asks a double: the run that its call belongs to, the tags and metadata of that, and the place in the program.

Floor 2. Nobody keeps a run longer than it is open, and nothing is looked up before somebody wants to know it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables.config import var_child_runnable_config


def run_of(run_manager: Any, model: Any) -> Any:
    """The run manager of the call that is being answered. `_stream` is not given it, but whoever calls it holds it."""
    if run_manager is not None:
        return run_manager
    frame: Any = sys._getframe(1)
    depth = 0
    while frame is not None and depth < 8:
        if frame.f_locals.get("self") is model and frame.f_locals.get("run_manager") is not None:
            return frame.f_locals["run_manager"]
        frame, depth = frame.f_back, depth + 1
    return None


def weakly(run: Any) -> Callable[[], Any]:
    """A run manager lives as long as its run is open, and nobody may keep it alive longer."""
    return _no_run if run is None else weakref.ref(run)


def _no_run() -> None:
    return None


_LANGCHAIN = ("langchain", "langchain_core", "langchain_classic", "langchain_community", "langgraph", "langsmith")
_PASSED = frozenset(("llmtest", *_LANGCHAIN, "asyncio", "concurrent", "threading", "contextvars", "functools"))


def calling() -> str:
    """`file:line` of the program that is calling: the innermost frame that is neither ours, LangChain's nor Python's."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "a thread whose target is LangChain's"


def about(run: Any) -> tuple[Sequence[str], Mapping[str, Any]]:
    """Tags and metadata of a run; what is bound by the configuration around it, such as LangGraph's thread, is in it."""
    config: Mapping[str, Any] = var_child_runnable_config.get() or {}
    configurable = config.get("configurable") or {}
    thread = {"thread_id": configurable["thread_id"]} if "thread_id" in configurable else {}
    if run is None:
        return config.get("tags") or (), {**thread, **(config.get("metadata") or {})}
    return run.tags, {**thread, **run.metadata}
