"""What a span says, in each convention. Real exports are those of the packages that write them: tests/otel/test_exports.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtest.events.words import Document, FrozenDict, Message, ToolCall, Usage
from llmtest.otel.span_facts import UNKNOWN, SpanFacts, facts_of
from llmtest.otel.spans import Span, SpanEvent


def facts(told: dict[str, Any], **about: Any) -> SpanFacts:
    return facts_of(Span("1" * 32, "2" * 16, None, about.pop("name", "a span"), 1, 2, attributes=told, **about))


KINDS = [
    ({"gen_ai.operation.name": "chat"}, "chat"),
    ({"gen_ai.operation.name": "text_completion"}, "llm"),
    ({"gen_ai.operation.name": "retrieval"}, "retriever"),
    ({"gen_ai.operation.name": "embeddings"}, "chain"),
    ({"gen_ai.operation.name": "something new"}, None),
    ({"gen_ai.operation.name": "execute_event_loop_cycle", "gen_ai.system": "strands-agents"}, None),
    ({"gen_ai.tool.name": "weather"}, "tool"),
    ({"gen_ai.system": "openai"}, "chat"),
    ({"openinference.span.kind": "LLM"}, "chat"),
    ({"openinference.span.kind": "LLM", "llm.prompts.0.prompt.text": "hi"}, "llm"),
    ({"openinference.span.kind": "SOMETHING"}, "chain"),
    ({"langfuse.observation.type": "generation"}, "chat"),
    ({"traceloop.span.kind": "task"}, "chain"),
    ({"llm.request.type": "completion"}, "llm"),
    ({"langsmith.span.kind": "parser"}, "chain"),
    ({"llmtest.run.kind": "retriever", "gen_ai.operation.name": "chat"}, "retriever"),
    ({"llmtest.run.kind": "nonsense", "http.method": "GET"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("told", "kind"), KINDS)
def test_the_kind_of_a_run(told: dict[str, Any], kind: str | None) -> None:
    assert facts(told).kind == kind


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}, "gpt-5"),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}, "weather"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}, "clerk"),
        ({"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "crew"}, "crew"),
        ({"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": "docs"}, "docs"),
        ({"openinference.span.kind": "LLM", "llm.model_name": "gpt-5"}, "a span"),
        ({"llmtest.run.kind": "chat", "llmtest.run.name": "Mine", "gen_ai.request.model": "x"}, "Mine"),
    ],
)
def test_the_name_of_a_run(told: dict[str, Any], name: str) -> None:
    assert facts(told).name == name


USAGES = {
    "0.1": (
        {
            "gen_ai.usage.input_tokens": 10,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.usage.cache_read.input_tokens": 4,
            "gen_ai.usage.cache_write.input_tokens": 2,
            "gen_ai.usage.reasoning.output_tokens": 3,
        },
        Usage(10, 5, 15, FrozenDict(cache_read=4, cache_creation=2), FrozenDict(reasoning=3)),
    ),
    "1.41": (
        {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 0, "gen_ai.usage.cache_creation.input_tokens": 2},
        Usage(10, 0, 10, FrozenDict(cache_creation=2)),
    ),
    "early": ({"gen_ai.usage.prompt_tokens": 1, "gen_ai.usage.completion_tokens": 2}, Usage(1, 2, 3)),
    "openinference": (
        {"llm.token_count.prompt": 7, "llm.token_count.completion": 10, "llm.token_count.total": 20},
        Usage(7, 10, 20),
    ),
    "langfuse": ({"langfuse.observation.usage_details": '{"input": 1, "output": 2, "total": 3}'}, Usage(1, 2, 3)),
    "langsmith": (
        {"gen_ai.completion": '{"llm_output": {"token_usage": {"prompt_tokens": 1, "completion_tokens": 2}}}'},
        Usage(1, 2, 3),
    ),
    "only the prompt": ({"gen_ai.usage.input_tokens": 10}, None),
    "only the answer": ({"gen_ai.usage.output_tokens": 10}, None),
    "the prompt, and both": ({"gen_ai.usage.input_tokens": 10, "llm.token_count.total": 12}, Usage(10, 2, 12)),
    "the answer, and both": ({"gen_ai.usage.output_tokens": 2, "llm.token_count.total": 12}, Usage(10, 2, 12)),
    "a sum that is less": ({"gen_ai.usage.output_tokens": 20, "llm.token_count.total": 12}, None),
    "no number": ({"gen_ai.usage.input_tokens": "many"}, None),
    "none": ({}, None),
}


@pytest.mark.parametrize(("told", "usage"), USAGES.values(), ids=USAGES.keys())
def test_usage(told: dict[str, Any], usage: Usage | None) -> None:
    assert facts({"gen_ai.operation.name": "chat", **told}).usage == usage


def test_a_model_of_which_nothing_is_said() -> None:
    found = facts({"gen_ai.operation.name": "chat"})

    assert (found.input, found.output, found.model, found.tools, found.parameters) == (UNKNOWN, UNKNOWN, None, [], {})


def test_content_may_be_in_an_event_and_instructions_beside_the_messages() -> None:
    said = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "hello"}]}])
    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}])
    told = {"gen_ai.output.messages": said, "gen_ai.input.messages": asked}
    event = SpanEvent("gen_ai.client.inference.operation.details", 1, told)

    found = facts(
        {"gen_ai.operation.name": "chat", "gen_ai.system_instructions": '[{"type": "text", "content": "Be kind."}]'},
        events=(event,),
    )

    assert found.input == [Message("system", "Be kind."), Message("human", "hi")]
    assert found.output == [Message("ai", "hello")]


def test_flattened_messages_may_have_gaps_and_come_in_any_order() -> None:
    told = {
        "openinference.span.kind": "LLM",
        "llm.input_messages.3.message.role": "user",
        "llm.input_messages.3.message.content": "second",
        "llm.input_messages.1.message.role": "system",
        "llm.input_messages.1.message.contents.0.message_content.text": "first",
        "llm.input_messages.x.message.role": "user",
        "llm.input_messages.99999999999.message.role": "user",
    }

    assert facts(told).input == [Message("system", "first"), Message("human", "second")]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"gen_ai.tool.call.arguments": '{"city": "Paris"}'}, {"city": "Paris"}),
        ({"gen_ai.tool.call.arguments": {"city": "Paris"}}, {"city": "Paris"}),
        ({"gen_ai.tool.call.arguments": "Paris"}, "Paris"),
        ({"tool.parameters": '{"type": "object", "properties": {}}', "input.value": '{"city": "Paris"}'}, {"city": "Paris"}),
        ({"tool.parameters": '{"city": "Paris"}', "input.value": "Paris"}, {"city": "Paris"}),
        ({"traceloop.entity.input": '{"input_str": "{\'city\': \'Paris\'}", "tags": []}'}, {"city": "Paris"}),
        ({"traceloop.entity.input": '{"input_str": "what a{", "tags": []}'}, "what a{"),
        ({"traceloop.entity.input": '{"input_str": "1", "inputs": {"city": "Paris"}}'}, {"city": "Paris"}),
        ({}, UNKNOWN),
    ],
)
def test_arguments_of_a_tool(told: dict[str, Any], expected: object) -> None:
    assert facts({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather", **told}).input == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("18C", "18C"),
        ('{"degrees": 18}', {"degrees": 18}),
        ('{"output": "18C"}', "18C"),
        ('{"type": "tool", "content": "18C", "tool_call_id": "c1"}', "18C"),
        ('{"type": "tool", "data": {"type": "tool", "content": "18C", "tool_call_id": "c1"}}', "18C"),
    ],
)
def test_results_of_a_tool(value: str, expected: object) -> None:
    assert facts({"gen_ai.tool.name": "weather", "output.value": value}).output == expected


def test_documents_of_a_retriever() -> None:
    found = [Document("text", FrozenDict(page=1), "d1")]
    written = json.dumps([{"id": "d1", "content": "text", "metadata": {"page": 1}}])

    assert facts({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": written}).output == found
    flat = {"document.id": "d1", "document.content": "text", "document.metadata": '{"page": 1}'}
    told = {f"retrieval.documents.0.{key}": value for key, value in flat.items()}
    assert facts({"openinference.span.kind": "RETRIEVER", "input.value": "q", **told}).output == found
    langsmith = {"langsmith.span.kind": "retriever", "gen_ai.prompt": '{"query": "q"}'}
    assert facts({**langsmith, "gen_ai.completion": '{"documents": [{"page_content": "text"}, 7, {"id": "x"}]}'}).output == [
        Document("text"),
        7,
        {"id": "x"},
    ]
    assert facts(langsmith).input == "q"


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"status": "error", "message": "TimeoutError: slow"}, ("TimeoutError", "TimeoutError: slow")),
        ({"status": "error", "message": "boom"}, ("Error", "boom")),
        ({"told": {"error.type": "openai.RateLimitError"}}, ("RateLimitError", "")),
        (
            {
                "status": "error",
                "events": (SpanEvent("exception", 1, {"exception.type": "x.KeyError", "exception.message": "'a'"}),),
            },
            ("KeyError", "'a'"),
        ),
        ({"told": {"langfuse.observation.level": "ERROR", "langfuse.observation.status_message": "no"}}, ("Error", "no")),
    ],
)
def test_errors(about: dict[str, Any], expected: tuple[str, str]) -> None:
    error = facts({"gen_ai.operation.name": "chat", **about.pop("told", {})}, **about).error

    assert error is not None
    assert (error.type, error.message) == expected


def test_tags_and_metadata_of_each_tool() -> None:
    node = {"langgraph_step": 2, "langgraph_node": "model"}
    openinference = facts({"openinference.span.kind": "CHAIN", "metadata": json.dumps(node)}, name="model")
    langsmith = facts({"langsmith.span.kind": "chain", "langsmith.span.tags": "a, b", "langsmith.metadata.n": "7"})
    langfuse = facts({"langfuse.observation.type": "span", "langfuse.observation.metadata.tags": '["a"]', "session.id": "t"})

    assert (openinference.tags, openinference.metadata) == (("graph:step:2",), node)
    assert (langsmith.tags, langsmith.metadata) == (("a", "b"), {"n": 7})
    assert (langfuse.tags, langfuse.metadata) == (("a",), {"thread_id": "t"})


def test_the_conversation_of_an_agent_is_its_input_and_its_answer() -> None:
    told = {
        "gen_ai.operation.name": "invoke_agent",
        "pydantic_ai.all_messages": json.dumps(
            [
                {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
                {"role": "assistant", "parts": [{"type": "text", "content": "hello"}]},
            ]
        ),
    }

    found = facts(told)

    assert found.input == {"messages": [Message("human", "hi")]}
    assert found.output == {"messages": [Message("ai", "hello")]}
    assert facts({**told, "final_result": "7"}).output == "7"


def test_messages_of_an_early_openllmetry() -> None:
    told = {
        "llm.request.type": "chat",
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "hi",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "",
        "gen_ai.completion.0.tool_calls.0.id": "c1",
        "gen_ai.completion.0.tool_calls.0.name": "weather",
        "gen_ai.completion.0.tool_calls.0.arguments": '{"city": "Paris"}',
        "llm.request.functions.0.name": "weather",
        "gen_ai.request.temperature": 0.5,
    }

    found = facts(told)

    assert found.input == [Message("human", "hi")]
    assert found.output == [Message("ai", "", (ToolCall("weather", FrozenDict(city="Paris"), "c1"),))]
    assert (found.tools, found.parameters) == ([("weather", {"name": "weather"})], {"temperature": 0.5})


def test_a_chain_whose_parts_openllmetry_wraps() -> None:
    told = {"traceloop.span.kind": "task", "traceloop.entity.input": '{"inputs": "x", "tags": []}'}

    found = facts({**told, "traceloop.entity.output": '{"outputs": {"messages": [{"role": "user", "parts": []}]}, "kwargs": {}}'})

    assert found.input == "x"
    assert found.output == {"messages": [Message("human", "")]}
    assert facts({**told, "traceloop.entity.output": '{"output": [1]}'}).output == [1]


STRANDS = (
    SpanEvent("gen_ai.system.message", 1, {"content": "Be kind."}),
    SpanEvent("gen_ai.user.message", 1, {"content": '[{"text": "the weather?"}]'}),
    SpanEvent(
        "gen_ai.choice",
        1,
        {"finish_reason": "tool_use", "message": '[{"toolUse": {"toolUseId": "c1", "name": "w", "input": {"a": 1}}}]'},
    ),
)


def test_messages_in_events_of_a_model() -> None:
    found = facts({"gen_ai.operation.name": "chat"}, events=(SpanEvent("other", 1), *STRANDS))

    assert found.input == [Message("system", "Be kind."), Message("human", "the weather?")]
    assert found.output == [Message("ai", "", (ToolCall("w", FrozenDict(a=1), "c1"),))]
    assert found.finish_reason == "tool_use"


def test_a_model_whose_answer_no_event_has() -> None:
    found = facts({"gen_ai.operation.name": "chat"}, events=STRANDS[:1])

    assert found.input == [Message("system", "Be kind.")]
    assert found.output is UNKNOWN


def test_events_of_a_tool_and_of_an_agent() -> None:
    tool = facts(
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "w"},
        events=(
            SpanEvent("gen_ai.tool.message", 1, {"content": '{"city": "Paris"}'}),
            SpanEvent("gen_ai.choice", 1, {"message": '[{"text": "18C"}]'}),
        ),
    )
    agent = facts({"gen_ai.operation.name": "invoke_agent"}, events=STRANDS[:2])

    assert (tool.input, tool.output) == ({"city": "Paris"}, "18C")
    assert agent.input == {"messages": [Message("system", "Be kind."), Message("human", "the weather?")]} or agent.input == [
        Message("system", "Be kind."),
        Message("human", "the weather?"),
    ]
    assert agent.output is UNKNOWN


def adk(**told: Any) -> SpanFacts:
    texts = {f"gcp.vertex.agent.{key}": json.dumps(value) for key, value in told.items()}
    return facts({"gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "gemini-2.5-flash", **texts})


def test_messages_of_an_early_adk() -> None:
    config = {"system_instruction": "Be kind.", "tools": [{"function_declarations": [{"name": "w"}]}, {"google_search": {}}]}
    contents = [{"role": "user", "parts": [{"text": "the weather?"}]}]
    answer = {"content": {"role": "model", "parts": [{"function_call": {"id": "c1", "name": "w", "args": {"a": 1}}}]}}

    found = adk(llm_request={"config": config, "contents": contents}, llm_response=answer)

    assert found.input == [Message("system", "Be kind."), Message("human", "the weather?")]
    assert found.output == [Message("ai", "", (ToolCall("w", FrozenDict(a=1), "c1"),))]
    assert [name for name, _ in found.tools] == ["w"]
    assert adk(llm_request={}, llm_response={}).input is UNKNOWN
    assert adk(llm_request={"contents": contents}, llm_response=[]).output is UNKNOWN


def test_a_tool_of_an_early_adk() -> None:
    told = {"gcp.vertex.agent.tool_call_args": '{"a": 1}', "gcp.vertex.agent.tool_response": '{"result": "18C"}'}

    found = facts({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "w", **told})

    assert (found.input, found.output) == ({"a": 1}, "18C")


def test_arguments_and_results_of_llama_index() -> None:
    result = {"blocks": [{"text": "18C"}], "raw_output": "18C", "tool_name": "w"}
    told = {"openinference.span.kind": "TOOL", "output.value": json.dumps(result)}

    keywords = facts({**told, "input.value": json.dumps({"args": [], "kwargs": {"a": 1}})})
    both = facts({**told, "input.value": json.dumps({"args": [2], "kwargs": {"a": 1}})})

    assert (keywords.input, keywords.output) == ({"a": 1}, "18C")
    assert both.input == {"args": [2], "kwargs": {"a": 1}}


def test_a_method_that_prepares_a_call_is_no_call() -> None:
    told = {"openinference.span.kind": "LLM"}

    assert facts(told, scope="openinference.instrumentation.llama_index", name="OpenAI._prepare_chat_with_tools").kind == "chain"
    assert facts(told, scope="openinference.instrumentation.llama_index", name="OpenAI.achat").kind == "chat"
    assert facts(told, scope="mine", name="Mine._ask").kind == "chat"


def test_instructions_that_are_cut_off_make_the_input_unknown() -> None:
    told = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": "[]",
        "gen_ai.system_instructions": '[{"type": "text", "con',
    }

    assert facts(told).input is UNKNOWN


def test_a_message_that_a_tool_has_made_is_its_result() -> None:
    told = {"openinference.span.kind": "TOOL", "output.value": json.dumps({"role": "assistant", "content": "hi"})}

    assert facts(told).output == {"role": "assistant", "content": "hi"}


@pytest.mark.parametrize(
    ("kind", "ended"),
    [
        ("asyncio.exceptions.CancelledError", "cancelled"),
        ("GeneratorExit", "closed early"),
        ("langgraph.errors.GraphInterrupt", "paused"),
        ("langgraph.errors.ParentCommand", "handed off"),
        ("KeyboardInterrupt", "stopped"),
        ("ValueError", "error"),
    ],
)
def test_what_is_no_failure_is_told_by_its_name(kind: str, ended: str) -> None:
    found = facts({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "w", "error.type": kind}, status="error")

    assert found.error is not None
    assert found.error.ended == ended


@pytest.mark.parametrize(("role", "is_told"), [("assistant", True), ("user", False), ("tool", False)])
def test_only_what_a_model_said_last_is_the_answer_of_an_agent(role: str, is_told: bool) -> None:
    parts = {"tool": {"type": "tool_call_response", "id": "c", "response": "x"}}
    last = {"role": role, "parts": [parts.get(role, {"type": "text", "content": "x"})]}
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}, last])

    found = facts({"gen_ai.operation.name": "invoke_agent", "pydantic_ai.all_messages": messages})

    assert (found.output is not UNKNOWN) is is_told
