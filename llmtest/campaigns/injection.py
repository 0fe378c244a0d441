"""Faults in a program that runs: which call gets one, whether it came, and how often tools with effects have run.

One injection is open at a time in a process. The calls of models ask it through `llmtest.scripts.answering`, the bodies of tools
and retrievers through `llmtest.langchain.injecting`, which is attached when the first one is opened.
"""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from llmtest.campaigns.calls import Call, CallKey, CallNames, moment_of
from llmtest.campaigns.kinds import Done, Fault, answer_of
from llmtest.concurrency.stuck import StuckWatch
from llmtest.core.text import amount
from llmtest.recording.recording import Recording
from llmtest.scripts import answering
from llmtest.scripts.answering import Injected
from llmtest.scripts.requests import Request

SOURCES: Final = ("llmtest.langchain.injecting", "llmtest.langchain.interrupting")
"""The modules that wrap tools and retrievers, streams and checkpointers; imported when an injection is opened."""


class EndlessError(BaseException):
    """Stops a program that makes many more calls than it makes without faults: no handler of errors should catch it."""


class ConsumerLeftError(BaseException):
    """Ends the consumer of a stream, as if it had stopped by itself."""


class ProcessKilledError(BaseException):
    """Ends a program as if its process had been killed: nothing that it does from here on counts."""


class Came(NamedTuple):
    """A fault that came, and the id of the run that got it; None for a fault of the program itself."""

    fault: Fault
    run_id: UUID | None


class Seen(NamedTuple):
    """What the caller of a root run saw: an error, or the value that it gave; `value` is None where it was not compared."""

    run_id: UUID
    error: BaseException | None
    value: object = None


class Injection:
    """A block in which calls of a recording get faults. Holds state; thread-safe.

    `answers` are the calls of the run without faults: a model that is asked again after the process was killed says the same
    again. `max_calls` bounds the calls of models, tools and retrievers together; the call after it, and every later one, raises
    an `EndlessError`. So does a wait that could never end; in the run without faults (`is_clean`) unless a thread from before may
    end it.
    """

    def __init__(
        self,
        recording: Recording,
        faults: Sequence[Fault] = (),
        max_calls: int | None = None,
        answers: Iterable[Call] = (),
        *,
        is_clean: bool = False,
    ) -> None:
        self._answers = {(call.key, call.is_scripted): call for call in answers}
        self._answered: Counter[CallKey] = Counter()
        self._begun: set[UUID] = set()
        self._is_resumed = False
        self.names = CallNames(recording)
        self.came: list[Came] = []
        self.bodies: Counter[CallKey] = Counter()
        """How often the body of a tool has run, for each tool and its arguments."""
        self.asked: Counter[UUID] = Counter()
        """How often each run has asked a model: a client of a provider may try again within one run."""
        self.reached: set[CallKey] = set()
        """The calls that can have a fault: a script answers them, or the body of a tool or a retriever is wrapped."""
        self.unscripted: set[CallKey] = set()
        """The calls of models that can have a fault in their own class."""
        self.chunks: dict[CallKey, list[str]] = {}
        """The streamed texts of models whose classes answer: LangChain tells nobody those of a text model."""
        self.seen: list[Seen] = []
        """What the callers of root runs saw."""
        self.moments: Counter[str] = Counter()
        """How often the program has come to each kind of moment that could have a fault."""
        self.saves = 0
        """How often something was saved from which a program can be resumed."""
        self.is_killed = False
        """True from a kill until the program is resumed."""
        self.is_endless = False
        self.watch = StuckWatch(EndlessError, trusts_others=is_clean)
        """Stops the program where it would wait for ever."""
        self._left = list(faults)
        self._max_calls = max_calls
        self._calls = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        _attach()
        _open.append(self)
        answering.inject = _of_model
        self.watch.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.watch.__exit__(kind, error, trace)
        _open.remove(self)
        if not _open:
            answering.inject = None
        _detach()

    @property
    def missing(self) -> list[Fault]:
        """The faults whose calls did not come."""
        return list(self._left)

    def of_model(self, request: Request) -> Injected | None:
        """Return what the call of a model gets in place of its step."""
        run = request.run()
        if run is None:
            self._count()
            return None
        fault = self._take(run.run_id)
        with self._lock:
            self.asked[run.run_id] += 1
        return self._said(fault, run.run_id)

    def of_class(self, run_id: UUID) -> Injected | None:
        """Return what a model gets in place of what its own class says."""
        with self._lock:
            if run_id in self._begun:
                return None  # one of its methods calls another
            self._begun.add(run_id)
        return self._said(self._take(run_id, is_scripted=False), run_id, is_scripted=False)

    def _said(self, fault: Fault | None, run_id: UUID, *, is_scripted: bool = True) -> Injected | None:
        if fault is None:
            return self._again(run_id, is_scripted)
        return fault.act if isinstance(fault.act, Injected) else None

    def note_chunk(self, run_id: UUID, text: str) -> None:
        """Note a chunk that the class of a model has streamed."""
        key = self.names.key_of(run_id)
        if key is not None:
            with self._lock:
                self.chunks.setdefault(key, []).append(text)

    def resume(self) -> None:
        """Let the program go on after it was killed."""
        self.is_killed, self._is_resumed = False, True

    def _again(self, run_id: UUID, is_scripted: bool) -> Injected | None:
        """Return what a model has said to the same prompt before the process was killed; None if it has not answered it."""
        key = self.names.key_of(run_id)
        if key is None or (key._replace(occurrence=1), is_scripted) not in self._answers:
            return None
        with self._lock:
            prompt = key._replace(occurrence=0)
            number = key._replace(occurrence=self._answered[prompt])
            before = self._answers.get((number, is_scripted)) if self._is_resumed else None
            self._answered[prompt] += before is None
        return None if before is None else Injected(answer_of(before))

    def of_body(self, run_id: UUID | None) -> Done | None:
        """Return what a tool or a retriever does in place of its body; count that the body runs, where it does."""
        fault = self._take(run_id) if run_id is not None else None
        act = fault.act if fault is not None and isinstance(fault.act, Done) else None
        key = self.names.key_of(run_id) if run_id is not None and (act is None or act.runs_body) else None
        if key is not None:
            with self._lock:
                self.bodies[key._replace(path=(), occurrence=1)] += 1
        return act

    def reach(self, where: str) -> bool:
        """Note that the program comes to a moment of this kind; return True if it is interrupted there."""
        with self._lock:
            self.moments[where] += 1
            moment = moment_of(where, self.moments[where]).key
            fault = next((fault for fault in self._left if fault.call.key == moment), None)
            if fault is None:
                return False
            self._left.remove(fault)
            self.came.append(Came(fault, None))
            return True

    def check_alive(self) -> None:
        """Raise what ends a process, if it has been killed."""
        if self.is_killed:
            raise ProcessKilledError("the process was killed")

    def _take(self, run_id: UUID, *, is_scripted: bool = True) -> Fault | None:
        self.check_alive()
        if not (is_scripted and run_id in self._begun and not self.asked[run_id]):  # else its class has counted it
            self._count()
        key = self.names.key_of(run_id)
        with self._lock:
            if key is not None:
                (self.reached if is_scripted else self.unscripted).add(key)
            meant = (fault for fault in self._left if fault.call.key == key and fault.call.is_scripted == is_scripted)
            fault = next(meant, None)
            if fault is not None:
                self._left.remove(fault)
                self.came.append(Came(fault, run_id))
        return fault

    def _count(self) -> None:
        with self._lock:
            self._calls += 1
            self.is_endless = self.is_endless or (self._max_calls is not None and self._calls > self._max_calls)
        if self.is_endless:
            raise EndlessError(f"stopped after {amount(self._calls - 1, 'call')}")


_open: Final[list[Injection]] = []
_attached = 0


@contextmanager
def attached() -> Iterator[None]:
    """Have the sources wrapped while the block is open: else each injection wraps them anew."""
    _attach()
    try:
        yield
    finally:
        _detach()


def _attach() -> None:
    global _attached
    _attached += 1
    if _attached == 1:
        for source in SOURCES:
            importlib.import_module(source).install()


def _detach() -> None:
    global _attached
    _attached -= 1
    if not _attached:
        for source in reversed(SOURCES):  # both wrap the calls of retrievers
            importlib.import_module(source).uninstall()


def current() -> Injection | None:
    """Return the open injection."""
    return _open[-1] if _open else None


def _of_model(request: Request) -> Injected | None:
    return _open[-1].of_model(request) if _open else None


def of_class(run_id: UUID | None) -> Injected | None:
    """Return what a model gets from the open injection in place of what its own class says."""
    return _open[-1].of_class(run_id) if _open and run_id is not None else None


def note_chunk(run_id: UUID | None, text: str) -> None:
    """Tell the open injection of a chunk that the class of a model has streamed."""
    if _open and run_id is not None:
        _open[-1].note_chunk(run_id, text)


def of_body(run_id: UUID | None) -> Done | None:
    """Return what the open injection does in place of the body of a tool or a retriever; None if the body runs."""
    return _open[-1].of_body(run_id) if _open else None


def effects_twice(bodies: Counter[CallKey], effects: Iterable[str]) -> list[tuple[CallKey, int]]:
    """Return the tools with effects whose bodies have run more than once with equal arguments, and how often."""
    from llmtest.core.text import named

    meant = tuple(effects)
    return [(key, count) for key, count in bodies.items() if count > 1 and any(named(name, key.name) for name in meant)]


def as_value(act: Done, with_artifact: Any = False) -> object:
    """Return what a body gives in place of its own value, or raise what it raises."""
    if act.error is not None:
        raise act.error()
    return (act.value, None) if with_artifact else act.value
