"""Faults of a program itself: its consumer leaves a stream, its process is killed between two checkpoints and resumed.

While it is installed, the outermost streams of Runnables are read through a reader that can leave them, and what LangGraph writes
into a checkpointer may not come there any more. A graph that was killed so is called again with no input, as its program
would resume it; with its input if nothing was saved.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final
from uuid import UUID

from langchain_core.runnables import Runnable

from llmtest.campaigns.injection import ConsumerLeftError, Injection, Seen, current
from llmtest.core.patches import FamilyPatch, Patch, replace
from llmtest.langchain import tap
from llmtest.langchain.caller import run_around
from llmtest.langchain.freezing import freeze

CHUNK: Final = "chunk"
CHECKPOINT: Final = "checkpoint"

_patches: Final[list[Patch | FamilyPatch]] = []
_lock = threading.RLock()
_active: ContextVar[_Call | None] = ContextVar("llmtest_active", default=None)
"""The innermost call or stream that no run is around: a stream within it has another consumer than the test."""
_saving: ContextVar[bool] = ContextVar("llmtest_saving", default=False)
"""True inside of a write of a checkpointer: one of its methods may call another."""


def install() -> None:
    """Wrap streams, checkpointers and graphs, also of classes that are defined later, until `uninstall`."""
    with _lock:
        if _patches:
            return
        tap.hear_starts(_note_root)
        _patches.append(FamilyPatch(Runnable, lambda _: _CALLS))
        graphs, savers = _imported("langgraph.pregel.main"), _imported("langgraph.checkpoint.base")
        if graphs is not None and savers is not None:
            _patches.append(FamilyPatch(savers.BaseCheckpointSaver, lambda _: _WRITES))
            executor = getattr(_imported("langgraph.pregel._executor"), "BackgroundExecutor", None)
            if executor is not None:  # pragma: no branch  # it is private: a later LangGraph may have another one
                _patches.append(replace(executor, "submit", _submit))


def _imported(module: str) -> Any:
    """Return a module, also one that the program imports only later: what can be interrupted is the same in each run."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def uninstall() -> None:
    """Take the wrappers back."""
    with _lock:
        tap.forget_starts(_note_root)
        while _patches:
            _patches.pop().undo()


class _Call:
    """A call or a stream that the program makes outside of every run. Holds state: the root runs that it starts."""

    def __init__(self, injection: Injection, runnable: Any, around: _Call | None) -> None:
        self.runnable = runnable
        self.is_graph = hasattr(runnable, "checkpointer")
        self.roots: list[UUID] = []
        self.is_outermost = around is None
        self._injection = injection
        self._saves = injection.saves
        self._tokens: list[Token[_Call | None]] = []

    def __enter__(self) -> _Call:
        self._tokens.append(_active.set(self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _active.reset(self._tokens.pop())

    def resumes(self) -> bool:
        """True if it is a graph that was killed just now; it is called again. The program may have turned what ended it into
        another error."""
        if not (self._injection.is_killed and self.is_graph):
            return False
        self._injection.resume()
        return True

    def saves_behind(self, options: Mapping[str, Any]) -> bool:
        """True for a graph with a checkpointer that goes on while it saves."""
        saver = getattr(self.runnable, "checkpointer", None)
        return bool(saver) and saver is not True and options.get("durability") in (None, "async")

    def again(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return how a graph is called whose process was killed: with no input, if something of this call has been saved."""
        if self._injection.saves == self._saves:
            return args, kwargs
        return ((None, *args[1:]), kwargs) if args else (args, {**kwargs, "input": None})

    def gave(self, value: Any) -> Any:
        """Note what the caller gets, and return it. What a graph gives depends on how it is called."""
        self._note(None, None if self.is_graph else freeze(value))
        return value

    def raised(self, error: BaseException) -> None:
        """Note that the caller gets an error. One that stops the program from outside is none of the run."""
        if isinstance(error, Exception) and not self._injection.is_killed:
            self._note(error)

    def ended(self) -> None:
        """Note that a stream has ended well."""
        self._note(None)

    def _note(self, error: BaseException | None, value: object = None) -> None:
        if len(self.roots) == 1:
            self._injection.seen.append(Seen(self.roots[0], error, value))

    def leave(self) -> None:
        """End the consumer of a stream here, if a fault says so."""
        if self.is_outermost and self._injection.reach(CHUNK):
            raise ConsumerLeftError("the consumer left the stream")


def _begin(runnable: Any) -> _Call | None:
    """Return the call of `runnable` that begins here; None within a run, and for a method that another one of it calls."""
    injection, around = current(), _active.get()
    if injection is None or (around is not None and around.runnable is runnable) or run_around() is not None:
        return None
    return _Call(injection, runnable, around)


def _note_root(run_id: UUID, _: str, is_root: bool) -> None:
    call = _active.get()
    if call is not None and is_root:
        call.roots.append(run_id)


# -- calls and streams


def _invoke(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def invoke(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _begin(self)
        if call is None:
            return original(self, *args, **kwargs)
        try:
            return _of_caller(call, original, self, *args, **kwargs)
        except BaseException:
            if not call.resumes():
                raise
            args, kwargs = call.again(args, kwargs)
            return _of_caller(call, original, self, *args, **kwargs)

    return invoke


def _of_caller(call: _Call, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        with call:
            return call.gave(original(*args, **kwargs))
    except BaseException as error:
        call.raised(error)
        raise


def _ainvoke(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def ainvoke(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _begin(self)
        if call is None:
            return await original(self, *args, **kwargs)
        if call.saves_behind(kwargs):
            kwargs["durability"] = "sync"  # as in `_submit`: else the speed of the database decides
        try:
            return await _of_acaller(call, original, self, *args, **kwargs)
        except BaseException:
            if not call.resumes():
                raise
            args, kwargs = call.again(args, kwargs)
            return await _of_acaller(call, original, self, *args, **kwargs)

    return ainvoke


async def _of_acaller(call: _Call, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        with call:
            return call.gave(await original(*args, **kwargs))
    except BaseException as error:
        call.raised(error)
        raise


def _stream(original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    @functools.wraps(original)
    def stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        call = _begin(self)
        inner = original(self, *args, **kwargs)
        return inner if call is None else _read(inner, call)

    return stream


def _read(inner: Any, call: _Call) -> Iterator[Any]:
    try:
        while True:
            with call:
                try:
                    chunk = next(inner)
                except StopIteration:
                    return call.ended()
                except BaseException as error:
                    call.raised(error)
                    raise
            yield chunk
            call.leave()
    finally:
        with call:
            inner.close()


def _astream(original: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    @functools.wraps(original)
    def astream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        call = _begin(self)
        inner = original(self, *args, **kwargs)
        return inner if call is None else _aread(inner, call)

    return astream


async def _aread(inner: Any, call: _Call) -> AsyncIterator[Any]:
    try:
        while True:
            with call:
                try:
                    chunk = await anext(inner)
                except StopAsyncIteration:
                    call.ended()
                    return
                except BaseException as error:
                    call.raised(error)
                    raise
            yield chunk
            call.leave()
    finally:
        with call:
            await inner.aclose()


_CALLS: Final = {"invoke": _invoke, "ainvoke": _ainvoke, "stream": _stream, "astream": _astream}


# -- checkpoints


@contextmanager
def _marked_saving() -> Iterator[None]:
    token = _saving.set(True)
    try:
        yield
    finally:
        _saving.reset(token)


def _write(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _saving.get():
            return original(self, *args, **kwargs)
        _come_to(original.__name__, args)
        with _marked_saving():
            saved = original(self, *args, **kwargs)
        _note_saved()
        return saved

    return write


def _awrite(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _saving.get():
            return await original(self, *args, **kwargs)
        _come_to(original.__name__, args)
        with _marked_saving():
            saved = await original(self, *args, **kwargs)
        _note_saved()
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


def _note_saved() -> None:
    injection = current()
    if injection is not None:
        injection.saves += 1


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
