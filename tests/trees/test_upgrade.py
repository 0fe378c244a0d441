"""Programs whose trees are the same under every supported version of langchain-core, langgraph and syrupy.

Their snapshots are in `__snapshots__/test_upgrade`; the version matrix compares them under the lowest and the newest.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableBranch, RunnableLambda, RunnableParallel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

from llmtest import ScriptedChatModel, ScriptedLLM, ScriptedRetriever, call, fail, reply, say, think
from tests.support.tools import weather


def sequence() -> Any:
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief.\nBe kind."), ("user", "joke about {topic}")])
    return prompt | ScriptedChatModel(say("why ", "did").repeat()) | StrOutputParser()


def invoked() -> None:
    sequence().invoke({"topic": "bears"}, {"tags": ["night"], "metadata": {"shop": 7}})


def streamed() -> None:
    list(sequence().stream({"topic": "bears"}))


def streamed_async() -> None:
    async def drain() -> None:
        async for _ in RunnableParallel(a=sequence(), b=RunnableLambda(len)).astream({"topic": "bears"}):
            pass

    asyncio.run(drain())


def branched() -> None:
    words = RunnableLambda(lambda text: text.upper(), name="shout")
    RunnableBranch((lambda text: "?" in text, words), RunnableLambda(lambda text: text, name="say")).invoke("why?")


def fell_back() -> None:
    ScriptedChatModel(fail(TimeoutError("slow"))).with_fallbacks([ScriptedChatModel("here")]).invoke("hi")


def text_model() -> None:
    list(ScriptedLLM(say("one ", "two")).stream("count"))


def retrieved() -> None:
    ScriptedRetriever(["bears are big", "cats are not"]).invoke("bears")


def reasoned() -> None:
    list(ScriptedChatModel(reply(think("hm"), "yes")).stream("is it?"))


def told() -> None:
    def work(text: str) -> str:
        dispatch_custom_event("progress", {"done": 1})
        return text

    RunnableLambda(work, name="worker").invoke("go")


def graph() -> None:
    model = ScriptedChatModel(call("weather", city="Paris"), "It is 18C.").bind_tools([weather])

    def ask(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    def run_tools(state: MessagesState) -> Any:
        return {"messages": [weather.invoke(request) for request in state["messages"][-1].tool_calls]}

    built = StateGraph(MessagesState).add_node("ask", ask).add_node("tools", run_tools).add_edge(START, "ask")
    built.add_conditional_edges("ask", lambda state: "tools" if state["messages"][-1].tool_calls else END, ["tools", END])
    built.add_edge("tools", "ask").compile(name="shop").invoke({"messages": [("user", "weather in Paris?")]})


class Words(TypedDict):
    words: Annotated[list[str], lambda a, b: sorted([*a, *b])]


def fanned_out() -> None:
    built = (
        StateGraph(Words).add_node("split", lambda state: {"words": []}).add_node("count", lambda word: {"words": [word + "!"]})
    )
    built.add_edge(START, "split").add_conditional_edges(
        "split", lambda state: [Send("count", w) for w in ("a", "b", "c")], ["count"]
    )
    built.compile(name="fan").invoke({"words": []})


def interrupted() -> None:
    def ask(state: MessagesState) -> Any:
        return {"messages": [("user", interrupt("Approve?"))]}

    built = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile(InMemorySaver(), name="desk")
    config: Any = {"configurable": {"thread_id": "t"}}
    built.invoke({"messages": [("user", "hi")]}, config)
    built.invoke(Command(resume="yes"), config)


PROGRAMS = [
    invoked,
    streamed,
    streamed_async,
    branched,
    fell_back,
    text_model,
    retrieved,
    reasoned,
    told,
    graph,
    fanned_out,
    interrupted,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_tree_is_the_same_under_every_version(program: Any, llm_recording: Any, llm_snapshot: Any) -> None:
    program()

    assert llm_recording == llm_snapshot
