"""Edits by handlers: the recording shows what a model or tool was given, and keeps what callbacks were told instead.

LangChain passes its handlers a list of its own, with the messages of the program in it. A handler that puts another message
into the list changes what later handlers see, and not the prompt; one that changes a message in place changes the prompt, and
not what earlier handlers saw. The same holds for the arguments of a tool.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from itertools import islice
from traceback import walk_stack
from typing import Any, Final, Protocol, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from llmtest.langchain.freezing import hold, words

TOLD: Final = "told"
"""The entry of a start's payload that holds what callbacks were told, where it is not what the run was given."""

Payload = dict[str, object]

_starts: ContextVar[dict[UUID, Payload] | None] = ContextVar("llmtest_starts", default=None)


def note_start(run_id: UUID, payload: Payload) -> None:
    """Note the payload of a start that is being reported, to be corrected when all handlers have it."""
    starts = _starts.get()
    if starts is not None:
        starts[run_id] = payload


class _Given(Protocol):
    """What the runs that start together were given."""

    def correct(self, payloads: Sequence[Payload | None]) -> None: ...


class _Messages:
    def __init__(self, lists: Sequence[list[BaseMessage]], _: Mapping[str, object]) -> None:
        # The list, because handlers get this one; its messages, because one may be replaced; and how each was before.
        self._lists = [(messages, [*messages], list(map(hold, messages))) for messages in lists]

    def correct(self, payloads: Sequence[Payload | None]) -> None:
        for payload, (messages, own, before) in zip(payloads, self._lists, strict=False):
            last, given = list(map(hold, messages)), list(map(hold, own))
            # A message that has not changed is held as the same object again.
            if payload is None or all(a is b is c for a, b, c in zip(before, given, last, strict=False)):
                continue
            prompt = _prompt_of_the_caller()
            # LangChain shows handlers a copy of a message with an image: the model has another.
            given = [now if not prompt or id(m) in prompt else was for m, now, was in zip(own, given, before, strict=True)]
            _correct(payload, "messages", given, before, last)


class _Prompts:
    def __init__(self, prompts: Sequence[str], _: Mapping[str, object]) -> None:
        self._prompts = list(prompts)

    def correct(self, payloads: Sequence[Payload | None]) -> None:
        for payload, prompt in zip(payloads, self._prompts, strict=False):
            if payload is not None and payload["prompts"] != [prompt]:
                _correct(payload, "prompts", [prompt])


class _Arguments:
    def __init__(self, _: str, about: Mapping[str, object]) -> None:
        inputs = about.get("inputs")
        self._inputs: dict[str, object] = inputs if isinstance(inputs, dict) else {}
        self._own, self._before = dict(self._inputs), hold(self._inputs)

    def correct(self, payloads: Sequence[Payload | None]) -> None:
        given, last = hold(self._own), hold(self._inputs)
        if payloads[0] is not None and "inputs" in payloads[0] and not self._before == given == last == payloads[0]["inputs"]:
            _correct(payloads[0], "inputs", given, self._before, last)
            # LangChain made it of the arguments before a handler changed them.
            payloads[0]["input_str"] = str(words(given))


def _correct(payload: Payload, key: str, given: object, *others: object) -> None:
    right = words(given)
    told = next((word for word in map(words, (payload[key], *others)) if word != right), None)
    if told is not None:
        payload.update({key: given, TOLD: told})


def _prompt_of_the_caller() -> set[int]:
    """Return the ids of the messages that the model on the stack was called with; an empty set where there is none."""
    # The manager gets a formatted copy of the messages; the model's own method, which called it, has the originals.
    for frame, _ in islice(walk_stack(sys._getframe(1)), 8):
        messages = frame.f_locals.get("messages")
        if isinstance(frame.f_locals.get("self"), BaseChatModel) and isinstance(messages, list):
            return {id(m) for item in messages for m in (item if isinstance(item, list) else [item])}
    return set()


_GIVEN: Final[Mapping[str, Callable[[Any, Mapping[str, object]], _Given]]] = {
    "on_chat_model_start": _Messages,
    "on_llm_start": _Prompts,
    "on_tool_start": _Arguments,
}


def install(tap: BaseCallbackHandler) -> None:
    """Wrap the methods of LangChain's managers that report the start of a model or tool."""
    for name, given in _GIVEN.items():
        setattr(CallbackManager, name, _checked(getattr(CallbackManager, name), tap, given))
        if name != "on_llm_start":  # there the tap has the prompt before any other handler
            setattr(AsyncCallbackManager, name, _achecked(getattr(AsyncCallbackManager, name), tap, given))


def _is_needed(handlers: list[BaseCallbackHandler], tap: BaseCallbackHandler) -> bool:
    # Alone, the tap sees what the run is given. To hold everything twice would cost every call.
    return len(handlers) > 1 and any(handler is tap for handler in handlers)


def _checked(original: Callable[..., Any], tap: BaseCallbackHandler, look: Callable[..., _Given]) -> Callable[..., object]:
    @functools.wraps(original)
    def on_start(self: CallbackManager, serialized: object, value: object, *args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        if not _is_needed(self.handlers, tap):
            return original(self, serialized, value, *args, **kwargs)
        given, starts = look(value, kwargs), dict[UUID, Payload]()
        # In the context, because runs start concurrently: each call corrects its own starts only.
        token = _starts.set(starts)
        try:
            started = original(self, serialized, value, *args, **kwargs)
        finally:
            _starts.reset(token)
        given.correct(_payloads(started, starts))
        return cast("object", started)

    return on_start


def _achecked(
    original: Callable[..., Awaitable[Any]], tap: BaseCallbackHandler, look: Callable[..., _Given]
) -> Callable[..., Awaitable[object]]:
    @functools.wraps(original)
    async def on_start(self: AsyncCallbackManager, serialized: object, value: object, *args: object, **kwargs: object) -> object:
        __tracebackhide__ = True
        if not _is_needed(self.handlers, tap):
            return await original(self, serialized, value, *args, **kwargs)
        given, starts = look(value, kwargs), dict[UUID, Payload]()
        token = _starts.set(starts)
        try:
            started = await original(self, serialized, value, *args, **kwargs)
        finally:
            _starts.reset(token)
        given.correct(_payloads(started, starts))
        return cast("object", started)

    return on_start


def _payloads(started: Any, starts: Mapping[UUID, Payload]) -> list[Payload | None]:
    return [starts.get(run.run_id) for run in (started if isinstance(started, list) else [started])]
