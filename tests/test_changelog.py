"""Changelog fragments: towncrier finds each of them, and each is a sentence that a user can read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"]
FRAGMENTS = sorted(path for path in (ROOT / CONFIG["directory"]).iterdir() if path.name not in CONFIG["ignore"])
NAME = re.compile(rf"(\d+|\+[a-z0-9-]+)\.({'|'.join(kind['directory'] for kind in CONFIG['type'])})(\.\d+)?\.md")


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_has_a_name_that_towncrier_knows_and_whole_sentences(path: Path) -> None:
    text = path.read_text("utf-8")

    assert NAME.fullmatch(path.name)
    assert re.fullmatch(r"[^\s#-].*\.\n", text), "one line, without a list mark; a sentence ends with a full stop"


def test_the_changelog_has_one_place_for_the_next_release() -> None:
    assert (ROOT / CONFIG["filename"]).read_text("utf-8").count(CONFIG["start_string"]) == 1


def test_the_page_on_fragments_lists_the_kinds() -> None:
    page = (ROOT / CONFIG["directory"] / "README.md").read_text("utf-8")

    (line,) = [line for line in page.splitlines() if line.startswith("- **Kind**")]

    assert re.findall("`(.*?)`", line) == [kind["directory"] for kind in CONFIG["type"]]
