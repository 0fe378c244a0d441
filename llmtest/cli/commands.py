"""The command line: the list of commands, and the code that all of them share.

A command is a function that takes its arguments by name and returns the exit code. Here and in the modules of the commands
only the standard library is imported at the top, so that `llmtest --help` costs nothing.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

from llmtest.cli.terminal import CONSOLE
from llmtest.core.text import did_you_mean

MODULES: Final = (
    "cassettes",
    "check",
    "cov",
    "demo",
    "evals",
    "listen",
    "merge",
    "reproduce",
    "scan",
    "script",
    "serve",
    "skill",
    "snapshots",
    "traces",
    "version",
)
"""The modules of this package that have commands. Each has a function `add(commands)`."""
DOCUMENTATION: Final = "Documentation: https://llmtest.github.io/llmtest/"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Raises:
        SystemExit: as `argparse` does, for `--help` (0), `--version` (0) and a wrong command line (2).
    """
    from llmtest import __version__

    given = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="llmtest", description="Test programs built on language models.", epilog=DOCUMENTATION)
    parser.add_argument("--version", action="version", version=f"llmtest-kit {__version__}")
    commands = Commands(parser)
    for name in MODULES:
        import_module(f"llmtest.cli.{name}").add(commands)
    if not given:
        parser.print_help()
        return 0
    if not given[0].startswith("-") and given[0] not in commands.names:
        hint = did_you_mean(given[0], commands.names, otherwise="`llmtest --help` lists all")
        parser.exit(2, f"llmtest: there is no command {given[0]!r}{hint}\n")
    arguments = vars(parser.parse_args(given))
    run: Callable[..., int] = arguments.pop("run")
    return run(**arguments)


class Commands:
    """The commands of a parser, or of a group such as `llmtest evals`. A module adds its own to it."""

    def __init__(self, parser: argparse.ArgumentParser, group: str = "") -> None:
        self.names: list[str] = []
        self._group = group
        self._parsers: Any = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(self, name: str, words: str, run: Callable[..., int], *options: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Add the command `name` and return its parser, which takes arguments. `words` say what it does, for `--help`."""
        self.names.append(name)
        said = f"{words[0].upper()}{words[1:]}."
        parser: argparse.ArgumentParser = self._parsers.add_parser(name, help=words, description=said, parents=options)
        parser.set_defaults(run=functools.partial(_run, f"{self._group}{name}", run))
        return parser

    def group(self, name: str, words: str) -> Commands:
        """Add a command that has commands of its own, and return these."""
        self.names.append(name)
        parser = self._parsers.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        return Commands(parser, f"{self._group}{name} ")


def _run(command: str, run: Callable[..., int], /, **arguments: object) -> int:
    from llmtest.errors import LlmtestError

    try:
        return run(**arguments)
    except BrokenPipeError:  # the reader has closed the pipe; Python would fail once more when it flushes stdout at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), CONSOLE.out.fileno())
        return 0
    except (LlmtestError, OSError) as error:
        CONSOLE.note(f"llmtest {command}: {error}")
        return 2
