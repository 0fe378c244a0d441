"""Each known deviation still happens on the installed versions, and is recognised. A test that fails here is good news:
upstream has mended it, and the deviation gets the version in which it did as its `fixed`.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, BaseLLM, FakeListLLM
from langchain_core.messages import HumanMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool

from llmtest import Recording, ScriptedChatModel, fail, record, respond, say
from llmtest.protocol import check, known_issues
from llmtest.protocol.checks import RULES
from llmtest.protocol.known_issues import DEVIATIONS, Deviation, parts

MENDED = parts(version("langchain-core")) >= (1, 8)
NO_END_OF_A_TOOL = [] if MENDED else [("run never ended", "cancelled tool")]
NAME_OF_A_FAILING_HANDLER = "tool with a failing handler of errors" if MENDED else "cancelled tool"
needs_v3 = pytest.mark.skipif(not hasattr(BaseChatModel, "stream_events"), reason="this langchain-core has no stream_events")


def deviations_in(recording: Recording) -> list[tuple[str, str | None]]:
    """The violations of a recording: the rule, and the known deviation that it is."""
    found = check(recording)
    assert all(one.level == "unusual" for one in found if one.deviation is not None)
    return [(one.code, one.deviation) for one in found]


async def cancelled(start: Callable[[asyncio.Event], Awaitable[Any]]) -> Recording:
    """What is recorded of a coroutine that is cancelled when it says that it is under way."""
    under_way = asyncio.Event()
    with record() as recording:
        task = asyncio.ensure_future(start(under_way))
        await under_way.wait()
        task.cancel()
        await asyncio.wait([task])
    return recording


def answers_never(under_way: asyncio.Event) -> ScriptedChatModel:
    async def answer(_: Any) -> str:
        under_way.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    return ScriptedChatModel(respond(answer))


# -- runs that never end


def test_langchain_tells_no_end_of_a_cancelled_chat_model() -> None:
    recording = asyncio.run(cancelled(lambda under_way: answers_never(under_way).ainvoke("hi")))

    assert deviations_in(recording) == [("run never ended", "cancelled chat model")]


def test_langchain_tells_no_end_of_a_chat_model_that_a_chain_gives_up() -> None:
    async def answer(_: Any) -> str:
        under_way = asyncio.Event()
        task = asyncio.ensure_future(answers_never(under_way).ainvoke("hi"))
        await under_way.wait()
        task.cancel()
        await asyncio.wait([task])
        return "too slow"

    async def main() -> Recording:
        with record() as recording:
            await RunnableLambda(answer).ainvoke("hi")
        return recording

    recording = asyncio.run(main())

    assert deviations_in(recording) == [("run never ended", "cancelled chat model")]


def test_langchain_tells_no_end_of_a_text_model_that_is_cancelled_at_its_start() -> None:
    class Waits(AsyncCallbackHandler):
        def __init__(self, under_way: asyncio.Event) -> None:
            self.under_way = under_way

        async def on_llm_start(self, *args: Any, **kwargs: Any) -> None:
            self.under_way.set()
            await asyncio.Event().wait()

    model = FakeListLLM(responses=["Hello"])
    recording = asyncio.run(cancelled(lambda under_way: model.ainvoke("hi", {"callbacks": [Waits(under_way)]})))

    assert deviations_in(recording) == [("run never ended", "text model cancelled at its start")]


def test_langchain_before_1_8_tells_no_end_of_a_cancelled_tool() -> None:
    async def start(under_way: asyncio.Event) -> Any:
        @tool
        async def wait(city: str) -> str:
            """Waits."""
            under_way.set()
            await asyncio.Event().wait()
            return city

        return await wait.ainvoke({"city": "Paris"})

    recording = asyncio.run(cancelled(start))

    assert deviations_in(recording) == NO_END_OF_A_TOOL


def test_langchain_before_1_8_tells_no_end_of_a_tool_that_raises_system_exit() -> None:
    @tool
    def leave(city: str) -> str:
        """Leaves."""
        raise SystemExit

    with record() as recording, pytest.raises(SystemExit):
        leave.invoke({"city": "Paris"})

    assert deviations_in(recording) == NO_END_OF_A_TOOL


def test_langchain_tells_no_end_of_a_tool_whose_handler_of_errors_raises() -> None:
    def handle(error: ToolException) -> str:
        raise RuntimeError("cannot handle that")

    @tool
    def look(city: str) -> str:
        """Looks."""
        raise ToolException("no such city")

    look.handle_tool_error = handle

    with record() as recording, pytest.raises(RuntimeError, match="cannot handle that"):
        look.invoke({"city": "Atlantis"})

    assert deviations_in(recording) == [("run never ended", NAME_OF_A_FAILING_HANDLER)]


class Shelf(BaseRetriever):
    """Never finds anything: in sync code it is interrupted, in async code it waits."""

    under_way: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:
        raise KeyboardInterrupt

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:
        self.under_way.set()
        await asyncio.Event().wait()
        return []


def test_langchain_tells_no_end_of_a_cancelled_retriever() -> None:
    recording = asyncio.run(cancelled(lambda under_way: Shelf(under_way=under_way).ainvoke("books")))

    assert deviations_in(recording) == [("run never ended", "cancelled retriever")]


def test_langchain_tells_no_end_of_an_interrupted_retriever() -> None:
    with record() as recording, pytest.raises(KeyboardInterrupt):
        Shelf().invoke("books")

    assert deviations_in(recording) == [("run never ended", "cancelled retriever")]


@needs_v3
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_langchain_tells_no_end_of_a_v3_stream_that_is_dropped() -> None:
    with record() as recording:
        events = iter(ScriptedChatModel(say("a", "b")).stream_events("hi", version="v3"))
        next(events)
        del events
        gc.collect()

    assert deviations_in(recording) == [("run never ended", "dropped v3 stream")]


def test_langchain_tells_no_end_of_the_others_when_one_of_many_chat_models_fails() -> None:
    model = ScriptedChatModel("one", fail(ValueError("no")), say("three").optional())

    with record() as recording, pytest.raises(ValueError, match="no"):
        model.generate([[HumanMessage("hi")]] * 3)

    assert deviations_in(recording) == [("run never ended", "chat models generated together")] * 2


def test_langchain_tells_no_end_of_fallbacks_in_a_batch_when_nobody_handles_the_exception() -> None:
    def divide(number: int) -> float:
        return 1 / number

    guarded = RunnableLambda(divide).with_fallbacks([RunnableLambda(str)], exceptions_to_handle=(KeyError,))

    with record() as recording, pytest.raises(ZeroDivisionError):
        guarded.batch([0, 0])

    assert deviations_in(recording) == [("run never ended", "fallbacks in a batch")] * 2


# -- other rules


@needs_v3
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_langchain_tells_an_error_after_the_end_of_a_v3_stream_that_is_cancelled_meanwhile() -> None:
    class Slow(AsyncCallbackHandler):
        def __init__(self, ending: asyncio.Event) -> None:
            self.ending = ending

        async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            self.ending.set()
            await asyncio.Event().wait()

    async def main() -> None:
        ending = asyncio.Event()
        stream = await ScriptedChatModel("Hello").astream_events("hi", {"callbacks": [Slow(ending)]}, version="v3")
        await stream.text
        await ending.wait()  # what is still at work when this returns is cancelled

    with record() as recording:
        asyncio.run(asyncio.wait_for(main(), 30))

    assert deviations_in(recording) == [("one end", "given up at the end")]


class Parrot(BaseLLM):
    """A text model that streams what it says to its run manager, prompt by prompt."""

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _generate(
        self, prompts: list[str], stop: Any = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> LLMResult:
        assert run_manager is not None
        for prompt in prompts:
            run_manager.on_llm_new_token(prompt)
        return LLMResult(generations=[[Generation(text=prompt)] for prompt in prompts])


def test_langchain_gives_the_tokens_of_all_prompts_to_the_first_run() -> None:
    with record() as recording:
        Parrot().generate(["one", "two"])

    assert deviations_in(recording) == [("tokens and text differ", "tokens of prompts together")]


# -- the table


def test_each_deviation_excuses_a_rule_that_there_is() -> None:
    assert {deviation.rule for deviation in DEVIATIONS} <= {rule.name for rule in RULES}
    assert len({deviation.name for deviation in DEVIATIONS}) == len(DEVIATIONS)


def made(**fields: Any) -> Deviation:
    return Deviation("forgetful", "one end", lambda life, index: True, "forgets", **fields)


def test_a_deviation_is_present_in_its_versions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_issues, "_installed", {"langchain-core": (1, 7, 2)}.get)

    found = {
        "in it": made().present,
        "the first": made(since="1.7.2").present,
        "before it": made(since="1.8").present,
        "mended later": made(fixed="1.7.10").present,
        "mended": made(fixed="1.7.2").present,
        "not installed": made(package="langgraph").present,
    }

    assert found == {
        "in it": True,
        "the first": True,
        "before it": False,
        "mended later": True,
        "mended": False,
        "not installed": False,
    }


def test_a_package_that_is_not_installed_has_no_deviations() -> None:
    assert not made(package="no-such-package-as-this").present


def test_only_the_numbers_of_a_version_count() -> None:
    assert [parts(text) for text in ("1.7.2", "1.8.0rc1", "2.0.dev3", "unknown")] == [(1, 7, 2), (1, 8, 0), (2, 0), ()]


def test_a_deviation_says_where_it_is_reported() -> None:
    assert str(made(issue="https://example.org/1")) == "langchain-core forgets (https://example.org/1)"
    assert str(made()) == "langchain-core forgets (not reported yet)"
