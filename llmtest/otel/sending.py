"""Spans on their way out: into a file, or to a backend by OTLP over HTTP, at once or in the background.

In the background nothing blocks the program and nothing breaks it: the queue is bounded, what does not fit is dropped, counted,
and said once in the log and at the end.
"""

from __future__ import annotations

import gzip
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol
from urllib.parse import urlsplit

from llmtest.core.text import amount
from llmtest.errors import OtelError
from llmtest.otel.http_exporter import HttpExporter
from llmtest.otel.otlp import PACKAGES, Refused, as_sdk, write_json, write_protobuf
from llmtest.otel.span_writer import Options, spans_of
from llmtest.otel.spans import Span
from llmtest.tracing.rows import Trace

BATCH: Final = 512
"""How many spans go into one request."""
QUEUE: Final = 2_048
"""How many spans wait at most."""
TIMEOUT_S: Final = 10.0
TRIES: Final = 5
FIRST_WAIT_S: Final = 0.5
FLUSH_LIMIT_S: Final = 5.0
"""How long the end of a process waits for what is still to be sent."""
PATH: Final = "/v1/traces"
PROTOBUF: Final = (".pb", ".binpb", ".protobuf")
_log: Final = logging.getLogger("llmtest")


class Exporter(Protocol):
    """What sends spans: `export` returns whether they have arrived."""

    def export(self, spans: Sequence[Any], /) -> Any: ...
    def shutdown(self) -> None: ...


# -- at once


def is_url(target: str) -> bool:
    """True if a target of an export is a URL."""
    return target.startswith(("http://", "https://"))


def write_file(path: Path, traces: Iterable[Sequence[Span]], service: str = "llmtest") -> int:
    """Write the spans of traces as OTLP; return how many spans.

    The name says how: `.pb`, `.binpb` or `.protobuf` is protobuf, else JSON lines, one request for each trace; `.gz` behind it
    is packed.

    Raises:
        OtelError: the packages for protobuf are not installed.
    """
    packed = path.suffix == ".gz"
    is_binary = Path(path.stem if packed else path.name).suffix in PROTOBUF
    count = 0
    with _opened(path, packed) as file:
        for spans in traces:
            # Requests of protobuf that follow each other are one request with all their spans.
            file.write(write_protobuf(spans, service) if is_binary else f"{write_json(spans, service)}\n".encode())
            count += len(spans)
    return count


def _opened(path: Path, packed: bool) -> AbstractContextManager[IO[bytes]]:
    return gzip.open(path, "wb") if packed else path.open("wb")  # type: ignore[return-value]


def send(url: str, traces: Iterable[Sequence[Span]], service: str = "llmtest") -> int:
    """Send the spans of traces to a backend; return how many spans. Headers come from `OTEL_EXPORTER_OTLP_HEADERS`.

    Raises:
        OtelError: the backend does not take them, or the packages of OpenTelemetry are not installed.
    """
    exporter, sent = exporter_to(url), 0
    try:
        for batch in _batches(span for spans in traces for span in spans):
            why = _refusal_of(exporter, batch, service)
            if why is not None:
                raise OtelError(
                    f"{address_of(url)} has not taken a batch of {amount(len(batch), 'span')}{why}; {sent:,} were sent before"
                )
            sent += len(batch)
    finally:
        exporter.shutdown()
    return sent


def _refusal_of(exporter: Exporter, batch: Sequence[Span], service: str) -> str | None:
    """Send a batch; return why it was not taken, None if it was."""
    try:
        return None if _arrived(exporter.export(as_sdk(batch, service))) else ""
    except Refused as refused:
        return f" ({refused})"


def _batches(spans: Iterable[Span]) -> Iterator[list[Span]]:
    batch: list[Span] = []
    for span in spans:
        batch.append(span)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def address_of(url: str) -> str:
    """Return the address that spans are sent to: `/v1/traces` is added to a URL without a path.

    Raises:
        OtelError: it is no URL.
    """
    parts = urlsplit(url)
    if not is_url(url) or not parts.hostname:
        raise OtelError(f"spans are sent to a URL, http://host:4318 or https://host/v1/traces; got {url!r}")
    return url if parts.path not in ("", "/") else f"{url.rstrip('/')}{PATH}"


def exporter_to(url: str) -> Exporter:
    """Return the official exporter to a backend.

    Raises:
        OtelError: it is no URL, or the packages of OpenTelemetry are not installed.
    """
    address = address_of(url)
    try:
        return HttpExporter(address, TIMEOUT_S)
    except ImportError:
        raise OtelError(PACKAGES) from None


def _arrived(result: Any) -> bool:
    return getattr(result, "name", str(result)) == "SUCCESS"


# -- in the background


@dataclass(slots=True)
class Sent:
    """What became of the spans of a live export."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0

    def __str__(self) -> str:
        lost = self.dropped + self.failed
        return f"{amount(self.sent, 'span')} sent" + (f", {lost:,} lost" if lost else "")


class LiveExport:
    """Sends finished traces to a backend from a thread of its own. Any thread may `put`; nothing of it raises.

    `counts` says what was sent, dropped (the queue was full) and given up (the backend did not take it).
    """

    def __init__(
        self,
        exporter: Exporter,
        options: Options,
        where: str,
        *,
        queue: int = QUEUE,
        wait: Callable[[float], object] | None = None,
        service: str = "",
        renew: Callable[[], Exporter] | None = None,
    ) -> None:
        self.counts = Sent()
        self.where = where
        self._exporter = exporter
        self._options = options
        self._room = queue
        self._service = service or os.environ.get("OTEL_SERVICE_NAME", "llmtest")
        self._queue: deque[list[Span]] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._wait = wait
        self._renew = renew
        self._flying = 0
        self._warned = False
        self._thread: threading.Thread | None = None
        _made.add(self)

    def inherit(self) -> None:
        """Begin anew in a forked process, with connections of its own: two processes cannot share one."""
        self.counts = Sent()
        self._queue.clear()
        self._waiting, self._flying, self._thread = 0, 0, None
        self._changed = threading.Condition()
        is_closed, self._over = self._over.is_set(), threading.Event()
        if is_closed:
            self._over.set()
        if self._renew is not None:
            self._exporter = self._renew()

    def put(self, trace: Trace) -> None:
        """Queue the spans of a finished trace; drop them if there is no room. It waits for nothing."""
        try:
            spans = spans_of(trace, self._options)
        except Exception as error:  # an error of ours must not break the program
            with self._changed:
                self.counts.failed += 1
            self._warn_of(1, f"{type(error).__name__}: {error}")
            return
        with self._changed:
            has_room = self._waiting + len(spans) <= self._room
            if has_room and not self._over.is_set():
                self._queue.append(spans)
                self._waiting += len(spans)
                self._start()
                self._changed.notify_all()
                return
            self.counts.dropped += len(spans)
        if has_room:
            self._warn("the export is closed")
        else:
            self._warn(f"the queue of {self._room:,} spans is full, because {self.where} takes them too slowly")

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="llmtest export", daemon=True)
            self._thread.start()

    def flush(self, limit_s: float = FLUSH_LIMIT_S) -> Sent:
        """Wait until everything was sent or given up, at most `limit_s`; return the counts."""
        until = time.monotonic() + limit_s
        with self._changed:
            while (self._queue or self._flying) and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        return self.counts

    @property
    def is_closed(self) -> bool:
        """True if nothing is sent any more."""
        return self._over.is_set()

    def close(self, limit_s: float = FLUSH_LIMIT_S) -> Sent:
        """Send what is left, at most `limit_s`, and end the thread; what is left then is dropped, and said. Twice is fine."""
        if self.is_closed:
            return self.counts
        self.flush(limit_s)
        with self._changed:
            self.counts.dropped += self._waiting
            self.counts.failed += self._flying  # nobody waits for its answer
            self._queue.clear()
            self._waiting = self._flying = 0
            self._over.set()
            self._changed.notify_all()
        lost = self.counts.dropped + self.counts.failed
        if lost:
            _log.warning("%s: %s", self.where, self.counts)
        self._exporter.shutdown()
        return self.counts

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._over.is_set():
                    self._changed.wait()
                if self._over.is_set():
                    return
                batch = self._take()
                self._flying = len(batch)
            lost, why = self._send(batch)
            with self._changed:
                is_given_up, self._flying = self._flying == 0, 0
                if not is_given_up:
                    self.counts.sent += len(batch) - lost
                    self.counts.failed += lost
                self._changed.notify_all()
            if lost and not is_given_up:
                self._warn_of(lost, why)

    def _take(self) -> list[Span]:
        batch: list[Span] = []
        while self._queue and (not batch or len(batch) + len(self._queue[0]) <= BATCH):
            batch += self._queue.popleft()
        self._waiting -= len(batch)
        return batch

    def _send(self, batch: list[Span]) -> tuple[int, str]:
        """Send a batch, with more patience after each failure; return how many of its spans were given up, and why.

        What a backend refuses for good is not sent again.
        """
        why = "it did not take them"
        for attempt in range(TRIES):
            if attempt:
                (self._wait or self._over.wait)(FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))
                if self._over.is_set():
                    break
            try:
                if _arrived(self._exporter.export(as_sdk(batch, self._service))):
                    return 0, ""
            except Refused as refused:
                return len(batch) if refused.count is None else refused.count, str(refused)
            except Exception as error:  # of a library of others: the program goes on
                why = f"{type(error).__name__}: {error}"
        return len(batch), why

    def _warn_of(self, count: int, why: str) -> None:
        self._warn(f"{amount(count, 'span')} could not be sent to {self.where} ({why})")

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("%s; the program goes on, and later losses are counted and said at the end", why)


def live(target: str | LiveExport, options: Options | None = None) -> LiveExport:
    """Return the live export to a URL: the one that this process already has, if there is one.

    Raises:
        OtelError: it is no URL, or the packages of OpenTelemetry are not installed.
    """
    if isinstance(target, LiveExport):
        return target
    address, chosen = address_of(target), options or Options()
    with _lock:
        known = _running.get((address, chosen))
        if known is None or known.is_closed:
            known = _running[address, chosen] = LiveExport(
                exporter_to(address), chosen, address, renew=lambda: exporter_to(address)
            )
        return known


_running: Final[dict[tuple[str, Options], LiveExport]] = {}
_made: Final[weakref.WeakSet[LiveExport]] = weakref.WeakSet()
_lock: Final = threading.Lock()


def _forked() -> None:
    """Leave what is queued to the parent, whose thread does not exist here. Called in the child."""
    for export in _made:
        export.inherit()


with suppress(AttributeError):  # Windows has no fork
    os.register_at_fork(after_in_child=_forked)
