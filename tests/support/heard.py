"""What a program gets from a chat model, and what its callback handlers get, in values that can be compared."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import openai
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelError

from llmtest.errors import StatusError


class _Told(BaseCallbackHandler):
    run_inline = True

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("start")

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.seen.append(("token", token, _generation(kwargs["chunk"]), sorted(kwargs)))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        generations = [[_generation(one) for one in some] for some in response.generations]
        self.seen.append(("end", generations, response.llm_output, response.run, sorted(kwargs)))

    def on_llm_error(self, error: Any, **kwargs: Any) -> None:
        response = kwargs["response"]
        generations = [[_generation(one) for one in some] for some in response.generations]
        self.seen.append(("error", _error(error), generations, response.llm_output, sorted(kwargs)))


def _generation(one: Any) -> Any:
    return type(one).__name__, one.text, one.generation_info, _message(one.message)


def _message(message: Any) -> Any:
    return type(message).__name__, message.model_dump()


def _error(error: Any) -> Any:
    if isinstance(error, ValueError):
        return type(error), str(error)
    # Not the id of the request: a double makes none.
    known = ("message", "body", "status_code", "code", "param", "type", "api_message", "error_code", "details")
    told = {name: getattr(error, name, "missing") for name in known}
    sent = (error.request.method, str(error.request.url), getattr(getattr(error, "response", None), "status_code", None))
    return type(error), str(error), error.args, told, sent


OF_A_PROVIDER = {
    *("content-length", "x-request-id", "request-id", "request_id", "openai-version"),
    *("x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"),
    *("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-tokens-remaining"),
}
"""What an answer over HTTP has beside what is compared: a double sends none of it."""


def _without_ids(told: Any, seen: dict[str, str]) -> Any:
    """`told` with each id as the number in which it came, and without the time and the length of a response."""
    if isinstance(told, list | tuple):
        return [_without_ids(item, seen) for item in told]
    if not isinstance(told, dict):
        return told
    plain: dict[Any, Any] = {}
    for key in sorted(told, key=str):
        if key in ("id", "call_id", "item_id", "signature", "message_id") and isinstance(told[key], str):
            plain[key] = seen.setdefault(told[key], f"id {len(seen) + 1}")
        elif key not in OF_A_PROVIDER:
            plain[key] = type(told[key]) if key == "created_at" else _without_ids(told[key], seen)
    return plain


async def _all(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


def _given(model: Any, way: str, told: _Told) -> list[Any]:
    result = getattr(model, way)("hi", {"callbacks": [told]})
    if way == "astream":
        return asyncio.run(_all(result))
    result = asyncio.run(result) if way == "ainvoke" else result
    return [result] if way.endswith("invoke") else list(result)


RAISED = (StatusError, ModelError, ValueError, openai.APIError, anthropic.APIError)


def heard(model: Any, way: str) -> Any:
    """Return the callbacks and the messages, or the error, of one call; ids are the numbers in which they came."""
    told = _Told()
    try:
        messages = [_message(message) for message in _given(model, way, told)]
    except RAISED as error:
        messages = [_error(error)]
    return _without_ids([told.seen, messages], {})


def heard_in_v3(model: Any, way: str) -> Any:
    """As `heard`, of the events of version 3."""
    told = _Told()
    events: list[Any] = []

    async def read() -> None:
        async with await model.astream_events("hi", {"callbacks": [told]}, version="v3") as stream:  # until the end is told
            events.extend([event async for event in stream])
            events.append(_message(await stream.output))

    try:
        if way == "sync":
            stream = model.stream_events("hi", {"callbacks": [told]}, version="v3")
            events.extend(stream)
            events.append(_message(stream.output))
        else:
            asyncio.run(read())
    except RAISED as error:
        events.append(_error(error))
    return _without_ids([told.seen, events], {})
