"""The tree text against `json.dumps`, the differ against itself, and snapshots against syrupy's amber.

`python -m benchmarks.trees` prints what a snapshot and an edit cost in bytes and lines, beside other formats.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID

import yaml
from langchain.agents import create_agent
from langchain_core.tools import tool
from syrupy.extensions.amber.serializer import AmberDataSerializer

from benchmarks.harness import Ratio, measure
from llmtest import ScriptedChatModel, call, record
from llmtest.events import Event, FrozenDict, FrozenList, Generation, Message, Run, ToolCall, Usage
from llmtest.trees.differ import diff
from llmtest.trees.rendering import render

TESTS = 500


class Made:
    """A recording of an agent with many steps, made without LangChain: each asks a model, which calls a tool."""

    def __init__(self, steps: int, city: Callable[[int], str] = lambda n: f"Paris {n}") -> None:
        self.events: list[Event] = []
        self.late_events: list[Event] = []
        self._ids = iter(range(1, 9 * steps + 9))
        children = [run for n in range(steps) for run in self._step(n, city(n))]
        self.roots = [dataclasses.replace(run, parent_id=None) for run in children]

    def _step(self, n: int, city: str) -> Iterator[Run]:
        asked = ToolCall("weather", FrozenDict(city=city), f"call_{n}")
        human, ai = Message("human", f"How is {city}?"), Message("ai", "", (asked,), usage=Usage(10, 10, 20))
        found = Message("tool", f"18C in {city}", tool_call_id=asked.id)
        state = FrozenDict(messages=FrozenList([human]))
        node = UUID(int=next(self._ids))
        chat = self._run(
            "chat", "Model", node, {"messages": FrozenList([human])}, {"generations": FrozenList([Generation("", ai)])}
        )
        yield self._run(
            "chain", "model", None, {"inputs": state}, {"outputs": FrozenDict(messages=FrozenList([ai]))}, node, (chat,)
        )
        node = UUID(int=next(self._ids))
        ran = self._run("tool", "weather", node, {"inputs": asked.args, "tool_call_id": asked.id}, {"output": found})
        yield self._run("chain", "tools", None, {"inputs": FrozenList([asked])}, {"outputs": found}, node, (ran,))

    def _run(
        self,
        kind: Any,
        name: str,
        parent: UUID | None,
        given: Any,
        gave: Any,
        own: UUID | None = None,
        inside: tuple[Run, ...] = (),
    ) -> Run:
        own = own or UUID(int=next(self._ids))
        start, end = {"chat": ("on_chat_model_start", "on_llm_end")}.get(kind, (f"on_{kind}_start", f"on_{kind}_end"))
        told = ((start, given), (end, gave))
        events = tuple(
            Event(what, own, parent, name, payload=FrozenDict(said), number=len(self.events) + n)
            for n, (what, said) in enumerate(told)
        )
        self.events += events
        return Run(own, parent, kind, name, (), FrozenDict(), events, inside)


def _plain(value: Any) -> Any:
    """What `json` does not know: our words as dicts, ids as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


def ratios(rounds: int) -> Iterator[Ratio]:
    few = max(rounds // 30, 3)
    small, large = Made(10_000 // 8), Made(100_000 // 8)
    yield measure(
        "tree text of 10,000 events",
        lambda: render(small),
        lambda: json.dumps(small.events, default=_plain),
        against="json.dumps of the events",
        bar=3.0,
        per=len(small.events),
        rounds=few,
    )
    yield measure(
        "tree text of 100,000 events",
        lambda: render(large),
        lambda: render(small),
        against="10,000 events",
        bar=12.0,
        rounds=3,
    )
    before, after = _changed(1_000)
    yield measure(
        "diff of 1,000 changes",
        lambda: diff(before, after),
        lambda: diff(*_changed_few),
        against="100 changes",
        bar=12.0,
        rounds=few,
    )
    yield _suites(3)


def _changed(steps: int) -> tuple[str, str]:
    return render(Made(steps)), render(Made(steps, lambda n: f"Lyon {n}"))


_changed_few = _changed(100)

# -- a suite of tests

OURS = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_it(scripted_chat_model, llm_recording, llm_snapshot, n):
    scripted_chat_model("Hello there").invoke(f"hi {{n}}")
    assert llm_recording == llm_snapshot
"""
THEIRS = """
import pytest
from benchmarks.trees import as_dicts

@pytest.mark.parametrize("n", range({tests}))
def test_it(scripted_chat_model, llm_recording, snapshot, n):
    scripted_chat_model("Hello there").invoke(f"hi {{n}}")
    assert as_dicts(llm_recording) == snapshot
"""


def as_dicts(recording: Any) -> list[Any]:
    """The events as plain dicts, without what differs from run to run."""
    return [json.loads(json.dumps({"kind": e.kind, "name": e.name, "payload": e.payload}, default=_plain)) for e in recording]


def _suites(rounds: int) -> Ratio:
    with tempfile.TemporaryDirectory() as folder:
        seconds: dict[str, list[float]] = {"ours": [], "amber": []}
        for name, source in (("ours", OURS), ("amber", THEIRS)):
            (Path(folder) / name).mkdir()
            (Path(folder) / name / f"test_{name}.py").write_text(source.format(tests=TESTS), "utf-8")
            (Path(folder) / name / "pytest.ini").write_text("[pytest]\n", "utf-8")
            _pytest(Path(folder) / name, "--snapshot-update")
        for _ in range(rounds):
            for name, times in seconds.items():
                times.append(_pytest(Path(folder) / name))
        ours, amber = sorted(seconds["ours"]), sorted(seconds["amber"])
        noise = amber[1] / amber[0]
        name = f"{TESTS} tests with a snapshot each"
        return Ratio(
            name, "syrupy's amber of plain dicts", ours[0] / amber[0], 1.3, noise, ours[0] * 1e6 / TESTS, amber[0] * 1e6 / TESTS
        )


def _pytest(folder: Path, *options: str) -> float:
    plugins = ("-p", "syrupy", "-p", "llmtest.pytest_plugin", "-p", "no:cacheprovider")
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    began = perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *options],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:])
    return perf_counter() - began


# -- bytes and lines


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"18C in {city}"


def _agent(prompt: str = "You are a weather bot.", city: str = "Paris", answer: str = "It is warm.") -> Any:
    with record() as recording:
        model = ScriptedChatModel(call("weather", city=city), answer)
        agent = create_agent(model, [weather], system_prompt=prompt, name="weather_agent")
        agent.invoke({"messages": [("user", "How is it?")]})
    return recording


class _Aliases:
    """Numbers for ids, in the order of their appearance: the other formats get them too, or every line would differ."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def __call__(self, match: Any) -> str:
        return self._seen.setdefault(match[0], f"id-{len(self._seen) + 1}")


def _formats() -> dict[str, Callable[[Any], str]]:
    import re

    volatile = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32}")

    def dicts(recording: Any) -> Any:
        told = [{**_plain(event), "lane": None, "monotonic_ns": 0, "wall_ns": 0} for event in recording]
        return json.loads(volatile.sub(_Aliases(), json.dumps(told, default=_plain)))

    return {
        "tree text": render,
        "amber of plain dicts": lambda recording: AmberDataSerializer.serialize(dicts(recording)),
        "YAML": lambda recording: yaml.safe_dump(dicts(recording)),
        "JSON lines": lambda recording: "".join(f"{json.dumps(event)}\n" for event in dicts(recording)),
    }


def sizes() -> Iterator[str]:
    """A table in Markdown: what one snapshot costs, and what three edits change in it."""
    yield "| format | lines | bytes | a word of the prompt | a tool argument | the final answer |"
    yield "|---|---|---|---|---|---|"
    edits: list[dict[str, str]] = [{"prompt": "You are a terse weather bot."}, {"city": "Lyon"}, {"answer": "It is cold."}]
    for name, shown in _formats().items():
        base = shown(_agent())
        changes = [_difference(base, shown(_agent(**edit))) for edit in edits]
        yield f"| {name} | {base.count(chr(10)) + 1:,} | {len(base.encode()):,} | {' | '.join(changes)} |"


def _difference(before: str, after: str) -> str:
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    return f"{len(lines)} lines, {sum(len(line.encode()) - 1 for line in lines):,} bytes"


if __name__ == "__main__":
    print("\n".join(sizes()))
