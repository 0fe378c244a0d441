"""Programs as users write them: what one run of each hits and misses, counted by hand from their sources."""

from __future__ import annotations

import asyncio
import operator
from contextlib import suppress
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputValidationError, ToolStrategy
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import PydanticToolsParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableBranch, RunnablePassthrough
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

from llmtest import ScriptedChatModel, ScriptedRetriever, call, fail, on, structured
from tests.support.covering import Covered

THREAD: Any = {"configurable": {"thread_id": "1"}}
HI = {"messages": [("user", "hi")]}
OUTCOMES = ("text", "tool_call", "several_calls", "empty", "length", "content_filter", "refusal", "error")


def spread(text: str) -> set[str]:
    """Return the ids of items: each line has what is common, and after a colon the ends."""
    lines = (line.strip().partition(": ") for line in text.strip().splitlines())
    return {common + end for common, _, ends in lines for end in ends.split()}


def told(found: Covered) -> tuple[set[str], set[str]]:
    """Return what was hit and what was missed, without call modes."""
    items = {item.id for item in found.inventory if item.kind != "modes" and not item.unknown}
    assert found.all_ambiguous == set()
    return items & found.all_hits, items - found.all_hits


def outcomes(site: str, *without: str) -> set[str]:
    return {f"{site}.{outcome}" for outcome in OUTCOMES if outcome not in without}


# -- a supervisor that hands off to agents


def handoff(name: str) -> Any:
    def transfer(runtime: ToolRuntime) -> Command[Any]:
        """Hand off to another agent."""
        answer = {"role": "tool", "content": "ok", "tool_call_id": runtime.tool_call_id}
        return Command(goto=name, graph=Command.PARENT, update={"messages": [*runtime.state["messages"], answer]})

    return tool(f"transfer_to_{name}")(transfer)


@tool
def find_flight(to: str, cabin: Literal["eco", "first"] = "eco") -> str:
    """Find a flight."""
    return "LH1"


def travel(*models: ScriptedChatModel) -> Any:
    graph = StateGraph(MessagesState)
    supervisor = create_agent(models[0], [handoff("flights"), handoff("hotels")], name="supervisor")
    graph.add_node("supervisor", supervisor, destinations=("flights", "hotels", END))
    graph.add_node("flights", create_agent(models[1], [find_flight], name="flights"))
    graph.add_node("hotels", create_agent(models[2], [], name="hotels"))
    graph.add_edge(START, "supervisor")
    graph.add_edge("flights", "supervisor")
    graph.add_edge("hotels", "supervisor")
    return graph.compile(name="travel")


def test_a_supervisor_with_handoffs() -> None:
    steps = [call("transfer_to_flights"), "Done."], [call("find_flight", to="Oslo"), "LH1"], []
    program = travel(*(ScriptedChatModel(*some) for some in steps))

    hit, missed = told(Covered(lambda: program.invoke(HI)))

    assert hit == spread("""
        travel/nodes/: supervisor flights
        travel/edges/: __start__->supervisor supervisor->flights flights->supervisor supervisor->__end__
        supervisor/nodes/: model tools
        supervisor/edges/: __start__->model model->tools model->__end__
        supervisor/tools/transfer_to_flights.: called answered
        supervisor/models/model.: text tool_call
        flights/nodes/: model tools
        flights/edges/: __start__->model model->tools tools->model model->__end__
        flights/tools/find_flight.: called answered
        flights/arguments/find_flight.cabin.: left_out
        flights/models/model.: text tool_call
    """)
    assert missed == spread("""
        travel/nodes/: hotels
        travel/edges/: supervisor->hotels hotels->supervisor
        supervisor/edges/: tools->model
        supervisor/tools/transfer_to_flights.: raised
        supervisor/tools/transfer_to_hotels.: called answered raised
        flights/tools/find_flight.: raised refused
        flights/arguments/find_flight.cabin.: given ='eco' ='first'
        hotels/nodes/: model
        hotels/edges/: __start__->model model->__end__
    """) | outcomes("supervisor/models/model", "text", "tool_call") | outcomes(
        "flights/models/model", "text", "tool_call"
    ) | outcomes("hotels/models/model", "tool_call", "several_calls")


# -- map and reduce


class Topics(TypedDict, total=False):
    topics: list[str]
    jokes: Annotated[list[str], operator.add]


class Topic(TypedDict):
    topic: str


def jokes(model: ScriptedChatModel) -> Any:
    async def tell(given: Topic) -> Topics:
        return {"jokes": [str((await model.ainvoke(given["topic"])).content)]}

    graph = StateGraph(Topics)
    graph.add_node("plan", lambda state: {})
    graph.add_node("tell", tell)
    graph.add_node("pick", lambda state: {})
    graph.add_edge(START, "plan")
    graph.add_conditional_edges(
        "plan", lambda state: [Send("tell", {"topic": one}) for one in state["topics"]] or END, ["tell", END]
    )
    graph.add_edge("tell", "pick")
    graph.add_edge("pick", END)
    return graph.compile(name="jokes")


@pytest.mark.parametrize(
    ("topics", "hits"),
    [
        (["cats", "dogs"], "plan->tell tell->pick pick->__end__ __start__->plan"),
        ([], "plan->__end__ __start__->plan"),
    ],
)
def test_map_and_reduce(topics: list[str], hits: str) -> None:
    program = jokes(ScriptedChatModel(*(on(contains=topic) >> f"About {topic}." for topic in topics)))

    found = Covered(lambda: asyncio.run(program.ainvoke({"topics": topics})), program="jokes")

    every = {"plan->tell", "tell->pick", "pick->__end__", "__start__->plan", "plan->__end__"}
    assert (found.hits("edges"), found.missed("edges")) == (set(hits.split()), every - set(hits.split()))
    assert found.hits("nodes") == ({"plan", "tell", "pick"} if topics else {"plan"})
    assert found.hits("models") == ({"tell.text"} if topics else set())
    assert found.hits("models") | found.missed("models") == outcomes("tell", "tool_call", "several_calls")


# -- an agent that asks a person, and answers in one of two forms


class Yes(BaseModel):
    """Yes."""

    reason: str


class No(BaseModel):
    """No."""

    code: int


@tool
def wipe(path: str) -> str:
    """Wipe a disk."""
    return "wiped"


def test_an_agent_with_a_person_and_two_forms_of_answer() -> None:
    model = ScriptedChatModel(call("wipe", path="/"), call("Yes", {"x": 1}).unchecked(), structured({"code": 1}))
    agent: Any = create_agent(
        model,
        [wipe],
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"wipe": {"allowed_decisions": ["approve", "edit"]}})],
        response_format=ToolStrategy(Yes | No),
        checkpointer=InMemorySaver(),
        name="a",
    )
    edited = {"type": "edit", "edited_action": {"name": "wipe", "args": {"path": "/tmp"}}}

    def work() -> None:
        agent.invoke(HI, THREAD)
        assert agent.invoke(Command(resume={"decisions": [edited]}), THREAD)["structured_response"] == No(code=1)

    hit, missed = told(Covered(work))

    assert hit == spread("""
        a/nodes/: model tools HumanInTheLoopMiddleware.after_model
        a/edges/: __start__->model model->HumanInTheLoopMiddleware.after_model tools->model
        a/edges/HumanInTheLoopMiddleware.after_model->: tools model __end__
        a/tools/wipe.: called answered
        a/models/model.: tool_call
        a/answers/: Yes.refused No.given
        a/interrupts/wipe.: edit
        a/middleware/: HumanInTheLoopMiddleware.after_model HumanInTheLoopMiddleware.wrap_tool_call
    """)
    assert missed == outcomes("a/models/model", "text", "tool_call") | spread("""
        a/edges/: tools->__end__
        a/tools/wipe.: raised refused
        a/answers/: Yes.given No.refused
        a/interrupts/wipe.: approve
    """)


# -- answers from documents, with another model in reserve


def test_answers_from_documents_with_a_fallback() -> None:
    main, backup = ScriptedChatModel(fail(500), model_name="main"), ScriptedChatModel("They purr.", model_name="backup")
    documents = ScriptedRetriever(["Cats purr."], name="wiki") | (lambda found: "\n".join(one.page_content for one in found))
    prompt = ChatPromptTemplate.from_template("{context} {question}")
    given = {"context": documents, "question": RunnablePassthrough()}
    chain = (given | prompt | main.with_fallbacks([backup]) | StrOutputParser()).with_config(run_name="rag")

    hit, missed = told(Covered(lambda: chain.invoke("cats?")))

    prompts = {"rag/prompts/ChatPromptTemplate(context, question)"}
    assert hit == prompts | {
        "rag/models/model.text",
        "rag/models/model.error",
        "rag/fallbacks/main.1",
        "rag/retrievers/wiki.found",
    }
    assert missed == outcomes("rag/models/model", "text", "error", "tool_call", "several_calls") | spread("""
        rag/fallbacks/main.: exhausted
        rag/retrievers/wiki.: empty raised
    """)


# -- the functional API


@task
def outline(topic: str) -> str:
    return topic.upper()


@task
def shorten(text: str) -> str:
    return text[:3]


def test_an_essay_of_the_functional_api() -> None:
    model = ScriptedChatModel("An essay.")

    @task
    def write(topic: str) -> str:
        return str(model.invoke(topic).content)

    @entrypoint(checkpointer=InMemorySaver())
    def essay(topic: str) -> str:
        text = write(outline(topic).result()).result()
        return text if interrupt("long enough?") else shorten(text).result()

    def work() -> None:
        essay.invoke("cats", THREAD)
        assert essay.invoke(Command(resume=True), THREAD) == "An essay."

    hit, missed = told(Covered(work))

    assert hit == spread("""
        essay/nodes/: essay outline write
        essay/models/write.: text
        essay/interrupts/essay.: raised resumed
    """)
    assert missed == {"essay/nodes/shorten"} | outcomes("essay/models/write", "text", "tool_call", "several_calls")


# -- tools that are bound by one node and run by another


class Query(BaseModel):
    """A query."""

    limit: int


def run_query(limit: int) -> str:
    return str(limit)


QUERY: Any = StructuredTool.from_function(run_query, name="query", description="Ask.", args_schema=Query)


@tool
def approval(question: str) -> str:
    """Ask a person."""
    return str(interrupt(question))


def with_a_tool_node(model: ScriptedChatModel) -> Any:
    bound = model.bind_tools([QUERY, approval])
    graph = StateGraph(MessagesState)
    graph.add_node("agent", lambda state: {"messages": [bound.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([QUERY, approval]))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    return graph.compile(name="p")


def test_a_bound_tool_is_what_its_object_says() -> None:
    model = ScriptedChatModel(call("query", limit="many").unchecked(), "Sorry.")

    found = Covered(lambda: with_a_tool_node(model).invoke(HI), program="p")

    assert found.hits("tools") == {"query.called", "query.refused"}
    assert found.missed("tools") == spread("query.: answered raised") | spread(
        "approval.: called answered raised refused interrupted"
    )


def test_a_tool_that_is_made_in_a_node_is_judged_by_its_object() -> None:
    def ask(state: MessagesState) -> dict[str, Any]:
        class Order(BaseModel):
            count: int
            unit: Literal["box", "bag"] = "box"

        late = StructuredTool.from_function(lambda count, unit: unit, name="late", description="Order.", args_schema=Order)
        late.with_config(run_name="other").invoke({"count": 1, "unit": "bag"})
        with suppress(ValueError):
            late.invoke({"count": "many"})
        return {}

    graph = StateGraph(MessagesState)
    graph.add_node(ask)
    graph.add_edge(START, "ask")
    program: Any = graph.compile(name="p")

    found = Covered(lambda: program.invoke(HI), program="p")

    assert found.hits("tools") == spread("late.: called answered refused")
    assert found.hits("arguments") == spread("late.unit.: given ='bag'")
    assert found.missed("arguments") == spread("late.unit.: left_out ='box'")


class Person(BaseModel):
    """A person."""

    name: str
    nick: str = ""


def test_a_schema_that_is_bound_as_a_tool_is_called_by_the_model_and_never_runs() -> None:
    chain = ScriptedChatModel(call("Person", name="Ada")).bind_tools([Person]) | PydanticToolsParser(tools=[Person])
    program = chain.with_config(run_name="p")

    found = Covered(lambda: program.invoke("Ada"), program="p")

    assert (found.hits("tools"), found.missed("tools")) == ({"Person.called"}, set())
    assert (found.hits("arguments"), found.missed("arguments")) == ({"Person.nick.left_out"}, {"Person.nick.given"})


def test_the_arguments_of_a_declared_tool_that_are_no_json_tell_nothing() -> None:
    broken = AIMessage(
        "", invalid_tool_calls=[{"name": "Person", "args": "{", "id": "1", "error": None, "type": "invalid_tool_call"}]
    )
    program = (ScriptedChatModel(broken).bind_tools([Person]) | (lambda message: message)).with_config(run_name="p")

    found = Covered(lambda: program.invoke("Ada"), program="p")

    assert (found.hits("tools"), found.hits("arguments")) == ({"Person.called"}, set())


def test_a_tool_with_a_json_schema_is_never_refused_by_it() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    remote = StructuredTool(name="remote", description="Ask a server.", args_schema=schema, func=lambda **given: "ok")
    agent: Any = create_agent(ScriptedChatModel(call("remote").unchecked(), "Done."), [remote], name="p")

    found = Covered(lambda: agent.invoke(HI), program="p")

    assert (found.hits("tools"), found.missed("tools")) == (spread("remote.: called answered"), {"remote.raised"})


# -- parts of one name


def test_parts_of_one_name_are_told_apart_by_their_order() -> None:
    model, prompts = ScriptedChatModel("Yes.", "Ada."), [ChatPromptTemplate.from_template(f"{n} {{question}}") for n in range(3)]
    first = RunnableBranch((lambda given: True, prompts[0] | model), prompts[1] | model)
    second = RunnableBranch((lambda given: False, lambda given: given), prompts[2] | model)
    program = (first | (lambda answer: {"question": answer.text}) | second).with_config(run_name="p")

    found = Covered(lambda: program.invoke({"question": "Who?"}), program="p")

    prompt = "ChatPromptTemplate(question)"
    assert (found.hits("prompts"), found.missed("prompts")) == ({prompt, f"{prompt}#3"}, {f"{prompt}#2"})
    assert found.hits("branches") == {"RunnableLambda.1", "RunnableLambda#2.default"}
    assert found.missed("branches") == {"RunnableLambda.default", "RunnableLambda#2.1"}
    missing = {item.id: item.missing for item in found.inventory}
    assert missing[f"p/prompts/{prompt}#2"] == f"prompt `{prompt}` number 2 of this name, never formatted"


def test_one_part_in_two_nodes_is_one() -> None:
    prompt = ChatPromptTemplate.from_template("{question}")

    def ask(state: Any) -> Any:
        return {"messages": prompt.invoke({"question": "Who?"}).to_messages()}

    graph = StateGraph(MessagesState)
    for name in ("a", "b"):
        graph.add_node(name, ask)
    graph.add_edge(START, "a")
    graph.add_edge("a", "b")
    program: Any = graph.compile(name="p")

    found = Covered(lambda: program.invoke(HI), program="p")

    assert (found.hits("prompts"), found.missed("prompts")) == ({"ChatPromptTemplate(question)"}, set())


# -- time travel


def test_a_change_of_the_state_is_no_program() -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("a", lambda state: {})
    graph.add_edge(START, "a")
    program: Any = graph.compile(name="p", checkpointer=InMemorySaver())

    found = Covered(lambda: (program.invoke(HI, THREAD), program.update_state(THREAD, HI, as_node="a")))

    assert {item.program for item in found.inventory} == {"p"}


# -- an answer in the format of a provider


def test_an_answer_in_the_format_of_a_provider_is_refused() -> None:
    agent: Any = create_agent(ScriptedChatModel('{"code": "x"}'), [wipe], response_format=ProviderStrategy(No), name="p")

    def work() -> None:
        with suppress(StructuredOutputValidationError):
            agent.invoke(HI)

    found = Covered(work, program="p")

    assert (found.hits("answers"), found.missed("answers")) == ({"No.refused"}, {"No.given"})


def test_an_answer_whose_schema_is_a_dict_is_given() -> None:
    schema = {"title": "Form", "description": "A form.", "type": "object", "properties": {"code": {"type": "integer"}}}
    model = ScriptedChatModel(structured({"code": 1}))
    program = (RunnablePassthrough() | model.with_structured_output(schema, method="function_calling")).with_config(run_name="p")

    found = Covered(lambda: program.invoke("?"), program="p")

    assert (found.hits("answers"), found.missed("answers")) == ({"Form.given"}, {"Form.refused"})
