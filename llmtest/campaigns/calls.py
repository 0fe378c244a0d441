"""The calls of a program: of models, tools and retrievers, each named by what it is.

A name holds in every run of the program that comes to the call: the names of the runs around it, its own name, its arguments,
and its number among equal ones. So a fault can be put at a call of a later run, whatever runs at the same time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from llmtest.core.masks import table
from llmtest.events.callbacks import INPUT_OF, MODELS, START_KINDS, RunKind
from llmtest.events.events import Event, Run
from llmtest.events.words import EMPTY, Document, FrozenDict, Message, ToolCall
from llmtest.recording.recording import Recording
from llmtest.scripts.fingerprints import digest
from llmtest.trees.rendering import lines_and_runs

CALLED: Final = frozenset((*MODELS, "tool", "retriever"))
"""The kinds of runs that can fail by themselves. Chains only hold them together."""


class CallKey(NamedTuple):
    """What names a call. `path` are the names of the runs around it, the outermost first; `occurrence` counts from 1."""

    kind: RunKind
    path: tuple[str, ...]
    name: str
    arguments: str
    occurrence: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the run without faults, and what it gave.

    `label` is its short name: `search#2` is the second call of `search`. `text` is what it gave, as a text. Of a model,
    `tool_calls` and `metadata` belong to its answer, and `tokens` are its streamed texts, if it `is_streamed`. A model that is
    not `is_scripted` answers by its own class: its faults come there.
    """

    key: CallKey
    label: str
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tokens: tuple[str, ...] = ()
    metadata: FrozenDict = EMPTY
    is_streamed: bool = False
    is_scripted: bool = True

    @property
    def kind(self) -> RunKind:
        return self.key.kind

    def __str__(self) -> str:
        return self.label


def moment_of(where: str, number: int) -> Call:
    """Return a moment of the program as if it were a call: its third `await` is `await#3`."""
    return Call(CallKey("chain", (), where, "", number), f"{where}#{number}")


class CallNames:
    """Names the calls of a recording, also while it goes on. Holds state; thread-safe."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._seen = 0
        self._paths: dict[UUID, tuple[str, ...]] = {}
        self._keys: dict[UUID, CallKey] = {}
        self._counts: Counter[tuple[object, ...]] = Counter()
        self._lock = threading.Lock()

    @property
    def keys(self) -> Mapping[UUID, CallKey]:
        """The calls so far, in the order in which they started."""
        with self._lock:
            self._read()
            return dict(self._keys)

    def key_of(self, run_id: UUID) -> CallKey | None:
        """Return the name of the call that is the run of this id; None if it is none of the recording."""
        with self._lock:
            if run_id not in self._keys:
                self._read()
            return self._keys.get(run_id)

    def _read(self) -> None:
        new = self._recording[self._seen :]
        self._seen += len(new)
        for event in new:
            if event.kind in START_KINDS:
                self._start(event)

    def _start(self, event: Event) -> None:
        above = self._paths.get(event.parent_run_id, ()) if event.parent_run_id is not None else ()
        self._paths[event.run_id] = (*above, event.name)
        kind = START_KINDS[event.kind]
        if kind in CALLED:
            same = (kind, above, event.name, arguments_of(kind, event))
            self._counts[same] += 1
            self._keys[event.run_id] = CallKey(*same, self._counts[same])


def arguments_of(kind: RunKind, start: Event) -> str:
    """Return the digest of what a run was called with. What differs in every run does not count: ids, times, folders."""
    value = start.payload.get(INPUT_OF[kind])
    if value is None and kind == "tool":
        value = start.payload.get("input_str")
    return digest(_plain(value))


def _plain(value: Any) -> Any:
    """Return a value as JSON, without the ids of messages and of tool calls."""
    if isinstance(value, Message):
        calls = [[call.name, _plain(call.args)] for call in value.tool_calls]
        return [value.role, _masked(value.text), calls, value.name, value.status]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | None) else _masked(str(value))


MAX_MASKED_CHARACTERS: Final = 10_000
"""A longer text is compared as it is: to look for ids in it takes longer than the call."""


def _masked(text: str) -> str:
    if len(text) > MAX_MASKED_CHARACTERS:
        return text
    return table().volatile.sub(lambda found: f"<{found.lastgroup}>", text)


def calls_of(recording: Recording) -> list[Call]:
    """Return the calls of a recording, labelled in the order of its tree: the same in every run, whichever thread is faster."""
    keys = CallNames(recording).keys
    shown = {run.id: number for number, (_, run) in enumerate(lines_and_runs(recording)[1])}
    runs = sorted((run for run in recording.runs if run.id in keys), key=lambda run: shown.get(run.id, len(shown)))
    numbers: Counter[str] = Counter()
    calls = []
    for run in runs:
        numbers[run.name] += 1
        calls.append(_call(run, keys[run.id], f"{run.name}#{numbers[run.name]}"))
    return calls


def _call(run: Run, key: CallKey, label: str) -> Call:
    tokens = tokens_of(run)
    answer = run.output if isinstance(run.output, Message) and run.kind == "chat" else Message("ai")
    return Call(key, label, said(run.output), answer.tool_calls, tokens, answer.response_metadata, bool(run.tokens))


def tokens_of(run: Run) -> tuple[str, ...]:
    """Return the texts that a run has streamed."""
    return tuple(filter(None, map(_text_of, run.tokens)))


def _text_of(token: Any) -> str:
    """Return the text of a streamed token: some APIs send a list of blocks."""
    if isinstance(token, str):
        return token
    blocks = (block for block in token if isinstance(block, Mapping)) if isinstance(token, list | tuple) else ()
    return "".join(str(block.get("text") or "") for block in blocks if block.get("type") in ("text", "output_text"))


def said(value: Any) -> str:
    """Return what a call gave as a text, without the ids of messages and documents."""
    if isinstance(value, Message):
        return value.text
    if isinstance(value, Document):
        return value.page_content
    if isinstance(value, list | tuple):
        return "\n".join(map(said, value))
    return "" if value is None else str(value)
