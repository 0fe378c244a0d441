"""The programs that a check of a model, a tool or a retriever runs: how each calls it, and gives up.

None knows what is right. Each takes the object and what to ask it; those in async code are coroutine functions.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackHandler, manager

from llmtest.conformance.lockstep import LockStep, aby_turns, by_turns, files_of
from llmtest.conformance.subjects import Component

AT_ONCE: Final = 8
"""The number of calls at once."""
_TURNS: Final = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 46, 60)
"""The numbers of turns of the event loop after which a call is cancelled."""


class _Heard(BaseCallbackHandler):
    """Keeps the tokens that a model tells, with their chunks."""

    run_inline = True

    def __init__(self) -> None:
        self.chunks: list[object] = []

    def on_llm_new_token(self, token: object, *, chunk: object = None, **kwargs: object) -> None:
        self.chunks.append(chunk)


class _Streams(_Heard):
    """Makes `invoke` stream, as `astream_events` and LangGraph's `stream_mode="messages"` do: LangChain looks for these names."""

    def tap_output_iter(self, run_id: object, output: object) -> object:
        """Never called for a model."""

    tap_output_aiter = tap_output_iter


class ObjectionError(Exception):
    """What a handler raises to end a run."""


class _Objects(BaseCallbackHandler):
    """Ends the run at its first token, as limits of programs and rules of llmtest do."""

    run_inline = True
    raise_error = True

    def on_llm_new_token(self, token: object, **kwargs: object) -> None:
        raise ObjectionError


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence LangChain's log: handlers of these programs raise on purpose."""

    def is_theirs(record: logging.LogRecord) -> bool:
        return ObjectionError.__name__ not in record.getMessage()

    manager.logger.addFilter(is_theirs)
    try:
        yield
    finally:
        manager.logger.removeFilter(is_theirs)


@dataclass(frozen=True, slots=True)
class Streamed:
    """The chunks of one stream, how many tokens had been told when each came, and the tokens."""

    chunks: list[Any]
    told: list[int]
    heard: list[Any]


def _stream(it: Component, given: object) -> Streamed:
    heard, stream = _Heard(), Streamed([], [], [])
    for chunk in it.stream(given, {"callbacks": [heard]}):
        stream.chunks.append(chunk)
        stream.told.append(len(heard.chunks))
    stream.heard.extend(heard.chunks)
    return stream


async def _astream(it: Component, given: object) -> Streamed:
    heard, stream = _Heard(), Streamed([], [], [])
    async for chunk in it.astream(given, {"callbacks": [heard]}):
        stream.chunks.append(chunk)
        stream.told.append(len(heard.chunks))
    stream.heard.extend(heard.chunks)
    return stream


def _objected(it: Component, given: object) -> list[object]:
    with _quiet():
        return list(it.stream(given, {"callbacks": [_Objects()]}))


async def _aobjected(it: Component, given: object) -> list[object]:
    with _quiet():
        return [chunk async for chunk in it.astream(given, {"callbacks": [_Objects()]})]


def _streams(it: Component, given: list[object]) -> list[Streamed]:
    return [_stream(it, one) for one in given]


async def _astreams(it: Component, given: list[object]) -> list[Streamed]:
    return [await _astream(it, one) for one in given]


def _threads(it: Component, given: list[object]) -> list[object]:
    """Run each call in a thread of its own; all begin together."""
    return _in_threads(it, given, LockStep(len(given), frozenset()))


def _in_step(it: Component, given: list[object]) -> list[object]:
    """Run the first call alone, because lazy set-up often holds a lock; then the others in threads, in step."""
    return [it.invoke(given[0]), *_in_threads(it, given[1:], LockStep(len(given) - 1, files_of(it)))]


def _in_threads(it: Component, given: list[object], steps: LockStep) -> list[object]:
    answers: dict[int, object] = {}
    errors: list[BaseException] = []

    def work(number: int, one: object) -> None:
        try:
            steps.meet()
            answers[number] = steps.run(partial(it.invoke, one))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=copy_context().run, args=(work, *one), daemon=True) for one in enumerate(given)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error
    return [answers[number] for number in range(len(given))]


async def _tasks(it: Component, given: list[object]) -> list[object]:
    return await asyncio.gather(*(it.ainvoke(one) for one in given))


def _close(it: Component, given: object) -> None:
    stream = it.stream(given)
    next(stream, None)
    if hasattr(stream, "close"):
        stream.close()


async def _aclose(it: Component, given: object) -> None:
    stream = it.astream(given)
    await anext(stream, None)
    if hasattr(stream, "aclose"):
        await stream.aclose()


async def _read(it: Component, given: Callable[[], object]) -> None:
    async for _ in it.astream(given()):
        pass


async def cancel_at_each_turn(start: Callable[[], Awaitable[object]], patience_s: float, found: list[str]) -> None:
    """Cancel a call after some turns of the loop, and one more after some more, until a call is too quick."""
    for turns in _TURNS:
        task = asyncio.ensure_future(start())
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            await task
            return
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=patience_s)
        if not done or not task.cancelled():
            error = task.exception() if done else None
            what = f"raises {type(error).__name__}" if error else "answers" if done else "goes on"
            found.append(f"{what} when its task is cancelled")
            return


Programs = Mapping[str, Callable[..., Any]]
"""Programs by name; each takes the component and its inputs."""

CALLS: Final[Programs] = {
    "invoke": lambda it, given: it.invoke(given),
    "ainvoke": lambda it, given: it.ainvoke(given),
}
STREAMS: Final[Programs] = {"stream": _streams, "astream": _astreams}

WAYS: Final[Programs] = {**CALLS, "stream": _stream, "astream": _astream}
CLOSES: Final[Programs] = {"stream": _close, "astream": _aclose}
CANCELS: Final[Programs] = {"ainvoke": lambda it, make: it.ainvoke(make()), "astream": _read}
STREAMING: Final[Programs] = {
    "invoke": lambda it, given: it.invoke(given, {"callbacks": [_Streams()]}),
    "ainvoke": lambda it, given: it.ainvoke(given, {"callbacks": [_Streams()]}),
}
OBJECTED: Final[Programs] = {"stream": _objected, "astream": _aobjected}
BY_TURNS: Final[Programs] = {
    "stream": lambda it, given: by_turns([it.stream(one) for one in given]),
    "astream": lambda it, given: aby_turns([it.astream(one) for one in given]),
}
_IN_THREADS: Final = f"invoke, {AT_ONCE} threads at once"
_IN_STEP: Final = "invoke, threads in step"
_IN_TASKS: Final = f"ainvoke, {AT_ONCE} tasks at once"
TOGETHER: Final = {"invoke": (_IN_STEP, "batch", _IN_THREADS), "ainvoke": ("abatch", _IN_TASKS)}
MANY: Final[Programs] = {
    "batch": lambda it, given: it.batch(given),
    "abatch": lambda it, given: it.abatch(given),
    _IN_THREADS: _threads,
    _IN_STEP: _in_step,
    _IN_TASKS: _tasks,
}


@contextmanager
def much_switching() -> Iterator[None]:
    """Make threads switch as often as possible, so that races show sooner."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
