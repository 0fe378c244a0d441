"""What the driver of a check finds in any program: it does not end, blocks the loop, or goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest
from langchain_core.outputs import ChatResult, GenerationChunk

from llmtest.conformance import check_chat_model
from llmtest.conformance.driver import Driver
from llmtest.conformance.subjects import TEXT_MODEL
from tests.conformance.test_components import Says
from tests.support.conforming import Echo, told


class GoesOnForGood(Echo):
    """However often it is cancelled; until the test is over."""

    over: ClassVar[threading.Event] = threading.Event()

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await self.wait()
        return self._generate(messages)

    async def wait(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)


class BlocksTheLoop(Echo):
    over: ClassVar[threading.Event] = threading.Event()

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.over.wait()
        return self._generate(messages)


class NeverAnswers(Echo):
    over: ClassVar[threading.Event] = threading.Event()

    def answer(self, messages: Any) -> str:
        self.over.wait()
        return ""


SOON_S = 1.0


def test_a_model_that_blocks_the_event_loop_is_told_with_its_line() -> None:
    try:
        text = told(check_chat_model, BlocksTheLoop, timeout_s=SOON_S)
    finally:
        BlocksTheLoop.over.set()

    assert text == (
        "`BlocksTheLoop.ainvoke` blocks the event loop\n"
        "  at         test_driver.py:N  self.over.wait()\n"
        "  seen       it stood at one line for 0.3 s, and nothing else could run\n"
        "  await what takes long, or leave it to a thread: await asyncio.to_thread(...)"
    )


def test_a_call_that_does_not_end_is_told_with_its_line_and_ends_the_check() -> None:
    try:
        text = told(check_chat_model, NeverAnswers, timeout_s=SOON_S)
    finally:
        NeverAnswers.over.set()

    assert text == (
        "`NeverAnswers.invoke` does not end\n"
        "  at         test_driver.py:N  self.over.wait()\n"
        "  waited     1 s; nothing more was tried\n"
        "  if it only needs longer, give `timeout_s`"
    )


def test_a_call_that_cannot_be_cancelled_is_told_once_and_ends_the_check() -> None:
    try:
        text = told(check_chat_model, GoesOnForGood, timeout_s=SOON_S)
    finally:
        GoesOnForGood.over.set()

    assert text == (
        "`GoesOnForGood.ainvoke` goes on when its task is cancelled\n"
        "  let CancelledError through; on Python 3.11 asyncio.wait_for swallows it if its answer is there already"
    )


def test_calls_that_wait_for_one_another_are_told() -> None:
    class WaitsForNobody(Echo):
        """Deadlocks as soon as two calls run at once."""

        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            self._busy = getattr(self, "_busy", 0) + 1
            await asyncio.sleep(0)
            if self._busy > 1:
                await asyncio.Event().wait()
            self._busy -= 1
            return self._generate(messages)

    assert told(check_chat_model, WaitsForNobody, timeout_s=SOON_S) == (
        "`WaitsForNobody.abatch` does not end\n"
        "  waited     1 s; nothing more was tried\n"
        "  if it only needs longer, give `timeout_s`"
    )


class SaysLate(Says):
    """Its second chunk is made when its stream has been cancelled, in the thread in which LangChain runs it."""

    at_work: ClassVar[threading.Event]
    cancelled: ClassVar[threading.Event]
    told: ClassVar[threading.Event]

    def chunk(self, chunk: GenerationChunk, run_manager: Any) -> Iterator[GenerationChunk]:
        if chunk.text != "You ":
            self.at_work.set()
            self.cancelled.wait()
        for made in super().chunk(chunk, run_manager):
            self.told.set()
            yield made


class SaysLateItself(SaysLate):
    """Tells a token of its own after its end, in the task that was cancelled."""

    async def _astream(self, *args: Any, run_manager: Any = None, **kwargs: Any) -> AsyncIterator[GenerationChunk]:
        try:
            yield GenerationChunk(text="You ")
            self.at_work.set()
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().call_soon(self.tell, run_manager)

    def tell(self, run_manager: Any) -> None:
        asyncio.ensure_future(run_manager.on_llm_new_token("said", chunk=GenerationChunk(text="said"))).add_done_callback(
            lambda _: self.told.set()
        )


@pytest.mark.parametrize(("kind", "codes"), [(SaysLate, []), (SaysLateItself, ["event after the end"])])
def test_a_late_token_of_a_cancelled_stream_is_a_fault_unless_a_thread_of_langchain_tells_it(
    kind: type[SaysLate], codes: list[str]
) -> None:
    kind.at_work, kind.cancelled, kind.told = threading.Event(), threading.Event(), threading.Event()

    async def cancel() -> None:
        stream = kind().astream("hi")
        await anext(stream)
        task = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(kind.at_work.wait)
        kind.told.clear()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        kind.cancelled.set()
        await asyncio.to_thread(kind.told.wait)

    check = Driver(TEXT_MODEL, kind, ["hi"], 5)
    check.run("astream, cancelled", lambda: asyncio.run(cancel()))

    assert [violation.code for violation in check.violations()] == codes
