"""The endpoint: what it answers to good and bad requests, as OTLP says, and which traces it writes."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from langchain_core.runnables import RunnableLambda

from llmtest import ScriptedChatModel, record
from llmtest.errors import StoreError
from llmtest.otel import Span, listening, spans_of
from llmtest.otel.listening import JSON_TYPE, PROTOBUF_TYPE, Receiver, serve, summary
from llmtest.otel.otlp import write_json, write_protobuf
from llmtest.tracing.rows import Rows
from tests.support.spans import span, told


class Clock:
    """Time that only the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Endpoint:
    """A server with its receiver, and what it has written."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.written: list[Rows] = []
        self.receiver = Receiver(self.write, clock=self.clock)
        self.gone: list[str] = []
        self.server = serve(self.receiver, 0)

    def write(self, made: list[Rows], gone: Sequence[str]) -> None:
        self.written += made
        self.gone += gone

    def post(self, body: bytes, kind: str = JSON_TYPE, path: str = "/v1/traces", **headers: str) -> tuple[int, bytes, Any]:
        sent = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        request = urllib.request.Request(f"{self.server.url}{path}", body, sent)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    with made.server:
        yield made


def spans() -> list[Span]:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    return spans_of(recording)


def test_each_encoding_is_taken_and_answered_in_kind(endpoint: Endpoint) -> None:
    text, binary = write_json(spans()).encode(), write_protobuf(spans())

    assert endpoint.post(text)[:2] == (200, b"{}")
    assert endpoint.post(binary, PROTOBUF_TYPE)[:2] == (200, b"")
    assert endpoint.post(gzip.compress(text), content_encoding="gzip")[0] == 200
    assert endpoint.post(zlib.compress(binary), PROTOBUF_TYPE, content_encoding="deflate")[0] == 200
    assert endpoint.post(text, "application/json; charset=utf-8")[0] == 200
    endpoint.receiver.write_finished(everything=True)
    assert summary(endpoint.receiver) == "5 spans, 2 traces"  # those of one trace may come twice
    assert len(endpoint.written) == 2


REFUSED = {
    "no JSON": (400, b"x", {}, "the request is no JSON (JSONDecodeError: Expecting value: line 1 column 1 (char 0))"),
    "nothing": (400, b"", {}, "the request is no JSON (JSONDecodeError: Expecting value: line 1 column 1 (char 0))"),
    "other JSON": (400, b'{"resourceSpans": 7}', {}, "`resourceSpans` of a request of OTLP is a list of objects; got 7"),
    "too deep": (400, b"[" * 100_000, {}, "the request is no JSON (RecursionError: "),
    "no UTF-8": (400, b'{"a": "\xff"}', {}, "the request is no JSON (UnicodeDecodeError: "),
    "cut off": (
        400,
        gzip.compress(b"{}")[:-4],
        {"content_encoding": "gzip"},
        "the body says that it is gzip, and ends too early",
    ),
    "no gzip": (400, b"{}", {"content_encoding": "gzip"}, "the body says that it is gzip, and is damaged: "),
    "unknown encoding": (
        400,
        b"{}",
        {"content_encoding": "br"},
        "the header `content-encoding` is gzip, deflate or identity; got 'br'",
    ),
    "another path": (404, b"{}", {"path": "/v1/metrics"}, "this endpoint takes POST /v1/traces; got POST /v1/metrics"),
    "another type": (
        415,
        b"{}",
        {"kind": "text/plain"},
        "a request of OTLP is application/x-protobuf or application/json; got text/plain",
    ),
}


@pytest.mark.parametrize(("status", "body", "about", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_request_is_refused_with_the_reason(
    status: int, body: bytes, about: dict[str, Any], why: str, endpoint: Endpoint
) -> None:
    code, text, headers = endpoint.post(body, **about)

    assert code == status
    assert headers["content-type"] == JSON_TYPE
    assert json.loads(text)["message"].startswith(why)
    assert endpoint.receiver.refused == 1


def test_an_error_in_protobuf_is_a_status_that_the_official_message_reads(endpoint: Endpoint) -> None:
    code, body, headers = endpoint.post(b"\xff" * 300, PROTOBUF_TYPE)

    status = Status.FromString(body)
    assert (code, headers["content-type"], status.code) == (400, PROTOBUF_TYPE, 3)
    assert status.message.startswith("the request: it is no request of OTLP as protobuf (")


def test_a_bomb_of_zeros_ends_at_the_limit(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_UNPACKED_BYTES", 1_000_000)

    code, text, _ = endpoint.post(gzip.compress(b" " * 50_000_000), content_encoding="gzip")

    assert code == 400
    assert json.loads(text)["message"] == (
        "the body of a request has at most 1,000,000 bytes here, also when it is unpacked; this one has more"
    )


def test_a_body_that_is_too_large_is_not_read(endpoint: Endpoint) -> None:
    endpoint.server.max_body_bytes = 1000

    assert endpoint.post(b"x" * 2000)[0] == 413


def test_too_many_open_traces_are_to_be_sent_again(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_SPANS", 1)
    body = write_json(spans()).encode()

    assert endpoint.post(body)[0] == 200
    code, _, headers = endpoint.post(body)

    assert (code, headers["retry-after"]) == (503, "1")
    endpoint.receiver.write_finished(everything=True)
    assert endpoint.post(body)[0] == 200


def test_a_get_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(f"{endpoint.server.url}/v1/traces")


def test_it_listens_on_this_machine_only(endpoint: Endpoint) -> None:
    assert endpoint.server.url.startswith("http://127.0.0.1:")


def test_a_trace_is_written_when_no_span_of_it_has_come_for_a_while(endpoint: Endpoint) -> None:
    told = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"}
    endpoint.post(write_json([span("x", 2, 1, told=told)]).encode())
    endpoint.clock.now = 1.5
    assert endpoint.receiver.write_finished() == 0
    endpoint.post(write_json([span("x", 1, told=told)]).encode())
    endpoint.clock.now = 3.0
    assert endpoint.receiver.write_finished() == 0

    endpoint.clock.now = 3.5

    assert endpoint.receiver.write_finished() == 1
    (made,) = endpoint.written
    assert len(made.runs) == 2


def test_a_trace_that_cannot_be_written_is_a_problem_and_no_end() -> None:
    def broken(made: list[Rows], gone: Sequence[str]) -> None:
        raise StoreError("the disk is full")

    receiver = Receiver(broken)
    receiver._take(spans(), JSON_TYPE)

    receiver.write_finished(everything=True)

    (problem,) = receiver.problems
    assert problem.endswith(": the disk is full")
    assert receiver.traces == 0


def test_spans_that_have_nothing_to_do_with_models_are_left_out() -> None:
    written: list[Rows] = []
    receiver = Receiver(lambda made, gone: written.extend(made))
    receiver._take([span("GET /", 1)], JSON_TYPE)

    receiver.write_finished(everything=True)

    assert (written, summary(receiver)) == ([], "1 span, 0 traces")


def test_a_trace_that_breaks_the_reader_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Rows] = []
    receiver = Receiver(lambda made, gone: written.extend(made))
    receiver._take([*spans(), *spans()], JSON_TYPE)
    read = listening.recording_of
    broken = iter([True, False])
    monkeypatch.setattr(listening, "recording_of", lambda found: 1 / 0 if next(broken) else read(found))

    assert receiver.write_finished(everything=True) == 2

    assert [problem.partition(": ")[2] for problem in receiver.problems] == ["ZeroDivisionError: division by zero"]
    assert len(written) == 1


def test_a_request_for_which_there_is_never_room_is_not_to_be_sent_again(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MAX_SPANS", 1)

    code, body, headers = endpoint.post(write_json([*spans(), *spans()]).encode())

    assert (code, headers["retry-after"]) == (413, None)
    assert json.loads(body) == {"code": 8, "message": "a request has at most 1 spans; got 2"}
    assert summary(endpoint.receiver) == "0 spans, 0 traces, 1 request refused"


def parts() -> tuple[Span, Span]:
    """An agent, and a tool inside it."""
    root = span("agent", 1, told=told(operation__name="invoke_agent"))
    return root, span("weather", 2, 1, told=told(operation__name="execute_tool", tool__name="weather"))


def test_a_trace_that_goes_on_after_it_was_written_is_written_again_as_a_whole(endpoint: Endpoint) -> None:
    root, tool = parts()

    endpoint.post(write_json([root]).encode())
    endpoint.clock.now = 3.0
    endpoint.receiver.write_finished()
    endpoint.post(write_json([tool]).encode())
    assert endpoint.receiver.write_finished() == 0  # more may come at once
    endpoint.clock.now = 6.0
    endpoint.receiver.write_finished()

    assert endpoint.receiver.write_finished() == 0
    assert [len(made.runs) for made in endpoint.written] == [1, 2]
    assert (endpoint.gone, summary(endpoint.receiver)) == ([], "2 spans, 1 trace")


def test_a_parent_that_comes_late_takes_the_place_of_the_one_that_was_made_up(endpoint: Endpoint) -> None:
    with record() as recording:
        RunnableLambda(lambda text: ScriptedChatModel("Hello").invoke(text), name="agent").invoke("hi")
    root, model = spans_of(recording)

    endpoint.post(write_json([model]).encode())
    endpoint.receiver.write_finished(everything=True)
    endpoint.post(write_json([root]).encode())
    endpoint.receiver.write_finished(everything=True)

    first, second = endpoint.written
    assert (first.summary[2], second.summary[2]) == ("a span that is missing", "agent")
    assert endpoint.gone == [first.summary[0]]


def test_traces_that_were_written_make_room_for_others(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_SPANS", 2)
    root, tool = parts()

    for _ in range(3):
        assert endpoint.post(write_json(spans()).encode())[0] == 200
        endpoint.clock.now += 3.0
        endpoint.receiver.write_finished()
    assert endpoint.post(write_json([root, tool]).encode())[0] == 200
    assert endpoint.post(write_json(spans()).encode())[0] == 503

    assert len(endpoint.written) == 3
