"""Tree texts, written by hand."""

from __future__ import annotations


def run(*inside: str, first: str = "chat Model") -> str:
    """The text of one run with its entries."""
    return "\n".join((first, *(f"  {line}" for line in inside), ""))
