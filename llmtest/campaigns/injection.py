"""Faults in a program that runs: which call gets one, whether it came, and how often tools with effects have run.

One injection is open at a time in a process. The calls of models ask it through `llmtest.scripts.answering`, the bodies of tools
and retrievers through `llmtest.langchain.injecting`, which is attached when the first one is opened.
"""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from llmtest.campaigns.calls import CallKey, CallNames
from llmtest.campaigns.kinds import Done, Fault
from llmtest.core.text import amount
from llmtest.recording.recording import Recording
from llmtest.scripts import answering
from llmtest.scripts.answering import Injected
from llmtest.scripts.requests import Request

SOURCE: Final = "llmtest.langchain.injecting"
"""The module that wraps tools and retrievers; imported when an injection is opened."""


class EndlessError(BaseException):
    """Stops a program that makes many more calls than it makes without faults: no handler of errors should catch it."""


class Came(NamedTuple):
    """A fault that a call got, and the id of its run."""

    fault: Fault
    run_id: UUID


class Injection:
    """A block in which calls of a recording get faults. Holds state; thread-safe.

    `max_calls` bounds the calls of models, tools and retrievers together; the call after it, and every later one, raises an
    `EndlessError`.
    """

    def __init__(self, recording: Recording, faults: Sequence[Fault] = (), max_calls: int | None = None) -> None:
        self.names = CallNames(recording)
        self.came: list[Came] = []
        self.bodies: Counter[CallKey] = Counter()
        """How often the body of a tool has run, for each tool and its arguments."""
        self.asked: Counter[UUID] = Counter()
        """How often each run has asked a model: a client of a provider may try again within one run."""
        self.reached: set[CallKey] = set()
        """The calls that can have a fault: a script answers them, or the body of a tool or a retriever is wrapped."""
        self.is_endless = False
        self._left = list(faults)
        self._max_calls = max_calls
        self._calls = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        importlib.import_module(SOURCE).install()
        _open.append(self)
        answering.inject = _of_model
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _open.remove(self)
        if not _open:
            answering.inject = None
            importlib.import_module(SOURCE).uninstall()

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
        return fault.act if fault is not None and isinstance(fault.act, Injected) else None

    def of_body(self, run_id: UUID | None) -> Done | None:
        """Return what a tool or a retriever does in place of its body; count that the body runs, where it does."""
        fault = self._take(run_id) if run_id is not None else None
        act = fault.act if fault is not None and isinstance(fault.act, Done) else None
        key = self.names.key_of(run_id) if run_id is not None and (act is None or act.runs_body) else None
        if key is not None:
            with self._lock:
                self.bodies[key._replace(path=(), occurrence=1)] += 1
        return act

    def _take(self, run_id: UUID) -> Fault | None:
        self._count()
        key = self.names.key_of(run_id)
        with self._lock:
            if key is not None:
                self.reached.add(key)
            fault = next((fault for fault in self._left if fault.call.key == key), None)
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


def _of_model(request: Request) -> Injected | None:
    return _open[-1].of_model(request) if _open else None


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
