"""Recording against the cheapest handler there is: an empty one that LangChain calls inline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import tool

from benchmarks.harness import Ratio, measure
from llmtest import Script, ScriptedChatModel, record, say

TOKENS = 200
CALLS = 10


class Empty(BaseCallbackHandler):
    """Does nothing, on the caller's thread."""

    run_inline = True

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        pass


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

    cases: list[tuple[str, Callable[[Any], object], int]] = [
        ("recorded invoke, tools bound", sync(bound), CALLS),
        ("recorded invoke", sync(model), CALLS),
        ("recorded ainvoke", on_loop(ainvoke), CALLS),
        ("recorded stream, per token", lambda config: list(streams.stream("hi", config)), TOKENS),
        ("recorded astream, per token", on_loop(astream), TOKENS),
    ]
    for name, work, per in cases:
        yield measure(name, recorded(work), handled(work), against="empty inline handler", bar=1.2, per=per, rounds=rounds)
    loop.close()
