"""Coverage data without a test run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from llmtest.coverage import items
from llmtest.coverage.data import CoverageData, Writer, load
from llmtest.coverage.items import Inventory, Item

# pytester forgets what an inner run in this process has imported; two copies of a module would not meet the same objects.
importlib.import_module("llmtest.pytest_plugin.coverage")

PROGRAM = [
    items.node("desk", "plan", "app.py:3"),
    items.node("desk", "book", "app.py:7"),
    items.edge("desk", "__start__", "plan"),
    items.edge("desk", "plan", "book", "app.py:3"),
    items.edge("desk", "book", "__end__", "app.py:7"),
    items.open_edge("desk", "plan", "route"),
    items.tool("desk", "hotel", "raised", "app.py:12"),
]
"""The items of a small graph."""


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., CoverageData]:
    """Write the file of one worker and read it: each test as its name, what it hits, and what is ambiguous."""

    def write(
        *tests: tuple[str, Iterable[str], Iterable[str]], things: Iterable[Item] = PROGRAM, programs: Iterable[str] = ()
    ) -> CoverageData:
        writer, inventory = Writer(tmp_path / "main.jsonl"), Inventory(things)
        for name, hits, maybe in tests:
            writer.add(inventory, hits, maybe, name)
        if programs:
            writer.name_programs(inventory, list(programs))
        writer.close()
        return load([tmp_path])

    return write
