"""The words of a recording: events, runs, and the frozen payloads that they carry.

Floor 0: standard library only. Nothing here knows LangChain; `llmtest.langchain` translates into these words
at the moment a callback fires, and from there on nobody sees a LangChain object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, NoReturn
from uuid import UUID

from llmtest.callbacks import ENDINGS, INPUT_OF, MODELS, OUTPUT_OF, TOKEN
from llmtest.callbacks import RunKind as RunKind
from llmtest.content import read_block
from llmtest.core.sequences import Tokens
from llmtest.lanes import Lane

Ended = Literal["ended", "error", "cancelled", "closed early", "paused", "handed off", "stopped", "stopped by rule", "open"]
"""How a run ended. `paused` is an interrupt, `handed off` a command to the parent graph, `stopped` a
KeyboardInterrupt or SystemExit, `closed early` an iterator that its consumer dropped. `stopped by rule` is a run that
`record(rules=[...])` did not let go on, and those around it."""


def _read_only(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError(f"a recording is read-only; make a copy first: {type(self).__mro__[1].__name__}(value)")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. Compares equal to a plain dict and dumps to JSON like one."""

    __slots__ = ()
    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _read_only

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (dict(self),))


class FrozenList(list[Any]):
    """A list that cannot be changed. Compares equal to a plain list and dumps to JSON like one."""

    __slots__ = ()
    __setitem__ = __delitem__ = append = clear = extend = insert = pop = remove = _read_only
    reverse = sort = __iadd__ = __imul__ = _read_only

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (list(self),))


EMPTY: Final = FrozenDict()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one model call or of many. Inclusive, as LangChain's `UsageMetadata`: details are parts of the sums."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_details: FrozenDict = EMPTY
    output_details: FrozenDict = EMPTY

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.total_tokens + other.total_tokens,
            _add_details(self.input_details, other.input_details),
            _add_details(self.output_details, other.output_details),
        )


def _add_details(a: FrozenDict, b: FrozenDict) -> FrozenDict:
    return FrozenDict({key: a.get(key, 0) + b.get(key, 0) for key in (*a, *(k for k in b if k not in a))})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that a model asked for. `args` is the raw text where the model sent arguments that are not JSON."""

    name: str
    args: FrozenDict | str = EMPTY
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `role` is LangChain's message type: `human`, `ai`, `tool`, `system`, ...

    `content` is a str, or a list of content blocks (dicts) and strs, as the program sent it.
    """

    role: str
    content: str | FrozenList = ""
    tool_calls: tuple[ToolCall, ...] = ()
    id: str | None = None
    name: str | None = None
    tool_call_id: str | None = None
    status: str | None = None
    usage: Usage | None = None
    response_metadata: FrozenDict = EMPTY
    additional_kwargs: FrozenDict = EMPTY
    artifact: Any = None
    cached: bool = False
    """Whether LangChain's cache gave this answer, and no model."""

    @property
    def text(self) -> str:
        """The text of the content, without blocks of other kinds."""
        if isinstance(self.content, str):
            return self.content
        return "".join(block.text or "" for block in map(read_block, self.content) if block.kind == "text")


@dataclass(frozen=True, slots=True)
class Document:
    """A document that a retriever found."""

    page_content: str
    metadata: FrozenDict = EMPTY
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One candidate answer of a model. `message` is None for text models."""

    text: str
    message: Message | None = None
    info: FrozenDict = EMPTY


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception, as it was when it was reported: its class name, its text, and what it means for the run."""

    type: str
    message: str
    ended: Ended = "error"
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Structured:
    """A structured value (a pydantic model, a dataclass, ...): its class name and its fields."""

    type: str
    fields: FrozenDict = EMPTY


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that cannot be frozen, described without its address."""

    type: str


@dataclass(frozen=True, slots=True)
class UnseenCall:
    """A call that a scripted double received while a recording was open, and that the recording did not see.

    `place` is the line of the program that called, as `file:line`. `cause` is `no context` for a call from a thread that
    was started without the context of its starter, `no callbacks` for a call past LangChain's callbacks.
    """

    double: str
    place: str
    thread: str
    cause: Literal["no context", "no callbacks"]


class Latency(NamedTuple):
    """When a scripted answer came, in virtual time: its first token after `ttft_s` seconds, and then `tokens_per_s` of its
    `tokens` in a second; None: all at once."""

    ttft_s: float
    tokens_per_s: float | None = None
    tokens: int = 1

    def ns(self, token: int) -> int:
        """After how many nanoseconds this token came; they count from 0, and what comes after the last comes with it."""
        index = max(0, min(token, self.tokens - 1))
        return round(self.ttft_s * 1e9) + (round(index * 1e9 / self.tokens_per_s) if self.tokens_per_s else 0)

    @property
    def total_ns(self) -> int:
        """After how many nanoseconds the whole answer was there."""
        return self.ns(self.tokens)


@dataclass(frozen=True, slots=True)
class Event:
    """One callback.

    `kind` is the callback method's name. `number` counts from 0 in its recording, in the order in which callbacks
    fired. `payload` holds the callback's own arguments under LangChain's names, frozen: a list of `Message`s under
    `messages`, a `Failure` under `error`, ... `name`, `tags` and `metadata` are those of the run's start, on each
    of its events. `monotonic_ns` and `wall_ns` are nanoseconds; `time` is the same wall time as a UTC datetime.
    `lane` is the line of control on which it fired, and `moment` its place among what happened there.

    `virtual_ns` is its place in virtual time, in nanoseconds; `at_s` the same in seconds. Virtual time begins with the recording
    at 0, and goes on only by what a script says: `say(..., ttft_s=0.8, tokens_per_s=50)`, `give(..., takes_s=0.2)`. It is
    no order: events that happened side by side may have smaller times than those before them.
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
        """When it fired, in seconds of virtual time since the recording began; 0 where no script has a latency."""
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

    `events` are its own events in order; `children` the runs that it started, in the order in which they started.
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
        for event in self.events:
            if event.kind in ENDINGS:
                return event
        return None

    @property
    def ended(self) -> Ended:
        end = self.end
        if end is None:
            return "open"
        error = end.payload.get("error")
        if isinstance(error, Failure):
            return error.ended
        return "paused" if any(event.kind == "on_interrupt" for event in self.events) else "ended"

    @property
    def took_s(self) -> float | None:
        """How long it took, in seconds of virtual time; None while it is open. It counts the latencies of scripts, and not
        the time that the program took.

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
        """What the run failed with. None when it was cancelled, closed early, paused or handed off: see `ended`."""
        end = self.end
        failure = end.payload.get("error") if end else None
        return failure if isinstance(failure, Failure) and failure.ended in ("error", "stopped", "stopped by rule") else None

    @property
    def input(self) -> Any:
        """What the run was given: the messages of a chat model, the prompt of a text model, a tool's arguments, a
        chain's inputs, a retriever's query. A streamed chain tells its true input only when it ends."""
        payload = self.start.payload
        if self.kind == "chain" and self.end is not None and "inputs" in self.end.payload:
            return self.end.payload["inputs"]
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
        """What the run gave back: a `Message` of a chat model, the text of a text model; None if it did not end."""
        payload = self.end.payload if self.end is not None else EMPTY
        given = payload.get(OUTPUT_OF[self.kind])
        if self.kind not in MODELS:
            return given
        if not given:
            return None
        return given[0].message if self.kind == "chat" else given[0].text

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation of a chat model: what it was given, then its answer. Of other runs, the messages that they gave
        back, or were given if they gave none."""
        if self.kind == "chat":
            return tuple(_messages([self.input, self.output]))
        return tuple(_messages(self.output)) or tuple(_messages(self.input))

    @property
    def tokens(self) -> Tokens:
        """The streamed tokens, in order; as the provider sent them (a str, or a list of content blocks)."""
        return Tokens(e.payload["token"] for e in self.events if e.kind == TOKEN)

    @property
    def usage(self) -> Usage | None:
        """Token counts that the model reported for this run; None if it reported none."""
        if self.end is None:
            return None
        chunks = (e.payload.get("usage") for e in self.events if e.kind == TOKEN)
        streamed = [usage for usage in chunks if isinstance(usage, Usage)]
        return usage_of(self.end.payload, streamed, batched="batch_size" in self.start.payload)

    @property
    def cached(self) -> bool:
        """Whether LangChain's cache answered, and no model was asked. Text models fire no callbacks then."""
        return self.end is not None and is_cached(self.end.payload)

    @property
    def tool_call_id(self) -> str | None:
        """The id of the tool call that this tool run answers. Early versions of langchain-core 1 tell it only by the answer."""
        value = self.start.payload.get("tool_call_id")
        if value is None and self.kind == "tool" and isinstance(self.output, Message):
            value = self.output.tool_call_id
        return value if isinstance(value, str) else None

    def walk(self) -> Iterator[Run]:
        """This run and all runs inside it, parents first."""
        stack = [self]
        while stack:
            run = stack.pop()
            yield run
            stack.extend(reversed(run.children))

    def __repr__(self) -> str:
        return f"<Run {self.kind} {self.name}: {self.ended}>"


def _messages(value: Any) -> Iterator[Message]:
    """The messages in a value: itself, those of a list, those under `messages`."""
    if isinstance(value, Message):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _messages(inner)
    elif isinstance(value, dict):
        yield from _messages(value.get("messages"))


def usage_of(end: Mapping[str, Any], streamed: Sequence[Usage] = (), *, batched: bool = False) -> Usage | None:
    """What a model reported in `end`, the payload of its run's last event; None if it reported nothing.

    `streamed` is what its chunks reported, which LangChain adds up: chunks that count from the beginning of the answer each
    time would come out as a multiple (https://github.com/langchain-ai/langchain/issues/30429). `batched` is for one of several
    prompts that went to a text model together: the first one reports the tokens of all.
    """
    usages = [message.usage for message in answers(end) if message.usage is not None]
    end = response_of(end)
    if not usages:
        return _usage_of_text_model(end, batched)
    total = sum(usages[1:], usages[0])
    if len(usages) > 1:
        return _usage_of_candidates(usages[0], total, _usage_of_text_model(end, batched))
    if _counts_from_the_beginning(streamed) and _counts(sum(streamed[1:], streamed[0])) == _counts(total):
        return streamed[-1]
    return total


def is_cached(end: Mapping[str, Any]) -> bool:
    """Whether `end`, the payload of a model run's last event, tells of an answer from LangChain's cache."""
    return any(message.cached for message in answers(end))


def answers(end: Mapping[str, Any]) -> list[Message]:
    """The messages of `end`, the payload of a model run's last event. A program may end a run with anything."""
    found = (g.message for g in response_of(end).get("generations", ()) if isinstance(g, Generation))
    return [message for message in found if isinstance(message, Message)]


def response_of(end: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the generations are: in the payload itself, or in the `response` that a failed run had got so far."""
    response = end.get("response")
    return response if isinstance(response, Mapping) else end


def _counts(usage: Usage) -> tuple[int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.total_tokens


def _usage_of_candidates(first: Usage, total: Usage, whole: Usage | None) -> Usage:
    """Some integrations put the usage of the whole call on each candidate; what is said of the call decides."""
    if whole is None:
        return total
    return next((usage for usage in (first, total) if _counts(usage) == _counts(whole)), whole)


def _counts_from_the_beginning(streamed: Sequence[Usage]) -> bool:
    """Whether each chunk counts all that went before it: the prompt again, and never fewer tokens of the answer."""
    pairs = list(pairwise(streamed))
    return bool(pairs) and all(
        0 < one.input_tokens <= two.input_tokens and one.output_tokens <= two.output_tokens for one, two in pairs
    )


def _usage_of_text_model(payload: Mapping[str, Any], batched: bool) -> Usage | None:
    """Text models report usage in `llm_output`, or in the last generation's info when they stream."""
    for source in (payload.get("llm_output"), *(getattr(g, "info", None) for g in payload.get("generations", ()))):
        counts = source.get("token_usage", source.get("usage")) if isinstance(source, Mapping) else None
        usage = read_usage(counts)
        if usage is not None:
            return usage
        if batched and counts is not None:
            return Usage()
    return None


def read_usage(counts: object) -> Usage | None:
    """Return token counts in the words of LangChain, OpenAI or Anthropic as a `Usage`, or None if there are none.

    Providers leave counts out, or send None: what is no number does not count. LangChain's cache adds a cost to what it
    answers, which alone is no usage.
    """
    if not isinstance(counts, Mapping) or not counts or counts.keys() == {"total_cost"}:
        return None
    into = _count(counts, "input_tokens", "prompt_tokens")
    out = _count(counts, "output_tokens", "completion_tokens")
    cache_read = _count(counts.get("prompt_tokens_details"), "cached_tokens")
    reasoning = _count(counts.get("completion_tokens_details"), "reasoning_tokens")
    return Usage(
        into,
        out,
        _count(counts, "total_tokens") or into + out,
        _numbers(counts.get("input_token_details")) or (FrozenDict(cache_read=cache_read) if cache_read else EMPTY),
        _numbers(counts.get("output_token_details")) or (FrozenDict(reasoning=reasoning) if reasoning else EMPTY),
    )


def _count(counts: object, *names: str) -> Any:
    found = (counts.get(name) for name in names) if isinstance(counts, Mapping) else ()
    return next((count for count in found if count and isinstance(count, int | float)), 0)


def _numbers(value: object) -> FrozenDict:
    pairs = value.items() if isinstance(value, Mapping) else ()
    return FrozenDict({name: number for name, number in pairs if isinstance(number, int | float)})


def read_model_name(*sources: object) -> str | None:
    """Return the first name of a model that is in `sources`: metadata of a start, parameters of a call, or of an answer."""
    found = (source.get(key) for source in sources if isinstance(source, Mapping) for key in _MODEL_NAMES)
    return next((name for name in found if isinstance(name, str) and name), None)


_MODEL_NAMES: Final = ("ls_model_name", "model_name", "model")
