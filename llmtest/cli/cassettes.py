"""`llmtest cassettes`: the cassettes of the project, their age, and whether they are stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmtest.cli.terminal import CONSOLE

if TYPE_CHECKING:
    from llmtest.cassettes.listing import Listed
    from llmtest.cli.commands import Commands


def add(commands: Commands) -> None:
    """Add this command to the command line."""
    words = "list the cassettes: test, age, model calls, size, models, and whether each was stale when its test ran last"
    parser = commands.add("cassettes", words, run)
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files or folders; by default, this folder")
    parser.add_argument("--json", action="store_true", dest="as_json", help="as JSON")


def run(paths: list[Path], as_json: bool) -> int:
    """Print the cassettes and return 0, or 1 if one of them cannot be read.

    Raises:
        CassetteError: a path does not exist.
    """
    from datetime import UTC, datetime

    from llmtest.cassettes import listing
    from llmtest.cli.settings import read_settings

    settings = read_settings(Path.cwd())
    root = settings.folder if settings.file is not None else _around(Path.cwd())
    stale = listing.read_stale(root / settings.text("cache_dir", _CACHE))
    found = listing.find(paths or [Path()], stale, root, datetime.now(UTC).date())
    broken = [one for one in found if one.problem]
    if as_json:
        CONSOLE.print(json.dumps(listing.to_json(found), indent=2, ensure_ascii=False))
    elif not found:
        CONSOLE.print("no cassettes; `pytest --llmtest-record=once` records those of tests with the marker llm_cassette")
    else:
        _print(found)
        for one in broken:
            CONSOLE.print(f"unreadable  {one.problem}", "31")
    return 1 if broken else 0


_CACHE: Final = ".pytest_cache"


def _around(folder: Path) -> Path:
    """Return the nearest folder around `folder` with a cache of pytest: without a configuration file, pytest ran from there."""
    return next((place for place in (folder, *folder.parents) if (place / _CACHE).is_dir()), folder)


def _print(found: list[Listed]) -> None:
    from llmtest.cassettes.listing import table

    rows = table(found)
    if len(rows) == 1:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        first, *middle, last = row
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True)), last]
        CONSOLE.print("  ".join(cells), "1" if number == 0 else "31" if row[4] == "yes" else "")
