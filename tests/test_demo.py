"""`llmtest demo` on the real demo, as a user runs it; and the page that explains it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from llmtest import cli

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "demo"
PAGE = ROOT / "docs" / "how-to" / "first-test.md"


def tree(name: str) -> list[str]:
    """The lines of a committed snapshot, without its header."""
    return (DEMO / "__snapshots__" / f"{name}.trace").read_text("utf-8").splitlines()[1:]


def is_part(part: list[str], lines: list[str]) -> bool:
    return any(lines[start : start + len(part)] == part for start in range(len(lines)))


def test_the_command_is_installed_and_runs_the_demo(tmp_path):
    (command,) = entry_points(group="console_scripts", name="llmtest")
    code = f"import sys; from {command.module} import {command.attr}; sys.exit({command.attr}())"

    run = subprocess.run([sys.executable, "-c", code, "demo"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)

    first, second = run.stdout.split("2. The model now calls the tool with another argument:")
    assert (run.returncode, run.stderr) == (0, "")
    assert "2 passed" in first
    assert is_part(tree("test_agent/test_agent_uses_the_calculator"), first.splitlines())
    assert is_part(tree("test_react_agent/test_callback_guide"), first.splitlines())
    assert len(re.findall(r"^tokens: \d+ in, \d+ out$", first, re.MULTILINE)) == 2
    assert "1 failed" in second
    assert "3 ** 0.235" in second.split("$ pytest")[1]
    assert "\x1b" not in run.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_is_found_where_a_wheel_or_a_checkout_has_it():
    assert cli.PLACES == (ROOT / "llmtest" / "_demo", DEMO)


def test_the_page_shows_the_demo_as_it_is():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    source = "\n".join(path.read_text("utf-8") for path in sorted(DEMO.glob("*.py")))

    assert blocks
    assert [block for block in blocks if block not in source] == []
