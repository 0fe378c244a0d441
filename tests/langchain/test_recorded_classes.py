"""Chat model classes without HTTP: listened to, and answered from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel, FakeListChatModel, GenericFakeChatModel, SimpleChatModel
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from llmtest import Recording, call, expect_violation, hold, on, record, say
from llmtest.errors import ScriptError, ViolationError
from llmtest.langchain.recorded_classes import NoStep, answering, listening, name_of
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Fail, Reply, Text

ran: list[str] = []
"""The methods of classes that have run."""


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


class Saying(BaseChatModel):
    """A model with its answers in a list, as chunks."""

    said: list[Any]
    model: str = "local-1"

    @property
    def _llm_type(self) -> str:
        return "saying"

    def next(self) -> list[AIMessageChunk]:
        answer = self.said.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [part if isinstance(part, AIMessageChunk | Exception) else AIMessageChunk(part) for part in answer]

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools], **kwargs)


def whole(chunks: list[AIMessageChunk]) -> ChatResult:
    message = chunks[0]
    for chunk in chunks[1:]:
        message += chunk  # type: ignore[assignment]
    fields = {name: getattr(message, name) for name in ("content", "additional_kwargs", "tool_calls", "usage_metadata")}
    return ChatResult(generations=[ChatGeneration(message=AIMessage(response_metadata=message.response_metadata, **fields))])


class SyncOnly(Saying):
    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        ran.append("_generate")
        return whole(self.next())


class NativeAsync(SyncOnly):
    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        ran.append("_agenerate")
        await asyncio.sleep(0)
        return whole(self.next())


class Streaming(Saying):
    """`_generate` is made of `_stream`, as in most integrations with `streaming=True`."""

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        ran.append("_stream")
        for chunk in self.next():
            if isinstance(chunk, Exception):
                raise chunk
            yield ChatGenerationChunk(message=chunk)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        ran.append("_generate")
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))


class StreamingAsync(Streaming):
    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        ran.append("_astream")
        for chunk in self.next():
            await asyncio.sleep(0)
            if isinstance(chunk, Exception):
                raise chunk
            yield ChatGenerationChunk(message=chunk)

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))


class Child(StreamingAsync):
    """Adds to what its base does, and calls it."""

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from super()._stream([*messages, HumanMessage("more")], stop, run_manager, **kwargs)


class Simple(SimpleChatModel):
    said: list[Any]

    @property
    def _llm_type(self) -> str:
        return "simple"

    def _call(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        ran.append("_call")
        return "".join(self.said.pop(0))


class Fake(GenericFakeChatModel):
    def __init__(self, said: list[Any]) -> None:
        super().__init__(messages=iter(["".join(answer) for answer in said]))

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        ran.append("_generate")
        return super()._generate(*args, **kwargs)


USAGE = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "input_token_details": {"cache_read": 2}}
END = AIMessageChunk("", usage_metadata=USAGE, response_metadata={"stop_reason": "end_turn", "model_name": "local-1b"})
FINISH = AIMessageChunk("", response_metadata={"finish_reason": "length"}, chunk_position="last")
CALLS = [
    "Let me look",
    AIMessageChunk("", tool_call_chunks=[{"name": "weather", "args": "", "id": "c1", "index": 0}]),
    AIMessageChunk("", tool_call_chunks=[{"name": None, "args": '{"city": ', "id": None, "index": 0}]),
    AIMessageChunk("", tool_call_chunks=[{"name": None, "args": '"Paris"}', "id": None, "index": 0}]),
    AIMessageChunk("", tool_call_chunks=[{"name": "weather", "args": "", "id": "c2", "index": 1}]),
    AIMessageChunk("", tool_call_chunks=[{"name": None, "args": '{"city": "Rome"}', "id": None, "index": 1}]),
    END,
]
PERSON = [
    AIMessageChunk("", tool_call_chunks=[{"name": "Person", "args": "", "id": "c1", "index": 0}]),
    AIMessageChunk("", tool_call_chunks=[{"name": None, "args": '{"name": "Ada"}', "id": None, "index": 0}]),
    AIMessageChunk(""),
]


def blocks(*parts: tuple[str, str, int]) -> list[AIMessageChunk]:
    return [AIMessageChunk([{"type": kind, kind: text, "index": index}]) for kind, text, index in parts]


THOUGHT = [*blocks(("reasoning", "Paris,", 0), ("reasoning", " then", 0), ("text", "It is", 1), ("text", " sunny", 1)), END]
KEPT = [AIMessageChunk("Hel", additional_kwargs={"trace": "t1"}), "lo", END]
ANSWERS: dict[str, list[Any]] = {
    "text": ["It is ", "sunny", ".", " "],
    "text and usage": ["It is ", "sunny", END],
    "a closed stream": ["It is ", "sunny", FINISH],
    "calls": CALLS,
    "reasoning": THOUGHT,
    "fields of a provider": KEPT,
    "an empty answer": [""],
    "a failure": [OSError("the model is not loaded")],
    "a broken stream": ["It is ", OSError("the line is broken")],
}
PLAIN = ["text"]


class Person(BaseModel):
    """A person."""

    name: str


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"18C in {city}"


def swallowing(make: Callable[[], Any]) -> None:
    with suppress(OSError):
        make()


async def read(model: Any) -> list[Any]:
    return [chunk async for chunk in model.astream("hi")]


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda model: model.invoke("hi", stop=["STOP"], temperature=0.5),
    "stream": lambda model: list(model.stream("hi")),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("hi")),
    "astream": lambda model: asyncio.run(read(model)),
}
CLASSES: dict[str, tuple[type[BaseChatModel], Any]] = {
    kind.__name__: (kind, answers)
    for kind, answers in (
        (SyncOnly, ("text", "text and usage", "calls", "reasoning", "fields of a provider", "an empty answer", "a failure")),
        (NativeAsync, ("text", "text and usage", "a failure")),
        (Streaming, tuple(ANSWERS)),
        (StreamingAsync, tuple(ANSWERS)),
        (Child, ("text", "calls", "a broken stream")),
        (Simple, ("text",)),
        (Fake, ("text",)),
    )
}
CASES = [(name, answer, way) for name, (_, answers) in CLASSES.items() for answer in answers for way in WAYS]


def made(name: str, *answers: str) -> Any:
    said = [[*ANSWERS[answer]] for answer in answers]
    said = [answer[0] if name in ("SyncOnly", "NativeAsync") and isinstance(answer[0], Exception) else answer for answer in said]
    return CLASSES[name][0](said=said)


def run(program: Callable[[], Any]) -> tuple[Recording, Any]:
    given = None
    with record() as recording, suppress(OSError):
        given = program()
    return recording, given


def shown(given: Any) -> Any:
    """What the program got, without its id; the chunks of a stream are added up."""
    message = given
    if isinstance(given, list):
        message = given[0]
        for chunk in given[1:]:
            message += chunk
    return message if message is None else {key: value for key, value in message.model_dump().items() if key != "id"}


def heard_and_answered(make: Callable[[], Any], program: Callable[[Any], Any]) -> tuple[Any, Any, list[Any]]:
    """Run a program with a class as it is, then with what was heard of it."""
    kind, heard = type(make()), []
    with listening([kind], lambda name, request, step, number: heard.append((number, name, step))):
        first = run(lambda: program(make()))
    before = ran.copy()
    script = Script(*(step for _, _, step in sorted(heard, key=lambda call: call[0])))
    with answering([kind], {name: script for _, name, _ in heard}.__getitem__):
        second = run(lambda: program(make()))
    assert ran == before
    assert before
    script.verify()
    return first, second, heard


@pytest.mark.parametrize(("name", "answer", "way"), CASES)
def test_a_call_is_answered_as_it_was_heard(name: str, answer: str, way: str) -> None:
    (first, gave), (second, gives), heard = heard_and_answered(lambda: made(name, answer), WAYS[way])

    assert len(heard) == 1
    assert str(second) == str(first)
    assert [run.tokens for run in second.models] == [run.tokens for run in first.models]
    assert [run.usage for run in second.models] == [run.usage for run in first.models]
    assert [run.error for run in second.models] == [run.error for run in first.models]
    assert shown(gives) == shown(gave)
