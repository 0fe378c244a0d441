"""Recording against the cheapest handler there is: an empty one that LangChain calls inline."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import tool

from benchmarks.harness import Ratio, measure
from llmtest import Script, ScriptedChatModel, call, record, say
from llmtest.langchain.tap import TAP
from llmtest.recording import Recording

TOKENS = 200
CALLS = 10
TURNS = 100
Callbacks = list[tuple[str, Any, Any]]


class Empty(BaseCallbackHandler):
    """Does nothing, on the caller's thread."""

    run_inline = True

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        pass


class Keeper(BaseCallbackHandler):
    """Keeps every callback as it came, so that a run can be played to the tap without the program's own time."""

    run_inline = True

    def __init__(self) -> None:
        self.log: Callbacks = []


def _keep(kind: str) -> Callable[..., None]:
    return lambda self, *args, **kwargs: self.log.append((kind, args, kwargs))


for _kind in (name for name in vars(type(TAP)) if name.startswith("on_") and name != "on_llm_new_token"):
    setattr(Keeper, _kind, _keep(_kind))


@tool
def search(query: str, limit: int = 10) -> str:
    """Search the web."""
    return query


def ratios(rounds: int) -> Iterator[Ratio]:
    plenty = (rounds + rounds // 10 + 1) * CALLS * 3
    model = ScriptedChatModel(script=Script(*["Hello there"] * plenty * 4))
    bound = model.bind_tools([search])
    streams = ScriptedChatModel(script=Script(*[say(tokens=["x"] * TOKENS)] * plenty))
    loop = asyncio.new_event_loop()
    config: Any = {"callbacks": [Empty()]}

    def recorded(work: Callable[[Any], object]) -> Callable[[], object]:
        def run() -> None:
            with record():
                work(None)

        return run

    def handled(work: Callable[[Any], object]) -> Callable[[], object]:
        return lambda: work(config)

    def sync(runnable: Any) -> Callable[[Any], object]:
        return lambda config: [runnable.invoke("hi", config) for _ in range(CALLS)]

    def on_loop(work: Callable[[Any], Awaitable[object]]) -> Callable[[Any], object]:
        return lambda config: loop.run_until_complete(work(config))

    async def ainvoke(config: Any) -> None:
        for _ in range(CALLS):
            await model.ainvoke("hi", config)

    async def astream(config: Any) -> None:
        async for _ in streams.astream("hi", config):
            pass

    cases: list[tuple[str, Callable[[Any], object], int, float]] = [
        ("recorded invoke, tools bound", sync(bound), CALLS, 1.15),
        ("recorded invoke", sync(model), CALLS, 1.15),
        ("recorded ainvoke", on_loop(ainvoke), CALLS, 1.15),
        ("recorded stream, per token", lambda config: list(streams.stream("hi", config)), TOKENS, 1.1),
        ("recorded astream, per token", on_loop(astream), TOKENS, 1.1),
    ]
    for name, work, per, bar in cases:
        yield measure(name, recorded(work), handled(work), against="empty inline handler", bar=bar, per=per, rounds=rounds)
    loop.close()
    yield from _agent(rounds)
    yield from _growth(rounds)


def run_agent(turns: int, callbacks: list[BaseCallbackHandler]) -> None:
    """An agent that calls a tool in each of its turns. LangGraph counts two steps a turn."""
    model = ScriptedChatModel(script=Script(*[call("search", query=f"llama {n}") for n in range(turns)], "done"))
    config: Any = {"callbacks": callbacks, "recursion_limit": 2 * turns + 10}
    create_agent(model, [search]).invoke({"messages": [("human", "hi")]}, config)


def _agent(rounds: int) -> Iterator[Ratio]:
    short, long = (_recorded_agent(turns, rounds * TURNS // turns, bar) for turns, bar in ((TURNS, 1.15), (4 * TURNS, 1.2)))
    name = f"recorded create_agent, {4 * TURNS} turns against {TURNS}"
    yield from (short, long)
    # Of two ratios: how much more recording adds to a turn of a long agent, with the program's own time in both.
    yield Ratio(name, "the ratio of the other", long.ratio / short.ratio, 1.05, long.noise, long.ours_us, short.ours_us)


def _recorded_agent(turns: int, rounds: int, bar: float) -> Ratio:
    def recorded() -> None:
        with record():
            run_agent(turns, [])

    return measure(
        f"recorded create_agent, {turns} turns, per turn",
        recorded,
        lambda: run_agent(turns, [Empty()]),
        against="empty inline handler",
        bar=bar,
        per=turns,
        rounds=max(rounds // 15, 3),
    )


def _growth(rounds: int) -> Iterator[Ratio]:
    """The recording alone: callbacks of an agent that were kept before are played to it."""
    short, long = (_callbacks(turns) for turns in (TURNS, 4 * TURNS))
    bytes_of_short, bytes_of_long = _bytes(short), _bytes(long)
    yield Ratio(
        "memory of recording 400 turns, per turn",
        "100 turns",
        bytes_of_long / bytes_of_short,
        4.4,
        _bytes(_callbacks(TURNS)) / bytes_of_short,
        bytes_of_long / 4 / TURNS,
        bytes_of_short / TURNS,
        unit="bytes",
    )
    for name, work in (("recording 400 turns", _played), ("recording and reading 400 turns", lambda log: list(_played(log)))):
        yield measure(
            name,
            lambda work=work: work(long),  # type: ignore[misc]
            lambda work=work: work(short),  # type: ignore[misc]
            against="100 turns",
            bar=5,
            rounds=max(rounds // 15, 3),
        )


def _callbacks(turns: int) -> Callbacks:
    keeper = Keeper()
    run_agent(turns, [keeper])
    return keeper.log


def _played(log: Callbacks) -> Recording:
    with record() as recording:
        for kind, args, kwargs in log:
            getattr(TAP, kind)(*args, **kwargs)
    return recording


def _bytes(log: Callbacks) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        recording = _played(log)
        gc.collect()
        assert len(recording) == len(log)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
