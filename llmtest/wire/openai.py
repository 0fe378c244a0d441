"""OpenAI's Chat Completions, also as spoken by Azure, Groq, DeepSeek, OpenRouter, Mistral, vLLM and others."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from llmtest.events.words import Message, ToolCall, Usage
from llmtest.scripts.step_types import Call, Part, Reply, Text, Thinking
from llmtest.scripts.streams import join_tokens
from llmtest.wire.api import (
    Api,
    Body,
    Event,
    ModelCall,
    ReadAnswer,
    TokenEvent,
    Writer,
    check_number,
    checked,
    choice_of,
    content_of,
    fresh_id,
    frozen,
    item_of,
    objects,
    optional_item,
    role_of,
    schemas,
    texts,
    tool_call,
)
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.reader import Block, Reader, count, details, inner, read_with

TYPES_AND_CODES: Final[Mapping[int, tuple[str, str | None]]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def type_and_code(status: int) -> tuple[str, str | None]:
    """Return OpenAI's type and code of an error with this status."""
    return TYPES_AND_CODES.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))


def error_body(status: int, message: str) -> dict[str, object]:
    """Return the JSON with which OpenAI answers a request that it refuses."""
    kind, code = type_and_code(status)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def headers(status: int) -> dict[str, str]:
    """Return the headers of an answer of OpenAI."""
    limits = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "0"} if status == 429 else {}
    return {"x-request-id": fresh_id("req"), "openai-version": "2020-10-01", **limits}


def finish_reason(reply: Reply) -> str | None:
    """Return the word of Chat Completions for why the answer ends; None for a stream that was cut off."""
    if reply.truncated:
        return None
    reason = reply.stop_reason
    if reply.refusal and reason == "refusal":
        reason = "stop"
    return reason or ("tool_calls" if reply.calls else "stop")


def usage_words(usage: Usage) -> dict[str, object]:
    """Return `usage` in the words of Chat Completions."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": prompt_details(usage),
        "completion_tokens_details": completion_details(usage),
    }


def prompt_details(usage: Usage) -> dict[str, int]:
    """Return the kinds of prompt tokens in the words of Chat Completions."""
    into = usage.input_details
    written = {"cache_write_tokens": into["cache_creation"]} if "cache_creation" in into else {}
    return {"cached_tokens": into.get("cache_read", 0), "audio_tokens": into.get("audio", 0), **written}


def completion_details(usage: Usage) -> dict[str, int]:
    """Return the kinds of completion tokens in the words of Chat Completions."""
    out = usage.output_details
    return {
        "reasoning_tokens": out.get("reasoning", 0),
        "audio_tokens": out.get("audio", 0),
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }


def reasoning_field(provider: str) -> str:
    """Return the field in which a provider shows reasoning in a chat completion; empty if it shows none."""
    if provider in ("", "openai", "azure_openai"):
        return ""
    return "reasoning" if provider in ("groq", "openrouter") else "reasoning_content"


class ChatWriter(Writer):
    """Writes a chat completion, or its chunks. OpenAI and Azure never show reasoning in it; others do, in a field of theirs."""

    def __init__(self, reply: Reply, call: ModelCall, usage: Usage | None) -> None:
        super().__init__(reply, call, usage)
        self.reasoning = reasoning_field(call.provider)
        self.id = fresh_id("chatcmpl")
        self.called = 0

    def whole(self) -> dict[str, object]:
        calls = [
            {"id": self.call_id(call), "type": "function", "function": {"name": call.tool, "arguments": join_tokens([call])}}
            for call in self.reply.calls
        ]
        text = self.reply.text
        message: dict[str, object] = {"role": "assistant", "content": text if text and not self.reply.refusal else None}
        if not calls and message["content"] is None and not self.reply.refusal:
            message["content"] = ""
        message |= {"refusal": text if self.reply.refusal else None, "annotations": []}
        message |= {"tool_calls": calls} if calls else {}
        if self.reasoning and self.reply.thinks:
            message[self.reasoning] = join_tokens([part for part in self.reply.parts if isinstance(part, Thinking)])
        logprobs = self.reply.response_metadata.get("logprobs")
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish_reason(self.reply)}
        usage = {} if self.usage is None else {"usage": self._usage()}
        return {**self._known("chat.completion"), "choices": [choice], **usage}

    def _known(self, kind: str) -> dict[str, object]:
        known = {"id": self.id, "object": kind, "created": 0, "model": self.model}
        own = ("id", "service_tier", "system_fingerprint", "created")
        return {**known, "service_tier": "default", "system_fingerprint": None, **self._from_script(*own)}

    def _usage(self) -> dict[str, object] | None:
        return None if self.usage is None else usage_words(self.usage)

    # -- the stream

    @functools.cached_property
    def _of_chunks(self) -> dict[str, object]:
        return self._known("chat.completion.chunk")

    def _chunk(self, delta: Mapping[str, object], reason: str | None = None, logprobs: object = None) -> dict[str, object]:
        choice = {"index": 0, "delta": dict(delta), "logprobs": logprobs, "finish_reason": reason}
        return {**self._of_chunks, "choices": [choice], "usage": None}

    def _opening(self) -> Iterator[Event]:
        first = next((part for part in self.reply.parts if not isinstance(part, Thinking)), None)
        if not isinstance(first, Call):
            yield self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[Event]:
        first = parts[0]
        if isinstance(first, Call):
            yield from self._calling(first)
            return
        key = self.reasoning if isinstance(first, Thinking) else "refusal" if self.reply.refusal else "content"
        for token in self._streamed(parts):
            if key:
                yield TokenEvent(key, token, lambda text: self._chunk({key: text}))

    def _calling(self, call: Call) -> Iterator[Event]:
        index, self.called = self.called, self.called + 1
        named = {"id": self.call_id(call), "type": "function", "function": {"name": call.tool, "arguments": ""}}
        first = {"role": "assistant", "content": None} if index == 0 and self.before == 0 else {}
        yield self._chunk({**first, "tool_calls": [{"index": index, **named}]})
        self.before += 1
        for token in self._streamed([call]):
            yield TokenEvent(
                index, token, lambda text: self._chunk({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
            )

    def _end(self) -> Iterator[Event]:
        yield self._chunk({}, finish_reason(self.reply), self.reply.response_metadata.get("logprobs"))
        options = self.call.params.get("stream_options")
        if self.usage is not None and isinstance(options, Mapping) and options.get("include_usage"):
            yield {**self._of_chunks, "choices": [], "usage": self._usage()}

    def closing(self) -> bytes:
        return b"data: [DONE]\n\n"

    def error_event(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)


# -- reading answers


STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "content_filter": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "tokens": 429,
    **{
        word: status for status, words in TYPES_AND_CODES.items() for word in words if word not in (None, "invalid_request_error")
    },
    "server_error": 500,
    "overloaded_error": 503,
}
"""The status of each code and type of an error."""


def read_usage(said: Body) -> Usage:
    """Return usage from the words of Chat Completions."""
    into, out = inner(said, "prompt_tokens_details"), inner(said, "completion_tokens_details")
    cached = count(into, "cached_tokens") or count(said, "prompt_cache_hit_tokens")  # the latter is DeepSeek's
    read, written = count(said, "prompt_tokens"), count(said, "completion_tokens")
    return Usage(
        read,
        written,
        count(said, "total_tokens") or read + written,
        details(cache_read=cached, cache_creation=count(into, "cache_write_tokens"), audio=count(into, "audio_tokens")),
        details(reasoning=count(out, "reasoning_tokens"), audio=count(out, "audio_tokens")),
    )


def first_choice(reader: Reader, body: Body) -> dict[str, object] | None:
    """Return the first choice of a completion or of one of its chunks; None without any. The others are left out."""
    first = None
    for choice in objects(body, "choices", "a list of choices"):
        index = optional_item(choice, "index", int, "the number of a choice") or 0
        if index == 0:
            first = choice
        else:
            reader.others.add(index)
    return first


class CompletionReader(Reader):
    """Reads what chat completions and text completions have in common."""

    statuses = STATUSES
    of_body: ClassVar[frozenset[str]] = frozenset(
        (
            *("id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint", "provider"),
            *("x_groq", "obfuscation", "error", "prompt_token_ids"),
        )
    )
    of_choice: ClassVar[frozenset[str]] = frozenset(
        ("index", "message", "delta", "text", "finish_reason", "native_finish_reason", "stop_reason")
    )

    def whole(self, body: Body) -> None:
        if body.get("error"):
            self.fail(body["error"])
            return
        item_of(body, "choices", list, "a list of choices")
        self._read(body)
        if not self.is_at_end:
            self.leave_out("no finish reason")

    def event(self, event: Body) -> None:
        if event.get("error"):
            self.fail(event["error"])
        if self.failure is None or "choices" in event:
            item_of(event, "choices", list, "a list of choices")
            self._read(event)

    def _read(self, body: Body) -> None:
        self.name_model(body.get("model"))
        self.keep(body, "service_tier", unless=(None, "default"))
        self.keep(body, "system_fingerprint")
        self.leave_out_rest(body, self.of_body)
        usage = optional_item(body, "usage", dict, "an object") or inner(inner(body, "x_groq"), "usage")
        if usage:
            self.usage = read_usage(usage)
        choice = first_choice(self, body)
        if choice is None:
            return
        self._choice(choice)
        self.leave_out_rest(choice, self.of_choice)
        reason = optional_item(choice, "finish_reason", str, "why the answer ends")
        if reason:
            self.stop_reason, self.is_at_end = reason, True

    @abstractmethod
    def _choice(self, choice: Body) -> None:
        """Read a choice of the answer, or of a chunk of it."""


class ChatReader(CompletionReader):
    """Reads a chat completion, or its chunks. Reasoning has three names: `reasoning_content`, `reasoning`, and blocks."""

    sends = "a chat completion"
    of_message: ClassVar[frozenset[str]] = frozenset(
        ("role", "content", "refusal", "tool_calls", "reasoning", "reasoning_content", "name", "function_call")
    )

    def __init__(self, asked: str) -> None:
        super().__init__(asked)
        self.called: dict[int, Block] = {}

    def _choice(self, choice: Body) -> None:
        said = inner(choice, "delta" if self.streams else "message")
        if not self.streams:
            item_of(choice, "message", dict, "an object")
        reasoning = said.get("reasoning_content") or said.get("reasoning")
        if reasoning:
            self.add(Thinking, checked(reasoning, str, "reasoning", "a text"))
        self._content(said.get("content"))
        refusal = optional_item(said, "refusal", str, "a text")
        if refusal:
            if not self.refusal and self.blocks and self.blocks[-1].kind is Text:
                self.leave_out("that not all of the text is a refusal")
            self.add(Text, refusal)
            self.refusal = True
        for position, call in enumerate(objects(said, "tool_calls", "a list of tool calls")):
            self._call(call, position)
        if said.get("function_call"):
            self.leave_out("a call in the old form, function_call")
        self.leave_out_rest(said, self.of_message)

    def _content(self, content: object) -> None:
        if content is None or isinstance(content, str):
            self.add(Text, content or "")
            return
        for block in objects({"content": content}, "content", "a text or a list of blocks"):
            kind = block.get("type")
            if kind == "thinking":
                inside = block.get("thinking")
                for part in (
                    objects({"thinking": inside}, "thinking", "a list") if isinstance(inside, list) else ({"text": inside},)
                ):
                    self.add(Thinking, optional_item(part, "text", str, "a text") or "")
            elif kind == "text":
                self.add(Text, item_of(block, "text", str, "a text"))
            else:
                self.leave_out(f"content of the type {kind}")

    def _call(self, call: Body, position: int) -> None:
        if call.get("type") == "custom" or "custom" in call:
            self.leave_out(f"a call of the custom tool {inner(call, 'custom').get('name')}")
            return
        function = inner(call, "function")
        index = optional_item(call, "index", int, "the number of a tool call")
        index = position if index is None else index
        block = self.called.get(index)
        # Some servers send each call whole, and all under the index 0.
        if block is None or (call.get("id") and call["id"] != block.id and function.get("name")):
            self.called[index] = self.call(function.get("name"), call.get("id"), function.get("arguments"))
        else:
            block.add(optional_item(function, "arguments", str, "the arguments of a tool call") or "")


class ChatCompletions(Api):
    """`POST .../chat/completions`."""

    name = "openai"
    writer: ClassVar[type[Writer]] = ChatWriter
    log_probabilities = ("logprobs",)

    def asks_log_probabilities(self, params: Mapping[str, object]) -> bool:
        return bool(params.get("logprobs"))

    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        rest = {"messages", "model", "tool_choice", "stop", "stream"}
        params = {key: frozen(value) for key, value in body.items() if key not in rest}
        if (optional_item(body, "response_format", dict, "an object with a `type`") or {}).get("type") == "text":
            del params["response_format"]  # what a model does anyway
        item_of(body, "messages", list, "a list of messages")
        check_number(body.get("n"), "n")
        return ModelCall(
            optional_item(body, "model", str, "the name of a model") or "",
            tuple(map(_message, objects(body, "messages", "a list of messages"))),
            schemas(map(_tool, objects(body, "tools", "a list of tools"))),
            choice_of(body),
            texts(body.get("stop")),
            params,
            bool(body.get("stream")),
        )

    def read_answer(self, answer: HttpAnswer, asked: str = "") -> ReadAnswer:
        return read_with(ChatReader(asked), self, answer)

    def headers(self, status: int = 200) -> dict[str, str]:
        return headers(status)

    def error(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)


ROLES: Final = {
    "user": "human",
    "assistant": "ai",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "function",
}


def _message(said: Body) -> Message:
    return Message(
        role_of(said, ROLES),
        content_of(said),
        tuple(map(_called, objects(said, "tool_calls", "a list of tool calls"))),
        name=optional_item(said, "name", str, "a name"),
        tool_call_id=optional_item(said, "tool_call_id", str, "the id of a tool call"),
    )


def _called(call: Body) -> ToolCall:
    key = "custom" if call.get("type") == "custom" else "function"
    known = item_of(call, key, dict, "a function and its arguments")
    return tool_call(known.get("name"), known.get("input" if key == "custom" else "arguments"), call.get("id"))


def _tool(tool: Body) -> tuple[str, object]:
    for key in ("function", "custom"):
        if key in tool:
            known = item_of(tool, key, dict, "what is said about a tool")
            return item_of(known, "name", str, "the name of a tool"), known.get("parameters")
    key = "name" if "name" in tool or tool.get("type") in ("function", "custom") else "type"
    return item_of(tool, key, str, "the name of a tool"), tool.get("parameters")
