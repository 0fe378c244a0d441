"""What is checked of chat models: each seeded defect is told, with its whole text."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult

from llmtest.conformance import check_chat_model
from tests.support.conforming import USAGE, Echo, Failing, sentences, told


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
        "  left       `LeavesATaskBehind.produce` at test_checking.py:N  async def produce(self, queue: Any) -> None:\n"
        "  cancel what a call has started when the call ends; keep no task that nobody waits for"
    ),
    ForgetsAnAnswer: ("`ForgetsAnAnswer.batch` gives 7 answers to 8 inputs\n  each input has its answer, in the same order"),
    OneCallAtATime: (
        "`OneCallAtATime.batch` raises RuntimeError: one at a time\n"
        "  where      batch; invoke, 8 threads at once\n"
        '  at         test_checking.py:N  raise RuntimeError("one at a time")'
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
        '  at         test_checking.py:N  raise TypeError("no stream")'
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


def test_a_run_that_is_left_open_by_an_error_is_told() -> None:
    assert sentences(check_chat_model, Echo, failing=LeavesItsRunOpen) == [
        "chat `model` never ended",
        "`Echo.invoke` raises, and its run is still open",
    ]


def test_a_model_that_lets_in_one_call_at_a_time_passes() -> None:
    class InTurn(MixesUpThreads):
        turn: Any = None

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            self.turn = self.turn or threading.Lock()
            with self.turn:
                return super()._generate(messages)

    check_chat_model(InTurn)
