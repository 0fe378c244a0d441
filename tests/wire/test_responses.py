"""Answers of the Responses API, as OpenAI's documentation shows them, are read into steps.

What is written, and how requests are read: test_same_as_dialects.py, test_sdk_types.py, test_reading.py, test_bad_bodies.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtest.events.words import FrozenDict, Usage
from llmtest.scripts.step_types import Call, Fail, Reply, Text, Thinking
from llmtest.wire.api import BadBody, ReadAnswer
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer
from llmtest.wire.responses import Responses

USAGE = {
    "input_tokens": 81,
    "input_tokens_details": {"cached_tokens": 64},
    "output_tokens": 1035,
    "output_tokens_details": {"reasoning_tokens": 832},
    "total_tokens": 1116,
}
COUNTED = Usage(81, 1035, 1116, FrozenDict(cache_read=64), FrozenDict(reasoning=832))
GPT = "gpt-5-2025-08-07"


def response(*output: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    told = {"id": "resp_1", "object": "response", "created_at": 1741476777, "status": status, "error": None, "model": GPT}
    return {**told, "output": list(output), "usage": USAGE, "service_tier": "default", "store": True, **more}


def thought(*texts: str, **more: Any) -> dict[str, Any]:
    return {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": text} for text in texts], **more}


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": list(content)}


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **more}


CALLED = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "weather"}


def stream(*events: dict[str, Any]) -> HttpAnswer:
    told = [{"sequence_number": number, **event} for number, event in enumerate(events)]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in told)
    return HttpAnswer(200, {"content-type": "text/event-stream; charset=utf-8"}, body.encode())


def event(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": number, **fields}


CREATED = {"type": "response.created", "response": response(status="in_progress", usage=None)}


def read(answer: HttpAnswer, asked: str = GPT) -> ReadAnswer:
    return Responses().read_answer(answer, asked)


def test_a_response_with_reasoning_text_and_a_call() -> None:
    answer = response(thought("Look it up."), message(text("One moment.")), {**CALLED, "arguments": '{"city":"Paris"}'})

    assert read(json_answer(answer), "gpt-5") == ReadAnswer(
        Reply(
            (
                Thinking(("Look", " it", " up", ".")),
                Text(("One", " moment", ".")),
                Call("weather", FrozenDict(city="Paris"), "call_1"),
            ),
            COUNTED,
            response_metadata=FrozenDict(model_name=GPT),
        )
    )


def test_a_stream_with_reasoning_and_a_call() -> None:
    answer = stream(
        CREATED,
        {**CREATED, "type": "response.in_progress"},
        event("output_item.added", 0, item=thought()),
        event("reasoning_summary_part.added", 0, summary_index=0, part={"type": "summary_text", "text": ""}),
        event("reasoning_summary_text.delta", 0, summary_index=0, delta="Look ", obfuscation="x"),
        event("reasoning_summary_text.delta", 0, summary_index=0, delta="it up."),
        event("reasoning_summary_text.done", 0, summary_index=0, text="Look it up."),
        event("reasoning_summary_part.done", 0, summary_index=0, part={"type": "summary_text", "text": "Look it up."}),
        event("output_item.done", 0, item=thought("Look it up.")),
        event("output_item.added", 1, item={**CALLED, "arguments": ""}),
        event("function_call_arguments.delta", 1, delta='{"city":'),
        event("function_call_arguments.delta", 1, delta='"Paris"}'),
        event("function_call_arguments.done", 1, arguments='{"city":"Paris"}'),
        event("output_item.done", 1, item={**CALLED, "arguments": '{"city":"Paris"}'}),
        {"type": "response.completed", "response": response(thought("Look it up."), {**CALLED, "arguments": '{"city":"Paris"}'})},
    )

    assert read(answer) == ReadAnswer(
        Reply((Thinking(("Look ", "it up.")), Call("weather", FrozenDict(city="Paris"), "call_1")), COUNTED)
    )


def test_the_events_of_a_server_that_tells_only_of_finished_items() -> None:
    items = [thought("Hm."), message(text("Yes.")), {**CALLED, "arguments": "{}"}]
    answer = stream(
        CREATED,
        *(event("output_item.done", number, item=item) for number, item in enumerate(items)),
        {"type": "response.completed", "response": response()},
    )
    at_the_end = stream(CREATED, {"type": "response.completed", "response": response(*items)})

    expected = Reply((Thinking(("Hm.",)), Text(("Yes.",)), Call("weather", FrozenDict(), "call_1")), COUNTED)
    assert read(answer).step == expected
    assert read(at_the_end).step == expected


def test_several_summaries_are_one_reasoning() -> None:
    events = [event("reasoning_summary_text.delta", 0, summary_index=number, delta=f"{number}.") for number in (0, 0, 1)]
    streamed = stream(
        event("output_item.added", 0, item=thought()), *events, {"type": "response.completed", "response": response()}
    )

    assert read(streamed) == ReadAnswer(
        Reply((Thinking(("0.", "0.", "\n\n", "1.")),), COUNTED), ("that the reasoning has several summaries",)
    )
    assert read(json_answer(response(thought("a", "b")))) == ReadAnswer(
        Reply((Thinking(("a", "\n\nb")),), COUNTED), ("that the reasoning has several summaries",)
    )


def test_reasoning_that_the_provider_does_not_show_is_empty() -> None:
    answer = response(thought(encrypted_content="gAAAAABo"), message(text("Yes.")))

    assert read(json_answer(answer)) == ReadAnswer(Reply((Thinking(()), Text(("Yes", "."))), COUNTED), ("encrypted reasoning",))


def test_reasoning_of_open_models_is_content() -> None:
    answer = response({**thought(), "content": [{"type": "reasoning_text", "text": "Hm."}]}, message(text("Yes.")))
    events = stream(
        event("output_item.added", 0, item=thought()),
        event("reasoning_text.delta", 0, content_index=0, delta="Hm"),
        event("reasoning_text.delta", 0, content_index=0, delta="."),
        {"type": "response.completed", "response": response()},
    )

    assert read(json_answer(answer)).step == Reply((Thinking(("Hm", ".")), Text(("Yes", "."))), COUNTED)
    assert read(events).step == Reply((Thinking(("Hm", ".")),), COUNTED)


def test_a_refusal_is_the_text_of_an_answer() -> None:
    refused = message({"type": "refusal", "refusal": "I can't."})
    events = stream(
        event("output_item.added", 0, item=message()),
        event("content_part.added", 0, content_index=0, part={"type": "refusal", "refusal": ""}),
        event("refusal.delta", 0, content_index=0, delta="I can't."),
        event("output_item.done", 0, item=refused),
        {"type": "response.completed", "response": response(refused)},
    )

    assert read(events).step == Reply((Text(("I can't.",)),), COUNTED, "refusal", refusal=True)
    assert read(json_answer(response(refused))).step == Reply(
        (Text(("I", " can", "'", "t", ".")),), COUNTED, "refusal", refusal=True
    )


@pytest.mark.parametrize(
    ("reason", "kept", "metadata"),
    [
        ("max_output_tokens", "length", {}),
        ("content_filter", "content_filter", {}),
        ("max_tool_calls", "max_tool_calls", {"status": "incomplete", "incomplete_details": {"reason": "max_tool_calls"}}),
    ],
)
def test_why_an_answer_is_incomplete_is_its_stop_reason(reason: str, kept: str, metadata: Any) -> None:
    answer = response(message(text("It")), status="incomplete", incomplete_details={"reason": reason})

    expected = Reply((Text(("It",)),), COUNTED, kept, response_metadata=FrozenDict(metadata))
    assert read(json_answer(answer)).step == expected
    assert read(stream(CREATED, {"type": "response.incomplete", "response": answer})).step == expected


def test_a_response_that_fails_within_its_stream() -> None:
    error = {"code": "server_error", "message": "The model failed."}
    failed = {"type": "response.failed", "response": response(status="failed", error=error)}
    told = {"type": "error", "code": "rate_limit_exceeded", "message": "Slow down.", "param": None}
    nested = {"type": "error", "error": {"type": "invalid_request_error", "code": None, "message": "No."}}
    begun = [event("output_item.added", 0, item=message()), event("output_text.delta", 0, content_index=0, delta="It")]

    steps = [read(stream(CREATED, *begun, last)).step for last in (failed, told, nested)]
    assert steps == [
        Reply((Text(("It",)),), failure=Fail(status, message=message))
        for status, message in ((500, "The model failed."), (429, "Slow down."), (400, "No."))
    ]


def test_a_whole_response_that_failed() -> None:
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}

    assert read(json_answer(response(status="failed", error=error))) == ReadAnswer(
        Fail(429, message="Slow down."), ("an error with the HTTP status 200",)
    )


def test_a_stream_without_its_end_is_cut_off() -> None:
    events = [event("output_item.added", 0, item=message()), event("output_text.delta", 0, content_index=0, delta="It")]

    assert read(stream(CREATED, *events)) == ReadAnswer(Reply((Text(("It",)),), truncated=True))


def test_what_a_step_cannot_say_is_named() -> None:
    cited = text("Sunny.", annotations=[{"type": "url_citation"}], logprobs=[{"token": "Sunny"}])
    answer = response(
        {"id": "ws_1", "type": "web_search_call", "status": "completed"},
        {"id": "ig_1", "type": "image_generation_call", "result": "aaaa"},
        message(cited, {"type": "output_audio", "data": "aaaa"}),
        {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_2", "name": "shell", "input": "ls"},
    )

    assert read(json_answer(answer)) == ReadAnswer(
        Reply((Text(("Sunny", ".")),), COUNTED),
        (
            "an item of the type web_search_call",
            "an item of the type image_generation_call",
            "annotations",
            "logprobs",
            "a part of the type output_audio",
            "an item of the type custom_tool_call",
        ),
    )


def test_what_a_step_cannot_say_of_a_stream_is_named() -> None:
    answer = stream(
        CREATED,
        event("output_item.added", 0, item=message()),
        event("content_part.added", 0, part={"type": "output_audio"}),
        event("output_text.delta", 0, delta="Sunny.", logprobs=[{"token": "Sunny"}]),
        event("output_text.annotation.added", 0, annotation={"type": "url_citation"}),
        event("something.new", 0),
        {"type": "response.completed", "response": response(message(text("Sunny.")))},
    )

    assert read(answer) == ReadAnswer(
        Reply((Text(("Sunny.",)),), COUNTED), ("logprobs", "annotations", "an event of the type something.new")
    )


def test_the_arguments_of_a_call_may_come_with_its_end_alone() -> None:
    done = {**CALLED, "arguments": '{"city": "Paris"}'}
    answer = stream(
        CREATED,
        event("output_item.added", 0, item={**CALLED, "arguments": ""}),
        event("output_item.done", 0, item=done),
        {"type": "response.completed", "response": response(done)},
    )

    assert read(answer) == ReadAnswer(Reply((Call("weather", FrozenDict(city="Paris"), "call_1"),), COUNTED))


def test_a_stored_prompt_needs_no_input() -> None:
    request = HttpRequest("POST", "https://api.openai.com/v1/responses", {})

    call = Responses().read(request, {"model": "gpt-5", "prompt": {"id": "pmpt_1"}})

    assert call.messages == ()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"object": "response"}, "`output` is a list of items; got nothing"),
        (response(status="queued"), "`status` is that of a finished response, completed or incomplete; got 'queued'"),
        (response({"type": "message", "content": [{"type": "output_text"}]}), "`text` is a text; got nothing"),
        (response({"type": "function_call"}), "`name` is the name of the called tool; got NoneType None"),
    ],
)
def test_a_body_that_is_no_response_is_told_with_words(body: Any, text: str) -> None:
    with pytest.raises(BadBody) as error:
        read(json_answer(body))

    assert str(error.value) == text


def test_a_delta_of_no_item_is_told_with_words() -> None:
    with pytest.raises(BadBody) as error:
        read(stream(CREATED, event("output_text.delta", 3, delta="It")))

    assert str(error.value) == "`output_index` is the number of an item that was added before; got 3"
