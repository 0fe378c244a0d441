"""`llmtest demo`: a real agent as a test, and what a change of one tool argument looks like."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmtest.cli.terminal import CONSOLE
from llmtest.core.text import amount

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands


_PACKAGE: Final = Path(__file__).parent.parent
PLACES: Final = (_PACKAGE / "_demo", _PACKAGE.parent / "examples" / "demo")  # in a wheel; in a checkout
NEEDS: Final = ("langchain", "langgraph", "numexpr")
INSTALL: Final = "pip install 'llmtest-kit[demo]'"
NEXT: Final = "https://llmtest.github.io/llmtest/learn/"

EDITED: Final = "test_agent.py"
BEFORE: Final = 'call("calculator", expression="2 ** 0.235")'
CHANGED: Final = "3 ** 0.235"
AFTER: Final = f'call("calculator", expression="{CHANGED}")'

TREE_LINES: Final = 13
"""How much of a tree is shown: up to the result of the tool. The demo ends in under 60 lines."""

# Settings of the user's own projects and accounts: the demo runs without them, and uses no network.
_FOREIGN: Final = ("PYTEST_", "LLMTEST_", "LANGCHAIN_", "LANGSMITH_")


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "run a real agent as a test, then change one tool argument and see the test notice; no key, no network"
    commands.add("demo", words, run)


def run(folder: Path | None = None, needs: Sequence[str] = NEEDS) -> int:
    """Run the tests in `folder` on a copy, change one tool argument there and run that test again.

    Return 0 if the first run passed and the second failed as it should, 2 if a package in `needs` is not installed,
    and 1 otherwise. Nothing is written outside a temporary folder.
    """
    folder = folder or next((path for path in PLACES if path.is_dir()), PLACES[0])
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        return _stop(2, f"needs {', '.join(name.replace('_', '-') for name in missing)}; install with: {INSTALL}")
    if not (folder / EDITED).is_file():
        return _stop(1, f"found no {EDITED} in {folder}; install again with: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="llmtest-demo-") as copy:
        _copy(folder, Path(copy))
        return _show(folder, Path(copy))


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)  # not its mode: an installation may be read-only
    # A configuration of its own, or pytest would look for one in the folders above.
    (target / "pytest.ini").write_text("[pytest]\n", "utf-8")


def _show(folder: Path, copy: Path) -> int:
    CONSOLE.heading("An agent, run as a pytest test. The model is a script; everything else is real. No key, no network.")
    CONSOLE.heading("1. The test as it is. What the agent did is a tree, a text file beside the test.")
    code, _ = _pytest(copy)
    if code != 0:
        return _stop(1, f"the test should have passed, but pytest ended with exit code {code} (see above)")
    _print_trees(copy)

    CONSOLE.heading("2. One thing changes: the model calls the tool with another argument.")
    if not _edit(copy / EDITED):
        return _stop(1, f"{folder / EDITED} should have {BEFORE} once")
    code, reasons = _pytest(copy, "-q", "--tb=short", "-rN", "-o", "verbosity_assertions=2", EDITED)
    if code != 1:
        return _stop(1, f"the changed test should have failed (exit code 1), but pytest ended with exit code {code} (see above)")
    if not any(CHANGED in reason for reason in reasons):
        return _stop(1, "the changed test failed, but not because of the changed argument (see above)")

    CONSOLE.heading("That failure is what this demo is about: the agent did something else than before.")
    CONSOLE.print(
        "If the change is wanted, `pytest --snapshot-update` accepts it, and your reviewer reads the same few lines.\n"
        f"The test is in {folder}: copy it, put your agent in, and change what the model says.\n"
        f"How to go on: {NEXT}"
    )
    return 0


def _print_trees(folder: Path) -> None:
    for path in sorted(folder.glob("__snapshots__/*/*.tree")):
        _, *lines = path.read_text("utf-8").splitlines()
        CONSOLE.print(path.relative_to(folder).as_posix(), "2")
        for line in lines[:TREE_LINES]:
            CONSOLE.print(line)
        if len(lines) > TREE_LINES:
            CONSOLE.print(f"  … {amount(len(lines) - TREE_LINES, 'more line')}", "2")


def _edit(path: Path) -> bool:
    """Change the one tool argument and print the change; False if the file does not have it exactly once."""
    old = path.read_text("utf-8")
    new = old.replace(BEFORE, AFTER)
    if old.count(BEFORE) != 1:
        return False
    path.write_text(new, "utf-8")
    colors = {"-": "31", "+": "32"}
    _, _, _, *changes = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    for line in changes:
        CONSOLE.print(line, colors[line[0]])
    return True


def _pytest(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run pytest on `folder` in a process of its own, print its output; return the exit code and the lines with `E`."""
    CONSOLE.print(" ".join(("$ pytest -q", *arguments)), "2")
    plugins = ("-p", "no:cacheprovider", "-p", "syrupy", "-p", "llmtest.pytest_plugin")
    command = (sys.executable, "-m", "pytest", "-q", f"--color={'yes' if CONSOLE.color else 'no'}", *plugins, *arguments)
    reasons: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            CONSOLE.print(line.rstrip("\n"))
            reasons += re.findall(r"^E +.*", re.sub(r"\x1b\[[\d;]*m", "", line))
    return process.returncode, reasons


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {
        "COLUMNS": str(shutil.get_terminal_size().columns),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _stop(code: int, text: str) -> int:
    CONSOLE.note(f"llmtest demo: {text}")
    return code
