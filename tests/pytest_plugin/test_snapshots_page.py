"""The page about snapshots: its outputs are those of the commands that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import llmtest.langchain.chat_model
import llmtest.langchain.tap  # noqa: F401 - imported here once, and not by each inner run
from llmtest.cli import commands

PAGE = Path(__file__).parents[2] / "docs/how-to/snapshots.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^-+ llmtest: snapshot -+\n(.*?)\n(?=[-=]{3,} )", re.MULTILINE | re.DOTALL)


def blocks(language: str, info: str = "") -> list[str]:
    return [code for kind, about, code in BLOCK.findall(PAGE.read_text("utf-8")) if (kind, about.strip()) == (language, info)]


def edited(source: str, edit: str) -> str:
    """`source` with the lines that an edit takes away replaced by those that it brings."""
    gone = "".join(f"{line[1:]}\n" for line in edit.splitlines() if line.startswith("-"))
    came = "".join(f"{line[1:]}\n" for line in edit.splitlines() if line.startswith("+"))
    assert source.count(gone) == 1
    return source.replace(gone, came)


@pytest.fixture
def guide(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with the test of the page and its accepted snapshot."""
    monkeypatch.setattr("syrupy._syrupy", None)
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(test_guide=blocks("python")[0])
    assert pytester.runpytest_inprocess("--snapshot-update").ret == 0
    return pytester


def change(guide: pytest.Pytester, number: int) -> str:
    """Makes one of the edits of the page; what the failing test then says in its section."""
    guide.makepyfile(test_guide=edited(blocks("python")[0], blocks("diff")[number - 1]))
    (section,) = SECTION.findall("\n".join(guide.runpytest_inprocess().outlines))
    return f"{section}\n"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_edit_of_the_page_is_shown_as_the_page_says(guide: pytest.Pytester, number: int) -> None:
    assert blocks("text", f"section={number}") == [change(guide, number)]


def test_the_review_says_what_the_page_says(
    guide: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change(guide, 1)
    monkeypatch.chdir(guide.path)
    monkeypatch.delenv("LLMTEST_PENDING_DIR", raising=False)

    for block in blocks("console"):
        shown = ""
        for line in re.findall(r"^\$ llmtest (.*)$", block, re.MULTILINE):
            capsys.readouterr()
            commands.main(line.split())
            shown += f"$ llmtest {line}\n{capsys.readouterr().out}"
        assert block == shown
