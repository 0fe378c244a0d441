"""The programs of check_handler: they fire every callback, with values of every kind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
)
from langgraph.callbacks import GraphCallbackHandler

from llmtest.conformance import check_handler
from llmtest.conformance.probe import WAYS
from llmtest.events.callbacks import CALLBACKS


class Collector(GraphCallbackHandler):
    """Overrides every callback, and keeps what it was given."""

    def __init__(self, seen: list[tuple[str, dict[str, Any]]]) -> None:
        self.seen = seen


class AsyncCollector(AsyncCallbackHandler, GraphCallbackHandler):
    def __init__(self, seen: list[tuple[str, dict[str, Any]]]) -> None:
        self.seen = seen


class MixedCollector(GraphCallbackHandler):
    """Of the plain class, and every second callback is a coroutine function."""

    def __init__(self, seen: list[tuple[str, dict[str, Any]]]) -> None:
        self.seen = seen


@dataclass(frozen=True, eq=False)
class FrozenCollector(GraphCallbackHandler):
    seen: list[tuple[str, dict[str, Any]]]


def _collects(name: str) -> Any:
    def collect(self: Any, *args: Any, **kwargs: Any) -> None:
        self.seen.append((name, {**dict(zip(CALLBACKS[name].positional, args, strict=False)), **kwargs}))

    return collect


def _collects_later(name: str) -> Any:
    async def collect(self: Any, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        _collects(name)(self, *args, **kwargs)

    return collect


for _number, _name in enumerate(CALLBACKS):
    setattr(Collector, _name, _collects(_name))
    setattr(FrozenCollector, _name, _collects(_name))
    setattr(AsyncCollector, _name, _collects_later(_name))
    setattr(MixedCollector, _name, (_collects, _collects_later)[_number % 2](_name))


@pytest.mark.parametrize("kind", [Collector, FrozenCollector, AsyncCollector, MixedCollector])
def test_every_callback_is_driven(kind: type[Any]) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    check_handler(lambda: kind(seen))

    known = {name for name in CALLBACKS if hasattr(GraphCallbackHandler, name)}
    assert {name for name, _ in seen} == known
    assert min([name for name, _ in seen].count(name) for name in known) >= len(WAYS)


def test_callbacks_get_values_of_every_kind_that_langchain_passes() -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    check_handler(lambda: Collector(seen))

    def kinds(callback: str, key: str) -> set[str]:
        return {type(given.get(key)).__name__ for name, given in seen if name == callback}

    assert kinds("on_chain_start", "serialized") == {"NoneType", "dict"}
    assert kinds("on_chain_start", "inputs") >= {"dict", "str", "list", "NoneType", "int", "AIMessage", "Thing"}
    assert kinds("on_chain_start", "name") == {"NoneType", "str"}
    assert kinds("on_chain_end", "outputs") >= {"dict", "str", "list", "NoneType", "int", "AIMessage", "Thing"}
    assert kinds("on_llm_new_token", "token") == {"str", "list"}
    assert kinds("on_llm_new_token", "chunk") == {"NoneType", "GenerationChunk", "ChatGenerationChunk"}
    assert "" in [given["token"] for name, given in seen if name == "on_llm_new_token"]
    assert {0, 1, 2} == {len(given["response"].generations[0]) for name, given in seen if name == "on_llm_end"}
    assert None in [given["response"].llm_output for name, given in seen if name == "on_llm_end"]
    assert kinds("on_tool_start", "inputs") == {"NoneType", "dict"}
    assert kinds("on_tool_end", "output") == {"str", "ToolMessage", "dict", "list", "NoneType", "Thing"}
    stopped = {"PlannedError", "CancelledError", "GeneratorExit", "KeyboardInterrupt"}
    assert kinds("on_chain_error", "error") == {*stopped, "GraphInterrupt"}
    assert kinds("on_llm_error", "error") == kinds("on_tool_error", "error") == stopped
    assert kinds("on_custom_event", "data") == {"dict", "str", "NoneType", "Thing"}
