"""Files of traces, of whichever tool: OTLP as JSON or protobuf, LangSmith, Langfuse, Jaeger; plain or gzip.

A file is recognised by its content. It is read in pieces, and traces are put together beside it on disk when there are many
spans, so that memory does not grow with the file.
"""

from __future__ import annotations

import gzip
import io
import marshal
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

from llmtest.core.source import shown_path
from llmtest.core.text import clip
from llmtest.errors import OtelError, StoreError
from llmtest.otel import foreign
from llmtest.otel.otlp import MAX_MESSAGE_BYTES, read_json, read_objects, read_protobuf
from llmtest.otel.span_reader import recording_of
from llmtest.otel.spans import Span, SpanEvent
from llmtest.recording.recording import Recording
from llmtest.tracing import jsonl
from llmtest.tracing.rows import Rows, Trace, revived, rows, traces_of
from llmtest.tracing.store import Store

HEAD_BYTES: Final = 1 << 16
"""How much of a file is looked at to recognise it."""
MAX_KEPT: Final = 50_000
"""How many spans are kept in memory before they go to disk."""
MAX_TRACE_SPANS: Final = 200_000
"""How many spans one trace may have: its recording is one value in memory."""
EXPECTED: Final = (
    "OTLP (JSON or protobuf), JSON lines of `llmtest export`, runs of LangSmith, observations of Langfuse, or traces of Jaeger"
)


def load(path: Path) -> list[Recording]:
    """Return the recordings of a file, in the order in which they started, with secrets masked as in the trace store.

    Raises:
        OtelError: it is no file of traces, or is damaged; the message has the place.
        StoreError: it is damaged JSON lines of `llmtest export`.
    """
    with path.open("rb") as file:
        if _is_ours(_head(file)):
            return _load_ours(file)
        found = [_again(trace, made) for trace, made in read(file, shown_path(str(path)))]
    return sorted(found, key=lambda recording: recording[0].wall_ns if len(recording) else 0)


def _again(trace: Trace, made: Rows) -> Recording:
    lanes, messages = [facts for _, facts in made.lanes], [str(body) for _, body in made.messages]
    return revived(trace.inside, lanes, (messages, made.events))


def _load_ours(file: io.BufferedReader[Any]) -> list[Recording]:
    with TemporaryDirectory() as folder, Store(Path(folder) / "traces.sqlite") as store:
        jsonl.take_in(store, jsonl.read_lines(file), lambda done, of: None)
        return [store.load(trace) for trace in store.traces()]


def masked(recording: Recording) -> Recording:
    """Return a recording of one trace with the masks of now: it may have been stored with others."""
    (trace,) = traces_of(recording)
    return _again(trace, rows(trace))


def is_spans(file: IO[bytes]) -> bool:
    """True if a file that can seek has spans, in whichever form, and no JSON lines of `llmtest export`."""
    head = _head(file)
    if _is_ours(head):
        return False
    is_text = head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"["))
    return any(name in head for name in (*_OTLP, *_FOREIGN)) if is_text else _PROTOBUF.match(head) is not None


def _is_ours(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b'{"llmtest"')


def take_in(store: Store, file: IO[bytes], where: str, session: str, step: Callable[[int, int], None]) -> int:
    """Write the traces of a file to the store, each in one transaction; return their number.

    Raises:
        OtelError: it is no file of traces, or is damaged. The traces before the place may be in the store.
    """
    done = 0
    for _, made in read(file, where):
        store.write(session, [made])
        done += 1
        step(done, 0)
    return done


def read(file: IO[bytes], where: str) -> Iterator[tuple[Trace, Rows]]:
    """Yield the traces of a file, each with its rows in the trace store.

    Raises:
        OtelError: it is no file of traces, or is damaged; the message has the place.
    """
    count = 0
    for spans in traces_in(read_spans(file, where)):
        recording = recording_of(spans)
        for trace in traces_of(recording) if recording is not None else ():
            try:
                made = rows(trace)
            except (StoreError, RecursionError) as error:
                raise OtelError(f"{where}, trace {spans[0].trace_id}: {clip(str(error), 200)}") from None
            yield trace, made
            count += 1
    if not count:
        raise OtelError(f"{where}: no span in it says anything of models, tools, retrievers or agents")


# -- which file it is


def read_spans(file: IO[bytes], where: str) -> Iterator[Span]:
    """Yield the spans of a file that can seek, in its order.

    Raises:
        OtelError: it is no file of traces, or is damaged; the message has the place.
    """
    head = _head(file)
    source: Any = gzip.GzipFile(fileobj=file) if _is_gzip(file) else file
    if not head.strip() and source is file:
        raise OtelError(f"{where}: the file is empty\n  expected  {EXPECTED}")
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    if not start.startswith((b"{", b"[")):
        yield from _of_bytes(source, where)
        return
    text = io.TextIOWrapper(source, "utf-8-sig", "strict")
    try:
        if any(name in head for name in _OTLP):
            yield from read_json(text, where)
        elif any(name in head for name in _FOREIGN):
            yield from foreign.spans_of(read_objects(text, where), where)
        else:
            raise OtelError(f"{where}: it is JSON, and no traces that can be read\n  expected  {EXPECTED}")
    finally:
        text.detach()  # the file is its opener's to close


_PROTOBUF: Final = re.compile(rb"(?s:\x00.{3})?\n[\x80-\xff]{0,4}[\x00-\x7f][\n\x12\x1a]")
"""A request of OTLP: a length in four bytes or none, then the tag of its first field, the length of that, and a tag within."""
_OTLP: Final = (b'"resourceSpans"', b'"scopeSpans"', b'"traceID"', b'"batches"')
_FOREIGN: Final = (b'"run_type"', b'"traceId"', b'"observations"')


def _is_gzip(file: IO[bytes]) -> bool:
    start = file.read(2)
    file.seek(0)
    return start == b"\x1f\x8b"


def _head(file: IO[bytes]) -> bytes:
    """Return the beginning of a file, unpacked, and go back to its start."""
    try:
        packed = _is_gzip(file)
        return gzip.GzipFile(fileobj=file).read(HEAD_BYTES) if packed else file.read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""  # damaged: its reader tells where
    finally:
        file.seek(0)


def _of_bytes(source: IO[bytes], where: str) -> Iterator[Span]:
    """Yield the spans of protobuf: one request, or many, each behind its length in four bytes, as the Collector writes them."""
    try:
        data = source.read(MAX_MESSAGE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise OtelError(f"{where}: it cannot be read ({type(error).__name__}: {clip(str(error), 120)})") from error
    if len(data) > MAX_MESSAGE_BYTES:
        raise OtelError(f"{where}: one message of protobuf has at most {MAX_MESSAGE_BYTES >> 20} MiB; export in several files")
    try:
        for place, message in _messages(data):
            yield from read_protobuf(message, f"{where}{place}")
    except OtelError as error:
        if "protobuf" in str(error):
            raise OtelError(f"{error}\n  expected  {EXPECTED}") from None
        raise


def _messages(data: bytes) -> Iterator[tuple[str, bytes]]:
    size = int.from_bytes(data[:4], "big")
    if data[:1] != b"\x00" or size > len(data) - 4:  # a message begins with the tag of its first field, which is not 0
        yield "", data
        return
    at = number = 0
    while at < len(data):
        size, at, number = int.from_bytes(data[at : at + 4], "big"), at + 4, number + 1
        if at + size > len(data):
            raise OtelError(f"message {number} of protobuf is cut off")
        yield f", message {number}", data[at : at + size]
        at += size


# -- traces


def traces_in(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Yield the spans of each trace, in the order in which the traces begin in the file."""
    with TemporaryDirectory() as folder:
        kept = _Kept(Path(folder) / "spans.sqlite")
        with closing(kept):
            for span in spans:
                kept.add(span)
            yield from kept.traces()


class _Kept:
    """Spans by trace, in memory as long as they are few, then in a file of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spans: dict[str, list[Span]] = {}
        self._count = 0
        self._file: sqlite3.Connection | None = None
        self._sizes: dict[str, int] = {}

    def add(self, span: Span) -> None:
        size = self._sizes[span.trace_id] = self._sizes.get(span.trace_id, 0) + 1
        if size > MAX_TRACE_SPANS:
            raise OtelError(f"trace {span.trace_id} has more than {MAX_TRACE_SPANS:,} spans")
        self._spans.setdefault(span.trace_id, []).append(span)
        self._count += 1
        if self._count >= MAX_KEPT:
            self._write()

    def _write(self) -> None:
        if self._file is None:
            self._file = sqlite3.connect(self._path, isolation_level=None)
            self._file.executescript(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; CREATE TABLE spans (trace TEXT, data BLOB)"
            )
        self._file.execute("BEGIN")
        rows_ = ((trace, marshal.dumps(_plain(span))) for trace, spans in self._spans.items() for span in spans)
        self._file.executemany("INSERT INTO spans VALUES (?, ?)", rows_)
        self._file.execute("COMMIT")
        self._spans, self._count = {}, 0

    def traces(self) -> Iterator[list[Span]]:
        if self._file is None:
            yield from self._spans.values()
            return
        self._write()
        self._file.execute("CREATE INDEX by_trace ON spans (trace)")
        for trace in self._sizes:
            found = self._file.execute("SELECT data FROM spans WHERE trace = ? ORDER BY rowid", (trace,))
            yield [_span(data) for (data,) in found.fetchall()]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _plain(span: Span) -> tuple[Any, ...]:
    events = [(event.name, event.time_ns, dict(event.attributes)) for event in span.events]
    return (*(getattr(span, name) for name in _FIELDS), dict(span.attributes), events)


def _span(data: bytes) -> Span:
    *fields, attributes, events = marshal.loads(data)
    made = dict(zip(_FIELDS, fields, strict=True))
    return Span(**made, attributes=attributes, events=tuple(SpanEvent(*event) for event in events))


_FIELDS: Final = tuple(name for name in Span.__slots__ if name not in ("attributes", "events"))
