"""Snapshots of run trees: a syrupy extension with one text file for each snapshot.

The only module that imports syrupy (5, 6 and 7).
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import traceback
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_stack
from typing import Any, Final, get_args

import pytest
from syrupy.assertion import AssertionResult, SnapshotAssertion
from syrupy.data import Snapshot, SnapshotCollection, SnapshotCollections
from syrupy.extensions.base import AbstractSyrupyExtension
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.session import SnapshotSession
from syrupy.types import SerializedData, SnapshotIndex

from llmtest.concurrency.asyncio_state import without_loop
from llmtest.core.source import FRAMEWORK, program_line
from llmtest.core.text import amount, did_you_mean
from llmtest.core.unread import unequal
from llmtest.errors import PendingError, SnapshotError
from llmtest.events.callbacks import RunKind
from llmtest.events.events import Run
from llmtest.pytest_plugin.arguments import arguments_of, base_id
from llmtest.recording.recording import Recording
from llmtest.trees.pending import ENDING, OLD_ENDING, Mismatch, Uncompared, harm, read_text, renew, stored_file, write_text
from llmtest.trees.rendering import HEADER, Part, Rendered, render

_MAX_NAME_BYTES: Final = 180
"""Of a file's name, without what we add to it: file systems take 255."""


class TreeExtension(SingleFileSnapshotExtension):
    """Keeps each tree in `__snapshots__/<test file>/<test>.tree`: a header line, then the text, which ends with a newline.

    What is read is exactly what was written, also `\\r` and characters that are not valid Unicode. A file with the old ending
    `.trace` stays where it is, and is read and compared, until `--snapshot-update` renames it.
    """

    _write_mode = WriteMode.TEXT
    file_extension = ENDING.removeprefix(".")
    left_alone: Collection[Path] = ()
    """Folders whose snapshots are not looked for: of tests that have not run to their end."""
    compared: Collection[str] = ()
    """Files that a test has compared. They are not unused, and syrupy would search the test of each among all tests."""

    def serialize(self, data: object, *, exclude: object = None, include: object = None, matcher: object = None) -> str:
        """Return the text of the file.

        Raises:
            TypeError: `data` is no recording, run or str; or syrupy is asked to pick from it.
        """
        if exclude is not None or include is not None:
            raise TypeError("llm_snapshot compares whole trees, so it takes no `include` and no `exclude`; compare a run of it")
        if not isinstance(data, Recording | Run | Part | str):
            raise TypeError(
                f"llm_snapshot compares a Recording, a part of one, a Run or a str; got {type(data).__name__} {data!r}"
            )
        text = f"{data}\n" if isinstance(data, str) else render(data)
        return f"{HEADER}\n{text}"

    def matches(self, *, serialized_data: Any, snapshot_data: Any) -> bool:
        """True if two texts are equal. A damaged file must not be overwritten unasked, so it is an error."""
        if serialized_data == snapshot_data:
            return True
        if harm(snapshot_data, serialized_data) is not None:
            raise SnapshotError("the file of the snapshot is damaged")
        return False

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        """Return the name of the file: that of the test; with a hash where two tests could have the same."""
        name = AbstractSyrupyExtension.get_snapshot_name(test_location=test_location, index=index)
        clean = "".join(c for c in name if c not in '\\/?*:|"<>' and unicodedata.category(c)[0] != "C")
        short = clean.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
        if short == name and not _may_clash(test_location, name, index):
            return name
        return f"{short}.~{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return str(stored_file(Path(super().get_location(test_location=test_location, index=index))))

    def discover_snapshots(self, *, test_location: PyTestLocation, **options: Any) -> SnapshotCollections:
        kept = SnapshotCollections()
        for collection in super().discover_snapshots(test_location=test_location, **options):  # syrupy 7 finds those of all files
            if collection.location not in self.compared and Path(collection.location).parent not in self.left_alone:
                kept.add(collection)
        return kept

    def is_snapshot_location(self, *, location: str) -> bool:
        return location.endswith((ENDING, OLD_ENDING))

    def read_snapshot_collection(self, *, snapshot_location: str) -> SnapshotCollection:
        collection = SnapshotCollection(location=snapshot_location)
        collection.add(Snapshot(name=Path(snapshot_location).stem))  # syrupy cuts off as much as today's ending is long
        return collection

    def delete_snapshots(self, *, snapshot_location: str, snapshot_names: set[str]) -> None:
        Path(snapshot_location).unlink(missing_ok=True)  # one worker has renamed what another had found

    def read_snapshot_data_from_location(self, *, snapshot_location: str, snapshot_name: str, session_id: str) -> str | None:
        return read_text(Path(snapshot_location))

    @classmethod
    def write_snapshot_collection(  # pragma: no cover - our assertions write by themselves; other versions of syrupy may ask
        cls, *, snapshot_collection: SnapshotCollection, **options: Any
    ) -> None:
        (snapshot,) = snapshot_collection
        write_text(Path(snapshot_collection.location), str(snapshot.data))


def _may_clash(location: PyTestLocation, name: str, index: SnapshotIndex) -> bool:
    """True if the file of another test could have this name, or one that differs from it only in upper and lower case,
    which are the same on Windows and on a Mac. Classes are looked up in their module; anything else may be spelled in
    another way by a test that is not there."""
    classname = location.classname or ""
    parameters = (location.nodename or "").partition("[")[2].removesuffix("]")
    if name.removeprefix(classname) != name.removeprefix(classname).lower() or set("[]") & {*parameters, *str(index)}:
        return True
    holder = getattr(location.item, "module", None)
    for part in filter(None, classname.split(".")):
        if any(other != part and other.lower() == part.lower() for other in vars(holder)):
            return True
        holder = getattr(holder, part)
    return False


class TreeLocation(PyTestLocation):
    """The place of a test; of an item with faults, that of its test.

    A file whose name was cut or cleaned is its own all the same.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        test = base_id(self.item)
        if test != self.item.nodeid and self.item.parent is not None:
            name = test.removeprefix(f"{self.item.parent.nodeid}::")
            vars(self).update(nodename=name, testname=name)  # the class is frozen

    def matches_snapshot_location(self, snapshot_location: str) -> bool:  # pragma: no cover - which version asks differs
        return Path(snapshot_location).parent.name == self.basename


@dataclass(eq=False, order=False, repr=False)
class TreeAssertion(SnapshotAssertion):
    """syrupy's assertion, which tells `on_result` of each comparison.

    A named snapshot that differs fails the test at its end, so that its other named snapshots are compared, too: `on_postponed`
    is told of it, with the line of the comparison, and says if it will fail the test. Then the comparison counts as equal.

    It compares no recording of open runs unless the test says `llm_snapshot(open_runs=True)`, no recording of nothing unless
    it says `llm_snapshot(empty=True)`, and nothing under a name that the test has compared before.
    """

    on_result: Callable[[Mismatch, bool], None] = field(default=lambda mismatch, matched: None)
    on_postponed: Callable[[Mismatch, str], bool] = field(default=lambda mismatch, place: False)
    headline: str = field(default="", init=False)
    kinds: tuple[str, ...] = ()
    """The kinds of runs that the suite looks at; none for all."""
    _only: tuple[str, ...] = field(default=(), init=False)
    _open_runs: bool = field(default=False, init=False)
    _empty: bool = field(default=False, init=False)
    _obstacle: str = field(default="", init=False)
    _expected: str = field(default="", init=False)
    _source: Rendered | None = field(default=None, init=False)
    _last: Mismatch | None = field(default=None, init=False)
    _compared: set[Path] = field(default_factory=set, init=False)

    def with_defaults(self, **options: Any) -> TreeAssertion:
        other = super().with_defaults(**options)
        assert isinstance(other, TreeAssertion)
        other.on_result, other.on_postponed, other._compared = self.on_result, self.on_postponed, self._compared
        other.kinds = self.kinds
        return other

    def __call__(
        self, *, only: str | Iterable[str] = (), open_runs: bool = False, empty: bool = False, **options: Any
    ) -> TreeAssertion:
        """`name="second"` names another file of the same test; `only=["chat", "tool"]` compares the runs of these kinds,
        whatever the suite looks at; `open_runs=True` shows runs that are open as open; with `empty=True` the snapshot may be of
        nothing."""
        super().__call__(**options)
        self._only = known_kinds((only,) if isinstance(only, str) else only, "llm_snapshot(only=...)")
        self._open_runs, self._empty = open_runs, empty
        return self

    def __eq__(self, other: object) -> bool:
        named = self._custom_index is not None
        return self._assert(other) or (named and self._postpone()) or unequal(f"{type(other).__name__} == llm_snapshot")

    def __ne__(self, other: object) -> bool:
        return not self._assert(other)  # a test that says so means it, also of a named snapshot

    def _postpone(self) -> bool:
        """True if the test fails at its end for this comparison. Not where there was nothing to compare."""
        mismatch = self._last
        if mismatch is None or mismatch.error or mismatch.received is None:
            return False
        place = program_line(walk_stack(sys._getframe(1)), (*FRAMEWORK, "syrupy"))
        return self.on_postponed(mismatch, place)

    __hash__ = None  # type: ignore[assignment]  # as syrupy's, which compares by reading a file

    def __repr__(self) -> str:
        return f"<llm_snapshot of {self.test_location.nodeid}>"

    def _repeated(self, file: Path) -> str:
        """Return what is wrong if the test has compared `file` before: the second comparison would replace the first."""
        name = file.with_suffix("")
        if name in self._compared:
            return f"the test has compared the snapshot {name.name} before; give each its own name: llm_snapshot(name=...)"
        self._compared.add(name)
        return ""

    def _serialize(self, data: object) -> SerializedData:
        if self._obstacle:
            raise SnapshotError(self._obstacle)
        if isinstance(data, Recording | Part) and not self._empty and not data.runs:
            raise SnapshotError(
                "nothing was recorded, so the snapshot would hold whatever the program does;"
                " record the runs that the test is about, or compare with llm_snapshot(empty=True)"
            )
        if isinstance(data, Recording | Run | Part) and not self._open_runs:
            _refuse_open(data)
        if not isinstance(data, Recording | Run | Part):
            return super()._serialize(data)
        self._source = Rendered(data, self._expected)
        return super()._serialize(self._source.text.removeprefix(f"{HEADER}\n").removesuffix("\n"))

    def _assert(self, data: object) -> bool:
        with without_loop():  # a test may compare on its event loop, where tools such as blockbuster forbid to read a file
            return self._compare(data)

    def _compare(self, data: object) -> bool:
        kinds = self._only or self.kinds
        if isinstance(data, Recording) and kinds and set(kinds) != {*get_args(RunKind)}:
            data = data.only(kinds=kinds)
        file = Path(self.extension.get_location(test_location=self.test_location, index=self.index))
        self._obstacle = _obstacle(file) or self._repeated(file)
        if self.update_snapshots and not self._obstacle:
            with suppress(PendingError):  # the comparison reads it next, and tells what is wrong with it
                renew(file.with_suffix(ENDING))
        self._expected, self._source = _read(file), None
        matched = super()._assert(data)
        self._open_runs, self._empty, self._only = False, False, ()
        result = self.executions[self.num_executions - 1]
        mismatch = _mismatch(result, self._source)
        self.headline = "" if matched else mismatch.headline
        self._last = mismatch
        self.on_result(mismatch, matched)
        return matched


def known_kinds(kinds: Iterable[str], where: str) -> tuple[str, ...]:
    """Return kinds of runs, as `where` names them.

    Raises:
        ValueError: there is no such kind.
    """
    chosen, known = tuple(kinds), get_args(RunKind)
    unknown = next((kind for kind in chosen if kind not in known), None)
    if unknown is not None:
        raise ValueError(f"{where} takes kinds of runs: {', '.join(known)}; got {unknown!r}{did_you_mean(unknown, known)}")
    return chosen


def _read(file: Path) -> str:
    with suppress(PendingError, OSError):  # the comparison reads it, too, and tells what is wrong with it
        return read_text(stored_file(file)) or ""
    return ""


def uncompared(item: pytest.Item, recording: Recording) -> Uncompared | None:
    """Return how `recording` differs from the snapshot of a test that has not compared it, if it is one of that recording."""
    place, kinds = TreeLocation(item), item.config.getini("llmtest_snapshot_only")
    file = Path(TreeExtension.get_location(test_location=place, index=0))
    expected = _read(file)
    source = recording.only(kinds=kinds) if kinds else recording
    if not expected or harm(expected, received := Rendered(source, expected).text) is not None:
        return None
    found = Uncompared(item.nodeid, file, expected, received)
    difference = found.difference
    # The snapshot may be of a part of the recording, or of another text.
    return found if difference is not None and difference.changed * 2 <= difference.total else None


def _mismatch(result: AssertionResult, source: Rendered | None) -> Mismatch:
    error = result.exception
    if isinstance(error, SnapshotError) and result.asserted_data is not None:
        error = None  # what is wrong with the file is read from the file
    received = None if error or result.asserted_data is None else str(result.asserted_data)
    expected = None if result.recalled_data is None else str(result.recalled_data)
    file = Path(result.snapshot_location)
    return Mismatch(result.test_location.nodeid, file, expected, received, _error_text(error), source)


def _error_text(error: Exception | None) -> str:
    if error is None:
        return ""
    if isinstance(error, SnapshotError | PendingError | TypeError):
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception(error)).strip()  # a bug of ours, which is not found without its place


def _obstacle(file: Path) -> str:
    """Return what stands in the place of `file`; an empty string if a snapshot can be there."""
    if file.exists() and not file.is_file():
        return f"{file.name} is a directory, where the file of the snapshot should be; move it away"
    parent = next((folder for folder in file.parents if folder.exists()), None)
    if parent is not None and not parent.is_dir():
        return f"{parent.name} is a file, where a folder of snapshots should be; move it away"
    return ""


def _refuse_open(data: Recording | Run | Part) -> None:
    runs = list(data.walk()) if isinstance(data, Run) else data.runs
    open_runs = [f"{run.kind} {run.name} since {run.start.time:%H:%M:%S.%f}" for run in runs if run.ended == "open"]
    if open_runs:
        raise SnapshotError(
            f"{amount(len(open_runs), 'run')} {'is' if len(open_runs) == 1 else 'are'} still open: {', '.join(open_runs)} (UTC);"
            f" let {'it' if len(open_runs) == 1 else 'them'} end first, or compare with llm_snapshot(open_runs=True)"
        )


class DeferredSession:
    """syrupy's session, in which a run of a test writes nothing until the run has passed."""

    def __init__(self, session: SnapshotSession) -> None:
        self._session = session
        self._texts: dict[Path, str] = {}
        self._assertions: list[SnapshotAssertion] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    @property
    def names(self) -> list[str]:
        """The files that wait to be written."""
        return [file.name for file in self._texts]

    def register_request(self, assertion: SnapshotAssertion) -> None:
        self._assertions.append(assertion)
        self._session.register_request(assertion)

    def queue_snapshot_write(self, *, extension: Any, test_location: PyTestLocation, data: object, index: SnapshotIndex) -> None:
        self._texts[Path(extension.get_location(test_location=test_location, index=index))] = str(data)

    def replace(self, file: Path, text: str) -> None:
        """Put another text in the place of one that waits."""
        if file in self._texts:
            self._texts[file] = text

    def write(self) -> None:
        """Write what waits.

        Raises:
            SnapshotError: a file cannot be written.
        """
        texts, self._texts = self._texts, {}
        for file, text in texts.items():
            try:
                write_text(file, text)
            except OSError as error:
                self.drop()
                raise SnapshotError(f"the snapshot {file.name} cannot be written: {error}") from error

    def drop(self) -> None:
        """Write nothing, and make syrupy's report say so."""
        self._texts = {}
        for assertion in self._assertions:
            for result in assertion.executions.values():
                if result.created or result.updated:
                    result.created = result.updated = result.success = False


def assertion(
    item: pytest.Item,
    on_result: Callable[[Mismatch, bool], None],
    session: SnapshotSession,
    on_postponed: Callable[[Mismatch, str], bool],
) -> TreeAssertion:
    """Return what `llm_snapshot` is: syrupy's own assertion, with our extension; `on_result` is called at each comparison, and
    `on_postponed` where a named snapshot differs.

    `session` is syrupy's, or a `DeferredSession`. Made here rather than taken from syrupy's fixture `snapshot`, a name that other
    plugins and many conftests claim.
    """
    options = {name: vars(item.config.option)[name] for name in _FLAGS if name in item.config.option}
    is_faulty = base_id(item) != item.nodeid
    if is_faulty:  # what comes of a fault is compared with the test's own snapshot, and never accepted
        options = dict.fromkeys(_FLAGS, False)
    return TreeAssertion(
        session=session,
        extension_class=TreeExtension,
        test_location=TreeLocation(item),
        on_result=on_result,
        on_postponed=on_postponed,
        kinds=tuple(item.config.getini("llmtest_snapshot_only")),
        **(_own_flags(item.config, options) if _is_contested(item.config) and not is_faulty else options),
    )


_FLAGS: Final = {"update_snapshots": "--snapshot-update", "update_new_snapshots_only": "--snapshot-update-new-only"}
"""Where syrupy keeps its flags, and their names. The second came with syrupy 5.3."""


def _is_contested(config: pytest.Config) -> bool:
    """True if another plugin stores an option of its own, as `--update-snapshots`, where syrupy looks for its flag."""
    groups = [config._parser._anonymous, *config._parser._groups]
    return sum(option.dest == "update_snapshots" for group in groups for option in group.options) > 1


def _own_flags(config: pytest.Config, options: Mapping[str, object]) -> dict[str, bool]:
    """Return syrupy's flags, read from the arguments themselves."""
    environment = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    said = {*config.getini("addopts"), *environment, *arguments_of(config)}
    return {name: _FLAGS[name] in said for name in options}
