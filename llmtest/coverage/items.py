"""Items: the single things that a program can do, each hit by a test or missing from all of them.

An item has a stable id, `PROGRAM/KIND/NAME`, and two sentences: what it says when no test has hit it, and what when one has.
Nothing here knows LangChain; programs are described by `llmtest.coverage.programs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from typing import Final, Literal, get_args

Kind = Literal[
    "nodes",
    "edges",
    "tools",
    "arguments",
    "models",
    "answers",
    "fallbacks",
    "retries",
    "branches",
    "interrupts",
    "middleware",
    "retrievers",
    "prompts",
    "modes",
]
"""What an item is about. `models` are outcomes of model calls, `answers` structured outputs, `modes` the ways of a call."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True)
class Item:
    """One thing that a program can do.

    `subject` and `act` make its sentence: "`book`" and "raised" are "`book` never raised". `place` is the `file:line` of the
    program where it is defined; empty if that is not known. `unknown` says why no recording can tell whether it happens; such
    an item counts neither as hit nor as missing.

    >>> item = Item("agent", "tools", "book.raised", "`book`", "raised")
    >>> item.id, item.missing
    ('agent/tools/book.raised', '`book` never raised')
    """

    program: str
    kind: Kind
    name: str
    subject: str
    act: str
    place: str = field(default="", compare=False)
    unknown: str = field(default="", compare=False)

    @cached_property
    def id(self) -> str:
        """Its stable name: the same in every process, and after changes elsewhere in the program."""
        return f"{self.program}/{self.kind}/{self.name}"

    @property
    def missing(self) -> str:
        """The sentence of an item that no test has hit."""
        return f"{self.subject} never {self.act}"

    @property
    def sentence(self) -> str:
        """The sentence of an item that a test has hit."""
        return f"{self.subject} {self.act}"

    def matches(self, pattern: str) -> bool:
        """True if `pattern`, in which `*` stands for anything, means the id or the sentence of this item."""
        escaped = pattern.replace("[", "[[]")
        return any(fnmatchcase(text, escaped) for text in (self.id, f"{self.kind}/{self.name}", self.missing))


class Inventory:
    """The items of programs, each once, in the order in which they were added. Not for several threads at once."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._items: dict[str, Item] = {}
        self.changes = 0
        """How often it has changed."""
        for item in items:
            self.add(item)

    def add(self, item: Item) -> bool:
        """Add an item and return True, unless it is known.

        What is known to happen somewhere is no longer unknown: an item that can be judged takes the place of one that cannot.
        """
        known = self._items.get(item.id)
        if known is not None and not (known.unknown and not item.unknown):
            return False
        self._items[item.id] = item
        self.changes += 1
        return True

    def get(self, item_id: str) -> Item | None:
        return self._items.get(item_id)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items.values())


# -- the sentences: each run asks for a few of them again, so the items are kept

_remembered = lru_cache(maxsize=16_384)


@_remembered
def node(program: str, name: str, place: str = "") -> Item:
    return Item(program, "nodes", name, f"node `{name}`", "ran", place)


@_remembered
def edge(program: str, source: str, target: str, place: str = "", *, unknown: str = "") -> Item:
    return Item(program, "edges", f"{source}->{target}", f"edge `{source} → {target}`", "taken", place, unknown)


@_remembered
def open_edge(program: str, source: str, branch: str, place: str = "") -> Item:
    why = f"the targets of `{branch}` are not declared: give `path_map`, or annotate its return type with Literal"
    return Item(program, "edges", f"{source}->?{branch}", f"branch `{branch}` of `{source}`", "judged", place, why)


TOOL_ACTS: Final = {
    "called": "called",
    "answered": "answered",
    "raised": "raised",
    "refused": "refused by its schema",
    "interrupted": "interrupted",
}


@_remembered
def tool(program: str, name: str, act: str, place: str = "") -> Item:
    return Item(program, "tools", f"{name}.{act}", f"`{name}`", TOOL_ACTS[act], place)


@_remembered
def argument(program: str, tool_name: str, name: str, act: str, place: str = "") -> Item:
    """`act` is `given`, `left_out`, or the value or the type that it is given as, such as `='celsius'` or `:string`."""
    told = f"given as {act[1:]}" if act[:1] in ("=", ":") else act.replace("_", " ")
    return Item(program, "arguments", f"{tool_name}.{name}.{act}", f"`{tool_name}.{name}`", told, place)


OUTCOMES: Final = {
    "text": "answered with text",
    "tool_call": "called one tool",
    "several_calls": "called several tools in one answer",
    "empty": "gave an empty answer",
    "length": "reached the limit of length",
    "content_filter": "met the content filter",
    "refusal": "refused",
    "error": "failed",
}


@_remembered
def outcome(program: str, site: str, act: str, place: str = "") -> Item:
    where = f"the model of `{site}`" if site else "the model"
    return Item(program, "models", f"{site or 'model'}.{act}", where, OUTCOMES[act], place)


@_remembered
def answer(program: str, schema: str, act: str, place: str = "") -> Item:
    told = {"given": "given", "refused": "refused by its schema"}[act]
    return Item(program, "answers", f"{schema}.{act}", f"structured answer `{schema}`", told, place)


MODES: Final = ("invoke", "stream", "batch", "ainvoke", "astream", "abatch", "astream_events", "stream_events_v3")


@_remembered
def mode(program: str, name: str) -> Item:
    return Item(program, "modes", name, f"`{program}`", f"called by `{name}`")
