"""Threads, cancelled runs and memory: every event is there, in order within its run, and nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.outputs import Generation, LLMResult
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tracers.context import _configure_hooks

from llmtest import ScriptedChatModel, record, say
from llmtest.capture import blocks as rooms
from llmtest.langchain import tap

pytestmark = pytest.mark.usefixtures("outside")

THREADS, EACH = 8, 1_000


@pytest.fixture(params=[0.005, 1e-6], ids=["as usual", "in haste"])
def switching(request: pytest.FixtureRequest) -> Iterator[None]:
    """How soon Python takes the interpreter from a thread, in seconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


def one_model_run(manager: CallbackManager, number: int) -> None:
    """A chain and a model in it, told as LangChain tells them."""
    chain = manager.on_chain_start({"name": "chain"}, {"number": number})
    (model,) = chain.get_child().on_llm_start({"name": "model"}, [str(number)])
    for token in ("a", "b"):
        model.on_llm_new_token(token)
    model.on_llm_end(LLMResult(generations=[[Generation(text="ab")]]))
    chain.on_chain_end({"number": number})


def in_threads(work: Callable[[int], None]) -> None:
    """Runs `work` in eight threads at once, each with the context of this one."""
    barrier = threading.Barrier(THREADS)

    def meet(number: int) -> None:
        barrier.wait()
        work(number)

    workers = [threading.Thread(target=copy_context().run, args=(meet, number)) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@pytest.mark.usefixtures("switching")
def test_eight_threads_of_a_thousand_runs_lose_nothing_and_keep_their_order() -> None:
    def work(thread: int) -> None:
        manager = CallbackManager.configure()
        for number in range(EACH // 2):  # two runs each
            one_model_run(manager, thread * EACH + number)

    with record() as outer, record() as inner:
        in_threads(work)

    for caught in (outer, inner):
        assert [event.number for event in caught] == list(range(THREADS * EACH * 3))
        assert len(caught.runs) == THREADS * EACH
        assert {tuple(event.kind for event in run.events) for run in caught.runs} == {
            ("on_chain_start", "on_chain_end"),
            ("on_llm_start", "on_llm_new_token", "on_llm_new_token", "on_llm_end"),
        }
        given = [(root.input["number"], root.children[0].input) for root in caught.roots]
        assert sorted(given) == [(n, str(n)) for t in range(THREADS) for n in range(t * EACH, t * EACH + EACH // 2)]


@pytest.mark.usefixtures("switching")
def test_real_models_in_eight_threads_lose_nothing() -> None:
    model = ScriptedChatModel(say("a", "b").repeat())

    def work(thread: int) -> None:
        for number in range(20):
            list(model.stream(f"{thread} {number}"))

    with record() as recording:
        in_threads(work)

    assert sorted(run.input[0].content for run in recording.models) == sorted(f"{t} {n}" for t in range(8) for n in range(20))
    assert {tuple(event.kind[3:] for event in run.events) for run in recording.runs} == {
        ("chat_model_start", "llm_new_token", "llm_new_token", "llm_end")
    }
    assert [event.number for event in recording] == list(range(4 * 160))


@pytest.mark.usefixtures("switching")
def test_parallel_branches_and_batches_in_haste_are_whole() -> None:
    step = RunnableLambda(lambda x: x)
    fan = RunnableParallel(**dict.fromkeys("abcd", step))

    with record() as recording:
        fan.batch([1] * 50)

    assert [len(root.children) for root in recording.roots] == [4] * 50
    assert {run.ended for run in recording.runs} == {"ended"}


@pytest.mark.usefixtures("switching")
def test_blocks_that_close_while_threads_work_break_nothing() -> None:
    """LangChain asks the hook twice, and another thread may close the block between the two."""
    stop, errors = threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            try:
                RunnableLambda(lambda x: x).invoke(1)
            except Exception as error:
                errors.append(error)

    for _ in range(20):
        with record():
            worker = threading.Thread(target=copy_context().run, args=(work,))
            worker.start()
        stop.set()
        worker.join()
        stop.clear()

    assert errors == []


def test_a_block_that_closes_between_two_looks_at_the_hook_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Openings(set[rooms.Opening]):
        """Something is open at the first look, and nothing at the second."""

        looks = 0

        def __bool__(self) -> bool:
            self.looks += 1
            return self.looks == 1

    with record():  # the hook is there
        pass
    openings = Openings()
    monkeypatch.setattr(rooms, "openings", openings)

    got = RunnableLambda(lambda x: x).invoke(1)

    assert (got, openings.looks > 1) == (1, True)


# -- cancelled runs, and what stays behind


def _sizes() -> tuple[int, int]:
    return len(rooms.memberships), len(_configure_hooks)


@pytest.mark.parametrize("number_of_runs", [10_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_many_cancelled_runs_leave_nothing_behind(number_of_runs: int) -> None:
    """Every second one is told that it was cancelled; the others start and never end."""
    gc.collect()
    with record():
        before = _sizes()
    cancelled = asyncio.CancelledError()

    with record() as recording:
        for number in range(number_of_runs):
            run_id = uuid4()
            tap.TAP.on_chain_start({}, number, run_id=run_id)
            if number % 2:
                tap.TAP.on_chain_error(cancelled, run_id=run_id)
    events, known, gone = len(recording), len(rooms.memberships) - before[0], weakref.ref(recording)
    del recording

    assert (events, known) == (number_of_runs * 3 // 2, number_of_runs)
    assert gone() is None
    assert _sizes() == before


@pytest.mark.asyncio
async def test_really_cancelled_programs_leave_nothing_behind() -> None:
    async def wait(value: Any) -> None:
        await asyncio.Event().wait()

    async def many() -> int:
        program = RunnableLambda(lambda x: x) | RunnableLambda(wait)
        with record() as recording:
            tasks = [asyncio.create_task(program.ainvoke(number)) for number in range(200)]
            for _ in range(20):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return len(recording.runs)

    gc.collect()
    before = _sizes()[0]

    runs = await asyncio.create_task(many())
    gc.collect()

    assert runs >= 200
    assert _sizes()[0] == before


def test_a_recording_whose_runs_never_end_goes_with_its_last_reference_without_a_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        with record() as recording:
            manager = CallbackManager.configure()
            manager.on_chain_start({}, {"x": 1})
        gone, before = weakref.ref(recording), len(rooms.memberships)
        del recording
    finally:
        gc.enable()

    assert gone() is None
    assert len(rooms.memberships) == before - 1


def test_one_id_for_run_after_run_tells_each_recording_its_own() -> None:
    model, run_id = ScriptedChatModel(say("a", "b"), say("c", "d")), uuid4()

    with record() as first:
        list(model.stream("1", {"run_id": run_id}))
    with record() as second:
        list(model.stream("2", {"run_id": run_id}))

    assert [(run.input[0].content, run.tokens) for run in (*first.models, *second.models)] == [
        ("1", ["a", "b"]),
        ("2", ["c", "d"]),
    ]
    assert (first.late_events, second.late_events) == ([], [])


def test_there_is_one_tap() -> None:
    assert tap.Tap() is tap.TAP
