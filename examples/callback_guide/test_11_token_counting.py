"""Counting tokens: each assertion of the guide, in `count_tokens` and in the counters that come with LangChain.

Section "token counting" of LangChain's callback guide. All four assertions hold in all three counters that see the model.
What the guide does not try is below them.
"""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_community.callbacks.manager import get_openai_callback
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.tracers.context import _configure_hooks

from llmtest import call, count_tokens, say
from llmtest.matching import model

QUESTION = "What is the square root of 4?"
ANSWER = say("2", usage=(8, 1)).repeat()
EACH = 9


def by_usage_metadata(counter: Any) -> int:
    return sum(usage["total_tokens"] for usage in counter.usage_metadata.values())


def total(counter: Any) -> int:
    return by_usage_metadata(counter) if hasattr(counter, "usage_metadata") else counter.total_tokens


text_counters = pytest.mark.parametrize("counter", [count_tokens, get_openai_callback])
chat_counters = pytest.mark.parametrize("counter", [count_tokens, get_openai_callback, get_usage_metadata_callback])


# -- the guide's assertions: a text model, `generate` for the guide's `llm(...)`, which is gone


@text_counters
def test_the_assertions_of_the_guide_hold_for_a_text_model(counter, scripted_llm, llm_recording, llm_snapshot):
    llm = scripted_llm(ANSWER)

    with counter() as cb:
        llm.invoke(QUESTION)
    total_tokens = cb.total_tokens
    assert total_tokens == EACH

    with counter() as cb:
        llm.invoke(QUESTION)
        llm.invoke(QUESTION)
    assert cb.total_tokens == total_tokens * 2

    assert llm_recording.models == [model()[3]]
    assert llm_recording.usage.total_tokens == 3 * EACH
    assert llm_recording == llm_snapshot


@text_counters
def test_concurrent_runs_are_counted_and_a_task_from_before_the_block_is_not(counter, scripted_llm, llm_recording, llm_snapshot):
    llm = scripted_llm(ANSWER)

    async def program() -> None:
        with counter() as cb:
            await asyncio.gather(*[llm.agenerate([QUESTION]) for _ in range(3)])
        assert cb.total_tokens == EACH * 3

        task = asyncio.create_task(llm.agenerate([QUESTION]))
        with counter() as cb:
            await llm.agenerate([QUESTION])
        await task
        assert cb.total_tokens == EACH

    asyncio.run(program())

    assert llm_recording.usage.total_tokens == 5 * EACH
    assert llm_recording == llm_snapshot


@chat_counters
def test_the_assertions_of_the_guide_hold_for_a_chat_model(counter, scripted_chat_model, llm_recording, llm_snapshot):
    chat = scripted_chat_model(ANSWER)

    async def program() -> None:
        with counter() as cb:
            await asyncio.gather(*[chat.ainvoke(QUESTION) for _ in range(3)])
        assert total(cb) == EACH * 3

        task = asyncio.create_task(chat.ainvoke(QUESTION))
        with counter() as cb:
            chat.invoke(QUESTION)
        await task
        assert total(cb) == EACH

    asyncio.run(program())

    assert llm_recording.usage.total_tokens == 5 * EACH
    assert llm_recording == llm_snapshot


@chat_counters
def test_an_agent_is_counted_with_every_call_of_its_model(counter, scripted_chat_model, llm_recording, llm_snapshot):
    agent = create_agent(scripted_chat_model(call("root", of=4), say("2.")), [root], name="math_agent")

    with counter() as cb:
        agent.invoke({"messages": [("user", QUESTION)]})

    assert total(cb) == llm_recording.usage.total_tokens > 0
    assert llm_recording.models == [model(), model()]
    assert llm_recording == llm_snapshot


def root(of: int) -> str:
    """The square root of a number."""
    return str(of**0.5)


# -- what the guide does not try


@pytest.mark.parametrize(("counter", "outer"), [(count_tokens, 3), (get_openai_callback, 1), (get_usage_metadata_callback, 3)])
def test_the_openai_callback_loses_what_comes_after_a_block_inside_it(
    counter, outer, scripted_chat_model, llm_recording, llm_snapshot
):
    chat = scripted_chat_model(ANSWER)

    with counter() as cb:
        chat.invoke(QUESTION)
        with counter() as inner:
            chat.invoke(QUESTION)
        chat.invoke(QUESTION)

    assert (total(cb), total(inner)) == (outer * EACH, EACH)
    assert llm_recording == llm_snapshot


@pytest.mark.parametrize(("counter", "counted"), [(count_tokens, 1), (get_openai_callback, 2), (get_usage_metadata_callback, 1)])
def test_the_openai_callback_goes_on_counting_after_an_exception(
    counter, counted, scripted_chat_model, llm_recording, llm_snapshot
):
    chat = scripted_chat_model(ANSWER)

    def program() -> None:
        with suppress(LookupError), counter() as cb:
            chat.invoke(QUESTION)
            raise LookupError
        chat.invoke(QUESTION)  # after the block
        assert total(cb) == counted * EACH

    in_a_context_of_its_own(program)  # the handler that stays installed is not to meet the next test

    assert llm_recording == llm_snapshot


def in_a_context_of_its_own(program: Any) -> None:
    from contextvars import copy_context

    copy_context().run(program)


def test_the_usage_callback_counts_no_text_model(scripted_llm, llm_recording, llm_snapshot):
    llm = scripted_llm(ANSWER)

    with get_usage_metadata_callback() as theirs, count_tokens() as ours:
        llm.invoke(QUESTION)

    assert (by_usage_metadata(theirs), ours.total_tokens) == (0, EACH)
    assert llm_recording == llm_snapshot


def test_the_usage_callback_leaves_one_hook_more_in_the_process_with_each_use():
    def hooks_after_ten(counter: Any) -> int:
        before = len(_configure_hooks)
        for _ in range(10):
            with counter():
                pass
        return len(_configure_hooks) - before

    with count_tokens():
        pass
    assert [hooks_after_ten(counter) for counter in (count_tokens, get_openai_callback)] == [0, 0]
    assert hooks_after_ten(get_usage_metadata_callback) == 10


def test_the_openai_callback_says_that_an_unknown_model_costs_nothing(scripted_chat_model, llm_recording, llm_snapshot):
    chat = scripted_chat_model(ANSWER)

    with get_openai_callback() as theirs, count_tokens(prices={"another": (1.0, 2.0)}) as ours:
        chat.invoke(QUESTION)

    assert theirs.total_cost == 0
    with pytest.raises(LookupError, match="scripted"):
        _ = ours.total_cost
    assert llm_recording == llm_snapshot
