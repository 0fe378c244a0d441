"""LangChain's objects -> the frozen words of `llmtest.events`.

Applications, LangGraph and other handlers change messages, inputs and tags after a callback has fired. What is frozen
here is what was true at that moment. Nothing in this module raises because of a value that it is given: what cannot be
frozen is described by its type.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
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


def freeze(value: Any) -> Any:
    """A frozen copy of `value` in neutral words; an `Opaque` where that cannot be made."""
    try:
        return _freeze(value)
    except RecursionError:
        return Opaque(f"recursive {type(value).__name__}")
    except Exception as error:  # a property of a foreign object may raise anything
        return Opaque(f"{type(value).__name__} ({type(error).__name__} when read)")


def _freeze(value: Any) -> Any:
    translate = _TRANSLATE.get(type(value))
    if translate is not None:
        return translate(value)
    for kind, translate in _BY_BASE:
        if isinstance(value, kind):
            return translate(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}
        return Structured(type(value).__name__, _freeze_dict({k: v for k, v in fields.items() if v is not None and v != ()}))
    if isinstance(value, type) or callable(value):
        name = getattr(value, "__name__", None) or type(value).__name__
        return Opaque(f"{'type' if isinstance(value, type) else 'function'} {name}")
    return Opaque(type(value).__name__)


def _freeze_dict(value: Mapping[Any, Any]) -> FrozenDict:
    return FrozenDict({k if type(k) is str else str(k): _freeze(v) for k, v in value.items()})


def _freeze_list(value: Any) -> FrozenList:
    return FrozenList([_freeze(item) for item in value])


def _freeze_set(value: Any) -> FrozenList:
    return FrozenList(sorted(map(_freeze, value), key=repr))


def _freeze_model(value: BaseModel) -> Structured:
    fields = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    return Structured(type(value).__name__, _freeze_dict({k: v for k, v in fields.items() if v is not None}))


def _freeze_document(value: LangChainDocument) -> Document:
    return Document(str(value.page_content), _freeze_dict(value.metadata), value.id)


def _freeze_generation(value: LangChainGeneration) -> Generation:
    message = getattr(value, "message", None)
    info = _freeze_dict(value.generation_info) if value.generation_info else EMPTY
    return Generation(str(value.text), freeze_message(message) if message is not None else None, info)


def freeze_result(value: LLMResult) -> FrozenDict:
    """What a model gave back for one run: its candidates, and what the provider said beside them."""
    candidates = [_freeze_generation(g) for group in value.generations for g in group]
    return FrozenDict(generations=FrozenList(candidates), llm_output=_freeze(value.llm_output))


# -- messages

_Seen = tuple["weakref.ref[BaseMessage]", FrozenDict, Message]
_seen_messages: dict[int, _Seen] = {}


def freeze_message(message: BaseMessage) -> Message:
    """`message`, frozen; the same `Message` again for as long as the program has not changed it."""
    state = message.__dict__
    seen = _seen_messages.get(id(message))
    if seen is not None and seen[0]() is message and state == seen[1]:
        return seen[2]
    fields = _freeze_dict(state)
    frozen = _message(message.type, fields)
    key = id(message)
    _seen_messages[key] = (weakref.ref(message, lambda _: _seen_messages.pop(key, None)), fields, frozen)
    return frozen


def _message(role: str, fields: FrozenDict) -> Message:
    content = fields["content"]
    return Message(
        role=_ROLES.get(role, role),
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
    """LangChain's `UsageMetadata` as a `Usage`."""
    if not value:
        return None
    details = (_freeze_dict(value.get(f"{side}_token_details") or {}) for side in ("input", "output"))
    into, out = value.get("input_tokens") or 0, value.get("output_tokens") or 0
    return Usage(into, out, value.get("total_tokens") or into + out, *details)


# -- what a model is called with

_frozen_tools: dict[int, tuple[Any, FrozenList]] = {}


def freeze_parameters(parameters: Mapping[str, Any]) -> FrozenDict:
    """The parameters of a model call. The bound tools are one list in call after call: they are frozen once."""
    return FrozenDict({str(k): _tools(v) if k == "tools" else freeze(v) for k, v in parameters.items()})


def _tools(tools: Any) -> Any:
    seen = _frozen_tools.get(id(tools))
    if seen is not None and seen[0] is tools and seen[1] == tools:
        return seen[1]
    frozen = freeze(tools)
    if isinstance(frozen, FrozenList):
        if len(_frozen_tools) >= 64:
            _frozen_tools.clear()
        _frozen_tools[id(tools)] = (tools, frozen)
    return frozen


def tool_names(tools: Any) -> list[str]:
    """The names of bound tools, in the formats in which integrations bind them."""
    names = []
    for tool in tools if isinstance(tools, list | tuple) else ():
        spec = tool.get("function", tool) if isinstance(tool, Mapping) else {}
        names.append(str(spec.get("name") or spec.get("type") or getattr(tool, "name", "unnamed")))
    return names


# -- errors


def freeze_error(error: BaseException) -> Failure:
    """`error`, and how it ends the run that reports it."""
    ended = _ended(error)
    payload = _freeze(getattr(error, "args", ())) if ended in ("paused", "handed off") else None
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


def _itself(value: Any) -> Any:
    return value


_TRANSLATE: Final[dict[type, Callable[[Any], Any]]] = {
    **dict.fromkeys((str, int, float, bool, bytes, type(None), complex), _itself),
    **dict.fromkeys((datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID), _itself),
    dict: _freeze_dict,
    list: _freeze_list,
    tuple: _freeze_list,
    FrozenDict: _itself,
    FrozenList: _itself,
    LangChainDocument: _freeze_document,
}

_BY_BASE: Final[Sequence[tuple[Any, Callable[[Any], Any]]]] = (
    (BaseMessage, freeze_message),
    (LangChainDocument, _freeze_document),
    (LLMResult, freeze_result),
    (LangChainGeneration, _freeze_generation),
    (BaseModel, _freeze_model),
    (BaseException, freeze_error),
    (enum.Enum, lambda value: _freeze(value.value)),
    (str, str.__str__),
    (bool, bool),
    (int, int),
    (float, float),
    (Mapping, _freeze_dict),
    (list | tuple, _freeze_list),
    (set | frozenset, _freeze_set),
    (bytearray | memoryview, bytes),
    (pathlib.PurePath | uuid.UUID, _itself),
)
