"""What one run shows by itself: how a tool call ended, what a model answered, which part of a chain was used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from llmtest.coverage.programs import Component
from llmtest.events.events import Run
from llmtest.events.words import Failure, FrozenDict, Message, Structured

_LENGTH: Final = frozenset(("length", "max_tokens", "model_length", "model_context_window_exceeded"))
_FILTER: Final = frozenset(("content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii"))


def is_forced(choice: object, tools: Iterable[str]) -> bool:
    """True if `tool_choice` does not let a model answer with text."""
    return choice in ("any", "required") or isinstance(choice, Mapping) or (isinstance(choice, str) and choice in tools)


# -- tools


def tool_acts(run: Run, title: str, handles: Mapping[str, str | None] | None = None) -> list[str]:
    """Return how a tool call ended; several if it was one of them, and the recording does not tell which."""
    if run.ended == "paused":
        return ["interrupted"]
    if run.ended == "ended":
        return _answer_acts(run.output, handles or {})
    error = run.error
    if error is None:
        return []
    return ["refused" if _is_refusal(error, title) else "raised"]


def _answer_acts(output: object, handles: Mapping[str, str | None]) -> list[str]:
    """A tool that handles its errors answers with their text. Only an answer to the call of a model has a status."""
    if isinstance(output, Message) and output.status != "error":
        return ["answered"]
    text = output.text if isinstance(output, Message) else output
    told = [act for act, fixed in handles.items() if fixed is not None and fixed == text]
    handled = told or [act for act, fixed in handles.items() if fixed is None and isinstance(text, str | list)]
    if isinstance(output, Message):
        return handled or ["raised"]
    return handled if told else [*handled, "answered"]


def _is_refusal(error: Failure, title: str) -> bool:
    """True for an error of the schema of the tool: pydantic names the model that refused."""
    first = error.message.partition("\n")[0]
    return error.type == "ValidationError" and first.partition(" for ")[2] in (title, "")


# -- models


def outcomes(run: Run, calls: int, has_answer: bool) -> Iterator[str]:
    """Yield how a call of a model ended, with `calls` of tools that are no structured answer."""
    if run.ended != "ended":
        if run.error is not None:
            yield "error"
        return
    message = run.output
    text = message.text if isinstance(message, Message) else str(message or "")
    reason = _reason(run, message)
    if reason in _LENGTH:
        yield "length"
    elif reason in _FILTER:
        yield "content_filter"
    elif reason == "refusal" or (isinstance(message, Message) and _refuses(message)):
        yield "refusal"
    elif calls:
        yield "tool_call" if calls == 1 else "several_calls"
    elif not has_answer:
        yield "text" if text.strip() else "empty"


def _reason(run: Run, message: object) -> str:
    told: Mapping[str, Any] = message.response_metadata if isinstance(message, Message) else {}
    generations = run.end.payload.get("generations") if run.end is not None else None
    info = generations[0].info if generations else {}
    for about in (told, info):
        found = about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason")
        if found:
            return str(found).lower()
    incomplete = told.get("incomplete_details")
    reason = str(incomplete.get("reason", "")) if isinstance(incomplete, dict) else ""
    return "length" if reason == "max_output_tokens" else reason


def _refuses(message: Message) -> bool:
    blocks = message.content if isinstance(message.content, list) else []
    in_blocks = any(isinstance(block, Mapping) and block.get("type") in ("refusal",) for block in blocks)
    return bool(message.additional_kwargs.get("refusal")) or in_blocks


def structured_types(output: object) -> Iterator[str]:
    """Yield the classes of the structured responses that a node or a chain gives."""
    if isinstance(output, Structured) and output.type == "Command":
        yield from structured_types(output.fields.get("update"))
    elif isinstance(output, Structured):
        yield output.type
    elif isinstance(output, list):
        for part in output:
            yield from structured_types(part)
    elif isinstance(output, dict) and output.get("structured_response") is not None:
        response = output["structured_response"]
        yield response.type if isinstance(response, Structured) else "answer"


# -- components


def component_acts(component: Component, run: Run, inside: Sequence[Run]) -> Iterator[str]:
    """Yield what a run shows about a part of a chain. `inside` are the runs that it made."""
    if component.kind == "fallbacks":
        # One alternative may make several runs, or none of its own; the next one is used when a run of it has failed.
        failures = sum(child.ended == "error" for child in inside)
        went_on = sum(child.ended == "error" for child in inside[:-1])
        yield from (str(number) for number in range(1, went_on + 1))
        if run.ended == "error" and failures >= component.attempts:
            yield "exhausted"
    elif component.kind == "retries":
        attempts = max((_number(child, "retry:attempt:") for child in inside), default=1)
        if attempts > 1:
            yield "used"
        if run.ended == "error" and attempts >= component.attempts:
            yield "exhausted"
    elif component.kind == "branches":
        yield from (tag.removeprefix("branch:") for child in inside for tag in child.tags if tag.startswith("branch:"))
    elif component.kind == "retrievers" and run.kind == "retriever":
        yield "raised" if run.error is not None else "found" if run.output else "empty"
    elif component.kind == "prompts" and run.ended == "ended":
        yield ""


def _number(run: Run, prefix: str) -> int:
    return max((int(tag.removeprefix(prefix)) for tag in run.tags if tag.startswith(prefix)), default=1)


# -- interrupts


def pauses(run: Run) -> bool:
    """True if the interrupt of a run came from inside it: from a node, or a tool."""
    return any(
        inner.ended == "paused" and (inner.kind == "tool" or any(tag.startswith("graph:step:") for tag in inner.tags))
        for inner in run.walk()
    )


def interrupts(run: Run) -> Iterator[Mapping[str, Any]]:
    """Yield the fields of each interrupt that stopped a run: its `value` and its `id`."""
    error = run.end.payload.get("error") if run.end is not None else None
    left = [error.payload] if isinstance(error, Failure) else []
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, Structured):
            yield part.fields


def requested_tools(value: object) -> list[str]:
    """Return the names of the tools that a person is asked about, as the middleware of LangChain asks."""
    requests = value.get("action_requests") if isinstance(value, FrozenDict) else None
    return [str(one.get("name")) for one in requests or () if isinstance(one, Mapping)]


def is_answered(ids: Iterable[str], resume: object) -> bool:
    """True if `resume`, of a `Command`, answers one of the interrupts `ids`. To several at once, it has each answer by its id."""
    names = set(resume) if isinstance(resume, Mapping) else set()
    is_by_id = bool(names) and all(_INTERRUPT_ID.fullmatch(str(name)) for name in names)
    return not names.isdisjoint(ids) if is_by_id else resume is not None


_INTERRUPT_ID: Final = re.compile(r"[0-9a-f]{32}")


def own_answer(ids: Iterable[str], resume: object) -> object:
    """Return what `resume` answers to one of the interrupts `ids`."""
    answers = [resume[one] for one in ids if one in resume] if isinstance(resume, Mapping) else []
    return answers[0] if answers else resume


def decisions(resume: object) -> list[str]:
    if not isinstance(resume, Mapping):
        return []
    if "decisions" in resume:
        return [str(one.get("type")) for one in resume["decisions"] if isinstance(one, Mapping)]
    return [kind for value in resume.values() for kind in decisions(value)]  # by the ids of interrupts
