"""Secrets in the texts of a script file: masks in their place before it is written, and what they hide."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Any, Protocol

from llmtest.core.masks import mask, table
from llmtest.events.words import FrozenDict, FrozenList
from llmtest.scripts.files import Entries, ScriptFile
from llmtest.scripts.requests import KeyedSteps, On
from llmtest.scripts.step_types import Call, Fail, Part, Reply, Step, Text, Thinking, Value, split
from llmtest.scripts.tool_answers import ToolAnswer, ToolFailure

Secret = str | int | float
"""What was masked: a text, or a number under the name of a secret."""


class Leaf(Protocol):
    """Returns what stands in place of a value under a key; the key is empty for a text without one.

    `taken` are the names that stand beside a name: no two are equal.
    """

    def __call__(self, key: str, value: Any, taken: Container[str] = (), /) -> Any: ...


def without_secrets(file: ScriptFile) -> tuple[ScriptFile, dict[str, list[Secret]]]:
    """Return `file` with masks in place of secrets, and what each masked value was, in order."""
    kept: dict[str, list[Secret]] = {}

    def hide(key: str, value: Secret, taken: Container[str] = ()) -> Secret:
        if not isinstance(value, str) and not table().hides(key, value):
            return value
        hidden = mask(key) if not isinstance(value, str) or table().hides(key, value) else table().without_secrets(value)
        if hidden != value:
            numbered = (f"{hidden} ({number})" for number in count(2))
            hidden = next(text for text in chain([hidden], numbered) if text not in taken)
            kept.setdefault(hidden, []).append(value)
        return hidden

    return _changed(_with_hidden_prompts(file), hide), kept


def without_recorded_secrets(entries: Sequence[Step | KeyedSteps]) -> tuple[Entries, int]:
    """Return entries with masks in place of secrets in recorded steps, and how many texts are masked.

    What a person has written stays as it is: a step without a request.
    """
    recorded = [entry for entry in entries if _is_recorded(entry)]
    hidden, kept = without_secrets(ScriptFile("", entries=tuple(recorded)))
    masked = iter(hidden.entries)
    return tuple(next(masked) if _is_recorded(entry) else entry for entry in entries), sum(map(len, kept.values()))


def _is_recorded(entry: Step | KeyedSteps) -> bool:
    if isinstance(entry, KeyedSteps):
        return any(map(_is_recorded, entry.steps))
    return entry.serving.request is not None


def with_secrets(file: ScriptFile, kept: Mapping[str, list[Secret]]) -> ScriptFile:
    """Return `file` with what was masked in it, as far as it is kept."""
    left = {hidden: list(texts) for hidden, texts in kept.items()}

    def show(key: str, value: Secret, taken: Container[str] = ()) -> Secret:
        return left[value].pop(0) if isinstance(value, str) and left.get(value) else value

    return _changed(file, show)


def _with_hidden_prompts(file: ScriptFile) -> ScriptFile:
    """Return `file` with masks in what it keeps of prompts: that is compared only, and no program needs it again."""
    models = {model: tuple(map(_with_hidden_prompt, entries)) for model, entries in file.models.items()}
    return replace(file, entries=tuple(map(_with_hidden_prompt, file.entries)), models=models)


def _with_hidden_prompt(entry: Any) -> Any:
    if isinstance(entry, KeyedSteps):
        return replace(entry, steps=tuple(map(_with_hidden_prompt, entry.steps)))
    request = entry.serving.request
    if request is None:
        return entry
    hidden = replace(request, system=request.system and request.system.hidden(), human=tuple(p.hidden() for p in request.human))
    return entry if hidden == request else replace(entry, serving=replace(entry.serving, request=hidden))


# -- every text of a file


def _changed(file: ScriptFile, leaf: Leaf) -> ScriptFile:
    return replace(
        file,
        entries=_entries(file.entries, leaf),
        models={model: _entries(entries, leaf) for model, entries in file.models.items()},
        tools={tool: tuple(_tool(answer, leaf) for answer in answers) for tool, answers in file.tools.items()},
        embeddings={model: _named(vectors, leaf) for model, vectors in file.embeddings.items()},
    )


def _named(values: Mapping[str, Any], leaf: Leaf) -> dict[str, Any]:
    """Return `values` with their names changed."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found[leaf("", name, found)] = value
    return found


def _entries(entries: Entries, leaf: Leaf) -> Entries:
    return tuple(
        replace(entry, key=_key(entry.key, leaf), steps=tuple(_step(step, leaf) for step in entry.steps))
        if isinstance(entry, KeyedSteps)
        else _step(entry, leaf)
        for entry in entries
    )


def _key(key: On, leaf: Leaf) -> On:
    """Return a key with its texts changed: those that calls have, and are compared with."""
    texts: dict[str, Any] = {name: leaf("", text) for name in ("tag", "thread") if (text := getattr(key, name)) is not None}
    contains = tuple(leaf("", text) for text in key.contains)
    return replace(key, contains=contains, metadata=FrozenDict(_json(key.metadata, leaf)), **texts)


def _step(step: Any, leaf: Leaf) -> Any:
    if isinstance(step, Fail):
        kind, args = step.cause
        if isinstance(kind, int) or len(args) != 1 or not isinstance(args[0], str):
            return step if step.message is None else replace(step, message=leaf("", step.message))
        hidden = leaf("", args[0])
        return step if hidden == args[0] else replace(step, error=kind.__name__, message=hidden)
    assert isinstance(step, Reply)  # a file has no other steps
    failure = None if step.failure is None else _step(step.failure, leaf)
    parts = tuple(_part(part, leaf) for part in step.parts)
    verbatim, metadata = (FrozenDict(_json(value, leaf)) for value in (step.verbatim, step.response_metadata))
    return replace(step, parts=parts, failure=failure, verbatim=verbatim, response_metadata=metadata)


def _part(part: Part, leaf: Leaf) -> Part:
    if isinstance(part, Text | Thinking):
        said = "".join(part.tokens)
        new = leaf("", said)
        return part if new == said else replace(part, tokens=tuple(split(new)))
    if isinstance(part, Call):
        args = _json(part.args, leaf)
        pieces = part.pieces and (leaf("", "".join(part.pieces)),)
        return part if args == part.args and "".join(pieces) == "".join(part.pieces) else replace(part, args=args, pieces=pieces)
    assert isinstance(part, Value)
    return replace(part, value=_json(part.value, leaf))


def _tool(answer: ToolAnswer, leaf: Leaf) -> ToolAnswer:
    failure = answer.failure
    return replace(
        answer,
        args=_json(answer.args, leaf),
        gives=_json(answer.gives, leaf),
        artifact=_json(answer.artifact, leaf),
        message=_json(answer.message, leaf),
        failure=None if failure is None else ToolFailure(failure.type, leaf("", failure.message), leaf("", failure.repr)),
    )


def _json(value: Any, leaf: Leaf, key: str = "") -> Any:
    """Return a value of JSON with its texts and names changed. All that stands below the name of a secret is a part of it."""
    if isinstance(value, Mapping):
        own = key if table().is_secret(key) else None
        return FrozenDict({name: _json(item, leaf, own or str(name)) for name, item in _named(value, leaf).items()})
    if isinstance(value, list | tuple):
        return FrozenList([_json(item, leaf, key) for item in value])
    return leaf(key, value) if isinstance(value, str | int | float) and not isinstance(value, bool) else value
