"""What is wrong with a component, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmtest.core.source import shown_line
from llmtest.errors import Violation


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. Two of one rule, subject and place are the same thing, seen twice."""

    rule: str
    subject: str
    text: str
    at: str = ""
    evidence: tuple[tuple[str, str], ...] = ()
    hint: str = ""
    callback: str = ""


def in_words(fault: Fault, where: Sequence[tuple[str, str]] = (), hint: str = "") -> Violation:
    """Return a fault as a sentence, its evidence, and one hint; `where` stands before its own evidence."""
    evidence = [("at", shown_line(fault.at)), *where, *fault.evidence]
    lines = [f"  {label:<10} {text}" for label, text in evidence if text]
    advice = hint or fault.hint
    return Violation(fault.rule, "\n".join([fault.text, *lines, *([f"  {advice}"] if advice else [])]))
