"""A request of a real class knows its run: keys see the node, tags, metadata and thread, and recordings miss no call."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from llmtest import call, fail, on, record, reply, respond
from llmtest.langchain.providers import scripted_providers
from llmtest.scripts.requests import Request

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # of google-genai

Speaks = Callable[[Any, Any], Awaitable[str]]
MODELS: dict[str, Callable[[], Any]] = {
    "openai:gpt-5": lambda: ChatOpenAI(model="gpt-5"),
    "anthropic:claude-opus-4-7": lambda: ChatAnthropic(model="claude-opus-4-7"),  # type: ignore[call-arg]
    "google_genai:gemini-2.5-flash": lambda: ChatGoogleGenerativeAI(model="gemini-2.5-flash"),
    "ollama:llama3.2": lambda: ChatOllama(model="llama3.2"),
}


async def invoke(model: Any, messages: Any) -> str:
    return str(model.invoke(messages).text)


async def ainvoke(model: Any, messages: Any) -> str:
    return str((await model.ainvoke(messages)).text)


async def stream(model: Any, messages: Any) -> str:
    return "".join(chunk.text for chunk in model.stream(messages))


async def astream(model: Any, messages: Any) -> str:
    return "".join([chunk.text async for chunk in model.astream(messages)])


async def batch(model: Any, messages: Any) -> str:
    return str(model.batch([messages])[0].text)


async def abatch(model: Any, messages: Any) -> str:
    return str((await model.abatch([messages]))[0].text)


async def wait_for(model: Any, messages: Any) -> str:
    return str((await asyncio.wait_for(model.ainvoke(messages), 60)).text)


async def wait_for_a_stream(model: Any, messages: Any) -> str:
    return await asyncio.wait_for(astream(model, messages), 60)


async def to_thread(model: Any, messages: Any) -> str:
    return str((await asyncio.to_thread(model.invoke, messages)).text)


async def a_task(model: Any, messages: Any) -> str:
    return await asyncio.create_task(astream(model, messages))


WAYS = [invoke, ainvoke, stream, astream, batch, abatch, wait_for, wait_for_a_stream, to_thread, a_task]
CONFIG: Any = {"tags": ["nightly"], "metadata": {"tenant": "acme"}, "configurable": {"thread_id": "7"}}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.asyncio
async def test_a_request_inside_a_graph_knows_its_run(name: str, way: Speaks) -> None:
    runs: list[Any] = []
    graph = StateGraph(MessagesState)

    async def talk(state: Any) -> Any:
        return {"messages": [AIMessage(await way(MODELS[name](), state["messages"]))]}

    def answer(request: Request) -> str:
        runs.append(request.run() and request.run().run_id)
        return "Hello"

    graph.add_node("talk", talk)
    graph.add_edge(START, "talk")
    key = on(node="talk", tag="nightly", metadata={"tenant": "acme"}, thread="7")
    with scripted_providers({name: key >> respond(answer)}), record() as recording:
        state = await graph.compile().ainvoke({"messages": [("user", "hi")]}, CONFIG)

    assert state["messages"][-1].text == "Hello"
    assert runs == [run.id for run in recording.models]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.asyncio
async def test_tags_of_the_model_itself_are_a_key(name: str) -> None:
    with scripted_providers({name: on(tag="draft", metadata={"step": 1}) >> respond(lambda _: "Hello").times(2)}):
        model = MODELS[name]().with_config(tags=["draft"], metadata={"step": 1})
        said = [model.invoke("hi").text, (await model.ainvoke("hi")).text]

    assert said == ["Hello", "Hello"]


@tool
def ask_a_friend(question: str) -> str:
    """Ask another model."""
    return str(ChatOpenAI(model="gpt-5-mini").invoke(question).text)


@pytest.mark.parametrize("runs_async", [False, True])
@pytest.mark.asyncio
async def test_parallel_tools_of_an_agent_ask_with_runs_of_their_own(runs_async: bool) -> None:
    friends = [on(contains=name, node="tools") >> f"{name} says yes" for name in ("Ada", "Bob")]
    calls = [call("ask_a_friend", question="Ada?"), call("ask_a_friend", question="Bob?")]

    with (
        scripted_providers({"openai:gpt-5": [on(last="user") >> reply(*calls), "done"], "gpt-5-mini": friends}),
        record() as recording,
    ):
        agent = create_agent(ChatOpenAI(model="gpt-5"), tools=[ask_a_friend])
        state: Any = {"messages": [("user", "go")]}
        said = (await agent.ainvoke(state) if runs_async else agent.invoke(state))["messages"]

    assert [message.text for message in said[2:]] == ["Ada says yes", "Bob says yes", "done"]
    assert len(recording.models) == 4


# -- a run that cannot be found is not guessed


def test_an_sdk_inside_a_node_has_the_node_and_no_run() -> None:
    seen: list[Request] = []
    graph = StateGraph(MessagesState)

    def talk(state: Any) -> Any:
        message: Any = {"role": "user", "content": "hi"}
        openai.OpenAI().chat.completions.create(model="gpt-5", messages=[message])

    graph.add_node("talk", talk)
    graph.add_edge(START, "talk")
    with scripted_providers({"openai:gpt-5": on(node="talk", thread="7") >> respond(lambda r: seen.append(r) or "Hello")}):
        graph.compile().invoke({"messages": [("user", "hi")]}, CONFIG)

    assert (seen[0].run(), seen[0].node, seen[0].thread) == (None, "talk", "7")


class AsksAModel(BaseCallbackHandler):
    """A handler that asks an SDK while a model streams."""

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        if token == "a":
            message: Any = {"role": "user", "content": token}
            openai.OpenAI().chat.completions.create(model="gpt-5-mini", messages=[message])


def test_a_request_of_a_handler_is_not_of_the_run_that_the_handler_hears_of() -> None:
    found: list[Any] = []

    with scripted_providers({"gpt-5": "a", "gpt-5-mini": respond(lambda r: found.append(r.run()) or "b")}):
        list(ChatOpenAI(model="gpt-5").stream("hi", {"callbacks": [AsksAModel()]}))

    assert found == [None]


def in_a_bare_thread(act: Callable[[], Any]) -> None:
    thread = threading.Thread(target=contextvars.Context().run, args=(act,))
    thread.start()
    thread.join()


@pytest.mark.llm_waive("unseen call", reason="the bare thread is the point")
def test_a_call_that_reaches_no_recording_is_told() -> None:
    with scripted_providers({"gpt-5": "Hello"}), record() as recording:
        in_a_bare_thread(lambda: ChatOpenAI(model="gpt-5").invoke("hi"))

    assert [(call.double, call.cause) for call in recording.unseen_calls] == [("ChatOpenAI", "no context")]


def in_a_batch(model: Any) -> list[str]:
    return [message.text for message in model.batch(["1", "2", "3"])]


def in_an_awaited_batch(model: Any) -> list[str]:
    return [message.text for message in asyncio.run(model.abatch(["1", "2", "3"]))]


def as_completed(model: Any) -> list[str]:
    return [message.text for _, message in sorted(model.bind(stop=["z"]).batch_as_completed(["1", "2", "3"]))]


@pytest.mark.parametrize("way", [in_a_batch, in_an_awaited_batch, as_completed])
def test_the_inputs_of_a_batch_take_the_steps_of_their_positions(way: Callable[[Any], list[str]]) -> None:
    for _ in range(10):
        with scripted_providers({"openai:gpt-5": ["a", "b", "c"]}) as providers, record():
            assert way(ChatOpenAI(model="gpt-5")) == ["a", "b", "c"]
            providers.verify()


def test_an_input_of_a_batch_that_fails_lets_the_next_one_go_on() -> None:
    with scripted_providers({"openai:gpt-5": [fail(400), "b"]}):
        failed, said = ChatOpenAI(model="gpt-5").batch(["1", "2"], return_exceptions=True)
    assert (type(failed).__name__, said.text) == ("OpenAIInvalidRequestError", "b")
