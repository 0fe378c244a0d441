"""Messages as providers have them: content blocks of Bedrock, which Strands writes, and contents of Gemini, which ADK writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmtest.events.words import Message
from llmtest.otel.messages import read_json, read_messages, role_of, text_of_value


def read_parts(role: str, parts: Sequence[Any]) -> Iterator[Message]:
    """Yield what some blocks of Bedrock or parts of Gemini say: the results of tools, then a message of all the rest."""
    calls, rest, answers = [], [], 0
    for part in parts:
        about = part if isinstance(part, Mapping) else {"text": str(part)}
        result = _first(about, "toolResult", "function_response", "functionResponse")
        call = _first(about, "toolUse", "function_call", "functionCall")
        if result is not None:
            answers += 1
            yield _answer(result)
        elif call is not None:
            given = _first(call, "input", "args")
            calls.append({"id": call.get("toolUseId", call.get("id")), "name": call.get("name"), "args": given or {}})
        else:
            rest.append({"type": "text", "text": about["text"]} if isinstance(about.get("text"), str) else dict(about))
    if calls or rest or not answers:
        yield from read_messages([{"role": role, "content": rest, "tool_calls": calls}])


def _first(about: Mapping[str, Any], *keys: str) -> Any:
    return next((about[key] for key in keys if isinstance(about.get(key), Mapping)), None)


def _answer(result: Mapping[str, Any]) -> Message:
    call = result.get("toolUseId", result.get("id"))
    content = result.get("content", result.get("response"))
    name = result.get("name")
    return Message("tool", text_of_result(content), name=str(name) if name else None, tool_call_id=str(call) if call else None)


def text_of_result(content: object) -> str:
    """Return the result of a tool as a text: without the blocks of Bedrock, or the object that ADK puts around it."""
    if (
        isinstance(content, list)
        and content
        and all(isinstance(block, Mapping) and block.keys() == {"text"} for block in content)
    ):
        return "".join(str(block["text"]) for block in content)
    if isinstance(content, Mapping) and content.keys() == {"result"}:
        content = content["result"]
    return text_of_value(content)


def read_contents(contents: object) -> Iterator[Message]:
    """Yield the messages of a list of Gemini's contents: `[{"role": "model", "parts": [...]}]`."""
    for content in contents if isinstance(contents, list) else ():
        if isinstance(content, Mapping) and isinstance(content.get("parts"), list):
            yield from read_parts(role_of(content.get("role") or "user"), content["parts"])


def read_event(role: str, told: Mapping[str, Any]) -> Iterator[Message]:
    """Yield what an event of a span says, as the conventions had it before 1.37: `gen_ai.user.message`, `gen_ai.choice`."""
    content = read_json(told.get("content", told.get("message", "")))
    if isinstance(content, list):
        yield from read_parts(role, content)
        return
    about = content if isinstance(content, Mapping) else {"content": content}
    calls = read_json(told.get("tool_calls"))
    given = {"tool_calls": calls if isinstance(calls, list) else (), "tool_call_id": told.get("id")}
    yield from read_messages([{**given, "role": role, **about}])
