"""What a check of a component is about: a chat model, a text model, a tool or a retriever."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, message_chunk_to_message
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.tools import BaseTool

from llmtest.events.callbacks import RunKind
from llmtest.events.content import read_block
from llmtest.langchain.freezing import freeze
from llmtest.protocol.run_checks import REASONS

Component = Runnable[Any, object]
"""What is checked: a model, tool or retriever."""


@dataclass(frozen=True)
class Subject:
    """One of LangChain's interfaces, and how its answers are read.

    `facts` are what must be the same each time that one question is asked. `beside` must be the same in sync and in async
    code, but not in a stream. `join` makes one answer of the chunks of a stream. `copied` makes an input that may be changed.
    """

    noun: str
    base: type
    run: RunKind
    facts: Callable[[object], Mapping[str, object]]
    answer: type = object
    answers_in_lists: bool = False
    inputs: tuple[object, ...] = ()
    copied: Callable[[object], object] = copy.deepcopy
    beside: Callable[[object], Mapping[str, object]] = lambda _: {}
    join: Callable[[list[Any]], Any] = lambda chunks: chunks[-1]

    @property
    def is_model(self) -> bool:
        return self.run in ("chat", "llm")


def _facts_of_message(message: Any) -> dict[str, object]:
    calls, broken = (
        [(call["name"], call["args"], "with an id" if call["id"] else "without an id") for call in getattr(message, name, ())]
        for name in ("tool_calls", "invalid_tool_calls")
    )
    usage = getattr(message, "usage_metadata", None)
    metadata = message.response_metadata
    return {
        "type": message.type,
        "text": str(message.text),
        "reasoning": "".join(block.text or "" for block in map(read_block, message.content_blocks) if block.kind == "reasoning"),
        "tool calls": calls,
        "invalid tool calls": broken,
        "usage": usage and {key: usage[key] for key in ("input_tokens", "output_tokens", "total_tokens")},
        "finish reason": next((metadata[key] for key in REASONS if metadata.get(key)), None),
    }


def _metadata_of(message: Any) -> dict[str, object]:
    return {"response metadata": sorted(message.response_metadata), "additional kwargs": freeze(message.additional_kwargs)}


def _as_messages(given: object) -> object:
    """Return an input as a list of messages: a model can change those, and a str it cannot."""
    return [HumanMessage(content=given)] if isinstance(given, str) else copy.deepcopy(given)


def _join_messages(chunks: list[Any]) -> object:
    if all(isinstance(chunk, AIMessageChunk) for chunk in chunks):
        return message_chunk_to_message(chunks[0].__add__(chunks[1:]))
    return chunks[-1]


_TEXTS: Final = ("Hello", "What is the capital of France?", "Name a colour.")
CHAT_MODEL: Final = Subject(
    "chat model",
    BaseChatModel,
    "chat",
    _facts_of_message,
    AIMessage,
    inputs=_TEXTS,
    copied=_as_messages,
    beside=_metadata_of,
    join=_join_messages,
)
TEXT_MODEL: Final = Subject("text model", BaseLLM, "llm", lambda text: {"text": text}, str, inputs=_TEXTS, join="".join)
TOOL: Final = Subject("tool", BaseTool, "tool", lambda result: {"result": freeze(result)})
RETRIEVER: Final = Subject(
    "retriever",
    BaseRetriever,
    "retriever",
    lambda documents: {"documents": freeze(documents)},
    Document,
    answers_in_lists=True,
    inputs=_TEXTS,
)


# -- one component


def unbound(component: object) -> Any:
    """Return what was bound: `model.bind_tools(...)` is the model with some arguments."""
    while isinstance(component, RunnableBinding):
        component = component.bound
    return component


def name_of(component: object) -> str:
    """Return the name of a tool, and of everything else the name of its class."""
    own = unbound(component)
    return str(own.name) if isinstance(own, BaseTool) else type(own).__name__


def is_streaming(subject: Subject, model: object, way: str, chunks: list[object]) -> bool:
    """True if a model streams. One that does not gives its answer as the only chunk and reports no token."""
    if subject is CHAT_MODEL:
        return any(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    names = ("_stream", "stream") if way == "stream" else ("_stream", "_astream", "astream")
    return any(getattr(type(unbound(model)), name) is not getattr(BaseLLM, name) for name in names)


def text_of(chunk: object) -> str:
    return str(chunk.text) if isinstance(chunk, BaseMessage) else chunk if isinstance(chunk, str) else ""
