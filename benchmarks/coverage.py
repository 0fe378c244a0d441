"""Behaviour coverage: an agent under coverage against the same agent under a recording alone, and the joining of many files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool

from benchmarks.harness import Ratio, measure
from llmtest import Script, ScriptedChatModel, call, record
from llmtest.capture.blocks import inside
from llmtest.coverage.data import Writer, combine
from llmtest.coverage.hits import Hits
from llmtest.coverage.items import Inventory, Item
from llmtest.langchain.inventory import Reader
from llmtest.langchain.met_objects import Meeting, MetObjects
from llmtest.langchain.watch import Watch
from llmtest.protocol.run_checks import check

TURNS = 10
TESTS = 10_000
ITEMS = 40_000
"""With so many items, the lines of 10,000 tests have 100 MB."""


@tool
def search(query: str, limit: int = 10) -> str:
    """Search the web."""
    return query


def ratios(rounds: int) -> Iterator[Ratio]:
    with tempfile.TemporaryDirectory() as folder:
        yield _turn(Path(folder), max(rounds // 3, 30))
        yield _combining(Path(folder))


def _turn(folder: Path, rounds: int) -> Ratio:
    """An agent of ten turns in a test that records it: at its end the recording is read and held against the callback protocol,
    on both sides."""
    plenty = (rounds + rounds // 10 + 2) * 4
    steps = [call("search", query="x")] * (TURNS - 1) + ["Done."]
    agent: Any = create_agent(ScriptedChatModel(script=Script(*steps * plenty)), [search], name="agent")
    given = {"messages": [("user", "hi")]}
    reader, inventory, writer = Reader(), Inventory(), Writer(folder / "turn.jsonl")

    def recorded() -> None:
        with record() as recording:
            agent.invoke(given)
        assert len(recording.tools) == TURNS - 1
        assert not list(check(recording))

    def covered() -> None:
        watch, met = Watch(), MetObjects()
        with inside(watch), met.listening():
            recorded()
        hits = Hits(Meeting(met, reader), inventory)
        hits.add(watch.read_roots())
        writer.add(inventory, hits.hits, hits.ambiguous, "test")

    name, against = "agent turn under coverage", "the same in a test that records"
    return measure(name, covered, recorded, against=against, bar=1.05, per=TURNS, rounds=rounds)


def _combining(folder: Path) -> Ratio:
    inventory = Inventory(Item("agent", "nodes", f"n{number}", f"node `n{number}`", "ran") for number in range(ITEMS))
    ids = [item.id for item in inventory]
    for worker in range(4):
        writer = Writer(folder / "shards" / f"gw{worker}.jsonl")
        writer.add(inventory, ids, ())
        line = f'{{"hit":"{"f" * (ITEMS // 4)}","test":"test_it"}}\n'
        with (folder / "shards" / f"gw{worker}.jsonl").open("a") as file:
            file.writelines([line] * (TESTS // 4 - 1))
    size = sum(path.stat().st_size for path in (folder / "shards").iterdir()) / 1e8
    best = min(_seconds(folder) for _ in range(3)) / size
    return Ratio("combine 100 MB of 10,000 tests", "2 s of processor time", best / 2, 1.0, 1.0, best, 2.0, "s")


def _seconds(folder: Path) -> float:
    began = process_time()
    data = combine([folder / "shards"], folder / "all.jsonl")
    assert data.tests == TESTS
    return process_time() - began
