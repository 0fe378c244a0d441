"""The order of siblings: from the program, never from the clock.

Concurrent runs start in any order, so the order in which they were seen says nothing. `layers` puts siblings
into ranks by what the program itself says about their order; all that is known of it is in `precedes`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from llmtest.concurrency.lanes import Lane, Mark
from llmtest.events.callbacks import ENDINGS
from llmtest.events.events import Event, Run

_FALLBACKS: Final = "RunnableWithFallbacks"


@dataclass(slots=True, eq=False)
class Item:
    """A child of a run, or an event within it (`run` is None, `note` is the caller's), and its place among its siblings.

    It began as event `start`, on `lane` at `moment`, and ended as event `end` at `over`; None is the parent's lane. `family`
    and `step` are the place that the program gave it, by a tag. `host` is the sibling within which it runs. `seat` is its
    place in a parallel group. `line` is equal for items that come before the same others.
    """

    run: Run | None
    start: int
    end: float
    lane: Lane | None
    moment: int = 0
    over: Mark | None = None
    family: tuple[Hashable, str] | None = None
    step: Any = 0
    seat: tuple[str, str, tuple[int, ...]] = ("", "", ())
    note: Any = None
    line: Hashable = None


def item_of(run: Run, parent: Run | None) -> Item:
    """A run as one of its siblings. Fallbacks are tried one after the other, though each in a task of its own."""
    # From behind: the end is one of the last events, and a streaming run has thousands.
    end = next((event for event in reversed(run.events) if event.kind in ENDINGS), None)
    free = parent is None or not parent.name.startswith(_FALLBACKS)
    lane, over = (run.start.lane, _mark(end)) if free else (None, None)
    family, step = structural_position(run.parent_id, run.tags, run.metadata)
    number = end.number if end is not None else math.inf
    return Item(run, run.start.number, number, lane, run.start.moment, over, family, step, _seat(run, family))


def item_at(event: Event, note: Any = None) -> Item:
    """An event within a run as a sibling of the runs within it."""
    return Item(None, event.number, event.number, event.lane, event.moment, _mark(event), note=note)


def _mark(event: Event | None) -> Mark | None:
    return (event.lane, event.moment) if event is not None and event.lane is not None else None


def layers(items: list[Item], home: Lane | None) -> list[list[Item]]:
    """Siblings in canonical order; several in one layer are parallel. `home` is the line of control of their parent.

    Those that turn out to run within another one have it as their `host` and are left out.
    """
    if len(items) < 2:
        return [items] if items else []
    return _ranked(_arranged(sorted(items, key=lambda item: item.start)), home)


def are_in_sequence(runs: Sequence[Run], home: Lane | None) -> bool:
    """Return whether a look tells that these came one after the other, as most siblings do.

    All ran on the line of control of their parent, each was over when the next began, and the program gave them no place of
    their own, which would be a tag. `layers` would find a layer for each of them, and none that runs within another.
    """
    if len(runs) == 1:
        return True
    over: float = -1
    for run in runs:
        start, last = run.events[0], run.events[-1]
        if run.tags or start.lane is not home or start.number < over:
            return False
        over = last.number if last.kind in ENDINGS else math.inf
    return True


def precedes(a: Item, b: Item, home: Lane | None) -> bool:
    """Whether the program, not chance, had `a` come before `b`, which started later or has a later step.

    This is all that is known of order: steps that the program numbered; one line of control, on which what began before `a`
    had ended is beside it, as the inputs of a batch are; and lines of control that were spawned when `a` had happened, or by
    one that had waited for it. Never the time.
    """
    # Numbers first: a stream starts its last step before the others, so that starts would say the opposite.
    if a.family is not None and a.family == b.family and a.step != b.step:
        return a.family[1] != "map" and bool(a.step < b.step)
    # What has no lane, such as the tries of a fallback, is on its parent's line, where one thing comes after the other.
    if a.lane is None or b.lane is None:
        return a.lane is b.lane or a.end < b.start
    # Starts say nothing while both are open: `batch` starts all its inputs, and a stream is open while its reader works.
    # What never ended may have been abandoned; an event of the parent has its place where it fired.
    if a.lane is b.lane:
        return not is_pooled(a.lane, home) and (a.end < b.start or a.end == math.inf or b.run is None)
    return a.over is not None and _leads(a.over, (b.lane, b.moment), home)


def _leads(a: Mark, b: Mark, home: Lane | None) -> bool:
    """Whether one moment comes before another: where their lines of control meet, all of the first one's was over when
    the other one's was spawned."""
    # Up from `b`: on each line that it comes from, the moment at which the next one was spawned.
    moments: dict[Lane, int] = {}
    lane, moment = b
    while lane.parent is not None:
        moments[lane] = moment
        lane, moment = lane.parent, lane.attach
    moments[lane] = moment
    # Up from `a`, until they meet: each line must be known to be over, and the first that is not ends the search.
    over, last = a
    while over not in moments:
        parent, joined = over.parent, over.joined
        if parent is None or joined is None:
            return False
        over, last = parent, joined
    return last <= moments[over] and not is_pooled(over, home)


def is_pooled(lane: Lane, home: Lane | None) -> bool:
    """Whether a lane is a thread of unknown origin: pools give one thread to many pieces of work, and that these come one
    after the other is chance."""
    return lane is not home and lane.parent is None and lane.task is None and lane.thread != "MainThread"


def _ranked(items: Sequence[Item], home: Lane | None) -> list[list[Item]]:
    """Items by rank, which is the longest chain of predecessors; two of a rank are parallel.

    Each layer is asked through one item of a kind, the one that ended first: it comes before whatever the others do.
    """
    layers: list[list[Item]] = []
    heads: list[dict[Hashable, Item]] = []
    for item in items:
        # From the last layer down: the highest one with a predecessor decides, and mostly that is the last one.
        after = (n for n in reversed(range(len(layers))) if any(precedes(head, item, home) for head in heads[n].values()))
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
    crowds = Counter(lane for item in items for lane in _lines(item.lane))
    families: dict[Hashable, list[Item]] = {}
    for item in items:
        item.line = _line(item, crowds)
        families.setdefault(item.family or id(item), []).append(item)
    # Steps order their own family only, so they leave the places of all other items as they are.
    queues = {family: iter(sorted(same, key=lambda item: (item.step, item.start))) for family, same in families.items()}
    return [next(queues[item.family or id(item)]) for item in items]


def _lines(lane: Lane | None) -> Iterator[Lane]:
    """A lane, and those that it comes from."""
    while lane is not None:
        yield lane
        lane = lane.parent


def _line(item: Item, crowds: Mapping[Lane, int]) -> Hashable:
    """What is equal for items that come before the same others: those that are alone on their lanes, and were joined by
    the same lane at the same moment, are; of many branches that look alike only one has to be asked."""
    ended = item.over[0] if item.over is not None else None
    if item.lane is None or (ended is not None and ended is not item.lane):
        return item.lane, ended
    lane, joined = item.lane, 0
    while crowds[lane] == 1 and lane.parent is not None:
        over = lane.joined
        if ended is None or over is None:
            return "never over"  # it comes before nothing on another line, as all others of which the end is unknown
        lane, joined = lane.parent, over
    return lane, joined, ended is None


def home_of(roots: Sequence[Run]) -> Lane | None:
    """The line of control that started the roots, if there was one: theirs, if they share it, or the main thread."""
    lanes = {run.start.lane: None for run in roots}
    if len(lanes) < 2:
        return next(iter(lanes), None)
    return next((lane for lane in lanes if lane is not None and lane.task is None and lane.thread == "MainThread"), None)


def structural_position(
    parent_id: UUID | None, tags: Sequence[str], metadata: Mapping[str, Any]
) -> tuple[tuple[Hashable, str] | None, Any]:
    """The place that the program gave to a run: a step of a sequence or a graph, a key of a map."""
    for tag in tags:
        # Programs may have such tags of their own. A graph also says its step in the metadata, and there as a number.
        what, _, place = tag.rpartition(":")
        if what == "seq:step" and place.isdigit():
            return (parent_id, "seq"), int(place)
        if what == "graph:step" and isinstance(metadata.get("langgraph_step"), int):
            return (parent_id, "graph"), metadata["langgraph_step"]
        if tag.startswith("map:key:"):
            return (parent_id, "map"), tag[8:]
    return None, 0


def _seat(run: Run, family: tuple[Hashable, str] | None) -> tuple[str, str, tuple[int, ...]]:
    """Where a run stands among parallel ones: by its key, its node, its number among the calls of that node."""
    if family is None or family[1] == "seq":
        return "", "", ()
    if family[1] == "map":
        return structural_position(run.parent_id, run.tags, run.metadata)[1], "", ()
    return "", str(run.metadata.get("langgraph_node")), tuple(_numbers(run.metadata.get("langgraph_path")))


def _numbers(path: Any) -> Iterator[int]:
    if isinstance(path, list):
        for part in path:
            yield from _numbers(part)
    elif isinstance(path, int) and not isinstance(path, bool):
        yield path
