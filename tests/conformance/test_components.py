"""check_chat_model, check_llm, check_tool and check_retriever: what is right passes, and each seeded defect is told."""

from __future__ import annotations

import asyncio
import copy
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import (
    FakeListChatModel,
    FakeListLLM,
    FakeMessagesListChatModel,
    FakeStreamingListLLM,
    GenericFakeChatModel,
    ParrotFakeChatModel,
)
from langchain_core.language_models.fake_chat_models import FakeChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import GenerationChunk
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, StructuredTool

from llmtest import ScriptedChatModel, ScriptedLLM, ViolationError, call, fail, record, reply, respond, say, scripted_tool
from llmtest.conformance import check_chat_model, check_llm, check_retriever, check_tool
from llmtest.langchain.retriever import ScriptedRetriever
from llmtest.scripts import give
from tests.support.conforming import USAGE, Echo, sentences, told
from tests.support.tools import weather
from tests.support.wire import real

ROOT = Path(__file__).parents[2]


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


def test_what_a_check_makes_handlers_raise_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    check_chat_model(Echo)
    check_llm(Says)

    assert caplog.records == []
