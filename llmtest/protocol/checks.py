"""The checks of the callback protocol: one small function each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from llmtest.core.masks import show_text
from llmtest.core.text import amount, times
from llmtest.events.callbacks import STREAMED, may_fire
from llmtest.events.events import Event
from llmtest.events.words import ToolCall
from llmtest.protocol.run_index import Index, Life
from llmtest.protocol.stream_v3 import ungrammatical

Level = Literal["impossible", "unusual"]
"""`impossible` was never seen in tens of thousands of correct runs, and fails a test. `unusual` has lawful causes."""


class Found(NamedTuple):
    """What a rule found: a sentence, the events that show it, the run that it is about, and what else stands below."""

    said: str
    witnesses: list[Event]
    life: Life | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the protocol: its short name, the rule in words, and what to do where it is broken.

    A program that breaks it stands in docs/reference/protocol.md.
    """

    name: str
    level: Level
    words: str
    fix: str
    find: Callable[[Index], Iterator[Found]]


# -- the rules


def _no_start(index: Index) -> Iterator[Found]:
    for life in index.short["early"]:
        lost = life.start is None or "synthesised" in life.start.payload
        witnesses = [*life.more("early"), *(() if lost else life.starts[:1])]
        yield Found(f"{life} was told of {'without a' if lost else 'before its'} start", witnesses, life)


def _one_end(index: Index) -> Iterator[Found]:
    for life in index.short["second end"]:
        if len(life.ends) > len(life.starts):
            yield Found(f"{life} ended {times(len(life.ends))}", [*life.starts, *life.ends], life)


_GIVEN_UP: Final = frozenset({"cancelled", "closed early"})
_LEFT: Final = _GIVEN_UP | {"paused", "handed off", "stopped"}
"""Who is left like this may leave work behind."""


def _token_after_the_end(index: Index) -> Iterator[Found]:
    for life in index.short["late"]:
        if life.ended not in _GIVEN_UP and (late := [e for e in life.more("late") if e.kind in STREAMED]):
            yield Found(f"{amount(len(late), 'token')} of {life} came after its end", [*life.ends[:1], *late], life)


def _event_after_the_end(index: Index) -> Iterator[Found]:
    for life in index.short["late"]:
        if late := [e for e in life.more("late") if e.kind not in STREAMED or life.ended in _GIVEN_UP]:
            yield Found(f"{amount(len(late), 'event')} of {life} came after its end", [*life.ends[:1], *late], life)


def _other_end(index: Index) -> Iterator[Found]:
    for life, end in index.misfits:
        yield Found(f"{life} ended as another kind of run", [*life.starts[:1], end], life)


def _other_event(index: Index) -> Iterator[Found]:
    for life in dict.fromkeys([*index.talking, *index.short["stream"], *index.short["other"]]):
        same = (life.tokens, life.more("stream"))  # all tokens of a run are right or wrong together
        events = [event for group in same if group and not _fires(life, group[0]) for event in group]
        events += [event for event in life.more("other") if not _fires(life, event)]
        if events:
            yield Found(f"{life} has events of another kind of run", [*life.starts[:1], *events], life)


def _fires(life: Life, event: Event) -> bool:
    return any(may_fire(kind, event.kind) for kind in life.kinds)


def _tokens_and_answer(index: Index) -> Iterator[Found]:
    return _tokens_and(index, "chat")


def _tokens_and_text(index: Index) -> Iterator[Found]:
    return _tokens_and(index, "llm")


def _tokens_and(index: Index, kind: str) -> Iterator[Found]:
    for life in index.talking:
        if life.end is not None and life.kind == kind and not life.again:
            answer, told = _answer(life.end), _joined(life.tokens)
            if answer is not None and told is not None and answer != told:
                lines = (f"the tokens  {show_text(told)}", f"the answer  {show_text(answer)}")
                yield Found(f"the tokens of {life} do not make its answer", [*life.starts, life.end], life, lines)


def _answer(end: Event) -> str | None:
    """What a model said in the end, where tokens must make the same; None if it failed or says more than text."""
    generations = end.payload.get("generations")
    if not generations or len(generations) != 1:
        return None
    message = generations[0].message
    content: Any = generations[0].text if message is None else message.content
    return content if isinstance(content, str) else None


def _joined(tokens: Sequence[Event]) -> str | None:
    try:
        return "".join([event.payload["token"] for event in tokens])
    except TypeError:  # lists of content blocks
        return None


def _grammar(index: Index) -> Iterator[Found]:
    for life in index.short["stream"]:
        if not life.again and (wrong := ungrammatical(life.more("stream"))):
            event, why = wrong
            yield Found(f"{life} streams an event out of order: {why}", [*life.starts, event], life)


_CAUSES: Final = {
    "no context": (
        "its thread was started without the context of its starter",
        "start it with carry_context(target), RunnableParallel, batch or asyncio.to_thread, or say `llmtest_follow = test`",
    ),
    "other context": (
        "its task was started before the recording, or its context was made empty",
        "start the task inside the recording, or say `llmtest_follow = test` in the configuration of pytest",
    ),
    "other process": (
        "a recording does not reach into another process",
        "record in the process that runs it",
    ),
    "no callbacks": (
        "it was called past LangChain's callbacks",
        "pass `config` on, call .invoke() and not .generate(), .run() or ._call(), and give no callbacks=[]",
    ),
}


def _unseen(index: Index) -> Iterator[Found]:
    for call, number in Counter(index.unseen).items():
        why, remedy = _CAUSES[call.cause]
        lines = (f"called at {call.place} in thread `{call.thread}`: {why}", remedy)
        yield Found(f"{amount(number, 'call')} of {call.double} happened that the recording did not see", [], None, lines)


def _id_twice(index: Index) -> Iterator[Found]:
    for life in index.short["again"]:
        yield Found(f"{len(life.starts)} runs have one id", life.starts, life)


def _unknown_parent(index: Index) -> Iterator[Found]:
    outer = index.events[0].parent_run_id if index.events else None  # the run in which the recording was opened, if any
    for life, start in index.orphans:
        if start.parent_run_id != outer:
            yield Found(f"{life} has a parent that this recording does not know", [start], life)


def _two_parents(index: Index) -> Iterator[Found]:
    for life in index.short["astray"]:
        if not life.again:
            yield Found(f"{life} has events under another parent", [*life.starts, *life.more("astray")], life)


def _before_parent(index: Index) -> Iterator[Found]:
    for life, start, _, first in index.disorderly:
        if start.number <= first.number:
            yield Found(f"{life} started before its parent", [start, first], life)


def _after_parent(index: Index) -> Iterator[Found]:
    for life, start, parent, _ in index.disorderly:
        if parent.end is not None and parent.end.number < start.number and parent.ended not in _LEFT:
            yield Found(f"{life} started after its parent had ended", [parent.end, start], life)


def _outlives_parent(index: Index) -> Iterator[Found]:
    for life, start, parent, _ in index.disorderly:
        if life.end is None or parent.end is None or not start.number < parent.end.number < life.end.number:
            continue
        if parent.ended not in _LEFT and life.ended not in _GIVEN_UP:  # a stream is closed from the outside in
            yield Found(f"{life} ended after its parent", [start, parent.end, life.end], life)


def _never_ended(index: Index) -> Iterator[Found]:
    for life in index.open:
        if not life.more("early"):
            yield Found(f"{life} never ended", life.starts, life)


def _time_goes_back(index: Index) -> Iterator[Found]:
    last: dict[int, Event] = {}
    lane, then = None, 0
    for event in index.events:
        if event.lane is not lane:
            lane = event.lane
            then = last[lane.thread_id].monotonic_ns if lane is not None and lane.thread_id in last else 0
        if lane is not None:
            if event.monotonic_ns < then:
                yield Found(f"time goes back in thread `{lane.thread}`", [last[lane.thread_id], event])
            then = event.monotonic_ns
            last[lane.thread_id] = event


def _call_without_a_run(index: Index) -> Iterator[Found]:
    if not index.tools:
        return  # nobody runs tools here: the program takes the calls itself
    busy = {id(life.root) for life in index.tool_runs}
    failed = {id(life.root) for life in index.lives.values() if life.ended != "ended"}
    for life, calls in index.asked:
        missing = [call for call in calls if call.id not in index.tools]
        runs_tools = len(missing) < len(calls) or (life.root is not life and id(life.root) in busy)
        if missing and runs_tools and id(life.root) not in failed:
            for call in missing:
                if not _explained(call, life, index):
                    yield Found(f"{life} asked for {_asked(call)}, and no tool run has this id", life.ends, life)


def _explained(call: ToolCall, life: Life, index: Index) -> bool:
    """Whether there is a reason that no tool ran: unknown tool, arguments that are not JSON, or the program answered."""
    bound = life.starts[0].payload.get("tools")
    unknown = bound is not None and call.name not in bound
    return unknown or isinstance(call.args, str) or call.id in index.answered


def _asked(call: ToolCall) -> str:
    return f"tool `{call.name}` (call id {call.id!r})"


def _call_run_twice(index: Index) -> Iterator[Found]:
    twice = {call: done for call, runs in index.tools.items() if len(done := [r for r in runs if r.ended == "ended"]) > 1}
    asked = Counter(call.id for _, calls in index.asked for call in calls) if twice else Counter()
    for call_id, done in twice.items():
        if len(done) > asked.get(call_id, len(done)):
            said = f"{len(done)} runs of {done[0]} answered one tool call (call id {call_id!r})"
            yield Found(said, [life.starts[0] for life in done], done[0])


# -- the table

_BY_HAND: Final = "whoever calls the run manager by hand must call it as LangChain does; look at the model or chain that is named"
_IN_ITS_TIME: Final = "wait for it before the parent returns, or give it a root of its own (callbacks=[])"

RULES: Final = (
    Rule(
        "event without a start",
        "impossible",
        "Every event belongs to a run that has started, and comes after its start.",
        "the recording lost a start, or its order; record the program again",
        _no_start,
    ),
    Rule(
        "one end",
        "impossible",
        "A run ends at most once: with an end or with an error.",
        _BY_HAND,
        _one_end,
    ),
    Rule(
        "token after the end",
        "impossible",
        "Tokens and stream events come between the start and the end of their run. After a cancelled or closed stream a"
        " thread may still deliver some: that is an event after the end.",
        _BY_HAND,
        _token_after_the_end,
    ),
    Rule(
        "end of another kind",
        "impossible",
        "A chain ends as a chain, a tool as a tool, a retriever as a retriever, a model as a model.",
        _BY_HAND,
        _other_end,
    ),
    Rule(
        "event of another kind",
        "impossible",
        "Tokens and stream events are told of models, agent actions of chains.",
        _BY_HAND,
        _other_event,
    ),
    Rule(
        "tokens and answer differ",
        "impossible",
        "Where a chat model streams text, its tokens together are its answer. Tokens that are content blocks, and answers with"
        " several candidates, are not compared.",
        "a model must tell each chunk once, in order, and answer with what it streamed",
        _tokens_and_answer,
    ),
    Rule(
        "stream event out of order",
        "impossible",
        "Stream events (version 3) of a message are: message-start; for each content block a start, deltas and a finish, which"
        " says what the deltas of a text said; message-finish.",
        "a model with `_stream_chat_model_events` of its own must follow langchain_protocol.MessagesData",
        _grammar,
    ),
    Rule(
        "unseen call",
        "impossible",
        "Every run that starts, and every call that a scripted double gets, while the recording is open is in the recording.",
        "what the recording did not see, no snapshot or assertion of it can tell",
        _unseen,
    ),
    Rule(
        "run id used twice",
        "unusual",
        "A run id belongs to one run. A config with `run_id` that is used for two calls gives it to both.",
        "leave `run_id` out of a config that is used more than once",
        _id_twice,
    ),
    Rule(
        "unknown parent",
        "unusual",
        "The parent of a run is in the recording, or is the run in which the recording was opened. LangSmith's `@traceable`"
        " puts runs between that no callback tells of.",
        "open the recording where the outermost run is called",
        _unknown_parent,
    ),
    Rule(
        "two parents",
        "unusual",
        "All events of a run name the same parent.",
        _BY_HAND,
        _two_parents,
    ),
    Rule(
        "child before its parent",
        "unusual",
        "A run starts after its parent has started.",
        _BY_HAND,
        _before_parent,
    ),
    Rule(
        "child after its parent",
        "unusual",
        "A run starts before its parent ends, unless that was cancelled, closed early, interrupted or handed off. A task or"
        " thread that the parent left behind may start one later.",
        _IN_ITS_TIME,
        _after_parent,
    ),
    Rule(
        "child outlives its parent",
        "unusual",
        "A run ends before its parent ends, unless one of them was cancelled or closed early, or the parent was interrupted or"
        " handed off. An async RunnableParallel does not wait for the other branches when one fails.",
        _IN_ITS_TIME,
        _outlives_parent,
    ),
    Rule(
        "run never ended",
        "unusual",
        "A run that has started ends. One that is still at work when the recording is checked has not; cancelled runs often"
        " tell no end (see the known deviations).",
        "wait for it inside the block; if it was cancelled, LangChain may have told no end",
        _never_ended,
    ),
    Rule(
        "event after the end",
        "unusual",
        "What a run tells, it tells before it ends. A task that it left behind may send a custom event later.",
        _IN_ITS_TIME,
        _event_after_the_end,
    ),
    Rule(
        "tokens and text differ",
        "unusual",
        "Where a text model streams, its tokens together are its answer. Some integrations cut or strip what they streamed.",
        "a model should answer with what it streamed",
        _tokens_and_text,
    ),
    Rule(
        "time goes back",
        "unusual",
        "Events of one thread come in the order of their time. A frozen clock that is moved breaks it.",
        "the order of the recording is not the order in which its callbacks fired",
        _time_goes_back,
    ),
    Rule(
        "tool call without a run",
        "unusual",
        "In a program that runs tools, each tool call that a model asked for has a tool run with its id, or a reason: the tool"
        " is unknown, its arguments are not JSON, the program answered by itself, or was interrupted, cancelled or failed.",
        "run every call of an answer, or answer it with a ToolMessage: providers refuse a call without an answer",
        _call_without_a_run,
    ),
    Rule(
        "tool call run twice",
        "unusual",
        "A tool call has one tool run that ends well. A graph that is run again from a checkpoint runs it again.",
        "find out who runs the tools of one answer twice",
        _call_run_twice,
    ),
)
"""Every rule that `check` knows, the impossible ones first. Their names do not change."""
