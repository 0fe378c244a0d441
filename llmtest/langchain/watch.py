"""The recording of a whole test that the test does not know of, read as little as possible.

A test holds many events that nobody reads: an entry of a payload becomes frozen words when it is asked for, and tokens never do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

from llmtest.capture.blocks import RawEvent
from llmtest.concurrency.lanes import Lane
from llmtest.events.callbacks import ENDINGS, OF_LANGGRAPH, START_KINDS, RunKind
from llmtest.events.events import Event, Run
from llmtest.events.words import Ended, FrozenDict
from llmtest.langchain.freezing import words
from llmtest.recording.recording import Recording

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values

_READ: Final = frozenset((*START_KINDS, *ENDINGS, *OF_LANGGRAPH))


class Watch(Recording):
    """A recording whose runs are seen once, at the end: by `read_roots`."""

    watches: ClassVar[bool] = True
    follows_test = True

    def read_roots(self) -> Sequence[Run]:
        """Return the runs without a parent. Their events are those that start and end a run, and interrupts."""
        runs: dict[int, SeenRun] = {}  # by the number of an id: the hash of the id itself is a function call
        roots: list[Run] = []
        number = -1
        for raw in self._raw[: len(self)]:
            kind = raw[0]
            if kind not in _READ:
                continue
            number += 1
            run = runs.get(raw[1].int)
            if kind not in START_KINDS:
                if run is not None:  # pragma: no branch  # LangGraph may tell of an interrupt of a run from before
                    run.add(raw, number)
            elif run is not None:  # a program has given one id to several runs
                return self.roots
            else:
                run = runs[raw[1].int] = SeenRun(raw, number)
                around = runs.get(raw[2].int) if raw[2] is not None else None
                (roots if around is None else around.inside).append(run)
        return roots


class SeenEvent(Event):
    """An event that starts or ends a run, with what is read of it. To set up a frozen event of all fields takes longer."""

    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__

    kind: str
    payload: FrozenDict
    number: int
    lane: Lane | None
    moment: int

    def __init__(self, kind: str, held: Mapping[str, Any], number: int, lane: Lane | None, moment: int) -> None:
        self.kind = kind
        self.payload = _Later(held, _entry)
        self.number = number
        self.lane = lane
        self.moment = moment


class SeenRun(Run):
    """A run that is seen once; see `SeenEvent`."""

    __slots__ = ("ended", "inside")
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__

    id: UUID
    parent_id: UUID | None
    kind: RunKind
    name: str
    tags: tuple[str, ...]
    metadata: FrozenDict
    events: tuple[Event, ...]
    children: Sequence[Run]
    ended: Ended
    inside: list[Run]

    def __init__(self, raw: RawEvent, number: int) -> None:
        kind, self.id, self.parent_id, start, _, _, mark = raw
        self.name, self.tags, make = start
        held = _held(make)
        self.kind = START_KINDS[kind]
        self.metadata = FrozenDict(held["metadata"])  # plain values, as far as they are read
        self.events = (SeenEvent(kind, held["payload"], number, *(mark or _NOWHERE)),)
        self.children = self.inside = []
        self.ended = "open"

    def add(self, raw: RawEvent, number: int) -> None:
        """Add a later event of the run."""
        kind, held = raw[0], _held(raw[3])
        self.events = (*self.events, SeenEvent(kind, held, number, *(raw[6] or _NOWHERE)))
        is_plain = len(self.events) == 2 and kind in ENDINGS and "error" not in held
        self.ended = "ended" if is_plain else super().ended


_NOWHERE: Final = (None, 0)


def _held(make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what a payload is made of: what the tap holds, or the finished words of a start that was lost."""
    held: Mapping[str, Any] = make.args[0] if isinstance(make, partial) and make.func is words else make()
    return held


class _Later(FrozenDict):
    """A mapping whose entries are made when they are asked for: one by its name, or all of them."""

    __slots__ = ("_held", "_make")

    def __init__(self, held: Mapping[str, Any], make: Callable[[Any], Any] = words) -> None:
        self._held = held
        self._make = make

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __missing__(self, key: str) -> Any:
        made = self._make(self._held[key])
        dict.__setitem__(self, key, made)
        return made

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._held else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def keys(self) -> dict_keys[str, Any]:
        return self._whole().keys()

    def values(self) -> dict_values[str, Any]:
        return self._whole().values()

    def items(self) -> dict_items[str, Any]:
        return self._whole().items()

    def __eq__(self, other: object) -> bool:
        return self._whole() == other

    def __ne__(self, other: object) -> bool:
        return self._whole() != other

    __hash__ = FrozenDict.__hash__

    def _whole(self) -> dict[str, Any]:
        return {key: self[key] for key in self._held}


def _entry(held: Any) -> Any:
    """Return an entry of a payload: the state of a graph is large, and one or two fields of it are read."""
    return _Later(held) if type(held) is dict else words(held)
