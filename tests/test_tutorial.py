"""The tutorial: its table links each section of LangChain's callback guide to its page and its tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs/tutorial/README.md"
HOME = "https://github.com/llmtest/llmtest/blob/main/"
ROW = re.compile(rf"^\| \[[^]]+\]\((\S+\.md)\) \| \[test_\d\d\]\({HOME}(\S+\.py)\) \| (.+) \|$", re.MULTILINE)
ROWS = [
    ((TABLE.parent / page).resolve(), ROOT / tests, differs) for page, tests, differs in ROW.findall(TABLE.read_text("utf-8"))
]


def test_the_table_has_every_test_file_of_the_guide_and_every_page_in_order() -> None:
    assert [tests for _, tests, _ in ROWS] == sorted((ROOT / "examples/callback_guide").glob("test_*.py"))
    assert [page for page, _, _ in ROWS] == sorted((ROOT / "docs/tutorial").glob("[0-9]*.md"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].stem)
def test_a_page_links_its_tests_and_says_where_today_differs(row: tuple[Path, Path, str]) -> None:
    page, tests, differs = row
    text = page.read_text("utf-8")

    assert f"]({HOME}{tests.relative_to(ROOT).as_posix()}" in text
    assert "Where today differs" in text
    assert len(differs) > 10
