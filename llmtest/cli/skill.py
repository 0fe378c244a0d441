"""`llmtest skill`: what a coding assistant must know to write tests with llmtest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmtest.cli.terminal import CONSOLE

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands

FILE: Final = Path(__file__).with_name("skill.md")


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "print a skill file for coding assistants: how to write tests with llmtest"
    commands.add("skill", words, run)


def run() -> int:
    """Print the skill file, which begins with a name and a description, and return 0."""
    CONSOLE.print(FILE.read_text("utf-8").rstrip("\n"))
    return 0
