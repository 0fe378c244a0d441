"""Token counts: what the model calls of a block cost.

Floor 1. A `TokenCount` is a block that keeps of its runs only what counting needs. Nothing is counted while the program
runs: the counts are made when they are read.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar
from uuid import UUID

from llmtest.blocks import Block, RawEvent
from llmtest.callbacks import CALLBACKS, MODELS, START_KINDS, STREAM_EVENT, TOKEN
from llmtest.core.text import amount, did_you_mean, names
from llmtest.errors import PriceError
from llmtest.events import Ended, Failure, FrozenDict, Usage, answers, is_cached, read_model_name, response_of, usage_of

K = TypeVar("K")

Prices = Mapping[str, tuple[float, ...]]
"""By model, the price of a million tokens: (input, output), (input, output, cache_read) or with cache_write as the fourth."""

_KINDS: Final = frozenset(name for name, row in CALLBACKS.items() if row.runs and MODELS.issuperset(row.runs)) - {STREAM_EVENT}


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model.

    `model` is the name that the provider answered with, or else the one that it was asked for by; `node` is LangGraph's.
    `usage` is None if no usage was reported, or not yet. `cached` tells that LangChain's cache answered.
    """

    name: str
    model: str | None = None
    tags: tuple[str, ...] = ()
    node: str | None = None
    usage: Usage | None = None
    ended: Ended = "open"
    cached: bool = False

    @property
    def spent(self) -> Usage:
        """Its tokens: none where the cache answered, or where no usage was reported."""
        return Usage() if self.cached or self.usage is None else self.usage

    def __str__(self) -> str:
        model = f" {self.model}" if self.model else ""
        node = f" in node `{self.node}`" if self.node else ""
        state = "from the cache" if self.cached else f"{self.spent.input_tokens} in, {self.spent.output_tokens} out"
        return f"`{self.name}`{model}{node}: {state}" + ("" if self.ended == "ended" else f", {self.ended}")


@dataclass(frozen=True, slots=True)
class _Sum:
    """Calls added up."""

    usage: Usage = field(default_factory=Usage)
    requests: int = 0
    successful: int = 0
    errors: int = 0
    cached: int = 0
    cached_usage: Usage = field(default_factory=Usage)
    unreported: int = 0

    def add(self, call: ModelCall) -> _Sum:
        ended = call.ended == "ended"
        return _Sum(
            self.usage + call.spent,
            self.requests + (not call.cached),
            self.successful + (ended and not call.cached),
            self.errors + (call.ended in ("error", "stopped", "stopped by rule")),
            self.cached + call.cached,
            self.cached_usage + call.usage if call.cached and call.usage else self.cached_usage,
            self.unreported + (ended and not call.cached and call.usage is None),
        )


_NOTHING: Final = _Sum()


class Figures(ABC):
    """Counts, under our names and under those of LangChain's OpenAI callback. Tokens are inclusive: details are parts of them."""

    __slots__ = ()

    @abstractmethod
    def _now(self) -> _Sum:
        """The calls so far, added up."""

    @property
    def usage(self) -> Usage:
        """All tokens, with their details. Streams that were cut off count with what had been reported by then."""
        return self._now().usage

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompts, those that the provider had in its prompt cache included."""
        return self.usage.input_tokens

    @property
    def output_tokens(self) -> int:
        """Tokens of the answers, those of reasoning included."""
        return self.usage.output_tokens

    @property
    def total_tokens(self) -> int:
        """Tokens of prompts and answers."""
        return self.usage.total_tokens

    @property
    def input_details(self) -> FrozenDict:
        """Kinds of input tokens, as they were reported: `cache_read`, `cache_creation`, `audio`, ..."""
        return self.usage.input_details

    @property
    def output_details(self) -> FrozenDict:
        """Kinds of output tokens, as they were reported: `reasoning`, `audio`, ..."""
        return self.usage.output_details

    @property
    def requests(self) -> int:
        """Model calls that were made, however they ended; those that LangChain's cache answered are not among them."""
        return self._now().requests

    @property
    def successful_requests(self) -> int:
        """Model calls that ended with an answer, as the OpenAI callback calls them."""
        return self._now().successful

    @property
    def errors(self) -> int:
        """Model calls that failed. A cancelled call and a stream that was closed early did not fail."""
        return self._now().errors

    @property
    def cached(self) -> int:
        """Answers that LangChain's cache gave. Their tokens are in `cached_usage` only."""
        return self._now().cached

    @property
    def cached_usage(self) -> Usage:
        """The tokens that the answers from the cache once cost."""
        return self._now().cached_usage

    @property
    def unreported(self) -> int:
        """Model calls that ended with an answer and without usage: their tokens are not in the count."""
        return self._now().unreported

    @property
    def prompt_tokens(self) -> int:
        """`input_tokens`, as the OpenAI callback calls them."""
        return self.input_tokens

    @property
    def completion_tokens(self) -> int:
        """`output_tokens`, as the OpenAI callback calls them."""
        return self.output_tokens

    @property
    def prompt_tokens_cached(self) -> int:
        """Input tokens that the provider had in its prompt cache, as the OpenAI callback calls them."""
        return int(self.input_details.get("cache_read", 0))

    @property
    def reasoning_tokens(self) -> int:
        """Output tokens of reasoning, as the OpenAI callback calls them."""
        return int(self.output_details.get("reasoning", 0))

    def __repr__(self) -> str:
        now = self._now()
        words = [f"{now.usage.input_tokens} in, {now.usage.output_tokens} out", amount(now.requests, "request")]
        words += [amount(now.errors, "error")] if now.errors else []
        words += [f"{now.cached} from the cache"] if now.cached else []
        words += [f"{now.unreported} without usage"] if now.unreported else []
        return f"<{type(self).__name__}: {', '.join(words)}>"


class Counts(Figures):
    """The figures of some calls."""

    __slots__ = ("_sum",)

    def __init__(self, calls: Iterable[ModelCall]) -> None:
        self._sum = _NOTHING
        for call in calls:
            self._sum = self._sum.add(call)

    def _now(self) -> _Sum:
        return self._sum


class _ModelEvents(deque["RawEvent | None"]):
    """The events that counting needs, until they are read; None is where the block ended."""

    def append(self, raw: RawEvent | None, /) -> None:
        if raw is None or (raw[0] in _KINDS and type(raw[3]) is not str):
            super().append(raw)


@dataclass(slots=True)
class _Running:
    """A call that has started and not ended: its place among the calls, and the usage that its chunks have reported."""

    place: int
    call: ModelCall
    batched: bool
    streamed: list[Usage] = field(default_factory=list)


class _Book:
    """Events made into calls, and the calls added up. Holds state; whoever uses it holds `_reading`."""

    __slots__ = ("calls", "ended", "late", "running", "sum")

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self.late: list[ModelCall] = []
        self.running: dict[UUID, _Running] = {}
        self.sum = _NOTHING
        self.ended = False

    def now(self) -> _Sum:
        return self.sum if self.ended else replace(self.sum, requests=self.sum.requests + len(self.running))

    def write(self, raw: RawEvent | None) -> None:
        if raw is None:
            self.sum, self.ended = self.now(), True
        elif raw[0] in START_KINDS:
            self._start(raw)
        elif raw[1] in self.running:
            self._go_on(raw)

    def _start(self, raw: RawEvent) -> None:
        name, tags, make = raw[3]
        start = make()
        metadata, payload = start["metadata"], start["payload"]
        node = metadata.get("langgraph_node")
        model = read_model_name(metadata, payload.get("invocation_params"))
        call = ModelCall(name, model, tags, node if isinstance(node, str) and node else None)
        self.running[raw[1]] = _Running(len(self.calls), call, "batch_size" in payload)
        if not self.ended:
            self.calls.append(call)

    def _go_on(self, raw: RawEvent) -> None:
        payload, running = raw[3](), self.running[raw[1]]
        if raw[0] == TOKEN:
            usage = payload.get("usage")
            running.streamed += [usage] if isinstance(usage, Usage) else []
            return
        del self.running[raw[1]]
        failure = payload.get("error")
        call = replace(
            running.call,
            model=_model(payload) or running.call.model,
            usage=usage_of(payload, running.streamed, batched=running.batched),
            ended=failure.ended if isinstance(failure, Failure) else "ended",
            cached=is_cached(payload),
        )
        if self.ended:
            self.late.append(call)
        else:
            self.calls[running.place] = call
            self.sum = self.sum.add(call)


_reading = threading.Lock()
"""Whoever reads a count, any count, writes its book first; that is short, and calls nobody."""


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
                self._book = _Book()
            while self._raw:
                self._book.write(self._raw.popleft())
            yield self._book

    def _now(self) -> _Sum:
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
        """The figures of the calls in each node of LangGraph."""
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
            PriceError: the price of a model is not known, or a model reported no usage.
        """
        return sum(cost_of(call, self._prices) for call in self.calls if not call.cached and call.ended != "open")


def _model(payload: FrozenDict) -> str | None:
    """The name by which the provider answered."""
    said = (message.response_metadata for message in answers(payload))
    return read_model_name(*said, response_of(payload).get("llm_output"))


# -- prices


def checked(prices: Prices | None) -> Prices | None:
    """A copy of a table of prices.

    Raises:
        TypeError: a row is no tuple of two to four numbers.
    """
    for model, row in (prices or {}).items():
        numbers = isinstance(row, tuple | list) and all(isinstance(n, int | float) and n >= 0 for n in row)
        if not numbers or not 2 <= len(row) <= 4:
            raise TypeError(
                f"prices of {model!r} are a tuple (input, output, cache_read, cache_write) per million tokens, of which the last"
                f" two may be left out; got {row!r}"
            )
    return None if prices is None else dict(prices)


def cost_of(call: ModelCall, prices: Prices | None = None) -> float:
    """What one call cost, by a table of prices or else by genai-prices.

    Raises:
        PriceError: the price of its model is not known, or it reported no usage.
    """
    if call.usage is None and call.ended == "ended":
        raise PriceError(f"the cost of a call is not known, because it reported no usage: {call}")
    if call.model is None:
        raise PriceError(f"the cost of a call is not known, because it tells no name of a model: {call}")
    return _by_table(call.model, call.spent, prices) if prices is not None else _by_genai_prices(call.model, call.spent)


def _by_table(model: str, usage: Usage, prices: Prices) -> float:
    if model not in prices:
        hint = did_you_mean(model, prices, otherwise=f"the table has {names(prices, 'no model')}")
        raise PriceError(f"no price for the model {model!r}{hint}\n  add it to prices=: {{{model!r}: (input, output)}}")
    into, out, read, write = (*prices[model], *[prices[model][0]] * 2)[:4]
    of_read, of_write = _cache(usage)
    rest = usage.input_tokens - of_read - of_write
    return (rest * into + of_read * read + of_write * write + usage.output_tokens * out) / 1_000_000


def _cache(usage: Usage) -> tuple[int, int]:
    return usage.input_details.get("cache_read", 0), usage.input_details.get("cache_creation", 0)


def _by_genai_prices(model: str, usage: Usage) -> float:
    try:
        import genai_prices
    except ImportError:
        raise PriceError(
            f"no price for the model {model!r}: give a table, count_tokens(prices={{{model!r}: (input, output)}}),"
            "\n  or install genai-prices, which knows those of many providers: pip install 'llmtest-kit[cost]'"
        ) from None
    read, write = _cache(usage)
    counts: Any = {"cache_read_tokens": read, "cache_write_tokens": write}
    spent = genai_prices.Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, **counts)
    try:
        return float(genai_prices.calc_price(spent, model).total_price)
    except LookupError:
        raise PriceError(
            f"no price for the model {model!r} in genai-prices {genai_prices.__version__}"
            f"\n  give a table: count_tokens(prices={{{model!r}: (input, output)}})"
        ) from None
    except ValueError as error:
        raise PriceError(f"no price for a call of the model {model!r}, because its usage contradicts itself: {error}") from error


def count_tokens(*, prices: Prices | None = None) -> TokenCount:
    """Counts the tokens of the model calls that start inside the block. Gives a `TokenCount`, which is the block.

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
