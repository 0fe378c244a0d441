"""What live export and `send` make of the answers of a backend. The backend speaks with the official classes of OTLP."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from llmtest import ScriptedChatModel, record
from llmtest.errors import OtelError
from llmtest.otel import LiveExport, Options, Span, spans_of
from llmtest.otel.http_exporter import HttpExporter
from llmtest.otel.otlp import as_sdk
from llmtest.otel.sending import exporter_to, send
from llmtest.tracing.rows import Trace, traces_of


class Backend(ThreadingHTTPServer):
    """Answers one request after the other as it is told, and keeps the spans that came."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        status, answer = self.server.answers.pop(0) if self.server.answers else (200, b"")
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def traces(count: int = 1) -> list[Trace]:
    with record() as recording:
        for _ in range(count):
            ScriptedChatModel("Hello").invoke("hi")
    return traces_of(recording)


def outgoing(count: int = 1, content: Any = "none") -> list[list[Span]]:
    return [spans_of(trace, Options(content)) for trace in traces(count)]


def export(backend: Backend) -> LiveExport:
    return LiveExport(exporter_to(backend.url), Options(), "a backend", wait=lambda seconds: None)


def partial(rejected: int, why: str) -> bytes:
    told = ExportTracePartialSuccess(rejected_spans=rejected, error_message=why)
    return ExportTraceServiceResponse(partial_success=told).SerializeToString()


def test_the_official_classes_read_what_is_sent(backend: Backend) -> None:
    assert send(backend.url, outgoing(2, "messages")) == 2

    (request,) = backend.requests
    (resource,) = request.resource_spans
    assert [(pair.key, pair.value.string_value) for pair in resource.resource.attributes if pair.key == "service.name"] == [
        ("service.name", "llmtest")
    ]
    spans = [span for scope in resource.scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["chat scripted", "chat scripted"]
    assert {len(span.trace_id) for span in spans} == {16}
    assert {len(span.span_id) for span in spans} == {8}


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500])
def test_what_is_refused_for_good_is_sent_once(status: int, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    backend.answers = [(status, b"")] * 10
    exporting = export(backend)

    with caplog.at_level(logging.WARNING, "llmtest"):
        exporting.put(traces()[0])
        counts = exporting.close()

    assert len(backend.requests) == 1
    assert (counts.sent, counts.failed) == (0, 1)
    said = [record.getMessage() for record in caplog.records if record.name == "llmtest"]
    assert said[0].startswith(f"1 span could not be sent to a backend (it answered with the status {status}); the program")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_is_not_taken_now_is_sent_again(status: int, backend: Backend) -> None:
    backend.answers = [(status, b"")]
    exporting = export(backend)

    exporting.put(traces()[0])

    assert exporting.close(20).sent == 1
    assert len(backend.requests) == 2


def test_spans_that_a_backend_takes_in_part_are_counted_and_said(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    backend.answers = [(200, partial(2, "too old"))]
    exporting = export(backend)

    with caplog.at_level(logging.WARNING, "llmtest"), record() as recording:
        for trace in _one_trace_of_three(recording):
            exporting.put(trace)
        counts = exporting.close()

    assert len(backend.requests) == 1
    assert (counts.sent, counts.failed) == (1, 2)
    assert "2 spans could not be sent to a backend (it refused them: too old)" in caplog.text


def _one_trace_of_three(recording: Any) -> list[Trace]:
    from langchain_core.runnables import RunnableLambda

    (RunnableLambda(lambda text: text) | ScriptedChatModel("Hello")).invoke("hi")
    return traces_of(recording)


def test_an_answer_that_is_no_protobuf_is_an_answer_all_the_same(backend: Backend) -> None:
    backend.answers = [(200, b"\xff thank you"), (200, partial(0, "a warning"))]

    assert send(backend.url, outgoing()) == 1
    assert send(backend.url, outgoing()) == 1


def test_send_says_what_the_backend_answered(backend: Backend) -> None:
    backend.answers = [(400, b"")]

    with pytest.raises(OtelError) as caught:
        send(backend.url, outgoing())
    assert str(caught.value) == (
        f"{backend.url}/v1/traces has not taken a batch of 1 span (it answered with the status 400); 0 were sent before"
    )


def test_a_provider_of_credentials_keeps_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "nobody")

    with pytest.raises(RuntimeError, match="nobody"):
        HttpExporter("http://127.0.0.1:9/v1/traces", 0.1)


def test_what_is_not_taken_in_time_has_not_arrived(backend: Backend) -> None:
    backend.answers = [(503, b"")] * 100
    exporter = HttpExporter(f"{backend.url}/v1/traces", 0.2)

    result = exporter.export(as_sdk(spans_of(traces()[0])))

    assert result.name == "FAILURE"
