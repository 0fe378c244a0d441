"""The cassette of a test: a script file from which its models answer, and into which real models are recorded."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Self

from llmtest.cassettes import masking
from llmtest.cassettes.recorder import NO_ORDER, AreOrdered, Recorder, joined
from llmtest.core.source import shown_path
from llmtest.core.text import did_you_mean
from llmtest.errors import CassetteError, ScriptError
from llmtest.scripts.files import Entries, ScriptFile, Vectors, read_file
from llmtest.scripts.requests import Origin
from llmtest.scripts.script import Script
from llmtest.scripts.secret_texts import Secret, with_secrets, without_secrets
from llmtest.scripts.yaml_emit import write_file
from llmtest.wire import clients, hearing, providers
from llmtest.wire.answering import request_of
from llmtest.wire.api import ModelCall
from llmtest.wire.providers import Providers
from llmtest.wire.recorded_vectors import RecordedEmbeddings

Mode = Literal["none", "once", "new", "rewrite", "verify"]
MODES: Final = ("none", "once", "new", "rewrite", "verify")
ENDING: Final = ".yaml"


@dataclass(frozen=True, slots=True)
class Saved:
    """What came of a recording: whether the file was written, the calls, what no step says, and how many texts are masked."""

    calls: int
    is_written: bool
    notes: tuple[str, ...] = ()
    masked: int = 0
    before: ScriptFile | None = None
    after: ScriptFile | None = None
    """The file as it was, and as the recording makes it, both with masks."""
    kept: Mapping[str, list[Secret]] = field(default_factory=dict, repr=False)
    """What each mask in `after` hides."""


class Cassette:
    """The cassette of one test, as a block: its models answer from the file, or real models are recorded.

    `path` is the file, `test` the test that it is of, and `command` the command that records it, for errors. `mode` is what
    `--llmtest-record` says: `none` only answers; `once` records a file that is missing; `new` answers as far as the file has
    steps, and records further calls; `rewrite` records all anew; `verify` records, to compare, and writes nothing.

    Holds state; thread-safe as the scripts and the recorder are. It holds for the whole process while the block is open.

    Raises:
        CassetteError: the file is missing and `mode` is `none`, unless it `may_be_missing`; or it is of another test.
        ScriptError: the file cannot be read; with file and line.
    """

    def __init__(
        self,
        path: Path,
        test: str,
        mode: Mode = "none",
        *,
        command: str = "",
        keep_prompts: bool = False,
        may_be_missing: bool = False,
    ) -> None:
        self.path = path
        self.test = test
        self.mode = mode
        self.command = command
        self.file = self._load() if mode != "rewrite" and path.is_file() else None  # a file that cannot be read is recorded anew
        self.is_missing = self.file is None and mode == "none"
        """True if there is nothing to answer from: each call of a model is told."""
        if self.is_missing and not may_be_missing:
            raise CassetteError(_missing(path, command))
        self.answers = mode == "none" or mode == "new" or (mode == "once" and self.file is not None)
        """True if the models answer from the file."""
        self.records = not self.answers or mode == "new"
        """True if calls of real models are recorded."""
        self._writes = self.records and mode != "verify"
        self.recorder = Recorder(keep_prompts=keep_prompts)
        self.providers = Providers({})
        self.scripts: dict[str, Script] = {}
        self.embeddings: dict[str, RecordedEmbeddings] = {}
        self._exits = ExitStack()
        self._has_answered_classes = False
        if self.answers and self.file is not None:
            self._map(self.file)
        elif self.is_missing:
            self.providers.map({"*": self._refuse})

    def _refuse(self) -> NoReturn:
        raise providers.violate("no cassette", _missing(self.path, self.command))

    @property
    def calls_no_model(self) -> bool:
        """True if no call of a model came so far, real or answered."""
        return not (self.recorder.has_heard or self.providers.asked or self._has_answered_classes)

    def _load(self) -> ScriptFile:
        data, shown = self.path.read_bytes(), shown_path(os.fspath(self.path))
        remedy = f"record it again: {self.command.replace('=once', '=rewrite')}"
        if re.search(rb"^interactions:", data, re.MULTILINE) and not data.startswith(b"# llmtest"):
            raise CassetteError(
                f"{shown}: the file is a cassette of vcrpy or cassetter\n"
                f"  make a script of it: llmtest script from {shlex.quote(shown)} -o {shlex.quote(shown)}\n  or {remedy}"
            )
        try:
            found = read_file(data, os.fspath(self.path))
        except ScriptError as error:
            raise ScriptError(f"{error}\n  mend the file, or {remedy}" if self.command else str(error)) from None
        if found.version == 1 or not (found.models or found.embeddings or found.entries):
            raise CassetteError(
                f"{shown}:1: the file is a script of version 1, which does not name its models\n"
                f"  a cassette begins with `# llmtest script v2`, and has `models:` with the steps of each model\n  {remedy}"
            )
        if found.test and found.test != self.test:
            raise CassetteError(
                f"{shown_path(found.where['test'])}: the cassette is of another test\n  it is of  {found.test}\n"
                f"  this is   {self.test}\n  if the test was renamed, write its name there; else {remedy}"
            )
        return with_secrets(found, masking.kept(self.path))

    def _map(self, file: ScriptFile) -> None:
        models = file.models or {"*": file.entries}
        self.scripts = {model: Script(*entries) for model, entries in models.items() if entries or not file.embeddings}
        remedy = f"record it: {self.command.replace('=once', '=new')}" if self.command else ""
        self.embeddings = {model: RecordedEmbeddings(model, vectors, remedy) for model, vectors in file.embeddings.items()}
        self.providers.remedy = remedy
        removal = f"remove them: {self.command.replace('--llmtest-record=once', '--snapshot-update')}" if self.command else ""
        renewal = f"record it again: {self.command.replace('=once', '=rewrite')}" if self.command else ""
        for script in self.scripts.values():
            script.owner = replace(script.owner, remedy=remedy, removal=removal, renewal=renewal)
        ask = self._question if self.records else None
        self.providers.map({key: _same(value) for key, value in {**self.scripts, **self.embeddings}.items()}, ask)

    def forget_removal(self) -> None:
        """Let unused steps not tell how they are removed: the test has failed, perhaps before it came to them."""
        for script in self.scripts.values():
            script.owner = replace(script.owner, removal="")

    def _question(self, model: str) -> Callable[[object, Callable[[], Any]], bool]:
        """Return the question whether the file has an answer to a call of `model`."""

        def can_answer(call: Any, find_origin: Callable[[], Origin]) -> bool:
            if isinstance(call, ModelCall):
                return model in self.scripts and self.scripts[model].has_step_for(request_of(call, find_origin()))
            return model in self.embeddings and self.embeddings[model].knows(call.texts)

        return can_answer

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            if self.answers:
                entered.enter_context(self.providers)
            if self.records:
                entered.enter_context(hearing.listening(self.recorder))
                clients.watch()
                entered.callback(clients.unwatch)
            self._exits = entered.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def script_of(self, model: str) -> Script:
        """Return the script that answers for a class of models that does not use HTTP.

        Raises:
            ViolationError: the file has no steps for it, or is missing.
        """
        self._has_answered_classes = True
        if self.is_missing:
            self._refuse()
        if model not in self.scripts:
            known = did_you_mean(model, self.scripts)
            raise providers.violate(
                "unmapped model",
                f"{shown_path(os.fspath(self.path))}: there are no steps of `{model}`{known}\n"
                f"  record it: {self.command.replace('=once', '=new')}",
            )
        return self.scripts[model]

    # -- saving

    def save(
        self,
        are_ordered: AreOrdered = NO_ORDER,
        tools: Mapping[str, Sequence[Any]] | None = None,
        *,
        keep: bool = True,
        today: date | None = None,
    ) -> Saved:
        """Write what was recorded, if `keep`, and return what came of it. The old file stays until the new one is whole.

        `are_ordered` tells whether the program orders two runs, `tools` are the answers of tools to keep.

        Raises:
            CassetteError: an answer cannot be read, or the file cannot be written.
        """
        recorded = (today or datetime.now(UTC).date()).isoformat()
        new, notes = self.recorder.entries(recorded, are_ordered)
        vectors = self.recorder.vectors()
        old = self.file if self.answers else None
        models: dict[str, Entries] = dict(old.models or {"*": old.entries}) if old is not None and self.scripts else {}
        for model, entries in new.items():
            models[model] = joined(models.get(model, ()), entries)
        embeddings: dict[str, Vectors] = dict(old.embeddings) if old is not None else {}
        for model, texts in vectors.items():
            embeddings[model] = {**embeddings.get(model, {}), **texts}
        answers = {name: tuple(given) for name, given in (tools or (old.tools if old is not None else {})).items()}
        first = old.recorded if old is not None and old.recorded else recorded
        file = ScriptFile(os.fspath(self.path), 2, (), models, answers, embeddings, self.test, first)
        hidden, kept = without_secrets(file)
        writes = keep and self._writes and len(self.recorder) > 0
        before = self._before()
        if writes:
            self._write(hidden, kept)
        return Saved(len(self.recorder), writes, tuple(notes), sum(map(len, kept.values())), before, hidden, kept)

    def _before(self) -> ScriptFile | None:
        """Return the file as it is before a recording is written; None if there is none, or none that can be read."""
        if self.file is not None:
            return without_secrets(self.file)[0]
        try:
            return read_file(self.path.read_bytes(), os.fspath(self.path)) if self.path.is_file() else None
        except (ScriptError, OSError):
            return None  # `rewrite` replaces also a file that is damaged: it has nothing to compare with

    def _write(self, file: ScriptFile, kept: Mapping[str, list[Secret]]) -> None:
        try:
            text = write_file(file)
        except ScriptError as error:
            raise CassetteError(f"the cassette {shown_path(os.fspath(self.path))} cannot be written: {error}") from None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, text)
            masking.keep(self.path, kept)
        except OSError as error:
            raise CassetteError(f"the cassette {shown_path(os.fspath(self.path))} cannot be written: {error}") from None

    def _delete(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
            masking.keep(self.path, {})
        except OSError as error:
            raise CassetteError(f"the cassette {shown_path(os.fspath(self.path))} cannot be deleted: {error}") from None

    # -- steps that no call took

    def unused(self) -> int:
        """Return how many steps of the file no call has taken."""
        return sum(script.remaining for script in self.scripts.values())

    def trim(self) -> int:
        """Take the steps that no call took out of the file, and return how many they were. A file without any is deleted.

        Raises:
            CassetteError: the file cannot be written.
        """
        gone = self.unused()
        if gone and self.file is not None:
            models = {model: script.used_entries for model, script in self.scripts.items()}
            used = {model: entries for model, entries in models.items() if entries}
            if used or self.file.embeddings:
                self._write(*without_secrets(replace(self.file, entries=(), models=used)))
            else:
                self._delete()
            for script in self.scripts.values():
                script.waive_steps()
        return gone


def _same(value: Any) -> Callable[[], Any]:
    return lambda: value


def _missing(path: Path, command: str) -> str:
    lines = [f"there is no cassette for the test: {shown_path(os.fspath(path))}"]
    others = [other.name for other in path.parent.glob(f"*{ENDING}") if other.is_file()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, others, 1, 0.7)
    if near:
        lines.append(f"  nearest  {near[0]}: if the test was renamed, rename the file, and change its `test:`")
    return "\n".join([*lines, f"  record it: {command}"])


def write_whole(path: Path, text: str) -> None:
    """Write a file, or leave the old one as it is if that is interrupted."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=".part")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
