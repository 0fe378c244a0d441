"""The one table of LangChain's callbacks: what each starts, ends or reports. All else that depends on their names is derived.

A callback that LangChain adds gets a row here, a method of the tap and a line in the docs
(docs/reference/callbacks.md). tests/events/test_callbacks.py holds the table against LangChain's own handler classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

RunKind = Literal["chain", "chat", "llm", "tool", "retriever"]
"""What a run executes: `chat` is a chat model, `llm` a text model."""

_ANY: Final[tuple[RunKind, ...]] = get_args(RunKind)

Role = Literal["start", "stream", "note", "end", "error"]
"""The role of a callback in its run: `stream` is a piece of an answer, `note` anything else before the end."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A handler method of LangChain or LangGraph.

    `runs` are the kinds of run that fire it; a start whose callback was lost is assumed to be of the first one. Empty: it
    says nothing about its run, which may have started before the recording.
    `flag` is the attribute with which a handler turns it off, `positional` the names of the positional arguments.
    `value` is the entry of the recorded payload that holds the input (of a start) or the output (of an end).
    `names_parent` is false where LangChain passes no `parent_run_id`.
    """

    name: str
    role: Role
    runs: tuple[RunKind, ...]
    flag: str | None
    positional: tuple[str, ...]
    value: str | None = None
    names_parent: bool = True
    package: Literal["langchain_core", "langgraph"] = "langchain_core"


# The table says which callback belongs to which run because names do not: chat models end with `on_llm_end`, tools are
# turned off by `ignore_agent`, and any run may fire `on_text`.
_ROWS: Final = (
    Callback("on_chain_start", "start", ("chain",), "ignore_chain", ("serialized", "inputs"), "inputs"),
    Callback("on_chain_end", "end", ("chain",), "ignore_chain", ("outputs",), "outputs"),
    Callback("on_chain_error", "error", ("chain",), "ignore_chain", ("error",)),
    Callback("on_chat_model_start", "start", ("chat",), "ignore_chat_model", ("serialized", "messages"), "messages"),
    Callback("on_llm_start", "start", ("llm",), "ignore_llm", ("serialized", "prompts"), "prompts"),
    Callback("on_llm_new_token", "stream", ("llm", "chat"), "ignore_llm", ("token",)),
    Callback("on_stream_event", "stream", ("llm", "chat"), "ignore_llm", ("event",)),
    Callback("on_llm_end", "end", ("llm", "chat"), "ignore_llm", ("response",), "generations"),
    Callback("on_llm_error", "error", ("llm", "chat"), "ignore_llm", ("error",)),
    Callback("on_tool_start", "start", ("tool",), "ignore_agent", ("serialized", "input_str"), "inputs"),
    Callback("on_tool_end", "end", ("tool",), "ignore_agent", ("output",), "output"),
    Callback("on_tool_error", "error", ("tool",), "ignore_agent", ("error",)),
    Callback("on_retriever_start", "start", ("retriever",), "ignore_retriever", ("serialized", "query"), "query"),
    Callback("on_retriever_end", "end", ("retriever",), "ignore_retriever", ("documents",), "documents"),
    Callback("on_retriever_error", "error", ("retriever",), "ignore_retriever", ("error",)),
    Callback("on_agent_action", "note", ("chain",), "ignore_agent", ("action",)),
    Callback("on_agent_finish", "note", ("chain",), "ignore_agent", ("finish",)),
    Callback("on_text", "note", _ANY, None, ("text",)),
    Callback("on_retry", "note", (), "ignore_retry", ("retry_state",)),
    Callback("on_custom_event", "note", (), "ignore_custom_event", ("name", "data"), names_parent=False),
    Callback("on_interrupt", "note", (), None, ("event",), names_parent=False, package="langgraph"),
    Callback("on_resume", "note", (), None, ("event",), names_parent=False, package="langgraph"),
)

CALLBACKS: Final[Mapping[str, Callback]] = MappingProxyType({row.name: row for row in _ROWS})

TOKEN: Final = "on_llm_new_token"
STREAM_EVENT: Final = "on_stream_event"

START_KINDS: Final[Mapping[str, RunKind]] = {row.name: row.runs[0] for row in _ROWS if row.role == "start"}
"""The callbacks that start a run, and the kind of run."""

ENDINGS: Final = frozenset(row.name for row in _ROWS if row.role in ("end", "error"))
"""The callbacks that end a run, with a result or with an error."""

STREAMED: Final = frozenset(row.name for row in _ROWS if row.role == "stream")
OF_LANGGRAPH: Final = frozenset(row.name for row in _ROWS if row.package == "langgraph")
WITHOUT_PARENT: Final = frozenset(row.name for row in _ROWS if not row.names_parent)

START_OF: Final[Mapping[RunKind, str]] = {kind: name for name, kind in START_KINDS.items()}
ERROR_OF: Final[Mapping[RunKind, str]] = {kind: row.name for row in _ROWS if row.role == "error" for kind in row.runs}
INPUT_OF: Final[Mapping[RunKind, str]] = {row.runs[0]: row.value for row in _ROWS if row.role == "start" and row.value}
OUTPUT_OF: Final[Mapping[RunKind, str]] = {k: row.value for row in _ROWS if row.role == "end" and row.value for k in row.runs}
"""By kind of run: the callback that starts it, the one that reports its error, and the keys of its input and output."""

MODELS: Final = frozenset(CALLBACKS[TOKEN].runs)
"""The kinds of run that stream tokens and report usage: chat models and text models."""


def may_fire(kind: RunKind, name: str) -> bool:
    """True if a run of this kind may fire this callback."""
    row = CALLBACKS.get(name)  # a stored recording may hold callbacks of a later version
    return row is None or not row.runs or kind in row.runs
