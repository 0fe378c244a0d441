"""Stored recordings with ids and times that do not change, and the command line on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.runnables import RunnableLambda

from llmtest import Recording, ScriptedChatModel, record, say
from llmtest.cli import commands
from llmtest.events import Failure, FrozenDict, FrozenList, Generation, Message, ToolCall, Usage
from llmtest.tracing.store import Store, place
from tests.support.tools import weather

BEGAN = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
MS = 1_000_000


def recording(number: int, city: str, *, error: str | None = None, day: int = 0, tags: tuple[str, ...] = ()) -> Recording:
    """An agent that asks a tool: with ids and times that do not change."""
    root, chat, tool = (UUID(int=(number << 8) + n) for n in (1, 2, 3))
    made = Recording()

    def add(kind: str, run: UUID, at_ms: float, name: str = "", **payload: Any) -> None:
        taken: Any = lambda: FrozenDict(payload)  # noqa: E731
        if kind.endswith("start"):
            taken = (name, tags, lambda: FrozenDict(metadata=FrozenDict(), payload=FrozenDict(payload)))
        at = int(at_ms * MS)
        made._raw.append((kind, run, None if run == root else root, taken, at, BEGAN + day * 86_400_000 * MS + at, None))

    asked = Message("ai", tool_calls=(ToolCall("weather", FrozenDict(city=city), "call_1"),), usage=Usage(3, 7, 10))
    add("on_chain_start", root, 0, "agent", inputs="hi")
    add("on_chat_model_start", chat, 1, "Model", messages=FrozenList([Message("human", "hi")]))
    add("on_llm_end", chat, 1.25, generations=FrozenList([Generation("", asked)]))
    add("on_tool_start", tool, 2, "weather", inputs=FrozenDict(city=city), tool_call_id="call_1")
    if error is not None:
        add("on_tool_error", tool, 14, error=Failure("ValueError", error))
        add("on_chain_error", root, 1500, error=Failure("ValueError", error))
    else:
        add("on_tool_end", tool, 14, output="18C")
        add("on_chain_end", root, 1500, outputs="18C")
    made.close()
    return made


def fill_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write two sessions to the store of the project; return its path."""
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "traces.sqlite"))
    monkeypatch.setenv("NO_COLOR", "1")
    with Store(place()) as store:
        store.keep("paris", [recording(1, "Paris", tags=("prod", "a"))])
        store.keep("broken", [recording(2, "X", error="no \x1b[2J city", day=1), recording(3, "Rome", day=2)])
    return place()


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert commands.main(arguments) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 or captured.out else captured.err


def program(*names: str) -> Recording:
    """A recording with one root for each name, which calls a model and a tool."""
    with record() as recording:
        for name in names:
            model = ScriptedChatModel(say("Hel", "lo"), streaming=True)
            steps = RunnableLambda(lambda _: "hi") | model | RunnableLambda(lambda _: weather.invoke({"city": "Paris"}))
            steps.with_config(run_name=name, tags=["a"], metadata={"thread": 7}).invoke(1)
    return recording


def stored(recording: Recording, store: Store) -> list[Recording]:
    store.keep("s", [recording])
    return [store.load(trace) for trace in store.find("s")]
