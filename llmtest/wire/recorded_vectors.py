"""Vectors that a model of embeddings once gave, by text: what a script file has under `embeddings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmtest import ledger
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
        return all(text in self.vectors for text in texts)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts.

        Raises:
            ViolationError: there is no vector for one of them.
        """
        strange = [text for text in dict.fromkeys(texts) if text not in self.vectors]
        if strange:
            raise self._violate(strange)
        return [list(self.vectors[text]) for text in texts]

    def _violate(self, strange: Sequence[str]) -> ViolationError:
        were = "was" if len(strange) == 1 else "were"
        lines = [f"`{self.model}` is asked for the vectors of {amount(len(strange), 'text')} that {were} not recorded"]
        lines += [f"  got  {clip(repr(text), 200)}{did_you_mean(text, self.vectors)}" for text in strange[:5]]
        lines += [f"  {self.remedy}"] if self.remedy else []
        return ledger.report(Violation("unexpected text", "\n".join(lines)), self.violations)
