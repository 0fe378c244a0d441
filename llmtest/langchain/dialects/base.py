"""The parts that all dialects share."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from llmtest.langchain.dialects.errors import ProviderErrors
from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import Call, Fail, Reply
from llmtest.scripts.streams import ReplyStream, join_tokens

Content = str | list[str | dict[str, Any]]


class Answer(Protocol):
    """One reply in LangChain's words."""

    def result(self) -> ChatResult:
        """Return the whole answer."""

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        """Yield the chunks of the stream, and the gates at which it stops."""

    def token_fields(self, chunk: ChatGenerationChunk) -> dict[str, Any]:
        """Return the fields that a handler gets with a token, beside its chunk."""


class Plain(Protocol):
    """The plain answer that a dialect translates."""

    reply: Reply
    closing: dict[str, Any]

    def call_id(self, call: Call) -> str:
        """Return the id of a tool call: its own, or a fresh one."""

    def error(self) -> BaseException:
        """Return the exception of a reply that fails."""


class Dialect(ReplyStream[ChatGenerationChunk]):
    """An answer in the chunks and messages of an integration."""

    name: str
    provider: str
    errors: ClassVar[ProviderErrors]

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        super().__init__(plain.reply)
        self.plain = plain
        self.id: str | None = None  # as most integrations: LangChain makes the ids of messages from that of the run
        self.usage: Any = plain.closing["usage_metadata"]
        self.model_name: str = plain.closing["response_metadata"]["model_name"]
        # A copy: the program may change what it gets, and a repeated step is served again.
        self.more: dict[str, Any] = copy.deepcopy(dict(self.reply.response_metadata))
        self.script_keys = frozenset(self.more)
        self.response_format = params.get("response_format")

    def result(self) -> ChatResult:
        if self.reply.failure is not None:
            raise self.plain.error()
        result = self._whole()
        # The metadata of the message has precedence over that of the generation and of the whole result.
        result.generations[0].message.response_metadata.update(self.more)
        if result.llm_output is not None:
            result.llm_output.update(self.more)
        return result

    def _with_metadata(self, chunk: ChatGenerationChunk, *, is_end: bool = False) -> ChatGenerationChunk:
        """Put the script's metadata in place of the dialect's, each key in one chunk: LangChain joins equal keys."""
        for place in (chunk.generation_info or {}, chunk.message.response_metadata):
            for key in self.script_keys & place.keys():
                if key in self.more:
                    place[key] = self.more.pop(key)
                else:
                    del place[key]
        if is_end or self.cut:  # a stream that breaks off has no end
            (chunk.generation_info or chunk.message.response_metadata).update(self.more)
            self.more = {}
        return chunk

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        for piece in self.pieces():
            yield piece if isinstance(piece, Gate) else self._with_metadata(piece, is_end=self.is_at_end)

    def token_fields(self, chunk: ChatGenerationChunk) -> dict[str, Any]:
        return {}

    def _broken(self, failure: Fail) -> Iterator[ChatGenerationChunk]:
        raise self._midway(failure)

    def _midway(self, failure: Fail) -> BaseException:
        """Return the error that breaks the stream. The HTTP status is sent already, so the provider reports it in an event."""
        status = failure.error
        known = self.errors.midway(status, failure.message) if isinstance(status, int) else None
        return known or self.plain.error()

    def _parsed(self) -> dict[str, Any]:
        """Return the `additional_kwargs` for a bound `response_format`: OpenAI's SDK makes the answer an instance of a class."""
        schema = self.response_format
        if schema is None:
            return {}
        silent = self.reply.refusal or self.reply.calls or self.cut or not hasattr(schema, "model_validate_json")
        return {"parsed": None if silent else schema.model_validate_json(self.reply.text)}

    def _chunk(self, content: Content, info: Any = None, **fields: Any) -> ChatGenerationChunk:
        metadata = {"model_provider": self.provider, **fields.pop("response_metadata", {})}
        message = AIMessageChunk(content=content, response_metadata=metadata, **fields)
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
        """Return a tool call as the integration reads it, valid or not."""

    @abstractmethod
    def _whole(self) -> ChatResult:
        """Return the whole answer."""


def tool_call(call: Call, key: str, args: Any) -> Any:
    return {"type": "tool_call", "name": call.tool, "args": args, "id": key}


def invalid_tool_call(call: Call, key: str, error: str | None) -> Any:
    return {"type": "invalid_tool_call", "name": call.tool, "args": join_tokens([call]), "id": key, "error": error}


def add_details(usage: Any, into: Mapping[str, int], out: Mapping[str, int]) -> Any:
    """Return `usage` with the details that the provider always gives; those of the script have precedence."""
    if usage is None:
        return None
    details = {"input_token_details": into, "output_token_details": out}
    return {**usage, **{name: {**zeros, **usage.get(name, {})} for name, zeros in details.items()}}
