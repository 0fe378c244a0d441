"""A tool of `scripted_tool` passes the standard tests of tools, in each of the ways in which it can be made."""

from __future__ import annotations

from functools import partial
from typing import Any

from langchain_core.tools import tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from llmtest import scripted_tool


def weather(city: str, days: int = 1) -> str:
    """The weather in a city."""
    raise RuntimeError("the body is never run")


class Weather:
    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"city": "Paris", "days": 2}


class TestUnit(Weather, ToolsUnitTests):
    """These do not call the tool, so it has no results."""

    @property
    def tool_constructor(self) -> Any:
        return partial(scripted_tool, weather)


class TestOfAFunction(Weather, ToolsIntegrationTests):
    @property
    def tool_constructor(self) -> Any:
        return partial(scripted_tool, weather, "18C")


class TestOfATool(Weather, ToolsIntegrationTests):
    """A tool with an artifact, stood in for."""

    @property
    def tool_constructor(self) -> Any:
        return partial(scripted_tool, tool(response_format="content_and_artifact")(weather), ("18C", {"degrees": 18}))


class TestOfAName(Weather, ToolsIntegrationTests):
    @property
    def tool_constructor(self) -> Any:
        return partial(scripted_tool, "weather", "18C", args={"city": str, "days": (int, 1)})
