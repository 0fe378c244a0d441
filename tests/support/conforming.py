"""A chat model that is right, one whose calls fail, and what a check says of others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import (
    BaseChatModel,
)
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from llmtest import ViolationError
from llmtest.conformance import check_handler

USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def without_numbers(text: str) -> str:
    """A text with the lines of tests without their numbers, and without the folders of their files."""
    return re.sub(r"\S*?(test_\w+\.py):\d+", r"\1:N", text)


def told(check: Callable[..., None], make: Any, **options: Any) -> str:
    """What a check says, with the lines of tests without their numbers."""
    with pytest.raises(ViolationError) as caught:
        check(make, **options)
    return without_numbers(str(caught.value))


def sentences(check: Callable[..., None], make: Any, **options: Any) -> list[str]:
    """The first line of each violation."""
    return [text.splitlines()[0] for text in told(check, make, **options).split("\n\n")]


class Echo(BaseChatModel):
    """Says what it was told, as a model of a provider would: in four ways, with usage and a reason."""

    @property
    def _llm_type(self) -> str:
        return "echo"

    def answer(self, messages: Any) -> str:
        return f"You said {messages[-1].text}"

    def message(self, text: str) -> AIMessage:
        return AIMessage(text, usage_metadata=dict(USAGE), response_metadata={"finish_reason": "stop"})  # type: ignore[arg-type]

    def pieces(self, text: str) -> list[AIMessageChunk]:
        last = AIMessageChunk("", usage_metadata=dict(USAGE), response_metadata={"finish_reason": "stop"})  # type: ignore[arg-type]
        return [*(AIMessageChunk(word) for word in re.split("(?<= )", text)), last]

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.message(self.answer(messages)))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(0)
        return self._generate(messages)

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        yield from (ChatGenerationChunk(message=piece) for piece in self.pieces(self.answer(messages)))

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        for chunk in self._stream(messages):
            await asyncio.sleep(0)
            yield chunk


class Failing(Echo):
    def answer(self, messages: Any) -> str:
        raise ConnectionError("no answer")


def handler_told(make: Callable[[], Any], timeout_s: float = 5.0) -> str:
    """What `check_handler` says, as `told` gives it."""
    return told(check_handler, make, timeout_s=timeout_s)


def handler_rules(make: Callable[[], Any]) -> list[str]:
    """The rules that a handler breaks."""
    with pytest.raises(ViolationError) as caught:
        check_handler(make)
    return [violation.code for violation in caught.value.violations]
