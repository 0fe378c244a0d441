"""Answers: whether a rule or a shape holds, in one line and in full.

An `Answer` is true or false; it never raises. Its repr is one line; its text has what was expected, what came, the
events that show it and where they stand in the tree, the nearest miss, and where the script offered what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat, starmap
from typing import Any, Final

from llmtest import ledger
from llmtest.core.literals import ConcurrentGroup, Element, Line, Together
from llmtest.core.masks import publish, show, table
from llmtest.core.source import shown_path
from llmtest.core.text import amount, clip, plural, short
from llmtest.core.unread import Unread
from llmtest.errors import MatchError
from llmtest.events.events import Event, Run
from llmtest.matching.rule import Rule, Verdict
from llmtest.matching.selectors import Selector
from llmtest.matching.shapes import Mismatch, RunLine, mark, mismatch
from llmtest.order.happens_before import HappensBefore
from llmtest.scripts.step_types import Call

_LINE: Final = 199
"""The longest one-line answer."""

_SHOWN: Final = 8
"""How many items of a sequence are shown around the place where it goes wrong."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An event of an answer: its number, what it is, how deep in the tree, and the names of the runs around it.

    Its text is where to find it: "7: on_tool_start `book`, depth 1: agent > book".
    """

    number: int
    kind: str
    name: str
    depth: int
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.number}: {self.kind} `{self.name}`, depth {self.depth}: {' > '.join(self.path)}"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Whether a rule or a shape holds: true if it does.

    `repr(answer)` is one line of less than 200 characters, `str(answer)` the whole explanation, `answer.to_dict()` the same as
    plain data. `holds` is None where it cannot be told, because what would tell it is missing; that is no success.

    Asked for its truth, it raises a `MatchError` where nothing tells which way it is: neither `answer` nor `not answer` passes.
    A test that never reads a false answer fails. It does not raise because a rule is broken; `recording.assert_obeys(...)` does.
    """

    expected: str
    holds: bool | None
    said: str = ""
    events: tuple[Shown, ...] = ()
    nearest: str = ""
    script: tuple[str, ...] = ()
    lines: tuple[tuple[str, str], ...] = field(default=())
    suspected: bool = False
    """Of an answer that cannot be told: whether the rule holds of what is known, so that only a success would be premature."""
    unread: Unread | None = field(default=None, repr=False)

    def __getattribute__(self, name: str) -> Any:
        # Not `self.unread`, which would call this method again.
        unread = object.__getattribute__(self, "unread")
        if unread is not None and name in _TELLING:
            unread.is_read = True
        return object.__getattribute__(self, name)

    def __bool__(self) -> bool:
        # `not answer` must not pass for what cannot be told, as `answer` must not: no value of a bool is neither.
        if self.holds is None and not self.suspected:
            raise MatchError(self)
        return self.holds is True

    def __repr__(self) -> str:
        if self.holds:
            return publish(clip(f"holds: {self.expected}", _LINE))
        word = "broken" if self.holds is False else "cannot tell"
        numbers = f" ({plural(len(self.events), 'event')} {', '.join(str(e.number) for e in self.events)})" if self.events else ""
        said = self.said.splitlines()[0] if self.said else ""
        return publish(clip(f"{word}: {self.expected}", 110) + clip(f": {said}", _LINE - 110 - len(numbers)) + numbers)

    def __str__(self) -> str:
        if self.holds:
            return publish(f"holds: {self.expected}")
        rows = [("got" if self.holds is False else "missing", self.said), *self.lines]
        rows += zip(repeat("event"), map(str, self.events), strict=False)
        rows += [("nearest", self.nearest)] if self.nearest else []
        evidence = starmap("  {:8} {}".format, rows)
        return publish("\n".join([f"expected {self.expected}", *evidence, *map("  {}".format, self.script)]))

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain data, for JSON."""
        events = [
            {"number": e.number, "kind": e.kind, "name": e.name, "depth": e.depth, "path": list(e.path)} for e in self.events
        ]
        return {
            "expected": self.expected,
            "holds": self.holds,
            "said": self.said,
            "events": events,
            "nearest": self.nearest or None,
            "script": list(self.script),
            **dict(self.lines),
        }


_TELLING: Final = frozenset({"expected", "holds", "said", "events", "nearest", "script", "lines", "to_dict"})
"""What a test reads of an answer. Its truth, its repr and its text come of these."""


# -- of rules


def of_rule(rule: Rule, verdict: Verdict, order: HappensBefore) -> Answer:
    """Return the answer of a rule, with its evidence."""
    near = f"event {where(verdict.near[0].start, order)}; {verdict.near[1]}" if verdict.near is not None else ""
    events = tuple(map(where, verdict.witness, repeat(order)))
    script = tuple(offered(verdict.missing)) if verdict.missing else ()
    hide = table().without_secrets
    said, suspected = hide(verdict.said), verdict.suspected
    return Answer(hide(repr(rule)), verdict.holds, said, events, hide(near), script, suspected=suspected)


def where(event: Event, order: HappensBefore) -> Shown:
    """Return an event and its place in the tree."""
    run = order.by_id.get(event.run_id)
    path = order.path(run) if run is not None else (event.name,)
    return Shown(event.number, event.kind, event.name, len(path) - 1, path)


def offered(names: Iterable[str]) -> Iterator[str]:
    """Yield where the scripts of this test call these tools: a script that was not played to its end explains a missing run."""
    steps = list(_calling_steps())
    for name in dict.fromkeys(names):
        yield from dict.fromkeys(f"the script offered `{name}` at {shown_path(where)}" for tool, where in steps if tool == name)


def offered_tools() -> set[str]:
    """Return the names of the tools that the scripts of this test call."""
    return {tool for tool, _ in _calling_steps()}


def _calling_steps() -> Iterator[tuple[str, str]]:
    """Yield each tool that a script of this test calls, and the line of its step."""
    # A copy: other threads may make doubles meanwhile.
    for script in list(ledger.current().doubles.values()):
        # Embeddings are doubles too, and have no steps.
        for step in getattr(script, "steps", ()):
            yield from ((part.tool, step.where) for part in getattr(step, "parts", ()) if isinstance(part, Call))


# -- of shapes


def of_shape(what: str, shape: Sequence[object], line: Line, order: HappensBefore | None) -> Answer:
    """Return the answer for a line that has not a shape."""
    found = mismatch(shape, line)
    if isinstance(line, RunLine):
        mark(shape, line)
    got = _window([_item(part) for part in _turns(line)], found.at)
    expected = f"{what} == {_written(shape)}"
    events = tuple(where(run.start, order) for run in _witness(found, line)) if order is not None else ()
    near = ""
    if found.near is not None:
        item = line.items[found.near]
        shown = f"event {where(item.start, order)}" if order is not None and isinstance(item, Run) else show(item)
        near = f"{shown}; {found.why}"
    missing = _names(found) if isinstance(line, RunLine) else ()
    hide = table().without_secrets
    rows = (("all", hide(f"[{got}]")),)
    return Answer(hide(expected), False, hide(_said(found, line)), events, hide(near), tuple(offered(missing)), rows)


def _names(found: Mismatch) -> Iterator[str]:
    """Return the names of what was due, where they are plain."""
    names = (member.taker.name for element in found.due for member in element.members)
    return (name for name in names if isinstance(name, str))


def _said(found: Mismatch, line: Line) -> str:
    due = " or ".join(dict.fromkeys(_due(element) for element in found.due)) or "nothing more"
    if found.at >= len(line.items) and not found.due:
        return f"more came after the shape was complete, at the end {_item(line.items[-1])}"
    if found.at >= len(line.items):
        return f"it ended after {amount(len(line.items), 'item')}, where {due} was due"
    item = _item(line.items[found.at])
    if found.gave_up:
        return f"more runs overlapped at item {found.at} than together(...) can look at; ask one run's children, or with a rule"
    if found.stop - found.at > 1:
        names = " and ".join(dict.fromkeys(_item(one) for one in line.items[found.at : found.stop]))
        return f"{names} overlapped or are of one turn, at item {found.at}, where {due} was due; write together(...) for such"
    if any(element.role == "group" for element in found.due):
        return f"{item} at item {found.at}, which ran alone, where {due} was due"
    return f"{item} at item {found.at}, where {due} was due"


def _due(element: Element) -> str:
    texts = [member.taker.text for member in element.members]
    return f"together({', '.join(texts)})" if element.role == "group" else texts[0]


def _witness(found: Mismatch, line: Line) -> list[Run]:
    runs = line.items[max(found.at - 1, 0) : max(found.stop, found.at + 1)]
    return [run for run in runs if isinstance(run, Run)][:4]


def _turns(line: Line) -> Iterator[Any]:
    """Yield the items of a line, those that were concurrent as one."""
    for part in line.parts:
        yield Together(tuple(line.inside(part))) if isinstance(part, ConcurrentGroup) else part


def _item(item: object) -> str:
    if isinstance(item, Together):
        return f"together({', '.join(_item(member) for member in item.members)})"
    if not isinstance(item, Run):
        return show(item)
    args = "".join(f", {key}={show(value, key)}" for key, value in item.args.items())
    return f"called({item.name!r}{args})" if args else repr(item.name)


def _window(texts: Sequence[str], at: int) -> str:
    start = max(0, min(at, len(texts)) - _SHOWN)
    shown = texts[start : start + 2 * _SHOWN]
    left, right = start, len(texts) - start - len(shown)
    return ", ".join([*([f"<{left} more>"] if left else []), *shown, *([f"<{right} more>"] if right else [])])


def _written(shape: Sequence[object]) -> str:
    return f"[{', '.join('...' if one is ... else _element(one) for one in shape)}]"


def _element(given: object) -> str:
    return repr(given) if isinstance(given, Selector | Together | str) else short(given)
