"""Recordings: what one block or one test caught, and the runs built from it.

Which run belongs to which recording is the matter of `llmtest.capture.blocks`; nothing here knows LangChain.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast, get_args, overload
from uuid import UUID

from llmtest import ledger
from llmtest.capture.blocks import Block, RawEvent
from llmtest.core.sequences import Tokens, UnknownTokens
from llmtest.core.source import shown_path
from llmtest.core.text import amount, did_you_mean, names
from llmtest.errors import USE_WITH, Violation
from llmtest.events.callbacks import ENDINGS, START_KINDS, RunKind
from llmtest.events.events import Event, Run
from llmtest.events.words import EMPTY, Failure, FrozenDict, Usage
from llmtest.recording.runs import build_runs
from llmtest.recording.views import Kinds, Runs

if TYPE_CHECKING:
    from llmtest.matching.answers import Answer
    from llmtest.matching.enforce import Watched
    from llmtest.matching.rule import Rule
    from llmtest.order.happens_before import HappensBefore
    from llmtest.order.virtual_time import Clock
    from llmtest.scripts.script import Script
    from llmtest.scripts.tool_replay import RecordedAnswers
    from llmtest.trees.rendering import Part


_PAUSE_S: Final = 0.002
"""Between two looks at what is open."""


def judge_turns(recording: Recording) -> None:
    """Report the runs of `recording` that take steps of one script, or answers of one tool, in an order that chance decides."""
    # By the attribute, not by the class: neither module is imported where nothing uses it.
    found = [double for double in ledger.doubles() if getattr(double, "is_contested", False)]
    contested = cast("list[Script | RecordedAnswers]", found)
    if contested:
        runs = {run.id: run for run in recording.runs}
        for double in contested:
            double.judge_turns(runs.get, recording.order().are_ordered)


class Recording(Block, Sequence[Event]):
    """What a block caught: a sequence of events, and the runs built from them.

    `len(recording)`, iteration and indexing go over its events in the order in which callbacks fired. It is always
    truthy, also when empty. `str(recording)` is its tree. It can be read at any time, also while it is still open and
    from any thread; what was read is a copy of that moment. Events of runs that went on after the block had closed are
    in `late_events`, not in the sequence.

    It does not compare equal to another recording: compare `.kinds`, `.tools`, or the text.
    """

    word = "record"

    def __init__(self, rules: Sequence[Rule] = (), otel: object = None) -> None:
        super().__init__()
        otel = self.takes_spans if otel is None else otel
        self.takes_spans = bool(otel)
        if otel:
            # A package below this one, as the other sources are.
            import_module("llmtest.otel.collecting").attach(otel)
        self._raw: list[RawEvent] = []
        self.rules = tuple(rules)
        """What it must obey while it is open, and when its block ends."""
        if self.rules:
            from llmtest.matching import enforce

            self._raw = enforce.Watched(self, self.rules)
            self.sources = (*self.sources, enforce.SOURCE)
            ledger.keep_block(self)
        self._closed_at: int | None = None
        self._starts: dict[UUID, tuple[str, tuple[str, ...], FrozenDict]] = {}
        self._events: list[Event] = []
        self._clock: Clock | None = None
        self._tree: tuple[int, tuple[Run, ...], tuple[Run, ...]] | None = None
        self._order: HappensBefore | None = None
        self._chosen: dict[str, tuple[Run, ...]] = {}
        self._lock = threading.Lock()
        self._unfinished: tuple[int, set[UUID]] = (0, set())

    def __enter__(self) -> Self:
        super().__enter__()
        ledger.note_recording(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        __tracebackhide__ = True
        super().__exit__(kind, error, trace)
        if self.rules:
            cast("Watched", self._raw).conclude(failed=error is not None)

    def end_of_test(self) -> list[Violation]:
        """Also judge the rules of a block that was left open or decorates, and tell of rules that were never in force."""
        found = super().end_of_test()
        if self.rules and not self.times_opened:
            rules = amount(len(self.rules), "rule")
            text = f"record(rules=[...]) was made and never entered, so that its {rules} judged nothing\n  {USE_WITH}"
            return [*found, Violation("rules never judged", text)]
        if self.rules:
            cast("Watched", self._raw).conclude(failed=True)
        return found

    # -- a sequence of events

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

    def __contains__(self, item: object) -> bool:
        _refuse_name(item)
        return super().__contains__(item)

    def count(self, item: object) -> int:
        """Return how many of the events are equal to `item`.

        Raises:
            TypeError: it is a str: ask `recording.tools`, `.runs` or `.kinds` for names.
        """
        _refuse_name(item)
        return super().count(item)

    def index(self, item: Any, start: int = 0, stop: int = sys.maxsize) -> int:
        """Return the number of the first event that is equal to `item`.

        Raises:
            TypeError: it is a str: ask `recording.tools`, `.runs` or `.kinds` for names.
            ValueError: there is none.
        """
        _refuse_name(item)
        return super().index(item, start, stop)

    def __repr__(self) -> str:
        state = "" if self.closed else ", open"
        return f"<Recording: {len(self)} events, {len(self.runs)} runs{state}>"

    def __str__(self) -> str:
        from llmtest.trees import rendering

        return rendering.render(self)

    def _read(self) -> list[Event]:
        """Return every event so far, late ones too. Events are made from the raw tuples here, when they are first looked at."""
        with self._lock:
            for number in range(len(self._events), len(self._raw)):
                event = self.event_of(self._raw[number], number)
                self._events.append(self._timed(event) if self.latencies or self.pauses else event)
            return self._events

    def event_of(self, raw: RawEvent, number: int) -> Event:
        """Return the event that a raw tuple stands for. The start of its run was looked at before."""
        kind, run_id, parent_id, taken, monotonic_ns, wall_ns, mark = raw
        lane, moment = mark or (None, 0)
        if kind in START_KINDS:
            name, tags, make = taken
            start = make()
            payload, metadata = start["payload"], start["metadata"]
            self._starts[run_id] = (name, tags, metadata)
        else:
            payload = FrozenDict(token=taken) if isinstance(taken, str) else taken()
            name, tags, metadata = self._starts.get(run_id, ("", (), EMPTY))
        return Event(kind, run_id, parent_id, name, tags, metadata, payload, number, monotonic_ns, wall_ns, lane, moment)

    def _timed(self, event: Event) -> Event:
        """`event` with its place in virtual time. Those before it are looked at from the first latency on."""
        if self._clock is None:
            from llmtest.order.virtual_time import Clock

            self._clock = Clock(self.latencies, self.pauses)
            for earlier in self._events:
                self._clock.at(earlier)
        object.__setattr__(event, "virtual_ns", self._clock.at(event))  # nobody has seen it yet
        return event

    # -- what it holds

    @property
    def kinds(self) -> Kinds:
        """The callback names, in the order in which they fired. `==` compares them with a shape."""
        return Kinds(raw[0] for raw in self._raw[: len(self)])

    @property
    def late_events(self) -> list[Event]:
        """Events of this recording's runs that came after its block had ended."""
        return self._read()[len(self) :]

    @property
    def runs(self) -> Runs:
        """Every run, in the order in which they started."""
        return Runs(self._build()[0], "runs", self.order)

    @property
    def roots(self) -> tuple[Run, ...]:
        """The runs that have no parent in this recording, in the order in which they started."""
        return self._build()[1]

    def _build(self) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
        size = len(self)
        if self._tree is None or self._tree[0] != size:
            self._tree = (size, *build_runs(self._read()[:size]))
            self._order, self._chosen = None, {}
        return self._tree[1], self._tree[2]

    def order(self) -> HappensBefore:
        """Return the order of runs: which of two came first for certain, as far as they are recorded."""
        from llmtest.order.happens_before import HappensBefore

        roots = self._build()[1]
        if self._order is None:
            self._order = HappensBefore(roots)
        return self._order

    def _of(self, what: str, *kinds: RunKind) -> Runs:
        runs = self._build()[0]
        if what not in self._chosen:
            self._chosen[what] = tuple(run for run in runs if run.kind in kinds)
        return Runs(self._chosen[what], what, self.order)

    @property
    def tools(self) -> Runs:
        """The tool runs: `recording.tools == ["search", ..., "book"]`."""
        return self._of("tools", "tool")

    @property
    def models(self) -> Runs:
        """The runs of chat models and text models."""
        return self._of("models", "chat", "llm")

    @property
    def retrievers(self) -> Runs:
        """The retriever runs."""
        return self._of("retrievers", "retriever")

    @property
    def tokens(self) -> Tokens:
        """The streamed tokens of all models, one model run after the other."""
        if any("tokens" in run.unknown for run in self.models):
            return UnknownTokens()
        return Tokens(token for run in self.models for token in run.tokens)

    def tags(self, tag: str) -> Runs:
        """Return the runs that have this tag. In it, `*` stands for anything."""
        return self.runs.tags(tag)

    def under(self, run: Run) -> Runs:
        """Return the runs inside `run`, however deep."""
        return self.runs.under(run)

    # -- what must be true of it

    def obeys(self, *rules: Rule, strict: bool = False) -> Answer:
        """Return an `Answer`: whether all of these rules hold, and why.

        >>> from llmtest import ScriptedChatModel, record
        >>> from llmtest.matching import at_most, model
        >>> with record() as recording:
        ...     _ = ScriptedChatModel("Hello there").invoke("hi")
        >>> recording.obeys(at_most(3, model()))
        holds: a model at most 3 times

        It does not raise because a rule is broken: write `assert` before it, or use `assert_obeys`.
        """
        from llmtest.matching import asserts

        return asserts.obeys(self, rules, strict=strict)

    def assert_obeys(self, *rules: Rule, strict: bool = False) -> None:
        """Raise an `AssertionError` with the whole explanation of every rule that does not hold."""
        __tracebackhide__ = True
        from llmtest.matching import asserts

        asserts.assert_obeys(self, rules, strict=strict)

    def all_of(self) -> AbstractContextManager[None]:
        """A block in which `assert_obeys` and `assert_matches` go on; what they found is raised at its end, all of it."""
        from llmtest.matching import asserts

        return asserts.all_of()

    @property
    def open_runs(self) -> Runs:
        """Runs that have started and not ended."""
        return Runs((run for run in self.runs if run.ended == "open"), "open_runs", self.order)

    @property
    def errors(self) -> list[Failure]:
        """What runs failed with, in order. Control flow (a pause, a hand-off, a cancelled run) is not an error."""
        return [run.error for run in self.runs if run.error is not None]

    @property
    def usage(self) -> Usage:
        """Tokens of all model runs together. What LangChain's cache answered cost none.

        Each of its figures raises an `UnjudgedError` where a run has not told what it spent, or was not seen.
        """
        from llmtest.tokens.calls import UnknownUsage, is_usage_known

        unknown = [
            f"{run.kind} `{run.name}`, {run.ended}"
            for run in self.models
            # An open run has a usage only if its message is finished: in version 3 the end of the run comes later.
            if not (run.ended == "open" and run.usage is not None)
            and not is_usage_known(run.ended, run.usage, cached=run.cached, answered=bool(run.tokens))
        ]
        unknown += [f"`{call.double}` at {shown_path(call.place)}, which was not seen" for call in self.unseen_calls]
        if unknown:
            return UnknownUsage(f"the usage of a recording is not known, because of {amount(len(unknown), 'run')}: {unknown[0]}")
        return sum((run.usage for run in self.models if run.usage is not None and not run.cached), Usage())

    @property
    def took_s(self) -> float:
        """How long everything together took, in seconds of virtual time: by the latencies of scripts, such as
        `say(..., ttft_s=0.8)`, and by back-off: what a library would have slept before it tries again. What comes for certain
        after something begins when that was over; the rest is side by side."""
        return max((event.virtual_ns for event in self), default=0) / 1e9

    def run(self, name: str) -> Run:
        """Return the first run called `name`.

        Raises:
            LookupError: there is none; the message has the names that come nearest.
            TypeError: `name` is no str.
        """
        if not isinstance(name, str):
            raise TypeError(
                f"run() takes the name of a run; got {type(name).__name__} {name!r}; what a selector means is"
                " [run for run in recording.runs if selector == run]"
            )
        known = list(dict.fromkeys(self.runs.names))
        if name in known:
            return self.runs[self.runs.names.index(name)]
        what = f"it has {names(known[:10])}" if known else "nothing was recorded"
        raise LookupError(f"no run called {name!r} in this recording{did_you_mean(name, known, otherwise=what)}")

    def only(self, *, kinds: str | Iterable[str] = (), tags: str | Iterable[str] = ()) -> Part:
        """Return the runs of some kinds, or with some tags, as a tree of their own: `recording.only(kinds=["chat", "tool"])`.

        With both, runs that have one of the kinds and one of the tags. `str(...)`, `.outline()` and a snapshot show it.

        Raises:
            ValueError: no kind and no tag is named, or a kind that runs do not have.
        """
        from llmtest.trees.rendering import Part

        chosen, tagged = ({names} if isinstance(names, str) else {*names} for names in (kinds, tags))
        known = get_args(RunKind)
        if not chosen <= {*known} or not chosen | tagged:
            raise ValueError(
                f"only() takes `kinds` of {', '.join(known)}, or `tags`; got kinds={sorted(chosen)}, tags={sorted(tagged)}"
            )
        return Part(self, lambda run: (not chosen or run.kind in chosen) and (not tagged or not tagged.isdisjoint(run.tags)))

    def outline(self) -> str:
        """Return one line for each run, as a string: `assert recording.outline() == ...`."""
        from llmtest.trees import rendering

        return rendering.outline(self)

    def _mark_end(self) -> None:
        self._closed_at = len(self._raw)
        judge_turns(self)

    # -- work that goes on

    def settle(self, *, timeout_s: float = 1.0) -> Runs:
        """Wait until no run is open, at most `timeout_s` seconds; return the runs that still are.

        For work in other threads that outlives its caller. What came late is part of the recording from here on, not of
        `late_events`. A run that was cancelled may never end, because LangChain does not report it: that takes the whole
        timeout. It polls; it does not hurry anybody.

        Raises:
            RuntimeError: an event loop runs in this thread; it could not go on. Use `await recording.asettle()`.
        """
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("settle() would block the event loop that runs in this thread; use `await recording.asettle()`")
        for _ in range(_pauses(timeout_s)):
            if not self._waits():
                break
            threading.Event().wait(_PAUSE_S)
        return self._take_late()

    async def asettle(self, *, timeout_s: float = 1.0) -> Runs:
        """Wait as `settle` does, in async code: other tasks of the event loop go on meanwhile."""
        for _ in range(_pauses(timeout_s)):
            if not self._waits():
                break
            await _pause()
        return self._take_late()

    def _waits(self) -> bool:
        """True if a run is open, late events counted. Each event is looked at once."""
        with self._lock:
            seen, unfinished = self._unfinished
            size = len(self._raw)
            for kind, run_id, *_ in self._raw[seen:size]:
                if kind in START_KINDS:
                    unfinished.add(run_id)
                elif kind in ENDINGS:
                    unfinished.discard(run_id)
            self._unfinished = (size, unfinished)
            return bool(unfinished)

    def _take_late(self) -> Runs:
        if self._closed_at is not None:
            self._closed_at = len(self._raw)
        return self.open_runs


def _pauses(timeout_s: float) -> int:
    # Counted, because a test may have stopped every clock that Python can read, that of the event loop too. Locks wait in C.
    return max(1, round(timeout_s / _PAUSE_S))


async def _pause() -> None:
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake() -> None:
        threading.Event().wait(_PAUSE_S)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(woken.set)

    threading.Thread(target=wake, daemon=True).start()
    await woken.wait()


def _refuse_name(item: object) -> None:
    if isinstance(item, str):
        raise TypeError(
            f"a recording is a sequence of events, and no event is {item!r};"
            f" say {item!r} in recording.tools, in recording.runs or in recording.kinds"
        )


def record(*, rules: Sequence[Rule] = (), otel: object = None) -> Recording:
    """Record every callback of the runs that start inside the block. Gives a `Recording`, which is the block.

    A run belongs to every block that was open in its context when it started, and to its parent's blocks: nested blocks both
    see it; tasks, `batch` threads and `asyncio.to_thread` inherit it; work that was started before the block is not in it;
    work that outlives the block ends up in `recording.late_events`. A bare `threading.Thread` has no context: give it
    `carry_context(target)`.

    Works as `with`, as `async with`, and as a decorator of functions and generators, sync and async, whose calls are all
    collected: `recording = record()`, then `@recording`. May be nested, also in a running chain, left by any exception,
    which goes on unchanged, and left in another task. Nothing recorded is lost. Thread-safe and task-safe.

    >>> from llmtest import ScriptedChatModel, record
    >>> with record() as recording:
    ...     _ = ScriptedChatModel("Hello there").invoke("hi")
    >>> recording.kinds
    ['on_chat_model_start', 'on_llm_end']

    With `rules=[never("delete_*"), at_most(3, model())]` the program is held to rules while it runs: what would break one for
    good does not run, but raises a `ViolationError`, and so does every tool, model and retriever of this recording that starts
    later. The other rules are judged when a `with` block ends, which raises what is broken, also what the program swallowed.

    With `otel=True` it also takes the spans of OpenTelemetry that start inside the block: those of pydantic-ai, openai-agents and
    other frameworks, as runs. `otel` may also be the `TracerProvider` of the program. The runs of a trace are there when its
    outermost span has ended. Spans of instrumentations of LangChain are left out: callbacks tell of the same runs. The ini key
    `llmtest_otel` does it in every test.

    Raises:
        TypeError: `rules` has something that is no rule.
        OtelError: `otel` is no provider, or the packages of OpenTelemetry are not installed.

    It does not see models that are called without LangChain's callback system.
    """
    return Recording(rules, otel)
