"""What the standard tests of `langchain-tests` need, which LangChain holds every integration to."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from llmtest import call, say, structured
from llmtest.scripts import Request
from llmtest.scripts.requests import bound_format
from llmtest.scripts.step_types import Reply
from llmtest.scripts.tool_checks import chosen_tool, normal_choice


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(name: str, obj: object) -> None:
    """The async tests of the suites have no marker: they count on pytest-asyncio's auto mode, and here it is strict."""
    if name.startswith("test_") and inspect.iscoroutinefunction(obj):
        pytest.mark.asyncio(obj)


@pytest.fixture
def benchmark(benchmark: Any) -> Any:
    """What a suite wants to measure runs once: `benchmarks/` measures, in ratios."""
    benchmark.disabled = True
    return benchmark


@pytest.fixture
def vcr() -> SimpleNamespace:
    """A suite streams against the clock where it finds recorded HTTP; a script is all that is needed here."""
    return SimpleNamespace(responses=["a script"])


# -- a provider in a few lines


def provider(request: Request) -> Reply:
    """A value where a response format is bound; a call of the bound tool, unless its result is there; else text."""
    wanted = bound_format(request.params)
    if wanted:
        return structured(_fitting(_schema(wanted), request))
    choice = normal_choice(request.tool_choice)
    must = choice not in (None, "auto")
    if request.tools and choice != "none" and (must or request.messages[-1].role != "tool"):
        name = chosen_tool(choice) or next(iter(request.tools))
        return call(name, _fitting(request.tools[name], request))
    return say("It is ", "sunny.")


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    inner = wanted.get("json_schema", wanted) if isinstance(wanted, Mapping) else {}
    found = inner.get("schema", inner if "properties" in inner else None)
    return found if isinstance(found, Mapping) else None


def _fitting(schema: Mapping[str, Any] | None, request: Request) -> dict[str, Any]:
    """Arguments as the schema wants them, from what the last message says."""
    said = request.messages[-1].text
    quoted = re.findall(r"'([^']+)'", said)
    if schema is None:  # JSON mode: what the message asks for in words
        return dict.fromkeys(quoted, "meow")
    numbers = iter([int(number) for number in re.findall(r"\d+", said)] + [3, 4])
    return {name: _value(field, numbers, quoted) for name, field in schema.get("properties", {}).items()}


def _value(field: Mapping[str, Any], numbers: Iterator[int], quoted: list[str]) -> Any:
    return next(numbers) if field.get("type") == "integer" else (quoted or ["a cat"])[0]
