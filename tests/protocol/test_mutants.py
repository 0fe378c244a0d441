"""The checker, checked: a correct recording with one event dropped, told twice, swapped with the next or given another
parent is reported, or it is on the list of what cannot be seen, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypedDict
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from llmtest import Recording, ScriptedChatModel, ScriptedRetriever, call, record, reply, say
from llmtest.capture.blocks import RawEvent
from llmtest.protocol import check
from tests.support.recordings import tells
from tests.support.tools import weather

pytestmark = pytest.mark.usefixtures("outside")

STRANGER = UUID(int=99)


# -- correct programs


def agent() -> Recording:
    """An agent that calls two tools at once and then streams its answer."""
    asked = reply(call("weather", city="Paris"), call("weather", city="Rome"))
    agent = create_agent(ScriptedChatModel(asked, say("It is ", "18C", ".")), [weather], name="agent")
    with record() as recording:
        for _ in agent.stream({"messages": "How warm is it?"}, stream_mode="messages"):
            pass
    return recording


def parallel() -> Recording:
    """Three branches in three threads, one of which fails and is caught."""

    def fails(value: str) -> str:
        raise ValueError("no")

    branches = RunnableParallel(
        model=ScriptedChatModel(say("Hel", "lo"), streaming=True),
        books=ScriptedRetriever(["a book"]),
        caught=RunnableLambda(fails).with_fallbacks([RunnableLambda(str)]),
    )
    with record() as recording:
        branches.invoke("hi")
    return recording


def asynchronous() -> Recording:
    """A model that streams on the loop, and a function that sends a custom event."""
    chain = RunnableLambda(str) | ScriptedChatModel(say("a", "b"), streaming=True) | RunnableLambda(tells)

    async def main() -> None:
        async for _ in chain.astream("hi"):
            pass

    with record() as recording:
        asyncio.run(main())
    return recording


def streamed() -> Recording:
    """A message in stream events."""
    with record() as recording:
        list(ScriptedChatModel(say("Hel", "lo")).stream_events("hi", version="v3"))
    return recording


class State(TypedDict):
    answer: str


def interrupted() -> Recording:
    """A graph that is interrupted and goes on."""
    graph = StateGraph(State)
    graph.add_node("ask", lambda state: {"answer": interrupt("really?")})
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    program = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    with record() as recording:
        program.invoke({"answer": ""}, config)
        program.invoke(Command(resume="yes"), config)
    return recording


PROGRAMS = [agent, parallel, asynchronous, streamed, interrupted]


# -- mutants

Mutant = tuple[int, list[RawEvent]]


def dropped(raw: list[RawEvent]) -> Iterator[Mutant]:
    for number in range(len(raw)):
        yield number, [*raw[:number], *raw[number + 1 :]]


def doubled(raw: list[RawEvent]) -> Iterator[Mutant]:
    for number in range(len(raw)):
        yield number, [*raw[: number + 1], *raw[number:]]


def swapped(raw: list[RawEvent]) -> Iterator[Mutant]:
    for number in range(len(raw) - 1):
        yield number, [*raw[:number], raw[number + 1], raw[number], *raw[number + 2 :]]


def to_a_stranger(raw: list[RawEvent]) -> Iterator[Mutant]:
    for number, event in enumerate(raw):
        yield number, [*raw[:number], (*event[:2], STRANGER, *event[3:]), *raw[number + 1 :]]


def to_another_run(raw: list[RawEvent]) -> Iterator[Mutant]:
    runs = list(dict.fromkeys(event[1] for event in raw))
    for number, event in enumerate(raw):
        other = next((run for run in runs if run not in (event[1], event[2])), None)
        if other is not None:
            yield number, [*raw[:number], (*event[:2], other, *event[3:]), *raw[number + 1 :]]


def to_nobody(raw: list[RawEvent]) -> Iterator[Mutant]:
    for number, event in enumerate(raw):
        if event[2] is not None:
            yield number, [*raw[:number], (*event[:2], None, *event[3:]), *raw[number + 1 :]]


# -- what cannot be seen, and why


def invisible(mutation: Callable[..., Any], raw: list[RawEvent], number: int, recording: Recording) -> str | None:
    """Why a mutant looks like another correct recording; None if it does not."""
    kind, run, _, _, _, _, lane = raw[number]
    if kind in ("on_custom_event", "on_interrupt", "on_resume"):
        if mutation in (dropped, doubled):
            return "a program may send a custom event never, once or twice, and a graph may pause so"
        if mutation in (to_a_stranger, to_another_run, to_nobody):
            return "it has no parent id: its run id is that of the run that sent it"
    if kind == "on_llm_new_token" and mutation in (dropped, doubled) and recording[number].payload["token"] == "":
        return "an empty token says nothing: the last one of a stream, or a piece of a tool call"
    if kind == "on_stream_event" and mutation is dropped and recording[number].payload["event"]["event"] == "message-finish":
        return "a model need not send it: LangChain ends the message then"
    if mutation is swapped:
        following = raw[number + 1]
        if (
            lane is not None
            and following[6] is not None
            and lane[0].thread_id != following[6][0].thread_id
            and run != following[1]
        ):
            return "runs in two threads: another lawful order of the same program"
    return None


def mutants(program: Callable[[], Recording]) -> Iterator[tuple[str, str, str | None, list[str]]]:
    """(mutation, event, why it cannot be seen, the rules that report it) of each mutant of a program."""
    good = program()
    assert check(good) == []
    raw = [(*event[:4], number, *event[5:]) for number, event in enumerate(good._raw)]  # a clock that never stands still
    for mutation in (dropped, doubled, swapped, to_a_stranger, to_another_run, to_nobody):
        for number, events in mutation(raw):
            mutant = Recording()
            mutant._raw.extend(events)
            mutant.close()
            why = invisible(mutation, raw, number, good)
            yield mutation.__name__, f"#{number} {good[number]}", why, [found.code for found in check(mutant)]


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_mutant_is_reported_or_cannot_be_seen_for_a_reason_that_is_told(program: Callable[[], Recording]) -> None:
    found = list(mutants(program))

    missed = [(mutation, event) for mutation, event, why, rules in found if not rules and why is None]
    assert len(found) > 30
    assert missed == []


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_said_to_be_invisible_is(program: Callable[[], Recording]) -> None:
    seen = [(mutation, event, why) for mutation, event, why, rules in mutants(program) if rules and why is not None]

    assert [one for one in seen if "two threads" not in one[2]] == []
