"""A LangGraph program: a router sends the question to one of two nodes, and one of them has a tool."""

from typing import Any

from langchain_core.messages import SystemMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from llmtest import call


@tool
def find_order(number: int) -> str:
    """Look up an order by its number."""
    return f"order {number} leaves on Friday"


class State(MessagesState):
    topic: str


def support_desk(model: Any) -> Any:
    clerk_model = model.bind_tools([find_order])

    def router(state: State) -> dict[str, Any]:
        answer = model.invoke([SystemMessage("Answer with one word: order or other."), *state["messages"]])
        return {"topic": answer.text}

    def clerk(state: State) -> dict[str, Any]:
        return {"messages": [clerk_model.invoke(state["messages"])]}

    def small_talk(state: State) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    def route(state: State) -> str:
        return "clerk" if state["topic"] == "order" else "small_talk"

    graph = StateGraph(State)
    graph.add_node(router)
    graph.add_node(clerk)
    graph.add_node(small_talk)
    graph.add_node("tools", ToolNode([find_order]))
    graph.add_edge(START, "router")
    graph.add_conditional_edges("router", route, ["clerk", "small_talk"])
    graph.add_conditional_edges("clerk", tools_condition)
    graph.add_edge("tools", "clerk")
    graph.add_edge("small_talk", END)
    return graph.compile(name="support_desk")


def test_question_about_an_order_reaches_the_tool(scripted_chat_model, llm_recording, llm_snapshot):
    model = scripted_chat_model("order", call(find_order, number=7), "It leaves on Friday.")

    state = support_desk(model).invoke({"messages": [("user", "Where is order 7?")]})

    assert state["messages"][-1].text == "It leaves on Friday."
    assert llm_recording == llm_snapshot


def test_small_talk_reaches_no_tool(scripted_chat_model, llm_recording):
    model = scripted_chat_model("other", "Hello yourself.")

    state = support_desk(model).invoke({"messages": [("user", "Hello!")]})

    assert state["messages"][-1].text == "Hello yourself."
    assert llm_recording.tools == []
    assert llm_recording.runs == ["support_desk", "router", "ScriptedChatModel", "route", "small_talk", "ScriptedChatModel"]
    assert llm_recording.kinds == [
        "on_chain_start",  # support_desk
        "on_chain_start",  # router
        "on_chat_model_start",
        "on_llm_end",
        "on_chain_start",  # route
        "on_chain_end",
        "on_chain_end",
        "on_chain_start",  # small_talk
        "on_chat_model_start",
        "on_llm_end",
        "on_chain_end",
        "on_chain_end",
    ]
