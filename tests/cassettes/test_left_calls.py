"""Calls whose program does not wait for the end of the answer: they are left at the same place when they run again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from langchain_openai import ChatOpenAI

from llmtest import ScriptedChatModel, ViolationError, expect_violation, hold, record, say
from llmtest.cassettes.cassette import Cassette
from llmtest.core.source import shown_path
from llmtest.langchain import providers as _real_classes_find_their_runs  # noqa: F401
from llmtest.scripts.gates import Gate, NoAnswer
from llmtest.wire import scripted_server

pytestmark = [
    pytest.mark.usefixtures("clients_left_open"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
TEST = "test_it.py::test_it"
MESSAGES: Any = [{"role": "user", "content": "hi"}]


@dataclass
class Stop:
    """Where a program leaves its call: at the gate of the answer, when it has heard all that comes before."""

    gate: Gate
    before: str = ""
    heard: str = ""


_stops: list[Stop] = []


def heard(text: str | None) -> None:
    _stops[-1].heard += text or ""


@asynccontextmanager
async def leaving() -> AsyncIterator[None]:
    """Cancel the block, as a timeout does, but at a place that does not depend on how slow the machine is."""
    async with asyncio.timeout(None) as limit:

        async def leave() -> None:
            await _stops[-1].gate.reached(timeout_s=20)
            while _stops[-1].heard != _stops[-1].before:
                await asyncio.sleep(0)
            limit.reschedule(asyncio.get_running_loop().time())

        watching = asyncio.create_task(leave())
        try:
            yield
        finally:
            watching.cancel()


async def openai_whole() -> str:
    async with openai.AsyncOpenAI(max_retries=0) as client:
        async with leaving():
            answer = await client.chat.completions.create(model="gpt-5", messages=MESSAGES)
        return str(answer.choices[0].message.content)


async def openai_streamed() -> str:
    async with openai.AsyncOpenAI(max_retries=0) as client:
        try:
            async with leaving():
                async for chunk in await client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True):
                    heard(chunk.choices[0].delta.content if chunk.choices else "")
        except TimeoutError:
            return f"{_stops[-1].heard}|"
    return _stops[-1].heard


async def responses_streamed() -> str:
    async with openai.AsyncOpenAI(max_retries=0) as client:
        try:
            async with leaving():
                async for event in await client.responses.create(model="gpt-5", input="hi", stream=True):
                    heard(event.delta if event.type == "response.output_text.delta" else "")
        except TimeoutError:
            return f"{_stops[-1].heard}|"
    return _stops[-1].heard


async def anthropic_streamed() -> str:
    async with anthropic.AsyncAnthropic(max_retries=0) as client:
        asked: Any = {"model": "claude-opus-4-7", "max_tokens": 9, "messages": MESSAGES}
        try:
            async with leaving(), client.messages.stream(**asked) as stream:
                async for text in stream.text_stream:
                    heard(text)
        except TimeoutError:
            return f"{_stops[-1].heard}|"
    return _stops[-1].heard


async def langchain_whole() -> str:
    async with leaving():
        answer = await ChatOpenAI(model="gpt-5", max_retries=0).ainvoke("hi")
    return answer.text


async def langchain_streamed() -> str:
    try:
        async with leaving():
            async for chunk in ChatOpenAI(model="gpt-5", max_retries=0).astream("hi"):
                heard(chunk.text)
    except TimeoutError:
        return f"{_stops[-1].heard}|"
    return _stops[-1].heard


CANCELLED: dict[str, Callable[[], Any]] = {
    "openai": openai_whole,
    "openai, streamed": openai_streamed,
    "openai responses, streamed": responses_streamed,
    "anthropic, streamed": anthropic_streamed,
    "langchain": langchain_whole,
    "langchain, streamed": langchain_streamed,
}


def outcome(program: Callable[[], Any], stop: Stop) -> str:
    _stops.append(stop)
    try:
        return str(asyncio.run(program()))
    except TimeoutError:
        return "timed out"
    finally:
        _stops.remove(stop)


def run(program: Callable[[], Any], gate: Gate, before: str = "") -> tuple[str, str]:
    with record() as recording:
        said = outcome(program, Stop(gate, before))
    return said, str(recording)


def gate_of(cassette: Cassette) -> Gate:
    """The place at which the answer of a cassette says no more."""
    return next(gate for script in cassette.scripts.values() for step in script.steps for gate in step.gates)


def taped(file: Path, program: Callable[[], Any], steps: list[Any], gate: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Record a program before a server that stops at a gate, and return what the program says."""
    with scripted_server({"*": steps}) as server, monkeypatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        with Cassette(file, TEST, "once") as cassette:
            said = program()
        gate.release()
    assert cassette.save().is_written
    return said


@pytest.mark.parametrize("program", CANCELLED)
@pytest.mark.parametrize("begins", [True, False])
def test_a_call_that_was_cancelled_is_cancelled_again(
    program: str, begins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = hold(timeout_s=20)
    steps = [say("It is ", gate, "sunny.")] if begins else [gate, say("Sunny.")]
    file = tmp_path / "x.yaml"
    streams = "streamed" in program and begins
    before = "It is " if streams else ""

    recorded = taped(file, lambda: run(CANCELLED[program], gate, before), steps, gate, monkeypatch)
    with Cassette(file, TEST) as cassette:
        again = run(CANCELLED[program], gate_of(cassette), before)

    assert recorded[0] == ("It is |" if streams else "|" if "streamed" in program else "timed out")
    assert again == recorded
    assert cassette.unused() == 0
    text = file.read_text("utf-8")
    assert "then_wait: true" in text
    assert "Error" not in text


# -- streams that the program leaves early


def left_openai(count: int) -> list[str]:
    with openai.OpenAI(max_retries=0) as client:
        said = []
        with client.chat.completions.create(model="gpt-5", messages=MESSAGES, stream=True) as stream:
            for chunk in stream:
                said += [chunk.choices[0].delta.content] if chunk.choices and chunk.choices[0].delta.content else []
                if len(said) == count:
                    break
        return said


def left_anthropic(count: int) -> list[str]:
    with anthropic.Anthropic(max_retries=0) as client:
        asked: Any = {"model": "claude-opus-4-7", "max_tokens": 9, "messages": MESSAGES}
        said = []
        with client.messages.stream(**asked) as stream:
            for text in stream.text_stream:
                said.append(text)
                if len(said) == count:
                    break
        return said


def left_langchain(count: int) -> list[str]:
    said = []
    for chunk in ChatOpenAI(model="gpt-5", max_retries=0).stream("hi"):
        said += [chunk.text] if chunk.text else []
        if len(said) == count:
            break
    return said


def left_async(count: int) -> list[str]:
    async def work() -> list[str]:
        said: list[str] = []
        stream = ChatOpenAI(model="gpt-5", max_retries=0).astream("hi")
        async for chunk in stream:
            said += [chunk.text] if chunk.text else []
            if len(said) == count:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        return said

    return asyncio.run(work())


LEFT = {"openai": left_openai, "anthropic": left_anthropic, "langchain": left_langchain, "langchain, async": left_async}


@pytest.mark.parametrize("program", LEFT)
def test_a_stream_that_was_left_is_left_at_the_same_place(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, file = hold(timeout_s=20), tmp_path / "x.yaml"

    recorded = taped(file, lambda: LEFT[program](2), [say("It ", "is ", gate, "sunny.")], gate, monkeypatch)
    with Cassette(file, TEST) as cassette:
        again = LEFT[program](2)

    assert again == recorded == ["It ", "is "]
    assert cassette.unused() == 0
    assert "then_wait: true" in file.read_text("utf-8")


@pytest.mark.parametrize("program", LEFT)
def test_a_program_that_now_reads_on_is_told(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, file = hold(timeout_s=20), tmp_path / "x.yaml"
    taped(file, lambda: LEFT[program](2), [say("It ", "is ", gate, "sunny.")], gate, monkeypatch)
    file.write_text(file.read_text("utf-8").replace("then_wait: true", "then_wait: 0.2"), "utf-8")

    with Cassette(file, TEST) as cassette, expect_violation("no answer"), pytest.raises(Exception, match="says no more"):
        LEFT[program](3)

    (script,) = cassette.scripts.values()
    assert [violation.code for violation in script.found()] == []


def test_the_text_of_a_program_that_waits_for_what_was_not_recorded() -> None:
    model = ScriptedChatModel(say("It is ").then_wait(0.1))

    with expect_violation("no answer"), pytest.raises(ViolationError) as caught:
        model.invoke("hi")

    line = test_the_text_of_a_program_that_waits_for_what_was_not_recorded.__code__.co_firstlineno + 1
    place = shown_path(f"{__file__}:{line}")
    assert str(caught.value) == (
        "the program waited for 0.1 s, but its answer says no more from here on\n"
        f"  answer   {place}\n"
        "  waits    model call  human 'hi'\n"
        "  when it was recorded, the program left the call there: by a timeout, a cancellation, or the end of its reading\n"
        "  if the program waits for the answer now, record it again; else give it longer: then_wait(timeout_s=...)"
    )


@pytest.mark.asyncio
async def test_a_call_that_blocks_its_event_loop_is_told_at_once() -> None:
    model = ScriptedChatModel(say("It is ").then_wait())

    with expect_violation("no answer"), pytest.raises(ViolationError, match="waited and blocks its event loop with it, but"):
        model.invoke("hi")


def test_a_thread_that_waits_when_the_test_ends_goes_on() -> None:
    gate = NoAnswer(20, "x.py:1")
    thread = threading.Thread(target=gate.hold, args=(lambda: "a call",))
    thread.start()
    gate.wait()

    gate.end()
    thread.join(5)

    assert (thread.is_alive(), gate.found()) == (False, [])


def test_a_call_that_is_cancelled_sooner_is_no_unused_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, file = hold(timeout_s=20), tmp_path / "x.yaml"
    taped(file, lambda: run(openai_whole, gate), [gate, say("Sunny.")], gate, monkeypatch)

    with Cassette(file, TEST) as cassette:
        pass

    assert cassette.unused() == 0
