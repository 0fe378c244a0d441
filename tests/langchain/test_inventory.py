"""What programs are made of; tests/coverage/test_proof.py has three whole programs."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RouterRunnable, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import BaseTool, tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from pydantic import BaseModel

from llmtest import ScriptedChatModel, ScriptedRetriever
from llmtest.langchain.inventory import Reader, component_of, is_program, subgraphs, tool_of

MODEL = FakeListChatModel(responses=["x"])


class State(TypedDict, total=False):
    text: str


class Form(BaseModel):
    """A form."""

    text: str


@tool
def search(query: str, kind: Literal["web", "news"] = "web") -> str:
    """Search."""
    return query


def graph(**nodes: Any) -> Any:
    made = StateGraph(State)
    for name, node in nodes.items():
        made.add_node(name, node)
    made.add_edge(START, next(iter(nodes)))
    return made


def names(item: Any, *kinds: str) -> set[str]:
    program = Reader().program(item)
    return {one.id.removeprefix(f"{program.label}/") for one in program.items() if one.kind in kinds}


def nothing(state: State) -> State:
    return {}


# -- names


@pytest.mark.parametrize(
    ("program", "label"),
    [
        (lambda: graph(a=nothing, b=nothing).compile(name="desk"), "desk"),
        (lambda: graph(a=nothing, b=nothing).compile(), "graph(a, b)"),
        (lambda: create_agent(MODEL, [search]), "agent(search)"),
        (lambda: create_agent(MODEL, []), "graph(model)"),
        (lambda: create_agent(MODEL, [search], name="helper"), "helper"),
        (lambda: RunnableLambda(nothing), "nothing"),
        (lambda: RunnableLambda(nothing).with_config(run_name="clerk"), "clerk"),
        (
            lambda: ChatPromptTemplate.from_template("{q}") | MODEL | StrOutputParser(),
            "ChatPromptTemplate|FakeListChatModel|StrOutputParser",
        ),
        (lambda: RunnableLambda(nothing) | MODEL.with_config(run_name="clerk"), "nothing|clerk"),
    ],
)
def test_a_program_is_called_by_its_name_or_by_what_it_is_made_of(program: Any, label: str) -> None:
    assert Reader().program(program()).label == label


@pytest.mark.parametrize(
    ("item", "is_one"),
    [
        (lambda: graph(a=nothing).compile(), True),
        (lambda: RunnableLambda(nothing), True),
        (lambda: RunnablePassthrough() | MODEL, True),
        (lambda: MODEL, False),
        (lambda: search, False),
        (lambda: ScriptedRetriever([]), False),
        (lambda: ChatPromptTemplate.from_template("{q}"), False),
        (lambda: StrOutputParser(), False),
        (lambda: "text", False),
    ],
    ids=["graph", "function", "sequence", "model", "tool", "retriever", "prompt", "parser", "text"],
)
def test_what_counts_as_a_program_when_it_is_called(item: Any, is_one: bool, page: object) -> None:
    assert is_program(item()) is is_one


def test_an_object_is_read_once_while_it_lives() -> None:
    reader, item = Reader(), graph(a=nothing).compile()

    assert reader.program(item) is reader.program(item)
    assert reader.items_of(search, "p", "n") is reader.items_of(search, "p", "n")


# -- graphs


def test_a_node_has_its_retries_its_interrupts_its_targets_and_its_line() -> None:
    def ask(state: State) -> State:
        return {"text": str(interrupt("sure?"))}

    def choose(state: State) -> Command[Literal["ask"]]:
        return Command(goto="ask")

    made = graph(choose=choose, ask=ask)
    made.add_node("tries", nothing, retry_policy=[RetryPolicy(max_attempts=2), RetryPolicy(max_attempts=5)])
    program = Reader().program(made.compile())

    assert program.nodes["choose"].ends == ("ask",)
    assert (program.nodes["ask"].interrupts, program.nodes["choose"].interrupts) == (True, False)
    assert (program.nodes["tries"].attempts, program.nodes["ask"].attempts) == (5, 1)
    place, _, line = program.nodes["ask"].place.rpartition(":")
    assert place == "tests/langchain/test_inventory.py"
    assert int(line) == ask.__code__.co_firstlineno


def test_functions_of_any_kind_are_looked_into() -> None:
    class Clerk:
        def __init__(self) -> None:
            self.model = MODEL
            self.tools = [search]

        def method(self, state: State) -> State:
            return {}

        def __call__(self, state: State) -> State:
            return {}

    def helper() -> Any:
        return MODEL

    def calls_a_function(state: State) -> State:
        return {"text": str(helper())}

    def with_more(state: State, more: int) -> State:
        return {"text": str(MODEL)}

    async def in_loop(state: State) -> State:
        return {"text": str(MODEL)}

    made = graph(
        method=Clerk().method, called=Clerk(), function=calls_a_function, partial=partial(with_more, more=1), loop=in_loop
    )

    assert {name.partition(".")[0] for name in names(made.compile(), "models")} == {
        f"models/{name}" for name in ("method", "called", "function", "partial", "loop")
    }
    assert "tools/search.called" in names(made.compile(), "tools")


def test_graphs_that_a_graph_calls_are_programs_of_their_own() -> None:
    inner = graph(a=nothing).compile(name="inner")
    called = graph(b=nothing).compile(name="called")

    def calls(state: State) -> Any:
        return called.invoke(state)

    outer = graph(node=inner, calls=calls).compile(name="outer")

    assert [program.label for program in Reader().inside(outer)] == ["outer", "called", "inner"]
    assert {id(one) for one in subgraphs(outer)} == {id(inner), id(called)}


def test_the_functional_api_has_nodes_only() -> None:
    @task(retry_policy=RetryPolicy(max_attempts=2))
    def step(text: str) -> str:
        return text

    @entrypoint()
    def flow(text: str) -> str:
        return step(text).result()

    assert names(flow, "nodes", "edges", "retries") == {"nodes/flow", "nodes/step", "retries/step.used", "retries/step.exhausted"}


# -- models, tools, answers


def test_a_bound_model_may_call_its_tools_and_a_forced_one_gives_no_text(page: object) -> None:
    model = ScriptedChatModel()
    free = RunnablePassthrough() | model.bind_tools([search])
    forced = RunnablePassthrough() | model.bind_tools([search], tool_choice="any")

    assert {"models/model.text", "models/model.tool_call"} <= names(free, "models")
    assert "models/model.text" not in names(forced, "models")
    assert "arguments/search.kind.='news'" in names(free, "arguments")


def test_a_model_that_a_function_binds_is_known_as_far_as_its_source_tells() -> None:
    def binds(state: State) -> Any:
        return MODEL.bind_tools([search]).invoke("x")

    def fills(state: State) -> Any:
        return MODEL.with_structured_output(Form).invoke("x")

    found = names(graph(binds=binds, fills=fills).compile(), "models")

    assert {"models/binds.text", "models/binds.tool_call", "models/fills.empty"} <= found
    assert not {"models/fills.text", "models/fills.tool_call"} & found


def test_the_schemas_of_answers(page: object) -> None:
    provider = create_agent(ScriptedChatModel(), [], response_format=ProviderStrategy(Form))
    schema = {"title": "Note", "type": "object", "description": "A note.", "properties": {"n": {"type": "integer"}}}
    chain = RunnablePassthrough() | ScriptedChatModel().with_structured_output(schema)

    assert names(provider, "answers") == {"answers/Form.given", "answers/Form.refused"}
    assert names(chain, "answers") == {"answers/Note.given", "answers/Note.refused"}


def test_a_tool_of_a_class_and_one_with_a_json_schema() -> None:
    class Clock(BaseTool):
        name: str = "clock"
        description: str = "The time."

        def _run(self, zone: str = "UTC") -> str:
            return str(interrupt(zone))

    plain = search.model_copy(
        update={"args_schema": {"title": "Find", "type": "object", "properties": {"q": {"type": "string"}}}}
    )

    assert (tool_of(Clock()).name, tool_of(Clock()).interrupts) == ("clock", True)
    assert list(tool_of(Clock()).schema["properties"]) == ["zone"]
    assert (tool_of(plain).title, list(tool_of(plain).schema["properties"])) == ("Find", ["q"])
    assert (tool_of(search).title, tool_of(search).interrupts) == ("search", False)


# -- parts of chains


def test_a_router_makes_no_run(page: object) -> None:
    router = RouterRunnable({"a": RunnableLambda(nothing), "b": MODEL})
    program = Reader().program(RunnablePassthrough() | router)

    assert {item.name: item.unknown for item in program.items() if item.kind == "branches"} == {
        "router.a": "LangChain makes no run of a router, and none was seen to take it",
        "router.b": "LangChain makes no run of a router, and none was seen to take it",
    }
    assert "models/model.text" in names(RunnablePassthrough() | router, "models")


def test_parts_are_found_in_parallel_steps_and_assignments(page: object) -> None:
    retriever = ScriptedRetriever([], name="wiki")
    chain = RunnablePassthrough.assign(documents=retriever) | RunnableParallel(a=MODEL, b=RunnableLambda(nothing).with_retry())

    assert names(chain, "retrievers", "retries") == {
        "retrievers/wiki.found",
        "retrievers/wiki.empty",
        "retrievers/wiki.raised",
        "retries/nothing.used",
        "retries/nothing.exhausted",
    }


def test_what_has_no_alternatives_is_no_part() -> None:
    assert component_of(RunnableLambda(nothing)) is None
    assert Reader().component(MODEL, "p") is None


def test_what_is_used_twice_is_read_once() -> None:
    @task
    def step(text: str) -> str:
        return text

    def again(text: str) -> str:
        return step(text).result()

    @task
    def twice(text: str) -> str:
        return step(step(text).result()).result()

    @entrypoint()
    def flow(text: str) -> str:
        return again(step(text).result()) + twice(text).result()

    inner = graph(a=nothing).compile(name="inner")
    outer = graph(one=inner, two=inner).compile(name="outer")

    assert names(flow, "nodes") == {"nodes/flow", "nodes/step", "nodes/twice"}
    assert [program.label for program in Reader().inside(outer)] == ["outer", "inner"]


def test_an_agent_whose_model_has_another_in_reserve() -> None:
    model = ScriptedChatModel(model_name="main").with_fallbacks([ScriptedChatModel(model_name="backup")])
    agent: Any = create_agent(model, [search], name="a")  # type: ignore[arg-type]  # it takes it

    assert names(agent, "fallbacks") == {"fallbacks/main.1", "fallbacks/main.exhausted"}


def test_a_function_that_binds_a_model_from_elsewhere_has_none_before_it_runs() -> None:
    def ask(state: State) -> State:
        return {"text": str(make_model().bind_tools([search]).invoke("hi"))}

    assert names(graph(ask=ask).compile(), "models") == set()


def make_model() -> Any:
    return ScriptedChatModel("Hello.")
