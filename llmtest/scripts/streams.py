"""The order in which an answer is streamed: its blocks, its tokens, the gates between them, and where it ends.

A dialect streams LangChain's chunks, an API of the wire the events of its provider. Both follow one plan.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Generic, TypeVar

from llmtest.scripts.gates import Gate
from llmtest.scripts.step_types import Call, Fail, Part, Reply

P = TypeVar("P")


class ReplyStream(ABC, Generic[P]):
    """Streams one reply in pieces of type `P`. Holds state: it is streamed once."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.cut = reply.truncated or reply.failure is not None
        self.before = 0  # tokens and openings of calls that the next piece follows: gates count in them
        self.is_at_end = False
        """True as soon as the pieces after the last block come."""

    def pieces(self) -> Iterator[P | Gate]:
        """Yield the pieces of the stream, and the gates at which it stops. A cut stream has no end.

        Raises:
            BaseException: what `_broken` returns, after the last piece of a reply that fails.
        """
        gates = list(self.reply.gate_positions()) if self.reply.stops else []
        for piece in self._ungated():
            while gates and gates[0][0] <= self.before:
                yield gates.pop(0)[1]
            yield piece
        yield from (gate for _, gate in gates)
        if self.reply.failure is not None:
            yield from self._broken(self.reply.failure)
        elif not self.reply.truncated:
            self.is_at_end = True
            yield from self._end()

    def blocks(self) -> Iterator[list[Part]]:
        """Yield the parts of each block: text after text is one block, and so is reasoning after reasoning."""
        for kind, group in groupby(self.reply.parts, type):
            parts = list(group)
            yield from ([part] for part in parts) if kind is Call else [parts]

    def _ungated(self) -> Iterator[P]:
        yield from self._opening()
        blocks = list(self.blocks())
        for number, parts in enumerate(blocks):
            yield from self._block(number, parts, self.cut and number == len(blocks) - 1)

    def _streamed(self, parts: Sequence[Part]) -> Iterator[str]:
        """Yield the tokens, and count each when its piece has been made."""
        for part in parts:
            for token in part.tokens:
                yield token
                self.before += 1

    @abstractmethod
    def _opening(self) -> Iterator[P]:
        """Yield the pieces before the first block."""

    @abstractmethod
    def _block(self, number: int, parts: list[Part], cut: bool) -> Iterator[P]:
        """Yield the pieces of one block; a `cut` block has no end."""

    @abstractmethod
    def _end(self) -> Iterator[P]:
        """Yield the pieces after the last block."""

    @abstractmethod
    def _broken(self, failure: Fail) -> Iterator[P]:
        """Yield the pieces that tell of a failure after the last token, or raise its exception."""


def join_tokens(parts: Sequence[Part]) -> str:
    """Return the tokens of these parts as one text."""
    return "".join(token for part in parts for token in part.tokens)
