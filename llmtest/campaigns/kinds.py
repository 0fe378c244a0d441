"""The kinds of faults, by name, and what each does at a call.

A fault at a model is another step in place of the script's own, so every dialect and every API says it in its own words. A
fault at a tool or a retriever raises or gives another value, in place of its body or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeVar

from llmtest.campaigns.calls import Call, moment_of
from llmtest.core.text import did_you_mean, names
from llmtest.errors import CampaignError
from llmtest.events.callbacks import MODELS, RunKind
from llmtest.events.words import FrozenDict, ToolCall
from llmtest.scripts.answering import Injected
from llmtest.scripts.step_types import Call as SaidCall
from llmtest.scripts.step_types import Reply, as_failure
from llmtest.scripts.steps import call, reply, say

T = TypeVar("T")

HUGE_CHARACTERS: Final = 100_000
"""The length of a text of the kind `huge`."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a tool or a retriever does: it raises what `error` makes, or gives `value`; `runs_body` before, or not at all."""

    error: Callable[[], BaseException] | None = None
    value: object = None
    runs_body: bool = False


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The program is stopped from outside: cancelled at an `await`, left by the consumer of its stream, or killed."""


Act = Injected | Done | Interrupted


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault at one call. `str(fault)` names it in every run: `search#2 raises TimeoutError`."""

    call: Call
    kind: str
    words: str
    act: Act

    def __str__(self) -> str:
        return f"{self.call.label} {self.words}"


Make = Callable[[Call], Iterable[tuple[str, Act]]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: its name, the runs that can have it, and the faults that it makes of a call, each with its words."""

    name: str
    of: frozenset[RunKind]
    make: Make


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds, those of models first."""
    return tuple(dict.fromkeys((*(kind.name for kind in KINDS), *MOMENTS)))


def check_kinds(chosen: object) -> tuple[str, ...]:
    """Return the chosen names of kinds; all of them for None.

    Raises:
        CampaignError: a name is unknown, or none is given.

    >>> check_kinds(["timeout"])
    ('timeout',)
    """
    if chosen is None:
        return kind_names()
    given = [chosen] if isinstance(chosen, str) else list(chosen) if isinstance(chosen, Iterable) else None
    if not given:
        raise CampaignError(f"kinds= is a list of the names of faults; got {chosen!r}\n  known  {names(kind_names())}")
    for name in given:
        if name not in kind_names():
            hint = did_you_mean(str(name), kind_names(), otherwise=f"known are {names(kind_names())}")
            raise CampaignError(f"there is no kind of fault {name!r}{hint}")
    return tuple(given)


MAX_CHUNKS: Final = 20
"""Of a longer stream, so many chunks have a fault, if nothing else is asked for: the first, the last, and others between."""
ALL: Final = "all"
_OF_CHUNKS: Final = frozenset({"stream cut", "consumer stops"})


class PlannedFaults(NamedTuple):
    """The faults of a campaign, and in words those that were left out of it."""

    faults: tuple[Fault, ...]
    left_out: tuple[str, ...]


def check_chunks(chunks: object) -> int | None:
    """Return at how many chunks of a stream there are faults; None for all of them.

    Raises:
        CampaignError: it is no number.
    """
    if chunks == ALL:
        return None
    if type(chunks) is not int or chunks < 1:
        raise CampaignError(f'chunks= is a whole number of 1 or more, or "{ALL}"; got {chunks!r}')
    return chunks


def plan(
    calls: Sequence[Call], moments: Mapping[str, int], kinds: Sequence[str], chunks: int | None = MAX_CHUNKS
) -> PlannedFaults:
    """Return every fault of these kinds at every call and moment, at most at so many chunks of a stream."""
    kept: list[Fault] = []
    left_out: list[str] = []
    every = (*faults_at(calls, kinds), *faults_of_program(moments, kinds))
    for (kind, where), group in groupby(every, lambda fault: (fault.kind, _stream_of(fault))):
        faults = list(group)
        some = faults if kind not in _OF_CHUNKS or chunks is None else spread(faults, chunks)
        kept += some
        if len(some) < len(faults):
            left_out.append(f'{kind} at {len(some)} of {len(faults)} chunks{where}; chunks="{ALL}" takes each')
    return PlannedFaults(tuple(kept), tuple(left_out))


def _stream_of(fault: Fault) -> str:
    return "" if isinstance(fault.act, Interrupted) else f" of `{fault.call.label}`"


def spread(items: Sequence[T], number: int) -> list[T]:
    """Return so many of the items, evenly: the first, the last, and some between.

    >>> spread("abcdefg", 3)
    ['a', 'd', 'g']
    """
    if len(items) <= number:
        return list(items)
    return [items[round(place * (len(items) - 1) / max(1, number - 1))] for place in range(number)]


def faults_at(calls: Sequence[Call], kinds: Sequence[str]) -> list[Fault]:
    """Return every fault of these kinds at every call that can have it, call by call."""
    chosen = [kind for kind in KINDS if kind.name in kinds]
    return [
        Fault(call, kind.name, words, act)
        for call in calls
        for kind in chosen
        if call.kind in kind.of
        for words, act in kind.make(call)
    ]


def faults_of_program(moments: Mapping[str, int], kinds: Sequence[str]) -> list[Fault]:
    """Return the faults of these kinds at the moments of a program. `moments` counts them, by what they are."""
    chosen = {moment: name for name, moment in MOMENTS.items() if name in kinds}
    return [
        Fault(moment_of(where, number), chosen[kind], WORDS[kind], Interrupted())
        for where, count in moments.items()
        for kind in [where.partition(" ")[0]]
        if kind in chosen
        for number in range(1, count + 1)
    ]


MOMENTS: Final[Mapping[str, str]] = {"cancelled": "await", "consumer stops": "chunk", "killed and resumed": "checkpoint"}
"""The kinds of faults of the program itself, and the moments that have them."""
WORDS: Final[Mapping[str, str]] = {"await": "cancelled", "chunk": "consumer stops", "checkpoint": "killed and resumed"}


# -- models


def _refused(words: str, status: int, message: str | None = None, retry_after: float | None = None) -> Make:
    step = as_failure(status, retry_after, message, "")
    return lambda _: [(words, Injected(step))]


def _broken(words: str, error: str, message: str) -> Make:
    # By its name, because an exception keeps the frames of each place that raises it.
    step = replace(as_failure(error, None, message, ""), by_client=True)
    return lambda _: [(words, Injected(step))]


def _says(words: str, step: Reply) -> Make:
    return lambda _: [(words, Injected(step))]


def _cut_by_length(call: Call) -> Iterator[tuple[str, Act]]:
    half = call.text[: (len(call.text) + 1) // 2]
    said = reply(*([half] if half else []), *([_half_of(call.tool_calls[0])] if call.tool_calls else []))
    yield "answers cut by length", Injected(replace(said, stop_reason="length").unchecked())


def _half_of(said: ToolCall) -> Reply:
    whole = _call_of(said)
    text = "".join(whole.calls[0].tokens)
    return whole.malformed(text[: max(1, len(text) // 2)])


def _stream_cuts(call: Call) -> Iterator[tuple[str, Act]]:
    """A stream breaks after each of its chunks: those of its text, and then those of its tool calls."""
    failure = as_failure("ConnectionResetError", None, "the stream broke off", "")
    cuts = [say(tokens=call.tokens[:number]) for number in range(1, len(call.tokens) + 1)]
    calls = [_call_of(said).calls[0] for said in call.tool_calls] if call.is_streamed else []
    for place, last in enumerate(calls):
        for number in range(1, len(last.tokens) + 1):
            text = cuts[: len(call.tokens)][-1:]
            cuts.append(_parts(*text, *calls[:place], replace(last, pieces=last.tokens[:number])))
    for number, said in enumerate(cuts, 1):
        yield f"stream cut after chunk {number}", Injected(replace(said, failure=failure).unchecked())


def _parts(*parts: Reply | SaidCall) -> Reply:
    every = [part for one in parts for part in (one.parts if isinstance(one, Reply) else (one,))]
    return replace(call("_"), parts=tuple(every))


def _malformed(call: Call) -> Iterator[tuple[str, Act]]:
    for said in call.tool_calls[:1]:
        yield "malformed arguments", Injected(_half_of(said).unchecked())


def _unknown_tool(call: Call) -> Iterator[tuple[str, Act]]:
    for said in call.tool_calls[:1]:
        yield "calls an unknown tool", Injected(_named(f"{said.name}_unknown", _args_of(said)).unchecked())


def _wrong_type(call: Call) -> Iterator[tuple[str, Act]]:
    for said in call.tool_calls[:1]:
        args = _args_of(said)
        for name, value in list(args.items())[:1]:
            wrong: object = ["wrong", "type"] if not isinstance(value, list | tuple) else 7
            yield "wrong argument type", Injected(_named(said.name, {**args, name: wrong}).unchecked())


def _twice(call: Call) -> Iterator[tuple[str, Act]]:
    if call.tool_calls:
        first = call.tool_calls[0]
        said = [_call_of(each) for each in (*call.tool_calls, first)]
        yield (
            f"calls {first.name} twice",
            Injected(reply(*([call.text] if call.text else []), *said).unchecked(), takes_step=True),
        )


def answer_of(call: Call) -> Reply:
    """Return the step with which a model says what it has said in this call."""
    text = [say(tokens=call.tokens) if call.tokens else call.text] if call.text else []
    return reply(*text, *map(_call_of, call.tool_calls)).unchecked() if text or call.tool_calls else say("").unchecked()


def _call_of(said: ToolCall) -> Reply:
    return _named(said.name, _args_of(said))


def _args_of(said: ToolCall) -> dict[str, Any]:
    return said.args if isinstance(said.args, dict) else {}


def _named(tool: str, args: dict[str, Any]) -> Reply:
    return _parts(SaidCall(tool, FrozenDict(args)))


# -- tools and retrievers


def _raises(kind: type[BaseException], *, runs_body: bool = False) -> Make:
    words = f"raises {kind.__name__}{' after its effect' if runs_body else ''}"

    def make(call: Call) -> Iterator[tuple[str, Act]]:
        text = f"fault: {call.label} {words}"
        yield words, Done(lambda: kind(text), runs_body=runs_body)

    return make


def _gives(words: str, value: object) -> Make:
    return lambda _: [(words, Done(value=value))]


_CHAT: Final[frozenset[RunKind]] = frozenset({"chat"})
_TOOL: Final[frozenset[RunKind]] = frozenset({"tool"})
_RETRIEVER: Final[frozenset[RunKind]] = frozenset({"retriever"})
_CONTEXT: Final = "the prompt is too long: maximum context length exceeded"
_NO: Final = "I'm sorry, but I can't help with that."

KINDS: Final = (
    Kind("rate limit", MODELS, _refused("rate limit", 429)),
    Kind("rate limit with retry-after", MODELS, _refused("rate limit with retry-after", 429, None, 2)),
    Kind("server error", MODELS, _refused("server error", 500)),
    Kind("timeout", MODELS, _broken("timeout", "TimeoutError", "the model timed out")),
    Kind("connection reset", MODELS, _broken("connection reset", "ConnectionResetError", "connection reset by peer")),
    Kind("context too long", MODELS, _refused("context too long", 400, _CONTEXT)),
    Kind("content filter", _CHAT, _says("content filter", say("", stop_reason="content_filter").unchecked())),
    Kind("refusal", _CHAT, _says("refusal", say(_NO, refusal=True).unchecked())),
    Kind("empty answer", MODELS, _says("empty answer", say("").unchecked())),
    Kind("cut by length", _CHAT, _cut_by_length),
    Kind("stream cut", MODELS, _stream_cuts),
    Kind("malformed arguments", _CHAT, _malformed),
    Kind("unknown tool", _CHAT, _unknown_tool),
    Kind("wrong argument type", _CHAT, _wrong_type),
    Kind("tool call twice", _CHAT, _twice),
    Kind("error", _TOOL | _RETRIEVER, _raises(RuntimeError)),
    Kind("timeout", _TOOL | _RETRIEVER, _raises(TimeoutError)),
    Kind("nothing", _TOOL, _gives("returns nothing", None)),
    Kind("empty", _TOOL, _gives("returns an empty text", "")),
    Kind("empty", _RETRIEVER, _gives("finds nothing", ())),
    Kind("huge", _TOOL, _gives("returns a huge text", "x" * HUGE_CHARACTERS)),
    Kind("error text", _TOOL, _gives("returns an error text", "Error: 503 Service Unavailable")),
    Kind("error after effect", _TOOL, _raises(RuntimeError, runs_body=True)),
)
"""Every kind. Two rows of one name are one kind, for models and for tools."""
