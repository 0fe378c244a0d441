"""Attributes of classes and modules of others that are replaced for a while, and the classes to replace them in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
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
    """Replace those of the methods `wraps` that a class has itself, each by what its function makes of it.

    What is no function stays: a static method, and a mock that a test has put there, are called without `self`.
    """
    return [replace(kind, name, wrap) for name, wrap in wraps.items() if isinstance(kind.__dict__.get(name), FunctionType)]


def subclasses(kind: type[T]) -> Iterator[type[T]]:
    """Yield every class below `kind`. A class with two bases below it comes twice."""
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)


class FamilyPatch:
    """Attributes that are replaced in each class of a family that has them itself, also in those defined later, until `undo`.

    `wraps` returns what is replaced in a class, each by what its function makes of it. Thread-safe.
    """

    def __init__(self, base: Any, wraps: Callable[[Any], Mapping[str, Callable[[Any], Any]]]) -> None:
        self._base = base
        self._wraps = wraps
        self._patches: list[Patch] = []
        self._done: set[Any] = set()  # a class may be found and tell of itself
        self._is_open = True
        self._lock = threading.RLock()
        self._own = base.__dict__.get("__init_subclass__")
        with self._lock:
            self._ours = base.__init_subclass__ = classmethod(self._listener())
            for kind in (base, *subclasses(base)):
                self._replace(kind)

    def _replace(self, kind: Any) -> None:
        with self._lock:
            if self._is_open and kind not in self._done:  # closed, its listener may still be inside of another's
                self._done.add(kind)
                self._patches += replace_all(kind, self._wraps(kind))

    def _listener(self) -> Callable[..., None]:
        def init_subclass(cls: Any, /, **kwargs: Any) -> None:
            before = super(self._base, cls).__init_subclass__ if self._own is None else self._own.__get__(None, cls)
            before(**kwargs)
            self._replace(cls)

        return init_subclass

    def undo(self) -> None:
        """Put back what the classes had themselves."""
        with self._lock:
            self._is_open = False
            if self._base.__dict__.get("__init_subclass__") is self._ours:
                if self._own is None:
                    del self._base.__init_subclass__
                else:
                    self._base.__init_subclass__ = self._own
            self._done.clear()
            while self._patches:
                self._patches.pop().undo()
