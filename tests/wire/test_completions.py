"""OpenAI's text completions: its SDK and LangChain's OpenAI read what is written, and what they send is read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import openai
import pytest
from langchain_openai import OpenAI
from openai.types import Completion

from llmtest import Script, call, fail, reply, say, think
from llmtest.errors import expect_violation
from llmtest.events.words import Message, Usage
from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import Reply, Text
from llmtest.wire.answering import read
from llmtest.wire.api import BadBody, ModelCall, ReadAnswer
from llmtest.wire.completions import Completions, CompletionWriter
from llmtest.wire.exchange import HttpRequest, json_answer
from tests.support.wire_clients import ScriptTransport, http_clients

SUNNY = ("It is ", "sunny.")
MODEL = "gpt-3.5-turbo-instruct"


def text_model(*steps: Any, **fields: Any) -> tuple[OpenAI, ScriptTransport]:
    transport = ScriptTransport(Script(*steps), Completions())
    return OpenAI(model=MODEL, max_retries=0, **http_clients(transport), **fields), transport


def test_the_integration_reads_a_whole_answer() -> None:
    model, transport = text_model(reply(think("hm"), say(*SUNNY), usage=(8, 5)))

    result = model.generate(["hi"], stop=["END"])

    assert [generation.text for generation in result.generations[0]] == ["It is sunny."]
    assert result.generations[0][0].generation_info == {"finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}
    assert result.llm_output is not None
    assert result.llm_output["token_usage"] == usage
    found = read(transport.requests[0], Completions())
    assert (found.model, found.messages, found.stop) == (MODEL, (Message("human", "hi"),), ("END",))
    assert found.params["max_tokens"] == 256


@pytest.mark.parametrize(
    ("step", "tokens", "finish"),
    [
        (say(*SUNNY), ["It is ", "sunny.", ""], "stop"),
        (reply(think("hm"), say(*SUNNY)), ["It is ", "sunny.", ""], "stop"),
        (say(*SUNNY, stop_reason="length"), ["It is ", "sunny.", ""], "length"),
        (say(*SUNNY).then_truncate(), ["It is ", "sunny."], None),
    ],
)
def test_the_integration_reads_a_stream(step: Any, tokens: list[str], finish: str | None) -> None:
    model, _ = text_model(step.times(2))

    async def ask() -> list[str]:
        return [token async for token in model.astream("hi")]

    assert [*model.stream("hi")] == tokens
    assert asyncio.run(ask()) == tokens
    streaming, _ = text_model(step, streaming=True)
    assert (streaming.generate(["hi"]).generations[0][0].generation_info or {}).get("finish_reason") == finish


def test_the_integration_reads_an_awaited_answer() -> None:
    model, _ = text_model(say(*SUNNY))

    assert asyncio.run(model.ainvoke("hi")) == "It is sunny."


def test_the_integration_needs_a_usage_in_a_whole_answer() -> None:
    model, _ = text_model(say(*SUNNY, usage=False))

    with pytest.raises(TypeError, match="'NoneType' object is not iterable"):  # its own error, with any server
        model.invoke("hi")


def test_the_usage_of_a_stream_comes_if_it_is_asked_for() -> None:
    transport = ScriptTransport(Script(say(*SUNNY, usage=(8, 5)).times(2)), Completions())
    client = openai.OpenAI(api_key="none", http_client=httpx2.Client(transport=transport))
    question: Any = {"model": MODEL, "prompt": "hi", "stream": True}

    without = [*client.completions.create(**question)]
    with_usage = [*client.completions.create(**question, stream_options={"include_usage": True})]

    assert [chunk.usage for chunk in without] == [None] * 3
    assert [chunk.usage and chunk.usage.total_tokens for chunk in with_usage] == [None] * 3 + [13]
    assert with_usage[-1].choices == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
def test_a_refusal_is_the_sdks_own_error(status: int, kind: Any) -> None:
    for ask in (lambda model: model.invoke("hi"), lambda model: [*model.stream("hi")]):
        with pytest.raises(kind):
            ask(text_model(fail(status))[0])


def test_a_failure_after_the_first_token_is_an_event() -> None:
    model, _ = text_model(say(*SUNNY).then_fail(500))

    with pytest.raises(openai.APIError, match="Internal Server Error"):
        [*model.stream("hi")]


def test_a_text_model_calls_no_tool() -> None:
    model, _ = text_model(call("weather").unchecked())

    with expect_violation("script error"), pytest.raises(openai.BadRequestError) as raised:
        model.invoke("hi")

    assert raised.value.body["message"] == (  # type: ignore[index,call-overload]
        "llmtest: the script calls the tool `weather`, but the program asks OpenAI's completions for a text\n"
        "  only chat models have tool calls"
    )


def test_a_request_has_one_prompt() -> None:
    assert _read({"prompt": "a"}).messages == _read({"prompt": ["a"]}).messages == (Message("human", "a"),)
    with pytest.raises(BadBody) as several:
        _read({"prompt": ["a", "b"]})
    with pytest.raises(BadBody) as ids:
        _read({"prompt": [1, 2]})

    assert str(several.value) == (
        "a step answers one prompt, but the request has 2\n  with LangChain's OpenAI: batch_size=1 makes a request of each"
    )
    assert str(ids.value) == "`prompt` is a text; got list [1, 2]"
    model, _ = text_model("one", "two", batch_size=1)
    assert model.batch(["a", "b"]) == ["one", "two"]


def _read(body: Any) -> ModelCall:
    return read(HttpRequest("POST", "https://api.openai.com/v1/completions", {}, json.dumps(body).encode()), Completions())


@pytest.mark.parametrize("step", [say(*SUNNY), say(*SUNNY, response_metadata={"id": "x"}), say("a").then_truncate()])
def test_a_body_has_the_fields_of_the_sdks_type_and_no_others(step: Any) -> None:
    asked = ModelCall(MODEL, (), params={"stream_options": {"include_usage": True}})
    pieces = CompletionWriter(step, asked, Usage(8, 5, 13)).events()

    bodies = [CompletionWriter(step, asked, Usage(8, 5, 13)).whole(), *(p for p in pieces if not isinstance(p, Gate))]

    for body in bodies:
        # OpenAI sends null as the finish reason before the end, which the SDK's type does not have.
        choices = [{**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in body["choices"]]
        body = {**body, "choices": choices}
        parsed = Completion.model_validate(body)
        assert (parsed.model_dump(exclude_unset=True), parsed.model_extra) == (body, {})


# -- answers that were recorded


def test_a_completion_of_the_documentation_is_read() -> None:
    choice = {"text": "\n\nThis is indeed a test", "index": 0, "logprobs": None, "finish_reason": "length"}
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    body = {"id": "cmpl-uqk", "object": "text_completion", "created": 1589478378, "model": MODEL, "choices": [choice]}

    assert Completions().read_answer(json_answer({**body, "usage": usage}), MODEL) == ReadAnswer(
        Reply((Text(("\n\nThis", " is", " indeed", " a", " test")),), Usage(5, 7, 12), "length")
    )


def test_a_chat_completion_is_no_text_completion() -> None:
    with pytest.raises(BadBody) as error:
        Completions().read_answer(json_answer({"choices": [{"message": {"content": "Hi"}}]}))

    assert str(error.value) == "`text` is a text; got nothing"
