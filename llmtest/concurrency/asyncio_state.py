"""Which task waits for which future, as asyncio and concurrent.futures know it.

Only this module reads their private state, and it changes nothing. It was checked on Python 3.11 to 3.13. A wait that it does
not recognise counts as none: then nothing is known of the order.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import thread as pool_threads
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from time import sleep
from types import CodeType, FrameType
from typing import Any, Final

# In a Python that is not checked, no future has callbacks: everything is unordered rather than wrongly ordered.
_KNOWN: Final = sys.version_info < (3, 15)
# Frames are recognised by code object. Names would be ambiguous: programs have methods called `run` too.
_RUNS_WORK: Final = pool_threads._WorkItem.run.__code__
_WORKS: Final = pool_threads._worker.__code__
# How often a thread gives way to its spawner. One look is enough almost always; each costs a switch of threads.
_MAX_LOOKS: Final = 1000
# How many milliseconds it gives a spawner that is sure to go on: on a busy machine, one that waits for a processor.
_PATIENCE_MS: Final = 2000

Queued = Callable[[Mapping[str, Any]], Any]
couriers: Final[set[str]] = set()
"""Source files whose coroutines only carry callbacks: their events happen in the task that waits for them."""
streams: Final[dict[str, Queued]] = {}
"""Coroutines, by qualified name, that fill a queue for their spawner, and a function that finds it among their variables."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A task that is blocked on a future. By failing, the `fragile` futures on the way let it go before that one is done.
    `context` is the context of the task."""

    task: asyncio.Task[object]
    context: Context
    future: asyncio.Future[object]
    fragile: tuple[asyncio.Future[object], ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work on a pool's thread: its future, and the pool if it is still there."""

    future: ThreadFuture[object]
    pool: Executor | None


def holder(future: asyncio.Future[object], fragile: tuple[asyncio.Future[object], ...] = ()) -> Hold | None:
    """Return the task that is blocked until `future` is done, through gather, wait, wait_for, shield or a task group."""
    for callback, context in _callbacks(future):
        owner = getattr(callback, "__self__", None)
        # Programs add methods of tasks as callbacks too; `_fut_waiter` alone tells on what a task is suspended.
        if isinstance(owner, asyncio.Task) and getattr(owner, "_fut_waiter", None) is future:
            return Hold(owner, context, future, fragile)
        onward, breaks = _onward(callback, owner)
        hold = holder(onward, (*fragile, onward) if breaks else fragile) if onward is not None else None
        if hold is not None:
            return hold
    return None


def _callbacks(future: object) -> list[tuple[object, Context]]:
    # A copy, because the future may belong to the loop of another thread, which adds and removes callbacks meanwhile.
    return list(getattr(future, "_callbacks", None) or ()) if _KNOWN else []


def _onward(callback: object, owner: object) -> tuple[asyncio.Future[object] | None, bool]:
    """Return the future that is done when all that `callback` counts is done, and True if a failure ends it before."""
    if isinstance(owner, asyncio.TaskGroup):
        # None until the body of the group is over: up to then its task is not blocked.
        return getattr(owner, "_on_completed_fut", None), False
    # `asyncio.wait_for` of Python 3.11; since 3.12 it runs the coroutine in the caller's own task.
    if isinstance(callback, partial) and getattr(callback.func, "__name__", None) == "_release_waiter":
        return callback.args[0], False
    name = getattr(callback, "__qualname__", "")
    # The callbacks of gather, shield and wait are closures: the future to go on with is only among their variables.
    if getattr(callback, "__module__", None) != "asyncio.tasks" or name not in _COUNTERS:
        return None, False
    return _COUNTERS[name](_closure(callback))


def _closure(function: Any) -> dict[str, object]:
    return dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__), strict=True))


def _waited(cells: Mapping[str, Any]) -> tuple[asyncio.Future[object] | None, bool]:
    """Return the future of `asyncio.wait`, which holds its caller until all is done only for ALL_COMPLETED without a timeout."""
    whole = cells["return_when"] == asyncio.ALL_COMPLETED and cells["timeout_handle"] is None
    return (cells["waiter"] if whole else None), False


_COUNTERS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[asyncio.Future[object] | None, bool]]]] = {
    "gather.<locals>._done_callback": lambda cells: (cells["outer"], not cells["return_exceptions"]),
    "shield.<locals>._inner_done_callback": lambda cells: (cells["outer"], True),
    "_wait.<locals>._on_completion": _waited,
}


def went_well(future: asyncio.Future[object]) -> bool:
    """True if `future` is done by its result."""
    # Not `future.exception()`: asyncio takes that for handling, and would no longer log "exception was never retrieved".
    return future.done() and not future.cancelled() and getattr(future, "_exception", None) is None


def failed_by(future: asyncio.Future[object], task: asyncio.Task[object] | None) -> bool:
    """True if `future` failed with the exception of `task`."""
    error = getattr(future, "_exception", None)
    return error is not None and error is getattr(task, "_exception", None)


def group_of(task: asyncio.Task[object]) -> asyncio.TaskGroup | None:
    """Return the task group that made `task`."""
    owners = (getattr(callback, "__self__", None) for callback, _ in _callbacks(task))
    return next((owner for owner in owners if isinstance(owner, asyncio.TaskGroup)), None)


def is_left(group: asyncio.TaskGroup) -> bool:
    """True if the body of a task group and all of its tasks are over. Only its own task may ask."""
    return bool(getattr(group, "_exiting", False)) and not getattr(group, "_tasks", True)


@contextmanager
def without_loop() -> Iterator[None]:
    """Hide the event loop that runs in this thread, for work that does not await and may take a moment, such as a file."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)


def is_main(task: asyncio.Task[object]) -> bool:
    """True if this thread runs its loop only until `task` is done."""
    return any(getattr(callback, "__name__", None) == "_run_until_complete_cb" for callback, _ in _callbacks(task))


def is_eager(task: asyncio.Task[object]) -> bool:
    """True if `task` runs inside the statement that makes it, as eager tasks of Python 3.12 do up to their first wait."""
    return task in getattr(asyncio.tasks, "_eager_tasks", ())  # Python 3.11 has no eager tasks


def is_courier(task: asyncio.Task[object]) -> bool:
    """True if `task` only carries callbacks."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename in couriers


def queue_of(task: asyncio.Task[object]) -> asyncio.Queue[object] | None:
    """Return the queue that `task` fills for its spawner, if its coroutine is one of `streams`."""
    coroutine = task.get_coro()
    find = streams.get(getattr(coroutine, "__qualname__", ""))
    # A coroutine that is over has no frame. Typeshed's return type also names generators, which have no `cr_frame`.
    queue = find(coroutine.cr_frame.f_locals) if find and coroutine.cr_frame else None  # type: ignore[union-attr]
    return queue if isinstance(queue, asyncio.Queue) else None


def reader(queue: asyncio.Queue[object]) -> Hold | None:
    """Return the task that waits for the next item of `queue`."""
    return next(filter(None, map(holder, getattr(queue, "_getters", ()))), None)


# -- threads


def work() -> Work | None:
    """Return the work that this thread of a pool does now; None on any other thread."""
    frame = _own_frame(_RUNS_WORK)
    if frame is None or frame.f_back is None or frame.f_back.f_code is not _WORKS:
        return None
    pool = frame.f_back.f_locals["executor_reference"]()
    return Work(frame.f_locals["self"].future, pool)


def is_shut(pool: Executor) -> bool:
    """True if a pool has been shut down, and its threads are over."""
    return bool(getattr(pool, "_shutdown", False)) and not any(thread.is_alive() for thread in getattr(pool, "_threads", ()))


def spawner(work: Work) -> asyncio.Task[object] | None:
    """Return the task that handed over `work` with `run_in_executor` and waits for it, or is about to.

    A loop chains its future to the work only after it has handed it over, so it gets a chance to go on. The frames of its
    thread would tell too, but to read the frames of a running thread is not safe.
    """
    # Only for the loop's default pool ("asyncio") is it certain that a loop handed over the work.
    for _ in _looks() if getattr(work.pool, "_thread_name_prefix", "") == "asyncio" else (0,):
        future = _chained(work.future)
        if future is not None:
            # While no task waits yet, the task that runs on the loop now is in the call of `run_in_executor`.
            running = asyncio.current_task(future.get_loop())
            hold = holder(future)
            return hold.task if hold is not None else running
    return None


def _looks() -> Iterator[int]:
    """Yield for each look at what the spawner of this thread does. In between, the spawner gets a chance to go on."""
    for n in range(_MAX_LOOKS + _PATIENCE_MS):  # counted, not timed: a test may have stopped the clock
        yield n
        # A sleep of 0 gives the spawner the lock of the interpreter, but no processor.
        sleep(0 if n < _MAX_LOOKS else 0.001)


def caller() -> tuple[asyncio.Task[object], asyncio.Future[object]] | None:
    """Return the task that waits in `anyio.to_thread.run_sync` for this thread, and the future that it waits for."""
    frame = _own_frame(_code("anyio._backends._asyncio", "WorkerThread", "run"))
    if frame is None:
        return None
    future: asyncio.Future[object] = frame.f_locals["future"]
    for _ in _looks():  # the task has handed over the work, and is about to wait
        hold = holder(future)
        if hold is not None:
            return hold.task, future
        if future.done():  # pragma: no branch - whether the task waits at the first look is the luck of the threads
            break  # it was cancelled, and went on
    return None


def call_from(task: asyncio.Task[object], thread_id: int) -> tuple[ThreadFuture[object], bool] | None:
    """Return the future of a call that a thread made into the loop of `task`, and True if it waits for it now.

    The thread is in `BlockingPortal.call`, or in a request of a web server's test client, which waits before it returns.
    """
    frame = _frame_of(task, _code("anyio.from_thread", "BlockingPortal", "_call_func"))
    if frame is None:
        return None
    future = frame.f_locals["future"]
    for n in _looks():
        # The frames of a thread that runs are not safe to keep, but this one can leave neither while `task` is not over.
        waits: FrameType | None = sys._current_frames().get(thread_id)
        is_on_its_way = _is_in_call(waits)
        while waits is not None:
            is_blocked = _is_call_of(waits, future)
            if is_blocked or _is_request_of(waits, future):
                return future, is_blocked
            waits = waits.f_back
        if n >= _MAX_LOOKS and not is_on_its_way:
            break
    return None


def _is_in_call(frame: FrameType | None) -> bool:
    """True if a thread is in `BlockingPortal.call`, and about to wait."""
    call = _code("anyio.from_thread", "BlockingPortal", "call")
    while frame is not None and frame.f_code not in (call, ThreadFuture.result.__code__):
        frame = frame.f_back
    return frame is not None and frame.f_code is call


def _is_call_of(frame: FrameType, future: ThreadFuture[object]) -> bool:
    if frame.f_code is not ThreadFuture.result.__code__ or frame.f_back is None:
        return False
    calls = frame.f_back.f_code is _code("anyio.from_thread", "BlockingPortal", "call")
    return calls and frame.f_locals.get("self") is future


def _is_request_of(frame: FrameType, future: ThreadFuture[object]) -> bool:
    # https://github.com/encode/starlette/blob/master/starlette/testclient.py: its response waits for the app when it is closed.
    requests = _code("starlette.testclient", "_TestClientTransport", "handle_request")
    return frame.f_code is requests and frame.f_locals.get("app_task") is future


def _frame_of(task: asyncio.Task[object], code: CodeType | None) -> FrameType | None:
    """Return the frame in which a task runs some code, if it does."""
    coroutine: Any = task.get_coro()
    if getattr(coroutine, "cr_running", False):
        return _own_frame(code)
    while coroutine is not None and getattr(getattr(coroutine, "cr_frame", None), "f_code", None) is not code:
        coroutine = getattr(coroutine, "cr_await", None)
    return coroutine.cr_frame if coroutine is not None else None


def _own_frame(code: CodeType | None) -> FrameType | None:
    frame: FrameType | None = sys._getframe(1) if code is not None else None
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame


def _code(module: str, owner: str, name: str) -> CodeType | None:
    """Return the code of a method of a module, if the program has loaded it."""
    return getattr(getattr(getattr(sys.modules.get(module), owner, None), name, None), "__code__", None)


def _chained(future: ThreadFuture[object]) -> asyncio.Future[object] | None:
    """Return the asyncio future that gets the result of a thread's."""
    for callback in list(getattr(future, "_done_callbacks", ())):
        if getattr(callback, "__qualname__", "") == "_chain_future.<locals>._call_set_state":
            found = _closure(callback)["destination"]
            return found if isinstance(found, asyncio.Future) else None
    return None
