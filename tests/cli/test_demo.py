"""`llmtest demo` on the real demo, as a user runs it; and the page that explains it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from llmtest.cli import demo

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo"
PAGE = ROOT / "docs" / "how-to" / "first-test.md"


def tree(name: str) -> list[str]:
    """The lines of a committed snapshot, without its header."""
    return (DEMO / "__snapshots__" / f"{name}.tree").read_text("utf-8").splitlines()[1:]


def is_part(part: list[str], lines: list[str]) -> bool:
    return any(lines[start : start + len(part)] == part for start in range(len(lines)))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (command,) = entry_points(group="console_scripts", name="llmtest")
    code = f"import sys; from {command.module} import {command.attr}; sys.exit({command.attr}())"
    return folder, subprocess.run(
        [sys.executable, "-c", code, "demo"], cwd=folder, capture_output=True, encoding="utf-8", check=False
    )


def test_the_command_is_installed_and_runs_the_demo(demo_run):
    folder, run = demo_run

    first, _, second = run.stdout.partition("2. One thing changes: the model calls the tool with another argument.")
    assert (run.returncode, run.stderr) == (0, "")
    assert "1 passed" in first
    assert len(run.stdout.splitlines()) < 60
    assert is_part(tree("test_agent/test_agent_uses_the_calculator")[: demo.TREE_LINES], first.splitlines())
    assert "E   AssertionError: snapshot differs: tool argument expression" in second
    assert run.stdout.splitlines()[-1] == f"How to go on: {demo.NEXT}"
    assert "\x1b" not in run.stdout
    assert list(folder.iterdir()) == []


def test_the_demo_is_found_where_a_wheel_or_a_checkout_has_it():
    assert demo.PLACES == (ROOT / "llmtest" / "_demo", DEMO)


# -- the page


def test_the_code_of_the_page_is_the_demo():
    source = "\n".join(path.read_text("utf-8") for path in sorted(DEMO.glob("*.py")))

    assert blocks("python")
    assert [block for block in blocks("python") if block not in source] == []


def test_the_tree_of_the_page_is_the_snapshot():
    (block,) = blocks("text")

    assert is_part(block.splitlines(), tree("test_agent/test_agent_uses_the_calculator"))


def test_the_failure_of_the_page_is_the_failure_of_the_demo(demo_run):
    _, run = demo_run
    (block,) = blocks("diff")
    failure = run.stdout.rpartition("$ pytest")[2]

    assert is_part(block.splitlines(), failure.splitlines())
