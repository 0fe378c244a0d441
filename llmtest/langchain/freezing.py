"""LangChain's objects -> the frozen words of `llmtest.events.events`, in two steps.

Applications, LangGraph and other handlers change messages, inputs and tags after a callback has fired. `hold` copies the
state of that moment, on the program's time, so it is cheap: private copies of containers, and the fields of objects.
`words` turns the copy into frozen words when the recording is read. `freeze` does both.

A message is held once while it does not change, and lists of messages that grow share their common beginning. Each event
compares the message with the private copy.

Nothing in this module raises because of a value: a part that cannot be held is described by its type. Nor does it run the
program's own code where that can be avoided: no property, `__eq__`, `__hash__` or `__repr__` of its objects.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import threading
import types
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, cast

from langchain_core.documents import Document as LangChainDocument
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation as LangChainGeneration
from langchain_core.outputs import LLMResult
from pydantic import BaseModel

from llmtest.core.text import text_of
from llmtest.errors import BROKEN_RULE, ViolationError
from llmtest.events.usage import read_model_name, read_usage
from llmtest.events.words import (
    EMPTY,
    Document,
    Ended,
    Failure,
    FrozenDict,
    FrozenList,
    Generation,
    Message,
    Opaque,
    Structured,
    ToolCall,
)
from llmtest.langchain.cache_hits import claims_cache

_TIMES: Final = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
_NUMBERS: Final = frozenset((int, float, bool, complex, decimal.Decimal))
# They cannot change, so they need no copy. By exact type: a subclass may have code and state of its own.
ATOMS: Final = frozenset((str, bytes, type(None), uuid.UUID, *_NUMBERS, *_TIMES))


class Held:
    """An object of the program: a copy of its fields, and how to make a word of them at the first read."""

    __slots__ = ("_make", "_name", "_word", "state")

    def __init__(self, make: Callable[..., object], state: dict[str, object], *name: str) -> None:
        self._make = make
        self._name = name
        self._word: object = None
        self.state = state

    def word(self) -> Any:
        if self._word is None:
            self._word = self._make(*self._name, words(self.state))
        return self._word

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and (self._make, self._name, self.state) == (other._make, other._name, other.state)

    __hash__ = None  # type: ignore[assignment]


def freeze(value: object) -> Any:
    """Return `value` in frozen words, now."""
    return words(hold(value))


def words(held: Any) -> Any:
    """Return a result of `hold` as frozen words. The same object gives the same word again."""
    kind = type(held)  # exact types: what `hold` made is never of a subclass, and this runs for each part of each payload
    if kind is dict:
        return FrozenDict({key: value if type(value) in ATOMS else words(value) for key, value in held.items()})
    if kind is list or kind is tuple:
        return FrozenList([value if type(value) in ATOMS else words(value) for value in held])
    return held.word() if kind in _LATER else held


def hold(value: object) -> object:
    """Return the state of `value` now; an `Opaque` stands for each part that cannot be copied."""
    try:
        return _hold(value)
    except RecursionError:
        # Cycles and great depths are rare: only they pay for a set of the containers that were seen.
        return _hold_recursive(value, set())


def _hold(value: Any) -> object:
    kind = type(value)
    if kind is dict:
        return _hold_dict(value)
    if kind is list or kind is tuple:
        return _hold_list(value) if value else []
    return value if kind in ATOMS else _hold_other(value)


def _hold_dict(value: Mapping[Any, object]) -> dict[str, object]:
    held: dict[Any, object] = dict(value)  # at once: another thread may change its size meanwhile
    if not _STR.issuperset(map(type, held)):
        return _hold_items(held.items(), _hold)
    if not ATOMS.issuperset(map(type, held.values())):
        for key, item in held.items():
            if type(item) not in ATOMS:
                held[key] = _hold(item)
    return held


def _hold_items(items: Iterable[tuple[object, object]], take: Callable[[object], object]) -> dict[str, object]:
    """Hold pairs; keys that are the same as text (1 and "1") get a number, so that none is lost."""
    held: dict[str, object] = {}
    for key, item in items:
        name = text = _key(key)
        count = 1
        while name in held:
            count += 1
            name = f"{text} ({count})"
        held[name] = take(item)
    return held


def _key(key: object) -> str:
    """Return a key as text; for an object of the program, the name of its type."""
    held = hold(key)  # and not `str(key)`, which may be the program's own code
    if type(held) is list and all(type(item) in ATOMS for item in held):
        held = tuple(held)
    try:
        return str(held) if type(held) is tuple or type(held) in ATOMS else type(key).__name__
    except ValueError:  # an integer of more digits than Python writes
        return type(key).__name__


def _hold_list(value: Sequence[object]) -> object:
    if len(value) >= _SHORT_MESSAGES and issubclass(type(value[0]), BaseMessage):
        items = list(value)
        if all(issubclass(kind, BaseMessage) for kind in set(map(type, items))):
            return _hold_messages(cast("list[BaseMessage]", items))
    return value[:] if ATOMS.issuperset(map(type, value)) else [item if type(item) in ATOMS else _hold(item) for item in value]


def _hold_recursive(value: Any, seen: set[int], depth: int = 0) -> object:
    """Hold a structure that contains itself or is very deep: a container that comes again is described."""
    kind = type(value)
    try:
        if kind not in (dict, list, tuple):
            return _hold(value)
        if depth < _MAX_DEPTH and id(value) not in seen:
            seen.add(id(value))
            if kind is dict:
                return _hold_items(value.copy().items(), lambda item: _hold_recursive(item, seen, depth + 1))
            return [_hold_recursive(item, seen, depth + 1) for item in tuple(value)]
    except RecursionError:  # the program itself is deep in a recursion, or the value has a class of its own
        depth = _MAX_DEPTH
    return Opaque(f"{'deeply nested' if depth == _MAX_DEPTH else 'recursive'} {kind.__name__}")


# -- objects


def _hold_other(value: object) -> object:
    try:
        return (_holders.get(type(value)) or _new_holder(type(value)))(value)
    except RecursionError:
        raise
    except Exception as error:  # a class of the program may raise anything when its content is read
        return Opaque(f"{type(value).__name__} ({type(error).__name__} when read)")


_holders: dict[type, Callable[[object], object]] = {}


def _new_holder(kind: type) -> Callable[[object], object]:
    """Return the function that holds objects of `kind`. The class decides: a mock answers to everything, `__class__` too."""
    if len(_holders) >= _MAX_TYPES:
        _holders.clear()  # each mock has a class of its own
    way = _holders[kind] = _find_holder(kind)
    return way


def _find_holder(kind: type) -> Callable[[object], object]:
    for base, way in _BY_BASE:
        if issubclass(kind, base):
            return way
    if dataclasses.is_dataclass(kind):
        return partial(_hold_dataclass, [field.name for field in dataclasses.fields(kind)])
    slots = kind.__dict__.get("__slots__")
    if isinstance(slots, list | tuple) and not kind.__dictoffset__:
        return partial(_hold_slots, [name for name in slots if not name.startswith("_")])  # LangGraph's Send, and its like
    return _describe


def _describe(value: object) -> Opaque:
    return Opaque(type(value).__name__)


def _hold_dataclass(names: Sequence[str], value: object) -> Held:
    fields = _fields(value, names)
    return _structured(type(value).__name__, {k: v for k, v in fields.items() if type(v) is not tuple or v})


def _hold_slots(names: Sequence[str], value: object) -> Held:
    return _structured(type(value).__name__, _fields(value, names))


def _fields(value: object, names: Iterable[str]) -> dict[str, object]:
    """Return the fields that are stored in the object or its class. Properties are code of the program: they do not run."""
    # Past a `__getattribute__` of the class; `vars(value)` would ask it.
    stored = object.__getattribute__(value, "__dict__") if type(value).__dictoffset__ else {}
    found = {}
    for name in names:
        here = stored.get(name)
        if here is None and name not in stored:
            here = _of_class(value, name)
        if here is not None:
            found[name] = here
    return found


def _of_class(value: object, name: str) -> object:
    for base in type(value).__mro__:
        if name in base.__dict__:
            there = base.__dict__[name]
            if isinstance(there, types.MemberDescriptorType):
                return getattr(value, name, None)
            return None if hasattr(type(there), "__get__") else there
    return None


def _structured(name: str, fields: dict[str, object]) -> Held:
    return Held(Structured, _hold_dict(fields), name)


def _hold_model(value: BaseModel) -> Held:
    # Not `model_dump`: it runs the program's serializers, and makes plain dicts of the models within.
    fields = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    return _structured(type(value).__name__, {k: v for k, v in fields.items() if v is not None})


def _hold_document(value: LangChainDocument) -> Held:
    fields = value.__dict__
    return Held(_document, _hold_dict({key: fields.get(key) for key in ("page_content", "metadata", "id")}))


def _document(state: FrozenDict) -> Document:
    return Document(str(state["page_content"]), state["metadata"], state["id"])


def _hold_generation(value: LangChainGeneration) -> Held:
    message = getattr(value, "message", None)
    text = value.text
    state: dict[str, object] = {
        "text": text if type(text) is str else str(hold(text)),
        "message": None if message is None else _hold_other(message),
    }
    if value.generation_info:
        state["info"] = hold(value.generation_info)
    return Held(_generation, state)


def _generation(state: FrozenDict) -> Generation:
    return Generation(**state)


def hold_result(value: LLMResult) -> dict[str, object]:
    """Return the result of a model for one run: its candidates, and the provider's `llm_output`."""
    # All of them: with `n=2` one run has two candidates, of which LangChain's own usage handler counts the first.
    candidates = [_hold_generation(g) for group in value.generations for g in group]
    output = value.llm_output
    return {"generations": candidates, "llm_output": hold(output) if output else None}


def hold_counts(value: LLMResult, **more: bool) -> Callable[[], FrozenDict]:
    """Hold the part of a model's result that counting needs; it makes the words of `hold_result`, and `more`."""
    # A count may be open for a whole session: to hold the text of each answer would keep all of them in memory.
    output = value.llm_output
    held = [_hold_usage(generation) for group in value.generations for generation in group]
    return partial(_counted_result, held, _hold_counted(output) if output else None, more)


class _HeldUsage(NamedTuple):
    """The usage and the model of a message; of a text, the same from its info."""

    usage: object = None
    model: str | None = None
    info: dict[str, object] | None = None

    def word(self) -> Generation:
        if self.info is not None:
            return Generation("", None, words(self.info))
        about = FrozenDict(model_name=self.model) if self.model else EMPTY
        message = Message("ai", usage=read_usage(self.usage), response_metadata=about, cached=claims_cache(self.usage))
        return Generation("", message)


def _hold_usage(value: LangChainGeneration) -> _HeldUsage:
    message = getattr(value, "message", None)
    if message is None:
        return _HeldUsage(info=_hold_counted(value.generation_info or {}))
    state = message.__dict__  # a subclass may have a property of such a name, which is code of the program
    usage = state.get("usage_metadata")
    return _HeldUsage(_hold_dict(usage) if type(usage) is dict else hold(usage), read_model_name(state.get("response_metadata")))


def _hold_counted(value: dict[str, object]) -> dict[str, object]:
    return {key: hold(value[key]) for key in ("token_usage", "usage", "model_name", "model") if key in value}


def _counted_result(held: list[_HeldUsage], output: dict[str, object] | None, more: dict[str, bool]) -> FrozenDict:
    return FrozenDict(generations=FrozenList([usage.word() for usage in held]), llm_output=words(output), **more)


def _hold_set(value: set[object] | frozenset[object]) -> list[object]:
    """Hold a set in the order of its words: its own order changes from run to run. `union` copies without calling the items."""
    return sorted(map(hold, set().union(value)), key=lambda held: repr(words(held)))


# -- messages


class _HeldMessage(Held):
    """A message. `plain`: its fields are only text, numbers, dicts and lists, so that comparing them runs no foreign code."""

    __slots__ = ("plain",)

    def __init__(self, fields: dict[str, object]) -> None:
        self._make = _message
        self._name = ()
        self._word = None
        try:
            self.state, self.plain = _plain_fields(fields), True
        except (NotPlainError, RuntimeError):
            self.state, self.plain = _hold_fields(fields), False

    def still(self, fields: dict[str, object]) -> bool:
        """True if the message has not changed."""
        return is_same(self.state, fields if self.plain else _hold_fields(fields))


class NotPlainError(Exception):
    """A value holds an object of the program, so that to compare it would run foreign code."""


class _Number:
    """A number in the private copy of a message. It equals the same number only: 1 is neither True here nor 1.0."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def word(self) -> object:
        return self._value

    def __eq__(self, other: object) -> bool:
        value = other._value if isinstance(other, _Number) else other
        return value is self._value or (type(value) is type(self._value) and bool(value == self._value))

    __hash__ = None  # type: ignore[assignment]


_TEXTS: Final = frozenset((str, type(None)))
_PLAIN: Final = _TEXTS | _NUMBERS
_STR: Final = frozenset((str,))
_CONTAINERS: Final = frozenset((dict, list))

_REPORTED: Final = frozenset(("usage_metadata", "response_metadata"))
"""The provider's reports, full of counts: they are compared without looking for a count that has become a bool."""


def _plain_fields(fields: dict[str, object]) -> dict[str, object]:
    held: dict[str, object] = {}
    for name, value in fields.items():  # a plain loop, with the frequent cases first: each new message passes here
        kind = type(value)
        if kind in _TEXTS:
            held[name] = value
        elif kind in _CONTAINERS and not value:
            held[name] = kind()
        else:
            held[name] = plain_copy(value, name not in _REPORTED)
    return held


def plain_copy(value: Any, exact: bool) -> object:
    """Return a copy of text, numbers, dicts and lists; with `exact`, of which 1, True and 1.0 differ.

    Raises:
        NotPlainError: there is something else in it.
    """
    kind = type(value)
    same = _TEXTS if exact else _PLAIN
    if kind is dict and _STR.issuperset(map(type, value)):
        return {key: item if type(item) in same else plain_copy(item, exact) for key, item in value.items()}
    if kind is list:
        return [item if type(item) in same else plain_copy(item, exact) for item in value]
    if kind in _NUMBERS:
        return _Number(value)
    raise NotPlainError


def _hold_fields(fields: dict[str, object]) -> dict[str, object]:
    try:
        return _hold_dict(fields)
    except RecursionError:
        return {key: hold(value) for key, value in fields.items()}


def is_same(held: object, now: object) -> bool:
    """True if plain values have not changed. An object that has taken the place of one may raise at `==`."""
    try:
        return bool(held == now)
    except Exception:
        return False


# By id, because pydantic models have no hash.
_seen_messages: dict[int, tuple[weakref.ref[BaseMessage], _HeldMessage]] = {}


def freeze_message(message: BaseMessage) -> Message:
    """Return `message` in frozen words, now."""
    word: Message = hold_message(message).word()
    return word


def hold_message(message: BaseMessage) -> _HeldMessage:
    """Return `message` as it is now; the same object again while the program has not changed it."""
    fields = message.__dict__
    key = id(message)
    seen = _seen_messages.get(key)
    # The weak reference shows that this is still the same message: Python gives the id of a dead one to the next object.
    if seen is not None and seen[0]() is message and seen[1].still(fields):
        return seen[1]
    held = _HeldMessage(fields)
    _seen_messages[key] = (weakref.ref(message, partial(_seen_messages.pop, key)), held)
    return held


class _History:
    """Messages of lists that grew from one another, such as the state of an agent. Only ever grows."""

    __slots__ = ("__weakref__", "_last", "_words", "held", "odd", "states")

    def __init__(self) -> None:
        self.held: list[_HeldMessage] = []
        self.states: list[dict[str, object]] = []
        self.odd: list[int] = []
        self._words: list[Message] = []
        self._last: weakref.ref[_HeldList] | None = None

    def begins(self, now: list[dict[str, object]]) -> bool:
        """True if `now`, the fields of messages, equals the beginning of this history. One comparison for all of them."""
        for index in self.odd:
            if index < len(now):
                now[index] = _hold_fields(now[index])
        return is_same(self.states[: len(now)], now)

    def grow(self, known: int, more: list[BaseMessage]) -> bool:
        """Add `more` after the first `known`; return False if another thread has added others meanwhile."""
        held = [hold_message(message) for message in more]
        odd = [number for number, copy in enumerate(held, known) if not copy.plain]
        states = [copy.state for copy in held]
        # Messages are held before the lock is acquired: holding them may run code of the program, which may wait for it.
        with _growing:
            if len(self.held) != known:
                return False
            self.odd.extend(odd)
            self.states.extend(states)
            self.held.extend(held)
            return True

    def first(self, count: int) -> _HeldList:
        # Several callbacks in a row report the same list: the node, the model within it, its end.
        last = self._last() if self._last is not None else None
        if last is None or last.count != count:
            last = _HeldList(self, count)
            self._last = weakref.ref(last)
        return last

    def words(self, count: int) -> list[Message]:
        start = len(self._words)
        if start < count:
            more = [held.word() for held in self.held[start:count]]
            self._words[start : start + len(more)] = more  # two readers write the same there
        return self._words[:count]


class _HeldList:
    """The first messages of a history."""

    __slots__ = ("__weakref__", "_history", "_word", "count")

    def __init__(self, history: _History, count: int) -> None:
        self._history = history
        self._word: FrozenList | None = None
        self.count = count

    def word(self) -> FrozenList:
        if self._word is None:
            self._word = FrozenList(self._history.words(self.count))
        return self._word

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HeldList) and self.word() == other.word()

    __hash__ = None  # type: ignore[assignment]


_SHORT_MESSAGES: Final = 8
"""Lists of fewer messages are held message by message."""

_growing = threading.Lock()
_histories: weakref.WeakValueDictionary[tuple[object, ...], _History] = weakref.WeakValueDictionary()
"""Histories by the texts of their first messages. They live while a recording holds them."""


def _hold_messages(messages: list[BaseMessage]) -> object:
    # An agent passes its whole conversation with each callback: holding it message by message is quadratic in its length.
    size = len(messages)
    now: list[dict[str, object]] = [message.__dict__ for message in messages]
    # Text only: content in blocks is a list, which has no hash. Lists with an equal key are compared anyway.
    key = tuple([text if type(text := fields.get("content")) is str else None for fields in now[:_SHORT_MESSAGES]])
    history = _histories.get(key)
    if history is not None:
        known = min(len(history.held), size)
        if history.begins(now[:known]) and (known == size or history.grow(known, messages[known:])):
            return history.first(size)
    history = _History()
    history.grow(0, messages)
    _histories[key] = history
    return history.first(size)


def _message(fields: FrozenDict) -> Message:
    content = fields.get("content", "")
    return Message(
        role=_ROLES.get(fields["type"], fields["type"]) if "type" in fields else "",
        content=content if isinstance(content, FrozenList) else str(content),
        # LangChain keeps calls whose arguments are no JSON in a list of their own; the model made both.
        tool_calls=(*_tool_calls(fields.get("tool_calls"), EMPTY), *_tool_calls(fields.get("invalid_tool_calls"), "")),
        id=fields.get("id"),
        name=fields.get("name"),
        tool_call_id=fields.get("tool_call_id"),
        status=fields.get("status"),
        usage=read_usage(fields.get("usage_metadata")),
        response_metadata=_mapping(fields.get("response_metadata")),
        additional_kwargs=_mapping(fields.get("additional_kwargs")),
        artifact=fields.get("artifact"),
        cached=claims_cache(fields.get("usage_metadata")),
    )


# A streamed answer is reported as a chunk, the same answer of `invoke` as a message.
_ROLES: Final = {
    "AIMessageChunk": "ai",
    "HumanMessageChunk": "human",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
    "FunctionMessageChunk": "function",
    "ChatMessageChunk": "chat",
}


def _mapping(value: object) -> FrozenDict:
    if isinstance(value, FrozenDict):
        return value
    # A model of the program may put anything there; to raise would end its run.
    return FrozenDict(unreadable=value) if value else EMPTY


def _tool_calls(calls: Sequence[object] | None, no_args: FrozenDict | str) -> list[ToolCall]:
    return [_tool_call(call, no_args) for call in calls or ()]


def _tool_call(call: object, no_args: FrozenDict | str) -> ToolCall:
    if not isinstance(call, Mapping):  # a program may put anything into the list
        return ToolCall("", text_of(call))
    return ToolCall(call.get("name") or "", call.get("args") or no_args, call.get("id"))


# -- errors


def freeze_error(error: BaseException) -> Failure:
    """Return `error` in frozen words, with how it ends the run that reports it."""
    ended = _ended(error)
    # An interrupt carries its question, a hand-off its command; other errors may carry arbitrarily large objects.
    payload = freeze(getattr(error, "args", ())) if ended in ("paused", "handed off") else None
    failure = Failure(type(error).__name__, text_of(error), ended, payload)
    # A component of the program's own may end its run with anything; only an exception can be asked for by class.
    return failure.keep(error) if isinstance(error, BaseException) else failure


def _ended(error: BaseException) -> Ended:
    for kind in type(error).__mro__:
        # LangGraph's control flow, by name: langgraph need not be installed.
        if kind.__module__ == "langgraph.errors" and kind.__name__ in _CONTROL_FLOW:
            return _CONTROL_FLOW[kind.__name__]
        if kind.__module__ in ("asyncio.exceptions", "concurrent.futures._base") and kind.__name__ == "CancelledError":
            return "cancelled"
    if isinstance(error, GeneratorExit):
        return "closed early"
    if isinstance(error, ViolationError) and any(violation.code == BROKEN_RULE for violation in error.violations):
        return "stopped by rule"
    return "stopped" if isinstance(error, KeyboardInterrupt | SystemExit) else "error"


_CONTROL_FLOW: Final[Mapping[str, Ended]] = {"ParentCommand": "handed off", "GraphBubbleUp": "paused"}

_MAX_TYPES: Final = 1024
_MAX_DEPTH: Final = 100
_FUNCTIONS: Final = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_LATER: Final = frozenset((Held, _HeldMessage, _HeldList, _Number))

# The order decides where a class has several of these bases: LangChain's own classes are pydantic models too, and an enum
# may be a str. Methods are those of the base, so that none of a subclass runs.
_BY_BASE: Final[Sequence[tuple[Any, Callable[[Any], object]]]] = (
    (BaseMessage, hold_message),
    (LangChainDocument, _hold_document),
    (LLMResult, hold_result),
    (LangChainGeneration, _hold_generation),
    (BaseModel, _hold_model),
    (BaseException, freeze_error),
    (enum.Enum, lambda value: _hold(value._value_)),
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, bytes.__bytes__),
    (OrderedDict, lambda value: _hold_dict(dict(OrderedDict.items(value)))),
    (dict, lambda value: _hold_dict(dict.copy(value))),
    (Mapping, lambda value: _hold_dict(dict(value.items()))),
    (list, lambda value: _hold(list.copy(value))),
    (tuple, lambda value: _hold(tuple.__getitem__(value, slice(None)))),
    (set | frozenset, _hold_set),
    (bytearray | memoryview, bytes),
    (pathlib.PurePath | uuid.UUID, lambda value: value),
    (type, lambda value: Opaque(f"type {value.__name__}")),
    (_FUNCTIONS, lambda value: Opaque(f"function {value.__name__}")),
)
