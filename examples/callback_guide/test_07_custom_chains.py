"""Callbacks in custom chains, models, tools and Runnables: each is given the manager of its run, and tells with it.

Section "callbacks in a custom chain" of LangChain's callback guide. Everything runs twice: by its methods `_call`,
`_generate` and `_run`, and by their async twins.
"""

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from langchain.agents import create_agent
from langchain_classic.agents import AgentExecutor, BaseSingleActionAgent
from langchain_classic.chains.base import Chain
from langchain_core.agents import AgentAction, AgentFinish
from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    AsyncCallbackManagerForLLMRun,
    AsyncCallbackManagerForToolRun,
    BaseCallbackHandler,
    CallbackManagerForChainRun,
    CallbackManagerForLLMRun,
    CallbackManagerForToolRun,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, GenerationChunk
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.graph import END, START, MessagesState, StateGraph

from llmtest import call, say
from llmtest.matching import called, chain, model
from llmtest.protocol import check

both = pytest.mark.parametrize("way", ["sync", "async"])


def ask(way: str, program: Any, question: Any, *handlers: BaseCallbackHandler) -> Any:
    config = {"callbacks": list(handlers)}
    return program.invoke(question, config) if way == "sync" else asyncio.run(program.ainvoke(question, config))


class Told(BaseCallbackHandler):
    """What custom objects tell, beside their starts and ends."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def on_text(self, text: str, **kwargs: Any) -> None:
        self.told.append(("on_text", text))

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.told.append(("on_llm_new_token", token))

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        self.told.append((name, data))


def told_by(recording: Any) -> list[tuple[str, str]]:
    """Which run told what, as the recording has it."""
    kinds = ("on_text", "on_llm_new_token", "on_custom_event")
    return [(event.name, event.kind) for event in recording if event.kind in kinds]


# -- a chat model: `_generate`


class Parrot(BaseChatModel):
    """Says again what it hears, and tells its words one by one."""

    _llm_type: ClassVar = "parrot"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        assert type(run_manager) is CallbackManagerForLLMRun
        run_manager.on_text("It listens.")
        for word in words(messages[-1].text):
            run_manager.on_llm_new_token(word)
        return said(messages[-1].text)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        assert type(run_manager) is AsyncCallbackManagerForLLMRun
        await run_manager.on_text("It listens.")
        for word in words(messages[-1].text):
            await run_manager.on_llm_new_token(word)
        return said(messages[-1].text)


def words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


def said(text: str) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


@both
def test_a_chat_model_tells_its_tokens_whether_it_streams_or_not(way, llm_recording, llm_snapshot):
    handler = Told()

    assert ask(way, Parrot(), "Hello there", handler).text == "Hello there"

    assert handler.told == [("on_text", "It listens."), ("on_llm_new_token", "Hello"), ("on_llm_new_token", " there")]
    assert llm_recording.kinds == ["on_chat_model_start", "on_text", *["on_llm_new_token"] * 2, "on_llm_end"]
    assert llm_recording.tokens == ["Hello", " there"]
    assert llm_recording == llm_snapshot


class Careless(BaseChatModel):
    """Forgets the spaces between the words when it tells them."""

    _llm_type: ClassVar = "careless"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        for word in messages[-1].text.split():
            run_manager.on_llm_new_token(word)
        return said(messages[-1].text)


@pytest.mark.llm_waive("tokens and answer differ", reason="without this mark the test fails, and says so")
def test_a_model_that_tells_other_tokens_than_its_answer_is_found_out(llm_recording, llm_snapshot):
    ask("sync", Careless(), "Hello there")

    assert [broken.text.splitlines()[0] for broken in check(llm_recording)] == [
        "the tokens of chat `Careless` do not make its answer"
    ]
    assert llm_recording == llm_snapshot


# -- a text model: `_call`


class Backwards(LLM):
    """A text model, with no async twin of its method."""

    _llm_type: ClassVar = "backwards"

    def _call(self, prompt: str, stop: Any = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> str:
        assert type(run_manager) is CallbackManagerForLLMRun
        run_manager.on_llm_new_token(prompt[::-1])
        return prompt[::-1]


class BackwardsWithTwin(Backwards):
    async def _acall(
        self, prompt: str, stop: Any = None, run_manager: AsyncCallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> str:
        assert type(run_manager) is AsyncCallbackManagerForLLMRun
        await run_manager.on_llm_new_token(prompt[::-1])
        return prompt[::-1]


@both
@pytest.mark.parametrize("kind", [Backwards, BackwardsWithTwin], ids=["no twin", "twin"])
def test_a_text_model_without_an_async_twin_runs_in_a_thread_with_the_sync_manager(way, kind, llm_recording, llm_snapshot):
    handler = Told()

    assert ask(way, kind(), "abc", handler) == "cba"

    assert handler.told == [("on_llm_new_token", "cba")]
    (token,) = [event for event in llm_recording if event.kind == "on_llm_new_token"]
    in_a_thread = token.thread != threading.current_thread().name
    assert in_a_thread == (way == "async" and kind is Backwards)
    assert llm_recording == llm_snapshot


# -- models that stream: `_stream`


class StreamingParrot(Parrot):
    def _stream(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        assert run_manager is None  # LangChain tells the tokens of a chat model
        for word in words(messages[-1].text):
            yield ChatGenerationChunk(message=AIMessageChunk(word))


class StreamingBackwards(Backwards):
    tells: bool

    def _stream(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[GenerationChunk]:
        assert type(run_manager) is CallbackManagerForLLMRun  # a text model has to do it
        for letter in prompt[::-1]:
            if self.tells:
                run_manager.on_llm_new_token(letter)
            yield GenerationChunk(text=letter)


@pytest.mark.parametrize(
    ("llm", "told"),
    [
        (StreamingParrot(), ["Hello", " there", ""]),  # the last one is LangChain's
        (StreamingBackwards(tells=True), [*"ereht olleH"]),
        (StreamingBackwards(tells=False), []),
    ],
    ids=["chat model", "text model that tells", "text model that does not"],
)
def test_the_tokens_of_a_stream_are_told_by_langchain_for_chat_models_and_by_a_text_model_itself(
    llm, told, llm_recording, llm_snapshot
):
    handler = Told()

    for _ in llm.stream("Hello there", {"callbacks": [handler]}):
        pass

    assert handler.told == [("on_llm_new_token", token) for token in told]
    assert llm_recording.tokens == told
    assert llm_recording == llm_snapshot


# -- a tool: `_run`


class Translate(BaseTool):
    """A tool that asks a model."""

    name: str = "translate"
    description: str = "Translate a text."
    llm: Any

    def _run(self, text: str, run_manager: CallbackManagerForToolRun | None = None) -> str:
        assert type(run_manager) is CallbackManagerForToolRun
        run_manager.on_text("It looks into a book.")
        dispatch_custom_event("page", {"number": 7})
        return self.llm.invoke(text, {"callbacks": run_manager.get_child()}).text

    async def _arun(self, text: str, run_manager: AsyncCallbackManagerForToolRun | None = None) -> str:
        assert type(run_manager) is AsyncCallbackManagerForToolRun
        await run_manager.on_text("It looks into a book.")
        await adispatch_custom_event("page", {"number": 7})
        return (await self.llm.ainvoke(text, {"callbacks": run_manager.get_child()})).text


@both
def test_a_tool_tells_texts_and_events_and_its_model_stands_in_it(way, scripted_chat_model, llm_recording, llm_snapshot):
    handler = Told()

    assert ask(way, Translate(llm=scripted_chat_model("Bonjour.")), {"text": "Hello."}, handler) == "Bonjour."

    assert handler.told == [("on_text", "It looks into a book."), ("page", {"number": 7})]
    assert told_by(llm_recording) == [("translate", "on_text"), ("translate", "on_custom_event")]
    assert llm_recording.run("translate").children == [model()]
    assert llm_recording == llm_snapshot


# -- a chain: `_call`


class Guide(Chain):
    """Asks a model and a tool, and says so. It hands on its run only if it has `hands_on`."""

    llm: Any
    translate: BaseTool
    hands_on: bool = True

    input_keys: ClassVar = ["text"]
    output_keys: ClassVar = ["translated"]

    def _call(self, inputs: dict[str, Any], run_manager: CallbackManagerForChainRun | None = None) -> dict[str, Any]:
        assert type(run_manager) is CallbackManagerForChainRun
        run_manager.on_text("First the model.")
        short = self.llm.invoke(inputs["text"], self.config(run_manager, "shortens")).text
        run_manager.on_text("Then the tool.")
        return {"translated": self.translate.invoke({"text": short}, self.config(run_manager))}

    async def _acall(self, inputs: dict[str, Any], run_manager: AsyncCallbackManagerForChainRun | None = None) -> dict[str, Any]:
        assert type(run_manager) is AsyncCallbackManagerForChainRun
        await run_manager.on_text("First the model.")
        short = (await self.llm.ainvoke(inputs["text"], self.config(run_manager, "shortens"))).text
        await run_manager.on_text("Then the tool.")
        return {"translated": await self.translate.ainvoke({"text": short}, self.config(run_manager))}

    def config(self, run_manager: Any, tag: str | None = None) -> RunnableConfig:
        return {"callbacks": run_manager.get_child(tag)} if self.hands_on else {}


@both
def test_what_a_chain_calls_with_get_child_stands_in_it(way, scripted_chat_model, llm_recording, llm_snapshot):
    handler = Told()
    llm = scripted_chat_model("Hello.", "Bonjour.")

    result = ask(way, Guide(llm=llm, translate=Translate(llm=llm)), {"text": "Hello there."}, handler)

    assert result == {"text": "Hello there.", "translated": "Bonjour."}
    assert [value for name, value in handler.told if name == "on_text"] == [
        "First the model.",
        "Then the tool.",
        "It looks into a book.",
    ]
    assert llm_recording.run("Guide").children == [model().tagged("shortens"), "translate"]
    assert llm_recording.run("translate").children == [model()]
    assert llm_recording.tags("shortens") == [model()]  # the tag is that one child's, and nobody else's
    assert llm_recording == llm_snapshot


@both
def test_without_get_child_they_stand_alone_and_the_handler_of_the_request_misses_them(
    way, scripted_chat_model, llm_recording, llm_snapshot
):
    handler = Told()
    llm = scripted_chat_model("Hello.", "Bonjour.")

    ask(way, Guide(llm=llm, translate=Translate(llm=llm), hands_on=False), {"text": "Hello there."}, handler)

    assert handler.told == [("on_text", "First the model."), ("on_text", "Then the tool.")]
    assert [run.name for run in llm_recording.roots] == ["Guide", "ScriptedChatModel", "translate"]
    assert llm_recording.run("Guide").children == []
    assert llm_recording == llm_snapshot


class Silent(Guide):
    """Its method names no `run_manager`, and so is given none."""

    def _call(self, inputs: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        return {"translated": "Bonjour."}


def test_a_chain_that_names_no_run_manager_is_called_without(llm_recording, llm_snapshot):
    handler = Told()

    result = ask("sync", Silent(llm=None, translate=Translate(llm=None)), {"text": "Hello."}, handler)

    assert (result["translated"], handler.told) == ("Bonjour.", [])
    assert llm_recording.runs == [chain("Silent")]
    assert llm_recording == llm_snapshot


# -- an agent: `plan`


class Planner(BaseSingleActionAgent):
    """A classic agent. It is given callbacks in place of a manager: they are the executor's `get_child()`."""

    llm: Any
    input_keys: ClassVar = ["text"]

    def plan(self, intermediate_steps: Any, callbacks: Any = None, **kwargs: Any) -> AgentAction | AgentFinish:
        answer = self.llm.invoke("What now?", {"callbacks": callbacks}).text
        return self.decide(answer, kwargs["text"])

    async def aplan(self, intermediate_steps: Any, callbacks: Any = None, **kwargs: Any) -> AgentAction | AgentFinish:
        answer = (await self.llm.ainvoke("What now?", {"callbacks": callbacks})).text
        return self.decide(answer, kwargs["text"])

    def decide(self, answer: str, text: str) -> AgentAction | AgentFinish:
        return AgentFinish({"output": answer}, answer) if answer == "Done." else AgentAction(answer, text, answer)


@both
def test_what_a_classic_agent_asks_while_it_plans_stands_in_its_executor(way, scripted_chat_model, llm_recording, llm_snapshot):
    llm = scripted_chat_model("translate", "Bonjour.", "Done.")
    agent = AgentExecutor(agent=Planner(llm=llm), tools=[Translate(llm=llm)])

    assert ask(way, agent, {"text": "Hello."})["output"] == "Done."

    assert llm_recording.run("AgentExecutor").children == [model(), "translate", model()]
    assert llm_recording == llm_snapshot


# -- a Runnable


class Polite(Runnable[str, str]):
    """A Runnable of one's own: LangChain makes its run, and gives the manager to the function that does the work."""

    def __init__(self, llm: Any) -> None:
        self.llm = llm

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        return self._call_with_config(self.work, input, config, **kwargs)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> str:
        return await self._acall_with_config(self.awork, input, config, **kwargs)

    def work(self, text: str, run_manager: CallbackManagerForChainRun) -> str:
        run_manager.on_text("It thinks of a word.")
        dispatch_custom_event("word", "please")
        return self.llm.invoke(f"{text}, please", {"callbacks": run_manager.get_child()}).text

    async def awork(self, text: str, run_manager: AsyncCallbackManagerForChainRun) -> str:
        await run_manager.on_text("It thinks of a word.")
        await adispatch_custom_event("word", "please")
        return (await self.llm.ainvoke(f"{text}, please", {"callbacks": run_manager.get_child()})).text


@both
def test_a_runnable_and_a_lambda_in_a_sequence_tell_in_their_own_runs(way, scripted_chat_model, llm_recording, llm_snapshot):
    def shout(text: str, run_manager: CallbackManagerForChainRun) -> str:
        run_manager.on_text("It is loud.")
        return text.upper()

    async def ashout(text: str, run_manager: AsyncCallbackManagerForChainRun) -> str:
        await run_manager.on_text("It is loud.")
        return text.upper()

    handler = Told()
    program = Polite(scripted_chat_model("Here you are.")) | RunnableLambda(shout, ashout)

    assert ask(way, program, "Tea", handler) == "HERE YOU ARE."

    assert handler.told == [("on_text", "It thinks of a word."), ("word", "please"), ("on_text", "It is loud.")]
    assert told_by(llm_recording) == [("Polite", "on_text"), ("Polite", "on_custom_event"), ("shout", "on_text")]
    assert llm_recording.run("Polite").children == [model()]
    assert llm_recording == llm_snapshot


# -- today's tools, agents and graphs: the run is in the context


@both
def test_what_a_tool_or_a_lambda_calls_stands_in_it_without_get_child(way, scripted_chat_model, llm_recording, llm_snapshot):
    llm = scripted_chat_model("Hello.", "Hello!")

    @tool
    def greet(name: str) -> str:
        """Greet somebody."""
        return str(llm.invoke(name).text)

    @tool("greet")
    async def agreet(name: str) -> str:
        """Greet somebody."""
        return str((await llm.ainvoke(name)).text)

    async def aloud(text: str) -> str:
        return str((await llm.ainvoke(text)).text)

    loud = RunnableLambda(lambda text: llm.invoke(text).text, aloud, name="loud")
    assert ask(way, (greet if way == "sync" else agreet) | loud, {"name": "Ada"}) == "Hello!"

    assert llm_recording.run("greet").children == [model()]
    assert llm_recording.run("loud").children == [model()]
    assert llm_recording == llm_snapshot


@tool
def look_up(word: str) -> str:
    """Look up a word."""
    dispatch_custom_event("looked up", word)
    return "a greeting"


@tool("look_up")
async def alook_up(word: str) -> str:
    """Look up a word."""
    await adispatch_custom_event("looked up", word)
    return "a greeting"


@both
def test_a_tool_of_create_agent_needs_no_manager_for_an_event_of_its_own(way, scripted_chat_model, llm_recording, llm_snapshot):
    handler = Told()
    llm = scripted_chat_model(call("look_up", word="hello"), say("A greeting."))
    agent = create_agent(llm, [look_up if way == "sync" else alook_up], name="dictionary")

    ask(way, agent, {"messages": [("user", "What is hello?")]}, handler)

    assert handler.told == [("looked up", "hello")]
    assert told_by(llm_recording) == [("look_up", "on_custom_event")]
    assert llm_recording.tools == [called("look_up", word="hello").returned("a greeting")]
    assert llm_recording == llm_snapshot


@both
def test_what_a_node_calls_stands_in_it_without_get_child(way, scripted_chat_model, llm_recording, llm_snapshot):
    def node(state: Any) -> Any:
        dispatch_custom_event("greeting", 1)
        return {"messages": [llm.invoke(state["messages"])]}

    async def anode(state: Any) -> Any:
        await adispatch_custom_event("greeting", 1)
        return {"messages": [await llm.ainvoke(state["messages"])]}

    handler, llm = Told(), scripted_chat_model("Hello.")
    graph = StateGraph(MessagesState)
    graph.add_node("greets", node if way == "sync" else anode)
    graph.add_edge(START, "greets")
    graph.add_edge("greets", END)

    ask(way, graph.compile(), {"messages": [("user", "Hi")]}, handler)

    assert handler.told == [("greeting", 1)]
    assert told_by(llm_recording) == [("greets", "on_custom_event")]
    assert llm_recording.run("greets").children == [model()]
    assert llm_recording == llm_snapshot


def test_outside_of_every_run_there_is_nobody_to_tell():
    with pytest.raises(RuntimeError, match="Unable to dispatch an adhoc event without a parent run id"):
        dispatch_custom_event("greeting", 1)


class Lost(Silent):
    """A classic chain does not put its run into the context."""

    def _call(self, inputs: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        with pytest.raises(RuntimeError, match="without a parent run id"):
            dispatch_custom_event("greeting", 1)
        return {"translated": ""}


class Heard(Guide):
    def _call(self, inputs: dict[str, Any], run_manager: CallbackManagerForChainRun | None = None) -> dict[str, Any]:
        dispatch_custom_event("greeting", 1, config=self.config(run_manager))
        return {"translated": ""}


@pytest.mark.parametrize(("kind", "told"), [(Lost, []), (Heard, [("greeting", 1)])], ids=["lost", "heard"])
def test_an_event_of_a_classic_chain_needs_get_child_as_well(kind, told, llm_recording, llm_snapshot):
    handler = Told()

    ask("sync", kind(llm=None, translate=Translate(llm=None)), {"text": "Hello."}, handler)

    assert handler.told == told
    assert told_by(llm_recording) == [("Heard", "on_custom_event") for _ in told]
    assert llm_recording == llm_snapshot
