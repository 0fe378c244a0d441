"""Bits of text that messages are made of. Floor 0: standard library only."""

from __future__ import annotations

from collections.abc import Iterable


def amount(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def names(given: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in given) or "none"


def capped(lines: list[str], limit: int = 20) -> str:
    """At most `limit` lines: the last one, which says what to do, is always there."""
    if len(lines) > limit:
        lines = [*lines[: limit - 2], f"  ... {len(lines) - limit + 1} more", lines[-1]]
    return "\n".join(lines)
