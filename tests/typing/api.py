"""The whole public interface as a type checker sees it: checked by mypy (strict), never run."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, assert_type
from uuid import UUID

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import StructuredTool

from llmtest import (
    LlmtestError,
    Recording,
    Script,
    ScriptedChatModel,
    ScriptedEmbeddings,
    ScriptedLLM,
    ScriptedRetriever,
    ViolationError,
    call,
    carry_context,
    count_tokens,
    expect_violation,
    fail,
    give,
    hold,
    load_traces,
    on,
    record,
    reply,
    respond,
    say,
    scripted_tool,
    structured,
    think,
    tracing_enabled,
)
from llmtest.errors import ScriptError, Violation
from llmtest.events import Ended, Event, Failure, FrozenDict, FrozenList, Message, Run, RunKind, ToolCall, Usage
from llmtest.langchain.embeddings import Embedded
from llmtest.matching import Rule, never
from llmtest.recording.views import Kinds, Runs
from llmtest.scripts import Request
from llmtest.scripts.gates import Gate
from llmtest.scripts.requests import KeyedSteps, On
from llmtest.scripts.step_types import Fail, Reply, Respond, Return, Step
from llmtest.tokens import Counts, ModelCall, TokenCount
from llmtest.tracing.session import Session
from llmtest.wire import scripted_server


def search(q: str) -> str:
    return q


def answer(request: Request) -> str:
    return request.text


async def answer_later(request: Request) -> Reply:
    return say(*request.tools)


def scripts() -> None:
    gate = hold(timeout_s=2)
    assert_type(gate, Gate)
    assert_type(say("It is ", gate, "sunny."), Reply)
    assert_type(say("It is ", "sunny."), Reply)
    assert_type(say(tokens=["whole"], usage=(7, 2), stop_reason="stop", response_metadata={"region": "eu"}), Reply)
    assert_type(say("a", usage=False), Reply)
    assert_type(say("a", usage=Usage(7, 2, 9)), Reply)
    assert_type(say("a", usage={"input_tokens": 7, "output_tokens": 2}), Reply)
    assert_type(think("hm"), Reply)
    assert_type(call("search", q="x", limit=3), Reply)
    assert_type(call(search, {"class": 2}).with_id("call_7"), Reply)
    assert_type(reply(think("hm"), "Let me look", call("search", q="x"), usage=(3, 4)), Reply)
    assert_type(say("a").then_fail(ConnectionError("reset")), Reply)
    assert_type(reply("Let me look", gate, call("search", q="x")), Reply)
    assert_type(fail(429, retry_after=2), Fail)
    assert_type(fail("TimeoutError"), Fail)
    assert_type(fail(TimeoutError), Fail)
    assert_type(say("a", "b", ttft_s=0.8, tokens_per_s=50), Reply)
    assert_type(reply(call("search", q="x"), ttft_s=1), Reply)
    assert_type(fail(TimeoutError, takes_s=30), Fail)
    assert_type(give("18C", takes_s=0.3), Return)

    assert_type(structured({"name": "Ada"}), Reply)
    assert_type(say("a").times(2).optional().unchecked().expects(contains="b", tools={"search"}, last="human"), Reply)
    assert_type(fail(429).repeat(), Fail)
    assert_type(call("search", q="x").deltas('{"q": ', '"x"}').then_truncate(), Reply)
    assert_type(say("It is ").then_wait(timeout_s=60), Reply)
    assert_type(respond(answer), Respond)
    assert_type(respond(answer_later).times(2), Respond)
    assert_type(on(contains="weather", node="plan*", metadata={"step": 1}), On)
    assert_type(on(tools={"search"}) >> say("a"), KeyedSteps)

    script = Script("Hello", say("a"), AIMessage("b"), ValueError("c"), on(tag="a") >> Script("d"))
    assert_type(script.steps, tuple[Step, ...])
    assert_type(script.remaining, int)
    assert_type(script.violations, list[Violation])
    assert_type(Script.load("script.yaml"), Script)
    script.dump(Path("script.yaml"))
    script.verify()


def models() -> None:
    chat = ScriptedChatModel("Hello", call("search", q="x"), model_name="mine", streaming=True)
    assert_type(chat, ScriptedChatModel)
    assert_type(ScriptedChatModel.auto(seed=1), ScriptedChatModel)
    assert_type(chat.invoke("Hi"), AIMessage)
    bound: Runnable[Any, BaseMessage] = chat.bind_tools([search], tool_choice="auto")
    bound.invoke("Hi")
    chat.verify()

    text = ScriptedLLM(script=Script("Hello"))
    assert_type(text.invoke("Hi"), str)
    text.verify()


def doubles() -> None:
    retriever = ScriptedRetriever(["a", Document("b")], "c", give("d").repeat(), TimeoutError, k=2, name="docs")
    assert_type(retriever.invoke("q"), list[Document])
    assert_type(give(["a"]).times(2).expects(contains="b"), Return)
    retriever.verify()

    tool: StructuredTool = scripted_tool(search, "a", fail(TimeoutError), description="Search.")
    tool.invoke({"q": "x"})
    scripted_tool("search", respond(lambda request: request.args["q"]), args={"q": str}).verify()
    scripted_tool(tool, on(contains="x") >> "a")

    embeddings = ScriptedEmbeddings(size=2, vectors={"cat": [1, 0.0]}, texts=["cat", "kitten"])
    assert_type(embeddings.embed_query("cat"), list[float])
    assert_type(embeddings.calls, list[Embedded])
    embeddings.verify()


def recordings() -> None:
    with record() as recording:
        pass
    assert_type(recording, Recording)
    assert_type(record(rules=[never("delete_*")]).rules, tuple[Rule, ...])
    assert_type(recording[0], Event)
    assert_type(recording[1:], list[Event])
    assert_type([event.kind for event in recording], list[str])
    assert_type(recording.kinds, Kinds)
    assert_type(recording.late_events, list[Event])
    assert_type(recording.runs, Runs)
    assert_type(recording.roots, tuple[Run, ...])
    assert_type(recording.took_s, float)
    assert_type(recording.tools, Runs)
    assert_type(recording.models, Runs)
    assert_type(recording.retrievers, Runs)
    assert_type(recording.open_runs, Runs)
    assert_type(recording.errors, list[Failure])
    assert_type(recording.usage, Usage)
    assert_type(recording.closed, bool)
    assert_type(recording.run("search"), Run)
    assert_type(recording.tools[0], Run)
    assert_type(recording.tools[1:], Runs)
    assert_type(recording.tools == ["search", "book"], bool)
    sequences: tuple[Sequence[Event], Sequence[Run]] = (recording, recording.runs)
    assert sequences


def counts() -> None:
    with count_tokens(prices={"gpt-5": (1.25, 10), "other": (1, 2, 0.5, 1.5)}) as tokens:
        pass
    assert_type(tokens, TokenCount)
    assert_type(tokens.input_tokens + tokens.requests + tokens.cached + tokens.successful_requests, int)
    assert_type(tokens.usage, Usage)
    assert_type(tokens.input_details, FrozenDict)
    assert_type(tokens.total_cost, float)
    assert_type(tokens.by_model, dict[str | None, Counts])
    assert_type(tokens.by_tag["a"].total_tokens, int)
    assert_type(tokens.by_node, dict[str, Counts])
    assert_type(tokens.calls + tokens.late, list[ModelCall])


def traces() -> None:
    with scripted_server({"openai:gpt-5": ["Hello"]}, real_time=True) as server:
        assert_type(server.url, str)
        assert_type(server.env, dict[str, str])
        assert_type([entry.path for entry in server.requests], list[str])
    with tracing_enabled("mine") as session:
        pass
    assert_type(session, Session)
    assert_type(session.recording, Recording)
    assert_type(load_traces("mine", store="traces.sqlite"), list[Recording])

    @tracing_enabled()
    def work(text: str) -> int:
        return len(text)

    assert_type(work("hi"), int)


def decorators() -> None:
    tokens = count_tokens()

    @tokens
    def ask(text: str) -> int:
        return len(text)

    @record()
    async def ask_later(text: str) -> int:
        return len(text)

    assert_type(ask("hi"), int)
    later: Coroutine[Any, Any, int] = ask_later("hi")
    later.close()
    assert_type(carry_context(ask)("hi"), int)


async def async_recordings() -> None:
    async with record() as recording:
        pass
    assert_type(recording, Recording)


def words(event: Event, run: Run, message: Message, tool_call: ToolCall) -> None:
    assert_type(event.run_id, UUID)
    assert_type(event.parent_run_id, UUID | None)
    assert_type(event.tags, tuple[str, ...])
    assert_type(event.payload, FrozenDict)
    assert_type(event.time, datetime)
    assert_type(event.thread, str | None)
    assert_type(event.task, str | None)
    assert_type(event.at_s, float)

    assert_type(run.kind, RunKind)
    assert_type(run.ended, Ended)
    assert_type(run.took_s, float | None)
    assert_type(run.error, Failure | None)
    assert_type(run.args, FrozenDict)
    assert_type(run.usage, Usage | None)
    assert_type(run.children, Sequence[Run])
    assert_type(list(run.walk()), list[Run])

    assert_type(message.text, str)
    assert_type(message.content, str | FrozenList)
    assert_type(message.tool_calls, tuple[ToolCall, ...])
    assert_type(tool_call.args, FrozenDict | str)
    assert_type(Usage(7, 2, 9) + Usage(), Usage)


def violations(error: ViolationError) -> None:
    with expect_violation("unexpected call") as caught:
        ScriptedChatModel().invoke("Hi")
    assert_type(caught, list[Violation])
    assert_type(error.violations, tuple[Violation, ...])
    assert_type(caught[0].code, str)
    errors: list[LlmtestError] = [error, ScriptError("no")]
    failed: list[AssertionError] = [error]
    assert errors
    assert failed
