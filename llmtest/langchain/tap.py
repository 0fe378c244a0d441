"""The tap: one handler for the whole process that turns LangChain's callbacks into events.

It is registered once with `register_configure_hook`, at the first `record()`. LangChain then calls `_Hook.get()` each
time it configures a callback manager; while nothing is open, nothing else runs.

The tap is inline and synchronous: it records on the caller's thread, in exact order, in sync and async runs. The program's
own handlers must see the same events as without it. In one place an inline handler changes them:
`AsyncCallbackManager.on_llm_start` leaves out every other handler as soon as one is inline
(https://github.com/langchain-ai/langchain/issues/39633). `_mend_llm_start` makes that method decide as if the tap were
not there.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from itertools import islice
from time import monotonic_ns, time_ns
from traceback import walk_stack
from typing import TYPE_CHECKING, Final, Protocol, Required, TypedDict, cast
from uuid import UUID, uuid4

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, manager
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.tracers.context import register_configure_hook

from llmtest import ledger
from llmtest.capture import blocks, membership, processes
from llmtest.concurrency import asyncio_state, lanes
from llmtest.core.once import once
from llmtest.core.source import caller
from llmtest.core.text import text_of
from llmtest.events.callbacks import CALLBACKS, MODELS, OF_LANGGRAPH, START_OF
from llmtest.events.usage import read_model_name, read_usage
from llmtest.events.words import EMPTY, Failure, FrozenDict, FrozenList
from llmtest.langchain import cache_hits, edits
from llmtest.langchain.bound_tools import hold_parameters
from llmtest.langchain.freezing import freeze, freeze_error, hold, hold_counts, hold_result, words

if TYPE_CHECKING:
    from langchain_core.agents import AgentAction, AgentFinish
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
    from langchain_core.documents import Document
    from tenacity import RetryCallState


class About(TypedDict, total=False):
    """What LangChain passes to a callback by keyword, as far as it is recorded. It leaves out what it does not know."""

    run_id: Required[UUID]
    parent_run_id: UUID | None
    name: str | None
    tags: Sequence[str] | None
    metadata: Mapping[str, object] | None
    batch_size: int
    inputs: object
    invocation_params: Mapping[str, object] | None
    response: LLMResult | None
    tool_call_id: str | None


class GraphLifecycleEvent(Protocol):
    """What LangGraph passes of an interrupt or a resume: its frozen dataclass, of any version."""

    @property
    def run_id(self) -> UUID: ...
    @property
    def status(self) -> str: ...
    @property
    def checkpoint_id(self) -> str: ...
    @property
    def checkpoint_ns(self) -> Sequence[str]: ...


class GraphInterruptEvent(GraphLifecycleEvent, Protocol):
    @property
    def interrupts(self) -> Sequence[object]: ...


Serialized = Mapping[str, object] | None
"""How LangChain describes what runs. None for nearly all chains."""

Held = Callable[[], dict[str, object]]
"""Takes a payload at the moment of the callback. It is called only if a recording wants the event."""

MODEL_STARTS: Final = frozenset(START_OF[kind] for kind in MODELS)

Meet = Callable[[UUID, str, bool], None]
"""Takes the id of a recorded run that starts, its callback, and whether it has no parent."""

_meets: tuple[Meet, ...] = ()
_meeting = threading.Lock()


def hear_starts(meet: Meet) -> None:
    """Call `meet` at each start of a recorded run from now on, on its stack."""
    global _meets
    with _meeting:
        _meets = (*_meets, meet)


def forget_starts(meet: Meet) -> None:
    """Take back one `hear_starts`."""
    global _meets
    with _meeting:
        _meets = tuple(other for other in _meets if other != meet)


# -- the handler


class Tap(BaseCallbackHandler):
    """Records every callback into the recordings of its run. The parameter names are LangChain's protocol.

    It never has the interface of a streaming handler: with one attached, models start to stream. `TAP` is its only instance:
    LangChain would make another if the last block were closed between its two calls of the hook, and programs copy and pickle
    the managers that they find in their config.
    """

    def __new__(cls) -> Tap:
        return TAP

    def __reduce__(self) -> str:
        return "TAP"

    # LangChain calls an inline handler on the thread of the program and in order; any other in async code through an executor,
    # which costs five times as much for a token (155 to 290 microseconds) and loses the order between runs.
    run_inline = True
    # The run of the last token and its recordings: the next token is most likely of the same run. It is one tuple, so that
    # any thread may read and replace it.
    _last_token: tuple[UUID | None, blocks.Membership | None] = (None, None)

    def record_start(self, kind: str, serialized: Serialized, take: Held, keywords: Mapping[str, object]) -> None:
        """Record that a run starts: `take` gives its payload, `keywords` are what LangChain passed by keyword."""
        about: About = keywords  # type: ignore[assignment]  # and no `cast`: to call it takes time at each event
        run_id, parent = about["run_id"], about.get("parent_run_id")
        self._last_token = (None, None)  # a program may give one id to several runs
        member = membership.begin(run_id, parent)
        if member is None or member.follows:
            _note_unseen(kind, _shown(kind, serialized, about), run_id, parent)
        if member is None:
            return
        if ledger.is_forked:
            processes.note_run(run_id, parent, kind == "on_chain_start", _shown(kind, serialized, about), caller)
        if member.light:  # only token counts are open: they need no payload, which is the slow part
            if kind in MODEL_STARTS:
                member.deliver((kind, run_id, parent, _counted(serialized, about), 0, 0, None))
            return
        for meet in _meets:
            meet(run_id, kind, parent is None)
        metadata = about.get("metadata")
        payload = take()
        edits.note_start(run_id, payload)
        held = {"metadata": hold(metadata) if metadata else {}, "payload": payload}
        # Tags and name only here: the callbacks of an end, an error or a token have no metadata and no name.
        start = (str(about.get("name") or _name(serialized)), tuple(map(str, about.get("tags") or ())), partial(words, held))
        member.deliver((kind, run_id, parent, start, monotonic_ns(), time_ns(), lanes.tick()))

    def record_event(
        self, kind: str, take: Held, keywords: Mapping[str, object], now: Callable[[], lanes.Mark] = lanes.tick
    ) -> None:
        """Record what happens within a run, or its end."""
        about: About = keywords  # type: ignore[assignment]
        run_id, parent = about["run_id"], about.get("parent_run_id")
        member = membership.membership(run_id) or _begin_without_start(kind, run_id, parent)
        if member is not None and not member.light:
            payload = partial(words, take())
            at = lanes.tick() if member.timed else now()
            member.deliver((kind, run_id, parent, payload, monotonic_ns(), time_ns(), at))

    # models

    def on_llm_start(self, serialized: Serialized, prompts: list[str], **kwargs: object) -> None:
        # LangChain makes a run of each prompt: the list has one element.
        self.record_start("on_llm_start", serialized, lambda: {"prompts": list(prompts), **_parameters(kwargs)}, kwargs)

    def on_chat_model_start(self, serialized: Serialized, messages: list[list[BaseMessage]], **kwargs: object) -> None:
        # Here too: one run for each list of messages.
        self.record_start(
            "on_chat_model_start", serialized, lambda: {"messages": hold(messages[0]), **_parameters(kwargs)}, kwargs
        )

    # LangChain passes `token` by keyword in sync code and by position in async code: the name must stay.
    def on_llm_new_token(
        self, token: object, *, chunk: object = None, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: object
    ) -> None:
        # The manager of a run passes the same UUID object with each token, so identity is enough.
        last = self._last_token
        if last[0] is run_id:
            member = last[1]
        else:
            member = membership.membership(run_id) or _begin_without_start("on_llm_new_token", run_id, parent_run_id)
            self._last_token = (run_id, member)
        if member is not None:
            payload = _token(token, chunk)
            # A count needs no text. Tokens cannot be counted by their events anyway: a stream ends with an extra, empty one.
            if member.light and type(payload) is str:
                return
            now = lanes.tick() if member.timed else lanes.mark()
            member.deliver(("on_llm_new_token", run_id, parent_run_id, payload, monotonic_ns(), time_ns(), now))

    def on_stream_event(self, event: object, **kwargs: object) -> None:
        # Version 3 of stream events fires this one in place of on_llm_new_token.
        self.record_event("on_stream_event", lambda: {"event": hold(event)}, kwargs, lanes.mark)
        usage = event.get("usage") if isinstance(event, dict) and event.get("event") == "message-finish" else None
        if usage:
            self._count_finished(usage, cast("About", kwargs)["run_id"])

    def _count_finished(self, usage: object, run_id: UUID) -> None:
        """Tell token counts the usage of a finished message: they keep no other stream event."""
        member = membership.membership(run_id)
        if member is not None and member.light:
            payload = partial(words, {"event": hold({"event": "message-finish", "usage": usage})})
            member.deliver(("on_stream_event", run_id, None, payload, 0, 0, None))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: object) -> None:
        # This ends chat models too: LangChain has no on_chat_model_end.
        self._last_token = (None, None)  # it holds the events of a recording, which may never be read again
        member = membership.membership(run_id) or _begin_without_start("on_llm_end", run_id, parent_run_id)
        if member is None:
            return
        # A count takes no time and asks for no lane: both cost more than the rest of it.
        if member.light:
            member.deliver(("on_llm_end", run_id, None, _counts(response), 0, 0, None))
        else:
            result = _result(response)
            if membership.is_real(run_id):
                result["real"] = True
            raw = ("on_llm_end", run_id, parent_run_id, partial(words, result), monotonic_ns(), time_ns(), lanes.tick())
            member.deliver(raw)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, response: LLMResult | None = None, **kwargs: object) -> None:
        member = membership.membership(run_id)
        if member is not None and member.light:
            held = _counts(response) if response is not None else None
            member.deliver(("on_llm_error", run_id, None, partial(_counted_error, freeze_error(error), held), 0, 0, None))
            return
        # What a stream had said before it failed, merged by LangChain.
        so_far = {"response": _result(response)} if response is not None else {}
        self.record_event("on_llm_error", lambda: {**_failed(error), **so_far, **_real(run_id)}, {"run_id": run_id, **kwargs})

    # chains

    def on_chain_start(self, serialized: Serialized, inputs: object, **kwargs: object) -> None:
        self.record_start("on_chain_start", serialized, lambda: {"inputs": hold(inputs)}, kwargs)

    def on_chain_end(self, outputs: object, **kwargs: object) -> None:
        # A chain that streams starts with the inputs {"input": ""}: only its end, or its error, has the real ones.
        self.record_event("on_chain_end", lambda: _fields(outputs=outputs, inputs=kwargs.get("inputs")), kwargs)

    def on_chain_error(self, error: BaseException, **kwargs: object) -> None:
        self.record_event("on_chain_error", lambda: _failed(error, inputs=kwargs.get("inputs")), kwargs)

    # tools and retrievers

    def on_tool_start(self, serialized: Serialized, input_str: str, **kwargs: object) -> None:
        # `input_str` is the str() of the arguments. `inputs` has them as they are, without those that LangChain injects;
        # a tool that is called with plain text has none.
        def take() -> dict[str, object]:
            return _fields(input_str=text_of(input_str), inputs=kwargs.get("inputs"), tool_call_id=kwargs.get("tool_call_id"))

        self.record_start("on_tool_start", serialized, take, kwargs)

    # LangChain does not pass the tool call that this answers; the start of the run has it.
    def on_tool_end(self, output: object, **kwargs: object) -> None:
        self.record_event("on_tool_end", lambda: {"output": hold(output)}, kwargs)

    def on_tool_error(self, error: BaseException, **kwargs: object) -> None:
        self.record_event("on_tool_error", lambda: _failed(error), kwargs)

    def on_retriever_start(self, serialized: Serialized, query: str, **kwargs: object) -> None:
        self.record_start("on_retriever_start", serialized, lambda: {"query": text_of(query)}, kwargs)

    def on_retriever_end(self, documents: Sequence[Document], **kwargs: object) -> None:
        self.record_event("on_retriever_end", lambda: {"documents": hold(documents)}, kwargs)

    def on_retriever_error(self, error: BaseException, **kwargs: object) -> None:
        self.record_event("on_retriever_error", lambda: _failed(error), kwargs)

    # notes within a run

    # Only the AgentExecutor of langchain-classic fires these two. Graphs and `create_agent` never do.
    def on_agent_action(self, action: AgentAction, **kwargs: object) -> None:
        self.record_event("on_agent_action", lambda: _attributes(action, "tool", "tool_input", "log"), kwargs)

    def on_agent_finish(self, finish: AgentFinish, **kwargs: object) -> None:
        self.record_event("on_agent_finish", lambda: _attributes(finish, "return_values", "log"), kwargs)

    # Fired by legacy chains, with each prompt that they have formatted.
    def on_text(self, text: str, **kwargs: object) -> None:
        self.record_event("on_text", lambda: {"text": text_of(text)}, kwargs)

    # Fired by the retry decorators of integrations only. `Runnable.with_retry` makes child runs tagged `retry:attempt:N`.
    def on_retry(self, retry_state: RetryCallState, **kwargs: object) -> None:
        outcome = getattr(retry_state, "outcome", None)
        error = outcome.exception() if outcome is not None and outcome.failed else None
        attempt = getattr(retry_state, "attempt_number", None)
        self.record_event("on_retry", lambda: _fields(attempt_number=attempt, error=error), kwargs)

    # LangChain passes the id of the enclosing run as `run_id`, and no parent.
    def on_custom_event(self, name: str, data: object, **kwargs: object) -> None:
        self.record_event("on_custom_event", lambda: {"name": text_of(name), "data": hold(data)}, kwargs)

    # LangGraph passes no keywords here, not even `run_id`: the event has the id.
    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        self.record_event("on_interrupt", lambda: _lifecycle(event, interrupts=event.interrupts), {"run_id": event.run_id})

    def on_resume(self, event: GraphLifecycleEvent) -> None:
        self.record_event("on_resume", lambda: _lifecycle(event), {"run_id": event.run_id})


def _real(run_id: UUID) -> dict[str, object]:
    """Return what the end of a model call says of who answered: nothing, or that it was a real model."""
    return {"real": True} if membership.is_real(run_id) else {}


def _shown(kind: str, serialized: Serialized, about: About) -> str:
    name = str(about.get("name") or _name(serialized))
    return name if kind in MODEL_STARTS else f"`{name}`"


def _note_unseen(kind: str, name: str, run_id: UUID, parent_run_id: UUID | None) -> None:
    """Note a run that no block took. Of a chain that calls others, the outermost is enough."""
    if blocks.openings and not (kind == "on_chain_start" and parent_run_id in blocks.unseen_runs):
        membership.note_unseen_run(run_id, name, caller)
    elif parent_run_id in blocks.unseen_runs:
        blocks.unseen_runs.add(run_id)


def _begin_without_start(kind: str, run_id: UUID, parent_run_id: UUID | None) -> blocks.Membership | None:
    """Give a run whose start was lost a start that says so. A custom event may be of a run from before the block."""
    start = _LOST_STARTS.get(kind)
    member = membership.begin_without_start(run_id, parent_run_id) if start is not None else None
    if start is not None and member is not None:
        made: blocks.Start = ("unnamed", (), lambda: FrozenDict(metadata=EMPTY, payload=FrozenDict(synthesised=True)))
        member.deliver((start, run_id, parent_run_id, made, monotonic_ns(), time_ns(), lanes.tick()))
    return member


_LOST_STARTS: Final = {name: START_OF[row.runs[0]] for name, row in CALLBACKS.items() if row.runs and row.role != "start"}


def _lifecycle(event: GraphLifecycleEvent, **fields: object) -> dict[str, object]:
    return _fields(status=event.status, checkpoint_id=event.checkpoint_id, checkpoint_ns=event.checkpoint_ns, **fields)


# LangGraph writes them into the metadata of each run within a node; counting by node needs no more.
_NODES: Final = ("langgraph_node", "langgraph_checkpoint_ns")


def _counted(serialized: Serialized, about: About) -> blocks.Start:
    """Return the start of a model call, as far as counting needs it."""
    metadata = about.get("metadata")
    nodes = {key: metadata[key] for key in _NODES if key in metadata} if isinstance(metadata, dict) else {}
    take = partial(_counted_words, read_model_name(metadata, about.get("invocation_params")), nodes, about.get("batch_size"))
    return (str(about.get("name") or _name(serialized)), tuple(map(str, about.get("tags") or ())), take)


def _counted_words(model: object, nodes: dict[str, object], batch_size: object) -> FrozenDict:
    metadata = FrozenDict({"ls_model_name": model, **{key: freeze(value) for key, value in nodes.items()}})
    return FrozenDict(metadata=metadata, payload=FrozenDict(_batch(batch_size)))


def _counted_error(error: Failure, response: Callable[[], FrozenDict] | None) -> FrozenDict:
    return FrozenDict(error=error, response=EMPTY if response is None else response())


def _parameters(about: Mapping[str, object]) -> dict[str, object]:
    held = hold_parameters(about.get("invocation_params"))
    if "batch_size" in about:
        held.update(_batch(about["batch_size"]))
    return held


def _batch(size: object) -> dict[str, int]:
    """Return how many prompts went to the model in one call, if more than one: the first reports the tokens of all."""
    return {"batch_size": size} if isinstance(size, int) and size > 1 else {}


def _name(serialized: object) -> str:
    """Return the name of a run whose start has no `name=`; `serialized` is None for most chains."""
    # In the order of LangChain's own event stream, so that a run has the same name in both.
    fields = serialized if isinstance(serialized, dict) else {}
    path = fields.get("id")
    return str(fields.get("name") or (path[-1] if path and isinstance(path, list) else _name_of_graph_step() or "unnamed"))


def _name_of_graph_step() -> str | None:
    """Return the name of the step of a graph that starts on this stack: in async code LangGraph tells none for a function
    without a name, and in sync code that of its class (https://github.com/langchain-ai/langgraph/pull/8294)."""
    for frame, _ in islice(walk_stack(sys._getframe(1)), _MAX_FRAMES):
        if frame.f_code.co_name == "ainvoke" and str(frame.f_globals.get("__name__")).startswith("langgraph."):
            get_name = getattr(frame.f_locals.get("self"), "get_name", None)
            return str(get_name()) if callable(get_name) else None
    return None


_MAX_FRAMES: Final = 16


def _fields(**fields: object) -> dict[str, object]:
    return {key: hold(value) for key, value in fields.items() if value is not None}


def _attributes(value: object, *names: str) -> dict[str, object]:
    # A program may fire the callback with any object.
    return _fields(**{name: getattr(value, name, None) for name in names})


def _result(response: LLMResult) -> dict[str, object]:
    try:
        result = hold_result(response)
        result.update(_not_cached(response))
        return result
    except Exception:  # a custom model may end its run with another object
        return {"generations": [], "unreadable": hold(response)}


def _counts(response: LLMResult) -> Callable[[], FrozenDict]:
    try:
        return hold_counts(response, **_not_cached(response))
    except Exception:  # as above
        return partial(FrozenDict, generations=FrozenList())


def _not_cached(response: LLMResult) -> dict[str, bool]:
    """Return what a payload says if the answer looks as one of LangChain's cache, and is none."""
    return {"cached": False} if cache_hits.is_own_claim(response) else {}


def _failed(error: BaseException, **fields: object) -> dict[str, object]:
    return {"error": freeze_error(error), **_fields(**fields)}


def _token(token: object, chunk: object) -> object:
    """Return a token as it is stored: the bare str, or with the calls and the usage of its chunk."""
    message = getattr(chunk, "message", None)
    fields = getattr(message, "__dict__", {})
    calls, usage = fields.get("tool_call_chunks"), fields.get("usage_metadata")
    if not calls and not usage and type(token) is str:
        return token
    more: dict[str, object] = {"tool_call_chunks": hold(calls)} if calls else {}
    # Models that answer in content blocks pass a list of them as a token.
    held = hold(token) if isinstance(token, list) else text_of(token)
    return partial(words, {"token": held, **more, **({"usage": read_usage(usage)} if usage else {})})


# -- attaching


class _Hook:
    """Stands in for the ContextVar that LangChain reads at each configure: the tap, or None while nothing is open."""

    def get(self) -> Tap | None:
        # LangChain asks when it configures a manager, not at each event: the runs below inherit the handler from it.
        # In every context, also in one that no block reached: else a run there would not be known to be missing.
        if not (blocks.openings or membership.is_process_traced()):
            return None
        if "langgraph.callbacks" in sys.modules:
            _watch_graphs()
        return TAP


TAP: Tap = object.__new__(Tap)


@once
def install() -> None:
    """Attach the tap to LangChain, once per process. Safe to call from any thread, any number of times."""
    # One hook for ever: LangChain never removes one, and asks each of them at every start
    # (https://github.com/langchain-ai/langchain/issues/32300). It is inheritable, or only root runs would have the tap.
    register_configure_hook(cast("ContextVar[object]", _Hook()), inheritable=True, handle_class=Tap)
    asyncio_state.couriers.update((inspect.getfile(AsyncCallbackManager), __file__))
    asyncio_state.streams["_astream_events_implementation_v2.<locals>.consume_astream"] = _queue_of_events
    membership.process_trace = _process_trace
    lanes.watch_waits()
    _mend_llm_start()
    edits.install(TAP)
    cache_hits.install()


def _process_trace() -> blocks.Block:
    from llmtest.tracing import session  # the store is loaded by the first run that is traced, and by no other

    return session.whole_process()


def _queue_of_events(variables: Mapping[str, object]) -> object:
    """Return the queue of `astream_events`, from the variables of the coroutine that fills it."""
    streamer = variables.get("event_streamer")
    return getattr(getattr(streamer, "receive_stream", None), "_queue", None)


@once
def _watch_graphs() -> None:
    """Record LangGraph's interrupts and resumes, which go only to handlers of LangGraph's own class, and only from a config."""
    from langgraph import callbacks

    def watch(owner: type, kind: str) -> None:
        original, record = getattr(owner, kind), getattr(TAP, kind)

        @functools.wraps(original)
        def on_event(self: object, event: object) -> object:
            record(event)
            return original(self, event)

        setattr(owner, kind, on_event)

    # A handler that comes from a hook is not in the config, so neither manager would call it.
    for owner in (callbacks._GraphCallbackManager, callbacks._AsyncGraphCallbackManager):
        for name in OF_LANGGRAPH:
            watch(owner, name)


def _mend_llm_start() -> None:
    """Keep the starts of text models for handlers that are not inline: https://github.com/langchain-ai/langchain/issues/39633."""
    original = AsyncCallbackManager.on_llm_start

    @functools.wraps(original)
    async def on_llm_start(
        self: AsyncCallbackManager,
        serialized: dict[str, object],
        prompts: list[str],
        run_id: UUID | None = None,
        **kwargs: object,
    ) -> list[AsyncCallbackManagerForLLMRun]:
        others = [handler for handler in self.handlers if handler is not TAP]
        # Without the tap there is nothing to mend; beside another inline handler LangChain would lose starts anyway.
        if len(others) == len(self.handlers) or any(handler.run_inline for handler in others):
            return await original(self, serialized, prompts, run_id, **kwargs)
        about = {"parent_run_id": self.parent_run_id, "tags": self.tags, "metadata": self.metadata, **kwargs}
        # The id of the first run is known beforehand, so that no handler can fail or be cancelled before it is recorded.
        run_ids = [run_id or getattr(manager, "uuid7", uuid4)()]
        # A copy, because other threads may use the manager, and the program may have kept it.
        without = copy.copy(self)
        without.handlers = others
        for prompt, known in zip(prompts, run_ids, strict=False):
            TAP.on_llm_start(serialized, [prompt], run_id=known, **about)
        managers = await original(without, serialized, prompts, run_ids[0], **kwargs)
        for prompt, run in zip(prompts[1:], managers[1:], strict=True):
            TAP.on_llm_start(serialized, [prompt], run_id=run.run_id, **about)
        # The ends come by the managers, so the tap must be among their handlers again.
        for run in managers:
            run.handlers = self.handlers
        return managers

    # A later LangChain's method may have another signature and no bug: leave it alone.
    if list(inspect.signature(original).parameters) == ["self", "serialized", "prompts", "run_id", "kwargs"]:
        AsyncCallbackManager.on_llm_start = on_llm_start  # type: ignore[method-assign]
