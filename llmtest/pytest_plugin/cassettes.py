"""Cassettes of tests: `@pytest.mark.llm_cassette`, the option `--llmtest-record`, and the ini keys beside it.

Imported only in a session that has a test with a cassette.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest

from llmtest.cassettes.cassette import ENDING, MODES, Cassette, Mode, Saved
from llmtest.core.masks import table
from llmtest.core.source import code, is_installed, shown_path
from llmtest.core.text import amount, did_you_mean, named, names, text_of
from llmtest.errors import CassetteError, LlmtestError, LlmtestWarning, ScriptError, Violation
from llmtest.pytest_plugin.arguments import base_id, pending_folder
from llmtest.scripts import fingerprints
from llmtest.scripts.tool_answers import ToolAnswer, races, tool_answers
from llmtest.wire.hosts import PROVIDERS

if TYPE_CHECKING:
    from llmtest.pytest_plugin.attempt import Attempt
    from llmtest.recording.recording import Recording

FOLDER: Final = "cassettes"
_MAX_NAME_BYTES: Final = 180
_XUNIT: Final = ("_xunit_setup_method", "_xunit_setup_function")
_ARGUMENTS: Final = ("tools", "models", "max_age_days")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the marker of a test asks for. `is_marked` if the test itself has it, and not its class, module or folder."""

    is_marked: bool = False
    tools: tuple[str, ...] = ()
    models: tuple[type, ...] = ()
    max_age_days: int | None = None


class OpenCassette:
    """The cassette of a running test, with what else answers or records in it. Holds state."""

    def __init__(self, item: pytest.Item, attempt: Attempt, wanted: Wanted) -> None:
        import_module("llmtest.langchain.providers")  # the boundary finds the runs of LangChain, and the names of its models
        self.item, self.attempt, self.wanted = item, attempt, wanted
        config = item.config
        mode = mode_of(config)
        self.cassette = Cassette(
            path_of(item),
            test_of(item),
            mode,
            command=f"pytest {shlex.quote(item.nodeid)} --llmtest-record=once",
            keep_prompts=config.getini("llmtest_cassette_prompts"),
            # Where a tool must not run, nothing runs without its recorded answers.
            may_be_missing=not wanted.is_marked and not wanted.tools,
        )
        self.outlives_call = bool(_fixtures_with_teardown(item))
        """True if a fixture of the test may call a model after the test function."""
        if self.outlives_call:
            attempt.page.defer(self.cassette.scripts.values())
        self.told: list[str] = []
        """What the end of the session says of it."""
        self.is_pending = False
        """True if a recording was kept for `llmtest review`."""
        self.is_old = False
        self._is_closed = self._is_compared = False
        with ExitStack() as exits:
            exits.enter_context(self.cassette)
            if self.cassette.answers and not self.cassette.is_missing:
                self._tell_age()
                self._answer_tools(exits)
            if wanted.models:
                self._open_classes(exits)
            self._exits = exits.pop_all()

    def _tell_age(self) -> None:
        """Tell of a cassette that is older than the marker or the ini key allows."""
        allowed = self.wanted.max_age_days
        if allowed is None:
            allowed = _days(self.item.config)
        file = self.cassette.file
        if allowed is None or file is None or not file.recorded or fingerprints.mode == "ignore":
            return
        age = (datetime.now(UTC).date() - date.fromisoformat(file.recorded)).days
        if age > allowed:
            self.is_old = True
            text = (
                f"the cassette is {age} days old, and may be {amount(allowed, 'day')} old\n"
                f"  recorded on {file.recorded}: {shown_path(os.fspath(self.cassette.path))}\n"
                f"  record it again: {self.cassette.command.replace('=once', '=rewrite')}"
            )
            if fingerprints.mode == "warn":
                warnings.warn_explicit(text, LlmtestWarning, *self.attempt.place)
            else:
                self.attempt.page.write(Violation("stale recording", text))

    def _answer_tools(self, exits: ExitStack) -> None:
        """Let the tools that the marker names answer from the file; one without an answer runs while calls are recorded."""
        file, is_growing = self.cassette.file, self.cassette.records
        if not self.wanted.tools or file is None:
            return
        from llmtest.langchain.recorded_tools import recorded_tools

        unknown = [name for name in self.wanted.tools if not any(named(name, tool) for tool in file.tools)]
        if unknown and not is_growing:
            raise CassetteError(
                f"{shown_path(os.fspath(self.cassette.path))}: the answers of tools that the marker llm_cassette names were not"
                f" recorded: {names(unknown)}{did_you_mean(unknown[0], file.tools)}\n  recorded  {names(file.tools)}\n"
                f"  record it again: {self.cassette.command.replace('=once', '=rewrite')}"
            )
        exits.enter_context(recorded_tools(file.tools, self.wanted.tools, is_growing=is_growing))

    def _open_classes(self, exits: ExitStack) -> None:
        from llmtest.langchain import recorded_classes

        if self.cassette.answers:
            exits.enter_context(recorded_classes.answering(self.wanted.models, self.cassette.script_of))
        if self.cassette.records:
            exits.enter_context(recorded_classes.listening(self.wanted.models, self.cassette.recorder.note))

    @property
    def facts(self) -> dict[str, object]:
        """What the end of the session says of it, as attributes of a report."""
        facts: dict[str, object] = {"llmtest_cassette": self.told} if self.told else {}
        if self.is_pending:
            facts["llmtest_pending_cassette"] = True
        if self.cassette.answers and not self.cassette.is_missing:
            facts["llmtest_answered"] = {str(self.cassette.path): self.is_stale}
        return facts

    def trim(self) -> None:
        """Take the steps that no call took out of the file, where unused snapshots are deleted too."""
        if self.cassette.answers and not self.cassette.records and self.item.config.getoption("update_snapshots", False):
            gone = self.cassette.trim()
            if gone:
                whole = "" if self.cassette.path.is_file() else ", and the cassette, which has no others"
                self._tell(f"{amount(gone, 'unused step')} deleted{whole}")

    def close(self, *, passed: bool) -> list[Violation]:
        """End the block, write what was recorded if the test has passed, and return what is wrong with it. Once only."""
        if self._is_closed:
            return []
        self._is_closed = True
        if self.outlives_call:
            self._settle(passed)
        self._exits.close()
        if passed and self.wanted.is_marked and self.cassette.calls_no_model and not self.cassette.unused():
            text = "the test calls no model, and needs no cassette: remove its marker llm_cassette"
            warnings.warn_explicit(text, LlmtestWarning, *self.attempt.place)
        if not self.cassette.records or self._is_compared:
            return []
        if self.cassette.mode == "verify":
            return self.compare(passed=passed)
        try:
            saved = self.cassette.save(self._are_ordered, self._tools(), keep=passed)
        except CassetteError as error:
            return [Violation("not recorded", str(error))] if passed else []
        self._summarize(saved, passed=passed)
        for note in (*saved.notes, *self._races()):
            warnings.warn_explicit(f"{shown_path(os.fspath(self.cassette.path))}: {note}", LlmtestWarning, *self.attempt.place)
        return []

    def _settle(self, passed: bool) -> None:
        """Judge which steps no call took, now that no more calls come; a test that failed may not have come to them."""
        if passed:
            self.trim()
            self.attempt.page.ask_deferred()
        else:
            for script in self.cassette.scripts.values():
                script.waive_steps()

    @property
    def is_stale(self) -> bool:
        """True if it is too old, or an answer of it was given to another request than it was recorded for."""
        return self.is_old or any(script.is_stale for script in self.cassette.scripts.values())

    def compare(self, *, passed: bool = True) -> list[Violation]:
        """With `verify`, compare what the real models have answered with the cassette, and keep it for review if it differs."""
        if self.cassette.mode != "verify":
            return []
        self._is_compared = True
        try:
            saved = self.cassette.save(self._are_ordered, self._tools(), keep=False)
        except CassetteError as error:
            return [Violation("not recorded", str(error))] if passed else []
        return self._differences(saved, passed=passed)

    def _differences(self, saved: Saved, *, passed: bool) -> list[Violation]:
        from llmtest.scripts.yaml_emit import write_file
        from llmtest.trees.cassette_text import cassette_text, compare_spent
        from llmtest.trees.pending import Mismatch

        assert saved.after is not None
        if not passed:
            self._tell(f"{amount(saved.calls, 'call')} not compared, because the test {self._outcome}")
            return []
        path, test = self.cassette.path, table().without_secrets(self.item.nodeid)
        folder = pending_folder(self.item.config)
        expected, received = (None if file is None else cassette_text(file, usage=False) for file in (saved.before, saved.after))
        if expected == received:
            with suppress(OSError):  # a folder that cannot be written holds nothing that is pending
                folder.forget_cassette(test, path)
            self._tell("the cassette is as the real models answer")
            return []
        shown = Mismatch(
            test,
            path,
            None if saved.before is None else cassette_text(saved.before),
            cassette_text(saved.after),
            what="cassette",
            more=tuple(compare_spent(saved.before, saved.after)),
        )
        try:
            kept = folder.keep_cassette(test, path, write_file(saved.after), saved.kept)
            footer = shown.footer(self.item.config.rootpath, kept)
        except (OSError, ScriptError) as error:
            kept, footer = None, [f"  nothing was kept for `llmtest accept`, because the file cannot be written: {error}"]
        self.is_pending = kept is not None
        return [Violation("cassette differs", "\n".join([shown.headline, *shown.lines(), *footer]))]

    def _are_ordered(self, a: UUID, b: UUID) -> bool | None:
        for recording in self.attempt.page.recordings:
            runs = {run.id: run for run in recording.runs}
            if a in runs and b in runs:
                known: bool = recording.order().are_ordered(runs[a], runs[b])
                return known
        return None

    def _tools(self) -> dict[str, Sequence[ToolAnswer]] | None:
        """Return the answers of the tools that the marker names; a tool that was not called has none."""
        if not self.wanted.tools:
            return None
        recordings: list[Recording] = self.attempt.page.recordings
        found = tool_answers([run for recording in recordings[:1] for run in recording.runs])
        chosen: dict[str, Sequence[ToolAnswer]] = {
            name: answers for name, answers in found.items() if any(named(pattern, name) for pattern in self.wanted.tools)
        }
        return chosen | {pattern: () for pattern in self.wanted.tools if not any(named(pattern, name) for name in chosen)}

    def _races(self) -> list[str]:
        """Return which answers of the tools that the marker names have no certain call, in words."""
        found = []
        for recording in self.attempt.page.recordings[:1]:
            chosen = [run for run in recording.runs if any(named(pattern, run.name) for pattern in self.wanted.tools)]
            found += races(chosen, recording.order().are_ordered)
        return found

    @property
    def _outcome(self) -> str:
        return "failed" if self.attempt.failed or self.attempt.passed else "was skipped"

    def _summarize(self, saved: Saved, *, passed: bool) -> None:
        calls = amount(saved.calls, "call")
        if not passed:
            if saved.calls:
                self._tell(f"{calls} not kept, because the test {self._outcome}")
        elif saved.is_written:
            more = f"; {amount(saved.masked, 'text')} masked" if saved.masked else ""
            self._tell(f"{calls} recorded{more}{_spent_before_and_now(saved)}")

    def explain(self, error: BaseException) -> None:
        """Add to an SDK's error about a missing key, where a recording needs one, which variable it is.

        From here on, unused steps do not tell how they are removed.
        """
        self.cassette.forget_removal()
        variable = missing_key(error) if self.cassette.records else None
        note = (
            f"llmtest: --llmtest-record={self.cassette.mode} asks the real model, and there is no key for it:"
            f" set the environment variable {variable}"
        )
        if variable and note not in getattr(error, "__notes__", ()):
            error.add_note(note)

    def _tell(self, text: str) -> None:
        self.told.append(f"{self.item.nodeid}: {text}")


def _spent_before_and_now(saved: Saved) -> str:
    if saved.before is None or saved.after is None:
        return ""
    from llmtest.trees.cassette_text import compare_spent

    return "".join(f"; {' '.join(line.split())}" for line in compare_spent(saved.before, saved.after))


# -- settings


def mode_of(config: pytest.Config) -> Mode:
    """Return what `--llmtest-record` says. In CI, only the command line may ask for a recording."""
    mode = config.getoption("llmtest_record") or config.getini("llmtest_record")
    if mode not in MODES:
        raise pytest.UsageError(
            f"the ini key llmtest_record is one of {', '.join(MODES)}; got {mode!r}{did_you_mean(str(mode), MODES)}"
        )
    told = any(str(argument).startswith("--llmtest-record") for argument in config.invocation_params.args)
    return "none" if os.environ.get("CI") and not told else mode


def _days(config: pytest.Config) -> int | None:
    said = config.getini("llmtest_cassette_max_age")
    if not said:
        return None
    if not str(said).isdecimal():
        raise pytest.UsageError(f"the ini key llmtest_cassette_max_age is a number of days; got {said!r}")
    return int(said)


def wanted_of(item: pytest.Item) -> Wanted | None:
    """Return what a test asks for by its marker or by the ini key; None if it has no cassette."""
    marks = list(item.iter_markers("llm_cassette"))
    if not marks:
        return Wanted() if _is_in_folder(item) else None
    is_marked = any(mark.name == "llm_cassette" for mark in item.own_markers)
    said: dict[str, Any] = {}
    for mark in reversed(marks):
        problem = _problem(mark.args, mark.kwargs)
        if problem:
            pytest.fail(problem, pytrace=False)
        said |= mark.kwargs
    tools, models = said.get("tools", ()), said.get("models", ())
    return Wanted(
        is_marked,
        (tools,) if isinstance(tools, str) else tuple(tools),
        (models,) if isinstance(models, type) else tuple(models),
        said.get("max_age_days"),
    )


def has_cassette(item: pytest.Item) -> bool:
    """True if a test has a cassette, by its marker or by the ini key."""
    return item.get_closest_marker("llm_cassette") is not None or _is_in_folder(item)


def _problem(args: tuple[object, ...], given: Mapping[str, object]) -> str:
    if args:
        return f"llm_cassette() takes keywords only: {', '.join(f'{name}=' for name in _ARGUMENTS)}; got {args[0]!r}"
    for name, value in given.items():
        if name not in _ARGUMENTS:
            return f"llm_cassette() has no argument {name}={did_you_mean(name, _ARGUMENTS)}"
        several = [value] if isinstance(value, str | type) else value
        if name == "tools" and not _are(several, str):
            return f"tools= of llm_cassette() is the name of a tool, or several; got {type(value).__name__} {value!r}"
        if name == "models" and not _are(several, type):
            return f"models= of llm_cassette() is a class of chat models, or several; got {type(value).__name__} {value!r}"
        if name == "max_age_days" and (type(value) is not int or value < 0):
            return f"max_age_days= of llm_cassette() is a number of days; got {type(value).__name__} {value!r}"
    return ""


def _are(values: object, kind: type) -> bool:
    return isinstance(values, list | tuple | set) and all(isinstance(value, kind) for value in values)


def _is_in_folder(item: pytest.Item) -> bool:
    root = item.config.rootpath
    return any(item.path.is_relative_to(root / line) for line in item.config.getini("llmtest_cassettes"))


# -- files


def path_of(item: pytest.Item) -> Path:
    """Return the file of the cassette of a test: `cassettes/<test file>/<test>.yaml`, beside the test file."""
    return item.path.parent / FOLDER / item.path.stem / f"{_file_name(item)}{ENDING}"


def test_of(item: pytest.Item) -> str:
    """Return the name of a test as its cassette has it: it stays the same wherever the folder of the test lies.

    A secret in its parameters has a mask.
    """
    return table().without_secrets(f"{item.path.name}::{base_id(item).partition('::')[2]}")


def _file_name(item: pytest.Item) -> str:
    name = base_id(item).partition("::")[2].replace("::", ".")
    hidden = table().without_secrets(name)
    clean = "".join(character if character.isprintable() and character not in '\\/?*:|"<>' else "-" for character in hidden)
    short = clean.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
    parameters = name.partition("[")[2]
    if short == name and parameters == parameters.lower():
        return name
    # Names that were cut or cleaned, or that differ in upper and lower case only, are the same on some file systems.
    return f"{short}.~{blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"


def open_cassette(item: pytest.Item, attempt: Attempt) -> OpenCassette | None:
    """Open the cassette of a test, if it has one; fail the test if that is not possible."""
    wanted = wanted_of(item)
    if wanted is None:
        return None
    problem = ""
    try:
        return OpenCassette(item, attempt, wanted)
    except LlmtestError as error:
        problem = str(error)
    if wanted.is_marked and not path_of(item).is_file():
        problem += "\n  a test that calls no model needs no cassette: remove its marker llm_cassette"
    pytest.fail(problem, pytrace=False)


def _fixtures_with_teardown(item: pytest.Item) -> list[str]:
    """Return the fixtures of the program whose teardown comes after the test function. An installed plugin's call no model."""
    info: Any = getattr(item, "_fixtureinfo", None)  # of a function; https://github.com/pytest-dev/pytest/issues/10831
    found = []
    for name, fixtures in (info.name2fixturedefs if info is not None else {}).items():
        for fixture in fixtures[-1:]:
            function = inspect.unwrap(fixture.func)
            known = code(function)
            ends = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
            is_of_program = known is not None and not is_installed(known.co_filename)
            # Pytest makes one of `setup_method` and `teardown_method`, and of those of functions.
            if (is_of_program and (ends or "request" in fixture.argnames)) or name.startswith(_XUNIT):
                found.append(name)
    return found


def missing_key(error: BaseException) -> str | None:
    """Return the variable whose key an SDK has missed, if an exception, or one that it came of, says so."""
    return next(filter(None, map(_missing_key, _chain(error))), None)


def _missing_key(error: BaseException) -> str | None:
    """Return the variable whose key an SDK has missed, if the error is about a key, and says whose."""
    said, trace = text_of(error), error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    package = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
    is_about_keys = re.search(r"api.?key|authentication", said, re.IGNORECASE) is not None
    for provider in PROVIDERS:
        is_meant = package in (provider.name, provider.name.partition("_")[0]) and is_about_keys
        if (is_meant or any(key in said for key in provider.keys)) and not any(key in os.environ for key in provider.keys):
            return next(iter(provider.keys), None)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those that it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
