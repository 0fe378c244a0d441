"""Three programs whose behaviours tests/coverage counts by hand: an agent, a graph, and a chain."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal, TypedDict

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnablePassthrough
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel

# -- an agent with five tools and middleware


@tool
def search(query: str, kind: Literal["web", "news"] = "web") -> str:
    """Search."""
    return f"nothing about {query}"


@tool
def book(nights: int, note: str | list[str] | None = None) -> str:
    """Book a room."""
    if nights < 1:
        raise ValueError("a night at least")
    return "booked"


@tool
def cancel(booking: int) -> str:
    """Cancel a booking."""
    return "cancelled"


@tool
def pay(amount: float) -> str:
    """Pay. A person decides."""
    return "paid"


@tool
def now() -> str:
    """Tell the time, if a person agrees."""
    return str(interrupt("may I look at the clock?"))


class Greet(AgentMiddleware):
    """Adds a message to an empty conversation, and sees each model call."""

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        return {"messages": [HumanMessage("please")]} if len(state["messages"]) == 1 else None

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request)


def desk(model: BaseChatModel) -> Any:
    person = HumanInTheLoopMiddleware(interrupt_on={"pay": {"allowed_decisions": ["approve", "reject"]}})
    tools = [search, book, cancel, pay, now]
    return create_agent(model, tools, middleware=[Greet(), person], checkpointer=InMemorySaver(), name="desk")


# -- a graph with a subgraph, Send, a retry, an interrupt, and a command


class State(TypedDict, total=False):
    jobs: list[str]
    done: Annotated[list[str], operator.add]
    failures: list[int]


class Job(TypedDict):
    job: str
    failures: list[int]


def plan(state: State) -> State:
    return {}


def fan_out(state: State) -> list[Send] | str:
    return [Send("work", {"job": job, "failures": state["failures"]}) for job in state["jobs"]] or "report"


def work(job: Job) -> State:
    if job["failures"] and job["failures"][0] > 0:
        job["failures"][0] -= 1
        raise ConnectionError("try again")
    return {"done": [job["job"]]}


def judge(state: State) -> Command[Literal["approve", "report"]]:
    return Command(goto="approve" if "risky" in state["done"] else "report")


def approve(state: State) -> State:
    return {"done": [str(interrupt("go on?"))]}


def first(state: State) -> State:
    return {"done": ["first"]}


def second(state: State) -> State:
    return {"done": ["second"]}


def is_long(state: State) -> bool:
    return len(state["done"]) > 2


def inner() -> Any:
    graph = StateGraph(State)
    graph.add_node(first)
    graph.add_node(second)
    graph.add_edge(START, "first")
    graph.add_conditional_edges("first", is_long, {True: "second", False: END})
    graph.add_edge("second", END)
    return graph.compile(name="inner")


def pipeline() -> Any:
    graph = StateGraph(State)
    graph.add_node(plan)
    graph.add_node(work, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.0, jitter=False))
    graph.add_node(judge)
    graph.add_node(approve)
    graph.add_node("report", inner())
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", fan_out, ["work", "report"])
    graph.add_edge("work", "judge")
    graph.add_edge("approve", "report")
    graph.add_edge("report", END)
    return graph.compile(name="pipeline", checkpointer=InMemorySaver(), interrupt_after=["approve"])


# -- a chain that answers from documents, with a fallback


class Answer(BaseModel):
    """An answer with its source."""

    text: str
    source: int


def is_question(given: dict[str, Any]) -> bool:
    return str(given["question"]).endswith("?")


failures: list[Exception] = []
"""What `count` raises before it answers. A test fills it."""


def count(text: str) -> str:
    if failures:
        raise failures.pop()
    return text


def _counted() -> Runnable[Any, Any]:
    return RunnableLambda(count).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)


def rag(model: BaseChatModel, backup: BaseChatModel, clerk: BaseChatModel, retriever: BaseRetriever) -> Runnable[Any, Any]:
    prompt = ChatPromptTemplate.from_template("{question} {documents}")
    documents = RunnableLambda(lambda given: given["question"]) | retriever
    answers = prompt | model.with_fallbacks([backup]) | StrOutputParser() | _counted()
    form = ChatPromptTemplate.from_template("{question}") | clerk.with_structured_output(Answer)
    branch = RunnableBranch((is_question, answers), form)
    return (RunnablePassthrough.assign(documents=documents) | branch).with_config(run_name="rag")
