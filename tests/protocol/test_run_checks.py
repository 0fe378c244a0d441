"""`check`: its evidence, its page, and correct programs, which it must never call broken."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import runpy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager, dispatch_custom_event
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel

import llmtest
from llmtest import Recording, ScriptedChatModel, ScriptedRetriever, fail, record, reply, say
from llmtest.capture.blocks import RawEvent
from llmtest.protocol import check
from llmtest.scripts import give
from tests.support.recordings import BOTH, doctored, greeted, rules, streamed, tells, texts
from tests.support.tools import weather

pytestmark = pytest.mark.usefixtures("outside")

ROOT = Path(llmtest.__file__).parent.parent


# -- the evidence


def test_evidence_has_at_most_twenty_lines() -> None:
    def repeat_the_end(raw: list[RawEvent]) -> None:
        raw += [raw[-1]] * 30

    found = texts(doctored(greeted(), repeat_the_end))

    lines = found[0].split("\n")
    assert (lines[0], len(lines)) == ("chain `greet` ended 31 times", 22)
    assert lines[18:21] == ["  #23 on_chain_end `greet`", "  ... 13 more lines", "  #37 on_chain_end `greet`"]


def test_a_deep_run_is_shown_with_the_four_runs_around_it() -> None:
    def nested(depth: int) -> Runnable[Any, Any]:
        inner: Runnable[Any, Any] = nested(depth - 1) if depth else RunnableLambda(lambda _: CallbackManager.configure())
        return RunnableLambda(lambda value: inner.invoke(value)).with_config(run_name=f"level {depth}")

    with record() as recording:
        nested(6).invoke("hi")
    found = texts(doctored(recording, lambda raw: raw.pop(8)))

    assert found[0].split("\n")[1] == "  #7 on_chain_start `RunnableLambda` in ... > level 3 > level 2 > level 1 > level 0"


def test_long_tokens_are_cut() -> None:
    recording = streamed(["x" * 99], ChatGeneration(message=AIMessage("no")))

    assert f"  the tokens  {'x' * 64!r} ... {'x' * 16!r} (99 characters)" in texts(recording)[0].split("\n")


# -- the page about them


def test_the_page_shows_the_tables_as_they_are() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "protocol_page.py"))

    assert page["PAGE"].read_text("utf-8") == page["rendered"](), "run: python docs/protocol_page.py"


# -- what is lawful


def test_a_correct_program_breaks_no_rule() -> None:
    assert check(greeted()) == []


def test_an_empty_recording_breaks_no_rule() -> None:
    assert check(Recording()) == []


def test_events_after_the_block_has_closed_are_lawful() -> None:
    with record() as recording:
        stream = (RunnableLambda(str) | ScriptedChatModel(say("a", "b"))).stream("hi")
        next(stream)
    list(stream)

    assert recording.late_events
    assert check(recording) == []


def test_a_recording_that_is_opened_within_a_run_has_a_lawful_root() -> None:
    caught: list[Recording] = []

    def inside(text: str) -> str:
        with record() as recording:
            RunnableLambda(str).invoke(text)
            RunnableLambda(len).invoke(text)
        caught.append(recording)
        return text

    with record():
        RunnableLambda(inside).invoke("hi")

    assert caught[0][0].parent_run_id is not None
    assert check(caught[0]) == []


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_stream_that_is_closed_early_is_lawful(chunks: int) -> None:
    chain = RunnableLambda(str) | ScriptedChatModel(say("a", "b", "c"))

    with record() as recording:
        stream = chain.stream("hi")
        for _ in range(chunks):
            next(stream)
        stream.close()

    assert check(recording) == []


def test_an_async_stream_that_is_closed_early_is_lawful() -> None:
    async def main() -> None:
        stream = (RunnableLambda(str) | ScriptedChatModel(say("a", "b", "c"))).astream("hi")
        await anext(stream)
        await stream.aclose()

    with record() as recording:
        asyncio.run(main())

    assert check(recording) == []


def test_tokens_that_a_thread_delivers_after_its_stream_was_cancelled_are_unusual_only() -> None:
    with record() as recording:
        (run,) = CallbackManager.configure().on_llm_start({"name": "model"}, ["hi"])
        run.on_llm_error(asyncio.CancelledError())
        run.on_llm_new_token("late")

    assert [(one.code, one.level) for one in check(recording)] == [("event after the end", "unusual")]


def test_one_run_id_for_two_runs_one_after_the_other_breaks_no_other_rule() -> None:
    shared: Any = {"run_id": UUID(int=7)}
    model = ScriptedChatModel(say("a", "b"), say("c"), streaming=True)

    with record() as recording:
        RunnableLambda(len).invoke("hi", shared)
        model.invoke("hi", {"run_id": UUID(int=7)})
        RunnableLambda(lambda text: model.invoke(text)).invoke("hi", {"run_id": UUID(int=7)})

    assert rules(recording) == ["run id used twice"]


def test_one_run_id_for_two_runs_under_two_parents_breaks_no_other_rule() -> None:
    def inside(value: str) -> int:
        return RunnableLambda(len).invoke(value, {"run_id": UUID(int=7)})

    with record() as recording:
        RunnableLambda(inside).invoke("hi")
        RunnableLambda(inside).invoke("hi")

    assert rules(recording) == ["run id used twice"]


def test_custom_events_have_no_parent_and_that_is_lawful() -> None:
    inner = RunnableLambda(lambda value: dispatch_custom_event("note", value))

    with record() as recording:
        RunnableLambda(lambda value: inner.invoke(value)).invoke("hi")

    assert "on_custom_event" in recording.kinds
    assert check(recording) == []


def test_agent_events_belong_to_chains() -> None:
    from langchain_core.agents import AgentFinish
    from langchain_core.callbacks import CallbackManagerForChainRun

    with record() as recording:
        run = CallbackManager.configure().on_tool_start({"name": "weather"}, "Paris")
        chain = CallbackManagerForChainRun(run_id=run.run_id, handlers=run.handlers, inheritable_handlers=[])
        chain.on_agent_finish(AgentFinish({}, ""))
        run.on_tool_end("18C")
        other = CallbackManager.configure().on_tool_start({"name": "weather"}, "Paris")
        other.on_text("a text may come anywhere")
        other.on_tool_end("18C")

    assert rules(recording) == ["event of another kind"]


def test_a_run_that_starts_when_its_parent_was_interrupted_is_lawful() -> None:
    class GraphInterrupt(Exception):
        __module__ = "langgraph.errors"

    class GraphBubbleUp(GraphInterrupt):
        __module__ = "langgraph.errors"

    with record() as recording:
        run = CallbackManager.configure().on_chain_start(None, {})
        run.on_chain_error(GraphBubbleUp())
        run.get_child().on_chain_start(None, {}).on_chain_end({})

    assert check(recording) == []


# -- random programs


class Plain(BaseCallbackHandler):
    """A handler of the most ordinary kind: it notes every callback."""

    run_inline = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, UUID]] = []


def _note(kind: str) -> Callable[..., None]:
    def method(self: Plain, *args: Any, run_id: UUID, **kwargs: Any) -> None:
        self.seen.append((kind, run_id))

    return method


ENDINGS = [f"on_{kind}_{end}" for kind in ("chain", "llm", "tool", "retriever") for end in ("start", "end", "error")]
for name in [*ENDINGS, "on_chat_model_start", "on_llm_new_token", "on_custom_event", "on_text", "on_retry"]:
    setattr(Plain, name, _note(name))


@dataclass(frozen=True)
class Program:
    """A small program: what it is, and what it is made of."""

    kind: str
    parts: tuple[Program, ...] = ()

    def build(self) -> Runnable[Any, Any]:
        return BUILDERS[self.kind](*[part.build() for part in self.parts])


def _fails(value: Any) -> Any:
    raise ValueError("as it must")


def _asks(model: Any) -> Runnable[Any, Any]:
    def turn(value: Any) -> Any:
        answer = model.invoke(str(value))
        return [weather.invoke(one) for one in answer.tool_calls]

    return RunnableLambda(turn)


def _nested(inner: Runnable[Any, Any]) -> Runnable[Any, Any]:
    def sync(value: Any) -> Any:
        return inner.invoke(value)

    async def on_loop(value: Any) -> Any:
        return await inner.ainvoke(value)

    return RunnableLambda(sync, on_loop)


BUILDERS: dict[str, Callable[..., Runnable[Any, Any]]] = {
    "text": lambda: RunnableLambda(str),
    "fail": lambda: RunnableLambda(_fails),
    "tell": lambda: RunnableLambda(tells),
    "model": lambda: RunnableLambda(str) | ScriptedChatModel(say("a", "b", "c").repeat().optional()),
    "streaming": lambda: RunnableLambda(str) | ScriptedChatModel(say("a", "b").repeat().optional(), streaming=True),
    "broken model": lambda: RunnableLambda(str) | ScriptedChatModel(fail(ValueError("no")).repeat().optional()),
    "breaks off": lambda: RunnableLambda(str) | ScriptedChatModel(say("a", "b").then_fail(ValueError("x")).repeat().optional()),
    "retriever": lambda: RunnableLambda(str) | ScriptedRetriever(give(["a document"]).repeat().optional()),
    "tool": lambda: RunnableLambda(lambda value: {"city": str(value)}) | weather,
    "tools": lambda: _asks(ScriptedChatModel(reply(*BOTH).repeat().optional()).bind_tools([weather])),
    "sequence": lambda *parts: parts[0] | parts[1],
    "parallel": lambda *parts: RunnableParallel(a=parts[0], b=parts[1]),
    "fallback": lambda *parts: parts[0].with_fallbacks([parts[1]]),
    "retry": lambda *parts: parts[0].with_retry(stop_after_attempt=2, wait_exponential_jitter=False),
    "nested": _nested,
}
LEAVES = ("text", "fail", "tell", "model", "streaming", "broken model", "breaks off", "retriever", "tool", "tools")
programs = st.recursive(
    st.sampled_from(LEAVES).map(Program),
    lambda inner: (
        st.tuples(st.sampled_from(["sequence", "parallel", "fallback"]), st.tuples(inner, inner))
        | st.tuples(st.sampled_from(["retry", "nested"]), st.tuples(inner))
    ).map(lambda given: Program(*given)),
    max_leaves=5,
)
FAILURES = (ValueError, TypeError)
"""What a random program may raise: its own failures, and what a function makes of what another one gives it."""


def run(runnable: Runnable[Any, Any], how: str, chunks: int, config: Any) -> None:
    if how == "invoke":
        runnable.invoke("hi", config)
    elif how == "batch":
        runnable.batch(["one", "two"], config)
    else:
        stream = runnable.stream("hi", config)
        for _, _ in zip(range(chunks), stream, strict=False):
            pass
        stream.close()


async def arun(runnable: Runnable[Any, Any], how: str, chunks: int, config: Any) -> None:
    if how == "invoke":
        await runnable.ainvoke("hi", config)
    elif how == "batch":
        await runnable.abatch(["one", "two"], config)
    else:
        stream = runnable.astream("hi", config)
        async for _ in stream:
            chunks -= 1
            if chunks <= 0:
                break
        await stream.aclose()


async def cut_off(work: Any, steps: int | None) -> None:
    """Runs `work` to its end, or cancels it after some steps of the loop."""
    # RunnableParallel drops the tasks of its branches when a stream fails; asyncio would log each to stderr.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    task = asyncio.ensure_future(work)
    for _ in range(steps or 0):
        await asyncio.sleep(0)
    if steps is not None:
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        assert isinstance(task.exception(), (*FAILURES, type(None)))


def assert_sound(recording: Recording, plain: Plain, excused: tuple[str, ...] = ()) -> None:
    if _told(recording) != Counter(plain.seen):  # a thread that a failing program left behind may be about to tell
        recording.settle()
    assert _told(recording) == Counter(plain.seen)
    found = [one for one in check(recording) if one.code not in excused]
    assert [one.text for one in found if one.level == "impossible"] == []


def _told(recording: Recording) -> Counter[tuple[str, UUID]]:
    return Counter((event.kind, event.run_id) for event in (*recording, *recording.late_events))


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Collect garbage after the block only.

    LangChain drops streams of branches without closing them. Python 3.11 deadlocks if one is collected while a thread starts: its
    end joins a pool, and both take the lock of `threading` that has no owner.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(1)


ways = st.sampled_from(["invoke", "batch", "stream"])


@given(programs, ways, st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_a_random_program_never_does_what_is_impossible_and_loses_no_event(program: Program, how: str, chunks: int) -> None:
    plain = Plain()

    with no_collection(), record() as recording, contextlib.suppress(*FAILURES):
        run(program.build(), how, chunks, {"callbacks": [plain]})

    assert_sound(recording, plain)


@given(programs, ways, st.integers(0, 5), st.none() | st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_a_random_async_program_cancelled_anywhere_never_does_what_is_impossible_and_loses_no_event(
    program: Program, how: str, chunks: int, steps: int | None
) -> None:
    plain = Plain()

    with no_collection(), record() as recording:
        asyncio.run(cut_off(arun(program.build(), how, chunks, {"callbacks": [plain]}), steps))

    assert_sound(recording, plain)
