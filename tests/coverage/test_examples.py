"""The LangGraph program of the examples: its own tests miss nothing that it can do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmtest.coverage.data import load
from llmtest.coverage.report import Report

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_the_tests_of_the_langgraph_example_reach_everything(pytester: pytest.Pytester) -> None:
    (pytester.path / "examples").mkdir()
    for name in ("test_langgraph_graph.py", "test_langgraph_coverage.py"):
        shutil.copy(EXAMPLES / name, pytester.path / "examples" / name)
    pytester.makeini("[pytest]\npythonpath = .\naddopts = --import-mode=importlib\n")
    options = ("--llmtest-cov", "--snapshot-update", "-p", "no:asyncio", "-p", "no:cacheprovider")

    result = pytester.runpytest_inprocess(*options)

    report = Report(load([pytester.path / ".llmtest" / "coverage"]))
    assert result.ret == 0
    assert [row.item.missing for row in report.rows if row.state != "hit"] == []
    assert report.counts.hit == 43
