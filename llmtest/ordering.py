"""The order of siblings: from the program, never from the clock.

Floor 1. Concurrent runs start in any order, so the order in which they were seen says nothing. `layers` puts siblings
into ranks by what the program itself says about their order; all that is known of it is in `_before`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmtest.events import END_KINDS, ERROR_KINDS, Run
from llmtest.lanes import Lane

_HERE: Final = Lane(0, "the line of control that the parent runs on", 0)
_FALLBACKS: Final = "RunnableWithFallbacks"


@dataclass(slots=True, eq=False)
class Item:
    """A child of a run, or an event within it (`run` is None, `note` is the caller's), and its place among its siblings.

    `family` and `step` are the place that the program gave it, by a tag. `host` is the sibling within which it runs.
    `seat` is its place in a parallel group. `line` is equal for lanes of which `_before` says the same.
    """

    run: Run | None
    start: int
    end: float
    lane: Lane | None
    family: tuple[Hashable, str] | None = None
    step: Any = 0
    seat: tuple[str, str, tuple[int, ...]] = ("", "", ())
    note: Any = None
    host: Item | None = None
    line: Hashable = None


def item_of(run: Run, parent: Run | None) -> Item:
    """A run as one of its siblings. Fallbacks are tried one after the other, though each in a task of its own."""
    end = next((event.number for event in reversed(run.events) if event.kind in END_KINDS or event.kind in ERROR_KINDS), math.inf)
    lane = None if parent is not None and parent.name.startswith(_FALLBACKS) else run.start.lane
    family, step = _place(run)
    return Item(run, run.start.number, end, lane, family, step, _seat(run, family))


def layers(items: list[Item], home: Lane | None) -> list[list[Item]]:
    """Siblings in canonical order; several in one layer are parallel. `home` is the line of control of their parent.

    Those that turn out to run within another one have it as their `host` and are left out.
    """
    if len(items) < 2:
        return [items] if items else []
    items.sort(key=lambda item: item.start)
    running: dict[Lane, list[Item]] = {}
    for item in items:
        item.host = _host(item, home, running)
        item.lane = _line(item.lane, home)
        if item.host is None and item.lane is not None and _can_host(item):
            running.setdefault(item.lane, []).append(item)
    return _ranked(_arranged([item for item in items if item.host is None]))


def _before(a: Item, b: Item) -> bool:
    """Whether the program, not chance, had `a` come before `b`, which started later or has a later step.

    This is all that is known of order: steps that the program numbered; one line of control; and a line of control that
    the other one came from, when `a` had ended. Never the time, never whether two things overlapped.
    """
    if a.family is not None and a.family == b.family and a.step != b.step:
        return a.family[1] != "map" and bool(a.step < b.step)
    if a.lane is not None and a.lane is b.lane:
        return True
    return a.end < b.start and _kin(a.lane, b.lane)


def _kin(a: Lane | None, b: Lane | None) -> bool:
    """Whether one of two lines of control comes from the other. A lane has a higher number than the one it comes from."""
    if a is _HERE or b is _HERE:
        return True
    if a is None or b is None:
        return False
    upper, lower = (a, b) if a.number < b.number else (b, a)
    climber: Lane | None = lower
    while climber is not None and climber.number > upper.number:
        climber = climber.parent
    return climber is upper


def _ranked(items: Sequence[Item]) -> list[list[Item]]:
    """Items by rank, which is the longest chain of predecessors; two of a rank are parallel.

    Each layer is asked through one item of a kind, the one that ended first: it comes before whatever the others do.
    """
    layers: list[list[Item]] = []
    heads: list[dict[Hashable, Item]] = []
    for item in items:
        after = (n for n in reversed(range(len(layers))) if any(_before(head, item) for head in heads[n].values()))
        rank = next(after, -1) + 1
        if rank == len(layers):
            layers.append([])
            heads.append({})
        layers[rank].append(item)
        head = heads[rank].setdefault((item.family, item.step, item.line), item)
        if item.end < head.end:
            heads[rank][item.family, item.step, item.line] = item
    return layers


def _arranged(items: list[Item]) -> list[Item]:
    """`items` in the order of their starts; those with steps take each other's places, in the order of their steps.

    A stream starts its last step first.
    """
    counts = Counter(item.lane for item in items)
    trunks = _trunks(counts)
    families: dict[Hashable, list[Item]] = {}
    for item in items:
        lane = item.lane
        lonely = lane is not None and counts[lane] == 1 and lane not in trunks
        item.line = ("one of those from", lane.parent) if lonely and lane else lane
        families.setdefault(item.family or id(item), []).append(item)
    queues = {family: iter(sorted(same, key=lambda item: (item.step, item.start))) for family, same in families.items()}
    return [next(queues[item.family or id(item)]) for item in items]


def _host(item: Item, home: Lane | None, running: Mapping[Lane, list[Item]]) -> Item | None:
    """The sibling within which `item` runs, though LangChain calls it a sibling.

    What a fallback tries, and what a tool calls with the config that LangChain gives it, is reported as a child of their
    parent: https://github.com/langchain-ai/langchain/issues/36072. It begins while they are running, on their line of
    control or on one that comes from it, and has their place in the program.
    """
    lane, line = item.lane, _line(item.lane, home)
    while line is not None:
        hosts = running.get(line, [])
        while hosts and hosts[-1].end < item.start:
            hosts.pop()
        if hosts and item.run is not None and (item.family, item.step) == (hosts[-1].family, hosts[-1].step):
            return hosts[-1]
        lane = None if lane is None or line is _HERE else lane.parent
        line = None if lane is None else _line(lane, home)
    return None


def _can_host(item: Item) -> bool:
    """Whether something may run within `item`. What never ended may have been abandoned before the next thing began."""
    run = item.run
    return run is not None and item.end < math.inf and (run.kind == "tool" or run.name.startswith(_FALLBACKS))


def _line(lane: Lane | None, home: Lane | None) -> Lane | None:
    """The line of control of a lane, `_HERE` for the parent's own. None for a thread that nobody knows the origin of:
    pools give one thread to many pieces of work, and that these come one after the other is chance."""
    if lane is None or lane is home:
        return _HERE
    if home is not None and lane.task is home.task is None and lane.thread_id == home.thread_id:
        return _HERE
    return None if lane.parent is None and lane.task is None else lane


def _trunks(lanes: Iterable[Lane | None]) -> set[Lane | None]:
    """The lanes that others of `lanes` come from."""
    trunks: set[Lane | None] = set()
    for lane in lanes:
        while lane is not None and lane.parent not in trunks:
            lane = lane.parent
            trunks.add(lane)
    return trunks


def home_of(roots: Sequence[Run]) -> Lane | None:
    """The line of control that started the roots, if there was one: theirs, if they share it, or the main thread."""
    lanes = [run.start.lane for run in roots]
    if all(lane is lanes[0] for lane in lanes):
        return lanes[0] if lanes else None
    return next((lane for lane in lanes if lane is not None and lane.task is None and lane.thread == "MainThread"), None)


def _place(run: Run) -> tuple[tuple[Hashable, str] | None, Any]:
    """The place that the program gave to a run: a step of a sequence or a graph, a key of a map."""
    for tag in run.tags:
        what, _, place = tag.rpartition(":")
        if what == "seq:step" and place.isdigit():
            return (run.parent_id, "seq"), int(place)
        if what == "graph:step" and isinstance(run.metadata.get("langgraph_step"), int):
            return (run.parent_id, "graph"), run.metadata["langgraph_step"]
        if tag.startswith("map:key:"):
            return (run.parent_id, "map"), tag[8:]
    return None, 0


def _seat(run: Run, family: tuple[Hashable, str] | None) -> tuple[str, str, tuple[int, ...]]:
    """Where a run stands among parallel ones: by its key, its node, its number among the calls of that node."""
    if family is None or family[1] == "seq":
        return "", "", ()
    if family[1] == "map":
        return _place(run)[1], "", ()
    return "", str(run.metadata.get("langgraph_node")), tuple(_numbers(run.metadata.get("langgraph_path")))


def _numbers(path: Any) -> Iterator[int]:
    if isinstance(path, list):
        for part in path:
            yield from _numbers(part)
    elif isinstance(path, int) and not isinstance(path, bool):
        yield path
