"""The programs that a check of a model, a tool or a retriever runs: how each calls it, and gives up.

None knows what is right. Each takes the object and what to ask it; those in async code are coroutine functions.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackHandler

AT_ONCE: Final = 8
"""So many calls are made at once."""
_TURNS: Final = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 46, 60)
"""After so many turns of the event loop a call is cancelled."""


class _Heard(BaseCallbackHandler):
    """Keeps the tokens that a model tells, with their chunks."""

    run_inline = True

    def __init__(self) -> None:
        self.chunks: list[Any] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        self.chunks.append(chunk)


@dataclass(frozen=True, slots=True)
class Streamed:
    """The chunks of one stream, how many tokens had been told when each came, and the tokens."""

    chunks: list[Any]
    told: list[int]
    heard: list[Any]


def _invoke(it: Any, given: Any) -> Any:
    return it.invoke(given)


async def _ainvoke(it: Any, given: Any) -> Any:
    return await it.ainvoke(given)


def _stream(it: Any, given: Any) -> Streamed:
    heard, stream = _Heard(), Streamed([], [], [])
    for chunk in it.stream(given, {"callbacks": [heard]}):
        stream.chunks.append(chunk)
        stream.told.append(len(heard.chunks))
    stream.heard.extend(heard.chunks)
    return stream


async def _astream(it: Any, given: Any) -> Streamed:
    heard, stream = _Heard(), Streamed([], [], [])
    async for chunk in it.astream(given, {"callbacks": [heard]}):
        stream.chunks.append(chunk)
        stream.told.append(len(heard.chunks))
    stream.heard.extend(heard.chunks)
    return stream


def _streams(it: Any, given: list[Any]) -> list[Streamed]:
    return [_stream(it, one) for one in given]


async def _astreams(it: Any, given: list[Any]) -> list[Streamed]:
    return [await _astream(it, one) for one in given]


def _batch(it: Any, given: list[Any]) -> Any:
    return it.batch(given)


async def _abatch(it: Any, given: list[Any]) -> Any:
    return await it.abatch(given)


def _threads(it: Any, given: list[Any]) -> list[Any]:
    """Each call in a thread of its own; all begin together."""
    answers: dict[int, Any] = {}
    errors: list[BaseException] = []
    together = threading.Barrier(len(given))

    def work(number: int, one: Any) -> None:
        try:
            together.wait()
            answers[number] = it.invoke(one)
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


async def _tasks(it: Any, given: list[Any]) -> list[Any]:
    return await asyncio.gather(*(it.ainvoke(one) for one in given))


def _close(it: Any, given: Any) -> None:
    stream = it.stream(given)
    next(stream, None)
    if hasattr(stream, "close"):
        stream.close()


async def _aclose(it: Any, given: Any) -> None:
    stream = it.astream(given)
    await anext(stream, None)
    if hasattr(stream, "aclose"):
        await stream.aclose()


async def _read(it: Any, given: Callable[[], Any]) -> None:
    async for _ in it.astream(given()):
        pass


async def _wait(it: Any, given: Callable[[], Any]) -> None:
    await it.ainvoke(given())


async def cancel_at_each_turn(start: Callable[[], Any], patience_s: float, found: list[str]) -> None:
    """Cancels a call after some turns of the loop, and one more after some more, until a call is too quick."""
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


CALLS: Final[Mapping[str, Callable[..., Any]]] = {"invoke": _invoke, "ainvoke": _ainvoke}
STREAMS: Final[Mapping[str, Callable[..., Any]]] = {"stream": _streams, "astream": _astreams}
WAYS: Final[Mapping[str, Callable[..., Any]]] = {**CALLS, "stream": _stream, "astream": _astream}
CLOSES: Final[Mapping[str, Callable[..., Any]]] = {"stream": _close, "astream": _aclose}
CANCELS: Final[Mapping[str, Callable[..., Any]]] = {"ainvoke": _wait, "astream": _read}
_IN_THREADS: Final = f"invoke, {AT_ONCE} threads at once"
_IN_TASKS: Final = f"ainvoke, {AT_ONCE} tasks at once"
TOGETHER: Final = {"invoke": ("batch", _IN_THREADS), "ainvoke": ("abatch", _IN_TASKS)}
MANY: Final[Mapping[str, Callable[..., Any]]] = {
    "batch": _batch,
    "abatch": _abatch,
    _IN_THREADS: _threads,
    _IN_TASKS: _tasks,
}


@contextmanager
def much_switching() -> Iterator[None]:
    """Threads give way to one another as often as they can: what is not safe shows itself sooner."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
