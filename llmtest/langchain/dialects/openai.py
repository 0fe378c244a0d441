"""The dialect of OpenAI's Chat Completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from llmtest.langchain.dialects.base import Dialect, Plain, fresh, joined, with_details
from llmtest.scripts.step_types import Call, Part, Text, Thinking

# -- ChatOpenAI over Chat Completions


class OpenAI(Dialect):
    """An answer as `ChatOpenAI` gives it over Chat Completions: without reasoning; streamed, without the text of a refusal."""

    name = provider = "openai"

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        super().__init__(plain, params)
        self.usage = with_details(self.usage, {"audio": 0, "cache_read": 0}, {"audio": 0, "reasoning": 0})
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
            "id": fresh("chatcmpl"),
            "service_tier": "default",
            **self.more,
        }
        info = {"finish_reason": self._reason(), "logprobs": None}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)], llm_output=output)

    def _read(self, call: Call, key: str) -> Any:
        raw = {"id": key, "function": {"name": call.tool, "arguments": joined([call])}}
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
