"""The spans that a program makes in a test, as runs of the recordings that are open: `record(otel=True)`.

A processor at the program's own tracer provider hears of each span where it starts and where it ends, on the line of control of
the program. So the order of runs is as exact as that of callbacks. What a span says is complete only at its end: the runs of a
trace are in the recording when the outermost span that began inside the block has ended.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmtest.capture.blocks import Block, Membership, Opening, open_blocks, openings
from llmtest.concurrency import lanes
from llmtest.concurrency.lanes import Mark
from llmtest.core.text import amount, clip
from llmtest.errors import OtelError
from llmtest.events.events import UnseenCall
from llmtest.otel.otlp import PACKAGES
from llmtest.otel.span_reader import Heard, raw_events_of
from llmtest.otel.spans import Span, SpanEvent

OF_LANGCHAIN: Final = (
    "opentelemetry.instrumentation.langchain",
    "opentelemetry.instrumentation.genai.langchain",
    "openinference.instrumentation.langchain",
    "langsmith",
)
"""Instrumentations of LangChain: their spans are runs that the recording has by its callbacks."""
_STATUS: Final = {0: "unset", 1: "ok", 2: "error"}


@dataclass(slots=True)
class _Began:
    """A span that has started: where, and in which tree."""

    mark: Mark
    number: int
    time_ns: int
    tree: _Tree


@dataclass(slots=True)
class _Tree:
    """The spans below one that began inside a block, and the blocks that get them."""

    blocks: tuple[Block, ...]
    going: int = 0
    spans: list[Span] = field(default_factory=list)
    heard: dict[str, Heard] = field(default_factory=dict)


class Collector:
    """Hears of spans, and gives their runs to blocks. The base class of OpenTelemetry is that of a subclass of it."""

    def __init__(self) -> None:
        self._going: dict[tuple[int, int], _Began] = {}
        self._lock = threading.Lock()
        self._count = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Note where a span begins. Nothing here may break the program."""
        scope = span.instrumentation_scope
        if scope is not None and scope.name.startswith(OF_LANGCHAIN):
            return
        context = span.get_span_context()
        above = span.parent
        with self._lock:
            known = self._going.get((above.trace_id, above.span_id)) if above is not None else None
        blocks = _listening(known.tree.blocks if known is not None else ())
        if not blocks:
            return
        mark = lanes.tick()
        with self._lock:
            tree = known.tree if known is not None and known.tree.blocks == blocks else _Tree(blocks)
            tree.going += 1
            self._count += 1
            self._going[context.trace_id, context.span_id] = _Began(mark, self._count, time.monotonic_ns(), tree)

    def on_end(self, span: Any) -> None:
        """Note where a span ends, and give the runs of its tree to the blocks if it was the last of it."""
        context = span.get_span_context()
        with self._lock:
            began = self._going.pop((context.trace_id, context.span_id), None)
        if began is None:
            return
        mark, now = lanes.tick(), time.monotonic_ns()
        made = span_of(span)
        with self._lock:
            self._count += 1
            tree = began.tree
            tree.spans.append(made)
            tree.heard[made.span_id] = Heard((began.mark, mark), (began.number, self._count), (began.time_ns, now))
            tree.going -= 1
            over = tree.going == 0
        if over:
            _give(tree)

    def shutdown(self) -> None:
        """Nothing is kept."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: nothing waits."""
        return True

    def _on_ending(self, span: Any) -> None:
        """The SDK calls it before the end of a span."""


def _listening(above: Iterable[Block]) -> tuple[Block, ...]:
    """Return the blocks that take the spans that start here: those that are open in this context, and those of the parent.

    Some frameworks (Strands) run an agent in a thread of a pool, without the context of its caller. Where no block is open in
    a context, those have its spans that its work belongs to, unless blocks of several tasks are open, of which any may have
    started it.
    """
    here = [*_taking(open_blocks.get()), *above]
    if not here and openings:
        lane = lanes.current()
        owners = [opening for opening in openings.copy() if opening.owns_work_of(lane)]
        here = _taking(owners) if len({id(opening.lane) for opening in owners}) == 1 else []
    return tuple({id(block): block for block in here}.values())


def _taking(found: Iterable[Opening]) -> list[Block]:
    blocks = (opening.block for opening in found)
    return [block for block in blocks if block is not None and block.takes_spans and not block.closed]


def _give(tree: _Tree) -> None:
    """Append the events of a tree to its blocks. What models cost is counted where their requests are answered."""
    lost: Sequence[UnseenCall]
    try:
        found, lost = raw_events_of(tree.spans, tree.heard)
    except Exception as error:  # here the program ends its span, and it must not hear of it
        what = f"what {amount(len(tree.spans), 'span')} said ({type(error).__name__}: {clip(str(error), 120)})"
        found, lost = [], [UnseenCall(what, f"trace {tree.spans[0].trace_id}", "?", "missing span")]
    for block in tree.blocks:
        for call in lost:
            block.note_unseen(call)
    deliver = Membership(*tree.blocks).deliver
    for raw in found:
        deliver(raw)


def span_of(span: Any) -> Span:
    """Return a span of the SDK as plain data."""
    context, parent = span.get_span_context(), span.parent
    scope = span.instrumentation_scope
    return Span(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        f"{parent.span_id:016x}" if parent is not None else None,
        span.name,
        span.start_time or 0,
        span.end_time or 0,
        span.kind.name.lower(),
        dict(span.attributes or {}),
        tuple(SpanEvent(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events),
        tuple((f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links),
        _STATUS[span.status.status_code.value],  # type: ignore[arg-type]
        span.status.description or "",
        scope.name if scope is not None else "",
        dropped=getattr(span, "dropped_attributes", 0),
        dropped_events=getattr(span, "dropped_events", 0),
    )


# -- at the provider

_heard: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""The providers that have a collector. One cannot be taken away again; without an open block it does nothing."""


def attach(provider: Any = True) -> None:
    """Hear of the spans of a tracer provider: by default the global one, which is made if the program has set none.

    Raises:
        OtelError: the packages of OpenTelemetry are not installed, or `provider` is no provider of their SDK.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    except ImportError:
        raise OtelError(PACKAGES) from None
    if provider is True:
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider) and type(provider).__module__.startswith("opentelemetry.trace"):
            provider = TracerProvider()
            trace.set_tracer_provider(provider)
    if not isinstance(provider, TracerProvider):
        raise OtelError(
            f"record(otel=...) takes True, or the TracerProvider of the program (opentelemetry.sdk.trace); got {provider!r:.100}"
        )
    if provider not in _heard:
        provider.add_span_processor(type("Collector", (Collector, SpanProcessor), {})())
        _heard.add(provider)
