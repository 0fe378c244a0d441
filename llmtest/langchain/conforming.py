"""What LangChain and its users count on in a model, a tool or a retriever, and the programs that find out.

Each program runs in a thread of its own (`llmtest.langchain.trying`), with a new object from the user's function. What it
finds is a `Fault`; the same fault found by several programs is told once, with the names of all.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, groupby, islice
from typing import Any, Final

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage, message_chunk_to_message
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import BaseTool

from llmtest.core.text import amount, clip
from llmtest.events import Run, RunKind
from llmtest.langchain.calling import (
    AT_ONCE,
    BY_TURNS,
    CALLS,
    CANCELS,
    CLOSES,
    MANY,
    OBJECTED,
    STREAMING,
    STREAMS,
    TOGETHER,
    WAYS,
    ObjectionError,
    Streamed,
    cancel_at_each_turn,
    much_switching,
)
from llmtest.langchain.freezing import freeze
from llmtest.langchain.trying import STALL_S, Attempt, attempt, in_words, new, patience_s, raised_at
from llmtest.langchain.watching import Fault
from llmtest.ledger import Violation
from llmtest.protocol import REASONS, check, cut_streams, gave_reason
from llmtest.recording import Recording

_SAME: Final = "both must give the same answer"
# https://github.com/python/cpython/issues/86296
_LET_THROUGH: Final = "let CancelledError through; on Python 3.11 asyncio.wait_for swallows it if its answer is there already"


@dataclass(frozen=True)
class Kind:
    """What is checked: its class, and what of its answers must be the same each time."""

    noun: str
    base: type
    facts: Callable[[Any], Mapping[str, Any]]
    inputs: tuple[Any, ...] = ()
    given: Callable[[Any], Any] = copy.deepcopy
    run: RunKind = "chat"
    beside: Callable[[Any], Mapping[str, Any]] = lambda _: {}
    answer: type = object

    @property
    def is_model(self) -> bool:
        return self.base in (BaseChatModel, BaseLLM)


# -- what an answer says


def _of_message(message: Any) -> dict[str, Any]:
    calls, broken = (
        [(call["name"], call["args"], "with an id" if call["id"] else "without an id") for call in getattr(message, name, ())]
        for name in ("tool_calls", "invalid_tool_calls")
    )
    blocks = message.content_blocks
    usage = getattr(message, "usage_metadata", None)
    metadata = message.response_metadata
    return {
        "type": message.type,
        "text": str(message.text),
        "reasoning": "".join(block.get("reasoning", "") for block in blocks if block["type"] == "reasoning"),
        "tool calls": calls,
        "invalid tool calls": broken,
        "usage": usage and {key: usage[key] for key in ("input_tokens", "output_tokens", "total_tokens")},
        "finish reason": next((metadata[key] for key in REASONS if metadata.get(key)), None),
    }


def _beside(message: Any) -> dict[str, Any]:
    """What is the same in sync and in async code, but need not be in a stream."""
    return {"response metadata": sorted(message.response_metadata), "additional kwargs": freeze(message.additional_kwargs)}


def _of_documents(documents: Any) -> dict[str, Any]:
    return {"documents": freeze(documents)}


def _of_text(text: Any) -> dict[str, Any]:
    return {"text": text}


def _of_result(result: Any) -> dict[str, Any]:
    return {"result": freeze(result)}


def _conversation(given: Any) -> Any:
    """A str as a list of messages: a model can change those, and a str it cannot."""
    return [HumanMessage(content=given)] if isinstance(given, str) else copy.deepcopy(given)


_TEXTS: Final = ("Hello", "What is the capital of France?", "Name a colour.")
CHAT_MODEL: Final = Kind("chat model", BaseChatModel, _of_message, _TEXTS, _conversation, beside=_beside, answer=AIMessage)
LLM: Final = Kind("text model", BaseLLM, _of_text, _TEXTS, run="llm", answer=str)
TOOL: Final = Kind("tool", BaseTool, _of_result, run="tool")
RETRIEVER: Final = Kind("retriever", BaseRetriever, _of_documents, _TEXTS, run="retriever", answer=Document)


# -- a check


@dataclass(slots=True)
class _Sighting:
    fault: Fault
    where: list[str]


class _Stuck(Exception):
    """A program did not end: no other is tried."""


@dataclass(frozen=True, slots=True)
class _Side:
    """What calls in sync code, or in async code, answered: for each input the facts; and the kinds of events of one run."""

    way: str
    facts: list[Mapping[str, Any]]
    kinds: list[str]
    beside: Mapping[str, Any]
    gave_reason: bool


@dataclass(frozen=True, slots=True)
class _Heard:
    """What one stream gave: the texts of its chunks, the kinds of events, and what else its message says."""

    texts: list[str]
    kinds: list[str]
    beside: Mapping[str, Any]


class Checking:
    """One check: the programs, and what they have found so far."""

    def __init__(self, kind: Kind, make: Callable[[], Any], inputs: Sequence[Any], timeout_s: float) -> None:
        self.kind, self.make, self.inputs, self.timeout_s = kind, make, inputs, timeout_s
        self.seen: dict[tuple[str, str], _Sighting] = {}
        self.streams: list[str] = []
        """The ways to stream that give something."""
        self.telling: list[str] = []
        """The ways to stream that tell tokens."""
        self.name = name_of(new(make))

    def violations(self, failing: Callable[[], Any] | None) -> list[Violation]:
        """All that is wrong, each once."""
        try:
            self._programs()
            if failing is not None:
                self._failing(failing)
        except _Stuck:
            pass
        return [_sighted(sighting) for sighting in self.seen.values()]

    def _programs(self) -> None:
        sync, other = self._asked("invoke"), self._asked("ainvoke")
        self._same_on_both_sides(sync, other)
        streams = [self._streamed(side) for side in (sync, other)]
        self._same_streams(*streams)
        seen = {about for rule, about in self.seen if rule == "stream and answer differ"}
        for side in (sync, other):
            if side is not None:
                self._invoked_streaming(side, seen)
                self._together(side)
                self._by_turns("stream" if side is sync else "astream")
                self._closed_early(side)
                self._objected("stream" if side is sync else "astream")
        self._cancelled("ainvoke")
        self._cancelled("astream")
        if self.kind is TOOL:
            self._called()

    # -- how a program is run, and what is told

    def _tell(self, where: str, rule: str, text: str, *evidence: tuple[str, str], about: str = "", hint: str = "") -> None:
        key = (rule, about)
        sighting = self.seen.setdefault(key, _Sighting(Fault(rule, about, text, "", evidence, hint), []))
        sighting.where += [] if where in sighting.where else [where]

    def _first(self) -> Any:
        return self.kind.given(self.inputs[0])

    def _of(self, where: str) -> str:
        method, _, how = where.partition(", ")
        return f"`{self.name}.{method}`" + (f" ({how})" if how else "")

    def _run(self, where: str, body: Callable[[], Any], *, fails: bool = False, found: Sequence[str] = ()) -> Attempt:
        """Runs a program, and tells of everything that is wrong with any program. With `fails` it may raise; if it has `found`
        something itself, it was not left in peace to end.
        """
        done = attempt(body, self.timeout_s, f"check {self.kind.noun}: {where}")
        self._tell_of_time(where, done, found)
        for line in done.left if not found else ():
            hint = "cancel what a call has started when the call ends; keep no task that nobody waits for"
            text = f"{self._of(where)} leaves a task behind that goes on"
            self._tell(where, "leaves work behind", text, ("left", line), hint=hint)
        if done.error is not None and not fails:
            self._tell_of_error(where, done.error)
        self._tell_of_protocol(where, done.recording)
        return done

    def _tell_of_time(self, where: str, done: Attempt, found: Sequence[str]) -> None:
        if done.stalled is not None:
            hint = "await what takes long, or leave it to a thread: await asyncio.to_thread(...)"
            waited = f"it stood at one line for {STALL_S:g} s, and nothing else could run"
            text = f"{self._of(where)} blocks the event loop"
            self._tell(where, "blocks the event loop", text, ("at", done.stalled), ("seen", waited), hint=hint)
        if done.ended:
            return
        if done.stalled is None and not found:
            hint = "if it only needs longer, give `timeout_s`"
            text = f"{self._of(where)} does not end"
            evidence = (("at", done.stands), ("waited", f"{self.timeout_s:g} s; nothing more was tried"))
            self._tell(where, "does not end", text, *evidence, hint=hint)
        raise _Stuck

    def _tell_of_error(self, where: str, error: BaseException) -> None:
        text = f"{self._of(where)} raises {type(error).__name__}: {clip(str(error), 100)}".rstrip(": ")
        about = f"{type(error).__name__} {raised_at(error)}"
        self._tell(where, "raises", text, ("at", raised_at(error)), about=about)

    def _tell_of_protocol(self, where: str, recording: Recording) -> None:
        for broken in check(recording):
            if broken.deviation is None:
                said, *lines, hint = broken.text.splitlines()
                evidence = [("events" if not number else "", line.strip()) for number, line in enumerate(lines)]
                self._tell(where, broken.rule, said, *evidence, about=said, hint=hint.strip())

    def _differ(self, way: str, than: str, expected: Mapping[str, Any], got: Mapping[str, Any], rule: str, hint: str) -> bool:
        """Tells in what two answers differ."""
        found = [key for key in expected if expected[key] != got.get(key)]
        for key in found:
            text = f"{self._of(way)} gives {'other' if key.endswith('s') else 'another'} {key} than {self._of(than)}"
            if not got.get(key):
                text = f"{self._of(way)} gives no {key}, {self._of(than)} does"
            evidence = (("expected", _shown(expected[key])), ("got", _shown(got.get(key))))
            self._tell(way, rule, text, *evidence, about=key, hint=hint)
        return bool(found)

    # -- one call after the other

    def _asked(self, way: str) -> _Side | None:
        """Each input twice, of one object. None where it has no such side, or nothing to compare."""
        it, call = new(self.make), CALLS[way]

        async def later() -> list[Any]:
            return [await call(it, given) for given in twice]

        twice = [given for one in self.inputs for given in (self.kind.given(one), self.kind.given(one))]
        body = later if way == "ainvoke" else lambda: [call(it, given) for given in twice]
        done = self._run(way, body, fails=True)
        if isinstance(done.error, NotImplementedError) and way == "invoke":
            return None  # a tool of a coroutine, for example
        if done.error is not None:
            self._tell_of_error(way, done.error)
            return None
        self._unchanged(way, twice, [one for one in self.inputs for _ in range(2)])
        self._runs_of(way, done.recording, len(twice))
        if not self._fits(way, done.value):
            return None
        self._fresh(way, done.value)
        return self._steady(way, done.value, done.recording)

    def _fits(self, way: str, answers: list[Any]) -> bool:
        """Whether answers are what a program may take them for; nothing else is compared if they are not."""
        lists = self.kind is RETRIEVER
        for answer in answers:
            parts = answer if lists and isinstance(answer, list) else [answer]
            wrong = [part for part in parts if not isinstance(part, self.kind.answer)]
            if wrong:
                wanted = f"{'a list of ' if lists else ''}{self.kind.answer.__name__}{'s' * lists}"
                text = f"{self._of(way)} answers with another type than {wanted}"
                self._tell(way, "wrong type", text, ("got", f"{type(wrong[0]).__name__} {_shown(wrong[0])}"))
                return False
        return True

    def _steady(self, way: str, answers: list[Any], recording: Recording) -> _Side | None:
        facts = [self.kind.facts(answer) for answer in answers]
        for first, second in zip(facts[::2], facts[1::2], strict=True):
            changed = next((key for key in first if first[key] != second[key]), None)
            if changed is not None:
                hint = "nothing else was compared: give it a seed, or canned answers"
                evidence = (("first", _shown(first[changed])), ("then", _shown(second[changed])))
                text = f"{self._of(way)} does not answer the same question twice in the same way"
                self._tell(way, "unsteady", text, *evidence, hint=hint)
                return None
        for answer, run in zip(facts, recording.roots, strict=False):
            self._told(way, answer, run)
        reason = bool(recording.roots) and gave_reason(recording.roots[0].end)
        return _Side(way, facts[::2], _kinds(recording), self.kind.beside(answers[0]), reason)

    def _told(self, way: str, answer: Mapping[str, Any], run: Run) -> None:
        """The text of a model is also what its run told."""
        told = getattr(run.output, "text", run.output)
        if self.kind.is_model and run.ended == "ended" and told != answer["text"]:
            text = f"{self._of(way)} returns another text than its run told in on_llm_end"
            evidence = (("told", _shown(told)), ("returned", _shown(answer["text"])))
            self._tell(way, "told otherwise", text, *evidence, hint="handlers and traces see only what is told")

    def _runs_of(self, way: str, recording: Recording, calls: int) -> None:
        runs = [run for run in recording.roots if run.kind == self.kind.run]
        if len(runs) != calls or len(recording.roots) != calls:
            text = f"{self._of(way)} tells {amount(len(recording.roots), 'run')} for {amount(calls, 'call')}"
            hint = "override the methods with an underscore (`_generate`, `_stream`, `_run`, ...): the others tell the callbacks"
            self._tell(way, "no run of its own", text, about="runs", hint=hint)

    def _unchanged(self, way: str, given: list[Any], inputs: list[Any]) -> None:
        for changed, one in zip(given, inputs, strict=True):
            original = self.kind.given(one)
            if changed != original:
                evidence = (("gave", _shown(original)), ("is now", _shown(changed)))
                text = f"{self._of(way)} changes its input"
                self._tell(way, "changes its input", text, *evidence, hint="make a copy first: the caller goes on to use it")
                return

    def _fresh(self, way: str, answers: list[Any]) -> None:
        """Chat models give a new message each time, with an id of its own; retrievers a new list."""
        if self.kind not in (CHAT_MODEL, RETRIEVER):
            return
        if len({id(answer) for answer in answers}) < len(answers):
            text = f"{self._of(way)} returns the same object again"
            hint = "make a new one for each call: who changes one changes all, and a graph takes two messages with one id for one"
            self._tell(way, "returned twice", text, ("got", _shown(answers[0])), hint=hint)
        elif self.kind is CHAT_MODEL:
            self._ids(way, [answer.id for answer in answers])
        elif max(Counter(one for answer in answers for one in {id(document) for document in answer}).values(), default=0) > 1:
            text = f"{self._of(way)} returns the same Document again"
            hint = "return copies: a program that writes into the metadata of one changes what the next call finds"
            self._tell(way, "returned twice", text, ("got", _shown(answers[0][0])), about="document", hint=hint)

    def _ids(self, way: str, ids: list[str | None]) -> None:
        twice = [one for one, number in Counter(ids).items() if one and number > 1]
        if twice and "returned twice" not in {rule for rule, _ in self.seen}:
            text = f"{self._of(way)} gives two messages one id"
            hint = "leave `id` out, and LangChain gives each one of its own; a graph takes two messages with one id for one"
            self._tell(way, "id used twice", text, ("id", _shown(twice[0])), hint=hint)

    # -- sync and async

    def _same_on_both_sides(self, sync: _Side | None, other: _Side | None) -> None:
        if sync is None or other is None:
            return
        for expected, got in zip(sync.facts, other.facts, strict=True):
            self._differ(other.way, sync.way, expected, got, "sync and async differ", _SAME)
        self._differ(other.way, sync.way, sync.beside, other.beside, "sync and async differ", _SAME)
        self._same_kinds("ainvoke", "invoke", sync.kinds, other.kinds)

    def _same_kinds(self, way: str, than: str, expected: list[str], got: list[str]) -> None:
        if expected and got and expected != got:
            text = f"{self._of(way)} tells other events than {self._of(than)}"
            evidence = (("expected", _counted(expected)), ("got", _counted(got)))
            self._tell(way, "sync and async differ", text, *evidence, about="events", hint="both must call the same callbacks")

    def _same_streams(self, sync: _Heard | None, other: _Heard | None) -> None:
        if sync is None or other is None:
            return
        self._same_kinds("astream", "stream", sync.kinds, other.kinds)
        self._differ("astream", "stream", sync.beside, other.beside, "sync and async differ", _SAME)
        same_text = "".join(sync.texts) == "".join(other.texts)
        if sync.kinds == other.kinds and sync.texts != other.texts and same_text:
            text = f"{self._of('astream')} cuts its answer into other chunks than {self._of('stream')}"
            evidence = (("expected", _shown(sync.texts)), ("got", _shown(other.texts)))
            self._tell("astream", "sync and async differ", text, *evidence, about="chunks", hint="both must give the same chunks")

    # -- streams

    def _streamed(self, side: _Side | None) -> _Heard | None:
        """Two streams of one object: what joined chunks say, when tokens were told, and ids."""
        if side is None:
            return None
        way = "stream" if side.way == "invoke" else "astream"
        it, given = new(self.make), [self._first() for _ in range(2)]
        done = self._run(way, partial(STREAMS[way], it, given))
        if done.error is not None:
            return None
        stream: Streamed = done.value[0]
        self.streams += [way] if stream.chunks else []
        self.telling += [way] if stream.heard else []
        self._unchanged(way, given, [self.inputs[0]] * 2)
        self._runs_of(way, done.recording, 2)
        self._joined(way, side, stream.chunks)
        if self.kind.is_model:
            self._tokens(way, it, stream)
            self._reason(way, side, done.recording)
        if self.kind is CHAT_MODEL:
            self._stream_ids(way, done.value)
        beside = self.kind.beside(_sum(self.kind, stream.chunks)) if stream.chunks else {}
        return _Heard([_text_of(chunk) for chunk in stream.chunks], _kinds(done.recording), beside)

    def _invoked_streaming(self, side: _Side, seen: set[str]) -> None:
        """Where a handler streams, LangChain calls `_stream` under `invoke`. What `stream` has shown is not told again."""
        if self.kind is not CHAT_MODEL:
            return
        where = f"{side.way}, streaming"
        done = self._run(where, partial(STREAMING[side.way], new(self.make), self._first()))
        if done.error is None and self._fits(where, [done.value]):
            new_to_us = {key: fact for key, fact in side.facts[0].items() if key not in seen and key != "finish reason"}
            hint = "under astream_events, and in graphs that stream messages, `invoke` joins what `_stream` yields"
            self._differ(where, side.way, new_to_us, self.kind.facts(done.value), "stream and answer differ", hint)

    def _joined(self, way: str, side: _Side, chunks: list[Any]) -> None:
        if not chunks:
            self._tell(way, "stream and answer differ", f"{self._of(way)} gives nothing", about="nothing")
            return
        got = self.kind.facts(_sum(self.kind, chunks))
        if got.get("finish reason") is None:
            got = {**got, "finish reason": side.facts[0].get("finish reason")}  # `_reason` looks at that
        hint = "the chunks together must be the answer: add what is missing to one of them"
        self._differ(way, side.way, side.facts[0], got, "stream and answer differ", hint)

    def _reason(self, way: str, side: _Side, recording: Recording) -> None:
        if side.gave_reason and cut_streams(recording):
            text = f"{self._of(way)} ends without a reason, {self._of(side.way)} gives one"
            hint = "put the finish reason into the `response_metadata` of the last chunk: a cut stream looks whole without it"
            self._tell(way, "stream without a reason", text, hint=hint)

    def _tokens(self, way: str, it: Any, stream: Streamed) -> None:
        """Each chunk was told with on_llm_new_token, once, before it came, and the chunk with it."""
        if not _streams(self.kind, it, way, stream.chunks):
            return
        numbers = list(range(1, len(stream.chunks) + 1))
        hint = "call run_manager.on_llm_new_token(token, chunk=chunk) once for each chunk, before the `yield`"
        if len(stream.heard) != len(stream.chunks):
            told = f"{amount(len(stream.heard), 'token')} for {amount(len(stream.chunks), 'chunk')}"
            self._tell(way, "tokens and chunks differ", f"{self._of(way)} tells {told}", about="number", hint=hint)
        elif any(told < number for told, number in zip(stream.told, numbers, strict=True)):
            late = next(number for told, number in zip(stream.told, numbers, strict=True) if told < number)
            text = f"{self._of(way)} gives chunk {late} before it tells its token"
            self._tell(way, "tokens and chunks differ", text, about="late", hint=hint)
        else:
            self._told_chunks(way, stream, hint)

    def _told_chunks(self, way: str, stream: Streamed, hint: str) -> None:
        for number, (heard, chunk) in enumerate(zip(stream.heard, stream.chunks, strict=True), 1):
            expected = chunk.content if isinstance(chunk, BaseMessage) else chunk
            got = None if heard is None else heard.message.content if isinstance(chunk, BaseMessage) else heard.text
            if got != expected:
                text = f"{self._of(way)} tells token {number} with{'out its' if heard is None else ' another'} chunk"
                evidence = (("expected", _shown(expected)), ("got", _shown(got)))
                self._tell(way, "tokens and chunks differ", text, *evidence, about="chunk", hint=hint)
                return

    def _stream_ids(self, way: str, streams: list[Streamed]) -> None:
        """One message has one id, and no other has it. LangChain gives one of its own to chunks that have none."""
        self._ids(way, [_sum(self.kind, stream.chunks).id for stream in streams if stream.chunks])
        ids = list(dict.fromkeys(chunk.id for chunk in streams[0].chunks if chunk.id and not chunk.id.startswith("lc_")))
        if len(ids) > 1:
            text = f"the chunks of one {self._of(way)} have {len(ids)} ids"
            evidence = (("ids", _shown(ids)),)
            hint = "all chunks of one message have its id: a program that joins them by id finds many messages"
            self._tell(way, "ids in a stream", text, *evidence, hint=hint)

    # -- many calls

    def _together(self, side: _Side) -> None:
        number = max(AT_ONCE, len(self.inputs))
        expected = list(islice(cycle(side.facts), number))
        for way in TOGETHER[side.way]:
            it, given = new(self.make), [self.kind.given(one) for one in islice(cycle(self.inputs), number)]
            with much_switching():
                done = self._run(way, partial(MANY[way], it, given))
            if done.error is not None:
                continue
            self._runs_of(way, done.recording, number)
            self._answers(way, expected, [self.kind.facts(answer) for answer in done.value])
            if self.kind is CHAT_MODEL:
                self._ids(way, [answer.id for answer in done.value])

    def _by_turns(self, way: str) -> None:
        """Streams of one object, from which one chunk after the other is taken in turn, say what they say one by one."""
        if not self.kind.is_model or way not in self.streams:
            return
        inputs = list(islice(cycle(self.inputs), max(AT_ONCE, len(self.inputs))))
        alone = self._run(way, partial(STREAMS[way], new(self.make), [self.kind.given(one) for one in inputs]))
        where = f"{way}, {len(inputs)} by turns"
        done = self._run(where, partial(BY_TURNS[way], new(self.make), [self.kind.given(one) for one in inputs]))
        if alone.error is None and done.error is None:
            expected = [self.kind.facts(_sum(self.kind, stream.chunks)) for stream in alone.value]
            self._answers(where, expected, [self.kind.facts(_sum(self.kind, chunks)) for chunks in done.value])

    def _answers(self, way: str, expected: list[Mapping[str, Any]], got: list[Mapping[str, Any]]) -> None:
        if len(got) != len(expected):
            text = f"{self._of(way)} gives {amount(len(got), 'answer')} to {amount(len(expected), 'input')}"
            self._tell(way, "answers mixed up", text, about="number", hint="each input has its answer, in the same order")
            return
        for number, (one, answer) in enumerate(zip(expected, got, strict=True)):
            self._not_mixed(way, number, one, answer, expected)

    def _not_mixed(
        self, way: str, number: int, one: Mapping[str, Any], got: Mapping[str, Any], all_of: list[Mapping[str, Any]]
    ) -> None:
        key = next((key for key in one if one[key] != got[key]), None)
        if key is None:
            return
        of_another = any(other is not one and other[key] == got[key] for other in all_of)
        what = "the answer of another" if of_another else "an answer that it does not give alone"
        evidence = (("call", f"{number + 1} of {len(all_of)}"), ("expected", _shown(one[key])), ("got", _shown(got[key])))
        hint = "keep nothing of one call in the object: many calls use it at once"
        self._tell(way, "answers mixed up", f"{self._of(way)} gives one of its calls {what}", *evidence, hint=hint)

    # -- calls that are given up

    def _closed_early(self, side: _Side) -> None:
        way = "stream" if side.way == "invoke" else "astream"
        self._run(f"{way}, closed early", partial(CLOSES[way], new(self.make), self._first()))

    def _cancelled(self, way: str) -> None:
        it, where = new(self.make), f"{way}, cancelled"
        given = partial(self.kind.given, self.inputs[0])
        found: list[str] = []
        body = partial(cancel_at_each_turn, partial(CANCELS[way], it, given), patience_s(self.timeout_s), found)
        try:
            self._run(where, body, found=found)
        finally:
            for said in found:
                text = f"{self._of(way)} {said}"
                self._tell(where, "ignores cancellation", text, hint=_LET_THROUGH)

    # -- calls that fail

    def _failing(self, make: Callable[[], Any]) -> None:
        raised: dict[str, str] = {}
        for way, call in WAYS.items():
            done = self._run(f"{way}, failing", partial(call, new(make), self._first()), fails=True)
            if done.error is None:
                hint = "let the error through: the run is then told as failed, and the caller can retry or fall back"
                text = f"{self._of(way)} answers where its call fails"
                self._tell(way, "swallows errors", text, ("got", _shown(done.value)), about="answer", hint=hint)
            elif wrong := [run for run in done.recording.roots if run.ended != "error"]:
                text = f"{self._of(way)} raises, and its run {_how(wrong[0])}"
                evidence = (("raised", clip(repr(done.error), 100)),)
                self._tell(way, "swallows errors", text, *evidence, about="told", hint="tell on_*_error of what is raised")
            if done.error is not None and not isinstance(done.error, NotImplementedError):  # a tool of a coroutine, for example
                raised[way] = type(done.error).__name__
        self._same_errors(raised)

    def _objected(self, way: str) -> None:
        """What a handler raises at a token ends the run."""
        if way not in self.telling:
            return
        done = self._run(f"{way}, ended by a handler", partial(OBJECTED[way], new(self.make), self._first()), fails=True)
        if not isinstance(done.error, ObjectionError):
            text = f"{self._of(way)} swallows what a callback handler raises"
            came = "an answer" if done.error is None else clip(repr(done.error), 100)
            hint = "let it through: a handler with `raise_error` ends a run on purpose, at a limit or for a rule"
            self._tell(way, "swallows errors", text, ("got", came), about="handler", hint=hint)

    def _same_errors(self, raised: Mapping[str, str]) -> None:
        for way, kind in raised.items():
            than = next(iter(raised))
            if kind != raised[than]:
                text = f"{self._of(way)} raises another error than {self._of(than)}"
                evidence = (("expected", raised[than]), ("got", kind))
                self._tell(way, "errors differ", text, *evidence, hint="programs catch an error by its class")

    # -- tools as models call them

    def _called(self) -> None:
        it = new(self.make)
        for way, call in CALLS.items():
            request = {"type": "tool_call", "name": it.name, "args": copy.deepcopy(self.inputs[0]), "id": "call_1"}
            done = self._run(f"{way}, with a tool call", partial(call, it, request), fails=True)
            got = done.value
            if isinstance(got, ToolMessage) and got.tool_call_id != "call_1":
                text = f"{self._of(way)} answers another tool call than it was given"
                evidence = (("expected", "call_1"), ("got", got.tool_call_id))
                self._tell(way, "another tool call", text, *evidence, hint="the ToolMessage has the id of the call")


# -- what is checked


def inner(it: Any) -> Any:
    """What was bound: `model.bind_tools(...)` is the model with some arguments."""
    while isinstance(it, RunnableBinding):
        it = it.bound
    return it


def name_of(it: Any) -> str:
    """A tool is called by its name, everything else by that of its class."""
    own = inner(it)
    return str(own.name) if isinstance(own, BaseTool) else type(own).__name__


def _streams(kind: Kind, it: Any, way: str, chunks: list[Any]) -> bool:
    """Whether a model streams: those that do not give their answer as the only chunk, and tell no token."""
    if kind is CHAT_MODEL:
        return any(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    names = ("_stream", "stream") if way == "stream" else ("_stream", "_astream", "astream")
    return any(getattr(type(inner(it)), name) is not getattr(BaseLLM, name) for name in names)


def _sum(kind: Kind, chunks: list[Any]) -> Any:
    if kind is LLM:
        return "".join(chunks)
    if all(isinstance(chunk, AIMessageChunk) for chunk in chunks):
        return message_chunk_to_message(chunks[0].__add__(chunks[1:]))
    return chunks[-1]


def _kinds(recording: Recording) -> list[str]:
    """The kinds of events of the first run."""
    return [event.kind for event in recording.roots[0].events] if recording.roots else []


def _text_of(chunk: Any) -> str:
    return str(chunk.text) if isinstance(chunk, BaseMessage) else chunk if isinstance(chunk, str) else ""


# -- in words


def _sighted(sighting: _Sighting) -> Violation:
    where = "; ".join(sighting.where)
    return in_words(sighting.fault, [("where", where)] if len(sighting.where) > 1 else ())


def _shown(value: Any) -> str:
    return clip(repr(value), 100)


def _how(run: Run) -> str:
    return "is still open" if run.ended == "open" else f"is told as {run.ended}"


def _counted(kinds: Iterable[str]) -> str:
    groups = [(kind, len(list(same))) for kind, same in groupby(kinds)]
    return ", ".join(kind if number == 1 else f"{number} {kind}" for kind, number in groups)
