"""OTLP: as JSON and as protobuf, there and back; what backends write otherwise; what is damaged."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from llmtest.errors import OtelError
from llmtest.otel import Span
from llmtest.otel import otlp as module
from llmtest.otel.otlp import read_json, read_objects, read_protobuf, spans_in, write_json, write_protobuf
from llmtest.otel.spans import SpanEvent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WHOLE = Span(
    TRACE,
    SPAN,
    "00f067aa0ba902b8",
    'a "name" with "spans": [',
    10**18,
    10**18 + 1,
    "client",
    {"s": "é\u2028", "b": True, "i": 2**60, "f": 0.5, "list": ["a", "b"]},
    (SpanEvent("exception", 5, {"exception.type": "KeyError"}),),
    ((TRACE, "00f067aa0ba902b9"),),
    "error",
    "it failed",
)


def read(text: str) -> list[Span]:
    return list(read_json(io.StringIO(text), "spans.json"))


def plain(span: Span) -> dict[str, Any]:
    return {name: getattr(span, name) for name in Span.__slots__ if name not in ("scope", "source")}


def test_a_span_is_the_same_again_as_json_and_as_protobuf() -> None:
    assert [plain(span) for span in read(write_json([WHOLE]))] == [plain(WHOLE)]
    assert [plain(span) for span in read_protobuf(write_protobuf([WHOLE]), "x")] == [plain(WHOLE)]
    assert read(write_json([WHOLE]))[0].scope == "llmtest"


def test_what_we_write_is_what_the_official_message_reads() -> None:
    request = trace_service_pb2.ExportTraceServiceRequest.FromString(write_protobuf([WHOLE], "mine"))
    (resource,) = request.resource_spans

    assert {pair.key: pair.value.string_value for pair in resource.resource.attributes} == {"service.name": "mine"}
    assert resource.scope_spans[0].spans[0].name == WHOLE.name


VALUES = st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.text(min_size=1), VALUES | st.lists(st.text())))
def test_attributes_of_each_type_survive(told: dict[str, Any]) -> None:
    span = Span(TRACE, SPAN, None, "x", 1, 2, attributes=told)

    assert read(write_json([span]))[0].attributes == told


def test_half_of_a_surrogate_pair_and_large_numbers_lose_no_attribute() -> None:
    half = Span(
        TRACE,
        SPAN,
        None,
        "x",
        1,
        2,
        attributes={"a\ud800": "b\udfff", "list": ["c\ud800"], "large": 2**64, "huge": 10**5000, "small": -(2**63)},
        events=(SpanEvent("e\ud800", 1, {"f": "g\ud800"}),),
    )
    huge = f"1{'0' * 5000}"

    text = write_json([half])
    (as_json,) = read(text)
    (as_protobuf,) = read_protobuf(write_protobuf([half]), "x")

    assert text.encode().decode() == text
    assert as_json.attributes == {**half.attributes, "large": str(2**64), "huge": huge}
    assert as_json.events == half.events
    assert as_protobuf.attributes == {
        "a\\ud800": "b\\udfff",
        "list": ["c\\ud800"],
        "large": str(2**64),
        "huge": huge,
        "small": -(2**63),
    }
    assert as_protobuf.events == (SpanEvent("e\\ud800", 1, {"f": "g\\ud800"}),)


def test_values_that_only_others_write() -> None:
    values = [
        ({"kvlistValue": {"values": [{"key": "a", "value": {"intValue": 1}}]}}, {"a": 1}),
        ({"arrayValue": {}}, []),
        ({"bytesValue": "aGk="}, b"hi"),
        ({"somethingNew": 1}, None),
        ({}, None),
    ]
    pairs = [{"key": str(number), "value": value} for number, (value, _) in enumerate(values)]

    (span,) = read(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [as_json(attributes=pairs)]}]}]}))

    assert list(span.attributes.values()) == [expected for _, expected in values]


def as_json(**about: Any) -> dict[str, Any]:
    return {"traceId": TRACE, "spanId": SPAN, "name": "x", "startTimeUnixNano": "1", "endTimeUnixNano": 2, **about}


def of(*spans: dict[str, Any]) -> str:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]})


def test_ids_in_base64_and_enumerations_by_name() -> None:
    """Tempo answers so."""
    (span,) = read(
        of(
            as_json(
                traceId="S/kvNXezTaajzpKdDg5HNg==",
                spanId="APBnqgupArc=",
                kind="SPAN_KIND_CLIENT",
                status={"code": "STATUS_CODE_ERROR"},
            )
        )
    )

    assert (span.trace_id, span.span_id, span.kind, span.status) == (TRACE, SPAN, "client", "error")


def test_a_file_may_have_many_requests_and_resources() -> None:
    resource = {"attributes": [{"key": "host", "value": {"stringValue": "a"}}]}
    first = {
        "resourceSpans": [
            {"resource": resource, "scopeSpans": [{"scope": {"name": "s"}, "spans": [as_json(name="1"), as_json(name="2")]}]}
        ]
    }

    spans = read(f"{json.dumps(first, indent=1)}\n\n{of(as_json(name='3'))}\n{of()}")

    assert [(span.name, span.scope) for span in spans][:2] == [("1", "s"), ("2", "s")]
    assert '"host"' in spans[0].source
    assert [span.name for span in spans] == ["1", "2", "3"]


def test_jaeger() -> None:
    tags = [{"key": "gen_ai.operation.name", "value": "chat"}, {"key": "error", "value": True}]
    logs = [{"timestamp": 7, "fields": [{"key": "event", "value": "exception"}, {"key": "exception.type", "value": "KeyError"}]}]
    found = {
        "traceID": TRACE[1:],
        "spanID": "f067aa0ba902b7",
        "operationName": "chat",
        "startTime": 5,
        "duration": 2,
        "tags": tags,
        "logs": logs,
    }
    child = {**found, "spanID": "1", "references": [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": "f067aa0ba902b7"}]}

    parent, inner = read(json.dumps({"data": [{"traceID": TRACE, "spans": [found, child]}]}))

    assert (parent.span_id, parent.start_ns, parent.end_ns, parent.status) == (SPAN, 5000, 7000, "error")
    assert (inner.parent_id, inner.events[0].attributes) == (SPAN, {"exception.type": "KeyError"})


def test_a_large_file_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 64)
    text = "\n".join(of(as_json(name="x" * size), as_json(name="y")) for size in (1, 100, 1000))

    assert [len(span.name) for span in read(text)] == [1, 1, 100, 1, 1000, 1]


DAMAGED = {
    "cut off in a span": (of(as_json())[:-30], "character 46: it is no JSON, or is cut off here ("),
    "cut off between spans": (of(as_json(), as_json())[:200].rpartition(",")[0][:171], "character "),
    "no object": (of(7), "span 1: it is no span of OTLP (TypeError: it is int, no object)"),
    "no ids": (of({}), "span 1: it is no span of OTLP (KeyError: 'traceId')"),
    "ids of a wrong length": (
        of(as_json(traceId="abcd")),
        "span 1: it is no span of OTLP (ValueError: `traceId` has 3 bytes, not 16: 'abcd')",
    ),
    "ids of a wrong type": (of(as_json(spanId=7)), "span 1: it is no span of OTLP (TypeError: `spanId` is int)"),
    "ids that are no hexadecimal": (of(as_json(spanId="x" * 16)), "span 1: it is no span of OTLP (ValueError: "),
    "times that are none": (of(as_json(startTimeUnixNano="soon")), "span 1: it is no span of OTLP (ValueError: "),
    "attributes that are none": (of(as_json(attributes=[7])), "span 1: it is no span of OTLP (TypeError: "),
    "too deep": (of(as_json(name="deep")).replace('"deep"', "[" * 100_000), "character 46: values are nested too deep"),
}


@pytest.mark.parametrize(("text", "why"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_an_error_with_the_place(text: str, why: str) -> None:
    with pytest.raises(OtelError) as error:
        read(text)

    assert str(error.value).startswith(f"spans.json, {why}")


def test_a_span_without_end_is_an_error_and_no_endless_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SPAN", 5000)
    monkeypatch.setattr(module, "PIECE", 1000)

    with pytest.raises(OtelError, match=r"character 46: a span has more than 5,000 characters, or is no JSON"):
        read(of(as_json(name="x" * 20_000)))


def test_objects_of_a_list_or_of_lines() -> None:
    def objects(text: str) -> list[Any]:
        return list(read_objects(io.StringIO(text), "runs.json"))

    assert objects('[{"a": 1}, {"b": 2}]') == objects('{"a": 1}\n{"b": 2}\n') == [{"a": 1}, {"b": 2}]
    assert objects("") == []
    with pytest.raises(OtelError, match=r"^runs.json, character 9: the list is cut off here$"):
        objects('[{"a": 1}')


def test_a_request_is_checked_in_its_parts() -> None:
    assert list(spans_in({}, "x")) == []
    with pytest.raises(OtelError, match="`resourceSpans` of a request of OTLP is a list of objects; got 7"):
        list(spans_in({"resourceSpans": 7}, "x"))
    with pytest.raises(OtelError, match="`spans` of a request of OTLP is a list of objects"):
        list(spans_in({"resourceSpans": [{"scopeSpans": [{"spans": ["x"]}]}]}, "x"))


def test_protobuf_that_is_none() -> None:
    with pytest.raises(OtelError, match=r"^x: it is no request of OTLP as protobuf \("):
        list(read_protobuf(b"\xff\xff", "x"))
    request = trace_service_pb2.ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"1", span_id=b"2")
    with pytest.raises(OtelError, match=r"^x, span 1: ids of a trace and of a span have 16 and 8 bytes; got 1 and 1$"):
        list(read_protobuf(request.SerializeToString(), "x"))


def test_values_of_protobuf() -> None:
    request = trace_service_pb2.ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"1" * 16, span_id=b"2" * 8)
    span.attributes.add(key="list").value.array_value.values.add(int_value=1)
    span.attributes.add(key="map").value.kvlist_value.values.add(key="a").value.string_value = "b"
    span.attributes.add(key="none")

    (read_again,) = read_protobuf(request.SerializeToString(), "x")

    assert read_again.attributes == {"list": [1], "map": {"a": "b"}, "none": None}


def test_without_the_packages_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.proto.collector.trace.v1", None)
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.common.trace_encoder", None)
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.resources", None)

    for use in (lambda: list(read_protobuf(b"", "x")), lambda: write_protobuf([]), lambda: module.as_sdk([])):
        with pytest.raises(OtelError) as error:
            use()
        assert str(error.value) == (
            "the package opentelemetry-exporter-otlp-proto-http is not installed\n  pip install 'llmtest-kit[otel]'"
        )


def test_values_of_attributes_that_are_no_plain_ones_are_written_as_they_can_be() -> None:
    told = {"map": {"a": 1}, "nan": float("nan"), "other": b"x"}

    (span,) = read(write_json([Span(TRACE, SPAN, None, "x", 1, 2, attributes=told)]))

    assert str(span.attributes["nan"]) == "nan"
    assert (span.attributes["map"], span.attributes["other"]) == ({"a": 1}, "b'x'")


def test_a_list_of_spans_that_does_not_end() -> None:
    with pytest.raises(OtelError, match=r"^spans.json, character \d+: the list of spans is cut off here$"):
        read(of(as_json())[:-6])
    assert read('{"resourceSpans": [{"scopeSpans": [{"spans": null}]}]}') == []


@pytest.mark.parametrize("time", ["Infinity", "NaN", "-1", str(10**30), '"99999999999999999999"', "1e300"])
@pytest.mark.parametrize("place", ["startTimeUnixNano", "endTimeUnixNano", "timeUnixNano"])
def test_a_time_that_is_none_is_an_error_with_the_place(place: str, time: str) -> None:
    text = write_json([WHOLE])
    damaged = re.sub(rf'"{place}":"\d+"', f'"{place}":{time}', text)

    with pytest.raises(OtelError, match=r"spans\.json, span 1: it is no span of OTLP"):
        read(damaged)


def test_a_number_that_is_infinite_is_an_error_with_the_place() -> None:
    with pytest.raises(OtelError, match=r"spans\.json, span 1: it is no span of OTLP"):
        read(write_json([WHOLE]).replace('"1152921504606846976"', "Infinity"))


def test_how_many_attributes_were_dropped_is_read() -> None:
    text = write_json([WHOLE]).replace('"attributes":', '"droppedAttributesCount":3,"attributes":', 2)
    request = trace_service_pb2.ExportTraceServiceRequest.FromString(write_protobuf([WHOLE]))
    request.resource_spans[0].scope_spans[0].spans[0].dropped_attributes_count = 3

    assert read(text)[0].dropped == 3
    assert next(read_protobuf(request.SerializeToString(), "x")).dropped == 3


def test_a_file_that_is_cut_off_anywhere_is_an_error() -> None:
    text = write_json([replace(WHOLE, name="x", attributes={}, events=(), links=())]) + "\n"
    assert len(read(text * 2)) == 2

    for end in range(1, len(text.rstrip())):
        with pytest.raises(OtelError, match=r"spans\.json"):
            read(text + text[:end])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"resourceSpans":[]}}', "character 21: a `}` closes nothing here"),
        ('{"resourceSpans":[}', "character 19: a `}` closes nothing here"),
        ("{" * 200, "character 101: objects are nested too deep"),
    ],
)
def test_brackets_that_do_not_fit_are_an_error(text: str, why: str) -> None:
    with pytest.raises(OtelError, match=re.escape(why)):
        read(text)


def test_a_resource_is_that_of_its_own_object() -> None:
    both = [json.loads(write_json([WHOLE], name))["resourceSpans"][0] for name in ("a", "b")]
    del both[1]["resource"]

    first, second = read(json.dumps({"resourceSpans": both}))

    assert (first.source != "", second.source) == (True, "")


@pytest.mark.parametrize("body", [[], 7, None, "x"])
def test_a_request_is_an_object(body: object) -> None:
    with pytest.raises(OtelError, match=r"^a request of OTLP is an object; got "):
        list(spans_in(body, "the request"))
