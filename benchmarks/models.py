"""Scripted models against LangChain's own fakes, which do less: no usage, no tools, no ids, no strictness."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from langchain_core.language_models.fake_chat_models import FakeListChatModel

from benchmarks.harness import Ratio, measure
from llmtest import Script, ScriptedChatModel, say

TOKENS = 200
CALLS = 5
TEXT = "x" * TOKENS


def _scripted(calls: int) -> ScriptedChatModel:
    return ScriptedChatModel(script=Script(*[say(tokens=list(TEXT))] * calls))


def ratios(rounds: int) -> Iterator[Ratio]:
    fake = FakeListChatModel(responses=[TEXT])
    plenty = (rounds + 1) * CALLS * 3
    model = ScriptedChatModel(script=Script(*["Hello there"] * plenty))
    loop = asyncio.new_event_loop()

    def invoke(one: ScriptedChatModel | FakeListChatModel) -> None:
        for _ in range(CALLS):
            one.invoke("hi")

    async def ainvoke(one: ScriptedChatModel | FakeListChatModel) -> None:
        for _ in range(CALLS):
            await one.ainvoke("hi")

    yield measure(
        "invoke",
        lambda: invoke(model),
        lambda: invoke(fake),
        against="FakeListChatModel.invoke",
        bar=1.1,
        per=CALLS,
        rounds=rounds,
    )
    streams = _scripted(plenty)
    yield measure(
        "stream, per token",
        lambda: list(streams.stream("hi")),
        lambda: list(fake.stream("hi")),
        against="FakeListChatModel.stream",
        bar=1.1,
        per=TOKENS,
        rounds=rounds,
    )
    yield measure(
        "ainvoke",
        lambda: loop.run_until_complete(ainvoke(model)),
        lambda: loop.run_until_complete(ainvoke(fake)),
        against="FakeListChatModel.ainvoke",
        bar=0.75,
        per=CALLS,
        rounds=rounds,
    )
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
