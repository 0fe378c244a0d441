"""What should be true of every recorded run of an agent, whatever it is for.

Each invariant has a name and can be asked for alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from llmtest.campaigns.calls import CallKey, CallNames, arguments_of, said
from llmtest.core.masks import publish, show
from llmtest.core.text import did_you_mean, names, times
from llmtest.errors import CampaignError, Violation
from llmtest.events.callbacks import MODELS
from llmtest.events.events import Run
from llmtest.events.words import Message
from llmtest.recording.recording import Recording


class _Known(NamedTuple):
    """What is known beside a recording: whether the program has raised no error, and the calls that it makes anyway."""

    ended_well: bool
    usual: frozenset[CallKey]


Invariant = Callable[[Recording, _Known], Iterator[str]]
MAX_EQUAL_CALLS: Final = 2
"""How often a tool may be called with equal arguments and give the same."""
_LENGTH: Final = frozenset({"length", "max_tokens", "model_length"})
"""The words of the providers for an answer that was cut by its length."""


def check_invariants(chosen: object) -> tuple[str, ...]:
    """Return the chosen names: one, or several.

    Raises:
        CampaignError: a name is unknown, or `chosen` are no names.
    """
    given = (chosen,) if isinstance(chosen, str) else tuple(chosen) if isinstance(chosen, Iterable) else None
    if given is None:
        raise CampaignError(f"invariants= is a list of the names of invariants; got {chosen!r}\n  known  {names(INVARIANTS)}")
    for name in given:
        if name not in INVARIANTS:
            hint = did_you_mean(str(name), INVARIANTS, otherwise=f"known are {names(INVARIANTS)}")
            raise CampaignError(f"there is no invariant {name!r}{hint}")
    return given


def broken_invariants(
    recording: Recording,
    chosen: str | Iterable[str],
    *,
    ended_well: bool = False,
    usual: Iterable[CallKey] = (),
) -> list[Violation]:
    """Return a violation for each place where `recording` breaks one of the invariants; its code is the name.

    With `ended_well`, the program has raised no error: then the error of a root run was swallowed, too. `usual` are the calls
    that the program makes without an error: none of them makes up for one.

    >>> from llmtest import ScriptedChatModel, record
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("").invoke("hi")
    >>> [violation.code for violation in broken_invariants(recording, ["empty answer", "swallowed error"])]
    ['empty answer']

    Raises:
        CampaignError: a name is unknown.
    """
    known = _Known(ended_well, frozenset(usual))
    return [
        Violation(name, publish(text))
        for name in check_invariants(chosen)
        for text in dict.fromkeys(INVARIANTS[name](recording, known))
    ]


# -- the invariants


def _repeated(recording: Recording, known: _Known) -> Iterator[str]:
    """A tool is called with equal arguments, gives the same, and is called again."""
    counts: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in recording.tools:
        if run.ended == "ended":
            counts[run.name, arguments_of("tool", run.start), said(run.output)].append(run)
    for (name, _, _), runs in counts.items():
        if len(runs) > MAX_EQUAL_CALLS:
            shown = show(dict(runs[0].args))
            yield f"the tool `{name}` was called {times(len(runs))} with {shown}, and gave the same each time"


def _empty_searches(recording: Recording, known: _Known) -> Iterator[str]:
    """A search finds nothing, no later one of the same name finds something, and the program goes on."""
    for run in (*recording.retrievers, *recording.tools):
        if run.ended == "ended" and _is_empty(run.output) and _root_of(recording, run).ended == "ended":
            later = [other for other in recording.runs if other.name == run.name and other.start.number > run.start.number]
            if not any(other.ended == "ended" and not _is_empty(other.output) for other in later):
                yield f"the {run.kind} `{run.name}` gave nothing, and the program went on without it"


def _swallowed(recording: Recording, known: _Known) -> Iterator[str]:
    """A model, a tool or a retriever fails, its root ends well, and nothing in between has made up for it."""
    failed = [run for run in recording.runs if run.kind != "chain" and run.error is not None]
    keys = CallNames(recording).keys if failed and known.usual else {}
    more = [run for run in recording.runs if keys.get(run.id) not in known.usual]
    for run in failed:
        assert run.error is not None
        if (known.ended_well or _root_of(recording, run).ended == "ended") and not _has_recovered(recording, run, more):
            yield f"the {run.kind} `{run.name}` failed with {run.error.type}: {run.error.message}, and nothing made up for it"


def _has_recovered(recording: Recording, failed: Run, more: Sequence[Run]) -> bool:
    """True if the call was made again, another one of `more` took its place, or a model was told of the failure."""
    assert failed.end is not None
    assert failed.error is not None
    number = failed.end.number
    after = [run for run in recording.runs if run.start.number > number]
    instead = any(
        run.kind == failed.kind and run.ended == "ended" and (run.name == failed.name or run.parent_id == failed.parent_id)
        for run in more
        if run.start.number > number
    )
    fallback = any("RunnableWithFallbacks" in run.name and run.ended == "ended" for run in _around(recording, failed))
    text = failed.error.message
    told = bool(text) and any(text in said(run.input) for run in after if run.kind in MODELS)
    answered = any(_answers(message, failed.tool_call_id) for run in after if run.kind in MODELS for message in run.messages)
    return instead or fallback or told or answered


def _answers(message: Message, tool_call_id: str | None) -> bool:
    return message.role == "tool" and tool_call_id is not None and message.tool_call_id == tool_call_id


def _cut_answers(recording: Recording, known: _Known) -> Iterator[str]:
    for run in recording.models:
        if isinstance(run.output, Message):
            metadata = run.output.response_metadata
            reasons = [str(metadata.get(key, "")).lower() for key in ("finish_reason", "stop_reason", "done_reason")]
            if not _LENGTH.isdisjoint(reasons):
                yield f"an answer of the model `{run.name}` was cut by its length: {show(run.output.text)}"


def _empty_answers(recording: Recording, known: _Known) -> Iterator[str]:
    for root in recording.roots:
        if root.ended == "ended" and _is_blank(final_answer(root)):
            yield f"the final answer of the {root.kind} `{root.name}` is empty"


def final_answer(root: Run) -> object:
    """Return what a root run gave: the last message of a chat model or a graph, else its output."""
    messages = root.messages
    if messages and (root.kind == "chat" or _holds_messages(root.output)):
        last = messages[-1]
        return last if last.role == "ai" and last.tool_calls else last.text
    return root.output


def _holds_messages(value: Any) -> bool:
    return isinstance(value, Message) or (isinstance(value, Mapping) and isinstance(value.get("messages"), list))


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _is_empty(value: Any) -> bool:
    if isinstance(value, Message):
        return value.status != "error" and not value.text.strip() and not value.artifact
    return value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, list | dict) and not value)


def _around(recording: Recording, run: Run) -> Sequence[Run]:
    """Return the runs around a run, the innermost first."""
    known = {other.id: other for other in recording.runs}
    found: list[Run] = []
    while run.parent_id is not None and run.parent_id in known:
        run = known[run.parent_id]
        found.append(run)
    return found


def _root_of(recording: Recording, run: Run) -> Run:
    return (run, *_around(recording, run))[-1]


INVARIANTS: Final[Mapping[str, Invariant]] = {
    "repeated tool call": _repeated,
    "empty search": _empty_searches,
    "swallowed error": _swallowed,
    "answer cut by length": _cut_answers,
    "empty answer": _empty_answers,
}
"""The invariants by their names."""
