"""`ScriptedEmbeddings`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from langchain_core.embeddings import Embeddings

from llmtest import ledger
from llmtest.core.masks import show_text
from llmtest.core.source import caller, shown_path
from llmtest.core.text import amount, capped, did_you_mean
from llmtest.errors import ScriptError, Violation, ViolationError
from llmtest.scripts.step_types import as_texts


class Embedded(NamedTuple):
    """One call of an embedding model: its method, `"embed_query"` or `"embed_documents"`, and the texts, in order."""

    method: str
    texts: tuple[str, ...]


class ScriptedEmbeddings(Embeddings):
    """Embeddings without a model: the same text has the same unit vector, on every machine.

    `vectors` maps texts to vectors, as in `{"cat": [1.0, 0.0]}`; they are returned unchanged, not normalized. The vector of
    every other text is computed from its characters: two of them have a cosine near 0, within about 1 / sqrt(`size`), by
    chance. `size` is the length of all vectors: 64, or the length of `vectors`.

    `texts` are the only permitted texts; another one is a violation. `calls` has one `(method, texts)` for each call so
    far. Thread-safe; async calls answer at once, on the event loop.

    Raises:
        ScriptError: `vectors` are no vectors of one length, or `size` is not a positive whole number or not that length.
        ViolationError: when it is asked for a text that is not in `texts`, or for something that is no text.

    >>> from llmtest import ScriptedEmbeddings
    >>> embeddings = ScriptedEmbeddings(vectors={"cat": [1.0, 0.0], "kitten": [0.8, 0.6]})  # their cosine is 0.8
    >>> embeddings.embed_documents(["kitten", "cat"])
    [[0.8, 0.6], [1.0, 0.0]]
    >>> embeddings.calls
    [Embedded(method='embed_documents', texts=('kitten', 'cat'))]

    A recording has no trace of it: LangChain fires no callbacks for embeddings.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        vectors: Mapping[str, Iterable[float]] | None = None,
        texts: Sequence[str] | None = None,
    ) -> None:
        self.calls: list[Embedded] = []
        self.violations: list[Violation] = []
        self._where = caller()
        self._texts = None if texts is None else as_texts("texts", texts)
        self._vectors = _checked_vectors({} if vectors is None else vectors, self._texts)
        length = len(next(iter(self._vectors.values()))) if self._vectors else None
        self.size = (length or 64) if size is None else size
        if type(self.size) is not int or self.size < 1:
            raise ScriptError(f"size= is a whole number of 1 or more; got {type(self.size).__name__} {self.size!r}")
        if length is not None and self.size != length:
            raise ScriptError(
                f"size={self.size} is not the length of the vectors of vectors=, which is {length}; leave size= out"
            )

    def __repr__(self) -> str:
        return f"ScriptedEmbeddings(size={self.size})"

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a text."""
        return self._embed("embed_query", [text])[0]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts."""
        return self._embed("embed_documents", texts)

    # LangChain's base class would use a thread of the executor, in which the context of the caller is a copy.
    async def aembed_query(self, text: str) -> list[float]:
        """Return the vector of a text."""
        return self.embed_query(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts."""
        return self.embed_documents(texts)

    def verify(self) -> None:
        """Raise `ViolationError` for every violation so far; the plugin does it for you."""
        if self.violations:
            raise ViolationError(*self.violations)

    def _embed(self, method: str, texts: Any) -> list[list[float]]:
        wrong = [texts] if isinstance(texts, str) else [text for text in texts if not isinstance(text, str)]
        if wrong:
            takes = "a str" if method == "embed_query" else "a list of str"
            text = f"{method} takes {takes}; got {type(wrong[0]).__name__} {wrong[0]!r}\n  find out what the program embeds"
            raise ledger.report(Violation("invalid text", text), self.violations)
        # `append` is atomic, so threads need no lock.
        self.calls.append(Embedded(method, tuple(texts)))
        if self._texts is not None and not set(texts) <= set(self._texts):
            raise ledger.report(Violation("unexpected text", self._unexpected(method, texts)), self.violations)
        return [list(self._vectors.get(text) or _unit_vector(text, self.size)) for text in texts]

    def _unexpected(self, method: str, texts: Iterable[str]) -> str:
        allowed = self._texts or ()
        strange = [text for text in dict.fromkeys(texts) if text not in allowed]
        lines = [f"{method} was given {amount(len(strange), 'text')} that texts= does not have"]
        lines += [f"  got  {show_text(text, 200)}{did_you_mean(text, allowed)}" for text in strange]
        return capped(
            [*lines, f"  texts= is given at {shown_path(self._where)}; add them there, or find out why they are embedded"]
        )


def _unit_vector(text: str, size: int) -> list[float]:
    """Return a vector that depends on the text alone, bit for bit: no function in it is rounded by the machine's library."""
    # IEEE 754 defines every operation below to the last bit. A normal distribution would need log or cos, which it does not.
    noise = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(8 * size)
    vector = [int.from_bytes(noise[start : start + 8], "big") / 2**63 - 1 for start in range(0, 8 * size, 8)]
    length = math.sqrt(math.fsum(number * number for number in vector))
    return [number / length for number in vector]


def _checked_vectors(vectors: Mapping[str, Iterable[float]], texts: Sequence[str] | None) -> dict[str, list[float]]:
    """Return `vectors=` with lists of float.

    Raises:
        ScriptError: it is no mapping of texts to vectors of one length, or names a text that is not in `texts`.
    """
    if not isinstance(vectors, Mapping):
        raise ScriptError(
            f"vectors= maps texts to vectors, as in {{'cat': [1.0, 0.0]}}; got {type(vectors).__name__} {vectors!r}"
        )
    checked: dict[str, list[float]] = {}
    for text, vector in vectors.items():
        if not isinstance(text, str):
            raise ScriptError(f"vectors= maps texts to vectors, as in {{'cat': [1.0, 0.0]}}; got the key {text!r}")
        if texts is not None and text not in texts:
            raise ScriptError(f"vectors= names {text[:200]!r}, which is not in texts={did_you_mean(text, texts)}")
        checked[text] = _checked_vector(text, vector)
        first = next(iter(checked))
        if len(checked[text]) != len(checked[first]):
            raise ScriptError(
                f"vectors= has vectors of different lengths: {len(checked[first])} for {first[:200]!r},"
                f" {len(checked[text])} for {text[:200]!r}"
            )
    return checked


def _checked_vector(text: str, vector: Any) -> list[float]:
    about = f"the vector of {text[:200]!r} in vectors="
    numbers = list(vector) if isinstance(vector, Iterable) and not isinstance(vector, str) else []
    if not numbers:
        raise ScriptError(f"{about} is a list of numbers; got {type(vector).__name__} {vector!r}")
    for index, number in enumerate(numbers):
        # numbers.Real and not float: the numbers of a float32 array of numpy are no floats
        if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
            raise ScriptError(f"{about} takes finite numbers; got {number!r} at index {index}")
    return [float(number) for number in numbers]
