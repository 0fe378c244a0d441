"""The frozen words of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.events.callbacks import RunKind
    from llmtest.events.events import Event, Latency, Run, UnseenCall
    from llmtest.events.words import (
        EMPTY,
        Document,
        Ended,
        Failure,
        FrozenDict,
        FrozenList,
        Generation,
        Message,
        Opaque,
        Structured,
        ToolCall,
        Usage,
    )

__all__ = [
    "EMPTY",
    "Document",
    "Ended",
    "Event",
    "Failure",
    "FrozenDict",
    "FrozenList",
    "Generation",
    "Latency",
    "Message",
    "Opaque",
    "Run",
    "RunKind",
    "Structured",
    "ToolCall",
    "UnseenCall",
    "Usage",
]

__getattr__, __dir__ = exports(
    __name__,
    {
        "callbacks": ["RunKind"],
        "events": ["Event", "Latency", "Run", "UnseenCall"],
        "words": [
            "Document",
            "EMPTY",
            "Ended",
            "Failure",
            "FrozenDict",
            "FrozenList",
            "Generation",
            "Message",
            "Opaque",
            "Structured",
            "ToolCall",
            "Usage",
        ],
    },
)
