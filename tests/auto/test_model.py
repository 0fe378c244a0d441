"""A model without a script: it calls each bound tool once, with arguments that fit, and then answers; always the same."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import pytest
from faker.generator import random as shared_by_faker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import BaseModel, Field

from llmtest import LlmtestError, ScriptedChatModel, ViolationError, record
from llmtest.conformance import check_chat_model
from llmtest.errors import InventError, ScriptError, expect_violation
from llmtest.langchain.providers import scripted_providers
from llmtest.ledger import Ledger, opened


@tool
def search(query: str, limit: int = 5) -> str:
    """Search the web."""
    return f"{limit} results for {query}"


@tool
def book(city: str, day: date, seats: Annotated[int, Field(ge=1, le=9)]) -> str:
    """Book a trip."""
    return f"{seats} seats to {city} on {day}"


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Leg(BaseModel):
    origin: str
    day: date
    seats: Annotated[int, Field(ge=1, le=9)]


class Trip(BaseModel):
    """A trip."""

    email: str
    legs: Annotated[list[Leg], Field(min_length=1, max_length=3)]
    colour: Colour
    fare: Literal["basic", "flex", 3]
    price: float | None = None
    place: tuple[int, str]
    with_whom: Leg | int
    ratings: dict[str, int]


def unfit() -> dict[str, Any]:
    seats = {"type": "integer", "minimum": 5, "maximum": 3}
    return {"name": "book", "parameters": {"properties": {"seats": seats}, "required": ["seats"]}}


def answered(*called: str) -> list[Any]:
    """A question, and calls of these tools with their results."""
    messages: list[Any] = [HumanMessage("hi")]
    for number, name in enumerate(called):
        messages.append(AIMessage("", tool_calls=[{"name": name, "args": {}, "id": str(number), "type": "tool_call"}]))
        messages.append(ToolMessage("done", tool_call_id=str(number)))
    return messages


def names(answer: Any) -> list[str]:
    return [call["name"] for call in answer.tool_calls]


# -- in programs


def test_an_agent_calls_each_tool_once_in_the_order_of_binding_and_then_answers() -> None:
    agent = create_agent(ScriptedChatModel.auto(seed=0), [search, book])

    with record() as recording:
        messages = agent.invoke({"messages": "hi"})["messages"]

    assert recording.tools == ["search", "book"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai", "tool", "ai"]
    assert [message.status for message in messages if message.type == "tool"] == ["success", "success"]
    assert messages[-1].text
    assert not messages[-1].tool_calls


@pytest.mark.skipif(
    "not __import__('faker').VERSION.startswith('40.')", reason="Faker's lists of words may change with its major version"
)
def test_what_comes_to_a_seed_is_the_same_for_ever() -> None:
    messages = create_agent(ScriptedChatModel.auto(seed=7), [search, book]).invoke({"messages": "hi"})["messages"]

    assert [call["args"] for message in messages if message.type == "ai" for call in message.tool_calls] == [
        {"query": "pattern medical interview positive", "limit": 5},
        {"city": "South Charles", "day": "2026-09-10", "seats": 4},
    ]
    assert messages[-1].text == "Thus population but land as. Short garden administration today democrat line."


def test_another_seed_gives_other_values() -> None:
    agents = [create_agent(ScriptedChatModel.auto(seed), [book]) for seed in range(5)]

    results = {agent.invoke({"messages": "hi"})["messages"][2].content for agent in agents}

    assert len(results) == 5


def test_the_default_seed_is_0() -> None:
    assert ScriptedChatModel.auto().invoke("hi").text == ScriptedChatModel.auto(seed=0).invoke("hi").text


def _texts(messages: list[Any]) -> list[str]:
    return [message.text for message in messages if message.type in ("tool", "ai")]


def test_streams_async_code_and_batches_say_what_invoke_says() -> None:
    model = ScriptedChatModel.auto(seed=3)
    agent = create_agent(model, [search, book])
    asked = {"messages": [("user", "hi")]}
    expected = _texts(agent.invoke(asked)["messages"])

    async def others() -> list[list[str]]:
        found = [_texts((await agent.ainvoke(asked))["messages"])]
        found += [_texts(result["messages"]) for result in await agent.abatch([asked] * 3)]
        return [*found, _texts([state async for state in agent.astream(asked, stream_mode="values")][-1]["messages"])]

    assert [_texts(result["messages"]) for result in agent.batch([asked] * 3)] == [expected] * 3
    assert asyncio.run(others()) == [expected] * 5
    streamed = [chunk for chunk, _ in agent.stream(asked, stream_mode="messages")]
    assert "".join(chunk.text for chunk in streamed if chunk.type == "AIMessageChunk") == expected[-1]
    calls = [piece for chunk in streamed if chunk.type == "AIMessageChunk" for piece in chunk.tool_call_chunks]
    assert [piece["name"] for piece in calls if piece["name"]] == ["search", "book"]


def test_the_events_of_an_agent_come_as_with_any_model() -> None:
    agent = create_agent(ScriptedChatModel.auto(), [search])

    async def kinds() -> list[str]:
        return [event["event"] async for event in agent.astream_events({"messages": "hi"}, version="v2")]

    found = asyncio.run(kinds())

    assert (found.count("on_chat_model_end"), found.count("on_tool_end")) == (2, 1)


def test_a_graph_with_a_loop_of_its_own_ends() -> None:
    model = ScriptedChatModel.auto(seed=1).bind_tools([search, book])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([search, book]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")

    messages = graph.compile().invoke({"messages": [("user", "hi")]})["messages"]

    assert [names(message) for message in messages if message.type == "ai"] == [["search"], ["book"], []]


def test_what_a_conversation_has_called_is_not_called_again() -> None:
    agent = create_agent(ScriptedChatModel.auto(), [search], checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}

    first = agent.invoke({"messages": "hi"}, thread)["messages"]
    second = agent.invoke({"messages": "and now?"}, thread)["messages"][len(first) :]

    assert [message.type for message in second] == ["human", "ai"]
    assert first[-1].text != second[-1].text


def test_a_tool_with_every_kind_of_argument_can_be_run() -> None:
    taken: list[Any] = []

    @tool(args_schema=Trip)
    def travel(**trip: Any) -> str:
        """Travel."""
        taken.append(trip)
        return "done"

    for seed in range(25):
        create_agent(ScriptedChatModel.auto(seed), [travel]).invoke({"messages": "hi"})

    assert len(taken) == 25
    assert {type(trip["with_whom"]) for trip in taken} == {Leg, int}
    assert {trip["fare"] for trip in taken} == {"basic", "flex", 3}


def test_without_tools_it_answers_at_once() -> None:
    answer = ScriptedChatModel.auto().invoke("hi")

    assert answer.text
    assert answer.tool_calls == []
    assert answer.response_metadata["finish_reason"] == "stop"


def test_threads_and_other_models_do_not_change_what_it_says() -> None:
    def results(model: ScriptedChatModel) -> list[str]:
        return _texts(create_agent(model, [search, book]).invoke({"messages": "hi"})["messages"])

    alone = [results(ScriptedChatModel.auto(seed)) for seed in range(4)]
    shared = [ScriptedChatModel.auto(seed) for seed in range(4)]
    found: list[tuple[int, list[str]]] = []
    threads = [threading.Thread(target=lambda n=n: found.append((n, results(shared[n])))) for n in (0, 1, 2, 3, 3, 2, 1, 0)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == sorted((n, alone[n]) for n in (0, 0, 1, 1, 2, 2, 3, 3))


def test_neither_the_random_of_the_program_nor_that_of_faker_is_touched() -> None:
    model = ScriptedChatModel.auto().bind_tools([search, book])
    before = random.getstate(), shared_by_faker.getstate()

    model.batch(["hi", answered("search"), answered("search", "book")])

    assert (random.getstate(), shared_by_faker.getstate()) == before


@pytest.mark.parametrize("bound", [[], [search, book]], ids=["text", "tools"])
def test_it_does_what_a_chat_model_has_to(bound: list[Any]) -> None:
    check_chat_model(lambda: ScriptedChatModel.auto().bind_tools(bound))


def test_it_takes_the_fields_of_a_model() -> None:
    model = ScriptedChatModel.auto(1, model_name="gpt-5", dialect="openai")

    answer = model.bind_tools([search]).invoke("hi")

    assert answer.response_metadata["model_name"] == "gpt-5"
    assert names(answer) == ["search"]


def test_programs_that_name_their_model_get_it_too() -> None:
    with scripted_providers({"openai:*": ScriptedChatModel.auto(seed=2).script}):
        messages = create_agent("openai:gpt-5", [search]).invoke({"messages": "hi"})["messages"]

    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]


# -- tool_choice, and which tools


NAMED = {"type": "function", "function": {"name": "search"}}
AMONG = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "book"}]}


@pytest.mark.parametrize(
    ("choice", "called", "expected"),
    [
        (None, [], ["search"]),
        ("auto", ["search"], ["book"]),
        (False, ["search", "book"], []),
        ({"type": "auto"}, ["book", "search"], []),
        ("none", [], []),
        ({"type": "none"}, [], []),
        ("any", [], ["search"]),
        ("required", ["search"], ["book"]),
        (True, ["search", "book"], ["search"]),
        ({"type": "any"}, ["search", "book"], ["search"]),
        ("book", [], ["book"]),
        ("book", ["book"], ["book"]),
        (NAMED, ["search"], ["search"]),
        ({"type": "tool", "name": "book"}, [], ["book"]),
        (AMONG, [], ["book"]),
        ({**AMONG, "mode": "auto"}, ["book"], []),
    ],
    ids=repr,
)
def test_tool_choice_is_kept(choice: Any, called: list[str], expected: list[str]) -> None:
    model = ScriptedChatModel.auto().bind_tools([search, book], tool_choice=choice, parallel_tool_calls=False)

    answer = model.invoke(answered(*called))

    assert names(answer) == expected
    assert bool(answer.text) is not bool(expected)


def test_a_tool_that_is_called_again_gets_other_arguments() -> None:
    model = ScriptedChatModel.auto().bind_tools([book], tool_choice="book")

    first, again, second = (model.invoke(messages) for messages in (answered(), answered(), answered("book")))

    assert first.tool_calls[0]["args"] == again.tool_calls[0]["args"] != second.tool_calls[0]["args"]


def test_a_choice_of_a_tool_that_is_not_bound_is_a_violation() -> None:
    model = ScriptedChatModel.auto().bind_tools([search], tool_choice="serch")

    with expect_violation("invalid tool call") as caught, pytest.raises(ViolationError):
        model.invoke("hi")

    text = "the script calls the tool `serch`, which is not bound to the model\n  bound  `search`\n  did you mean `search`?\n"
    assert caught[0].text.startswith(text)


def test_tools_that_the_provider_runs_are_left_to_it() -> None:
    theirs: list[Any] = [{"type": "web_search_preview"}, {"type": "code_execution_20250825", "name": "code_execution"}]

    model = ScriptedChatModel.auto().bind(tools=[*theirs, convert_to_openai_tool(search)])

    assert names(model.invoke("hi")) == ["search"]
    assert names(model.invoke(answered("search"))) == []


def test_a_tool_without_arguments_is_called_without() -> None:
    model = ScriptedChatModel.auto().bind(tools=[{"type": "function", "function": {"name": "ping"}}])

    assert [(c["name"], c["args"]) for c in model.invoke("hi").tool_calls] == [("ping", {})]


def test_it_stops_before_a_stop_sequence() -> None:
    whole = ScriptedChatModel.auto().invoke("hi").text
    second = whole.split()[1]

    assert ScriptedChatModel.auto().invoke("hi", stop=["", second]).text == whole.partition(second)[0]


# -- structured output


class Person(TypedDict):
    """A person."""

    name: str
    age: int


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_structured_output_fits_in_each_method(method: Any) -> None:
    model = ScriptedChatModel.auto(seed=4)

    trip = model.with_structured_output(Trip, method=method).invoke("hi")
    person: Any = model.with_structured_output(Person, method=method).invoke("hi")
    raw: Any = model.with_structured_output(Leg, method=method, include_raw=True).invoke("hi")

    assert isinstance(trip, Trip)
    assert set(person) == {"name", "age"}
    assert 18 <= person["age"] <= 90
    assert isinstance(raw["parsed"], Leg)
    assert raw["parsing_error"] is None


def test_structured_output_differs_by_the_seed() -> None:
    models = [ScriptedChatModel.auto(seed).with_structured_output(Leg, method="json_mode") for seed in range(4)]

    assert len({model.invoke("hi").model_dump_json() for model in models}) == 4


def test_a_json_object_without_a_schema_and_a_class_as_the_format_are_served() -> None:
    model = ScriptedChatModel.auto()

    anything = model.bind(response_format={"type": "json_object"}).invoke("hi").text
    leg = model.bind(response_format=Leg).invoke("hi").text

    assert anything.startswith('{"answer": "')
    assert Leg.model_validate_json(leg)


def test_json_mode_is_recorded_as_providers_know_it() -> None:
    model = ScriptedChatModel.auto().with_structured_output(Leg, method="json_mode")

    with record() as recording:
        model.invoke("hi")

    (run,) = [run for run in recording.runs if run.kind == "chat"]
    assert run.start.payload["invocation_params"]["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize("strategy", [Leg, ToolStrategy(Leg), ProviderStrategy(Leg)], ids=["class", "tool", "provider"])
def test_an_agent_with_a_response_format_calls_its_tools_first(strategy: Any) -> None:
    agent = create_agent(ScriptedChatModel.auto(seed=5), [search, book], response_format=strategy)

    with record() as recording:
        result = agent.invoke({"messages": "hi"})

    assert isinstance(result["structured_response"], Leg)
    assert recording.tools == ["search", "book"]


# -- what is wrong


@pytest.mark.parametrize("seed", ["7", 1.5, True, None])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(ScriptError) as caught:
        ScriptedChatModel.auto(seed=seed)

    assert str(caught.value) == f"seed= of auto() is a whole number; got {type(seed).__name__} {seed!r}"


def test_an_unknown_field_is_an_error_and_owes_no_call() -> None:
    with opened(Ledger()) as ledger, pytest.raises(ScriptError) as caught:
        ScriptedChatModel.auto(model_nam="gpt-5")

    assert str(caught.value) == "ScriptedChatModel has no field `model_nam`; did you mean `model_name`?"
    assert ledger.take() == []


def test_it_writes_its_own_script() -> None:
    with pytest.raises(ScriptError) as caught:
        ScriptedChatModel.auto(script=None)

    assert str(caught.value) == "ScriptedChatModel.auto() writes its own script; ScriptedChatModel(script=...) takes one"


def test_a_tool_that_nothing_fits_is_a_violation_that_cannot_be_swallowed() -> None:
    model = ScriptedChatModel.auto(seed=3).bind_tools([unfit()])

    with expect_violation("nothing fits") as caught:
        assert model.with_fallbacks([ScriptedChatModel("fallback")]).invoke("hi").text == "fallback"

    assert caught[0].text == (
        "arguments for the tool `book` could not be invented\n"
        "  seats  a whole number of at least 5 and of at most 3 does not exist\n"
        "  write this call yourself, with call(...) or respond(...)"
    )


def test_a_response_format_that_nothing_fits_is_a_violation_too() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "minLength": 3, "maxLength": 1}}}

    with expect_violation("nothing fits") as caught, pytest.raises(ViolationError):
        ScriptedChatModel.auto().bind(response_format=wanted).invoke("hi")

    assert caught[0].text == (
        "a value for the schema could not be invented\n"
        "  the value  no text has at least 3 and at most 1 characters\n"
        "  write this call yourself, with call(...) or respond(...)"
    )


def test_a_model_that_is_never_called_is_a_violation() -> None:
    model = ScriptedChatModel.auto()

    with pytest.raises(ViolationError) as caught:
        model.verify()

    assert str(caught.value).startswith("1 of 1 step of the script was never used\n  step 1  respond(auto).repeat()  at ")
    model.invoke("hi")


def test_without_faker_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmtest.auto import values

    monkeypatch.setitem(sys.modules, "faker.factory", None)
    monkeypatch.setattr(values, "_local", threading.local())

    with pytest.raises(InventError) as caught:
        ScriptedChatModel.auto()

    assert isinstance(caught.value, LlmtestError)
    assert str(caught.value) == ("generated values need Faker, which is not installed: pip install 'llmtest-kit[faker]'")


# -- any tools


KINDS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "date"},
        {"type": "string", "pattern": "^[A-Z]{3}$"},
        {"type": "integer", "minimum": 1, "multipleOf": 3},
        {"anyOf": [{"type": "number", "maximum": 0}, {"type": "null"}]},
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2, "uniqueItems": True},
        {"type": "object", "additionalProperties": {"type": "boolean"}},
        {"$ref": "#/$defs/node"},
    ]
)
NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["next"]}


@st.composite
def tools(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for name in draw(st.lists(st.sampled_from(["search", "book", "pay", "ask"]), unique=True, max_size=4)):
        properties = draw(st.dictionaries(st.sampled_from(["email", "day", "city", "seats"]), KINDS, max_size=3))
        required = [field for field in properties if draw(st.booleans())]
        parameters = {"type": "object", "properties": properties, "required": required, "$defs": {"node": NODE}}
        found.append({"type": "function", "function": {"name": name, "parameters": parameters}})
    return found


@given(tools(), st.integers(0, 99))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_tools_are_called_once_each_and_then_comes_an_answer(bound: list[dict[str, Any]], seed: int) -> None:
    model = ScriptedChatModel.auto(seed)
    messages: list[Any] = [HumanMessage("hi")]

    while messages[-1].type != "ai":
        answer = model.invoke(messages, tools=bound)  # a call that does not fit is a violation
        results = [ToolMessage("done", tool_call_id=c["id"]) for c in answer.tool_calls]
        messages += [answer, *results]

    called = [name for message in messages if message.type == "ai" for name in names(message)]
    assert called == [one["function"]["name"] for one in bound]
    assert messages[-1].text
