"""Usage in the words of each provider, and the model that reported it."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest.events import FrozenDict, FrozenList, Generation, Message, Usage
from llmtest.events.usage import ChunkUsage, is_cached, read_model_name, read_usage, usage_of


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        (None, None),
        ({}, None),
        ("7", None),
        ({"total_cost": 0}, None),
        ({"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}, Usage(7, 2, 9)),
        ({"prompt_tokens": 7, "completion_tokens": 2}, Usage(7, 2, 9)),
        ({"input_tokens": None, "output_tokens": 2}, Usage(0, 2, 2)),
        (
            {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}},
            Usage(7, 2, 9, FrozenDict(cache_read=3)),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 1}},
            Usage(7, 2, 9, output_details=FrozenDict(reasoning=1)),
        ),
    ],
)
def test_the_words_of_langchain_openai_and_anthropic_are_one_usage(counts: Any, usage: Usage | None) -> None:
    assert read_usage(counts) == usage


def end_of(usage: Usage) -> FrozenDict:
    return FrozenDict(generations=FrozenList([Generation("a", Message("ai", "a", usage=usage))]))


def test_chunks_that_each_count_from_the_beginning_are_not_added_up() -> None:
    growing = [Usage(7, 1, 8), Usage(7, 2, 9), Usage(7, 3, 10)]
    chunks, parts = ([ChunkUsage(usage, 1) for usage in usages] for usages in (growing, [Usage(7, 0, 7), Usage(0, 3, 3)]))

    assert usage_of(end_of(sum(growing, Usage())), chunks) == Usage(7, 3, 10)
    assert usage_of(end_of(Usage(7, 3, 10)), parts) == Usage(7, 3, 10)


def test_the_further_prompts_of_a_batch_cost_what_the_first_one_reports() -> None:
    counts = FrozenDict(llm_output=FrozenDict(token_usage=FrozenDict()))

    assert (usage_of(counts), usage_of(counts, batched=True)) == (None, Usage())


def test_an_answer_of_the_cache_is_known_by_its_message() -> None:
    cached = FrozenDict(generations=FrozenList([Generation("a", Message("ai", "a", cached=True))]))

    assert (is_cached(cached), is_cached(end_of(Usage()))) == (True, False)


def test_the_first_name_of_a_model_counts() -> None:
    assert read_model_name(None, {"model": ""}, {"ls_model_name": "a", "model": "b"}, {"model": "c"}) == "a"
    assert read_model_name({"model": 7}, "model") is None
