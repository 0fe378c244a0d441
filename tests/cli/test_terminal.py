"""The console: colors for terminals only, and characters that an output does not know."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from llmtest.cli import demo
from llmtest.cli.terminal import CONSOLE

NOTICES = """
def call(tool, expression):
    return expression


def test_agent():
    assert call("calculator", expression="2 ** 0.235") == "2 ** 0.235"
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def folder_of(tmp_path: Path, source: str) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "test_agent.py").write_text(source, "utf-8")
    return folder


# -- where it prints


@pytest.mark.skipif(os.name != "posix", reason="a Windows console may show colours as letters")
def test_a_terminal_gets_colours(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)

    code = demo.run(folder_of(tmp_path, NOTICES), needs=())

    assert code == 0
    assert '\x1b[32m+    assert call("calculator", expression="3 ** 0.235")' in terminal.getvalue()
    assert "\x1b[32m1 passed\x1b[0m" in terminal.getvalue().replace("\x1b[32m\x1b[1m", "\x1b[32m")


def test_no_color_is_respected_on_a_terminal(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")

    code = demo.run(folder_of(tmp_path, NOTICES), needs=())

    assert code == 0
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize(
    ("variables", "colored"),
    [({"FORCE_COLOR": "1"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False), ({}, os.name == "posix")],
    ids=["forced", "dumb", "no color", "none"],
)
def test_the_usual_variables_are_respected(monkeypatch, variables, colored):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal, pipe = Terminal(), io.StringIO()

    for out in (terminal, pipe):
        monkeypatch.setattr(sys, "stdout", out)
        CONSOLE.print("text", "31")

    assert (terminal.getvalue() == "\x1b[31mtext\x1b[0m\n") == colored
    assert ("\x1b" in pipe.getvalue()) == ("FORCE_COLOR" in variables)


def test_an_output_that_knows_few_characters_gets_the_rest(tmp_path, monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", narrow)

    code = demo.run(folder_of(tmp_path, f"{NOTICES}\n    assert not '18 °C → ok'\n"), needs=())

    assert code == 1
    narrow.seek(0)
    assert "assert not '18 ?C ? ok'" in narrow.read()
