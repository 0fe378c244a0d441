"""What is exported, held against what the GenAI conventions have published.

Messages, definitions of tools and documents: schemas of JSON that are made of the classes of `opentelemetry-util-genai`, the
official package, as the repository of the conventions makes its own of the same classes. Attributes: a table of their types and
of who must have them, read from `model/gen-ai/registry.yaml` and `spans.yaml` of
https://github.com/open-telemetry/semantic-conventions-genai (0.1) and of the general conventions (1.41).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from opentelemetry.util.genai import types
from pydantic import TypeAdapter

from llmtest import Recording, ScriptedChatModel, ScriptedLLM, ScriptedRetriever, call, fail, record, reply, say
from llmtest.otel import Options, Span, evaluated, spans_of
from llmtest.otel.conventions import VERSIONS
from tests.order.test_canonical_order import SCENARIOS, Cast
from tests.support.schedules import run

JSON = object()
"""The type `any` of the conventions: in a span a text of JSON, or a plain text."""
TYPES: dict[str, Any] = {
    "error.type": str,
    "gen_ai.agent.name": str,
    "gen_ai.conversation.id": str,
    "gen_ai.data_source.id": str,
    "gen_ai.input.messages": JSON,
    "gen_ai.operation.name": str,
    "gen_ai.output.messages": JSON,
    "gen_ai.provider.name": str,
    "gen_ai.request.choice.count": int,
    "gen_ai.request.frequency_penalty": float,
    "gen_ai.request.max_tokens": int,
    "gen_ai.request.model": str,
    "gen_ai.request.presence_penalty": float,
    "gen_ai.request.seed": int,
    "gen_ai.request.stop_sequences": [str],
    "gen_ai.request.stream": bool,
    "gen_ai.request.temperature": float,
    "gen_ai.request.top_k": {"0.1": int, "1.41": float},
    "gen_ai.request.top_p": float,
    "gen_ai.response.finish_reasons": [str],
    "gen_ai.response.id": str,
    "gen_ai.response.model": str,
    "gen_ai.response.time_to_first_chunk": float,
    "gen_ai.retrieval.documents": JSON,
    "gen_ai.retrieval.query.text": str,
    "gen_ai.tool.call.arguments": JSON,
    "gen_ai.tool.call.id": str,
    "gen_ai.tool.call.result": JSON,
    "gen_ai.tool.definitions": JSON,
    "gen_ai.tool.description": str,
    "gen_ai.tool.name": str,
    "gen_ai.tool.type": str,
    "gen_ai.usage.cache_creation.input_tokens": int,
    "gen_ai.usage.cache_read.input_tokens": int,
    "gen_ai.usage.cache_write.input_tokens": int,
    "gen_ai.usage.input_tokens": int,
    "gen_ai.usage.output_tokens": int,
    "gen_ai.usage.reasoning.output_tokens": int,
    "gen_ai.workflow.name": str,
}
CONTENT = {
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.retrieval.documents",
    "gen_ai.retrieval.query.text",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.tool.definitions",
}
"""The attributes whose level is `opt_in`."""
MODEL = ("client", "gen_ai.request.model", {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"})
SPANS: dict[str, tuple[str, str, set[str]]] = {
    "chat": MODEL,
    "text_completion": MODEL,
    "execute_tool": ("internal", "gen_ai.tool.name", {"gen_ai.operation.name", "gen_ai.tool.name"}),
    "retrieval": ("client", "gen_ai.data_source.id", {"gen_ai.operation.name", "gen_ai.data_source.id"}),
    "invoke_agent": ("internal", "gen_ai.agent.name", {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.agent.name"}),
    "invoke_workflow": ("internal", "", {"gen_ai.operation.name"}),
}
"""By operation: the kind of its spans, the attribute that their names end with, and the attributes that they must have."""
PARTS = {cls.__dataclass_fields__["type"].default: cls for cls in get_args(types.MessagePart) if cls is not types.GenericPart}


def schema_of(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


SCHEMAS = {
    "gen_ai.input.messages": schema_of(list[types.InputMessage]),
    "gen_ai.output.messages": schema_of(list[types.OutputMessage]),
    "gen_ai.tool.definitions": schema_of(list[types.ToolDefinition]),
    "gen_ai.retrieval.documents": schema_of(list[types.RetrievalDocument]),
}


def problems_of(span: Span, version: str, content: str) -> Iterator[str]:
    """Yield what a span has otherwise than the conventions."""
    told = {key: value for key, value in span.attributes.items() if not key.startswith("llmtest.")}
    for key, value in told.items():
        if key not in TYPES:
            yield f"{span.name}: no attribute {key}"
        elif not fits(value, TYPES[key][version] if isinstance(TYPES[key], dict) else TYPES[key]):
            yield f"{span.name}: {key} is {value!r}"
        if key in CONTENT and content == "none":
            yield f"{span.name}: {key} was not asked for"
    for key in sorted(SCHEMAS.keys() & told):
        yield from schema_problems(key, json.loads(told[key]), version)
    operation = told.get("gen_ai.operation.name")
    if operation is None:
        return
    kind, named, needed = SPANS[operation]
    named = VERSIONS[version].workflow_name if operation == "invoke_workflow" else named
    if span.kind != kind or span.name != f"{operation} {told.get(named)}":
        yield f"{span.name}: {span.kind} of {operation}"
    yield from (f"{span.name}: it has no {key}" for key in sorted({*needed, named} - told.keys()))
    if (span.status == "error") != ("error.type" in told):
        yield f"{span.name}: {span.status}, {told.get('error.type')}"


def fits(value: object, kind: Any) -> bool:
    if isinstance(kind, list):
        return isinstance(value, list) and all(type(item) is kind[0] for item in value)
    return isinstance(value, str) if kind is JSON else type(value) is kind


def schema_problems(key: str, value: Any, version: str) -> Iterator[str]:
    yield from (f"{key}: {error.message}" for error in jsonschema.Draft202012Validator(SCHEMAS[key]).iter_errors(value))
    for message in value if key.endswith("messages") else ():
        if key == "gen_ai.output.messages" and version == "1.41" and not isinstance(message.get("finish_reason"), str):
            yield f"{key}: a message has no finish reason"
        if not message.keys() <= {"role", "parts", "name", "finish_reason"}:
            yield f"{key}: a message has {sorted(message)}"
        for part in message["parts"]:  # the schema takes any object with a type for a part of a type that is not known
            known = PARTS.get(part["type"])
            if known is not None:
                yield from (
                    f"{part}: {error.message}" for error in jsonschema.Draft202012Validator(schema_of(known)).iter_errors(part)
                )


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    if city == "Atlantis":
        raise ValueError("there is no such city")
    return f"18C in {city}"


def workflow() -> None:
    from langchain.agents import create_agent

    steps = [reply("Let me look. ", call("weather", city="Paris")), reply(call("weather", city="Atlantis"))]
    model = ScriptedChatModel(*steps)
    agent = create_agent(model, [weather], name="forecaster", system_prompt="Be kind.")
    graph = StateGraph(dict)
    graph.add_node("ask", lambda state: agent.invoke({"messages": [("user", "How warm?")]}))
    graph.add_edge(START, "ask")
    with pytest.raises(ValueError, match="no such city"):
        graph.compile(name="trip").invoke({"x": 1}, {"configurable": {"thread_id": "t-1"}})


def others() -> None:
    ScriptedLLM("Hello").invoke("hi")
    ScriptedRetriever([Document("a page", id="d1", metadata={"score": 0.5}), Document("another")]).invoke("pages")
    model = ScriptedChatModel(say("Hello ", "there"), fail(RuntimeError("down")))
    parameters = {"temperature": 1, "top_k": 4, "top_p": 0.5, "max_tokens": 9, "seed": 7, "stop": ["x"], "frequency_penalty": 1}
    list(model.bind(**parameters).stream([("system", "Be kind."), ("user", [{"type": "text", "text": "hi"}, {"type": "x"}])]))
    with pytest.raises(RuntimeError):
        RunnableLambda(lambda text: model.invoke(text)).invoke("hi")


def recorded(program: Any) -> Recording:
    with record() as recording:
        if program in (workflow, others):
            program()
        else:
            cast = Cast()
            run(1, lambda: program(cast)) if inspect.iscoroutinefunction(program) else program(cast)
    return recording


@pytest.mark.parametrize("content", ["none", "messages"])
@pytest.mark.parametrize("program", [workflow, others, *SCENARIOS], ids=lambda program: program.__name__)
def test_spans_are_as_the_conventions_say(program: Any, content: Any) -> None:
    recording = recorded(program)

    for version in VERSIONS:
        spans = spans_of(recording, Options(content, version))
        assert spans
        assert [problem for span in spans for problem in problems_of(span, version, content)] == []


def test_each_operation_is_among_these_programs() -> None:
    spans = [*spans_of(recorded(workflow)), *spans_of(recorded(others))]

    assert {span.attributes.get("gen_ai.operation.name") for span in spans} == {*SPANS, None}


def test_verdicts_are_events_as_the_conventions_say() -> None:
    (span, *_) = evaluated(spans_of(recorded(others)), {"polite": True, "short": False})

    told = [dict(event.attributes) for event in span.events if event.name == "gen_ai.evaluation.result"]
    assert told == [
        {"gen_ai.evaluation.name": "polite", "gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.score.label": "pass"},
        {"gen_ai.evaluation.name": "short", "gen_ai.evaluation.score.value": 0.0, "gen_ai.evaluation.score.label": "fail"},
    ]


def test_what_is_wrong_is_found() -> None:
    (span, *_) = spans_of(recorded(others), Options("messages"))
    text = json.dumps([{"role": "user", "parts": [{"type": "tool_call"}]}])
    wrong = {**span.attributes, "gen_ai.input.messages": text, "gen_ai.usage.input_tokens": "3", "gen_ai.new": 1}
    wrong.pop("gen_ai.provider.name")

    found = list(problems_of(Span("1", "2", None, "x", 1, 2, attributes=wrong, status="error"), "0.1", "none"))

    assert len(found) >= 8
