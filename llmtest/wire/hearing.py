"""Requests that go out to real models, and what comes back: a recorder hears both."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from llmtest import ledger
from llmtest.concurrency import lanes
from llmtest.concurrency.lanes import Lane
from llmtest.scripts.requests import Origin
from llmtest.wire.api import Endpoint
from llmtest.wire.exchange import HttpAnswer, HttpRequest

_numbers = itertools.count(1)

UNCHANGED_ENCODING: Final = "identity"
"""What a request that is heard accepts: a body that is not compressed."""


@dataclass(eq=False, slots=True)
class Heard:
    """One request that went out, and its answer as it comes. Holds state; one line of control writes it at a time.

    `model` is its name with the provider, `call` the request in our words. `began` and `ended` order the requests of a process.
    """

    model: str
    api: Endpoint[Any]
    call: Any
    request: HttpRequest
    origin: Origin
    lane: Lane = field(default_factory=lanes.current)
    began: int = field(default_factory=lambda: next(_numbers))
    ended: int | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None
    is_whole: bool = False
    """True if the answer has come to its end."""
    run_id: UUID | None = None
    """The run of LangChain that made the request."""
    tags: Sequence[str] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    _pieces: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        run = self.origin.run()  # it may be gone when the answer is read
        self.run_id = None if run is None else run.run_id
        self.tags, self.metadata = self.origin.about()

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Note the head of the answer."""
        self.status, self.headers = status, {name.lower(): value for name, value in headers.items()}

    def add(self, piece: bytes) -> None:
        """Note a piece of the body."""
        self._pieces.append(piece)

    def end(self, error: BaseException | None = None, *, is_whole: bool = True) -> None:
        """Note that no more comes: the answer is there whole, the reader has left it, or the connection broke with `error`.

        What is no `Exception`, such as the cancellation of a task, is none of the connection: the program left the call.
        """
        if self.ended is None:
            self.ended, self.is_whole = next(_numbers), is_whole and error is None
            self.error = error if isinstance(error, Exception) else None

    def take(self, status: int, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Note a whole answer, and return it for a client that gets it a second time."""
        self.begin(status, headers)
        self.add(body)
        self.end()
        kept = {name: value for name, value in self.headers.items() if name not in _OF_THE_TRANSFER}
        self.headers = kept
        return HttpAnswer(status, kept, body)

    @property
    def answer(self) -> HttpAnswer:
        """The answer, as far as it came."""
        return HttpAnswer(self.status, dict(self.headers), b"".join(self._pieces))


_OF_THE_TRANSFER: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class HeardStream:
    """The pieces of a body, which `heard` notes as they are read, in sync or in async code."""

    def __init__(self, heard: Heard, stream: Any) -> None:
        self.heard, self.stream = heard, stream

    def __iter__(self) -> Iterator[bytes]:
        with self._ending():
            for piece in self.stream:
                self.heard.add(piece)
                yield piece

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        with self._ending():
            async for piece in self.stream:
                self.heard.add(piece)
                yield piece

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Note the end of the body, or what broke it. A reader that leaves closes the body, which notes that."""
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            self.heard.end(error)
            raise
        self.heard.end()

    def close(self) -> None:
        self.heard.end(is_whole=False)
        self.stream.close()

    async def aclose(self) -> None:
        self.heard.end(is_whole=False)
        await self.stream.aclose()


class Listener(Protocol):
    """What hears requests."""

    def hear(self, heard: Heard) -> None:
        """Take a request that goes out now."""

    def miss(self, request: str) -> None:
        """Note a request to a provider that goes out, too, and whose answer nobody keeps: no call of a model that is known."""


_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let requests to models through while the block is open, and let `listener` hear them."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def listener() -> Listener | None:
    """Return what hears requests here and now, or None. The work of a test that is over is none of the next one."""
    return _listeners[-1] if _listeners and not ledger.is_left_over() else None
