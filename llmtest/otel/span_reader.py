"""Spans as recordings. What a span does not say is unknown, and stays so: a rule that needs it answers "cannot tell".

Order comes from parents and from what flows between spans: a tool runs after the model whose call it answers, and a model that
reads the answer comes after the tool. Clocks never make an order.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from uuid import UUID

from llmtest.capture.blocks import RawEvent
from llmtest.concurrency import lanes
from llmtest.concurrency.lanes import Mark
from llmtest.core.text import amount, clip
from llmtest.errors import OtelError, StoreError
from llmtest.events.callbacks import ERROR_OF, INPUT_OF, MODELS, OUTPUT_OF, START_OF, RunKind
from llmtest.events.events import UnseenCall
from llmtest.events.words import Failure, FrozenDict, FrozenList, Generation, Message, Opaque
from llmtest.otel.conventions import OPERATION, Own
from llmtest.otel.data_flow import Item, order_of
from llmtest.otel.messages import freeze, text_of_value
from llmtest.otel.span_facts import UNKNOWN, SpanFacts, facts_of
from llmtest.otel.spans import Span, run_id_of
from llmtest.recording.recording import Recording
from llmtest.tracing.jsonl import message_texts, numbered_rows
from llmtest.tracing.rows import revived

MISSING: Final = "a span that is missing"
"""The name of the run that stands for a parent that no span is of."""
MAX_RUN_DEPTH: Final = 2_000
NOT_SAID: Final = Opaque("unknown")
"""An input or output that a span does not say, in trees."""


def recordings_of(spans: Iterable[Span]) -> list[Recording]:
    """Return a recording for each trace that has to do with models, in the order in which they started.

    Spans of one trace may come in any order, and from several processes. Spans that say nothing of models, tools, retrievers
    and agents, and have none of these inside, are left out. `recording.unseen_calls` has what is missing.
    """
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    made = [recording for trace in traces.values() if (recording := recording_of(trace)) is not None]
    return sorted(made, key=lambda recording: recording._raw[0][5])


def recording_of(spans: Sequence[Span]) -> Recording | None:
    """Return the recording of the spans of one trace; None if no span has to do with models."""
    exact = _exact(spans) if any(Own.EVENTS in span.attributes for span in spans) else None
    return exact if exact is not None else _TraceReader(spans).recording()


def _exact(spans: Sequence[Span]) -> Recording | None:
    """Return the recording that was written with its events; None if a span of it is missing or damaged."""
    ours = {span.span_id: span for span in spans if Own.RUN_ID in span.attributes}
    roots = [span for span in ours.values() if Own.INSIDE in span.attributes]
    whole = all(Own.EVENTS in span.attributes and (span.parent_id is None or span.parent_id in ours) for span in ours.values())
    if len(roots) != 1 or not whole or len(ours) != len(spans):
        return None
    try:
        return _revived(list(ours.values()), int(roots[0].attributes[Own.INSIDE]))
    except (StoreError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return None  # the conventions say the same in their way


def _revived(spans: Sequence[Span], inside: int) -> Recording:
    facts: dict[int, str] = {}
    parts = []
    for span in spans:
        told = span.attributes
        facts |= {lane["number"]: json.dumps(lane) for lane in json.loads(told[Own.LANES])}
        parts.append((list(message_texts(told.get(Own.MESSAGES, "[]"))), list(numbered_rows(told[Own.EVENTS]))))
    found = revived(inside, facts.values(), *parts)
    if [event.number for event in [*found, *found.late_events]] != sorted(row[0] for _, rows in parts for row in rows):  # type: ignore[type-var]
        raise ValueError("events are missing")
    return found


# -- from the conventions


class Heard(NamedTuple):
    """Where a span of this process began and ended: lines of control, numbers in the order of all, and monotonic nanoseconds."""

    marks: tuple[Mark, Mark]
    numbers: tuple[int, int]
    times_ns: tuple[int, int]


def raw_events_of(spans: Sequence[Span], heard: Mapping[str, Heard]) -> tuple[list[RawEvent], Sequence[UnseenCall]]:
    """Return the events of spans of this process, in the order in which they happened, and what is missing.

    Raises:
        OtelError: they are nested too deep.
    """
    reader = _TraceReader(spans, heard)
    return reader.raw_events(), reader.lost


@dataclass(slots=True, eq=False)
class Node:
    """A span in its trace: what it says, the spans inside it, and its place in the order of its siblings."""

    span: Span
    facts: SpanFacts
    run_id: UUID
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    begin: Mark | None = None
    end: Mark | None = None
    orders: tuple[str, ...] = ()
    """`order` if not all spans inside it are in an order that is certain; `clock` if they come from several processes."""

    @property
    def kind(self) -> RunKind:
        return self.facts.kind or "chain"

    @property
    def item(self) -> Item:
        """What its order among its siblings comes from. A span of another trace is none of them, whatever its id."""
        span = self.span
        return self.facts, span.span_id, [link for link in span.links if link[0] == span.trace_id]


class _TraceReader:
    """Makes the recording of one trace. Holds its nodes, and what is missing."""

    def __init__(self, spans: Sequence[Span], heard: Mapping[str, Heard] | None = None) -> None:
        self.heard = heard
        self.trace_id = spans[0].trace_id
        self.lost: list[UnseenCall] = []
        self.numbers = lanes.fresh_numbers()
        self.begun: list[tuple[Node, Node]] = []
        self.nodes: dict[str, Node] = {}
        for span in spans:
            known = self.nodes.get(span.span_id)
            if known is None:
                self.nodes[span.span_id] = Node(span, self._facts(span), self._run_id(span))
            elif known.span != span:
                self._note(f"another span with the id {span.span_id}")
        self.several = len({span.source for span in spans}) > 1 or any(map(_is_remote, spans))

    def raw_events(self) -> list[RawEvent]:
        """Return the events of spans that were heard, by their numbers."""
        assert self.heard is not None
        made: list[tuple[int, RawEvent]] = []
        nodes = self._walk(self._drop(self._nest()))
        for node in nodes:
            node.begin, node.end = self.heard[node.span.span_id].marks
        for node in nodes:
            self._place_by_flow(node.children)
        for node in nodes:
            told = self.heard[node.span.span_id]
            for number, time_ns, raw in zip(told.numbers, told.times_ns, (self._start(node), self._end(node)), strict=True):
                made.append((number, (*raw[:4], time_ns, raw[5], raw[6])))
        return [raw for _, raw in sorted(made, key=lambda pair: pair[0])]

    def _place_by_flow(self, children: Sequence[Node]) -> None:
        """Order siblings by what flows between them, where their tasks do not tell that much."""
        if len(children) < 2:
            return
        found = order_of([child.item for child in children], self.numbers)
        known = all(_are_ordered(children[a], children[b]) for a, b in found.pairs)
        if not known and found.is_connected:
            for child, (begin, end) in zip(children, found.marks, strict=True):
                child.begin, child.end = begin, end

    def recording(self) -> Recording | None:
        roots = self._drop(self._nest())
        if not roots:
            return None
        recording = Recording()
        for raw in self._events(roots, self._arrange(roots)):
            recording._raw.append(raw)
        recording._closed, recording._closed_at = True, len(recording._raw)
        for call in self.lost:
            recording.note_unseen(call)
        return recording

    def _facts(self, span: Span) -> SpanFacts:
        """Return what a span says. One whose attributes are of wrong types says nothing, and that is noted."""
        if span.dropped:
            self._note(f"what {amount(span.dropped, 'attribute')} of span {span.span_id} said, which its program has dropped,")
        if span.dropped_events:
            self._note(f"what {amount(span.dropped_events, 'event')} of span {span.span_id} said, which its program has dropped,")
        try:
            return facts_of(span)
        except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, RecursionError):
            self._note(f"what span {span.span_id} says, whose attributes are of wrong types,")
            return SpanFacts("chain", span.name)

    def _run_id(self, span: Span) -> UUID:
        own = span.attributes.get(Own.RUN_ID)
        if isinstance(own, str):
            with suppress(ValueError):
                return UUID(own)
        return run_id_of(span.trace_id, span.span_id)

    def _note(self, what: str) -> None:
        self.lost.append(UnseenCall(what, f"trace {self.trace_id}", "?", "missing span"))

    # which is inside which

    def _nest(self) -> list[Node]:
        """Put each node into its parent; return the roots. A parent that is missing is made up, and noted."""
        roots: list[Node] = []
        made: dict[str, Node] = {}
        for node in self.nodes.values():
            parent_id = node.span.parent_id
            if parent_id is None:
                roots.append(node)
                continue
            parent = self.nodes.get(parent_id) or made.get(parent_id)
            if parent is None and self.heard is not None:
                roots.append(node)  # what is around it began before the block
                continue
            if parent is None:
                parent = made[parent_id] = self._stand_in(parent_id, node)
                roots.append(parent)
            node.parent = parent
            parent.children.append(node)
        return [*roots, *self._cut_circles(roots)]

    def _stand_in(self, parent_id: str, node: Node) -> Node:
        self._note(f"span {parent_id}")
        span = Span(self.trace_id, parent_id, None, MISSING, node.span.start_ns, node.span.end_ns, source=node.span.source)
        # No id that the span itself would have: its trace may have been written before, and is not to be replaced by this part.
        return Node(span, SpanFacts(None, MISSING), run_id_of(self.trace_id, parent_id + node.span.span_id))

    def _cut_circles(self, roots: Sequence[Node]) -> Iterator[Node]:
        """Yield a root for each circle of parents."""
        seen = {id(node) for node in self._walk(roots)}
        for node in self.nodes.values():
            if id(node) not in seen:
                assert node.parent is not None
                self._note(f"the true parent of span {node.span.span_id}, which is within itself,")
                node.parent.children.remove(node)
                node.parent = None
                seen |= {id(inner) for inner in self._walk([node])}
                yield node

    def _walk(self, roots: Sequence[Node]) -> list[Node]:
        """Return these nodes and all inside them, parents first."""
        found = [(root, 1) for root in roots]
        for node, depth in found:  # grows while it is read
            if depth > MAX_RUN_DEPTH:
                raise OtelError(f"trace {self.trace_id}: spans are nested more than {MAX_RUN_DEPTH:,} deep")
            found += [(child, depth + 1) for child in node.children]
        return [node for node, _ in found]

    def _drop(self, roots: list[Node]) -> list[Node]:
        """Return the roots without spans that have nothing to do with models."""
        kept: set[int] = set()
        for node in reversed(self._walk(roots)):
            node.children = [child for child in node.children if id(child) in kept]
            if node.facts.kind is not None or node.children:
                kept.add(id(node))
            elif (operation := node.span.attributes.get(OPERATION)) is not None:  # it may be a tool, or a model
                self._note(f"span {node.span.span_id} of the operation {clip(str(operation), 40)!r}, which is not known,")
        return [root for root in roots if id(root) in kept]

    # what came before what

    def _arrange(self, roots: list[Node]) -> list[tuple[Node, Node]]:
        """Give each node its marks; return pairs of which the first surely came first."""
        pairs: list[tuple[Node, Node]] = []
        unknown = ("order", "clock") if self.several else ("order",)
        for children in [roots, *(node.children for node in self._walk(roots) if node.children)]:
            found = order_of([child.item for child in children], self.numbers)
            for child, (begin, end) in zip(children, found.marks, strict=True):
                child.begin, child.end = begin, end
                if not found.is_certain:
                    (child.parent or child).orders = unknown
            pairs += [(children[a], children[b]) for a, b in found.pairs]
            self.begun += [(children[a], children[b]) for a, b in found.begun]
        return pairs

    def _events(self, roots: list[Node], pairs: Sequence[tuple[Node, Node]]) -> Iterator[RawEvent]:
        """Yield the events: a run begins within its parent and after what came before it for certain, else by its clock."""
        nodes = self._walk(roots)
        places = {id(node): 2 * number for number, node in enumerate(nodes)}
        after: list[list[int]] = [[] for _ in range(2 * len(nodes))]
        for place, node in enumerate(nodes):
            inside = [places[id(child)] for child in node.children]
            after[2 * place] += [2 * place + 1, *inside]
            for child in inside:
                after[child + 1].append(2 * place + 1)
        for before, later in pairs:
            after[places[id(before)] + 1].append(places[id(later)])
        for before, later in self.begun:
            after[places[id(before)]].append(places[id(later)])
        times = [time for node in nodes for time in (node.span.start_ns, node.span.end_ns)]
        for place in _by_time(after, times):
            node = nodes[place // 2]
            if place % 2 == 0:
                yield self._start(node)
            elif node.facts.ended != "open" and node.span.end_ns:
                yield self._end(node)

    def _start(self, node: Node) -> RawEvent:
        made = FrozenDict(metadata=node.facts.metadata, payload=started(node.facts, node.kind, node.orders))
        parent = node.parent.run_id if node.parent is not None else None
        taken = (node.facts.name, node.facts.tags, lambda: made)
        return (START_OF[node.kind], node.run_id, parent, taken, node.span.start_ns, node.span.start_ns, node.begin)

    def _end(self, node: Node) -> RawEvent:
        kind, payload = ended(node.facts, node.kind)
        parent = node.parent.run_id if node.parent is not None else None
        return (kind, node.run_id, parent, lambda: payload, node.span.end_ns, node.span.end_ns, node.end)


def _is_remote(span: Span) -> bool:
    """True if the parent of a span is surely in another process: many processes describe themselves by the same attributes."""
    return span.parent_id is not None and span.kind in ("server", "consumer")


def _are_ordered(first: Node, second: Node) -> bool:
    """True if the lines of control of this process tell that one span had ended before another began."""
    assert first.end is not None
    assert second.begin is not None
    return lanes.meeting(first.end, second.begin) is not None


def _by_time(after: Sequence[Sequence[int]], times: Sequence[int]) -> Iterator[int]:
    """Yield places in an order that `after` allows; of those that may come next, the earliest first."""
    waits = [0] * len(after)
    for following in after:
        for place in following:
            waits[place] += 1
    ready = [(times[place], place) for place in range(len(after)) if not waits[place]]
    heapq.heapify(ready)
    while ready:
        _, place = heapq.heappop(ready)
        yield place
        for other in after[place]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, (times[other], other))


# -- events of a run, in LangChain's words


def started(facts: SpanFacts, kind: RunKind, orders: Sequence[str] = ()) -> FrozenDict:
    """Return the payload of the start of a run. Under `unknown` stands what its span does not say."""
    unknown = [*orders, "tokens", "notes"]
    payload: dict[str, Any] = {}
    if facts.input is UNKNOWN:
        unknown.append("input")
        if kind != "chat":
            payload["input_str" if kind == "tool" else INPUT_OF[kind]] = FrozenList([NOT_SAID]) if kind == "llm" else NOT_SAID
    elif kind == "tool":
        payload["inputs" if isinstance(facts.input, FrozenDict) else "input_str"] = facts.input
        payload |= {"input_str": text_of_value(facts.input)}
    elif kind == "llm":
        payload["prompts"] = FrozenList(["\n".join(message.text for message in facts.input)])
    else:
        payload[INPUT_OF[kind]] = facts.input
    if facts.output is UNKNOWN and facts.error is None:
        unknown.append("output")
    if facts.call_id is not None:
        payload["tool_call_id"] = facts.call_id
    if kind in MODELS:
        payload |= _asked(facts)
    return FrozenDict(payload, unknown=FrozenList(unknown))


def _asked(facts: SpanFacts) -> dict[str, Any]:
    """Return what a model was told besides messages."""
    params = {"model_name": facts.model, **{key: freeze(value) for key, value in facts.parameters.items()}}
    if facts.tools:
        params["tools"] = freeze([{"type": "function", "function": dict(tool)} for _, tool in facts.tools])
    made: dict[str, Any] = {"invocation_params": FrozenDict({key: value for key, value in params.items() if value is not None})}
    return {"tools": FrozenList([name for name, _ in facts.tools]), **made} if facts.tools else made


def ended(facts: SpanFacts, kind: RunKind) -> tuple[str, FrozenDict]:
    """Return the callback that ended a run, and its payload."""
    if facts.error is None and facts.ended not in ("ended", "open"):
        facts.error = Failure("", "", facts.ended)  # type: ignore[arg-type]
    if facts.error is not None:
        partial = {"response": FrozenDict(generations=_generations(facts, kind))} if _said(facts, kind) else {}
        return ERROR_OF[kind], FrozenDict(error=facts.error, **partial)
    if kind in MODELS:
        return "on_llm_end", FrozenDict(generations=_generations(facts, kind), llm_output=None)
    output = NOT_SAID if facts.output is UNKNOWN else facts.output
    if kind == "tool" and facts.call_id is not None and facts.output is not UNKNOWN:
        content = output if isinstance(output, FrozenList) else text_of_value(output)
        output = Message("tool", content, name=facts.name, tool_call_id=facts.call_id, status="success")
    return f"on_{kind}_end", FrozenDict({OUTPUT_OF[kind]: output})


def _said(facts: SpanFacts, kind: RunKind) -> bool:
    return kind in MODELS and facts.output is not UNKNOWN and bool(facts.output)


def _generations(facts: SpanFacts, kind: RunKind) -> FrozenList:
    found = facts.output if facts.output is not UNKNOWN else [Message("ai", FrozenList([FrozenDict(type="unknown")]))]
    about = {"model_name": facts.model, "finish_reason": facts.finish_reason, "model_provider": facts.provider}
    metadata = FrozenDict({key: value for key, value in about.items() if value is not None})
    usages = [facts.usage, *[None] * len(found)]  # that of the whole call stands on its first answer
    answers = [
        replace(
            message,
            id=message.id or facts.response_id,
            usage=usage or message.usage,
            response_metadata=metadata,
            cached=facts.cached,
        )
        for message, usage in zip(found, usages, strict=False)
    ]
    return FrozenList([Generation(message.text, message) for message in answers])
