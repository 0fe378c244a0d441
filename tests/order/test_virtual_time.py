"""Virtual time: events come when their scripts say, whoever runs beside whom, and nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any
from uuid import uuid4

import freezegun
import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableConfig, RunnableGenerator, RunnableLambda, RunnableParallel
from pydantic import BaseModel

from llmtest import (
    Recording,
    Script,
    ScriptedChatModel,
    ScriptedLLM,
    ScriptedRetriever,
    call,
    carry_context,
    count_tokens,
    fail,
    hold,
    load_traces,
    record,
    reply,
    respond,
    say,
    scripted_tool,
    structured,
    think,
    tracing_enabled,
)
from llmtest.concurrency.lanes import Lane
from llmtest.core.text import clip
from llmtest.errors import ScriptError, StoreError
from llmtest.events import Event, FrozenDict, Latency, Message, Run
from llmtest.langchain.dialects.names import NAMES
from llmtest.scripts import give
from llmtest.scripts.yaml_emit import write
from llmtest.tracing.jsonl import export, take_in
from llmtest.tracing.store import Store

Program = Callable[[], Any]


@pytest.fixture(autouse=True)
def nobody_sleeps(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    others, real = set(threading.enumerate()) - {threading.current_thread()}, time.sleep

    def sleep(*args: Any, **kwargs: Any) -> None:
        if threading.current_thread() in others:  # of a test before this one: a writer of traces ends when it has nothing to do
            return real(*args, **kwargs)
        raise AssertionError("somebody waits")

    if "real_sleep" not in request.fixturenames:
        monkeypatch.setattr(time, "sleep", sleep)
        monkeypatch.setattr(asyncio, "sleep", sleep)


@pytest.fixture
def real_sleep() -> None:
    """For tests of what does sleep: the writer of traces, and asyncio itself."""


def model(seconds: float, text: str = "x") -> ScriptedChatModel:
    """A model whose every answer takes so long."""
    return ScriptedChatModel(say(text, ttft_s=seconds).repeat())


def took(program: Program) -> float:
    """How long a program takes, in virtual time. Its first run ends when all does."""
    with record() as recording:
        program()
    return recording.took_s


def ways(runnable: Any, given: Any = "go") -> dict[str, Program]:
    """Each way to run it."""

    async def astream() -> list[Any]:
        return [chunk async for chunk in runnable.astream(given)]

    async def events() -> list[Any]:
        return [event async for event in runnable.astream_events(given, version="v2")]

    return {
        "invoke": lambda: runnable.invoke(given),
        "ainvoke": lambda: asyncio.run(runnable.ainvoke(given)),
        "stream": lambda: list(runnable.stream(given)),
        "astream": lambda: asyncio.run(astream()),
        "astream_events": lambda: asyncio.run(events()),
        "batch": lambda: runnable.batch([given]),
        "abatch": lambda: asyncio.run(runnable.abatch([given])),
    }


def times(run: Run, kind: str = "on_llm_new_token") -> list[float]:
    return [event.at_s for event in run.events if event.kind == kind]


# -- one answer


@pytest.mark.parametrize("way", ["stream", "astream", "astream_events"])
def test_tokens_come_after_ttft_and_then_at_their_pace(way: str) -> None:
    streamed = ScriptedChatModel(say("It", " is", " sunny", ".", ttft_s=0.8, tokens_per_s=50))

    with record() as recording:
        ways(streamed)[way]()

    (run,) = recording.models
    assert times(run) == [0.8, 0.82, 0.84, 0.86]
    assert (run.start.at_s, run.took_s, recording.took_s) == (0.0, 0.86, 0.86)


def test_an_empty_token_comes_with_the_next_one() -> None:
    with record() as recording:
        list(ScriptedChatModel(say("", "It", "", " is", ttft_s=1, tokens_per_s=4)).stream("go"))

    assert times(recording.models[0]) == [1.0, 1.0, 1.25, 1.25]
    assert recording.took_s == 1.25


ANSWERS = {
    "text": say("It", " is", " sunny", ".", ttft_s=1, tokens_per_s=4),
    "text with empty tokens": say("", "It", "", " is", ttft_s=1, tokens_per_s=4),
    "reasoning": reply(think("a", "b"), say("c"), ttft_s=1, tokens_per_s=4),
    "calls": reply("Both.", call("a", n=1), call("b"), ttft_s=1, tokens_per_s=4).unchecked(),
    "nothing": say(ttft_s=1, tokens_per_s=4),
    "a refusal": say("I must not.", refusal=True, ttft_s=1, tokens_per_s=4),
    "an answer cut off": say("It", " is", ttft_s=1, tokens_per_s=4).then_truncate(),
    "no first time": say("It", " is", tokens_per_s=4),
    "no pace": say("It", " is", ttft_s=1),
}


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_whole_when_its_stream_would_have_ended(answer: Any, dialect: str) -> None:
    ends = {took(ways(ScriptedChatModel(answer, dialect=dialect))[way]) for way in ("invoke", "ainvoke", "stream", "astream")}

    assert ends == {answer.latency.total_ns / 1e9}


@pytest.mark.parametrize("dialect", NAMES)
def test_the_same_text_comes_at_the_same_time_in_each_dialect(dialect: str) -> None:
    with record() as recording:
        list(ScriptedChatModel(say("It", " is", " sunny", ttft_s=1, tokens_per_s=4), dialect=dialect).stream("go"))

    tokens = [(event.at_s, Message("ai", event.payload["token"]).text) for event in recording.models[0].events[1:-1]]
    assert [(at, text) for at, text in tokens if text] == [(1.0, "It"), (1.25, " is"), (1.5, " sunny")]


@pytest.mark.parametrize("dialect", NAMES)
def test_what_says_nothing_takes_no_time(dialect: str) -> None:
    """A dialect puts empty chunks around its tokens, and opens a call with an empty one."""
    answer = reply("Let", call("search").deltas("{", "}"), ttft_s=1, tokens_per_s=10).unchecked()

    with record() as recording:
        list(ScriptedChatModel(answer, dialect=dialect).stream("go"))

    at = sorted(set(times(recording.models[0])))
    assert at[0] == 1.0
    assert at[-1] == recording.took_s == answer.latency.total_ns / 1e9


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_a_text_model_takes_time_as_a_chat_model_does(way: str) -> None:
    assert took(ways(ScriptedLLM(say("It", " is", ttft_s=1, tokens_per_s=4)))[way]) == 1.25


def test_several_prompts_are_answered_side_by_side() -> None:
    together = ScriptedLLM(say("a", ttft_s=1), say("b", ttft_s=3), say("c", ttft_s=2))

    with record() as recording:
        together.generate(["one", "two", "three"])

    assert [run.took_s for run in recording.models] == [3.0, 3.0, 3.0]


def test_stream_events_of_version_3_come_at_the_pace_of_their_tokens() -> None:
    answer = reply(think("a"), say("b", "c"), call("search", q=1).deltas('{"q"', ": 1}"), ttft_s=1, tokens_per_s=10).unchecked()

    with record() as recording:
        for _ in ScriptedChatModel(answer).stream_events("go", version="v3"):
            pass

    told = [event for event in recording.models[0].events if event.kind == "on_stream_event"]
    events = [(event.payload["event"]["event"], event.at_s) for event in told]
    assert [at for kind, at in events if kind == "content-block-delta"] == [1.0, 1.1, 1.2, 1.4, 1.5]
    assert (events[0][1], events[-1][1], recording.took_s) == (1.0, 1.5, 1.5)


def test_a_stream_event_that_is_no_event_takes_no_time() -> None:
    clock_of = {(run := uuid4()): [Latency(1.0, 1.0, 3)]}
    told = [
        Event("on_chat_model_start", run, None, "m"),
        Event("on_stream_event", run, None, "m", payload=FrozenDict(event="odd")),
        Event("on_stream_event", run, None, "m", payload=FrozenDict(event=FrozenDict(event="content-block-delta"))),
        Event("on_llm_new_token", run, None, "m", payload=FrozenDict(token=7)),
        Event("on_llm_new_token", run, None, "m", payload=FrozenDict(token=["a"])),
        Event("on_llm_new_token", run, None, "m", payload=FrozenDict(token=["a"])),
    ]

    assert [clock_at(told, clock_of)[n] for n in range(6)] == [0, 1, 1, 1, 1, 2]  # a stream may report each token in both ways


def clock_at(events: list[Event], latencies: dict[Any, list[Latency]]) -> list[float]:
    from llmtest.order.virtual_time import Clock

    clock = Clock(latencies)
    return [clock.at(event) / 1e9 for event in events]


def test_the_program_sees_nothing_of_it() -> None:
    slow, plain = (ScriptedChatModel(say("a", "b", **timed)) for timed in ({"ttft_s": 5, "tokens_per_s": 1}, {}))

    said, expected = (list(one.stream("go")) for one in (slow, plain))

    assert [chunk.model_dump(exclude={"id"}) for chunk in said] == [chunk.model_dump(exclude={"id"}) for chunk in expected]


def test_an_answer_from_the_cache_takes_no_time() -> None:
    cached = ScriptedChatModel(say("x", ttft_s=5), cache=InMemoryCache())

    with record() as recording:
        cached.invoke("go")
        cached.invoke("go")

    assert [run.took_s for run in recording.models] == [5.0, 0.0]


def test_a_stream_that_is_left_early_ends_where_it_was() -> None:
    with record() as recording:
        stream = ScriptedChatModel(say("a", "b", "c", ttft_s=1, tokens_per_s=1)).stream("go")
        next(stream)
        next(stream)
        stream.close()  # type: ignore[attr-defined]

    assert (recording.models[0].ended, recording.took_s) == ("closed early", 2.0)


class Impatient(BaseCallbackHandler):
    """Has heard enough at the second token, of which then nobody hears."""

    raise_error = True
    heard = 0

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.heard += 1
        if self.heard == 2:
            raise InterruptedError


def test_a_stream_that_fails_on_its_way_ends_where_it_was() -> None:
    said = ScriptedChatModel(say("a", "b", "c", ttft_s=1, tokens_per_s=1))

    with record() as recording, pytest.raises(InterruptedError):
        list(said.stream("go", {"callbacks": [Impatient()]}))

    assert (recording.models[0].tokens, recording.models[0].ended, recording.took_s) == (["a"], "error", 1.0)


def test_what_has_not_ended_has_not_taken_any_time_yet() -> None:
    with record() as recording:
        stream = model(1).stream("go")
        next(stream)
        assert recording.models[0].took_s is None
        list(stream)

    assert recording.models[0].took_s == 1.0


@pytest.mark.parametrize(
    ("broken", "way", "end"),
    [
        (say("a", "b", ttft_s=1, tokens_per_s=4).then_fail(TimeoutError), "invoke", 1.25),
        (say("a", "b", ttft_s=1, tokens_per_s=4).then_fail(TimeoutError), "stream", 1.25),
        (fail(TimeoutError, takes_s=30), "invoke", 30.0),
        (fail(429, takes_s=30), "astream", 30.0),
        (fail(TimeoutError), "invoke", 0.0),
    ],
)
def test_a_failure_comes_when_the_answer_would_have_been_there(broken: Any, way: str, end: float) -> None:
    with record() as recording, pytest.raises(Exception):  # noqa: B017 - a different one for each
        ways(ScriptedChatModel(broken))[way]()

    assert (recording.models[0].ended, recording.models[0].took_s) == ("error", end)


def test_what_a_function_answers_takes_its_time() -> None:
    asked = ScriptedChatModel(respond(lambda request: say(request.text, ttft_s=2)))

    assert took(lambda: asked.invoke("go")) == 2.0


class Answer(BaseModel):
    text: str


def test_a_structured_answer_takes_the_time_of_what_it_becomes() -> None:
    """A call has one piece more than the JSON text: its name."""
    calls, texts = (
        ScriptedChatModel(reply(structured({"text": "x"}), ttft_s=1, tokens_per_s=1)).with_structured_output(
            Answer, method=method
        )
        for method in ("function_calling", "json_schema")
    )

    assert took(lambda: calls.invoke("go")) == took(lambda: texts.invoke("go")) + 1


@pytest.mark.parametrize("found", [give(["a"], takes_s=0.3), say("a", ttft_s=0.3), fail(TimeoutError, takes_s=0.3)])
def test_retrievers_and_tools_take_time_too(found: Any) -> None:
    retriever, tool = ScriptedRetriever(found), scripted_tool("search", found, args={"q": str})

    with record() as recording:
        for one, given in ((retriever, "x"), (tool, {"q": "x"})):
            RunnableLambda(one.invoke).with_fallbacks([RunnableLambda(str)]).invoke(given)

    assert [run.took_s for run in recording.runs if run.kind in ("retriever", "tool")] == [0.3, 0.3]
    assert recording.took_s == 0.6


def test_a_call_past_the_callbacks_has_no_time() -> None:
    assert model(1)._generate([HumanMessage("go")]).generations[0].text == "x"


def test_who_only_counts_does_not_mind() -> None:
    with count_tokens() as tokens:
        model(1).invoke("go")

    assert tokens.total_tokens == 2


# -- several answers


@pytest.mark.parametrize("way", ways(None))
def test_one_after_the_other_takes_both_times(way: str) -> None:
    chain = model(1, "a") | StrOutputParser() | model(2, "b") | StrOutputParser()

    with record() as recording:
        ways(chain)[way]()

    assert [run.took_s for run in recording.models] == [1.0, 2.0]
    assert (recording.roots[0].took_s, recording.took_s) == (3.0, 3.0)


@pytest.mark.parametrize("way", ways(None))
def test_side_by_side_takes_the_longer_time(way: str) -> None:
    chain = RunnableParallel(a=model(1), b=model(2), c=model(1)) | RunnableLambda(str) | model(1)

    with record() as recording:
        ways(chain)[way]()

    assert sorted(run.start.at_s for run in recording.models) == [0.0, 0.0, 0.0, 2.0]
    assert (recording.roots[0].took_s, recording.took_s) == (3.0, 3.0)


async def _gathered() -> None:
    await asyncio.gather(*(model(n).ainvoke("go") for n in (1, 2, 3)))
    await model(1).ainvoke("go")


async def _grouped() -> None:
    async with asyncio.TaskGroup() as group:
        for n in (1, 2, 3):
            group.create_task(model(n).ainvoke("go"))
    await model(1).ainvoke("go")


async def _grouped_and_busy() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(model(1).ainvoke("go"))
        await model(3).ainvoke("go")
    await model(1).ainvoke("go")


async def _in_threads() -> None:
    await asyncio.gather(*(asyncio.to_thread(model(n).invoke, "go") for n in (1, 2, 3)))
    await model(1).ainvoke("go")


async def _batched() -> None:
    await RunnableLambda(lambda n: model(n).invoke("go")).abatch([1, 2, 3])
    await model(1).ainvoke("go")


async def _waited_for() -> None:
    await asyncio.wait_for(_gathered(), timeout=60)


async def _nested() -> None:
    async def inner(n: int) -> None:
        await asyncio.gather(model(n).ainvoke("go"), model(n - 1).ainvoke("go"))

    await asyncio.gather(inner(2), inner(3))
    await model(1).ainvoke("go")


def _pooled() -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(carry_context(lambda n: model(n).invoke("go")), [1, 2, 3]))
    model(1).invoke("go")


def _pooled_and_busy() -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(carry_context(lambda: model(1).invoke("go")))
        model(3).invoke("go")
    model(1).invoke("go")


def _batched_in_threads() -> None:
    RunnableLambda(lambda n: model(n).invoke("go")).batch([1, 2, 3])
    model(1).invoke("go")


CONCURRENT: dict[str, Program] = {
    "gather": lambda: asyncio.run(_gathered()),
    "task group": lambda: asyncio.run(_grouped()),
    "task group that works itself": lambda: asyncio.run(_grouped_and_busy()),
    "to_thread": lambda: asyncio.run(_in_threads()),
    "abatch": lambda: asyncio.run(_batched()),
    "wait_for": lambda: asyncio.run(_waited_for()),
    "nested": lambda: asyncio.run(_nested()),
    "pool": _pooled,
    "pool of one who works too": _pooled_and_busy,
    "batch": _batched_in_threads,
}


@pytest.mark.parametrize("program", CONCURRENT.values(), ids=CONCURRENT)
def test_who_waited_for_several_goes_on_after_the_last(program: Program) -> None:
    assert took(program) == 4.0
    assert took(lambda: RunnableLambda(lambda _: program()).invoke("go")) == 4.0


def agent() -> Any:
    tools = [scripted_tool(name, give("18C", takes_s=seconds), args={}) for name, seconds in (("a", 0.5), ("b", 0.3))]
    thought = reply("Both.", call("a"), call("b"), ttft_s=1)
    return create_agent(ScriptedChatModel(thought, say("Done.", ttft_s=1)), tools)


@pytest.mark.parametrize("way", ways(None))
def test_the_tools_of_an_agent_run_side_by_side(way: str) -> None:
    with record() as recording:
        ways(agent(), {"messages": [("user", "go")]})[way]()

    assert {run.name: (run.start.at_s, run.took_s) for run in recording.tools} == {"a": (1.0, 0.5), "b": (1.0, 0.3)}
    assert [run.start.at_s for run in recording.models] == [0.0, 1.5]
    assert recording.roots[0].took_s == 2.5


@pytest.mark.parametrize("way", ways(None))
def test_a_fallback_begins_when_the_first_has_failed(way: str) -> None:
    patient = ScriptedChatModel(fail(TimeoutError, takes_s=5)).with_fallbacks([model(1)])

    assert took(ways(patient)[way]) == 6.0


@pytest.mark.usefixtures("real_sleep")  # LangChain's pause between two attempts is a real one; here it is one of 0 seconds
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "abatch"])
def test_a_retry_takes_its_time_once_more(way: str) -> None:
    flaky = ScriptedChatModel(fail(ConnectionError, takes_s=2), say("x", ttft_s=1))

    again = flaky.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)

    assert took(ways(again)[way]) == 3.0


def spoken(chunks: Iterator[Any]) -> Iterator[str]:
    """Says each sentence as soon as it is there."""
    voice, sentence = ScriptedRetriever(give("sound", takes_s=0.3).repeat(), name="voice"), ""
    for chunk in chunks:
        sentence += chunk.content
        if "." in sentence:
            voice.invoke(sentence)
            yield sentence
            sentence = ""


async def aspoken(chunks: AsyncIterator[Any]) -> AsyncIterator[str]:
    voice, sentence = ScriptedRetriever(give("sound", takes_s=0.3).repeat(), name="voice"), ""
    async for chunk in chunks:
        sentence += chunk.content
        if "." in sentence:
            await voice.ainvoke(sentence)
            yield sentence
            sentence = ""


@pytest.mark.parametrize("way", ["stream", "astream", "astream_events"])
def test_what_reads_a_stream_begins_when_there_is_something_to_read(way: str) -> None:
    """Who is slower than the stream gets the rest of it at once."""
    text = say("Hi", ".", "It", " is", " sunny", ".", ttft_s=1, tokens_per_s=10)

    with record() as recording:
        ways(ScriptedChatModel(text) | RunnableGenerator(spoken, aspoken))[way]()

    assert times(recording.models[0]) == [1.0, 1.1, 1.4, 1.4, 1.4, 1.5]
    assert [run.start.at_s for run in recording.retrievers] == [1.1, 1.5]
    assert recording.took_s == 1.8


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_a_thread_that_a_token_sets_off_begins_with_it(version: str) -> None:
    said = ScriptedChatModel(say("a", "b", "c", ttft_s=1, tokens_per_s=1))
    voice = ScriptedRetriever(give("sound", takes_s=0.5).repeat(), name="voice")

    with record() as recording, ThreadPoolExecutor() as pool:
        for _ in said.stream("go") if version == "v1" else said.stream_events("go", version="v3").text:
            pool.submit(carry_context(lambda: voice.invoke("go")))

    assert sorted(run.start.at_s for run in recording.retrievers) == [1.0, 2.0, 3.0]
    assert recording.took_s == 3.5


def test_a_task_that_a_token_sets_off_begins_with_it() -> None:
    """One event loop runs them all when the stream is over; that says nothing."""

    async def program() -> None:
        voices: list[asyncio.Task[Any]] = []
        async for _ in ScriptedChatModel(say("a", "b", "c", ttft_s=1, tokens_per_s=1)).astream("go"):
            voice = ScriptedRetriever(give("sound", takes_s=0.5), name="voice")
            voices.append(asyncio.create_task(voice.ainvoke("go")))
        await asyncio.gather(*voices)

    with record() as recording:
        asyncio.run(program())

    assert [run.start.at_s for run in recording.retrievers] == [1.0, 2.0, 3.0]
    assert recording.took_s == 3.5


def test_what_a_chain_says_in_between_has_the_time_of_its_place() -> None:
    async def chain(_: str, config: RunnableConfig) -> None:
        await asyncio.gather(model(1).ainvoke("go"), model(2).ainvoke("go"))
        from langchain_core.callbacks import adispatch_custom_event

        await adispatch_custom_event("halfway", {}, config=config)
        await model(1).ainvoke("go")

    with record() as recording:
        asyncio.run(RunnableLambda(chain).ainvoke("go"))

    assert times(recording.runs[0], "on_custom_event") == [2.0]


def test_a_thread_that_comes_from_nowhere_begins_with_its_parent() -> None:
    def chain(_: str, config: RunnableConfig) -> None:
        model(1).invoke("go")
        for n in (1, 2):
            thread = threading.Thread(target=lambda n=n: (model(n).invoke("go", config), model(n).invoke("go", config)))
            thread.start()
            thread.join()

    with record() as recording:
        model(1).invoke("go")
        RunnableLambda(chain).invoke("go")

    assert [run.start.at_s for run in recording.roots] == [0.0, 1.0]
    assert [run.start.at_s for run in recording.roots[1].children] == [1.0, 1.0, 1.0, 1.0, 1.0]
    assert recording.took_s == 3.0


def test_a_program_on_another_thread_goes_on_there() -> None:
    took_s: list[float] = []

    def program() -> None:
        model(1).invoke("go")
        model(1).invoke("go")

    thread = threading.Thread(target=lambda: took_s.append(took(program)))
    thread.start()
    thread.join()

    assert took_s == [2.0]


def test_one_id_for_two_runs_is_two_times() -> None:
    one, same = model(1), uuid4()

    with record() as recording:
        one.invoke("go", {"run_id": same})
        one.invoke("go", {"run_id": same})

    assert [event.at_s for event in recording] == [0.0, 1.0, 1.0, 2.0]


def test_a_task_that_is_awaited_late_counts_for_its_parent_and_not_for_what_comes_next() -> None:
    """Nothing proves that the third call came after the first: what is not certain is side by side."""

    async def chain(_: str) -> None:
        first = asyncio.create_task(model(5).ainvoke("go"))
        await model(1).ainvoke("go")
        await first
        await model(1).ainvoke("go")

    with record() as recording:
        asyncio.run(RunnableLambda(chain).ainvoke("go"))

    assert sorted(run.start.at_s for run in recording.models) == [0.0, 0.0, 1.0]
    assert recording.took_s == 5.0


def test_it_is_the_same_whenever_it_is_read() -> None:
    read: list[list[float]] = []

    def look(recording: Recording) -> None:
        read.append([event.at_s for event in recording])

    with record() as recording:
        look(recording)
        chain = RunnableParallel(a=model(1), b=RunnableLambda(lambda _: look(recording)) | RunnableLambda(str) | model(2)) | str
        (RunnableLambda(str) | chain | RunnableLambda(lambda _: look(recording))).invoke("go")
        look(recording)
        model(1).invoke("go")

    whole = [event.at_s for event in recording]
    assert all(whole[: len(part)] == part for part in read)
    assert (len(read), recording.took_s) == (4, 3.0)


def test_what_was_read_before_the_first_latency_counts() -> None:
    def answer(request: Any) -> Any:
        assert [event.at_s for event in recording] == [0.0]
        return say(model(1).invoke("go").text, ttft_s=2)

    with record() as recording:
        ScriptedChatModel(respond(answer)).invoke("go")

    assert [event.at_s for event in recording] == [0.0, 0.0, 1.0, 2.0]


def test_a_lane_without_events_is_passed_through() -> None:
    main = Lane(1, "MainThread", 1)
    silent = Lane(2, "MainThread", 1, "silent", main, 2, 3)
    inner = Lane(3, "MainThread", 1, "inner", silent, 0, 1)
    runs = [uuid4() for _ in range(3)]
    told = [
        Event(kind, runs[n], None, "m", lane=lane, moment=moment)
        for n, (lane, first) in enumerate([(main, 1), (inner, 1), (main, 3)])
        for kind, moment in (("on_chat_model_start", first), ("on_llm_end", first + 1))
    ]

    assert clock_at(told, {run: [Latency(1.0)] for run in runs}) == [0, 1, 1, 2, 2, 3]


Shape = int | tuple[str, list[Any]]
"""A model that takes so many seconds; or a sequence, or parallel branches, of these."""

shapes = st.recursive(
    st.integers(0, 9),
    lambda inner: st.tuples(st.sampled_from(["one after the other", "side by side"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=6,
)


def built(shape: Shape) -> Any:
    if isinstance(shape, int):
        return model(shape)
    parts = [RunnableLambda(str) | built(inner) for inner in shape[1]]
    if shape[0] == "side by side":
        return RunnableParallel({f"branch{n}": part for n, part in enumerate(parts)})
    return reduce(or_, parts)


def expected(shape: Shape) -> int:
    if isinstance(shape, int):
        return shape
    return (max if shape[0] == "side by side" else sum)(map(expected, shape[1]))


@settings(deadline=None, max_examples=60)
@given(shapes, st.sampled_from(sorted(ways(None))))
def test_any_chain_takes_what_its_shape_says(shape: Shape, way: str) -> None:
    assert took(ways(RunnableLambda(str) | built(shape))[way]) == expected(shape)


# -- what is written wrongly


SECONDS = "a number of seconds from 0 to 1e9"
RATE = "a number of tokens a second from 0.001 to 1e9"


@pytest.mark.parametrize("make", [lambda **timed: say("x", **timed), lambda **timed: reply("x", **timed)], ids=["say", "reply"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ttft_s": -1}, f"ttft_s= is {SECONDS}; got int -1"),
        ({"ttft_s": float("nan")}, f"ttft_s= is {SECONDS}; got float nan"),
        ({"ttft_s": float("inf")}, f"ttft_s= is {SECONDS}; got float inf"),
        ({"ttft_s": True}, f"ttft_s= is {SECONDS}; got bool True"),
        ({"ttft_s": "1"}, f"ttft_s= is {SECONDS}; got str '1'"),
        ({"tokens_per_s": 0}, f"tokens_per_s= is {RATE}; got int 0"),
        ({"tokens_per_s": -5}, f"tokens_per_s= is {RATE}; got int -5"),
        ({"tokens_per_s": float("nan")}, f"tokens_per_s= is {RATE}; got float nan"),
        ({"tokens_per_s": False}, f"tokens_per_s= is {RATE}; got bool False"),
    ],
)
def test_a_latency_that_is_none_is_refused_where_it_is_written(make: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ScriptError) as caught:
        make(**given)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "make", [lambda wrong: give("x", takes_s=wrong), lambda wrong: fail(429, takes_s=wrong)], ids=["give", "fail"]
)
def test_a_duration_that_is_none_is_refused_where_it_is_written(make: Any) -> None:
    with pytest.raises(ScriptError) as caught:
        make(-0.5)

    assert str(caught.value) == f"takes_s= is {SECONDS}; got float -0.5"


@pytest.mark.parametrize(("given", "name"), [({"ttft_s": 1}, "ttft_s"), ({"tokens_per_s": 1}, "tokens_per_s")])
def test_the_latency_of_an_answer_is_no_matter_of_its_parts(given: dict[str, Any], name: str) -> None:
    with pytest.raises(ScriptError) as caught:
        reply(say("x", **given))

    assert str(caught.value) == f"part 1 of reply() has a `{name}` of its own: say('x'); give it to the whole reply instead"


def test_steps_with_another_latency_are_other_steps() -> None:
    assert say("x", ttft_s=1) != say("x")
    assert fail(429, takes_s=1) != fail(429)
    assert give("x", takes_s=1) != give("x")


# -- where it is kept


def test_a_script_file_says_when_answers_come(tmp_path: Path) -> None:
    steps = [say("a", "b", ttft_s=0.8, tokens_per_s=50), fail(429, takes_s=2)]
    (tmp_path / "slow.yaml").write_text(write(steps))

    slow = ScriptedChatModel(script=Script.load(tmp_path / "slow.yaml"))

    assert took(lambda: slow.invoke("go")) == 0.82
    with pytest.raises(Exception, match="429"), record() as recording:
        slow.invoke("go")
    assert recording.took_s == 2.0


def _chained() -> Recording:
    """Branches, and an async stream whose steps are a task each."""
    said = ScriptedChatModel(say("Hi", ".", "Bye", ".", ttft_s=1, tokens_per_s=10))
    with record() as recording:
        ways(RunnableParallel(a=model(1), b=model(2)) | str | said | RunnableGenerator(spoken, aspoken))["astream"]()
    return recording


@pytest.mark.usefixtures("real_sleep")
def test_a_trace_keeps_its_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "traces.sqlite"))

    with tracing_enabled("mine"):
        recording = _chained()

    (loaded,) = load_traces("mine")
    assert [event.at_s for event in loaded] == [event.at_s for event in recording]
    assert loaded.took_s == recording.took_s == 3.7


def test_a_trace_that_travels_keeps_its_times(tmp_path: Path) -> None:
    recording = _chained()
    with Store(tmp_path / "a.sqlite") as here, Store(tmp_path / "b.sqlite") as there:
        here.keep("mine", [recording])
        with (tmp_path / "lines").open("w+") as lines:
            export(here, here.traces(), lines, lambda done, of: None)
            lines.seek(0)
            take_in(there, lines, lambda done, of: None)
        (arrived,) = there.traces()

        assert [event.at_s for event in there.load(arrived)] == [event.at_s for event in recording]


@pytest.mark.parametrize("wrong", [[-1, None, 1], [1, 0, 1], [1, None, -1], [1, None, 10**400], [1, None, True], ["1", None, 1]])
def test_a_line_with_times_that_cannot_be_is_no_trace(tmp_path: Path, wrong: list[Any]) -> None:
    with record() as recording:
        model(1).invoke("go")
    with Store(tmp_path / "a.sqlite") as store, (tmp_path / "lines").open("w+") as lines:
        store.keep("mine", [recording])
        export(store, store.traces(), lines, lambda done, of: None)
        lines.seek(0)
        line = json.loads(lines.read())
        line["events"][0][-2][-1] = [wrong]

        with pytest.raises(StoreError) as caught:
            take_in(store, [json.dumps(line)], lambda done, of: None)

    cause = clip(f"no latency: {', '.join(map(repr, wrong))}", 120)
    assert str(caught.value) == (
        f"line 1 is not a trace that `llmtest export` wrote (event 0 cannot be read (ValueError: {cause}))"
    )


# -- the program's own clocks


def test_the_programs_own_timeout_does_not_fire() -> None:
    async def program() -> None:
        await asyncio.wait_for(model(3600).ainvoke("go"), timeout=60)

    assert took(lambda: asyncio.run(program())) == 3600.0


def test_a_call_that_is_cancelled_at_a_gate_took_no_time() -> None:
    async def program() -> None:
        gate = hold()
        held = asyncio.create_task(ScriptedChatModel(reply(gate, "x", ttft_s=5)).ainvoke("go"))
        await gate.reached()
        held.cancel()
        await asyncio.wait([held])
        gate.release()

    with record() as recording:
        asyncio.run(program())

    assert recording.took_s == 0.0


@pytest.mark.parametrize("way", ["invoke", "stream", "astream"])
def test_who_was_held_at_a_gate_lost_no_time(way: str) -> None:
    gate = hold()
    gate.release()

    assert took(ways(ScriptedChatModel(say("a", gate, "b", ttft_s=5, tokens_per_s=1)))[way]) == 6.0


NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
EVENTS = {"invoke": ["invoke"], "async": ["ainvoke", "astream"], "threads": ["batch"]}


@pytest.mark.parametrize("called", EVENTS.values(), ids=EVENTS)
def test_wall_times_follow_freezegun(called: list[str]) -> None:
    with freezegun.freeze_time(NEW_YEAR) as frozen, record() as recording:
        for way in called:
            ways(model(5) | StrOutputParser())[way]()
        before = len(recording)
        frozen.tick(60)
        model(5).invoke("go")

    assert {event.time for event in recording[:before]} == {NEW_YEAR}
    assert {event.time for event in recording[before:]} == {NEW_YEAR.replace(minute=1)}
    assert recording.took_s == 5.0 * (len(called) + 1)


@pytest.mark.parametrize("called", EVENTS.values(), ids=EVENTS)
def test_wall_times_follow_time_machine(called: list[str]) -> None:
    with time_machine.travel(NEW_YEAR, tick=False) as travelled, record() as recording:
        for way in called:
            ways(model(5) | StrOutputParser())[way]()
        before = len(recording)
        travelled.shift(60)
        model(5).invoke("go")

    assert {event.time for event in recording[:before]} == {NEW_YEAR}
    assert {event.time for event in recording[before:]} == {NEW_YEAR.replace(minute=1)}
    assert recording.took_s == 5.0 * (len(called) + 1)


def test_wall_times_are_real_again_when_the_clock_runs() -> None:
    with freezegun.freeze_time(NEW_YEAR), record():
        model(1).invoke("go")

    with record() as recording:
        model(1).invoke("go")

    assert abs(recording[0].time - datetime.now(UTC)).total_seconds() < 60


@pytest.mark.usefixtures("real_sleep")
def test_asyncios_sleep_never_ends_where_freezegun_stopped_the_clock_of_the_loop() -> None:
    """What the page on latencies says: the loop has no clock then, and no answer of ours waits for it."""

    async def program(rounds: int) -> bool:
        asleep = asyncio.create_task(asyncio.sleep(0.000001))
        for _ in range(rounds):
            await model(1).ainvoke("go")
            await asyncio.sleep(0)
        done = asleep.done()
        asleep.cancel()
        return done

    with freezegun.freeze_time(NEW_YEAR):
        assert asyncio.run(program(50)) is False
    with freezegun.freeze_time(NEW_YEAR, real_asyncio=True):
        assert asyncio.run(program(50)) is True
    with time_machine.travel(NEW_YEAR, tick=False):
        assert asyncio.run(program(50)) is True
