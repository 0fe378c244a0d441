"""Lines of control: the thread and the asyncio task that run now, their spawner, and the line that waited for them.

A lane counts its own moments: each event that order depends on is one. A lane remembers two moments of its spawner: `attach`,
after which the spawner had it spawned, and `joined`, from which on the spawner knew that all of it was over. That is all that
`llmtest.order.siblings` needs, and it is plain data.

A mark, a lane and a moment of it, travels with the context. A task or thread that copied its context finds its spawner's
mark there, sees that it is another line of control, and makes a lane of its own below it. At its first event,
`llmtest.concurrency.asyncio_state` finds the task that is blocked until it is done. A spawner that is blocked, and that has
done nothing since the spawning, cannot go on before, so `joined` is known at once. A wait that comes later is chance, and not
used.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from llmtest.concurrency import asyncio_state, waits
from llmtest.concurrency.asyncio_state import Hold

Mark = tuple["Lane", int]
"""A lane and a moment of it."""


@dataclass(slots=True, eq=False)
class Lane:  # compared by identity: two lanes with equal fields are still two lines of control
    """One line of control: a thread, or an asyncio task on it. `parent` is the lane that spawned it, if known.

    `attach` and `joined` are moments of `parent`: all up to `attach` came before the lane; all from `joined` on, and all that
    is spawned from then on, comes after the whole of it. None: not known.

    The fields below `joined` are of use only while the lane runs.
    """

    number: int
    thread: str
    thread_id: int
    task: str | None = None
    parent: Lane | None = None
    attach: int = 0
    joined: int | None = None
    now: int = field(default=0, repr=False)
    """The last moment of this lane."""
    owner: weakref.ref[asyncio.Task[object]] | None = field(default=None, repr=False)
    """The asyncio task, to recognise the lane by."""
    born: Mark | None = field(default=None, repr=False)
    """The mark that its context held when it was spawned."""
    asked: bool = field(default=False, repr=False)
    """True if the search for the line that waits for it is done."""
    life: _Life | None = field(default=None, repr=False)

    def is_foreign_to(self, other: Lane) -> bool:
        """True if the two are on different threads, and not known to come from one line of control."""
        return self.thread_id != other.thread_id and self._origin() is not other._origin()

    def is_first(self) -> bool:
        """True for a thread that nothing of ours spawned, and for the task for which a loop runs."""
        task = self.owner() if self.owner else None
        return self.parent is None if self.task is None else task is not None and asyncio_state.is_main(task)

    def _origin(self) -> Lane:
        lane = self
        while lane.parent is not None:
            lane = lane.parent
        return lane

    def hang_below(self, above: Lane, moment: int) -> None:
        """Note that `above` spawned the lane after this moment of its own."""
        self.parent, self.attach = above, moment
        # A spawner without events of its own is met after what it spawned. Numbers ascend downwards, so that a reader of a
        # stored trace meets it first. A lane with events may be stored already, and keeps its number.
        if self.number < above.number and not self.now:
            self.number = next(_numbers)

    def within(self, other: Lane) -> bool:
        """True if this is `other`, or was spawned from it, however indirectly."""
        lane: Lane | None = self
        while lane is not None and lane is not other:
            lane = lane.parent
        return lane is not None

    def is_over_before(self, other: Lane) -> bool:
        """True if all of this is known to have been over before `other` went on, or was spawned."""
        return meeting((self, self.now), (other, other.now)) is not None

    @property
    def is_done(self) -> bool:
        """True for a task that is done. Where nothing is recorded, its end is all that is known of it."""
        return self.owner is not None and _is_over(self.owner())

    @property
    def has_failed(self) -> bool:
        """True for a task that is done and gave no result, or is gone with all that it gave."""
        task = self.owner() if self.owner is not None else None
        return self.is_done and (task is None or not asyncio_state.went_well(task))

    def finish(self) -> None:
        """Mark the lane, and all that it waited for, as over."""
        life, self.life = self.life, None
        if life is not None:
            self.now += 1
            life.settle(self.now)


@dataclass(slots=True)
class _Wait:
    """A wait of a lane: its future, and the lane's moments when the lanes that it waits for were spawned, began, and are over."""

    future: weakref.ref[asyncio.Future[object]]
    spawned: int
    attach: int
    joined: int
    lanes: list[Lane]

    def judge(self, future: asyncio.Future[Any]) -> None:
        """Forget the ends of all lanes but those that made a fragile future fail: it has let the waiting lane go."""
        # `gather` raises the first exception at once and leaves its other tasks running.
        for lane in () if asyncio_state.went_well(future) else self.lanes:
            if not asyncio_state.failed_by(future, lane.owner() if lane.owner else None):
                lane.joined = None


@dataclass(slots=True)
class _Open:
    """Lanes whose end can be told only later, when their spawner goes on."""

    is_over: Callable[[], bool]
    since: int = 0
    lanes: list[Lane] = field(default_factory=list)


@dataclass(slots=True)
class _Life:
    """The knowledge of a running lane of those that it spawned."""

    wait: _Wait | None = None
    open: dict[object, _Open] = field(default_factory=dict)
    held: list[tuple[Lane, Callable[[], bool]]] = field(default_factory=list)

    def settle(self, moment: int, spawned: float = math.inf) -> None:
        """Tell the lanes that are over when the spawner goes on, at `moment`, with something it spawned after `spawned`."""
        over: list[Lane] = []
        if self.wait is not None:
            over += [lane for lane in self.wait.lanes if lane.joined is not None]
            self.wait = None
        for lane, kept in self.held:
            lane.joined = lane.joined if kept() else None
            over.append(lane)
        self.held.clear()
        # A group with a lane that was spawned at `spawned` or later may end after it: that stays open.
        for key in [key for key, group in self.open.items() if group.since < spawned and group.is_over()]:
            for lane in self.open.pop(key).lanes:
                lane.joined = moment if lane.joined is None else lane.joined
                over.append(lane)
        # A line that waited for a lane has also waited for all that this lane had waited for.
        for lane in over:
            lane.finish()


def meeting(a: Mark, b: Mark) -> Lane | None:
    """Return the lane where two lines of control meet, if all of that of moment `a` was over when that of `b` was spawned."""
    # Up from `b`: on each line that it comes from, the moment at which the next line was spawned.
    moments: dict[Lane, int] = {}
    lane, moment = b
    while lane.parent is not None:
        moments[lane] = moment
        lane, moment = lane.parent, lane.attach
    moments[lane] = moment
    # Up from `a`, until they meet: each line must be known to be over; the first that is not ends the search.
    over, last = a
    while over not in moments:
        parent, joined = over.parent, over.joined
        if parent is None or joined is None:
            return None
        over, last = parent, joined
    return over if last <= moments[over] else None


_mark: ContextVar[Mark | None] = ContextVar("llmtest_lane", default=None)
_numbers = itertools.count(1)
_lanes: weakref.WeakKeyDictionary[asyncio.Task[object], Lane] = weakref.WeakKeyDictionary()
# Futures whose outcome matters, and a function that takes it. By the next event of the lane that waits, asyncio has dropped
# them, so they are kept; but a failed future holds its exception, with all frames and their tasks. So the first event
# anywhere after it is done lets it go: what was recorded keeps nothing of the program alive.
_undone: Final[list[tuple[asyncio.Future[object], Callable[[asyncio.Future[object]], None]]]] = []
# Only the main thread is known without its context: it is never reused for other work, as the threads of pools are.
_main: Final[list[Lane]] = []
# Threads write into the lanes that spawned them. Reentrant, because the search for the waiting line makes other lanes.
_bookkeeping = threading.RLock()


def fresh_numbers() -> Iterator[int]:
    """Return numbers that no lane of this process has, for lanes that something else tells of."""
    return _numbers


def current() -> Lane:
    """Return the line of control that runs now."""
    return mark()[0]


def mark() -> Mark:
    """Return the line of control that runs now, and the last moment of it that this context knows."""
    return _here(_task())


before_tick: Callable[[], None] | None = None
"""Called before each event. A schedule of threads sets it: another thread may go on there."""


def tick() -> Mark:
    """Return the next moment of the line of control that runs now, for an event that order depends on."""
    if before_tick is not None:
        before_tick()
    if _undone:
        release_futures()
    task = _task()
    # LangChain wraps async callbacks in tasks of their own. Their events happen in the task that awaits the callback.
    if task is not None and asyncio_state.is_courier(task):
        return _carried(task)
    lane = _here(task)[0]
    if not lane.asked:
        _ask(lane, task)
    now = _next(lane)
    _mark.set(now)
    return now


def _task() -> asyncio.Task[object] | None:
    # Not `asyncio.current_task()`, which raises where no loop runs: synchronous programs ask at every event too.
    loop = asyncio._get_running_loop()
    return asyncio.current_task(loop) if loop is not None else None


def _here(task: asyncio.Task[object] | None) -> Mark:
    found = _mark.get()
    thread_id = threading.get_ident()
    if found is not None:
        lane = found[0]
        # A mark of another thread or task was copied with the context when this one was spawned: it names the spawner.
        if lane.thread_id == thread_id and (lane.owner() if lane.owner else None) is task:
            return found
    here = _known(task, thread_id) or _new(task, found, thread_id)
    at = (here, here.now)
    _mark.set(at)
    return at


def _known(task: asyncio.Task[object] | None, thread_id: int) -> Lane | None:
    """Return the lane of a task, or of the main thread, whose context has lost it."""
    if task is not None:
        return _lanes.get(task)
    return next((lane for lane in _main if lane.thread_id == thread_id and asyncio._get_running_loop() is None), None)


def _new(task: asyncio.Task[object] | None, born: Mark | None, thread_id: int) -> Lane:
    parent, attach = born or (None, 0)
    while parent is not None and parent.owner is not None and _is_over(parent.owner()):
        attach, parent = parent.attach, parent.parent  # a stream with a task for each step would else grow a lane a step
    thread = parent.thread if parent is not None and parent.thread_id == thread_id else threading.current_thread().name
    name, owner = (task.get_name(), weakref.ref(task)) if task is not None else (None, None)
    lane = Lane(next(_numbers), thread, thread_id, name, parent, attach, owner=owner, born=born)
    if task is not None:
        _lanes[task] = lane
    elif not _main and parent is None and thread_id == threading.main_thread().ident:
        _main.append(lane)
    return lane


def empty_context() -> Context:
    """Return a context that holds nothing but the mark of its maker."""
    context = Context()
    context.run(_mark.set, mark())
    return context


def _is_over(task: asyncio.Task[object] | None) -> bool:
    return task is None or task.done()


def watch_waits() -> None:
    """Learn from now on which threads wait for which, by `result()` and `join()`."""
    waits.install(_has_waited)


def release_futures() -> None:
    """Take the outcomes of the futures that are done by now, and let go of them."""
    if not _undone:
        return
    with _bookkeeping:
        undone = _undone.copy()
        _undone.clear()
        for future, judge in undone:
            if future.done():
                judge(future)
            elif not future.get_loop().is_closed():  # a closed loop will never finish it
                _undone.append((future, judge))


def _next(lane: Lane) -> Mark:
    lane.now += 1
    life = lane.life
    if life is not None and (life.wait is not None or life.open or life.held):  # a lane that it spawned may be over now
        with _bookkeeping:
            life.settle(lane.now)
    return lane, lane.now


def _carried(task: asyncio.Task[object]) -> Mark:
    """Return the next moment of the task for which `task` carries a callback."""
    hold = asyncio_state.holder(task)
    while hold is not None and asyncio_state.is_courier(hold.task):
        hold = asyncio_state.holder(hold.task)
    if hold is None:
        return _next(_spawner(task) or _here(task)[0])
    # The moment goes into the context of the waiting task: what that one spawns next must copy it.
    now = _next(_lane_of(hold))
    _put(hold.context, now)
    return now


def _spawner(task: asyncio.Task[object]) -> Lane | None:
    """Return the lane in whose statement an eager task runs: no task waits for it yet, and its context is a copy."""
    born = _mark.get() if asyncio_state.is_eager(task) else None
    return born[0] if born is not None and born[0].thread_id == threading.get_ident() else None


def _put(context: Context, at: Mark) -> None:
    with suppress(RuntimeError):  # a thread runs in it: its marks stay behind, and what it spawns is of unknown order
        context.run(_mark.set, at)


# -- the line that waits for a lane


def _lane_of(hold: Hold) -> Lane:
    """Return the lane of a waiting task, made if it has had no event so far."""
    lane = _lanes.get(hold.task) or _new(hold.task, hold.context.get(_mark), threading.get_ident())
    if not lane.asked:
        _ask(lane, hold.task)
    return lane


def _ask(lane: Lane, task: asyncio.Task[object] | None) -> None:
    lane.asked = True
    with _bookkeeping:
        if task is not None:
            _ask_task(lane, task)
        else:
            _ask_thread(lane)


def _ask_task(lane: Lane, task: asyncio.Task[object]) -> None:
    lane.joined = None
    hold = asyncio_state.holder(task)
    if hold is not None:
        _hang(lane, _lane_of(hold), hold)
    elif asyncio_state.is_main(task):
        _hang_on_thread(lane)
    elif _hang_on_call(lane, task):
        pass
    elif asyncio_state.is_eager(task):  # pragma: no cover (only Python 3.12 and newer have eager tasks)
        # Its spawner runs below it on the same stack and can wait for it only once this statement is over. So the search is
        # repeated at its next event; if there is none before its spawner goes on, it was never suspended and is over.
        lane.asked = False
        _leave_open(lane, lane, lambda: not lane.asked)
    else:
        _ask_structure(lane, task)


def _ask_structure(lane: Lane, task: asyncio.Task[object]) -> None:
    """Leave the end open for a task group or a generator with a task of its own: neither leaves a task behind."""
    group, queue = asyncio_state.group_of(task), asyncio_state.queue_of(task)
    if group is not None:
        ref = weakref.ref(group)
        _leave_open(lane, ref, lambda: (group := ref()) is None or asyncio_state.is_left(group))
    hold = asyncio_state.reader(queue) if queue is not None else None
    if queue is not None and hold is not None:
        above, owner, items = _lane_of(hold), weakref.ref(task), weakref.ref(queue)
        # Only if the reader has done nothing since it spawned the writer: else something may have happened beside the writer.
        if _spawned(lane, above) == above.now:
            _begin(lane, above, above.now)
            above.now += 1
            _put(hold.context, (above, above.now))
            _leave_open(lane, items, lambda: _is_over(owner()) and ((queue := items()) is None or queue.empty()))


def _leave_open(lane: Lane, key: object, is_over: Callable[[], bool]) -> None:
    if lane.parent is not None:  # pragma: no branch - else the program gave the task an empty context
        group = _life(lane.parent).open.setdefault(key, _Open(is_over))
        group.since = max(group.since, lane.attach)
        group.lanes.append(lane)


def _life(lane: Lane) -> _Life:
    if lane.life is None:
        lane.life = _Life()
    return lane.life


def _spawned(lane: Lane, above: Lane) -> int | None:
    """Return the moment of `above` at which it spawned `lane`; None if another line did."""
    born = lane.born
    # Tasks between the two that are over are skipped: a stream may make a new task for each step, each spawned by the last.
    while born is not None and born is not above.born:
        spawner, moment = born
        if spawner is above:
            return moment
        if spawner.owner is None or not _is_over(spawner.owner()) or spawner.parent is None:
            return None
        born = (spawner.parent, spawner.attach if spawner.joined is None else spawner.joined)
    # Both have the same mark: `above` had no event of its own before it spawned the lane.
    return 0 if born is not None else None


def _hang(lane: Lane, above: Lane, hold: Hold) -> None:
    """Note that `above` is blocked until `lane` is over: a fact of the program if it was so from the spawning on."""
    moment = _spawned(lane, above)
    if moment is None:
        return
    lane.hang_below(above, moment)
    life = _life(above)
    if life.wait is not None and life.wait.future() is hold.future:  # one more child of the same gather
        if moment == life.wait.spawned:
            lane.attach, lane.joined = life.wait.attach, life.wait.joined
            life.wait.lanes.append(lane)
    elif moment == above.now:  # nothing has happened on `above` since the spawning, and nothing can until the lane is over
        _begin(lane, above, moment)
        above.now += 1
        lane.joined = above.now
        life.wait = _Wait(weakref.ref(hold.future), moment, lane.attach, above.now, [lane])
        _undone.extend((future, life.wait.judge) for future in hold.fragile)
        _put(hold.context, (above, above.now))


def _begin(lane: Lane, above: Lane, spawned: float = math.inf) -> None:
    """Note that `above` spawned `lane` now, after its moment `spawned`."""
    above.now += 1
    _life(above).settle(above.now, spawned)
    lane.hang_below(above, above.now)


def _hold(lane: Lane, above: Lane, kept: Callable[[], bool] = lambda: True) -> None:
    """Note that `above` spawned `lane` now, and goes on when it is over."""
    _begin(lane, above)
    above.now += 1
    lane.joined = above.now
    _life(above).held.append((lane, kept))


def _hang_on_thread(lane: Lane) -> None:
    """Note that the thread runs its loop only for `lane`: `asyncio.run`, `loop.run_until_complete`."""
    above = lane.parent
    while above is not None and above.owner is not None:  # a loop within a loop: the thread's own lane is what is blocked
        above = above.parent  # pragma: no cover - as nest_asyncio runs it
    if above is not None and above.thread_id == lane.thread_id:
        _hold(lane, above)


def _hang_on_call(lane: Lane, task: asyncio.Task[object]) -> bool:
    """Note that another thread called `lane` and waits for it, if one did; return True then."""
    above = lane.parent
    call = asyncio_state.call_from(task, above.thread_id) if above is not None and above.thread_id != lane.thread_id else None
    if above is None or call is None:
        return False
    future, is_blocked = weakref.ref(call[0]), call[1]
    if is_blocked:
        _hold(lane, above, lambda: _is_done(future()))
    else:
        _begin(lane, above)
        _leave_open(lane, future, lambda: _is_done(future()))
    return True


def _is_done(future: asyncio.Future[object] | ThreadFuture[object] | None) -> bool:
    """True for the end of what a future stands for; what is cancelled may go on."""
    return future is None or (future.done() and not future.cancelled())


def _ask_thread(lane: Lane) -> None:
    above, work = lane.parent, asyncio_state.work()
    if above is None or above.thread_id == lane.thread_id:
        return
    waits.note(work.future if work is not None else threading.current_thread(), lane)
    if work is None:
        _ask_worker(lane)
        return
    task = asyncio_state.spawner(work)
    if task is not None:
        # A cancelled task goes on while its thread still works; a future that is gone was waited for.
        future = weakref.ref(work.future)
        _hold(lane, _far(task, lane.born, above.thread_id), lambda: (done := future()) is None or done.done())
    elif work.pool is not None:  # pragma: no branch - else an executor that is not of the standard library made it
        # No task waits for the work itself. But a pool that was shut down has done all of its work: `with pool:` waits.
        pool = weakref.ref(work.pool)
        _leave_open(lane, pool, lambda: (shut := pool()) is None or asyncio_state.is_shut(shut))


def _has_waited(lane: Lane) -> None:
    """Note that the line of control that goes on here has waited for all of `lane`: for its future, or for its thread."""
    above, here = lane.parent, _mark.get()
    # The spawner itself, not a callback of a loop on its thread, or a line that has got hold of the future.
    if above is None or here is None or here[0] is not above or above.thread_id != threading.get_ident():
        return
    if (above.owner() if above.owner else None) is not _task():
        return
    with _bookkeeping:
        if lane.joined is None:  # pragma: no branch - else a task has waited for it, too
            above.now += 1
            lane.joined = above.now
            lane.finish()
        _mark.set((above, above.now))


def _ask_worker(lane: Lane) -> None:
    """Note that a task waits for this thread of anyio, if one does: as a web server's for an endpoint that is not async."""
    call = asyncio_state.caller()
    if call is not None:
        task, waited = call
        future, thread_id = weakref.ref(waited), getattr(waited.get_loop(), "_thread_id", lane.thread_id)
        above = _far(task, lane.born, thread_id)
        _hold(lane, above, lambda: _is_done(future()))


def _far(task: asyncio.Task[object], born: Mark | None, thread_id: int) -> Lane:
    """Return the lane of a task on another thread. It takes no marks from here, so its waits are judged later."""
    lane = _lanes.get(task) or _new(task, born, thread_id)
    hold = asyncio_state.holder(task)
    # `Context.run` of a context that the other thread runs in raises, so there is no mark to put there, as `_hang` does.
    if not lane.asked and hold is not None:
        above = _far(hold.task, hold.context.get(_mark), thread_id)
        moment = _spawned(lane, above)
        if moment is not None:  # pragma: no branch - else another line spawned it, far from here
            lane.hang_below(above, moment)
            outcome: list[bool] = []
            _undone.append((hold.future, lambda future: outcome.append(asyncio_state.went_well(future))))
            _leave_open(lane, weakref.ref(hold.future), lambda: outcome == [True])
    elif not lane.asked and asyncio_state.is_main(task):
        _hang_on_thread(lane)
    elif not lane.asked:
        _hang_on_call(lane, task)
    lane.asked = True
    return lane
