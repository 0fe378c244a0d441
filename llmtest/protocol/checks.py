"""The rules of the callback protocol: one small function each, below the words of its rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from llmtest.core.masks import show_text
from llmtest.core.text import amount, times
from llmtest.events.callbacks import STREAMED, may_fire
from llmtest.events.content import read_block
from llmtest.events.events import Event
from llmtest.events.words import ToolCall
from llmtest.protocol.run_index import Index, Life
from llmtest.protocol.stream_v3 import ungrammatical

Level = Literal["impossible", "unusual"]
"""`impossible` never occurred in tens of thousands of correct runs, and fails a test. `unusual` has legitimate causes."""


_Find = Callable[[Index], Iterator["Found"]]


class Found(NamedTuple):
    """One breach of a rule: a sentence, the events that show it, the run concerned, and more lines of evidence."""

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
    find: _Find
    is_of_spans: bool = False
    """Whether it also applies to runs that spans tell of: to their tool calls, not to the stream of callbacks."""


_rules: Final[list[Rule]] = []


def _rule(name: str, level: Level, words: str, fix: str, *, of_spans: bool = False) -> Callable[[_Find], _Find]:
    def add(find: _Find) -> _Find:
        _rules.append(Rule(name, level, words, fix, find, of_spans))
        return find

    return add


_BY_HAND: Final = "code that calls a run manager by hand must call it as LangChain does; look at the model or chain named above"
_IN_ITS_TIME: Final = "wait for it before the parent returns, or give it a root of its own (callbacks=[])"


@_rule(
    "event without a start",
    "impossible",
    "Every event belongs to a run that has started, and comes after its start.",
    "the recording lost a start, or its order; record the program again",
)
def _no_start(index: Index) -> Iterator[Found]:
    for life in index.short["early"]:
        lost = life.start is None or "synthesised" in life.start.payload
        witnesses = [*life.more("early"), *(() if lost else life.starts[:1])]
        yield Found(f"{life} has events {'without a' if lost else 'before its'} start", witnesses, life)


@_rule("one end", "impossible", "A run ends at most once: with an end or with an error.", _BY_HAND)
def _one_end(index: Index) -> Iterator[Found]:
    for life in index.short["second end"]:
        if len(life.ends) > len(life.starts):
            yield Found(f"{life} ended {times(len(life.ends))}", [*life.starts, *life.ends], life)


_GIVEN_UP: Final = frozenset({"cancelled", "closed early"})
_LEFT: Final = _GIVEN_UP | {"paused", "handed off", "stopped"}
"""A run that ends like this may leave work behind."""


@_rule(
    "token after the end",
    "impossible",
    "Tokens and stream events come between the start and the end of their run. After a cancelled or closed stream a"
    " thread may still deliver some: that is an event after the end.",
    _BY_HAND,
)
def _token_after_the_end(index: Index) -> Iterator[Found]:
    for life in index.short["late"]:
        if life.ended not in _GIVEN_UP and (late := [e for e in life.more("late") if e.kind in STREAMED]):
            yield Found(f"{amount(len(late), 'token')} of {life} came after its end", [*life.ends[:1], *late], life)


@_rule(
    "event after the end",
    "unusual",
    "The events of a run come before its end. A task that it left behind may send a custom event later.",
    _IN_ITS_TIME,
)
def _event_after_the_end(index: Index) -> Iterator[Found]:
    for life in index.short["late"]:
        if late := [e for e in life.more("late") if e.kind not in STREAMED or life.ended in _GIVEN_UP]:
            yield Found(f"{amount(len(late), 'event')} of {life} came after its end", [*life.ends[:1], *late], life)


@_rule(
    "end of another kind",
    "impossible",
    "A chain ends as a chain, a tool as a tool, a retriever as a retriever, a model as a model.",
    _BY_HAND,
)
def _other_end(index: Index) -> Iterator[Found]:
    for life, end in index.misfits:
        yield Found(f"{life} ended as another kind of run", [*life.starts[:1], end], life)


@_rule("event of another kind", "impossible", "Tokens and stream events belong to models, agent actions to chains.", _BY_HAND)
def _other_event(index: Index) -> Iterator[Found]:
    for life in dict.fromkeys([*index.talking, *index.short["stream"], *index.short["other"]]):
        same = (life.tokens, life.more("stream"))  # all tokens of a run are right or wrong together
        events = [event for group in same if group and not _fires(life, group[0]) for event in group]
        events += [event for event in life.more("other") if not _fires(life, event)]
        if events:
            yield Found(f"{life} has events of another kind of run", [*life.starts[:1], *events], life)


def _fires(life: Life, event: Event) -> bool:
    return any(may_fire(kind, event.kind) for kind in life.kinds)


@_rule(
    "tokens and answer differ",
    "impossible",
    "Where a chat model streams text, its tokens together are its answer. Tokens that are content blocks, and answers with"
    " several candidates, are not compared.",
    "a model must send each chunk once, in order, and answer with what it streamed",
)
def _tokens_and_answer(index: Index) -> Iterator[Found]:
    return (found for found, trimmed in _streamed_otherwise(index, "chat") if not trimmed)


@_rule(
    "tokens and text differ",
    "unusual",
    "Where a text model streams, its tokens together are its answer. Some integrations cut or strip the answer. A chat model"
    " that strips only white space from its answer breaks this rule too, and no other.",
    "a model should answer with what it streamed",
)
def _tokens_and_text(index: Index) -> Iterator[Found]:
    yield from (found for found, _ in _streamed_otherwise(index, "llm"))
    yield from (found for found, trimmed in _streamed_otherwise(index, "chat") if trimmed)


def _streamed_otherwise(index: Index, kind: str) -> Iterator[tuple[Found, bool]]:
    """Yield models whose tokens do not make their answer, each with True if only white space at the ends is missing."""
    for life in index.talking:
        if life.end is not None and life.kind == kind and not life.again:
            answer, streamed = _answer(life, life.end), _joined(life.tokens)
            if answer is not None and streamed is not None and answer != streamed:
                lines = (f"the tokens  {show_text(streamed)}", f"the answer  {show_text(answer)}")
                said = f"the tokens of {life} do not make its answer"
                yield (
                    Found(said, [*life.starts, life.end], life, lines),
                    answer in (streamed.strip(), streamed.lstrip(), streamed.rstrip()),
                )


def _answer(life: Life, end: Event) -> str | None:
    """Return the text that the tokens must make; None if the model failed or answered with more than text."""
    generations = end.payload.get("generations")
    if not generations or len(generations) != 1:
        return None
    message = generations[0].message
    content: str | Sequence[object] = generations[0].text if message is None else message.content
    if not isinstance(content, str) and content and life.more("stream"):  # version 3 answers in blocks, also for text alone
        blocks = [read_block(block) for block in content]
        return "".join(block.text or "" for block in blocks) if all(block.kind == "text" for block in blocks) else None
    return content if isinstance(content, str) else None


def _joined(tokens: Sequence[Event]) -> str | None:
    try:
        return "".join([event.payload["token"] for event in tokens])
    except TypeError:  # lists of content blocks
        return None


@_rule(
    "stream event out of order",
    "impossible",
    "Stream events (version 3) of a message are: message-start; for each content block a start, deltas and a finish, which"
    " says what the deltas of a text said; message-finish.",
    "a model with `_stream_chat_model_events` of its own must follow langchain_protocol.MessagesData",
)
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
        "its process was forked meanwhile, and a recording does not reach into it",
        "record in the process that runs it",
    ),
    "missing span": (
        "the span is not in the file, or was not sent",
        "export whole traces: without sampling, and with the spans of each process",
    ),
    "no callbacks": (
        "it was called past LangChain's callbacks",
        "pass `config` on, call .invoke() and not .generate(), .run() or ._call(), and give no callbacks=[]",
    ),
}


@_rule(
    "unseen call",
    "impossible",
    "Every run that starts, and every call that a scripted double gets, while the recording is open is in the recording.",
    "no snapshot or assertion of this recording can see the call",
    of_spans=True,
)
def _unseen(index: Index) -> Iterator[Found]:
    for call, number in Counter(index.unseen).items():
        why, remedy = _CAUSES[call.cause]
        if call.cause == "missing span":
            yield Found(f"{call.double} is missing in {call.place}", [], None, (why, remedy))
            continue
        lines = (f"called at {call.place} in thread `{call.thread}`: {why}", remedy)
        yield Found(f"{amount(number, 'call')} of {call.double} happened that the recording did not see", [], None, lines)


@_rule(
    "run id used twice",
    "impossible",
    "A run id belongs to one run. A config with `run_id` that is used for two calls gives it to both.",
    "leave `run_id` out of a config that is used more than once",
)
def _id_twice(index: Index) -> Iterator[Found]:
    for life in index.short["again"]:
        yield Found(f"{len(life.starts)} runs have one id", life.starts, life)


@_rule(
    "edited input",
    "unusual",
    "Callbacks are told what the model or tool is given. A handler that edits its messages or arguments changes what the others"
    " see, or what the model or tool gets.",
    "let the handler edit a copy",
)
def _edited(index: Index) -> Iterator[Found]:
    for life in index.lives.values():
        for start in life.starts:
            if "told" in start.payload:  # the recorder has put it there
                yield Found(f"{life} was given another input than callbacks were told", [start], life)


@_rule(
    "unknown parent",
    "unusual",
    "The parent of a run is in the recording, or is the run in which the recording was opened. LangSmith's `@traceable`"
    " adds runs in between that fire no callbacks.",
    "open the recording where the outermost run is called",
)
def _unknown_parent(index: Index) -> Iterator[Found]:
    outer = index.events[0].parent_run_id if index.events else None  # the run in which the recording was opened, if any
    for life, start in index.orphans:
        if start.parent_run_id != outer:
            yield Found(f"{life} has a parent that this recording does not know", [start], life)


@_rule("two parents", "unusual", "All events of a run name the same parent.", _BY_HAND)
def _two_parents(index: Index) -> Iterator[Found]:
    for life in index.short["astray"]:
        if not life.again:
            yield Found(f"{life} has events under another parent", [*life.starts, *life.more("astray")], life)


@_rule("child before its parent", "unusual", "A run starts after its parent has started.", _BY_HAND)
def _before_parent(index: Index) -> Iterator[Found]:
    for life, start, _, first in index.disorderly:
        if start.number <= first.number:
            yield Found(f"{life} started before its parent", [start, first], life)


@_rule(
    "child after its parent",
    "unusual",
    "A run starts before its parent ends, unless the parent was cancelled, closed early, interrupted or handed off. A task or"
    " thread that the parent left behind may start one later.",
    _IN_ITS_TIME,
)
def _after_parent(index: Index) -> Iterator[Found]:
    for life, start, parent, _ in index.disorderly:
        if parent.end is not None and parent.end.number < start.number and parent.ended not in _LEFT:
            yield Found(f"{life} started after its parent had ended", [parent.end, start], life)


@_rule(
    "child outlives its parent",
    "unusual",
    "A run ends before its parent ends, unless one of them was cancelled or closed early, or the parent was interrupted or"
    " handed off. An async RunnableParallel does not wait for the other branches when one fails.",
    _IN_ITS_TIME,
)
def _outlives_parent(index: Index) -> Iterator[Found]:
    for life, start, parent, _ in index.disorderly:
        if life.end is None or parent.end is None or not start.number < parent.end.number < life.end.number:
            continue
        if parent.ended not in _LEFT and life.ended not in _GIVEN_UP:  # a stream is closed from the outside in
            yield Found(f"{life} ended after its parent", [start, parent.end, life.end], life)


@_rule(
    "run never ended",
    "unusual",
    "A run that has started ends. A run that is still at work when the recording is checked breaks this rule; cancelled runs"
    " often fire no end (see the known deviations).",
    "wait for it inside the block; if it was cancelled, LangChain may have fired no end",
)
def _never_ended(index: Index) -> Iterator[Found]:
    for life in index.open:
        if not life.more("early"):
            yield Found(f"{life} never ended", life.starts, life)


@_rule(
    "time goes back",
    "unusual",
    "Events of one thread come in the order of their time. A frozen clock that is moved breaks it.",
    "the order of the recording is not the order in which its callbacks fired",
)
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


@_rule(
    "tool call without a run",
    "unusual",
    "In a program that runs tools, each tool call that a model asked for has a tool run with its id, or a reason. The tool"
    " is unknown, or its arguments are not JSON. The program answered by itself, or was interrupted, cancelled or failed. Or the"
    " call is structured output: an output parser read it, or the model had to call its only tool, which never ran.",
    "run every call of an answer, or answer it with a ToolMessage: providers refuse a call without an answer",
    of_spans=True,
)
def _call_without_a_run(index: Index) -> Iterator[Found]:
    if not index.tools:
        return  # the program runs no tools: it handles the calls itself
    busy = {id(life.root) for life in index.tool_runs}
    failed = {id(life.root) for life in index.lives.values() if life.ended != "ended"}
    for life, calls in index.asked:
        missing = [call for call in calls if call.id not in index.tools]
        runs_tools = len(missing) < len(calls) or (life.root is not life and id(life.root) in busy)
        if missing and runs_tools and id(life.root) not in failed:
            for call in missing:
                if not _explained(call, life, index):
                    asked = f"tool `{call.name}` (call id {call.id!r})"
                    yield Found(f"{life} asked for {asked}, and no tool run has this id", life.ends, life)


def _explained(call: ToolCall, life: Life, index: Index) -> bool:
    """True if no tool had to run: unknown tool, arguments that are not JSON, or the program answered."""
    bound = life.starts[0].payload.get("tools")
    unknown = bound is not None and call.name not in bound
    return unknown or isinstance(call.args, str) or call.id in index.answered or _is_structured_output(call, life, index)


def _is_structured_output(call: ToolCall, life: Life, index: Index) -> bool:
    """True if the program reads the arguments of a call as data: no tool has to run."""
    start = life.starts[0]
    if call.id in index.parsed or any(p.start and p.start.parent_run_id == start.parent_run_id for p in index.parsers):
        return True
    choice = (start.payload.get("invocation_params") or {}).get("tool_choice")
    forced = choice not in (None, "auto", "none", {"type": "auto"}, {"type": "none"})
    return forced and start.payload.get("tools") == [call.name] and all(run.name != call.name for run in index.tool_runs)


@_rule(
    "tool call run twice",
    "unusual",
    "A tool call has one tool run that ends well. A graph that is run again from a checkpoint runs it again.",
    "find the place that runs the tools of one answer twice",
    of_spans=True,
)
def _call_run_twice(index: Index) -> Iterator[Found]:
    twice = {call: done for call, runs in index.tools.items() if len(done := [r for r in runs if r.ended == "ended"]) > 1}
    asked = Counter(call.id for _, calls in index.asked for call in calls) if twice else Counter()
    for call_id, done in twice.items():
        if len(done) > asked.get(call_id, len(done)):
            said = f"{len(done)} runs of {done[0]} answered one tool call (call id {call_id!r})"
            yield Found(said, [life.starts[0] for life in done], done[0])


RULES: Final = tuple(sorted(_rules, key=lambda rule: rule.level))
"""Every rule that `check` knows, the impossible ones first. Their names do not change."""
