"""Chat completions of OpenAI and of those who speak like it, as their documentation shows them, are read into steps.

What is written, and how requests are read: test_same_as_dialects.py, test_sdk_types.py, test_reading.py, test_bad_bodies.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtest import reply, say, think
from llmtest.events.words import FrozenDict, Usage
from llmtest.scripts.step_types import Call, Fail, Reply, Text, Thinking
from llmtest.wire.api import BadBody, ModelCall, ReadAnswer
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer
from llmtest.wire.openai import ChatCompletions, ChatWriter


def chunks(*chunks: Any, done: bool = True, between: str = "") -> HttpAnswer:
    """A stream of these chunks, each in the frame that all have."""
    frame = {"id": "chatcmpl-123", "object": "chat.completion.chunk", "created": 1694268190, "model": "gpt-4o-2024-08-06"}
    events = [json.dumps({**frame, **chunk}) for chunk in chunks] + ["[DONE]"] * done
    return HttpAnswer(200, {"content-type": "text/event-stream"}, "".join(f"{between}data: {one}\n\n" for one in events).encode())


def delta(reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}


def whole(message: Any, reason: str | None = "stop", **more: Any) -> HttpAnswer:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": reason}
    return json_answer({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **more})


def read(answer: HttpAnswer, asked: str = "m") -> ReadAnswer:
    return ChatCompletions().read_answer(answer, asked)


def called(index: int, arguments: str, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    told = {"id": id, "type": "function"} if id else {}
    return {"index": index, **told, "function": {**({"name": name} if name else {}), "arguments": arguments}}


def test_parallel_calls_of_a_stream_are_put_together_by_their_index() -> None:
    answer = chunks(
        delta(role="assistant", content=None, refusal=None),
        delta(tool_calls=[called(0, "", "call_a", "weather")]),
        delta(tool_calls=[called(0, '{"ci')]),
        delta(tool_calls=[called(0, 'ty":"Paris"}')]),
        delta(tool_calls=[called(1, "", "call_b", "weather")]),
        delta(tool_calls=[called(1, '{"city":')]),
        delta(tool_calls=[called(1, ' "Rome", "city": "Nice"}')]),
        delta("tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 73, "completion_tokens": 39, "total_tokens": 112}},
    )

    assert read(answer, "gpt-4o") == ReadAnswer(
        Reply(
            (
                Call("weather", FrozenDict(city="Paris"), "call_a"),
                # The text says more than the arguments do: a key came twice.
                Call("weather", FrozenDict(city="Nice"), "call_b", ('{"city":', ' "Rome", "city": "Nice"}')),
            ),
            Usage(73, 39, 112),
            response_metadata=FrozenDict(model_name="gpt-4o-2024-08-06"),
        )
    )


def test_calls_that_come_whole_under_one_index_are_several() -> None:
    answer = chunks(
        delta(tool_calls=[called(0, '{"a": 1}', "call_a", "f")]),
        delta(tool_calls=[called(0, '{"a": 2}', "call_b", "f")]),
        delta("tool_calls"),
    )

    assert read(answer, "gpt-4o-2024-08-06").step == Reply(
        (Call("f", FrozenDict(a=1), "call_a"), Call("f", FrozenDict(a=2), "call_b")), usage=False
    )


def test_azure_says_what_its_filter_thinks_and_its_first_chunk_has_no_choice() -> None:
    safe = {"hate": {"filtered": False, "severity": "safe"}}
    first = {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": safe}]}
    word = {"choices": [{**delta(content="Hi")["choices"][0], "content_filter_results": safe}]}

    assert read(chunks(first, word, delta("content_filter")), "gpt-4o-2024-08-06") == ReadAnswer(
        Reply((Text(("Hi",)),), False, "content_filter"), ("prompt_filter_results", "content_filter_results")
    )


def test_a_prompt_that_azure_filters_is_an_error() -> None:
    error = {
        "message": "The response was filtered.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }

    assert read(json_answer({"error": error}, 400)) == ReadAnswer(
        Fail(400, message="The response was filtered."),
        ("the code 'content_filter' of the error", "the status 400 of the error"),
    )


def test_openrouter_sends_comments_and_calls_reasoning_by_its_own_name() -> None:
    details = [{"type": "reasoning.text", "text": "Hm, ", "format": "unknown", "index": 0}]
    answer = chunks(
        {"provider": "Together", **delta(role="assistant", content="", reasoning="Hm, ", reasoning_details=details)},
        {"provider": "Together", **delta(content="Paris", reasoning=None, reasoning_details=[])},
        delta("stop", role="assistant", content=""),
        between=": OPENROUTER PROCESSING\n\n",
    )

    assert read(answer, "gpt-4o-2024-08-06") == ReadAnswer(
        Reply((Thinking(("Hm, ",)), Text(("Paris",))), False), ("reasoning_details",)
    )


def test_an_error_of_openrouter_within_a_stream_has_the_status_of_its_code() -> None:
    broken = {"error": {"code": 502, "message": "Provider disconnected"}, **delta("error", content="")}

    assert read(chunks(delta(content="Par"), broken, done=False), "gpt-4o-2024-08-06") == ReadAnswer(
        Reply((Text(("Par",)),), failure=Fail(502, message="Provider disconnected"))
    )


def test_an_error_with_the_status_200_is_an_error() -> None:
    answer = json_answer({"error": {"message": "No credits left.", "code": 402}, "user_id": "u"})

    assert read(answer) == ReadAnswer(Fail(402, message="No credits left."), ("an error with the HTTP status 200",))


def test_groq_has_its_usage_in_a_field_of_its_own() -> None:
    usage = {"queue_time": 0.1, "prompt_tokens": 18, "completion_tokens": 2, "total_tokens": 20, "total_time": 0.2}
    answer = chunks(
        {"x_groq": {"id": "req_1"}, **delta(role="assistant", content="")},
        {"system_fingerprint": "fp_44709d6fcb", **delta(content="Hi")},
        {"x_groq": {"id": "req_1", "usage": usage}, **delta("stop")},
    )

    assert read(answer, "gpt-4o-2024-08-06") == ReadAnswer(
        Reply((Text(("Hi",)),), Usage(18, 2, 20), response_metadata=FrozenDict(system_fingerprint="fp_44709d6fcb"))
    )


def test_deepseek_reasons_before_its_text_and_counts_what_its_cache_had() -> None:
    usage = {
        "prompt_tokens": 16,
        "completion_tokens": 10,
        "total_tokens": 26,
        "completion_tokens_details": {"reasoning_tokens": 6},
        "prompt_cache_hit_tokens": 4,
        "prompt_cache_miss_tokens": 12,
    }

    assert read(whole({"content": "9.11 < 9.8", "reasoning_content": "Compare them."}, usage=usage)) == ReadAnswer(
        Reply(
            (Thinking(("Compare", " them", ".")), Text(("9", ".", "11", " <", " 9", ".", "8"))),
            Usage(16, 10, 26, FrozenDict(cache_read=4), FrozenDict(reasoning=6)),
        )
    )


def test_mistral_reasons_in_blocks() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True},
        {"type": "text", "text": "Yes."},
        {"type": "reference", "reference_ids": [1]},
    ]

    assert read(whole({"content": content})) == ReadAnswer(
        Reply((Thinking(("Hm", ".")), Text(("Yes", "."))), False), ("content of the type reference",)
    )


def test_the_format_of_text_is_what_a_model_does_anyway() -> None:
    body = {"model": "m", "messages": [], "response_format": {"type": "text"}, "temperature": 0}

    call = ChatCompletions().read(HttpRequest("POST", "https://api.openai.com/v1/chat/completions", {}), body)

    assert call.params == {"temperature": 0}


def test_a_refusal_is_the_text_of_an_answer() -> None:
    assert read(whole({"content": None, "refusal": "I can't."})).step == Reply(
        (Text(("I", " can", "'", "t", ".")),), False, "refusal", refusal=True
    )
    assert read(whole({"content": "Well. ", "refusal": "I can't."})).left_out == ("that not all of the text is a refusal",)


def test_details_of_usage_are_counted_within_the_sums() -> None:
    usage = {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 5, "cache_write_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 192, "audio_tokens": 3, "accepted_prediction_tokens": 0},
    }
    into, out = FrozenDict(cache_read=1920, cache_creation=7, audio=5), FrozenDict(reasoning=192, audio=3)

    answer = read(whole({"content": "Hi"}, usage=usage)).step
    assert isinstance(answer, Reply)
    assert answer.usage == Usage(2006, 300, 2306, into, out)


def test_only_metadata_that_the_writer_would_not_write_itself_is_kept() -> None:
    answer = whole({"content": "Hi"}, service_tier="flex", system_fingerprint="fp_1")

    assert read(answer).step == Reply(
        (Text(("Hi",)),), False, response_metadata=FrozenDict(service_tier="flex", system_fingerprint="fp_1")
    )
    assert read(whole({"content": "Hi"}, service_tier="default", system_fingerprint=None)).step == Reply((Text(("Hi",)),), False)


@pytest.mark.parametrize(
    ("message", "left_out"),
    [
        ({"content": "Hi", "annotations": [{"type": "url_citation"}]}, ("annotations",)),
        ({"content": None, "audio": {"id": "audio_1", "data": "UklG"}}, ("audio",)),
        ({"content": "Hi", "images": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, ("images",)),
        ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, ("a call in the old form, function_call",)),
        (
            {"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}}]},
            ("a call of the custom tool shell",),
        ),
    ],
)
def test_what_a_step_cannot_say_is_named(message: Any, left_out: tuple[str, ...]) -> None:
    assert read(whole(message)).left_out == left_out


def test_other_choices_and_logprobs_are_named() -> None:
    choices: list[Any] = [
        {"index": index, "message": {"content": f"{index}"}, "logprobs": {"content": []}, "finish_reason": "stop"}
        for index in (1, 0, 2)
    ]

    assert read(json_answer({"model": "m", "choices": choices})) == ReadAnswer(
        Reply((Text(("0",)),), False), ("logprobs", "2 of 3 choices")
    )


@pytest.mark.parametrize(("text", "pieces"), [('["a"]', ("[", '"', "a", '"', "]")), ("", ("",)), ("{", ("{",))])
def test_arguments_that_are_no_object_are_a_malformed_call(text: str, pieces: tuple[str, ...]) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": text}}

    step = read(whole({"content": None, "tool_calls": [call]}, "tool_calls")).step
    assert step == Reply((Call("f", FrozenDict(), "call_1", pieces),), False)
    assert isinstance(step, Reply)
    assert step.calls[0].malformed


@pytest.mark.parametrize(
    "text",
    ['{"a": "é", "b": [1, 2]}', '{"a":"é","b":[1,2]}', '{"a": "\\u00e9", "b": [1, 2]}', '{"a":"\\u00e9","b":[1,2]}'],
)
def test_the_usual_spellings_of_arguments_are_not_kept(text: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": text}}

    assert read(whole({"tool_calls": [call]}, "tool_calls")).step == Reply(
        (Call("f", FrozenDict({"a": "é", "b": [1, 2]}), "call_1"),), False
    )


def test_a_stop_reason_that_the_writer_would_not_take_is_kept() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    reasons = [
        read(whole({"tool_calls": [call]}, "stop")).step,
        read(whole({"content": "a"}, "tool_calls")).step,
        read(whole({"content": "a"}, "length")).step,
        read(whole({"content": "a"}, "stop")).step,
    ]
    assert [step.stop_reason for step in reasons if isinstance(step, Reply)] == ["stop", "tool_calls", "length", None]


def test_an_answer_without_a_finish_reason_is_told() -> None:
    assert read(whole({"content": "a"}, None)) == ReadAnswer(Reply((Text(("a",)),), False), ("no finish reason",))
    assert read(chunks(delta(content="a")), "gpt-4o-2024-08-06") == ReadAnswer(Reply((Text(("a",)),), truncated=True))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"choices": {}}, "`choices` is a list of choices; got dict {}"),
        ({"choices": [{"index": 0, "finish_reason": "stop"}]}, "`message` is an object; got nothing"),
        ({"choices": [{"message": {"content": 5}}]}, "`content` is a text or a list of blocks; got int 5"),
        ({"choices": [{"message": {"tool_calls": [{"id": "c"}]}}]}, "`name` is the name of the called tool; got NoneType None"),
        ({"choices": [], "usage": {"prompt_tokens": "8"}}, "`prompt_tokens` is a number of tokens; got str '8'"),
    ],
)
def test_a_body_that_is_no_completion_is_told_with_words(body: Any, text: str) -> None:
    with pytest.raises(BadBody) as error:
        read(json_answer(body))

    assert str(error.value) == text


@pytest.mark.parametrize(("provider", "field"), [("deepseek", "reasoning_content"), ("groq", "reasoning"), ("openai", "")])
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_reasoning_is_shown_where_its_provider_shows_it(provider: str, field: str, streams: bool) -> None:
    call = ModelCall("x", (), streams=streams, provider=provider)
    written = ChatWriter(reply(think("a", " clear sky"), say("Sun", "ny.")), call, None)

    bodies = [*written.events()] if streams else [written.whole()]
    said = [body["choices"][0]["delta" if streams else "message"] for body in bodies if isinstance(body, dict)]

    assert "".join(message.get(field) or "" for message in said if field) == ("a clear sky" if field else "")
    assert {key for message in said for key in message} & {"reasoning", "reasoning_content"} == ({field} if field else set())
    assert "".join(message.get("content") or "" for message in said) == "Sunny."


def test_recorded_reasoning_is_read_back_and_said_again() -> None:
    step = reply(think("a clear sky"), say("Sunny."))
    written = ChatWriter(step, ModelCall("x", (), provider="deepseek"), None)
    answer = HttpAnswer(200, {"content-type": "application/json"}, json.dumps(written.whole()).encode())

    assert ChatCompletions().read_answer(answer).step.parts == step.parts
