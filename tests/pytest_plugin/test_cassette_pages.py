"""The pages about cassettes: the failures and the outputs that they show are those that come out."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import llmtest.langchain.chat_model
import llmtest.langchain.providers
import llmtest.langchain.recorded_tools
import llmtest.langchain.tap
import llmtest.pytest_plugin.cassettes  # noqa: F401 - imported here once, and not by each inner run
from llmtest import say
from llmtest.cli import commands
from llmtest.wire import scripted_server
from tests.support.live_pages import LIVE_PAGES

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PAGES = Path(__file__).parents[2] / "docs/how-to"
FRESH = "keep-cassettes-fresh.md"
LIVE = "from-a-live-test-to-an-offline-one.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAILURE = re.compile(r"^_{3,} .*?(test_\w+) _{3,}\n(.*?)\n(?=[-=]{3,} )", re.MULTILINE | re.DOTALL)
VIOLATIONS = re.compile(r"^-+ llmtest: violations -+\n(.*?)\n(?=[-=]{3,} )", re.MULTILINE | re.DOTALL)
SUMMARY = re.compile(r"^=+ llmtest: cassettes =+\n(.*?)\n(?=={3,} )", re.MULTILINE | re.DOTALL)
COST = re.compile(r"\$[\d.]+")  # prices change
DAY = re.compile(r"\b\d{4}-\d\d-\d\d\b")


def blocks(page: str, language: str, info: str = "") -> list[str]:
    found = BLOCK.findall((PAGES / page).read_text("utf-8"))
    return [code for kind, about, code in found if (kind, about.strip()) == (language, info)]


def program(page: str) -> str:
    return "\n\n".join(blocks(page, "python"))


def edited(source: str, edit: str) -> str:
    """`source` with each group of lines that an edit takes away replaced by the group that follows."""
    for gone, came in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", edit, re.MULTILINE):
        old, new = (re.sub("^[-+]", "", lines, flags=re.MULTILINE) for lines in (gone, came))
        assert source.count(old) == 1
        source = source.replace(old, new)
    return source


class Project:
    """A project with the examples of a page, whose models have answered them once."""

    def __init__(self, page: str, pytester: pytest.Pytester) -> None:
        self.files = pytester
        self.live = LIVE_PAGES[f"docs/how-to/{page}"]
        self.module = self.live.module
        self.write(program(page))

    def write(self, source: str) -> None:
        self.files.makepyfile(**{self.module: source})

    def run(self, test: str, *options: str) -> str:
        """Run one test, or all, and return the output."""
        name = f"{self.module}.py::{test}" if test else f"{self.module}.py"
        return "\n".join(self.files.runpytest_inprocess(name, *options).outlines)

    def cassette(self, test: str) -> Path:
        return self.files.path / "cassettes" / self.module / f"{test}.yaml"

    def record(self, test: str, *options: str, models: Any = None) -> str:
        """Run one test before a server that stands for the providers."""
        with scripted_server(models or self.live.models) as server, pytest.MonkeyPatch.context() as environment:
            for name, value in server.env.items():
                environment.setenv(name, value)
            return self.run(test, *(options or ["--llmtest-record=once"]))

    def failure(self, test: str) -> str:
        """Run one test, and return what its failure says, or the section that says it where the program failed first."""
        output = self.run(test)
        ((name, text),) = FAILURE.findall(output)
        assert name == test
        return "\n".join([*(VIOLATIONS.findall(output) or [text]), ""])


@pytest.fixture(autouse=True)
def at_home(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A project on the machine of a developer, with a wide terminal."""
    monkeypatch.setattr("syrupy._syrupy", None)
    for name in ("CI", "LLMTEST_PENDING_DIR", "LLMTEST_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # the clients of SDKs keep their connections; Python warns when they are collected


@pytest.fixture
def weather(pytester: pytest.Pytester) -> Project:
    """The first page, with the cassette of its first test."""
    project = Project(LIVE, pytester)
    project.record("test_paris")
    return project


@pytest.mark.parametrize("number", [1, 2])
def test_each_edit_of_the_page_fails_as_the_page_says(number: int, weather: Project) -> None:
    weather.write(edited(program(LIVE), blocks(LIVE, "diff")[number - 1]))

    (shown,) = blocks(LIVE, "text", f"failure={number}")
    assert DAY.sub("", weather.failure("test_paris")) == DAY.sub("", shown)


def test_a_missing_cassette_fails_as_the_page_says(weather: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    weather.cassette("test_paris").unlink()
    monkeypatch.setenv("CI", "true")

    (shown,) = blocks(LIVE, "text", "missing=test_paris")
    assert weather.failure("test_paris") == shown


@pytest.fixture
def letters(pytester: pytest.Pytester) -> Project:
    """The page about upkeep, with the cassettes of its tests; one of them is 100 days old."""
    project = Project(FRESH, pytester)
    project.record("")
    day = (datetime.now(UTC).date() - timedelta(days=100)).isoformat()
    file = project.cassette("test_farewell")
    file.write_text(DAY.sub(day, file.read_text("utf-8"), count=1), "utf-8")
    return project


def printed(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The block of a page that shows a command of ours and its output."""
    capsys.readouterr()
    commands.main(command.split())
    captured = capsys.readouterr()
    return f"$ llmtest {command}\n{captured.out}{captured.err}"


def test_the_recording_that_differs_is_shown_and_reviewed_as_the_page_says(
    letters: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {"openai:gpt-5": [say("Hello Ada!", usage=(21, 11)), say("Good morning, Bo.", usage=(21, 14))]}
    text = letters.record("test_greetings", "--llmtest-record=verify", models=changed)

    consoles = [COST.sub("$", block) for block in blocks(FRESH, "console")]
    (shown,) = blocks(FRESH, "text", "verify=test_greetings")
    assert COST.sub("$", shown) == COST.sub("$", f"{FAILURE.findall(text)[0][1]}\n")
    assert COST.sub("$", printed("review", capsys)) in consoles
    assert printed("accept test_greetings", capsys) in consoles
    assert "Good morning, Bo." in letters.cassette("test_greetings").read_text("utf-8")


def test_upkeep_is_told_as_the_page_says(letters: Project, capsys: pytest.CaptureFixture[str]) -> None:
    old = letters.failure("test_farewell")
    letters.run("test_greetings")
    listed = printed("cassettes", capsys)
    letters.write(edited(program(FRESH), blocks(FRESH, "diff")[0]))
    unused_step = letters.failure("test_greetings")
    source = program(FRESH)
    letters.write(source[: source.index("@pytest.mark.llm_cassette(max_age_days=90)")])
    unused_cassette = SUMMARY.findall(letters.run(""))
    file = letters.cassette("test_greetings")
    file.write_text(file.read_text("utf-8").replace('    - say: "Hi Bo!"', '<<<<<<< HEAD\n    - say: "Hi Bo!"'), "utf-8")

    assert blocks(FRESH, "text", "old=test_farewell") == [DAY.sub("2026-08-22", old)]
    assert listed in blocks(FRESH, "console")
    assert blocks(FRESH, "text", "failure=test_greetings") == [unused_step]
    assert blocks(FRESH, "text", "unused") == [f"{text}\n" for text in unused_cassette]
    assert blocks(FRESH, "text", "conflict=test_greetings") == [letters.failure("test_greetings")]


def test_a_scan_finds_what_the_page_says(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pytester.path / "cassettes" / "test_letters"
    folder.mkdir(parents=True)
    secret = "  - The key is sk-proj-4eC39HqLyjWDarjtT1zdp7dc.\n"
    (folder / "test_farewell.yaml").write_text(f"# llmtest script v2\nsteps:\n{secret}", "utf-8")

    assert printed("scan", capsys) in blocks(FRESH, "console")
