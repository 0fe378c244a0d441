"""Faults in place of the bodies of real tools and retrievers, sync and async, of any class."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import (
    LLM,
    BaseChatModel,
    FakeListChatModel,
    FakeListLLM,
    FakeMessagesListChatModel,
    FakeStreamingListLLM,
    GenericFakeChatModel,
)
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, GenerationChunk
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, StructuredTool, ToolException, tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from llmtest import ScriptedChatModel, ScriptedRetriever, record, scripted_tool
from llmtest.campaigns import faults
from llmtest.campaigns.calls import calls_of
from llmtest.campaigns.injection import Injection
from llmtest.campaigns.kinds import faults_at
from llmtest.errors import StatusError
from llmtest.langchain import injecting
from llmtest.recording.recording import Recording


@tool
def plain(q: str) -> str:
    """Search."""
    ran.append(q)
    return f"found {q}"


@tool
async def asynchronous(q: str) -> str:
    """Search."""
    ran.append(q)
    return f"found {q}"


@tool(response_format="content_and_artifact")
def with_artifact(q: str) -> tuple[str, int]:
    """Search."""
    ran.append(q)
    return f"found {q}", 7


class OwnRun(BaseTool):
    name: str = "own"
    description: str = "Has a `run` of its own."

    def _run(self, q: str) -> str:
        ran.append(q)
        return f"found {q}"

    def run(self, *args: Any, **kwargs: Any) -> Any:
        return super().run(*args, **kwargs)


class Docs(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        ran.append(query)
        return [Document(page_content=query)]


class OldDocs(BaseRetriever):
    def _get_relevant_documents(self, query: str) -> list[Document]:  # type: ignore[override]
        ran.append(query)
        return [Document(page_content=query)]


ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def invoke(called: Any, *, is_async: bool) -> Any:
    value = "x" if isinstance(called, BaseRetriever) else {"q": "x"}
    return asyncio.run(called.ainvoke(value)) if is_async else called.invoke(value)


def under(called: Any, kind: str, *, is_async: bool) -> tuple[Any, Recording, Injection]:
    with record() as clean:
        invoke(called, is_async=is_async)
    ran.clear()
    (fault,) = faults_at(calls_of(clean), [kind])
    recording = record()
    with Injection(recording, [fault]) as injection, recording:
        try:
            return invoke(called, is_async=is_async), recording, injection
        except Exception as error:
            return error, recording, injection


WAYS = [
    *((called, False) for called in (plain, with_artifact, OwnRun(), scripted_tool(plain, *["found x"] * 9))),
    *((called, True) for called in (plain, asynchronous, with_artifact, OwnRun(), scripted_tool(plain, *["found x"] * 9))),
]


@pytest.mark.parametrize(("called", "is_async"), WAYS, ids=[str(n) for n in range(len(WAYS))])
def test_a_tool_raises_in_its_own_run_and_its_body_does_not_run(called: Any, is_async: bool, outside) -> None:
    error, recording, injection = under(called, "timeout", is_async=is_async)

    assert isinstance(error, TimeoutError)
    assert recording.tools[0].ended == "error"
    assert ran == []
    assert len(recording.tools) == len(injection.came) == 1


@pytest.mark.parametrize(("called", "is_async"), WAYS, ids=[str(n) for n in range(len(WAYS))])
def test_a_tool_gives_another_value(called: Any, is_async: bool, outside) -> None:
    value, recording, _ = under(called, "error text", is_async=is_async)

    assert value == recording.tools[0].output == "Error: 503 Service Unavailable"
    assert ran == []


@pytest.mark.parametrize(("called", "is_async"), [(plain, False), (asynchronous, True), (OwnRun(), False)])
def test_a_tool_raises_after_its_effect(called: Any, is_async: bool) -> None:
    error, _, injection = under(called, "error after effect", is_async=is_async)

    assert isinstance(error, RuntimeError)
    assert ran == ["x"]
    assert sum(injection.bodies.values()) == 1


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("make", [Docs, lambda: ScriptedRetriever(*[["a"]] * 9)])
def test_a_retriever_finds_nothing_or_raises(make: Any, is_async: bool, outside) -> None:
    found, recording, _ = under(make(), "empty", is_async=is_async)
    error, failed, _ = under(make(), "error", is_async=is_async)

    assert found == []
    assert recording.retrievers[0].output == []
    assert isinstance(error, RuntimeError)
    assert failed.retrievers[0].ended == "error"


def test_a_retriever_without_a_run_manager_cannot_be_told_from_others() -> None:
    recording = record()

    with Injection(recording) as injection, recording:
        assert OldDocs().invoke("x") == [Document(page_content="x")]

    assert injection.reached == set()


def test_the_handling_of_errors_is_that_of_the_tool() -> None:
    def fails(q: str) -> str:
        """Fail."""
        raise ToolException("no")

    handled = StructuredTool.from_function(fails, handle_tool_error="handled")
    recording = record()

    with Injection(recording), recording:
        assert handled.invoke({"q": "x"}) == "handled"


def test_a_class_that_is_defined_meanwhile_is_wrapped_too() -> None:
    recording = record()

    with Injection(recording) as injection, recording:

        class Late(BaseTool):
            name: str = "late"
            description: str = "Defined late."

            def _run(self, q: str) -> str:
                return q

            def run(self, *args: Any, **kwargs: Any) -> Any:
                return super().run(*args, **kwargs)

        Late().invoke({"q": "x"})

    assert {key.name for key in injection.reached} == {"late"}
    assert "llmtest" not in Late.run.__module__


def test_afterwards_everything_is_as_before() -> None:
    before = BaseTool.run, BaseTool.arun, BaseRetriever.invoke, BaseRetriever.ainvoke, BaseTool.__dict__["__init_subclass__"]

    injecting.install()
    injecting.install()
    assert BaseTool.run is not before[0]
    injecting.uninstall()

    now = BaseTool.run, BaseTool.arun, BaseRetriever.invoke, BaseRetriever.ainvoke, BaseTool.__dict__["__init_subclass__"]
    assert now == before


# -- models that no script answers


class Own(BaseChatModel):
    """Has one method, as most classes of programs."""

    said: str = "Hello there"

    @property
    def _llm_type(self) -> str:
        return "own"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        ran.append(self.said)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.said))])


class OwnStream(Own):
    """Streams, and makes its whole answer of its stream."""

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        ran.append(self.said)
        yield from (ChatGenerationChunk(message=AIMessageChunk(word)) for word in ("Hello", " there"))

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))


class OwnAsync(Own):
    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(0)
        return self._generate(messages)

    async def _astream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        ran.append(self.said)
        for word in ("Hello", " there"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))


class OwnText(LLM):
    @property
    def _llm_type(self) -> str:
        return "own"

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        ran.append(prompt)
        return "Hello there"


class OwnTextStream(OwnText):
    def _stream(self, prompt: str, *args: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
        yield from (GenerationChunk(text=word) for word in ("Hello", " there"))


def in_full(model: Any) -> str:
    return said_by(model.invoke("hi"))


def in_chunks(model: Any) -> str:
    return "".join(map(said_by, model.stream("hi")))


async def awaited(model: Any) -> str:
    return said_by(await model.ainvoke("hi"))


async def awaited_in_chunks(model: Any) -> str:
    return "".join([said_by(chunk) async for chunk in model.astream("hi")])


def said_by(answer: Any) -> str:
    return answer if isinstance(answer, str) else answer.text


def generic() -> BaseChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage("Hello there")] * 9))


MODELS = [
    *((Own, way) for way in (in_full, in_chunks, awaited, awaited_in_chunks)),
    *((OwnStream, way) for way in (in_full, in_chunks, awaited, awaited_in_chunks)),
    *((OwnAsync, way) for way in (awaited, awaited_in_chunks)),
    *((generic, way) for way in (in_full, in_chunks, awaited, awaited_in_chunks)),
    *((lambda: FakeListChatModel(responses=["Hello there"]), way) for way in (in_full, in_chunks, awaited_in_chunks)),
    *((lambda: FakeMessagesListChatModel(responses=[AIMessage("Hello there")]), way) for way in (in_full, awaited)),
    *((OwnText, way) for way in (in_full, in_chunks, awaited)),
    *((OwnTextStream, way) for way in (in_chunks, awaited_in_chunks)),
    *((lambda: FakeListLLM(responses=["Hello there"]), way) for way in (in_full, awaited)),
    *((lambda: FakeStreamingListLLM(responses=["Hello there"]), way) for way in (in_chunks, awaited_in_chunks)),
]


@pytest.mark.parametrize(("make", "way"), MODELS, ids=[str(n) for n in range(len(MODELS))])
def test_a_model_of_any_class_has_faults_and_keeps_its_answer_for_the_next_call(make: Any, way: Any) -> None:
    kinds = ["server error", "timeout", "connection reset", "empty answer", "stream cut"]

    def again(answers: list[str]) -> None:
        assert answers[-1] == "Hello there"

    def sync() -> None:
        model, answers = make(), list[str]()
        for _ in range(2):
            with suppress(OSError, StatusError):
                answers.append(way(model))
            if answers and answers[-1] == "Hello there":
                break
        again(answers)

    async def asynchronous() -> None:
        model, answers = make(), list[str]()
        for _ in range(2):
            with suppress(OSError, StatusError):
                answers.append(await way(model))
            if answers and answers[-1] == "Hello there":
                break
        again(answers)

    matrix = faults(asynchronous if asyncio.iscoroutinefunction(way) else sync, kinds=kinds)

    assert matrix.holes == ()
    assert set(matrix.counts()) == {"recovered"}
    assert len(matrix) >= 4
    errors = [event.kind for verdict in matrix.verdicts for event in verdict.witness]
    assert errors.count("on_llm_error") == len(matrix) - 1  # an empty answer is none


def test_the_body_of_a_model_does_not_run_under_a_fault() -> None:
    def asks() -> None:
        ran.clear()
        OwnStream().invoke("hi")

    assert faults(asks, kinds="server error").counts() == {"crash": 1}
    assert ran == []


class Calls(Own):
    """Says a tool call, whole or in one chunk."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        ran.append("whole")
        said = AIMessage("", tool_calls=[{"name": "plain", "args": {"q": "x"}, "id": "1"}])
        return ChatResult(generations=[ChatGeneration(message=said)])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        ran.append("chunks")
        chunk = {"name": "plain", "args": '{"q": "x"}', "id": "1", "index": 0}
        yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[chunk]))


class CallsAsync(Calls):
    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)

    async def _astream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages):
            yield chunk


async def _joined(model: Calls) -> AIMessage:
    return functools.reduce(operator.add, [chunk async for chunk in model.astream("hi")])


@pytest.mark.parametrize(
    ("way", "asked"),
    [
        (lambda: Calls().invoke("hi"), "whole"),
        (lambda: functools.reduce(operator.add, Calls().stream("hi")), "chunks"),
        (lambda: asyncio.run(CallsAsync().ainvoke("hi")), "whole"),
        (lambda: asyncio.run(_joined(CallsAsync())), "chunks"),
    ],
    ids=["invoke", "stream", "ainvoke", "astream"],
)
def test_a_tool_call_that_comes_twice_takes_the_answer_of_the_model(way: Any, asked: str) -> None:
    answers: list[AIMessage] = []

    (verdict,) = faults(lambda: answers.append(way()), kinds="tool call twice", survives=lambda _: True).verdicts

    assert verdict.outcome == "recovered"
    assert [len(answer.tool_calls) for answer in answers] == [1, 2]
    assert ran == [asked, asked]


def test_several_prompts_of_a_text_model_are_a_hole() -> None:
    def asks() -> None:
        assert OwnText().invoke("hi") in ("Hello there", "")
        OwnText().generate(["one", "two"])

    assert faults(asks, kinds="empty answer").holes == ("OwnText#2", "OwnText#3")


@pytest.mark.parametrize(
    ("base", "fields", "module"),
    [(ChatOpenAI, {"model": "gpt-5"}, "openai"), (ChatAnthropic, {"model": "claude-sonnet-5"}, "anthropic")],
)
def test_a_subclass_of_an_integration_has_the_errors_of_its_provider(base: Any, fields: Any, module: str) -> None:
    class Local(base):  # type: ignore[misc]
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage("Hello"))])

    kinds = {"rate limit": "RateLimitError", "timeout": "APITimeoutError", "connection reset": "APIConnectionError"}
    matrix = faults(lambda: Local(api_key=SecretStr("x"), **fields).invoke("hi"), kinds=[*kinds])

    for verdict in matrix.verdicts:
        names = [kind.__name__ for kind in type(verdict.error).__mro__ if kind.__module__.startswith(module)]
        assert kinds[verdict.faults[0].kind] in names


def test_the_dialect_of_a_class_is_that_of_its_integration() -> None:
    chat = ChatOpenAI(model="gpt-5", api_key=SecretStr("x"))

    assert injecting._dialect_of(Own(), {}) == "plain"
    assert injecting._dialect_of(chat, {}) == "openai"
    assert injecting._dialect_of(chat.model_copy(update={"use_responses_api": True}), {}) == "openai-responses"


def test_a_class_around_a_scripted_model_has_the_faults_of_the_script_once() -> None:
    class Around(Own):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            return ScriptedChatModel("Hello")._generate(messages, stop, run_manager, **kwargs)

    matrix = faults(lambda: Around().invoke("hi"), kinds="timeout")

    assert [cell.name for cell in matrix] == ["Around#1 timeout"]


def test_a_model_that_is_called_past_its_run_has_no_fault() -> None:
    with Injection(record()):
        assert Own()._generate([]).generations[0].text == "Hello there"
        assert next(OwnStream()._stream([])).text == "Hello"
        assert in_chunks(OwnStream()) == "Hello there"  # in a run that no recording has


def test_a_class_may_call_itself_by_keyword() -> None:
    class ByName(Own):
        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            return super()._generate(messages=messages, *args, **kwargs)  # noqa: B026

    def asks() -> None:
        model = ByName()
        model._generate(messages=[])
        assert model.with_retry().invoke("hi").text == "Hello there"

    assert faults(asks, kinds="timeout").counts() == {"recovered": 1}
    assert injecting._prompt_of((), {}) == ()
