"""Tools and a retriever that the programs of many tests call."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    if city == "Atlantis":
        raise ValueError("no such city")
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


class Shelf(BaseRetriever):
    """Finds one book about everything but "nothing"."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if query == "nothing":
            raise LookupError("no book")
        return [Document("a book", metadata={"about": query}, id="b1")]
