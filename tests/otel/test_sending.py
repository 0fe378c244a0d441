"""Spans on their way out: files, an official exporter to a real endpoint, and the background, where nothing may break."""

from __future__ import annotations

import gzip
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmtest import ScriptedChatModel, load_traces, record, tracing_enabled
from llmtest.errors import OtelError
from llmtest.otel import LiveExport, Options, live, spans_of
from llmtest.otel import sending as module
from llmtest.otel.listening import Receiver, serve
from llmtest.otel.sending import address_of, send, write_file
from llmtest.tracing.rows import Rows, Trace, traces_of


class Sink:
    """An exporter that answers as it is told, and keeps what it got."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.batches: list[int] = []
        self.names: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def export(self, spans: Sequence[Any]) -> Any:
        self.gate.wait(10)
        answer = self.answers.pop(0) if self.answers else "SUCCESS"
        if isinstance(answer, Exception):
            raise answer
        if answer == "SUCCESS":
            self.batches.append(len(spans))
            self.names += [span.name for span in spans]
        return answer

    def shutdown(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "s.sqlite"))
    yield
    load_traces_or_nothing()


def load_traces_or_nothing() -> None:
    from llmtest.tracing import flush

    flush()


def traces(count: int = 1) -> list[Trace]:
    with record() as recording:
        for _ in range(count):
            ScriptedChatModel("Hello").invoke("hi")
    return traces_of(recording)


def export(sink: Sink, **about: Any) -> LiveExport:
    about = {"wait": lambda seconds: None, **about}
    return LiveExport(sink, Options(), "a backend", **about)


# -- files


@pytest.mark.parametrize("name", ["t.json", "t.jsonl.gz", "t.pb", "t.binpb.gz"])
def test_the_name_of_a_file_says_how_it_is_written(name: str, tmp_path: Path) -> None:
    assert write_file(tmp_path / name, [spans_of(trace, Options("messages")) for trace in traces(3)]) == 3

    data = (tmp_path / name).read_bytes()
    assert (data[:2] == b"\x1f\x8b") == name.endswith(".gz")
    plain = gzip.decompress(data) if name.endswith(".gz") else data
    assert plain.startswith(b"{") == ("json" in name)
    assert len(load_traces(str(tmp_path / name))) == 3


# -- to an endpoint


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        ("https://api.x.io/otlp/v1/traces", "https://api.x.io/otlp/v1/traces"),
    ],
)
def test_a_url_without_a_path_is_the_endpoint_of_otlp(url: str, address: str) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize("url", ["localhost:4318", "", "http://", "grpc://x", 7])
def test_what_is_no_url_is_an_error_at_once(url: Any) -> None:
    with pytest.raises(OtelError if isinstance(url, str) else (OtelError, AttributeError, TypeError)):
        tracing_enabled("x", export=url)


def test_a_real_endpoint_gets_what_is_sent() -> None:
    got: list[Rows] = []
    receiver = Receiver(lambda made, gone: got.extend(made))
    with serve(receiver, 0) as server:
        assert send(server.url, map(spans_of, traces(600))) == 600
    receiver.write_finished(everything=True)

    assert (receiver.spans, len(got), receiver.problems) == (600, 600, [])


def test_an_endpoint_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "exporter_to", lambda url: Sink("FAILURE"))

    with pytest.raises(OtelError, match=r"^http://x/v1/traces has not taken a batch of 1 span; 0 were sent before$"):
        send("http://x", map(spans_of, traces()))


def test_spans_go_in_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink()
    monkeypatch.setattr(module, "exporter_to", lambda url: sink)
    monkeypatch.setattr(module, "BATCH", 2)

    assert send("http://x", map(spans_of, traces(4))) == 4
    assert sink.batches == [2, 2]


# -- in the background


def test_finished_traces_are_sent_while_the_program_runs() -> None:
    sink = Sink()
    exporting = export(sink)

    with tracing_enabled("mine", export=exporting) as session:
        ScriptedChatModel("Hello").invoke("hi")
    load_traces("mine")

    assert str(exporting.flush()) == "1 span sent"
    assert sink.names == ["chat scripted"]
    assert session.export is exporting
    exporting.close()
    assert sink.closed


def test_a_span_is_sent_once_though_its_trace_is_written_twice() -> None:
    sink = Sink()
    with tracing_enabled("mine", export=(exporting := export(sink))):
        ScriptedChatModel("Hello").invoke("hi")
        load_traces("mine")
        load_traces("mine")
    load_traces("mine")

    exporting.close()
    assert sink.names == ["chat scripted"]


def test_a_batch_is_tried_again_with_more_patience_each_time() -> None:
    waits: list[float] = []
    sink = Sink("FAILURE", ConnectionError("no"), "SUCCESS")
    exporting = export(sink, wait=waits.append)

    exporting.put(traces()[0])

    assert exporting.flush().sent == 1
    assert [0.4 <= waits[0] <= 0.6, 0.8 <= waits[1] <= 1.2] == [True, True]


def test_a_backend_that_takes_nothing_loses_spans_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    exporting = export(Sink(*[ConnectionError("refused")] * 100))

    with caplog.at_level(logging.WARNING, "llmtest"):
        for trace in traces(2):
            exporting.put(trace)
            exporting.flush()
        counts = exporting.close()

    assert (counts.sent, counts.failed, counts.dropped) == (0, 2, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "1 span could not be sent to a backend (ConnectionError: refused); the program goes on, and later losses are counted and"
        " said at the end",
        "a backend: 0 spans sent, 2 lost",
    ]


def test_a_queue_that_is_full_drops_and_never_waits(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink()
    sink.gate.clear()
    exporting = export(sink, queue=3)

    with caplog.at_level(logging.WARNING, "llmtest"):
        for trace in traces(20):
            exporting.put(trace)
        dropped = exporting.counts.dropped
        sink.gate.set()
        counts = exporting.close()

    assert dropped >= 14  # at most three wait, and at most three were taken before they met the gate
    assert counts.sent + counts.dropped == 20
    assert "the queue of 3 spans is full, because a backend takes them too slowly" in caplog.text


def test_an_error_of_ours_does_not_break_the_program(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> Any:
        raise KeyError("ours")

    monkeypatch.setattr(module, "spans_of", broken)
    exporting = export(Sink())

    with caplog.at_level(logging.WARNING, "llmtest"):
        exporting.put(traces()[0])

    assert exporting.close().failed == 1
    assert "KeyError: 'ours'" in caplog.text


def test_what_comes_after_the_end_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    exporting = export(Sink())
    exporting.close()
    with caplog.at_level(logging.WARNING, "llmtest"):
        exporting.put(traces()[0])

    assert exporting.is_closed
    assert exporting.counts.dropped == 1
    assert "the export is closed; the program goes on" in caplog.text


def test_one_export_serves_all_sessions_with_the_same_url() -> None:
    one, same, other = (live("http://127.0.0.1:9", options) for options in (None, Options(), Options("messages")))

    assert one is same
    assert one is not other
    one.close()
    assert live("http://127.0.0.1:9") is not one


PROGRAM = """
import os
from llmtest import ScriptedChatModel, tracing_enabled

with tracing_enabled("mine"):
    ScriptedChatModel("Hello").invoke("hi")
"""


def test_the_environment_exports_a_whole_process_up_to_its_end(tmp_path: Path) -> None:
    got: list[Rows] = []
    receiver = Receiver(lambda made, gone: got.extend(made))
    with serve(receiver, 0) as server:
        environment = {
            **os.environ,
            "LLMTEST_OTLP_ENDPOINT": server.url,
            "LLMTEST_OTLP_CONTENT": "messages",
            "PYTHONPATH": os.getcwd(),
        }
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    receiver.write_finished(everything=True)
    assert receiver.spans == 1


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        (
            "LLMTEST_OTLP_ENDPOINT",
            "nowhere",
            "spans are sent to a URL, http://host:4318 or https://host/v1/traces; got 'nowhere'",
        ),
        ("LLMTEST_OTLP_CONTENT", "al", "`content` of spans is not 'al'"),
    ],
)
def test_a_wrong_variable_is_one_warning_and_no_error(
    name: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from llmtest.tracing import session

    monkeypatch.setattr(session, "_refused", set())
    monkeypatch.setenv("LLMTEST_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)

    with caplog.at_level(logging.WARNING, "llmtest"):
        for _ in range(2):
            with tracing_enabled("x") as found:
                assert found.export is None

    (told,) = caplog.records
    assert why in told.getMessage()
    assert told.getMessage().endswith("no trace is exported; the program goes on")


def test_a_forked_process_leaves_what_is_queued_to_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    exporting = export(Sink())
    monkeypatch.setattr(exporting, "_start", lambda: None)  # its thread is in the parent
    exporting.put(traces()[0])

    module._forked()  # as the child calls it

    monkeypatch.undo()
    exporting.put(traces()[0])
    assert exporting.flush().sent == 1


def test_the_end_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink(*["FAILURE"] * 100)
    waiting = threading.Event()
    exporting: LiveExport

    def wait(seconds: float) -> None:
        waiting.set()
        exporting._over.wait(10)

    exporting = export(sink, wait=wait)
    exporting.put(traces()[0])
    waiting.wait(10)
    exporting.put(traces()[0])

    counts = exporting.close(0.0)

    assert (counts.sent, counts.dropped) == (0, 1)
    assert exporting.close() is counts


def test_without_the_packages_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)

    with pytest.raises(OtelError, match=r"pip install 'llmtest-kit\[otel\]'"):
        module.exporter_to("http://x")


def test_what_is_on_its_way_at_the_end_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink()
    sink.gate.clear()
    live_export = export(sink)
    live_export.put(traces()[0])
    while live_export._queue:  # until the thread has taken it
        live_export.flush(0.01)

    counts = live_export.close(0.05)

    assert (counts.sent, counts.dropped, counts.failed) == (0, 0, 1)
    assert caplog.messages == ["a backend: 0 spans sent, 1 lost"]
    sink.gate.set()
    thread = live_export._thread
    assert thread is not None
    thread.join(5)
    assert (counts.sent, counts.dropped, counts.failed) == (0, 0, 1)
    assert len(caplog.messages) == 1


def test_a_forked_process_has_connections_of_its_own() -> None:
    first, second = Sink(), Sink()
    live_export = export(first, renew=lambda: second)
    live_export.put(traces()[0])
    live_export.flush()

    live_export.inherit()  # what a fork calls in the child
    live_export.put(traces()[0])
    live_export.flush()

    assert (len(first.batches), len(second.batches)) == (1, 1)
    live_export.close()
    live_export.inherit()
    assert live_export.is_closed
