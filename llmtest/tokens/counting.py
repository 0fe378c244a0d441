"""Token counts: what the model calls of a block cost.

A `TokenCount` is a block that keeps of its runs only what counting needs. Nothing is counted while the program
runs: the counts are made when they are read.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, TypeVar
from uuid import UUID

from llmtest.capture.blocks import Block, RawEvent
from llmtest.concurrency.lanes import Lane
from llmtest.events.callbacks import CALLBACKS, MODELS, START_KINDS, STREAM_EVENT, TOKEN
from llmtest.events.events import Run, nodes_of
from llmtest.events.usage import (
    ChunkUsage,
    answers,
    is_cached,
    read_chunk,
    read_message_finish,
    read_model_name,
    response_of,
    usage_of,
    usage_of_stream,
)
from llmtest.events.words import Failure, FrozenDict
from llmtest.tokens.calls import NOTHING, Counts, Figures, ModelCall, Sum
from llmtest.tokens.prices import Prices, checked, cost_of

K = TypeVar("K")

_KINDS: Final = frozenset(name for name, row in CALLBACKS.items() if row.runs and MODELS.issuperset(row.runs))


class _ModelEvents(deque["RawEvent | None"]):
    """The events that counting needs, until they are read; None is where the block ended."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: set[UUID] = set()
        """The runs that have streamed a token, whose text counting does not need."""

    def append(self, raw: RawEvent | None, /) -> None:
        if raw is not None and (raw[0] == STREAM_EVENT or type(raw[3]) is str):
            self.answered.add(raw[1])
        if raw is None or (raw[0] in _KINDS and type(raw[3]) is not str):
            super().append(raw)


@dataclass(slots=True, eq=False)
class _Running:
    """A call that has started and not ended: its place among the calls, and the usage that its chunks have reported."""

    place: int
    call: ModelCall
    batched: bool
    lane: Lane | None = None
    streamed: list[ChunkUsage] = field(default_factory=list)


class _Book:
    """Events made into calls, and the calls added up. Holds state; its users hold `_reading`."""

    __slots__ = ("_answered", "calls", "ended", "late", "running", "sum")

    def __init__(self, answered: set[UUID]) -> None:
        self._answered = answered
        self.calls: list[ModelCall] = []
        self.late: list[ModelCall] = []
        self.running: dict[UUID, list[_Running]] = {}
        """The open calls of each id: a program may give one id to several runs."""
        self.sum = NOTHING
        self.ended = False

    def now(self) -> Sum:
        if self.ended:
            return self.sum
        total = self.sum
        for running in chain.from_iterable(self.running.values()):
            finished = running.call.ended == "ended"
            total = total.add(running.call) if finished else replace(total, requests=total.requests + 1)
        return total

    def write(self, raw: RawEvent | None) -> None:
        if raw is None:
            self.sum, self.ended = self.now(), True
        elif raw[0] in START_KINDS:
            self._start(raw)
        elif raw[1] in self.running:
            self._go_on(raw, self.running[raw[1]])

    def _start(self, raw: RawEvent) -> None:
        name, tags, make = raw[3]
        start = make()
        metadata, payload = start["metadata"], start["payload"]
        model = read_model_name(metadata, payload.get("invocation_params"))
        call = ModelCall(name, model, tags, nodes_of(metadata))
        running = _Running(len(self.calls), call, "batch_size" in payload, raw[6][0] if raw[6] else None)
        self.running.setdefault(raw[1], []).append(running)
        if not self.ended:
            self.calls.append(call)

    def _go_on(self, raw: RawEvent, going: list[_Running]) -> None:
        here = [running for running in going if raw[6] is not None and running.lane is raw[6][0]]
        payload, running = raw[3](), (here or going)[-1]
        if raw[0] == TOKEN:
            chunk = read_chunk(payload)
            running.streamed += [] if chunk is None else [chunk]
            return
        if raw[0] == STREAM_EVENT:
            self._finish_message(running, payload)
            return
        going.remove(running)
        if not going:
            del self.running[raw[1]]
        failure = payload.get("error")
        answered = raw[1] in self._answered or bool(running.streamed)
        self._answered.discard(raw[1])
        call = replace(
            running.call,
            model=_model(payload) or running.call.model,
            usage=usage_of(payload, running.streamed, batched=running.batched),
            ended=failure.ended if isinstance(failure, Failure) else "ended",
            cached=is_cached(payload) and not answered,  # the cache streams nothing
            answered=answered,
        )
        if self.ended:
            self.late += [call] if running.call.usage is None else []
        else:
            self.calls[running.place] = call
            self.sum = self.sum.add(call)

    def _finish_message(self, running: _Running, payload: FrozenDict) -> None:
        """Count a message of version 3 when it is finished: in async code, LangChain tells the end of its run later."""
        usage = read_message_finish(payload)
        if usage is not None and not self.ended:
            known = usage_of_stream(usage, running.streamed)
            running.call = replace(running.call, usage=known, ended="ended", answered=True)
            self.calls[running.place] = running.call


_reading = threading.Lock()
"""Held while a count is read: the events since the last time are written into its book first, which is short."""


class TokenCount(Block, Figures):
    """What the model calls of a block cost.

    Can be read at any time, also while the block is open and from any thread. Once it has closed it stays as it is: calls
    that end later are in `late`. Which runs belong to it is as for `record`.

    It holds what the models reported and counts no text of its own.
    """

    light = True
    word = "count_tokens"
    _book: _Book | None = None  # made when it is first read: many blocks are opened, and few figures read

    def __init__(self, *, prices: Prices | None = None) -> None:
        super().__init__()
        self._raw: _ModelEvents = _ModelEvents()
        self._prices = None if prices is None else checked(prices)

    def _mark_end(self) -> None:
        self._raw.append(None)

    @contextmanager
    def _read(self) -> Iterator[_Book]:
        """The book, with everything written in it that has happened by now."""
        with _reading:
            if self._book is None:
                self._book = _Book(self._raw.answered)
            while self._raw:
                self._book.write(self._raw.popleft())
            yield self._book

    def _now(self) -> Sum:
        with self._read() as book:
            return book.now()

    @property
    def calls(self) -> list[ModelCall]:
        """Every call, in the order in which they started. One that was open when the block closed stays open here."""
        with self._read() as book:
            return list(book.calls)

    @property
    def late(self) -> list[ModelCall]:
        """Calls of this block's runs that ended after it had closed. Their tokens are in no count."""
        with self._read() as book:
            return list(book.late)

    @property
    def by_model(self) -> dict[str | None, Counts]:
        """The figures of each model, by the name that the provider answered with; None for models that tell none."""
        return self._by(lambda call: [call.model])

    @property
    def by_tag(self) -> dict[str, Counts]:
        """The figures of the calls that have a tag, for each tag; a call with two tags is in both."""
        return self._by(lambda call: call.tags)

    @property
    def by_node(self) -> dict[str, Counts]:
        """The figures of the calls in each node of LangGraph; a call of an agent or graph that is a node counts for that node.

        The nodes inside it are in the `nodes` of each call.
        """
        return self._by(lambda call: [call.node] if call.node is not None else [])

    def _by(self, keys: Callable[[ModelCall], Iterable[K]]) -> dict[K, Counts]:
        groups: dict[K, list[ModelCall]] = {}
        for call in self.calls:
            for key in dict.fromkeys(keys(call)):
                groups.setdefault(key, []).append(call)
        return {key: Counts(calls) for key, calls in groups.items()}

    @property
    def total_cost(self) -> float:
        """What the calls cost, in the currency of `prices`; in US dollars where genai-prices says it.

        Raises:
            PriceError: the price of a model is not known, or what a call spent is not.
        """
        return sum(cost_of(call, self._prices) for call in self.calls if not call.cached)


def call_of(run: Run) -> ModelCall:
    """Return the model call that a run is, as `count_tokens` counts it."""
    payload = run.end.payload if run.end is not None else FrozenDict()
    model = _model(payload) or read_model_name(run.metadata, run.start.payload.get("invocation_params"))
    about = (run.name, model, run.tags, nodes_of(run.metadata))
    return ModelCall(*about, usage=run.usage, ended=run.ended, cached=run.cached, answered=bool(run.tokens))


def _model(payload: FrozenDict) -> str | None:
    """The name by which the provider answered."""
    said = (message.response_metadata for message in answers(payload))
    return read_model_name(*said, response_of(payload).get("llm_output"))


def count_tokens(*, prices: Prices | None = None) -> TokenCount:
    """Count the tokens of the model calls that start inside the block. Return a `TokenCount`, which is the block.

    Which calls are in it is as for `record`: nested blocks both count; tasks, `batch` threads and `asyncio.to_thread` are in;
    work that was started before the block is not; calls that end after it are in `tokens.late`. A bare thread has no
    context: give it `carry_context(target)`.

    `prices` are for `tokens.total_cost`: by model, what a million tokens cost, `(input, output, cache_read, cache_write)`, of
    which the last two may be left out and are then those of input. Without it genai-prices is asked, from the extra `cost`.

    Works as `with`, as `async with`, and as a decorator of functions and generators, sync and async, whose calls are all
    counted: `tokens = count_tokens()`, then `@tokens`. May be nested, left by any exception, which goes on unchanged, and
    left in another task. Thread-safe and task-safe.

    >>> from llmtest import ScriptedChatModel, count_tokens
    >>> with count_tokens(prices={"scripted": (2.0, 10.0)}) as tokens:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> tokens.input_tokens, tokens.output_tokens, tokens.requests, tokens.total_cost
    (1, 2, 1, 2.2e-05)

    It counts what models report: a call that reports no usage is in `tokens.unreported`, and adds no tokens.
    """
    return TokenCount(prices=prices)
