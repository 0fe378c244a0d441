"""`llmtest skill`: the file for coding assistants. Its programs run, its links lead somewhere, its messages are ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import llmtest
from llmtest import matching
from llmtest.cli import commands, skill

ROOT = Path(__file__).parents[2]
TEXT = skill.FILE.read_text("utf-8")


def test_it_prints_a_name_a_description_and_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["skill"]) == 0

    out = capsys.readouterr().out
    _, head, body = out.split("---\n", 2)
    assert out == TEXT
    assert yaml.safe_load(head).keys() == {"name", "description"}
    assert body.startswith("\n# Tests with llmtest\n")
    assert len(TEXT) < 6_000, "an assistant reads all of it each time"


def test_its_programs_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("\n\n".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)))

    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio").assert_outcomes(passed=2)


def test_each_name_that_it_calls_is_there() -> None:
    names = set(re.findall(r"(?<![.\w])([a-z_A-Z]+)\(", "\n".join(re.findall(r"`([^`\n]+)`", TEXT))))
    ours = {name for name in names if hasattr(llmtest, name) or hasattr(matching, name)}

    assert names - ours == {"print"}


@pytest.mark.parametrize(
    "message",
    ["snapshot differs", "never used", "unexpected ", "two concurrent runs", "was about to leave the machine"],
)
def test_the_messages_that_it_explains_are_ours(message: str) -> None:
    assert message in TEXT
    assert any(message in path.read_text("utf-8") for path in (ROOT / "llmtest").rglob("*.py"))
