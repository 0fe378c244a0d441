"""Gemini's API: Google's SDK and ChatGoogleGenerativeAI read what is written, and what they send is read."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx
import httpx2
import pytest
from google import genai
from google.genai import errors, types
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import (
    GoogleAPIError,
    GoogleAuthenticationError,
    GoogleInvalidRequestError,
    GoogleModelNotFoundError,
    GooglePermissionDeniedError,
    GoogleRateLimitError,
)
from pydantic import BaseModel

from llmtest import Script, call, fail, hold, reply, say, structured, think
from llmtest.errors import expect_violation
from llmtest.events.words import FrozenDict, Message, ToolCall, Usage
from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import Call, Fail, Reply, Text, Thinking
from llmtest.wire.answering import read
from llmtest.wire.api import BadBody, ModelCall, ReadAnswer
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer
from llmtest.wire.gemini import Gemini, GeminiWriter
from tests.support.wire_clients import WAYS, HttpxTransport, ScriptTransport

MODEL = "gemini-2.5-flash"
SUNNY = ("It is ", "sunny.")
PARIS = call("weather", city="Paris").deltas('{"city": ', '"Paris"}').with_id("call_1")
ROME = call("weather", city="Rome").with_id("call_2")
THOUGHT = think("A clear ", "sky.")
BROKEN = call("weather", city="Paris").malformed('{"city": ', '"Par').with_id("call_1")
DETAILS: Any = {
    "input_tokens": 8,
    "output_tokens": 5,
    "total_tokens": 13,
    "input_token_details": {"cache_read": 4},
    "output_token_details": {"reasoning": 3},
}


@tool
def weather(city: str) -> str:
    """The weather."""
    return f"sunny in {city}"


@tool
def clock() -> str:
    """The time."""
    return "noon"


def chat(*steps: Any, **fields: Any) -> tuple[ChatGoogleGenerativeAI, HttpxTransport]:
    transport = HttpxTransport(Script(*steps), Gemini())
    fields = {"model": MODEL, "api_key": "none", "max_retries": 1, "client_args": {"transport": transport}, **fields}
    return ChatGoogleGenerativeAI(**fields), transport


def sdk(*steps: Any) -> genai.Client:
    transport = HttpxTransport(Script(*steps), Gemini())
    clients = {"httpx_client": httpx.Client(transport=transport), "httpx_async_client": httpx.AsyncClient(transport=transport)}
    return genai.Client(api_key="none", http_options=types.HttpOptions(**clients))


def with_signatures(value: Any) -> Any:
    """The value with "signed" for each signature that the double made."""
    if isinstance(value, dict):
        return {key: with_signatures(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_signatures(item) for item in value]
    return "signed" if isinstance(value, str) and value.startswith(base64.b64encode(b"signature").decode()) else value


# -- answers


def told(message: AIMessage) -> dict[str, Any]:
    """What the answer says, without what is the same in every answer."""
    signatures = message.additional_kwargs.get("__gemini_function_call_thought_signatures__", {})
    return {
        "content": with_signatures(message.content),
        "calls": [(call["name"], call["args"], call["id"]) for call in message.tool_calls],
        "invalid": message.invalid_tool_calls,
        "usage": message.usage_metadata,
        "finish": message.response_metadata.get("finish_reason"),
        "model": message.response_metadata.get("model_name"),
        "signatures": with_signatures(signatures),
    }


def answer(content: Any = "It is sunny.", calls: Any = (), finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 8, "output_tokens": 5, "total_tokens": 13, "input_token_details": {"cache_read": 0}}
    known = {"content": content, "calls": list(calls), "invalid": [], "usage": usage, "finish": finish, "signatures": {}}
    return {**known, "model": MODEL if finish else None, **more}


TO_PARIS, TO_ROME = ("weather", {"city": "Paris"}, "call_1"), ("weather", {"city": "Rome"}, "call_2")
THINKS = {"type": "thinking", "thinking": "A clear sky."}
SIGNED = {"type": "text", "text": "It is sunny.", "extras": {"signature": "signed"}}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": (say(*SUNNY, usage=(8, 5)), answer()),
    "length": (say(*SUNNY, stop_reason="length", usage=(8, 5)), answer(finish="MAX_TOKENS")),
    "content_filter": (say(*SUNNY, stop_reason="content_filter", usage=(8, 5)), answer(finish="SAFETY")),
    "refusal": (say("I can't ", "say.", refusal=True, usage=(8, 5)), answer("I can't say.", finish="SAFETY")),
    "a reason of Google's own": (say(*SUNNY, stop_reason="RECITATION", usage=(8, 5)), answer(finish="RECITATION")),
    "tool_call": (reply(PARIS, usage=(8, 5)), answer("", [TO_PARIS])),
    "parallel_calls": (reply(PARIS, ROME, usage=(8, 5)), answer("", [TO_PARIS, TO_ROME])),
    "text_and_call": (reply(say("Let me ", "look."), PARIS, usage=(8, 5)), answer("Let me look.", [TO_PARIS])),
    "reasoning": (reply(THOUGHT, say(*SUNNY), usage=DETAILS), answer([THINKS, SIGNED], usage=DETAILS)),
    "reasoning_and_call": (
        reply(THOUGHT, PARIS, usage=DETAILS),
        answer([THINKS], [TO_PARIS], usage=DETAILS, signatures={"call_1": "signed"}),
    ),
    "malformed": (reply(BROKEN, usage=(8, 5)), answer("", finish="MALFORMED_FUNCTION_CALL")),
    "no_usage": (say(*SUNNY, usage=False), answer(usage=None)),
    "cut": (say(*SUNNY).then_truncate(), answer(usage=None, finish=None)),
    "cut_in_call": (BROKEN.then_truncate(), answer("", usage=None, finish=None)),
    "empty": (say(usage=(8, 0)), answer("", usage=answer()["usage"] | {"output_tokens": 0, "total_tokens": 8})),
}
IN_PIECES = {
    "reasoning": [
        {**THINKS, "index": 0},
        "It is sunny.",
        {"type": "text", "text": "", "extras": {"signature": "signed"}, "index": 1},
    ],
    "reasoning_and_call": [{**THINKS, "index": 0}],
}
"""The content of streams that ChatGoogleGenerativeAI joins to something else than the whole answer."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_the_integration_reads_each_answer(case: str, way: str) -> None:
    step, expected = CASES[case]
    model, _ = chat(step)

    if case == "cut_in_call" and way in ("stream", "astream"):
        with pytest.raises(ValueError, match="No generation chunks were returned"):
            WAYS[way](model.bind_tools([weather]))
        return
    found = told(WAYS[way](model.bind_tools([weather])))

    if case in IN_PIECES and way in ("stream", "astream"):
        expected = {**expected, "content": IN_PIECES[case]}
    assert found == expected


def test_gemini_3_gets_its_text_as_blocks() -> None:
    model, _ = chat(say(*SUNNY), model="gemini-3-pro-preview")

    assert model.invoke("hi").content == [{"type": "text", "text": "It is sunny."}]


def test_each_token_is_an_event_of_its_own_and_a_call_is_one() -> None:
    model, _ = chat(reply(THOUGHT, say(*SUNNY), PARIS, ROME, usage=(8, 5)))

    chunks = [*model.bind_tools([weather]).stream("hi")]

    assert [with_signatures(chunk.content) for chunk in chunks] == [
        [{"type": "thinking", "thinking": "A clear ", "index": 0}],
        [{"type": "thinking", "thinking": "sky.", "index": 0}],
        "It is ",
        "sunny.",
        "",
        "",
        "",
        "",
    ]
    assert [chunk.tool_calls[0]["args"] for chunk in chunks if chunk.tool_calls] == [{"city": "Paris"}, {"city": "Rome"}]


ERRORS = {
    400: (GoogleInvalidRequestError, "INVALID_ARGUMENT"),
    401: (GoogleAuthenticationError, "UNAUTHENTICATED"),
    403: (GooglePermissionDeniedError, "PERMISSION_DENIED"),
    404: (GoogleModelNotFoundError, "NOT_FOUND"),
    429: (GoogleRateLimitError, "RESOURCE_EXHAUSTED"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", ERRORS)
def test_a_refusal_is_the_integrations_own_error(status: int, way: str) -> None:
    kind, word = ERRORS[status]
    model, _ = chat(fail(status))

    with pytest.raises(kind) as raised:
        WAYS[way](model)

    phrase = httpx.codes.get_reason_phrase(status)
    body = {"error": {"code": status, "message": phrase, "status": word}}
    assert str(raised.value) == f"Error calling model '{MODEL}' ({word}): {status} {word}. {body}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("status", "word"), [(500, "INTERNAL"), (503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED")])
def test_an_error_of_the_server_is_the_integrations_own(status: int, word: str, way: str) -> None:
    model, _ = chat(fail(status))

    with pytest.raises(GoogleAPIError) as raised:
        WAYS[way](model)

    assert (raised.value.code, raised.value.status) == (status, word)


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_after_the_first_token_is_an_event(way: str) -> None:
    model, _ = chat(say(*SUNNY).then_fail(500))

    with pytest.raises(GoogleAPIError) as raised:
        WAYS[way](model)

    assert (raised.value.code, raised.value.status, raised.value.message) == (500, "INTERNAL", "Internal Server Error")


def test_the_tokens_before_a_failure_arrive() -> None:
    model, _ = chat(say(*SUNNY).then_fail(ConnectionError("gone")))
    tokens = []

    with pytest.raises(httpx.ReadError, match="gone"):
        tokens.extend(chunk.content for chunk in model.stream("hi"))

    with pytest.raises(httpx.ConnectError, match="gone"):
        chat(fail(ConnectionError("gone")))[0].invoke("hi")


# -- the SDK


def test_the_sdk_reads_a_whole_answer_and_its_stream() -> None:
    step = reply(THOUGHT, say(*SUNNY), PARIS, usage=DETAILS)

    whole = sdk(step).models.generate_content(model=MODEL, contents="hi", config=_TOOLS)
    events = [*sdk(step).models.generate_content_stream(model=MODEL, contents="hi", config=_TOOLS)]

    assert whole.candidates is not None
    assert whole.candidates[0].content is not None
    assert [_part(part) for part in whole.candidates[0].content.parts or ()] == [
        ("A clear sky.", True, None),
        ("It is sunny.", None, None),
        (None, None, {"city": "Paris"}),
    ]
    assert whole.usage_metadata == types.GenerateContentResponseUsageMetadata(
        prompt_token_count=8,
        candidates_token_count=2,
        thoughts_token_count=3,
        cached_content_token_count=4,
        total_token_count=13,
    )
    parts = [_part(part) for event in events for part in event.candidates[0].content.parts]  # type: ignore[index,union-attr]
    assert parts == [
        ("A clear ", True, None),
        ("sky.", True, None),
        ("It is ", None, None),
        ("sunny.", None, None),
        (None, None, {"city": "Paris"}),
        ("", None, None),
    ]
    assert [event.usage_metadata for event in events] == [None] * 5 + [whole.usage_metadata]
    assert {event.model_version for event in events} == {MODEL}
    assert len({event.response_id for event in events}) == 1
    assert [event.candidates[0].finish_reason for event in events] == [None] * 5 + [types.FinishReason.STOP]  # type: ignore[index]


_TOOLS = types.GenerateContentConfig(
    tools=[
        types.Tool(
            function_declarations=[
                types.FunctionDeclaration(
                    name="weather", parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}}
                )
            ]
        )
    ]
)


def _part(part: types.Part) -> Any:
    return part.text, part.thought, part.function_call and part.function_call.args


def test_the_sdk_reads_an_awaited_answer_and_its_stream() -> None:
    async def ask() -> tuple[Any, list[Any]]:
        whole = await sdk(say(*SUNNY)).aio.models.generate_content(model=MODEL, contents="hi")
        stream = await sdk(say(*SUNNY)).aio.models.generate_content_stream(model=MODEL, contents="hi")
        return whole.text, [event.text async for event in stream]

    assert asyncio.run(ask()) == ("It is sunny.", ["It is ", "sunny.", ""])


def test_the_sdk_raises_its_own_errors() -> None:
    with pytest.raises(errors.ClientError, match="429 RESOURCE_EXHAUSTED"):
        sdk(fail(429)).models.generate_content(model=MODEL, contents="hi")
    with pytest.raises(errors.ServerError, match="500 INTERNAL"):
        [*sdk(say("a").then_fail(500)).models.generate_content_stream(model=MODEL, contents="hi")]


@pytest.mark.parametrize("case", CASES)
def test_a_body_has_the_fields_of_the_sdks_type_and_no_others(case: str) -> None:
    written = writer(CASES[case][0])

    bodies = [writer(CASES[case][0]).whole(), *(piece for piece in written.events() if not isinstance(piece, Gate))]

    for body in bodies:
        types.GenerateContentResponse.model_validate(body)  # it forbids other fields


def writer(step: Any, **params: Any) -> GeminiWriter:
    return GeminiWriter(step, ModelCall(MODEL, (), params=params), Usage(8, 5, 13))


def test_the_answer_has_what_the_script_adds() -> None:
    rated = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}]
    more = {"model_name": "gemini-2.5-flash-002", "response_id": "r1", "safety_ratings": rated, "unknown": 1}

    body = writer(say("a", response_metadata=more)).whole()

    assert body == {
        "candidates": [
            {
                "content": {"parts": [{"text": "a"}], "role": "model"},
                "finishReason": "STOP",
                "safetyRatings": rated,
                "index": 0,
            }
        ],
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 5, "totalTokenCount": 13},
        "modelVersion": "gemini-2.5-flash-002",
        "responseId": "r1",
    }


def test_a_call_with_broken_arguments_is_told_as_gemini_tells_it() -> None:
    body = writer(BROKEN).whole()

    assert body["candidates"] == [
        {
            "content": {"parts": [], "role": "model"},
            "finishReason": "MALFORMED_FUNCTION_CALL",
            "finishMessage": 'Malformed function call: weather({"city": "Par)',
            "index": 0,
        }
    ]


def test_a_stream_without_sse_is_one_json_array() -> None:
    body = json.dumps({"contents": [{"parts": [{"text": "hi"}]}]}).encode()
    url = f"https://generativelanguage.googleapis.com/v1beta/models/{MODEL}:streamGenerateContent"
    transport = ScriptTransport(Script(say(*SUNNY), say(*SUNNY).then_truncate()), Gemini())
    http = httpx2.Client(transport=transport)

    whole = http.post(url, content=body)
    cut = http.post(url, content=body)

    texts = [event["candidates"][0]["content"]["parts"][0]["text"] for event in whole.json()]
    assert (whole.headers["content-type"], texts) == ("application/json", ["It is ", "sunny.", ""])
    with pytest.raises(ValueError, match="Expecting"):
        cut.json()


def test_a_gate_stands_before_and_after_a_whole_call() -> None:
    before, after = hold(), hold()

    pieces = [*writer(reply(say("a"), before, PARIS, after, say("b"))).events()]

    kinds = [p if isinstance(p, Gate) else next(iter(p["candidates"][0]["content"]["parts"][0])) for p in pieces]
    assert kinds == ["text", before, "functionCall", after, "text", "text"]


# -- requests


HISTORY = [
    SystemMessage("Be brief."),
    HumanMessage([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="}]),
    AIMessage(
        "Let me look.",
        tool_calls=[
            {"name": "weather", "args": {"city": "Paris"}, "id": "c1"},
            {"name": "weather", "args": {"city": "Rome"}, "id": "c2"},
        ],
    ),
    ToolMessage("sunny", tool_call_id="c1"),
    ToolMessage('{"sky": "grey"}', tool_call_id="c2"),
    HumanMessage("thanks"),
]


def test_the_prompt_is_read_as_the_program_wrote_it() -> None:
    model, transport = chat("ok")

    model.bind_tools([weather]).invoke(HISTORY, stop=["END"])

    found = read(transport.requests[0], Gemini())
    assert found.model == MODEL
    assert found.stop == ("END",)
    image = {"type": "inlineData", "inlineData": {"data": "iVBORw0KGgo=", "mime_type": "image/png"}}
    assert found.messages == (
        Message("system", "Be brief."),
        Message("human", [{"type": "text", "text": "look"}, image]),  # type: ignore[arg-type]
        Message("ai", "Let me look.", (ToolCall("weather", {"city": "Paris"}), ToolCall("weather", {"city": "Rome"}))),  # type: ignore[arg-type]
        Message("tool", "sunny", name="weather"),
        Message("tool", '{"sky": "grey"}', name="weather"),
        Message("human", "thanks"),
    )
    assert found.params["generationConfig"]["temperature"] == 0.7
    assert found.tools == {
        "weather": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }


def test_results_find_the_calls_that_they_answer() -> None:
    def called(name: str, key: str) -> Any:
        return {"functionCall": {"name": name, "args": {}, "id": key}}

    def result(name: str, value: Any, **more: Any) -> Any:
        return {"function_response": {"name": name, "response": {"result": value}, **more}}

    contents = [
        {"role": "model", "parts": [called("a", "1"), called("b", "2"), called("a", "3")]},
        {"role": "function", "parts": [result("a", 5), result("b", "x", id="2"), result("a", [1])]},
    ]

    messages = _read({"contents": contents}).messages

    assert [(m.name, m.tool_call_id, m.content) for m in messages[1:]] == [("a", "1", "5"), ("b", "2", "x"), ("a", "3", "[1]")]


def _read(body: Any, path: str = f"/v1beta/models/{MODEL}:generateContent") -> ModelCall:
    return read(HttpRequest("POST", f"https://x.googleapis.com{path}", {}, json.dumps(body).encode()), Gemini())


@pytest.mark.parametrize(
    ("path", "model", "streams"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        ("/v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse", "gemini-2.5-pro", True),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro", True),
        ("/v1beta1/publishers/google/models/gemini%2D2.5-pro:generateContent", "gemini-2.5-pro", False),
    ],
)
def test_the_path_says_the_model_and_whether_it_streams(path: str, model: str, streams: bool) -> None:
    call = _read({"contents": []}, path)

    assert (call.model, call.streams) == (model, streams)


ALLOWED = {"type": "allowed_tools", "mode": "required", "tools": [{"name": "a"}, {"name": "b"}]}


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({}, None),
        ({"mode": "AUTO"}, "auto"),
        ({"mode": "NONE"}, "none"),
        ({"mode": "VALIDATED"}, "auto"),
        ({"mode": "ANY"}, "any"),
        ({"mode": "ANY", "allowedFunctionNames": ["a", "b", "c"]}, "any"),
        ({"mode": "ANY", "allowed_function_names": ["b"]}, {"type": "tool", "name": "b"}),
        ({"mode": "ANY", "allowedFunctionNames": ["a", "b"]}, ALLOWED),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["a", "b"]}, {**ALLOWED, "mode": "auto"}),
    ],
)
def test_the_choice_of_tools_is_read(config: Any, choice: Any) -> None:
    tools = [{"functionDeclarations": [{"name": name} for name in "abc"]}]

    body = {"contents": [], "tools": tools, "toolConfig": {"functionCallingConfig": config}}

    assert _read(body).tool_choice == choice


def test_googles_schema_becomes_json_schema() -> None:
    sub = {"type": "OBJECT", "properties": {"type": {"type": "STRING", "nullable": True}}, "property_ordering": ["type"]}
    arguments = {
        "type": "OBJECT",
        "properties": {
            "n": {"any_of": [{"type": "INTEGER"}, {"ref": "#/$defs/s"}]},
            "l": {"type": "ARRAY", "items": sub, "minItems": "1"},
        },
        "defs": {"s": {"type": "TYPE_UNSPECIFIED", "enum": ["x"]}},
    }
    tools = [{"function_declarations": [{"name": "a", "parameters": arguments}, {"name": "b"}]}, {"googleSearch": {}}]

    found = _read({"contents": [], "tools": tools}).tools

    nullable = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert found == {
        "a": {
            "type": "object",
            "properties": {
                "n": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/s"}]},
                "l": {"type": "array", "items": {"type": "object", "properties": {"type": nullable}}, "minItems": 1},
            },
            "$defs": {"s": {"enum": ["x"]}},
        },
        "b": {"type": "object", "properties": {}},
        "googleSearch": {"additionalProperties": True},
    }


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


@pytest.mark.parametrize(
    ("choice", "step", "problem"),
    [
        ("any", say("no"), "the script calls no tool, but tool_choice='any' is bound"),
        ("clock", PARIS, "the script calls the tool `weather`, but tool_choice='clock' is bound"),
        ("none", PARIS, "the script calls the tool `weather`, but tool_choice='none' is bound"),
        (["clock", "later"], PARIS, "the script calls the tool `weather`, but tool_choice allows only `clock`, `later`"),
        (["clock", "later"], say("no"), "the script calls no tool, but tool_choice requires one of `clock`, `later`"),
    ],
)
def test_a_script_against_the_choice_of_tools_is_a_violation(choice: Any, step: Any, problem: str) -> None:
    later = {"name": "later", "description": "later", "parameters": {"type": "object", "properties": {}}}
    model, _ = chat(step)

    with expect_violation("invalid tool call"), pytest.raises(GoogleInvalidRequestError) as raised:
        model.bind_tools([weather, clock, later], tool_choice=choice).invoke("hi")

    cause: Any = raised.value.__cause__
    assert cause.message.splitlines()[0] == f"llmtest: {problem}"


def test_arguments_that_do_not_fit_googles_schema_are_a_violation() -> None:
    model, _ = chat(call("weather", city=5))

    with expect_violation("invalid tool call"), pytest.raises(GoogleInvalidRequestError, match='city  5 is not of type "string"'):
        model.bind_tools([weather]).invoke("hi")


def test_an_agent_answers_with_the_results_of_its_tools() -> None:
    model, transport = chat(reply(think("hm"), call("weather", city="Paris")), say("Sunny."))

    result = create_agent(model, [weather]).invoke({"messages": [("user", "weather?")]})

    assert result["messages"][-1].content == "Sunny."
    second = json.loads(transport.requests[1].body)["contents"]
    assert with_signatures(second[1]["parts"][-1]["thoughtSignature"]) == "signed"
    assert second[2]["parts"] == [{"functionResponse": {"name": "weather", "response": {"output": "sunny in Paris"}}}]


# -- answers that were recorded


def content(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **({"finishReason": finish} if finish else {})}
    return {"candidates": [candidate], "modelVersion": MODEL, "responseId": "x", **more}


def events(*bodies: dict[str, Any]) -> HttpAnswer:
    return HttpAnswer(
        200, {"content-type": "text/event-stream"}, b"".join(f"data: {json.dumps(b)}\r\n\r\n".encode() for b in bodies)
    )


USAGE = {
    "promptTokenCount": 8,
    "candidatesTokenCount": 20,
    "totalTokenCount": 78,
    "thoughtsTokenCount": 50,
    "cachedContentTokenCount": 4,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
}
COUNTED = Usage(8, 70, 78, FrozenDict(cache_read=4), FrozenDict(reasoning=50))
SIGNED_CALL = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}, "thoughtSignature": "CtQEAVSoXO4"}


def test_a_stream_with_thoughts_and_a_signed_call() -> None:
    answer = events(
        content({"text": "**Weather**\n", "thought": True}, finish=None, usageMetadata={**USAGE, "candidatesTokenCount": 0}),
        content({"text": "Let me ", "thought": False}, finish=None),
        content({"text": "look."}, finish=None),
        content(SIGNED_CALL, finish=None),
        content({"text": ""}, usageMetadata=USAGE),
    )

    assert Gemini().read_answer(answer, MODEL) == ReadAnswer(
        Reply(
            (Thinking(("**Weather**\n",)), Text(("Let me ", "look.")), Call("weather", FrozenDict(city="Paris"))),
            COUNTED,
        )
    )


def test_the_array_of_a_stream_may_break_within() -> None:
    bodies = [content({"text": "Let me "}, finish=None), content({"text": "look."}, usageMetadata=USAGE)]
    body = json.dumps(bodies, indent=2).encode()
    cut = body.index(b"look.") + 2

    steps = [
        Gemini().read_answer(HttpAnswer(200, {"content-type": "application/json"}, some), MODEL).step
        for some in (body, body[:cut])
    ]
    assert steps == [Reply((Text(("Let me ", "look.")),), COUNTED), Reply((Text(("Let me ",)),), truncated=True)]


def test_a_signature_without_reasoning_is_named() -> None:
    assert Gemini().read_answer(json_answer(content(SIGNED_CALL)), MODEL) == ReadAnswer(
        Reply((Call("weather", FrozenDict(city="Paris")),), False), ("signatures of reasoning that is not in the answer",)
    )


def test_what_the_candidate_says_beside_its_parts_is_kept() -> None:
    ratings = [{"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "NEGLIGIBLE"}]
    body = content({"text": "Hi"}, usageMetadata=USAGE)
    body["candidates"][0] |= {"safetyRatings": ratings, "avgLogprobs": -0.1, "groundingMetadata": {}, "tokenCount": 3}

    assert Gemini().read_answer(json_answer(body), "gemini") == ReadAnswer(
        Reply(
            (Text(("Hi",)),),
            COUNTED,
            response_metadata=FrozenDict(model_name=MODEL, safety_ratings=ratings, avg_logprobs=-0.1),
        ),
        ("tokenCount",),
    )


@pytest.mark.parametrize(("word", "kept"), [("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("RECITATION", "RECITATION")])
def test_why_an_answer_ends_is_its_stop_reason(word: str, kept: str) -> None:
    step = Gemini().read_answer(json_answer(content({"text": "Hi"}, finish=word)), MODEL).step

    assert step == Reply((Text(("Hi",)),), False, kept)


def test_a_prompt_that_is_blocked_has_no_candidate() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8}}

    assert Gemini().read_answer(json_answer(body), MODEL) == ReadAnswer(
        Reply((Text(()),), Usage(8, 0, 8), "content_filter"), ("that the prompt was blocked: SAFETY",)
    )


def test_parts_and_candidates_that_a_step_cannot_say_are_named() -> None:
    body = content({"inlineData": {"mimeType": "image/png", "data": "aaaa"}}, {"executableCode": {"code": "1"}}, {"text": "Hi"})
    body["candidates"] += [{**body["candidates"][0], "index": 1}]

    assert Gemini().read_answer(json_answer(body), MODEL) == ReadAnswer(
        Reply((Text(("Hi",)),), False), ("a part of the type inlineData", "a part of the type executableCode", "1 of 2 choices")
    )


def test_an_error_within_a_stream_is_the_failure_of_the_answer() -> None:
    answer = events(
        content({"text": "Hi"}, finish=None), {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    )

    assert Gemini().read_answer(answer, MODEL).step == Reply((Text(("Hi",)),), failure=Fail(503, message="Overloaded."))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"id": "x"}, "`candidates` is a list of candidates; got nothing"),
        ({"candidates": [{"content": []}]}, "`content` is an object; got list []"),
        (
            {"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]},
            "`name` is the name of the called tool; got NoneType None",
        ),
        ({"candidates": [], "usageMetadata": {"totalTokenCount": "8"}}, "`totalTokenCount` is a number of tokens; got str '8'"),
    ],
)
def test_a_body_that_is_no_answer_is_told_with_words(body: Any, text: str) -> None:
    with pytest.raises(BadBody) as error:
        Gemini().read_answer(json_answer(body))

    assert str(error.value) == text
