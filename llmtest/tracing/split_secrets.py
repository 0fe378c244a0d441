"""Secrets that a stream has cut into pieces: no piece looks like one, so they are found in the joined texts of a run."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

from llmtest.core import masks
from llmtest.events.callbacks import STREAMED
from llmtest.events.events import Event
from llmtest.events.words import FrozenDict, FrozenList

Path = tuple[str | int, ...]
"""Keys and positions of a text within a payload."""
_NAMES: Final = frozenset({"type", "event", "index", "id"})
"""Keys of streamed pieces whose texts are repeated, not continued."""
_ARGUMENTS: Final = frozenset({"args", "arguments", "partial_json"})
"""Keys of texts that together are JSON, so that the keys within it also tell what is secret."""


def hide_split_secrets(events: Sequence[Event]) -> dict[int, FrozenDict]:
    """Return the payloads that hold a piece of a secret, masked, by the position of their event.

    The mask is in the first piece of a secret, and the others lose theirs, so that the joined text reads as if it had been
    masked as a whole.
    """
    streams: dict[Hashable, list[tuple[int, Path, str]]] = {}
    for number, event in enumerate(events):
        if event.kind in STREAMED:
            plain = event.payload.get("token") if len(event.payload) == 1 else None
            pieces = [("token", ("token",), plain)] if isinstance(plain, str) else _texts(event.payload, (), ())
            for stream, path, text in pieces:
                streams.setdefault((event.run_id, stream), []).append((number, path, text))
    hidden: dict[int, FrozenDict] = {}
    for found in streams.values():
        texts = [text for _, _, text in found]
        for (number, path, text), masked in zip(found, _masked(texts, found[0][1][-1] in _ARGUMENTS), strict=True):
            if masked != text:
                hidden[number] = _replaced(hidden.get(number, events[number].payload), path, masked)
    return hidden


def _texts(value: object, stream: tuple[Hashable, ...], path: Path) -> Iterator[tuple[Hashable, Path, str]]:
    """Yield each text in a payload with the stream that it continues and its path.

    Providers number the blocks of an answer (`index`); the position in a list says nothing where they do.
    """
    if isinstance(value, str):
        yield stream, path, value
    elif isinstance(value, dict):
        block = (*stream, ("index", index)) if isinstance(index := value.get("index"), int | str) else stream
        for key, item in value.items():
            if key not in _NAMES or isinstance(item, dict):
                yield from _texts(item, (*block, key), (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            numbered = isinstance(item, dict) and "index" in item
            yield from _texts(item, stream if numbered else (*stream, number), (*path, number))


def _masked(texts: Sequence[str], is_json: bool) -> Sequence[str]:
    whole, table = "".join(texts), masks.table()
    if is_json:
        try:
            arguments = json.loads(whole)
            hidden = table.hide(arguments)
        except (ValueError, RecursionError):
            hidden = arguments = None  # the stream broke off, or this is no JSON: the text has to do
        if hidden is not arguments:
            return [json.dumps(hidden), *[""] * (len(texts) - 1)]
    secrets = [(*match.span(), table.replacement(match)) for match in table.secrets.finditer(whole)]
    return list(_cut_out(texts, whole, secrets)) if secrets else texts


def _cut_out(texts: Sequence[str], whole: str, secrets: Sequence[tuple[int, int, str]]) -> Iterator[str]:
    """Yield the texts with each secret (where it starts and ends in the whole, and its mask) masked in its first piece."""
    start = first = 0
    for text in texts:
        end, at, kept = start + len(text), start, ""
        while first < len(secrets) and secrets[first][1] <= start:
            first += 1
        for begins, ends, mask in secrets[first:]:
            if begins >= end:
                break
            kept += whole[at : max(at, begins)] + (mask if begins >= start else "")
            at = min(end, ends)
        yield kept + whole[at:end]
        start = end


def _replaced(value: FrozenDict, path: Path, text: str) -> FrozenDict:
    """Return a payload with another text at a path."""
    return FrozenDict({key: _replaced_item(item, path[1:], text) if key == path[0] else item for key, item in value.items()})


def _replaced_item(value: object, path: Path, text: str) -> object:
    if isinstance(value, FrozenDict):
        return _replaced(value, path, text)
    if isinstance(value, list):
        return FrozenList(_replaced_item(item, path[1:], text) if n == path[0] else item for n, item in enumerate(value))
    return text
