"""What is not used is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("h11", "langchain", "langgraph", "langsmith", "pydantic", "syrupy", "yaml")
DOORS = ("arguments", "fixtures", "hooks", "late", "markers", "options", "results", "summary")
ROOMS = ("recording", "events", "script", "scriptfile", "rendering", "wording", "snapshots", "langchain", "cli")

CONFTEST = """
import sys

def pytest_unconfigure():
    with open("modules.txt", "w") as file:
        file.write("\\n".join(sorted(sys.modules)))
"""


def modules_after(folder: Path, *command: str) -> set[str]:
    """The modules that a fresh interpreter has imported; without coverage, which imports some of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_", "LLMTEST_"))}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set((folder / "modules.txt").read_text().split())


def unwanted(modules: set[str]) -> list[str]:
    ours = tuple(f"llmtest.{room}" for room in ROOMS)
    return sorted(name for name in modules if name.startswith((*HEAVY, *ours)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_empty.py").write_text("def test_nothing(): pass\n")
    return tmp_path


def test_plugin_that_is_not_used_imports_only_its_ledger(folder):
    bare = modules_after(folder, "-m", "pytest", "-q")

    loaded = modules_after(folder, "-m", "pytest", "-q", "-p", "llmtest.pytest_plugin")

    assert unwanted(loaded - bare) == []
    assert {name for name in loaded - bare if name.startswith("llmtest")} == {
        "llmtest",
        "llmtest.core",
        "llmtest.core.lazy",
        "llmtest.core.moved",
        "llmtest.core.unread",
        "llmtest.pytest_plugin.attempt",
        "llmtest.errors",
        "llmtest.ledger",
        "llmtest.pytest_plugin",
        *(f"llmtest.pytest_plugin.{name}" for name in DOORS),
    }


def test_fixture_that_is_used_imports_no_snapshots(folder):
    (folder / "test_empty.py").write_text("def test_it(llm_recording): pass\n")

    loaded = modules_after(folder, "-m", "pytest", "-q", "-p", "llmtest.pytest_plugin")

    assert "llmtest.recording.recording" in loaded
    assert [
        name for name in loaded if name.startswith(("syrupy", "llmtest.pytest_plugin.snapshots", "llmtest.trees.rendering"))
    ] == []


def test_a_plain_double_imports_no_dialect_and_no_api_of_a_provider(folder):
    write = "import sys; open('modules.txt', 'w').write(' '.join(sys.modules))"
    ask = "from llmtest import ScriptedChatModel, record\nwith record(): ScriptedChatModel('hi').invoke('hi')"

    loaded = modules_after(folder, "-c", f"{ask}\n{write}")

    assert {name for name in loaded if name.startswith(("llmtest.wire", "llmtest.langchain.dialects."))} == {
        "llmtest.langchain.dialects.names"
    }


def test_import_llmtest_imports_only_what_makes_its_names_lazy(folder):
    write = "import sys; open('modules.txt', 'w').write(' '.join(sys.modules))"
    bare = modules_after(folder, "-c", write)

    loaded = modules_after(folder, "-c", f"import llmtest; {write}")

    assert unwanted(loaded - bare) == []
    assert {name for name in loaded - bare if name.startswith("llmtest")} == {"llmtest", "llmtest.core", "llmtest.core.lazy"}
