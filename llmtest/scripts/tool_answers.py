"""Recorded answers of tools: what each call of a tool gave, as plain data that a file can hold.

`tool_answers` takes them from the runs of a recording; `llmtest.scripts.tool_replay` gives them to the calls of another run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Final

from llmtest.core.masks import table
from llmtest.core.text import clip
from llmtest.events.events import Run
from llmtest.events.words import EMPTY, Document, Ended, Failure, FrozenDict, FrozenList, Message, Opaque, Structured

DOCUMENT: Final = "$document"
"""The key that stands for a LangChain document in JSON: `{"$document": {"page_content": ..., "metadata": {...}}}`."""


@dataclass(frozen=True, slots=True)
class ToolFailure:
    """The exception of a tool: the name of its class, and its text.

    `repr` is its repr, which LangGraph's `ToolNode` tells the model; empty if it is not known, or the usual one:
    `KeyError('x')`.
    """

    type: str
    message: str
    repr: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What one recorded call of a tool gave. All of it is JSON.

    `args` are the arguments of the call by name, or the text of a tool that was called with text. A value in them that is not
    JSON, such as a date, stands there as text: arguments are only compared.

    `gives` is the value that the tool returned, or the content of its message; `artifact` its artifact. A document is
    `{"$document": {...}}`. `message` holds what else the tool message said that LangChain would not say by itself, for example
    `{"status": "error"}`. `failure` is the exception of a call that failed.

    `unknown` says why there is no answer to repeat, as the end of "the tool ...": `returned a Command`. Empty: there is one.

    `within` are the names of the tools in whose bodies the call was made, the outermost first. `runs_within` is the number of
    runs in its own body: a model that it asked, for example. Nobody makes them again where the answer is repeated.

    >>> str(ToolAnswer(FrozenDict(order="A-7"), gives="refunded"))
    '{"order": "A-7"} gave \\'refunded\\''
    """

    args: FrozenDict | str
    gives: Any = None
    artifact: Any = None
    failure: ToolFailure | None = None
    message: FrozenDict = EMPTY
    unknown: str = ""
    within: tuple[str, ...] = ()
    runs_within: int = 0

    @property
    def said(self) -> tuple[object, ...]:
        """What the program gets: equal for answers that may change places."""
        return as_key(self.gives), as_key(self.artifact), self.failure, as_key(self.message), self.unknown

    def __str__(self) -> str:
        return f"{show_args(self.args)} {self.outcome}"

    @property
    def outcome(self) -> str:
        """What came of the call, in short: `gave 'refunded'`, `failed with TimeoutError: too slow`."""
        if self.unknown:
            return self.unknown
        if self.failure is not None:
            return f"failed with {clip(table().without_secrets(str(self.failure)), 120)}"
        return f"gave {clip(repr(table().hide(self.gives)), 120)}"


def show_args(args: Mapping[str, object] | str) -> str:
    """Return the arguments of a call in one short line, without secrets."""
    shown = table().hide(args)
    return clip(repr(shown) if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, default=str), 200)


# -- from the runs of a recording


def races(runs: Iterable[Run], are_ordered: Callable[[Run, Run], bool]) -> list[str]:
    """Return what recorded answers cannot tell apart, in words: calls at the same time with equal arguments and other answers."""
    calls: dict[tuple[str, str], list[tuple[Run, ToolAnswer]]] = {}
    for run in sorted((run for run in runs if run.kind == "tool"), key=lambda run: run.start.number):
        answer = _answer(run, (), 0)
        calls.setdefault((run.name, as_key(answer.args)), []).append((run, answer))
    return [
        f"two calls of the tool `{name}` at the same time have the arguments {show_args(pairs[0][1].args)} and different answers;"
        " which call gets which answer is a race, so that the test fails when it runs again\n"
        f"  give the calls arguments that tell them apart, or let the real tool run: leave `{name}` out of tools="
        for (name, _), pairs in calls.items()
        if not all(are_ordered(a, b) for (a, _), (b, _) in pairwise(pairs))  # else all are: it is transitive
        and any(one.said != other.said and not are_ordered(a, b) for (a, one), (b, other) in combinations(pairs, 2))
    ]


def tool_answers(runs: Iterable[Run], position: Callable[[Run], int] | None = None) -> dict[str, tuple[ToolAnswer, ...]]:
    """Return the answers of the tool runs among `runs`, by the name of the tool, in the order in which the calls started; or in
    that of `position`, as `recording.order().position` is: parallel calls start in any order.

    Each tool run gives one answer. What cannot be repeated is no value but `answer.unknown`, which says why: a `Command`, an
    object that is no JSON, a run that was interrupted, cancelled or never ended.

    >>> from langchain_core.tools import tool
    >>> from llmtest import record
    >>> @tool
    ... def refund(order: str) -> str:
    ...     "Refund an order."
    ...     return f"refunded {order}"
    >>> with record() as recording:
    ...     _ = refund.invoke({"order": "A-7"})
    >>> [str(answer) for answer in tool_answers(recording.runs)["refund"]]
    ['{"order": "A-7"} gave \\'refunded A-7\\'']

    A recording has words, not objects: of a tool that is called without a tool call, a tuple is a list here, and an enum its
    value.
    """
    tools = sorted((run for run in runs if run.kind == "tool"), key=position or (lambda run: run.start.number))
    around: dict[Any, tuple[str, ...]] = {}
    answers: dict[str, list[ToolAnswer]] = {}
    for run in tools:
        inside = [inner for inner in run.walk() if inner is not run]
        names = (*around.get(run.id, ()), run.name)
        around.update({inner.id: names for inner in inside})
        answers.setdefault(run.name, []).append(_answer(run, names[:-1], len(inside)))
    return {name: tuple(given) for name, given in answers.items()}


def _answer(run: Run, within: tuple[str, ...], runs_within: int) -> ToolAnswer:
    payload = run.start.payload
    called = as_json(run.args, or_text=True) if "inputs" in payload else str(payload.get("input_str", ""))
    args = called if isinstance(called, str) else FrozenDict(called)
    try:
        return ToolAnswer(args, **_outcome(run), within=within, runs_within=runs_within)
    except NotJsonError as error:
        return ToolAnswer(args, unknown=f"returned {error}", within=within, runs_within=runs_within)


_ENDS: Final[Mapping[Ended, str]] = {
    "open": "did not end",
    "cancelled": "was cancelled",
    "closed early": "was closed early",
    "paused": "was interrupted, to be resumed later",
    "handed off": "handed off to the graph around it with a Command",
    "stopped by rule": "was stopped by a rule",
}


def _outcome(run: Run) -> dict[str, Any]:
    """Return the fields of the answer of a run. Raises `NotJsonError` for an output that is no JSON."""
    if run.ended in _ENDS:
        return {"unknown": _ENDS[run.ended]}
    if run.ended == "stopped":
        return {"unknown": f"was stopped by {run.error.type if run.error is not None else 'an exception'}"}
    if run.error is not None:
        if run.error.type == "ViolationError":
            return {"unknown": "failed with a violation of its test"}
        return {"failure": ToolFailure(run.error.type, run.error.message, _odd_repr(run.error))}
    output = run.output
    if not isinstance(output, Message) or output.role != "tool":
        return {"gives": as_json(output)}
    asked = run.start.payload.get("tool_call_id")
    if asked is not None and output.tool_call_id != asked:
        return {"unknown": "returned a message for another tool call"}
    return {
        "gives": as_json(output.content),
        "artifact": as_json(output.artifact),
        "message": FrozenDict({name: as_json(value) for name, value in _more(output, run, asked).items()}),
    }


def _odd_repr(failure: Failure) -> str:
    """Return the repr of an exception that is not made of its text alone."""
    error = failure.exception
    try:
        shown = "" if error is None else repr(error)
    except Exception:  # the program's own `__repr__`
        return ""
    return "" if shown == f"{failure.type}({failure.message!r})" else shown


def _more(message: Message, run: Run, asked: str | None) -> dict[str, object]:
    """Return what a tool message says that LangChain would not say: its fields are of the tool, which made it itself."""
    more: dict[str, object] = {
        "id": message.id,
        "status": message.status if message.status != "success" else None,
        "additional_kwargs": message.additional_kwargs,
        "response_metadata": message.response_metadata,
    }
    said = {name: value for name, value in more.items() if value}
    if message.name != run.name:
        said["name"] = message.name
        if asked is None:  # a call without an id, or an early langchain-core 1, which does not report it
            said["tool_call_id"] = message.tool_call_id
    return said


# -- JSON


class NotJsonError(ValueError):
    """A value is no JSON. Its text names the value: "a Command"."""


def as_json(word: object, *, or_text: bool = False) -> Any:
    """Return a frozen word as frozen JSON.

    Raises:
        NotJsonError: a part of it is no JSON; with `or_text`, such a part becomes text instead.
    """
    if word is None or isinstance(word, str | bool | int):
        return word
    if isinstance(word, float) and math.isfinite(word):
        return word
    if isinstance(word, Mapping) and (or_text or DOCUMENT not in word):
        return FrozenDict({str(key): as_json(value, or_text=or_text) for key, value in word.items()})
    if isinstance(word, list | tuple):
        return FrozenList([as_json(item, or_text=or_text) for item in word])
    if isinstance(word, Document):
        fields = {"page_content": word.page_content, "metadata": as_json(word.metadata, or_text=or_text)}
        return FrozenDict({DOCUMENT: FrozenDict(fields if word.id is None else {**fields, "id": word.id})})
    if not or_text:
        raise NotJsonError(_named(word))
    if isinstance(word, Structured):
        return as_json(word.fields, or_text=True)
    if isinstance(word, Message):
        return FrozenDict(role=word.role, content=as_json(word.content, or_text=True))
    return word.type if isinstance(word, Opaque) else str(word)


def _named(word: object) -> str:
    if isinstance(word, Message):
        return f"a message of the role `{word.role}`"
    if isinstance(word, Structured | Failure):
        return f"a {word.type}"
    if isinstance(word, Opaque):
        return f"an object: {word.type}"
    if isinstance(word, Mapping):
        return f"a mapping with the key `{DOCUMENT}`"
    return f"the number {word}" if isinstance(word, float) else f"a {type(word).__name__}"


def as_key(value: object) -> str:
    """Return a text that is equal for values that are equal as JSON: order of keys does not count, and 1.0 is 1."""
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def without(args: FrozenDict | str, hidden: Collection[str]) -> FrozenDict | str:
    """Return arguments without those of these names."""
    if isinstance(args, str) or not hidden:
        return args
    return FrozenDict({name: value for name, value in args.items() if name not in hidden})
