"""What else the LangGraph program can do: with these tests, `pytest --llmtest-cov` misses nothing of it."""

import asyncio
import warnings
from typing import Any

import pytest

from examples.test_langgraph_graph import find_order, support_desk
from llmtest import call, fail, reply, say

GIVEN = {"messages": [("user", "Where is order 7?")]}
BEFORE: dict[str, list[Any]] = {"router": [], "clerk": ["order"], "small_talk": ["other"]}
BAD = {
    "empty": say(""),
    "cut": say("It leaves on", stop_reason="length"),
    "filtered": say("", stop_reason="content_filter"),
    "refused": say("I cannot help with that.", refusal=True),
}


@pytest.mark.parametrize("answer", BAD)
@pytest.mark.parametrize("node", BEFORE)
def test_a_bad_answer_ends_the_conversation(scripted_chat_model, node, answer):
    after = ["Hello."] if node == "router" else []

    state = support_desk(scripted_chat_model(*BEFORE[node], BAD[answer], *after)).invoke(GIVEN)

    assert len(state["messages"]) == 2


@pytest.mark.parametrize("node", BEFORE)
def test_an_error_of_the_model_reaches_the_caller(scripted_chat_model, node):
    with pytest.raises(TimeoutError):
        support_desk(scripted_chat_model(*BEFORE[node], fail(TimeoutError))).invoke(GIVEN)


def test_two_orders_are_looked_up_at_once(scripted_chat_model, llm_recording):
    both = reply(call(find_order, number=7), call(find_order, number=8))

    support_desk(scripted_chat_model("order", both, "Both leave on Friday.")).invoke(GIVEN)

    assert llm_recording.tools.names == ["find_order", "find_order"]


def test_an_order_that_is_no_number_is_refused(scripted_chat_model, llm_recording):
    wrong = call(find_order, number="seven").unchecked()

    support_desk(scripted_chat_model("order", wrong, "Which order?")).invoke(GIVEN)

    assert [run.error.type for run in llm_recording.tools] == ["ValidationError"]


def test_an_error_of_the_tool_reaches_the_caller(scripted_chat_model, monkeypatch):
    def broken(number: int) -> str:
        raise LookupError(f"no order {number}")

    monkeypatch.setattr(find_order, "func", broken)
    with pytest.raises(LookupError):
        support_desk(scripted_chat_model("order", call(find_order, number=7))).invoke(GIVEN)


async def read(stream: Any) -> list[Any]:
    return [part async for part in stream]


async def batch(desk: Any) -> list[Any]:
    return await desk.abatch([GIVEN])


WAYS = {
    "stream": lambda desk: list(desk.stream(GIVEN)),
    "batch": lambda desk: desk.batch([GIVEN]),
    "ainvoke": lambda desk: asyncio.run(desk.ainvoke(GIVEN)),
    "astream": lambda desk: asyncio.run(read(desk.astream(GIVEN))),
    "abatch": lambda desk: asyncio.run(batch(desk)),
    "astream_events": lambda desk: asyncio.run(read(desk.astream_events(GIVEN, version="v2"))),
    "stream_events, version 3": lambda desk: list(desk.stream_events(GIVEN, version="v3")),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_desk_answers_in_each_way_of_a_call(scripted_chat_model, llm_recording, way):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # version 3 of stream events is new in LangGraph
        WAYS[way](support_desk(scripted_chat_model("other", "Hello.")))

    assert [run.name for run in llm_recording.models] == ["ScriptedChatModel", "ScriptedChatModel"]
