"""The language of the pages: short sentences and plain words, for readers whose English is a second language.

A sentence has a limit of words, and so has the mean of a page. Reference pages may have longer sentences than pages that teach.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LIMITS = {"learn": (22, 11), "how-to": (32, 14), "tutorial": (32, 16), "reference": (42, 17), "": (32, 14)}
"""The longest sentence of a page, and the mean of its sentences, in words, by folder. Lower a number when the pages allow it."""

PLAIN = {
    r"\b(?:some|any|no)body\b|\b(?:some|no)one\b|\bwho(?:so)?ever\b": "name who does it: the program, the test, a person",
    r"\butili[sz]e|\bleverag(?:e|es|ed|ing)\b": "use",
    r"\bin order to\b": "to",
    r"\b(?:simply|obviously|of course|basically|seamless(?:ly)?|blazing(?:ly)?|powerful)\b": "leave it out",
    r"\be\.g\.|\bi\.e\.|\betc\.|\bvia\b|\bwrt\b": "write it in words: for example, that is, through",
    r"\bprior to\b": "before",
    r"\bin the event that\b": "if",
    r"\ba (?:variety|plethora|myriad) of\b": "many",
    r"\bfacilitat(?:e|es|ing)\b": "help",
    r"\b(?:hence|thus|whilst|hitherto|therein|thereof|wherein)\b": "so, while, there",
}
"""What a page does not say, and what it says instead."""


def prose(text: str) -> Iterator[str]:
    """Yield the paragraphs, items and cells of a page, without code, directives and addresses."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^(```+).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^:::.*?(?=\n\n|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "X", text)).replace("*", "")
    text = re.sub(r"^\s*(?:#+|[-*]|\d+\.) ", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\|.*$", lambda row: "\n\n" + row[0].strip("|").replace(" | ", "\n\n") + "\n\n", text, flags=re.MULTILINE)
    yield from (" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip())


def sentences(text: str) -> list[str]:
    """The sentences of a page. A colon or semicolon before a name of code or a capital ends one, too."""
    return [
        said for part in prose(text) for said in re.split(r"(?<=[.!?:;])\s+(?=[A-Z\"(]|llmtest)", part) if re.search(r"\w", said)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_are_short(page: Path) -> None:
    longest, mean = LIMITS[page.parent.name if page.is_relative_to(ROOT / "docs") and page.parent.name != "docs" else ""]
    said = sentences(page.read_text("utf-8"))
    sizes = [len(sentence.split()) for sentence in said]

    assert [sentence for sentence, size in zip(said, sizes, strict=True) if size > longest] == []
    assert fmean([size for size in sizes if size > 3] or [0]) <= mean


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_words_are_plain(page: Path) -> None:
    found = [
        f"{match[0]!r} in {part!r}: {better}"
        for part in prose(page.read_text("utf-8"))
        for pattern, better in PLAIN.items()
        for match in re.finditer(pattern, part, re.IGNORECASE)
    ]

    assert found == []


def test_prose_is_read_without_code_and_tables_cell_by_cell() -> None:
    page = """# A title

See [the page](page.md): `code()` runs. It
is **short.** Then

```python
code
```

| a | b c |
|---|---|
- item
"""

    assert sentences(page) == ["A title", "See the page:", "X runs.", "It is short.", "Then", "a", "b c", "item"]
