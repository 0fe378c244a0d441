"""When to use which: callbacks of a constructor log all requests, those of a request stream one answer to one connection.

Section "when do you want to use each of these" of LangChain's callback guide. The connections are those of a websocket
server on this machine; gates hold all answers in their midst, so that every request runs while the others do.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_classic.chains import LLMChain
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.prompts import PromptTemplate
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from llmtest import call, hold, on, say
from llmtest.gates import Gate
from llmtest.matching import chain, model, together

PROMPT = PromptTemplate.from_template("How warm is it in {city}?")
WARMTH = {"Oslo": "-2", "Paris": "18", "Rome": "25"}
Answer = Callable[[str, AsyncCallbackHandler], Awaitable[Any]]


class Log(BaseCallbackHandler):
    """All requests to one object, whoever made them."""

    run_inline = True

    def __init__(self) -> None:
        self.chains: list[str] = []
        self.prompts: list[str] = []

    def on_chain_start(self, serialized: Any, inputs: Any, *, name: str, **kwargs: Any) -> None:
        self.chains.append(name)

    def on_llm_start(self, serialized: Any, prompts: list[str], **kwargs: Any) -> None:
        self.prompts += prompts


class ToConnection(AsyncCallbackHandler):
    """Sends each token of one request to one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    async def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        await self.connection.send(token)


async def served(answer: Answer, gates: dict[str, Gate]) -> dict[str, list[str]]:
    """What each of the clients of a websocket server receives, where all ask before any is answered to its end."""

    async def serve_one(connection: ServerConnection) -> None:
        city = str(await connection.recv())
        await answer(city, ToConnection(connection))

    async def ask(city: str, port: int) -> list[str]:
        async with connect(f"ws://127.0.0.1:{port}", proxy=None) as client:
            await client.send(city)
            return [str(token) async for token in client]

    async with serve(serve_one, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        clients = [asyncio.create_task(ask(city, port)) for city in WARMTH]
        for gate in gates.values():
            await gate.reached()  # all requests are in the midst of their answers
        for city in reversed(WARMTH):
            gates[city].release()
        return dict(zip(WARMTH, await asyncio.gather(*clients), strict=True))


def answers(gates: dict[str, Gate]) -> list[Any]:
    return [on(contains=city) >> say(degrees, gates[city], " degrees") for city, degrees in WARMTH.items()]


TOKENS = {city: [degrees, " degrees"] for city, degrees in WARMTH.items()}


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain
def test_the_chain_logs_every_request_and_each_connection_gets_the_tokens_of_its_own(scripted_llm, llm_recording, llm_snapshot):
    gates, log = {city: hold() for city in WARMTH}, Log()
    program = LLMChain(llm=scripted_llm(*answers(gates), streaming=True), prompt=PROMPT, callbacks=[log])

    received = asyncio.run(served(lambda city, handler: program.ainvoke({"city": city}, {"callbacks": [handler]}), gates))

    assert received == TOKENS
    assert log.chains == ["LLMChain"] * 3
    assert log.prompts == []  # it is the chain's, and does not hear the model
    assert llm_recording.models == [together(model(), model(), model())]
    assert all(run.children == [model()] for run in llm_recording.roots)
    assert llm_recording == llm_snapshot


def test_today_a_sequence_streams_to_one_connection_and_with_config_logs_all(scripted_chat_model, llm_recording, llm_snapshot):
    gates, log = {city: hold() for city in WARMTH}, Log()
    chat = scripted_chat_model(*answers(gates))
    program = (PROMPT | chat).with_config(callbacks=[log])

    async def answer(city: str, handler: AsyncCallbackHandler) -> None:
        async for _ in program.astream({"city": city}, {"callbacks": [handler]}):
            pass

    received = asyncio.run(served(answer, gates))

    assert received == TOKENS
    # What `with_config` binds is handed on to what runs within, as if each request had brought it.
    assert sorted(log.chains) == ["PromptTemplate"] * 3 + ["RunnableSequence"] * 3
    assert sorted(log.prompts) == [f"Human: How warm is it in {city}?" for city in sorted(WARMTH)]
    assert llm_recording.models == [together(model(), model(), model())]
    assert llm_recording == llm_snapshot


def test_an_agent_streams_the_answer_of_one_request_to_its_connection(scripted_chat_model, llm_recording, llm_snapshot):
    def thermometer(city: str) -> str:
        """How warm it is."""
        return WARMTH[city]

    gates = {city: hold() for city in WARMTH}
    asks = [on(contains=city, last="human") >> call("thermometer", city=city) for city in WARMTH]
    tells = [on(contains=city, last="tool") >> say(degrees, gates[city], " degrees") for city, degrees in WARMTH.items()]
    agent = create_agent(scripted_chat_model(*asks, *tells, streaming=True), [thermometer], name="weather")

    async def answer(city: str, handler: AsyncCallbackHandler) -> None:
        await agent.ainvoke({"messages": [("user", f"How warm is it in {city}?")]}, {"callbacks": [handler]})

    received = asyncio.run(served(answer, gates))

    assert {city: [token for token in tokens if token] for city, tokens in received.items()} == TOKENS
    assert [run.children[0].name for run in llm_recording.roots] == ["model"] * 3
    assert llm_recording.runs == [..., together(*[chain("weather")] * 3), ...]
    assert llm_recording == llm_snapshot
