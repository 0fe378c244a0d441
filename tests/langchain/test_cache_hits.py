"""An answer of LangChain's cache spent nothing; the answer of a model that costs nothing did."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, LLMResult

from llmtest import count_tokens, load_traces, record, tracing_enabled
from llmtest.events import Usage
from llmtest.langchain import cache_hits

FREE: Any = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "total_cost": 0}


class Free(BaseChatModel):
    """A model that reports its own cost, which is zero."""

    usage: Any = FREE
    _llm_type = "free"

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("hi", usage_metadata=self.usage))])


class Streamed(Free):
    def _stream(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk("hi", usage_metadata=self.usage))


def invoke(model: BaseChatModel) -> None:
    model.invoke("hi")


def ainvoke(model: BaseChatModel) -> None:
    asyncio.run(model.ainvoke("hi"))


def batch(model: BaseChatModel) -> None:
    model.batch(["hi"])


def stream(model: BaseChatModel) -> None:
    list(model.stream("hi"))


HOW = [invoke, ainvoke, batch, stream]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", [Free, Streamed])
def test_a_model_that_costs_nothing_spends_its_tokens(kind: type[Free], how: Any) -> None:
    with record() as recording, count_tokens() as tokens:
        how(kind())

    assert [run.cached for run in recording.models] == [call.cached for call in tokens.calls] == [False]
    assert (recording.usage, tokens.usage, tokens.requests) == (Usage(3, 2, 5), Usage(3, 2, 5), 1)


@pytest.mark.parametrize("how", [invoke, ainvoke, batch])
def test_of_such_a_model_the_cache_answers_for_nothing(how: Any) -> None:
    model = Free(cache=InMemoryCache())

    with record() as recording, count_tokens() as tokens:
        for _ in range(3):
            how(model)

    assert [run.cached for run in recording.models] == [call.cached for call in tokens.calls] == [False, True, True]
    assert (recording.usage, tokens.usage, tokens.cached) == (Usage(3, 2, 5), Usage(3, 2, 5), 2)


def test_a_stored_trace_knows_the_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "traces.sqlite"))
    model = Free(cache=InMemoryCache())

    with tracing_enabled("free"):
        model.invoke("hi")
        model.invoke("hi")

    loaded = load_traces("free")
    assert [(run.cached, run.usage) for trace in loaded for run in trace.models] == [
        (False, Usage(3, 2, 5)),
        (True, Usage(3, 2, 5)),
    ]


def test_what_a_message_looks_like_is_no_proof() -> None:
    answer = LLMResult(generations=[[ChatGeneration(message=AIMessage("hi", usage_metadata=FREE))]])

    assert cache_hits.claims_cache(FREE)
    assert cache_hits.is_own_claim(answer)
    assert not cache_hits.is_own_claim(LLMResult(generations=[[Generation(text="hi")]]))


def test_of_a_langchain_without_the_method_the_looks_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = LLMResult(generations=[[ChatGeneration(message=AIMessage("hi", usage_metadata=FREE))]])
    monkeypatch.delattr(BaseChatModel, "_convert_cached_generations")

    cache_hits.install()

    assert not cache_hits.is_own_claim(answer)
