"""Spans as OTLP: JSON without any library, protobuf with the official packages (the extra `otel`).

Reading is streamed: a file of any size is read in pieces, and a span at a time is in memory. What is read is untrusted.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

from llmtest import __version__
from llmtest.core.masks import show
from llmtest.core.text import clip, show_int
from llmtest.errors import OtelError
from llmtest.otel.spans import KIND_NUMBERS, STATUS_NUMBERS, Span, SpanEvent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

PACKAGES: Final = "the package opentelemetry-exporter-otlp-proto-http is not installed\n  pip install 'llmtest-kit[otel]'"
PIECE: Final = 1 << 20
"""How many characters are read at once."""
MAX_SPAN: Final = 1 << 26
"""How many characters one span may have."""
MAX_MESSAGE_BYTES: Final = 1 << 28
"""How many bytes one message of protobuf may have."""
_KINDS: Final = {number: kind for kind, number in KIND_NUMBERS.items()}
_STATUS: Final = {number: status for status, number in STATUS_NUMBERS.items()}
SERVICE: Final = "service.name"


# -- written as JSON


def write_json(spans: Sequence[Span], service: str = "llmtest") -> str:
    """Return one request of OTLP as JSON on one line. A file may have many of them.

    Half of a surrogate pair, which UTF-8 does not have, is an escape of JSON.
    """
    scope = f'{{"name":"llmtest","version":{_quote(__version__)}}}'
    found = f'{{"scope":{scope},"spans":[{",".join(map(_as_json, spans))}]}}'
    made = f'{{"resourceSpans":[{{"resource":{{"attributes":{_pairs({SERVICE: service})}}},"scopeSpans":[{found}]}}]}}'
    return in_utf8(made)


# The text is put together here: `json` would need an object for each attribute, whose making takes longer than its writing.
_quote: Final = json.JSONEncoder(ensure_ascii=False).encode


def _as_json(span: Span) -> str:
    parent = f',"parentSpanId":"{span.parent_id}"' if span.parent_id is not None else ""
    ids = f'"traceId":"{span.trace_id}","spanId":"{span.span_id}"{parent}'
    about = f'"name":{_quote(span.name)},"kind":{KIND_NUMBERS[span.kind]}'
    times = f'"startTimeUnixNano":"{span.start_ns}","endTimeUnixNano":"{span.end_ns}"'
    return f'{{{ids},{about},{times},"attributes":{_pairs(span.attributes)}{_rest(span)}}}'


def _rest(span: Span) -> str:
    """Return what most spans do not have."""
    made = ""
    if span.events:
        found = [
            f'{{"timeUnixNano":"{event.time_ns}","name":{_quote(event.name)},"attributes":{_pairs(event.attributes)}}}'
            for event in span.events
        ]
        made += f',"events":[{",".join(found)}]'
    if span.links:
        made += f',"links":{json.dumps([{"traceId": trace, "spanId": one} for trace, one in span.links])}'
    if span.status != "unset":
        made += f',"status":{{"code":{STATUS_NUMBERS[span.status]},"message":{_quote(span.message)}}}'
    return made


def _pairs(attributes: Mapping[str, Any]) -> str:
    found = [f'{{"key":{_quote(key)},"value":{_value(value)}}}' for key, value in attributes.items()]
    return f"[{','.join(found)}]"


def _value(value: object) -> str:
    if isinstance(value, str):
        return f'{{"stringValue":{_quote(value)}}}'
    if isinstance(value, bool):
        return f'{{"boolValue":{"true" if value else "false"}}}'
    if isinstance(value, int) and _is_int64(value):
        return f'{{"intValue":"{value}"}}'
    if isinstance(value, float):
        return f'{{"doubleValue":{_quote(value if math.isfinite(value) else str(value))}}}'
    if isinstance(value, list | tuple):
        return f'{{"arrayValue":{{"values":[{",".join(map(_value, value))}]}}}}'
    if isinstance(value, Mapping):
        return f'{{"kvlistValue":{{"values":{_pairs(value)}}}}}'
    text = show_int(value) if isinstance(value, int) else str(value)
    return f'{{"stringValue":{_quote(text)}}}'


def in_utf8(text: str) -> str:
    """Return a text that UTF-8 can encode: half of a surrogate pair is an escape in it, as JSON and Python write it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _is_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


# -- read from JSON

_CLOSING: Final = {"{": "}", "[": "]"}
MAX_DEPTH: Final = 100
"""How deep the objects around spans may be nested."""
_DECODE: Final = json.JSONDecoder().raw_decode
_SPACE: Final = re.compile(r"[\s,]*")


class _Text:
    """A text that is read in pieces. `at` is the place up to which it was used."""

    def __init__(self, file: IO[str], where: str) -> None:
        self._file = file
        self._where = where
        self._before = 0
        self.text = ""
        self.at = 0
        self.over = False

    def more(self, size: int = 0) -> bool:
        """Read another piece, and forget what was used. False at the end."""
        try:
            piece = self._file.read(size or PIECE)
        except (OSError, EOFError, ValueError) as error:  # damaged gzip, no UTF-8
            raise self.error(f"it cannot be read ({type(error).__name__}: {clip(str(error), 120)})") from error
        self._before += self.at
        self.text, self.at = self.text[self.at :] + piece, 0
        self.over = not piece
        return bool(piece)

    def value(self) -> Any:
        """Return the value of JSON that begins here, and stand behind it."""
        size = PIECE
        while True:
            try:
                found, self.at = _DECODE(self.text, self.at)
                return found
            except RecursionError:
                raise self.error("values are nested too deep") from None
            except ValueError as error:
                if len(self.text) - self.at > MAX_SPAN:
                    raise self.error(f"a span has more than {MAX_SPAN:,} characters, or is no JSON") from None
                if not self.more(size):
                    raise self.error(f"it is no JSON, or is cut off here ({clip(str(error), 80)})") from None
                size *= 2

    def skip(self) -> str:
        """Return the next character that is neither space nor comma, without using it; empty at the end."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def error(self, why: str) -> OtelError:
        return OtelError(f"{self._where}, character {self._before + self.at:,}: {why}")


def read_json(file: IO[str], where: str) -> Iterator[Span]:
    """Yield the spans of a file of OTLP as JSON: one document, or one on each line.

    Raises:
        OtelError: it is damaged or cut off, or a span is none; the message has the place.
    """
    text, count = _Text(file, where), 0
    source = scope = ""
    around: list[tuple[str, str, str]] = []  # what is open, and what it inherits: a resource holds within its own object
    while char := text.skip():
        if char in _CLOSING:
            text.at += 1
            if len(around) == MAX_DEPTH:
                raise text.error("objects are nested too deep")
            around.append((_CLOSING[char], source, scope))
        elif char in "}]":
            text.at += 1
            if not around or around[-1][0] != char:
                raise text.error(f"a `{char}` closes nothing here")
            _, source, scope = around.pop()
        else:
            key = text.value()
            if text.skip() != ":":
                continue
            text.at += 1
            begins = text.skip()
            if key == "resource":
                source = _source(text.value())
            elif key == "scope":
                scope = _name_of(text.value())
            elif key == "spans" and begins == "[":
                text.at += 1
                while text.skip() not in ("]", ""):
                    count += 1
                    yield _span_of(text.value(), source, scope, f"{where}, span {count:,}")
                if text.over:
                    raise text.error("the list of spans is cut off here")
                text.at += 1
    if around:
        raise text.error("it is cut off here")


def read_objects(file: IO[str], where: str) -> Iterator[Any]:
    """Yield the objects of a file of JSON: those of a list, or one on each line.

    Raises:
        OtelError: it is damaged or cut off; the message has the place.
    """
    text = _Text(file, where)
    if text.skip() == "[":
        text.at += 1
        while text.skip() not in ("]", ""):
            yield text.value()
        if text.over:
            raise text.error("the list is cut off here")
        return
    while text.skip():
        yield text.value()


def _source(resource: object) -> str:
    """Return what tells apart the processes that spans come from: all attributes of their resource."""
    pairs = resource.get("attributes") if isinstance(resource, Mapping) else None
    return json.dumps(pairs, sort_keys=True, default=str) if pairs else ""


def _name_of(scope: object) -> str:
    return str(scope.get("name", "")) if isinstance(scope, Mapping) else ""


def spans_in(found: object, where: str) -> Iterator[Span]:
    """Yield the spans of one request of OTLP, as decoded JSON.

    Raises:
        OtelError: it is none, or a span of it is none; the message has the place.
    """
    if not isinstance(found, Mapping):
        raise OtelError(f"a request of OTLP is an object; got {show(found)}")
    for resource in _list(found, "resourceSpans"):
        source = _source(resource.get("resource"))
        for scope in _list(resource, "scopeSpans"):
            name = _name_of(scope.get("scope"))
            for number, span in enumerate(_list(scope, "spans"), 1):
                yield _span_of(span, source, name, f"{where}, span {number:,}")


def _list(found: object, key: str) -> list[Any]:
    value = found.get(key) if isinstance(found, Mapping) else None
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise OtelError(f"`{key}` of a request of OTLP is a list of objects; got {show(value)}")
    return value


def _span_of(found: object, source: str, scope: str, where: str) -> Span:
    try:
        if not isinstance(found, Mapping):
            raise TypeError(f"it is {type(found).__name__}, no object")
        if "traceID" in found:
            return _of_jaeger(found, source)
        status = found.get("status") or {}
        trace_id, span_id = _id(found, "traceId", 16), _id(found, "spanId", 8)
        parent = _id(found, "parentSpanId", 8) if found.get("parentSpanId") else None
        return Span(
            trace_id,
            span_id,
            None if parent == _NO_SPAN else parent,
            str(found.get("name", "")),
            _time(found.get("startTimeUnixNano")),
            _time(found.get("endTimeUnixNano")),
            _KINDS.get(_number(found.get("kind"), "SPAN_KIND_", KIND_NUMBERS), "unspecified"),
            _attributes(found.get("attributes")),
            tuple(_event_of(event) for event in found.get("events") or ()),
            tuple((_id(link, "traceId", 16), _id(link, "spanId", 8)) for link in found.get("links") or ()),
            _STATUS.get(_number(status.get("code"), "STATUS_CODE_", STATUS_NUMBERS), "unset"),
            str(status.get("message", "")),
            scope,
            source,
            int(found.get("droppedAttributesCount") or 0),
            int(found.get("droppedEventsCount") or 0),
        )
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise OtelError(f"{where}: it is no span of OTLP ({type(error).__name__}: {clip(str(error), 120)})") from None


_NO_SPAN: Final = "0" * 16
MAX_TIME_NS: Final = 2**63 - 1
"""The latest time that a trace store keeps, in the year 2262."""


def _time(value: Any) -> int:
    """Return a time in nanoseconds since 1970; 0 if there is none."""
    found = int(value or 0)
    if not 0 <= found <= MAX_TIME_NS:
        raise ValueError(f"a time is 0 to {MAX_TIME_NS} nanoseconds since 1970; got {clip(str(value), 40)}")
    return found


def _id(found: Mapping[str, Any], key: str, size: int) -> str:
    """Return an id in hexadecimal. OTLP writes it so; some backends answer with base64, as protobuf has it."""
    value = found[key]
    if not isinstance(value, str):
        raise TypeError(f"`{key}` is {type(value).__name__}")
    if len(value) == 2 * size:
        bytes.fromhex(value)
        return value.lower()
    data = base64.b64decode(value, validate=True)
    if len(data) != size:
        raise ValueError(f"`{key}` has {len(data)} bytes, not {size}: {clip(value, 40)!r}")
    return data.hex()


def _number(value: object, prefix: str, names: Mapping[Any, int]) -> int:
    """Return the number of an enumeration, which some write by name."""
    if isinstance(value, str) and value.startswith(prefix):
        return names.get(value.removeprefix(prefix).lower(), 0)
    return int(value) if isinstance(value, int | str) and value != "" else 0


def _event_of(found: Mapping[str, Any]) -> SpanEvent:
    return SpanEvent(str(found.get("name", "")), _time(found.get("timeUnixNano")), _attributes(found.get("attributes")))


def _attributes(pairs: Any) -> dict[str, Any]:
    return {str(pair["key"]): _any(pair.get("value")) for pair in pairs or ()}


def _any(value: Any) -> Any:
    if not value:
        return None
    for key, item in value.items():
        if key in ("stringValue", "boolValue"):
            return item
        if key == "intValue":
            return int(item)
        if key == "doubleValue":
            return float(item)
        if key == "arrayValue":
            return [_any(each) for each in item.get("values") or ()]
        if key == "kvlistValue":
            return _attributes(item.get("values"))
        if key == "bytesValue":
            return base64.b64decode(item)
    return None


def _of_jaeger(found: Mapping[str, Any], source: str) -> Span:
    """Return a span as Jaeger's API has it: times in microseconds, attributes as tags."""
    tags = {str(tag["key"]): tag.get("value") for tag in found.get("tags") or ()}
    parents = [str(one["spanID"]) for one in found.get("references") or () if one.get("refType") == "CHILD_OF"]
    logs = found.get("logs") or ()
    events = [{str(f["key"]): f.get("value") for f in log.get("fields") or ()} | {"": log.get("timestamp", 0)} for log in logs]
    start = _time(int(found["startTime"]) * 1000)
    failed = tags.get("error") is True or tags.get("otel.status_code") == "ERROR"
    return Span(
        f"{int(found['traceID'], 16):032x}",
        f"{int(found['spanID'], 16):016x}",
        f"{int(parents[0], 16):016x}" if parents else None,
        str(found.get("operationName", "")),
        start,
        _time(start + int(found.get("duration") or 0) * 1000),
        "unspecified",
        tags,
        tuple(SpanEvent(str(e.pop("event", "")), _time(int(e.pop("")) * 1000), e) for e in events),
        (),
        "error" if failed else "unset",
        str(tags.get("otel.status_description", "")),
        str(tags.get("otel.scope.name", tags.get("otel.library.name", ""))),
        source or str(found.get("processID", "")),
    )


# -- protobuf


class Refused(Exception):
    """A backend has refused spans, some or all of them, and would refuse them again."""

    def __init__(self, why: str, count: int | None = None) -> None:
        super().__init__(why)
        self.count = count
        """How many of them; None for all."""


def _trace_service() -> Any:
    try:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    except ImportError:
        raise OtelError(PACKAGES) from None
    return trace_service_pb2


def write_protobuf(spans: Sequence[Span], service: str = "llmtest") -> bytes:
    """Return one request of OTLP as protobuf.

    Raises:
        OtelError: the packages of OpenTelemetry are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    except ImportError:
        raise OtelError(PACKAGES) from None
    return encode_spans(as_sdk(spans, service)).SerializeToString()


def as_sdk(spans: Iterable[Span], service: str = "llmtest") -> list[ReadableSpan]:
    """Return spans as the official exporters take them."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
    except ImportError:
        raise OtelError(PACKAGES) from None
    resource, scope = Resource({SERVICE: service}), InstrumentationScope("llmtest", __version__)
    sampled = TraceFlags(TraceFlags.SAMPLED)

    def context(trace_id: str, span_id: str) -> SpanContext:
        return SpanContext(int(trace_id, 16), int(span_id, 16), False, sampled)

    return [
        ReadableSpan(
            span.name,
            context(span.trace_id, span.span_id),
            context(span.trace_id, span.parent_id) if span.parent_id is not None else None,
            resource,
            _encodable(span.attributes),
            [Event(in_utf8(event.name), _encodable(event.attributes), event.time_ns) for event in span.events],
            [Link(context(*link)) for link in span.links],
            SpanKind[span.kind.upper()] if span.kind != "unspecified" else SpanKind.INTERNAL,
            status=Status(StatusCode[span.status.upper()], span.message or None),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=scope,
        )
        for span in spans
    ]


def _encodable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as the official encoder takes them: it leaves out those that protobuf does not have."""
    return {in_utf8(key): _encodable_value(value) for key, value in attributes.items()}


def _encodable_value(value: Any) -> Any:
    if isinstance(value, str):
        return in_utf8(value)
    if isinstance(value, list | tuple):
        return [_encodable_value(item) for item in value]
    return show_int(value) if isinstance(value, int) and not _is_int64(value) else value


def read_protobuf(data: bytes, where: str) -> Iterator[Span]:
    """Yield the spans of one request of OTLP as protobuf.

    Raises:
        OtelError: it is damaged, or the packages of OpenTelemetry are not installed.
    """
    request = _trace_service().ExportTraceServiceRequest()
    try:
        request.ParseFromString(data)
    except Exception as error:  # `DecodeError` of either implementation of protobuf
        raise OtelError(f"{where}: it is no request of OTLP as protobuf ({clip(str(error), 120)})") from None
    count = 0
    for resource in request.resource_spans:
        pairs = {pair.key: str(pair.value) for pair in resource.resource.attributes}
        source = json.dumps(pairs, sort_keys=True) if pairs else ""
        for scope in resource.scope_spans:
            for span in scope.spans:
                count += 1
                yield _of_protobuf(
                    span, source if resource.resource.attributes else "", scope.scope.name, f"{where}, span {count:,}"
                )


def _of_protobuf(span: Any, source: str, scope: str, where: str) -> Span:
    if len(span.trace_id) != 16 or len(span.span_id) != 8:
        sizes = f"{len(span.trace_id)} and {len(span.span_id)}"
        raise OtelError(f"{where}: ids of a trace and of a span have 16 and 8 bytes; got {sizes}")
    parent = span.parent_span_id
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        parent.hex() if len(parent) == 8 and any(parent) else None,
        span.name,
        min(span.start_time_unix_nano, MAX_TIME_NS),
        min(span.end_time_unix_nano, MAX_TIME_NS),
        _KINDS.get(span.kind, "unspecified"),
        {pair.key: _of_any(pair.value) for pair in span.attributes},
        tuple(
            SpanEvent(
                event.name, min(event.time_unix_nano, MAX_TIME_NS), {pair.key: _of_any(pair.value) for pair in event.attributes}
            )
            for event in span.events
        ),
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        _STATUS.get(span.status.code, "unset"),
        span.status.message,
        scope,
        source,
        span.dropped_attributes_count,
        span.dropped_events_count,
    )


def _of_any(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "array_value":
        return [_of_any(item) for item in found.values]
    return {pair.key: _of_any(pair.value) for pair in found.values} if kind == "kvlist_value" else found
