"""The dialect of Anthropic's Messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from llmtest.events.usage import read_usage
from llmtest.events.words import Usage
from llmtest.langchain.dialects.base import Dialect, Plain, invalid_tool_call, tool_call
from llmtest.langchain.dialects.errors import ProviderErrors, find_class, http_library
from llmtest.scripts.step_types import Call, Part, Text
from llmtest.scripts.streams import join_tokens
from llmtest.wire.anthropic import FIVE_MINUTES, ONE_HOUR, cached_tokens, error_body, stop_reason, usage_words
from llmtest.wire.api import fresh_id
from llmtest.wire.exchange import reason_phrase


class AnthropicErrors(ProviderErrors):
    """The errors of `ChatAnthropic`."""

    integration, sdk = "langchain_anthropic.chat_models", "anthropic"
    url = "https://api.anthropic.com/v1/messages"
    integration_classes: ClassVar = {
        400: "AnthropicInvalidRequestError",
        401: "AnthropicAuthenticationError",
        403: "AnthropicPermissionDeniedError",
        404: "AnthropicModelNotFoundError",
        429: "AnthropicRateLimitError",
        529: "AnthropicOverloadedError",
    }
    sdk_classes: ClassVar = {
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
    server_errors = ("AnthropicAPIError", "InternalServerError")

    def body(self, status: int, text: str) -> dict[str, Any]:
        return error_body(status, text)

    def arguments(self, text: str, body: dict[str, Any]) -> tuple[object, object]:
        return body, body

    def midway(self, status: int, message: str | None) -> BaseException | None:
        kind = find_class(self.sdk, "APIStatusError")
        if kind is None:
            return None
        http = http_library(kind)
        body = self.body(status, message or reason_phrase(status))
        # The stream has begun with 200, and the SDK reads no more of it.
        unread = {"stream": http.ByteStream(b""), "headers": {"content-type": "text/event-stream"}}
        response = http.Response(200, request=http.Request("POST", self.url), **unread)
        error: BaseException = kind(str(body), response=response, body=body)
        return error


class Anthropic(Dialect):
    """An answer as `ChatAnthropic` gives it: tokens are lists as soon as tools are bound, or when it reasons."""

    name = provider = "anthropic"
    errors = AnthropicErrors()

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        super().__init__(plain, params)
        self.counts = read_usage(self.usage) or Usage()
        # The integration streams lists as soon as something else than text may come, also if none comes.
        thinking = (params.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        self.lists = "tools" in params or thinking or self.reply.thinks or bool(self.reply.calls)

    def _stop(self) -> dict[str, Any]:
        return {"stop_reason": stop_reason(self.reply), "stop_sequence": None}

    def _details(self, whole: bool) -> dict[str, int]:
        """Cached tokens; the whole answer says for how long they are cached, the stream does not."""
        given = {"cache_read": 0, **self.usage.get("input_token_details", {})}
        _, five, hour = cached_tokens(self.counts)
        rest = {key: count for key, count in given.items() if key not in ("cache_creation", FIVE_MINUTES, ONE_HOUR)}
        if whole:
            return {**rest, "cache_creation": 0, FIVE_MINUTES: five, ONE_HOUR: hour}
        return {**rest, "cache_creation": five + hour}

    def _usage_metadata(self, whole: bool) -> Any:
        return None if self.usage is None else {**self.usage, "input_token_details": self._details(whole)}

    def _raw_usage(self) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        unknown = {"inference_geo": None, "output_tokens_details": None, "server_tool_use": None, "speed": None}
        return {**unknown, **usage_words(self.counts)}

    def _whole(self) -> ChatResult:
        calls = [(call, self.plain.call_id(call)) for call in self.reply.calls]
        ids = iter([key for _, key in calls])
        content: Any = [self._said(parts, ids) for parts in self.blocks()]
        # A lone text is a str, as before the API had blocks.
        if len(content) == 1 and content[0]["type"] == "text":
            content = content[0]["text"]
        message = self._message(content, calls, response_metadata={"model_provider": "anthropic"})
        message.usage_metadata = self._usage_metadata(True)
        names = {"model": self.model_name, "model_name": self.model_name, "id": fresh_id("msg")}
        unknown = {"container": None, "diagnostics": None, "stop_details": None}
        output = {**names, **unknown, "usage": self._raw_usage(), **self._stop()}
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=output)

    def _read(self, call: Call, key: str) -> Any:
        return invalid_tool_call(call, key, None) if call.malformed else tool_call(call, key, json.loads(join_tokens([call])))

    def _said(self, parts: list[Part], ids: Iterator[str]) -> dict[str, Any]:
        part = parts[0]
        if isinstance(part, Call):
            # A block has an object as its input; what is no JSON is in `invalid_tool_calls` only.
            args = {} if part.malformed else json.loads(join_tokens(parts))
            return {"id": next(ids), "input": args, "name": part.tool, "type": "tool_use", "toolset_name": None}
        if isinstance(part, Text):
            return {"text": join_tokens(parts), "type": "text"}
        return {"signature": fresh_id("signature"), "thinking": join_tokens(parts), "type": "thinking"}

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
            # The signature closes a block, so that a stream that is cut off has none.
            if not cut:
                yield self._chunk([{**known, "thinking": "", "signature": fresh_id("signature")}])

    def _calling(self, call: Call, index: int) -> Iterator[ChatGenerationChunk]:
        key = self.plain.call_id(call)
        named: dict[str, Any] = {"name": call.tool, "id": key, "index": index}
        opening = {**named, "input": {}, "type": "tool_use", "toolset_name": None}
        yield self._chunk([opening], tool_call_chunks=[{**named, "args": ""}])
        yield self._arguments("", index)  # the API sends an empty piece first
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
