"""check_chat_model, check_llm, check_tool and check_retriever: what is right passes, and each seeded defect is told."""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
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
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, GenerationChunk
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, StructuredTool, tool

from llmtest import ScriptedChatModel, ScriptedLLM, ViolationError, call, fail, record, reply, say, scripted_tool
from llmtest.langchain.conformance import check_chat_model, check_llm, check_retriever, check_tool
from llmtest.langchain.doubles import ScriptedRetriever, give
from tests.wire import real

USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def told(check: Callable[..., None], make: Any, **options: Any) -> str:
    """What a check says, with the lines of this file without their numbers."""
    with pytest.raises(ViolationError) as caught:
        check(make, **options)
    return re.sub(r"\S*test_conforming\.py:\d+", "test_conforming.py:N", str(caught.value))


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
    def pieces(self, text: str) -> list[AIMessageChunk]:
        return [piece.model_copy(update={"id": f"part-{n}"}) for n, piece in enumerate(super().pieces(text))]


class ChangesItsInput(Echo):
    def answer(self, messages: Any) -> str:
        text = super().answer(messages)
        messages[-1].content += " (be brief)"
        return text


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
        for _ in range(500):
            time.sleep(0)  # another thread may go on here
        return ChatResult(generations=[ChatGeneration(message=self.message(self.last))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return super()._generate(messages)


class SwallowsErrors(Failing):
    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        try:
            return super()._generate(messages)
        except ConnectionError as error:
            return ChatResult(generations=[ChatGeneration(message=self.message(f"Sorry: {error}"))])


class AnswersWhenCancelled(Echo):
    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        try:
            await asyncio.sleep(0)
        except BaseException:
            return ChatResult(generations=[ChatGeneration(message=self.message("Sorry"))])
        return self._generate(messages)


class RaisesWhenCancelled(Echo):
    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            raise ConnectionError("cancelled") from error
        return self._generate(messages)


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
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                pass


class LeavesATaskBehind(Echo):
    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue(1)
        self._tasks = asyncio.ensure_future(self.produce(queue, messages))
        while (chunk := await queue.get()) is not None:
            yield chunk

    async def produce(self, queue: Any, messages: Any) -> None:
        for chunk in self._stream(messages):
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


class IgnoresTheEndOfItsReader(Echo):
    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        for chunk in super().stream(input, config, **kwargs):
            try:
                yield chunk
            except GeneratorExit:
                yield chunk


def test_a_model_that_is_right_passes() -> None:
    check_chat_model(Echo, failing=Failing)


DEFECTS = {
    DropsItsLastChunk: [
        "`DropsItsLastChunk.stream` gives another text than `DropsItsLastChunk.invoke`",
    ],
    ForgetsUsage: ["`ForgetsUsage.stream` gives no usage, `ForgetsUsage.invoke` does"],
    ForgetsTheReason: ["`ForgetsTheReason.stream` ends without a reason, `ForgetsTheReason.invoke` gives one"],
    ReusesItsId: ["`ReusesItsId.invoke` gives two messages one id"],
    ReturnsItAgain: ["`ReturnsItAgain.invoke` returns the same object again"],
    ChangesIds: ["the chunks of one `ChangesIds.stream` have 4 ids"],
    ChangesItsInput: ["`ChangesItsInput.invoke` changes its input"],
    SaysAnotherThingInAsyncCode: [
        "`SaysAnotherThingInAsyncCode.ainvoke` gives another text than `SaysAnotherThingInAsyncCode.invoke`",
        "`SaysAnotherThingInAsyncCode.astream` gives another text than `SaysAnotherThingInAsyncCode.ainvoke`",
    ],
    TellsTokensTwice: ["chat `TellsTokensTwice` streamed other text than it answered"],
    MixesUpTasks: ["`MixesUpTasks.abatch` gives one of its calls the answer of another"],
    MixesUpThreads: ["`MixesUpThreads.batch` gives one of its calls the answer of another"],
    AnswersWhenCancelled: ["`AnswersWhenCancelled.ainvoke` answers when its task is cancelled"],
    RaisesWhenCancelled: ["`RaisesWhenCancelled.ainvoke` raises ConnectionError when its task is cancelled"],
    GoesOnWhenCancelled: ["`GoesOnWhenCancelled.ainvoke` goes on when its task is cancelled"],
    LeavesATaskBehind: ["`LeavesATaskBehind.astream` (closed early) leaves a task behind that goes on"],
    TellsNoRun: ["`TellsNoRun.invoke` tells no runs for 6 calls"],
    ChangesWhatItTold: ["`ChangesWhatItTold.invoke` returns another text than its run told in on_llm_end"],
    CutsOtherwiseInAsyncCode: [
        "`CutsOtherwiseInAsyncCode.astream` cuts its answer into other chunks than `CutsOtherwiseInAsyncCode.stream`"
    ],
    StreamsInOnePieceInAsyncCode: [
        "`StreamsInOnePieceInAsyncCode.astream` tells other events than `StreamsInOnePieceInAsyncCode.stream`"
    ],
    CountsItsCalls: ["`CountsItsCalls.invoke` does not answer the same question twice in the same way"],
    CannotStreamInAsyncCode: ["`CannotStreamInAsyncCode.astream` raises TypeError: no stream"],
    IgnoresTheEndOfItsReader: ["`IgnoresTheEndOfItsReader.stream` (closed early) raises RuntimeError: generator ignored GeneratorExit"],
}
"""Each defective model, and all that is told of it."""


@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.__name__)
def test_each_seeded_defect_of_a_chat_model_is_told_with_its_sentence(kind: type[Echo]) -> None:
    assert sentences(check_chat_model, kind, timeout_s=5) == DEFECTS[kind]
