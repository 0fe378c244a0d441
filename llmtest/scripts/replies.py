"""A scripted answer made ready for one request: its structured values, its failure, and the usage that it reports."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from llmtest.core.masks import table
from llmtest.events.words import FrozenDict, Usage
from llmtest.scripts.requests import Request, bound_format
from llmtest.scripts.step_types import Call, Fail, Part, Reply, Text, Value, count
from llmtest.scripts.tool_checks import check_call


def resolve_values(reply: Reply, request: Request) -> Reply:
    """Return `reply` with its structured values as the model was bound: JSON text, or calls of the tools that they fit."""
    parts: list[Part] = []
    for part in reply.parts:
        if not isinstance(part, Value):
            parts.append(part)
            continue
        tool = None if bound_format(request.params) else _tool_for(part, request)
        parts.append(Text(part.tokens) if tool is None else Call(tool, part.value))
    return replace(reply, parts=tuple(parts))


def _tool_for(value: Value, request: Request) -> str | None:
    """Return the name of the bound tool whose call has `value` as its arguments."""
    if not isinstance(value.value, dict) or not request.tools:
        return None
    if value.type in request.tools:
        return value.type
    fits = [name for name in request.tools if check_call(Call(name, FrozenDict(value.value)), request.tools) is None]
    return fits[0] if fits else next(iter(request.tools)) if request.tool_choice is not None else None


def reported_usage(reply: Reply, prompt: Sequence[str]) -> Usage | None:
    """Return the usage that `reply` reports for a prompt of these texts, one for each message; None if it reports none."""
    if reply.usage is False:
        return None
    if reply.usage is not None:
        return reply.usage
    into, out = counted(reply, prompt)
    return Usage(into, out, into + out)


def counted(reply: Reply, prompt: Sequence[str]) -> tuple[int, int]:
    """Return the tokens of a prompt, and of `reply`, as they are counted where a script gives no usage."""
    return sum(map(count_prompt, prompt)), reply.token_count


def raised(failure: Fail) -> BaseException:
    """Return the exception of a step that fails otherwise than with an HTTP status."""
    error = failure.error
    if isinstance(error, BaseException):
        return error
    kind = getattr(builtins, error) if isinstance(error, str) else cast("type[BaseException]", error)
    return cast("BaseException", kind(failure.message) if failure.message is not None else kind())


def count_prompt(text: str) -> int:
    """Return the tokens of a prompt. A temporary folder in it has the same number on every machine."""
    return count(table().without_folders(text))
