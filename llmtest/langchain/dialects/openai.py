"""The dialect of OpenAI's Chat Completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from llmtest.events.usage import read_usage
from llmtest.langchain.dialects.base import Dialect, Plain, add_details
from llmtest.langchain.dialects.errors import ProviderErrors, find_class, http_library
from llmtest.scripts.step_types import Call, Part, Text, Thinking
from llmtest.scripts.streams import join_tokens
from llmtest.wire.api import fresh_id
from llmtest.wire.exchange import reason_phrase
from llmtest.wire.openai import completion_details, error_body, finish_reason, prompt_details, usage_words


class OpenAIErrors(ProviderErrors):
    """The errors of `ChatOpenAI` over Chat Completions."""

    integration, sdk = "langchain_openai.chat_models.base", "openai"
    url = "https://api.openai.com/v1/chat/completions"
    integration_classes: ClassVar = {
        400: "OpenAIInvalidRequestError",
        401: "OpenAIAuthenticationError",
        403: "OpenAIPermissionDeniedError",
        404: "OpenAIModelNotFoundError",
        429: "OpenAIRateLimitError",
    }
    sdk_classes: ClassVar = {
        400: "BadRequestError",
        401: "AuthenticationError",
        403: "PermissionDeniedError",
        404: "NotFoundError",
        409: "ConflictError",
        422: "UnprocessableEntityError",
        429: "RateLimitError",
    }
    server_errors = ("OpenAIAPIError", "InternalServerError")

    def body(self, status: int, text: str) -> dict[str, Any]:
        return error_body(status, text)

    def arguments(self, text: str, body: dict[str, Any]) -> tuple[object, object]:
        return text, body["error"]

    def midway(self, status: int, message: str | None) -> BaseException | None:
        kind = find_class(self.sdk, "APIError")
        if kind is None:
            return None
        text = message or reason_phrase(status)
        error: BaseException = kind(text, http_library(kind).Request("POST", self.url), body=self.body(status, text)["error"])
        return error


class OpenAI(Dialect):
    """An answer as `ChatOpenAI` gives it over Chat Completions: without reasoning; streamed, without the text of a refusal."""

    name = provider = "openai"
    errors = OpenAIErrors()

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        super().__init__(plain, params)
        # The SDK fills in the kinds of tokens of which there are none.
        self.usage = add_details(self.usage, {"audio": 0, "cache_read": 0}, {"audio": 0, "reasoning": 0})
        self.called = 0

    def token_fields(self, chunk: ChatGenerationChunk) -> dict[str, Any]:
        return {"logprobs": (chunk.generation_info or {}).get("logprobs")}

    def _whole(self) -> ChatResult:
        refusal = self.reply.text if self.reply.refusal else None
        calls = [(call, self.plain.call_id(call)) for call in self.reply.calls]
        message = self._message(
            "" if refusal else self.reply.text, calls, additional_kwargs={"refusal": refusal, **self._parsed()}
        )
        output = {
            "token_usage": self._token_usage(),
            "model_provider": "openai",
            "model_name": self.model_name,
            "system_fingerprint": None,
            "id": fresh_id("chatcmpl"),
            "service_tier": "default",
        }
        info = {"finish_reason": finish_reason(self.reply), "logprobs": None}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)], llm_output=output)

    def _read(self, call: Call, key: str) -> Any:
        # LangChain's own parser, as the integration uses it: the text of its error is that of an invalid call.
        raw = {"id": key, "function": {"name": call.tool, "arguments": join_tokens([call])}}
        try:
            return parse_tool_call(raw, return_id=True)
        except OutputParserException as error:
            return make_invalid_tool_call(raw, str(error))

    def _token_usage(self) -> dict[str, Any] | None:
        usage = read_usage(self.usage)
        if usage is None:
            return None
        # The SDK's classes have all that a provider may send.
        read = {"cache_write_tokens": None, "image_tokens": None, "text_tokens": None, **prompt_details(usage)}
        said = {"text_tokens": None, **completion_details(usage)}
        return {**usage_words(usage), "prompt_tokens_details": read, "completion_tokens_details": said}

    def _opening(self) -> Iterator[ChatGenerationChunk]:
        # The API opens an answer with an empty text; that of a call alone opens with the call.
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
        said = {"finish_reason": finish_reason(self.reply), "model_name": self.model_name, "service_tier": "default"}
        yield self._chunk("", said)
        # The usage comes in a chunk of its own, after the one that says why the answer ends.
        if self.usage is not None:
            message = AIMessageChunk(content="", usage_metadata=self.usage)
            yield ChatGenerationChunk(message=message, generation_info={})
        if self.response_format is not None:
            yield self._chunk("", additional_kwargs=self._parsed())
