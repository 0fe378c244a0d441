"""Ollama's API: its SDK, ChatOllama and OllamaLLM read what is written, and what they send is read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import ollama
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaLLM
from pydantic import BaseModel

from llmtest import Script, call, fail, hold, reply, say, structured, think
from llmtest.errors import expect_violation
from llmtest.events.words import FrozenDict, Message, ToolCall, Usage
from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import Call, Fail, Reply, Text, Thinking
from llmtest.wire.answering import read
from llmtest.wire.api import BadBody, ModelCall, ReadAnswer
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer
from llmtest.wire.ollama import Chat, ChatWriter, Generate, GenerateWriter
from tests.support.wire_clients import WAYS, HttpxTransport

SUNNY = ("It is ", "sunny.")
PARIS = call("weather", city="Paris").deltas('{"city": ', '"Paris"}')
ROME = call("weather", city="Rome")
THOUGHT = think("A clear ", "sky.")
BROKEN = call("weather", city="Paris").malformed('{"city": ', '"Par')


@tool
def weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


def chat(*steps: Any, **fields: Any) -> tuple[ChatOllama, HttpxTransport]:
    transport = HttpxTransport(Script(*steps), Chat())
    return ChatOllama(model="llama3", client_kwargs={"transport": transport}, **{"reasoning": True, **fields}), transport


def client(*steps: Any, api: Any = None) -> ollama.Client:
    return ollama.Client(transport=HttpxTransport(Script(*steps), api or Chat()))


def told(message: AIMessage) -> dict[str, Any]:
    metadata = message.response_metadata
    return {
        "content": message.content,
        "reasoning": message.additional_kwargs.get("reasoning_content"),
        "calls": [(call["name"], call["args"]) for call in message.tool_calls],
        "invalid": message.invalid_tool_calls,
        "usage": message.usage_metadata,
        "finish": metadata.get("done_reason"),
        "model": metadata.get("model_name"),
    }


def answer(content: str = "It is sunny.", calls: Any = (), finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 8, "output_tokens": 5, "total_tokens": 13}
    known = {"content": content, "calls": list(calls), "reasoning": None, "invalid": [], "usage": usage, "finish": finish}
    return {**known, "model": "llama3" if finish else None, **more}


TO_PARIS, TO_ROME = ("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": (say(*SUNNY, usage=(8, 5)), answer()),
    "length": (say(*SUNNY, stop_reason="length", usage=(8, 5)), answer(finish="length")),
    "refusal": (say("I can't ", "say.", refusal=True, usage=(8, 5)), answer("I can't say.")),
    "tool_call": (reply(PARIS, usage=(8, 5)), answer("", [TO_PARIS])),
    "parallel_calls": (reply(PARIS, ROME, usage=(8, 5)), answer("", [TO_PARIS, TO_ROME])),
    "text_and_call": (reply(say("Let me ", "look."), PARIS, usage=(8, 5)), answer("Let me look.", [TO_PARIS])),
    "reasoning": (reply(THOUGHT, say(*SUNNY), usage=(8, 5)), answer(reasoning="A clear sky.")),
    "reasoning_and_call": (reply(THOUGHT, PARIS, usage=(8, 5)), answer("", [TO_PARIS], reasoning="A clear sky.")),
    "no_usage": (say(*SUNNY, usage=False), answer(usage=None)),
    "cut": (say(*SUNNY).then_truncate(), answer(usage=None, finish=None)),
    "empty": (say(usage=(8, 0)), answer("", usage={"input_tokens": 8, "output_tokens": 0, "total_tokens": 8})),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_the_integration_reads_each_answer(case: str, way: str) -> None:
    step, expected = CASES[case]
    model, transport = chat(step)

    found = told(WAYS[way](model.bind_tools([weather])))

    assert found == expected
    assert json.loads(transport.requests[0].body)["stream"] is True  # ChatOllama streams, invoked too


def test_an_answer_that_does_not_stream_is_whole() -> None:
    model, _ = chat(reply(THOUGHT, say(*SUNNY), PARIS, usage=(8, 5)))

    found = told(model.bind_tools([weather]).invoke("hi", stream=False))

    assert found == answer(calls=[TO_PARIS], reasoning="A clear sky.")


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_cut_off_in_a_call_has_no_call(way: str) -> None:
    model, _ = chat(reply(say("Let me look."), BROKEN).then_truncate())

    assert told(WAYS[way](model.bind_tools([weather]))) == answer("Let me look.", usage=None, finish=None)


def test_each_token_is_a_line_of_its_own_and_a_call_is_one() -> None:
    model, _ = chat(reply(THOUGHT, say(*SUNNY), PARIS, usage=(8, 5)))

    chunks = [*model.bind_tools([weather]).stream("hi")]

    assert [chunk.content for chunk in chunks] == ["", "", "It is ", "sunny.", "", "", ""]
    thoughts = [chunk.additional_kwargs.get("reasoning_content") for chunk in chunks]
    assert thoughts == ["A clear ", "sky.", None, None, None, None, None]
    assert [[call["name"] for call in chunk.tool_calls] for chunk in chunks] == [[], [], [], [], ["weather"], [], []]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "text"),
    [(400, "Bad Request"), (404, "Not Found"), (429, "Too Many Requests"), (500, "Internal Server Error")],
)
def test_a_refusal_is_the_sdks_own_error(status: int, text: str, way: str) -> None:
    model, _ = chat(fail(status))

    with pytest.raises(ollama.ResponseError) as raised:
        WAYS[way](model)

    assert str(raised.value) == f"{text} (status code: {status})"


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_after_the_first_token_is_a_line_without_a_status(way: str) -> None:
    model, _ = chat(say(*SUNNY).then_fail(500))

    with pytest.raises(ollama.ResponseError) as raised:
        WAYS[way](model)

    assert str(raised.value) == "Internal Server Error (status code: -1)"


def test_a_broken_connection_is_the_http_librarys_error() -> None:
    with pytest.raises(httpx.ConnectError, match="gone"):
        chat(fail(ConnectionError("gone")))[0].invoke("hi")
    with pytest.raises(httpx.ReadError, match="gone"):
        chat(say(*SUNNY).then_fail(ConnectionError("gone")))[0].invoke("hi")
    with pytest.raises(ConnectionError, match="Failed to connect to Ollama"):
        client(fail(ConnectionError("gone"))).chat(model="llama3", messages=[], stream=False)


def test_broken_arguments_cannot_be_said() -> None:
    model, _ = chat(BROKEN)

    with expect_violation("script error"), pytest.raises(ollama.ResponseError) as raised:
        model.bind_tools([weather]).invoke("hi")

    assert str(raised.value) == (
        'llmtest: the script calls the tool `weather` with malformed arguments, \'{"city": "Par\'\n'
        "  Ollama's API sends arguments as an object; its server says such a call as text, or fails: say(...), fail(500)"
        " (status code: 400)"
    )


# -- the SDK


def test_the_sdk_reads_a_whole_answer_and_its_stream() -> None:
    step = reply(THOUGHT, say(*SUNNY), PARIS, usage=(8, 5))
    question: Any = {"model": "llama3", "messages": [{"role": "user", "content": "hi"}], "tools": [weather.func]}

    whole = client(step).chat(**question)
    lines = [*client(step).chat(**question, stream=True)]

    called = [ollama.Message.ToolCall(function=ollama.Message.ToolCall.Function(name="weather", arguments={"city": "Paris"}))]
    assert whole.message == ollama.Message(role="assistant", content="It is sunny.", thinking="A clear sky.", tool_calls=called)
    assert (whole.done, whole.done_reason, whole.prompt_eval_count, whole.eval_count) == (True, "stop", 8, 5)
    assert [line.message.thinking or line.message.content for line in lines] == ["A clear ", "sky.", *SUNNY, "", ""]
    assert [line.message.tool_calls for line in lines] == [None] * 4 + [called, None]
    assert [line.done for line in lines] == [False] * 5 + [True]


def test_the_sdk_reads_an_awaited_answer_and_its_stream() -> None:
    question: Any = {"model": "llama3", "messages": [{"role": "user", "content": "hi"}]}

    async def ask() -> tuple[Any, list[Any]]:
        awaited = ollama.AsyncClient(transport=HttpxTransport(Script(say(*SUNNY), say(*SUNNY)), Chat()))
        whole = await awaited.chat(**question)
        return whole.message.content, [line.message.content async for line in await awaited.chat(**question, stream=True)]

    assert asyncio.run(ask()) == ("It is sunny.", ["It is ", "sunny.", ""])


@pytest.mark.parametrize("case", CASES)
def test_a_body_has_the_fields_of_the_sdks_type_and_no_others(case: str) -> None:
    for kind, writer in ((ollama.ChatResponse, ChatWriter), (ollama.GenerateResponse, GenerateWriter)):
        if writer is GenerateWriter and CASES[case][0].calls:
            continue
        call = ModelCall("llama3", ())
        pieces = writer(CASES[case][0], call, Usage(8, 5, 13)).events()
        bodies = [writer(CASES[case][0], call, None).whole(), *(piece for piece in pieces if not isinstance(piece, Gate))]

        for body in bodies:
            assert kind.model_validate(body).model_dump(exclude_unset=True) == body


def test_a_gate_stands_before_and_after_a_whole_call() -> None:
    before, after = hold(), hold()

    pieces = [*ChatWriter(reply(say("a"), before, PARIS, after, say("b")), ModelCall("llama3", ()), None).events()]

    kinds = [piece if isinstance(piece, Gate) else [*piece["message"]][-1] for piece in pieces]
    assert kinds == ["content", before, "tool_calls", after, "content", "content"]


# -- requests


def test_the_prompt_is_read_as_the_program_wrote_it() -> None:
    model, transport = chat("ok", num_predict=7)
    calls = [{"name": "weather", "args": {"city": city}, "id": key} for city, key in (("Paris", "c1"), ("Rome", "c2"))]
    picture = {"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    history = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "look"}, picture]),
        AIMessage("Let me look.", tool_calls=calls, additional_kwargs={"reasoning_content": "hm"}),
        ToolMessage("sunny", tool_call_id="c1"),
        ToolMessage("grey", tool_call_id="c2"),
        HumanMessage("thanks"),
    ]

    model.bind_tools([weather]).invoke(history, stop=["END"])

    found = read(transport.requests[0], Chat())
    assert found.messages == (
        Message("system", "Be brief."),
        Message("human", [{"type": "text", "text": "\nlook"}, {"type": "image", "base64": "iVBORw0KGgo="}]),  # type: ignore[arg-type]
        Message(
            "ai",
            [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Let me look."}],  # type: ignore[arg-type]
            (ToolCall("weather", {"city": "Paris"}), ToolCall("weather", {"city": "Rome"})),  # type: ignore[arg-type]
        ),
        Message("tool", "sunny", name="weather"),  # by order: Ollama's client sends neither the name nor the id
        Message("tool", "grey", name="weather"),
        Message("human", "thanks"),
    )
    assert (found.model, found.streams, found.stop) == ("llama3", True, ("END",))
    assert found.params["options"] == {"num_predict": 7, "stop": ["END"]}
    assert found.params["think"] is True
    assert found.tools == {
        "weather": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
    }


def test_results_find_the_calls_that_they_answer() -> None:
    calls = [{"id": key, "function": {"name": name, "arguments": {}}} for key, name in (("1", "a"), ("2", "b"), ("3", "a"))]
    results = [{"tool_name": "b"}, {"tool_call_id": "3"}, {}, {}]
    messages = [{"role": "assistant", "tool_calls": calls}, *({"role": "tool", "content": "", **more} for more in results)]

    found = _read({"model": "llama3", "messages": messages}).messages

    assert [(m.name, m.tool_call_id) for m in found[1:]] == [("b", "2"), ("a", "3"), ("a", "1"), (None, None)]


def _read(body: Any) -> ModelCall:
    return read(HttpRequest("POST", "http://127.0.0.1:11434/api/chat", {}, json.dumps(body).encode()), Chat())


@pytest.mark.parametrize(("body", "streams"), [({}, True), ({"stream": None}, True), ({"stream": False}, False)])
def test_it_streams_unless_the_request_says_no(body: Any, streams: bool) -> None:
    assert _read({"model": "llama3", "messages": [], **body}).streams is streams


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("", None),
        (None, None),
        ("json", {"type": "json_object"}),
        ({"type": "object"}, {"type": "json_schema", "schema": {"type": "object"}}),
    ],
)
def test_the_format_is_read(wanted: Any, expected: Any) -> None:
    assert _read({"model": "llama3", "messages": [], "format": wanted}).params.get("response_format") == expected


class Person(BaseModel):
    name: str
    age: int | None = None


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
def test_a_structured_value_is_what_the_program_gets(method: Any, streams: bool) -> None:
    model, _ = chat(structured(Person(name="Ada", age=36)))
    bound = model.with_structured_output(Person, method=method)

    found = [*bound.stream("who?")][-1] if streams else bound.invoke("who?")

    assert found == Person(name="Ada", age=36)


def test_arguments_that_do_not_fit_are_a_violation() -> None:
    model, _ = chat(call("weather", city=5))

    with expect_violation("invalid tool call"), pytest.raises(ollama.ResponseError, match='city  5 is not of type "string"'):
        model.bind_tools([weather]).invoke("hi")


def test_text_with_a_bound_stop_sequence_is_a_violation() -> None:
    model, _ = chat("It is END sunny.")

    with expect_violation("stop sequence"), pytest.raises(ollama.ResponseError, match="bound stop sequence 'END'"):
        model.invoke("hi", stop=["END"])


# -- text


def text_model(*steps: Any, **fields: Any) -> tuple[OllamaLLM, HttpxTransport]:
    transport = HttpxTransport(Script(*steps), Generate())
    return OllamaLLM(model="llama3", client_kwargs={"transport": transport}, **fields), transport


def test_the_text_model_reads_an_answer_and_its_stream() -> None:
    model, transport = text_model(say(*SUNNY).times(4))

    async def ask() -> tuple[str, list[str]]:
        return await model.ainvoke("hi"), [token async for token in model.astream("hi")]

    assert (model.invoke("hi"), [*model.stream("hi")]) == ("It is sunny.", ["It is ", "sunny.", ""])
    assert asyncio.run(ask()) == ("It is sunny.", ["It is ", "sunny.", ""])
    assert read(transport.requests[0], Generate()).messages == (Message("human", "hi"),)


def test_the_text_model_reports_its_usage() -> None:
    model, _ = text_model(reply(THOUGHT, say(*SUNNY), usage=(8, 5)), reasoning=True)

    info = model.generate(["hi"]).generations[0][0].generation_info or {}

    kept = ("done_reason", "prompt_eval_count", "eval_count", "thinking")
    assert {key: info[key] for key in kept} == {
        "done_reason": "stop",
        "prompt_eval_count": 8,
        "eval_count": 5,
        "thinking": "A clear sky.",
    }


def test_the_sdk_generates_with_a_system_prompt_and_images() -> None:
    transport = HttpxTransport(Script(say(*SUNNY)), Generate())

    found = ollama.Client(transport=transport).generate(model="llama3", prompt="hi", system="Be brief.", images=["iVBORw0KGgo="])

    assert found.response == "It is sunny."
    picture = [{"type": "text", "text": "hi"}, {"type": "image", "base64": "iVBORw0KGgo="}]
    assert read(transport.requests[0], Generate()).messages == (Message("system", "Be brief."), Message("human", picture))  # type: ignore[arg-type]


def test_a_text_model_calls_no_tool() -> None:
    model, _ = text_model(PARIS.unchecked())

    with expect_violation("script error"), pytest.raises(ollama.ResponseError) as raised:
        model.invoke("hi")

    assert str(raised.value) == (
        "llmtest: the script calls the tool `weather`, but the program asks Ollama's /api/generate for a text\n"
        "  only /api/chat, as ChatOllama asks it, has tool calls (status code: 400)"
    )


# -- answers that were recorded


def lines(*told: dict[str, Any]) -> HttpAnswer:
    frame = {"model": "qwen3", "created_at": "2025-05-30T22:54:57.6Z"}
    return HttpAnswer(
        200, {"content-type": "application/x-ndjson"}, b"".join(json.dumps({**frame, **one}).encode() + b"\n" for one in told)
    )


def line(**said: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "", **said}, "done": False}


DONE = {**line(), "done": True, "done_reason": "stop", "total_duration": 5, "prompt_eval_count": 11, "eval_count": 7}
CALLED = {"id": "call_z131oebk", "function": {"index": 0, "name": "weather", "arguments": {"city": "Paris"}}}


def test_a_stream_with_thinking_and_a_call() -> None:
    answer = lines(line(thinking="Hm"), line(thinking="."), line(content="Let me look."), line(tool_calls=[CALLED]), DONE)

    assert Chat().read_answer(answer, "qwen3") == ReadAnswer(
        Reply(
            (Thinking(("Hm", ".")), Text(("Let me look.",)), Call("weather", FrozenDict(city="Paris"), "call_z131oebk")),
            Usage(11, 7, 18),
        )
    )


def test_a_stream_that_breaks_has_what_came() -> None:
    body = lines(line(content="Let "), line(content="me look.")).body

    assert Chat().read_answer(HttpAnswer(200, {}, body[:-20]), "qwen3").step == Reply((Text(("Let ",)),), truncated=True)


def test_an_error_within_a_stream_is_the_failure_of_the_answer() -> None:
    assert Chat().read_answer(lines(line(content="Let "), {"error": "out of memory"}), "qwen3").step == Reply(
        (Text(("Let ",)),), failure=Fail(500, message="out of memory")
    )


def test_a_whole_answer_with_a_reason_and_fields_that_a_step_cannot_say() -> None:
    body = {"model": "qwen3:8b", **DONE, "done_reason": "length", "logprobs": [{"token": "a"}]}
    body["message"] = {"role": "assistant", "content": "It", "images": ["aaaa"]}

    assert Chat().read_answer(json_answer(body), "qwen3") == ReadAnswer(
        Reply((Text(("It",)),), Usage(11, 7, 18), "length", FrozenDict(model_name="qwen3:8b")), ("images", "logprobs")
    )


def test_the_context_of_a_generated_text_is_named() -> None:
    body = {"model": "qwen3", "response": "It is.", "done": True, "done_reason": "stop", "context": [1, 2], "eval_count": 3}

    assert Generate().read_answer(json_answer(body), "qwen3") == ReadAnswer(
        Reply((Text(("It", " is", ".")),), Usage(0, 3, 3)), ("context",)
    )


@pytest.mark.parametrize(
    ("api", "body", "text"),
    [
        (Chat(), {"response": "It is."}, "`message` is a message; got nothing"),
        (Generate(), {"message": {}}, "`response` is a text; got nothing"),
        (Chat(), {"message": {"content": 5}}, "`content` is a text; got int 5"),
        (Chat(), {"message": {"tool_calls": [{}]}}, "`function` is an object with `name` and `arguments`; got nothing"),
    ],
)
def test_a_body_that_is_no_answer_is_told_with_words(api: Any, body: Any, text: str) -> None:
    with pytest.raises(BadBody) as error:
        api.read_answer(json_answer(body))

    assert str(error.value) == text
