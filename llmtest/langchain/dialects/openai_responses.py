"""The dialect of OpenAI's Responses API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from llmtest.langchain.dialects.base import (
    Dialect,
    Plain,
    add_details,
    invalid_tool_call,
    tool_call,
)
from llmtest.langchain.dialects.openai import OpenAIErrors
from llmtest.scripts.step_types import Call, Part, Text
from llmtest.scripts.streams import join_tokens
from llmtest.wire.api import fresh_id
from llmtest.wire.exchange import reason_phrase
from llmtest.wire.responses import error_code, incomplete_reason, status_of


class ResponsesErrors(OpenAIErrors):
    """The errors of `ChatOpenAI` over the Responses API: those of Chat Completions, but for a stream that breaks off."""

    url = "https://api.openai.com/v1/responses"

    def midway(self, status: int, message: str | None) -> BaseException:
        return ValueError(f"{error_code(status)}: {message or reason_phrase(status)}")


class Responses(Dialect):
    """An answer as `ChatOpenAI` gives it over the Responses API: its tokens are lists, and a refusal comes in one piece."""

    name, provider = "openai-responses", "openai"
    errors = ResponsesErrors()

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        super().__init__(plain, params)
        # The SDK fills in the kinds of tokens of which there are none.
        self.usage = add_details(self.usage, {"cache_read": 0, "cache_creation": 0}, {"reasoning": 0})
        self.id = fresh_id("resp")
        self.incomplete = incomplete_reason(self.reply)

    def _metadata(self) -> dict[str, Any]:
        return {
            **({"status": status} if (status := status_of(self.reply)) else {}),
            **({"incomplete_details": {"reason": self.incomplete}} if self.incomplete else {}),
            "created_at": 0.0,  # no clock: an answer is the same in each run
            "metadata": {},
            "model": self.model_name,
            "object": "response",
            "service_tier": "default",
            "model_provider": "openai",
            "model_name": self.model_name,
        }

    def _whole(self) -> ChatResult:
        calls: list[tuple[Call, str]] = []
        content: list[str | dict[str, Any]] = []
        for parts in self.blocks():
            if isinstance(parts[0], Call):
                calls.append((parts[0], self.plain.call_id(parts[0])))
                content.append(self._call(*calls[-1]))
            else:
                content.append(self._spoken(parts))
        if self.incomplete and content and "status" in content[-1]:  # the answer ended in a call
            content[-1] = {**cast("dict[str, Any]", content[-1]), "status": "incomplete"}
        metadata = {**self._metadata(), "id": self.id}
        message = self._message(content, calls, response_metadata=metadata, additional_kwargs=self._parsed())
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _spoken(self, parts: list[Part]) -> dict[str, Any]:
        text = join_tokens(parts)
        if not isinstance(parts[0], Text):
            return {"id": fresh_id("rs"), "summary": [{"text": text, "type": "summary_text"}], "type": "reasoning"}
        if self.reply.refusal:
            return {"type": "refusal", "refusal": text, "id": fresh_id("msg")}
        return {"type": "text", "text": text, "annotations": [], "id": fresh_id("msg")}

    def _call(self, call: Call, key: str) -> dict[str, Any]:
        said = {"arguments": join_tokens([call]), "call_id": key, "name": call.tool}
        return {**said, "type": "function_call", "id": fresh_id("fc"), "status": "completed"}

    def _read(self, call: Call, key: str) -> Any:
        try:
            return tool_call(call, key, json.loads(join_tokens([call]), strict=False))
        except ValueError as error:
            return invalid_tool_call(call, key, str(error))

    def _opening(self) -> Iterator[ChatGenerationChunk]:
        yield self._chunk([], response_metadata={"id": self.id}, id=self.id)

    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[ChatGenerationChunk]:
        if isinstance(parts[0], Call):
            return self._calling(parts[0], number)
        return self._saying(parts, number, cut) if isinstance(parts[0], Text) else self._reasoning(parts, number)

    def _saying(self, parts: list[Part], index: int, cut: bool) -> Iterator[ChatGenerationChunk]:
        yield self._chunk([])
        if self.reply.refusal:
            # The integration tells a refusal whole, once it is over.
            refused = "".join(self._streamed(parts))
            if not cut:
                yield self._chunk([{"type": "refusal", "refusal": refused}])
            return
        for token in self._streamed(parts):
            yield self._chunk([{"type": "text", "text": token, "index": index}])
        # The id of a text comes with the end of its item.
        if not cut:
            yield self._chunk([{"type": "text", "text": "", "id": fresh_id("msg"), "index": index}])

    def _reasoning(self, parts: list[Part], index: int) -> Iterator[ChatGenerationChunk]:
        known = {"type": "reasoning", "index": index}
        named = {**known, "id": fresh_id("rs")}
        # The API opens the item, and then the summary in it.
        yield self._chunk([{**named, "summary": []}])
        yield self._chunk([{**named, "summary": [_summary("")]}])
        for token in self._streamed(parts):
            yield self._chunk([{**known, "summary": [_summary(token)]}])

    def _calling(self, call: Call, index: int) -> Iterator[ChatGenerationChunk]:
        key = self.plain.call_id(call)
        opening: dict[str, Any] = {"name": call.tool, "arguments": "", "call_id": key, "id": fresh_id("fc"), "index": index}
        known = {"type": "tool_call_chunk", "index": index}
        named = {**known, "name": call.tool, "args": "", "id": key}
        yield self._chunk([{"type": "function_call", **opening}], tool_call_chunks=[named])
        self.before += 1
        for token in self._streamed([call]):
            block: dict[str, Any] = {"type": "function_call", "arguments": token, "index": index}
            yield self._chunk([block], tool_call_chunks=[{**known, "args": token}])

    def _end(self) -> Iterator[ChatGenerationChunk]:
        metadata = self._metadata()
        more: dict[str, Any] = {"usage_metadata": self.usage, "additional_kwargs": self._parsed()}
        yield self._chunk([], response_metadata=metadata, chunk_position="last", **more)


def _summary(text: str) -> dict[str, Any]:
    return {"index": 0, "type": "summary_text", "text": text}
