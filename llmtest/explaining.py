"""Answers: whether a rule or a shape holds, in one line and in full.

Floor 1. An `Answer` is true or false; it never raises. Its repr is one line; its text has what was expected, what came, the
events that show it and where they stand in the tree, the nearest miss, and where the script offered what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmtest import ledger
from llmtest.causality import Order
from llmtest.events import Event, Run
from llmtest.rules import Rule, Verdict
from llmtest.selecting import Selector, Together, short
from llmtest.shapes import Element, Line, Mismatch, mark, mismatch
from llmtest.steps import Call, place

_LINE: Final = 199
"""The longest one-line answer."""

_SHOWN: Final = 8
"""How many items of a sequence are shown around the place where it goes wrong."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An event of an answer: its number, what it is, how deep in the tree, and the names of the runs around it."""

    number: int
    kind: str
    name: str
    depth: int
    path: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"event {self.number}: {self.kind} `{self.name}`, depth {self.depth}: {' > '.join(self.path)}"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Whether a rule or a shape holds: true if it does.

    `repr(answer)` is one line of less than 200 characters, `str(answer)` the whole explanation, `answer.to_dict()` the same as
    plain data. `holds` is None where it cannot be told, because what would tell it is missing; that is no success.

    It does not raise; `recording.assert_obeys(...)` does.
    """

    expected: str
    holds: bool | None
    said: str = ""
    events: tuple[Shown, ...] = ()
    nearest: str = ""
    script: tuple[str, ...] = ()
    lines: tuple[tuple[str, str], ...] = field(default=())

    def __bool__(self) -> bool:
        return self.holds is True

    def __repr__(self) -> str:
        if self.holds:
            return _cut(f"holds: {self.expected}")
        word = "broken" if self.holds is False else "cannot tell"
        numbers = f" (event{'s' * (len(self.events) > 1)} {', '.join(str(e.number) for e in self.events)})" if self.events else ""
        said = self.said.splitlines()[0] if self.said else ""
        return _cut(f"{word}: {self.expected}", 110) + _cut(f": {said}", _LINE - 110 - len(numbers)) + numbers

    def __str__(self) -> str:
        if self.holds:
            return f"holds: {self.expected}"
        rows = [("got" if self.holds is False else "missing", self.said), *self.lines]
        rows += [("event", event.text.removeprefix("event ")) for event in self.events]
        rows += [("nearest", self.nearest)] if self.nearest else []
        evidence = (f"  {head:8} {text}" for head, text in rows)
        return "\n".join([f"expected {self.expected}", *evidence, *(f"  {line}" for line in self.script)])

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data, for JSON."""
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


def _cut(text: str, width: int = _LINE) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


# -- of rules


def of_rule(rule: Rule, verdict: Verdict, order: Order) -> Answer:
    """What a rule came to, with its evidence."""
    near = f"{where(verdict.near[0].start, order).text}; {verdict.near[1]}" if verdict.near is not None else ""
    events = tuple(where(event, order) for event in verdict.witness)
    return Answer(repr(rule), verdict.holds, verdict.said, events, near, tuple(offered(verdict.missing)))


def where(event: Event, order: Order) -> Shown:
    """An event and its place in the tree."""
    run = order.by_id.get(event.run_id)
    path = tuple(one.name for one in order.path(run)) if run is not None else (event.name,)
    return Shown(event.number, event.kind, event.name, len(path) - 1, path)


def offered(names: Iterable[str]) -> Iterator[str]:
    """Where the scripts of this test call these tools: a script that is not played to its end hides what is missing."""
    scripts = list(ledger.current().doubles.values())
    for name in dict.fromkeys(names):
        for script in scripts:
            for step in getattr(script, "steps", ()):
                if any(isinstance(part, Call) and part.tool == name for part in getattr(step, "parts", ())):
                    yield f"the script offered `{name}` at {place(step.where)}"


# -- of shapes


def of_shape(what: str, shape: Sequence[Any], line: Line, order: Order | None) -> Answer:
    """Why a line has not a shape."""
    found = mismatch(shape, line)
    mark(shape, line)
    got = _window([_item(item) for item in _turns(line)], found.at)
    expected = f"{what} == {_written(shape)}"
    events = tuple(where(run.start, order) for run in _witness(found, line)) if order is not None else ()
    near = ""
    if found.near is not None:
        item = line.items[found.near]
        near = f"{where(item.start, order).text if order is not None and isinstance(item, Run) else short(item)}; {found.why}"
    missing = [m.selector.name for element in found.due for m in element.members if isinstance(m.selector.name, str)]
    return Answer(expected, False, _said(found, line), events, near, tuple(offered(missing)), (("all", f"[{got}]"),))


def _said(found: Mismatch, line: Line) -> str:
    due = " or ".join(dict.fromkeys(_due(element) for element in found.due)) or "nothing more"
    if found.at >= len(line.items) and not found.due:
        return f"more came after the shape was complete, at the end {_item(line.items[-1])}"
    if found.at >= len(line.items):
        return f"it ended after {_count(len(line.items))}, where {due} was due"
    item = _item(line.items[found.at])
    if found.gave_up:
        return f"more runs overlapped at item {found.at} than together(...) can look at; ask one run's children, or with a rule"
    if found.stop - found.at > 1:
        names = " and ".join(dict.fromkeys(_item(one) for one in line.items[found.at : found.stop]))
        return f"{names} overlapped or are of one turn, at item {found.at}, where {due} was due; write together(...) for such"
    if any(element.role == "group" for element in found.due):
        return f"{item} at item {found.at}, which ran alone, where {due} was due"
    return f"{item} at item {found.at}, where {due} was due"


def _count(number: int) -> str:
    return f"{number} item{'s' * (number != 1)}"


def _due(element: Element) -> str:
    texts = [member.selector.text for member in element.members]
    return f"together({', '.join(texts)})" if element.role == "group" else texts[0]


def _witness(found: Mismatch, line: Line) -> list[Run]:
    runs = line.items[max(found.at - 1, 0) : max(found.stop, found.at + 1)]
    return [run for run in runs if isinstance(run, Run)][:4]


def _turns(line: Line) -> Iterator[Any]:
    """The items of a line, those of a tangle as one."""
    here = 0
    for tangle in line.tangles:
        yield from line.items[here : tangle.start]
        yield Together(tuple(line.items[tangle.start : tangle.stop]))
        here = tangle.stop
    yield from line.items[here:]


def _item(item: Any) -> str:
    if isinstance(item, Together):
        return f"together({', '.join(_item(member) for member in item.members)})"
    if not isinstance(item, Run):
        return short(item)
    args = "".join(f", {key}={short(value)}" for key, value in item.args.items())
    return f"called({item.name!r}{args})" if args else repr(item.name)


def _window(texts: Sequence[str], at: int) -> str:
    start = max(0, min(at, len(texts)) - _SHOWN)
    shown = texts[start : start + 2 * _SHOWN]
    left, right = start, len(texts) - start - len(shown)
    return ", ".join([*([f"<{left} more>"] if left else []), *shown, *([f"<{right} more>"] if right else [])])


def _written(shape: Sequence[Any]) -> str:
    return f"[{', '.join('...' if one is ... else _element(one) for one in shape)}]"


def _element(given: Any) -> str:
    return repr(given) if isinstance(given, Selector | Together | str) else short(given)
