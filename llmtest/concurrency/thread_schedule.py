"""Threads one at a time: which of those that could go on goes on is chosen, and not the luck of the operating system.

While a `ThreadSchedule` is entered, the thread that entered it, the threads that it starts and the jobs that it gives to pools
are its members. One member runs at a time. It hands over where it waits (conditions, and so events, queues, futures and `join`;
locks that are made meanwhile; `time.sleep`, in virtual time), and may hand over at each `point`, such as a callback. A member
that waits for anything else, such as a lock from before, cannot be controlled: that is a hole, and it is said.
"""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
from asyncio import BaseEventLoop
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import thread as pools
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

HOLE_S: Final = 5.0
"""How long a member may really wait for its turn before something outside must hold up the one that runs."""
MAX_SWITCHES: Final = 200_000
MAX_ROUNDS_AT_THE_END: Final = 1_000

_REAL_LOCK: Final = threading.Lock
_REAL_RLOCK: Final = threading.RLock
_NUMBERED: Final = re.compile(r"^(Thread|.*?)(?:-\d+)+(?= \(|$)")
_WORK_ITEM: Final[Any] = pools._WorkItem


class ThreadScheduleError(Exception):
    """The members cannot go on: a deadlock, a hole, or no end. Its text begins with which of them."""


class _Member:
    """One line of control. `gate` opens when it is its turn; `until` is the virtual time at which it stops to wait."""

    __slots__ = ("gate", "is_daemon", "is_done", "is_late", "name", "until", "waits_for")

    def __init__(self, name: str, *, is_daemon: bool = False) -> None:
        self.name = name
        self.is_daemon = is_daemon
        self.gate = _REAL_LOCK()
        self.gate.acquire()
        self.until: float | None = None
        self.waits_for: object = None
        self.is_late = self.is_done = False


class _Pool:
    """The jobs of an executor: no more of them run at a time than it has workers."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.running = 0
        self.waiting: deque[tuple[_Member, Callable[[], None], Future[Any]]] = deque()


class ThreadSchedule:
    """The block. `choose(n)` returns which of `n` members goes on: 0 is the one that runs, or else the one that waits longest.
    It also chooses how late a timer fires, up to `late_s` seconds of virtual time: 0 is in time.

    Holds state, which only the member that runs touches. One block at a time in a process.
    """

    def __init__(self, choose: Callable[[int], int], late_s: float = 0.0) -> None:
        self._choose = choose
        self._late_s = late_s
        self._ready: list[_Member] = []
        self._waiting: list[_Member] = []
        self._members: dict[int, _Member] = {}
        self._of_threads: dict[threading.Thread, _Member] = {}
        self._pools: dict[int, _Pool] = {}
        self._numbers = itertools.count(1)
        self._now = 0.0
        self._switches = 0
        self._failure: ThreadScheduleError | None = None
        self._is_over = False
        self._before: dict[tuple[Any, str], Any] = {}
        self.has_loop = False
        """True if a member has run an event loop: nothing orders its tasks, nor the jobs that they give to threads."""

    def __enter__(self) -> Self:
        self._members[threading.get_ident()] = _Member("main")
        ours: dict[tuple[Any, str], Any] = {
            (threading.Thread, "start"): lambda thread: self._start(thread),
            (threading.Thread, "join"): lambda thread, timeout=None: self._join(thread, timeout),
            (threading.Condition, "wait"): lambda condition, timeout=None: self._wait(condition, timeout),
            (threading.Condition, "notify"): lambda condition, n=1: self._notify(condition, n),
            (threading.Condition, "notify_all"): lambda condition: self._notify(condition, math.inf),
            (ThreadPoolExecutor, "submit"): lambda pool, /, fn, *args, **kwargs: self._submit(pool, fn, *args, **kwargs),
            (ThreadPoolExecutor, "shutdown"): lambda pool, wait=True, **options: self._shutdown(pool, wait, **options),
            (threading, "Lock"): lambda: _Lock(self),
            (threading, "RLock"): lambda: _RLock(self),
            (BaseEventLoop, "run_forever"): lambda loop: self._run_loop(loop),
            (time, "sleep"): self._sleep,
        }
        for (owner, name), function in ours.items():
            self._before[owner, name] = getattr(owner, name)
            setattr(owner, name, function)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._finish()
        finally:
            for (owner, name), function in self._before.items():
                setattr(owner, name, function)
            self._members.clear()

    def _real(self, owner: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call what is replaced. Whatever it waits for needs no turn, so the member that calls it is none meanwhile."""
        me = self._members.pop(threading.get_ident(), None)
        try:
            return self._before[owner, name](*args, **kwargs)
        finally:
            if me is not None:
                self._members[threading.get_ident()] = me

    @property
    def failure(self) -> ThreadScheduleError | None:
        """Why the members could not go on, also where the program has swallowed the error."""
        return None if self._is_over else self._failure

    def point(self) -> None:
        """Another member may go on here."""
        me = self._me()
        if me is not None:
            self._ready.insert(0, me)
            self._switch(me)

    # -- turns

    def _me(self) -> _Member | None:
        return self._members.get(threading.get_ident())

    def _switch(self, me: _Member) -> None:
        """Let the next member go on, and wait for the own turn, unless it is the own one."""
        if self._failure is not None:  # what has been raised before may have been swallowed
            raise self._failure
        chosen = self._next()
        if chosen is not me:
            chosen.gate.release()
            self._park(me)

    def _next(self) -> _Member:
        while not self._ready:
            self._advance()
        self._switches += 1
        if self._switches > MAX_SWITCHES:
            self._fail(f"step-limit: more than {MAX_SWITCHES:,} switches")
        index = self._choose(len(self._ready)) if len(self._ready) > 1 else 0
        return self._ready.pop(index)

    def _advance(self) -> None:
        """Let time pass until a member stops to wait."""
        timed = [member for member in self._waiting if member.until is not None]
        if not timed:
            told = "; ".join(f"{member.name} waits for {_shown(member.waits_for)}" for member in self._waiting)
            self._fail(f"deadlock: every thread waits, and nothing is left that could wake one: {told}")
        ends = sorted({member.until for member in timed if member.until is not None})
        # A timer may fire late, never early: those that end a little later may then be over, too.
        late = [end for end in ends if end <= ends[0] + self._late_s]
        self._now = late[self._choose(len(late)) if len(late) > 1 else 0]
        for member in [member for member in timed if member.until is not None and member.until <= self._now]:
            member.is_late = True
            self._wake(member)

    def _wake(self, member: _Member) -> None:
        self._waiting.remove(member)
        self._ready.append(member)

    def _park(self, me: _Member) -> None:
        if not me.gate.acquire(timeout=HOLE_S):
            self._fail(f"hole: {me.name} had no turn for {HOLE_S:g} seconds: a thread waits for what is not controlled")
        if self._failure is not None:
            raise self._failure

    def _fail(self, text: str) -> None:
        if self._failure is None:
            self._failure = ThreadScheduleError(text)
        for member in (*self._waiting, *self._ready):
            with suppress(RuntimeError):  # it has been opened already
                member.gate.release()
        raise self._failure

    def _block(self, me: _Member, what: object, timeout: float | None = None) -> bool:
        """Wait until a member wakes this one; return False if `timeout` seconds have passed before."""
        me.until, me.waits_for, me.is_late = (None if timeout is None else self._now + timeout), what, False
        self._waiting.append(me)
        self._switch(me)
        return not me.is_late

    def _wake_waiters(self, what: object, number: float = math.inf) -> int:
        """Wake so many members that wait for `what`; return how many there were."""
        found = [member for member in self._waiting if member.waits_for is what][: int(min(number, len(self._waiting)))]
        for member in found:
            self._wake(member)
        return len(found)

    # -- what members wait for

    def _sleep(self, seconds: float) -> None:
        me = self._me()
        if me is None:
            self._real(time, "sleep", seconds)
        elif seconds > 0:
            self._block(me, "time.sleep", seconds)
        else:
            self._ready.append(me)
            self._switch(me)

    def _wait(self, condition: Any, timeout: float | None) -> bool:
        me = self._me()
        if me is None:
            return bool(self._real(threading.Condition, "wait", condition, timeout))
        saved = condition._release_save()
        try:
            return self._block(me, condition, timeout)
        finally:
            condition._acquire_restore(saved)

    def _notify(self, condition: Any, number: float) -> None:
        left = number - self._wake_waiters(condition, number)
        if left > 0 and condition._waiters:  # of threads that are no members
            self._real(threading.Condition, "notify", condition, int(min(left, len(condition._waiters))))

    def _run_loop(self, loop: Any) -> None:
        self.has_loop = self.has_loop or self._me() is not None
        self._real(BaseEventLoop, "run_forever", loop)

    # -- threads and pools

    def _start(self, thread: threading.Thread) -> None:
        if self._me() is None:
            self._real(threading.Thread, "start", thread)
            return
        run = thread.run
        self._of_threads[thread] = member = _Member(self._name_of(thread.name), is_daemon=thread.daemon)
        thread.run = lambda: self._run(member, run)  # type: ignore[method-assign]
        self._begin(thread, member)

    def _name_of(self, name: str) -> str:
        """Return a name with a number of this block: threads and pools are counted in the process, so their names differ."""
        return _NUMBERED.sub(lambda found: f"{found[1]} {next(self._numbers)}", name)

    def _begin(self, thread: threading.Thread, member: _Member) -> None:
        self._real(threading.Thread, "start", thread)
        self._ready.append(member)

    def _run(self, member: _Member, body: Callable[[], None]) -> None:
        """Run the body of a member on this thread, from its first turn on."""
        try:
            self._park(member)
        except ThreadScheduleError:
            return  # the others are told
        self._members[threading.get_ident()] = member
        try:
            body()
        except ThreadScheduleError:
            pass
        finally:
            self._members.pop(threading.get_ident(), None)
            self._leave(member)

    def _leave(self, member: _Member) -> None:
        member.is_done = True
        self._wake_waiters(member)
        if self._failure is None:
            with suppress(ThreadScheduleError):
                self._next().gate.release()

    def _join(self, thread: threading.Thread, timeout: float | None) -> None:
        me, member = self._me(), self._of_threads.get(thread)
        if me is not None and member is not None:
            if not member.is_done and not self._block(me, member, timeout):
                return
            timeout = None  # it has ended, all but for a moment
        self._real(threading.Thread, "join", thread, timeout)

    def _submit(self, pool: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        if self._me() is None:
            submitted: Future[Any] = self._real(ThreadPoolExecutor, "submit", pool, function, *args, **kwargs)
            return submitted
        if pool._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        item = _work_item(future, function, args, kwargs)
        jobs = self._pools.setdefault(id(pool), _Pool(pool._max_workers))
        member = _Member(self._name_of(f"{pool._thread_name_prefix or 'job'}-0"))

        def job() -> None:
            try:
                item()
            finally:
                jobs.running -= 1
                self._next_job(jobs)
                self._wake_waiters(jobs)

        jobs.waiting.append((member, job, future))
        self._next_job(jobs)
        return future

    def _next_job(self, jobs: _Pool) -> None:
        if jobs.waiting and jobs.running < jobs.workers:
            member, job, _ = jobs.waiting.popleft()
            jobs.running += 1
            thread = threading.Thread(target=lambda: self._run(member, job), name=member.name, daemon=True)
            self._begin(thread, member)

    def _shutdown(self, pool: Any, wait: bool, *, cancel_futures: bool = False) -> None:
        me, jobs = self._me(), self._pools.get(id(pool))
        if me is not None and jobs is not None:
            pool._shutdown = True
            while cancel_futures and jobs.waiting:
                jobs.waiting.pop()[-1].cancel()
            while wait and (jobs.running or jobs.waiting):
                self._block(me, jobs)
            del self._pools[id(pool)]
        self._real(ThreadPoolExecutor, "shutdown", pool, wait, cancel_futures=cancel_futures)

    def _finish(self) -> None:
        """Let the other members come to their ends. Those that wait for ever are told that it is over."""
        me = self._members[threading.get_ident()]
        for _ in range(MAX_ROUNDS_AT_THE_END):
            if self._failure is not None or not (self._ready or any(member.until is not None for member in self._waiting)):
                break
            if self._ready:
                self._ready.append(me)
                self._switch(me)
            else:
                self._advance()
        with suppress(ThreadScheduleError):
            if self._waiting or self._ready:
                # A program may leave a daemon that waits for more to do; it is ended here, so that the next run is like this one.
                self._is_over = self._failure is None and not self._ready and all(each.is_daemon for each in self._waiting)
                self._fail("left: a thread was still at work when the program had ended")


class _Lock:
    """A lock that a member waits for in turn."""

    def __init__(self, schedule: ThreadSchedule) -> None:
        self._schedule = schedule
        self._lock = _REAL_LOCK()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = self._schedule._me()
        if me is None:
            return self._lock.acquire(blocking, timeout)
        while not self._lock.acquire(blocking=False):
            if not blocking or not self._schedule._block(me, self, None if timeout < 0 else timeout):
                return False
        return True

    def release(self) -> None:
        self._lock.release()
        self._schedule._wake_waiters(self, 1)

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _RLock(_Lock):
    """A lock that its holder may take again. Conditions ask it for more than others do."""

    def __init__(self, schedule: ThreadSchedule) -> None:
        self._schedule = schedule
        self._lock: Any = _REAL_RLOCK()

    def release(self) -> None:
        self._lock.release()
        if not self._lock._is_owned():
            self._schedule._wake_waiters(self, 1)

    def _is_owned(self) -> bool:
        return bool(self._lock._is_owned())

    def _release_save(self) -> Any:
        state = self._lock._release_save()
        self._schedule._wake_waiters(self, 1)
        return state

    def _acquire_restore(self, state: Any) -> None:
        self.acquire()
        self._lock.release()  # nobody else has a turn between these two
        self._lock._acquire_restore(state)


def _work_item(future: Future[Any], function: Any, args: Any, kwargs: Any) -> Callable[[], None]:
    """Return what runs a job and gives its future the outcome, as a worker of a pool does."""
    try:
        item = _WORK_ITEM(future, function, args, kwargs)
    except TypeError:  # pragma: no cover  # Python 3.14 has another one
        item = _WORK_ITEM(future, (function, args, kwargs))
        context = pools.WorkerContext(None, ())  # type: ignore[attr-defined]
        return lambda: item.run(context)
    return item.run  # type: ignore[no-any-return]


def _shown(what: object) -> str:
    if isinstance(what, _Member):
        return f"the end of {what.name}"
    return (
        what
        if isinstance(what, str)
        else {"_Lock": "a lock", "_RLock": "a lock", "Condition": "a condition", "_Pool": "a pool"}[type(what).__name__]
    )
