"""Results as Markdown: the file of failures, and the summary of a job.

Texts of programs are data: they stand in code spans and fenced blocks that they cannot leave, or are escaped as HTML.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterator
from typing import Final

from llmtest.core.text import amount, clip, escape_controls
from llmtest.reports.results import FailedPhase, Group, Result, Results

MAX_SUMMARY_BYTES: Final = 200_000
MAX_FAILURES_BYTES: Final = 40_000
MAX_DETAILS_BYTES: Final = 16_000
"""Of one test in a summary."""
MAX_SECTION_BYTES: Final = 4_000
"""Of the details of one cause in the file of failures."""
MAX_TESTS: Final = 20
"""The most tests of one cause that the file of failures lists."""
MAX_CAUSE: Final = 300
_TICKS: Final = re.compile("`+")
_COLORS: Final = re.compile(r"\x1b\[[\d;]*m")


# -- text that stays text


def plain(text: str) -> str:
    """Return a text of a program without colors, and with escapes for other control characters."""
    return escape_controls(_COLORS.sub("", text.replace("\r\n", "\n")))


def code(text: str, max_characters: int = MAX_CAUSE) -> str:
    """Return one line of text as a code span.

    >>> code("a `b` *c* <b>")
    '``a `b` *c* <b>``'
    """
    line = clip(plain(text), max_characters) or " "
    ticks = "`" * (_longest(line) + 1)
    return f"{ticks} {line} {ticks}" if line.startswith("`") or line.endswith("`") else f"{ticks}{line}{ticks}"


def block(text: str, max_bytes: int) -> str:
    """Return text as a fenced block, which colors lines with `-` and `+`. Whole lines, as far as they fit."""
    lines = _fitting(plain(text), max_bytes)
    fence = "`" * max(3, _longest("\n".join(lines)) + 1)
    return "\n".join((f"{fence}diff", *lines, fence))


def _longest(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)


def _fitting(text: str, max_bytes: int) -> list[str]:
    lines = text.split("\n")
    kept: list[str] = []
    room = max_bytes
    for line in lines:
        line = line if len(line) <= 2_000 else clip(line, 2_000)
        room -= len(line.encode("utf-8", "surrogatepass")) + 1
        if room < 0:
            return [*kept, f"... {amount(len(lines) - len(kept), 'more line')}"]
        kept.append(line)
    return kept


class _Page:
    """Parts of a page that has a limit. Holds state."""

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes
        self._parts: list[str] = []

    def add(self, part: str, keep_bytes: int = 0) -> bool:
        """Add a part if it leaves `keep_bytes` of room; True if it was added."""
        size = len(part.encode("utf-8", "surrogatepass")) + 1
        if size > self._room - keep_bytes:
            return False
        self._room -= size
        self._parts.append(part)
        return True

    def text(self) -> str:
        return "\n".join([*self._parts, ""]).encode("utf-8", "replace").decode()


_NOTE_BYTES: Final = 500
"""Kept free for the last line, which says what was left out."""


# -- the file of failures


def failures_page(results: Results, source: str = "the last run of pytest with a failure") -> str:
    """Return the file of failures, of at most 40 KB: each cause once, with its tests, the diff, and the command to run them.

    It is for people and coding assistants, so it has no more of a cause than its first 4 KB.
    """
    groups = results.by_cause()
    page = _Page(MAX_FAILURES_BYTES)
    failed = amount(len(results.failed), "test")
    page.add(f"# {failed} failed, {amount(len(groups), 'cause')}\n")
    page.add(f"llmtest wrote this file after {source}. The next run renews it.")
    for number, group in enumerate(groups):
        if not page.add("\n".join(_section(group)), _NOTE_BYTES):
            left = sum(len(more.tests) for more in groups[number:])
            page.add(f"\n{amount(len(groups) - number, 'more cause')}, of {amount(left, 'test')}, are left out.")
            break
    return page.text()


def _section(group: Group) -> Iterator[str]:
    yield f"\n## {code(group.cause)}\n"
    for result, failure in group.failures[:MAX_TESTS]:
        yield f"- {_test_line(result, failure)}"
    if len(group.failures) > MAX_TESTS:
        yield f"- ... and {len(group.failures) - MAX_TESTS:,} more"
    yield f"\nRun {'it' if len(group.tests) == 1 else 'them'} again: {code(rerun(group), 1_000)}"
    details = next((failure.details for _, failure in group.failures if failure.details), "")
    if details:
        yield f"\n{block(details, MAX_SECTION_BYTES)}"


def _test_line(result: Result, failure: FailedPhase) -> str:
    place = f" at {code(f'{failure.path}:{failure.line}')}" if failure.path else ""
    when = "" if failure.when == "call" else f" ({failure.when})"
    job = f", job {code(result.job)}" if result.job else ""
    return f"{code(result.test)}{place}{when}{job}"


def rerun(group: Group) -> str:
    """Return the command that runs the tests of a cause again, the first of them where they are many."""
    return shlex.join(["pytest", *group.tests[:5]])


# -- the summary of a job


def summary(results: Results, title: str = "llmtest") -> str:
    """Return the summary of a job, of at most 200 KB: the failing tests by cause, each with its diff to unfold."""
    page = _Page(MAX_SUMMARY_BYTES)
    page.add(f"### {title}: {results.headline}")
    if results.spent:
        page.add(f"\n{results.spent}")
    groups = results.by_cause()
    for number, group in enumerate(groups):
        if not page.add(f"\n#### {_heading(group)}\n", _NOTE_BYTES):
            page.add(f"\n{amount(len(groups) - number, 'more cause')} {'is' if len(groups) - number == 1 else 'are'} left out.")
            break
        for place, (result, failure) in enumerate(group.failures):
            short = f"\n- {_test_line(result, failure)}"
            if not page.add(_details(result, failure) if failure.details else short, _NOTE_BYTES) and not page.add(
                short, _NOTE_BYTES
            ):
                page.add(f"\n- ... and {len(group.failures) - place:,} more")
                break
    return page.text()


def _heading(group: Group) -> str:
    many = f"{amount(len(group.tests), 'test')}: " if len(group.tests) > 1 else ""
    return f"{many}{code(group.cause)}"


def _details(result: Result, failure: FailedPhase) -> str:
    where = f"{failure.path}:{failure.line}" if failure.path else failure.when
    words = [_html(result.test), _html(where), *([_html(result.job)] if result.job else [])]
    return f"<details><summary>{' '.join(words)}</summary>\n\n{block(failure.details, MAX_DETAILS_BYTES)}\n\n</details>"


def _html(text: str) -> str:
    return f"<code>{html.escape(clip(plain(text), MAX_CAUSE))}</code>"
