"""Frozen payloads: messages, tool calls, documents, usage, failures."""

from __future__ import annotations

import builtins
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NoReturn, Self

from llmtest.core.text import named
from llmtest.events.content import read_block

Ended = Literal["ended", "error", "cancelled", "closed early", "paused", "handed off", "stopped", "stopped by rule", "open"]
"""How a run ended. `paused` is an interrupt, `handed off` a command to the parent graph, `stopped` a
KeyboardInterrupt or SystemExit, `closed early` an iterator that its consumer dropped. `stopped by rule` is a run that
`record(rules=[...])` did not let go on, and those around it."""


def _read_only(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError(f"a recording is read-only; make a copy first: {type(self).__mro__[1].__name__}(value)")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. Compares equal to a plain dict and dumps to JSON like one."""

    __slots__ = ()
    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _read_only

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (dict(self),))


class FrozenList(list[Any]):
    """A list that cannot be changed. Compares equal to a plain list and dumps to JSON like one."""

    __slots__ = ()
    __setitem__ = __delitem__ = append = clear = extend = insert = pop = remove = _read_only
    reverse = sort = __iadd__ = __imul__ = _read_only

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (list(self),))


EMPTY: Final = FrozenDict()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one or more model calls. Inclusive, as LangChain's `UsageMetadata`: details are parts of the sums."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_details: FrozenDict = EMPTY
    output_details: FrozenDict = EMPTY

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.total_tokens + other.total_tokens,
            _add_details(self.input_details, other.input_details),
            _add_details(self.output_details, other.output_details),
        )


def _add_details(a: FrozenDict, b: FrozenDict) -> FrozenDict:
    return FrozenDict({key: a.get(key, 0) + b.get(key, 0) for key in (*a, *(k for k in b if k not in a))})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of a model. `args` is the raw text if the model sent arguments that are not JSON."""

    name: str
    args: FrozenDict | str = EMPTY
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `role` is LangChain's message type: `human`, `ai`, `tool`, `system`, ...

    `content` is a str, or a list of content blocks (dicts) and strs, as the program sent it.
    """

    role: str
    content: str | FrozenList = ""
    tool_calls: tuple[ToolCall, ...] = ()
    id: str | None = None
    name: str | None = None
    tool_call_id: str | None = None
    status: str | None = None
    usage: Usage | None = None
    response_metadata: FrozenDict = EMPTY
    additional_kwargs: FrozenDict = EMPTY
    artifact: Any = None
    cached: bool = False
    """True if LangChain's cache gave this answer instead of a model."""

    @property
    def text(self) -> str:
        """The text of the content, without blocks of other kinds."""
        if isinstance(self.content, str):
            return self.content
        return "".join(block.text or "" for block in map(read_block, self.content) if block.kind == "text")


@dataclass(frozen=True, slots=True)
class Document:
    """A document that a retriever found."""

    page_content: str
    metadata: FrozenDict = EMPTY
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One candidate answer of a model. `message` is None for text models."""

    text: str
    message: Message | None = None
    info: FrozenDict = EMPTY


class _Raised:
    """What a failure keeps of its exception in the process that recorded it, apart from its fields, which a trace stores too."""

    __slots__ = ("_class", "_live")
    _class: type[BaseException]
    _live: Callable[[], BaseException | None]

    def keep(self, error: BaseException) -> Self:
        """Keep the class of `error`, and `error` itself for as long as the program or the test does."""
        object.__setattr__(self, "_class", type(error))
        try:
            object.__setattr__(self, "_live", weakref.ref(error))
        except TypeError:
            # Exceptions of Python's own take no weak reference, and a strong one would keep the frames of the program alive.
            object.__setattr__(self, "_live", partial(_same_again, type(error), error.args))
        return self

    @property
    def exception(self) -> BaseException | None:
        """The exception as the program raised it, while something holds it. For a built-in class, a new one that is equal to it,
        without its traceback. None in a loaded trace."""
        live = getattr(self, "_live", None)
        return None if live is None else live()


def _same_again(kind: type[BaseException], args: tuple[object, ...]) -> BaseException | None:
    try:
        return kind(*args)
    except Exception:  # a class that cannot be made of its own `args` has no second one
        return None


@dataclass(frozen=True, slots=True)
class Failure(_Raised):
    """An exception when it was reported: its class name, its text, and how it ended the run.

    It is equal to the class of the exception and to each class above: `KeyError in recording.errors`.
    """

    type: str
    message: str
    ended: Ended = "error"
    payload: Any = None

    def is_a(self, kind: builtins.type[BaseException]) -> bool | None:
        """True if the exception is of this class; None if that cannot be told, in a trace of a class that is not built in."""
        known = getattr(self, "_class", getattr(builtins, self.type, None))
        if isinstance(known, type):
            return issubclass(known, kind)
        return True if self.type == kind.__name__ else None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, type) and issubclass(other, BaseException):
            return self.is_a(other) is True
        if isinstance(other, str):
            return named(other, self.type)
        if not isinstance(other, Failure):
            return NotImplemented
        mine, theirs = ((one.type, one.message, one.ended, one.payload) for one in (self, other))
        return mine == theirs


@dataclass(frozen=True, slots=True)
class Structured:
    """A structured value (a pydantic model, a dataclass, ...): its class name and its fields."""

    type: str
    fields: FrozenDict = EMPTY


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that cannot be frozen, described without its address."""

    type: str
