"""The how-to takes a reader from 41 % to 100 %: the tables that it shows come out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs/how-to/find-what-no-test-has-seen.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    return [(info.strip(), text) for kind, info, text in BLOCK.findall(PAGE.read_text("utf-8")) if kind == language]


@pytest.mark.parametrize(("info", "table"), [block for block in blocks("text") if block[0].startswith("coverage=")])
def test_a_table_of_the_page_comes_out(pytester: pytest.Pytester, info: str, table: str) -> None:
    parts = [code for _, code in blocks("python")][: int(info.removeprefix("coverage=")) + 1]
    is_last = len(parts) == len(blocks("python"))
    pytester.makepyfile(test_desk="\n".join(parts))
    ini = blocks("ini")[0][1] if is_last else "[pytest]\n"
    pytester.makeini(ini)

    result = pytester.runpytest_inprocess("--llmtest-cov", "--llmtest-cov-report=term-missing", "-p", "no:asyncio")

    lines = result.outlines
    start = next(number for number, line in enumerate(lines) if line.startswith("Program "))
    assert lines[start : start + len(table.splitlines())] == table.splitlines()
    assert result.ret == 0
