"""What a real integration sends is read into the words that the double of its dialect has for the same call."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel

from llmtest import Script, ScriptedChatModel, call, reply, respond, say, structured
from llmtest.scripts.requests import Request
from tests.support.dialect_cases import CASES, NAMES, TOOLS
from tests.support.wire_clients import chat_model

DIALECTS = list(CASES)
REASONING = {
    "openai": [],
    "openai-responses": [{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}],
    "anthropic": [{"type": "thinking", "thinking": "hm", "signature": "x"}],
}
CALLS = [
    {"name": "weather", "args": {"city": "Paris"}, "id": "call_1", "type": "tool_call"},
    {"name": "weather", "args": {"city": "Rome"}, "id": "call_2", "type": "tool_call"},
]


def history(dialect: str) -> list[Any]:
    return [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "The weather "}, {"type": "text", "text": "in Paris?"}]),
        AIMessage([*REASONING[dialect], {"type": "text", "text": "Let me look."}], tool_calls=CALLS),
        ToolMessage("sunny", tool_call_id="call_1"),
        ToolMessage([{"type": "text", "text": "no such city"}], tool_call_id="call_2", status="error"),
        HumanMessage("And now?"),
        AIMessage("Still sunny."),
        HumanMessage("Sure?"),
    ]


def asked(model: Any, script: list[Request], messages: list[Any]) -> Any:
    model.invoke(messages)
    (request,) = script
    said = [(m.role, m.text, [(c.name, c.args, c.id) for c in m.tool_calls], m.tool_call_id) for m in request.messages]
    return said, {name: schema.get("properties") for name, schema in request.tools.items()}, request.tool_results, request.text


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_history_is_read_as_the_double_reads_it(dialect: str) -> None:
    seen: tuple[list[Request], list[Request]] = ([], [])
    steps = [respond(lambda request, into=into: into.append(request) or "Yes.") for into in seen]  # type: ignore[func-returns-value]
    real, _ = chat_model(dialect, Script(steps[0]), NAMES[dialect])
    double = ScriptedChatModel(steps[1], dialect=dialect)

    over_the_wire = asked(real.bind_tools(TOOLS), seen[0], history(dialect))
    assert over_the_wire == asked(double.bind_tools(TOOLS), seen[1], history(dialect))
    assert len(over_the_wire[0]) == 8


def request_of(dialect: str, ask: Any, **fields: Any) -> Request:
    """What the script is asked when `ask` calls the real model."""
    seen: list[Request] = []
    answer = respond(lambda request: seen.append(request) or call("weather", city="Paris").unchecked())  # type: ignore[func-returns-value]
    ask(chat_model(dialect, Script(answer), NAMES[dialect], **fields)[0])
    (request,) = seen
    return request


@pytest.mark.parametrize(
    ("dialect", "choice", "expected"),
    [
        ("openai", "any", "required"),
        ("openai", "weather", {"type": "function", "function": {"name": "weather"}}),
        ("openai", "none", "none"),
        ("openai-responses", "any", "required"),
        ("openai-responses", "weather", {"type": "function", "name": "weather"}),
        ("openai-responses", "auto", "auto"),
        ("anthropic", "any", {"type": "any"}),
        ("anthropic", "weather", {"type": "tool", "name": "weather"}),
        ("anthropic", {"type": "none"}, {"type": "none"}),
    ],
)
def test_the_choice_of_tools_is_read(dialect: str, choice: Any, expected: Any) -> None:
    request = request_of(dialect, lambda model: model.bind_tools(TOOLS, tool_choice=choice).invoke("hi"))

    assert request.tool_choice == expected
    assert list(request.tools) == ["weather"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_script_against_the_choice_of_tools_is_a_violation(dialect: str, page: Any) -> None:
    real, _ = chat_model(dialect, Script(say("no").times(2)), NAMES[dialect])
    for choice in ("weather", "any"):
        with pytest.raises(Exception, match="the script calls no tool, but tool_choice="):
            real.bind_tools(TOOLS, tool_choice=choice).invoke("hi")
    assert [violation.code for violation in page.take()] == ["invalid tool call"] * 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_parallel_calls_that_are_not_bound_are_a_violation(dialect: str, page: Any) -> None:
    step = reply(call("weather", city="Paris"), call("weather", city="Rome"))
    real, _ = chat_model(dialect, Script(step), NAMES[dialect])

    with pytest.raises(Exception, match="the script makes 2 tool calls at once, but parallel_tool_calls=False is bound"):
        real.bind_tools(TOOLS, parallel_tool_calls=False).invoke("hi")
    assert [violation.code for violation in page.take()] == ["invalid tool call"]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_stop_sequences_are_read(dialect: str) -> None:
    request = request_of(dialect, lambda model: model.invoke("hi", stop=["END", "Bye"]))

    assert request.stop == ("END", "Bye")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_other_parameters_keep_the_names_of_the_api(dialect: str) -> None:
    limits: Any = {} if dialect == "anthropic" else {"max_tokens": 2048}
    request = request_of(dialect, lambda model: model.invoke("hi"), temperature=0.5, **limits)

    limit = {"openai": "max_completion_tokens", "openai-responses": "max_output_tokens", "anthropic": "max_tokens"}[dialect]
    assert (request.params["temperature"], request.params[limit]) == (0.5, 2048)


# -- structured output


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


SUNNY = Weather(city="Paris", degrees=21)
STRATEGIES = [
    (dialect, method)
    for dialect in DIALECTS
    for method in ("function_calling", "json_schema", "json_mode")
    if (dialect, method) != ("anthropic", "json_mode")
]


# The SDK's stream warns of the instance that it puts into a field of its own class: so it does before OpenAI's servers.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("way", ["invoke", "stream", "dict", "raw"])
@pytest.mark.parametrize(("dialect", "method"), STRATEGIES)
def test_structured_output_comes_by_each_strategy(dialect: str, method: str, way: str) -> None:
    real, transport = chat_model(dialect, Script(structured(SUNNY)), "gpt-5" if dialect != "anthropic" else "claude-opus-4-7")
    schema: Any = Weather.model_json_schema() if way == "dict" else Weather
    model = real.with_structured_output(schema, method=method, include_raw=way == "raw")

    if way == "stream":
        assert list(model.stream("JSON of the weather?"))[-1] == SUNNY
    else:
        found = model.invoke("JSON of the weather?")
        assert found == (SUNNY.model_dump() if way == "dict" else SUNNY) if way != "raw" else found["parsed"] == SUNNY
    assert len(transport.requests) == 1


@pytest.mark.parametrize(("dialect", "method"), STRATEGIES)
def test_the_bound_format_is_seen(dialect: str, method: str) -> None:
    seen: list[Request] = []
    step = respond(lambda request: seen.append(request) or structured(SUNNY))  # type: ignore[func-returns-value]
    real, _ = chat_model(dialect, Script(step), "gpt-5" if dialect != "anthropic" else "claude-opus-4-7")
    real.with_structured_output(Weather, method=method).invoke("JSON of the weather?")

    kind = {"function_calling": None, "json_schema": "json_schema", "json_mode": "json_object"}[method]
    assert (seen[0].params.get("response_format") or {}).get("type") == kind
    assert list(seen[0].tools) == (["Weather"] if kind is None else [])
