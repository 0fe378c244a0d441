"""OpenAI's Chat Completions, also as spoken by Azure, Groq, DeepSeek, OpenRouter, Mistral, vLLM and others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

from llmtest.events.words import Message
from llmtest.scripts.step_types import Call, Part, Text, Thinking
from llmtest.scripts.streams import join_tokens
from llmtest.wire.api import (
    Api,
    BadBody,
    Body,
    ModelCall,
    Writer,
    fresh_id,
    frozen,
    item_of,
    schemas,
    server_sent,
    texts,
    tool_call,
)
from llmtest.wire.exchange import HttpRequest

TYPES_AND_CODES: Final[Mapping[int, tuple[str, str | None]]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return the JSON with which OpenAI answers a request that it refuses."""
    usual = ("server_error" if status >= 500 else "invalid_request_error", None)
    kind, code = TYPES_AND_CODES.get(status, usual)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def finish_reason(reply: Any) -> str | None:
    """Return the word of Chat Completions for why the answer ends; None for a stream that was cut off."""
    if reply.truncated:
        return None
    reason: str | None = reply.stop_reason
    if reply.refusal and reason == "refusal":
        reason = "stop"
    return reason or ("tool_calls" if reply.calls else "stop")


class ChatWriter(Writer):
    """Writes a chat completion, or its chunks. There is never any reasoning in it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.id = fresh_id("chatcmpl")
        self.called = 0

    def whole(self) -> dict[str, Any]:
        calls = [
            {"id": self.call_id(call), "type": "function", "function": {"name": call.tool, "arguments": join_tokens([call])}}
            for call in self.reply.calls
        ]
        text = self.reply.text
        message: dict[str, Any] = {"role": "assistant", "content": text if text and not self.reply.refusal else None}
        if not calls and message["content"] is None and not self.reply.refusal:
            message["content"] = ""
        message |= {"refusal": text if self.reply.refusal else None, "annotations": []}
        message |= {"tool_calls": calls} if calls else {}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(self.reply)}
        usage = {} if self.usage is None else {"usage": self._usage()}
        return {**self._known("chat.completion"), "choices": [choice], **usage}

    def _known(self, kind: str) -> dict[str, Any]:
        known = {"id": self.id, "object": kind, "created": 0, "model": self.model}
        return {**known, "service_tier": "default", "system_fingerprint": None, **self._from_script()}

    def _from_script(self) -> dict[str, Any]:
        own = ("id", "service_tier", "system_fingerprint", "created")
        return {key: value for key, value in self.reply.response_metadata.items() if key in own}

    def _usage(self) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        into, out = self.usage.input_details, self.usage.output_details
        return {
            "prompt_tokens": self.usage.input_tokens,
            "completion_tokens": self.usage.output_tokens,
            "total_tokens": self.usage.total_tokens,
            "prompt_tokens_details": {
                "cached_tokens": into.get("cache_read", 0),
                "audio_tokens": into.get("audio", 0),
                **({"cache_write_tokens": into["cache_creation"]} if "cache_creation" in into else {}),
            },
            "completion_tokens_details": {
                "reasoning_tokens": out.get("reasoning", 0),
                "audio_tokens": out.get("audio", 0),
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    # -- the stream

    def _chunk(self, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": reason}
        return {**self._known("chat.completion.chunk"), "choices": [choice], "usage": None}

    def _opening(self) -> Iterator[dict[str, Any]]:
        first = next((part for part in self.reply.parts if not isinstance(part, Thinking)), None)
        if not isinstance(first, Call):
            yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[dict[str, Any]]:
        first = parts[0]
        if isinstance(first, Call):
            yield from self._calling(first)
            return
        for token in self._streamed(parts):
            if isinstance(first, Text):
                yield self._chunk({"refusal" if self.reply.refusal else "content": token})

    def _calling(self, call: Call) -> Iterator[dict[str, Any]]:
        index, self.called = self.called, self.called + 1
        named = {"id": self.call_id(call), "type": "function", "function": {"name": call.tool, "arguments": ""}}
        first = {"role": "assistant", "content": None} if index == 0 and self.before == 0 else {}
        yield self._chunk({**first, "tool_calls": [{"index": index, **named}]})
        self.before += 1
        for token in self._streamed([call]):
            yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": token}}]})

    def _end(self) -> Iterator[dict[str, Any]]:
        yield self._chunk({}, finish_reason(self.reply))
        options = self.call.params.get("stream_options")
        if self.usage is not None and isinstance(options, Mapping) and options.get("include_usage"):
            yield {**self._known("chat.completion.chunk"), "choices": [], "usage": self._usage()}

    def closing(self) -> bytes:
        return b"data: [DONE]\n\n"

    def error_event(self, status: int, message: str) -> dict[str, Any]:
        return error_body(status, message)

    def encode(self, event: Mapping[str, Any]) -> bytes:
        return server_sent(event)


class ChatCompletions(Api):
    """`POST .../chat/completions`."""

    name = "openai"
    writer: ClassVar[type[Writer]] = ChatWriter

    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        rest = {"messages", "model", "tools", "tool_choice", "stop", "stream"}
        return ModelCall(
            str(body.get("model") or ""),
            tuple(map(_message, item_of(body, "messages", list, "a list of messages"))),
            schemas([*_tools(body.get("tools") or ())]),
            body.get("tool_choice"),
            texts(body.get("stop")),
            {key: value for key, value in body.items() if key not in rest},
            bool(body.get("stream")),
        )

    def error(self, status: int, message: str) -> dict[str, Any]:
        return error_body(status, message)


ROLES: Final = {"user": "human", "assistant": "ai", "developer": "system"}


def _message(said: Any) -> Message:
    if not isinstance(said, dict) or not isinstance(said.get("role"), str):
        raise BadBody(f"a message is an object with a `role`; got {said!r:.100}")
    calls = [
        tool_call(called.get("function", {}).get("name"), called.get("function", {}).get("arguments"), called.get("id"))
        for called in said.get("tool_calls") or ()
    ]
    return Message(
        str(ROLES.get(said["role"], said["role"])),
        content_of(said.get("content")),
        tuple(calls),
        name=said.get("name"),
        tool_call_id=said.get("tool_call_id"),
    )


def content_of(content: Any) -> Any:
    """Return the content of a message: text, or its blocks."""
    return "" if content is None else frozen(content)


def _tools(tools: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for tool in tools:
        known = tool.get("function") or tool.get("custom") if isinstance(tool, dict) else None
        if known is not None:
            yield str(known.get("name")), known.get("parameters")
        elif isinstance(tool, dict):
            yield str(tool.get("name") or tool.get("type")), None
