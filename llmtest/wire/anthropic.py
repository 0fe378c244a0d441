"""Anthropic's Messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from llmtest.events.words import Message, Usage
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
    checked,
    choice_of,
    content_of,
    fresh_id,
    frozen,
    frozen_list,
    item_of,
    objects,
    optional_item,
    role_of,
    schemas,
    server_sent,
    texts,
    tool_call,
)
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.reader import Block, Reader, count, details, inner, read_with

TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(status: int, message: str) -> dict[str, object]:
    """Return the JSON with which Anthropic answers a request that it refuses."""
    kind = TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


STOPS: Final = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}


def stop_reason(reply: Reply) -> str | None:
    """Return Anthropic's word for why the answer ends; None for a stream that was cut off."""
    if reply.truncated:
        return None
    reason = reply.stop_reason or ("tool_use" if reply.calls else "end_turn")
    return STOPS.get(reason, reason)


FIVE_MINUTES, ONE_HOUR = "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"


def cached_tokens(usage: Usage) -> tuple[int, int, int]:
    """Return the tokens read from the cache, and those written to it for five minutes and for an hour.

    A script that does not say for how long means five minutes, as the API does.
    """
    details = usage.input_details
    five = details.get(FIVE_MINUTES, 0) + details.get("cache_creation", 0)
    return details.get("cache_read", 0), five, details.get(ONE_HOUR, 0)


def usage_words(usage: Usage) -> dict[str, object]:
    """Return `usage` in Anthropic's words: its input tokens are those that the cache has nothing to do with."""
    read, five, hour = cached_tokens(usage)
    out = usage.output_details
    return {
        "input_tokens": usage.input_tokens - read - five - hour,
        "cache_creation_input_tokens": five + hour,
        "cache_read_input_tokens": read,
        "cache_creation": {FIVE_MINUTES: five, ONE_HOUR: hour},
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
        **({"output_tokens_details": {"thinking_tokens": out["reasoning"]}} if "reasoning" in out else {}),
    }


class MessageWriter(Writer):
    """Writes a message, or its events. It always has usage: a script that reports none counts as zero tokens."""

    def __init__(self, reply: Reply, call: ModelCall, usage: Usage | None) -> None:
        super().__init__(reply, call, usage)
        self.id = fresh_id("msg")
        self.counts = usage_words(self.usage or Usage())

    def whole(self) -> dict[str, object]:
        content = [self._said(parts) for parts in self.blocks()]
        return {**self._message(content), **self._stop(), "usage": self.counts, **self._from_script("id", "container")}

    def _message(self, content: list[dict[str, object]]) -> dict[str, object]:
        return {"id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content}

    def _stop(self) -> dict[str, object]:
        return {
            "stop_reason": stop_reason(self.reply),
            "stop_sequence": None,
            **self._from_script("stop_reason", "stop_sequence", "stop_details"),
        }

    def _said(self, parts: list[Part]) -> dict[str, object]:
        first, text = parts[0], join_tokens(parts)
        if isinstance(first, Call):
            # The API sends an object, so there is no text that is no JSON.
            arguments = {} if first.malformed else json.loads(text)
            return {"type": "tool_use", "id": self.call_id(first), "name": first.tool, "input": arguments}
        if isinstance(first, Text):
            return {"type": "text", "text": text}
        return {"type": "thinking", "thinking": text, "signature": fresh_id("signature")}

    # -- the stream

    def _opening(self) -> Iterator[Event]:
        counted = {key: value for key, value in self.counts.items() if key != "output_tokens_details"}
        message = {**self._message([]), "stop_reason": None, "stop_sequence": None, "usage": {**counted, "output_tokens": 1}}
        yield {"type": "message_start", "message": {**message, **self._from_script("id")}}

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[Event]:
        first = parts[0]
        yield {"type": "content_block_start", "index": number, "content_block": self._begun(first)}
        if number == 0:
            yield {"type": "ping"}
        kind, key = _deltas(first)
        if isinstance(first, Call):
            yield _delta(number, kind, key, "")
            self.before += 1
        for token in self._streamed(parts):
            yield TokenEvent(number, token, lambda text: _delta(number, kind, key, text))
        if cut:
            return
        if kind == "thinking_delta":
            yield _delta(number, "signature_delta", "signature", fresh_id("signature"))
        yield {"type": "content_block_stop", "index": number}

    def _begun(self, first: Part) -> dict[str, object]:
        if isinstance(first, Call):
            return {"type": "tool_use", "id": self.call_id(first), "name": first.tool, "input": {}}
        return {"type": "text", "text": ""} if isinstance(first, Text) else {"type": "thinking", "thinking": "", "signature": ""}

    def _end(self) -> Iterator[Event]:
        # A stream does not say for how long the cache keeps what was written.
        counted = {key: value for key, value in self.counts.items() if key not in ("cache_creation", "service_tier")}
        yield {"type": "message_delta", "delta": {**self._stop(), **self._from_script("container")}, "usage": counted}
        yield {"type": "message_stop"}

    def error_event(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)

    def encode(self, event: Mapping[str, object]) -> bytes:
        return server_sent(event, str(event["type"]))


def _deltas(first: Part) -> tuple[str, str]:
    """Return the type of the deltas of a block, and the name of their text."""
    if isinstance(first, Call):
        return "input_json_delta", "partial_json"
    return ("text_delta", "text") if isinstance(first, Text) else ("thinking_delta", "thinking")


def _delta(index: int, kind: str, key: str, text: str) -> dict[str, object]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: text}}


# -- reading answers


OUR_STOPS: Final = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
STATUSES: Final = {**{word: status for status, word in TYPES.items()}, "invalid_request_error": 400, "api_error": 500}


def read_usage(said: Body) -> Usage:
    """Return usage from Anthropic's words: ours counts the tokens of the cache among the input tokens."""
    read, written = count(said, "cache_read_input_tokens"), count(said, "cache_creation_input_tokens")
    kept = inner(said, "cache_creation")
    five, hour = count(kept, FIVE_MINUTES), count(kept, ONE_HOUR)
    # What the answer does not say for how long the cache keeps is what LangChain calls `cache_creation`.
    into = details(cache_read=read, cache_creation=written - five - hour, **{FIVE_MINUTES: five, ONE_HOUR: hour})
    out = details(reasoning=count(inner(said, "output_tokens_details"), "thinking_tokens"))
    all_read, answered = count(said, "input_tokens") + read + written, count(said, "output_tokens")
    return Usage(all_read, answered, all_read + answered, into, out)


class MessageReader(Reader):
    """Reads a message, or its events. The signatures of its reasoning are not kept: a replay makes its own."""

    sends = "a message of Anthropic"
    statuses = STATUSES

    def __init__(self, asked: str) -> None:
        super().__init__(asked)
        self.counts: dict[str, object] = {}
        self.begun: dict[object, Block | None] = {}

    def whole(self, body: Body) -> None:
        if body.get("type") == "error" or "error" in body:
            self.fail(body.get("error"))
            return
        item_of(body, "content", list, "a list of blocks")
        self._message(body)
        for block in objects(body, "content", "a list of blocks"):
            self._block(block)
        self._stop(body)
        self._end()

    def event(self, event: Body) -> None:
        kind = item_of(event, "type", str, "the type of an event")
        number = optional_item(event, "index", int, "the number of a block")
        if kind == "message_start":
            self._message(item_of(event, "message", dict, "a message"))
        elif kind == "content_block_start":
            self.begun[number] = self._block(item_of(event, "content_block", dict, "a block"))
        elif kind == "content_block_delta":
            self._delta(self.begun.get(number), item_of(event, "delta", dict, "an object"))
        elif kind == "content_block_stop":
            block = self.begun.get(number)
            if block is not None and block.kind is Call and not block.tokens:
                block.args = {}  # no text at all are no arguments
        elif kind == "message_delta":
            self._stop(item_of(event, "delta", dict, "an object"))
            self.counts |= {key: value for key, value in inner(event, "usage").items() if value is not None}
        elif kind == "message_stop":
            self.is_at_end = True
        elif kind == "error":
            self.fail(event.get("error"))
        elif kind != "ping":
            self.leave_out(f"an event of the type {kind}")
        self._end()

    def _message(self, body: Body) -> None:
        self.name_model(body.get("model"))
        self.counts |= inner(body, "usage")
        self.leave_out_rest(body, OF_MESSAGE)

    def _block(self, block: Body) -> Block | None:
        kind = block.get("type")
        if kind == "tool_use":
            given = item_of(block, "input", dict, "an object")
            return self.call(block.get("name"), block.get("id"), given if given or not self.streams else None)
        if kind not in ("text", "thinking"):
            self.leave_out(f"a block of the type {kind}")
            return None
        begun = self.begin(Text if kind == "text" else Thinking)
        begun.add(item_of(block, str(kind), str, "a text"))
        if block.get("citations"):
            self.leave_out("citations")
        return begun

    def _delta(self, block: Block | None, delta: Body) -> None:
        kind = delta.get("type")
        if kind in ("text_delta", "thinking_delta", "input_json_delta"):
            token = item_of(delta, DELTAS[kind], str, "a text")
            if block is not None:  # else it is a block of a type that is left out
                block.add(token)
        elif kind == "citations_delta":
            self.leave_out("citations")
        elif kind != "signature_delta":
            self.leave_out(f"a delta of the type {kind}")

    def _stop(self, said: Body) -> None:
        reason = optional_item(said, "stop_reason", str, "why the answer ends")
        if reason:
            self.stop_reason = OUR_STOPS.get(reason, reason)
        self.keep(said, "stop_sequence", "stop_details", "container")

    def _end(self) -> None:
        self.usage = read_usage(self.counts) if self.counts else None
        # A script file has refusals of text only; to this API, the stop reason says it all.
        self.refusal = self.stop_reason == "refusal" and all(block.kind is Text for block in self.blocks)


OF_MESSAGE: Final = frozenset(
    ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "container", "usage")
)
DELTAS: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class Messages(Api):
    """`POST .../v1/messages`."""

    name = "anthropic"
    writer: ClassVar[type[Writer]] = MessageWriter

    def read(self, request: HttpRequest, body: Body) -> ModelCall:
        rest = {"messages", "model", "system", "tool_choice", "stop_sequences", "stream"}
        params = {key: frozen(value) for key, value in body.items() if key not in rest}
        config = optional_item(body, "output_config", dict, "an object") or {}
        wanted = config.get("format", body.get("output_format"))
        if wanted is not None:
            params["response_format"] = frozen(checked(wanted, dict, "format", "an object with a `type`"))
        choice = choice_of(body)
        if isinstance(choice, dict) and choice.get("disable_parallel_tool_use"):
            params["parallel_tool_calls"] = False
        item_of(body, "messages", list, "a list of messages")
        system = content_of(body, "system")
        said = [message for one in objects(body, "messages", "a list of messages") for message in _messages(one)]
        return ModelCall(
            optional_item(body, "model", str, "the name of a model") or "",
            (*([Message("system", system)] if system else []), *said),
            schemas(map(_tool, objects(body, "tools", "a list of tools"))),
            choice,
            texts(body.get("stop_sequences"), "stop_sequences"),
            params,
            bool(body.get("stream")),
        )

    def read_answer(self, answer: HttpAnswer, asked: str = "") -> ReadAnswer:
        return read_with(MessageReader(asked), self, answer)

    def headers(self, status: int = 200) -> dict[str, str]:
        limits = {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-tokens-remaining": "0"}
        return {"request-id": fresh_id("req"), **(limits if status == 429 else {})}

    def error(self, status: int, message: str) -> dict[str, object]:
        return error_body(status, message)


ROLES: Final = {"user": "human", "assistant": "ai", "system": "system"}


def _messages(said: Body) -> Iterator[Message]:
    """Yield a message; each result of a tool in it is one of its own."""
    role, content = role_of(said, ROLES), content_of(said)
    blocks = [] if isinstance(content, str) else content
    rest: list[object] = []
    for block in blocks:
        if role == "human" and block.get("type") == "tool_result":
            if rest:
                yield Message(role, frozen_list(rest))
                rest = []
            yield _result(block)
        else:
            rest.append(block)
    calls = tuple(tool_call(block.get("name"), block.get("input"), block.get("id")) for block in blocks if _is_call(block, role))
    if rest or not blocks:
        yield Message(role, frozen_list(rest) if rest else content, calls)


def _is_call(block: Body, role: str) -> bool:
    return role == "ai" and block.get("type") == "tool_use"


def _result(block: Body) -> Message:
    asked = item_of(block, "tool_use_id", str, "the id of a tool call")
    return Message("tool", content_of(block), tool_call_id=asked, status="error" if block.get("is_error") else None)


def _tool(tool: Body) -> tuple[str, object]:
    key = "name" if "name" in tool or tool.get("type") in ("function", "custom") else "type"
    return item_of(tool, key, str, "the name of a tool"), tool.get("input_schema")
