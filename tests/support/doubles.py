"""Functions, tools and readers for the tests of doubles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

from llmtest.errors import ScriptError, expect_violation


def here() -> str:
    """Return the place of the call, as messages name it."""
    frame = sys._getframe(1)
    return f"{shown(frame.f_code.co_filename)}:{frame.f_lineno}"


def shown(file: str) -> Path:
    path = Path(file)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def message_of(act: Callable[[], Any]) -> str:
    with pytest.raises(ScriptError) as caught:
        act()
    return str(caught.value)


def contents(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


class Place(BaseModel):
    city: str


def weather(place: Place, day: Any = None) -> str:
    """The weather in a place."""
    raise RuntimeError("the body is never run")


def search(q: str, limit: int = 5) -> str:
    """Search the web."""
    raise RuntimeError("the body is never run")


async def search_later(q: str) -> str:
    """Search the web, later."""
    raise RuntimeError("the body is never run")


def two_nodes(model: Any) -> Any:
    def first(state: MessagesState) -> Any:
        return {"messages": [model.with_config(tags=["quick"]).invoke(state["messages"])]}

    def second(state: MessagesState) -> Any:
        whole: Any = None
        for chunk in model.stream(state["messages"]):
            whole = chunk if whole is None else whole + chunk
        return {"messages": [whole]}

    graph = StateGraph(MessagesState).add_node("planner", first).add_node("writer", second)
    return graph.add_edge(START, "planner").add_edge("planner", "writer").add_edge("writer", END).compile(InMemorySaver())


def violation(rule: str, work: Any) -> str:
    """The text of the one violation of `rule` that `work` makes, without the place where the step was written."""
    with expect_violation(rule) as caught:
        work()
    (one,) = caught
    return "\n".join(line.split("  at ")[0].split(" at tests")[0] for line in one.text.splitlines())


def line() -> int:
    """The line that calls this."""
    return sys._getframe(1).f_lineno


def merged(chunks: list[Any]) -> Any:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole
