"""Programs with one planted weakness each, and their repaired twins: what a campaign must find, and what it must pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver

from llmtest import ScriptedChatModel, ScriptedRetriever, call, say
from llmtest.campaigns import Matrix, faults

ANSWER = "paid"


class OverloadedError(Exception):
    """What a program raises where it cannot answer."""


@dataclass(frozen=True)
class Twins:
    """A weak program and its twin, the faults, and what must be true of them. `finds` are the fault and the outcome."""

    name: str
    weak: Callable[[], Any]
    sound: Callable[[], Any]
    options: dict[str, Any]
    finds: tuple[str, str]

    def campaign(self, program: Callable[[], Any]) -> Matrix:
        return faults(program, **self.options)


def ask_once() -> None:
    assert ScriptedChatModel("Hello").invoke("hi").content == "Hello"


def ask_again() -> None:
    assert ScriptedChatModel("Hello").with_retry().invoke("hi").content == "Hello"


def _paying(*, is_idempotent: bool) -> tuple[BaseTool, list[str]]:
    paid: list[str] = []

    @tool
    def pay(order: str) -> str:
        """Pay an order."""
        if is_idempotent and order in paid:
            return ANSWER
        charge.invoke(order)
        paid.append(order)
        return ANSWER

    @tool
    def charge(order: str) -> str:
        """Charge the card."""
        return "charged"

    return pay, paid


def _pay_with_retry(*, retries: int) -> None:
    pay, _ = _paying(is_idempotent=False)
    model = ScriptedChatModel(call("pay", order="A-7"), ANSWER)
    agent = create_agent(model, [pay], middleware=[ToolRetryMiddleware(max_retries=retries, on_failure="error")])
    assert agent.invoke({"messages": "pay A-7"})["messages"][-1].content == ANSWER


def _look_up(*, tells: bool) -> str:
    retriever = ScriptedRetriever(["Cats purr."])
    try:
        found = retriever.invoke("cats")
    except Exception as error:
        if tells:
            raise OverloadedError("no documents") from error
        found = []
    return "".join(document.page_content for document in found)


def _resumed(*, is_idempotent: bool) -> None:
    pay, _ = _paying(is_idempotent=is_idempotent)
    model = ScriptedChatModel(call("pay", order="A-7"), ANSWER)
    agent = create_agent(model, [pay], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    assert agent.invoke({"messages": "pay A-7"}, config)["messages"][-1].content == ANSWER


def _streamed(*, cleans_once: bool) -> None:
    released: list[str] = []

    @tool
    def release(lock: str) -> str:
        """Release a lock."""
        return "released"

    def clean_up() -> None:
        if not cleans_once or not released:
            released.append("A")
            release.invoke({"lock": "A"})

    def words(_: object) -> Iterator[str]:
        try:
            yield from ("a", "b", "c")
        except GeneratorExit:
            clean_up()
            raise
        finally:
            clean_up()

    ScriptedChatModel("asked").invoke("hi")
    with closing(RunnableLambda(words).stream("x")) as stream:  # type: ignore[type-var]
        assert list(stream) == ["a", "b", "c"]


async def _gathered(*, waits_for_all: bool) -> None:
    @tool
    async def fast(q: str) -> str:
        """Look fast."""
        return "fast"

    @tool
    async def slow(q: str) -> str:
        """Look slowly."""
        for _ in range(5):
            await asyncio.sleep(0)
        return "slow"

    found = await asyncio.gather(fast.ainvoke("x"), slow.ainvoke("x"), return_exceptions=waits_for_all)
    for each in found:
        if isinstance(each, BaseException):
            raise OverloadedError("a search failed") from each
    assert found == ["fast", "slow"]


def _cached(*, is_guarded: bool) -> None:
    answers: dict[str, str] = {}
    model = ScriptedChatModel(say("Hello").repeat())

    def ask(question: str) -> str:
        if question not in answers:
            answer = model.invoke(question).text
            if is_guarded and not answer:
                raise OverloadedError("the model said nothing")
            answers[question] = answer
        return answers[question]

    for _ in range(2):
        try:
            answer = ask("hi")
        except OverloadedError:
            continue
        assert answer == "Hello"


TWINS = (
    Twins("lost retry", ask_once, ask_again, {"kinds": ["rate limit"]}, ("ScriptedChatModel#1 rate limit", "crash")),
    Twins(
        "double effect",
        lambda: _pay_with_retry(retries=2),
        lambda: _pay_with_retry(retries=0),
        {"kinds": ["error after effect"], "effects": "charge", "survives": RuntimeError},
        ("pay#1 raises RuntimeError after its effect", "wrong and silent"),
    ),
    Twins(
        "swallowed error",
        lambda: _look_up(tells=False),
        lambda: _look_up(tells=True),
        {"kinds": ["error"], "survives": OverloadedError, "invariants": ["swallowed error"]},
        ("ScriptedRetriever#1 raises RuntimeError", "wrong and silent"),
    ),
    Twins(
        "wrong resume",
        lambda: _resumed(is_idempotent=False),
        lambda: _resumed(is_idempotent=True),
        {"kinds": ["killed and resumed"], "effects": "charge"},
        ("checkpoint of the writes of task 0#1 killed and resumed", "wrong and silent"),
    ),
    Twins(
        "stream cleaned up twice",
        lambda: _streamed(cleans_once=False),
        lambda: _streamed(cleans_once=True),
        {"kinds": ["consumer stops"], "effects": "release"},
        ("chunk#1 consumer stops", "wrong and silent"),
    ),
    Twins(
        "gather without return_exceptions",
        lambda: _gathered(waits_for_all=False),
        lambda: _gathered(waits_for_all=True),
        {"kinds": ["timeout"], "survives": OverloadedError},
        ("fast#1 raises TimeoutError", "crash"),
    ),
    Twins(
        "unguarded cache",
        lambda: _cached(is_guarded=False),
        lambda: _cached(is_guarded=True),
        {"kinds": ["empty answer"]},
        ("ScriptedChatModel#1 empty answer", "wrong and silent"),
    ),
)
"""The weaknesses that faults find. Those that only another order shows are in tests/support/racing_programs.py."""
