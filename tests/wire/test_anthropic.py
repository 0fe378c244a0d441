"""Anthropic's messages, as its documentation shows them, are read into steps.

What is written, and how requests are read: test_same_as_dialects.py, test_sdk_types.py, test_reading.py, test_bad_bodies.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtest.events.words import FrozenDict, Usage
from llmtest.scripts.step_types import Call, Fail, Reply, Text, Thinking
from llmtest.wire.anthropic import Messages
from llmtest.wire.api import BadBody, ReadAnswer
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer

CLAUDE = "claude-sonnet-4-5-20250929"
USAGE = {"input_tokens": 472, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2}


def stream(*events: dict[str, Any]) -> HttpAnswer:
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return HttpAnswer(200, {"content-type": "text/event-stream; charset=utf-8"}, body.encode())


def start(**usage: int) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": "msg_014p",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": CLAUDE,
        "stop_reason": None,
    }
    return {"type": "message_start", "message": {**message, "stop_sequence": None, "usage": {**USAGE, **usage}}}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **delta}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(reason: str, **usage: int) -> list[dict[str, Any]]:
    told = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": told, "usage": {"output_tokens": 89, **usage}}, {"type": "message_stop"}]


PING = {"type": "ping"}


def read(answer: HttpAnswer, asked: str = CLAUDE) -> ReadAnswer:
    return Messages().read_answer(answer, asked)


def message(*content: dict[str, Any], reason: str = "end_turn", **more: Any) -> HttpAnswer:
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "content": list(content)}
    return json_answer({**told, "stop_reason": reason, "stop_sequence": None, "usage": USAGE, **more})


def test_a_stream_with_signed_thinking_text_and_a_call() -> None:
    answer = stream(
        start(),
        PING,
        begin(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking", thinking="I need the weather"),
        delta(0, "thinking", thinking=" in Paris."),
        delta(0, "signature", signature="EqQBCgIYAhIM1gbcDa9GJwZA2b3h"),
        stop(0),
        begin(1, type="text", text=""),
        delta(1, "text", text="Okay"),
        delta(1, "text", text=", let me look."),
        stop(1),
        begin(2, type="tool_use", id="toolu_01T1x1fJ34qAmk2tNTrN7Up6", name="weather", input={}),
        delta(2, "input_json", partial_json=""),
        delta(2, "input_json", partial_json='{"city":'),
        delta(2, "input_json", partial_json=' "Paris"'),
        delta(2, "input_json", partial_json="}"),
        stop(2),
        *end("tool_use"),
    )

    assert read(answer, "claude-sonnet-4-5") == ReadAnswer(
        Reply(
            (
                Thinking(("I need the weather", " in Paris.")),
                Text(("Okay", ", let me look.")),
                Call("weather", FrozenDict(city="Paris"), "toolu_01T1x1fJ34qAmk2tNTrN7Up6"),
            ),
            Usage(472, 89, 561),
            response_metadata=FrozenDict(model_name=CLAUDE),
        )
    )


def test_a_call_without_arguments_has_no_text_at_all() -> None:
    answer = stream(
        start(),
        begin(0, type="tool_use", id="toolu_1", name="clock", input={}),
        delta(0, "input_json", partial_json=""),
        stop(0),
        *end("tool_use"),
    )

    assert read(answer).step == Reply((Call("clock", FrozenDict(), "toolu_1"),), Usage(472, 89, 561))


def test_a_stream_that_is_cut_off_in_a_call_has_what_came_of_its_arguments() -> None:
    answer = stream(
        start(), begin(0, type="tool_use", id="toolu_1", name="weather", input={}), delta(0, "input_json", partial_json='{"ci')
    )

    assert read(answer) == ReadAnswer(
        Reply((Call("weather", FrozenDict(), "toolu_1", ('{"ci',)),), Usage(472, 2, 474), truncated=True)
    )


def test_an_error_within_a_stream_is_the_failure_of_the_answer() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    answer = stream(start(), begin(0, type="text", text=""), delta(0, "text", text="Oka"), error)

    assert read(answer) == ReadAnswer(
        Reply((Text(("Oka",)),), Usage(472, 2, 474), failure=Fail(529, message="Overloaded")),
    )


def test_an_error_that_comes_first_is_a_failure_without_text() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    assert read(stream(error)).step == Reply((Text(()),), failure=Fail(529, message="Overloaded"))


def test_tokens_of_the_cache_are_input_tokens() -> None:
    usage = {
        "input_tokens": 21,
        "cache_creation_input_tokens": 556,
        "cache_read_input_tokens": 1800,
        "cache_creation": {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 100},
        "output_tokens": 503,
        "output_tokens_details": {"thinking_tokens": 400},
        "service_tier": "standard",
    }
    details = FrozenDict(cache_read=1800, ephemeral_5m_input_tokens=456, ephemeral_1h_input_tokens=100)
    total = 21 + 556 + 1800

    step = read(message({"type": "text", "text": "Hi"}, usage=usage)).step
    assert isinstance(step, Reply)
    assert step.usage == Usage(total, 503, total + 503, details, FrozenDict(reasoning=400))


def test_what_the_answer_does_not_say_for_how_long_is_kept_as_cache_creation() -> None:
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 9, "cache_read_input_tokens": None, "output_tokens": 2}

    step = read(message({"type": "text", "text": "Hi"}, usage=usage)).step
    assert isinstance(step, Reply)
    assert step.usage == Usage(10, 2, 12, FrozenDict(cache_creation=9))


def test_the_last_counts_of_a_stream_replace_the_first() -> None:
    answer = stream(
        start(), begin(0, type="text", text=""), stop(0), *end("end_turn", input_tokens=500, cache_read_input_tokens=7)
    )

    assert read(answer).step == Reply((Text(()),), Usage(507, 89, 596, FrozenDict(cache_read=7)))


def test_a_stop_sequence_is_kept() -> None:
    answer = message({"type": "text", "text": "Hi"}, reason="stop_sequence", stop_sequence="END")

    assert read(answer).step == Reply(
        (Text(("Hi",)),), Usage(472, 2, 474), "stop_sequence", response_metadata=FrozenDict(stop_sequence="END")
    )


@pytest.mark.parametrize(
    ("reason", "kept"), [("end_turn", None), ("max_tokens", "length"), ("pause_turn", "pause_turn"), ("tool_use", "tool_calls")]
)
def test_stop_reasons_are_in_our_words(reason: str, kept: str | None) -> None:
    step = read(message({"type": "text", "text": "Hi"}, reason=reason)).step

    assert isinstance(step, Reply)
    assert step.stop_reason == kept


def test_a_refusal_with_reasoning_has_the_stop_reason_alone() -> None:
    """A script file has refusals of text only, and the writer says no more than the stop reason."""
    texts = message({"type": "text", "text": "No."}, reason="refusal")
    thought = message({"type": "thinking", "thinking": "Hm", "signature": "x"}, {"type": "text", "text": "No."}, reason="refusal")

    told = [(step.refusal, step.stop_reason) for step in (read(texts).step, read(thought).step) if isinstance(step, Reply)]
    assert told == [(True, "refusal"), (False, "refusal")]


def test_blocks_that_a_step_cannot_say_are_named() -> None:
    answer = message(
        {"type": "redacted_thinking", "data": "EmwKAhgB"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "It is ", "citations": None},
        {"type": "text", "text": "sunny.", "citations": [{"type": "web_search_result_location", "url": "https://example.com"}]},
    )

    assert read(answer) == ReadAnswer(
        Reply((Text(("It", " is", " sunny", ".")),), Usage(472, 2, 474)),
        (
            "a block of the type redacted_thinking",
            "a block of the type server_tool_use",
            "a block of the type web_search_tool_result",
            "citations",
        ),
    )


def test_deltas_of_a_block_that_is_left_out_are_left_out_with_it() -> None:
    answer = stream(
        start(),
        begin(0, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
        delta(0, "input_json", partial_json='{"query": "weather"}'),
        stop(0),
        begin(1, type="text", text=""),
        delta(1, "citations", citation={"type": "web_search_result_location"}),
        delta(1, "text", text="Sunny."),
        stop(1),
        {"type": "something_new"},
        *end("end_turn"),
    )

    assert read(answer) == ReadAnswer(
        Reply((Text(("Sunny.",)),), Usage(472, 89, 561)),
        ("a block of the type server_tool_use", "citations", "an event of the type something_new"),
    )


def test_an_error_has_its_message_and_its_time_to_wait() -> None:
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}, "request_id": "req_1"}

    assert read(json_answer(body, 429, {"retry-after": "30"})) == ReadAnswer(Fail(429, 30, "Slow down."))


def test_an_error_with_the_status_200_is_an_error() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy."}}

    assert read(json_answer(body)) == ReadAnswer(Fail(529, None, "Too busy."), ("an error with the HTTP status 200",))


def test_a_text_before_the_result_of_a_tool_is_a_message_of_its_own() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}
    said = [{"type": "text", "text": "Here:"}, result, {"type": "text", "text": "And?"}]
    call = Messages().read(
        HttpRequest("POST", "https://api.anthropic.com/v1/messages", {}),
        {"model": "m", "messages": [{"role": "user", "content": said}]},
    )

    assert [(message.role, message.text, message.tool_call_id) for message in call.messages] == [
        ("human", "Here:", None),
        ("tool", "sunny", "t1"),
        ("human", "And?", None),
    ]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"type": "message"}, "`content` is a list of blocks; got nothing"),
        ({"content": ["hi"]}, "`content[0]` is an object; got str 'hi'"),
        ({"content": [{"type": "text"}]}, "`text` is a text; got nothing"),
        ({"content": [{"type": "tool_use", "name": "f", "input": []}]}, "`input` is an object; got list []"),
        ({"content": [], "usage": {"output_tokens": 1.5}}, "`output_tokens` is a number of tokens; got float 1.5"),
    ],
)
def test_a_body_that_is_no_message_is_told_with_words(body: Any, text: str) -> None:
    with pytest.raises(BadBody) as error:
        read(json_answer(body))

    assert str(error.value) == text
