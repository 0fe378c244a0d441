"""Vectors that a model of embeddings once gave, by text: what a script file has under `embeddings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmtest import ledger
from llmtest.core.masks import table
from llmtest.core.text import amount, clip, did_you_mean
from llmtest.errors import Violation, ViolationError


@dataclass(eq=False)
class RecordedEmbeddings:
    """The vectors of texts that a model of embeddings once gave. `remedy` says what to do for another text. Holds state."""

    model: str
    vectors: Mapping[str, Sequence[float]]
    remedy: str = ""
    violations: list[Violation] = field(default_factory=list)

    def knows(self, texts: Sequence[str]) -> bool:
        """True if there is a vector for each of `texts`."""
        return all(self._recorded(text) is not None for text in texts)

    def _recorded(self, text: str) -> str | None:
        """Return `text` as it was recorded; None if it was not. A secret in it may have a mask there.

        Texts that differ in a secret only have masks with numbers; which of them is `text` cannot be told.
        """
        if text in self.vectors:
            return text
        hidden = table().without_secrets(text)
        return hidden if hidden in self.vectors and f"{hidden} (2)" not in self.vectors else None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts.

        Raises:
            ViolationError: there is no vector for one of them.
        """
        recorded = {text: self._recorded(text) for text in texts}
        strange = [text for text, found in recorded.items() if found is None]
        if strange:
            raise self._violate(strange)
        return [list(self.vectors[recorded[text] or text]) for text in texts]

    def _violate(self, strange: Sequence[str]) -> ViolationError:
        were = "was" if len(strange) == 1 else "were"
        lines = [f"`{self.model}` is asked for the vectors of {amount(len(strange), 'text')} that {were} not recorded"]
        lines += [f"  got  {clip(repr(text), 200)}{did_you_mean(text, self.vectors)}" for text in strange[:5]]
        lines += [f"  {self.remedy}"] if self.remedy else []
        return ledger.report(Violation("unexpected text", "\n".join(lines)), self.violations)
