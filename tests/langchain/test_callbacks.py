"""Every callback on every path: what LangChain, LangGraph and their users' classes fire is recorded, once and in order."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_classic.agents import AgentExecutor, create_react_agent
from langchain_classic.chains.base import Chain
from langchain_classic.chains.llm import LLMChain
from langchain_classic.chains.retrieval import create_retrieval_chain
from langchain_core._api import suppress_langchain_beta_warning, suppress_langchain_deprecation_warning
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import (
    AsyncCallbackManager,
    CallbackManager,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.callbacks.manager import atrace_as_chain_group, trace_as_chain_group
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.language_models.llms import create_base_retry_decorator
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import (
    RunnableBranch,
    RunnableConfig,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tools import BaseTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt

from llmtest import Recording, ScriptedChatModel, ScriptedLLM, call, fail, record, reply, say
from llmtest.events import Failure, Run
from tests.support.tools import Shelf, weather

Call = Callable[[Any, Any], Any]


def told(recording: Recording) -> str:
    """The events, one a line: the kind without `on_`, and the name of the run."""
    return "\n".join(f"{event.kind[3:]} {event.name}" for event in recording)


# -- the things that fire, in each way of calling them


async def _drain(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


async def _one(value: Any) -> AsyncIterator[Any]:
    yield value


async def _v3(runnable: Any, value: Any) -> list[Any]:
    events = await _drain(await runnable.astream_events(value, version="v3"))
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})  # it ends its run when the consumer has all
    return events


WHOLE: dict[str, Call] = {
    "invoke": lambda runnable, value: runnable.invoke(value),
    "batch": lambda runnable, value: runnable.batch([value]),
    "batch_as_completed": lambda runnable, value: list(runnable.batch_as_completed([value])),
    "ainvoke": lambda runnable, value: asyncio.run(runnable.ainvoke(value)),
    "abatch": lambda runnable, value: asyncio.run(runnable.abatch([value])),
    "abatch_as_completed": lambda runnable, value: asyncio.run(_drain(runnable.abatch_as_completed([value]))),
}
STREAMED: dict[str, Call] = {
    "stream": lambda runnable, value: list(runnable.stream(value)),
    "transform": lambda runnable, value: list(runnable.transform(iter([value]))),
    "astream": lambda runnable, value: asyncio.run(_drain(runnable.astream(value))),
    "atransform": lambda runnable, value: asyncio.run(_drain(runnable.atransform(_one(value)))),
    "astream_events v1": lambda runnable, value: asyncio.run(_drain(runnable.astream_events(value, version="v1"))),
    "astream_events v2": lambda runnable, value: asyncio.run(_drain(runnable.astream_events(value, version="v2"))),
    "astream_log": lambda runnable, value: asyncio.run(_drain(runnable.astream_log(value))),
}
V3: dict[str, Call] = {
    "stream_events v3": lambda runnable, value: list(runnable.stream_events(value, version="v3")),
    "astream_events v3": lambda runnable, value: asyncio.run(_v3(runnable, value)),
}
if not hasattr(BaseChatModel, "stream_events"):  # langchain-core gained these after 1.0
    V3.clear()
CALLS = {**WHOLE, **STREAMED}
EVERY = {**CALLS, **V3}


def _run(how: Call, runnable: Any, value: Any) -> tuple[Recording, str]:
    """The recording of one call, and the class name of what it raised."""
    with record() as recording, suppress_langchain_beta_warning(), suppress_langchain_deprecation_warning():
        try:
            how(runnable, value)
        except Exception as error:
            return recording, type(error).__name__
    return recording, ""


SIMPLE: dict[str, tuple[Callable[[], Any], Any, list[str], str]] = {
    "on_chain_start, on_chain_end": (
        lambda: RunnableLambda(lambda x: x, name="step"),
        1,
        ["chain_start step", "chain_end step"],
        "",
    ),
    "on_chain_error": (
        lambda: RunnableLambda(lambda x: 1 / x, name="step"),
        0,
        ["chain_start step", "chain_error step"],
        "ZeroDivisionError",
    ),
    "on_tool_start, on_tool_end": (lambda: weather, {"city": "Paris"}, ["tool_start weather", "tool_end weather"], ""),
    "on_tool_error": (lambda: weather, {"city": "Atlantis"}, ["tool_start weather", "tool_error weather"], "ValueError"),
    "on_retriever_start, on_retriever_end": (Shelf, "cats", ["retriever_start Shelf", "retriever_end Shelf"], ""),
    "on_retriever_error": (Shelf, "nothing", ["retriever_start Shelf", "retriever_error Shelf"], "LookupError"),
}


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("row", SIMPLE)
def test_chains_tools_and_retrievers_fire_their_rows_in_every_way(row: str, how: str) -> None:
    make, given, expected, raises = SIMPLE[row]

    recording, raised = _run(CALLS[how], make(), given)

    assert (told(recording), raised) == ("\n".join(expected), raises)


def _broken(model: type[Any]) -> Any:
    return model(say("a", "b").then_fail(ConnectionError("reset")))


MODELS: dict[str, tuple[Callable[[], Any], str, list[str], str]] = {
    "on_chat_model_start, on_llm_new_token, on_llm_end": (
        lambda: ScriptedChatModel(say("a", "b")),
        "chat_model_start ScriptedChatModel",
        ["llm_end ScriptedChatModel"],
        "",
    ),
    "on_llm_start, on_llm_new_token, on_llm_end": (
        lambda: ScriptedLLM(say("a", "b")),
        "llm_start ScriptedLLM",
        ["llm_end ScriptedLLM"],
        "",
    ),
    "on_llm_error of a chat model": (
        lambda: _broken(ScriptedChatModel),
        "chat_model_start ScriptedChatModel",
        ["llm_error ScriptedChatModel"],
        "ConnectionError",
    ),
    "on_llm_error of a text model": (
        lambda: _broken(ScriptedLLM),
        "llm_start ScriptedLLM",
        ["llm_error ScriptedLLM"],
        "ConnectionError",
    ),
}


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("row", MODELS)
def test_models_fire_their_rows_in_every_way_and_tokens_where_they_stream(row: str, how: str) -> None:
    make, start, ends, raises = MODELS[row]
    tokens = [f"llm_new_token {start.split()[1]}"] * 2 if how in STREAMED else []

    recording, raised = _run(CALLS[how], make(), "hi")

    assert (told(recording), raised) == ("\n".join([start, *tokens, *ends]), raises)


@pytest.mark.parametrize("how", V3)
@pytest.mark.parametrize(
    ("make", "after", "end"),
    [
        (lambda: ScriptedChatModel(say("a", "b")), 3, "llm_end"),
        (lambda: _broken(ScriptedChatModel), 1, "llm_error"),
    ],
    ids=["on_stream_event", "on_stream_event before an error"],
)
def test_v3_streams_fire_each_token_and_its_stream_events(make: Any, after: int, end: str, how: str) -> None:
    recording, _ = _run(V3[how], make(), "hi")

    first, second = ["llm_new_token", *["stream_event"] * 3], ["llm_new_token", *["stream_event"] * after]
    kinds = ["chat_model_start", *first, *second, end]
    assert told(recording) == "\n".join(f"{kind} ScriptedChatModel" for kind in kinds)


# -- programs of many runs


class State(TypedDict, total=False):
    text: str
    many: Annotated[list[str], operator.add]
    messages: Annotated[list[Any], operator.add]


def _to_act(state: State) -> str:
    return "act"


def _graph() -> Any:
    graph = StateGraph(State)
    graph.add_node("think", lambda state: {"text": ScriptedChatModel("yes").invoke(state["text"]).content})
    graph.add_node("act", lambda state: {"many": ["acted"]})
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", _to_act, ["act"])
    return graph.compile()


def _subgraph() -> Any:
    graph = StateGraph(State)
    graph.add_node("inner", _graph())
    graph.add_edge(START, "inner")
    return graph.compile(name="Outer")


def _sends() -> Any:
    def fan(state: State) -> list[Send]:
        return [Send("worker", {"text": text}) for text in ("a", "b", "c")]

    graph = StateGraph(State)
    graph.add_node("worker", lambda state: {"many": [state["text"]]})
    graph.add_conditional_edges(START, fan, ["worker"])
    return graph.compile()


def _parallel_nodes() -> Any:
    graph = StateGraph(State)
    for name in ("left", "right"):
        graph.add_node(name, lambda state: {"many": ["x"]})
        graph.add_edge(START, name)
    return graph.compile()


def _functional() -> Any:
    @task
    def double(x: int) -> int:
        return x * 2

    @entrypoint()
    def flow(x: int) -> int:
        return double(x).result() + 1  # type: ignore[no-any-return]

    return flow


def _agent(*middleware: Any) -> Any:
    both = reply(call("weather", city="Paris").with_id("1"), call("weather", city="Rome").with_id("2"))
    return create_agent(ScriptedChatModel(both, "18C"), [weather], middleware=middleware)


class Nosy(AgentMiddleware[Any, Any, Any]):
    def before_model(self, state: Any, runtime: Any) -> None:
        return None

    async def abefore_model(self, state: Any, runtime: Any) -> None:
        return None

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request)

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        return await handler(request)

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        return await handler(request)


def _executor() -> Any:
    prompt = PromptTemplate.from_template("{tools} {tool_names} {input} {agent_scratchpad}")
    model = ScriptedLLM("Thought: x\nAction: weather\nAction Input: Paris", "I know.\nFinal Answer: 18C")
    return AgentExecutor(agent=create_react_agent(model, [weather], prompt), tools=[weather])


def _llm_chain() -> Any:
    with suppress_langchain_deprecation_warning():
        return LLMChain(llm=ScriptedLLM("3"), prompt=PromptTemplate.from_template("1 + {number} = "))


class Polite(Chain):
    """A user's own chain, in the old style."""

    model: Any

    @property
    def input_keys(self) -> list[str]:
        return ["text"]

    @property
    def output_keys(self) -> list[str]:
        return ["said"]

    def _call(self, inputs: dict[str, Any], run_manager: Any = None) -> dict[str, Any]:
        run_manager.on_text("please")
        return {"said": self.model.invoke(inputs["text"], {"callbacks": run_manager.get_child("step")})}

    async def _acall(self, inputs: dict[str, Any], run_manager: Any = None) -> dict[str, Any]:
        await run_manager.on_text("please")
        return {"said": await self.model.ainvoke(inputs["text"], {"callbacks": run_manager.get_child("step")})}


class Asking(BaseTool):
    """A user's own tool, that asks a model."""

    name: str = "asking"
    description: str = "Asks."
    model: Any

    def _run(self, text: str, run_manager: Any = None) -> str:
        run_manager.on_text("asking")
        return str(self.model.invoke(text, {"callbacks": run_manager.get_child()}).content)

    async def _arun(self, text: str, run_manager: Any = None) -> str:
        await run_manager.on_text("asking")
        return str((await self.model.ainvoke(text, {"callbacks": run_manager.get_child()})).content)


class Talker(BaseChatModel):
    """A user's own chat model, that tells its tokens itself."""

    @property
    def _llm_type(self) -> str:
        return "talker"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        for token in ("a", "b"):
            run_manager.on_llm_new_token(token)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("ab"))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        for token in ("a", "b"):
            await run_manager.on_llm_new_token(token)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("ab"))])


class Mumbler(LLM):
    """A user's own text model, that tells its tokens itself."""

    @property
    def _llm_type(self) -> str:
        return "mumbler"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        run_manager.on_llm_new_token("ab")
        return "ab"

    async def _acall(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        await run_manager.on_llm_new_token("ab")
        return "ab"


def _flaky() -> Any:
    attempts = iter([ConnectionError("reset"), None, None])

    def step(value: Any) -> Any:
        error = next(attempts)
        if error:
            raise error
        return value

    return RunnableLambda(step).with_retry(wait_exponential_jitter=False, stop_after_attempt=2)


def _custom(value: Any) -> Any:
    dispatch_custom_event("seen", {"value": value})
    return value


async def _acustom(value: Any) -> Any:
    await adispatch_custom_event("seen", {"value": value})
    return value


def _retrieval() -> Any:
    return create_retrieval_chain(Shelf(), RunnableLambda(lambda x: f"{len(x['context'])} book", name="combine"))


def _branch() -> Any:
    chosen = RunnableLambda(lambda x: "big", name="big")
    return RunnableBranch((lambda x: x > 5, chosen), RunnableLambda(lambda x: "small", name="small"))


def _sequence() -> Any:
    return ChatPromptTemplate.from_template("say {x}") | ScriptedChatModel(say("a", "b")) | StrOutputParser()


def _fallbacks() -> Any:
    return ScriptedChatModel(fail(ConnectionError("reset"))).with_fallbacks([ScriptedChatModel("b")])


def _nested() -> Any:
    inner = RunnableLambda(lambda x: x, name="inner")
    return RunnableLambda(lambda x: inner.invoke(x), afunc=inner.ainvoke, name="outer")


def _returned() -> Any:
    return RunnableLambda(lambda x: RunnableLambda(lambda y: y, name="returned"), name="outer")


def _generator() -> Any:
    def double(values: Iterator[int]) -> Iterator[int]:
        yield from (value * 2 for value in values)

    async def adouble(values: AsyncIterator[int]) -> AsyncIterator[int]:
        async for value in values:
            yield value * 2

    return RunnableGenerator(double, adouble)


class Answer(TypedDict):
    """An answer."""

    text: str


@dataclass(frozen=True)
class Program:
    """A program of many runs, and what it fires beside tokens. Side by side: its branches, or the parts of a stream, overlap."""

    make: Callable[[], Any]
    given: Any
    fires: str
    side_by_side: bool = False
    ways: tuple[str, ...] = ("invoke", "ainvoke", "batch", "abatch", "stream", "astream", "astream_events v2")


GRAPH = (*Program.ways, *V3)
WHOLE_ONLY = ("invoke", "ainvoke", "batch", "abatch")
HI = {"messages": [("user", "hi")]}

PROGRAMS: dict[str, Program] = {
    "sequence": Program(
        _sequence,
        {"x": "hi"},
        """
        chain_start RunnableSequence
        chain_start ChatPromptTemplate
        chain_end ChatPromptTemplate
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_start StrOutputParser
        chain_end StrOutputParser
        chain_end RunnableSequence
        """,
        side_by_side=True,
    ),
    "parallel": Program(
        lambda: RunnableParallel(a=RunnableLambda(lambda x: x, name="a"), b=RunnableLambda(lambda x: x, name="b")),
        1,
        """
        chain_start RunnableParallel<a,b>
        chain_start a
        chain_end a
        chain_start b
        chain_end b
        chain_end RunnableParallel<a,b>
        """,
        side_by_side=True,
    ),
    "branch": Program(
        _branch,
        7,
        """
        chain_start RunnableBranch
        chain_start RunnableLambda
        chain_end RunnableLambda
        chain_start big
        chain_end big
        chain_end RunnableBranch
        """,
    ),
    "assign": Program(
        lambda: RunnablePassthrough.assign(b=RunnableLambda(lambda x: 1, name="b")),
        {"a": 1},
        """
        chain_start RunnableAssign<b>
        chain_start RunnableParallel<b>
        chain_start b
        chain_end b
        chain_end RunnableParallel<b>
        chain_end RunnableAssign<b>
        """,
    ),
    "map": Program(
        lambda: RunnableLambda(lambda x: x, name="each").map(),
        [1, 2],
        """
        chain_start RunnableEach<each>
        chain_start each
        chain_end each
        chain_start each
        chain_end each
        chain_end RunnableEach<each>
        """,
        side_by_side=True,
        ways=Program.ways[:-1],
    ),
    "retry": Program(
        _flaky,
        1,
        """
        chain_start step
        chain_start step
        chain_error step
        chain_start step
        chain_end step
        chain_end step
        """,
        ways=WHOLE_ONLY,
    ),
    "fallbacks": Program(
        _fallbacks,
        "hi",
        """
        chain_start RunnableWithFallbacks
        chat_model_start ScriptedChatModel
        llm_error ScriptedChatModel
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_end RunnableWithFallbacks
        """,
    ),
    "generator": Program(
        _generator,
        1,
        """
        chain_start double
        chain_end double
        """,
    ),
    "called inside": Program(
        _nested,
        1,
        """
        chain_start outer
        chain_start inner
        chain_end inner
        chain_end outer
        """,
    ),
    "returned": Program(
        _returned,
        1,
        """
        chain_start outer
        chain_start returned
        chain_end returned
        chain_end outer
        """,
    ),
    "structured output": Program(
        lambda: ScriptedChatModel(call("Answer", text="x")).with_structured_output(Answer),
        "hi",
        """
        chain_start RunnableSequence
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_start JsonOutputKeyToolsParser
        chain_end JsonOutputKeyToolsParser
        chain_end RunnableSequence
        """,
        side_by_side=True,
    ),
    "graph": Program(
        _graph,
        {"text": "hi"},
        """
        chain_start LangGraph
        chain_start think
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_start _to_act
        chain_end _to_act
        chain_end think
        chain_start act
        chain_end act
        chain_end LangGraph
        """,
        ways=GRAPH,
    ),
    "subgraph": Program(
        _subgraph,
        {"text": "hi"},
        """
        chain_start Outer
        chain_start inner
        chain_start LangGraph
        chain_start think
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_start _to_act
        chain_end _to_act
        chain_end think
        chain_start act
        chain_end act
        chain_end LangGraph
        chain_end inner
        chain_end Outer
        """,
        ways=GRAPH,
    ),
    "Send": Program(
        _sends,
        {"text": "hi"},
        """
        chain_start LangGraph
        chain_start __start__
        chain_start fan
        chain_end fan
        chain_end __start__
        chain_start worker
        chain_end worker
        chain_start worker
        chain_end worker
        chain_start worker
        chain_end worker
        chain_end LangGraph
        """,
        side_by_side=True,
        ways=GRAPH,
    ),
    "parallel nodes": Program(
        _parallel_nodes,
        {"text": "hi"},
        """
        chain_start LangGraph
        chain_start left
        chain_end left
        chain_start right
        chain_end right
        chain_end LangGraph
        """,
        side_by_side=True,
        ways=GRAPH,
    ),
    "functional graph": Program(
        _functional,
        1,
        """
        chain_start LangGraph
        chain_start flow
        chain_start double
        chain_end double
        chain_end flow
        chain_end LangGraph
        """,
        side_by_side=True,
        ways=GRAPH,
    ),
    "agent with parallel tools": Program(
        _agent,
        HI,
        """
        chain_start LangGraph
        chain_start model
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_end model
        chain_start tools
        chain_start tools
        tool_start weather
        tool_end weather
        chain_end tools
        tool_start weather
        tool_end weather
        chain_end tools
        chain_start model
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_end model
        chain_end LangGraph
        """,
        side_by_side=True,
        ways=GRAPH,
    ),
    "agent with middleware": Program(
        lambda: _agent(Nosy()),
        HI,
        """
        chain_start LangGraph
        chain_start Nosy.before_model
        chain_end Nosy.before_model
        chain_start model
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_end model
        chain_start tools
        chain_start tools
        tool_start weather
        tool_end weather
        chain_end tools
        tool_start weather
        tool_end weather
        chain_end tools
        chain_start Nosy.before_model
        chain_end Nosy.before_model
        chain_start model
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_end model
        chain_end LangGraph
        """,
        side_by_side=True,
        ways=GRAPH,
    ),
    "AgentExecutor": Program(
        _executor,
        {"input": "weather?"},
        """
        chain_start AgentExecutor
        chain_start RunnableSequence
        chain_start RunnableAssign<agent_scratchpad>
        chain_start RunnableParallel<agent_scratchpad>
        chain_start RunnableLambda
        chain_end RunnableLambda
        chain_end RunnableParallel<agent_scratchpad>
        chain_end RunnableAssign<agent_scratchpad>
        chain_start PromptTemplate
        chain_end PromptTemplate
        llm_start ScriptedLLM
        llm_end ScriptedLLM
        chain_start ReActSingleInputOutputParser
        chain_end ReActSingleInputOutputParser
        chain_end RunnableSequence
        agent_action AgentExecutor
        tool_start weather
        tool_end weather
        chain_start RunnableSequence
        chain_start RunnableAssign<agent_scratchpad>
        chain_start RunnableParallel<agent_scratchpad>
        chain_start RunnableLambda
        chain_end RunnableLambda
        chain_end RunnableParallel<agent_scratchpad>
        chain_end RunnableAssign<agent_scratchpad>
        chain_start PromptTemplate
        chain_end PromptTemplate
        llm_start ScriptedLLM
        llm_end ScriptedLLM
        chain_start ReActSingleInputOutputParser
        chain_end ReActSingleInputOutputParser
        chain_end RunnableSequence
        agent_finish AgentExecutor
        chain_end AgentExecutor
        """,
    ),
    "LLMChain": Program(
        _llm_chain,
        {"number": 2},
        """
        chain_start LLMChain
        text LLMChain
        llm_start ScriptedLLM
        llm_end ScriptedLLM
        chain_end LLMChain
        """,
    ),
    "retrieval chain": Program(
        _retrieval,
        {"input": "cats"},
        """
        chain_start retrieval_chain
        chain_start RunnableAssign<context>
        chain_start RunnableParallel<context>
        chain_start retrieve_documents
        chain_start RunnableLambda
        chain_end RunnableLambda
        retriever_start Shelf
        retriever_end Shelf
        chain_end retrieve_documents
        chain_end RunnableParallel<context>
        chain_end RunnableAssign<context>
        chain_start RunnableAssign<answer>
        chain_start RunnableParallel<answer>
        chain_start combine
        chain_end combine
        chain_end RunnableParallel<answer>
        chain_end RunnableAssign<answer>
        chain_end retrieval_chain
        """,
        side_by_side=True,
    ),
    "own chain": Program(
        lambda: Polite(model=ScriptedChatModel("x")),
        {"text": "hi"},
        """
        chain_start Polite
        text Polite
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        chain_end Polite
        """,
    ),
    "own tool": Program(
        lambda: Asking(model=ScriptedChatModel("x")),
        {"text": "hi"},
        """
        tool_start asking
        text asking
        chat_model_start ScriptedChatModel
        llm_end ScriptedChatModel
        tool_end asking
        """,
    ),
    "custom event": Program(
        lambda: RunnableLambda(_custom, _acustom, name="step"),
        1,
        """
        chain_start step
        custom_event step
        chain_end step
        """,
    ),
}


@pytest.mark.parametrize(("name", "how"), [(name, how) for name, program in PROGRAMS.items() for how in program.ways])
def test_a_program_fires_the_same_in_every_way_of_calling_it(name: str, how: str) -> None:
    program = PROGRAMS[name]

    recording, raised = _run(EVERY[how], program.make(), program.given)

    fired = [f"{event.kind[3:]} {event.name}" for event in recording if event.kind not in STREAMING]
    expected = [line.strip() for line in program.fires.strip().splitlines()]
    if program.side_by_side:
        fired, expected = sorted(fired), sorted(expected)
    assert (fired, raised, _disorder(recording)) == (expected, "", [])


STREAMING = ("on_llm_new_token", "on_stream_event")


def _disorder(recording: Recording) -> list[str]:
    """What is out of order: numbers, the events of a run, a child outside its parent, tokens that are not the answer."""
    wrong = [] if [event.number for event in recording] == list(range(len(recording))) else ["numbers"]
    for run in recording.runs:
        kinds = [event.kind for event in run.events if event.kind not in (*STREAMING, "on_text", "on_custom_event", *AGENT)]
        first, last = (kinds[0], kinds[-1]) if len(kinds) == 2 else ("", "")
        if not first.endswith("_start") or not last.endswith(("_end", "_error")) or run.events[-1].kind != last:
            wrong.append(f"{run.name}: {kinds}")
        wrong += [f"{child.name} in {run.name}" for child in run.children if not _within(child, run)]
        if run.kind in ("chat", "llm") and run.tokens and "".join(run.tokens) != _text(run):
            wrong.append(f"tokens of {run.name}")
    return wrong


AGENT = ("on_agent_action", "on_agent_finish")


def _within(child: Run, parent: Run) -> bool:
    return parent.events[0].number < child.events[0].number and child.events[-1].number < parent.events[-1].number


def _text(run: Run) -> str:
    return str(run.output.text if run.kind == "chat" else run.output)


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize(
    ("make", "fires"),
    [
        (Talker, ["chat_model_start", "llm_new_token", "llm_new_token", "llm_end"]),
        (Mumbler, ["llm_start", "llm_new_token", "llm_end"]),
    ],
)
def test_a_model_that_tells_its_tokens_itself_is_heard_in_every_way(make: Any, fires: list[str], how: str) -> None:
    recording, raised = _run(CALLS[how], make(), "hi")

    assert (told(recording), raised) == ("\n".join(f"{kind} {make.__name__}" for kind in fires), "")


# -- the rest of the table


def _again(manager: Any) -> Any:
    return create_base_retry_decorator([ConnectionError], max_retries=2, run_manager=manager)


def _at_once(decorated: Any) -> Any:
    decorated.retry.wait = lambda state: 0
    return decorated


def _retrying(value: Any, config: RunnableConfig) -> None:
    manager = CallbackManager.configure(config["callbacks"]).on_llm_start({"name": "own"}, ["p"])[0]
    attempts = iter([ConnectionError("reset"), None])

    @_at_once
    @_again(manager)
    def flaky() -> None:
        if error := next(attempts):
            raise error

    flaky()
    manager.on_llm_end(LLMResult(generations=[]))


async def _aretrying(value: Any, config: RunnableConfig) -> None:
    (manager,) = await AsyncCallbackManager.configure(config["callbacks"]).on_llm_start({"name": "own"}, ["p"])
    attempts = iter([ConnectionError("reset"), None])

    @_at_once
    @_again(manager)
    async def flaky() -> None:
        if error := next(attempts):
            raise error

    await flaky()
    await manager.on_llm_end(LLMResult(generations=[]))


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_on_retry_is_recorded_with_its_attempt_and_its_error(how: str) -> None:
    recording, raised = _run(CALLS[how], RunnableLambda(_retrying, _aretrying, name="step"), 1)

    assert (told(recording), raised) == ("chain_start step\nllm_start own\nretry own\nllm_end own\nchain_end step", "")
    # LangChain tells it of an async call from a task of its own, which looks when the next attempt has begun.
    first, second = {"attempt_number": 1, "error": Failure("ConnectionError", "reset")}, {"attempt_number": 2}
    assert recording[2].payload == (second if how in ("ainvoke", "astream") else first)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_interrupt_pauses_its_node_and_a_resume_is_a_new_root(is_async: bool) -> None:
    graph = StateGraph(State)
    graph.add_node("ask", lambda state: {"text": interrupt("sure?")})
    graph.add_edge(START, "ask")
    program = graph.compile(checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}

    with record() as recording:
        for value in ({"text": "hi"}, Command(resume="yes")):
            _go(program, value, config, is_async)

    assert told(recording).splitlines() == [
        *["chain_start LangGraph", "chain_start ask", "chain_error ask", "interrupt LangGraph", "chain_end LangGraph"],
        *["chain_start LangGraph", "resume LangGraph", "chain_start ask", "chain_end ask", "chain_end LangGraph"],
    ]
    assert [run.ended for run in recording.runs] == ["paused", "paused", "ended", "ended"]


def _go(program: Any, value: Any, config: RunnableConfig | None, is_async: bool) -> Any:
    return asyncio.run(program.ainvoke(value, config)) if is_async else program.invoke(value, config)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_cached_chat_model_starts_and_ends_and_a_cached_text_model_does_nothing(is_async: bool) -> None:
    # https://github.com/langchain-ai/langchain/issues/9537: what LangChain does not fire, nobody can record.
    chat, text = ScriptedChatModel("x", cache=InMemoryCache()), ScriptedLLM("x", cache=InMemoryCache())

    with record() as recording:
        for model in (chat, chat, text, text):
            _go(model, "hi", None, is_async)

    chat_model = ["chat_model_start ScriptedChatModel", "llm_end ScriptedChatModel"]
    assert told(recording).splitlines() == [*chat_model, *chat_model, "llm_start ScriptedLLM", "llm_end ScriptedLLM"]


def test_a_group_of_calls_is_a_chain() -> None:
    with record() as recording, trace_as_chain_group("group") as manager:
        ScriptedChatModel("x").invoke("hi", {"callbacks": manager})

    assert told(recording).splitlines() == [
        "chain_start group",
        *["chat_model_start ScriptedChatModel", "llm_end ScriptedChatModel"],
        "chain_end group",
    ]


@pytest.mark.asyncio
async def test_an_async_group_of_calls_that_fails_is_a_chain_that_failed() -> None:
    with record() as recording, pytest.raises(KeyError):
        async with atrace_as_chain_group("group") as manager:
            await ScriptedChatModel("x").ainvoke("hi", {"callbacks": manager})
            raise KeyError

    assert told(recording).splitlines() == [
        "chain_start group",
        *["chat_model_start ScriptedChatModel", "llm_end ScriptedChatModel"],
        "chain_error group",
    ]


@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_stream_that_is_closed_early_says_so(how: str) -> None:
    model = ScriptedChatModel(say("a", "b", "c"))

    with record() as recording:
        asyncio.run(_first(model)) if how == "astream" else _close(model.stream("hi"))

    assert told(recording).splitlines() == [
        f"{kind} ScriptedChatModel" for kind in ("chat_model_start", "llm_new_token", "llm_error")
    ]
    assert recording.models[0].ended == "closed early"


def _close(stream: Any) -> None:
    next(stream)
    stream.close()


async def _first(model: Any) -> None:
    stream = model.astream("hi")
    await anext(stream)
    await stream.aclose()


@pytest.mark.asyncio
async def test_a_cancelled_program_ends_its_runs_as_cancelled() -> None:
    started = asyncio.Event()

    async def wait(value: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    with record() as recording:
        running = asyncio.create_task((RunnableLambda(lambda x: x, name="first") | RunnableLambda(wait)).ainvoke(1))
        await started.wait()
        running.cancel()
        await asyncio.wait([running])

    assert told(recording).splitlines() == [
        "chain_start RunnableSequence",
        *["chain_start first", "chain_end first"],
        *["chain_start wait", "chain_error wait"],
        "chain_error RunnableSequence",
    ]
    assert [run.ended for run in recording.runs] == ["cancelled", "ended", "cancelled"]


def test_a_model_without_callbacks_of_its_caller_is_a_root_of_its_own() -> None:
    def work(value: Any) -> Any:
        return ScriptedChatModel("x").invoke("hi", {"callbacks": []})

    with record() as recording:
        RunnableLambda(work).invoke(1)

    assert [run.name for run in recording.roots] == ["work", "ScriptedChatModel"]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_agent_whose_tool_fails_has_the_error_of_the_tool_and_of_all_above(is_async: bool) -> None:
    agent = create_agent(ScriptedChatModel(call("weather", city="Atlantis")), [weather])

    with record() as recording, pytest.raises(ValueError, match="no such city"):
        _go(agent, HI, None, is_async)

    assert [(run.name, run.ended) for run in recording.runs] == [
        ("LangGraph", "error"),
        ("model", "ended"),
        ("ScriptedChatModel", "ended"),
        ("tools", "error"),
        ("weather", "error"),
    ]
    assert told(recording).splitlines()[-3:] == ["tool_error weather", "chain_error tools", "chain_error LangGraph"]
