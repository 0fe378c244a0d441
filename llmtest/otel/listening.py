"""An OTLP endpoint on this machine: what programs send to it becomes traces in the store.

It answers as OTLP over HTTP says: https://opentelemetry.io/docs/specs/otlp/#otlphttp. A trace is written as soon as no span of
it has come for a while, and written again as a whole if more come later.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from llmtest.core.text import amount, clip
from llmtest.errors import OtelError, StoreError
from llmtest.otel.otlp import read_protobuf, spans_in
from llmtest.otel.span_reader import recording_of
from llmtest.otel.spans import Span
from llmtest.tracing.rows import Rows, rows, traces_of
from llmtest.wire.api import BadBody
from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.server import HttpServer
from llmtest.wire.unpacking import unpack

PORT: Final = 4318
"""The port of OTLP over HTTP."""
MAX_BODY_BYTES: Final = 20_000_000
MAX_UNPACKED_BYTES: Final = 100_000_000
MAX_SPANS: Final = 200_000
"""How many spans are kept: of traces that are not over, and, as long as there is room, of those that were written."""
QUIET_S: Final = 2.0
PROTOBUF_TYPE: Final = "application/x-protobuf"
JSON_TYPE: Final = "application/json"
Write = Callable[[list[Rows], Sequence[str]], None]
"""Writes traces, in place of those with some roots, which were parts of them."""


@dataclass(slots=True)
class _Kept:
    """The spans of a trace. More may come, also when it was written: then it is written again as a whole."""

    last: float
    spans: list[Span] = field(default_factory=list)
    written: int = 0
    """How many of them were written."""
    roots: tuple[str, ...] = ()
    """The roots under which they were written: the parent of a span may come later than the span."""


class Receiver:
    """Takes requests of OTLP, and gives finished traces to `write`. Any thread may call it."""

    def __init__(self, write: Write, *, quiet_s: float = QUIET_S, clock: Callable[[], float] = time.monotonic) -> None:
        self.spans = 0
        self.traces = 0
        self.refused = 0
        self.problems: list[str] = []
        self._write = write
        self._quiet_s = quiet_s
        self._clock = clock
        self._traces: dict[str, _Kept] = {}
        self._kept = 0
        self._lock = threading.Lock()

    async def answer(self, request: HttpRequest) -> HttpAnswer:
        """Return the answer to a request."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        path = urlsplit(request.url).path
        if path != "/v1/traces":
            return self._refuse(404, f"this endpoint takes POST /v1/traces; got {request.method} {clip(path, 80)}", kind)
        if request.method != "POST":
            return self._refuse(405, f"this endpoint takes POST /v1/traces; got {request.method}", kind)
        if kind not in (PROTOBUF_TYPE, JSON_TYPE):
            return self._refuse(
                415, f"a request of OTLP is {PROTOBUF_TYPE} or {JSON_TYPE}; got {clip(kind, 80) or 'nothing'}", JSON_TYPE
            )
        try:
            spans = self._read(request, kind)
        except (OtelError, BadBody) as error:
            return self._refuse(400, str(error), kind)
        except (ValueError, RecursionError) as error:
            return self._refuse(400, f"the request is no JSON ({type(error).__name__}: {clip(str(error), 120)})", kind)
        return self._take(spans, kind)

    def _read(self, request: HttpRequest, kind: str) -> list[Span]:
        body = unpack(request.body, request.headers.get("content-encoding", ""), MAX_UNPACKED_BYTES)
        if kind == PROTOBUF_TYPE:
            return list(read_protobuf(body, "the request"))
        return list(spans_in(json.loads(body), "the request"))

    def _take(self, spans: list[Span], kind: str) -> HttpAnswer:
        if len(spans) > MAX_SPANS:  # there will never be room for it
            return self._refuse(413, f"a request has at most {MAX_SPANS:,} spans; got {len(spans):,}", kind)
        with self._lock:
            self._make_room(len(spans))
            if self._kept + len(spans) > MAX_SPANS:
                self.refused += 1
                made = _status(503, f"{MAX_SPANS:,} spans of open traces are kept; send again later", kind)
                return HttpAnswer(503, {**made.headers, "retry-after": "1"}, made.body)
            now = self._clock()
            for span in spans:
                trace = self._traces.setdefault(span.trace_id, _Kept(now))
                trace.last = now
                trace.spans.append(span)
            self._kept += len(spans)
            self.spans += len(spans)
        return HttpAnswer(200, {"content-type": kind}, b"" if kind == PROTOBUF_TYPE else b"{}")

    def _make_room(self, count: int) -> None:
        """Forget traces that were written, those first to which nothing has come for the longest time."""
        if self._kept + count <= MAX_SPANS:
            return
        written = [(trace.last, name) for name, trace in self._traces.items() if trace.written == len(trace.spans)]
        for _, name in sorted(written):
            self._kept -= len(self._traces.pop(name).spans)
            if self._kept + count <= MAX_SPANS:
                return

    def _refuse(self, status: int, text: str, kind: str) -> HttpAnswer:
        self.refused += 1
        return _status(status, text, kind)

    def write_finished(self, *, everything: bool = False) -> int:
        """Write the traces of which no span has come for a while, and return how many. Called often."""
        with self._lock:
            now = self._clock()
            grown = [(name, trace) for name, trace in self._traces.items() if len(trace.spans) > trace.written]
            over = [(name, trace, trace.spans[:]) for name, trace in grown if everything or now - trace.last >= self._quiet_s]
            for _, trace, spans in over:
                trace.written = len(spans)
        for name, trace, spans in over:
            self._write_one(name, trace, spans)
        return len(over)

    def _write_one(self, name: str, trace: _Kept, spans: list[Span]) -> None:
        try:
            recording = recording_of(spans)
            made = [rows(trace) for trace in traces_of(recording)] if recording is not None else []
            roots = tuple(str(each.summary[0]) for each in made)
            if made:
                self._write(made, [root for root in trace.roots if root not in roots])
                self.traces += len(made) - len(trace.roots)
                trace.roots = roots
        except Exception as error:  # whatever is in it: the endpoint goes on for all other traces, and says so at its end
            known = isinstance(error, OtelError | StoreError)
            self.problems.append(f"trace {name}: {'' if known else f'{type(error).__name__}: '}{clip(str(error), 200)}")


def _status(status: int, text: str, kind: str) -> HttpAnswer:
    """Return an error as OTLP has it: a `google.rpc.Status` in the encoding of the request."""
    code = {400: 3, 404: 5, 413: 8, 415: 3, 405: 12, 503: 14}.get(status, 2)
    if kind != PROTOBUF_TYPE:
        return HttpAnswer(status, {"content-type": JSON_TYPE}, json.dumps({"code": code, "message": text}).encode())
    message = text.encode()
    # Field 1 is the code, field 2 the message: https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto
    return HttpAnswer(status, {"content-type": PROTOBUF_TYPE}, bytes([8, code, 18]) + _length(len(message)) + message)


def _length(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def serve(receiver: Receiver, port: int = PORT) -> HttpServer:
    """Return a server for a receiver, on 127.0.0.1 only, that is not started yet.

    Raises:
        ServerError: at the start, the port is in use.
    """

    def refuse(request: HttpRequest | None, status: int, text: str, error: Exception | None) -> HttpAnswer:
        kind = request.headers.get("content-type", "") if request is not None else ""
        return _status(status, text, kind)

    return HttpServer(receiver.answer, port=port, refuse=refuse, max_body_bytes=MAX_BODY_BYTES)


def summary(receiver: Receiver) -> str:
    """Return what a receiver has got, on one line."""
    refused = f", {amount(receiver.refused, 'request')} refused" if receiver.refused else ""
    return f"{amount(receiver.spans, 'span')}, {amount(receiver.traces, 'trace')}{refused}"
