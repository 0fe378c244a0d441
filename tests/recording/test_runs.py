"""Events become runs: also where a program gave one id to several runs."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, ScriptedLLM, ScriptedRetriever, count_tokens, record, say
from llmtest.matching import before, never
from llmtest.scripts import give


@tool
def search(q: str) -> str:
    """Search."""
    return f"found {q}"


@tool
def delete_db(name: str) -> str:
    """Delete."""
    return f"deleted {name}"


def shared() -> RunnableConfig:
    return {"run_id": uuid.uuid4()}


def test_runs_that_follow_one_another_with_one_id_are_both_there() -> None:
    config = shared()
    with record() as recording:
        search.invoke({"q": "x"}, config)
        delete_db.invoke({"name": "prod"}, config)

    assert recording.tools == ["search", "delete_db"]
    assert [run.output for run in recording.tools] == ["found x", "deleted prod"]
    assert [run.id == config["run_id"] for run in recording.tools] == [True, False]
    assert not recording.obeys(never("delete_*"))
    assert recording.obeys(before("search", "delete_db"))
    assert [event.run_id for event in recording] == [config["run_id"]] * 4


def test_the_tree_shows_both_and_their_children() -> None:
    config = shared()
    with record() as recording:
        for name in ("a", "b"):
            RunnableLambda(lambda q: search.invoke({"q": q}), name=name).invoke(name, config)

    assert recording.outline().splitlines() == [
        "chain a",
        '  tool search(q="a")',
        "chain b",
        '  tool search(q="b")',
    ]
    assert [run.children[0].args["q"] for run in recording.roots] == ["a", "b"]


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_model_a_retriever_and_a_text_model_of_one_id_keep_their_answers(way: str) -> None:
    config = shared()
    doubles: list[Any] = [ScriptedChatModel(say("It is ", "sunny.")), ScriptedLLM("It rains."), ScriptedRetriever(give(["d"]))]
    with record() as recording:
        for double in doubles:
            answer = getattr(double, way)("hi", config)
            _ = list(answer) if way == "stream" else answer

    assert [run.kind for run in recording.runs] == ["chat", "llm", "retriever"]
    assert [run.ended for run in recording.runs] == ["ended"] * 3
    assert (recording.runs[0].output.text, recording.runs[1].output) == ("It is sunny.", "It rains.")


@pytest.mark.asyncio
async def test_runs_that_overlap_with_one_id_get_their_own_ends() -> None:
    config, both = shared(), asyncio.Barrier(2)

    async def work(name: str) -> str:
        await both.wait()
        return f"done {name}"

    async def run(name: str) -> None:
        await RunnableLambda(work, name=name).ainvoke(name, config)

    with record() as recording:
        await asyncio.gather(run("a"), run("b"))

    assert {run.name: run.output for run in recording.runs} == {"a": "done a", "b": "done b"}


def test_a_third_run_of_one_id_and_the_counts_of_all() -> None:
    config = shared()
    with record() as recording, count_tokens() as tokens:
        for _ in range(3):
            ScriptedChatModel(say("Hi", usage=(1, 1))).invoke("hi", config)

    assert len({run.id for run in recording.models}) == 3
    assert (recording.usage.total_tokens, tokens.total_tokens, tokens.requests) == (6, 6, 3)
