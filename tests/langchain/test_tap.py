"""What LangChain fires arrives in the recording: every callback, in order, as it was, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, dispatch_custom_event
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import create_base_retry_decorator
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.tracers.context import _configure_hooks

from llmtest import ScriptedChatModel, ScriptedLLM, call, fail, record, say
from llmtest.capture import blocks as rooms
from llmtest.capture import membership
from llmtest.events import Document as FrozenDocument
from llmtest.events import Failure, Message, Opaque
from llmtest.langchain import tap
from llmtest.ledger import Ledger, opened
from tests.support.tools import Shelf, weather

# -- every callback


def _agent_executor() -> Any:
    from langchain_classic.agents import AgentExecutor, create_react_agent
    from langchain_core.prompts import PromptTemplate

    prompt = PromptTemplate.from_template("{tools} {tool_names} {input} {agent_scratchpad}")
    model = ScriptedLLM("Thought: x\nAction: weather\nAction Input: Paris", "I know.\nFinal Answer: 18C")
    return AgentExecutor(agent=create_react_agent(model, [weather], prompt), tools=[weather])


def _legacy_chain() -> Any:
    from langchain_classic.chains.llm import LLMChain
    from langchain_core._api import suppress_langchain_deprecation_warning
    from langchain_core.prompts import PromptTemplate

    with suppress_langchain_deprecation_warning():
        return LLMChain(llm=ScriptedLLM("3"), prompt=PromptTemplate.from_template("1 + {number} = "))


def _retrying(value: Any, config: RunnableConfig) -> str:
    from langchain_core.callbacks import CallbackManager

    manager = CallbackManager.configure(config["callbacks"]).on_llm_start({}, ["p"])[0]
    attempts = iter([ConnectionError("reset"), None])

    @create_base_retry_decorator([ConnectionError], max_retries=2, run_manager=manager)
    def flaky() -> str:
        error = next(attempts)
        if error:
            raise error
        return "done"

    flaky.retry.wait = lambda state: 0  # type: ignore[attr-defined]
    return str(flaky())


def _stream_v3() -> Any:
    return RunnableLambda(lambda x: list(ScriptedChatModel(say("a", "b")).stream_events("hi", version="v3")))


CASES: dict[str, tuple[Any, Any, str, dict[str, Any]]] = {
    "on_llm_start": (lambda: ScriptedLLM("x"), "hi", "prompts", {"prompts": ["hi"]}),
    "on_chat_model_start": (lambda: ScriptedChatModel("x"), "hi", "messages", {"messages": [Message("human", "hi")]}),
    "on_llm_new_token": (lambda: ScriptedLLM(say("a", "b"), streaming=True), "hi", "token", {"token": "a"}),
    "on_chain_start": (lambda: RunnableLambda(lambda x: x + 1), 1, "inputs", {"inputs": 1}),
    "on_chain_end": (lambda: RunnableLambda(lambda x: x + 1), 1, "outputs", {"outputs": 2}),
    "on_tool_start": (lambda: weather, {"city": "Paris"}, "inputs", {"inputs": {"city": "Paris"}}),
    "on_tool_end": (lambda: weather, {"city": "Paris"}, "output", {"output": "18C in Paris"}),
    "on_retriever_start": (Shelf, "cats", "query", {"query": "cats"}),
    "on_retriever_end": (Shelf, "cats", "documents", {"documents": [FrozenDocument("a book", {"about": "cats"}, "b1")]}),  # type: ignore[arg-type]
    "on_agent_action": (_agent_executor, {"input": "weather?"}, "tool", {"tool": "weather"}),
    "on_agent_finish": (_agent_executor, {"input": "weather?"}, "return_values", {"return_values": {"output": "18C"}}),
    "on_text": (_legacy_chain, {"number": 2}, "text", {"text": "Prompt after formatting:\n\x1b[32;1m\x1b[1;3m1 + 2 = \x1b[0m"}),
    "on_retry": (lambda: RunnableLambda(_retrying), 1, "attempt_number", {"attempt_number": 1}),
    "on_custom_event": (
        lambda: RunnableLambda(lambda x: dispatch_custom_event("seen", {"x": x})),
        1,
        "data",
        {"data": {"x": 1}},
    ),
    "on_stream_event": (_stream_v3, 1, "event", {"event": {"event": "message-start", "role": "ai"}}),
}


if not hasattr(BaseChatModel, "stream_events"):  # langchain-core before 1.4 has no stream events of a model
    del CASES["on_stream_event"]


@pytest.mark.parametrize("kind", CASES)
def test_each_callback_is_recorded_with_its_arguments(kind: str) -> None:
    make, given, key, expected = CASES[kind]
    program = make()

    with record() as recording:
        program.invoke(given)

    event = next(e for e in recording if e.kind == kind)
    got = event.payload[key]
    assert {key: {k: v for k, v in got.items() if k != "id"} if kind == "on_stream_event" else got} == expected


@pytest.mark.parametrize(
    ("kind", "make", "given", "failure"),
    [
        ("on_llm_error", lambda: ScriptedChatModel(fail(ConnectionError("reset"))), "hi", Failure("ConnectionError", "reset")),
        ("on_chain_error", lambda: RunnableLambda(lambda x: 1 / x), 0, Failure("ZeroDivisionError", "division by zero")),
        ("on_tool_error", lambda: weather, {"city": "Atlantis"}, Failure("ValueError", "no such city")),
        ("on_retriever_error", Shelf, "nothing", Failure("LookupError", "no book")),
    ],
)
def test_each_error_is_recorded_and_reaches_the_caller_unchanged(kind: str, make: Any, given: Any, failure: Failure) -> None:
    program = make()

    with record() as recording, pytest.raises(Exception, match=failure.message):
        program.invoke(given)

    assert recording[-1].kind == kind
    assert recording[-1].payload["error"] == failure
    assert recording.errors == [failure]


async def _each_way(model: Any) -> AsyncIterator[Any]:
    yield await asyncio.to_thread(model.invoke, "hi")
    yield await model.ainvoke("hi")
    yield [chunk async for chunk in model.astream("hi")]
    yield await asyncio.to_thread(lambda: list(model.stream("hi")))
    yield await model.abatch(["hi"])
    yield [event async for event in model.astream_events("hi", version="v2")]


@pytest.mark.asyncio
async def test_every_way_of_calling_a_model_has_one_start_and_one_end() -> None:
    model = ScriptedChatModel(*["Hello"] * 6)

    with record() as recording:
        async for _ in _each_way(model):
            pass

    assert [run.ended for run in recording.models] == ["ended"] * 6
    assert [e.kind for e in recording if e.kind != "on_llm_new_token"] == ["on_chat_model_start", "on_llm_end"] * 6


# -- which recording


def test_nested_blocks_both_see_the_inner_call() -> None:
    model = ScriptedChatModel("a", "b", "c")

    with record() as outer:
        model.invoke("1")
        with record() as inner:
            model.invoke("2")
        model.invoke("3")

    assert [m.input[0].content for m in outer.models] == ["1", "2", "3"]
    assert [m.input[0].content for m in inner.models] == ["2"]


def test_a_block_opened_inside_a_running_chain_sees_the_rest_of_it_once() -> None:
    seen = []

    def work(value: str, config: RunnableConfig) -> Any:
        with record() as inner:
            result = ScriptedChatModel("x").invoke(value, config)
        seen.append(inner)
        return result

    with record() as outer:
        RunnableLambda(work).invoke("hi")

    assert seen[0].kinds == ["on_chat_model_start", "on_llm_end"]
    assert outer.kinds == ["on_chain_start", "on_chat_model_start", "on_llm_end", "on_chain_end"]


@pytest.mark.asyncio
async def test_tasks_with_a_block_each_see_their_own_calls() -> None:
    model = ScriptedChatModel(say("x").times(3))

    async def one(number: int) -> list[str]:
        with record() as recording:
            await model.ainvoke(str(number))
        return [m.input[0].content for m in recording.models]

    assert await asyncio.gather(*map(one, range(3))) == [["0"], ["1"], ["2"]]


@pytest.mark.asyncio
@pytest.mark.llm_waive("unseen call", reason="the recording does not reach it, and says so")
async def test_a_task_started_before_the_block_is_not_in_it() -> None:
    gate, started = asyncio.Event(), asyncio.Event()
    model = ScriptedChatModel("early", "inside")

    async def early() -> None:
        started.set()
        await gate.wait()
        await model.ainvoke("from before")

    task = asyncio.create_task(early())
    await started.wait()
    with record() as recording:
        gate.set()
        await task
        await model.ainvoke("from inside")

    assert [m.input[0].content for m in recording.models] == ["from inside"]
    assert [(call.double, call.cause) for call in recording.unseen_calls] == [("ScriptedChatModel", "other context")]


@pytest.mark.asyncio
async def test_what_outlives_the_block_is_late_and_not_lost() -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    async def slow(value: str) -> str:
        started.set()
        await gate.wait()
        return value

    with record() as recording:
        task = asyncio.create_task(RunnableLambda(slow).ainvoke("x"))
        await started.wait()
    gate.set()
    await task

    assert recording.kinds == ["on_chain_start"]
    assert [run.ended for run in recording.open_runs] == ["open"]
    assert [e.kind for e in recording.late_events] == ["on_chain_end"]


@pytest.mark.llm_waive("unseen call", reason="the bare thread is the point")
def test_batch_and_copied_contexts_are_in_the_block_and_a_bare_thread_is_not() -> None:
    model = ScriptedChatModel(*"abcdef")

    with record() as recording:
        model.batch(["batch", "batch"])
        RunnableParallel(a=model, b=model).invoke("parallel")
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(context.run, model.invoke, "copied").result()
        bare = threading.Thread(target=model.invoke, args=("bare",))
        bare.start()
        bare.join()

    assert sorted(m.input[0].content for m in recording.models) == ["batch", "batch", "copied", "parallel", "parallel"]


def test_a_block_left_in_another_context_takes_nothing_new() -> None:
    model = ScriptedChatModel("a", "b")
    here = contextvars.copy_context()
    block = record()

    recording = here.run(block.__enter__)
    here.run(model.invoke, "inside")
    block.__exit__(None, None, None)
    here.run(model.invoke, "after")

    assert [m.input[0].content for m in recording.models] == ["inside"]


def test_nothing_of_a_recording_stays_behind_when_it_is_gone() -> None:
    gc.collect()
    before = len(rooms.memberships)
    model = ScriptedChatModel(*["x"] * 100)
    with opened(Ledger()), record():  # the page of this test would keep the recording, to show it if the test fails
        for _ in range(100):
            model.invoke("hi")

    gc.collect()

    assert len(rooms.memberships) == before


def test_many_blocks_register_one_hook() -> None:
    with record():
        before = len(_configure_hooks)

    for _ in range(100):
        with record():
            pass

    assert len(_configure_hooks) == before


@pytest.mark.usefixtures("nothing_open")
def test_without_an_open_block_the_tap_is_not_attached() -> None:
    class Colleagues(BaseCallbackHandler):
        seen: Any = None

    def look(value: Any, config: RunnableConfig) -> Any:
        return list(config["callbacks"].handlers)  # type: ignore[union-attr]

    with record():
        inside = RunnableLambda(look).invoke(1)
    outside = RunnableLambda(look).invoke(1, {"callbacks": [Colleagues()]})

    assert inside == [tap.TAP]
    assert [type(h) for h in outside] == [Colleagues]


# -- as it was at that moment


def test_what_the_program_changes_after_the_event_does_not_show() -> None:
    payload: dict[str, Any] = {"steps": ["one"]}

    def work(value: dict[str, Any]) -> dict[str, Any]:
        value["steps"].append("two")
        return value

    with record() as recording:
        RunnableLambda(work).invoke(payload)
    payload["steps"].append("three")

    assert recording[0].payload["inputs"] == {"steps": ["one"]}
    assert recording[1].payload["outputs"] == {"steps": ["one", "two"]}


def test_a_message_edited_in_place_between_two_calls_shows_in_the_second() -> None:
    model = ScriptedChatModel("a", "b")
    message = HumanMessage("first")
    blocks = HumanMessage([{"type": "text", "text": "one"}])

    with record() as recording:
        model.invoke([message, blocks])
        message.content = "second"
        blocks.content[0]["text"] = "two"  # type: ignore[index]
        model.invoke([message, blocks])

    assert [[m.text for m in run.input] for run in recording.models] == [["first", "one"], ["second", "two"]]


def test_a_message_that_did_not_change_is_stored_once() -> None:
    message = HumanMessage("same")
    model = ScriptedChatModel("a", "b")

    with record() as recording:
        model.invoke([message])
        model.invoke([message])

    first, second = (run.input[0] for run in recording.models)
    assert first is second


def test_a_value_that_cannot_be_frozen_is_described_without_its_address() -> None:
    class Strange:
        pass

    with record() as recording:
        RunnableLambda(lambda x: [Strange(), len, Strange, (n for n in x)]).invoke([1])

    assert recording[1].payload["outputs"] == [
        Opaque("Strange"),
        Opaque("function len"),
        Opaque("type Strange"),
        Opaque("generator"),
    ]


# -- how a run ended


class _Cut(BaseException):
    pass


def _ends(error: BaseException) -> Any:
    def work(value: Any) -> Any:
        raise error

    return RunnableLambda(work)


def test_how_a_run_ended_tells_control_flow_from_errors() -> None:
    from langgraph.errors import GraphInterrupt, ParentCommand
    from langgraph.types import Command

    causes: dict[str, BaseException] = {
        "error": ValueError("x"),
        "cancelled": asyncio.CancelledError(),
        "closed early": GeneratorExit(),
        "paused": GraphInterrupt(()),
        "handed off": ParentCommand(Command(goto="other")),
        "stopped": KeyboardInterrupt(),
    }

    with record() as recording:
        for cause in causes.values():
            with pytest.raises(type(cause)):
                _ends(cause).invoke(1)

    assert [run.ended for run in recording.runs] == list(causes)
    assert [failure.type for failure in recording.errors] == ["ValueError", "KeyboardInterrupt"]


# -- the program does not notice


class Sync(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_llm_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("start")

    def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("token")

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("end")


class Inline(Sync):
    run_inline = True


class Async(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_llm_start(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("start")

    async def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("token")

    async def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.seen.append("end")


@pytest.mark.asyncio
@pytest.mark.parametrize("colours", [[Sync], [Async], [Inline], [Sync, Async], [Sync, Inline], [Sync, Async, Inline]])
async def test_other_handlers_of_an_async_text_model_see_what_they_see_without_us(colours: list[type[Any]]) -> None:
    async def run() -> list[list[str]]:
        handlers = [colour() for colour in colours]
        model = ScriptedLLM(say("a", "b"), "c", "d", streaming=True)
        await model.ainvoke("one", {"callbacks": handlers})
        await model.agenerate(["two", "three"], callbacks=handlers)
        return [handler.seen for handler in handlers]

    without = await run()
    with record() as recording:
        beside = await run()

    assert beside == without
    assert [run.ended for run in recording.models] == ["ended"] * 3


def test_upstream_still_starves_handlers_beside_an_inline_one() -> None:
    """Fails when https://github.com/langchain-ai/langchain/issues/39633 is fixed: then `_mend_llm_start` can go."""
    sync, inline = Sync(), Inline()

    asyncio.run(ScriptedLLM("a").ainvoke("x", {"callbacks": [sync, inline]}))

    assert (sync.seen, inline.seen) == (["end"], ["start", "end"])


def test_a_method_that_changed_upstream_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_core.callbacks import AsyncCallbackManager

    async def on_llm_start(self: Any, prompts: list[str]) -> list[Any]:
        return []

    monkeypatch.setattr(AsyncCallbackManager, "on_llm_start", on_llm_start)
    tap._mend_llm_start()

    assert AsyncCallbackManager.on_llm_start is on_llm_start  # type: ignore[comparison-overlap]


def test_a_stream_is_as_lazy_recorded_as_not() -> None:
    made = []

    def numbers(value: Iterator[int]) -> Iterator[int]:
        for number in value:
            made.append(number)
            yield number

    with record():
        stream = RunnableLambda(lambda x: x).stream(1)
        assert made == []
        list(stream)

    model = ScriptedChatModel(say("a", "b", "c"))
    with record() as recording:
        stream = model.stream("x")
        next(stream)
        stream.close()  # type: ignore[attr-defined]

    assert recording.kinds == ["on_chat_model_start", "on_llm_new_token", "on_llm_error"]
    assert recording.models[0].ended == "closed early"


# -- who fired it


@pytest.mark.asyncio
async def test_an_event_knows_its_thread_and_its_task() -> None:
    model = ScriptedChatModel("a", "b")

    with record() as recording:
        await asyncio.create_task(model.ainvoke("x"), name="worker")
        await asyncio.to_thread(model.invoke, "y")

    on_loop, _, in_thread, _ = recording
    assert (on_loop.task, on_loop.thread) == ("worker", "MainThread")
    assert in_thread.task is None
    assert (in_thread.thread or "").startswith("asyncio_")


def test_threads_that_copied_the_context_know_where_they_came_from() -> None:
    with record() as recording:
        RunnableParallel(a=RunnableLambda(lambda x: x), b=RunnableLambda(lambda x: x)).invoke(1)

    root, *branches = recording.runs
    assert root.start.lane is not None
    assert [branch.start.lane.parent is root.start.lane for branch in branches if branch.start.lane] == [True, True]


def test_tokens_keep_what_their_chunk_carried() -> None:
    model = ScriptedChatModel(call("weather", city="Paris").with_id("c1")).bind_tools([weather])

    with record() as recording:
        list(model.stream("x"))

    tokens = [e.payload for e in recording if e.kind == "on_llm_new_token"]
    assert tokens[0]["tool_call_chunks"][0] == {
        "name": "weather",
        "args": "",
        "id": "c1",
        "index": 0,
        "type": "tool_call_chunk",
    }
    assert "".join(t["tool_call_chunks"][0]["args"] for t in tokens[:-1]) == '{"city": "Paris"}'
    assert (tokens[-1]["token"], tokens[-1]["usage"].output_tokens) == ("", 10)


def test_a_run_without_a_name_takes_the_name_of_its_class() -> None:
    handler = tap.Tap()

    assert handler.run_inline
    assert tap._name(None) == "unnamed"
    assert tap._name({"id": ["langchain", "llms", "OpenAI"]}) == "OpenAI"
    assert tap._name({"name": "n", "id": ["x"]}) == "n"


def _graph_with_nameless_steps() -> Any:
    from langgraph.graph import END, START, MessagesState, StateGraph

    graph = StateGraph(MessagesState)
    graph.add_node("node", functools.partial(lambda extra, state: {"messages": [extra]}, "hi"))
    graph.add_edge(START, "node")
    graph.add_conditional_edges("node", lambda state: END)
    return graph.compile()


def test_a_step_of_a_graph_without_a_name_has_one_name_in_sync_and_async_code() -> None:
    with record() as sync:
        _graph_with_nameless_steps().invoke({"messages": []})
    with record() as awaited:
        asyncio.run(_graph_with_nameless_steps().ainvoke({"messages": []}))
    with record() as streamed:
        asyncio.run(_read(_graph_with_nameless_steps()))

    assert str(sync) == str(awaited) == str(streamed)
    assert "unnamed" not in str(sync)


async def _read(graph: Any) -> None:
    async for _ in graph.astream({"messages": []}):
        pass


def test_upstream_still_tells_no_name_of_a_nameless_step_in_async_code() -> None:
    """Fails when https://github.com/langchain-ai/langgraph/pull/8294 is merged: then `_name_of_graph_step` can go."""
    heard: list[str | None] = []

    class Names(BaseCallbackHandler):
        def on_chain_start(self, *_: Any, **about: Any) -> None:
            heard.append(about.get("name"))

    asyncio.run(_graph_with_nameless_steps().ainvoke({"messages": []}, {"callbacks": [Names()]}))

    assert None in heard


def test_an_ai_message_is_a_frozen_word() -> None:
    message = AIMessage("x", id="m1", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c1"}])

    with record() as recording:
        RunnableLambda(lambda x: x).invoke(message)

    with pytest.raises(TypeError, match="read-only"):
        recording[0].payload["inputs"].tool_calls[0].args["a"] = 2


def test_a_recording_that_is_gone_gets_nothing_and_nothing_breaks() -> None:
    model = ScriptedChatModel(say("a", "b"), "c")

    def work(value: Iterator[int], config: RunnableConfig) -> Iterator[Any]:
        yield 1
        gc.collect()
        yield model.invoke("inner", config)

    gc.collect()
    before = len(rooms.memberships)
    with opened(Ledger()):
        block = record()
        block.__enter__()
        stream = model.stream("x")
        outer = RunnableLambda(work).stream(1)
        first = (next(stream), next(outer))
        block.__exit__(None, None, None)
        del block
    gc.collect()

    rest = [list(stream), list(outer)]

    assert first[0].content == "a"
    assert [chunk.content for chunk in rest[0]] == ["b"]
    assert rest[1][0].content == "c"
    assert len(rooms.memberships) == before


@pytest.mark.asyncio
async def test_a_long_stream_does_not_grow_a_chain_of_lanes() -> None:
    chain = RunnableLambda(lambda x: x) | ScriptedChatModel(say(tokens=["x"] * 50))

    with record() as recording:
        async for _ in chain.astream("hi"):
            pass

    depths = []
    for event in recording:
        depth, lane = 0, event.lane
        while lane is not None:
            depth, lane = depth + 1, lane.parent
        depths.append(depth)
    assert max(depths) < 8


@pytest.mark.asyncio
async def test_tasks_that_are_spawned_in_a_block_know_that_they_come_from_there() -> None:
    model = ScriptedChatModel(say("x").times(2))

    with record() as recording:
        await asyncio.gather(model.ainvoke("a"), model.ainvoke("b"))

    first, second = (run.start.lane for run in recording.models)
    assert first is not None
    assert second is not None
    assert first is not second
    assert first.parent is second.parent is not None


def test_callbacks_of_a_run_that_nobody_records_go_nowhere() -> None:
    before = len(rooms.memberships)
    run_id = uuid.uuid4()

    tap.TAP.on_chain_start({}, {"x": 1}, run_id=run_id)
    tap.TAP.on_llm_new_token("x", run_id=run_id)
    tap.TAP.on_llm_end(LLMResult(generations=[]), run_id=run_id)
    tap.TAP.on_chain_end({}, run_id=run_id)

    assert len(rooms.memberships) == before
    assert membership.membership(run_id) is None
