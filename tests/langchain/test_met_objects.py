"""Which object a run is a run of, and how it was called: the proof of coverage has every way, here are the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.runnables import RouterRunnable, RunnableLambda, RunnablePassthrough

from llmtest import ScriptedChatModel, ScriptedRetriever, record, scripted_tool
from llmtest.langchain.inventory import Reader
from llmtest.langchain.met_objects import Meeting, MetObjects
from tests.support.covering import Covered

CHAIN = RunnableLambda(str, name="one") | RunnablePassthrough()


def met_in(work: Any) -> list[tuple[str, str, str]]:
    """Return the name of each run, the class of its object, and how it was called."""
    objects = MetObjects()
    with objects.listening(), record() as recording:
        work()
    found = [(run, objects.of_run.get(run.id.int)) for run in recording.runs]
    return [(run.name, type(item).__name__ if item else "", objects.modes.get(run.id.int, "")) for run, item in found]


def test_each_kind_of_run_has_its_object() -> None:
    def work() -> None:
        ScriptedChatModel("x").invoke("hi")
        ScriptedRetriever([], name="wiki").invoke("q")
        scripted_tool("clock", "noon").invoke({})
        asyncio.run(CHAIN.ainvoke("x"))

    assert [(name, mode) for name, _, mode in met_in(work)] == [
        ("ScriptedChatModel", "invoke"),
        ("wiki", "invoke"),
        ("clock", "invoke"),
        ("RunnableSequence", "ainvoke"),
        ("one", ""),
        ("RunnablePassthrough", ""),
    ]


def test_a_chain_in_a_thread_and_in_a_gathered_batch() -> None:
    def work() -> None:
        CHAIN.batch(["a", "b"])
        asyncio.run(CHAIN.abatch(["a", "b"]))

    found = met_in(work)

    assert [one for one in found if one[0] == "RunnableSequence"] == [
        ("RunnableSequence", "RunnableSequence", "batch"),
        ("RunnableSequence", "RunnableSequence", "batch"),
        ("RunnableSequence", "RunnableSequence", "abatch"),
        ("RunnableSequence", "RunnableSequence", "abatch"),
    ]


def test_a_run_that_a_program_makes_by_hand_is_of_the_object_that_makes_it() -> None:
    class Program:
        def run(self) -> None:
            CallbackManager.configure().on_chain_start({"name": "by hand"}, {}).on_chain_end({})

    assert met_in(Program().run) == [("by hand", "Program", "")]


def by_hand(depth: int) -> None:
    if depth:
        by_hand(depth - 1)
    else:
        CallbackManager.configure().on_chain_start({"name": "by hand"}, {}).on_chain_end({})


def test_a_run_that_plain_functions_make_is_of_no_object() -> None:
    assert met_in(lambda: by_hand(10)) == [("by hand", "", "")]


def test_nothing_listens_after_the_block() -> None:
    met = MetObjects()
    with met.listening(), record():
        CHAIN.invoke("x")
    inside = len(met.of_run)
    with record():
        CHAIN.invoke("x")

    assert len(met.of_run) == inside > 0


def test_a_run_without_an_object_is_no_program() -> None:
    with record() as recording:
        CHAIN.invoke("x")
    meeting = Meeting(MetObjects(), Reader())
    run = recording.runs[0]

    assert (meeting.met(run).program, meeting.met(run).component, meeting.met(run).items) == (None, None, None)
    assert meeting.mode_of(run) == ""


@pytest.mark.parametrize("is_named", [True, False])
def test_a_bare_model_is_a_program_if_it_is_named(is_named: bool) -> None:
    model, objects = ScriptedChatModel("x", model_name="clerk"), MetObjects()
    with objects.listening(), record() as recording:
        model.invoke("hi")

    program = Meeting(objects, Reader(), [model] if is_named else []).met(recording.runs[0]).program

    assert (program.label if program is not None else None) == ("clerk" if is_named else None)


@pytest.mark.parametrize(
    ("work", "mode"),
    [
        (lambda chain: list(chain.stream("x")), "stream"),
        (lambda chain: list(chain.transform(iter("x"))), "stream"),
        (lambda chain: list(chain.batch_as_completed(["x"])), "batch"),
        (lambda chain: list(chain.batch(["x", "y"])), "batch"),
        (lambda chain: asyncio.run(every(chain.astream("x"))), "astream"),
        (lambda chain: asyncio.run(every(chain.abatch_as_completed(["x", "y"]))), "abatch"),
    ],
    ids=["stream", "transform", "batch as completed", "batch", "astream", "abatch as completed"],
)
def test_a_function_is_called_as_the_test_calls_it(work: Any, mode: str) -> None:
    assert {found for _, _, found in met_in(lambda: work(RunnableLambda(str, name="one")))} == {mode}


async def every(parts: Any) -> list[Any]:
    return [part async for part in parts]


def routed(work: Any) -> tuple[set[str], set[str]]:
    """Return the routes that were taken, and those of which nothing is known."""
    found = Covered(work, program="r")
    return found.hits("branches"), {item.name for item in found.inventory if item.kind == "branches" and item.unknown}


@pytest.mark.parametrize(
    "work",
    [
        lambda chain: chain.invoke("x"),
        lambda chain: list(chain.stream("x")),
        lambda chain: asyncio.run(chain.ainvoke("x")),
        lambda chain: asyncio.run(every(chain.astream("x"))),
    ],
    ids=["invoke", "stream", "ainvoke", "astream"],
)
@pytest.mark.parametrize("route", ["plain", "chain", "model"])
def test_the_route_of_a_router_is_known_by_its_frame(route: str, work: Any) -> None:
    router = RouterRunnable(
        {"plain": RunnableLambda(str), "chain": CHAIN, "model": ScriptedChatModel(*["a"] * (route == "model"))}
    )
    chain = (RunnableLambda(lambda text: {"key": route, "input": text}) | router).with_config(run_name="r")

    hits, unknown = routed(lambda: work(chain))

    assert (hits, unknown) == ({f"router.{route}"}, {f"router.{one}" for one in ("plain", "chain", "model") if one != route})


def test_the_routes_of_a_batch_are_unknown() -> None:
    router = RouterRunnable({"plain": RunnableLambda(str), "other": CHAIN})
    chain = (RunnableLambda(lambda text: {"key": "plain", "input": text}) | router).with_config(run_name="r")

    assert routed(lambda: chain.batch(["x", "y"])) == (set(), {"router.plain", "router.other"})
