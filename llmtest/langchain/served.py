"""The base classes of the doubles: calls are served from a script."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast
from zlib import crc32

from langchain_core.messages import BaseMessage, get_buffer_string

from llmtest import ledger
from llmtest.capture import membership
from llmtest.concurrency import lanes
from llmtest.core.source import caller, shown_path
from llmtest.core.text import did_you_mean, names
from llmtest.errors import ScriptError, Violation, ViolationError
from llmtest.events.events import Latency
from llmtest.events.words import EMPTY, Message
from llmtest.langchain import batches
from llmtest.langchain.answers import exception, resolve_values, tool_schema
from llmtest.langchain.caller import about, weakly
from llmtest.scripts import diagnostics
from llmtest.scripts.gates import Gate
from llmtest.scripts.requests import KeyedSteps, Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Fail, Reply, Respond, Return, ScriptOwner, Step, Text, split
from llmtest.scripts.steps import as_step, give


def step_from(step: Any, where: str) -> Any:
    """Return the step of a retriever or tool: a bare value stands for `give(value)`."""
    if isinstance(step, KeyedSteps):
        return replace(step, steps=tuple(step_from(inner, step.where) for inner in step.steps))
    fails = isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException))
    return step if fails or isinstance(step, Reply | Fail | Respond | Return | Gate) else replace(give(step), where=where)


def _step_of_value(value: Any, where: str) -> Any:
    """Return the step for the value of a `respond` function, which the program gets itself: it may not be possible to copy."""
    fails = isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))
    is_step = isinstance(value, Reply | Fail | Respond | Return | Gate)
    return value if fails or is_step else Return(value, where, itself=True)


class Served:
    """A double with a script: how it answers a call."""

    script: Any

    def verify(self) -> None:
        """Raise `ViolationError` for every violation of the script so far and every unused step; the plugin does it for you."""
        self.script.verify()

    def _as_step(self, value: Any, description: str, where: str) -> Step:
        return as_step(value, description, where)

    def _serve(self, request: Request, *, streams: bool = False) -> Any:
        """Return the answer to `request`, on a synchronous path. A stream stops at the gates within it later, one by one."""
        self._report_call(request)
        request.streams = streams
        with batches.turn(self):
            step = self.script.serve(request)
        self._hold(step.serving.gates, request)
        with self._mistakes():
            while isinstance(step, Respond):
                with self._assertions(step, request):
                    value = _finish(step.function(request))
                step = self._as_step(value, f"what {step} returned", step.where)
            answer = self._reply_of(step, request)
        self._hold(() if streams else _gates_within(step), request)
        return answer

    async def _aserve(self, request: Request, *, streams: bool = False) -> Any:
        self._report_call(request)
        request.streams = streams
        await batches.wait_for_turn(self)
        with batches.turn(self):
            step = self.script.serve(request)
        await self._ahold(step.serving.gates, request)
        with self._mistakes():
            while isinstance(step, Respond):
                with self._assertions(step, request):
                    value = step.function(request)
                    value = await value if inspect.isawaitable(value) else value
                step = self._as_step(value, f"what {step} returned", step.where)
            answer = self._reply_of(step, request)
        await self._ahold(() if streams else _gates_within(step), request)
        return answer

    @contextmanager
    def _mistakes(self) -> Iterator[None]:
        """Put a `ScriptError` on the ledger: the program may swallow it, and would then run without the scripted answer."""
        try:
            yield
        except ScriptError as error:
            ledger.report(Violation("script error", str(error)), self.script.violations)
            raise

    @contextmanager
    def _assertions(self, step: Respond, request: Request) -> Iterator[None]:
        """Put a failed assertion of a `respond` function on the ledger: the program may swallow it."""
        try:
            yield
        except ViolationError:
            raise  # it is on the ledger already
        except BaseException as error:
            # `pytest.fail` raises no AssertionError, and pytest is not imported here.
            if isinstance(error, AssertionError) or type(error).__module__ == "_pytest.outcomes":
                text = diagnostics.failed_respond(step, request, self.script.owner, error)
                ledger.report(Violation("failed respond", text), self.script.violations)
            raise

    def _hold(self, gates: Iterable[Gate], request: Request) -> None:
        for gate in gates:
            with self._mistakes():
                gate.hold(lambda: diagnostics.show_call(request, self.script.owner))

    async def _ahold(self, gates: Iterable[Gate], request: Request) -> None:
        for gate in gates:
            with self._mistakes():
                await gate.ahold(lambda: diagnostics.show_call(request, self.script.owner))

    def _report_call(self, request: Request) -> None:
        """Tell the open recordings that this call happened, so that they notice a run that they did not see."""
        run = request.run()
        membership.note_call(run.run_id if run is not None else None, self._known_as(), caller)

    def _report_latency(self, latency: Latency | None, request: Request) -> None:
        """Tell the recordings of the call how long it takes in virtual time."""
        if latency is not None:
            run = request.run()
            membership.note_latency(run.run_id if run is not None else None, latency)

    def _known_as(self) -> str:
        return type(self).__name__

    @abstractmethod
    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Any:
        """Return the answer that a step stands for."""


class Double(Served):
    """A double whose script gives values: a retriever or a tool."""

    def _adopt(self, script: Script, owner: ScriptOwner) -> None:
        """Take `script` as the source of the answers.

        Raises:
            ScriptError: a step is of another kind, or a key can match no call.
        """
        self.script, script.owner = script, owner
        try:
            for entry in script.entries:
                key = entry.key if isinstance(entry, KeyedSteps) else None
                if key is not None and (key.tools is not None or key.tool_result is not None or key.last is not None):
                    hint = "it has no messages and no tools; contains=, node=, tag=, metadata= and thread= fit"
                    raise ScriptError(f"{key} matches no call of {owner.the}: {hint}")
            for number, step in enumerate(script.steps, 1):
                self._check(step, f"step {number} of {owner.the}")
        except ScriptError:
            script.waive_steps()
            raise

    def _check(self, step: Step, description: str) -> Step:
        """Return `step`, or raise `ScriptError` if it is not for a retriever or tool."""
        expects, problem = step.serving.expects, ""
        if not step.serving.checked:
            problem = "unchecked() is about the answers of a model"
        elif expects is not None and (expects.tools is not None or expects.last is not None):
            problem = "here expects() takes contains= and forbids= only: there are no messages and no tools"
        elif isinstance(step, Reply) and not _is_text(step):
            problem = "only a model can say that; give it plain text, or give(...)"
        elif isinstance(step, Reply | Return):
            problem = self._misfit(step.text if isinstance(step, Reply) else step.value)
        if problem:
            raise ScriptError(f"{description} is {step} at {shown_path(step.where)}, but {problem}")
        return step

    def _known_as(self) -> str:
        name: str = self.script.owner.name
        return name

    @abstractmethod
    def _misfit(self, value: Any) -> str:
        """Return what is wrong with a value of the script; empty for a right one."""

    def _as_step(self, value: Any, description: str, where: str) -> Step:
        return self._check(as_step(_step_of_value(value, where), description, where), description)

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Any:
        """Return a fresh copy of the step's value, or the value of a `respond` function itself."""
        self._report_latency(step.latency, request)
        if isinstance(step, Fail):
            raise exception(step)
        if isinstance(step, Reply):
            return step.text
        return step.value if step.itself else copy.deepcopy(step.value)

    def _call(self, read: Callable[[], str], run_manager: Any, params: Mapping[str, Any], args: Mapping[str, Any]) -> Request:
        run = weakly(run_manager)
        role = self.script.owner.input
        messages = lambda: [Message(role, read())]  # noqa: E731
        batch = batches.batch_of(self)
        return Request(EMPTY, messages, None, None, params, lambda: about(run()), run, lanes.current(), args, batch)


def _is_text(step: Reply) -> bool:
    return all(isinstance(part, Text) for part in step.parts) and step.failure is None and not step.truncated


def script_of(kind: type, steps: tuple[Any, ...], script: Script | None, fields: Mapping[str, Any]) -> Script:
    """Return the script of a new double, or raise `ScriptError` for steps beside a script and for unknown fields."""
    for step in steps:  # also if they are refused below: an error is enough
        if isinstance(step, KeyedSteps) and step.source is not None:
            step.source.waive_steps()
    if steps and script is not None:
        raise ScriptError(f"{kind.__name__} takes its steps as arguments or as script=, not both")
    if script is not None and not isinstance(script, Script):
        raise ScriptError(f"script= of {kind.__name__} is a Script; got {type(script).__name__} {script!r}")
    known = kind.model_fields  # type: ignore[attr-defined]
    for name in fields:
        if name not in known:
            hint = did_you_mean(name, known, otherwise=f"it has {names(sorted(known))}")
            raise ScriptError(f"{kind.__name__} has no field `{name}`{hint}")
    return Script(*steps) if script is None else script


class Scripted(Served):
    """A model with a script. Its repr has no address, because LangChain reports it as `serialized`."""

    model_name: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model_name={self.model_name!r})"

    __str__ = __repr__

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Return the name of the model's runs: `name`, or an explicit `model_name`, which tells two models apart."""
        model: Any = self
        named = name or model.name or (self.model_name if "model_name" in model.model_fields_set else None)
        shown: str = super().get_name(suffix, name=named)  # type: ignore[misc]  # of the LangChain model beside this class
        return shown

    def _dialect_of(self, params: Mapping[str, Any]) -> str:
        """Return the dialect of a call with these parameters."""
        return "plain"

    def get_token_ids(self, text: str) -> list[int]:
        """Return a number for each token of `text`, equal for equal tokens. Tokens are those of the default usage."""
        custom: Callable[[str], list[int]] | None = getattr(self, "custom_get_token_ids", None)
        return [crc32(token.encode("utf-8", "surrogatepass")) for token in split(text)] if custom is None else custom(text)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens of `text`. A provider's integration would need a package or the network for it."""
        return len(self.get_token_ids(text))

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return the number of tokens of `messages` with the names of their roles, and of the schemas of `tools`."""
        schemas = [json.dumps(tool_schema(tool), ensure_ascii=False, default=str) for tool in tools or ()]
        return sum(map(self.get_num_tokens, [*(get_buffer_string([message]) for message in messages), *schemas]))

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Reply:
        if isinstance(step, Fail):
            self._report_latency(step.latency, request)
            raise exception(step, self._dialect_of(request.params))
        if isinstance(step, Return):
            raise ScriptError(f"a model cannot give values, it says something; got {step} at {shown_path(step.where)}")
        reply = resolve_values(step, request) if step.structured else step
        self.script.check(reply, request)
        self._report_latency(reply.latency, request)
        return reply


def _gates_within(step: Step) -> list[Gate]:
    return [gate for *_, gate in step.stops] if isinstance(step, Reply) else []


def _finish(value: Any) -> Any:
    """Return the result of a `respond` function, sync or async, on a synchronous path."""
    if not inspect.isawaitable(value):
        return value
    if asyncio._get_running_loop() is not None:
        cast("Coroutine[Any, Any, Any]", value).close()
        raise ScriptError("respond() has an async function, but the call came without await in a running loop")

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())
