"""Recordings: what one block or one test caught, and which run belongs to which of them.

Floor 1. One rule: a run belongs to the recordings that were open in its context when it started, plus its parent's
recordings. Whoever sees callbacks (`llmtest.langchain.tap`) asks `begin()` at each start and `sinks()` for every
later event; nothing here knows LangChain.
"""

from __future__ import annotations

import difflib
import importlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, get_args, overload
from uuid import UUID

from llmtest import lanes, ledger
from llmtest.events import EMPTY, START_KINDS, Event, Failure, FrozenDict, Run, RunKind, UnseenCall, Usage
from llmtest.lanes import Lane

if TYPE_CHECKING:
    from llmtest.rendering import Part

SOURCES: Final = ("llmtest.langchain.tap",)
"""The modules whose `install()` attaches a source of callbacks; imported at the first `record()`."""

RawEvent = tuple[str, UUID, UUID | None, Any, int, int, Lane | None]
"""kind, run id, parent id, payload, monotonic ns, wall ns, lane.

The payload is what makes the frozen payload when it is first read; for a plain token the str itself; for a start a `Start`.
"""

Start = tuple[str, tuple[str, ...], Callable[[], FrozenDict]]
"""name, tags, and what makes `{"metadata": ..., "payload": ...}`."""


Membership = tuple["weakref.ref[Recording]", ...]
"""The recordings of one run. It keeps none of them alive."""

_open: ContextVar[tuple[Recording, ...]] = ContextVar("llmtest_open_recordings", default=())
_memberships: dict[UUID, Membership] = {}
"""Of every run that a living recording holds; a recording takes its runs with it when it goes."""


def anything_open() -> bool:
    """Whether a run that starts here and now would be recorded on its own account."""
    opened = _open.get()
    return bool(opened) and (opened[-1]._closed_at is None or any(r._closed_at is None for r in opened))


def begin(run_id: UUID, parent_run_id: UUID | None) -> Membership | None:
    """A run starts: decides which recordings it belongs to. None: nobody listens."""
    opened = _open.get()
    parent = _memberships.get(parent_run_id) if parent_run_id is not None else None
    if len(opened) == 1 and opened[0]._closed_at is None and (parent is None or parent is opened[0]._alone):
        membership = opened[0]._alone  # by far the most frequent case: one block, and everything in it
        opened[0]._run_ids.append(run_id)
        _memberships[run_id] = membership
        return membership
    members = {id(r): r for r in opened if not r.closed}
    members.update((id(r), r) for r in _alive(parent or ()))
    if not members:
        return None
    membership = tuple(weakref.ref(r) for r in members.values())
    for recording in members.values():
        recording._run_ids.append(run_id)
    _memberships[run_id] = membership
    return membership


def membership(run_id: UUID) -> Membership | None:
    """The recordings of a run that has started, or None if nobody listens to it."""
    return _memberships.get(run_id)


def deliver(membership: Membership, raw: RawEvent) -> None:
    """Appends one event to each recording of its run. Safe from any thread: one atomic append each."""
    for ref in membership:
        recording = ref()
        if recording is not None:
            recording._raw.append(raw)


def _alive(membership: Membership) -> Iterator[Recording]:
    return (recording for recording in (ref() for ref in membership) if recording is not None)


class Runs(Sequence[Run]):
    """Runs in the order in which they started. Compares equal to a list of their names, or of the runs themselves."""

    __slots__ = ("_runs",)

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = tuple(runs)

    @property
    def names(self) -> list[str]:
        return [run.name for run in self._runs]

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Runs):
            return self._runs == other._runs
        if not isinstance(other, list | tuple):
            return NotImplemented
        return len(other) == len(self._runs) and all(
            run.name == item if isinstance(item, str) else run is item for run, item in zip(self._runs, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.names)


class Recording(Sequence[Event]):
    """What a block caught: a sequence of events, and the runs built from them.

    `len(recording)`, iteration and indexing go over its events in the order in which callbacks fired. It is always
    truthy, also when empty. `str(recording)` is its tree. It can be read at any time, also while it is still open and
    from any thread; what was read is a copy of that moment. Events of runs that went on after the block had closed are
    in `late_events`, not in the sequence.

    It does not compare equal to another recording: compare `.kinds`, `.tools`, or the text.
    """

    def __init__(self) -> None:
        self._raw: list[RawEvent] = []
        self._alone: Membership = (weakref.ref(self),)
        self._run_ids: list[UUID] = []
        self._closed_at: int | None = None
        self._starts: dict[UUID, tuple[str, tuple[str, ...], FrozenDict]] = {}
        self._events: list[Event] = []
        self._tree: tuple[int, Runs, tuple[Run, ...]] | None = None
        self._lock = threading.Lock()
        self.unseen_calls: list[UnseenCall] = []
        """Calls that scripted doubles received while this recording was open, and that it did not see."""

    def __del__(self) -> None:
        for run_id in self._run_ids:
            if all(other is self for other in _alive(_memberships.get(run_id, ()))):
                _memberships.pop(run_id, None)

    # -- a sequence of events

    @property
    def closed(self) -> bool:
        """Whether the block has ended."""
        return self._closed_at is not None

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self._raw) if self._closed_at is None else self._closed_at

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._read()[: len(self)][index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._read()[: len(self)])

    def __repr__(self) -> str:
        state = "" if self.closed else ", open"
        return f"<Recording: {len(self)} events, {len(self.runs)} runs{state}>"

    def __str__(self) -> str:
        from llmtest import rendering

        return rendering.render(self)

    def _read(self) -> list[Event]:
        """Every event so far, late ones too. Events are made from the raw tuples here, when they are first looked at."""
        with self._lock:
            for number in range(len(self._events), len(self._raw)):
                self._events.append(self._event(number, self._raw[number]))
            return self._events

    def _event(self, number: int, raw: RawEvent) -> Event:
        kind, run_id, parent_id, taken, monotonic_ns, wall_ns, lane = raw
        if kind in START_KINDS:
            name, tags, make = taken
            start = make()
            payload, metadata = start["payload"], start["metadata"]
            self._starts[run_id] = (name, tags, metadata)
        else:
            payload = FrozenDict(token=taken) if isinstance(taken, str) else taken()
            name, tags, metadata = self._starts.get(run_id, ("", (), EMPTY))
        return Event(kind, run_id, parent_id, name, tags, metadata, payload, number, monotonic_ns, wall_ns, lane)

    # -- what it holds

    @property
    def kinds(self) -> list[str]:
        """The callback names, in the order in which they fired."""
        return [raw[0] for raw in self._raw[: len(self)]]

    @property
    def late_events(self) -> list[Event]:
        """Events of this recording's runs that came after its block had ended."""
        return self._read()[len(self) :]

    @property
    def runs(self) -> Runs:
        """Every run, in the order in which they started."""
        return self._build()[0]

    @property
    def roots(self) -> tuple[Run, ...]:
        """The runs that have no parent in this recording, in the order in which they started."""
        return self._build()[1]

    def _build(self) -> tuple[Runs, tuple[Run, ...]]:
        size = len(self)
        if self._tree is None or self._tree[0] != size:
            self._tree = (size, *_build_runs(self._read()[:size]))
        return self._tree[1], self._tree[2]

    def _of(self, *kinds: RunKind) -> Runs:
        return Runs(run for run in self.runs if run.kind in kinds)

    @property
    def tools(self) -> Runs:
        """The tool runs: `recording.tools == ["search", "book"]`."""
        return self._of("tool")

    @property
    def models(self) -> Runs:
        """The runs of chat models and text models."""
        return self._of("chat", "llm")

    @property
    def retrievers(self) -> Runs:
        """The retriever runs."""
        return self._of("retriever")

    @property
    def open_runs(self) -> Runs:
        """Runs that have started and not ended."""
        return Runs(run for run in self.runs if run.ended == "open")

    @property
    def errors(self) -> list[Failure]:
        """What runs failed with, in order. Control flow (a pause, a hand-off, a cancelled run) is not an error."""
        return [run.error for run in self.runs if run.error is not None]

    @property
    def usage(self) -> Usage:
        """Tokens of all model runs together."""
        return sum((run.usage for run in self.models if run.usage is not None), Usage())

    def run(self, name: str) -> Run:
        """The first run called `name`.

        Raises:
            LookupError: there is none; the message has the names that come nearest.
        """
        names = self.runs.names
        if name in names:
            return self.runs[names.index(name)]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or list(dict.fromkeys(names))[:10]
        hint = f"nearest: {', '.join(f'`{n}`' for n in dict.fromkeys(near))}" if near else "nothing was recorded"
        raise LookupError(f"no run called {name!r} in this recording; {hint}")

    def only(self, *, kinds: str | Iterable[str] = (), tags: str | Iterable[str] = ()) -> Part:
        """The runs of some kinds, or with one of some tags, as a tree of their own: `recording.only(kinds=["chat", "tool"])`.

        With both, runs that have one of the kinds and one of the tags. `str(...)`, `.outline()` and a snapshot show it.

        Raises:
            ValueError: no kind and no tag is named, or a kind that runs do not have.
        """
        from llmtest.rendering import Part

        chosen, tagged = ({names} if isinstance(names, str) else {*names} for names in (kinds, tags))
        known = get_args(RunKind)
        if not chosen <= {*known} or not chosen | tagged:
            raise ValueError(
                f"only() takes `kinds` of {', '.join(known)}, or `tags`; got kinds={sorted(chosen)}, tags={sorted(tagged)}"
            )
        return Part(self, lambda run: (not chosen or run.kind in chosen) and (not tagged or not tagged.isdisjoint(run.tags)))

    def outline(self) -> str:
        """One line for each run, as a string: `assert recording.outline() == ...`."""
        from llmtest import rendering

        return rendering.outline(self)

    def close(self) -> None:
        """Ends the recording; what comes later is late. Closing twice is fine."""
        if self._closed_at is None:
            self._closed_at = len(self._raw)


def _build_runs(events: Sequence[Event]) -> tuple[Runs, tuple[Run, ...]]:
    """Groups events into runs. Children are built before parents, so that a Run can be frozen."""
    own: dict[UUID, list[Event]] = {}
    children: dict[UUID, list[UUID]] = {}
    roots: list[UUID] = []
    for event in events:
        if event.kind in START_KINDS and event.run_id not in own:
            own[event.run_id] = [event]
            parent = event.parent_run_id
            (roots if parent is None or parent not in own else children.setdefault(parent, [])).append(event.run_id)
        elif event.run_id in own:
            own[event.run_id].append(event)
    built: dict[UUID, Run] = {}
    for run_id in reversed(own):
        start = own[run_id][0]
        inside = tuple(built[child] for child in children.get(run_id, ()))
        built[run_id] = Run(
            run_id,
            start.parent_run_id,
            START_KINDS[start.kind],
            start.name,
            start.tags,
            start.metadata,
            tuple(own[run_id]),
            inside,
        )
    return Runs(built[run_id] for run_id in own), tuple(built[run_id] for run_id in roots)


def _join(recording: Recording) -> None:
    for source in SOURCES:
        importlib.import_module(source).install()
    lanes.current()  # so that tasks and threads which are spawned in the block know where they come from
    _open.set((*_open.get(), recording))


def _leave(recording: Recording) -> None:
    # Not by token: the block may be left in another context than it was entered in (async-generator fixtures).
    _open.set(tuple(r for r in _open.get() if r is not recording))


@contextmanager
def _inside(recording: Recording) -> Iterator[None]:
    """Runs that start in the block belong to `recording`, which is not closed by it. For the pytest plugin: its recording is
    made by a fixture, and entered in the context in which the test function runs, there perhaps many times (hypothesis).
    """
    _join(recording)
    try:
        yield
    finally:
        _leave(recording)


class record:  # noqa: N801 - a block reads as a verb, as `contextlib.suppress` does
    """Records every callback of the runs that start inside the block.

    Yields a `Recording`. A run belongs to every block that was open in its context when it started, and to its parent's
    blocks: nested blocks both see it; tasks, `batch` threads and `asyncio.to_thread` inherit it; work that was started
    before the block is not in it; work that outlives the block ends up in `recording.late_events`. A bare
    `threading.Thread` has no context: run its target through `contextvars.copy_context().run`.

    Works as `with` and as `async with`; may be nested, also in a running chain, and left by any exception, which goes on
    unchanged. Nothing recorded is lost. Thread-safe and task-safe.

    >>> from llmtest import ScriptedChatModel, record
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> recording.kinds
    ['on_chat_model_start', 'on_llm_end']

    It does not see models that are called without LangChain's callback system.
    """

    def __init__(self) -> None:
        self._recording: Recording | None = None

    def __enter__(self) -> Recording:
        if self._recording is not None:
            raise RuntimeError("this record() block was already entered; write record() anew for each block")
        self._recording = Recording()
        ledger.note_recording(self._recording)
        _join(self._recording)
        return self._recording

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._recording is not None
        self._recording.close()
        _leave(self._recording)

    async def __aenter__(self) -> Recording:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)
