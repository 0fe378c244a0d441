"""`check` and `cut_streams`: which callbacks of a recording break the protocol.

They read a recording, live or loaded, and nothing else: no LangChain, no clock, no process. One pass sorts the events by
run (`llmtest.protocol.run_index`); then each rule is a small function over the runs (`llmtest.protocol.checks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llmtest.core.masks import publish
from llmtest.core.text import capped
from llmtest.errors import Violation
from llmtest.events.callbacks import MODELS
from llmtest.events.events import Event
from llmtest.events.words import Failure, Generation
from llmtest.protocol.checks import RULES, Found, Level, Rule
from llmtest.protocol.known_issues import known
from llmtest.protocol.run_index import Index, Life, read
from llmtest.recording.recording import Recording


@dataclass(frozen=True, slots=True)
class Broken(Violation):
    """A rule of the protocol that a recording breaks.

    `witnesses` are the events that show it, in their order. `deviation` names the known deviation of LangChain or LangGraph
    that explains it, if any; then `level` is `unusual`, whatever the level of the rule.
    """

    level: Level
    witnesses: tuple[Event, ...] = ()
    deviation: str | None = None


def check(recording: Recording) -> list[Broken]:
    """Return the rules of the callback protocol that `recording` breaks; an empty list if its callbacks are correct.

    Each is a `Violation`: `.code` is the name of the rule, `.level` is `impossible` or `unusual`, `.text` has the finding,
    the events that show it, and what to do. If the installed version of LangChain or LangGraph is known to do this itself,
    `.deviation` names that known deviation, and the level is `unusual`.

    A recording that is still open is checked as far as it goes: runs that have not ended yet are reported. Linear in the
    number of events. Thread-safe. The rules stand in docs/reference/protocol.md.

    >>> from llmtest import ScriptedChatModel, record
    >>> pass
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> check(recording)
    []

    Runs that spans of OpenTelemetry tell of have no callbacks: only the rules about tool calls and missing parts apply to them
    (`rules_of_spans`).

    It does not see whether a handler raised, nor a call that reached no double and no recording.
    """
    index = read(recording)
    return [_broken(rule, found, index) for rule in RULES for found in rule.find(index) if _applies(rule, found)]


def _applies(rule: Rule, found: Found) -> bool:
    """True if a rule applies to the runs of a finding. Spans tell of runs, and not of each callback."""
    starts = [*found.witnesses, *(found.life.starts if found.life is not None else ())]
    return rule.is_of_spans or not any("unknown" in start.payload for start in starts)


def rules_of_spans() -> list[str]:
    """Return the names of the rules that `check` applies to runs that spans tell of; the others are about callbacks."""
    return [rule.name for rule in RULES if rule.is_of_spans]


def cut_streams(recording: Recording) -> list[Broken]:
    """Return model streams that ended without an error and without a finish reason: they may have been cut off.

    A reason is a `finish_reason`, `stop_reason`, `done_reason` or `status` in the metadata of the answer. Each stream is
    an `unusual` violation of the rule `"stream without a reason"`. `check` does not include this, because a script
    may cut a stream on purpose: `assert not cut_streams(recording)` makes a test fail.

    >>> from llmtest import ScriptedChatModel, record, say
    >>> pass
    >>> with record() as recording:
    ...     _ = list(ScriptedChatModel(say("Hello there").then_truncate()).stream("hi"))
    >>> [broken.code for broken in cut_streams(recording)]
    ['stream without a reason']

    It sees only runs with tokens. It reports every stream of a model that never gives a reason.
    """
    index = read(recording)
    finished = [life for life in index.talking if MODELS & life.kinds and life.ended == "ended"]
    return [_cut(life, index) for life in finished if _generations(life.end) and not gave_reason(life.end)]


REASONS: Final = ("finish_reason", "stop_reason", "done_reason", "status")
"""Where an integration says why an answer ended, in the metadata of a message or of a generation."""
_NO_REASON: Final = (None, "", "in_progress")  # the Responses API has this status when an answer has only begun


def gave_reason(end: Event | None) -> bool:
    """True if the event that ended the run of a model says why the answer ended."""
    metadata = [{**(g.info or {}), **(g.message.response_metadata if g.message else {})} for g in _generations(end)]
    return any(found.get(key) not in _NO_REASON for found in metadata for key in REASONS)


def _generations(end: Event | None) -> Sequence[Generation]:
    return (end.payload.get("generations") if end is not None else None) or ()


def _cut(life: Life, index: Index) -> Broken:
    hint = "the answer may be cut off; look for a reason before you use it"
    witnesses = (life.tokens[-1], *life.ends)
    lines = [f"{life} streamed, and ended without a reason", *(f"  {_line(e, index.lives)}" for e in witnesses), f"  {hint}"]
    return Broken("stream without a reason", publish("\n".join(lines)), "unusual", witnesses)


def _broken(rule: Rule, found: Found, index: Index) -> Broken:
    deviation = known(rule.name, found.life, index) if found.life is not None else None
    level = rule.level if deviation is None else "unusual"
    hint = rule.fix if deviation is None else f"known: {deviation}"
    lines = [*(_line(event, index.lives) for event in found.witnesses), *found.lines, hint]
    text = publish(capped([found.said, *(f"  {line}" for line in lines)], MAX_EVIDENCE_LINES + 2, tail=2))
    return Broken(rule.name, text, level, tuple(found.witnesses), deviation.name if deviation else None)


MAX_EVIDENCE_LINES: Final = 20
MAX_PARENTS: Final = 4


def _line(event: Event, lives: dict[int, Life]) -> str:
    """Return an event as evidence: its number in the recording, its kind, its run, and the runs around that."""
    life = lives[event.run_id.int]
    name = "" if life.start is None else f" `{life.name}`"
    error = event.payload.get("error")
    cause = f": {error.type}" if isinstance(error, Failure) else ""
    return f"#{event.number} {event.kind}{name}{_within(life)}{cause}"


def _within(life: Life) -> str:
    names: list[str] = []
    above = life.parent
    while above is not None and len(names) <= MAX_PARENTS:
        names.insert(0, above.name)
        above = above.parent
    if len(names) > MAX_PARENTS:
        names[0] = "..."
    return f" in {' > '.join(names)}" if names else ""
