"""Recordings as spans: what each convention says of each kind of run, with and without content."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from llmtest import Recording, ScriptedChatModel, ScriptedLLM, ScriptedRetriever, call, fail, record, reply, say, think
from llmtest.errors import OtelError
from llmtest.otel import Options, Span, spans_of
from llmtest.otel.conventions import Own
from llmtest.otel.spans import span_id_of, trace_id_of

KEY = "sk-" + "a1" * 24


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    return f"18C in {city}"


def agent() -> Recording:
    model = ScriptedChatModel(
        call("weather", city="Paris"), say("It is ", "18C.", usage=(16, 4)), dialect="openai", model_name="gpt-5", name="ask"
    )
    program = create_agent(model, [weather], name="clerk")
    with record() as recording:
        program.invoke({"messages": [("user", "How warm?")]}, {"configurable": {"thread_id": "t-1"}})
    return recording


def by_name(recording: Recording, **options: Any) -> dict[str, Span]:
    return {span.name: span for span in spans_of(recording, Options(**options))}


def without_ids(span: Span) -> dict[str, Any]:
    ours = {Own.RUN_ID, Own.METADATA, "gen_ai.response.id", "gen_ai.tool.call.id"}
    return {key: value for key, value in span.attributes.items() if key not in ours}


def test_each_run_is_one_span_with_the_name_of_the_conventions() -> None:
    recording = agent()

    spans = spans_of(recording)

    assert [span.name for span in spans] == [
        "invoke_agent clerk",
        "model",
        "chat gpt-5",
        "tools",
        "execute_tool weather",
        "model",
        "chat gpt-5",
    ]
    assert {span.trace_id for span in spans} == {trace_id_of(recording.roots[0].id)}
    assert [span.span_id for span in spans] == [span_id_of(run.id) for run in recording.runs]
    assert [span.kind for span in spans[:5]] == ["internal", "internal", "client", "internal", "internal"]
    assert [span.parent_id for span in spans[:3]] == [None, spans[0].span_id, spans[1].span_id]
    assert all(span.start_ns <= span.end_ns for span in spans)


def test_without_content_nothing_is_said() -> None:
    spans = by_name(agent())

    assert without_ids(spans["chat gpt-5"]) == {
        Own.RUN_KIND: "chat",
        Own.RUN_NAME: "ask",
        Own.TAGS: ["seq:step:1"],
        "gen_ai.operation.name": "chat",
        "gen_ai.conversation.id": "t-1",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.model": "gpt-5",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 16,
        "gen_ai.usage.output_tokens": 4,
    }
    assert without_ids(spans["execute_tool weather"]) == {
        Own.RUN_KIND: "tool",
        Own.RUN_NAME: "weather",
        Own.TAGS: ["seq:step:1"],
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.conversation.id": "t-1",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.type": "function",
    }
    assert "Paris" not in json.dumps([dict(span.attributes) for span in spans.values()])


def test_with_content_messages_are_as_the_conventions_write_them() -> None:
    spans = by_name(agent(), content="messages")
    told = spans["chat gpt-5"].attributes

    assert json.loads(told["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "It is 18C."}], "finish_reason": "stop"}
    ]
    assert [message["role"] for message in json.loads(told["gen_ai.input.messages"])] == ["user", "assistant", "tool"]
    (definition,) = json.loads(told["gen_ai.tool.definitions"])
    assert (definition["type"], definition["name"], set(definition)) == (
        "function",
        "weather",
        {"type", "name", "description", "parameters"},
    )
    assert spans["execute_tool weather"].attributes["gen_ai.tool.call.arguments"] == '{"city":"Paris"}'
    assert spans["execute_tool weather"].attributes["gen_ai.tool.call.result"] == "18C in Paris"
    assert json.loads(spans["invoke_agent clerk"].attributes["gen_ai.output.messages"])[-1]["role"] == "assistant"


def test_openinference_says_it_in_its_way() -> None:
    spans = by_name(agent(), content="messages", convention="openinference")

    assert {name: span.attributes["openinference.span.kind"] for name, span in spans.items()} == {
        "clerk": "AGENT",
        "model": "CHAIN",
        "ask": "LLM",
        "tools": "CHAIN",
        "weather": "TOOL",
    }
    told = spans["ask"].attributes
    assert (told["llm.model_name"], told["llm.token_count.prompt"], told["llm.token_count.total"]) == ("gpt-5", 16, 20)
    assert told["llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments"] == '{"city":"Paris"}'
    assert told["llm.output_messages.0.message.content"] == "It is 18C."
    assert json.loads(told["llm.tools.0.tool.json_schema"])["function"]["name"] == "weather"
    assert spans["weather"].attributes["output.value"] == "18C in Paris"
    assert spans["clerk"].attributes["session.id"] == "t-1"
    assert not [key for span in spans.values() for key in span.attributes if key.startswith("gen_ai")]


@pytest.mark.parametrize(("version", "name"), [("0.1", "cache_write"), ("1.41", "cache_creation")])
def test_the_version_of_the_conventions_is_a_switch(version: str, name: str) -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "input_token_details": {"cache_read": 3, "cache_creation": 2},
        "output_token_details": {"reasoning": 1},
    }
    with record() as recording:
        ScriptedChatModel(say("hi", usage=usage)).invoke("hi")

    (span,) = spans_of(recording, Options(convention=version))

    assert {key.removeprefix("gen_ai.usage."): value for key, value in span.attributes.items() if "usage" in key} == {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read.input_tokens": 3,
        f"{name}.input_tokens": 2,
        "reasoning.output_tokens": 1,
    }


def test_retrievers_text_models_chains_and_streams() -> None:
    program = RunnableLambda(lambda text: text).with_config(run_name="step")
    with record() as recording:
        ScriptedRetriever([Document("text", metadata={"score": 0.5}, id="d1")]).invoke("q")
        list(ScriptedLLM(say("one ", "two")).stream("hi"))
        program.invoke("x", {"tags": ["a"], "metadata": {"n": 1}})
    retriever, text, step = spans_of(recording, Options("messages"))

    assert retriever.name == "retrieval ScriptedRetriever"
    assert json.loads(retriever.attributes["gen_ai.retrieval.documents"]) == [
        {"id": "d1", "content": "text", "metadata": {"score": 0.5}, "score": 0.5}
    ]
    assert (text.attributes["gen_ai.operation.name"], text.attributes["gen_ai.request.stream"]) == ("text_completion", True)
    assert text.attributes["gen_ai.response.time_to_first_chunk"] >= 0
    assert (step.name, step.attributes[Own.TAGS], step.attributes[Own.INPUT]) == ("step", ["a"], '"x"')


def test_openinference_of_retrievers_and_blocks() -> None:
    with record() as recording:
        ScriptedRetriever([Document("text", metadata={"n": 1}, id="d1")]).invoke("q")
        ScriptedChatModel(reply(think("hm"), "yes"), dialect="anthropic").invoke("hi")
    retriever, model = spans_of(recording, Options("messages", "openinference"))

    assert retriever.attributes["retrieval.documents.0.document.id"] == "d1"
    assert retriever.attributes["retrieval.documents.0.document.metadata"] == '{"n":1}'
    contents = [value for key, value in model.attributes.items() if key.startswith("llm.output_messages.0.message.contents.")]
    assert contents == ["reasoning", "hm", "text", "yes"]


def test_an_error_is_a_status_and_an_exception() -> None:
    with record() as recording, pytest.raises(TimeoutError):
        ScriptedChatModel(fail(TimeoutError(f"too slow for {KEY}"))).invoke("hi")

    (span,) = spans_of(recording)

    assert (span.status, span.attributes["error.type"]) == ("error", "TimeoutError")
    assert span.message.startswith("TimeoutError: too slow for ")
    assert span.events[0].attributes["exception.type"] == "TimeoutError"
    assert KEY not in span.message + str(span.events)


@pytest.mark.parametrize("convention", ["0.1", "openinference"])
@pytest.mark.parametrize("content", ["none", "messages", "exact"])
def test_no_span_has_a_secret(content: Any, convention: str) -> None:
    program = RunnableLambda(lambda text: {"password": "hunter2", "text": text})
    with record() as recording:
        program.invoke(KEY, {"tags": [KEY], "metadata": {"api_key": "k-123", "note": KEY, "thread_id": KEY}, "run_name": KEY})
        ScriptedChatModel(say(f"the key is {KEY}")).invoke(f"my key is {KEY}")

    told = str(spans_of(recording, Options(content, convention)))

    assert not [secret for secret in (KEY, "hunter2", "k-123") if secret in told]


def test_notes_are_events_and_an_open_run_says_so() -> None:
    def step(text: str) -> str:
        dispatch_custom_event("halfway", {"n": 1})
        seen.append(spans_of(recording))
        return text

    seen: list[list[Span]] = []
    with record() as recording:
        RunnableLambda(step).invoke("x")

    (while_it_runs,), (after,) = *seen, spans_of(recording)
    assert [(event.name, event.attributes) for event in after.events] == [("llmtest.on_custom_event", {"name": "halfway"})]
    assert while_it_runs.attributes[Own.ENDED] == "open"
    assert Own.ENDED not in after.attributes


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"content": "all"}, "`content` of spans is not 'all'; it is one of none, messages, exact"),
        ({"content": "mesages"}, "`content` of spans is not 'mesages'; did you mean `messages`?"),
        ({"convention": "1.36"}, "`convention` of spans is not '1.36'; "),
    ],
)
def test_wrong_options_are_an_error_at_once(about: dict[str, Any], why: str) -> None:
    with pytest.raises(OtelError) as error:
        Options(**about)

    assert str(error.value).startswith(why)


def test_numbers_and_keys_that_json_does_not_have_are_texts() -> None:
    with record() as recording:
        RunnableLambda(lambda value: value).invoke({"n": float("nan"), 1: b"x", "huge": 16**5000})

    (span,) = spans_of(recording, Options("messages"))

    assert json.loads(span.attributes[Own.INPUT]) == {"n": "nan", "1": "b'x'", "huge": f"0x1{'0' * 5000}"}


def test_parameters_that_are_no_numbers_of_the_conventions_are_left_out() -> None:
    with record() as recording:
        ScriptedChatModel("hi").invoke("hi", temperature=10**5000, max_tokens=float("nan"), seed=7)

    (span,) = spans_of(recording)

    assert {"seed"} == {key.removeprefix("gen_ai.request.") for key in span.attributes if "request" in key} - {"model"}


def test_parameters_of_a_request() -> None:
    with record() as recording:
        ScriptedChatModel("hi").invoke("hi", stop=["END"], temperature=0, max_tokens=5, seed=7, n=1)

    (span,) = spans_of(recording, Options("messages"))
    (without_content,) = spans_of(recording)

    assert "gen_ai.request.stop_sequences" not in without_content.attributes  # they are texts
    assert without_content.attributes["gen_ai.request.seed"] == 7
    assert {key.removeprefix("gen_ai.request."): value for key, value in span.attributes.items() if "request" in key} == {
        "model": "scripted",
        "stop_sequences": ["END"],
        "temperature": 0.0,
        "max_tokens": 5,
        "seed": 7,
    }
    assert isinstance(span.attributes["gen_ai.request.temperature"], float)


def test_a_graph_is_a_workflow_and_one_message_a_conversation() -> None:
    def node(state: MessagesState) -> MessagesState:
        return {"messages": [("ai", "hello")]}  # type: ignore[typeddict-item]

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(name="flow")
    with record() as recording:
        graph.invoke({"messages": [("user", "hi")]})
        RunnableLambda(lambda message: message).invoke(AIMessage("alone"))

    for version, name in (("0.1", "gen_ai.agent.name"), ("1.41", "gen_ai.workflow.name")):
        spans = spans_of(recording, Options("messages", version))
        assert (spans[0].name, spans[0].attributes[name]) == ("invoke_workflow flow", "flow")
        assert json.loads(spans[-1].attributes[Own.INPUT])["parts"] == [{"type": "text", "content": "alone"}]


def test_a_retriever_may_return_anything_and_a_model_what_no_part_is_for() -> None:
    image = [{"type": "image_url", "image_url": {"url": "http://x"}}, {"type": "text", "text": "see"}]
    with record() as recording:
        ScriptedChatModel("ok").invoke([HumanMessage(image)])

    (span,) = spans_of(recording, Options("messages"))
    (flat,) = spans_of(recording, Options("messages", "openinference"))

    (message,) = json.loads(span.attributes["gen_ai.input.messages"])
    assert message["parts"] == [{"type": "image_url", "image_url": {"url": "http://x"}}, {"type": "text", "content": "see"}]
    assert flat.attributes["llm.input_messages.0.message.contents.0.message_content.type"] == "image_url"


class Words(BaseRetriever):
    """A retriever that finds no documents, but texts."""

    def _get_relevant_documents(self, query: str, **about: Any) -> Any:
        return ["a word"]


def test_what_a_retriever_finds_may_be_no_document() -> None:
    with record() as recording:
        Words().invoke("x")

    (genai,) = spans_of(recording, Options("messages"))
    (other,) = spans_of(recording, Options("messages", "openinference"))
    assert json.loads(genai.attributes["gen_ai.retrieval.documents"]) == [{"content": "a word"}]
    assert other.attributes["retrieval.documents.0.document.content"] == '"a word"'


def test_a_model_call_that_is_still_open_has_no_answer() -> None:
    with record() as recording:
        words = ScriptedChatModel(say("one ", "two")).stream("hi")
        next(words)
        (told,) = [span.attributes for span in spans_of(recording, Options("messages"))]
        list(words)

    assert (told[Own.ENDED], told["gen_ai.output.messages"]) == ("open", "[]")


def test_a_graph_whose_whole_state_is_one_message() -> None:
    graph = StateGraph(AIMessage)
    graph.add_node("say", lambda state: {"content": "hello"})
    graph.add_edge(START, "say")

    with record() as recording:
        graph.compile(name="talk").invoke(AIMessage("hi"))

    assert "gen_ai.input.messages" in spans_of(recording, Options("messages"))[0].attributes
