"""Blocks: what is opened with `with`, `async with` or a decorator, and which run belongs to which of them.

One rule: a run belongs to the blocks that were open in its context when it started, plus its parent's blocks.
The source of callbacks (`llmtest.langchain.tap`) calls `membership.begin()` at each start and `membership.membership()` for
every later event; nothing here knows LangChain.

A context lists not a block but one `Opening` of it. A task or thread that copied the context goes on listing the opening;
once closed, it lists nothing in any context.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import Any, ClassVar, Final, NamedTuple, ParamSpec, Protocol, Self, TypeVar, cast
from uuid import UUID

from llmtest import ledger
from llmtest.concurrency import lanes
from llmtest.concurrency.lanes import Lane, Mark
from llmtest.errors import LEFT_OPEN, USE_WITH, Violation
from llmtest.events.events import Latency, UnseenCall
from llmtest.events.words import FrozenDict

P = ParamSpec("P")

T = TypeVar("T")

AnyFunction = Callable[..., Any]

F = TypeVar("F", bound=AnyFunction)

SOURCES: Final = ("llmtest.langchain.tap",)
"""The modules whose `install()` attaches a source of callbacks; imported when the first block is opened."""

RawEvent = tuple[str, UUID, UUID | None, Any, int, int, Mark | None]
"""kind, run id, parent id, payload, monotonic ns, wall ns, lane and moment.

The payload is a function that makes the frozen payload at the first read; for a plain token the str; for a start a `Start`.
"""

Start = tuple[str, tuple[str, ...], Callable[[], FrozenDict]]
"""name, tags, and a function that makes `{"metadata": ..., "payload": ...}`."""


class Pause(NamedTuple):
    """A wait of a line of control in virtual time, after one of its moments."""

    lane: Lane
    moment: int
    ns: int


class Events(Protocol):
    """Where a block keeps the events of its runs. `append` is atomic: any thread may call it."""

    def append(self, raw: RawEvent, /) -> None: ...


class Membership:
    """The blocks of one run. It keeps none of them alive."""

    __slots__ = ("_blocks", "deliver", "follows", "light", "made_for", "run_ids", "timed")

    def __init__(self, *blocks: Block) -> None:
        self._blocks = tuple([weakref.ref(block) for block in blocks])
        self.deliver: Callable[[RawEvent], None] = functools.partial(_deliver, self._blocks)
        """Appends one event to each block. Safe from any thread."""
        self.run_ids = tuple([block._run_ids for block in blocks if block.holds_runs])
        """The lists of the blocks that hold their runs, for the ids of the runs that are in the same blocks."""
        self.light = all(block.light for block in blocks)
        """True if all of the blocks only count."""
        self.made_for: tuple[tuple[Opening, ...], object] | None = None
        """The openings and the token count that it was made of: a run inside that has the same is in the same blocks."""
        self.timed = False
        """True if an answer has a latency: then each of its tokens is a moment of its own, after which others may begin."""
        self.follows = bool(blocks) and all(block.watches for block in blocks)
        """True if no block of the test was open in the context of the run, so that only blocks have it that take all runs."""

    def __iter__(self) -> Iterator[Block]:
        return (block for block in (ref() for ref in self._blocks) if block is not None)


def _deliver(blocks: tuple[weakref.ref[Block], ...], raw: RawEvent) -> None:
    for ref in blocks:
        block = ref()
        if block is not None:
            block._raw.append(raw)


class Opening:
    """One time that a block is opened; it holds its block until it is closed."""

    __slots__ = ("block", "is_listed", "lane", "opened_ms", "page")

    def __init__(self, block: Block) -> None:
        self.block: Block | None = block
        self.opened_ms = time.time_ns() // 1_000_000
        self.lane = lanes.current()  # also so that tasks and threads which are spawned in the block know where they come from
        self.page: ledger.Ledger | None = ledger.current()
        self.is_listed = False
        """False while a decorated generator waits at a yield: what its reader does then is none of its business."""
        openings.add(self)

    def close(self) -> None:
        self.block = self.page = None  # contexts that list it may live long
        openings.discard(self)
        if not openings:
            unseen_runs.clear()

    def owns_work_of(self, lane: Lane) -> bool:
        """True if work on `lane` that no block took should have been in this one.

        A block that one of several tasks opened is about that task: only work below it, or of unknown origin, counts. A block
        that the test itself opened is about everything that runs meanwhile. A trace is no claim about other work.
        """
        page = ledger.current()
        if (
            self.block is None
            or self.block.traced
            or not self.is_listed
            or (page is not self.page and isinstance(page, ledger.Outside))
        ):  # a check of conformance
            return False
        return self.lane.is_first() or lane.within(self.lane) or self.lane.is_foreign_to(lane)


open_blocks: ContextVar[tuple[Opening, ...]] = ContextVar("llmtest_open_blocks", default=())
memberships: dict[UUID, Membership] = {}
"""Of every run that a living block holds; a block removes its runs when it is collected."""
openings: set[Opening] = set()
"""The openings of the whole process that are not closed. Any thread may copy, add and discard."""
unseen_runs: set[UUID] = set()
"""The runs that were noted as unseen while any block was open."""


# -- a block


class Block(ABC):
    """Collects the events of the runs that start inside it; the block and its result are one object.

    A base: `Recording` and `TokenCount` define what they keep. `with` and `async with` open it once and close it for good. As
    a decorator it is open during each call of each function that it decorates, and collects all of them.
    """

    light: ClassVar[bool] = False
    holds_runs = True
    """True if its runs stay known while it lives. The tally of a test counts a run only while another block holds it."""
    traced: ClassVar[bool] = False
    """True if the trace store gets its runs."""
    takes_spans = False
    """True if it also takes the runs that spans of OpenTelemetry tell of."""
    follows_test = False
    """True if it also takes the runs of the test that no block reached, as those of a bare thread."""
    watches: ClassVar[bool] = False
    """True if no test has opened it: what only such blocks take is unseen by the blocks of the test, and in no token count."""
    sources: tuple[str, ...] = SOURCES
    word: ClassVar[str]
    """Its name in the program, for messages."""

    _raw: Events

    def __init__(self) -> None:
        self._run_ids: list[UUID] = []
        self._alone = Membership(self)
        self._closed = False
        self._opening: Opening | None = None
        self._decorates = False
        self.times_opened = 0
        self._unseen_calls: list[UnseenCall] = []
        self.latencies: dict[UUID, list[Latency]] = {}
        """How long the answers of its runs took in virtual time. A call with several prompts counts for the first one's run."""
        self.pauses: list[Pause] = []
        """The waits between two tries, in virtual time."""

    def __del__(self, known: dict[UUID, Membership] = memberships) -> None:
        # A default, because a recording in a global may outlive the other globals when the process ends.
        last, is_held = self._alone, False  # most runs of a block are in the same blocks
        for run_id in self._run_ids:
            membership = known.get(run_id)
            if membership is not last and membership is not None:
                last, is_held = membership, any(other.holds_runs and other is not self for other in membership)
            if not is_held and membership is not None:
                known.pop(run_id, None)

    def __bool__(self) -> bool:
        return True

    @property
    def unseen_calls(self) -> list[UnseenCall]:
        """Runs and calls of scripted doubles that happened while this block was open, and that it did not see."""
        if ledger.hear_children is not None:
            ledger.hear_children()
        return self._unseen_calls

    def note_unseen(self, call: UnseenCall) -> None:
        """Note a run or call that this block should have seen."""
        self._unseen_calls.append(call)

    @property
    def closed(self) -> bool:
        """True if the block has ended."""
        return self._closed

    def close(self) -> None:
        """End the block; later events are late. Closing twice is fine."""
        if not self._closed:
            self._mark_end()
            self._closed = True
            lanes.release_futures()

    @abstractmethod
    def _mark_end(self) -> None:
        """Note where its events end."""

    # with, async with

    def __enter__(self) -> Self:
        if self._opening is not None:
            raise RuntimeError(f"this {self.word}() block was already entered; write {self.word}() anew for each block")
        if self._decorates:
            raise RuntimeError(f"this {self.word}() block decorates functions; write {self.word}() anew for a `with` block")
        self._opening = Opening(self)
        self.times_opened += 1
        ledger.keep_block(self)
        _attach(self)
        _list(self._opening)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._opening is not None
        ledger.drop_block(self)
        self.close()
        _end(self._opening)

    def end_of_test(self) -> list[Violation]:
        """Leave the block if the test that entered it has not. It would take the runs of the tests that follow."""
        if self._opening is None or self._closed:
            return []
        self.close()
        _end(self._opening)
        return [Violation(LEFT_OPEN, f"a {self.word}() block was left open by the test\n  {USE_WITH}")]

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)

    # a decorator

    def __call__(self, function: F) -> F:
        """Return `function` with the block open during each call; of a generator, while it runs and not at its yields."""
        if isinstance(function, type) or not callable(function):
            shown = f"the class {function.__name__}" if isinstance(function, type) else repr(function)
            raise TypeError(f"{self.word}() decorates functions and generators, sync or async; got {shown}")
        if self._opening is not None:
            raise RuntimeError(f"this {self.word}() block was already entered; write {self.word}() anew to decorate with it")
        self._decorates = True
        return cast("F", functools.wraps(function)(_decorator(function)(self, function)))


# -- decorators


def _decorator(function: AnyFunction) -> Callable[[Block, AnyFunction], AnyFunction]:
    if inspect.isasyncgenfunction(function):
        return _async_generator
    if inspect.iscoroutinefunction(function):
        return _coroutine
    return _generator if inspect.isgeneratorfunction(function) else _function


def _function(block: Block, function: AnyFunction) -> AnyFunction:
    def call(*args: object, **kwargs: object) -> object:
        with inside(block):
            return function(*args, **kwargs)

    return call


def _coroutine(block: Block, function: AnyFunction) -> AnyFunction:
    async def call(*args: object, **kwargs: object) -> object:
        with inside(block):
            return await function(*args, **kwargs)

    return call


def _generator(block: Block, function: AnyFunction) -> AnyFunction:
    # The block is listed only while the body runs: `yield` hands the thread, and with it the context, to the reader.
    def generator(*args: object, **kwargs: object) -> Generator[object, object, object]:
        inner = function(*args, **kwargs)
        step = functools.partial(inner.send, None)
        with _opened(block) as opening:
            while True:
                with _listed(opening):
                    try:
                        item = step()
                    except StopIteration as done:
                        return done.value
                try:
                    step = functools.partial(inner.send, (yield item))
                except GeneratorExit:
                    with _listed(opening):
                        inner.close()
                    raise
                except BaseException as error:
                    step = functools.partial(inner.throw, error)

    return generator


def _async_generator(block: Block, function: AnyFunction) -> AnyFunction:
    async def generator(*args: object, **kwargs: object) -> AsyncGenerator[object, object]:
        inner = function(*args, **kwargs)
        step = inner.asend(None)
        with _opened(block) as opening:
            while True:
                with _listed(opening):
                    try:
                        item = await step
                    except StopAsyncIteration:
                        return
                try:
                    step = inner.asend((yield item))
                except GeneratorExit:
                    with _listed(opening):
                        await inner.aclose()
                    raise
                except BaseException as error:
                    step = inner.athrow(error)

    return generator


# -- openings and contexts


@contextmanager
def inside(block: Block) -> Iterator[None]:
    """Give the runs that start inside to `block`, which stays open afterwards and may be entered any number of times.

    For decorators, and for the pytest plugin: a fixture makes its recording, and the test function, which may run many times
    (hypothesis), runs inside it in a context of its own.
    """
    with _opened(block) as opening, _listed(opening):
        yield


@contextmanager
def _opened(block: Block) -> Iterator[Opening]:
    opening = Opening(block)
    block.times_opened += 1
    if block._decorates:
        ledger.keep_block(block)
    _attach(block)
    try:
        yield opening
    finally:
        opening.close()


@contextmanager
def _listed(opening: Opening) -> Iterator[None]:
    _list(opening)
    try:
        yield
    finally:
        _unlist(opening)


def _attach(block: Block) -> None:
    # A run of one block is the most frequent case, and its token the most frequent event: no function of ours stands between.
    block._alone.deliver = block._raw.append
    for source in block.sources:
        importlib.import_module(source).install()  # not from `sys.modules`: another thread may be importing it just now


def _list(opening: Opening) -> None:
    opened = open_blocks.get()
    if opened:  # an opening that was closed in another context is still on this one's list
        opened = tuple(other for other in opened if other.block is not None)
    open_blocks.set((*opened, opening))
    opening.is_listed = True


def _unlist(opening: Opening) -> None:
    # Not by token: an async-generator fixture may leave the block in another context than it was entered in.
    opening.is_listed = False
    opened = open_blocks.get()
    open_blocks.set(opened[:-1] if opened[-1:] == (opening,) else tuple(other for other in opened if other is not opening))


def _end(opening: Opening) -> None:
    opening.close()
    _unlist(opening)


# -- into threads


def carry_context(function: Callable[P, T]) -> Callable[P, T]:
    """Return `function` bound to the context of here and now, with the blocks that are open here, for any thread to call.

    A bare `threading.Thread`, a `ThreadPoolExecutor` and `loop.run_in_executor` start without the context of their starter,
    so that runs there belong to no block. Each call has a copy of the context, so that calls may overlap.

    Raises:
        TypeError: for a coroutine function or a generator function, whose body runs after the call.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from llmtest import ScriptedChatModel, carry_context, record
    >>> model = ScriptedChatModel("Hello", "Hello")
    >>> with record() as recording, ThreadPoolExecutor() as pool:
    ...     _ = list(pool.map(carry_context(model.invoke), ["hi", "hi"]))
    >>> len(recording.models)
    2

    It does not bring changes of the context back from the thread.
    """
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_kind(function) for is_kind in kinds):
        raise TypeError(
            f"carry_context() takes a function that is over when its call returns; got {function!r}"
            "\n  wrap it in one: carry_context(lambda: asyncio.run(work()))"
        )
    context = copy_context()

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(function, *args, **kwargs)

    return call
