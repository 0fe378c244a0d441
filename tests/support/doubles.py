"""Functions, tools and readers for the tests of doubles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from pydantic import BaseModel

from llmtest.errors import ScriptError


def here() -> str:
    """Return the place of the call, as messages name it."""
    frame = sys._getframe(1)
    return f"{shown(frame.f_code.co_filename)}:{frame.f_lineno}"


def shown(file: str) -> Path:
    path = Path(file)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def message_of(act: Callable[[], Any]) -> str:
    with pytest.raises(ScriptError) as caught:
        act()
    return str(caught.value)


def contents(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


class Place(BaseModel):
    city: str


def weather(place: Place, day: Any = None) -> str:
    """The weather in a place."""
    raise RuntimeError("the body is never run")


def search(q: str, limit: int = 5) -> str:
    """Search the web."""
    raise RuntimeError("the body is never run")


async def search_later(q: str) -> str:
    """Search the web, later."""
    raise RuntimeError("the body is never run")
