"""What a script file is made of: a stored trace, JSON lines of traces, a snapshot, a script file, a foreign cassette."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import UUID

from llmtest.cassettes import foreign
from llmtest.cassettes.llm_cache import read_cache
from llmtest.core.masks import table
from llmtest.core.source import shown_path
from llmtest.core.text import amount, clip, did_you_mean, named, names
from llmtest.errors import ScriptError, StoreError
from llmtest.events.events import Run
from llmtest.recording.recording import Recording
from llmtest.scripts.files import Entries, ScriptFile, read_file
from llmtest.scripts.fingerprints import fingerprint
from llmtest.scripts.from_recording import RecordedCall, entries_of, recorded_calls, without_random_ids
from llmtest.scripts.requests import KeyedSteps, Request
from llmtest.scripts.secret_texts import without_secrets
from llmtest.scripts.step_types import Call, Fail, Reply, Text, Thinking, split
from llmtest.scripts.tool_answers import ToolAnswer, tool_answers
from llmtest.tracing import jsonl
from llmtest.tracing.store import APPLICATION, Store
from llmtest.trees.pending import read_text
from llmtest.trees.script_of_tree import calls_in, describe

MAX_NOTES: Final = 10
"""How many exchanges of a foreign cassette that are no calls of models are told one by one."""


@dataclass(frozen=True, slots=True)
class Options:
    """What of a source goes into the script: models by name, exact tokens of streams, answers of tools by name."""

    model: str = "*"
    tokens: bool = False
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A script file that is not written yet: what it holds, of how many calls, and what it leaves out or cannot tell apart."""

    file: ScriptFile
    source: str
    notes: list[str] = field(default_factory=list)
    masked: int = 0

    @property
    def steps(self) -> dict[str, int]:
        """How many steps each model has; `*` is any model."""
        models = self.file.models or ({"*": self.file.entries} if self.file.entries or not self.file.embeddings else {})
        return {model: sum(map(_count, entries)) for model, entries in models.items()}

    @property
    def headline(self) -> str:
        """What it holds, on one line."""
        steps = self.steps
        said = f"{amount(sum(steps.values()), 'step')} of {amount(len(steps), 'model')}"
        answers, vectors = (sum(map(len, found.values())) for found in (self.file.tools, self.file.embeddings))
        more = [f"{amount(answers, 'answer')} of tools"] * bool(answers) + [amount(vectors, "vector")] * bool(vectors)
        return f"{self.source}: {', '.join([said] * bool(steps) + more)}"


def _count(entry: object) -> int:
    return len(entry.steps) if isinstance(entry, KeyedSteps) else 1


def draft_of(name: str, store: Callable[[], Store], options: Options, *, is_foreign: bool = False) -> Draft:
    """Return the script file that a source makes: `name` is that of a file, or of a session or trace of the store.

    With `is_foreign`, the file is one of another tool: a cassette of vcrpy or cassetter, or a cache of LangChain.

    Raises:
        ScriptError: the source is none that can be read, or does not hold what `options` choose; with file and line.
        StoreError: there is no such session or trace.
    """
    path = Path(name)
    if path.is_file():
        draft = (_of_foreign if is_foreign else _of_file)(path, options)
    elif is_foreign:
        raise ScriptError(f"there is no file `{name}`")
    else:
        draft = _of_store(name, store(), options)
    hidden, kept = without_secrets(draft.file)
    masked = sum(map(len, kept.values()))
    notes = [table().without_secrets(note) for note in draft.notes]
    notes += [f"{amount(masked, 'text')} masked, because a part looks like a secret"] if masked else []
    return replace(draft, file=hidden, notes=notes, masked=masked)


# -- files, by their content

_SQLITE: Final = b"SQLite format 3\x00"


def _of_file(path: Path, options: Options) -> Draft:
    data = path.read_bytes()
    start = data[:4096].lstrip(b"\xef\xbb\xbf")
    if data.startswith(_SQLITE):
        return _of_foreign(path, options)
    if data.startswith(b"\x1f\x8b") or start.lstrip().startswith(b'{"llmtest"'):
        return _of_lines(path, options)
    if start.startswith((b"# llmtest tree", b"# llmtest trace")) or path.suffix in (".tree", ".trace"):
        return _of_tree(path, options)
    is_script = start.startswith(b"# llmtest script") or path.suffix in (".yaml", ".yml")
    if b"interactions" in data and not start.startswith(b"# llmtest"):
        return _of_foreign(path, options)
    if is_script:
        return _of_script(path, data, options)
    raise ScriptError(
        f"{shown_path(f'{path}:1')}: the file is nothing that a script can be made of\n"
        "  expected  JSON lines of `llmtest export`, a snapshot (.tree), a script file (.yaml), or a cassette of another tool"
    )


def _of_script(path: Path, data: bytes, options: Options) -> Draft:
    file = read_file(data, os.fspath(path))
    tools = _chosen_tools(file.tools, options.tools, f"{shown_path(os.fspath(path))} has") if options.tools else file.tools
    source = shown_path(os.fspath(path))
    if not file.models:
        if options.model != "*":
            raise ScriptError(f"{source}: the file does not name its models, so it has no `{options.model}`")
        return Draft(replace(file, tools=tools, test=""), source)
    models = _chosen(file.models, options.model, f"{source} has")
    if options.model != "*" and len(models) == 1:
        (entries,) = models.values()
        return Draft(replace(file, models={}, entries=entries, embeddings={}, tools=tools, test=""), source)
    embeddings = {model: vectors for model, vectors in file.embeddings.items() if fnmatchcase(model, options.model)}
    return Draft(replace(file, models=models, embeddings=embeddings, tools=tools, test=""), source)


def _of_tree(path: Path, options: Options) -> Draft:
    source = shown_path(os.fspath(path))
    if options.tools:
        raise ScriptError(
            f"{source}: a snapshot does not hold all that a tool returned (artifacts, types of values), so that it cannot repeat"
            " its answers\n  keep them from the trace of the run: llmtest script TRACE --tools ..."
        )
    calls, notes = calls_in(read_text(path) or "", os.fspath(path), tokens=options.tokens)
    by_model: dict[str, list[Reply | Fail]] = {}
    for call in calls:
        by_model.setdefault(call.model, []).append(call.step)
    chosen = _chosen(by_model, options.model, f"{source} has")
    kept = [call for call in calls if call.model in chosen]
    entries = {model: tuple(map(_without_ids, steps)) for model, steps in chosen.items()}
    return Draft(_file(path, entries), source, [describe(kept), *notes])


def _without_ids(step: Reply | Fail) -> Reply | Fail:
    return without_random_ids(step) if isinstance(step, Reply) else step


# -- traces


def _of_store(name: str, store: Store, options: Options) -> Draft:
    try:
        traces = store.find(name)
    except StoreError as error:
        raise StoreError(f"{error}\n  and there is no file of this name") from None
    return _of_recordings([store.load(trace) for trace in traces], name, options)


def _of_lines(path: Path, options: Options) -> Draft:
    source = shown_path(os.fspath(path))
    with TemporaryDirectory() as folder, Store(Path(folder) / "traces.sqlite") as store, path.open("rb") as file:
        try:
            jsonl.take_in(store, jsonl.read_lines(file), lambda done, of: None)
        except StoreError as error:
            raise StoreError(f"{source}: {error}") from None
        recordings = [store.load(trace) for trace in store.traces()]
    return _of_recordings(recordings, source, options)


class _Order:
    """The order of runs of several traces: in one trace the program's; else one comes after another if it began later than
    that had ended, by the clock."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._home: dict[UUID, int] = {}
        self._recordings = recordings
        self._spans: list[tuple[int, int]] = []
        for number, recording in enumerate(recordings):
            times = [event.wall_ns for run in recording.runs for event in run.events]
            self._spans.append((min(times, default=0), max(times, default=0)))
            self._home.update((run.id, number) for run in recording.runs)
        self._orders = [recording.order() for recording in recordings]

    def are_ordered(self, a: Run, b: Run, /) -> bool:
        first, second = self._home[a.id], self._home[b.id]
        if first == second:
            return self._orders[first].are_ordered(a, b)
        one, other = self._spans[first], self._spans[second]
        return one[1] < other[0] or other[1] < one[0]

    def position(self, run: Run, /) -> int:
        home = self._home[run.id]
        earlier = (n for n, span in enumerate(self._spans) if (span, n) < (self._spans[home], home))
        return sum(len(self._recordings[n].runs) for n in earlier) + self._orders[home].position(run)


def _of_recordings(recordings: Sequence[Recording], source: str, options: Options) -> Draft:
    found = [(recording, call) for recording in recordings for call in recorded_calls(recording, tokens=options.tokens)]
    calls = [call for _, call in sorted(found, key=lambda pair: _began(pair[1]))]
    if not calls:
        raise ScriptError(f"{source} has no call of a model, so that there is nothing to make a script of")
    by_model: dict[str, list[RecordedCall]] = {}
    for call in calls:
        by_model.setdefault(call.model, []).append(call)
    order = _Order(recordings)
    notes: list[str] = []
    entries: dict[str, Entries] = {}
    for model, own in _chosen(by_model, options.model, f"{source} has").items():
        made, told = entries_of(own, order)
        entries[model] = tuple(made)
        notes += [note if note.startswith("call ") else f"`{model}`: {note}" for note in told]
    tools: Mapping[str, tuple[ToolAnswer, ...]] = {}
    if options.tools:
        runs = [run for recording in recordings for run in recording.runs]
        tools = _chosen_tools(tool_answers(runs), options.tools, f"{source} has")
        notes += [
            f"answer {number} of the tool `{tool}`: it {answer.unknown}, which cannot be repeated"
            for tool, answers in tools.items()
            for number, answer in enumerate(answers, 1)
            if answer.unknown
        ]
    return Draft(_file(Path(source), entries, tools), source, notes)


def _began(call: RecordedCall) -> tuple[int, int]:
    assert call.run is not None  # it is of a recording
    return call.run.start.wall_ns, call.run.start.number


# -- foreign cassettes


def _of_foreign(path: Path, options: Options) -> Draft:
    source = shown_path(os.fspath(path))
    if options.tools:
        raise ScriptError(
            f"{source}: a cassette of another tool holds requests to models, and no answers of tools of the program"
        )
    with path.open("rb") as opened:
        is_database = opened.read(len(_SQLITE)) == _SQLITE
    if is_database:
        return _of_cache(path, options)
    exchanges = foreign.read_exchanges(path)
    calls, others = foreign.read_calls(exchanges)
    vectors, unread = foreign.read_vectors(exchanges)
    notes = _told([*others, *unread])
    if not calls and not vectors:
        raise ScriptError("\n".join([f"{source} has no call of a model that can be read", *(f"  {note}" for note in notes)]))
    by_model: dict[str, list[Reply | Fail]] = {}
    for number, call in enumerate(calls, 1):
        model = call.model or "*"
        by_model.setdefault(model, []).append(_step_of(call, options.tokens))
        notes += [f"call {number} of `{model}`: the answer had {what}, which no step says" for what in call.left_out]
    chosen = _chosen({**by_model, **vectors}, options.model, f"{source} has")
    entries = {model: tuple(steps) for model, steps in by_model.items() if model in chosen}
    embeddings = {model: texts for model, texts in vectors.items() if model in chosen}
    notes += [note for model, texts in embeddings.items() if (note := _of_token_ids(model, texts))]
    return Draft(ScriptFile(os.fspath(path), 2, (), entries, embeddings=embeddings), source, notes)


def _of_token_ids(model: str, texts: Iterable[str]) -> str:
    """Return what is said of texts that a client sent as token ids, which no encoding is at hand for."""
    unread = sum(re.fullmatch(r"tokens [\d ]+", text) is not None for text in texts)
    if not unread:
        return ""
    return (
        f"embeddings of `{model}`: {amount(unread, 'text')} as ids of tokens, under which a program does not find them again;"
        " record with OpenAIEmbeddings(check_embedding_ctx_length=False)"
    )


def _of_cache(path: Path, options: Options) -> Draft:
    """Return what a cache of LangChain makes: it keeps each prompt once, in the order in which it was asked first."""
    source, application = shown_path(os.fspath(path)), 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        (application,) = database.execute("PRAGMA application_id").fetchone()
    if application == APPLICATION:
        raise ScriptError(f"{source} is a trace store; name one of its sessions or traces: llmtest script SESSION --store {path}")
    by_model: dict[str, list[Reply | Fail]] = {}
    notes = ["a cache holds each prompt once: of a prompt that was asked again, there is one step"]
    for number, call in enumerate(read_cache(path), 1):
        model = call.model or "*"
        request = Request(read=partial(tuple, call.messages), stop=call.stop and list(call.stop))
        step = _without_tokens(without_random_ids(call.answers[0]))
        by_model.setdefault(model, []).append(replace(step, serving=replace(step.serving, request=fingerprint(request))))
        more = [*call.left_out, *([f"{len(call.answers)} candidates, of which this is the first"] * (len(call.answers) > 1))]
        notes += [f"call {number} of `{model}`: the answer had {what}, which no step says" for what in more]
    if not by_model:
        raise ScriptError(f"{source}: the cache is empty")
    entries = {model: tuple(steps) for model, steps in _chosen(by_model, options.model, f"{source} has").items()}
    return Draft(ScriptFile(os.fspath(path), 2, (), entries), source, notes)


def _step_of(call: foreign.RecordedCall, tokens: bool) -> Reply | Fail:
    asked = call.call
    request = Request(asked.tools, lambda: asked.messages, asked.tool_choice, asked.stop, asked.params, over_http=True)
    step = call.step
    if isinstance(step, Reply):
        step = without_random_ids(step if tokens else _without_tokens(step))
    return replace(step, serving=replace(step.serving, request=fingerprint(request)))


def _without_tokens(step: Reply) -> Reply:
    """Return a reply whose texts are each one string, and whose arguments are values where they are JSON."""
    parts = (
        replace(part, tokens=tuple(split("".join(part.tokens))))
        if isinstance(part, Text | Thinking)
        else replace(part, pieces=())
        if isinstance(part, Call) and not part.malformed
        else part
        for part in step.parts
    )
    return replace(step, parts=tuple(parts))


def _told(others: Sequence[foreign.OtherExchange]) -> list[str]:
    if not others:
        return []
    were = "was no call of a model" if len(others) == 1 else "were no calls of models"
    shown = [f"  {_shown(other)}" for other in others[:MAX_NOTES]]
    more = [f"  and {len(others) - MAX_NOTES:,} more"] if len(others) > MAX_NOTES else []
    return ["\n".join([f"{amount(len(others), 'exchange')} {were} that can be read", *shown, *more])]


def _shown(other: foreign.OtherExchange) -> str:
    """Return a line without the query of the URL, where keys stand."""
    request = other.exchange.request
    return f"{shown_path(other.exchange.place)}: {request.method} {clip(request.url.partition('?')[0], 120)}: {other.why}"


# -- choices


def _file(path: Path, entries: Mapping[str, Entries], tools: Mapping[str, tuple[ToolAnswer, ...]] | None = None) -> ScriptFile:
    """Return a file with the steps of one model under `steps`, of several under `models`."""
    if len(entries) == 1:
        return ScriptFile(os.fspath(path), 2, next(iter(entries.values())), tools=tools or {})
    return ScriptFile(os.fspath(path), 2, (), entries, tools or {})


def _chosen(found: Mapping[str, Any], pattern: str, has: str) -> dict[str, Any]:
    """Return what belongs to the models that `pattern` names."""
    chosen = {model: value for model, value in found.items() if fnmatchcase(model, pattern)}
    if not chosen:
        raise ScriptError(f"{has} no call of a model `{pattern}`{did_you_mean(pattern, found)}\n  models  {names(found)}")
    return chosen


def _chosen_tools(
    found: Mapping[str, tuple[ToolAnswer, ...]], patterns: Iterable[str], has: str
) -> dict[str, tuple[ToolAnswer, ...]]:
    """Return the answers of the tools that `patterns` name, each of which names one."""
    chosen: dict[str, tuple[ToolAnswer, ...]] = {}
    for pattern in patterns:
        fits = {tool: answers for tool, answers in found.items() if named(pattern, tool)}
        if not fits:
            raise ScriptError(f"{has} no call of a tool `{pattern}`{did_you_mean(pattern, found)}\n  tools  {names(found)}")
        chosen |= fits
    return chosen
