"""Ten programs of different build that survive every fault of every kind: what they get is checked, and asked for again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypedDict, TypeVar

from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from pydantic import BaseModel

from llmtest import ScriptedChatModel, ScriptedRetriever, call, give, on, reply, say, structured

T = TypeVar("T")

ANSWER = "It is 18C in Paris."
CONFIG: Any = {"configurable": {"thread_id": "1"}}
TIMES = 4


class GaveUpError(Exception):
    """No answer was good enough."""


def until_good(ask: Callable[[], T], is_good: Callable[[T], object]) -> T:
    """Return the first good answer of a few; errors of the program are none."""
    for _ in range(TIMES):
        try:
            answer = ask()
        except Exception:  # whatever went wrong, it is asked again
            continue
        if is_good(answer):
            return answer
    raise GaveUpError


async def until_good_async(ask: Callable[[], Awaitable[T]], is_good: Callable[[T], object]) -> T:
    for _ in range(TIMES):
        try:
            answer = await ask()
        except Exception:
            continue
        if is_good(answer):
            return answer
    raise GaveUpError


def is_right(answer: str) -> bool:
    return answer == ANSWER


@tool
def weather(city: str) -> str:
    """Look up the weather of a city."""
    return f"18C in {city}"


@tool
def city_of(country: str) -> str:
    """Look up the capital of a country."""
    return "Paris"


def last_text(state: dict[str, Any]) -> str:
    text: str = state["messages"][-1].text
    return text


def chain() -> None:
    """LCEL: a prompt, a model that tries again, a parser."""
    model = ScriptedChatModel(ANSWER, name="model").with_retry(stop_after_attempt=2)
    asks = ChatPromptTemplate.from_messages([("human", "weather in {city}?")]) | model | StrOutputParser()

    assert until_good(lambda: asks.invoke({"city": "Paris"}), is_right) == ANSWER


def agent() -> None:
    """An agent whose middleware tries models and tools again."""
    model = ScriptedChatModel(call("weather", city="Paris"), ANSWER, name="model")
    asked = create_agent(model, [weather], middleware=[ModelRetryMiddleware(on_failure="error"), ToolRetryMiddleware()])

    assert until_good(lambda: last_text(asked.invoke({"messages": "weather in Paris?"})), is_right) == ANSWER


class State(TypedDict, total=False):
    city: str
    found: str
    answer: str


def graph() -> None:
    """A graph whose nodes are run again by LangGraph."""
    model = ScriptedChatModel(ANSWER, name="model")

    def look_up(state: State) -> State:
        found = weather.invoke({"city": state["city"]})
        if not isinstance(found, str) or not found.startswith("18C"):
            raise ConnectionError("the service said nothing of use")
        return {"found": found}

    def answer(state: State) -> State:
        said = model.invoke(f"the weather is {state['found']}")
        if said.text != ANSWER:
            raise ConnectionError("the model said nothing of use")
        return {"answer": said.text}

    again = RetryPolicy(max_attempts=3, retry_on=Exception)
    built = StateGraph(State)
    built.add_node("look_up", look_up, retry_policy=again)
    built.add_node("answer", answer, retry_policy=again)
    built.add_edge(START, "look_up")
    built.add_edge("look_up", "answer")
    built.add_edge("answer", END)

    assert built.compile().invoke({"city": "Paris"})["answer"] == ANSWER


def fallbacks() -> None:
    """A model, and another where it fails or says nothing of use."""

    def check(said: AIMessage) -> str:
        if said.text != ANSWER:
            raise ValueError("no answer")
        return said.text

    first = ScriptedChatModel(say(ANSWER).optional(), name="first") | RunnableLambda(check)
    second = ScriptedChatModel(say(ANSWER).optional(), name="second") | RunnableLambda(check)

    assert first.with_fallbacks([second]).invoke("weather in Paris?") == ANSWER


def streaming() -> None:
    """A stream that is read anew where it breaks."""
    model = ScriptedChatModel(ANSWER, name="model")

    assert until_good(lambda: "".join(chunk.text for chunk in model.stream("weather in Paris?")), is_right) == ANSWER


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    celsius: int


def structured_output() -> None:
    """An answer of a schema, which is asked for again where it does not fit."""
    model: Runnable[Any, Any] = ScriptedChatModel(structured(Weather(city="Paris", celsius=18)), name="model")
    typed = model.with_structured_output(Weather)  # type: ignore[attr-defined]

    found = until_good(
        lambda: typed.invoke("weather in Paris?"), lambda found: isinstance(found, Weather) and found.city == "Paris"
    )

    assert found == Weather(city="Paris", celsius=18)


def retrieval() -> None:
    """A search, and a model that answers from what it finds."""
    docs = ScriptedRetriever(give([Document(page_content="18C in Paris")]).repeat(), name="docs")

    def search(question: str) -> str:
        found = until_good(lambda: docs.invoke(question), bool)
        return "\n".join(document.page_content for document in found)

    model = GenericFakeChatModel(messages=iter([AIMessage(ANSWER)]))
    prompt = ChatPromptTemplate.from_messages([("system", "{context}"), ("human", "{question}")])
    asks = {"context": RunnableLambda(search), "question": RunnablePassthrough()} | prompt | model | StrOutputParser()

    assert until_good(lambda: asks.invoke("weather in Paris?"), is_right) == ANSWER


@contextmanager
def saver() -> Iterator[SqliteSaver]:
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        yield SqliteSaver(connection)


def resumed() -> None:
    """An agent that is resumed from SQLite where its process was killed."""
    model = ScriptedChatModel(call("weather", city="Paris"), ANSWER, name="model")
    with saver() as saved:
        middleware = [ModelRetryMiddleware(on_failure="error"), ToolRetryMiddleware()]
        asked = create_agent(model, [weather], middleware=middleware, checkpointer=saved)
        answer = until_good(lambda: last_text(asked.invoke({"messages": "weather in Paris?"}, CONFIG)), is_right)

    assert answer == ANSWER


async def gathered() -> None:
    """Several questions at once, each on its own."""

    async def ask(city: str) -> str:
        model = ScriptedChatModel(f"18C in {city}", name=city)
        return await until_good_async(lambda: _text_of(model), lambda text: text == f"18C in {city}")

    async def _text_of(model: ScriptedChatModel) -> str:
        return (await model.ainvoke("weather?")).text

    found = await asyncio.gather(ask("Paris"), ask("Rome"), return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    assert found == ["18C in Paris", "18C in Rome"]


def deep_tools() -> None:
    """An agent whose tool asks another agent, with a second model where the first fails."""
    asks = reply(call("weather", city="Paris"), call("city_of", country="France"))
    inner_model = ScriptedChatModel(on(last="human") >> asks.repeat(), on(last="tool") >> say(ANSWER).repeat(), name="inner")
    retries = [ModelRetryMiddleware(on_failure="error"), ToolRetryMiddleware()]
    inner = create_agent(inner_model, [weather, city_of], middleware=retries, name="inner_agent")

    @tool
    def research(question: str) -> str:
        """Ask a colleague."""
        return until_good(lambda: last_text(inner.invoke({"messages": question})), is_right)

    spare = ScriptedChatModel(say(ANSWER).optional(), say(ANSWER).optional(), name="spare")
    model = ScriptedChatModel(call("research", question="weather in Paris?"), say(ANSWER).optional(), name="outer")
    outer = create_agent(model, [research], middleware=[ModelFallbackMiddleware(spare), ToolRetryMiddleware()])

    assert until_good(lambda: last_text(outer.invoke({"messages": "weather in France?"})), is_right) == ANSWER


SURVIVORS: tuple[Callable[[], Any], ...] = (
    chain,
    agent,
    graph,
    fallbacks,
    streaming,
    structured_output,
    retrieval,
    resumed,
    gathered,
    deep_tools,
)
