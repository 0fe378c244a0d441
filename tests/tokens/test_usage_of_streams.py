"""The usage of a call: what chunks repeat is counted once, and nothing that was reported is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from llmtest import ScriptedChatModel, count_tokens, record, say
from llmtest.events.usage import ChunkUsage, usage_of_stream
from llmtest.events.words import FrozenDict, Usage


def total_of(*counts: tuple[int, int], text: int) -> Usage:
    """Return the usage of a stream whose chunks reported `counts` and have `text` tokens of text together."""
    chunks = [ChunkUsage(Usage(into, out, into + out), text if n == 0 else 0) for n, (into, out) in enumerate(counts)]
    return usage_of_stream(sum((chunk.usage for chunk in chunks), Usage()), chunks)


@pytest.mark.parametrize(
    ("counts", "text", "expected"),
    [
        pytest.param([(10, 6)], 6, (10, 6), id="once"),
        pytest.param([(10, 1), (0, 1), (0, 1)], 3, (10, 3), id="deltas"),
        pytest.param([(10, 1), (10, 2), (10, 3)], 3, (10, 3), id="from the beginning"),
        pytest.param([(10, 3), (10, 3), (10, 3)], 3, (10, 3), id="the same total each time"),
        pytest.param([(10, 1), (10, 1), (10, 1)], 3, (10, 3), id="the prompt and the tokens of the chunk"),
        pytest.param([(10, 1), (10, 1), (10, 2)], 4, (10, 4), id="tokens of the chunk that seem to grow"),
        pytest.param([(10, 2), (10, 1)], 3, (10, 3), id="tokens of the chunk that fall"),
        pytest.param([(10, 50), (10, 50)], 2, (10, 50), id="a total with reasoning that is not shown"),
        pytest.param([(10, 0), (10, 0)], 0, (10, 0), id="no answer"),
        pytest.param([(0, 1), (10, 1)], 2, (10, 2), id="a prompt that is told once"),
    ],
)
def test_a_stream_costs_its_prompt_once_and_its_answer_once(
    counts: list[tuple[int, int]], text: int, expected: tuple[int, int]
) -> None:
    assert total_of(*counts, text=text) == Usage(*expected, sum(expected))


def test_details_are_counted_as_their_side_is() -> None:
    usage = Usage(10, 1, 11, FrozenDict(cache_read=4), FrozenDict(reasoning=1))
    chunks = [ChunkUsage(usage, 1)] * 3

    assert usage_of_stream(usage + usage + usage, chunks) == Usage(10, 3, 13, FrozenDict(cache_read=4), FrozenDict(reasoning=3))


def test_a_sum_that_is_not_of_the_chunks_is_believed() -> None:
    assert usage_of_stream(Usage(7, 7, 14), [ChunkUsage(Usage(10, 1, 11), 1)] * 2) == Usage(7, 7, 14)


class Repeating(BaseChatModel):
    """Reports, with each word, the prompt and that word; tells its tokens under version 3 as integrations do."""

    words: tuple[str, ...] = ("It", " is", " warm", ".")

    @property
    def _llm_type(self) -> str:
        return "repeating"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for word in self.words:
            usage: Any = {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11}
            chunk = ChatGenerationChunk(message=AIMessageChunk(word, usage_metadata=usage))
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _stream(model: Any) -> None:
    list(model.stream("hi"))


def _version_3(model: Any) -> None:
    list(model.stream_events("hi", version="v3"))


@pytest.mark.parametrize("words", [Repeating().words, ("天", "气", "很", "好")])
@pytest.mark.parametrize("read", [_stream, _version_3])
def test_words_are_counted_in_each_way_of_streaming_and_each_script(read: Callable[[Any], None], words: Any) -> None:
    with count_tokens() as tokens, record() as recording:
        read(Repeating(words=words))

    assert tokens.usage == recording.usage == Usage(10, 4, 14)


# -- asynchronous streams of version 3


async def _iterate(stream: Any) -> None:
    async for _ in stream:
        pass


async def _take_text(stream: Any) -> None:
    async for _ in stream.text:
        pass


async def _take_output(stream: Any) -> None:
    await stream.output


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("alone", [True, False], ids=["counts only", "beside a recording"])
@pytest.mark.parametrize("read", [_iterate, _take_text, _take_output])
def test_a_message_is_counted_as_soon_as_it_is_finished(read: Callable[[Any], Any], alone: bool) -> None:
    model = ScriptedChatModel(say("It is ", "sunny.", usage=(8, 5)))

    async def program() -> tuple[Any, Any, int]:
        with count_tokens(prices={"scripted": (1.0, 2.0)}) as tokens:
            if alone:
                await read(await model.astream_events("hi", version="v3"))
                return tokens.usage, tokens.total_cost, tokens.requests
            with record() as recording:
                await read(await model.astream_events("hi", version="v3"))
            assert recording.models[0].usage == tokens.by_model["scripted"].usage
            return recording.usage, tokens.total_cost, tokens.requests

    assert asyncio.run(program()) == (Usage(8, 5, 13), pytest.approx(18e-6), 1)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_a_message_that_was_counted_is_not_late() -> None:
    model = ScriptedChatModel(say("a", usage=(8, 5)))

    async def program() -> Any:
        with count_tokens() as tokens:
            await _iterate(await model.astream_events("hi", version="v3"))
        await asyncio.sleep(0.01)
        return tokens

    tokens = asyncio.run(program())
    assert (tokens.usage, tokens.late, tokens.requests) == (Usage(8, 5, 13), [], 1)
