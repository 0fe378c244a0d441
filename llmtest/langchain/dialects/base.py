"""What all dialects share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Protocol

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from llmtest import ledger
from llmtest.langchain.dialects.errors import midway
from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import Call, Fail, Part, Reply

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


class Dialect(ABC):
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


def fresh(kind: str) -> str:
    return ledger.current().fresh_id(kind)


def joined(parts: Sequence[Part]) -> str:
    return "".join(token for part in parts for token in part.tokens)


def called(call: Call, key: str, args: Any) -> Any:
    return {"type": "tool_call", "name": call.tool, "args": args, "id": key}


def broken(call: Call, key: str, error: str | None) -> Any:
    return {"type": "invalid_tool_call", "name": call.tool, "args": joined([call]), "id": key, "error": error}


def with_details(usage: Any, into: Mapping[str, int], out: Mapping[str, int]) -> Any:
    """`usage` with the details that the provider always gives; what the script says of them goes first."""
    if usage is None:
        return None
    details = {"input_token_details": into, "output_token_details": out}
    return {**usage, **{name: {**zeros, **usage.get(name, {})} for name, zeros in details.items()}}
