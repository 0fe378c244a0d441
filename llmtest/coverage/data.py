"""Coverage on disk: a file of JSON lines for each process that ran tests, and several of them as one.

A file has one or more sections, each from the process that wrote it: items with their numbers, and a line for each test, flushed
when the test ends. So a process that dies loses the test that it ran, and no other. What a test hit is a number in base 16 whose
bit `n` stands for item `n`: to join two tests is one `|`, however many items there are.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, Final

from llmtest.core.own_folder import FOLDER, make_folder
from llmtest.core.text import amount, printable
from llmtest.coverage.items import KINDS, Inventory, Item, Kind
from llmtest.errors import CoverageError

MARK: Final = "llmtest-coverage"
VERSION: Final = 1
SUFFIX: Final = ".jsonl"


def default_folder(root: Path) -> Path:
    """Return where a session keeps its files, for the project at `root`."""
    return root / FOLDER / "coverage"


def clear(folder: Path) -> None:
    """Remove the files of an earlier session.

    Raises:
        CoverageError: a file there is no coverage file. Nothing is removed then.
        OSError: a file cannot be read or removed.
    """
    files = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    for file in files:
        if not _is_own(file):
            raise CoverageError(f"{file} is no coverage file\n  the folder of coverage is cleared: give it one of its own")
    for file in files:
        file.unlink()


def _is_own(file: Path) -> bool:
    """True for a file that a session began: its process may have died before its first line was on disk."""
    start = json.dumps({MARK: VERSION}).partition(":")[0].encode()
    with file.open("rb") as opened:
        found = opened.read(len(start))
    return found in (start, b"")


class Writer:
    """Writes the file of one process, anew. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._file: FileIO = path.open("wb", buffering=0)  # each line is there as soon as it is written
        self._numbers: dict[str, int] = {}
        self._written: dict[str, Item] = {}
        self._changes = 0
        self._write({MARK: VERSION})

    def add(self, inventory: Inventory, hits: Iterable[str], ambiguous: Iterable[str], test: str = "") -> None:
        """Write what one test hit, and the items that no test before it has met."""
        self._add_items(inventory)
        line: dict[str, object] = {"hit": self._bits(hits)}
        maybe = self._bits(ambiguous)
        line |= {"maybe": maybe} if maybe != "0" else {}
        self._write(line | ({"test": test} if test else {}))

    def name_programs(self, inventory: Inventory, labels: Sequence[str]) -> None:
        """Write which programs the user has named, with the items that no test met."""
        self._add_items(inventory)
        self._write({"programs": list(labels)})

    def note_problem(self, text: str) -> None:
        """Write why this process could not do all of its work. The report says so, and fails."""
        self._write({"problem": text})

    def close(self) -> None:
        self._file.close()

    def _add_items(self, inventory: Inventory) -> None:
        if inventory.changes == self._changes:
            return
        self._changes = inventory.changes
        new = []
        for item in inventory:
            if self._written.get(item.id) is not item:
                self._written[item.id] = item
                number = self._numbers.setdefault(item.id, len(self._numbers))
                new.append([number, item.program, item.kind, item.name, item.subject, item.act, item.place, item.unknown])
        self._write({"items": new})

    def _bits(self, ids: Iterable[str]) -> str:
        bits = 0
        for item_id in ids:
            bits |= 1 << self._numbers[item_id]
        return f"{bits:x}"

    def _write(self, line: Mapping[str, object]) -> None:
        self._file.write(f"{_ENCODER.encode(line)}\n".encode())


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))  # `json.dumps` makes one for each line


@dataclass
class Section:
    """What one process wrote. `tests` are the name of each, empty if names are not kept, what it hit, and what is ambiguous."""

    items: dict[int, Item] = field(default_factory=dict)
    tests: list[tuple[str, int, int]] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def ids(self, bits: int) -> Iterator[str]:
        """Yield the ids of the items whose bits are set."""
        return (self.items[number].id for number, digit in enumerate(reversed(f"{bits:b}")) if digit == "1")


class CoverageData:
    """What all tests of some files hit."""

    def __init__(self, sections: Sequence[Section], torn: Sequence[Path] = ()) -> None:
        self.sections = list(sections)
        self.torn = list(torn)
        """The files whose last line is not whole: their process died while it wrote."""
        self.inventory = Inventory()
        self.hits: set[str] = set()
        maybe: set[str] = set()
        for section in self.sections:
            for item in section.items.values():
                self.inventory.add(item)
            hit = possible = 0
            for _, one, other in section.tests:
                hit |= one
                possible |= other
            self.hits |= set(section.ids(hit))
            maybe |= set(section.ids(possible))
        self.ambiguous = maybe - self.hits
        self.programs = {label for section in self.sections for label in section.programs}
        """The labels of the programs that the user has named; if there are any, no others count."""
        self.problems = list(dict.fromkeys(text for section in self.sections for text in section.problems))
        """Why processes could not do all of their work."""

    @property
    def tests(self) -> int:
        """How many tests wrote a line."""
        return sum(len(section.tests) for section in self.sections)

    def contexts(self) -> dict[str, list[str]]:
        """Return the tests that hit each item, by its id; empty if their names were not kept."""
        found: dict[str, dict[str, None]] = {}
        for section in self.sections:
            named = [(name, hit) for name, hit, _ in section.tests if name]
            for number, item in section.items.items() if named else ():
                tests = {name: None for name, hit in named if hit >> number & 1}
                if tests:
                    found.setdefault(item.id, {}).update(tests)
        return {item_id: list(tests) for item_id, tests in found.items()}


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return the coverage files that `paths` mean: files, and those in folders.

    Raises:
        CoverageError: a path does not exist, or there is no file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise CoverageError(f"there is no file or folder {path}\n  `pytest --llmtest-cov` writes one")
        found += sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not found:
        raise CoverageError(f"no coverage file is in {', '.join(map(str, paths))}\n  `pytest --llmtest-cov` writes one")
    return found


def load(paths: Iterable[Path]) -> CoverageData:
    """Read files, and all files in folders.

    Raises:
        CoverageError: a path does not exist, or a file is no coverage file, or of a newer version.
    """
    sections: list[Section] = []
    torn = []
    for path in files_of(list(paths)):
        found, is_whole = _read(path)
        sections += found
        torn += [] if is_whole else [path]
    return CoverageData(sections, torn)


def combine(paths: Iterable[Path], output: Path) -> CoverageData:
    """Join files, and all files in folders, into one, and return what is in it. The files stay.

    Raises:
        CoverageError: as `load`, or the output is one of the files. Nothing is written then.
    """
    files = files_of(list(paths))
    if any(path.resolve() == output.resolve() for path in files):
        raise CoverageError(f"{output} is one of the files to join\n  write to a file that is not among them")
    data = load(files)
    make_folder(output.parent)
    new = output.with_name(f"{output.name}.{os.getpid()}.new")
    with new.open("wb") as file:
        for path in files:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
            if path in data.torn:
                file.seek(-_torn_bytes(path), os.SEEK_CUR)
                file.truncate()
    new.replace(output)
    return data


def _torn_bytes(path: Path) -> int:
    """Return how many bytes of a file are after its last whole line."""
    content = path.read_bytes()
    return len(content) - content.rfind(b"\n") - 1


def _read(path: Path) -> tuple[list[Section], bool]:
    """Return the sections of a file, and whether its last line is whole."""
    sections: list[Section] = []
    is_whole = True
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                is_whole = False
                break
            try:
                _take(sections, json.loads(line))
            except (ValueError, KeyError, TypeError, IndexError, AttributeError):
                raise CoverageError(f"{path}:{number}: this is no line of a coverage file: {line[:60]!r}") from None
    return sections, is_whole


@lru_cache(maxsize=1 << 17)  # all workers of a session have the same items
def _item(program: str, kind: Kind, *texts: str) -> Item:
    """A name may hold anything; each report shows it on one line, and XML cannot hold all of it."""
    if kind not in KINDS:
        raise ValueError(kind)
    return Item(printable(program), kind, *map(printable, texts))


def _take(sections: list[Section], line: dict[str, Any]) -> None:
    if "hit" in line:
        hit, maybe = (int(line.get(name) or "0", 16) for name in ("hit", "maybe"))
        if not 0 <= hit | maybe < 1 << len(sections[-1].items):
            raise ValueError("there is no such item")
        sections[-1].tests.append((printable(line.get("test", "")), hit, maybe))
    elif "items" in line:
        sections[-1].items.update((number, _item(*fields)) for number, *fields in line["items"])
    elif "problem" in line:
        sections[-1].problems.append(line["problem"])
    elif "programs" in line:
        sections[-1].programs += line["programs"]
    elif line[MARK] > VERSION:
        raise CoverageError(f"a coverage file is of version {line[MARK]}; this llmtest reads up to {VERSION}: upgrade it")
    else:
        sections.append(Section())


def summary(data: CoverageData) -> str:
    """Return what is in some data, as one line."""
    return f"{amount(data.tests, 'test')} of {amount(len(data.sections), 'worker')}, {amount(len(data.inventory), 'item')}"
