"""A span, as far as a recording is written to one or read from one. Plain data: no library of OpenTelemetry is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Literal
from uuid import UUID

SpanKind = Literal["internal", "server", "client", "producer", "consumer", "unspecified"]
KIND_NUMBERS: Final[Mapping[SpanKind, int]] = {
    "unspecified": 0,
    "internal": 1,
    "server": 2,
    "client": 3,
    "producer": 4,
    "consumer": 5,
}
Status = Literal["unset", "ok", "error"]
STATUS_NUMBERS: Final[Mapping[Status, int]] = {"unset": 0, "ok": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened within a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One span. `trace_id` (16 bytes) and `span_id` (8 bytes) are in hexadecimal, as OTLP writes them in JSON.

    `source` tells apart the processes, or machines, that spans come from: the clocks of two need not agree.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_ns: int
    end_ns: int
    kind: SpanKind = "internal"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[SpanEvent, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    status: Status = "unset"
    message: str = ""
    scope: str = ""
    source: str = ""
    dropped: int = 0
    """How many attributes the program has dropped, because a span had too many."""
    dropped_events: int = 0
    """The same for events: some instrumentations tell messages by them."""


def trace_id_of(root: UUID) -> str:
    """Return the id of the trace of a root run. OpenTelemetry knows no id of zeros."""
    return root.hex if root.int else _digest(root.bytes, 16)


def span_id_of(run: UUID) -> str:
    """Return the id of the span of a run: always the same one."""
    return _digest(run.bytes, 8)


def run_id_of(trace_id: str, span_id: str) -> UUID:
    """Return the id of the run that a span of another program becomes: always the same one."""
    return UUID(hex=_digest(bytes.fromhex(trace_id) + bytes.fromhex(span_id), 16))


def _digest(data: bytes, size: int) -> str:
    return blake2b(data, digest_size=size).hexdigest()
