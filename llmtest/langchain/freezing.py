"""LangChain's objects -> the frozen words of `llmtest.events`, in two steps.

Applications, LangGraph and other handlers change messages, inputs and tags after a callback has fired. `hold` takes what
is true at that moment, on the program's time, so it is cheap: private copies of containers, and the fields of objects.
`words` turns that into frozen words when the recording is read. `freeze` is both.

Nothing in this module raises because of a value that it is given: what cannot be held is described by its type.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from langchain_core.documents import Document as LangChainDocument
from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation as LangChainGeneration
from langchain_core.outputs import LLMResult
from pydantic import BaseModel

from llmtest.events import (
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
    Usage,
)

_TIMES: Final = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
ATOMS: Final = frozenset((str, int, float, bool, bytes, type(None), complex, uuid.UUID, decimal.Decimal, *_TIMES))


class _Held:
    """An object of the program: its fields as they were, and how to make a word of them when somebody asks."""

    __slots__ = ("_make", "_state", "_word")

    def __init__(self, make: Callable[[FrozenDict], Any], state: dict[str, Any]) -> None:
        self._make = make
        self._state = state
        self._word: Any = None

    def word(self) -> Any:
        if self._word is None:
            self._word = self._make(words(self._state))
        return self._word


def freeze(value: Any) -> Any:
    """`value` in frozen words, now."""
    return words(hold(value))


def words(held: Any) -> Any:
    """What `hold` took, as frozen words. The same object twice gives the same word twice."""
    kind = type(held)
    if kind is dict:
        return FrozenDict({key: value if type(value) in ATOMS else words(value) for key, value in held.items()})
    if kind is list:
        return FrozenList([value if type(value) in ATOMS else words(value) for value in held])
    return held.word() if kind is _Held else held


def hold(value: Any) -> Any:
    """What is true of `value` now; an `Opaque` where that cannot be taken."""
    try:
        return _hold(value)
    except RecursionError:
        return Opaque(f"recursive {type(value).__name__}")
    except Exception as error:  # a property of a foreign object may raise anything
        return Opaque(f"{type(value).__name__} ({type(error).__name__} when read)")


def _hold(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return _hold_dict(value)
    if kind is list or kind is tuple:
        return [item if type(item) in ATOMS else _hold(item) for item in value] if value else []
    if kind in ATOMS:
        return value
    for base, held in _BY_BASE:
        if isinstance(value, base):
            return held(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}
        return _structured(kind.__name__, {k: v for k, v in fields.items() if v is not None and v != ()})
    slots = getattr(kind, "__slots__", ())
    if slots and not isinstance(slots, str) and not hasattr(value, "__dict__"):  # LangGraph's Send, and its like
        fields = {name: getattr(value, name, None) for name in slots if not name.startswith("_")}
        return _structured(kind.__name__, {k: v for k, v in fields.items() if v is not None})
    if isinstance(value, type) or callable(value):
        return Opaque(f"{'type' if isinstance(value, type) else 'function'} {getattr(value, '__name__', kind.__name__)}")
    return Opaque(kind.__name__)


def _hold_dict(value: Mapping[Any, Any]) -> dict[str, Any]:
    if not value:
        return {}
    return {key if type(key) is str else str(key): item if type(item) in ATOMS else _hold(item) for key, item in value.items()}


def _structured(name: str, fields: dict[str, Any]) -> _Held:
    return _Held(lambda state: Structured(name, state), _hold_dict(fields))


def _hold_model(value: BaseModel) -> _Held:
    fields = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    return _structured(type(value).__name__, {k: v for k, v in fields.items() if v is not None})


def _hold_document(value: LangChainDocument) -> _Held:
    fields = {"page_content": str(value.page_content), "metadata": value.metadata, "id": value.id}
    return _Held(lambda state: Document(**state), _hold_dict(fields))


def _hold_generation(value: LangChainGeneration) -> _Held:
    message = getattr(value, "message", None)
    text = value.text
    state: dict[str, Any] = {
        "text": text if type(text) is str else str(text),
        "message": None if message is None else hold_message(message),
    }
    if value.generation_info:
        state["info"] = hold(value.generation_info)
    return _Held(_generation, state)


def _generation(state: FrozenDict) -> Generation:
    return Generation(**state)


def hold_result(value: LLMResult) -> dict[str, Any]:
    """What a model gave back for one run: its candidates, and what the provider said beside them."""
    candidates = [_hold_generation(g) for group in value.generations for g in group]
    output = value.llm_output
    return {"generations": candidates, "llm_output": hold(output) if output else None}


def hold_counts(value: LLMResult) -> Callable[[], FrozenDict]:
    """Of what a model gave back for one run, only what counting needs; what is held makes the words of `hold_result`."""
    output = value.llm_output
    held = [_hold_usage(generation) for group in value.generations for generation in group]
    return partial(_counted_result, held, _hold_counted(output) if output else None)


def _hold_usage(value: LangChainGeneration) -> tuple[Any, Any, Any]:
    """The usage and the model of a message; or the same of a text, in its info."""
    message = getattr(value, "message", None)
    if message is None:
        return None, None, _hold_counted(value.generation_info or {})
    state = message.__dict__
    usage, about = state.get("usage_metadata"), state["response_metadata"]
    return (_hold_dict(usage) if usage else None), about.get("model_name") or about.get("model"), None


def _hold_counted(value: dict[str, Any]) -> dict[str, Any]:
    return {key: hold(value[key]) for key in ("token_usage", "usage", "model_name", "model") if key in value}


def _counted_result(held: list[tuple[Any, Any, Any]], output: dict[str, Any] | None) -> FrozenDict:
    return FrozenDict(generations=FrozenList([_counted(*one) for one in held]), llm_output=words(output))


def _counted(usage: dict[str, Any] | None, model: Any, info: dict[str, Any] | None) -> Generation:
    if info is not None:
        return Generation("", None, words(info))
    about = FrozenDict(model_name=freeze(model)) if model else EMPTY
    return Generation("", Message("ai", usage=freeze_usage(usage), response_metadata=about, cached=_is_cached(usage)))


def _hold_set(value: Any) -> list[Any]:
    return sorted(map(_hold, value), key=repr)


# -- messages

_seen_messages: dict[int, tuple[weakref.ref[BaseMessage], dict[str, Any], _Held]] = {}


def freeze_message(message: BaseMessage) -> Message:
    """`message` in frozen words, now."""
    word: Message = hold_message(message).word()
    return word


def hold_message(message: BaseMessage) -> _Held:
    """`message` as it is now; the same again for as long as the program has not changed it."""
    state = message.__dict__
    key = id(message)
    seen = _seen_messages.get(key)
    if seen is not None and seen[0]() is message and state == seen[1]:
        return seen[2]
    copy = _hold_dict(state)
    held = _Held(_message, copy)
    _seen_messages[key] = (weakref.ref(message, lambda _: _seen_messages.pop(key, None)), copy, held)
    return held


def _message(fields: FrozenDict) -> Message:
    content = fields["content"]
    return Message(
        role=_ROLES.get(fields["type"], fields["type"]),
        content=content if isinstance(content, FrozenList) else str(content),
        tool_calls=_tool_calls(fields),
        id=fields.get("id"),
        name=fields.get("name"),
        tool_call_id=fields.get("tool_call_id"),
        status=fields.get("status"),
        usage=freeze_usage(fields.get("usage_metadata")),
        response_metadata=fields.get("response_metadata") or EMPTY,
        additional_kwargs=fields.get("additional_kwargs") or EMPTY,
        artifact=fields.get("artifact"),
        cached=_is_cached(fields.get("usage_metadata")),
    )


_ROLES: Final = {
    "AIMessageChunk": "ai",
    "HumanMessageChunk": "human",
    "SystemMessageChunk": "system",
    "ToolMessageChunk": "tool",
    "FunctionMessageChunk": "function",
    "ChatMessageChunk": "chat",
}


def _tool_calls(fields: FrozenDict) -> tuple[ToolCall, ...]:
    valid = [ToolCall(c["name"], c["args"], c.get("id")) for c in fields.get("tool_calls") or ()]
    broken = [ToolCall(c["name"] or "", c["args"] or "", c.get("id")) for c in fields.get("invalid_tool_calls") or ()]
    return (*valid, *broken)


def freeze_usage(value: Mapping[str, Any] | None) -> Usage | None:
    """LangChain's `UsageMetadata` as a `Usage`; None if nothing was reported."""
    if not value or value.keys() == {"total_cost"}:
        return None
    details = (FrozenDict(value.get(f"{side}_token_details") or {}) for side in ("input", "output"))
    into, out = value.get("input_tokens") or 0, value.get("output_tokens") or 0
    return Usage(into, out, value.get("total_tokens") or into + out, *details)


def _is_cached(usage: Mapping[str, Any] | None) -> bool:
    """LangChain's cache puts a cost of zero into the usage of each answer that it gives, its only sign of that."""
    return bool(usage) and usage is not None and usage.get("total_cost") == 0


# -- what a model is called with

_held_tools: dict[int, tuple[Any, Any]] = {}


def hold_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a model call. The bound tools are one list in call after call: they are held once."""
    return {
        key: value if type(value) in ATOMS else _hold_tools(value) if key == "tools" else hold(value)
        for key, value in parameters.items()
    }


def _hold_tools(tools: Any) -> Any:
    seen = _held_tools.get(id(tools))
    if seen is not None and seen[0] is tools and seen[1] == tools:
        return seen[1]
    held = hold(tools)
    if len(_held_tools) >= 64:
        _held_tools.clear()
    _held_tools[id(tools)] = (tools, held)
    return held


def tool_names(tools: Any) -> list[str]:
    """The names of bound tools, in the formats in which integrations bind them."""
    return [name for name, _ in named_tools(tools)]


def named_tools(tools: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Bound tools: the name of each, and what says the rest of it."""
    for tool in tools if isinstance(tools, list | tuple) else ():
        spec: Mapping[str, Any] = tool.get("function", tool) if isinstance(tool, dict) else {}
        yield str(spec.get("name") or spec.get("type") or getattr(tool, "name", "unnamed")), spec


# -- errors


def freeze_error(error: BaseException) -> Failure:
    """`error`, and how it ends the run that reports it."""
    ended = _ended(error)
    payload = freeze(getattr(error, "args", ())) if ended in ("paused", "handed off") else None
    return Failure(type(error).__name__, str(error), ended, payload)


def _ended(error: BaseException) -> Ended:
    for kind in type(error).__mro__:
        # LangGraph's control flow, by name: langgraph need not be installed.
        if kind.__module__ == "langgraph.errors" and kind.__name__ in _CONTROL_FLOW:
            return _CONTROL_FLOW[kind.__name__]
        if kind.__module__ in ("asyncio.exceptions", "concurrent.futures._base") and kind.__name__ == "CancelledError":
            return "cancelled"
    if isinstance(error, GeneratorExit):
        return "closed early"
    return "stopped" if isinstance(error, KeyboardInterrupt | SystemExit) else "error"


_CONTROL_FLOW: Final[Mapping[str, Ended]] = {"ParentCommand": "handed off", "GraphBubbleUp": "paused"}

_BY_BASE: Final[Sequence[tuple[Any, Callable[[Any], Any]]]] = (
    (BaseMessage, hold_message),
    (LangChainDocument, _hold_document),
    (LLMResult, hold_result),
    (LangChainGeneration, _hold_generation),
    (BaseModel, _hold_model),
    (BaseException, freeze_error),
    (enum.Enum, lambda value: _hold(value.value)),
    (str, str.__str__),
    (int, int),
    (float, float),
    (Mapping, _hold_dict),
    (list | tuple, lambda value: [_hold(item) for item in value]),
    (set | frozenset, _hold_set),
    (bytearray | memoryview, bytes),
    (pathlib.PurePath | uuid.UUID, lambda value: value),
)
