"""The tap: one handler for the whole process that turns LangChain's callbacks into events.

It is registered once with `register_configure_hook`, at the first `record()`. LangChain then asks `_Hook.get()` each
time it configures a callback manager; while nothing is open that is all that runs.

The tap is inline and synchronous: it records on the caller's thread, in exact order, in sync and async runs. It must
not change what the program's own handlers see. There is one place where an inline handler does that:
`AsyncCallbackManager.on_llm_start` leaves out every other handler as soon as one is inline
(https://github.com/langchain-ai/langchain/issues/39633). `_mend_llm_start` makes that method decide as if the tap were
not there.
"""

from __future__ import annotations

import copy
import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.tracers.context import register_configure_hook

from llmtest import blocks, lanes
from llmtest.events import EMPTY, Failure, FrozenDict
from llmtest.langchain.freezing import (
    freeze,
    freeze_error,
    freeze_usage,
    hold,
    hold_counts,
    hold_message,
    hold_parameters,
    hold_result,
    tool_names,
    words,
)

if TYPE_CHECKING:
    from langchain_core.agents import AgentAction, AgentFinish
    from langchain_core.documents import Document
    from tenacity import RetryCallState

MODEL_STARTS: Final = ("on_chat_model_start", "on_llm_start")

# -- the handler


class Tap(BaseCallbackHandler):
    """Records every callback into the recordings of its run. The parameter names are LangChain's protocol.

    It never has the interface of a streaming handler: models look for that, and start to stream.
    """

    run_inline = True
    # The run of the last token and its recordings: the next token is most likely of the same run. One attribute, one
    # tuple, so that any thread may read and replace it.
    _last_token: tuple[UUID | None, blocks.Membership | None] = (None, None)

    def _begin(self, kind: str, serialized: Any, take: Callable[[], dict[str, Any]], about: dict[str, Any]) -> None:
        run_id, parent = about["run_id"], about.get("parent_run_id")
        member = blocks.begin(run_id, parent)
        if member is None:
            return
        if member.light:
            if kind in MODEL_STARTS:
                member.deliver((kind, run_id, parent, _counted(serialized, about), 0, 0, None))
            return
        metadata = about.get("metadata")
        held = {"metadata": hold(metadata) if metadata else {}, "payload": take()}
        start = (about.get("name") or _name(serialized), tuple(about.get("tags") or ()), partial(words, held))
        member.deliver((kind, run_id, parent, start, monotonic_ns(), time_ns(), lanes.current()))

    def _next(self, kind: str, take: Callable[[], Any], about: dict[str, Any]) -> None:
        run_id = about["run_id"]
        member = blocks.membership(run_id)
        if member is not None and not member.light:
            parent = about.get("parent_run_id")
            payload = partial(words, take())
            member.deliver((kind, run_id, parent, payload, monotonic_ns(), time_ns(), lanes.current()))

    # models

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        self._begin("on_llm_start", serialized, lambda: {"prompts": list(prompts), **_parameters(kwargs)}, kwargs)

    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[list[BaseMessage]], **kwargs: Any) -> None:
        def take() -> dict[str, Any]:
            return {"messages": [hold_message(message) for message in messages[0]], **_parameters(kwargs)}

        self._begin("on_chat_model_start", serialized, take, kwargs)

    def on_llm_new_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        last = self._last_token
        if last[0] is run_id:
            member = last[1]
        else:
            member = blocks.membership(run_id)
            self._last_token = (run_id, member)
        if member is not None:
            payload = _token(token, chunk)
            if member.light and type(payload) is str:
                return
            raw = ("on_llm_new_token", run_id, parent_run_id, payload, monotonic_ns(), time_ns(), lanes.current())
            member.deliver(raw)

    def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        self._next("on_stream_event", lambda: {"event": hold(event)}, kwargs)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        member = blocks.membership(run_id)
        if member is None:
            return
        if member.light:
            member.deliver(("on_llm_end", run_id, None, hold_counts(response), 0, 0, None))
        else:
            payload = partial(words, hold_result(response))
            raw = ("on_llm_end", run_id, parent_run_id, payload, monotonic_ns(), time_ns(), lanes.current())
            member.deliver(raw)

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        response = kwargs.get("response")
        member = blocks.membership(kwargs["run_id"])
        if member is not None and member.light:
            held = hold_counts(response) if response is not None else None
            member.deliver(
                ("on_llm_error", kwargs["run_id"], None, partial(_counted_error, freeze_error(error), held), 0, 0, None)
            )
        else:
            self._next("on_llm_error", lambda: _failed(error, response=response), kwargs)

    # chains

    def on_chain_start(self, serialized: dict[str, Any], inputs: Any, **kwargs: Any) -> None:
        self._begin("on_chain_start", serialized, lambda: {"inputs": hold(inputs)}, kwargs)

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self._next("on_chain_end", lambda: _fields(outputs=outputs, inputs=kwargs.get("inputs")), kwargs)

    def on_chain_error(self, error: BaseException, **kwargs: Any) -> None:
        self._next("on_chain_error", lambda: _failed(error, inputs=kwargs.get("inputs")), kwargs)

    # tools and retrievers

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        fields = {"input_str": str(input_str), "inputs": kwargs.get("inputs"), "tool_call_id": kwargs.get("tool_call_id")}
        self._begin("on_tool_start", serialized, lambda: _fields(**fields), kwargs)

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self._next("on_tool_end", lambda: {"output": hold(output)}, kwargs)

    def on_tool_error(self, error: BaseException, **kwargs: Any) -> None:
        self._next("on_tool_error", lambda: _failed(error), kwargs)

    def on_retriever_start(self, serialized: dict[str, Any], query: str, **kwargs: Any) -> None:
        self._begin("on_retriever_start", serialized, lambda: {"query": str(query)}, kwargs)

    def on_retriever_end(self, documents: Sequence[Document], **kwargs: Any) -> None:
        self._next("on_retriever_end", lambda: {"documents": hold(list(documents))}, kwargs)

    def on_retriever_error(self, error: BaseException, **kwargs: Any) -> None:
        self._next("on_retriever_error", lambda: _failed(error), kwargs)

    # things that happen within a run

    def on_agent_action(self, action: AgentAction, **kwargs: Any) -> None:
        fields = {"tool": action.tool, "tool_input": action.tool_input, "log": action.log}
        self._next("on_agent_action", lambda: _fields(**fields), kwargs)

    def on_agent_finish(self, finish: AgentFinish, **kwargs: Any) -> None:
        self._next("on_agent_finish", lambda: _fields(return_values=finish.return_values, log=finish.log), kwargs)

    def on_text(self, text: str, **kwargs: Any) -> None:
        self._next("on_text", lambda: {"text": str(text)}, kwargs)

    def on_retry(self, retry_state: RetryCallState, **kwargs: Any) -> None:
        outcome = retry_state.outcome
        error = outcome.exception() if outcome is not None and outcome.failed else None
        self._next("on_retry", lambda: _fields(attempt_number=retry_state.attempt_number, error=error), kwargs)

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self._next("on_custom_event", lambda: {"name": name, "data": hold(data)}, kwargs)


def _counted(serialized: Any, about: dict[str, Any]) -> blocks.Start:
    """The start of a model call, as far as counting needs it."""
    metadata, parameters = about.get("metadata") or {}, about.get("invocation_params") or {}
    model = metadata.get("ls_model_name") or parameters.get("model") or parameters.get("model_name")
    take = partial(_counted_words, model, metadata.get("langgraph_node"), _batch(about))
    return (about.get("name") or _name(serialized), tuple(about.get("tags") or ()), take)


def _counted_words(model: Any, node: Any, payload: dict[str, int]) -> FrozenDict:
    metadata = FrozenDict(ls_model_name=freeze(model), langgraph_node=freeze(node))
    return FrozenDict(metadata=metadata, payload=FrozenDict(payload))


def _counted_error(error: Failure, response: Callable[[], FrozenDict] | None) -> FrozenDict:
    return FrozenDict(error=error, response=EMPTY if response is None else response())


def _batch(about: dict[str, Any]) -> dict[str, int]:
    """How many prompts went to the model in one call, where it was more than one: the first reports the tokens of all."""
    size = about.get("batch_size") or 1
    return {"batch_size": size} if size > 1 else {}


def _name(serialized: Any) -> str:
    """The name of a run whose start has no `name=`; `serialized` is None for most chains."""
    named = serialized or {}
    return str(named.get("name") or (named.get("id") or ["unnamed"])[-1])


def _fields(**fields: Any) -> dict[str, Any]:
    return {key: hold(value) for key, value in fields.items() if value is not None}


def _failed(error: BaseException, **fields: Any) -> dict[str, Any]:
    return {"error": freeze_error(error), **_fields(**fields)}


def _token(token: Any, chunk: Any) -> Any:
    """A token as it is stored: the bare str, or with what else its chunk carried."""
    fields = chunk.__dict__ if chunk is not None else {}
    message = fields.get("message")
    fields = message.__dict__ if message is not None else {}
    calls, usage = fields.get("tool_call_chunks"), fields.get("usage_metadata")
    if not calls and not usage and type(token) is str:
        return token
    more: dict[str, Any] = {"tool_call_chunks": hold(calls)} if calls else {}
    return partial(words, {"token": hold(token), **more, **({"usage": freeze_usage(usage)} if usage else {})})


def _parameters(about: dict[str, Any]) -> dict[str, Any]:
    """The names of the bound tools, and the parameters of the call."""
    parameters = about.get("invocation_params") or {}
    fields = {"invocation_params": hold_parameters(parameters), **_batch(about)}
    return {"tools": tool_names(parameters["tools"]), **fields} if parameters.get("tools") else fields


# -- attaching


class _Hook:
    """What LangChain asks at each configure: the tap, or None while nothing is open. Quacks like a ContextVar."""

    def get(self) -> Tap | None:
        return TAP if blocks.anything_open() else None


TAP = Tap()
_installed = threading.Lock()


def install() -> None:
    """Attaches the tap to LangChain, once per process. Safe to call from any thread, any number of times."""
    if _installed.acquire(blocking=False):
        register_configure_hook(cast("ContextVar[Any]", _Hook()), inheritable=True)
        _mend_llm_start()


def _mend_llm_start() -> None:
    """Keeps the starts of text models for handlers that are not inline: https://github.com/langchain-ai/langchain/issues/39633."""
    original = AsyncCallbackManager.on_llm_start

    @functools.wraps(original)
    async def on_llm_start(
        self: AsyncCallbackManager, serialized: dict[str, Any], prompts: list[str], run_id: UUID | None = None, **kwargs: Any
    ) -> list[Any]:
        if TAP not in self.handlers or all(handler.run_inline for handler in self.handlers):
            return await original(self, serialized, prompts, run_id, **kwargs)
        without = copy.copy(self)
        without.handlers = [handler for handler in self.handlers if handler is not TAP]
        managers = await original(without, serialized, prompts, run_id, **kwargs)
        for prompt, manager in zip(prompts, managers, strict=True):
            manager.handlers = self.handlers
            about = {"run_id": manager.run_id, "parent_run_id": self.parent_run_id, "tags": self.tags, "metadata": self.metadata}
            TAP.on_llm_start(serialized, [prompt], **about, **kwargs)
        return managers

    if list(inspect.signature(original).parameters) == ["self", "serialized", "prompts", "run_id", "kwargs"]:
        AsyncCallbackManager.on_llm_start = on_llm_start  # type: ignore[method-assign]
