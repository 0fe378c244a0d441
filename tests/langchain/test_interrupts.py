"""What no hook delivers: LangGraph's interrupts and resumes, and runs whose start never came."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import (
    CallbackManagerForChainRun,
    CallbackManagerForLLMRun,
    CallbackManagerForRetrieverRun,
    CallbackManagerForToolRun,
)
from langchain_core.utils.uuid import uuid7
from langgraph.callbacks import GraphCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from llmtest import record
from llmtest.langchain.tap import TAP
from llmtest.ledger import Ledger, opened
from llmtest.protocol import check
from llmtest.trees import render


def _approval(**options: Any) -> Any:
    def ask(state: dict[str, Any]) -> dict[str, Any]:
        return {"answer": interrupt("Sure?")}

    graph = StateGraph(dict).add_node("ask", ask).add_edge(START, "ask")
    return graph.compile(checkpointer=InMemorySaver(), **options)


class Lifecycle(GraphCallbackHandler):
    """LangGraph's own way to hear of interrupts: in the config, as a handler of its class."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def on_interrupt(self, event: Any) -> None:
        self.heard.append(("on_interrupt", event.run_id, event.status, event.checkpoint_id, len(event.interrupts)))

    def on_resume(self, event: Any) -> None:
        self.heard.append(("on_resume", event.run_id, event.status, event.checkpoint_id, 0))


async def _run(app: Any, given: Any, config: Any, way: str) -> None:
    if way == "sync":
        app.invoke(given, config)
    else:
        await app.ainvoke(given, config)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("options", [{}, {"interrupt_before": ["ask"]}], ids=["dynamic", "static"])
def test_interrupts_and_resumes_are_recorded_as_langgraph_tells_its_own_handlers(way: str, options: dict[str, Any]) -> None:
    app, theirs = _approval(**options), Lifecycle()
    config = {"configurable": {"thread_id": "1"}, "callbacks": [theirs]}

    async def program() -> None:
        await _run(app, {"question": "May I?"}, config, way)
        await _run(app, None if options else Command(resume="yes"), config, way)

    with record() as recording:
        asyncio.run(program())

    events = [event for event in recording if event.kind in ("on_interrupt", "on_resume")]
    ours = [
        (e.kind, e.run_id, e.payload["status"], e.payload["checkpoint_id"], len(e.payload.get("interrupts", ()))) for e in events
    ]
    assert ours == theirs.heard
    assert [kind for kind, *_ in ours[:2]] == ["on_interrupt", "on_resume"]
    assert [run.ended for run in recording.roots] == ["paused", "paused" if options else "ended"]
    assert recording.errors == []


class _State(TypedDict, total=False):
    told: Annotated[list[str], operator.add]


def _two_questions_in_a_subgraph(slow: str) -> Any:
    def asking(name: str) -> Any:
        async def ask(state: _State) -> _State:
            for _ in range(5 if name == slow else 0):
                await asyncio.sleep(0)
            return {"told": [interrupt(f"from {name}")]}

        return ask

    inner = StateGraph(_State)
    for name in ("a", "b"):
        inner.add_node(name, asking(name)).add_edge(START, name)
    outer = StateGraph(_State).add_node("first", lambda state: {"told": ["f"]}).add_node("sub", inner.compile())
    outer.add_edge(START, "first").add_edge("first", "sub")
    return outer.compile(checkpointer=InMemorySaver())


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


async def _ask_and_resume(app: Any, mode: str | None) -> str:
    config: Any = {"configurable": {"thread_id": "1"}}

    async def go(given: Any) -> None:
        if mode is None:
            await app.ainvoke(given, config)
        else:
            await _read(app.astream(given, config, stream_mode=mode, subgraphs=True))

    with record() as recording:
        await go({"told": []})
        waiting = (await app.aget_state(config)).interrupts
        await go(Command(resume={interrupt.id: f"yes {interrupt.value}" for interrupt in waiting}))
    return render(recording, detail="full")


@pytest.mark.parametrize("mode", ["messages", "custom", "updates"])
def test_interrupt_of_a_streamed_graph_stands_after_its_nodes_and_its_resume_before_them(mode: str) -> None:
    plain = asyncio.run(_ask_and_resume(_two_questions_in_a_subgraph("a"), None))
    streamed = [asyncio.run(_ask_and_resume(_two_questions_in_a_subgraph(slow), mode)) for slow in ("a", "b")]

    assert [
        line for line in streamed[0].splitlines() if line.startswith("  @") or line[2:].startswith(("chain", "parallel"))
    ] == [line for line in plain.splitlines() if line.startswith("  @") or line[2:].startswith(("chain", "parallel"))]
    assert streamed[0] == streamed[1]


def test_run_whose_start_never_came_gets_one_that_says_so() -> None:
    with opened(Ledger()), record() as recording:
        later = UUID(int=uuid7().int + (1000 << 80))
        for kind in ("llm", "chain", "tool", "retriever"):
            manager = {
                "llm": CallbackManagerForLLMRun,
                "chain": CallbackManagerForChainRun,
                "tool": CallbackManagerForToolRun,
                "retriever": CallbackManagerForRetrieverRun,
            }[kind]
            later = UUID(int=later.int + 1)
            run: Any = manager(run_id=later, handlers=[TAP], inheritable_handlers=[])
            getattr(run, f"on_{kind}_error")(ValueError("no"))

    assert recording.kinds == [
        f"on_{kind}_{what}" for kind in ("llm", "chain", "tool", "retriever") for what in ("start", "error")
    ]
    assert [event.payload for event in recording][::2] == [{"synthesised": True}] * 4
    assert recording.runs == ["unnamed"] * 4
    assert [found.text.splitlines()[0] for found in check(recording) if found.code == "event without a start"] == [
        f"{kind} `unnamed` has events without a start" for kind in ("llm", "chain", "tool", "retriever")
    ]


def test_run_from_before_the_block_is_given_no_start() -> None:
    before = CallbackManagerForChainRun(run_id=uuid7(), handlers=[TAP], inheritable_handlers=[])
    foreign = CallbackManagerForChainRun(run_id=uuid4(), handlers=[TAP], inheritable_handlers=[])
    with record() as recording:
        for run in (before, foreign):
            run.on_chain_end({})
            TAP.on_custom_event("progress", 1, run_id=run.run_id)

    assert recording.kinds == []
