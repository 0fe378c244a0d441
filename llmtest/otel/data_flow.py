"""Which of several sibling spans came before which, by what flows between them. The clock is not asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Final

from llmtest.concurrency.lanes import Lane, Mark
from llmtest.errors import OtelError
from llmtest.events.words import Message
from llmtest.otel.span_facts import UNKNOWN, SpanFacts

Item = tuple[SpanFacts, str, Sequence[tuple[str, str]]]
"""What a span says, its id, and its links."""

MAX_PAIRS: Final = 1_000_000
"""How many pairs of spans in steps that follow each other are compared."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order of siblings: for each the marks of its start and its end, and the pairs of which one surely came first.

    `is_certain` is true if that is an order of all of them.
    """

    marks: Sequence[tuple[Mark, Mark]]
    pairs: Sequence[tuple[int, int]]
    is_certain: bool
    is_connected: bool = True
    """True if something flows between all of them."""
    begun: Sequence[tuple[int, int]] = ()
    """Pairs of which the first began before the second: a span was caused by those that it links to. Whether it ended before, is
    not told: https://opentelemetry.io/docs/specs/otel/overview/#links-between-spans"""


def order_of(items: Sequence[Item], numbers: Iterator[int]) -> Order:
    """Return the order of sibling spans. `numbers` are those of new lines of control.

    A tool runs after the model whose call it answers, a model after the tools whose answers it reads and after the models whose
    calls it reads, and a numbered step after the steps before it. A span begins after those that it links to.
    """
    if len(items) == 1:
        line = _line(numbers, "spans")
        return Order([((line, 1), (line, 2))], (), True)
    edges = set(_edges(items))
    try:
        below = _closed(len(items), edges)
    except CycleError:  # ids that are used more than once
        edges, below = set(), [0] * len(items)
    blocks = [_blocks(component, below) for component in _components(len(items), edges)]
    marks: list[tuple[Mark, Mark]] = [None] * len(items)  # type: ignore[list-item]
    pairs: list[tuple[int, int]] = []
    for sequence in blocks:
        spine = _line(numbers, "spans")
        for block in sequence:
            _place(block, spine, numbers, marks)
        pairs += [(a, b) for before, after in pairwise(sequence) for a in before for b in after]
    is_certain = len(blocks) < 2 and all(len(block) < 2 for sequence in blocks for block in sequence)
    return Order(marks, pairs, is_certain, len(blocks) < 2, _begun(items, edges))


def _begun(items: Sequence[Item], edges: set[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Return the pairs that links tell; none, if they do not go together with what flows, or with each other."""
    begun = list(_linked(items))
    try:
        _closed(len(items) if begun else 0, {*edges, *begun} if begun else ())
    except CycleError:
        return ()
    return begun


def _place(block: Sequence[int], spine: Lane, numbers: Iterator[int], marks: list[tuple[Mark, Mark]]) -> None:
    """Put the spans of a block on the spine, if it is a single one, else each on a line of its own beside it."""
    begin, end = spine.now + 1, spine.now + 2
    for item in block:
        line = spine
        if len(block) > 1:
            line = _line(numbers, None)
            line.parent, line.attach, line.joined = spine, spine.now, end
        marks[item] = ((line, begin if line is spine else 1), (line, end if line is spine else 2))
    spine.now = end


def _line(numbers: Iterator[int], task: str | None) -> Lane:
    # With a task it is no thread of a pool, whose work comes in an order that is chance.
    return Lane(next(numbers), "", 0, task)


def _edges(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    """Yield pairs of siblings of which the first had surely ended before the second began."""
    makers: dict[str, list[int]] = {}
    tools: dict[str, list[int]] = {}
    for number, (facts, _, _) in enumerate(items):
        if facts.kind == "chat" and isinstance(facts.output, list):
            for call in _calls(facts.output):
                makers.setdefault(call, []).append(number)
        elif facts.kind == "tool" and facts.call_id is not None:
            tools.setdefault(facts.call_id, []).append(number)
    # An id that several models made says nothing.
    maker = {call: found[0] for call, found in makers.items() if len(found) == 1}
    for number, (facts, _, _) in enumerate(items):
        if facts.kind == "tool" and facts.call_id in maker:
            yield maker[facts.call_id], number
        elif facts.kind == "chat" and facts.input is not UNKNOWN:
            for message in facts.input:
                answered = message.tool_call_id
                answers = tools.get(answered, ()) if answered in maker else ()
                if len(answers) == 1:  # of a call that was made again, another one may have answered
                    yield answers[0], number
                yield from ((maker[call], number) for call in _calls([message]) if maker.get(call, number) != number)
    yield from _stepped(items)


def _calls(messages: Iterable[object]) -> Iterator[str]:
    found = (message.tool_calls for message in messages if isinstance(message, Message))
    return (call.id for calls in found for call in calls if call.id is not None)


def _linked(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    places = {span_id: number for number, (_, span_id, _) in enumerate(items)} if any(links for _, _, links in items) else {}
    for number, (_, _, links) in enumerate(items):
        yield from ((places[span_id], number) for _, span_id in links if places.get(span_id, number) != number)


_STEP: Final = re.compile(r"(graph|seq):step:(\d{1,9})")


def _stepped(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    """Yield pairs of neighbouring steps of a graph or a sequence."""
    steps: dict[str, dict[int, list[int]]] = {}
    for number, (facts, _, _) in enumerate(items):
        found = next(filter(None, map(_STEP.fullmatch, facts.tags)), None)
        if found is not None and (found[1] == "seq" or isinstance(facts.metadata.get("langgraph_step"), int)):
            steps.setdefault(found[1], {}).setdefault(int(found[2]), []).append(number)
    for family in steps.values():
        steps_in_order = sorted(family)
        if sum(len(family[a]) * len(family[b]) for a, b in pairwise(steps_in_order)) > MAX_PAIRS:
            raise OtelError(f"steps that follow each other have more than {MAX_PAIRS:,} pairs of spans")
        for before, after in pairwise(steps_in_order):
            yield from ((a, b) for a in family[before] for b in family[after])


def _closed(size: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Return, for each item, a bit for each that comes before it.

    Raises:
        CycleError: one comes before itself.
    """
    graph: dict[int, list[int]] = {number: [] for number in range(size)}
    for first, second in edges:
        graph[second].append(first)
    below = [0] * size
    for number in TopologicalSorter(graph).static_order():
        for first in graph[number]:
            below[number] |= below[first] | 1 << first
    return below


def _components(size: int, edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the items in groups: between two groups nothing flows."""
    head = list(range(size))

    def find(number: int) -> int:
        while head[number] != number:
            head[number] = head[head[number]]
            number = head[number]
        return number

    for first, second in edges:
        head[find(second)] = find(first)
    groups: dict[int, list[int]] = {}
    for number in range(size):
        groups.setdefault(find(number), []).append(number)
    return list(groups.values())


def _blocks(component: Sequence[int], below: Sequence[int]) -> list[list[int]]:
    """Return a group as blocks: all of a block come before all of the next."""
    layers: dict[int, list[int]] = {}
    for number in component:
        layers.setdefault(below[number].bit_count(), []).append(number)
    blocks: list[list[int]] = []
    done = 0
    for size in sorted(layers):
        layer = layers[size]
        if blocks and any(done & ~below[number] for number in layer):
            blocks[-1] += layer
        else:
            blocks.append(list(layer))
        done |= sum(1 << number for number in layer)
    return blocks
