"""What a span says of a run, in whichever convention: GenAI of any version, OpenInference, OpenLLMetry, Langfuse, our own.

What is not said is `UNKNOWN`, and no default.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from llmtest.events.callbacks import RunKind
from llmtest.events.usage import read_usage
from llmtest.events.words import EMPTY, Document, Ended, Failure, FrozenDict, FrozenList, Message, Usage
from llmtest.otel import conventions as names
from llmtest.otel.conventions import Adk, EventNames, Langfuse, LangSmith, Older, OpenInference, Own, Traceloop
from llmtest.otel.messages import freeze, frozen_content, is_cut, read_json, read_messages, read_tools, role_of, text_of_value
from llmtest.otel.provider_messages import read_contents, read_event, text_of_result
from llmtest.otel.spans import Span

_NO_CALL: Final = re.compile(r"\._\w+$|^InputTokenCountResponse$")
"""Names of spans that OpenInference says are model calls: private methods that prepare one, and counts of tokens."""
UNKNOWN: Final = object()
"""The value of what a span does not say."""


@dataclass(slots=True)
class SpanFacts:
    """What a span says. `kind` is None if it says nothing of models, tools, retrievers or agents."""

    kind: RunKind | None
    name: str
    input: Any = UNKNOWN
    output: Any = UNKNOWN
    error: Failure | None = None
    usage: Usage | None = None
    model: str | None = None
    provider: str | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    call_id: str | None = None
    tools: Sequence[tuple[str, Mapping[str, Any]]] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    metadata: FrozenDict = EMPTY
    ended: str = "ended"
    cached: bool = False


def facts_of(span: Span) -> SpanFacts:
    """Return what a span says."""
    told = span.attributes
    kind = _kind(told)
    if kind == "chat" and span.scope.startswith("openinference.") and _NO_CALL.search(span.name):
        kind = "chain"
    facts = SpanFacts(kind, _name(span, kind))
    facts.error = _error(span)
    if kind is None:
        return facts
    facts.metadata = _metadata(told)
    facts.tags, facts.metadata = _tags(told, facts)
    ended = str(told.get(Own.ENDED))
    facts.ended = ended if ended in _FAILED or ended == "open" else "ended"
    facts.cached = told.get(Own.CACHED) is True
    _READERS[kind](span, facts)
    return facts


def _first(told: Mapping[str, Any], *keys: str) -> Any:
    """Return the value of the first of these attributes that a span has; None if it has none."""
    for key in keys:  # no generator: this is asked ten times for each span
        if (found := told.get(key)) is not None:
            return found
    return None


def _read(told: Mapping[str, Any], *keys: str) -> Any:
    """Return the value of the first of these attributes as JSON; None if there is none, or if it is cut off."""
    found = read_json(_first(told, *keys))
    return None if is_cut(found) else found


def _text(told: Mapping[str, Any], *keys: str) -> str | None:
    found = _first(told, *keys)
    return None if found is None or found == "" else str(found)


# -- what it is


def _kind(told: Mapping[str, Any]) -> RunKind | None:
    own = told.get(Own.RUN_KIND)
    if own in ("chain", "chat", "llm", "tool", "retriever"):
        return cast("RunKind", own)
    kind = told.get(OpenInference.KIND)
    if kind is not None:
        found = OpenInference.KINDS.get(str(kind).upper(), "chain")
        is_text = found == "chat" and not _has(told, OpenInference.INPUT_MESSAGES) and _has(told, OpenInference.PROMPTS)
        return "llm" if is_text else found
    for key, kinds in _KINDS:
        if (word := told.get(key)) is not None and (known := kinds.get(str(word).lower())) is not None:
            return known
    if told.get(names.OPERATION) is not None:
        return None  # an operation that no version of the conventions has
    if told.get(names.TOOL_NAME) is not None:
        return "tool"
    return "chat" if _first(told, names.REQUEST_MODEL, Older.SYSTEM) is not None else None


_KINDS: Final[Sequence[tuple[str, Mapping[str, RunKind]]]] = (
    (names.OPERATION, names.OPERATIONS),
    (Langfuse.TYPE, Langfuse.KINDS),
    (LangSmith.KIND, LangSmith.KINDS),
    (Traceloop.KIND, Traceloop.KINDS),
    (Traceloop.REQUEST_TYPE, Traceloop.REQUESTS),
)


def _has(told: Mapping[str, Any], prefix: str) -> bool:
    return any(key.startswith(f"{prefix}.") or key == prefix for key in told)


def _name(span: Span, kind: RunKind | None) -> str:
    told = span.attributes
    found = _text(told, Own.RUN_NAME)
    if found is None and kind == "tool":
        found = _text(told, names.TOOL_NAME, OpenInference.TOOL_NAME, Traceloop.NAME)
    elif found is None and kind == "chain":
        found = _text(told, names.AGENT_NAME, OpenInference.AGENT_NAME, "gen_ai.workflow.name", Traceloop.NAME)
    elif found is None and kind == "retriever":
        found = _text(told, names.DATA_SOURCE)
    if found is None and kind in ("chat", "llm") and told.get(names.OPERATION) is not None:
        found = _text(told, names.REQUEST_MODEL, names.RESPONSE_MODEL)
    return found or span.name


def _error(span: Span) -> Failure | None:
    told = span.attributes
    exception = next((event.attributes for event in span.events if event.name == names.EXCEPTION), None)
    failed = span.status == "error" or told.get(Langfuse.LEVEL) == "ERROR" or told.get(names.ERROR_TYPE) is not None
    if not failed:
        return None
    about = exception or {}
    kind = _text(told, names.ERROR_TYPE) or _text(about, names.EXCEPTION_TYPE) or _type_in(span.message) or "Error"
    message = _text(about, names.EXCEPTION_MESSAGE) or _text(told, Langfuse.STATUS) or span.message
    name, ended = kind.rpartition(".")[2], str(told.get(Own.ENDED))
    return Failure(name, message, cast("Ended", ended) if ended in _FAILED else _ENDED_BY.get(name, "error"))


_ENDED_BY: Final[Mapping[str, Ended]] = {
    "CancelledError": "cancelled",
    "GeneratorExit": "closed early",
    "GraphInterrupt": "paused",
    "NodeInterrupt": "paused",
    "ParentCommand": "handed off",
    "KeyboardInterrupt": "stopped",
    "SystemExit": "stopped",
}
"""How a run ended with an exception of this name: those of Python and of LangGraph that are no failures."""
_FAILED: Final = frozenset({"cancelled", "closed early", "paused", "handed off", "stopped", "stopped by rule"})


def _type_in(message: str) -> str | None:
    found = re.match(r"([A-Za-z_]\w*(?:Error|Exception|Interrupt|Timeout))\b", message)
    return found[1] if found else None


def _metadata(told: Mapping[str, Any]) -> FrozenDict:
    found = read_json(_first(told, Own.METADATA, OpenInference.METADATA, Langfuse.METADATA))
    made = freeze(found) if isinstance(found, dict) else EMPTY
    pairs = {_METADATA.sub("", key): freeze(_read_part(value)) for key, value in told.items() if key.startswith(_PREFIXES)}
    thread = _text(told, names.CONVERSATION, OpenInference.SESSION)
    if thread is not None and not {"thread_id", "session_id", "conversation_id"} & made.keys():
        pairs["thread_id"] = thread
    return FrozenDict({**made, **pairs}) if pairs else made


_PREFIXES: Final = tuple(f"{name}." for name in (Langfuse.METADATA, LangSmith.METADATA, Traceloop.METADATA))
_METADATA: Final = re.compile("|".join(map(re.escape, _PREFIXES)))


def _read_part(value: object) -> Any:
    """Return a part of metadata. Langfuse writes each as JSON, OpenLLMetry each as a text."""
    if isinstance(value, str) and re.fullmatch(r'"[^"\\]*"|\d{1,9}', value):
        return json.loads(value)
    return read_json(value)


def _tags(told: Mapping[str, Any], facts: SpanFacts) -> tuple[tuple[str, ...], FrozenDict]:
    """Return the tags, and the metadata without them. A node of a graph has its step as a tag, as in LangChain."""
    metadata = facts.metadata
    found = read_json(_first(told, Own.TAGS, OpenInference.TAGS, LangSmith.TAGS, Langfuse.TAGS))
    if isinstance(found, str):
        found = found.split(", ")  # LangSmith
    if found is None and isinstance(metadata.get("tags"), list):
        found = metadata["tags"]
        metadata = FrozenDict({key: value for key, value in metadata.items() if key != "tags"})
    tags = tuple(map(str, found)) if isinstance(found, list | tuple) else ()
    step = metadata.get("langgraph_step")
    if not tags and facts.kind == "chain" and isinstance(step, int) and metadata.get("langgraph_node") == facts.name:
        tags = (f"graph:step:{step}",)
    return tags, metadata


# -- models


def _read_model(span: Span, facts: SpanFacts) -> None:
    told = span.attributes
    facts.model = _text(told, names.REQUEST_MODEL, OpenInference.MODEL, Langfuse.MODEL, names.RESPONSE_MODEL)
    facts.provider = _text(told, names.PROVIDER, OpenInference.PROVIDER, OpenInference.SYSTEM, Older.SYSTEM)
    facts.response_id = _text(told, names.RESPONSE_ID)
    reasons = told.get(names.FINISH_REASONS)
    facts.finish_reason = (
        str(reasons[0]) if isinstance(reasons, list | tuple) and reasons else _text(told, OpenInference.FINISH_REASON)
    )
    facts.usage = _usage(told)
    if facts.usage is None and isinstance(outputs := read_json(told.get(LangSmith.OUTPUTS)), dict):
        about = outputs.get("llm_output")
        facts.usage = read_usage(outputs.get("usage_metadata") or (about.get("token_usage") if isinstance(about, dict) else None))
    facts.tools = _tools(told)
    facts.parameters = _parameters(told)
    asked, said = (_messages(span, *keys) for keys in (_ASKED, _SAID))
    if asked is None and said is None:
        asked, said = _told_by_events(span, facts) or _told_by_adk(told, facts) or (None, None)
    instructions = _instructions(told)
    if is_cut(read_json(told.get(names.SYSTEM_INSTRUCTIONS))):
        asked = None
    if asked is not None:
        tools = [message.content for message in asked if message.role == "tool" and message.tool_call_id is None]
        if told.get(Langfuse.INPUT) is not None and tools:  # its handler puts the definitions of tools among the messages
            facts.tools = read_tools(json.dumps([read_json(tool) for tool in tools]))
            asked = [message for message in asked if message.role != "tool" or message.tool_call_id is not None]
        facts.input = FrozenList([*instructions, *asked])
    if said is not None:
        facts.output = [_as_answer(message) for message in said]


def _told_by_events(span: Span, facts: SpanFacts) -> tuple[list[Message], list[Message] | None] | None:
    """Return the messages that the events of a span have; None if it has no such events."""
    known = [event for event in span.events if event.name in EventNames.ROLES or event.name == EventNames.CHOICE]
    if not known or span.dropped_events:  # a message may be among what was dropped
        return None
    asked = [m for e in known if e.name != EventNames.CHOICE for m in read_event(EventNames.ROLES[e.name], e.attributes)]
    choices = [event.attributes for event in known if event.name == EventNames.CHOICE]
    said = [message for choice in choices for message in read_event("ai", choice)]
    facts.finish_reason = facts.finish_reason or next((_text(choice, EventNames.FINISH_REASON) for choice in choices), None)
    return asked, said or None


def _told_by_adk(told: Mapping[str, Any], facts: SpanFacts) -> tuple[list[Message], list[Message] | None] | None:
    """Return the messages that ADK has in attributes of its own; None if a span has none of them."""
    request, response = read_json(told.get(Adk.REQUEST)), read_json(told.get(Adk.RESPONSE))
    if not isinstance(request, dict) or not request.get("contents"):
        return None
    config = request.get("config")
    config = config if isinstance(config, dict) else {}
    instruction = config.get("system_instruction")
    system = [Message("system", instruction)] if isinstance(instruction, str) and instruction else []
    declared = [tool for item in config.get("tools") or () if isinstance(item, dict) for tool in _declarations(item)]
    facts.tools = facts.tools or read_tools(declared)
    content = response.get("content") if isinstance(response, dict) else None
    return [*system, *read_contents(request["contents"])], list(read_contents([content])) or None


def _declarations(item: Mapping[str, Any]) -> list[Any]:
    found = item.get("function_declarations")
    return found if isinstance(found, list) else []


def _as_answer(message: Message) -> Message:
    """An answer without a role is one of a model."""
    return message if message.role == "ai" else replace(message, role="ai", name=None, tool_call_id=None)


_ASKED: Final = (
    names.INPUT_MESSAGES,
    OpenInference.INPUT_MESSAGES,
    Traceloop.PROMPT,
    LangSmith.INPUTS,
    Langfuse.INPUT,
    OpenInference.INPUT,
)
_SAID: Final = (
    names.OUTPUT_MESSAGES,
    OpenInference.OUTPUT_MESSAGES,
    Traceloop.COMPLETION,
    LangSmith.OUTPUTS,
    Langfuse.OUTPUT,
    OpenInference.OUTPUT,
)


def _messages(span: Span, genai: str, flat: str, early: str, *wholes: str) -> Sequence[Message] | None:
    """Return the conversation that a span has in one of these ways; None if it has none."""
    told = span.attributes
    if genai in told:
        return _conversation(told[genai])
    detail = next((e.attributes for e in span.events if e.name == names.OPERATION_DETAILS and genai in e.attributes), None)
    if detail is not None:
        return _conversation(detail[genai])
    found = list(_flat_messages(told, flat)) or list(_early_messages(told, early))
    if found:
        return found if not span.dropped else None  # a message may be among what was dropped
    read = _read(told, *wholes)
    if isinstance(read, dict):
        key = next((key for key in ("generations", "prompts", "messages", "message", "choices") if key in read), None)
        if key is None and not is_message(read):
            return None  # parameters and the like, of a provider that is not known
        read = read[key] if key is not None else read
    return read_messages(read) if read is not None else None


def _conversation(value: Any) -> Sequence[Message] | None:
    read = read_json(value)
    return None if is_cut(read) else read_messages(read)


def _instructions(told: Mapping[str, Any]) -> list[Message]:
    parts = read_json(told.get(names.SYSTEM_INSTRUCTIONS))
    if not parts:
        return []
    texts = (
        [part.get("content", "") if isinstance(part, dict) else str(part) for part in parts]
        if isinstance(parts, list)
        else [parts]
    )
    return [Message("system", "\n".join(map(str, texts)))]


def _flat_messages(told: Mapping[str, Any], prefix: str) -> Iterator[Message]:
    """Yield the messages of OpenInference: `llm.input_messages.0.message.role`."""
    for item in _rows(told, prefix):
        blocks = [
            {"type": block.get(OpenInference.CONTENT_TYPE, "text"), "text": block.get(OpenInference.CONTENT_TEXT, "")}
            for block in _rows(item, OpenInference.CONTENTS)
        ]
        calls = [
            {
                "id": call.get(OpenInference.TOOL_CALL_ID),
                "name": call.get(OpenInference.CALL_NAME),
                "args": call.get(OpenInference.CALL_ARGUMENTS),
            }
            for call in _rows(item, OpenInference.CALLS)
        ]
        about = {
            "role": item.get(OpenInference.ROLE, "user"),
            "content": item.get(OpenInference.CONTENT, frozen_content(blocks)),
            "tool_calls": calls,
            "name": item.get(OpenInference.NAME),
            "tool_call_id": item.get(OpenInference.ANSWERED_CALL),
        }
        yield from read_messages([about])


def _early_messages(told: Mapping[str, Any], prefix: str) -> Iterator[Message]:
    """Yield the messages of OpenLLMetry: `gen_ai.prompt.0.role`."""
    for item in _rows(told, prefix):
        calls = [
            {"id": call.get("id"), "name": call.get("name"), "args": call.get("arguments")} for call in _rows(item, "tool_calls")
        ]
        about = {**item, "tool_calls": calls, "content": read_json(item.get("content", ""))}
        yield from read_messages([{key: value for key, value in about.items() if not key.startswith("tool_calls.")}])


def _rows(told: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Return the objects of a flattened list, by their numbers. Attributes may come in any order, and with gaps."""
    start = len(prefix) + 1
    found: dict[int, dict[str, Any]] = {}
    for key, value in told.items():
        if key.startswith(f"{prefix}."):
            number, _, rest = key[start:].partition(".")
            if number.isdecimal() and rest and len(number) < 8:
                found.setdefault(int(number), {})[rest] = value
    return [found[number] for number in sorted(found)]


def _usage(told: Mapping[str, Any]) -> Usage | None:
    into = _number(told, names.INPUT_TOKENS, OpenInference.INPUT_TOKENS, Older.INPUT_TOKENS)
    out = _number(told, names.OUTPUT_TOKENS, OpenInference.OUTPUT_TOKENS, Older.OUTPUT_TOKENS)
    if into is None and out is None:
        return _langfuse_usage(read_json(told.get(Langfuse.USAGE)))
    writes = (version.cache_write for version in names.VERSIONS.values())
    read = _number(told, names.CACHE_READ, OpenInference.CACHE_READ, *Older.CACHE_READ)
    write = _number(told, *writes, OpenInference.CACHE_WRITE, *Older.CACHE_WRITE)
    thought = _number(told, names.REASONING, OpenInference.REASONING, *Older.REASONING)
    total = _number(told, OpenInference.TOTAL_TOKENS, "llm.usage.total_tokens", "gen_ai.usage.total_tokens")
    if into is None or out is None:  # the other one is not told, unless their sum is
        known = (into or 0) + (out or 0)
        if total is None or total < known:
            return None
        into, out = total - (out or 0) if into is None else into, total - (into or 0) if out is None else out
    inner = {"cache_read": read, "cache_creation": write}
    return Usage(
        into,
        out,
        total or into + out,
        FrozenDict({key: count for key, count in inner.items() if count}),
        FrozenDict(reasoning=thought) if thought else EMPTY,
    )


def _langfuse_usage(found: object) -> Usage | None:
    if not isinstance(found, dict):
        return None
    named = {"input": "input_tokens", "output": "output_tokens", "total": "total_tokens"}
    return read_usage({named.get(key, key): value for key, value in found.items()})


def _number(told: Mapping[str, Any], *keys: str) -> int | None:
    found = _first(told, *keys)
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _tools(told: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    if told.get(names.TOOL_DEFINITIONS) is not None:
        return read_tools(told[names.TOOL_DEFINITIONS])
    schemas = [row.get(OpenInference.TOOL_SCHEMA) for row in _rows(told, OpenInference.TOOLS)]
    return read_tools(schemas or _rows(told, Traceloop.FUNCTIONS))


def _parameters(told: Mapping[str, Any]) -> Mapping[str, Any]:
    found = read_json(_first(told, OpenInference.PARAMETERS, Langfuse.PARAMETERS))
    # Some write the whole answer of the API there, with its id and time.
    made = {key: value for key, value in found.items() if key in names.ASKED} if isinstance(found, dict) else {}
    for key, name in names.PARAMETERS.items():
        if told.get(name) is not None:
            made[key] = told[name]
    return made


# -- tools, retrievers, chains


def _read_tool(span: Span, facts: SpanFacts) -> None:
    told = span.attributes
    facts.call_id = _text(told, names.TOOL_CALL_ID, OpenInference.TOOL_CALL_ID)
    asked = (names.TOOL_ARGUMENTS, *Older.TOOL_ARGUMENTS, Adk.ARGUMENTS, LangSmith.INPUTS, Langfuse.INPUT, Traceloop.INPUT)
    given = _first(told, *asked)
    if given is None:  # the parameters are arguments, or their schema: not all agree
        parameters = read_json(told.get(OpenInference.TOOL_PARAMETERS))
        is_schema = isinstance(parameters, dict) and "properties" in parameters
        given = parameters if isinstance(parameters, dict) and not is_schema else told.get(OpenInference.INPUT)
    if given is not None and not is_cut(read_json(given)):
        facts.input = freeze(_arguments(read_json(given)))
    facts.call_id = facts.call_id or _text(facts.metadata, "tool_call_id")
    said = (*Older.TOOL_RESULT, LangSmith.OUTPUTS, Langfuse.OUTPUT, Traceloop.OUTPUT, OpenInference.OUTPUT)
    result = _read(told, names.TOOL_RESULT, *said)
    if result is not None:
        facts.output = _result(result, facts)
    elif told.get(Adk.RESULT) is not None:
        facts.output = text_of_result(_read(told, Adk.RESULT))
    for event in span.events:
        if event.name == "gen_ai.tool.message" and facts.input is UNKNOWN:
            facts.input = freeze(read_json(event.attributes.get("content")))
        elif event.name == EventNames.CHOICE and facts.output is UNKNOWN:
            facts.output = text_of_result(read_json(event.attributes.get("message", "")))


def _arguments(value: Any) -> Any:
    """Return the arguments within what is written around them: by LlamaIndex the keywords of a call, by OpenLLMetry LangChain's
    text of them, which is Python."""
    if isinstance(value, dict) and isinstance(value.get("kwargs"), dict) and value.keys() <= {"args", "kwargs"}:
        return value["kwargs"] if not value.get("args") else value
    if not (isinstance(value, dict) and "input_str" in value and value.keys() <= _AROUND):
        return value
    found = value.get("inputs", value["input_str"])
    if isinstance(found, str):
        try:
            return ast.literal_eval(found)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return found
    return found


_AROUND: Final = frozenset({"inputs", "input_str", "tags", "metadata", "kwargs"})


def _result(value: Any, facts: SpanFacts) -> Any:
    """Return the result of a tool; of a message that LangChain made of it, what it says."""
    if isinstance(value, dict) and "output" in value and value.keys() <= {"output", "kwargs"}:
        value = value["output"]
    if isinstance(value, dict) and value.keys() >= {"blocks", "raw_output", "tool_name"}:  # of LlamaIndex
        return text_of_result(value["blocks"])
    if isinstance(value, dict) and is_message(value):
        messages = read_messages([value])
        if messages and messages[0].role == "tool":
            facts.call_id = facts.call_id or messages[0].tool_call_id
            return messages[0].content
    return freeze(value)


def _read_retriever(span: Span, facts: SpanFacts) -> None:
    told = span.attributes
    query = _read(told, names.QUERY, LangSmith.INPUTS, Langfuse.INPUT, Traceloop.INPUT, OpenInference.INPUT)
    if query is not None:
        facts.input = text_of_value(query["query"] if isinstance(query, dict) and query.keys() == {"query"} else query)
    rows = _rows(told, OpenInference.DOCUMENTS)
    found = read_json(_first(told, names.DOCUMENTS, LangSmith.OUTPUTS, Langfuse.OUTPUT))
    found = found.get("documents") if isinstance(found, dict) else found
    if rows:
        facts.output = FrozenList([_document_of(row) for row in rows])
    elif isinstance(found, list):
        facts.output = FrozenList([_document_in(item) for item in found])


def _document_of(row: Mapping[str, Any]) -> Document:
    metadata = read_json(row.get(OpenInference.DOCUMENT_METADATA))
    about = freeze(metadata) if isinstance(metadata, dict) else EMPTY
    return Document(str(row.get(OpenInference.DOCUMENT_CONTENT, "")), about, _text(row, OpenInference.DOCUMENT_ID))


def _document_in(item: object) -> Any:
    if not isinstance(item, dict):
        return freeze(item)
    content = item.get("content", item.get("page_content"))
    if content is None:
        return freeze(item)
    metadata = item.get("metadata")
    return Document(str(content), freeze(metadata) if isinstance(metadata, dict) else EMPTY, _text(item, "id"))


def _read_chain(span: Span, facts: SpanFacts) -> None:
    told = span.attributes
    given = _first(told, names.INPUT_MESSAGES, LangSmith.INPUTS, Langfuse.INPUT, Traceloop.INPUT, OpenInference.INPUT)
    result = _first(
        told,
        names.OUTPUT_MESSAGES,
        LangSmith.OUTPUTS,
        Langfuse.OUTPUT,
        Traceloop.OUTPUT,
        OpenInference.OUTPUT,
        Older.FINAL_RESULT,
    )
    messages = next((told[key] for key in Older.ALL_MESSAGES if told.get(key) is not None), None)
    if given is None and messages is not None:  # a whole conversation: the last message is the answer
        conversation = read_messages(messages)
        given = list(itertools.takewhile(lambda message: message.role != "ai", conversation))
        # A run that was cancelled ends with what it was told, or with the answer of a tool.
        is_answered = bool(conversation) and conversation[-1].role == "ai" and not conversation[-1].tool_calls
        result = conversation[-1:] if result is None and is_answered else result
    if given is None and result is None and (found := _told_by_events(span, facts)) is not None:
        given, result = found
    facts.input = _state(given, told.get(names.INPUT_MESSAGES) is given)
    facts.output = _state(result, told.get(names.OUTPUT_MESSAGES) is result)
    if told.get(Own.INPUT) is not None:  # ours are JSON in every case, also a plain text
        facts.input = revived(json.loads(told[Own.INPUT]))
    if told.get(Own.OUTPUT) is not None:
        facts.output = revived(json.loads(told[Own.OUTPUT]))


def _state(value: Any, is_conversation: bool) -> Any:
    """Return the input or output of a chain, with the messages in it."""
    read = read_json(value)
    if value is None or is_cut(read):
        return UNKNOWN
    if is_conversation or (isinstance(read, list) and read and all(isinstance(item, Message) for item in read)):
        return FrozenDict(messages=read_messages(read))
    if isinstance(read, dict) and "inputs" in read and read.keys() <= {"inputs", "tags", "metadata", "kwargs"}:
        read = read["inputs"]  # OpenLLMetry
    elif isinstance(read, dict) and "outputs" in read and read.keys() <= {"outputs", "kwargs"}:
        read = read["outputs"]
    elif isinstance(read, dict) and len(read) == 1 and ("input" in read or "output" in read):
        (read,) = read.values()  # LangSmith has no input that is not an object
    return revived(read)


def revived(value: Any) -> Any:
    """Return plain JSON as frozen words, with each message in it."""
    if isinstance(value, dict):
        if is_message(value):
            found = read_messages([value])
            return found[0] if len(found) == 1 else found
        return FrozenDict({str(key): item if type(item) is str else revived(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return FrozenList([revived(item) for item in value])
    return value


def is_message(value: Mapping[str, Any]) -> bool:
    """True if plain JSON is a message, as the conventions, OpenAI or LangChain write one."""
    if isinstance(value.get("parts"), list) and "role" in value:
        return True
    if isinstance(value.get("data"), dict) and value.keys() == {"type", "data"}:
        return role_of(value["type"]) in _ROLES
    if value.get("lc") == 1 and isinstance(value.get("kwargs"), dict):
        return str((value.get("id") or [""])[-1]).endswith(("Message", "MessageChunk"))
    kind = value.get("role", value.get("type"))
    return "content" in value and isinstance(kind, str) and role_of(kind) in _ROLES


_ROLES: Final = frozenset({"human", "ai", "system", "tool"})
_READERS: Final[Mapping[RunKind, Callable[[Span, SpanFacts], None]]] = {
    "chat": _read_model,
    "llm": _read_model,
    "tool": _read_tool,
    "retriever": _read_retriever,
    "chain": _read_chain,
}
