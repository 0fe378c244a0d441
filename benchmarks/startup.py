"""What llmtest costs before and around a test: its first use, a session that does not use it, and a test with one snapshot."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Ratio

TESTS = 300
LANGCHAIN = "import langchain_core.callbacks, langchain_core.messages, langchain_core.runnables, langchain_core.tools"
FAKE = """
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
GenericFakeChatModel(messages=iter([AIMessage("hi")])).invoke("hello")
"""
OURS = """
from llmtest import ScriptedChatModel, record
with record() as recording:
    ScriptedChatModel("hi").invoke("hello")
str(recording)
"""
WITH_SNAPSHOTS = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_it(n, scripted_chat_model, llm_recording, llm_snapshot):
    assert scripted_chat_model("hi").invoke("hello").content == "hi"
    assert llm_recording == llm_snapshot
"""
WITH_FAKES = """
import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

@pytest.mark.parametrize("n", range({tests}))
def test_it(n):
    assert GenericFakeChatModel(messages=iter([AIMessage("hi")])).invoke("hello").content == "hi"
"""


def ratios(rounds: int) -> Iterator[Ratio]:
    runs = max(rounds // 30, 2)
    yield _first_use(runs)
    with tempfile.TemporaryDirectory() as folder:
        yield _unused(Path(folder), runs)
        yield _snapshots(Path(folder), max(rounds // 60, 2))


def _run(command: list[str], folder: Path | None = None) -> None:
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user has bytecode of what is installed
    subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=True, capture_output=True)


def _processor_ms(command: list[str], folder: Path | None) -> float:
    """Return the processor time of a process, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(command, folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def _more(name: str, bar: float, ours: list[str], theirs: list[str], runs: int, folder: Path | None = None) -> Ratio:
    """The processor time that `ours` takes more than `theirs`; the noise is that of `theirs` alone."""
    sides = [[_processor_ms(side, folder) for side in (ours, theirs, theirs)] for _ in range(runs + 1)]
    mine, reference, again = map(min, zip(*sides, strict=True))
    more = mine - min(reference, again)
    return Ratio(f"{name}, processor time", "1 ms", more, bar, again / reference, more, 1.0, "ms")


def _first_use(runs: int) -> Ratio:
    """A process that asks a double inside a recording and prints the tree, against one that asks LangChain's own fake."""
    ours, theirs = (["-c", f"{LANGCHAIN}{FAKE}{more}"] for more in (OURS, ""))
    return _more("first use", 60.0, ours, theirs, runs)


def _unused(folder: Path, runs: int) -> Ratio:
    (folder / "test_empty.py").write_text("def test_nothing(): pass\n", "utf-8")
    bare = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_empty.py"]
    return _more("pytest with the plugin, unused", 10.0, [*bare, "-p", "llmtest.pytest_plugin"], bare, runs, folder)


def _snapshots(folder: Path, runs: int) -> Ratio:
    """The tests alone: what the start of a session takes is known from a session with one test of the same kind."""
    plugins = ["-p", "syrupy", "-p", "llmtest.pytest_plugin"]
    sides = []
    for name, text, options in (("ours", WITH_SNAPSHOTS, plugins), ("theirs", WITH_FAKES, [])):
        for tests in (TESTS, 1):
            file = f"test_{tests}_{name}.py"
            (folder / file).write_text(text.format(tests=tests), "utf-8")
            sides.append(["-m", "pytest", "-q", "-p", "no:cacheprovider", *options, file])
            _run([*sides[-1], *(["--snapshot-update"] if options else [])], folder)
    took = [[_seconds(side, folder) for side in (*sides, sides[2])] for _ in range(runs + 1)]
    ours, our_start, theirs, their_start, again = map(min, zip(*took, strict=True))
    mine, reference, noise = ours - our_start, theirs - their_start, again - their_start
    per = 1e6 / (TESTS - 1)
    return Ratio(
        "a test with one snapshot, warm",
        "the same with GenericFakeChatModel and an assert",
        mine / min(reference, noise),
        1.3,
        noise / reference,
        mine * per,
        min(reference, noise) * per,
    )


def _seconds(command: list[str], folder: Path) -> float:
    began = perf_counter()
    _run(command, folder)
    return perf_counter() - began
