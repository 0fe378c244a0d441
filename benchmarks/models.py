"""Scripted models against LangChain's own fakes, which do less: no usage, no tools, no ids, no strictness."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from benchmarks.harness import Ratio, measure
from llmtest import Script, ScriptedChatModel, call, on, say

TOKENS = 200
CALLS = 5
TEXT = "x" * TOKENS


def _scripted(calls: int) -> ScriptedChatModel:
    return ScriptedChatModel(script=Script(*[say(tokens=list(TEXT))] * calls))


def ratios(rounds: int) -> Iterator[Ratio]:
    fake = FakeListChatModel(responses=[TEXT])
    plenty = (rounds + rounds // 10 + 1) * CALLS * 3
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
    yield from _tools(rounds)
    yield from _growth(rounds)
    yield from _dialects(rounds)


@tool
def search(query: str, limit: int = 10) -> str:
    """Search the web."""
    return query


def _tools(rounds: int) -> Iterator[Ratio]:
    asked = call("search", query="llamas", limit=3)
    ours = ScriptedChatModel(script=Script(asked.repeat())).bind_tools([search])
    theirs = FakeListChatModel(responses=[TEXT]).bind(tools=[convert_to_openai_tool(search)])
    yield measure(
        "invoke, tools bound, call validated",
        lambda: [ours.invoke("hi") for _ in range(CALLS)],
        lambda: [theirs.invoke("hi") for _ in range(CALLS)],
        against="FakeListChatModel.bind(tools=...)",
        bar=1.1,
        per=CALLS,
        rounds=rounds,
    )


def _growth(rounds: int) -> Iterator[Ratio]:
    long = ScriptedChatModel(say(tokens=["x"] * 10_000).repeat())
    short = ScriptedChatModel(say(tokens=["x"] * 1_000).repeat())
    yield measure(
        "stream of 10,000 tokens",
        lambda: [None for _ in long.stream("hi")],
        lambda: [None for _ in range(10) for _ in short.stream("hi")],
        against="10 streams of 1,000 tokens",
        bar=1.1,
        per=10_000,
        rounds=max(rounds // 30, 3),
    )
    prompt = "lorem ipsum " * 170 + "needle 99."
    many = ScriptedChatModel(script=Script(*[on(contains=f"needle {n}.") >> say("x").repeat() for n in range(100)]))
    one = ScriptedChatModel(script=Script(on(contains="needle 99.") >> say("x").repeat()))
    yield measure(
        "100 matching rules, 2 kB prompt",
        lambda: [many.invoke(prompt) for _ in range(CALLS)],
        lambda: [one.invoke(prompt) for _ in range(CALLS)],
        against="one rule",
        bar=2.0,
        per=CALLS,
        rounds=rounds,
    )


def _dialects(rounds: int) -> Iterator[Ratio]:
    """What it costs to be able to speak otherwise, when nobody does; and what it costs to do it."""
    said = say(tokens=list(TEXT)).repeat()
    plain, given = ScriptedChatModel(said), ScriptedChatModel(said, dialect="plain")
    yield measure(
        'invoke, dialect="plain" given',
        lambda: [given.invoke("hi") for _ in range(CALLS)],
        lambda: [plain.invoke("hi") for _ in range(CALLS)],
        against="without it",
        bar=1.05,
        per=CALLS,
        rounds=rounds,
    )
    for dialect, bar in (("plain", 1.05), ("openai", None), ("openai-responses", None), ("anthropic", None)):
        model = ScriptedChatModel(said, dialect=dialect)
        yield measure(
            f'stream, dialect="{dialect}" given, per token',
            lambda model=model: list(model.stream("hi")),  # type: ignore[misc]
            lambda: list(plain.stream("hi")),
            against="without it",
            bar=bar,
            per=TOKENS,
            rounds=rounds,
        )
