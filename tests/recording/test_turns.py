"""Whose turn it is at a script: runs that compete for different steps of it are a violation."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from langchain_core.messages import AIMessage

from llmtest import (
    Script,
    ScriptedChatModel,
    fail,
    on,
    say,
)
from llmtest.errors import expect_violation


@pytest.mark.asyncio
async def test_open_runs_that_compete_for_different_steps_are_a_violation() -> None:
    model = ScriptedChatModel("x", "y")

    with expect_violation("competing calls") as caught:
        await asyncio.gather(model.ainvoke("a"), model.ainvoke("b"))

    assert caught[0].text.splitlines() == [
        "two concurrent runs take steps from the same unkeyed script; which run gets which step is a race",
        "  call 1  human 'a'  takes step 1",
        "  call 2  human 'b'  takes step 2",
        "  key the script by node, tag, thread, tools or prompt: on(contains='b') >> ...",
    ]


@pytest.mark.asyncio
async def test_a_failed_run_whose_exception_is_kept_competes_with_no_later_run() -> None:
    model = ScriptedChatModel(fail("TimeoutError"), "y")

    async def ask(text: str) -> object:
        return (await asyncio.gather(model.ainvoke(text), return_exceptions=True))[0]

    error, answer = await ask("a"), await ask("b")

    assert isinstance(error, Exception)
    assert error.__traceback__ is not None
    assert isinstance(answer, AIMessage)
    assert answer.content == "y"


@pytest.mark.asyncio
async def test_runs_that_are_open_at_once_may_share_equal_steps_or_ask_the_same_or_have_keys() -> None:
    equal = ScriptedChatModel(say("x").times(2))
    same = ScriptedChatModel("x", "y")
    keyed = ScriptedChatModel(on(contains="a") >> "x", on(contains="b") >> "y")

    for model, second in ((equal, "b"), (same, "a"), (keyed, "b")):
        await asyncio.gather(model.ainvoke("a"), model.ainvoke(second))


def test_runs_of_two_lanes_do_not_compete() -> None:
    model = ScriptedChatModel(
        on(contains="a") >> Script("a1", "a2"), on(contains="b") >> Script(say("b1", "b2"), "b3"), script=None
    )

    stream = model.stream("b")
    next(stream)
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(model.invoke, "a"))
    thread.start()
    thread.join()

    assert [c.content for c in stream] == ["b2"]
    assert [model.invoke(text).content for text in ("a", "b")] == ["a2", "b3"]
