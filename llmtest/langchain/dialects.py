"""Dialects: a scripted answer in the chunks and messages of a provider's integration.

Floor 2. It rewrites what the plain answer gives, so ids, failures and cut-off streams are those of the plain answer.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from llmtest.gates import Gate
from llmtest.steps import ScriptError

NAMES: Final = ("plain", "openai")


class Answer(Protocol):
    """One reply on its way out, whole or in chunks."""

    def message(self) -> AIMessage:
        """The whole answer."""

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        """The answer as it is streamed, and the gates at which it stops."""


def check(name: Any) -> None:
    """Refuses a dialect that there is not.

    Raises:
        ScriptError: with the nearest name.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f"; nearest {near[0]!r}" if near else ""
        raise ScriptError(f"dialect= is {' or '.join(map(repr, NAMES))}; got {name!r}{hint}")


class OpenAI:
    """An answer as `ChatOpenAI` gives it over Chat Completions: empty chunks before the text and around its end."""

    def __init__(self, plain: Answer) -> None:
        self.plain = plain

    def message(self) -> AIMessage:
        """The whole answer, with what the integration says beside it."""
        message = self.plain.message()
        message.additional_kwargs.setdefault("refusal", None)
        usage = _detailed(message.usage_metadata)
        known = {"model_provider": "openai", "system_fingerprint": None, "logprobs": None}
        message.response_metadata = {**known, **_token_usage(usage), **message.response_metadata}
        message.usage_metadata = usage
        return message

    def chunks(self) -> Iterator[ChatGenerationChunk | Gate]:
        """The answer as it is streamed: the reason of its end, its usage, and langchain-core's empty end are a chunk each."""
        opened = False
        for chunk in self.plain.chunks():
            if isinstance(chunk, Gate):
                yield chunk
                continue
            message: Any = chunk.message
            if not opened and not message.tool_call_chunks:
                yield _chunk(message, response_metadata=_PROVIDER)
            opened = True
            if message.content or message.tool_call_chunks or message.additional_kwargs:
                yield _chunk(message, **_said(message), response_metadata=_PROVIDER)
            if message.chunk_position == "last":
                yield from self._end(message)

    def _end(self, message: AIMessageChunk) -> Iterator[ChatGenerationChunk]:
        yield _chunk(message, response_metadata={**message.response_metadata, **_PROVIDER})
        if message.usage_metadata is not None:
            yield _chunk(message, usage_metadata=_detailed(message.usage_metadata))


_PROVIDER: Final = {"model_provider": "openai"}


def _said(message: AIMessageChunk) -> dict[str, Any]:
    calls = message.tool_call_chunks
    return {"content": message.content, "tool_call_chunks": calls, "additional_kwargs": message.additional_kwargs}


def _chunk(of: AIMessageChunk, **fields: Any) -> ChatGenerationChunk:
    fields["response_metadata"] = dict(fields.get("response_metadata", {}))
    return ChatGenerationChunk(message=AIMessageChunk(**{"content": "", "id": of.id, **fields}))


def _detailed(usage: Any) -> Any:
    return None if usage is None else {"input_token_details": {}, "output_token_details": {}, **usage}


def _token_usage(usage: Mapping[str, Any] | None) -> dict[str, Any]:
    if usage is None:
        return {}
    details = {"completion_tokens_details": None, "prompt_tokens_details": None}
    counts = {"completion_tokens": usage["output_tokens"], "prompt_tokens": usage["input_tokens"]}
    return {"token_usage": {**counts, "total_tokens": usage["total_tokens"], **details}}
