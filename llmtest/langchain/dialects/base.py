"""The parts that all dialects share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, Protocol

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from llmtest import ledger
from llmtest.langchain.dialects.errors import ProviderErrors
from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import Call, Fail, Part, Reply

Content = str | list[str | dict[str, Any]]


class Answer(Protocol):
    """One reply in LangChain's words."""

    def result(self) -> ChatResult:
        """Return the whole answer."""

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        """Yield the chunks of the stream, and the gates at which it stops."""


class Plain(Protocol):
    """The plain answer that a dialect translates."""

    reply: Reply
    id: str
    closing: dict[str, Any]

    def call_id(self, call: Call) -> str:
        """Return the id of a tool call: its own, or a fresh one."""

    def error(self) -> BaseException:
        """Return the exception of a reply that fails."""


class Dialect(ABC):
    """The order in which an answer is streamed, and where it ends."""

    name: str
    provider: str
    errors: ClassVar[ProviderErrors]

    def __init__(self, plain: Plain, params: Mapping[str, Any]) -> None:
        self.plain, self.reply, self.id = plain, plain.reply, plain.id
        self.usage: Any = plain.closing["usage_metadata"]
        self.model_name: str = plain.closing["response_metadata"]["model_name"]
        self.more = {key: value for key, value in self.reply.response_metadata.items() if key not in _ONCE}
        self.cut = self.reply.truncated or self.reply.failure is not None
        self.before = 0  # tokens and openings of calls that the next chunk follows: gates count in them

    def result(self) -> ChatResult:
        if self.reply.failure is not None:
            raise self.plain.error()
        return self._whole()

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        gates = list(self.reply.gate_positions()) if self.reply.stops else []
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
        """Yield the tokens, and count each when its chunk has been made."""
        for part in parts:
            for token in part.tokens:
                yield token
                self.before += 1

    def _midway(self, failure: Fail) -> BaseException:
        """Return the error that breaks the stream. The HTTP status is sent already, so the provider reports it in an event."""
        status = failure.error
        known = self.errors.midway(status, failure.message) if isinstance(status, int) else None
        return known or self.plain.error()

    def _blocks(self) -> Iterator[list[Part]]:
        """Yield the parts of each block: text after text is one block, and so is reasoning after reasoning."""
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
        """Return a tool call as the integration reads it, valid or not."""

    @abstractmethod
    def _whole(self) -> ChatResult:
        """Return the whole answer."""

    @abstractmethod
    def _opening(self) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks before the first block."""

    @abstractmethod
    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks of one block; a `cut` block has no end."""

    @abstractmethod
    def _end(self) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks after the last block."""


_ONCE: Final = ("id", "model_name", "model_provider")  # said before the end: LangChain joins what two chunks say of it


def fresh_id(kind: str) -> str:
    return ledger.current().fresh_id(kind)


def join_tokens(parts: Sequence[Part]) -> str:
    return "".join(token for part in parts for token in part.tokens)


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
