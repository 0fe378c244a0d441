"""The cassettes below some folders, as rows of a table: test, age, models, calls, size, and whether each was stale."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from llmtest.core.text import amount
from llmtest.errors import CassetteError, ScriptError
from llmtest.scripts.files import HEADER_2, ScriptFile, read_file
from llmtest.scripts.requests import KeyedSteps

SKIPPED: Final = frozenset({".git", ".hg", ".svn", ".tox", ".nox", ".venv", "venv", "node_modules", "__pycache__", ".llmtest"})
"""Folders that hold no files of the project."""
ENDINGS: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Listed:
    """One cassette: its file, its test, and what is known of it. `stale` is None if that is not known, `age_days` without a
    date. `problem` says why it cannot be read; then nothing else is known."""

    cassette: str
    test: str = ""
    recorded: str = ""
    age_days: int | None = None
    models: tuple[str, ...] = ()
    calls: int = 0
    bytes: int = 0
    stale: bool | None = None
    problem: str = ""


def find(paths: Iterable[Path], stale: Mapping[str, bool], root: Path, today: date) -> list[Listed]:
    """Return the cassettes below `paths`, sorted by their files, whose names are relative to `root`.

    `stale` has those that were compared with requests when their test ran last.

    Raises:
        CassetteError: a path does not exist.
    """
    files: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise CassetteError(f"there is no file and no folder `{path}`")
        files.update(dict.fromkeys(path.resolve() for path in _files(path)))
    return [_listed(path, _shown(path, root), stale, today) for path in sorted(files)]


def _files(path: Path) -> Iterator[Path]:
    """Yield the files of cassettes: those with the header of a recording, and the name of a test."""
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        for name in sorted(names):
            file = Path(folder) / name
            if file.suffix in ENDINGS and _is_cassette(file):
                yield file


def _is_cassette(file: Path) -> bool:
    with file.open("rb") as opened:
        lines = opened.read(4096).splitlines()
    return bool(lines) and lines[0] == HEADER_2.encode() and any(line.startswith(b"test:") for line in lines)


def _listed(path: Path, shown: str, stale: Mapping[str, bool], today: date) -> Listed:
    data = path.read_bytes()
    try:
        file = read_file(data, os.fspath(path))
    except ScriptError as error:
        return Listed(shown, bytes=len(data), problem=str(error).splitlines()[0])
    age = (today - date.fromisoformat(file.recorded)).days if file.recorded else None
    models = tuple(dict.fromkeys([*file.models, *(["*"] if file.entries else []), *file.embeddings]))
    return Listed(shown, file.test, file.recorded, age, models, _calls(file), len(data), stale.get(shown))


def _calls(file: ScriptFile) -> int:
    entries = [*file.entries, *(entry for found in file.models.values() for entry in found)]
    return sum(len(entry.steps) if isinstance(entry, KeyedSteps) else 1 for entry in entries)


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def read_stale(folder: Path) -> dict[str, bool]:
    """Return what the plugin has kept in the cache of pytest in `folder`: each cassette, and whether it was stale."""
    file = folder / "v" / "llmtest" / "stale"
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):  # no run yet, or a cache that was cut off: then it is not known
        return {}
    return {str(path): stale for path, stale in found.items() if isinstance(stale, bool)} if isinstance(found, dict) else {}


# -- the table


def table(found: Sequence[Listed]) -> list[tuple[str, ...]]:
    """Return the cells of a table, with its heads first. A cassette that cannot be read has no row."""
    rows = [_cells(one) for one in found if not one.problem]
    return [("test", "age", "calls", "size", "stale", "models"), *rows]


def _cells(one: Listed) -> tuple[str, ...]:
    age = "-" if one.age_days is None else amount(one.age_days, "day")
    stale = {True: "yes", False: "no", None: "-"}[one.stale]
    return one.test or one.cassette, age, str(one.calls), _size(one.bytes), stale, ", ".join(one.models)


def _size(number: int) -> str:
    return f"{number} B" if number < 1000 else f"{number / 1000:.1f} kB"


def to_json(found: Sequence[Listed]) -> list[dict[str, Any]]:
    """Return cassettes as JSON."""
    return [asdict(one) for one in found]
