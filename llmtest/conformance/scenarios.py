"""What LangChain does to a handler: short programs that fire every callback, from the plain to the odd.

Each is written once. A `Drive` runs it in sync and in async code; the callbacks come from LangChain's own managers. What
the scripted doubles can make LangChain do is done by real models, chains, tools and retrievers; the rest, such as an
agent's action, is fired as LangChain fires it.

A scenario ends well with a handler that does nothing. It never raises by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from langchain_core.agents import AgentAction, AgentFinish
from langchain_core.callbacks import AsyncCallbackManager, CallbackManager, adispatch_custom_event, dispatch_custom_event
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool
from pydantic import BaseModel
from tenacity import RetryAction, RetryCallState, Retrying

from llmtest.langchain.chat_model import ScriptedChatModel
from llmtest.langchain.retriever import ScriptedRetriever
from llmtest.langchain.text_model import ScriptedLLM
from llmtest.langchain.tool import scripted_tool
from llmtest.scripts.steps import call, give, reply, say, think


class PlannedError(Exception):
    """What fails in a scenario that is about failing. Its text is empty, as that of many real errors is."""


class Thing:
    """A value of a program, with no attributes that a handler could count on."""

    def __repr__(self) -> str:
        return "Thing()"


class Drive:
    """Runs things with one handler attached: in async code where they have an async way, or else in sync code."""

    def __init__(self, handler: Any, *, is_async: bool) -> None:
        self.handler = handler
        self.is_async = is_async

    @property
    def config(self) -> RunnableConfig:
        return {"callbacks": [self.handler], "tags": ["checked"], "metadata": {"thread_id": "t1"}}

    async def invoke(self, runnable: Runnable[Any, object], value: object, **config: object) -> Any:
        about: Any = {**self.config, **config}
        with contextlib.suppress(PlannedError):
            return await runnable.ainvoke(value, about) if self.is_async else runnable.invoke(value, about)

    async def stream(self, runnable: Runnable[Any, object], value: object) -> None:
        with contextlib.suppress(PlannedError):
            if self.is_async:
                async for _ in runnable.astream(value, self.config):
                    pass
            else:
                for _ in runnable.stream(value, self.config):
                    pass

    async def start(self, kind: str, *args: Any, **kwargs: object) -> Any:
        """Start a run; return its run manager."""
        configured = (AsyncCallbackManager if self.is_async else CallbackManager).configure(
            [self.handler], inheritable_tags=["checked"], inheritable_metadata={"thread_id": "t1"}
        )
        begun = await _done(getattr(configured, kind)(*args, **kwargs))
        return _Run(begun[0] if isinstance(begun, list) else begun)


class _Run:
    """A run manager whose methods can be awaited, in sync code too."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        return lambda *args, **kwargs: _done(getattr(self._manager, name)(*args, **kwargs))


async def _done(value: Any) -> object:
    return await value if inspect.isawaitable(value) else value


@dataclass(frozen=True, slots=True)
class Scenario:
    """A short program. `when` says what happens in it; `why` what one that fails in a callback of `about` did not know."""

    when: str
    about: str
    why: str
    play: Callable[[Drive], Awaitable[None]]


SCENARIOS: Final[list[Scenario]] = []
"""All of them, from the plain to the odd: the first in which a handler fails tells most."""


def _scenario(when: str, about: str, why: str) -> Callable[[Callable[[Drive], Awaitable[None]]], None]:
    return lambda play: SCENARIOS.append(Scenario(when, about, why, play))


# -- chains


@_scenario(
    "a chain runs",
    "on_chain_start",
    "`serialized` is None for nearly every chain; the name of a run is `kwargs.get('name')`, or else in `serialized`",
)
async def _chain(drive: Drive) -> None:
    await drive.invoke(
        RunnableLambda(lambda inputs: {"answer": inputs["question"]}).with_config(run_name="echo"), {"question": "hi"}
    )


@_scenario(
    "a chain gets and gives plain values",
    "on_chain_start on_chain_end",
    "inputs and outputs of a chain are any objects: often a str, a list or None, no dict",
)
async def _values(drive: Drive) -> None:
    echo = RunnableLambda(lambda given: given)
    for value in ("text", ["a", "b"], None, 7, AIMessage("hello"), Thing()):
        await drive.invoke(echo, value)


@_scenario("a chain fails", "on_chain_error", "the text of an error may be empty")
async def _chain_fails(drive: Drive) -> None:
    await drive.invoke(RunnableLambda(_fail), "text")


def _fail(_: Any) -> None:
    raise PlannedError


@_scenario(
    "a chain group starts", "on_chain_start", "`name` is not always passed: a chain group has its name in `serialized` only"
)
async def _group(drive: Drive) -> None:
    run = await drive.start("on_chain_start", {"name": "my_group"}, {})
    await run.on_chain_end({})


@_scenario(
    "a chain without a name starts",
    "on_chain_start",
    "`serialized` and `name` may both be missing: fall back to a name of your own",
)
async def _nameless(drive: Drive) -> None:
    run = await drive.start("on_chain_start", None, {"question": "hi"})
    await run.on_chain_end({"answer": "hello"})


# -- chat models


@_scenario(
    "a chat model answers",
    "on_llm_end",
    "what a model gives back is in `response.generations[0][0].message`; `llm_output` may be None or have no usage",
)
async def _chat(drive: Drive) -> None:
    await drive.invoke(ScriptedChatModel("Hello there"), "hi")


@_scenario("a chat model streams", "on_llm_new_token", "a token is a str, and often an empty one; `chunk` has the rest")
async def _chat_streams(drive: Drive) -> None:
    await drive.stream(ScriptedChatModel(say("Hello", "", " there")), "hi")


@_scenario(
    "a chat model answers with a tool call",
    "on_llm_end on_llm_new_token",
    "the content of an answer may be empty: look at `message.tool_calls` too",
)
async def _calls(drive: Drive) -> None:
    model = ScriptedChatModel(call("search", q="x").times(2)).bind_tools([_search()])
    await drive.invoke(model, "hi")
    await drive.stream(model, "hi")


@_scenario(
    "a chat model answers without usage",
    "on_llm_end",
    "`usage_metadata` is None where a provider does not count, and in most streams",
)
async def _no_usage(drive: Drive) -> None:
    await drive.invoke(ScriptedChatModel(say("Hello there", usage=False)), "hi")
    await drive.stream(ScriptedChatModel(say("Hello there", usage=False)), "hi")


@_scenario(
    "a chat model streams content blocks",
    "on_llm_new_token",
    "a token may be a list of content blocks (Anthropic, OpenAI's Responses API): take the text from `chunk.text`",
)
async def _blocks(drive: Drive) -> None:
    await drive.stream(ScriptedChatModel(reply(think("hm"), "Hello there")), "hi")


@_scenario(
    "a chat model answers in content blocks",
    "on_llm_end",
    "the content of an answer may be a list of blocks: take `message.text`",
)
async def _whole_blocks(drive: Drive) -> None:
    await drive.invoke(ScriptedChatModel(reply(think("hm"), "Hello there")), "hi")


@_scenario(
    "a chat model gets messages of every kind",
    "on_chat_model_start on_llm_start",
    "the content of a message may be empty or a list of blocks: take `message.text`",
)
async def _messages(drive: Drive) -> None:
    tool_call = {"name": "search", "args": {"q": "x"}, "id": "call_1"}
    picture = {"type": "image", "url": "https://example.com/cat.png"}
    await drive.invoke(
        ScriptedChatModel("It is 18C."),
        [
            SystemMessage("Be brief."),
            HumanMessage([{"type": "text", "text": "What is this?"}, picture]),
            AIMessage("", tool_calls=[tool_call]),
            ToolMessage("18C", tool_call_id="call_1"),
        ],
    )


@_scenario(
    "a chat model fails before its first token", "on_llm_error", "an error may come without any token, and its text may be empty"
)
async def _chat_fails(drive: Drive) -> None:
    await drive.invoke(ScriptedChatModel(PlannedError()), "hi")
    await drive.stream(ScriptedChatModel(PlannedError()), "hi")


@_scenario("a chat model fails after some tokens", "on_llm_error", "what came before the error is in `response=` of on_llm_error")
async def _chat_breaks(drive: Drive) -> None:
    await drive.stream(ScriptedChatModel(say("Hello", " th").then_fail(PlannedError())), "hi")


_CHAT: Final = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain", "chat_models", "openai", "ChatOpenAI"],
    "kwargs": {},
    "name": "ChatOpenAI",
}


@_scenario(
    "models without a name start",
    "on_chat_model_start on_llm_start",
    "look for the name of a run in `kwargs.get('name')`, in `serialized['name']`, and at the end of `serialized['id']`",
)
async def _nameless_models(drive: Drive) -> None:
    chat = await drive.start("on_chat_model_start", {"id": ["langchain", "chat_models", "FakeChat"]}, [[HumanMessage("hi")]])
    await chat.on_llm_end(LLMResult(generations=[[ChatGeneration(message=AIMessage("Hello"))]]))
    text = await drive.start("on_llm_start", {"id": ["langchain", "llms", "FakeLLM"]}, ["hi"])
    await text.on_llm_end(LLMResult(generations=[[Generation(text="Hello")]]))


@_scenario(
    "a chat model gives no candidates",
    "on_llm_end",
    "`response.generations[0]` may be empty: a provider's filter can take every candidate",
)
async def _no_candidates(drive: Drive) -> None:
    run = await drive.start("on_chat_model_start", _CHAT, [[HumanMessage("hi")]])
    await run.on_llm_end(LLMResult(generations=[[]]))


@_scenario("a chat model gives several candidates", "on_llm_end", "a list of generations may have more than one")
async def _candidates(drive: Drive) -> None:
    run = await drive.start("on_chat_model_start", _CHAT, [[HumanMessage("hi")]])
    candidates: list[Any] = [ChatGeneration(message=AIMessage(text)) for text in ("Hello", "Hi")]
    await run.on_llm_end(LLMResult(generations=[candidates], llm_output={}))


@_scenario(
    "a model streams events",
    "on_stream_event",
    "an event of `stream_events(version='v3')` is a dict whose keys depend on its 'event'",
)
async def _events(drive: Drive) -> None:
    run = await drive.start("on_chat_model_start", _CHAT, [[HumanMessage("hi")]])
    known = hasattr(run._manager, "on_stream_event")  # newer than the oldest langchain-core that we support
    for event in _V3 if known else ():
        await run.on_stream_event(dict(event))
    await run.on_llm_end(LLMResult(generations=[[ChatGeneration(message=AIMessage("Hello"))]]))


_V3: Final[list[dict[str, object]]] = [
    {"event": "message-start", "role": "ai", "id": "lc_run--1"},
    {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}},
    {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "Hello"}},
    {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "Hello"}},
    {"event": "message-finish", "metadata": {}},
]


# -- text models


@_scenario(
    "a text model answers",
    "on_llm_start on_llm_end",
    "text models start with on_llm_start, and their generations have no message",
)
async def _llm(drive: Drive) -> None:
    await drive.invoke(ScriptedLLM("Hello there"), "hi")


@_scenario("a text model streams", "on_llm_new_token on_llm_end", "a chunk of a text model has no message")
async def _llm_streams(drive: Drive) -> None:
    await drive.stream(ScriptedLLM(say("Hello", "", " there")), "hi")


@_scenario("a text model sends tokens without chunks", "on_llm_new_token", "`chunk` may be None: many models pass the token only")
async def _no_chunk(drive: Drive) -> None:
    run = await drive.start("on_llm_start", {"name": "FakeLLM"}, ["hi"])
    await run.on_llm_new_token("Hello")
    await run.on_llm_end(LLMResult(generations=[[Generation(text="Hello")]]))


@_scenario("a text model fails", "on_llm_error", "an error may come without any token, and its text may be empty")
async def _llm_fails(drive: Drive) -> None:
    await drive.invoke(ScriptedLLM(PlannedError()), "hi")
    await drive.stream(ScriptedLLM(say("Hello", " th").then_fail(PlannedError())), "hi")


# -- tools and retrievers


class _Query(BaseModel):
    q: str


def _search(*results: Any) -> BaseTool:
    return scripted_tool("search", *results, args=_Query)


@_scenario("a tool runs", "on_tool_start", "`name` is None at the start of a tool: its name is in `serialized`")
async def _tool(drive: Drive) -> None:
    await drive.invoke(_search("18C"), {"q": "x"})


@_scenario("a tool answers a tool call", "on_tool_end", "the output of a tool is a ToolMessage when a model called it")
async def _tool_call(drive: Drive) -> None:
    called = {"type": "tool_call", "name": "search", "args": {"q": "x"}, "id": "call_1"}
    await drive.invoke(_search("18C"), called)


@_scenario(
    "a tool gets a str and gives anything",
    "on_tool_start on_tool_end",
    "`inputs` of a tool may be None, and its output any object",
)
async def _tool_values(drive: Drive) -> None:
    values = (None, {"temperature": 18}, ["a"], Thing())
    tool = _search(*map(give, values))
    for _ in values:
        await drive.invoke(tool, "x")


@_scenario("a tool fails", "on_tool_error", "the text of an error may be empty")
async def _tool_fails(drive: Drive) -> None:
    await drive.invoke(_search(PlannedError()), {"q": "x"})


@_scenario(
    "a retriever runs", "on_retriever_start on_retriever_end", "`serialized` is None for retrievers, and they may find nothing"
)
async def _retriever(drive: Drive) -> None:
    retriever = ScriptedRetriever(["Cats purr.", "Cats sleep."], [])
    await drive.invoke(retriever, "cats")
    await drive.invoke(retriever, "dogs")


@_scenario("a retriever fails", "on_retriever_error", "the text of an error may be empty")
async def _retriever_fails(drive: Drive) -> None:
    await drive.invoke(ScriptedRetriever(PlannedError()), "cats")


# -- chains of several steps


@_scenario(
    "a chain of several steps runs", "on_chain_start on_chain_end", "every step is a run of its own, with a `parent_run_id`"
)
async def _sequence(drive: Drive) -> None:
    await drive.invoke(_steps(), {"question": "hi"})


@_scenario(
    "a chain streams",
    "on_chain_start on_chain_end on_llm_new_token",
    "a chain that streams starts with the inputs {'input': ''}; the true ones come as `inputs=` of on_chain_end",
)
async def _stream(drive: Drive) -> None:
    await drive.stream(_steps(), {"question": "hi"})


def _steps() -> Runnable[Any, object]:
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "{question}")])
    return prompt | ScriptedChatModel("Hello there") | StrOutputParser()


# -- what happens within a run


@_scenario(
    "an agent of the classic kind acts",
    "on_agent_action on_agent_finish",
    "the tool input of an action is a str or a dict; `color` comes as a keyword",
)
async def _agent(drive: Drive) -> None:
    run = await drive.start("on_chain_start", None, {"input": "hi"}, name="AgentExecutor")
    for tool_input in ("x", {"q": "x"}):
        await run.on_agent_action(AgentAction("search", tool_input, "I search."), color="green")
    await run.on_agent_finish(AgentFinish({"output": "18C"}, ""), color="green", verbose=True)
    await run.on_chain_end({"output": "18C"})


@_scenario("a chain says text", "on_text", "`color`, `end` and `verbose` come as keywords, or not at all")
async def _text(drive: Drive) -> None:
    run = await drive.start("on_chain_start", None, {"input": "hi"}, name="LLMChain")
    await run.on_text("Prompt after formatting:", color="green", end="\n", verbose=True)
    await run.on_text("")
    await run.on_chain_end({"text": "hello"})


@_scenario("a model tries again", "on_retry", "a retry comes between start and end of its run, with tenacity's RetryCallState")
async def _retry(drive: Drive) -> None:
    run = await drive.start("on_chat_model_start", _CHAT, [[HumanMessage("hi")]])
    state = RetryCallState(Retrying(), None, (), {})
    state.set_exception((PlannedError, PlannedError(), None))
    state.next_action = RetryAction(4.0)
    await run.on_retry(state)
    await run.on_llm_end(LLMResult(generations=[[ChatGeneration(message=AIMessage("Hello"))]]))


@_scenario(
    "a program sends events of its own",
    "on_custom_event",
    "the data of a custom event are any object; it has no `parent_run_id`, and its `run_id` is that of the run around it",
)
async def _custom(drive: Drive) -> None:
    program = RunnableLambda(_dispatch, _adispatch)
    for data in ({"percent": 50}, "half", None, Thing()):
        await drive.invoke(program, data)


def _dispatch(data: Any, config: RunnableConfig) -> None:
    dispatch_custom_event("progress", data, config=config)


async def _adispatch(data: Any, config: RunnableConfig) -> None:
    await adispatch_custom_event("progress", data, config=config)


# -- runs that end otherwise, and runs side by side


@_scenario(
    "runs are cancelled, closed early or interrupted",
    "on_chain_error on_llm_error on_tool_error",
    "errors are not all Exceptions: CancelledError, GeneratorExit and KeyboardInterrupt come too, with no text",
)
async def _cut_short(drive: Drive) -> None:
    for error in (asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt()):
        chain = await drive.start("on_chain_start", None, {"question": "hi"}, name="chain")
        model = await drive.start("on_chat_model_start", _CHAT, [[HumanMessage("hi")]])
        tool = await drive.start("on_tool_start", {"name": "search", "description": ""}, "x")
        await tool.on_tool_error(error)
        await model.on_llm_error(error, response=LLMResult(generations=[]))
        await chain.on_chain_error(error)


@_scenario(
    "two runs are open at once",
    "on_llm_new_token on_llm_end on_tool_end on_chain_end",
    "one handler sees many runs, side by side: keep what you know of a run under its `run_id`",
)
async def _side_by_side(drive: Drive) -> None:
    models = [await drive.start("on_chat_model_start", _CHAT, [[HumanMessage(text)]]) for text in ("one", "two")]
    tools = [await drive.start("on_tool_start", {"name": name, "description": ""}, "x") for name in ("search", "book")]
    chains = [await drive.start("on_chain_start", None, {}, name=name) for name in ("left", "right")]
    for run in models:
        await run.on_llm_new_token("Hello", chunk=None)
    for run in models:
        await run.on_llm_end(LLMResult(generations=[[ChatGeneration(message=AIMessage("Hello"))]]))
    for run in tools:
        await run.on_tool_end("18C")
    for run in chains:
        await run.on_chain_end({})


# -- LangGraph


class _State(TypedDict, total=False):
    answer: str


@_scenario(
    "a graph is interrupted and resumed", "on_interrupt on_resume", "on_interrupt and on_resume get the event, and no keywords"
)
async def _graph(drive: Drive) -> None:
    if not is_graph_handler(drive.handler):
        return
    from langgraph.types import Command

    graph = _asking_graph()
    await drive.invoke(graph, {}, configurable={"thread_id": "t1"})
    await drive.invoke(graph, Command(resume="yes"), configurable={"thread_id": "t1"})


def _asking_graph() -> Any:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, StateGraph
    from langgraph.types import interrupt

    def ask(state: _State) -> _State:
        return {"answer": interrupt("Are you sure?")}

    builder = StateGraph(_State)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    return builder.compile(checkpointer=InMemorySaver())


def is_graph_handler(handler: Any) -> bool:
    """True if LangGraph would tell `handler` of interrupts. Asked by name: langgraph need not be installed."""
    return any((c.__module__, c.__name__) == ("langgraph.callbacks", "GraphCallbackHandler") for c in type(handler).__mro__)
