"""Gates: places in a script where calls wait until the test releases them.

`llmtest.scripts.steps` and `llmtest.scripts.script` put gates into steps, the doubles send their calls through `hold` and
`ahold`. Every wait has a limit in real seconds, which only a broken test reaches; the operating system waits, so the limit
also ends a wait where a library has frozen Python's clocks.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from llmtest import ledger
from llmtest.core.source import caller, shown_path
from llmtest.core.text import amount
from llmtest.errors import ScriptError, Violation, ViolationError

Ready = Callable[[], bool]
Wake = Callable[[], Any]
P = TypeVar("P")

LIMIT_S: Final = 5.0
"""The default limit of a wait at a gate, or for one, in real seconds."""
PATIENCE_S: Final = 30.0
"""How long a program may wait for an answer that never comes before it leaves, in real seconds."""


@dataclass(slots=True, eq=False)
class _Visit:
    """A call that reached a closed gate: its description, and how it left."""

    who: Callable[[], str]
    left: str = ""


class Gate:
    """A place in a script where calls wait; `hold` makes it. Holds state; safe from any thread and any event loop.

    `release` opens it for good: waiting calls go on in the order of arrival, later calls pass. `wait` and, in async code,
    `reached` return when a call has arrived.

    >>> from llmtest import ScriptedChatModel, hold
    >>> gate = hold()
    >>> gate.release()
    >>> ScriptedChatModel(gate, "Sunny.").invoke("weather?").content
    'Sunny.'

    It cannot be closed again.
    """

    def __init__(self, timeout_s: float, where: str) -> None:
        self.timeout_s = timeout_s
        self.where = where
        self.released = False
        """True if the test has called `release`."""
        self.violations: list[Violation] = []
        self._open = False
        self._late: Violation | None = None
        self._came = 0
        self._visits: list[_Visit] = []
        self._waiters: list[tuple[Ready, Wake]] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        calls = f"{amount(self.waiting, 'call')} waiting"
        return f"<gate at {shown_path(self.where)}: {'released' if self.released else 'open' if self._open else calls}>"

    @property
    def waiting(self) -> int:
        """The number of calls that wait at it now."""
        return 0 if self._open else sum(not visit.left for visit in self._visits)

    # -- for tests

    async def reached(self, calls: int = 1, *, timeout_s: float = LIMIT_S) -> None:
        """Wait until `calls` calls have reached the gate; calls that have left it again count.

        Raises:
            ViolationError: fewer have reached it within `timeout_s` real seconds.
            ScriptError: `calls` or `timeout_s` is no number above 0.
        """
        __tracebackhide__ = True
        if not await self._auntil(self._has_come(calls), as_timeout(timeout_s)):
            raise self._unreached(calls, timeout_s)

    def wait(self, calls: int = 1, *, timeout_s: float = LIMIT_S) -> None:
        """As `reached`, but block the thread meanwhile; for calls on other threads.

        Raises:
            ViolationError: fewer have reached it within `timeout_s` real seconds.
            ScriptError: `calls` or `timeout_s` is no number above 0, or an event loop runs on this thread.
        """
        __tracebackhide__ = True
        come = self._has_come(calls)
        if not come() and _is_in_async_code():
            raise ScriptError(
                "gate.wait() blocks the event loop, so that no call on it can reach the gate\n"
                f"  hold() at {shown_path(self.where)}\n"
                "  in async code: await gate.reached()"
            )
        if not self._until(come, as_timeout(timeout_s)):
            raise self._unreached(calls, timeout_s)

    def release(self) -> None:
        """Open the gate for good. Safe from any thread, and any number of times."""
        self.released = self._open = True
        self._tell()

    # -- for doubles

    def hold(self, who: Callable[[], str]) -> None:
        """Block a call, which `who` describes, until the gate is open.

        Raises:
            ViolationError: the test has not released it in time.
            ScriptError: the call came without await in a running event loop.
        """
        __tracebackhide__ = True
        if not self._open and _is_in_async_code():
            raise ScriptError(
                "a call came to a gate without await in a running event loop, which would stand still with it\n"
                f"  hold() at {shown_path(self.where)}\n"
                "  use ainvoke or astream, or a thread: await asyncio.to_thread(model.invoke, ...)"
            )
        with self._visit(who) as waits:
            if waits:
                self._until(self._is_open, self.timeout_s)
                self._leave()

    async def ahold(self, who: Callable[[], str]) -> None:
        """As `hold`, for an awaited call; its event loop goes on meanwhile.

        Raises:
            ViolationError: the test has not released it in time.
        """
        __tracebackhide__ = True
        with self._visit(who) as waits:
            if waits:
                await self._auntil(self._is_open, self.timeout_s)
                self._leave()

    def end(self) -> None:
        """Open the gate at the end of the test; it is a violation if a call has waited at it unreleased."""
        self._give_up("by the end of the test")

    def found(self) -> list[Violation]:
        """Return the violations so far, with one for an unreleased gate that a call has reached."""
        unreleased = self._visits and not self._open
        return [*self.violations, *([self._unreleased("so far")] if unreleased else [])]

    # -- calls

    @contextmanager
    def _visit(self, who: Callable[[], str]) -> Iterator[bool]:
        """Note the call; yield True if it has to wait."""
        visit = _Visit(who)
        with self._lock:
            self._came += 1
            waits = not self._open
            self._visits += [visit] * waits
            is_first = self._visits == [visit]
        if is_first:
            ledger.current().keep_gate(self)
        self._tell()
        try:
            yield waits
            visit.left = "went on"
        finally:
            visit.left = visit.left or "cancelled"

    def _leave(self) -> None:
        """Let a call go on, or fail with all that waited with it. The first call over the limit opens the gate."""
        __tracebackhide__ = True
        if not self._open:
            self._give_up(f"for {self.timeout_s:g} s, so it opened by itself", fails=True)
        if self._late is not None:
            raise ViolationError(self._late)

    def _give_up(self, when: str, *, fails: bool = False) -> None:
        """Open the gate if it is closed, and report that the test has not released it."""
        with self._lock:
            was_open, self._open = self._open, True
        if not was_open:
            (found,) = ledger.report(self._unreleased(when), self.violations).violations
            self._late = found if fails else None
            self._tell()

    def _is_open(self) -> bool:
        return self._open

    def _has_come(self, calls: Any) -> Ready:
        if type(calls) is not int or calls < 1:
            raise ScriptError(f"calls= is a whole number of 1 or more; got {type(calls).__name__} {calls!r}")
        return lambda: self._came >= calls

    # -- waiting

    def _until(self, ready: Ready, timeout_s: float) -> bool:
        event = threading.Event()
        with self._waiter(ready, event.set):
            if not ready():
                event.wait(timeout_s)
        return ready()

    async def _auntil(self, ready: Ready, timeout_s: float) -> bool:
        call_soon, resolve, done = _wait_in_trio() if _is_in_trio() else _wait_in_asyncio()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed, and the call is gone with it
                call_soon(resolve)

        timer = threading.Timer(timeout_s, wake)  # a timer of the loop would never end where its clock is frozen
        timer.daemon = True
        with self._waiter(ready, wake):
            if not ready():
                timer.start()
                try:
                    await done()
                finally:
                    timer.cancel()
        return ready()

    @contextmanager
    def _waiter(self, ready: Ready, wake: Wake) -> Iterator[None]:
        """Register a waiter: code in this block that asks whether it is `ready` misses no `wake`."""
        entry = (ready, wake)
        with self._lock:
            self._waiters.append(entry)
        try:
            yield
        finally:
            with self._lock:
                self._waiters.remove(entry)

    def _tell(self) -> None:
        """Wake the waiters that are ready now, in the order of arrival."""
        with self._lock:
            waiters = list(self._waiters)
        for ready, wake in waiters:
            if ready():
                wake()

    # -- words

    def _unreleased(self, when: str) -> Violation:
        lines = [f"the gate was not released {when}, and calls waited at it", f"  hold() at {shown_path(self.where)}"]
        lines += [f"  {visit.left or 'waits'}  {visit.who()}" for visit in self._visits[:10]]
        lines += [f"  ... {amount(len(self._visits) - 10, 'more call')}"] if len(self._visits) > 10 else []
        lines.append("  call gate.release() when the test has seen what it wanted, also if the call was cancelled")
        return Violation("gate never released", "\n".join(lines))

    def _unreached(self, calls: int, timeout_s: float) -> ViolationError:
        came = f"{self._came} of {calls} calls have" if self._came else "no call has"
        text = f"{came} reached the gate in {timeout_s:g} s\n  hold() at {shown_path(self.where)}\n"
        text += "  start the calls before you wait for them, in tasks or threads of their own"
        return ledger.report(Violation("gate never reached", text), self.violations)


class NoAnswer(Gate):
    """The place in an answer from which on nothing comes: a call waits there until the program leaves it.

    `then_wait` makes it. A program that does not leave within `timeout_s` real seconds waits for something that nothing has.
    Two are equal if they wait as long.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoAnswer) and self.timeout_s == other.timeout_s

    def __hash__(self) -> int:
        return hash(self.timeout_s)

    def hold(self, who: Callable[[], str]) -> None:
        """Block a call until its program leaves it or the test is over.

        Raises:
            ViolationError: the program has not left it in time, or it cannot, because the call blocks its event loop.
        """
        __tracebackhide__ = True
        if not self._open and _is_in_async_code():
            raise ledger.report(self._unleft("and blocks its event loop with it", who), self.violations)
        super().hold(who)

    def end(self) -> None:
        """Let what waits here go: the test is over."""
        self._open = True
        self._tell()

    def found(self) -> list[Violation]:
        """Return the violations so far."""
        return [*self.violations]

    def _unreleased(self, when: str) -> Violation:
        return self._unleft(f"for {self.timeout_s:g} s", self._visits[-1].who)

    def _unleft(self, how: str, who: Callable[[], str]) -> Violation:
        lines = [
            f"the program waited {how}, but its answer says no more from here on",
            f"  answer   {shown_path(self.where)}",
            f"  waits    {who()}",
            "  when it was recorded, the program left the call there: by a timeout, a cancellation, or the end of its reading",
            "  if the program waits for the answer now, record it again; else give it longer: then_wait(timeout_s=...)",
        ]
        return Violation("no answer", "\n".join(lines))


_Wait = tuple[Callable[[Wake], object], Wake, Callable[[], Awaitable[object]]]
"""What any thread calls to run a function on the loop, the function that ends the wait, and the wait."""


def _wait_in_asyncio() -> _Wait:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    return loop.call_soon_threadsafe, lambda: None if done.done() else done.set_result(None), lambda: done


def _wait_in_trio() -> _Wait:
    trio = sys.modules["trio"]
    done = trio.Event()
    return trio.lowlevel.current_trio_token().run_sync_soon, done.set, done.wait


def _is_in_trio() -> bool:
    """True in a task of trio. It may run on top of an asyncio loop, so it is asked first."""
    trio = sys.modules.get("trio")  # a program that has not imported it is in no task of it
    return trio is not None and getattr(trio.lowlevel, "in_trio_task", bool)()


def _is_in_async_code() -> bool:
    return asyncio._get_running_loop() is not None or _is_in_trio()


def with_gates(pieces: Iterable[P], stops: Iterable[tuple[int, Gate]]) -> Iterator[P | Gate]:
    """Yield the pieces of a stream, with each gate after its number of pieces; a last gate needs a piece after it."""
    ahead = list(stops)
    for number, piece in enumerate(pieces):
        while ahead and ahead[0][0] <= number:
            yield ahead.pop(0)[1]
        yield piece


def as_timeout(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= threading.TIMEOUT_MAX:
        raise ScriptError(f"timeout_s= is a number of seconds, more than 0; got {type(value).__name__} {value!r}")
    return float(value)


def hold(*, timeout_s: float = LIMIT_S) -> Gate:
    """Return a gate for a script: calls wait there until the test releases it.

    Between the steps of a script it holds the call of the next step: `ScriptedChatModel(gate, "Sunny.")`. Among the words of
    an answer it stops the stream: `say("It is ", gate, "sunny.")`, `reply("Let me look", gate, call("search"))`; a call that
    does not stream waits as a whole. It works in models, tools and retrievers, in threads and in tasks. One gate may stand in
    several places, and holds every call that reaches it.

    A gate that held a call must be released in the test. If a call has waited for `timeout_s` real seconds, all waiting calls
    fail with the violation "gate never released", and the gate opens, so a test that waits for them ends. At the end of the
    test function all gates open.

    Raises:
        ScriptError: `timeout_s` is no number above 0.

    >>> from threading import Thread
    >>> from llmtest import ScriptedChatModel, hold, say
    >>> gate, seen = hold(), []
    >>> model = ScriptedChatModel(say("It is ", gate, "sunny."))
    >>> thread = Thread(target=lambda: seen.extend(chunk.content for chunk in model.stream("weather?")))
    >>> thread.start()
    >>> gate.wait()
    >>> seen
    ['It is ']
    >>> gate.release()
    >>> thread.join()
    >>> seen
    ['It is ', 'sunny.']

    It does not make time pass: a timeout of the program's own runs in real time.
    """
    return Gate(as_timeout(timeout_s), caller())
