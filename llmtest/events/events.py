"""The words of a recording: events, runs, and the frozen payloads that they carry.

Nothing here knows LangChain: `llmtest.langchain` translates its objects into these words when a callback fires.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from llmtest.concurrency.lanes import Lane
from llmtest.core.sequences import Tokens, UnknownTokens
from llmtest.core.text import named, tool_name
from llmtest.events.callbacks import ENDINGS, INPUT_OF, MODELS, OUTPUT_OF, STREAM_EVENT, TOKEN, RunKind
from llmtest.events.usage import is_cached, read_chunk, read_message_finish, usage_of, usage_of_stream
from llmtest.events.words import EMPTY, Ended, Failure, FrozenDict, Message, Usage

Cause = Literal["no context", "other context", "no callbacks", "other process", "missing span"]


@dataclass(frozen=True, slots=True)
class UnseenCall:
    """A run, or a call of a scripted double, that happened while a recording was open and that the recording did not see.

    `double` is its name: of a model the class, of anything else the name in backticks. `place` is the line of the program that
    called, as `file:line`. `cause` is `no context` for a thread that was started without the context of its starter,
    `other context` for a task from before the recording or an empty context, `no callbacks` for a call past LangChain's
    callbacks, `other process` for a process that was forked meanwhile, `missing span` for a part of a trace of OpenTelemetry that
    is not there: then `double` says which, and `place` in which trace.
    """

    double: str
    place: str
    thread: str
    cause: Cause


class Latency(NamedTuple):
    """When a scripted answer came, in virtual time: its first token after `ttft_s` seconds, and then `tokens_per_s` of its
    `tokens` per second; None: all at once."""

    ttft_s: float
    tokens_per_s: float | None = None
    tokens: int = 1

    def ns(self, token: int) -> int:
        """Return after how many nanoseconds a token came. Tokens count from 0; a later one comes with the last."""
        index = max(0, min(token, self.tokens - 1))
        return round(self.ttft_s * 1e9) + (round(index * 1e9 / self.tokens_per_s) if self.tokens_per_s else 0)

    @property
    def total_ns(self) -> int:
        """After how many nanoseconds the whole answer had come."""
        return self.ns(self.tokens)


@dataclass(frozen=True, slots=True)
class Event:
    """One callback.

    `kind` is the callback method's name. `number` counts from 0 in its recording, in the order in which callbacks
    fired. `payload` holds the callback's own arguments under LangChain's names, frozen: a list of `Message`s under
    `messages`, a `Failure` under `error`, ... `name`, `tags` and `metadata` are those of the run's start, on each
    of its events. `monotonic_ns` and `wall_ns` are nanoseconds; `time` is the same wall time as a UTC datetime.
    `lane` is the line of control on which it fired, and `moment` its position there.

    `virtual_ns` is its virtual time in nanoseconds; `at_s` the same in seconds. Virtual time begins with the recording at 0,
    and only the latencies of scripts advance it: `say(..., ttft_s=0.8, tokens_per_s=50)`, `give(..., takes_s=0.2)`. It is
    no order: concurrent events may have smaller times than events with smaller numbers.
    """

    kind: str
    run_id: UUID
    parent_run_id: UUID | None
    name: str
    tags: tuple[str, ...] = ()
    metadata: FrozenDict = EMPTY
    payload: FrozenDict = EMPTY
    number: int = 0
    monotonic_ns: int = 0
    wall_ns: int = 0
    lane: Lane | None = field(default=None, compare=False)
    moment: int = field(default=0, compare=False)
    virtual_ns: int = field(default=0, compare=False)

    @property
    def time(self) -> datetime:
        return datetime.fromtimestamp(self.wall_ns / 1e9, UTC)

    @property
    def at_s(self) -> float:
        """When it fired, in seconds of virtual time since the recording began; 0 if no script has a latency."""
        return self.virtual_ns / 1e9

    @property
    def thread(self) -> str | None:
        """The name of the thread on which the callback fired."""
        return self.lane.thread if self.lane else None

    @property
    def task(self) -> str | None:
        """The name of the asyncio task in which the callback fired, or None."""
        return self.lane.task if self.lane else None

    def __str__(self) -> str:
        return f"{self.kind} `{self.name}`"


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One execution of a model, chain, tool or retriever, with the runs inside it.

    `events` are its own events in order; `children` the runs that it started, in the order of their starts.
    """

    id: UUID
    parent_id: UUID | None
    kind: RunKind
    name: str
    tags: tuple[str, ...]
    metadata: FrozenDict
    events: tuple[Event, ...]
    children: Sequence[Run]

    @property
    def start(self) -> Event:
        return self.events[0]

    @property
    def end(self) -> Event | None:
        """The event that ended the run, or None while it is open."""
        events = self.events
        if len(events) == 2 and events[1].kind in ENDINGS:  # as of most runs, of which this is asked often
            return events[1]
        return next((event for event in events if event.kind in ENDINGS), None)

    @property
    def ended(self) -> Ended:
        end = self.end
        if end is None:
            return "open"
        error = end.payload.get("error")
        if isinstance(error, Failure):
            return error.ended
        # Most runs have a start and an end only, and this is asked often.
        return "paused" if len(self.events) > 2 and any(event.kind == "on_interrupt" for event in self.events) else "ended"

    @property
    def took_s(self) -> float | None:
        """How long it took, in seconds of virtual time; None while it is open. Only latencies of scripts count.

        >>> from llmtest import ScriptedChatModel, record, say
        >>> with record() as recording:
        ...     _ = ScriptedChatModel(say("It is ", "sunny.", ttft_s=0.8, tokens_per_s=50)).invoke("weather?")
        >>> recording.models[0].took_s
        0.82
        """
        end = self.end
        return None if end is None else (end.virtual_ns - self.start.virtual_ns) / 1e9

    @property
    def error(self) -> Failure | None:
        """The failure of the run. None if it was cancelled, closed early, paused or handed off: see `ended`."""
        end = self.end
        failure = end.payload.get("error") if end else None
        return failure if isinstance(failure, Failure) and failure.ended in ("error", "stopped", "stopped by rule") else None

    @property
    def input(self) -> Any:
        """The input of the run: the messages of a chat model, the prompt of a text model, a tool's arguments, a
        chain's inputs, a retriever's query. LangChain reports the true input of a streamed chain only when it ends."""
        payload = self.start.payload
        if self.kind == "chain":
            end = self.end
            if end is not None and "inputs" in end.payload:
                return end.payload["inputs"]
        value = payload.get(INPUT_OF[self.kind])
        if self.kind == "tool" and value is None:
            return payload.get("input_str")
        return value[0] if self.kind == "llm" and value else value

    @property
    def args(self) -> FrozenDict:
        """The arguments of a tool run, by name; empty when it was called with plain text."""
        value = self.events[0].payload.get("inputs") if self.kind == "tool" else None
        return value if isinstance(value, FrozenDict) else EMPTY

    @property
    def output(self) -> Any:
        """The output of the run: a `Message` of a chat model, the text of a text model; None if it did not end."""
        end = self.end
        payload = end.payload if end is not None else EMPTY
        output = payload.get(OUTPUT_OF[self.kind])
        if self.kind not in MODELS:
            return output
        if not output:
            return None
        return output[0].message if self.kind == "chat" else output[0].text

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation of a chat model: its prompt, then its answer. Of other runs, the messages of the output, or of
        the input if the output has none."""
        if self.kind == "chat":
            return tuple(_messages([self.input, self.output]))
        return tuple(_messages(self.output)) or tuple(_messages(self.input))

    @property
    def tokens(self) -> Tokens:
        """The streamed tokens in order, as the provider sent them (a str, or a list of content blocks)."""
        if "tokens" in self.unknown:
            return UnknownTokens()
        return Tokens(e.payload["token"] for e in self.events if e.kind == TOKEN)

    @property
    def usage(self) -> Usage | None:
        """Token counts that the model reported for this run; None if it reported none."""
        streamed = [chunk for e in self.events if e.kind == TOKEN and "usage" in e.payload and (chunk := read_chunk(e.payload))]
        if self.end is not None:
            usage = usage_of(self.end.payload, streamed, batched="batch_size" in self.start.payload)
            if usage is not None:
                return usage
        # LangChain tells the end of an async stream of version 3 later than its consumer sees the message finish.
        finished = [usage for e in self.events if e.kind == STREAM_EVENT and (usage := read_message_finish(e.payload))]
        return usage_of_stream(finished[-1], streamed) if finished else None

    @property
    def cached(self) -> bool:
        """True if LangChain's cache answered instead of the model. Text models fire no callbacks then."""
        return self.end is not None and is_cached(self.end.payload)

    @property
    def is_real(self) -> bool:
        """True if a request of this model call left the machine, so that a real model answered it, or failed to.

        It is seen where the guard of real calls is on, as in each test that uses llmtest.

        >>> from llmtest import ScriptedChatModel, record
        >>> with record() as recording:
        ...     _ = ScriptedChatModel("Hello").invoke("hi")
        >>> recording.models[0].is_real
        False
        """
        return self.end is not None and self.end.payload.get("real") is True

    @property
    def unknown(self) -> Sequence[str]:
        """What the source of the run does not tell; empty for a run that was recorded by callbacks.

        A span does not tell `tokens` one by one and `notes` (retries, texts, custom events), mostly; its `input` and `output` if
        content was not exported; the `order` of what ran inside it, where nothing flowed between; and the `clock`, if spans
        inside it come from several processes. Rules and shapes that need it answer "cannot tell".
        """
        found = self.start.payload.get("unknown")
        return found if isinstance(found, list | tuple) else ()

    @property
    def tool_call_id(self) -> str | None:
        """The id of the tool call that this tool run answers. Early versions of langchain-core 1 have it only in the answer."""
        value = self.start.payload.get("tool_call_id")
        if value is None and self.kind == "tool" and isinstance(self.output, Message):
            value = self.output.tool_call_id
        return value if isinstance(value, str) else None

    def __eq__(self, other: object) -> bool:
        """A run is itself, and equal to its name or its tool, as in a shape: `recording.tools[0] == "search"`."""
        if isinstance(other, Run):
            return self is other
        if isinstance(other, str | re.Pattern):
            return named(other, self.name)
        tool = tool_name(other)
        return NotImplemented if tool is None else self.kind == "tool" and self.name == tool

    __hash__ = object.__hash__

    def walk(self) -> Iterator[Run]:
        """This run and all runs inside it, parents first."""
        stack = [self]
        while stack:
            run = stack.pop()
            yield run
            stack.extend(reversed(run.children))

    def __repr__(self) -> str:
        return f"<Run {self.kind} {self.name}: {self.ended}>"


def nodes_of(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return the LangGraph nodes around a run, the outermost first.

    LangGraph's `langgraph_node` is the innermost: `model` in each prebuilt agent. The nodes around it, such as the node
    that this agent is, are in the namespace of the checkpoint: `billing:<task>|model:<task>`.
    """
    innermost, namespace = metadata.get("langgraph_node"), metadata.get("langgraph_checkpoint_ns")
    if not isinstance(innermost, str) or not innermost:
        return ()
    parts = namespace.split("|") if isinstance(namespace, str) else []
    # A number tells the calls of one subgraph apart; it is no node.
    nodes = [name for name in (part.partition(":")[0] for part in parts) if name and not name.isdigit()]
    return tuple(nodes) if nodes[-1:] == [innermost] else (*nodes, innermost)


def _messages(value: object) -> Iterator[Message]:
    """Yield the messages in a value: the value itself, the items of a list, the items under `messages`."""
    if isinstance(value, Message):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _messages(inner)
    elif isinstance(value, dict):
        yield from _messages(value.get("messages"))
