"""The ground truth: what the doubles were asked, and a recording did not see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from pathlib import Path

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmtest import (
    Recording,
    ScriptedChatModel,
    ScriptedEmbeddings,
    ScriptedLLM,
    ScriptedRetriever,
    count_tokens,
    ledger,
    record,
    say,
    scripted_tool,
)
from llmtest.capture import blocks, membership
from llmtest.events import UnseenCall
from llmtest.ledger import Ledger, Outside, opened
from llmtest.matching import never
from llmtest.scripts import give
from tests.support.tools import delete_db

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


def test_a_task_from_before_the_block_is_told_of() -> None:
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

    (recording,) = recordings
    assert [(call.double, call.cause) for call in recording.unseen_calls] == [
        ("ScriptedChatModel", "other context"),
        ("ScriptedChatModel", "no context"),
    ]


def test_context_that_was_made_empty_on_the_same_thread_loses_the_recording() -> None:
    def work() -> None:
        Context().run(MODEL.invoke, "hi")

    assert unseen(work) == [UnseenCall("ScriptedChatModel", f"{HERE}:{line(work)}", "MainThread", "other context")]


def test_outside_of_blocks_nothing_is_kept() -> None:
    with opened(Ledger()), record() as recording:
        pass

    in_thread(lambda: MODEL.invoke("hi"))

    assert recording.unseen_calls == []


@pytest.mark.llm_waive("unseen call", reason="it is the point")
def test_marker_waives_it(llm_recording: Recording) -> None:
    in_thread(lambda: MODEL.invoke("hi"))

    assert [call.cause for call in llm_recording.unseen_calls] == ["no context"]


# -- runs of real models, tools and retrievers


class Notes(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: object) -> list[Document]:
        return []


REAL: dict[str, Callable[[], object]] = {
    "`delete_db`": lambda: delete_db.invoke({"name": "prod"}),
    "`Notes`": lambda: Notes().invoke("x"),
    "FakeListChatModel": lambda: FakeListChatModel(responses=["a"]).invoke("x"),
    "FakeListLLM": lambda: list(FakeListLLM(responses=["a"]).stream("x")),
    "`chain`": lambda: RunnableLambda(lambda x: x, name="chain").invoke("x"),
}
PLACES: dict[str, tuple[Callable[[Callable[[], object]], object], str]] = {
    "thread": (in_thread, "no context"),
    "pool": (lambda work: list(ThreadPoolExecutor(1).map(lambda _: work(), "a")), "no context"),
    "executor": (lambda work: asyncio.run(_in_executor(work)), "no context"),
    "empty context": (lambda work: Context().run(work), "other context"),
    "empty context of a task": (lambda work: asyncio.run(_in_empty_context(work)), "other context"),
}


async def _in_executor(work: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


async def _in_empty_context(work: Callable[[], object]) -> None:
    Context().run(work)


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("place", PLACES)
def test_a_run_in_a_context_that_the_recording_did_not_reach_is_told(place: str, name: str) -> None:
    run, cause = PLACES[place]

    found = unseen(lambda: run(REAL[name]))

    assert [(call.double, call.cause) for call in found] == [(name, cause)]


def test_rules_that_need_everything_cannot_tell() -> None:
    with opened(Ledger()), record() as recording:
        in_thread(delete_db.invoke, {"name": "prod"})

    assert str(recording.obeys(never("delete_*"))).splitlines()[1].endswith("; whether the rule holds of it is not known")


def test_of_an_unseen_chain_its_tools_and_models_are_told_and_not_its_inner_chains() -> None:
    chain = RunnableLambda(lambda x: delete_db.invoke({"name": x}), name="step") | RunnableLambda(lambda x: x, name="last")

    found = unseen(lambda: in_thread(chain.invoke, "prod"))

    assert [call.double for call in found] == ["`RunnableSequence`", "`delete_db`"]


def test_a_double_that_a_lost_run_asks_is_told_once() -> None:
    assert len(unseen(lambda: in_thread(MODEL.invoke, "hi"))) == 1


def test_a_worker_task_from_before_the_recording_is_told_of_in_each_recording() -> None:
    async def program() -> list[list[str]]:
        queue = asyncio.Queue[str]()

        async def work() -> None:
            while True:
                delete_db.invoke({"name": await queue.get()})
                queue.task_done()

        worker, found = asyncio.create_task(work()), []
        await asyncio.sleep(0)
        for _ in range(2):
            with record() as recording:
                queue.put_nowait("prod")
                await queue.join()
            found.append([call.cause for call in recording.unseen_calls])
        worker.cancel()
        return found

    with opened(Ledger()):
        assert asyncio.run(program()) == [["other context"], ["other context"]]


def test_a_task_that_a_test_left_behind_does_not_fail_the_next() -> None:
    async def program() -> Recording:
        go = asyncio.Event()

        async def late() -> None:
            await go.wait()
            delete_db.invoke({"name": "prod"})

        with opened(Ledger()):
            task = asyncio.create_task(late())
            await asyncio.sleep(0)
        with opened(Ledger()), record() as recording:
            go.set()
            await task
        return recording

    assert asyncio.run(program()).unseen_calls == []


def test_a_task_that_a_fixture_of_the_module_started_is_told_of() -> None:
    async def program() -> Recording:
        go = asyncio.Event()

        async def late() -> None:
            await go.wait()
            delete_db.invoke({"name": "prod"})

        page = Ledger()
        with opened(Ledger()), ledger.kept(page):
            task = asyncio.create_task(late())
            await asyncio.sleep(0)
        with opened(Ledger()), record() as recording:
            go.set()
            await task
        ledger.release(page)
        return recording

    assert [call.cause for call in asyncio.run(program()).unseen_calls] == ["other context"]


def test_the_block_of_one_task_is_not_about_the_tasks_beside_it() -> None:
    async def program() -> Recording:
        both = asyncio.Barrier(2)

        async def recorded() -> Recording:
            with record() as recording:
                await both.wait()
                delete_db.invoke({"name": "a"})
                await both.wait()
            return recording

        async def beside() -> None:
            await both.wait()
            delete_db.invoke({"name": "b"})
            await both.wait()

        return (await asyncio.gather(recorded(), beside()))[0]

    with opened(Ledger()):
        recording = asyncio.run(program())

    assert (recording.tools.names, recording.unseen_calls) == (["delete_db"], [])


def test_the_reader_of_a_decorated_generator_is_outside() -> None:
    recording = record()

    @recording
    def steps() -> Iterator[str]:
        yield delete_db.invoke({"name": "a"})

    for _ in steps():
        delete_db.invoke({"name": "b"})

    assert (recording.tools.names, recording.unseen_calls) == (["delete_db"], [])


def test_runs_within_a_check_of_conformance_are_none_of_the_test() -> None:
    def work() -> None:
        with opened(Outside()):
            in_thread(delete_db.invoke, {"name": "prod"})

    assert unseen(work) == []


def test_what_is_recorded_by_another_block_is_seen() -> None:
    def work() -> None:
        with record():
            delete_db.invoke({"name": "prod"})

    assert unseen(lambda: in_thread(work)) == []


def test_nothing_is_kept_of_unseen_runs_when_all_blocks_are_closed() -> None:
    unseen(lambda: in_thread(MODEL.invoke, "hi"))

    assert blocks.unseen_runs == set() or blocks.openings


# -- llmtest_follow = test


@pytest.mark.parametrize("place", PLACES)
def test_runs_that_were_lost_belong_to_the_open_test_on_demand(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "follow", "test")

    with opened(Ledger()), record() as recording, count_tokens() as tokens:
        PLACES[place][0](lambda: (delete_db.invoke({"name": "prod"}), MODEL.invoke("hi")))

    assert (recording.tools.names, recording.unseen_calls, tokens.requests) == (["delete_db"], [], 1)
    assert not recording.obeys(never("delete_*"))


def test_a_call_without_any_run_in_a_bare_thread_is_told() -> None:
    (call,) = unseen(lambda: in_thread(membership.note_call, None, "Mine", lambda: "mine.py:1"))

    assert call == UnseenCall("Mine", "mine.py:1", "worker", "no context")
