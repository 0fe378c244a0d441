"""The ground truth: what the doubles were asked, and a recording did not see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmtest import Recording, ScriptedChatModel, ScriptedEmbeddings, ScriptedLLM, ScriptedRetriever, record, say, scripted_tool
from llmtest.events import UnseenCall
from llmtest.ledger import Ledger, opened
from llmtest.scripts import give

HERE = str(Path(__file__))
MODEL = ScriptedChatModel(say("Hello").repeat())


def in_thread(work: Callable[..., object], *args: object) -> None:
    thread = threading.Thread(target=work, args=args, name="worker")
    thread.start()
    thread.join()


def unseen(work: Callable[[], object]) -> list[UnseenCall]:
    """What a recording did not see; the page of this test would fail it for that."""
    with opened(Ledger()), record() as recording:
        work()
    return recording.unseen_calls


def line(function: Callable[..., object], after: int = 1) -> int:
    return function.__code__.co_firstlineno + after


def test_call_from_a_bare_thread_is_told_with_its_place() -> None:
    def work() -> None:
        MODEL.invoke("hi")

    found = unseen(lambda: in_thread(work))

    assert found == [UnseenCall("ScriptedChatModel", f"{HERE}:{line(work)}", "worker", "no context")]


def test_thread_that_calls_the_model_at_once_has_no_place_in_the_program() -> None:
    found = unseen(lambda: in_thread(MODEL.invoke, "hi"))

    assert found == [UnseenCall("ScriptedChatModel", "a thread whose target is LangChain's", "worker", "no context")]


def test_executor_without_the_context_is_told_and_with_it_is_not() -> None:
    async def bare() -> None:
        await asyncio.get_running_loop().run_in_executor(None, lambda: MODEL.invoke("hi"))

    async def carried() -> None:
        await asyncio.to_thread(MODEL.invoke, "hi")

    def pooled() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, MODEL.invoke, "hi").result()

    found = [unseen(lambda: asyncio.run(bare())), unseen(lambda: asyncio.run(carried())), unseen(pooled)]

    assert [[call.cause for call in calls] for calls in found] == [["no context"], [], []]


def test_call_past_the_callbacks_is_told() -> None:
    def work() -> None:
        MODEL._generate([HumanMessage("hi")])

    assert unseen(work) == [UnseenCall("ScriptedChatModel", f"{HERE}:{line(work)}", "MainThread", "no callbacks")]


def test_what_the_recording_sees_is_not_told() -> None:
    @tool
    def asks(question: str) -> str:
        """Asks a model."""
        return str(MODEL.generate([[HumanMessage(question)]]).generations[0][0].text)

    async def work() -> None:
        await asks.ainvoke({"question": "hi"})
        await RunnableLambda(MODEL.invoke).ainvoke("hi")
        async for _ in MODEL.astream("hi"):
            pass

    def all_ways() -> None:
        asks.invoke({"question": "hi"})
        MODEL.invoke("hi", {"callbacks": []})
        MODEL.batch(["one", "two"])
        list(MODEL.stream("hi"))
        for _ in MODEL.stream_events("hi", version="v3"):
            pass
        ScriptedLLM("one", "two", "three").batch(["a", "b", "c"])
        ScriptedRetriever([]).invoke("hi")
        scripted_tool(asks, "answer").invoke({"question": "hi"})
        asyncio.run(work())

    assert unseen(all_ways) == []


def test_tools_and_retrievers_are_told_by_name() -> None:
    @tool
    def search(query: str) -> str:
        """Search the web."""
        return query

    double = scripted_tool(search, "found")
    found = unseen(lambda: in_thread(lambda: double.invoke({"query": "x"})))
    found += unseen(lambda: in_thread(lambda: ScriptedRetriever(give([]), name="notes").invoke("x")))

    assert [call.double for call in found] == ["`search`", "`notes`"]


def test_embeddings_have_no_callbacks_and_owe_none() -> None:
    assert unseen(lambda: ScriptedEmbeddings().embed_query("hi")) == []


def test_task_from_before_the_block_has_a_context_of_its_own() -> None:
    recordings: list[Recording] = []

    async def early(go: asyncio.Event) -> None:
        await go.wait()
        await MODEL.ainvoke("hi")
        await asyncio.to_thread(MODEL.invoke, "hi")

    async def program() -> None:
        go = asyncio.Event()
        task = asyncio.create_task(early(go))
        await asyncio.sleep(0)
        with opened(Ledger()), record() as recording:
            go.set()
            await task
        recordings.append(recording)

    asyncio.run(program())

    assert [(len(recording), recording.unseen_calls) for recording in recordings] == [(0, [])]


def test_context_that_was_made_empty_on_the_same_thread_is_meant() -> None:
    assert unseen(lambda: Context().run(MODEL.invoke, "hi")) == []


def test_outside_of_blocks_nothing_is_kept() -> None:
    with opened(Ledger()), record() as recording:
        pass

    in_thread(lambda: MODEL.invoke("hi"))

    assert recording.unseen_calls == []


@pytest.mark.llm_waive("unseen call", reason="it is the point")
def test_marker_waives_it(llm_recording: Recording) -> None:
    in_thread(lambda: MODEL.invoke("hi"))

    assert [call.cause for call in llm_recording.unseen_calls] == ["no context"]
