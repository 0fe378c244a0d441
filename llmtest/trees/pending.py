"""Mismatches of snapshots and cassettes: their description, and the pending files that can be accepted or rejected.

Pending files mirror the tests: `.llmtest/pending/tests/test_agent.py/test_weather.tree`. A file holds the received text;
two lines below the header name the test and the snapshot that it would become. Of a cassette, it is the YAML.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from llmtest.cassettes import masking
from llmtest.core.own_folder import make_folder
from llmtest.core.text import amount, did_you_mean, escape_controls
from llmtest.errors import PendingError, ScriptError
from llmtest.scripts.files import read_file
from llmtest.scripts.secret_texts import Secret
from llmtest.trees.cassette_text import cassette_text, compare_spent
from llmtest.trees.differ import MAX_LINES, Difference, diff
from llmtest.trees.parsing import Damage, damage, renew_header
from llmtest.trees.rendering import HEADER, Rendered

FOLDER: Final = ".llmtest/pending"
VARIABLE: Final = "LLMTEST_PENDING_DIR"

ENDING: Final = ".tree"
OLD_ENDING: Final = ".trace"
"""The ending of snapshots before a trace meant a stored run. They are read as before, until an update renames them."""

_TEST: Final = "# test "
_SNAPSHOT: Final = "# snapshot "
_CASSETTE: Final = "# cassette "
CASSETTE_ENDING: Final = ".yaml"


# -- files


def read_text(path: Path) -> str | None:
    """Return the text of a snapshot file with today's header; None if there is no file.

    Raises:
        PendingError: it is not UTF-8.
    """
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        text = renew_header(data.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PendingError(f"{path.name}, line {line}: the file is not UTF-8; restore it, or delete it") from None
    # We end the header with "\n"; so "\r\n" is the work of a checkout (git's core.autocrlf), in every line.
    return text.replace("\r\n", "\n") if text.startswith(f"{HEADER}\r\n") else text


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: a concurrent reader sees the old text or the new one, never a part."""
    make_folder(path.parent)
    # A dot-file, because syrupy deletes any other file in a folder of snapshots as unused.
    beside = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(text.encode("utf-8", "surrogatepass"))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def stored_file(snapshot: Path) -> Path:
    """Return the file of `snapshot`: the one with the old ending only if there is no other."""
    old = snapshot.with_suffix(OLD_ENDING)
    return old if old.is_file() and not snapshot.is_file() else snapshot


def write_snapshot(path: Path, text: str) -> None:
    """Write `text` to `path`, in place of a file there that has the old ending."""
    write_text(path, text)
    path.with_suffix(OLD_ENDING).unlink(missing_ok=True)


def renew(snapshot: Path) -> None:
    """Give `snapshot` the ending and the header of today, if only a file with the old ending holds it.

    Raises:
        PendingError: it is not UTF-8.
    """
    text = read_text(stored_file(snapshot)) if stored_file(snapshot) != snapshot else None
    if text is not None:
        write_snapshot(snapshot, text)


def harm(expected: str, received: str) -> Damage | None:
    """Return the damage of a snapshot's text. It must be a tree only if the received text is one."""
    return damage(expected, tree=damage(received) is None)


def _without_about(text: str) -> str:
    """Return what is in a pending file: its text without the lines about it, the second and the third."""
    header, *_, received = f"{text}\n\n\n".split("\n", 3)
    return f"{header}\n{received.removesuffix(chr(10) * 3)}"


def read_about(text: str) -> tuple[str, str] | None:
    """Return the test in the text of a pending file, and what the file would become; None if it is no pending file.

    Raises:
        ValueError: a line about them is damaged.
    """
    header, test, target, *_ = f"{text}\n\n\n".split("\n", 3)
    is_tree = renew_header(header) == HEADER and target.startswith(_SNAPSHOT)
    if not test.startswith(_TEST) or not (is_tree or (header.startswith("# llmtest script") and target.startswith(_CASSETTE))):
        return None
    told = [json.loads(test.removeprefix(_TEST)), json.loads(target.removeprefix(_SNAPSHOT if is_tree else _CASSETTE))]
    if not all(isinstance(name, str) for name in told):
        raise ValueError("the test and the snapshot are no strings")
    return told[0], told[1]


# -- mismatches

_diff: Final = lru_cache(maxsize=8)(diff)  # headline, diff and change of one mismatch are read one after the other


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A snapshot that a test did not match. If there is nothing to compare, the last line of `error` says why, and `received`
    is None. `source` renders what was received anew.

    Of a cassette (`what`), the texts are its answers as trees, and `more` are lines about what they have spent.
    """

    test: str
    snapshot: Path
    expected: str | None = None
    received: str | None = None
    error: str = ""
    source: Rendered | None = field(default=None, compare=False, repr=False)
    what: Literal["snapshot", "cassette"] = "snapshot"
    more: tuple[str, ...] = ()

    @property
    def damage(self) -> Damage | None:
        """The damage of the snapshot's file."""
        return None if self.expected is None or self.received is None else harm(self.expected, self.received)

    @property
    def difference(self) -> Difference | None:
        return None if self.expected is None or self.received is None else _diff(self.expected, self.received)

    @property
    def category(self) -> str:
        """`new`, `damaged`, `changed structure` or `changed text`."""
        if self.what == "cassette" and self.error:
            return "damaged"
        if self.expected is None:
            return "new"
        difference = self.difference
        if self.damage is not None or difference is None:
            return "damaged"
        return "changed structure" if difference.structure else "changed text"

    @property
    def headline(self) -> str:
        """The problem on one line."""
        name = self.snapshot.name
        if self.error:
            return self.error.splitlines()[-1]
        if self.expected is None:
            return f"no {self.what} yet: there is no {name}"
        if self.damage is not None:
            return f"{self.what} unreadable: {name}, {self.damage}"
        difference = self.difference
        return f"{self.what} differs: {difference.headline}" if difference else f"the {self.what} matches by now"

    @property
    def words(self) -> str:
        """The headline without the place and the extent of the difference: the same for the same change in another test."""
        if self.expected is None and not self.error:
            return f"no {self.what} yet"
        difference = self.difference if not self.error and self.damage is None else None
        return f"{self.what} differs: {difference.words}" if difference else self.headline

    @property
    def change(self) -> Hashable | None:
        """What has changed, in full: equal for tests in which the same texts have become the same texts. None if there is no
        difference to compare."""
        difference = None if self.error or self.damage is not None else self.difference
        if difference is None:
            return None
        return self.what, difference.changes, self.more

    def lines(self, *, limit: int | None = MAX_LINES, color: bool = False) -> list[str]:
        """Return the diff; the whole text of a new snapshot; the origin of an error. Of a cassette, what it has spent, too."""
        return [*self._lines(limit, color), *self.more]

    def _lines(self, limit: int | None, color: bool) -> list[str]:
        if self.error or self.received is None:
            return self.error.splitlines()[:-1]
        if self.expected is None or self.damage is not None:
            shown = self.received.splitlines()[1:]
            shown = [escape_controls(line) for line in shown] if color else shown
            more = [] if limit is None or len(shown) <= limit else [f"  … {amount(len(shown) - limit + 1, 'more line')}"]
            return [*(f"  {line}" for line in shown[: limit - 1 if limit is not None and more else None]), *more]
        return self.difference.lines(limit=limit, color=color) if self.difference else []

    def footer(self, root: Path, kept: Path | None, *, alone: bool = True) -> list[str]:
        """Return the commands that accept and review it, to copy. `kept` is the pending file. If it is not the only reason for
        which the test has failed, it is not `alone`, and nothing accepts it before that is mended.

        No command runs the program again and accepts what it does then: what is accepted has been looked at.
        """
        snapshot = shown(self.snapshot, root)
        lines = [f"  {self.what}  {snapshot}"]
        if self.error:
            return lines
        if kept is None:
            run = "pytest --llmtest-record=verify" if self.what == "cassette" else "pytest"
            if self.what == "snapshot" and self.damage is not None:
                run = f"rm {shlex.quote(snapshot)}; {run}"
            return [
                *lines,
                f"  review    {run} {shlex.quote(self.test)}; llmtest review",
                "  (nothing was kept: CI is set; pytest --llmtest-report=FOLDER keeps it)",
            ]
        show = shlex.join(["llmtest", "diff", snapshot, shown(kept, root)])
        accept = shlex.join(["llmtest", "accept", self.test])
        more = [] if self.what == "cassette" else [f"  show      {show}"]
        accepts = f"  accept    {accept}" if alone else "  (the test fails for another reason, too: mend that before you accept)"
        return [*lines, accepts, "  review    llmtest review", *more]


@dataclass(frozen=True, slots=True)
class Uncompared(Mismatch):
    """A difference from its snapshot that a test did not come to, because it failed before."""

    @property
    def headline(self) -> str:
        """The difference on one line."""
        differs = f"; it differs: {self.difference.headline}" if self.difference else ""
        return f"not compared, because the test failed before{differs}"


def shown(path: Path, root: Path) -> str:
    """Return a path relative to `root`, if it is inside it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


# -- pending files


@dataclass(frozen=True, slots=True)
class Pending:
    """A pending text: its file, its test, and the snapshot that it would become."""

    path: Path
    test: str
    snapshot: Path
    received: str

    @property
    def mismatch(self) -> Mismatch:
        file = stored_file(self.snapshot)
        return Mismatch(self.test, file, read_text(file), self.received)

    def check(self, *, by_name: bool = False) -> None:
        """Raise an error if it must not become the snapshot. A damaged snapshot must be named explicitly.

        Raises:
            PendingError: the file of the snapshot is damaged.
        """
        mismatch = self.mismatch
        harmed = mismatch.damage
        if harmed is not None and not by_name:
            hint = f"accept it by name: llmtest accept {shlex.quote(self.test)}"
            raise PendingError(f"{mismatch.snapshot.name}, {harmed}\n  it is not overwritten unasked; repair it, or {hint}")

    def accept(self, *, by_name: bool = False) -> None:
        """Make it the snapshot.

        Raises:
            PendingError: as `check` does.
        """
        self.check(by_name=by_name)
        write_snapshot(self.snapshot, self.received)
        self.reject()

    def reject(self) -> None:
        """Delete the pending file; the snapshot stays as it is."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class PendingCassette(Pending):
    """A pending cassette: a recording that `--llmtest-record=verify` made, and the cassette that it would become."""

    @property
    def mismatch(self) -> Mismatch:
        after = read_file(self.received, os.fspath(self.path))
        expected, before, error = None, None, ""
        try:
            before = read_file(self.snapshot.read_bytes(), os.fspath(self.snapshot)) if self.snapshot.is_file() else None
        except ScriptError as broken:
            error = str(broken).splitlines()[0]
        if before is not None:
            expected = cassette_text(before, tools=True)
        more = () if error else tuple(compare_spent(before, after))
        return Mismatch(self.test, self.snapshot, expected, cassette_text(after, tools=True), error, what="cassette", more=more)

    def check(self, *, by_name: bool = False) -> None:
        """Raise an error if it must not become the cassette. A damaged cassette must be named explicitly.

        Raises:
            PendingError: the file of the cassette is damaged.
        """
        problem = self.mismatch.error
        if problem and not by_name:
            hint = f"accept it by name: llmtest accept {shlex.quote(self.test)}"
            raise PendingError(f"{problem}\n  it is not overwritten unasked; repair it, or {hint}")

    def accept(self, *, by_name: bool = False) -> None:
        """Make it the cassette, with what is masked in it.

        Raises:
            PendingError: as `check` does.
        """
        self.check(by_name=by_name)
        write_text(self.snapshot, self.received)
        masking.keep(self.snapshot, masking.kept(self.path))
        self.reject()

    def reject(self) -> None:
        self.path.unlink(missing_ok=True)
        masking.keep(self.path, {})


class Folder:
    """The folder of pending files of one project. Paths in them are relative to `root`.

    In CI (the environment variable `CI` is set) nothing is kept, unless `LLMTEST_PENDING_DIR` names the folder.
    """

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        told = environ.get(VARIABLE)
        self.root = root
        self.path = root / (told or FOLDER)
        self.writes = bool(told) or not environ.get("CI")

    @classmethod
    def around(cls, place: Path, environ: Mapping[str, str]) -> Folder:
        """Return the folder of the project around `place`: the nearest one above it that has pending files."""
        near = next((root for root in (place, *place.parents) if (root / FOLDER).is_dir()), place)
        return cls(place if environ.get(VARIABLE) else near, environ)

    def place(self, mismatch: Mismatch) -> Path:
        """Return the path of a mismatch's pending file."""
        file = PurePosixPath(mismatch.test.partition("::")[0])
        folders = (part for part in file.parts if part not in ("..", "/"))
        return self.path.joinpath(*folders, mismatch.snapshot.with_suffix(ENDING).name)

    def keep(self, mismatch: Mismatch) -> Path | None:
        """Write the received text to a pending file; return None if there is no text, or nothing may be written."""
        if not self.writes or mismatch.received is None:
            return None
        path = self.place(mismatch)
        snapshot = shown(mismatch.snapshot.with_suffix(ENDING), self.root)
        about = [f"{_TEST}{json.dumps(mismatch.test)}", f"{_SNAPSHOT}{json.dumps(snapshot)}"]
        write_snapshot(path, "\n".join((HEADER, *about, mismatch.received.removeprefix(f"{HEADER}\n"))))
        return path

    def keep_cassette(self, test: str, cassette: Path, text: str, masked: Mapping[str, list[Secret]]) -> Path | None:
        """Write the YAML of a recording to a pending file, and what is `masked` in it beside it. None: nothing may be written."""
        if not self.writes:
            return None
        path = self.place_of_cassette(test, cassette)
        header, _, rest = text.partition("\n")
        about = [f"{_TEST}{json.dumps(test)}", f"{_CASSETTE}{json.dumps(shown(cassette, self.root))}"]
        write_text(path, "\n".join((header, *about, rest)))
        masking.keep(path, masked)
        return path

    def place_of_cassette(self, test: str, cassette: Path) -> Path:
        """Return the path of a cassette's pending file."""
        return self.place(Mismatch(test, cassette)).with_name(cassette.name)

    def forget_cassette(self, test: str, cassette: Path) -> None:
        """Delete the pending file of a cassette that is as the real models answer."""
        if self.writes:
            path = self.place_of_cassette(test, cassette)
            path.unlink(missing_ok=True)
            masking.keep(path, {})

    def forget(self, mismatch: Mismatch) -> None:
        """Delete the pending file of a snapshot that matches by now."""
        if self.writes:
            for ending in (ENDING, OLD_ENDING):
                self.place(mismatch).with_suffix(ending).unlink(missing_ok=True)

    def found(self) -> list[Pending]:
        """Return all pending snapshots and cassettes, sorted by path.

        Raises:
            PendingError: a file is no pending file, or names a snapshot outside of the project.
        """
        files = sorted(self.path.rglob("*"))
        return [self._read(path) for path in files if path.suffix in (ENDING, OLD_ENDING, CASSETTE_ENDING)]

    def _read(self, path: Path) -> Pending:
        if path.suffix == CASSETTE_ENDING:
            return self._read_cassette(path)
        text = read_text(path) or ""
        test, snapshot = self._about(path, text, HEADER, "snapshot")
        target = self.root / snapshot
        if not target.resolve().is_relative_to(self.root.resolve()) or target.suffix not in (ENDING, OLD_ENDING):
            raise PendingError(f"{shown(path, self.root)} names the snapshot {target}, which is not in {self.root}; delete it")
        return Pending(path, test, target.with_suffix(ENDING), _without_about(text))

    def _read_cassette(self, path: Path) -> PendingCassette:
        text = path.read_text("utf-8")
        test, cassette = self._about(path, text, "# llmtest script", "cassette")
        target = self.root / cassette
        if not target.resolve().is_relative_to(self.root.resolve()) or target.suffix != CASSETTE_ENDING:
            raise PendingError(f"{shown(path, self.root)} names the cassette {target}, which is not in {self.root}; delete it")
        return PendingCassette(path, test, target, _without_about(text))

    def _about(self, path: Path, text: str, header: str, what: str) -> tuple[str, str]:
        """Return the test that a pending file names, and its target."""
        try:
            about = read_about(text) if text.startswith(header) else None
        except ValueError:
            about = None
        if about is None:
            raise PendingError(f"{shown(path, self.root)} is no pending {what}; delete it")
        return about

    def named(self, name: str, among: Sequence[Pending] | None = None) -> list[Pending]:
        """Return the pending snapshots of a test, a file or a folder: by node id or the end of it, or by the path of a file.
        They are looked for `among` those that are given, or among all.

        Raises:
            PendingError: there is none; the text has the nearest name.
        """
        pending = self.found() if among is None else among
        chosen = [one for one in pending if _is_meant(one, name, self.root)]
        if chosen:
            return chosen
        hint = did_you_mean(name, [one.test for one in pending], otherwise="`llmtest pending` lists all", at_least=0.3)
        raise PendingError(f"nothing is pending for {name!r}{hint}")


def _is_meant(one: Pending, name: str, root: Path) -> bool:
    paths = (one.path, one.snapshot, one.snapshot.with_suffix(OLD_ENDING))
    if name in {*(shown(path, root) for path in paths), *map(str, paths)} or name == one.test:
        return True
    inside = name.rstrip("/")
    return one.test.startswith((f"{inside}/", f"{inside}::", f"{inside}[")) or one.test.endswith((f"/{name}", f"::{name}"))


def to_json(pending: Sequence[Pending], root: Path) -> str:
    """Return pending snapshots as JSON."""
    told = [
        {
            "test": one.test,
            "category": one.mismatch.category,
            "headline": one.mismatch.headline,
            "snapshot": shown(one.snapshot, root),
            "pending": shown(one.path, root),
        }
        for one in pending
    ]
    return json.dumps(told, indent=2, ensure_ascii=False)
