"""Tools that the programs of many tests call."""

from __future__ import annotations

from langchain_core.tools import tool


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"18C in {city}"


@tool
def search(q: str) -> str:
    """Search the web."""
    return f"found {q}"


@tool
def publish(text: str) -> str:
    """Publish a text."""
    return "done"


@tool
def delete_db(name: str) -> str:
    """Delete a database."""
    return name
