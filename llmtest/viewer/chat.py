"""The conversation of a trace: each message once, in the order in which it was said, with the run that it belongs to.

An agent sends its whole history with each call. What a call shares with the beginning of an earlier one is not shown again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from llmtest.events.events import Run
from llmtest.tracing.codec import TAG

Item = tuple[int, Literal["message", "text", "tool", "retriever", "error", "open"], int]
"""The position of a run, what is said, and the number of a message or an event that says it; -1 for none."""
_Key = tuple[str, str, str, str]


class _Said(dict[_Key, "_Said"]):
    """What was said after a message: a tree of conversations."""


def conversation(runs: Sequence[Run], payloads: Sequence[str], messages: Sequence[str]) -> list[Item]:
    """Return the conversation of runs, in their order.

    `payloads` are the values of all events and `messages` the messages in them, as the codec of traces writes them.
    """
    said, keys = _Said(), [_key(json.loads(message)) for message in messages]
    tools = {run.tool_call_id for run in runs if run.kind == "tool"} - {None}
    items: list[Item] = []
    for position, run in enumerate(runs):
        if run.kind == "chat":
            items += _of_chat(position, run, payloads, keys, said, tools)
        elif run.kind in ("llm", "tool", "retriever"):
            what: Any = "text" if run.kind == "llm" else run.kind
            items.append((position, what, run.start.number))
        items += [(position, "error", run.end.number)] if run.error is not None and run.end and run.kind != "chain" else []
    return items


def _of_chat(
    position: int, run: Run, payloads: Sequence[str], keys: Sequence[_Key], said: _Said, tools: set[str | None]
) -> Iterator[Item]:
    """Yield the messages of a call that no earlier call has said, and its answer."""
    given = _numbers(payloads, run.start.number, "messages")
    answer = _numbers(payloads, run.end.number, "generations") if run.end is not None else []
    for number in (*given, *answer[:1]):
        is_new = keys[number] not in said
        said = said.setdefault(keys[number], _Said())
        # The run of a tool stands for its result.
        if is_new and not (keys[number][0] == "tool" and keys[number][3] in tools):
            yield position, "message", number
    if run.end is None:
        yield position, "open", -1


def _numbers(payloads: Sequence[str], event: int, name: str) -> list[int]:
    """Return the numbers of the messages in the entry `name` of an event, in order."""
    if payloads[event] == "null":  # left out, for want of room
        return []
    found: list[int] = []
    todo = [json.loads(payloads[event]).get(name)]
    while todo:
        value = todo.pop()
        if isinstance(value, dict) and value.get(TAG) == "@":
            found.append(value["n"])
        elif isinstance(value, dict) and value.get(TAG) == "messages":
            found += value["n"]
        elif isinstance(value, Mapping | list):
            todo += reversed(list(value.values()) if isinstance(value, Mapping) else value)
    return found


def _key(message: Mapping[str, Any]) -> _Key:
    """Return what makes two messages the same for a reader: not their ids, usage and metadata."""
    content = json.dumps(message.get("content", ""))
    calls = json.dumps([[call.get("name"), call.get("args"), call.get("id")] for call in message.get("tool_calls", ())])
    return str(message.get("role")), content, calls, str(message.get("tool_call_id"))
