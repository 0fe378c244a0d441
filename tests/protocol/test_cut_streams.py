"""Streams that end without a reason."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from llmtest import Recording, ScriptedChatModel, record, say
from llmtest.protocol import check, cut_streams
from tests.support.wire import WIRE, real


def test_a_stream_that_was_cut_is_told_of_in_full() -> None:
    with record() as recording:
        list(ScriptedChatModel(say("Hello").then_truncate()).stream("hi"))
    (broken,) = cut_streams(recording)
    assert (broken.code, broken.level) == ("stream without a reason", "unusual")
    assert broken.text == (
        "chat `ScriptedChatModel` streamed, and ended without a reason\n"
        "  #2 on_llm_new_token `ScriptedChatModel`\n"
        "  #3 on_llm_end `ScriptedChatModel`\n"
        "  the answer may be cut off; look for a reason before you use it"
    )


def test_a_whole_stream_and_an_answer_without_tokens_are_not_told_of() -> None:
    with record() as recording:
        list(ScriptedChatModel(say("Hello")).stream("hi"))
        ScriptedChatModel(say("Hello").then_truncate()).invoke("hi")
    assert cut_streams(recording) == []


def test_an_answer_that_has_only_begun_has_given_no_reason() -> None:
    statuses = ("in_progress", "incomplete")
    model = ScriptedChatModel(*(say("Hello", response_metadata={"status": one}).then_truncate() for one in statuses))

    with record() as recording:
        for _ in statuses:
            list(model.stream("hi"))

    assert [broken.witnesses[0].run_id for broken in cut_streams(recording)] == [recording.models[0].id]


# -- real clients, whose server stops in the middle of a stream

REASONS = {
    "openai": b'"finish_reason": "stop"',
    "openai-responses": b"event: response.completed",
    "anthropic": b"event: message_delta",
}
"""What the event has that brings the reason."""
TEXTS = {"openai": b"It is ", "openai-responses": b"response.output_text.delta", "anthropic": b"text_delta"}


def streamed(provider: str, body: Any) -> Recording:
    async def read() -> None:
        async for _ in real(provider, body=body).astream("hi"):
            pass

    with record() as recording:
        list(real(provider, body=body).stream("hi"))
        asyncio.run(read())
    return recording


def events_of(provider: str) -> list[bytes]:
    return re.findall(rb".+?\n\n", (WIRE / provider / "text.sse").read_bytes(), re.DOTALL)


@pytest.mark.parametrize("provider", REASONS)
def test_a_stream_of_a_real_client_is_told_of_wherever_it_was_cut_before_its_reason(provider: str) -> None:
    events = events_of(provider)
    first = next(number for number, event in enumerate(events) if TEXTS[provider] in event)
    (reason,) = [number for number, event in enumerate(events) if REASONS[provider] in event]
    told = {}
    for kept in range(first + 1, len(events) + 1):
        recording = streamed(provider, lambda _, kept=kept: b"".join(events[:kept]))
        assert [run.ended for run in recording.models] == ["ended", "ended"]  # the client does not notice
        assert check(recording) == []
        told[kept] = len(cut_streams(recording))

    assert told == {kept: 2 if kept <= reason else 0 for kept in told}
    assert {0, 2} == set(told.values())


@pytest.mark.parametrize("provider", REASONS)
def test_whole_answers_of_a_real_client_are_not_told_of(provider: str) -> None:
    recording = streamed(provider, lambda body: body)
    with record() as invoked:
        real(provider).invoke("hi")

    assert (cut_streams(recording), cut_streams(invoked)) == ([], [])
    assert len(recording.models) == 2
