"""The recording of a whole test that the test does not know of, read as little as possible.

A test holds many events that nobody reads: an entry of a payload becomes frozen words when it is asked for, and tokens never do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final

from llmtest.capture.blocks import RawEvent
from llmtest.events.callbacks import ENDINGS, OF_LANGGRAPH, START_KINDS
from llmtest.events.events import Event, Run
from llmtest.events.words import EMPTY, FrozenDict
from llmtest.langchain.freezing import words
from llmtest.recording.recording import Recording
from llmtest.recording.runs import build_runs

_READ: Final = frozenset((*START_KINDS, *ENDINGS, *OF_LANGGRAPH))


class Watch(Recording):
    """A recording whose runs are seen once, at the end: by `read_roots`."""

    watches: ClassVar[bool] = True
    follows_test = True

    def read_roots(self) -> tuple[Run, ...]:
        """Return the runs without a parent. Their events are those that start and end a run, and interrupts."""
        raw = [one for one in self._raw[: len(self)] if one[0] in _READ]
        return build_runs([self._event(one, number) for number, one in enumerate(raw)])[1]

    def _event(self, raw: RawEvent, number: int) -> Event:
        kind, run_id, parent_id, taken, monotonic_ns, wall_ns, mark = raw
        if kind in START_KINDS:
            name, tags, make = taken
            held = _held(make)
            metadata = FrozenDict(held["metadata"])  # plain values, as far as they are read
            payload = _Later(held["payload"])
            self._starts[run_id] = (name, tags, metadata)
        else:
            payload = _Later(_held(taken))
            name, tags, metadata = self._starts.get(run_id, ("", (), EMPTY))
        lane, moment = mark or (None, 0)
        return Event(kind, run_id, parent_id, name, tags, metadata, payload, number, monotonic_ns, wall_ns, lane, moment)


def _held(make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return what a payload is made of: what the tap holds, or the finished words of a start that was lost."""
    held: Mapping[str, Any] = make.args[0] if isinstance(make, partial) and make.func is words else make()
    return held


class _Later(FrozenDict):
    """A payload whose entries are made when they are asked for by name. It has no order and is not for comparing."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, Any]) -> None:
        super().__init__()
        self._held = held

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __getitem__(self, key: str) -> Any:
        if not dict.__contains__(self, key):
            dict.__setitem__(self, key, words(self._held[key]))
        return dict.__getitem__(self, key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._held else default
