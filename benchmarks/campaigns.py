"""A campaign against as many runs without faults, and a controlled schedule against asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool

from benchmarks.harness import Ratio, measure
from llmtest import ScriptedChatModel, call, ledger, record
from llmtest.campaigns import faults
from llmtest.campaigns.interleaving import controlled
from llmtest.campaigns.schedules import Plan

KINDS = ["rate limit", "server error", "empty answer", "refusal", "unknown tool", "nothing", "error text", "huge"]


@tool
def search(q: str) -> str:
    """Search."""
    return f"found {q}"


def agent() -> None:
    model = ScriptedChatModel(call("search", q="a"), call("search", q="b"), "Done.")
    answer = create_agent(model, [search]).invoke({"messages": "hi"})
    assert answer["messages"]


def recorded(times: int) -> None:
    """What the same number of runs costs, each recorded on a page of its own."""
    for _ in range(times):
        with ledger.opened(ledger.Ledger()), record():
            agent()


async def two_agents() -> None:
    async def ask(question: str) -> Any:
        steps = ScriptedChatModel(call("search", q=question), "Done.")
        return await create_agent(steps, [search]).ainvoke({"messages": question})

    await asyncio.gather(ask("one"), ask("two"))


def stock() -> None:
    with ledger.opened(ledger.Ledger()), record():
        asyncio.run(two_agents())


def scheduled() -> None:
    recording = record()
    with ledger.opened(ledger.Ledger()), recording:
        controlled(two_agents, Plan((), 1), recording)


def ratios(rounds: int) -> Iterator[Ratio]:
    some = max(5, rounds // 30)
    items = len(faults(agent, kinds=KINDS)) + 1
    yield measure(
        "campaign, per fault",
        lambda: faults(agent, kinds=KINDS),
        lambda: recorded(items),
        against="recorded runs without faults",
        bar=1.3,
        per=items,
        rounds=some,
    )
    yield measure(
        "two agents under a schedule", scheduled, stock, against="recorded, asyncio's own order", bar=1.5, rounds=rounds // 5 or 1
    )
