"""What LangChain and its users count on in a model, a tool or a retriever.

Each check takes a `Driver`, which runs the programs of `llmtest.conformance.programs`, and tells it what is wrong.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, groupby, islice
from typing import Any, Final

from langchain_core.messages import BaseMessage, ToolMessage

from llmtest.conformance.driver import Driver, StuckError, cut
from llmtest.conformance.programs import (
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
from llmtest.conformance.sandbox import Make, new, patience_s
from llmtest.conformance.subjects import CHAT_MODEL, RETRIEVER, TOOL, Subject, is_streaming, text_of
from llmtest.core.text import amount, clip
from llmtest.errors import Violation
from llmtest.events.events import Run
from llmtest.protocol.run_checks import cut_streams, gave_reason
from llmtest.recording.recording import Recording

_SAME: Final = "both must give the same answer"
# https://github.com/python/cpython/issues/86296
_LET_THROUGH: Final = "let CancelledError through; on Python 3.11 asyncio.wait_for swallows it if its answer is there already"


@dataclass(frozen=True, slots=True)
class _Side:
    """What calls in sync code, or in async code, answered: for each input the facts; and the kinds of events of one run."""

    way: str
    facts: list[Mapping[str, object]]
    kinds: list[str]
    beside: Mapping[str, object]
    gave_reason: bool

    @property
    def stream(self) -> str:
        return "stream" if self.way == "invoke" else "astream"


@dataclass(frozen=True, slots=True)
class _Heard:
    """What one stream gave: the texts of its chunks, the kinds of events, and what else its message says."""

    texts: list[str]
    kinds: list[str]
    beside: Mapping[str, object]
    reports_tokens: bool


def violations_of(
    subject: Subject, make: Make, inputs: Sequence[object], failing: Make | None, timeout_s: float
) -> list[Violation]:
    """Return all that is wrong with a component, each fault once. `failing` makes one whose calls fail."""
    driver = Driver(subject, make, inputs, timeout_s)
    try:
        _check_calls(driver)
        if failing is not None:
            _check_failures(driver, failing)
    except StuckError:
        pass  # what was found up to then is told
    return driver.violations()


def _check_calls(driver: Driver) -> None:
    sync, other = _ask(driver, "invoke"), _ask(driver, "ainvoke")
    _compare_sides(driver, sync, other)
    sides = [(side, _stream(driver, side)) for side in (sync, other) if side is not None]
    if len(sides) == 2:
        _compare_streams(driver, sides[0][1], sides[1][1])
    known = driver.abouts("stream and answer differ")
    for side, stream in sides:
        if driver.subject is CHAT_MODEL:
            _check_streaming_invoke(driver, side, known)
        _check_many_at_once(driver, side)
        if driver.subject.is_model and stream is not None and stream.texts:
            _check_by_turns(driver, side.stream)
        _check_closed_early(driver, side.stream)
        if stream is not None and stream.reports_tokens:
            _check_objection(driver, side.stream)
    _check_cancelled(driver, "ainvoke")
    _check_cancelled(driver, "astream")
    if driver.subject is TOOL:
        _check_tool_calls(driver)


# -- one call after the other


def _ask(driver: Driver, way: str) -> _Side | None:
    """Ask one component each input twice. None where it has no such side, or nothing to compare."""
    component, call = driver.new(), CALLS[way]

    async def later() -> list[object]:
        return [await call(component, given) for given in twice]

    inputs = [one for one in driver.inputs for _ in range(2)]
    twice = driver.copied(inputs)
    body = later if way == "ainvoke" else lambda: [call(component, given) for given in twice]
    done = driver.run(way, body, fails=True)
    if isinstance(done.error, NotImplementedError) and way == "invoke":
        return None  # a tool of a coroutine, for example
    if done.error is not None:
        driver.tell_error(way, done.error)
        return None
    _check_inputs(driver, way, twice, inputs)
    _check_runs(driver, way, done.recording, len(twice))
    if not _check_types(driver, way, done.value):
        return None
    _check_fresh(driver, way, done.value)
    return _check_steady(driver, way, done.value, done.recording)


def _check_types(driver: Driver, way: str, answers: list[object]) -> bool:
    """True if answers are what a program may take them for; nothing else is compared if they are not."""
    lists, wanted = driver.subject.answers_in_lists, driver.subject.answer
    for answer in answers:
        parts = answer if lists and isinstance(answer, list) else [answer]
        wrong = [part for part in parts if not isinstance(part, wanted)]
        if wrong:
            than = f"a list of {wanted.__name__}s" if lists else wanted.__name__
            text = f"{driver.shown(way)} answers with another type than {than}"
            driver.tell(way, "wrong type", text, ("got", f"{type(wrong[0]).__name__} {cut(wrong[0])}"))
            return False
    return True


def _check_steady(driver: Driver, way: str, answers: list[object], recording: Recording) -> _Side | None:
    facts = driver.facts(answers)
    for first, second in zip(facts[::2], facts[1::2], strict=True):
        changed = next((key for key in first if first[key] != second[key]), None)
        if changed is not None:
            hint = "nothing else was compared: give it a seed, or canned answers"
            evidence = (("first", cut(first[changed])), ("then", cut(second[changed])))
            text = f"{driver.shown(way)} does not answer the same question twice in the same way"
            driver.tell(way, "unsteady", text, *evidence, hint=hint)
            return None
    for answer, run in zip(facts, recording.roots, strict=False):
        _check_reported_text(driver, way, answer, run)
    reason = bool(recording.roots) and gave_reason(recording.roots[0].end)
    return _Side(way, facts[::2], _kinds(recording), driver.subject.beside(answers[0]), reason)


def _check_reported_text(driver: Driver, way: str, answer: Mapping[str, object], run: Run) -> None:
    """The text of a model is also what its run reported."""
    reported = getattr(run.output, "text", run.output)
    if driver.subject.is_model and run.ended == "ended" and reported != answer["text"]:
        text = f"{driver.shown(way)} returns another text than its run told in on_llm_end"
        evidence = (("told", cut(reported)), ("returned", cut(answer["text"])))
        driver.tell(way, "callbacks and answer differ", text, *evidence, hint="handlers and traces see only what is told")


def _check_runs(driver: Driver, way: str, recording: Recording, calls: int) -> None:
    runs = [run for run in recording.roots if run.kind == driver.subject.run]
    if len(runs) != calls or len(recording.roots) != calls:
        text = f"{driver.shown(way)} tells {amount(len(recording.roots), 'run')} for {amount(calls, 'call')}"
        hint = "override the methods with an underscore (`_generate`, `_stream`, `_run`, ...): the others tell the callbacks"
        driver.tell(way, "missing run", text, about="runs", hint=hint)


def _check_inputs(driver: Driver, way: str, given: list[object], inputs: list[object]) -> None:
    for changed, original in zip(given, driver.copied(inputs), strict=True):
        if changed != original:
            evidence = (("gave", cut(original)), ("is now", cut(changed)))
            text = f"{driver.shown(way)} changes its input"
            driver.tell(way, "changes its input", text, *evidence, hint="make a copy first: the caller goes on to use it")
            return


def _check_fresh(driver: Driver, way: str, answers: list[Any]) -> None:
    """Chat models give a new message each time, with an id of its own; retrievers a new list of new documents."""
    if driver.subject not in (CHAT_MODEL, RETRIEVER):
        return
    if len({id(answer) for answer in answers}) < len(answers):
        text = f"{driver.shown(way)} returns the same object again"
        hint = "make a new one for each call: who changes one changes all, and a graph takes two messages with one id for one"
        driver.tell(way, "returned twice", text, ("got", cut(answers[0])), hint=hint)
    elif driver.subject is CHAT_MODEL:
        _check_ids(driver, way, [answer.id for answer in answers])
    elif max(Counter(one for answer in answers for one in {id(document) for document in answer}).values(), default=0) > 1:
        text = f"{driver.shown(way)} returns the same Document again"
        hint = "return copies: a program that writes into the metadata of one changes what the next call finds"
        driver.tell(way, "returned twice", text, ("got", cut(answers[0][0])), about="document", hint=hint)


def _check_ids(driver: Driver, way: str, ids: list[str | None]) -> None:
    twice = [one for one, number in Counter(ids).items() if one and number > 1]
    if twice and not driver.abouts("returned twice"):
        text = f"{driver.shown(way)} gives two messages one id"
        hint = "leave `id` out, and LangChain gives each one of its own; a graph takes two messages with one id for one"
        driver.tell(way, "id used twice", text, ("id", cut(twice[0])), hint=hint)


# -- sync and async


def _compare_sides(driver: Driver, sync: _Side | None, other: _Side | None) -> None:
    if sync is None or other is None:
        return
    for expected, got in zip(sync.facts, other.facts, strict=True):
        driver.tell_differences(other.way, sync.way, expected, got, "sync and async differ", _SAME)
    driver.tell_differences(other.way, sync.way, sync.beside, other.beside, "sync and async differ", _SAME)
    _compare_events(driver, "ainvoke", "invoke", sync.kinds, other.kinds)


def _compare_events(driver: Driver, way: str, than: str, expected: list[str], got: list[str]) -> None:
    if expected and got and expected != got:
        text = f"{driver.shown(way)} tells other events than {driver.shown(than)}"
        evidence = (("expected", _counted(expected)), ("got", _counted(got)))
        driver.tell(way, "sync and async differ", text, *evidence, about="events", hint="both must call the same callbacks")


def _compare_streams(driver: Driver, sync: _Heard | None, other: _Heard | None) -> None:
    if sync is None or other is None:
        return
    _compare_events(driver, "astream", "stream", sync.kinds, other.kinds)
    driver.tell_differences("astream", "stream", sync.beside, other.beside, "sync and async differ", _SAME)
    same_text = "".join(sync.texts) == "".join(other.texts)
    if sync.kinds == other.kinds and sync.texts != other.texts and same_text:
        text = f"{driver.shown('astream')} cuts its answer into other chunks than {driver.shown('stream')}"
        evidence = (("expected", cut(sync.texts)), ("got", cut(other.texts)))
        driver.tell("astream", "sync and async differ", text, *evidence, about="chunks", hint="both must give the same chunks")


# -- streams


def _stream(driver: Driver, side: _Side) -> _Heard | None:
    """Stream twice from one component: compare what joined chunks say, when tokens were told, and ids."""
    way, subject = side.stream, driver.subject
    component, inputs = driver.new(), [driver.inputs[0]] * 2
    given = driver.copied(inputs)
    done = driver.run(way, partial(STREAMS[way], component, given))
    if done.error is not None:
        return None
    stream: Streamed = done.value[0]
    _check_inputs(driver, way, given, inputs)
    _check_runs(driver, way, done.recording, 2)
    _check_joined(driver, side, stream.chunks)
    if subject.is_model:
        if is_streaming(subject, component, way, stream.chunks):
            _check_tokens(driver, way, stream)
        _check_reason(driver, side, done.recording)
    if subject is CHAT_MODEL:
        _check_stream_ids(driver, way, done.value)
    beside = subject.beside(subject.join(stream.chunks)) if stream.chunks else {}
    return _Heard([text_of(chunk) for chunk in stream.chunks], _kinds(done.recording), beside, bool(stream.heard))


def _check_streaming_invoke(driver: Driver, side: _Side, known: set[str]) -> None:
    """Where a handler streams, LangChain calls `_stream` under `invoke`. What `stream` has shown is not told again."""
    where = f"{side.way}, streaming"
    done = driver.run(where, partial(STREAMING[side.way], driver.new(), driver.first_input()))
    if done.error is None and _check_types(driver, where, [done.value]):
        expected = {key: fact for key, fact in side.facts[0].items() if key not in known and key != "finish reason"}
        hint = "under astream_events, and in graphs that stream messages, `invoke` joins what `_stream` yields"
        driver.tell_differences(where, side.way, expected, driver.subject.facts(done.value), "stream and answer differ", hint)


def _check_joined(driver: Driver, side: _Side, chunks: list[object]) -> None:
    way, expected = side.stream, side.facts[0]
    if not chunks:
        driver.tell(way, "stream and answer differ", f"{driver.shown(way)} gives nothing", about="nothing")
        return
    got = driver.subject.facts(driver.subject.join(chunks))
    if got.get("finish reason") is None:
        got = {**got, "finish reason": expected.get("finish reason")}  # `_check_reason` looks at that
    hint = "the chunks together must be the answer: add what is missing to one of them"
    driver.tell_differences(way, side.way, expected, got, "stream and answer differ", hint)


def _check_reason(driver: Driver, side: _Side, recording: Recording) -> None:
    if side.gave_reason and cut_streams(recording):
        text = f"{driver.shown(side.stream)} ends without a reason, {driver.shown(side.way)} gives one"
        hint = "put the finish reason into the `response_metadata` of the last chunk: a cut stream looks whole without it"
        driver.tell(side.stream, "stream without a reason", text, hint=hint)


def _check_tokens(driver: Driver, way: str, stream: Streamed) -> None:
    """Each chunk was told with on_llm_new_token, once, before it came, and the chunk with it."""
    hint = "call run_manager.on_llm_new_token(token, chunk=chunk) once for each chunk, before the `yield`"
    if len(stream.heard) != len(stream.chunks):
        tokens = f"{amount(len(stream.heard), 'token')} for {amount(len(stream.chunks), 'chunk')}"
        driver.tell(way, "tokens and chunks differ", f"{driver.shown(way)} tells {tokens}", about="number", hint=hint)
        return
    late = next((number for number, told in enumerate(stream.told, 1) if told < number), None)
    if late is not None:
        text = f"{driver.shown(way)} gives chunk {late} before it tells its token"
        driver.tell(way, "tokens and chunks differ", text, about="late", hint=hint)
        return
    for number, (heard, chunk) in enumerate(zip(stream.heard, stream.chunks, strict=True), 1):
        expected = chunk.content if isinstance(chunk, BaseMessage) else chunk
        got = None if heard is None else heard.message.content if isinstance(chunk, BaseMessage) else heard.text
        if got != expected:
            text = f"{driver.shown(way)} tells token {number} with{'out its' if heard is None else ' another'} chunk"
            evidence = (("expected", cut(expected)), ("got", cut(got)))
            driver.tell(way, "tokens and chunks differ", text, *evidence, about="chunk", hint=hint)
            return


def _check_stream_ids(driver: Driver, way: str, streams: list[Streamed]) -> None:
    """One message has one id, and no other has it. LangChain gives one of its own to chunks that have none."""
    _check_ids(driver, way, [driver.subject.join(stream.chunks).id for stream in streams if stream.chunks])
    ids = list(dict.fromkeys(chunk.id for chunk in streams[0].chunks if chunk.id and not chunk.id.startswith("lc_")))
    if len(ids) > 1:
        text = f"the chunks of one {driver.shown(way)} have {len(ids)} ids"
        hint = "all chunks of one message have its id: a program that joins them by id finds many messages"
        driver.tell(way, "ids in a stream", text, ("ids", cut(ids)), hint=hint)


# -- many calls


def _check_many_at_once(driver: Driver, side: _Side) -> None:
    number = max(AT_ONCE, len(driver.inputs))
    expected = list(islice(cycle(side.facts), number))
    for way in TOGETHER[side.way]:
        component, given = driver.new(), driver.copied(islice(cycle(driver.inputs), number))
        with much_switching():
            done = driver.run(way, partial(MANY[way], component, given))
        if done.error is not None:
            continue
        _check_runs(driver, way, done.recording, number)
        _check_not_mixed(driver, way, expected, driver.facts(done.value))
        if driver.subject is CHAT_MODEL:
            _check_ids(driver, way, [answer.id for answer in done.value])


def _check_by_turns(driver: Driver, way: str) -> None:
    """Streams of one model, from which one chunk after the other is taken in turn, say what they say one by one."""
    inputs, join = list(islice(cycle(driver.inputs), max(AT_ONCE, len(driver.inputs)))), driver.subject.join
    alone = driver.run(way, partial(STREAMS[way], driver.new(), driver.copied(inputs)))
    where = f"{way}, {len(inputs)} by turns"
    done = driver.run(where, partial(BY_TURNS[way], driver.new(), driver.copied(inputs)))
    if alone.error is None and done.error is None:
        expected = driver.facts(join(stream.chunks) for stream in alone.value)
        _check_not_mixed(driver, where, expected, driver.facts(map(join, done.value)))


def _check_not_mixed(driver: Driver, way: str, expected: list[Mapping[str, object]], got: list[Mapping[str, object]]) -> None:
    if len(got) != len(expected):
        text = f"{driver.shown(way)} gives {amount(len(got), 'answer')} to {amount(len(expected), 'input')}"
        driver.tell(way, "answers mixed up", text, about="number", hint="each input has its answer, in the same order")
        return
    for number, (own, answer) in enumerate(zip(expected, got, strict=True), 1):
        key = next((key for key in own if own[key] != answer[key]), None)
        if key is not None:
            of_another = any(other is not own and other[key] == answer[key] for other in expected)
            what = "the answer of another" if of_another else "an answer that it does not give alone"
            evidence = (("call", f"{number} of {len(expected)}"), ("expected", cut(own[key])), ("got", cut(answer[key])))
            hint = "keep nothing of one call in the object: many calls use it at once"
            driver.tell(way, "answers mixed up", f"{driver.shown(way)} gives one of its calls {what}", *evidence, hint=hint)


# -- calls that are given up


def _check_closed_early(driver: Driver, way: str) -> None:
    driver.run(f"{way}, closed early", partial(CLOSES[way], driver.new(), driver.first_input()))


def _check_cancelled(driver: Driver, way: str) -> None:
    where, found = f"{way}, cancelled", list[str]()
    cancels = partial(CANCELS[way], driver.new(), driver.first_input)
    try:
        driver.run(where, partial(cancel_at_each_turn, cancels, patience_s(driver.timeout_s), found), found=found)
    finally:
        for said in found:
            driver.tell(where, "ignores cancellation", f"{driver.shown(way)} {said}", hint=_LET_THROUGH)


# -- calls that fail


def _check_failures(driver: Driver, make: Make) -> None:
    raised: dict[str, str] = {}
    for way, call in WAYS.items():
        done = driver.run(f"{way}, failing", partial(call, new(make), driver.first_input()), fails=True)
        if done.error is None:
            hint = "let the error through: the run is then told as failed, and the caller can retry or fall back"
            text = f"{driver.shown(way)} answers where its call fails"
            driver.tell(way, "swallows errors", text, ("got", cut(done.value)), about="answer", hint=hint)
        elif wrong := [run for run in done.recording.roots if run.ended != "error"]:
            how = "is still open" if wrong[0].ended == "open" else f"is told as {wrong[0].ended}"
            text = f"{driver.shown(way)} raises, and its run {how}"
            error = ("raised", clip(repr(done.error), 100))
            driver.tell(way, "swallows errors", text, error, about="told", hint="tell on_*_error of what is raised")
        if done.error is not None and not isinstance(done.error, NotImplementedError):  # a tool of a coroutine, for example
            raised[way] = type(done.error).__name__
    for way, kind in raised.items():
        than = next(iter(raised))
        if kind != raised[than]:
            text = f"{driver.shown(way)} raises another error than {driver.shown(than)}"
            evidence = (("expected", raised[than]), ("got", kind))
            driver.tell(way, "errors differ", text, *evidence, hint="programs catch an error by its class")


def _check_objection(driver: Driver, way: str) -> None:
    """What a handler raises at a token ends the run."""
    done = driver.run(f"{way}, ended by a handler", partial(OBJECTED[way], driver.new(), driver.first_input()), fails=True)
    if not isinstance(done.error, ObjectionError):
        text = f"{driver.shown(way)} swallows what a callback handler raises"
        came = "an answer" if done.error is None else clip(repr(done.error), 100)
        hint = "let it through: a handler with `raise_error` ends a run on purpose, at a limit or for a rule"
        driver.tell(way, "swallows errors", text, ("got", came), about="handler", hint=hint)


# -- tools as models call them


def _check_tool_calls(driver: Driver) -> None:
    tool = driver.new()
    for way, call in CALLS.items():
        request = {"type": "tool_call", "name": tool.name, "args": copy.deepcopy(driver.inputs[0]), "id": "call_1"}
        got = driver.run(f"{way}, with a tool call", partial(call, tool, request), fails=True).value
        if isinstance(got, ToolMessage) and got.tool_call_id != "call_1":
            text = f"{driver.shown(way)} answers another tool call than it was given"
            evidence = (("expected", "call_1"), ("got", got.tool_call_id))
            driver.tell(way, "wrong tool call id", text, *evidence, hint="the ToolMessage has the id of the call")


# -- in words


def _kinds(recording: Recording) -> list[str]:
    """Return the kinds of events of the first run."""
    return [event.kind for event in recording.roots[0].events] if recording.roots else []


def _counted(kinds: Iterable[str]) -> str:
    groups = [(kind, len(list(same))) for kind, same in groupby(kinds)]
    return ", ".join(kind if number == 1 else f"{number} {kind}" for kind, number in groups)
