"""The order of siblings, derived from the program, never from the clock.

Concurrent runs start in any order, so the recorded order tells nothing. `layers` ranks siblings by `precedes`, which holds
all that is known of their order.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from llmtest.concurrency.lanes import Lane, Mark, meeting
from llmtest.events.callbacks import ENDINGS
from llmtest.events.events import Event, Run

_STEPS: Final = {"on_resume": -math.inf, "on_interrupt": math.inf}
_FALLBACKS: Final = "RunnableWithFallbacks"


@dataclass(slots=True, eq=False)
class Item:
    """A child of a run, or an event inside it (`run` is None, `note` is the caller's), and its place among its siblings.

    It began as event `start`, on `lane` at `moment`, and ended as event `end` at `over`; None is the parent's lane. `family`
    and `step` are its structural position, from a tag. `seat` is its place in a parallel group. `line` is an equivalence key:
    items with the same key precede exactly the same items.
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
    is_alone: bool = False
    """True if no sibling is on its lane, or on one that comes from it."""

    @property
    def kind(self) -> Hashable:
        """What is equal for items that precede the same others, if they end before those begin."""
        return self.family, self.step, self.line


def item_of(run: Run, parent: Run | None) -> Item:
    """Return a run as one of its siblings. Fallbacks are tried one after the other, though each in a task of its own.

    Those of spans are not: which was tried first is nothing but their clocks.
    """
    start = run.events[0]
    end = last_end(run)
    free = parent is None or not parent.name.startswith(_FALLBACKS) or "unknown" in parent.start.payload
    lane, over = (start.lane, _mark(end)) if free else (None, None)
    family, step = structural_position(run.parent_id, run.tags, run.metadata)
    number = end.number if end is not None else math.inf
    return Item(run, start.number, number, lane, start.moment, over, family, step, _seat(run, family))


def last_end(run: Run) -> Event | None:
    """Return the last event that ends a run; None while it is open."""
    last = run.events[-1]
    if last.kind in ENDINGS:
        return last
    # From behind: the end is one of the last events, and a streaming run has thousands.
    return next((event for event in reversed(run.events) if event.kind in ENDINGS), None)


def item_at(event: Event, note: object = None) -> Item:
    """Return an event of a run as a sibling of the runs inside it.

    A graph is resumed before its nodes, and interrupted after them.
    """
    family = (event.run_id, "graph") if event.kind in _STEPS else None
    step = _STEPS.get(event.kind, 0)
    return Item(None, event.number, event.number, event.lane, event.moment, _mark(event), family, step, note=note)


def _mark(event: Event | None) -> Mark | None:
    return (event.lane, event.moment) if event is not None and event.lane is not None else None


def layers(items: list[Item], home: Lane | None) -> list[list[Item]]:
    """Return siblings in canonical order; those in one layer are parallel. `home` is the line of control of their parent."""
    if len(items) < 2:
        return [items] if items else []
    return _ranked(_arranged(sorted(items, key=lambda item: item.start)), home)


def are_in_sequence(runs: Sequence[Run], home: Lane | None) -> bool:
    """True if all ran on the line of control of their parent, each was over when the next began, and none has a structural
    position, which would be a tag. Then `layers`, which costs more, would find a layer for each.
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
    """True if the program, not chance, had `a` end before `b`, which started later or has a later step, began.

    Order comes from numbered steps; from one line of control, if `a` was over when `b` began; and from lines of control that
    were spawned when `a` was over, or by a line that had waited for it. Never from the time.
    """
    # Steps first: a stream starts its last step before the others, so starts would tell the opposite.
    if a.family is not None and a.family == b.family and a.step != b.step:
        return a.family[1] != "map" and bool(a.step < b.step)
    # An item without a lane, such as a try of a fallback, is on its parent's line, where one thing comes after the other.
    if a.lane is None or b.lane is None:
        return a.lane is b.lane or a.end < b.start
    # Starts tell nothing while both are open: `batch` starts all its inputs, and a stream is open while its reader works.
    # A run that never ended may have been abandoned; an event of the parent has its place where it fired.
    if a.lane is b.lane:
        return not is_pooled(a.lane, home) and (a.end < b.start or a.end == math.inf or b.run is None)
    return a.over is not None and leads(a.over, (b.lane, b.moment), home)


def leads(a: Mark, b: Mark, home: Lane | None) -> bool:
    """True if moment `a` comes before `b`: where their lines of control meet, all of that of `a` was over when that of `b`
    was spawned."""
    where = meeting(a, b)
    return where is not None and not is_pooled(where, home)


def is_pooled(lane: Lane, home: Lane | None) -> bool:
    """True for a thread of unknown origin: pools give one thread to many pieces of work, in an order that is chance."""
    return lane is not home and lane.parent is None and lane.task is None and lane.thread != "MainThread"


def _ranked(items: Sequence[Item], home: Lane | None) -> list[list[Item]]:
    """Return items by rank, which is the longest chain of predecessors; two of a rank are parallel.

    Items with one equivalence key precede the same items, so only the first of them to end is compared.
    """
    layers: list[list[Item]] = []
    heads: list[dict[Hashable, Item]] = []
    for item in items:
        # From the last layer down: the highest with a predecessor decides, and mostly that is the last.
        after = (n for n in reversed(range(len(layers))) if any(precedes(head, item, home) for head in heads[n].values()))
        rank = next(after, -1) + 1
        if rank == len(layers):
            layers.append([])
            heads.append({})
        layers[rank].append(item)
        head = heads[rank].setdefault(item.kind, item)
        if item.end < head.end:
            heads[rank][item.kind] = item
    return layers


def _arranged(items: list[Item]) -> list[Item]:
    """Return sorted `items` with those of one family in the order of their steps: a stream starts its last step first."""
    crowds = Counter(lane for item in items for lane in _lines(item.lane))
    families: dict[Hashable, list[Item]] = {}
    for item in items:
        item.line = _line(item, crowds)
        families.setdefault(item.family or id(item), []).append(item)
    # Steps order only their own family, so all other items keep their places.
    queues = {family: iter(sorted(same, key=lambda item: (item.step, item.start))) for family, same in families.items()}
    return [next(queues[item.family or id(item)]) for item in items]


def _lines(lane: Lane | None) -> Iterator[Lane]:
    """Yield a lane, and the lanes that it comes from."""
    while lane is not None:
        yield lane
        lane = lane.parent


def _line(item: Item, crowds: Mapping[Lane, int]) -> Hashable:
    """Return the equivalence key of an item. Items that are alone on their lanes, and that the same lane joined at the same
    moment, have the same: of many branches that look alike only one has to be compared."""
    ended = item.over[0] if item.over is not None else None
    if item.lane is None or (ended is not None and ended is not item.lane):
        return item.lane, ended
    item.is_alone = crowds[item.lane] == 1
    lane, joined = item.lane, 0
    while crowds[lane] == 1 and lane.parent is not None:
        over = lane.joined
        if ended is None or over is None:
            return "never over"  # an item of unknown end precedes nothing on another line
        lane, joined = lane.parent, over
    return lane, joined, ended is None


def home_of(roots: Sequence[Run]) -> Lane | None:
    """Return the line of control that started the roots: their own if they share it, else the main thread if it is one."""
    lanes = {run.start.lane: None for run in roots}
    if len(lanes) < 2:
        return next(iter(lanes), None)
    return next((lane for lane in lanes if lane is not None and lane.task is None and lane.thread == "MainThread"), None)


def structural_position(
    parent_id: UUID | None, tags: Sequence[str], metadata: Mapping[str, object]
) -> tuple[tuple[Hashable, str] | None, Any]:
    """Return the family and the step of a run: a step of a sequence or a graph, or a key of a map."""
    for tag in tags:
        # Programs may have such tags of their own. A graph also has its step in the metadata, as a number.
        prefix, _, step = tag.rpartition(":")
        if prefix == "seq:step" and step.isdigit():
            return (parent_id, "seq"), int(step)
        if prefix == "graph:step" and isinstance(metadata.get("langgraph_step"), int):
            return (parent_id, "graph"), metadata["langgraph_step"]
        if tag.startswith("map:key:"):
            return (parent_id, "map"), tag[8:]
    return None, 0


def step_of_node(run: Run) -> int | None:
    """Return the step in which a node of a graph ran; None for other runs, also for what runs within a node."""
    for tag in run.tags if run.kind == "chain" else ():
        found = _STEP.fullmatch(tag)
        if found is not None:
            return int(found[1])
    return None


def is_node(run: Run) -> bool:
    """True for the run of a node of a graph itself."""
    return step_of_node(run) is not None


_STEP: Final = re.compile(r"graph:step:(\d+)")


def _seat(run: Run, family: tuple[Hashable, str] | None) -> tuple[str, str, tuple[int, ...]]:
    """Return the place of a run among parallel runs: its key, its node, its number among the calls of that node."""
    if family is None or family[1] == "seq":
        return "", "", ()
    if family[1] == "map":
        return structural_position(run.parent_id, run.tags, run.metadata)[1], "", ()
    return "", str(run.metadata.get("langgraph_node")), tuple(_numbers(run.metadata.get("langgraph_path")))


def _numbers(path: object) -> Iterator[int]:
    if isinstance(path, list):
        for part in path:
            yield from _numbers(part)
    elif isinstance(path, int) and not isinstance(path, bool):
        yield path
