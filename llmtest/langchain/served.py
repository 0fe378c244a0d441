"""The base classes of the doubles: calls are served from a script."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final
from zlib import crc32

from langchain_core.messages import BaseMessage, get_buffer_string

from llmtest.capture import membership
from llmtest.concurrency import lanes
from llmtest.core.source import caller, shown_path
from llmtest.core.text import did_you_mean, names
from llmtest.errors import ScriptError
from llmtest.events.events import Latency
from llmtest.events.words import EMPTY, Message
from llmtest.langchain import batches
from llmtest.langchain.answers import exception, tool_schema
from llmtest.langchain.caller import RunManager, about, weakly
from llmtest.scripts.answering import Answering
from llmtest.scripts.gates import Gate
from llmtest.scripts.replies import resolve_values
from llmtest.scripts.requests import KeyedSteps, Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Fail, Reply, Respond, Return, ScriptOwner, Step, Text, split
from llmtest.scripts.steps import as_step, give


def step_from(step: object, where: str) -> object:
    """Return the step of a retriever or tool: a bare value stands for `give(value)`."""
    if isinstance(step, KeyedSteps):
        return replace(step, steps=tuple(step_from(inner, step.where) for inner in step.steps))
    fails = isinstance(step, BaseException) or (isinstance(step, type) and issubclass(step, BaseException))
    return step if fails or isinstance(step, Reply | Fail | Respond | Return | Gate) else replace(give(step), where=where)


def _step_of_value(value: object, where: str) -> object:
    """Return the step for the value of a `respond` function, which the program gets itself: it may not be possible to copy."""
    fails = isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))
    is_step = isinstance(value, Reply | Fail | Respond | Return | Gate)
    return value if fails or is_step else Return(value, where, itself=True)


class Served(Answering):
    """A double with a script: how it answers a call."""

    script: Script

    def verify(self) -> None:
        """Raise `ViolationError` for every violation of the script so far and every unused step; the plugin does it for you."""
        self.script.verify()

    def _report_call(self, request: Request) -> None:
        """Tell the open recordings that this call happened, so that they notice a run that they did not see."""
        # The ground truth: a call that reached no recording has escaped the callbacks of LangChain, in a thread without their
        # context or with callbacks=[].
        run = request.run()
        membership.note_call(run.run_id if run is not None else None, self._known_as(), caller)

    def _report_latency(self, latency: Latency | None, request: Request) -> None:
        """Tell the recordings of the call how long it takes in virtual time."""
        if latency is not None:
            run = request.run()
            membership.note_latency(run.run_id if run is not None else None, latency)

    def _known_as(self) -> str:
        return type(self).__name__


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
            script.waive_steps()  # the error is enough: no step of it can be used now
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
        return self.script.owner.name

    @abstractmethod
    def _misfit(self, value: object) -> str:
        """Return what is wrong with a value of the script; empty for a right one."""

    def _as_step(self, value: object, description: str, where: str) -> Step:
        return self._check(as_step(_step_of_value(value, where), description, where), description)

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Any:
        """Return a fresh copy of the step's value, or the value of a `respond` function itself."""
        self._report_latency(step.latency, request)
        if isinstance(step, Fail):
            raise exception(step)
        if isinstance(step, Reply):
            return step.text
        # A program may change what it gets; the next call of a repeated step must not see that.
        return step.value if step.itself else copy.deepcopy(step.value)

    def _call(
        self,
        read: Callable[[], str],
        run_manager: RunManager,
        params: Mapping[str, object],
        args: Mapping[str, object],
    ) -> Request:
        run = weakly(run_manager)
        role = self.script.owner.input
        messages = lambda: [Message(role, read())]  # noqa: E731
        place = batches.place_of(self)
        return Request(EMPTY, messages, None, None, params, lambda: about(run()), run, lanes.current(), args, place)


def _is_text(step: Reply) -> bool:
    return all(isinstance(part, Text) for part in step.parts) and step.failure is None and not step.truncated


_OF_FAKES: Final = ("responses", "messages")
"""The fields in which LangChain's fake models take their answers."""


def _as_steps(kind: type, field: str, value: object) -> str:
    """Return the text that shows the answers of one of LangChain's fakes as steps of a script."""
    several = isinstance(value, Iterable) and not isinstance(value, str)
    answers = list(islice(value, 7)) if several else [value]  # type: ignore[call-overload]  # it may have no end
    try:
        steps = [_shown(as_step(answer, "an answer", "")) for answer in answers[:6]]
    except ScriptError:
        steps = []
    shown = ", ".join([*steps, "..."] if not steps or len(answers) > len(steps) else steps)
    lines = [f"{kind.__name__} takes its answers as steps, not as {field}=", f"  write    {kind.__name__}({shown})"]
    if field == "responses":
        lines.append("  a script does not begin again after its last step: .times(n) and .repeat() repeat one")
    return "\n".join(lines)


def _shown(step: Step) -> str:
    return repr(step.text) if isinstance(step, Reply) and _is_text(step) else str(step)


def script_of(kind: type, steps: tuple[object, ...], script: Script | None, fields: Mapping[str, object]) -> Script:
    """Return the script of a new double, or raise `ScriptError` for steps beside a script and for unknown fields."""
    for step in steps:  # also if they are refused below: an error is enough
        if isinstance(step, KeyedSteps) and step.source is not None:
            step.source.waive_steps()
    if steps and script is not None:
        raise ScriptError(f"{kind.__name__} takes its steps as arguments or as script=, not both")
    if script is not None and not isinstance(script, Script):
        raise ScriptError(f"script= of {kind.__name__} is a Script; got {type(script).__name__} {script!r}")
    # pydantic ignores unknown fields, so a misspelt one would silently have no effect.
    known = kind.model_fields  # type: ignore[attr-defined]
    for name in fields:
        if name in _OF_FAKES and name not in known:
            raise ScriptError(_as_steps(kind, name, fields[name]))
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
        # Encoded with `surrogatepass`: a str may hold half of a pair, which has no UTF-8.
        custom: Callable[[str], list[int]] | None = getattr(self, "custom_get_token_ids", None)
        return [crc32(token.encode("utf-8", "surrogatepass")) for token in split(text)] if custom is None else custom(text)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens of `text`. A provider's integration would need a package or the network for it."""
        return len(self.get_token_ids(text))

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[object] | None = None) -> int:
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
