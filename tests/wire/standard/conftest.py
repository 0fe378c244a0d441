"""The standard tests of `langchain-tests`, which LangChain holds every integration to, for our doubles."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest


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
