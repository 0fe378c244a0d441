"""When to use which: callbacks of a constructor log all requests, those of a request stream one answer to one connection.

Section "when do you want to use each of these" of LangChain's callback guide. The connections are those of a websocket
server on this machine; gates hold all answers in their midst, so that every request runs while the others do.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain_classic.chains import LLMChain
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.prompts import PromptTemplate
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from llmtest import call, hold, on, say
from llmtest.matching import chain, model, together
from llmtest.scripts.gates import Gate

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
    assert len(llm_recording.tokens) == sum(map(len, received.values()))  # those without text too: the pieces of a tool call
    assert [run.children[0].name for run in llm_recording.roots] == ["model"] * 3
    assert llm_recording.runs == [..., together(*[chain("weather")] * 3), ...]
    assert llm_recording == llm_snapshot


def test_a_handler_in_the_constructor_would_send_the_tokens_of_all_requests(scripted_chat_model, llm_recording, llm_snapshot):
    class Sent(BaseCallbackHandler):
        def __init__(self) -> None:
            self.tokens: list[str] = []

        def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
            self.tokens.append(token)

    of_the_model, of_one = Sent(), Sent()
    says = [on(contains=city) >> say(*tokens) for city, tokens in TOKENS.items()]
    chat = scripted_chat_model(*says, streaming=True, callbacks=[of_the_model])

    async def ask_all() -> None:
        await asyncio.gather(chat.ainvoke("Oslo?", {"callbacks": [of_one]}), chat.ainvoke("Paris?"), chat.ainvoke("Rome?"))

    asyncio.run(ask_all())

    assert of_one.tokens == TOKENS["Oslo"]
    assert sorted(of_the_model.tokens) == sorted(token for tokens in TOKENS.values() for token in tokens)
    assert llm_recording.models == [together(model(), model(), model())]
    assert llm_recording == llm_snapshot


# -- a log of all requests


SUM = PromptTemplate.from_template("1 + {number} = ")


class Requests(BaseCallbackHandler):
    """Logs what is asked of a chain, what it answers, and how it fails; not what goes on inside."""

    def __init__(self) -> None:
        self.log = logging.getLogger("requests")
        self.asked: set[UUID] = set()

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        if parent_run_id is None:
            self.asked.add(run_id)
            self.log.info("asked %s", inputs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        if run_id in self.asked:
            self.log.info("answered %s", outputs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        if run_id in self.asked:
            self.log.error("failed %r", error)


@pytest.fixture
def log(caplog):
    """The lines of the log so far."""
    caplog.set_level(logging.INFO, "requests")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "requests"]


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")  # LLMChain, run and apply
def test_a_log_in_the_constructor_has_all_requests_to_one_chain(scripted_llm, llm_recording, llm_snapshot, log):
    llm = scripted_llm("3", "Ha", "4", "5", "6", OverflowError("too many"))
    sums = LLMChain(llm=llm, prompt=SUM, callbacks=[Requests()])
    jokes = LLMChain(llm=llm, prompt=PromptTemplate.from_template("A joke about {it}"))

    sums.run(number=2)
    jokes.run(it="sums")  # of the same model, and not in the log
    sums({"number": 3})
    sums.apply([{"number": 4}])
    sums.invoke({"number": 5})
    with pytest.raises(OverflowError):
        sums.run(number=6)

    assert log() == [
        *("asked {'number': 2}", "answered {'text': '3'}"),
        *("asked {'number': 3}", "answered {'text': '4'}"),
        *("asked {'input_list': [{'number': 4}]}", "answered {'outputs': [{'text': '5'}]}"),
        *("asked {'number': 5}", "answered {'text': '6'}"),
        *("asked {'number': 6}", "failed OverflowError('too many')"),
    ]
    assert llm_recording.runs == [chain("LLMChain"), model()] * 6
    asks = ["on_chain_start", "on_text", "on_llm_start"]
    assert llm_recording.kinds == [*[*asks, "on_llm_end", "on_chain_end"] * 5, *asks, "on_llm_error", "on_chain_error"]
    assert llm_recording == llm_snapshot


def test_a_log_in_the_configuration_has_all_requests_to_one_sequence(scripted_llm, llm_recording, llm_snapshot, log):
    sums = (SUM | scripted_llm("3", "4", "5", "6", "7")).with_config(callbacks=[Requests()])

    sums.invoke({"number": 2})
    asyncio.run(sums.ainvoke({"number": 3}))
    sums.batch([{"number": 4}, {"number": 5}])
    assert list(sums.stream({"number": 6})) == ["7"]

    assert log() == [
        *("asked {'number': 2}", "answered 3"),
        *("asked {'number': 3}", "answered 4"),
        *("asked {'number': 4}", "asked {'number': 5}", "answered 5", "answered 6"),  # a batch goes step by step
        *("asked {'input': ''}", "answered 7"),  # LangChain starts a stream before it has read its input
    ]
    assert llm_recording.runs.names == [
        *["RunnableSequence", "PromptTemplate", "ScriptedLLM"] * 2,
        *("RunnableSequence", "RunnableSequence", "PromptTemplate", "PromptTemplate", "ScriptedLLM", "ScriptedLLM"),
        *("RunnableSequence", "PromptTemplate", "ScriptedLLM"),
    ]
    assert llm_recording == llm_snapshot


def test_a_log_in_the_configuration_of_an_agent_has_its_requests_and_no_node(
    scripted_chat_model, llm_recording, llm_snapshot, log
):
    def calculator(expression: str) -> str:
        """Evaluate an arithmetic expression."""
        return {"2 + 2": "4"}[expression]

    class Questions(Requests):
        def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
            if run_id in self.asked:
                self.log.info("answered %s", outputs["messages"][-1].text)

    chat = scripted_chat_model(call("calculator", expression="2 + 2"), "It is 4.", "You are welcome.")
    agent = create_agent(chat, [calculator], name="math_agent").with_config(callbacks=[Questions()])

    agent.invoke({"messages": [("user", "2 + 2?")]})
    agent.invoke({"messages": [("user", "Thanks!")]})

    assert log() == [
        *("asked {'messages': [('user', '2 + 2?')]}", "answered It is 4."),
        *("asked {'messages': [('user', 'Thanks!')]}", "answered You are welcome."),
    ]
    assert [run.name for run in llm_recording.roots] == ["math_agent", "math_agent"]
    assert llm_recording == llm_snapshot


def test_a_log_in_the_constructor_of_a_model_has_what_every_program_asks_of_it(
    scripted_chat_model, llm_recording, llm_snapshot, log
):
    class Asked(BaseCallbackHandler):
        def on_chat_model_start(self, serialized: Any, messages: list[list[Any]], **kwargs: Any) -> None:
            logging.getLogger("requests").info("asked %s", messages[0][-1].text)

    chat = scripted_chat_model("3", "Hello.", "4", callbacks=[Asked()])

    (SUM | chat).invoke({"number": 2})
    create_agent(chat, [], name="greeter").invoke({"messages": [("user", "Hi!")]})
    chat.invoke("1 + 3 = ")

    assert log() == ["asked 1 + 2 = ", "asked Hi!", "asked 1 + 3 = "]
    assert llm_recording.models == [model(), model(), model()]
    assert llm_recording == llm_snapshot
