"""The program that `python -m benchmarks.noticed` changes: an agent with two tools, a retry, and a short memory."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import SystemMessage, trim_messages
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import RetryPolicy

STOCK = {"Emma": 3, "Ulysses": 0}
PROMPT = "You are the clerk of a bookshop. Never promise a book that is not in stock."


@tool
def find_book(title: str) -> str:
    """Say how many copies of a book the shop has."""
    copies = STOCK.get(title, 0)
    return f"{copies} copies" if copies > 0 else "sold out"


@tool
def reserve(title: str, days: int = 3) -> str:
    """Reserve a book for some days."""
    if days > 7:
        return "too long"
    return f"{title} is reserved for {days} days"


def build_shop(model: Any) -> Any:
    """Return the graph, with a model that answers the customers."""
    clerk_model = model.bind_tools([find_book, reserve])

    def clerk(state: MessagesState) -> dict[str, Any]:
        recent = trim_messages(state["messages"], max_tokens=20, token_counter=len, strategy="last", start_on="human")
        return {"messages": [clerk_model.invoke([SystemMessage(PROMPT), *recent])]}

    graph = StateGraph(MessagesState)
    graph.add_node("clerk", clerk, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0, jitter=False))
    graph.add_node("tools", ToolNode([find_book, reserve], handle_tool_errors="That did not work."))
    graph.add_edge(START, "clerk")
    graph.add_conditional_edges("clerk", tools_condition)
    graph.add_edge("tools", "clerk")
    return graph.compile(name="bookshop", checkpointer=InMemorySaver())


def ask(shop: Any, text: str, customer: str) -> Any:
    """Return the state after a question of a customer."""
    return shop.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": customer}})
