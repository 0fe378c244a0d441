"""How a call gets its answer: gates, the function of a `respond` step, and mistakes. No LangChain in it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from llmtest import Script, ViolationError, hold, reply, respond, say
from llmtest.errors import ScriptError
from llmtest.ledger import Ledger
from llmtest.scripts.answering import Answering
from llmtest.scripts.requests import Request
from llmtest.scripts.step_types import Fail, Reply, Return


class Echo(Answering):
    """Gives the step itself, and notes the calls."""

    def __init__(self, *steps: Any) -> None:
        self.script = Script(*steps)
        self.calls: list[Request] = []

    def _report_call(self, request: Request) -> None:
        self.calls.append(request)

    def _reply_of(self, step: Reply | Fail | Return, request: Request) -> Any:
        if isinstance(step, Reply) and step.text == "wrong":
            raise ScriptError("this step is wrong")
        return step

    def ask(self, *, streams: bool = False) -> Any:
        return self._serve(Request(), streams=streams)

    async def aask(self, *, streams: bool = False) -> Any:
        return await self._aserve(Request(), streams=streams)


def both(*steps: Any) -> list[Any]:
    """The answer on the synchronous and on the awaited path."""
    return [Echo(*steps).ask(), asyncio.run(Echo(*steps).aask())]


def test_a_step_answers_a_call_which_is_reported_first() -> None:
    echo = Echo("one", "two")

    assert [echo.ask().text, asyncio.run(echo.aask()).text] == ["one", "two"]
    assert len(echo.calls) == 2
    assert [request.streams for request in echo.calls] == [False, False]


def test_a_function_answers_also_with_another_function() -> None:
    assert [step.text for step in both(respond(lambda request: respond(lambda request: "deep")))] == ["deep", "deep"]


def test_an_async_function_answers_on_both_paths() -> None:
    async def later(request: Request) -> str:
        await asyncio.sleep(0)
        return "later"

    assert [step.text for step in both(respond(later))] == ["later", "later"]


def test_an_async_function_that_is_called_without_await_in_a_loop_is_a_mistake(page: Ledger) -> None:
    async def later(request: Request) -> str:
        return "later"

    async def run() -> None:
        Echo(respond(later)).ask()

    with pytest.raises(ScriptError, match="the call came without await in a running loop"):
        asyncio.run(run())
    assert [violation.code for violation in page.take()] == ["script error"]


def test_a_mistake_of_the_script_is_on_the_ledger_although_the_program_swallows_it(page: Ledger) -> None:
    for ask in (Echo("wrong").ask, lambda: asyncio.run(Echo("wrong").aask())):
        with pytest.raises(ScriptError, match="this step is wrong"):
            ask()
    assert [violation.code for violation in page.take()] == ["script error", "script error"]


def test_a_failed_assertion_of_a_function_is_on_the_ledger_and_no_other_error_is(page: Ledger) -> None:
    def wrong(request: Request) -> str:
        raise AssertionError("not what I wanted")

    def failing(request: Request) -> str:
        pytest.fail("not what I wanted")

    def skipping(request: Request) -> str:
        pytest.skip("not here")

    def broken(request: Request) -> str:
        raise KeyError("k")

    told = [(wrong, AssertionError), (failing, pytest.fail.Exception)]
    for function, kind in [*told, (skipping, pytest.skip.Exception), (broken, KeyError)]:
        with pytest.raises(kind):
            Echo(respond(function)).ask()
    assert [violation.code for violation in page.take()] == ["failed respond"] * len(told)


def test_a_violation_within_a_function_is_told_once(page: Ledger) -> None:
    inner = Echo()

    with pytest.raises(ViolationError):
        Echo(respond(lambda request: inner.ask())).ask()
    assert [violation.code for violation in page.take()] == ["unexpected call"]


def test_a_call_waits_at_the_gates_before_and_within_its_step() -> None:
    before, within = hold(), hold()
    echo, got = Echo(before, reply("a", within, "b")), []
    thread = threading.Thread(target=lambda: got.append(echo.ask()))
    thread.start()
    before.wait()
    before.release()
    within.wait()
    assert got == []
    within.release()
    thread.join()
    assert got[0].text == "ab"


def test_a_stream_is_answered_before_the_gates_within() -> None:
    gate = hold()

    assert Echo(say("a", gate, "b")).ask(streams=True).text == "ab"
    assert asyncio.run(Echo(say("a", gate, "b")).aask(streams=True)).text == "ab"
    assert gate.waiting == 0
