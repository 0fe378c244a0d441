"""A suite of a user: a pytest inside this pytest."""

from __future__ import annotations

import importlib
import re
import textwrap
from pathlib import Path

import pytest

from llmtest import ScriptedChatModel, record

# pytester forgets what an inner run in this process has imported; what is imported here is imported once.
for name in (
    "llmtest.pytest_plugin.eval_session",
    "llmtest.pytest_plugin.failures",
    "llmtest.pytest_plugin.snapshots",
    "llmtest.trees.around",
    "llmtest.langchain.providers",
    "llmtest.langchain.tool",
    "llmtest.wire.serving",
    *(f"llmtest.wire.clients.{client}" for client in ("httpx", "urllib3", "aiohttp", "addresses", "backoff")),
    "llmtest.pytest_plugin.fault_items",
    "llmtest.pytest_plugin.interleavings",
    "detangle",
    "llmtest.langchain.injecting",
    "llmtest.langchain.interrupting",
    "hypothesis.core",
    "hypothesis.strategies",
    "trio",
    "yaml",
    "xdist.dsession",
    "pytest_asyncio",
    "yaml",
):
    importlib.import_module(name)
with record():
    ScriptedChatModel("imports the rest of LangChain").invoke("go")

INI = """
[pytest]
addopts = --strict-markers --strict-config
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""

HELLO = """
def test_hello(scripted_chat_model, llm_recording, llm_snapshot):
    scripted_chat_model("Hello there").invoke("hi")
    assert llm_recording == llm_snapshot
"""
"""A test that compares the tree of one call."""


class Outcome:
    """What an inner run came to: its counts by outcome, its output, and parts of its output by their headings."""

    def __init__(self, result: pytest.RunResult) -> None:
        self.exit_code = int(result.ret)
        self._result = result
        self.text = "\n".join(result.outlines)
        self.errors = "\n".join(result.errlines)

    @property
    def counts(self) -> dict[str, int]:
        return {{"errors": "error"}.get(name, name): number for name, number in self._result.parseoutcomes().items()}

    def part(self, title: str) -> str:
        """What stands between the heading `title` and the next heading."""
        parts = re.split(r"^[=_-]{3,} (.+?) [=_-]{3,}$", self.text, flags=re.MULTILINE)
        texts = [text.strip("\n") for heading, text in zip(parts[1::2], parts[2::2], strict=True) if heading == title]
        assert len(texts) == 1, f"{len(texts)} parts called {title!r} in:\n{self.text}"
        return texts[0]

    def has_part(self, title: str) -> bool:
        return re.search(rf"^[=_-]{{3,}} {re.escape(title)} [=_-]{{3,}}$", self.text, flags=re.MULTILINE) is not None


class Suite:
    def __init__(self, pytester: pytest.Pytester) -> None:
        self.files = pytester
        self.path = pytester.path
        self.ini(INI)

    def ini(self, text: str) -> None:
        self.files.makeini(text)

    def write(self, source: str, name: str = "test_it") -> None:
        self.files.makepyfile(**{name: textwrap.dedent(source)})

    def snapshot(self, name: str = "test_hello") -> Path:
        """The file of a snapshot of test_it.py."""
        return self.path / "__snapshots__" / "test_it" / f"{name}.tree"

    def trees(self) -> list[str]:
        """The names of all snapshots."""
        return sorted(file.name for file in self.path.rglob("*.tree") if ".llmtest" not in file.parts)

    def pending(self) -> dict[str, str]:
        """The pending snapshots, and their texts."""
        folder = self.path / ".llmtest" / "pending"
        return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.tree")}

    def run(self, source: str | None = None, *options: str) -> Outcome:
        """Writes `source` to test_it.py and runs all there is, in this process."""
        if source is not None:
            self.write(source)
        return Outcome(self.files.runpytest_inprocess(*options))

    def run_apart(self, source: str | None, *options: str) -> Outcome:
        """The same in a process of its own: one without threads and clients that other tests have left."""
        if source is not None:
            self.write(source)
        return Outcome(self.files.runpytest_subprocess(*options))

    def run_on_worker(self, source: str | None, *options: str) -> Outcome:
        """The same on one worker, where it does not matter how tests are shared out: each worker is a process, and takes long."""
        return self.run_on_workers(source, *options, "-n1")

    def run_on_workers(self, source: str | None, *options: str) -> Outcome:
        """The same with two workers, which load no other plugins: they are processes, and pay for each."""
        # This process has imported the plugin long ago, and not by its name on a command line; syrupy 6 warns of files
        # that hold many snapshots.
        quiet = "    ignore::pytest.PytestAssertRewriteWarning\n    ignore:syrupy:pytest.PytestWarning"
        self.ini(f"[pytest]\nfilterwarnings =\n    error\n{quiet}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            return self.run(source, "-n2", "-pxdist", "-psyrupy", "-pllmtest.pytest_plugin", *options)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.setattr("syrupy._syrupy", None)  # syrupy's session: the inner one would stay in place of ours
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "GITLAB_CI", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)  # our own suite may run there
    for name in ("CI", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)  # ours may run on a worker; syrupy's reports are for the process that has none
    monkeypatch.setenv("COLUMNS", "120")
    return Suite(pytester)


TWO_TESTS = """
from llmtest import say

def test_passes(scripted_chat_model):
    scripted_chat_model(say("Hello there", usage=(5, 2))).invoke("hi")

def test_fails(scripted_chat_model):
    scripted_chat_model(say("Good bye", usage=(3, 2))).invoke("bye")
    assert False
"""


def tree(answer: str, question: str, usage: tuple[int, int]) -> str:
    """What a test of TWO_TESTS shows."""
    from llmtest import say

    with record() as recording:
        ScriptedChatModel(say(answer, usage=usage)).invoke(question)
    return str(recording).rstrip()


FAILED = tree("Good bye", "bye", (3, 2))


PASSED = tree("Hello there", "hi", (5, 2))


ALL = f"""\
test_it.py::test_passes
{PASSED}
tokens: 5 in, 2 out

test_it.py::test_fails
{FAILED}
tokens: 3 in, 2 out"""


MODEL = """
import asyncio
import pytest
from llmtest import ScriptedChatModel, ScriptedLLM, count_tokens, fail, record, say

def ask(*answers, **fields):
    model = ScriptedChatModel(*[say(text, usage=(len(text), 1)) for text in answers], **fields)
    for _ in answers:
        model.invoke("hi")
"""
