"""Messages as the GenAI conventions write them, and back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard

from llmtest.core.masks import Unchecked
from llmtest.events.content import read_block
from llmtest.events.usage import read_usage
from llmtest.events.words import Document, Failure, FrozenDict, FrozenList, Generation, Message, Opaque, Structured, ToolCall
from llmtest.tracing.codec import MAX_BITS, frozen

ROLES: Final[Mapping[str, str]] = {"human": "user", "ai": "assistant"}
"""LangChain's roles, where the conventions have another word."""
_READ_ROLES: Final[Mapping[str, str]] = {
    "user": "human",
    "assistant": "ai",
    "model": "ai",
    "function": "tool",
    "developer": "system",
    "humanmessage": "human",
    "aimessage": "ai",
    "systemmessage": "system",
    "toolmessage": "tool",
    "aimessagechunk": "ai",
}


def role_of(name: object) -> str:
    """Return LangChain's word for a role of any framework."""
    role = str(name).lower()
    return _READ_ROLES.get(role, role)


# -- written


def plain(value: Any) -> Any:
    """Return a frozen value as plain JSON. A word is a dict of its fields, and what JSON does not have is its text."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > MAX_BITS:
        return hex(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Message):
        return written(value)
    if isinstance(value, Structured):
        return plain(value.fields)
    if isinstance(value, Document):
        return {"id": value.id, "content": value.page_content, "metadata": plain(value.metadata)}
    if isinstance(value, ToolCall):
        return {"type": "tool_call", "id": value.id, "name": value.name, "arguments": plain(value.args)}
    if isinstance(value, Generation):
        return written(value.message) if value.message is not None else value.text
    return f"<{value.type}>" if isinstance(value, Opaque | Failure) else str(value)


def written(message: Message) -> dict[str, Any]:
    """Return a message as the conventions write it: a role and parts."""
    made: dict[str, Any] = {"role": ROLES.get(message.role, message.role), "parts": list(_parts(message))}
    if message.name is not None:
        made["name"] = message.name
    return made


def _parts(message: Message) -> Iterator[dict[str, Any]]:
    if message.role == "tool":
        yield {"type": "tool_call_response", "id": message.tool_call_id, "response": plain(message.content)}
        return
    for block in [message.content] if isinstance(message.content, str) else message.content:
        kind, text, name = read_block(block)
        if kind == "text" and text:
            yield {"type": "text", "content": text}
        elif kind == "reasoning":
            yield {"type": "reasoning", "content": text or ""}
        elif kind == "other":
            yield {**plain(block), "type": name or "other"}
    yield from map(plain, message.tool_calls)


_ENCODE: Final = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False, default=plain
).encode


class Texts:
    """The values of one trace as JSON. A message is encoded once: agents pass their whole conversation from run to run."""

    def __init__(self, unchecked: Unchecked) -> None:
        self._unchecked = unchecked
        self._pairs: dict[str, object] = {}
        self._known: dict[int, tuple[str, Message]] = {}  # with the message, so that its `id` is not used again

    def of(self, value: object) -> str:
        """Return a value as JSON."""
        if type(value) is Message:
            return self._message(value)
        if type(value) is FrozenList and value and type(value[0]) is Message and set(map(type, value)) == {Message}:
            return f"[{','.join(map(self._message, value))}]"
        if type(value) is FrozenDict and len(value) == 1:
            ((key, inner),) = value.items()
            name = f"{_ENCODE(str(key))}:"
            self._unchecked.add(name)
            return f"{{{name}{self.of(inner)}}}"
        text = _encoded(value)
        self._unchecked.add(text)
        return text

    def of_metadata(self, metadata: FrozenDict) -> str:
        """Return metadata as JSON. Most of it is the same in all runs, and is looked at once."""
        for key, value in metadata.items():
            if self._pairs.get(key, self) != value:
                self._pairs[key] = value
                self._unchecked.add(f'"{key}":"{value}"' if type(value) is str else _encoded({key: value}))
        return _encoded(metadata)

    def _message(self, message: Message) -> str:
        found = self._known.get(id(message))
        if found is None:
            found = self._known[id(message)] = (_encoded(written(message)), message)
            self._unchecked.add(found[0])
        return found[0]


def _encoded(value: object) -> str:
    try:
        return _ENCODE(value)
    except (ValueError, TypeError):  # a number or a key that JSON does not have, or too many digits
        return _ENCODE(plain(value))


# -- read


def read_messages(value: object) -> FrozenList:
    """Return a conversation: a list of messages as the conventions, OpenAI, LangChain or LangSmith write them; JSON is read."""
    found = read_json(value)
    if isinstance(found, dict):
        found = found.get("messages", [found])
    if isinstance(found, str):
        return FrozenList([Message("human", found)]) if found else FrozenList()
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list) and not _is_pair(found[0]):
        found = found[0]  # LangChain calls models with a list of conversations
    items = found if isinstance(found, list | tuple) else []
    return FrozenList([message for item in items for message in _read_message(item)])


def _is_pair(item: object) -> TypeGuard[Sequence[str]]:
    """True for a message as its role and its text."""
    return isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)


def _read_message(item: object) -> Iterator[Message]:
    if isinstance(item, Message):
        yield item
    elif isinstance(item, str):
        yield Message("human", item)
    elif _is_pair(item):
        yield Message(role_of(item[0]), item[1])
    elif isinstance(item, dict) and isinstance(item.get("parts"), list):
        yield from _of_parts(item)
    elif isinstance(item, dict):
        yield _of_fields(_unwrapped(item))


def _unwrapped(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a message of LangChain's: a serialized object, or `{"type": ..., "data": ...}`."""
    inner = item.get("kwargs") if isinstance(item.get("kwargs"), dict) else item.get("data")
    if not isinstance(inner, dict):
        message = item.get("message")
        if isinstance(message, dict):
            return _unwrapped(message)
        return {"role": "ai", "content": item["text"]} if "text" in item and "content" not in item else item
    name = item["id"][-1] if isinstance(item.get("id"), list) and item["id"] else item.get("type")
    return {**inner, "type": inner.get("type") or name}


def _of_parts(item: Mapping[str, Any]) -> Iterator[Message]:
    role, name = role_of(item.get("role", "user")), _text_or_none(item.get("name"))
    if len(item["parts"]) == 1 and type(only := item["parts"][0]) is dict and only.get("type") == "text":
        yield Message(role, _block(only), name=name)  # as most messages
        return
    parts = [part if isinstance(part, dict) else {"type": "text", "content": str(part)} for part in item["parts"]]
    answers = [part for part in parts if part.get("type") == "tool_call_response"]
    for part in answers:
        yield _answer(part, name)
    others = [part for part in parts if part.get("type") != "tool_call_response"]
    if others or not answers:
        calls = tuple(_call(part) for part in others if part.get("type") == "tool_call")
        blocks = [_block(part) for part in others if part.get("type") != "tool_call"]
        yield Message(role, _content(blocks), calls, name=name)


def _answer(part: Mapping[str, Any], name: str | None) -> Message:
    response = part.get("response", part.get("result", part.get("content", "")))
    content = frozen(response) if isinstance(response, list) else text_of_value(response)
    return Message("tool", content, name=name or _text_or_none(part.get("name")), tool_call_id=_text_or_none(part.get("id")))


def _block(part: Mapping[str, Any]) -> Any:
    kind, content = part.get("type"), part.get("content")
    if kind == "text":
        return text_of_value(content if content is not None else part.get("text", ""))
    if kind in ("reasoning", "thinking"):
        return {"type": "reasoning", "reasoning": text_of_value(content if content is not None else "")}
    return dict(part)


def _content(blocks: Sequence[object]) -> str | FrozenList:
    if all(isinstance(block, str) for block in blocks):
        return "".join(map(str, blocks))
    return FrozenList([{"type": "text", "text": block} if isinstance(block, str) else freeze(block) for block in blocks])


def _call(part: Mapping[str, Any]) -> ToolCall:
    function = part.get("function")
    about = function if isinstance(function, dict) else part
    args: Any = next((about[key] for key in ("arguments", "args", "input") if about.get(key) is not None), {})
    read = read_json(args)
    given = freeze(read) if isinstance(read, dict) else str(args)
    return ToolCall(str(about.get("name") or ""), given, _text_or_none(part.get("id")))


def _of_fields(item: Mapping[str, Any]) -> Message:
    """Return a message with `role` (or `type`) and `content`, as OpenAI, Anthropic and LangChain write them."""
    extra = item.get("additional_kwargs")
    extra = extra if isinstance(extra, dict) else {}
    calls = item.get("tool_calls") or extra.get("tool_calls") or ()
    role = role_of(item.get("role") or item.get("type") or "user")
    content = item.get("content")
    if isinstance(content, list):
        blocks = [block for block in content if read_block(block).kind != "call"] if calls else content
        found = frozen_content(blocks)
    else:
        found = text_of_value(content) if content is not None else ""
    made = tuple(_call(call) for call in calls if isinstance(call, dict))
    about = {
        "name": _text_or_none(item.get("name")),
        "tool_call_id": _text_or_none(item.get("tool_call_id")),
        "usage": read_usage(item.get("usage_metadata")),
    }
    return Message(role, found, made, _text_or_none(item.get("id")), **about)  # type: ignore[arg-type]


def frozen_content(blocks: Sequence[object]) -> str | FrozenList:
    """Return the content of a message: a str if its blocks are texts."""
    read = [_block(block) if isinstance(block, dict) and "content" in block else block for block in blocks]
    kinds = [read_block(block) for block in read]
    if all(kind.kind == "text" for kind in kinds):
        return "".join(kind.text or "" for kind in kinds)
    return FrozenList([freeze(block) for block in read])


def read_tools(value: object) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the name and the definition of each tool that a model could call."""
    found = read_json(value)
    tools = [read_json(tool) for tool in found] if isinstance(found, list) else []
    named = [tool.get("function", tool) if isinstance(tool, dict) else {} for tool in tools]
    return [(str(tool["name"]), tool) for tool in named if isinstance(tool, dict) and tool.get("name")]


def read_json(value: object) -> Any:
    """Return the value of a text of JSON that begins as an object or a list; any other value is returned as it is."""
    if (isinstance(value, str) and value[:1] in ("{", "[", " ", "\n", "\t")) or (isinstance(value, str) and value in _WORDS):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


_WORDS: Final = frozenset({"null", "true", "false"})
_OBJECTS: Final = re.compile(r'\s*(\[\s*)*\{\s*"|\s*(\[\s*)+"')


def is_cut(read: object) -> bool:
    """True for what `read_json` has returned of JSON that is cut off: the SDKs have a limit for the length of an attribute.

    It begins as an object, or as a list of objects or texts; what begins otherwise may be a text."""
    if not (isinstance(read, str) and _OBJECTS.match(read)):
        return False
    try:
        json.JSONDecoder().raw_decode(read.lstrip())
    except (ValueError, RecursionError):
        return True
    return False


def text_of_value(value: object) -> str:
    """Return a str as it is, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def freeze(value: object) -> Any:
    """Return plain JSON as frozen words."""
    if isinstance(value, dict):
        return FrozenDict({str(key): item if type(item) is str else freeze(item) for key, item in value.items()})
    return FrozenList([freeze(item) for item in value]) if isinstance(value, list | tuple) else value


def _text_or_none(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
