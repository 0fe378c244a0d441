"""What hooks that wrap a call have changed. They make no run, so the evidence is around them: what their node was given, what the
model or the tool was called with, what it answered, and what the node made of it.

A change that leaves no such trace (another model, other settings of it, another system prompt) is not told from none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from llmtest.events.callbacks import MODELS
from llmtest.events.events import Run
from llmtest.events.words import Message, Structured


def changes_model_call(node: Run, tools: Collection[str]) -> bool:
    """True if a hook around the model of an agent has certainly changed its call. `tools` are those that the agent binds."""
    calls = [run for run in node.children if run.kind in MODELS]
    if len(node.children) != len(calls):  # a hook, or a model of several parts, has made runs of its own
        return False
    if len(calls) != 1:
        return not calls or calls[0].ended == "error"
    call = calls[0]
    given, asked = list(_messages(node.input)), list(_messages(call.input))
    if asked and asked[0].role == "system" and (not given or given[0].role != "system"):
        asked = asked[1:]
    # The agent itself answers calls whose arguments are no JSON.
    broken = {one.id for message in given for one in message.tool_calls if isinstance(one.args, str)}
    is_other = _words_of(given, broken) != _words_of(asked, broken)
    has_less = not set(tools) <= set(call.start.payload.get("tools", ()))
    return is_other or has_less or _is_replaced(call.output, node)


def changes_tool_call(node: Run, tools: Collection[str]) -> bool:
    """True if a hook around the tools of an agent has certainly changed the one call of this node."""
    requests = node.input if isinstance(node.input, list) else [node.input]
    request = requests[0] if len(requests) == 1 else None
    if not isinstance(request, dict) or request.get("name") not in tools:
        return False
    calls = node.children
    if len(calls) != 1:
        return not calls or all(run.kind == "tool" for run in calls)
    call = calls[0]
    if call.kind != "tool":
        return False
    return call.name != request["name"] or dict(call.args) != dict(request.get("args") or {}) or _is_replaced(call.output, node)


WRAPPED: Final[Mapping[str, tuple[str, Callable[[Run, Collection[str]], bool]]]] = {
    "wrap_model_call": ("model", changes_model_call),
    "wrap_tool_call": ("tools", changes_tool_call),
}
"""The hooks that wrap a call: the node of `create_agent` that they are in, and how a change is known."""


def _is_replaced(answer: object, node: Run) -> bool:
    """True if a node does not give the message that it got."""
    found = [_words(message) for message in _messages(node.output)]
    return isinstance(answer, Message) and bool(found) and _words(answer) not in found


def _messages(value: Any) -> Iterator[Message]:
    """Yield the messages in the output of a node: alone, in lists, in an update of the state, in commands."""
    if isinstance(value, Message):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _messages(part)
    elif isinstance(value, Structured) and value.type == "Command":
        yield from _messages(value.fields.get("update"))
    elif isinstance(value, dict):
        yield from _messages(value.get("messages"))


def _words_of(messages: Sequence[Message], broken: Collection[str | None]) -> list[tuple[object, ...]]:
    return [_words(message) for message in messages if message.role != "tool" or message.tool_call_id not in broken]


def _words(message: Message) -> tuple[object, ...]:
    """Return what tells messages apart. LangChain rewrites content that is no text."""
    text = message.content if isinstance(message.content, str) else ""
    return message.role, text, tuple((call.name, call.args) for call in message.tool_calls), message.tool_call_id
