"""Attributes of classes and modules of others that are replaced for a while, and the classes to replace them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patch:
    """One attribute of a client that is replaced, and what it was."""

    owner: Any
    name: str
    original: Any
    ours: Any

    def undo(self) -> None:
        if self.owner.__dict__.get(self.name) is self.ours:  # else somebody has patched it after us, and has ours inside
            setattr(self.owner, self.name, self.original)


def replace(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Patch:
    """Replace the attribute `name` of `owner` by what `wrap` makes of it."""
    original = owner.__dict__[name]
    ours = wrap(original)
    setattr(owner, name, ours)
    return Patch(owner, name, original, ours)


def replace_all(kind: Any, wraps: Mapping[str, Callable[[Any], Any]]) -> list[Patch]:
    """Replace those of the attributes `wraps` that a class has itself, each by what its function makes of it."""
    return [replace(kind, name, wrap) for name, wrap in wraps.items() if name in kind.__dict__]


def subclasses(kind: type[T]) -> Iterator[type[T]]:
    """Yield every class below `kind`. A class with two bases below it comes twice."""
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)
