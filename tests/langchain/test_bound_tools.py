"""What a model is called with: parameters, and tools in the formats of many providers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from llmtest.events.words import Opaque
from llmtest.langchain import bound_tools
from llmtest.langchain.bound_tools import hold_parameters, tool_names
from llmtest.langchain.freezing import words


class Strange:
    """An object that no provider knows."""


class Person(BaseModel):
    name: str


def _bound(tools: list[Any]) -> Any:
    return hold_parameters({"tools": tools})["invocation_params"]["tools"]


def test_parameters_without_tools_have_no_names_of_tools() -> None:
    assert hold_parameters({"tools": [], "stop": ["x"]}) == {"invocation_params": {"tools": [], "stop": ["x"]}}
    assert hold_parameters(None) == {"invocation_params": {}}


def test_bound_tools_are_held_once_until_they_change() -> None:
    tools = [{"name": "a"}]

    first, again = (_bound(tools) for _ in range(2))
    tools[0]["name"] = "b"
    changed = _bound(tools)
    for number in range(70):  # more lists than are kept
        _bound([{"name": f"x{number}"}])

    assert first is again
    assert (words(first), words(changed)) == ([{"name": "a"}], [{"name": "b"}])
    assert words(first) is words(again)
    assert len(bound_tools._seen_tools) <= 64
    assert len(bound_tools._equal_tools) <= 64


def test_equal_bound_tools_are_held_once() -> None:
    first, again, other = (_bound([{"name": "a", "strict": strict}]) for strict in (True, True, 1))

    assert first is again
    assert [words(held)[0]["strict"] is True for held in (first, other)] == [True, False]


def test_bound_tools_that_are_objects_are_held_at_each_call() -> None:
    tools = [Strange(), {"name": "a"}]

    held = [_bound(tools) for _ in range(2)]

    assert held == [[Opaque("Strange"), {"name": "a"}]] * 2


def test_tools_have_names_in_each_format() -> None:
    tools = [{"function": {"name": "a"}}, {"name": "b"}, {"type": "web_search"}, Strange(), Person(name="p")]

    assert tool_names(tools) == ["a", "b", "web_search", "unnamed", "p"]
    assert tool_names(None) == []
