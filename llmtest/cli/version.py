"""`llmtest version`: the versions that a bug report needs."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from llmtest.cli.terminal import CONSOLE

if TYPE_CHECKING:
    from llmtest.cli.commands import Commands


PACKAGES: Final = ("langchain-core", "langgraph", "pytest", "syrupy")


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    parser = commands.add("version", "print the versions of llmtest, Python and the packages that llmtest works with", run)
    parser.add_argument("--json", action="store_true", dest="as_json", help="as JSON; null for a package that is not installed")


def run(as_json: bool) -> int:
    """Print the versions, one a line, and return 0."""
    from llmtest import __version__

    versions = {"llmtest": __version__, "python": platform.python_version(), **{name: _installed(name) for name in PACKAGES}}
    if as_json:
        CONSOLE.print(json.dumps(versions, indent=2))
        return 0
    width = max(map(len, versions))
    for name, number in versions.items():
        CONSOLE.print(f"{name.ljust(width)}  {number or 'not installed'}")
    return 0


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
