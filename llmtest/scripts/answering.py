"""How a call gets its answer from a script: the gates before it, the function of a `respond` step, and its mistakes."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from llmtest import ledger
from llmtest.errors import ScriptError, Violation, ViolationError, fails_test
from llmtest.scripts import diagnostics
from llmtest.scripts.gates import Gate
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Fail, Reply, Respond, Return, Step
from llmtest.scripts.steps import as_step


class Injected(NamedTuple):
    """A step in place of the one of a script, which keeps its own for the next call, or loses it if `takes_step`."""

    step: Step
    takes_step: bool = False


inject: Callable[[Request], Injected | None] | None = None
"""Gives the call of a model another step than its script does. A campaign sets it while it runs a program with a fault."""


class Answering(ABC):
    """What answers calls from a script. A subclass says how a call is known, and what a step stands for."""

    script: Script

    def _as_step(self, value: object, description: str, where: str) -> Step:
        return as_step(value, description, where)

    def _serve(self, request: Request, *, streams: bool = False) -> Any:
        """Return the answer to `request`, on a synchronous path. A stream stops at the gates within it later, one by one."""
        self._report_call(request)
        request.streams = streams
        step = self._claim(request) if inject is None else self._injected(request) or self._claim(request)
        self._hold(step.serving.gates, request)
        try:
            while isinstance(step, Respond):
                with self._assertions(step, request):
                    value = _finish(step.function(request))
                step = self._as_step(value, f"what {step} returned", step.where)
            answer = self._reply_of(step, request)
        except ScriptError as error:  # no `with`: each call would pay for the block
            self._report_mistake(error)
            raise
        self._hold(() if streams else _gates_within(step), request)
        return answer

    async def _aserve(self, request: Request, *, streams: bool = False) -> Any:
        self._report_call(request)
        request.streams = streams
        step = (None if inject is None else self._injected(request)) or await self._aclaim(request)
        await self._ahold(step.serving.gates, request)
        try:
            while isinstance(step, Respond):
                with self._assertions(step, request):
                    value = step.function(request)
                    value = await value if inspect.isawaitable(value) else value
                step = self._as_step(value, f"what {step} returned", step.where)
            answer = self._reply_of(step, request)
        except ScriptError as error:
            self._report_mistake(error)
            raise
        await self._ahold(() if streams else _gates_within(step), request)
        return answer

    def _report_mistake(self, error: ScriptError) -> None:
        """Put a mistake of the script on the ledger: the program may swallow it, and would run without the scripted answer."""
        ledger.report(Violation("script error", str(error)), self.script.violations)

    @contextmanager
    def _assertions(self, step: Respond, request: Request) -> Iterator[None]:
        """Put a failed assertion of a `respond` function on the ledger: the program may swallow it."""
        try:
            yield
        except ViolationError:
            raise  # it is on the ledger already
        except BaseException as error:
            if fails_test(error):
                text = diagnostics.failed_respond(step, request, self.script.owner, error)
                ledger.report(Violation("failed respond", text), self.script.violations)
            raise

    def _hold(self, gates: Iterable[Gate], request: Request) -> None:
        try:
            for gate in gates:
                gate.hold(lambda: diagnostics.show_call(request, self.script.owner))
        except ScriptError as error:
            self._report_mistake(error)
            raise

    async def _ahold(self, gates: Iterable[Gate], request: Request) -> None:
        for gate in gates:
            await gate.ahold(lambda: diagnostics.show_call(request, self.script.owner))

    def _injected(self, request: Request) -> Step | None:
        """Return the step of a campaign for `request`, if it has one."""
        found = inject(request) if inject is not None and self.script.owner.is_model else None
        if found is None:
            return None
        if found.takes_step:
            self._claim(request)
        elif request.place is not None:
            request.place.pass_on()  # the next input of a batch need not wait
        return found.step

    def _claim(self, request: Request) -> Step:
        """Return the step of the script for `request`."""
        if request.place is None:
            return self.script.serve(request)
        # Only the step is taken in turn: at a gate, one input of a batch may wait for another.
        with request.place.turn():
            return self.script.serve(request)

    async def _aclaim(self, request: Request) -> Step:
        """As `_claim`, for an awaited call."""
        if request.place is not None:
            await request.place.wait()
        return self._claim(request)

    @abstractmethod
    def _report_call(self, request: Request) -> None:
        """Tell the open recordings that this call happened, so that they notice a run that they did not see."""

    @abstractmethod
    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> object:
        """Return the answer that a step stands for."""


def _gates_within(step: Step) -> list[Gate]:
    return [gate for *_, gate in step.stops] if isinstance(step, Reply) else []


def _finish(value: object) -> object:
    """Return the result of a `respond` function, sync or async, on a synchronous path."""
    if not inspect.isawaitable(value):
        return value
    if asyncio._get_running_loop() is not None:
        # A running loop cannot be entered again. A coroutine that is closed does not warn that it was never awaited.
        cast("Coroutine[object, object, object]", value).close()
        raise ScriptError("respond() has an async function, but the call came without await in a running loop")

    async def wait() -> object:
        return await value

    return asyncio.run(wait())
