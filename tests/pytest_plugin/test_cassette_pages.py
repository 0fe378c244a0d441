"""The pages about cassettes: the failures and the outputs that they show are those that come out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import llmtest.langchain.chat_model
import llmtest.langchain.providers
import llmtest.langchain.recorded_tools
import llmtest.langchain.tap
import llmtest.pytest_plugin.cassettes  # noqa: F401 - imported here once, and not by each inner run
from llmtest.wire import scripted_server
from tests.support.live_pages import LIVE_PAGES

PAGES = Path(__file__).parents[2] / "docs/how-to"
LIVE = "from-a-live-test-to-an-offline-one.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FAILURE = re.compile(r"^_{3,} .*?(test_\w+) _{3,}\n(.*?)\n(?=[-=]{3,} )", re.MULTILINE | re.DOTALL)
VIOLATIONS = re.compile(r"^-+ llmtest: violations -+\n(.*?)\n(?=[-=]{3,} )", re.MULTILINE | re.DOTALL)
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
        """Run one test, and return the output."""
        return "\n".join(self.files.runpytest_inprocess(f"{self.module}.py::{test}", *options).outlines)

    def record(self, test: str, *options: str) -> str:
        """Run one test before a server that stands for the providers."""
        with scripted_server(self.live.models) as server, pytest.MonkeyPatch.context() as environment:
            for name, value in server.env.items():
                environment.setenv(name, value)
            text = self.run(test, "--llmtest-record=once", *options)
        return text

    def failure(self, test: str) -> str:
        """Run one test, and return what its failure says, or the section that says it where the program failed first."""
        output = self.run(test)
        ((name, text),) = FAILURE.findall(output)
        assert name == test
        return "\n".join([*(VIOLATIONS.findall(output) or [text]), ""])


@pytest.fixture
def weather(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The first page, with the cassette of its first test."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    project = Project(LIVE, pytester)
    project.record("test_paris")
    return project


@pytest.mark.parametrize("number", [1, 2])
def test_each_edit_of_the_page_fails_as_the_page_says(number: int, weather: Project) -> None:
    weather.write(edited(program(LIVE), blocks(LIVE, "diff")[number - 1]))

    (shown,) = blocks(LIVE, "text", f"failure={number}")
    assert DAY.sub("", weather.failure("test_paris")) == DAY.sub("", shown)


def test_a_missing_cassette_fails_as_the_page_says(weather: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (weather.files.path / "cassettes" / "test_weather" / "test_paris.yaml").unlink()
    monkeypatch.setenv("CI", "true")

    (shown,) = blocks(LIVE, "text", "missing=test_paris")
    assert weather.failure("test_paris") == shown
