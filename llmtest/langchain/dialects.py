"""Dialects: a scripted answer in the chunks, messages and errors of a provider's integration.

Floor 2. Each dialect is a class over the plain answer, from which it has its ids and counts. tests/test_dialects.py compares
them with the integrations. Those are never imported here but to raise their own errors, where a dialect fails with a status.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import responses
from itertools import groupby
from typing import Any, Final, Protocol, cast

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from llmtest import ledger
from llmtest.core.text import did_you_mean
from llmtest.errors import ScriptError
from llmtest.gates import Gate
from llmtest.script import Script
from llmtest.steps import Call, Fail, Part, Reply, Text, Thinking

Content = str | list[str | dict[str, Any]]


class Answer(Protocol):
    """One reply on its way out, whole or in chunks."""

    def result(self) -> ChatResult:
        """The whole answer."""

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        """The answer as it is streamed, and the gates at which it stops."""


class Plain(Protocol):
    """What a dialect takes from the plain answer."""

    reply: Reply
    id: str
    closing: dict[str, Any]

    def call_id(self, call: Call) -> str:
        """The id of a tool call: its own, or a fresh one."""

    def error(self) -> BaseException:
        """What the reply fails with, if it has a failure."""


def check(name: Any, script: Any) -> None:
    """Refuses a dialect that there is not. A `script` that a test made for the model then owes no calls.

    Raises:
        ScriptError: with the nearest name.
    """
    if name in NAMES:
        return
    if isinstance(script, Script):
        script.adopted()
    *most, last = map(repr, NAMES)
    raise ScriptError(f"dialect= is {', '.join(most)} or {last}; got {name!r}{did_you_mean(str(name), NAMES)}")


class _Dialect(ABC):
    """What all dialects have in common: the order in which an answer is streamed, and where it ends."""

    name: str
    provider: str

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        self.plain, self.reply, self.id = plain, plain.reply, plain.id
        self.usage: Any = plain.closing["usage_metadata"]
        self.model_name: str = plain.closing["response_metadata"]["model_name"]
        self.more = {key: value for key, value in self.reply.response_metadata.items() if key not in _ONCE}
        self.cut = self.reply.truncated or self.reply.failure is not None
        self.before = 0  # how many tokens and openings of calls are behind the chunk that is being made

    def result(self) -> ChatResult:
        """The whole answer, with what the integration says beside it."""
        if self.reply.failure is not None:
            raise self.plain.error()
        return self._whole()

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        """The answer as it is streamed, and the gates at which it stops."""
        gates = list(self.reply.stopped()) if self.reply.stops else []
        for chunk in self._ungated():
            while gates and gates[0][0] <= self.before:
                yield gates.pop(0)[1]
            yield chunk
        yield from (gate for _, gate in gates)
        if self.reply.failure is not None:
            raise self._midway(self.reply.failure)
        if not self.reply.truncated:
            yield from self._end()

    def _ungated(self) -> Iterator[ChatGenerationChunk]:
        yield from self._opening()
        blocks = list(self._blocks())
        for number, parts in enumerate(blocks):
            yield from self._block(number, parts, self.cut and number == len(blocks) - 1)

    def _streamed(self, parts: Sequence[Part]) -> Iterator[str]:
        """The tokens, each counted when its chunk is behind us."""
        for part in parts:
            for token in part.tokens:
                yield token
                self.before += 1

    def _midway(self, failure: Fail) -> BaseException:
        """What breaks the stream. A status has been sent by then, so the provider tells of an error in an event."""
        status = failure.error
        known = midway(self.name, status, failure.message) if isinstance(status, int) else None
        return known or self.plain.error()

    def _blocks(self) -> Iterator[list[Part]]:
        """The parts of the answer; text after text is one block, and so is reasoning after reasoning."""
        for kind, group in groupby(self.reply.parts, type):
            parts = list(group)
            yield from ([part] for part in parts) if kind is Call else [parts]

    def _chunk(self, content: Content, info: Any = None, **fields: Any) -> ChatGenerationChunk:
        metadata = {"model_provider": self.provider, **fields.pop("response_metadata", {})}
        message = AIMessageChunk(content=content, id=self.id, response_metadata=metadata, **fields)
        return ChatGenerationChunk(message=message, generation_info=info)

    def _message(self, content: Content, calls: Sequence[tuple[Call, str]], **fields: Any) -> AIMessage:
        read = [self._read(call, key) for call, key in calls]
        return AIMessage(
            content=content,
            id=self.id,
            tool_calls=[call for call in read if call["type"] == "tool_call"],
            invalid_tool_calls=[call for call in read if call["type"] == "invalid_tool_call"],
            usage_metadata=self.usage,
            **fields,
        )

    @abstractmethod
    def _read(self, call: Call, key: str) -> Any:
        """A tool call as the integration reads it, valid or not."""

    @abstractmethod
    def _whole(self) -> ChatResult:
        """The whole answer."""

    @abstractmethod
    def _opening(self) -> Iterator[ChatGenerationChunk]:
        """What comes before the first block."""

    @abstractmethod
    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[ChatGenerationChunk]:
        """One block; one that is `cut` has no end."""

    @abstractmethod
    def _end(self) -> Iterator[ChatGenerationChunk]:
        """What comes after the last block."""


_ONCE: Final = ("id", "model_name", "model_provider")  # said before the end: LangChain joins what two chunks say of it


def _fresh(kind: str) -> str:
    return ledger.current().fresh_id(kind)


def _joined(parts: Sequence[Part]) -> str:
    return "".join(token for part in parts for token in part.tokens)


def _called(call: Call, key: str, args: Any) -> Any:
    return {"type": "tool_call", "name": call.tool, "args": args, "id": key}


def _broken(call: Call, key: str, error: str | None) -> Any:
    return {"type": "invalid_tool_call", "name": call.tool, "args": _joined([call]), "id": key, "error": error}


def _with_details(usage: Any, into: Mapping[str, int], out: Mapping[str, int]) -> Any:
    """`usage` with the details that the provider always gives; what the script says of them goes first."""
    if usage is None:
        return None
    details = {"input_token_details": into, "output_token_details": out}
    return {**usage, **{name: {**zeros, **usage.get(name, {})} for name, zeros in details.items()}}


# -- ChatOpenAI over Chat Completions


class OpenAI(_Dialect):
    """An answer as `ChatOpenAI` gives it over Chat Completions: without reasoning; streamed, without the text of a refusal."""

    name = provider = "openai"

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        super().__init__(plain, params)
        self.usage = _with_details(self.usage, {"audio": 0, "cache_read": 0}, {"audio": 0, "reasoning": 0})
        self.called = 0

    def _reason(self) -> str | None:
        if self.reply.truncated:
            return None
        reason = self.reply.stop_reason
        if self.reply.refusal and reason == "refusal":
            reason = "stop"
        return reason or ("tool_calls" if self.reply.calls else "stop")

    def _whole(self) -> ChatResult:
        refusal = self.reply.text if self.reply.refusal else None
        calls = [(call, self.plain.call_id(call)) for call in self.reply.calls]
        message = self._message("" if refusal else self.reply.text, calls, additional_kwargs={"refusal": refusal})
        output = {
            "token_usage": self._token_usage(),
            "model_provider": "openai",
            "model_name": self.model_name,
            "system_fingerprint": None,
            "id": _fresh("chatcmpl"),
            "service_tier": "default",
            **self.more,
        }
        info = {"finish_reason": self._reason(), "logprobs": None}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)], llm_output=output)

    def _read(self, call: Call, key: str) -> Any:
        raw = {"id": key, "function": {"name": call.tool, "arguments": _joined([call])}}
        try:
            return parse_tool_call(raw, return_id=True)
        except OutputParserException as error:
            return make_invalid_tool_call(raw, str(error))

    def _token_usage(self) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        into, out = self.usage["input_token_details"], self.usage["output_token_details"]
        unknown: dict[str, Any] = {"image_tokens": None, "text_tokens": None}
        read = {"audio_tokens": into["audio"], "cached_tokens": into["cache_read"], **unknown}
        said = {"audio_tokens": out["audio"], "reasoning_tokens": out["reasoning"], "text_tokens": None}
        return {
            "prompt_tokens": self.usage["input_tokens"],
            "completion_tokens": self.usage["output_tokens"],
            "total_tokens": self.usage["total_tokens"],
            "prompt_tokens_details": {**read, "cache_write_tokens": into.get("cache_creation")},
            "completion_tokens_details": {**said, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        }

    def _opening(self) -> Iterator[ChatGenerationChunk]:
        first = next((part for part in self.reply.parts if not isinstance(part, Thinking)), None)
        if not isinstance(first, Call):
            yield self._chunk("")

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[ChatGenerationChunk]:
        call = parts[0]
        if not isinstance(call, Call):
            for token in self._streamed(parts):
                if isinstance(call, Text):
                    yield self._chunk("" if self.reply.refusal else token)
            return
        opening: dict[str, Any] = {"name": call.tool, "args": "", "id": self.plain.call_id(call), "index": self.called}
        yield self._chunk("", tool_call_chunks=[opening])
        self.before += 1
        for token in self._streamed(parts):
            yield self._chunk("", tool_call_chunks=[{"name": None, "args": token, "id": None, "index": self.called}])
        self.called += 1

    def _end(self) -> Iterator[ChatGenerationChunk]:
        said = {"finish_reason": self._reason(), "model_name": self.model_name, "service_tier": "default"}
        yield self._chunk("", {**said, **self.more})
        if self.usage is not None:
            message = AIMessageChunk(content="", id=self.id, usage_metadata=self.usage)
            yield ChatGenerationChunk(message=message, generation_info={})


# -- ChatOpenAI over the Responses API


class Responses(_Dialect):
    """An answer as `ChatOpenAI` gives it over the Responses API: its tokens are lists, and a refusal comes in one piece."""

    name, provider = "openai-responses", "openai"

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        super().__init__(plain, params)
        self.usage = _with_details(self.usage, {"cache_read": 0, "cache_creation": 0}, {"reasoning": 0})
        self.id = _fresh("resp")
        self.incomplete = _INCOMPLETE.get(self.reply.stop_reason or "")

    def _metadata(self) -> dict[str, Any]:
        return {
            **({} if self.reply.truncated else {"status": "incomplete" if self.incomplete else "completed"}),
            **({"incomplete_details": {"reason": self.incomplete}} if self.incomplete else {}),
            "created_at": 0.0,
            "metadata": {},
            "model": self.model_name,
            "object": "response",
            "service_tier": "default",
            "model_provider": "openai",
            "model_name": self.model_name,
            **self.more,
        }

    def _whole(self) -> ChatResult:
        calls: list[tuple[Call, str]] = []
        content: list[str | dict[str, Any]] = []
        for parts in self._blocks():
            if isinstance(parts[0], Call):
                calls.append((parts[0], self.plain.call_id(parts[0])))
                content.append(self._call(*calls[-1]))
            else:
                content.append(self._spoken(parts))
        if self.incomplete and content and "status" in content[-1]:  # the answer ended in a call
            content[-1] = {**cast("dict[str, Any]", content[-1]), "status": "incomplete"}
        metadata = {**self._metadata(), "id": self.id}
        return ChatResult(generations=[ChatGeneration(message=self._message(content, calls, response_metadata=metadata))])

    def _spoken(self, parts: list[Part]) -> dict[str, Any]:
        text = _joined(parts)
        if not isinstance(parts[0], Text):
            return {"id": _fresh("rs"), "summary": [{"text": text, "type": "summary_text"}], "type": "reasoning"}
        if self.reply.refusal:
            return {"type": "refusal", "refusal": text, "id": _fresh("msg")}
        return {"type": "text", "text": text, "annotations": [], "id": _fresh("msg")}

    def _call(self, call: Call, key: str) -> dict[str, Any]:
        said = {"arguments": _joined([call]), "call_id": key, "name": call.tool}
        return {**said, "type": "function_call", "id": _fresh("fc"), "status": "completed"}

    def _read(self, call: Call, key: str) -> Any:
        try:
            return _called(call, key, json.loads(_joined([call]), strict=False))
        except ValueError as error:
            return _broken(call, key, str(error))

    def _opening(self) -> Iterator[ChatGenerationChunk]:
        yield self._chunk([], response_metadata={"id": self.id})

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[ChatGenerationChunk]:
        if isinstance(parts[0], Call):
            return self._calling(parts[0], number)
        return self._saying(parts, number, cut) if isinstance(parts[0], Text) else self._reasoning(parts, number)

    def _saying(self, parts: list[Part], index: int, cut: bool) -> Iterator[ChatGenerationChunk]:
        yield self._chunk([])
        if self.reply.refusal:
            refused = "".join(self._streamed(parts))
            if not cut:
                yield self._chunk([{"type": "refusal", "refusal": refused}])
            return
        for token in self._streamed(parts):
            yield self._chunk([{"type": "text", "text": token, "index": index}])
        if not cut:
            yield self._chunk([{"type": "text", "text": "", "id": _fresh("msg"), "index": index}])

    def _reasoning(self, parts: list[Part], index: int) -> Iterator[ChatGenerationChunk]:
        known = {"type": "reasoning", "index": index}
        named = {**known, "id": _fresh("rs")}
        yield self._chunk([{**named, "summary": []}])
        yield self._chunk([{**named, "summary": [_summary("")]}])
        for token in self._streamed(parts):
            yield self._chunk([{**known, "summary": [_summary(token)]}])

    def _calling(self, call: Call, index: int) -> Iterator[ChatGenerationChunk]:
        key = self.plain.call_id(call)
        opening: dict[str, Any] = {"name": call.tool, "arguments": "", "call_id": key, "id": _fresh("fc"), "index": index}
        known = {"type": "tool_call_chunk", "index": index}
        named = {**known, "name": call.tool, "args": "", "id": key}
        yield self._chunk([{"type": "function_call", **opening}], tool_call_chunks=[named])
        self.before += 1
        for token in self._streamed([call]):
            block: dict[str, Any] = {"type": "function_call", "arguments": token, "index": index}
            yield self._chunk([block], tool_call_chunks=[{**known, "args": token}])

    def _end(self) -> Iterator[ChatGenerationChunk]:
        yield self._chunk([], response_metadata=self._metadata(), usage_metadata=self.usage, chunk_position="last")


def _summary(text: str) -> dict[str, Any]:
    return {"index": 0, "type": "summary_text", "text": text}


_INCOMPLETE: Final = {"length": "max_output_tokens", "max_output_tokens": "max_output_tokens", "content_filter": "content_filter"}


# -- ChatAnthropic


class Anthropic(_Dialect):
    """An answer as `ChatAnthropic` gives it: tokens are lists as soon as tools are bound, or when it reasons."""

    name = provider = "anthropic"

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        super().__init__(plain, params)
        thinking = (params.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        self.lists = "tools" in params or thinking or self.reply.thinks or bool(self.reply.calls)

    def _stop(self) -> dict[str, Any]:
        reason = self.reply.stop_reason or ("tool_use" if self.reply.calls else "end_turn")
        said = {"stop_reason": None if self.reply.truncated else _STOPS.get(reason, reason), "stop_sequence": None}
        return {**said, **self.more}

    def _details(self, whole: bool) -> dict[str, int]:
        """Cached tokens; the whole answer says for how long they are cached, the stream does not."""
        given = {"cache_read": 0, "cache_creation": 0, _FIVE: 0, _HOUR: 0, **self.usage.get("input_token_details", {})}
        made, five, hour = given.pop("cache_creation"), given.pop(_FIVE), given.pop(_HOUR)
        if whole:
            return {**given, "cache_creation": 0, _FIVE: five + made, _HOUR: hour}
        return {**given, "cache_creation": made + five + hour}

    def _usage_metadata(self, whole: bool) -> Any:
        return None if self.usage is None else {**self.usage, "input_token_details": self._details(whole)}

    def _raw_usage(self) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        cached, creation = self._details(False), self._details(True)
        out = self.usage.get("output_token_details", {})
        return {
            "cache_creation": {_HOUR: creation[_HOUR], _FIVE: creation[_FIVE]},
            "cache_creation_input_tokens": cached["cache_creation"],
            "cache_read_input_tokens": cached["cache_read"],
            "inference_geo": None,
            "input_tokens": self.usage["input_tokens"] - cached["cache_creation"] - cached["cache_read"],
            "output_tokens": self.usage["output_tokens"],
            "output_tokens_details": {"thinking_tokens": out["reasoning"]} if "reasoning" in out else None,
            "server_tool_use": None,
            "service_tier": "standard",
            "speed": None,
        }

    def _whole(self) -> ChatResult:
        calls = [(call, self.plain.call_id(call)) for call in self.reply.calls]
        ids = iter([key for _, key in calls])
        content: Any = [self._said(parts, ids) for parts in self._blocks()]
        if len(content) == 1 and content[0]["type"] == "text":
            content = content[0]["text"]
        message = self._message(content, calls, response_metadata={"model_provider": "anthropic"})
        message.usage_metadata = self._usage_metadata(True)
        names = {"model": self.model_name, "model_name": self.model_name, "id": self.id}
        unknown = {"container": None, "diagnostics": None, "stop_details": None}
        output = {**names, **unknown, "usage": self._raw_usage(), **self._stop()}
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=output)

    def _read(self, call: Call, key: str) -> Any:
        return _broken(call, key, None) if call.malformed else _called(call, key, json.loads(_joined([call])))

    def _said(self, parts: list[Part], ids: Iterator[str]) -> dict[str, Any]:
        part = parts[0]
        if isinstance(part, Call):
            args = {} if part.malformed else json.loads(_joined(parts))
            return {"id": next(ids), "input": args, "name": part.tool, "type": "tool_use", "toolset_name": None}
        if isinstance(part, Text):
            return {"text": _joined(parts), "type": "text"}
        return {"signature": _fresh("signature"), "thinking": _joined(parts), "type": "thinking"}

    def _opening(self) -> Iterator[ChatGenerationChunk]:
        yield self._chunk([] if self.lists else "", {}, response_metadata={"model_name": self.model_name})

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[ChatGenerationChunk]:
        if isinstance(parts[0], Call):
            yield from self._calling(parts[0], number)
        elif isinstance(parts[0], Text):
            for token in self._streamed(parts):
                yield self._chunk([{"text": token, "type": "text", "index": number}] if self.lists else token)
        else:
            known = {"type": "thinking", "index": number}
            for token in self._streamed(parts):
                yield self._chunk([{**known, "thinking": token}])
            if not cut:
                yield self._chunk([{**known, "thinking": "", "signature": _fresh("signature")}])

    def _calling(self, call: Call, index: int) -> Iterator[ChatGenerationChunk]:
        key = self.plain.call_id(call)
        named: dict[str, Any] = {"name": call.tool, "id": key, "index": index}
        opening = {**named, "input": {}, "type": "tool_use", "toolset_name": None}
        yield self._chunk([opening], tool_call_chunks=[{**named, "args": ""}])
        yield self._arguments("", index)
        self.before += 1
        for token in self._streamed([call]):
            yield self._arguments(token, index)

    def _arguments(self, piece: str, index: int) -> ChatGenerationChunk:
        block: dict[str, Any] = {"partial_json": piece, "type": "input_json_delta", "index": index}
        return self._chunk([block], tool_call_chunks=[{"name": None, "args": piece, "id": None, "index": index}])

    def _end(self) -> Iterator[ChatGenerationChunk]:
        yield self._chunk(
            [] if self.lists else "",
            response_metadata=self._stop(),
            usage_metadata=self._usage_metadata(False),
            chunk_position="last",
        )


_FIVE, _HOUR = "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"
_STOPS: Final = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}


CLASSES: Final[Mapping[str, type[_Dialect]]] = {kind.name: kind for kind in (OpenAI, Responses, Anthropic)}
NAMES: Final = ("plain", *CLASSES)


# -- errors


@dataclass(frozen=True, slots=True)
class _Integration:
    """Where the errors of an integration are, and what a response of its provider looks like."""

    module: str
    prefix: str
    sdk: str
    url: str

    def kind(self, status: int) -> Any:
        """The class that it raises for `status`; None if it is not installed."""
        named = [(self.module, self.prefix + _THEIRS[status])] if status in _THEIRS else []
        named += [(self.module, f"{self.prefix}APIError")] if status >= 500 else []
        named += [(self.sdk, "InternalServerError" if status >= 500 else _SDKS.get(status, "")), (self.sdk, "APIStatusError")]
        return next((kind for kind in map(_found, *zip(*named, strict=True)) if kind is not None), None)

    def told(self, status: int, message: str | None) -> tuple[str, dict[str, Any]]:
        """What the provider says, and in which body."""
        text = message or responses.get(status, "error")
        if self.sdk == "anthropic":
            kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
            return text, {"type": "error", "error": {"type": kind, "message": text}, "request_id": None}
        kind, code = _OPENAI_TYPES.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
        return text, {"error": {"message": text, "type": kind, "param": None, "code": code}}


def _found(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def error(dialect: str, status: int, retry_after: float | None, message: str | None) -> BaseException | None:
    """What the integration raises when its provider answers with `status`; None if there is none, or it is not installed."""
    known = _INTEGRATIONS.get(dialect)
    kind: Any = None if known is None else known.kind(status)
    if known is None or kind is None:
        return None
    text, body = known.told(status, message)
    headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    client = _client(kind)
    response = client.Response(status, json=body, headers=headers, request=client.Request("POST", known.url))
    said = (body, body) if known.sdk == "anthropic" else (text, body["error"])
    return cast("BaseException", kind(f"Error code: {status} - {said[0]}", response=response, body=said[1]))


def midway(dialect: str, status: int, message: str | None) -> BaseException | None:
    """What the integration raises when its provider breaks a stream off; None if its SDK is not installed."""
    known = _INTEGRATIONS[dialect]
    text, body = known.told(status, message)
    if dialect == "openai-responses":
        return ValueError(f"{body['error']['code'] or body['error']['type']}: {text}")
    kind = _found(known.sdk, "APIStatusError" if known.sdk == "anthropic" else "APIError")
    if kind is None:
        return None
    client = _client(kind)
    request = client.Request("POST", known.url)
    if known.sdk == "openai":
        return cast("BaseException", kind(text, request, body=body["error"]))
    unread = client.ByteStream(b"")
    response = client.Response(200, headers={"content-type": "text/event-stream"}, stream=unread, request=request)
    return cast("BaseException", kind(str(body), response=response, body=body))


def _client(kind: Any) -> Any:
    """The HTTP library that this version of the SDK is built on: the one or the other."""
    room = kind.__init__.__globals__
    return room.get("httpx2") or room["httpx"]


_THEIRS: Final = {
    400: "InvalidRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "ModelNotFoundError",
    429: "RateLimitError",
    529: "OverloadedError",
}
_SDKS: Final = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "PaymentRequiredError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "RequestTimeoutError",
    409: "ConflictError",
    412: "PreconditionFailedError",
    413: "ContentTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    431: "RequestHeaderFieldsTooLargeError",
    499: "ClientClosedRequestError",
}
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI_TYPES: Final[Mapping[int, tuple[str, str | None]]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_CHAT_OPENAI: Final = "langchain_openai.chat_models.base"
_INTEGRATIONS: Final = {
    "openai": _Integration(_CHAT_OPENAI, "OpenAI", "openai", "https://api.openai.com/v1/chat/completions"),
    "openai-responses": _Integration(_CHAT_OPENAI, "OpenAI", "openai", "https://api.openai.com/v1/responses"),
    "anthropic": _Integration(
        "langchain_anthropic.chat_models", "Anthropic", "anthropic", "https://api.anthropic.com/v1/messages"
    ),
}
