"""The programs that a check runs: how they call a component, and what they give back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

from llmtest.conformance.programs import (
    BY_TURNS,
    CALLS,
    CANCELS,
    CLOSES,
    MANY,
    OBJECTED,
    STREAMING,
    STREAMS,
    TOGETHER,
    ObjectionError,
    cancel_at_each_turn,
    much_switching,
)
from tests.support.conforming import Echo


def play(program: Callable[..., Any], *given: Any) -> Any:
    """What a program gives, in sync or in async code."""
    result = program(*given)
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


def texts(messages: list[Any]) -> list[str]:
    return [message.text for message in messages]


@pytest.mark.parametrize("way", CALLS)
def test_a_call_gives_its_answer(way: str) -> None:
    assert play(CALLS[way], Echo(), "hi").text == "You said hi"


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_tells_how_many_tokens_had_been_heard_when_each_chunk_came(way: str) -> None:
    first, second = play(STREAMS[way], Echo(), ["hi", "ho"])

    assert "".join(texts(first.chunks)) == "You said hi"
    assert "".join(texts(second.chunks)) == "You said ho"
    assert first.told == list(range(1, len(first.chunks) + 1))
    assert [heard.message for heard in first.heard] == first.chunks


@pytest.mark.parametrize("way", MANY)
def test_many_calls_at_once_give_their_answers_in_order(way: str) -> None:
    assert {many for ways in TOGETHER.values() for many in ways} == {*MANY}
    with much_switching():
        answers = play(MANY[way], Echo(), ["a", "b", "c"])

    assert texts(answers) == ["You said a", "You said b", "You said c"]


@pytest.mark.parametrize("way", MANY)
def test_of_many_calls_that_fail_the_error_goes_on(way: str) -> None:
    class Fails(Echo):
        def answer(self, messages: Any) -> str:
            if messages[-1].text == "b":
                raise ConnectionError("b")
            return super().answer(messages)

    with pytest.raises(ConnectionError, match="b"):
        play(MANY[way], Fails(), ["a", "b", "c"])


@pytest.mark.parametrize("way", BY_TURNS)
def test_streams_by_turns_are_read_to_their_ends(way: str) -> None:
    streams = play(BY_TURNS[way], Echo(), ["a", "b c d", "e"])

    assert ["".join(texts(stream)) for stream in streams] == ["You said a", "You said b c d", "You said e"]


@pytest.mark.parametrize("way", CLOSES)
@pytest.mark.parametrize("closes", [True, False])
def test_a_stream_is_closed_after_its_first_chunk_if_it_can_be(way: str, closes: bool) -> None:
    seen: list[str] = []

    class Plain:
        """An iterator of its own, which cannot be closed."""

        def __iter__(self) -> Any:
            return self

        __aiter__ = __iter__

        def __next__(self) -> str:
            seen.append("next")
            return "a"

        async def __anext__(self) -> str:
            return self.__next__()

    class Closing(Plain):
        def close(self) -> None:
            seen.append("closed")

        async def aclose(self) -> None:
            seen.append("closed")

    class Model:
        def stream(self, given: Any) -> Any:
            return Closing() if closes else Plain()

        astream = stream

    play(CLOSES[way], Model(), "hi")

    assert seen == (["next", "closed"] if closes else ["next"])


@pytest.mark.parametrize("way", STREAMING)
def test_a_handler_of_streams_makes_a_call_stream(way: str) -> None:
    class Streams(Echo):
        def pieces(self, text: str) -> Any:
            return super().pieces(f"{text}, in pieces")

    assert play(STREAMING[way], Streams(), "hi").text == "You said hi, in pieces"


@pytest.mark.parametrize("way", OBJECTED)
def test_a_handler_that_objects_ends_the_stream_and_is_not_logged(way: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ObjectionError):
        play(OBJECTED[way], Echo(), "hi")

    assert caplog.records == []


@pytest.mark.parametrize("way", CANCELS)
def test_a_call_is_cancelled_at_each_turn_until_one_is_too_quick(way: str) -> None:
    asked: list[str] = []
    found: list[str] = []

    def given() -> str:
        asked.append("hi")
        return "hi"

    asyncio.run(cancel_at_each_turn(lambda: asyncio.ensure_future(CANCELS[way](Echo(), given)), 1.0, found))

    assert found == []
    assert len(asked) > 1


def test_what_a_cancelled_call_does_instead_is_told() -> None:
    async def answers() -> str:
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "an answer"
        return "too quick"

    async def raises() -> None:
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise KeyError from None

    async def goes_on() -> None:
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)

    found: list[str] = []
    for program in (answers, raises, goes_on):
        asyncio.run(cancel_at_each_turn(program, 0.05, found))

    assert [text.partition(" when")[0] for text in found] == ["answers", "raises KeyError", "goes on"]


def test_the_interval_of_threads_is_put_back() -> None:
    before = sys.getswitchinterval()

    with pytest.raises(KeyError), much_switching():
        assert sys.getswitchinterval() < before
        raise KeyError

    assert sys.getswitchinterval() == before


def test_a_model_of_langchain_runs_in_each_program() -> None:
    for way, program in {**CALLS, **CLOSES}.items():
        play(program, FakeListChatModel(responses=[way]), "hi")
