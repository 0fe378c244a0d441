"""Chat model classes without HTTP: listened to, and answered from a script."""

from __future__ import annotations

import asyncio
import threading
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
ENDED = [*blocks(("text", "It is", 0)), AIMessageChunk([], chunk_position="last", usage_metadata=USAGE)]
WITH_CALL = [
    AIMessageChunk([{"type": "text", "text": "No index"}]),
    *blocks(("text", "Let me", 1), ("text", " look", 1)),
    AIMessageChunk([], tool_call_chunks=[{"name": "weather", "args": "", "id": "c1", "index": 2}]),
    AIMessageChunk([], tool_call_chunks=[{"name": None, "args": '{"city": "Paris"}', "id": None, "index": 2}]),
    END,
]
BROKEN = [
    AIMessageChunk("", tool_call_chunks=[{"name": "weather", "args": "", "id": "c1", "index": 0}]),
    AIMessageChunk("", tool_call_chunks=[{"name": None, "args": "not JSON", "id": None, "index": 0}]),
    END,
]
CUT = [
    AIMessageChunk("", tool_call_chunks=[{"name": "weather", "args": "", "id": "c1", "index": 0}]),
    AIMessageChunk("", tool_call_chunks=[{"name": None, "args": '{"city": "Par', "id": None, "index": 0}]),
    OSError("the line is broken"),
]
ANSWERS: dict[str, list[Any]] = {
    "text": ["It is ", "sunny", ".", " "],
    "text and usage": ["It is ", "sunny", END],
    "a closed stream": ["It is ", "sunny", FINISH],
    "calls": CALLS,
    "reasoning": THOUGHT,
    "blocks with a closing chunk": ENDED,
    "blocks and a call": WITH_CALL,
    "a broken call": BROKEN,
    "a broken stream in a call": CUT,
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
    # The chunks of a call have an index, which a provider counts in its own way; the calls are compared.
    return None if message is None else message.model_dump(exclude={"id", "tool_call_chunks"})


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
    # LangChain closes a stream with "", where a class of content blocks may close its own with [].
    assert [[token or "" for token in run.tokens] for run in second.models] == [
        [token or "" for token in run.tokens] for run in first.models
    ]
    assert [run.usage for run in second.models] == [run.usage for run in first.models]
    assert [run.error for run in second.models] == [run.error for run in first.models]
    assert shown(gives) == shown(gave)


def ask(model: Any) -> Any:
    return model.invoke("hi")


PROGRAMS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "an agent": (
        lambda: Streaming(said=[[*CALLS], ["It is 18C.", END]]),
        lambda model: create_agent(model, [weather]).invoke({"messages": [("user", "weather?")]})["messages"][-1],
    ),
    "an agent that streams": (
        lambda: StreamingAsync(said=[[*CALLS], ["It is 18C.", END]]),
        lambda model: [
            chunk
            for chunk, _ in create_agent(model, [weather]).stream({"messages": [("user", "weather?")]}, stream_mode="messages")
            if isinstance(chunk, AIMessageChunk)
        ][-1],
    ),
    "an async agent": (
        lambda: NativeAsync(said=[[*CALLS], ["It is 18C.", END]]),
        lambda model: asyncio.run(create_agent(model, [weather]).ainvoke({"messages": [("user", "weather?")]}))["messages"][-1],
    ),
    "structured output": (
        lambda: SyncOnly(said=[[*PERSON]]),
        lambda model: model.with_structured_output(Person).with_config(run_name="person").invoke("who?") and None,
    ),
    "a tool that is not bound": (lambda: SyncOnly(said=[[*CALLS]]), ask),
    "a stop sequence in the text": (
        lambda: Streaming(said=[["Hello. ", "Bye."]]),
        lambda model: model.invoke("hi", stop=["Bye"]),
    ),
    "a batch": (lambda: SyncOnly(said=[["one"], ["one"], ["one"]]), lambda model: model.batch(["a", "b", "c"])[-1]),
    "an async batch": (lambda: NativeAsync(said=[["one"], ["one"]]), lambda model: asyncio.run(model.abatch(["a", "b"]))[-1]),
    "a retry": (
        lambda: SyncOnly(said=[OSError("not loaded"), ["loaded"]]),
        lambda model: model.with_retry(retry_if_exception_type=(OSError,), wait_exponential_jitter=False).invoke("hi"),
    ),
    "a fallback to a model of the same class": (
        lambda: SyncOnly(said=[OSError("not loaded")]),
        lambda model: model.with_fallbacks([SyncOnly(said=[["loaded"]], model="local-2")]).invoke("hi"),
    ),
    "a stream that its reader leaves": (
        lambda: Streaming(said=[["one", "two", "three"]]),
        lambda model: next(iter(model.stream("hi"))),
    ),
    "a name and tags": (
        lambda: Child(said=[["one"]]),
        lambda model: model.with_config(run_name="mine", tags=["t"], metadata={"k": 1}).invoke("hi"),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_the_same_tree_when_its_model_is_answered_as_it_was_heard(name: str) -> None:
    make, program = PROGRAMS[name]
    kind, heard = type(make()), []
    with listening([kind], lambda name, request, step, number: heard.append((number, name, step))):
        first, gave = run(lambda: program(make()))
    ran.clear()
    models = dict.fromkeys(name for _, name, _ in heard)
    scripts = {model: Script(*(step for _, own, step in sorted(heard, key=lambda c: c[0]) if own == model)) for model in models}

    with answering([kind], scripts.__getitem__):
        second, gives = run(lambda: program(make()))

    assert str(second) == str(first)
    assert shown(gives) == shown(gave)
    assert ran == []
    for script in scripts.values():
        script.verify()


def test_what_is_heard_has_name_request_step_and_number() -> None:
    heard: list[Any] = []
    model = Streaming(said=[["It is ", "sunny", END], OSError("gone")])

    with listening([Saying], lambda *args, **more: heard.append((*args, *more.values()))):
        list(model.bind_tools([weather]).stream("weather?", stop=["x"], temperature=0.5))
        swallowing(lambda: model.invoke("again"))

    (name, request, step, number), (_, second, failure, after) = heard
    assert (name, number, after) == ("Streaming:local-1", 1, 2)
    assert [message.text for message in request.messages] == ["weather?"]
    assert ([*request.tools], request.stop, request.params["temperature"]) == (["weather"], ["x"], 0.5)
    assert [message.text for message in second.messages] == ["again"]
    assert isinstance(step, Reply)
    assert step.parts == (Text(("It is ", "sunny", "")),)
    assert step.usage is not None
    assert step.usage is not False
    assert (step.usage.input_tokens, step.usage.input_details) == (7, {"cache_read": 2})
    assert step.response_metadata == {"stop_reason": "end_turn", "model_name": "local-1b"}
    assert isinstance(failure, Fail)
    assert str(failure) == "fail(OSError('gone'))"


def test_an_answer_that_no_step_can_say_is_told() -> None:
    class Odd(SyncOnly):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            answer = self.said.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return ChatResult(generations=[ChatGeneration(message=message) for message in answer])

    heard: list[Any] = []
    odd = AIMessage("x", additional_kwargs={"raw": {1}})
    model = Odd(said=[[AIMessage("a"), AIMessage("b")], [HumanMessage("hi")], [odd], KeyboardInterrupt()])

    with listening([Odd], lambda name, request, step, number: heard.append(step)):
        for _ in range(4):
            with suppress(KeyboardInterrupt):
                model.invoke("hi")

    assert heard == [
        NoStep("gave 2 candidates"),
        NoStep("gave a message of the role `human`"),
        NoStep(
            "gave an answer that no step can say: the `additional_kwargs` of an AIMessage step is not JSON:"
            " {'raw': {1}} (Object of type set is not JSON serializable)"
        ),
        NoStep("was stopped by KeyboardInterrupt"),
    ]


async def _cancelled(model: BaseChatModel, streams: bool) -> None:
    async def work() -> None:
        if streams:
            async for _ in model.astream("hi"):
                pass
        else:
            await model.ainvoke("hi")

    with suppress(TimeoutError):
        await asyncio.wait_for(work(), 0.2)


@pytest.mark.parametrize("streams", [False, True])
def test_a_call_that_was_cancelled_waits_where_it_was_left(streams: bool) -> None:
    class Slow(SyncOnly):
        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            await asyncio.sleep(60)
            raise AssertionError

        async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
            yield ChatGenerationChunk(message=AIMessageChunk("It is "))
            await asyncio.sleep(60)

    heard: list[Any] = []
    with listening([Slow], lambda name, request, step, number: heard.append(step)):
        asyncio.run(_cancelled(Slow(said=[]), streams))

    assert heard == [Reply((Text(("It is ",)),)).then_wait() if streams else say("").then_wait().optional()]
    with answering([Slow], lambda name: script), record() as recording:
        script = Script(*heard)
        asyncio.run(_cancelled(Slow(said=[]), streams))
    assert script.remaining == 0
    assert ("It is " in str(recording)) is streams


def test_a_call_that_is_at_work_at_the_end_of_the_block_is_told_then() -> None:
    begun, go = threading.Event(), threading.Event()

    class Slow(SyncOnly):
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            begun.set()
            go.wait(10)
            return ChatResult(generations=[ChatGeneration(message=AIMessage("late"))])

    heard: list[Any] = []
    with listening([Slow], lambda name, request, step, number: heard.append(step)):
        thread = threading.Thread(target=Slow(said=[]).invoke, args=("hi",))
        thread.start()
        begun.wait(10)
    go.set()
    thread.join()

    assert heard == [say("").then_wait().optional()]


def test_usage_beside_the_message_is_heard() -> None:
    class Older(SyncOnly):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
            return ChatResult(generations=[ChatGeneration(message=AIMessage("x"))], llm_output={"token_usage": usage})

    heard: list[Any] = []
    with listening([Older], lambda name, request, step, number: heard.append(step)):
        Older(said=[]).invoke("hi")

    assert (heard[0].usage.input_tokens, heard[0].usage.output_tokens) == (5, 2)


def test_a_script_answers_with_keys_gates_checks_and_counted_usage() -> None:
    gate = hold()
    gate.release()
    script = Script(on(contains="key") >> "by key", say("a", gate, "b"), call("other", q="x"))
    model = Streaming(said=[])

    with answering([Streaming], lambda name: script):
        assert model.invoke("the key").content == "by key"
        chunks = [chunk.content for chunk in model.stream("hello there")]
        with expect_violation("invalid tool call"), pytest.raises(ViolationError):
            model.bind_tools([weather]).invoke("hi")
        with expect_violation("unexpected call"), pytest.raises(ViolationError):
            asyncio.run(model.ainvoke("more"))

    assert chunks == ["a", "b", ""]
    assert ran == []


def test_the_inputs_of_a_batch_take_steps_by_position() -> None:
    script = Script(*map(str, range(20)))

    with answering([SyncOnly], lambda name: script):
        given = SyncOnly(said=[]).batch([f"input {n}" for n in range(20)])

    assert [message.content for message in given] == [str(n) for n in range(20)]


def test_subclasses_are_answered_also_those_that_are_defined_in_the_block() -> None:
    script = Script("one", "two", "three")

    with answering([Saying], lambda name: script):

        class Late(Streaming):
            def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
                raise AssertionError("its own code ran")

        given = [Late(said=[]).invoke("hi").content, Child(said=[]).invoke("hi").content, SyncOnly(said=[]).invoke("hi").content]

    assert given == ["one", "two", "three"]


def test_classes_are_as_before_after_the_block() -> None:
    kinds = [Saying, SyncOnly, NativeAsync, Streaming, StreamingAsync, Child, FakeListChatModel, BaseChatModel]
    before = [dict(vars(kind)) for kind in kinds]

    with listening([Saying], lambda *args, **more: None), answering([Saying, Child, FakeListChatModel], lambda name: Script()):
        assert [dict(vars(kind)) for kind in kinds[:-1]] != before[:-1]

    assert [dict(vars(kind)) for kind in kinds] == before


def test_the_inner_of_two_blocks_answers() -> None:
    outer, inner = Script("outer"), Script("inner")

    with answering([SyncOnly], lambda name: outer):
        with answering([SyncOnly], lambda name: inner):
            first = SyncOnly(said=[]).invoke("hi")
        second = SyncOnly(said=[]).invoke("hi")

    assert (first.content, second.content) == ("inner", "outer")


def test_a_block_that_ends_before_one_that_began_after_it_lets_that_one_answer() -> None:
    first, second = answering([SyncOnly], lambda name: Script()), answering([SyncOnly], lambda name: script)
    script = Script("second", "again")
    first.__enter__()
    second.__enter__()

    given = [SyncOnly(said=[]).invoke("hi").content]
    first.__exit__()
    given.append(SyncOnly(said=[]).invoke("hi").content)
    second.__exit__()

    assert given == ["second", "again"]
    assert SyncOnly(said=[["own"]]).invoke("hi").content == "own"


@pytest.mark.parametrize("block", [listening, answering])
def test_only_classes_of_chat_models_are_taken(block: Any) -> None:
    with pytest.raises(ScriptError) as caught:
        block([Person], None)

    assert str(caught.value) == f"{block.__name__}() takes classes of chat models of your own; got {Person!r}"


@pytest.mark.parametrize("block", [listening, answering])
def test_a_block_that_a_test_leaves_open_is_closed(block: Any) -> None:
    before = dict(vars(SyncOnly))
    opened = block([SyncOnly], None)
    opened.__enter__()

    assert [violation.text for violation in opened.end_of_test()] == [
        f"a {block.__name__}() block was left open by the test\n  use it with `with`, or leave it in the same test"
    ]
    assert opened.end_of_test() == []
    assert dict(vars(SyncOnly)) == before


def test_a_model_is_named_by_its_class_and_its_model() -> None:
    names = [name_of(SyncOnly(said=[])), name_of(Simple(said=[])), name_of(FakeListChatModel(responses=[]))]

    assert names == ["SyncOnly:local-1", "Simple", "FakeListChatModel"]


def test_a_method_that_outlives_its_block_is_the_own_one() -> None:
    heard: list[Any] = []
    model = StreamingAsync(said=[["one"] for _ in range(8)])

    def methods() -> list[Any]:
        return [model._generate, model._agenerate, model._stream, model._astream]

    with answering([StreamingAsync], lambda name: Script()):
        kept = methods()
    with listening([StreamingAsync], lambda *args, **more: heard.append(args)):
        kept += methods()

    async def use(agenerate: Any, astream: Any) -> list[Any]:
        whole = await agenerate([])
        return [whole.generations[0].message.content, *[chunk.text async for chunk in astream([])]]

    given = []
    for generate, agenerate, stream, astream in (kept[:4], kept[4:]):
        given += [generate([]).generations[0].message.content, *(chunk.text for chunk in stream([]))]
        given += asyncio.run(use(agenerate, astream))
    assert given == ["one"] * 8
    assert heard == []


def test_chunks_that_cannot_be_added_and_no_chunks_are_told() -> None:
    heard: list[Any] = []
    odd = [AIMessageChunk("a", additional_kwargs={"k": "x"}), AIMessageChunk("b", additional_kwargs={"k": [1]})]
    kept = [AIMessageChunk("a", additional_kwargs={"k": {1}})]
    model = Streaming(said=[odd, kept, []])

    with listening([Streaming], lambda name, request, step, number: heard.append(step)):
        for _ in range(3):
            list(model._stream([]))

    assert isinstance(heard[0], NoStep)
    assert heard[0].why.startswith("gave chunks that LangChain cannot add up: ")
    assert isinstance(heard[1], NoStep)
    assert heard[2] == Reply((), usage=False)


def test_an_async_stream_waits_at_a_gate_and_tells_its_tokens_where_langchain_asks_for_them() -> None:
    gate, told = hold(), []
    gate.release()

    class Manager:
        run_id = None

        def on_llm_new_token(self, token: str, **_: Any) -> None:
            told.append(token)

    class AsyncManager:
        run_id = None

        async def on_llm_new_token(self, token: str, **_: Any) -> None:
            told.append(token)

    async def read_all(model: Any) -> list[str]:
        return [chunk.text async for chunk in model._astream([], run_manager=AsyncManager())]

    script = Script(say("a", gate, "b"), say("c", "d"))
    with answering([StreamingAsync], lambda name: script):
        first = asyncio.run(read_all(StreamingAsync(said=[])))
        second = [chunk.text for chunk in StreamingAsync(said=[])._stream([], run_manager=Manager())]

    assert (first, second, told) == (["a", "b"], ["c", "d"], ["a", "b", "c", "d"])
