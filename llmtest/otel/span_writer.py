"""A recording as spans: one for each run, as the GenAI conventions or OpenInference have them.

Without content a span says what ran, how it ended and what it cost. With it, also what was said: secrets are masked as in the
trace store. `exact` adds the recorded events themselves, so that the trace can be read back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeGuard, get_args

from llmtest.core.masks import Unchecked, table
from llmtest.core.text import did_you_mean
from llmtest.errors import OtelError
from llmtest.events.callbacks import ENDINGS, MODELS, START_KINDS, STREAMED
from llmtest.events.events import Event, Run
from llmtest.events.usage import read_model_name
from llmtest.events.words import Document, Failure, FrozenDict, FrozenList, Message, Usage
from llmtest.otel import conventions as names
from llmtest.otel.conventions import OpenInference, Own
from llmtest.otel.messages import Texts, plain, written
from llmtest.otel.spans import Span, SpanEvent, SpanKind, Status, span_id_of, trace_id_of
from llmtest.recording.recording import Recording
from llmtest.recording.runs import build_runs
from llmtest.tracing.codec import Bodies, Writer
from llmtest.tracing.jsonl import event_text
from llmtest.tracing.rows import Trace, event_rows, lane_facts, traces_of
from llmtest.tracing.split_secrets import hide_split_secrets

Content = Literal["none", "messages", "exact"]
SCOPE: Final = "llmtest"
_PLAIN: Final = frozenset({Own.RUN_ID, Own.RUN_KIND, names.OPERATION})
"""Attributes that hold no text of the program."""


@dataclass(frozen=True, slots=True)
class Options:
    """What spans say.

    `content` is `none`, `messages` (prompts, answers, arguments, results) or `exact` (those, and the recorded events).
    `convention` is a version of the GenAI conventions, `0.1` or `1.41`, or `openinference`.

    Raises:
        OtelError: one of them is something else.
    """

    content: Content = "none"
    convention: str = names.LATEST

    def __post_init__(self) -> None:
        _expect("content", self.content, get_args(Content))
        _expect("convention", self.convention, names.CONVENTIONS)


def _expect(what: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        hint = did_you_mean(str(given), known, otherwise=f"it is one of {', '.join(known)}")
        raise OtelError(f"`{what}` of spans is not {given!r}{hint}")


def spans_of(source: Recording | Trace, options: Options = Options()) -> list[Span]:
    """Return the spans of a recording, or of one trace of it: parents first, a trace for each root run.

    >>> from llmtest import ScriptedChatModel, record
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> [span.name for span in spans_of(recording)]
    ['chat scripted']

    It does not send them: see `llmtest.otel.export`.
    """
    traces = [source] if isinstance(source, Trace) else traces_of(source)
    return [span for trace in traces for span in _Spans(trace, options).made()]


class _Spans:
    """Makes the spans of one trace. Holds the tables that all of them share."""

    def __init__(self, trace: Trace, options: Options) -> None:
        self.trace = trace
        self.options = options
        self.names = names.version_of(options.convention)
        self.trace_id = trace_id_of(trace.root)
        self.unchecked = Unchecked()
        self._texts = Texts(self.unchecked)
        self._values: dict[str, object] = {}
        self.runs, _ = build_runs(trace.events)
        self.ids = {run.id: span_id_of(run.id) for run in self.runs}
        self._names: dict[str, str] = {}
        self.numbers = {id(event): number for number, event in enumerate(trace.events)}
        self.with_content = options.content != "none"
        self.hidden = hide_split_secrets(trace.events) if self.with_content else {}
        self.is_openinference = options.convention == names.OPENINFERENCE

    def made(self) -> list[Span]:
        told = [(run, operation) for run in self.runs for operation in [operation_of(run)]]
        attributes = [self._found(self._attributes(run, operation)) for run, operation in told]
        if self.unchecked.may_hold_secrets():
            attributes = list(map(self._masked, attributes))
        if self.options.content == "exact":
            attributes = [a | b for a, b in zip(attributes, self._exact(), strict=True)]
        return [self._span(run, operation, about) for (run, operation), about in zip(told, attributes, strict=True)]

    def _span(self, run: Run, operation: str | None, attributes: Mapping[str, Any]) -> Span:
        end, error = run.end, run.error
        kind: SpanKind = "client" if run.kind in (*MODELS, "retriever") else "internal"
        status: Status = "unset" if error is None else "error"
        return Span(
            self.trace_id,
            self.ids[run.id],
            self.ids.get(run.parent_id) if run.parent_id is not None else None,
            self._name(run, operation),
            run.start.wall_ns,
            (end or run.events[-1]).wall_ns,
            kind,
            attributes,
            tuple(self._events(run, error)) if error is not None or len(run.events) > 2 else (),
            (),
            status,
            "" if error is None else self._clean(f"{error.type}: {error.message}"),
            SCOPE,
        )

    # what every span says

    def _name(self, run: Run, operation: str | None) -> str:
        name = self._clean(run.name)
        if self.is_openinference or operation is None:
            return name
        return f"{operation} {self._clean(_model(run) or run.name) if run.kind in MODELS else name}"

    def _clean(self, text: str) -> str:
        found = self._names.get(text)
        if found is None:
            found = self._names[text] = table().without_secrets(text).encode("utf-8", "backslashreplace").decode()
        return found

    def _attributes(self, run: Run, operation: str | None) -> dict[str, Any]:
        ended, error = run.ended, run.error
        made: dict[str, Any] = {
            Own.RUN_ID: str(run.id),
            Own.RUN_KIND: run.kind,
            Own.RUN_NAME: run.name,
            Own.ENDED: ended if ended not in ("ended", "error") else None,
            Own.CACHED: (run.kind in MODELS and run.cached) or None,
            names.ERROR_TYPE: error.type if error is not None else None,
        }
        made |= self._openinference(run, operation) if self.is_openinference else self._genai(run, operation)
        return made

    def _json(self, value: object) -> str:
        """Return a value as JSON, and keep the value: if it may hold a secret, it is written again, with masks."""
        text = self._texts.of(value)
        self._values[text] = value
        return text

    def _metadata(self, run: Run) -> str | None:
        if not run.metadata:
            return None
        text = self._texts.of_metadata(run.metadata)
        self._values[text] = run.metadata
        return text

    def _text(self, value: object) -> str:
        """Return a text as it is, and any other value as JSON."""
        return value if isinstance(value, str) else self._json(value)

    def _found(self, made: dict[str, Any]) -> dict[str, Any]:
        """Return attributes without those that are None. Whether one may hold a secret is looked at for all spans at once."""
        found = {key: value for key, value in made.items() if value is not None}
        known = self._values
        for key, value in found.items():
            if type(value) is str:
                if key not in _PLAIN and value not in known:
                    self.unchecked.add(value)
            elif type(value) is list:
                self.unchecked.add("\n".join(map(str, value)))
        return found

    def _masked(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return attributes without secrets."""
        return {key: value if key in _PLAIN else self._mask(value) for key, value in found.items()}

    def _mask(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._mask(item) for item in value]
        if value in self._values:
            return Writer().value(plain(self._values[value]))
        return self._clean(value) if isinstance(value, str) else value

    def _events(self, run: Run, error: Failure | None) -> Iterator[SpanEvent]:
        for event in run.events:
            if event.kind in START_KINDS or event.kind in ENDINGS or event.kind in STREAMED:
                continue
            name = event.payload.get("name")
            about = {"name": self._clean(name)} if isinstance(name, str) else {}
            yield SpanEvent(f"{SCOPE}.{event.kind}", event.wall_ns, about)
        if error is not None and run.end is not None:
            about = {names.EXCEPTION_TYPE: error.type, names.EXCEPTION_MESSAGE: self._clean(error.message)}
            yield SpanEvent(names.EXCEPTION, run.end.wall_ns, about)

    def _exact(self) -> list[dict[str, Any]]:
        """Return the attributes of each run that have its recorded events."""
        unchecked, bodies = Unchecked(), Bodies()
        made = [self._recorded(run, Writer(unchecked, bodies)) for run in self.runs]
        return [self._recorded(run, Writer()) for run in self.runs] if unchecked.may_hold_secrets() else made

    def _recorded(self, run: Run, writer: Writer) -> dict[str, Any]:
        events: Iterable[Event] = run.events
        if run.id == self.trace.root:
            inside = {id(event) for each in self.runs for event in each.events}
            events = [*events, *(event for event in self.trace.events if id(event) not in inside)]
        numbered = [(self.numbers[id(event)], event) for event in events if id(event) in self.numbers]
        rows = [f"[{row[0]}, {event_text(row)[1:]}" for row in event_rows(self.trace, writer, numbered, self.hidden)]
        lanes = [facts for _, facts in lane_facts((e for _, e in numbered), births=bool(self.trace.latencies))]
        made: dict[str, Any] = {Own.EVENTS: f"[{', '.join(rows)}]", Own.LANES: f"[{', '.join(lanes)}]"}
        if writer.messages:
            made[Own.MESSAGES] = f"[{', '.join(writer.messages)}]"
        return made | ({Own.INSIDE: self.trace.inside} if run.id == self.trace.root else {})

    # the GenAI conventions

    def _genai(self, run: Run, operation: str | None) -> dict[str, Any]:
        made: dict[str, Any] = {
            names.OPERATION: operation,
            names.CONVERSATION: _conversation(run),
            Own.TAGS: list(run.tags) or None,
            Own.METADATA: self._metadata(run) if self.with_content else None,
        }
        if run.kind in MODELS:
            return made | self._genai_model(run)
        if run.kind == "tool":
            return made | self._genai_tool(run)
        if run.kind == "retriever":
            return made | self._genai_retriever(run)
        name = run.name
        if operation == "invoke_agent":
            made |= {names.AGENT_NAME: name, names.PROVIDER: _provider_below(run)}
        elif operation == "invoke_workflow":
            made[self.names.workflow_name] = name
        return made | (self._genai_state(run, operation) if self.with_content else {})

    def _genai_state(self, run: Run, operation: str | None) -> dict[str, Any]:
        """Return the input and output of a chain: as messages if they are a conversation and nothing else."""
        made: dict[str, Any] = {}
        for key, own, value in (
            (names.INPUT_MESSAGES, Own.INPUT, run.input),
            (names.OUTPUT_MESSAGES, Own.OUTPUT, run.output if run.end is not None and run.error is None else None),
        ):
            messages = _conversation_in(value) if operation is not None else None
            if messages is not None:
                is_answer = key == names.OUTPUT_MESSAGES and self.names.needs_finish_reason
                made[key] = self._json([self._answer(message) for message in messages] if is_answer else messages)
            elif value is not None:
                made[own] = self._json(value)
        return made

    def _genai_model(self, run: Run) -> dict[str, Any]:
        params = run.start.payload.get("invocation_params")
        params = params if isinstance(params, dict) else {}
        answers = [generation.message for generation in _generations(run) if generation.message is not None]
        streamed = next((event for event in run.events if event.kind in STREAMED), None)
        made: dict[str, Any] = {
            names.PROVIDER: provider_of(run) or "llmtest",
            names.REQUEST_MODEL: _model(run),
            names.STREAM: True if streamed is not None else None,
            names.FIRST_CHUNK: (streamed.monotonic_ns - run.start.monotonic_ns) / 1e9 if streamed is not None else None,
            names.RESPONSE_ID: next((message.id for message in answers if message.id), None),
            names.RESPONSE_MODEL: next(filter(None, (read_model_name(m.response_metadata) for m in answers)), None),
            names.FINISH_REASONS: list(filter(None, map(_finish_reason, answers))) or None,
            **{
                key: value
                for key, value in _parameters(params, self.names).items()
                if self.with_content or key != names.PARAMETERS["stop"]
            },
        }
        if run.usage is not None and not run.cached:
            made |= self._usage(run.usage)
        if self.with_content:
            made |= {
                names.INPUT_MESSAGES: self._json(_asked(run)),
                names.OUTPUT_MESSAGES: self._json([self._answer(g.message or Message("ai", g.text)) for g in _generations(run)]),
                names.TOOL_DEFINITIONS: self._json(_definitions(params)) if params.get("tools") else None,
            }
        return made

    def _answer(self, message: Message) -> dict[str, Any]:
        reason = _finish_reason(message) or ("unknown" if self.names.needs_finish_reason else None)
        return {**written(message), "finish_reason": reason} if reason else written(message)

    def _usage(self, usage: Usage) -> dict[str, Any]:
        return {
            names.INPUT_TOKENS: int(usage.input_tokens),
            names.OUTPUT_TOKENS: int(usage.output_tokens),
            names.CACHE_READ: _int(usage.input_details.get("cache_read")),
            self.names.cache_write: _int(usage.input_details.get("cache_creation")),
            names.REASONING: _int(usage.output_details.get("reasoning")),
        }

    def _genai_tool(self, run: Run) -> dict[str, Any]:
        about = run.start.payload.get("serialized")
        made: dict[str, Any] = {
            names.TOOL_NAME: run.name,
            names.TOOL_TYPE: "function",
            names.TOOL_CALL_ID: run.tool_call_id,
            names.TOOL_DESCRIPTION: about.get("description") if isinstance(about, Mapping) and self.with_content else None,
        }
        if self.with_content:
            given = run.args if run.start.payload.get("inputs") is not None else run.input
            made[names.TOOL_ARGUMENTS] = self._text(given)
            if run.end is not None and run.error is None and run.ended == "ended":
                output = run.output
                made[names.TOOL_RESULT] = self._text(output.content if isinstance(output, Message) else output)
        return made

    def _genai_retriever(self, run: Run) -> dict[str, Any]:
        made: dict[str, Any] = {names.DATA_SOURCE: run.name}
        if self.with_content:
            found = run.output if isinstance(run.output, list) else None
            made[names.QUERY] = str(run.input)
            made[names.DOCUMENTS] = self._json([_document(one) for one in found]) if found is not None else None
        return made

    # OpenInference

    def _openinference(self, run: Run, operation: str | None) -> dict[str, Any]:
        kind = {"chat": "LLM", "llm": "LLM", "tool": "TOOL", "retriever": "RETRIEVER"}.get(run.kind)
        agent = operation == "invoke_agent"
        made: dict[str, Any] = {
            OpenInference.KIND: kind or ("AGENT" if agent else "CHAIN"),
            OpenInference.SESSION: _conversation(run),
            OpenInference.TAGS: list(run.tags) or None,
            OpenInference.AGENT_NAME: run.name if agent else None,
        }
        if run.kind in MODELS:
            made |= self._openinference_model(run)
        elif run.kind == "tool":
            made |= {OpenInference.TOOL_NAME: run.name, OpenInference.TOOL_CALL_ID: run.tool_call_id}
        if self.with_content:
            made |= self._openinference_values(run)
        return made

    def _openinference_values(self, run: Run) -> dict[str, Any]:
        made: dict[str, Any] = {OpenInference.METADATA: self._metadata(run)}
        values = [(OpenInference.INPUT, OpenInference.INPUT_MIME, run.input)]
        if run.end is not None and run.error is None:
            values.append((OpenInference.OUTPUT, OpenInference.OUTPUT_MIME, run.output))
        for key, mime, value in values:
            value = value.content if run.kind == "tool" and isinstance(value, Message) else value
            made[key] = self._text(value)
            made[mime] = "text/plain" if isinstance(value, str) else "application/json"
        if run.kind == "tool":
            made[OpenInference.TOOL_PARAMETERS] = self._json(run.args)
        if run.kind == "retriever" and isinstance(run.output, list):
            for number, found in enumerate(run.output):
                made |= self._openinference_document(f"{OpenInference.DOCUMENTS}.{number}", found)
        return made

    def _openinference_document(self, prefix: str, found: object) -> dict[str, Any]:
        if not isinstance(found, Document):
            return {f"{prefix}.{OpenInference.DOCUMENT_CONTENT}": self._json(found)}
        return {
            f"{prefix}.{OpenInference.DOCUMENT_ID}": found.id,
            f"{prefix}.{OpenInference.DOCUMENT_CONTENT}": found.page_content,
            f"{prefix}.{OpenInference.DOCUMENT_METADATA}": self._json(found.metadata) if found.metadata else None,
        }

    def _openinference_model(self, run: Run) -> dict[str, Any]:
        params = run.start.payload.get("invocation_params")
        params = params if isinstance(params, dict) else {}
        made: dict[str, Any] = {OpenInference.MODEL: _model(run), OpenInference.PROVIDER: provider_of(run)}
        usage = run.usage if not run.cached else None
        if usage is not None:
            made |= {
                OpenInference.INPUT_TOKENS: int(usage.input_tokens),
                OpenInference.OUTPUT_TOKENS: int(usage.output_tokens),
                OpenInference.TOTAL_TOKENS: int(usage.total_tokens),
                OpenInference.CACHE_READ: _int(usage.input_details.get("cache_read")),
                OpenInference.CACHE_WRITE: _int(usage.input_details.get("cache_creation")),
                OpenInference.REASONING: _int(usage.output_details.get("reasoning")),
            }
        if not self.with_content:
            return made
        rest = {key: value for key, value in params.items() if key != "tools" and value is not None}
        made[OpenInference.PARAMETERS] = self._json(rest) if rest else None
        for number, tool in enumerate(params.get("tools") or ()):
            made[f"{OpenInference.TOOLS}.{number}.{OpenInference.TOOL_SCHEMA}"] = self._json(tool)
        for number, message in enumerate(_asked(run)):
            made |= self._openinference_message(f"{OpenInference.INPUT_MESSAGES}.{number}", message)
        for number, generation in enumerate(_generations(run)):
            answer = generation.message or Message("ai", generation.text)
            made |= self._openinference_message(f"{OpenInference.OUTPUT_MESSAGES}.{number}", answer)
        return made

    def _openinference_message(self, prefix: str, message: Message) -> dict[str, Any]:
        parts = written(message)
        made: dict[str, Any] = {
            f"{prefix}.{OpenInference.ROLE}": parts["role"],
            f"{prefix}.{OpenInference.NAME}": message.name,
            f"{prefix}.{OpenInference.ANSWERED_CALL}": message.tool_call_id,
        }
        if isinstance(message.content, str):
            made[f"{prefix}.{OpenInference.CONTENT}"] = message.content if message.content else None
        else:
            for number, part in enumerate(part for part in parts["parts"] if part["type"] != "tool_call"):
                block = f"{prefix}.{OpenInference.CONTENTS}.{number}"
                made[f"{block}.{OpenInference.CONTENT_TYPE}"] = part["type"]
                text = part.get("content", part)
                made[f"{block}.{OpenInference.CONTENT_TEXT}"] = text if isinstance(text, str) else self._json(text)
        for number, call in enumerate(message.tool_calls):
            place = f"{prefix}.{OpenInference.CALLS}.{number}"
            made[f"{place}.{OpenInference.TOOL_CALL_ID}"] = call.id
            made[f"{place}.{OpenInference.CALL_NAME}"] = call.name
            made[f"{place}.{OpenInference.CALL_ARGUMENTS}"] = self._json(call.args)
        return made


# -- what a run tells of itself


def operation_of(run: Run) -> str | None:
    """Return the operation of a run; None for a chain that is neither an agent nor a graph at the root."""
    if run.kind != "chain":
        return {"chat": "chat", "llm": "text_completion", "tool": "execute_tool", "retriever": "retrieval"}[run.kind]
    about = run.metadata
    if about.get("ls_integration") == "langchain_create_agent" and about.get("lc_agent_name") == run.name:
        return "invoke_agent" if not any(tag.startswith("graph:step:") for tag in run.tags) else None
    steps = (run.children[0].metadata if run.children else FrozenDict()).get("langgraph_step")
    return "invoke_workflow" if steps is not None and about.get("langgraph_step") is None else None


def provider_of(run: Run) -> str | None:
    """Return the provider of a model run, as the conventions call it."""
    metadata = [generation.message.response_metadata for generation in _generations(run) if generation.message is not None]
    found = next(
        (m["model_provider"] for m in metadata if isinstance(m.get("model_provider"), str)), run.metadata.get("ls_provider")
    )
    return names.PROVIDERS.get(found, found) if isinstance(found, str) else None


def _provider_below(run: Run) -> str | None:
    return next(filter(None, (provider_of(each) for each in run.walk() if each.kind in MODELS)), None)


def _model(run: Run) -> str | None:
    return read_model_name(run.start.payload.get("invocation_params"), run.metadata)


def _conversation(run: Run) -> str | None:
    found = next(filter(None, (run.metadata.get(key) for key in ("thread_id", "session_id", "conversation_id"))), None)
    return str(found) if found is not None else None


def _generations(run: Run) -> Sequence[Any]:
    end = run.end
    if end is None:
        return ()
    response = end.payload.get("response")
    source = response if isinstance(response, Mapping) else end.payload
    return source.get("generations") or ()


def _asked(run: Run) -> FrozenList:
    """Return the prompt of a model run as messages."""
    value = run.input
    if run.kind == "chat" and isinstance(value, list):
        return FrozenList([message for message in value if isinstance(message, Message)])
    return FrozenList([Message("human", value if isinstance(value, str) else str(value))] if value is not None else [])


def _finish_reason(message: Message) -> str | None:
    found = message.response_metadata
    reason = next((found[key] for key in ("finish_reason", "stop_reason", "done_reason", "status") if found.get(key)), None)
    return reason if isinstance(reason, str) else None


def _definitions(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools = [tool.get("function", tool) if isinstance(tool, Mapping) else {"name": str(tool)} for tool in params["tools"]]
    keys = {"parameters": "parameters", "input_schema": "parameters", "description": "description"}
    return [
        {
            "type": "function",
            "name": str(tool.get("name", tool.get("type"))),
            **{to: tool[key] for key, to in keys.items() if key in tool},
        }
        for tool in tools
    ]


def _parameters(params: Mapping[str, Any], version: names.GenAI) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, name in names.PARAMETERS.items():
        value = params.get(key)
        if key == "stop" and value:
            made[name] = [value] if isinstance(value, str) else [str(stop) for stop in value]
        elif key != "stop" and _is_number(value) and not (key == "n" and value == 1):
            kind = float if key in _FRACTIONS else version.top_k if key == "top_k" else int
            with suppress(ValueError, OverflowError):  # a number that the conventions cannot say, such as NaN
                made[name] = kind(value)
    return made


_FRACTIONS: Final = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _int(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value else None


def _document(found: object) -> dict[str, Any]:
    if not isinstance(found, Document):
        return {"content": plain(found)}
    score = found.metadata.get("score", found.metadata.get("relevance_score"))
    made = {"content": found.page_content, "metadata": plain(found.metadata)}
    return {**({"id": found.id} if found.id is not None else {}), **made, **({"score": score} if _is_number(score) else {})}


def _conversation_in(value: object) -> FrozenList | None:
    """Return the messages of a value that is a conversation and nothing else; else None."""
    if isinstance(value, dict) and value.keys() == {"messages"}:
        value = value["messages"]
    if isinstance(value, Message):
        return FrozenList([value])
    return FrozenList(value) if isinstance(value, list) and value and set(map(type, value)) == {Message} else None
