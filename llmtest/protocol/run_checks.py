"""What a correct stream of callbacks looks like, and what is wrong with one that is not.

`check` reads a recording, live or loaded, and nothing else: no LangChain, no clock, no process. One pass sorts
the events by run (`llmtest.protocol.run_index`); then each rule is a small function over the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from llmtest.core.masks import table
from llmtest.core.text import capped
from llmtest.errors import Violation
from llmtest.events.callbacks import MODELS
from llmtest.events.events import Event
from llmtest.events.words import Failure
from llmtest.protocol.checks import RULES, Found, Level, Rule
from llmtest.protocol.known_issues import known
from llmtest.protocol.run_index import Index, Life, read
from llmtest.recording.recording import Recording


@dataclass(frozen=True, slots=True)
class Broken(Violation):
    """A rule of the protocol that a recording breaks.

    `witnesses` are the events that show it, in their order. `deviation` is the name of the known deviation of LangChain
    or LangGraph that this is; then `level` is `unusual`, whatever the rule says.
    """

    level: Level
    witnesses: tuple[Event, ...] = ()
    deviation: str | None = None


def check(recording: Recording) -> list[Broken]:
    """What is wrong with the callbacks of `recording`; nothing, if they are as they must be.

    Each is a `Violation`: `.code` is its name in `RULES`, `.level` is `impossible` or `unusual`, `.text` says what
    came, the events that show it, and what to do. What is known to be LangChain's or LangGraph's own doing, in the
    installed version, has the name of that in `.deviation` and is `unusual`.

    A recording that is still open is checked as far as it goes: runs that have not ended yet are reported. Linear in the
    number of events. Thread-safe. The rules stand in docs/reference/protocol.md.

    >>> from llmtest import ScriptedChatModel, record
    >>> pass
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> check(recording)
    []

    It does not see whether a handler raised, nor what was called past every double and recording.
    """
    index = read(recording)
    return [_broken(rule, found, index) for rule in RULES for found in rule.find(index)]


def cut_streams(recording: Recording) -> list[Broken]:
    """The streams of models that ended well, and gave no reason: clients take a stream that was cut off for a whole one.

    A reason is a `finish_reason`, `stop_reason`, `done_reason` or `status` in the metadata of the answer. Each stream is
    an `unusual` violation of the rule `"stream without a reason"`. `check` does not ask for this, because a script
    may cut a stream on purpose: `assert not cut_streams(recording)` makes a test fail.

    >>> from llmtest import ScriptedChatModel, record, say
    >>> pass
    >>> with record() as recording:
    ...     _ = list(ScriptedChatModel(say("Hello there").then_truncate()).stream("hi"))
    >>> [broken.code for broken in cut_streams(recording)]
    ['stream without a reason']

    It sees only runs with tokens. Models that never give a reason are told of each time.
    """
    index = read(recording)
    return [_cut(life, index) for life in index.talking if MODELS & life.kinds and life.ended == "ended" and _reasonless(life)]


REASONS: Final = ("finish_reason", "stop_reason", "done_reason", "status")
"""Where an integration says why an answer ended, in the metadata of a message or of a generation."""
_NO_REASON: Final = (None, "", "in_progress")  # the Responses API tells of an answer that it has begun


def gave_reason(end: Event | None) -> bool:
    """Whether the event that ended the run of a model says why the answer ended."""
    return any(one.get(key) not in _NO_REASON for one in _told_by(end) for key in REASONS)


def _told_by(end: Event | None) -> list[dict[str, Any]]:
    generations = end.payload.get("generations") if end is not None else None
    return [{**(g.info or {}), **(g.message.response_metadata if g.message else {})} for g in generations or ()]


def _reasonless(life: Life) -> bool:
    return bool(_told_by(life.end)) and not gave_reason(life.end)


def _cut(life: Life, index: Index) -> Broken:
    hint = "the answer may be cut off; look for a reason before you use it"
    witnesses = (life.tokens[-1], *life.ends)
    lines = [f"{life} streamed, and ended without a reason", *(f"  {_line(e, index.lives)}" for e in witnesses), f"  {hint}"]
    return Broken("stream without a reason", "\n".join(lines), "unusual", witnesses)


def _broken(rule: Rule, found: Found, index: Index) -> Broken:
    deviation = known(rule.name, found.life, index) if found.life is not None else None
    level = rule.level if deviation is None else "unusual"
    hint = rule.fix if deviation is None else f"known: {deviation}"
    lines = [*(_line(event, index.lives) for event in found.witnesses), *found.lines]
    text = table().without_secrets(capped([found.said, *(f"  {line}" for line in lines), f"  {hint}"], _MOST + 2, tail=2))
    return Broken(rule.name, text, level, tuple(found.witnesses), deviation.name if deviation else None)


_MOST: Final = 20

_DEEP: Final = 4


def _line(event: Event, lives: dict[int, Life]) -> str:
    """An event as evidence: its number in the recording, its kind, its run, and the runs around that."""
    life = lives[event.run_id.int]
    name = "" if life.start is None else f" `{life.name}`"
    error = event.payload.get("error")
    what = f": {error.type}" if isinstance(error, Failure) else ""
    return f"#{event.number} {event.kind}{name}{_within(life)}{what}"


def _within(life: Life) -> str:
    names: list[str] = []
    above = life.parent
    while above is not None and len(names) <= _DEEP:
        names.insert(0, above.name)
        above = above.parent
    if len(names) > _DEEP:
        names[0] = "..."
    return f" in {' > '.join(names)}" if names else ""
