"""A Markdown extension for the site, for two things that other readers of the same text want otherwise.

The words after the language of a fence (`text tree=test_agent`) are for the tests of the pages. The examples of docstrings are
doctests without a fence, as `help()` shows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

_FENCE = re.compile(r"^(\s*```+\w*)(?: .*)?$")


def prepare(lines: list[str]) -> Iterator[str]:
    """Yield the lines with bare fences, and with a fence around each doctest."""
    inside, example = False, False
    for line in lines:
        if example and not line.strip():
            example = False
            yield "```"
        if fence := _FENCE.match(line):
            inside = not inside
            line = fence[1]
        elif line.startswith(">>> ") and not inside and not example:
            example = True
            yield "```pycon"
        yield line
    if example:
        yield "```"


class _Prepare(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return list(prepare(lines))


class FenceExtension(Extension):
    """Runs `prepare` before the extension that reads fences."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802, the name is Markdown's
        md.preprocessors.register(_Prepare(md), "llmtest_fences", 1_000)


def makeExtension(**options: object) -> FenceExtension:  # noqa: N802, the name is Markdown's
    return FenceExtension(**options)
