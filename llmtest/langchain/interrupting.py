"""Faults of a program itself: its consumer leaves a stream, its process is killed between two checkpoints and resumed.

While it is installed, the outermost streams of Runnables are read through a reader that can leave them, and what LangGraph writes
into a checkpointer may not come there any more. A graph that was killed so is called again with no input, as its program
would resume it; with its input if nothing was saved.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from langchain_core.runnables import Runnable

from llmtest.campaigns.injection import ConsumerLeftError, Injection, current
from llmtest.core.patches import Patch, replace, replace_all, subclasses
from llmtest.langchain.caller import run_around

CHUNK: Final = "chunk"
CHECKPOINT: Final = "checkpoint"

_patches: Final[list[Patch | _Later]] = []
_lock = threading.RLock()
_reading: ContextVar[bool] = ContextVar("llmtest_reading", default=False)
"""True inside of a stream or a call that is wrapped: a stream within it has another consumer than the test."""
_saving: ContextVar[bool] = ContextVar("llmtest_saving", default=False)
"""True inside of a write of a checkpointer: one of its methods may call another."""


def install() -> None:
    """Wrap streams, checkpointers and graphs of the classes that there are, until `uninstall`."""
    with _lock:
        if _patches:
            return
        _wrap_all(Runnable, {"stream": _stream, "astream": _astream})
        graphs, savers = _imported("langgraph.pregel.main"), _imported("langgraph.checkpoint.base")
        if graphs is not None and savers is not None:
            _wrap_all(savers.BaseCheckpointSaver, _WRITES)
            _patches.append(_Later(savers.BaseCheckpointSaver))
            _wrap_all(graphs.Pregel, {"invoke": _invoke, "ainvoke": _ainvoke})
            executor = getattr(sys.modules.get("langgraph.pregel._executor"), "BackgroundExecutor", None)
            if executor is not None:
                _patches.append(replace(executor, "submit", _submit))


def _imported(module: str) -> Any:
    """Return a module, also one that the program imports only later: what can be interrupted is the same in each run."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


class _Later:
    """Wraps the classes of checkpointers that are defined later: a program may import one where it needs it."""

    def __init__(self, base: Any) -> None:
        self._base = base

        def init_subclass(cls: Any, /, **kwargs: Any) -> None:
            super(base, cls).__init_subclass__(**kwargs)
            with _lock:
                _patches.extend(replace_all(cls, _WRITES))

        base.__init_subclass__ = classmethod(init_subclass)

    def undo(self) -> None:
        del self._base.__init_subclass__


def uninstall() -> None:
    """Take the wrappers back."""
    with _lock:
        while _patches:
            _patches.pop().undo()


def _wrap_all(base: Any, wraps: Mapping[str, Callable[[Any], Any]]) -> None:
    for kind in dict.fromkeys((base, *subclasses(base))):
        _patches.extend(replace_all(kind, wraps))


@contextmanager
def _marked(inside: ContextVar[bool]) -> Iterator[None]:
    token = inside.set(True)
    try:
        yield
    finally:
        inside.reset(token)


def _is_outermost() -> Injection | None:
    """Return the open injection, for a call of the test itself: no run is around it, and no wrapper of ours."""
    return current() if not _reading.get() and run_around() is None else None


# -- streams


def _stream(original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    @functools.wraps(original)
    def stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        injection = _is_outermost()
        inner = original(self, *args, **kwargs)
        return inner if injection is None else _read(inner, injection)

    return stream


def _read(inner: Any, injection: Injection) -> Iterator[Any]:
    try:
        while True:
            with _marked(_reading):
                try:
                    chunk = next(inner)
                except StopIteration:
                    return
            yield chunk
            if injection.reach(CHUNK):
                raise ConsumerLeftError("the consumer left the stream")
    finally:
        with _marked(_reading):
            inner.close()


def _astream(original: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    @functools.wraps(original)
    def astream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        injection = _is_outermost()
        inner = original(self, *args, **kwargs)
        return inner if injection is None else _aread(inner, injection)

    return astream


async def _aread(inner: Any, injection: Injection) -> AsyncIterator[Any]:
    try:
        while True:
            with _marked(_reading):
                try:
                    chunk = await anext(inner)
                except StopAsyncIteration:
                    return
            yield chunk
            if injection.reach(CHUNK):
                raise ConsumerLeftError("the consumer left the stream")
    finally:
        with _marked(_reading):
            await inner.aclose()


# -- checkpoints


def _write(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _saving.get():
            return original(self, *args, **kwargs)
        _come_to(original.__name__, args)
        with _marked(_saving):
            saved = original(self, *args, **kwargs)
        _note_saved(original.__name__)
        return saved

    return write


def _awrite(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _saving.get():
            return await original(self, *args, **kwargs)
        _come_to(original.__name__, args)
        with _marked(_saving):
            saved = await original(self, *args, **kwargs)
        _note_saved(original.__name__)
        return saved

    return write


_WRITES: Final = {"put": _write, "put_writes": _write, "aput": _awrite, "aput_writes": _awrite}


def _come_to(method: str, args: Sequence[Any]) -> None:
    """Note that a graph is about to save something, or end as a killed process does."""
    injection = current()
    if injection is None:
        return
    injection.check_alive()
    if injection.reach(_name_of(method, args)):
        injection.is_killed = True
        injection.check_alive()


def _note_saved(method: str) -> None:
    injection = current()
    if injection is not None and method in _PUTS:
        injection.is_saved = True


_PUTS: Final = frozenset({"put", "aput"})


def _name_of(method: str, args: Sequence[Any]) -> str:
    """Return the name of what is saved: it must not depend on which of two threads saves first."""
    if method in _PUTS:
        return f"{CHECKPOINT} of step {args[2].get('step')}"
    path = str(args[3]) if len(args) > 3 else ""
    task = path.rpartition(" ")[2]
    return f"{CHECKPOINT} of the writes of {f'task {int(task)}' if task.isdecimal() else task or 'a task'}"


def _submit(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def submit(self: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        future = original(self, function, *args, **kwargs)
        if current() is not None and getattr(function, "__name__", "") in _SAVING:
            wait([future])  # else the luck of threads decides what had happened when the process was killed
        return future

    return submit


_SAVING: Final = frozenset({"put_writes", "_checkpointer_put_after_previous"})
"""What LangGraph's loop saves in the background."""


def _invoke(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def invoke(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:
        injection = _is_outermost()
        try:
            with _marked(_reading):
                return original(self, input, config, **kwargs)
        except BaseException:  # the program may have turned what ended it into another error
            if injection is None or not injection.is_killed:
                raise
            injection.resume()
            with _marked(_reading):
                return original(self, None if injection.is_saved else input, config, **kwargs)

    return invoke


def _ainvoke(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def ainvoke(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:
        injection = _is_outermost()
        try:
            with _marked(_reading):
                return await original(self, input, config, **kwargs)
        except BaseException:  # the program may have turned what ended it into another error
            if injection is None or not injection.is_killed:
                raise
            injection.resume()
            with _marked(_reading):
                return await original(self, None if injection.is_saved else input, config, **kwargs)

    return ainvoke
