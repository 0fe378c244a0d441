"""Frozen values as JSON, and back: exact, without pickle and without eval; secrets are masked on the way.

Plain values are plain JSON. Every other value is an object whose first key is `$w`: its class, then its fields. A message
is written once per trace, and replaced by its number elsewhere, because agents pass their whole conversation from run to
run.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache, partial
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from types import UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from llmtest.core import masks
from llmtest.events.words import (
    Document,
    Failure,
    FrozenDict,
    FrozenList,
    Generation,
    Message,
    Opaque,
    Structured,
    ToolCall,
    Usage,
)

TAG: Final = "$w"
_TAGGED: Final = f'"{TAG}"'
_REFERENCE: Final = f'{{{_TAGGED}:"@"'
Bodies = dict[int, tuple[str, Message]]
"""Messages as JSON by their `id`, with the message, so that the `id` is not used again."""
MAX_BITS: Final = 14_000
"""A longer integer has more digits than Python reads and writes (4,300): it is written in hexadecimal."""
_WORDS: Final = {word.__name__: word for word in (Document, Failure, Generation, Message, Opaque, Structured, ToolCall, Usage)}


W = TypeVar("W")


class Writer:
    """Encode the values of one trace. `messages` are the messages that it has written, in the order of their numbers.

    With `unchecked`, texts that may hold secrets are not masked, but added to it: look at it at the end, and if it may hold a
    secret, write all of them again, without it. Writers of the same trace share `bodies`.
    """

    def __init__(self, unchecked: masks.Unchecked | None = None, bodies: Bodies | None = None) -> None:
        self.masks = masks.table()
        self._unchecked = unchecked
        self._bodies = bodies if bodies is not None else {}
        self.messages: list[str] = []
        self._numbers: dict[int, int] = {}
        self._alive: list[Message] = []  # keeps the `id` of a numbered message from being reused
        self._tags = 0
        self._encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False, default=self._word).encode
        self._encode_plain = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

    def payload(self, payload: Mapping[str, object]) -> str:
        """Return a payload as JSON. Its own keys are LangChain's: the `token` of `on_llm_new_token` is no secret."""
        text = self._quickly(_folded(payload, 3), _ours)
        return text or self._encode_plain(_escaped({key: self._whole(value) for key, value in payload.items()}))

    def value(self, value: object) -> str:
        """Return a frozen value as JSON."""
        return self._quickly(value, str) or self._encode_plain(self._whole(value))

    def _quickly(self, value: object, known: Callable[[str], str]) -> str | None:
        """Return `value` as the C encoder writes it; None if it may hold a secret or cannot be written that way."""
        tags, self._tags = self._tags, 0
        try:
            text = self._encode(value)
            if text.count(_TAGGED) == self._tags and not self._is_risky(known(text)):
                return text
        except ValueError:  # a number that JSON does not have
            pass
        finally:
            self._tags = tags
        return None

    def _is_risky(self, text: str) -> bool:
        if self._unchecked is None:
            return self.masks.may_hold_secrets(text)
        self._unchecked.add(text)
        return False

    def _word(self, value: object) -> dict[str, object]:
        """Return a value that `json` does not know as one that it does."""
        self._tags += 1
        if type(value) is _Conversation:
            numbers = [*map(self._numbers.get, map(id, value.messages))]
            return {TAG: "messages", "n": numbers if None not in numbers else [*map(self._number, value.messages)]}
        if type(value) is Message:
            return {TAG: "@", "n": self._number(value)}
        if type(value) in _defaults:
            return {TAG: type(value).__name__, **_fields(value)}
        return _atom(value)

    def _number(self, message: Message) -> int:
        number = self._numbers.get(id(message))
        return self._new(message) if number is None else number

    def _new(self, message: Message) -> int:
        known = self._bodies.get(id(message))
        body = known[0] if known is not None else self._body(message)
        number = self._numbers[id(message)] = len(self.messages)
        self.messages.append(body)
        self._alive.append(message)
        return number

    def _body(self, message: Message) -> str:
        before = len(self._numbers)
        text = self._quickly(_fields(message), str)
        body = text or self._encode_plain({key: self._whole(value) for key, value in _fields(message).items()})
        if before == len(self._numbers) and _REFERENCE not in body:  # the numbers of messages in it are those of this writer
            self._bodies[id(message)] = (body, message)
        return body

    def _whole(self, value: Any) -> object:
        """Return `value` as plain JSON, with each part checked for secrets."""
        kind = type(value)
        if isinstance(value, str):
            return self.masks.without_secrets(value)
        if isinstance(value, Mapping):
            return _escaped({self.masks.without_secrets(key): self._under(key, item) for key, item in value.items()})
        if isinstance(value, list | tuple):
            return [self._whole(item) for item in value]
        if kind is Message:
            return {TAG: "@", "n": self._number(value)}
        if kind in _defaults:
            return {TAG: kind.__name__, **{name: self._whole(item) for name, item in _fields(value).items()}}
        if kind is float and not math.isfinite(value):
            return {TAG: "float", "v": repr(value)}
        return (
            value if value is None or kind in (bool, float) or (kind is int and value.bit_length() < MAX_BITS) else _atom(value)
        )

    def _under(self, key: str, value: object) -> object:
        if key == "properties" and isinstance(value, Mapping):
            return _escaped({self.masks.without_secrets(name): self._property(name, item) for name, item in value.items()})
        return masks.mask(key) if self.masks.hides(key, value) else self._whole(value)

    def _property(self, name: str, schema: object) -> object:
        """Return the schema of a parameter: that there is one with the name `password` is no secret."""
        is_schema = isinstance(schema, Mapping) and not _SCHEMA_KEYS.isdisjoint(schema)
        return self._whole(schema) if is_schema else self._under(name, schema)


_SCHEMA_KEYS: Final = frozenset({"type", "$ref", "anyOf", "allOf", "oneOf", "enum", "const"})


class _Conversation:
    """A list of messages: `json` calls back once for all of them, not once for each."""

    __slots__ = ("messages",)

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages


def _folded(value: object, deep: int) -> object:
    """Return `value` with its lists of messages folded, as deep as programs nest them."""
    if type(value) is FrozenList and value and type(value[0]) is Message and set(map(type, value)) == {Message}:
        return _Conversation(value)
    if type(value) is FrozenDict and deep:
        return {key: _folded(item, deep - 1) for key, item in value.items()}
    return value


def _escaped(items: dict[str, object]) -> dict[str, object]:
    """Return `items`, in another form if one of its keys is our tag."""
    return {TAG: "dict", "items": list(items.items())} if TAG in items else items


def _ours(text: str) -> str:
    """Return the JSON of a payload without `token`, the one key of LangChain's that looks like that of a secret."""
    return text[9:] if text.startswith('{"token":') else text


_defaults: Final = {
    word: tuple((f.name, f.default if f.default is not MISSING else MISSING) for f in fields(word)) for word in _WORDS.values()
}


def _fields(word: Any) -> dict[str, object]:
    """Return the fields of a word that do not have their default values."""
    found = {}
    for name, default in _defaults[type(word)]:
        value = getattr(word, name)
        if value is not default and (type(value) is not type(default) or value != default):
            found[name] = value
    return found


def _atom(value: Any) -> dict[str, object]:
    """Return a value that is neither JSON nor a word, with its class. An unknown class becomes `Opaque`, as when frozen."""
    if isinstance(value, PurePath):
        return {TAG: "windows path" if isinstance(value, PureWindowsPath) else "path", "v": str(value)}
    if type(value) is int:
        return {TAG: "int", "v": hex(value)}
    if type(value) is bytes:
        return {TAG: "bytes", "v": base64.b64encode(value).decode()}
    if type(value) is timedelta:
        return {TAG: "timedelta", "v": [value.days, value.seconds, value.microseconds]}
    if type(value) in (datetime, date, time):
        return {TAG: type(value).__name__, "v": value.isoformat()}
    if type(value) in (UUID, Decimal, complex):
        return {TAG: type(value).__name__, "v": str(value)}
    return {TAG: "Opaque", "type": type(value).__name__}


_ATOMS: Final[Mapping[str, Callable[[Any], object]]] = {
    "path": PurePosixPath,
    "windows path": PureWindowsPath,
    "bytes": base64.b64decode,
    "timedelta": lambda parts: timedelta(*parts),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "UUID": UUID,
    "Decimal": Decimal,
    "complex": complex,
    "float": float,
    "int": partial(int, base=16),
}


class Reader:
    """Decode the output of a `Writer`: equal values, and the same message for the same number. Readers of the same trace share
    `known`, its messages by their JSON.

    Raises:
        ValueError, LookupError, TypeError: from each method, the text is not such output.
    """

    def __init__(self, messages: Sequence[str], known: dict[str, Message] | None = None) -> None:
        self._bodies = messages
        self._known = known if known is not None else {}
        self._messages = cache(self._message)
        self._decode = json.JSONDecoder(object_hook=self._object).decode

    def value(self, text: str) -> Any:
        return frozen(self._decode(text))

    def payload(self, text: str) -> FrozenDict:
        payload = self._decode(text)
        if not isinstance(payload, FrozenDict):
            raise TypeError(f"a payload is an object; got {type(payload).__name__}")
        return payload

    def _message(self, number: int) -> Message:
        body = self._bodies[number]
        found = self._known.get(body)
        if found is None:
            found = _word_of(Message, self._decode(body))
            if '"@"' not in body and "\\u" not in body:  # the numbers of messages in it are those of this reader
                self._known[body] = found
        return found

    def _object(self, found: dict[str, Any]) -> object:
        tag = found.pop(TAG, None)
        if tag is None:
            return FrozenDict({key: frozen(value) if type(value) is list else value for key, value in found.items()})
        if tag == "@":
            return self._messages(found["n"])
        if tag == "messages":
            return FrozenList([self._messages(number) for number in found["n"]])
        if tag in _WORDS:
            return _word_of(_WORDS[tag], found)
        return FrozenDict({key: frozen(value) for key, value in found["items"]}) if tag == "dict" else _ATOMS[tag](found["v"])


def _word_of(word: type[W], found: Mapping[str, object]) -> W:
    """Return a word with decoded fields. The calls of a message are a tuple."""
    made: dict[str, Any] = {name: frozen(value) if type(value) is list else value for name, value in found.items()}
    if word is Message and "tool_calls" in made:
        made["tool_calls"] = tuple(made["tool_calls"])
    hints, plain = _HINTS[word], _PLAIN[word]
    for name, value in made.items():
        if type(value) not in plain[name] and not _fits(value, hints[name]):
            raise TypeError(f"{word.__name__}.{name} is {type(value).__name__}")
    return word(**made)


_HINTS: Final[Mapping[type[object], Mapping[str, object]]] = {word: get_type_hints(word) for word in _WORDS.values()}

_PLAIN: Final[Mapping[type[object], Mapping[str, frozenset[object]]]] = {
    word: {name: frozenset(get_args(hint) if isinstance(hint, UnionType) else [hint]) for name, hint in hints.items()}
    for word, hints in _HINTS.items()
}
"""By word and field: the types of most values of it. What else fits takes a longer look."""


def _fits(value: object, hint: Any) -> bool:
    """True if `value` is of the type that a field is declared with."""
    if type(value) is hint or hint is Any:
        return True
    kind, kinds = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in kinds
    if kind is tuple:
        return isinstance(value, tuple) and all(_fits(item, kinds[0]) for item in value)
    return any(_fits(value, one) for one in kinds) if kinds else isinstance(value, hint)


def frozen(value: object) -> Any:
    """Return a decoded value with its lists frozen, however deep they are."""
    if type(value) is not list:
        return value
    lists = [value]
    for each in lists:  # grows while it is read
        lists += [item for item in each if type(item) is list]
    made: dict[int, FrozenList] = {}
    for each in reversed(lists):
        made[id(each)] = FrozenList([made[id(item)] if type(item) is list else item for item in each])
    return made[id(value)]
