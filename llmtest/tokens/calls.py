"""Model calls and their sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from llmtest.core.text import amount
from llmtest.errors import UnjudgedError
from llmtest.events.words import Ended, FrozenDict, Usage

REFUSED: Final = frozenset(("error", "stopped", "stopped by rule"))
"""How a call ends that a provider has refused, or that was never made."""


def is_usage_known(ended: Ended, usage: Usage | None, *, cached: bool, answered: bool) -> bool:
    """True if `usage` is all that a model call spent. A call that failed before its first token spent nothing."""
    return cached or (ended == "ended" and usage is not None) or (ended in REFUSED and not answered)


class UnknownUsage(Usage):
    """A usage of which a part is not known: it equals no usage, and what is read of it raises.

    Raises:
        UnjudgedError: from each figure; the message says which calls are not known.
    """

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        object.__setattr__(self, "why", why)

    def __getattribute__(self, name: str) -> Any:
        if name in Usage.__slots__:
            raise UnjudgedError(object.__getattribute__(self, "why"))
        return super().__getattribute__(name)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "<Usage: not known>"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model.

    `model` is the name that the provider answered with, or else the one that it was asked for by; `nodes` are the nodes of
    LangGraph around it, the outermost first.
    `usage` is None if no usage was reported, or not yet. `cached` tells that LangChain's cache answered, `answered` that a
    token of the answer was streamed.
    """

    name: str
    model: str | None = None
    tags: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    usage: Usage | None = None
    ended: Ended = "open"
    cached: bool = False
    answered: bool = field(default=False, compare=False, repr=False)

    @property
    def node(self) -> str | None:
        """The outermost node around it: the one that the program named, where an agent is a node."""
        return self.nodes[0] if self.nodes else None

    @property
    def is_known(self) -> bool:
        """True if what it spent is known, and not only a part of it."""
        return is_usage_known(self.ended, self.usage, cached=self.cached, answered=self.answered)

    @property
    def spent(self) -> Usage:
        """The tokens that it reported: none where the cache answered, or where no usage was reported."""
        return Usage() if self.cached or self.usage is None else self.usage

    def __str__(self) -> str:
        model = f" {self.model}" if self.model else ""
        node = f" in node `{self.node}`" if self.node else ""
        state = "from the cache" if self.cached else f"{self.spent.input_tokens} in, {self.spent.output_tokens} out"
        if not self.is_known:
            state = "usage not known" if self.usage is None else f"{state} until then"
        return f"`{self.name}`{model}{node}: {state}" + ("" if self.ended == "ended" else f", {self.ended}")


@dataclass(frozen=True, slots=True)
class Sum:
    """Calls added up."""

    usage: Usage = field(default_factory=Usage)
    requests: int = 0
    successful: int = 0
    errors: int = 0
    cached: int = 0
    cached_usage: Usage = field(default_factory=Usage)
    unreported: int = 0

    def add(self, call: ModelCall) -> Sum:
        ended = call.ended == "ended"
        return Sum(
            self.usage + call.spent,
            self.requests + (not call.cached),
            self.successful + (ended and not call.cached),
            self.errors + (call.ended in REFUSED),
            self.cached + call.cached,
            self.cached_usage + call.usage if call.cached and call.usage else self.cached_usage,
            self.unreported + (ended and not call.cached and call.usage is None),
        )


NOTHING: Final = Sum()


class Figures(ABC):
    """Counts, under our names and under those of LangChain's OpenAI callback. Tokens are inclusive: details are parts of them."""

    __slots__ = ()

    @abstractmethod
    def _now(self) -> Sum:
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
        self._sum = NOTHING
        for call in calls:
            self._sum = self._sum.add(call)

    def _now(self) -> Sum:
        return self._sum
