"""Undo of the last accept: what the files were before, kept in `.llmtest/undo/` until the next accept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from llmtest.cassettes import masking
from llmtest.core.own_folder import FOLDER
from llmtest.errors import PendingError
from llmtest.trees.pending import Folder, Pending, shown, stored_file, write_text

UNDO: Final = "undo"
_INDEX: Final = "accepted.json"


class Undo:
    """The last accept in one project. Its state is on disk, so a later command can undo it."""

    def __init__(self, folder: Folder) -> None:
        self._root = folder.root
        self._path = folder.root / FOLDER / UNDO

    @property
    def is_possible(self) -> bool:
        """True if there is an accept to undo."""
        return (self._path / _INDEX).is_file()

    def remember(self, chosen: Iterable[Pending]) -> None:
        """Keep what the files of `chosen` are, in place of what was kept before. Called before they are accepted."""
        self.forget()
        entries: list[dict[str, Any]] = []
        for number, one in enumerate(chosen):
            before = stored_file(one.snapshot)
            kept = before.is_file()
            if kept:
                _copy(before, self._path / f"{number}.before{before.suffix}")
            _copy(one.path, self._path / f"{number}.pending{one.path.suffix}")
            names = {"test": one.test, "snapshot": one.snapshot, "before": before if kept else None, "pending": one.path}
            entries.append({name: shown(path, self._root) if isinstance(path, Path) else path for name, path in names.items()})
        write_text(self._path / _INDEX, json.dumps(entries, indent=1))

    def forget(self) -> None:
        """Keep nothing: there is no accept to undo."""
        shutil.rmtree(self._path, ignore_errors=True)

    def run(self) -> Iterator[str]:
        """Undo the last accept: yield a line for each snapshot that is as it was, and for each that has changed since.

        Raises:
            PendingError: there is nothing to undo, or what was kept cannot be read.
        """
        if not self.is_possible:
            raise PendingError("there is no accept to undo")
        try:
            entries = json.loads((self._path / _INDEX).read_text("utf-8"))
            for number, entry in enumerate(entries):
                yield self._restore(number, entry)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PendingError(f"the last accept cannot be undone: {type(error).__name__}: {error}") from None
        self.forget()

    def _restore(self, number: int, entry: dict[str, Any]) -> str:
        snapshot, pending = self._root / entry["snapshot"], self._root / entry["pending"]
        kept = self._path / f"{number}.pending{pending.suffix}"
        if not snapshot.is_file() or not _is_accepted(snapshot, kept):
            return f"left      {entry['test']}: {entry['snapshot']} was not accepted, or has changed since"
        snapshot.unlink()
        masking.keep(snapshot, {}) if snapshot.suffix == ".yaml" else None
        if entry["before"] is not None:
            before = self._root / entry["before"]
            _copy(self._path / f"{number}.before{before.suffix}", before)
        _copy(kept, pending)
        return f"undone    {entry['test']}: {entry['snapshot']}"


def _copy(source: Path, target: Path) -> None:
    write_text(target, source.read_bytes().decode("utf-8", "surrogatepass"))
    if source.suffix == ".yaml":
        masking.keep(target, masking.kept(source))


def _is_accepted(snapshot: Path, pending: Path) -> bool:
    """True if the file is what the pending file would become: the same text without the lines about the test."""
    text = pending.read_bytes().split(b"\n")
    return snapshot.read_bytes().rstrip(b"\n") == b"\n".join([text[0], *text[3:]]).rstrip(b"\n")
