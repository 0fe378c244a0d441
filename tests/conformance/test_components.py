"""check_chat_model, check_llm, check_tool and check_retriever: what is right passes, and each seeded defect is told."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.documents import Document
from langchain_core.language_models import (
    BaseChatModel,
    FakeListChatModel,
    FakeListLLM,
    FakeMessagesListChatModel,
    FakeStreamingListLLM,
    GenericFakeChatModel,
    ParrotFakeChatModel,
)
from langchain_core.language_models.fake_chat_models import FakeChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, GenerationChunk, LLMResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, StructuredTool, tool

from llmtest import ScriptedChatModel, ScriptedLLM, ViolationError, call, fail, record, reply, respond, say, scripted_tool
from llmtest.conformance import check_chat_model, check_llm, check_retriever, check_tool
from llmtest.conformance.lockstep import LockStep, files_of
from llmtest.langchain.retriever import ScriptedRetriever
from llmtest.scripts import give
from tests.support.wire import real

ROOT = Path(__file__).parents[2]
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def told(check: Callable[..., None], make: Any, **options: Any) -> str:
    """What a check says, with the lines of this file without their numbers."""
    with pytest.raises(ViolationError) as caught:
        check(make, **options)
    return re.sub(r"\S*test_components\.py:\d+", "test_components.py:N", str(caught.value))


def sentences(check: Callable[..., None], make: Any, **options: Any) -> list[str]:
    """The first line of each violation."""
    return [text.splitlines()[0] for text in told(check, make, **options).split("\n\n")]


# -- a model that is right, and what each defect changes


class Echo(BaseChatModel):
    """Says what it was told, as a model of a provider would: in four ways, with usage and a reason."""

    @property
    def _llm_type(self) -> str:
        return "echo"

    def answer(self, messages: Any) -> str:
        return f"You said {messages[-1].text}"

    def message(self, text: str) -> AIMessage:
        return AIMessage(text, usage_metadata=dict(USAGE), response_metadata={"finish_reason": "stop"})  # type: ignore[arg-type]

    def pieces(self, text: str) -> list[AIMessageChunk]:
        last = AIMessageChunk("", usage_metadata=dict(USAGE), response_metadata={"finish_reason": "stop"})  # type: ignore[arg-type]
        return [*(AIMessageChunk(word) for word in re.split("(?<= )", text)), last]

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.message(self.answer(messages)))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(0)
        return self._generate(messages)

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        yield from (ChatGenerationChunk(message=piece) for piece in self.pieces(self.answer(messages)))

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        for chunk in self._stream(messages):
            await asyncio.sleep(0)
            yield chunk


class Failing(Echo):
    def answer(self, messages: Any) -> str:
        raise ConnectionError("no answer")


class DropsItsLastChunk(Echo):
    def pieces(self, text: str) -> list[AIMessageChunk]:
        words, last = super().pieces(text)[:-1], super().pieces(text)[-1]
        return [*words[:-1], last]


class ForgetsUsage(Echo):
    def pieces(self, text: str) -> list[AIMessageChunk]:
        return [*super().pieces(text)[:-1], AIMessageChunk("", response_metadata={"finish_reason": "stop"})]


class ForgetsTheReason(Echo):
    def pieces(self, text: str) -> list[AIMessageChunk]:
        return [*super().pieces(text)[:-1], AIMessageChunk("", usage_metadata=dict(USAGE))]  # type: ignore[arg-type]


class ReusesItsId(Echo):
    def message(self, text: str) -> AIMessage:
        return super().message(text).model_copy(update={"id": "answer-1"})


class ReturnsItAgain(Echo):
    kept: ClassVar[dict[str, AIMessage]] = {}

    def message(self, text: str) -> AIMessage:
        return self.kept.setdefault(text, super().message(text))


class ChangesIds(Echo):
    number: int = 0

    def pieces(self, text: str) -> list[AIMessageChunk]:
        return [self.part(piece) for piece in super().pieces(text)]

    def part(self, piece: AIMessageChunk) -> AIMessageChunk:
        self.number += 1
        return piece.model_copy(update={"id": f"part-{self.number}"})


class ChangesItsInput(Echo):
    def answer(self, messages: Any) -> str:
        text = super().answer(messages)
        messages[-1].content += " (be brief)"
        return text


class ReusesItsIdInStreams(Echo):
    def pieces(self, text: str) -> list[AIMessageChunk]:
        return [piece.model_copy(update={"id": "answer-1"}) for piece in super().pieces(text)]


class SaysLessInAsyncCode(Echo):
    def message(self, text: str) -> AIMessage:
        message = super().message(text)
        message.response_metadata["model_name"] = "echo-1"
        return message

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=super().message(self.answer(messages)))])

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        for piece in self.pieces(self.answer(messages)):
            piece.additional_kwargs["seen"] = True
            yield ChatGenerationChunk(message=piece)


class SaysAnotherThingInAsyncCode(Echo):
    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.message("Good bye"))])


class TellsTokensTwice(Echo):
    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        result = super()._generate(messages)
        for chunk in self._stream(messages) if run_manager else ():
            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        return result


class MixesUpTasks(Echo):
    last: str = ""

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.last = self.answer(messages)
        await asyncio.sleep(0)
        return ChatResult(generations=[ChatGeneration(message=self.message(self.last))])


class MixesUpThreads(Echo):
    last: str = ""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.last = self.answer(messages)
        return ChatResult(generations=[ChatGeneration(message=self.message(self.last))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return super()._generate(messages)


class MixesUpStreams(Echo):
    """Keeps what it has still to say in the object."""

    left: ClassVar[list[AIMessageChunk]] = []

    def pieces(self, text: str) -> Any:
        self.left[:] = super().pieces(text)
        while self.left:
            yield self.left.pop(0)


class OneStreamAtATime(Echo):
    busy: bool = False

    def pieces(self, text: str) -> Any:
        if self.busy:
            raise RuntimeError("one at a time")
        self.busy = True
        yield from super().pieces(text)
        self.busy = False


class StreamsPastItsStream(Echo):
    """Its `stream` is right, and its `_stream` is not."""

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        yield from Echo().stream(input, config, **kwargs)

    def astream(self, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        return Echo().astream(input, config, **kwargs)

    def pieces(self, text: str) -> list[AIMessageChunk]:
        return super().pieces(text)[1:]


class IgnoresItsHandlers(Echo):
    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        with contextlib.suppress(Exception):
            yield from super().stream(input, config, **kwargs)


class RaisesSomethingElse(Echo):
    async def astream(self, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        try:
            async for chunk in super().astream(input, config, **kwargs):
                yield chunk
        except Exception as error:
            raise RuntimeError("the stream failed") from error


class AnswersAsAHuman(Echo):
    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=HumanMessage(self.answer(messages)))])


class SwallowsErrors(Failing):
    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        try:
            return super()._generate(messages)
        except ConnectionError as error:
            return ChatResult(generations=[ChatGeneration(message=self.message(f"Sorry: {error}"))])


class AnswersWhenCancelled(Echo):
    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        for chunk in self._stream(messages):
            yield chunk


class RaisesWhenCancelled(Echo):
    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            raise ConnectionError("cancelled") from error
        for chunk in self._stream(messages):
            yield chunk


class GoesOnWhenCancelled(Echo):
    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await asyncio.Event().wait()
        return self._generate(messages)


class GoesOnForGood(Echo):
    """However often it is cancelled; until the test is over."""

    over: ClassVar[threading.Event] = threading.Event()

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await self.wait()
        return self._generate(messages)

    async def wait(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)


class LeavesATaskBehind(Echo):
    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self._tasks = asyncio.ensure_future(self.produce(queue))
        while (chunk := await queue.get()) is not None:
            yield chunk

    async def produce(self, queue: Any) -> None:
        for chunk in self._stream([AIMessage("Hello")]):
            await queue.put(chunk)
        await queue.put(None)


class BlocksTheLoop(Echo):
    over: ClassVar[threading.Event] = threading.Event()

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.over.wait()
        return self._generate(messages)


class NeverAnswers(Echo):
    over: ClassVar[threading.Event] = threading.Event()

    def answer(self, messages: Any) -> str:
        self.over.wait()
        return ""


class TellsNoRun(Echo):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        return self.message(self.answer(input))


class ChangesWhatItTold(Echo):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        answer = super().invoke(input, config, **kwargs)
        answer.content = str(answer.content).upper()
        return answer

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        answer = await super().ainvoke(input, config, **kwargs)
        answer.content = str(answer.content).upper()
        return answer


class CutsOtherwiseInAsyncCode(Echo):
    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        text, last = self.answer(messages), self.pieces("")[-1]
        for piece in (AIMessageChunk(text[:1]), AIMessageChunk(text[1:4]), AIMessageChunk(text[4:]), last):
            yield ChatGenerationChunk(message=piece)


class StreamsInOnePieceInAsyncCode(Echo):
    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        (generation,) = self._generate(messages).generations
        yield ChatGenerationChunk(message=AIMessageChunk(**generation.message.model_dump(exclude={"type"})))


class CountsItsCalls(Echo):
    calls: int = 0

    def answer(self, messages: Any) -> str:
        self.calls += 1
        return f"Answer {self.calls}"


class CannotStreamInAsyncCode(Echo):
    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        raise TypeError("no stream")
        yield


class OneCallAtATime(Echo):
    busy: bool = False

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.busy:
            raise RuntimeError("one at a time")
        self.busy = True
        for _ in range(500):
            time.sleep(0)  # another thread may go on here
        self.busy = False
        return super()._generate(messages)

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return super()._generate(messages)


class ForgetsAnAnswer(Echo):
    def batch(self, inputs: Any, config: Any = None, **kwargs: Any) -> Any:
        return super().batch(inputs, config, **kwargs)[:-1]


class TakesItsTime(Echo):
    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        for _ in range(100):
            await asyncio.sleep(0)
        return self._generate(messages)


class StreamsAList(Echo):
    """What it gives cannot be closed."""

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        return iter(list(super().stream(input, config, **kwargs)))

    def astream(self, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        return Read(super().astream(input, config, **kwargs))


class Read:
    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self.stream = stream
        self.chunks: Iterator[Any] | None = None

    def __aiter__(self) -> Read:
        return self

    async def __anext__(self) -> Any:
        if self.chunks is None:
            self.chunks = iter([chunk async for chunk in self.stream])
        for chunk in self.chunks:
            return chunk
        raise StopAsyncIteration


class IgnoresTheEndOfItsReader(Echo):
    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        for chunk in super().stream(input, config, **kwargs):
            try:
                yield chunk
            except GeneratorExit:
                yield chunk


def test_a_model_that_is_right_passes() -> None:
    check_chat_model(Echo, failing=Failing)
    check_chat_model(TakesItsTime)
    check_chat_model(StreamsAList)


DEFECTS = {
    DropsItsLastChunk: [
        "`DropsItsLastChunk.stream` gives another text than `DropsItsLastChunk.invoke`",
    ],
    ForgetsUsage: ["`ForgetsUsage.stream` gives no usage, `ForgetsUsage.invoke` does"],
    ForgetsTheReason: ["`ForgetsTheReason.stream` ends without a reason, `ForgetsTheReason.invoke` gives one"],
    ReusesItsId: ["`ReusesItsId.invoke` gives two messages one id"],
    ReusesItsIdInStreams: ["`ReusesItsIdInStreams.stream` gives two messages one id"],
    SaysLessInAsyncCode: [
        "`SaysLessInAsyncCode.ainvoke` gives another response metadata than `SaysLessInAsyncCode.invoke`",
        "`SaysLessInAsyncCode.astream` gives other additional kwargs than `SaysLessInAsyncCode.stream`",
    ],
    ReturnsItAgain: ["`ReturnsItAgain.invoke` returns the same object again"],
    ChangesIds: ["the chunks of one `ChangesIds.stream` have 4 ids"],
    ChangesItsInput: ["`ChangesItsInput.invoke` changes its input"],
    SaysAnotherThingInAsyncCode: [
        "`SaysAnotherThingInAsyncCode.ainvoke` gives another text than `SaysAnotherThingInAsyncCode.invoke`",
        "`SaysAnotherThingInAsyncCode.astream` gives another text than `SaysAnotherThingInAsyncCode.ainvoke`",
    ],
    TellsTokensTwice: [
        "the tokens of chat `TellsTokensTwice` do not make its answer",
        "`TellsTokensTwice.ainvoke` tells other events than `TellsTokensTwice.invoke`",
    ],
    MixesUpTasks: ["`MixesUpTasks.abatch` gives one of its calls the answer of another"],
    MixesUpThreads: ["`MixesUpThreads.invoke` (threads in step) gives one of its calls the answer of another"],
    MixesUpStreams: [
        "`MixesUpStreams.stream` (8 by turns) gives one of its calls an answer that it does not give alone",
    ],
    StreamsPastItsStream: ["`StreamsPastItsStream.invoke` (streaming) gives another text than `StreamsPastItsStream.invoke`"],
    IgnoresItsHandlers: ["`IgnoresItsHandlers.stream` swallows what a callback handler raises"],
    RaisesSomethingElse: ["`RaisesSomethingElse.astream` swallows what a callback handler raises"],
    AnswersAsAHuman: ["`AnswersAsAHuman.invoke` answers with another type than AIMessage"],
    AnswersWhenCancelled: ["`AnswersWhenCancelled.astream` answers when its task is cancelled"],
    RaisesWhenCancelled: ["`RaisesWhenCancelled.astream` raises ConnectionError when its task is cancelled"],
    GoesOnWhenCancelled: ["`GoesOnWhenCancelled.ainvoke` goes on when its task is cancelled"],
    LeavesATaskBehind: ["`LeavesATaskBehind.astream` (closed early) leaves a task behind that goes on"],
    TellsNoRun: ["`TellsNoRun.invoke` tells 0 runs for 6 calls"],
    ChangesWhatItTold: [
        "`ChangesWhatItTold.invoke` returns another text than its run told in on_llm_end",
        "`ChangesWhatItTold.stream` gives another text than `ChangesWhatItTold.invoke`",
    ],
    CutsOtherwiseInAsyncCode: [
        "`CutsOtherwiseInAsyncCode.astream` cuts its answer into other chunks than `CutsOtherwiseInAsyncCode.stream`"
    ],
    StreamsInOnePieceInAsyncCode: [
        "`StreamsInOnePieceInAsyncCode.astream` tells other events than `StreamsInOnePieceInAsyncCode.stream`"
    ],
    CountsItsCalls: ["`CountsItsCalls.invoke` does not answer the same question twice in the same way"],
    OneCallAtATime: ["`OneCallAtATime.batch` raises RuntimeError: one at a time"],
    ForgetsAnAnswer: ["`ForgetsAnAnswer.batch` gives 7 answers to 8 inputs"],
    Failing: ["`Failing.invoke` raises ConnectionError: no answer"],
    CannotStreamInAsyncCode: ["`CannotStreamInAsyncCode.astream` raises TypeError: no stream"],
    IgnoresTheEndOfItsReader: [
        "`IgnoresTheEndOfItsReader.stream` (closed early) raises RuntimeError: generator ignored GeneratorExit",
        "chat `IgnoresTheEndOfItsReader` never ended",
    ],
}
"""Each defective model, and all that is told of it."""


@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.__name__)
def test_each_seeded_defect_of_a_chat_model_is_told_with_its_sentence(kind: type[Echo]) -> None:
    assert sentences(check_chat_model, kind, timeout_s=5) == DEFECTS[kind]


def test_a_defect_is_told_once_with_all_that_shows_it() -> None:
    assert told(check_chat_model, DropsItsLastChunk) == (
        "`DropsItsLastChunk.stream` gives another text than `DropsItsLastChunk.invoke`\n"
        "  where      stream; astream\n"
        "  expected   'You said Hello'\n"
        "  got        'You said '\n"
        "  the chunks together must be the answer: add what is missing to one of them"
    )


def test_two_defects_are_told_together() -> None:
    class Both(ForgetsUsage, ReusesItsId):
        pass

    assert sentences(check_chat_model, Both) == [
        "`Both.invoke` gives two messages one id",
        "`Both.stream` gives no usage, `Both.invoke` does",
    ]


WORDS: dict[type[Echo], str] = {
    ReusesItsId: (
        "`ReusesItsId.invoke` gives two messages one id\n"
        "  where      invoke; ainvoke; invoke, threads in step; batch; invoke, 8 threads at once; abatch;"
        " ainvoke, 8 tasks at once\n"
        "  id         'answer-1'\n"
        "  leave `id` out, and LangChain gives each one of its own; a graph takes two messages with one id for one"
    ),
    ChangesIds: (
        "the chunks of one `ChangesIds.stream` have 4 ids\n"
        "  where      stream; astream\n"
        "  ids        ['part-1', 'part-2', 'part-3', 'part-4']\n"
        "  all chunks of one message have its id: a program that joins them by id finds many messages"
    ),
    ForgetsTheReason: (
        "`ForgetsTheReason.stream` ends without a reason, `ForgetsTheReason.invoke` gives one\n"
        "  where      stream; astream\n"
        "  put the finish reason into the `response_metadata` of the last chunk: a cut stream looks whole without it"
    ),
    MixesUpTasks: (
        "`MixesUpTasks.abatch` gives one of its calls the answer of another\n"
        "  where      abatch; ainvoke, 8 tasks at once\n"
        "  call       1 of 8\n"
        "  expected   'You said Hello'\n"
        "  got        'You said What is the capital of France?'\n"
        "  keep nothing of one call in the object: many calls use it at once"
    ),
    CountsItsCalls: (
        "`CountsItsCalls.invoke` does not answer the same question twice in the same way\n"
        "  where      invoke; ainvoke\n"
        "  first      'Answer 1'\n"
        "  then       'Answer 2'\n"
        "  nothing else was compared: give it a seed, or canned answers"
    ),
    ChangesWhatItTold: (
        "`ChangesWhatItTold.invoke` returns another text than its run told in on_llm_end\n"
        "  where      invoke; ainvoke\n"
        "  told       'You said Hello'\n"
        "  returned   'YOU SAID HELLO'\n"
        "  handlers and traces see only what is told\n"
        "\n"
        "`ChangesWhatItTold.stream` gives another text than `ChangesWhatItTold.invoke`\n"
        "  where      stream; astream\n"
        "  expected   'YOU SAID HELLO'\n"
        "  got        'You said Hello'\n"
        "  the chunks together must be the answer: add what is missing to one of them"
    ),
    TellsNoRun: (
        "`TellsNoRun.invoke` tells 0 runs for 6 calls\n"
        "  where      invoke; invoke, threads in step; batch; invoke, 8 threads at once\n"
        "  override the methods with an underscore (`_generate`, `_stream`, `_run`, ...): the others tell the callbacks"
    ),
    StreamsPastItsStream: (
        "`StreamsPastItsStream.invoke` (streaming) gives another text than `StreamsPastItsStream.invoke`\n"
        "  where      invoke, streaming; ainvoke, streaming\n"
        "  expected   'You said Hello'\n"
        "  got        'said Hello'\n"
        "  under astream_events, and in graphs that stream messages, `invoke` joins what `_stream` yields"
    ),
    IgnoresItsHandlers: (
        "`IgnoresItsHandlers.stream` swallows what a callback handler raises\n"
        "  got        an answer\n"
        "  let it through: a handler with `raise_error` ends a run on purpose, at a limit or for a rule"
    ),
    RaisesSomethingElse: (
        "`RaisesSomethingElse.astream` swallows what a callback handler raises\n"
        "  got        RuntimeError('the stream failed')\n"
        "  let it through: a handler with `raise_error` ends a run on purpose, at a limit or for a rule"
    ),
    AnswersWhenCancelled: (
        "`AnswersWhenCancelled.astream` answers when its task is cancelled\n"
        "  let CancelledError through; on Python 3.11 asyncio.wait_for swallows it if its answer is there already"
    ),
    LeavesATaskBehind: (
        "`LeavesATaskBehind.astream` (closed early) leaves a task behind that goes on\n"
        "  where      astream, closed early; astream, ended by a handler; astream, cancelled\n"
        "  left       `LeavesATaskBehind.produce` at test_components.py:N  async def produce(self, queue: Any) -> None:\n"
        "  cancel what a call has started when the call ends; keep no task that nobody waits for"
    ),
    ForgetsAnAnswer: ("`ForgetsAnAnswer.batch` gives 7 answers to 8 inputs\n  each input has its answer, in the same order"),
    OneCallAtATime: (
        "`OneCallAtATime.batch` raises RuntimeError: one at a time\n"
        "  where      batch; invoke, 8 threads at once\n"
        '  at         test_components.py:N  raise RuntimeError("one at a time")'
    ),
    CutsOtherwiseInAsyncCode: (
        "`CutsOtherwiseInAsyncCode.astream` cuts its answer into other chunks than `CutsOtherwiseInAsyncCode.stream`\n"
        "  expected   ['You ', 'said ', 'Hello', '', '']\n"
        "  got        ['Y', 'ou ', 'said Hello', '', '']\n"
        "  both must give the same chunks"
    ),
    StreamsInOnePieceInAsyncCode: (
        "`StreamsInOnePieceInAsyncCode.astream` tells other events than `StreamsInOnePieceInAsyncCode.stream`\n"
        "  expected   on_chat_model_start, 5 on_llm_new_token, on_llm_end\n"
        "  got        on_chat_model_start, 2 on_llm_new_token, on_llm_end\n"
        "  both must call the same callbacks"
    ),
    CannotStreamInAsyncCode: (
        "`CannotStreamInAsyncCode.astream` raises TypeError: no stream\n"
        "  where      astream; ainvoke, streaming; astream, closed early; astream, cancelled\n"
        '  at         test_components.py:N  raise TypeError("no stream")'
    ),
    SaysAnotherThingInAsyncCode: (
        "`SaysAnotherThingInAsyncCode.ainvoke` gives another text than `SaysAnotherThingInAsyncCode.invoke`\n"
        "  expected   'You said Hello'\n"
        "  got        'Good bye'\n"
        "  both must give the same answer\n"
        "\n"
        "`SaysAnotherThingInAsyncCode.astream` gives another text than `SaysAnotherThingInAsyncCode.ainvoke`\n"
        "  expected   'Good bye'\n"
        "  got        'You said Hello'\n"
        "  the chunks together must be the answer: add what is missing to one of them"
    ),
}
"""The whole texts."""


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
def test_a_text_says_what_was_expected_what_came_and_what_to_do(kind: type[Echo]) -> None:
    assert told(check_chat_model, kind, timeout_s=5) == WORDS[kind]


def test_what_is_no_plain_value_is_told_in_short() -> None:
    text = told(check_chat_model, ReturnsItAgain).splitlines()
    changed = told(check_chat_model, ChangesItsInput).splitlines()

    assert text[0] == "`ReturnsItAgain.invoke` returns the same object again"
    assert text[2].startswith("  got        AIMessage(content='You said Hello'")
    assert text[3] == (
        "  make a new one for each call: who changes one changes all, and a graph takes two messages with one id for one"
    )
    assert changed[1:] == [
        "  where      invoke; ainvoke; stream; astream",
        "  gave       [HumanMessage(content='Hello', additional_kwargs={}, response_metadata={})]",
        "  is now     [HumanMessage(content='Hello (be brief)', additional_kwargs={}, response_metadata={})]",
        "  make a copy first: the caller goes on to use it",
    ]


def test_errors_that_are_swallowed_are_told_if_there_is_a_model_that_fails() -> None:
    check_chat_model(Echo)
    lines = told(check_chat_model, Echo, failing=SwallowsErrors).splitlines()
    assert (lines[:2], lines[3:]) == (
        ["`Echo.invoke` answers where its call fails", "  where      invoke; ainvoke"],
        ["  let the error through: the run is then told as failed, and the caller can retry or fall back"],
    )
    assert lines[2].startswith("  got        AIMessage(content='Sorry: no answer'")


class TellsAnEndAndRaises(Failing):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        (run,) = CallbackManager.configure().on_chat_model_start({"name": "model"}, [[]])
        run.on_llm_end(LLMResult(generations=[[ChatGeneration(message=AIMessage("Hello"))]]))
        return self.answer(input)


def test_an_error_that_is_not_told_as_one_is_told() -> None:
    assert told(check_chat_model, Echo, failing=TellsAnEndAndRaises) == (
        "`Echo.invoke` raises, and its run is told as ended\n"
        "  raised     ConnectionError('no answer')\n"
        "  tell on_*_error of what is raised"
    )


class LeavesItsRunOpen(Failing):
    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        CallbackManager.configure().on_chat_model_start({"name": "model"}, [[]])
        return self.answer(input)


class FailsOtherwiseInAsyncCode(Failing):
    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        raise RuntimeError("no answer")


def test_another_error_in_async_code_is_told() -> None:
    assert told(check_chat_model, Echo, failing=FailsOtherwiseInAsyncCode) == (
        "`Echo.ainvoke` raises another error than `Echo.invoke`\n"
        "  expected   ConnectionError\n"
        "  got        RuntimeError\n"
        "  programs catch an error by its class"
    )


def test_a_stream_that_refuses_a_second_is_told_of() -> None:
    assert (
        sentences(check_chat_model, OneStreamAtATime)[0]
        == "`OneStreamAtATime.stream` (8 by turns) raises RuntimeError: one at a time"
    )


def test_whose_answer_it_was_is_told_in_each_run_of_the_check() -> None:
    for _ in range(10):
        lines = told(check_chat_model, MixesUpThreads).splitlines()
        expected, got = (line[13:] for line in lines if line.startswith(("  expected", "  got")))
        assert expected != got


def test_what_a_check_makes_handlers_raise_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    check_chat_model(Echo)
    check_llm(Says)

    assert caplog.records == []


def test_a_run_that_is_left_open_by_an_error_is_told() -> None:
    assert sentences(check_chat_model, Echo, failing=LeavesItsRunOpen) == [
        "chat `model` never ended",
        "`Echo.invoke` raises, and its run is still open",
    ]


# -- calls that do not end

SOON_S = 1.0


def test_a_model_that_blocks_the_event_loop_is_told_with_its_line() -> None:
    try:
        text = told(check_chat_model, BlocksTheLoop, timeout_s=SOON_S)
    finally:
        BlocksTheLoop.over.set()

    assert text == (
        "`BlocksTheLoop.ainvoke` blocks the event loop\n"
        "  at         test_components.py:N  self.over.wait()\n"
        "  seen       it stood at one line for 0.3 s, and nothing else could run\n"
        "  await what takes long, or leave it to a thread: await asyncio.to_thread(...)"
    )


def test_a_call_that_does_not_end_is_told_with_its_line_and_ends_the_check() -> None:
    try:
        text = told(check_chat_model, NeverAnswers, timeout_s=SOON_S)
    finally:
        NeverAnswers.over.set()

    assert text == (
        "`NeverAnswers.invoke` does not end\n"
        "  at         test_components.py:N  self.over.wait()\n"
        "  waited     1 s; nothing more was tried\n"
        "  if it only needs longer, give `timeout_s`"
    )


def test_a_call_that_cannot_be_cancelled_is_told_once_and_ends_the_check() -> None:
    try:
        text = told(check_chat_model, GoesOnForGood, timeout_s=SOON_S)
    finally:
        GoesOnForGood.over.set()

    assert text == (
        "`GoesOnForGood.ainvoke` goes on when its task is cancelled\n"
        "  let CancelledError through; on Python 3.11 asyncio.wait_for swallows it if its answer is there already"
    )


def test_calls_that_wait_for_one_another_are_told() -> None:
    class WaitsForNobody(Echo):
        """Deadlocks as soon as two calls run at once."""

        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            self._busy = getattr(self, "_busy", 0) + 1
            await asyncio.sleep(0)
            if self._busy > 1:
                await asyncio.Event().wait()
            self._busy -= 1
            return self._generate(messages)

    assert told(check_chat_model, WaitsForNobody, timeout_s=SOON_S) == (
        "`WaitsForNobody.abatch` does not end\n"
        "  waited     1 s; nothing more was tried\n"
        "  if it only needs longer, give `timeout_s`"
    )


# -- text models


class Says(LLM):
    """Streams words, and tells each."""

    @property
    def _llm_type(self) -> str:
        return "says"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return f"You said {prompt}"

    def _stream(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[GenerationChunk]:
        words = re.split("(?<= )", self._call(prompt))
        for number, word in enumerate(words, 1):
            reason = {"finish_reason": "stop"} if number == len(words) else None
            yield from self.chunk(GenerationChunk(text=word, generation_info=reason), run_manager)

    def chunk(self, chunk: GenerationChunk, run_manager: Any) -> Iterator[GenerationChunk]:
        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        yield chunk


class TellsTwice(Says):
    def chunk(self, chunk: GenerationChunk, run_manager: Any) -> Iterator[GenerationChunk]:
        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
        yield from super().chunk(chunk, run_manager)


class TellsLate(Says):
    def chunk(self, chunk: GenerationChunk, run_manager: Any) -> Iterator[GenerationChunk]:
        yield chunk
        run_manager.on_llm_new_token(chunk.text, chunk=chunk)


class TellsNoChunk(Says):
    def chunk(self, chunk: GenerationChunk, run_manager: Any) -> Iterator[GenerationChunk]:
        run_manager.on_llm_new_token(chunk.text)
        yield chunk


class TellsAnotherChunk(Says):
    def chunk(self, chunk: GenerationChunk, run_manager: Any) -> Iterator[GenerationChunk]:
        run_manager.on_llm_new_token(chunk.text, chunk=GenerationChunk(text=chunk.text.strip()))
        yield chunk


class StreamsNothing(Says):
    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[str]:
        return (text for text in list(super().stream(input, config))[:0])


HINT = "\n  call run_manager.on_llm_new_token(token, chunk=chunk) once for each chunk, before the `yield`"
OF_TEXT_MODELS = {
    TellsTwice: f"`TellsTwice.stream` tells 6 tokens for 3 chunks\n  where      stream; astream{HINT}",
    TellsLate: f"`TellsLate.stream` gives chunk 1 before it tells its token\n  where      stream; astream{HINT}",
    TellsNoChunk: (
        "`TellsNoChunk.stream` tells token 1 without its chunk\n  where      stream; astream\n"
        f"  expected   'You '\n  got        None{HINT}"
    ),
    TellsAnotherChunk: (
        "`TellsAnotherChunk.stream` tells token 1 with another chunk\n  where      stream; astream\n"
        f"  expected   'You '\n  got        'You'{HINT}"
    ),
}


def test_a_text_model_that_is_right_passes() -> None:
    check_llm(Says)


@pytest.mark.parametrize("kind", OF_TEXT_MODELS, ids=lambda kind: kind.__name__)
def test_each_seeded_defect_of_a_text_model_is_told(kind: type[Says]) -> None:
    text = told(check_llm, kind)

    assert text.split("\n\n")[-1] == OF_TEXT_MODELS[kind]


def test_a_stream_that_gives_nothing_is_told() -> None:
    assert "`StreamsNothing.stream` gives nothing" in sentences(check_llm, StreamsNothing)


# -- tools and retrievers


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"18C in {city}"


async def _later(city: str) -> str:
    return f"18C in {city}"


CITIES = [{"city": "Paris"}, {"city": "Rome"}]


def test_tools_that_are_right_pass() -> None:
    check_tool(lambda: weather, inputs=CITIES, failing=lambda: weather.model_copy(update={"func": _fails}))
    check_tool(lambda: StructuredTool.from_function(coroutine=_later, name="later", description="Later."), inputs=CITIES)


def _fails(city: str) -> str:
    raise ConnectionError(city)


class Forecast(BaseTool):
    name: str = "forecast"
    description: str = "The weather tomorrow."
    last: str = ""

    def _run(self) -> str:
        return "18C"

    async def _arun(self) -> str:
        return "64F"


class AnswersAnotherCall(Forecast):
    async def _arun(self) -> str:
        return "18C"

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        answer = super().invoke(input, config, **kwargs)
        return answer.model_copy(update={"tool_call_id": "1"}) if isinstance(answer, ToolMessage) else answer


class ChangesItsArguments(Forecast):
    last: str = ""

    async def _arun(self) -> str:
        return "18C"

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        answer = super().invoke(input, config, **kwargs)
        input["seen"] = True
        return answer


def test_defects_of_tools_are_told() -> None:
    assert told(check_tool, Forecast) == (
        "`forecast.ainvoke` gives another result than `forecast.invoke`\n"
        "  expected   '18C'\n"
        "  got        '64F'\n"
        "  both must give the same answer"
    )
    assert told(check_tool, AnswersAnotherCall) == (
        "`forecast.invoke` answers another tool call than it was given\n"
        "  expected   call_1\n"
        "  got        1\n"
        "  the ToolMessage has the id of the call"
    )
    assert told(check_tool, ChangesItsArguments).splitlines()[0] == "`forecast.invoke` changes its input"


class Shelf(BaseRetriever):
    documents: ClassVar[list[Document]] = [Document("Cats purr."), Document("Dogs bark.")]

    def _get_relevant_documents(self, query: str, *, run_manager: Any = None) -> list[Document]:
        return self.documents


class Lends(Shelf):
    def _get_relevant_documents(self, query: str, *, run_manager: Any = None) -> list[Document]:
        return list(self.documents)


class Sorted(Shelf):
    def _get_relevant_documents(self, query: str, *, run_manager: Any = None) -> list[Document]:
        return copy.deepcopy(self.documents)

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any = None) -> list[Document]:
        return copy.deepcopy(self.documents[::-1])


class Texts(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any = None) -> list[Document]:
        return ["Cats purr."]  # type: ignore[list-item]


class Nothing(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any = None) -> list[Document]:
        return []


def test_a_retriever_that_finds_nothing_passes() -> None:
    check_retriever(Nothing)


def test_defects_of_retrievers_are_told() -> None:
    assert sentences(check_retriever, Shelf) == ["`Shelf.invoke` returns the same object again"]
    assert told(check_retriever, Lends) == (
        "`Lends.invoke` returns the same Document again\n"
        "  where      invoke; ainvoke\n"
        "  got        Document(metadata={}, page_content='Cats purr.')\n"
        "  return copies: a program that writes into the metadata of one changes what the next call finds"
    )
    assert told(check_retriever, Texts) == (
        "`Texts.invoke` answers with another type than a list of Documents\n"
        "  where      invoke; ainvoke\n"
        "  got        str 'Cats purr.'"
    )
    assert sentences(check_retriever, Sorted) == ["`Sorted.ainvoke` gives other documents than `Sorted.invoke`"]


# -- our own doubles


@pytest.mark.parametrize("dialect", ["plain", "openai", "openai-responses", "anthropic"])
def test_scripted_chat_models_pass(dialect: str) -> None:
    def asks() -> ScriptedChatModel:
        return ScriptedChatModel(reply("Let me see.", call("weather", city="Paris")).unchecked().repeat(), dialect=dialect)

    check_chat_model(
        lambda: ScriptedChatModel(say("Hello there").repeat(), dialect=dialect),
        failing=lambda: ScriptedChatModel(fail(ConnectionError).repeat(), dialect=dialect),
    )
    check_chat_model(asks)
    check_chat_model(lambda: asks().bind_tools([weather]))


def test_a_scripted_model_that_answers_each_question_otherwise_is_not_mixed_up() -> None:
    def answer(request: Any) -> str:
        return f"You said {request.text}"

    check_chat_model(lambda: ScriptedChatModel(respond(answer).repeat()))


def test_other_scripted_doubles_pass() -> None:
    check_llm(lambda: ScriptedLLM(say("Hello there").repeat()), failing=lambda: ScriptedLLM(fail(ConnectionError).repeat()))
    check_retriever(lambda: ScriptedRetriever(give("Cats purr.").repeat()))
    check_tool(lambda: scripted_tool(weather, give("18C").repeat()), inputs=CITIES)


# -- LangChain's fakes: what is known to be wrong with them

REASON = {"finish_reason": "stop"}
FAKES = {
    "FakeChatModel": (check_chat_model, FakeChatModel, []),
    "FakeListChatModel": (check_chat_model, lambda: FakeListChatModel(responses=["Hello there"]), []),
    "FakeMessagesListChatModel": (
        check_chat_model,
        lambda: FakeMessagesListChatModel(responses=[AIMessage("Hello there")]),
        ["`FakeMessagesListChatModel.invoke` returns the same object again"],
    ),
    "ParrotFakeChatModel": (
        check_chat_model,
        ParrotFakeChatModel,
        [
            "`ParrotFakeChatModel.invoke` changes its input",
            "`ParrotFakeChatModel.invoke` answers with another type than AIMessage",
        ],
    ),
    "GenericFakeChatModel of strings": (
        check_chat_model,
        lambda: GenericFakeChatModel(messages=itertools.cycle(["Hello there"])),
        [],
    ),
    "GenericFakeChatModel of messages": (
        check_chat_model,
        lambda: GenericFakeChatModel(
            messages=itertools.cycle([AIMessage("Hello there", usage_metadata=dict(USAGE), response_metadata=REASON)])  # type: ignore[arg-type]
        ),
        [
            "`GenericFakeChatModel.invoke` returns the same object again",
            "`GenericFakeChatModel.stream` gives no usage, `GenericFakeChatModel.invoke` does",
            "`GenericFakeChatModel.stream` ends without a reason, `GenericFakeChatModel.invoke` gives one",
        ],
    ),
    "GenericFakeChatModel of tool calls": (
        check_chat_model,
        lambda: GenericFakeChatModel(
            messages=itertools.cycle([AIMessage("Let me see.", tool_calls=[{"name": "weather", "args": {}, "id": "call_1"}])])
        ),
        [
            "`GenericFakeChatModel.invoke` returns the same object again",
            "`GenericFakeChatModel.stream` gives no tool calls, `GenericFakeChatModel.invoke` does",
        ],
    ),
    "GenericFakeChatModel of bare tool calls": (
        check_chat_model,
        lambda: GenericFakeChatModel(
            messages=itertools.cycle([AIMessage("", tool_calls=[{"name": "weather", "args": {}, "id": "call_1"}])])
        ),
        [
            "`GenericFakeChatModel.invoke` returns the same object again",
            "`GenericFakeChatModel.stream` raises ValueError: No generation chunks were returned",
        ],
    ),
    "FakeListLLM": (check_llm, lambda: FakeListLLM(responses=["Hello there"]), []),
    "FakeStreamingListLLM": (
        check_llm,
        lambda: FakeStreamingListLLM(responses=["Hello"]),
        ["`FakeStreamingListLLM.stream` tells 0 tokens for 5 chunks"],
    ),
}


@pytest.mark.parametrize("name", FAKES)
def test_what_is_wrong_with_langchains_fakes_is_known(name: str) -> None:
    check, make, expected = FAKES[name]

    assert (sentences(check, make) if expected else check(make) or []) == expected


# -- real integrations

# https://github.com/python/cpython/issues/86296: wait_for swallows a cancellation whose answer is there already. ChatOpenAI waits
# for each chunk with it, and canned chunks are always there.
OPENAI = ["`ChatOpenAI.astream` answers when its task is cancelled"] if sys.version_info < (3, 12) else []


CASES = ["text", "tool_call", "parallel_calls", "reasoning"]


def answering(provider: str, case: str) -> Any:
    return real(provider, case).bind_tools([weather]) if "call" in case else real(provider, case)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("provider", ["openai", "openai-responses"])
def test_chat_openai_passes_but_for_what_python_does(provider: str, case: str) -> None:
    found = []
    try:
        check_chat_model(lambda: answering(provider, case), failing=lambda: real(provider, status=500))
    except ViolationError as error:
        found = [violation.text.splitlines()[0] for violation in error.violations]

    assert found == OPENAI


@pytest.mark.parametrize("case", CASES)
def test_chat_anthropic_passes(case: str) -> None:
    check_chat_model(lambda: answering("anthropic", case), failing=lambda: real("anthropic", status=529))


# -- what it does not disturb, and what it refuses


def test_an_open_recording_and_a_ledger_see_nothing_of_a_check() -> None:
    with record() as recording:
        check_chat_model(lambda: ScriptedChatModel(say("Hello").repeat()))

    assert (recording.kinds, recording.late_events, recording.unseen_calls) == ([], [], [])


def test_a_check_can_be_made_in_async_code() -> None:
    async def program() -> None:
        check_chat_model(Echo)

    asyncio.run(program())


def test_what_the_maker_raises_goes_on() -> None:
    def make() -> Echo:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        check_chat_model(make)


def test_another_thing_than_a_model_is_told() -> None:
    assert told(check_chat_model, lambda: "Hello") == (
        "`str` is no chat model\n  derive it from langchain_core.language_models.chat_models.BaseChatModel"
    )
    assert told(check_retriever, Echo) == "`Echo` is no retriever\n  derive it from langchain_core.retrievers.BaseRetriever"


def _refused(check: Callable[..., None], *args: Any, **options: Any) -> str:
    with pytest.raises(TypeError) as caught:
        check(*args, **options)
    return str(caught.value)


def test_what_cannot_be_checked_is_refused() -> None:
    model = FakeListLLM(responses=["Hello"])

    assert _refused(check_llm, model).startswith(
        "check_llm() takes a class or a function that makes text models; got FakeListLLM FakeListLLM("
    )
    assert _refused(check_llm, Says, failing="x") == (
        "check_llm() takes a class or a function that makes text models; got str 'x'"
    )
    assert _refused(check_llm, Says, inputs="Hello") == "check_llm() takes a list of `inputs`; got 'Hello'"
    assert _refused(check_tool, lambda: weather) == ("check_tool() needs arguments for `weather`: inputs=[{'city': ...}]")


def test_the_page_shows_the_text_of_its_failure() -> None:
    page = (ROOT / "docs/how-to/custom-models.md").read_text("utf-8")
    names: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]), names)

    text = told(check_chat_model, names["Forgetful"], inputs=["Hello there"])

    assert f"```text\n{text}\n```" in page


# -- threads in step


def test_threads_in_step_wait_before_each_line_for_all_that_are_not_over() -> None:
    steps, seen = LockStep(2, frozenset()), list[str]()

    def work(name: str, lines: int) -> None:
        for _ in range(lines):
            steps.meet()
            seen.append(name)
        steps.leave()

    threads = [threading.Thread(target=work, args=given) for given in (("a", 2), ("b", 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [sorted(pair) for pair in (seen[:2], seen[2:4], seen[4:])] == [["a", "b"], ["a", "b"], ["b"]]
    assert not steps.over


def test_a_thread_that_waits_in_vain_for_the_others_goes_on_for_good() -> None:
    steps = LockStep(2, frozenset(), patience_s=0.01)

    steps.meet()
    steps.meet()

    assert steps.over


def test_long_work_is_not_in_step_for_good() -> None:
    steps = LockStep(1, frozenset())

    for _ in range(500):
        assert not steps.over
        steps.meet()

    assert steps.over


def test_only_lines_of_the_object_are_in_step() -> None:
    frame: Any = sys._getframe()
    inside, outside = LockStep(1, files_of(Echo().bind(stop=[]))), LockStep(1, files_of(FakeChatModel()))

    assert outside.enter(frame, "call", None) is None
    assert inside.enter(frame, "call", None) == inside.line(frame, "line", None) == inside.line(frame, "return", None)
    assert files_of(weather) == files_of(Echo())


def test_a_model_that_lets_in_one_call_at_a_time_passes() -> None:
    class InTurn(MixesUpThreads):
        turn: Any = None

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            self.turn = self.turn or threading.Lock()
            with self.turn:
                return super()._generate(messages)

    check_chat_model(InTurn)
