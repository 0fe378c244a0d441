"""Files of traces: recognised by their content, read in pieces, and what is wrong in them."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llmtest import ScriptedChatModel, load_traces, record, tracing_enabled
from llmtest.errors import OtelError, StoreError
from llmtest.otel import Options, Span, files, spans_of
from llmtest.otel.files import EXPECTED, is_spans, read, traces_in
from llmtest.otel.otlp import write_json, write_protobuf
from llmtest.tracing.store import Store
from tests.support.spans import span


def spans() -> list[Span]:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    return spans_of(recording, Options("messages"))


def forms() -> dict[str, bytes]:
    text, binary = write_json(spans()).encode(), write_protobuf(spans())
    framed = len(binary).to_bytes(4, "big") + binary
    return {
        "JSON": text,
        "JSON with a mark": b"\xef\xbb\xbf \n" + text,
        "protobuf": binary,
        "protobuf with its length": framed,
        "two requests": framed * 2,
        "JSON, packed": gzip.compress(text),
        "protobuf, packed": gzip.compress(binary),
    }


@pytest.mark.parametrize(
    "form",
    ["JSON", "JSON with a mark", "protobuf", "protobuf with its length", "two requests", "JSON, packed", "protobuf, packed"],
)
def test_a_file_is_recognised_by_its_content(form: str, tmp_path: Path) -> None:
    (tmp_path / "traces.dat").write_bytes(forms()[form])

    found = load_traces(str(tmp_path / "traces.dat"))

    assert {run.output.text for recording in found for run in recording.models} == {"Hello"}
    with (tmp_path / "traces.dat").open("rb") as file:
        assert is_spans(file)


def test_json_lines_of_ours_are_loaded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmtest.cli import commands

    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "s.sqlite"))
    with tracing_enabled("mine"):
        ScriptedChatModel("Hello").invoke("hi")
    load_traces("mine")
    commands.main(["export", "mine", "-o", str(tmp_path / "mine.jsonl")])

    (recording,) = load_traces(str(tmp_path / "mine.jsonl"))

    assert recording.kinds == ["on_chat_model_start", "on_llm_end"]


BAD = {
    "empty": (b"", f"the file is empty\n  expected  {EXPECTED}"),
    "text": (b"hello", "it is no request of OTLP as protobuf"),
    "other JSON": (b'{"a": 1}', f"it is JSON, and no traces that can be read\n  expected  {EXPECTED}"),
    "no span of models": (
        write_json([span("GET /", 1)]).encode(),
        "no span in it says anything of models, tools, retrievers or agents",
    ),
    "packed and cut off": (gzip.compress(b'{"resourceSpans": [' + b" " * 99999)[:-9], "character "),
    "no gzip": (b"\x1f\x8b\x00\x00" + b"x" * 20, "it cannot be read (BadGzipFile: Unknown compression method)"),
    "no UTF-8": (b'{"resourceSpans": "\xff"}', "character 0: it cannot be read (UnicodeDecodeError: "),
    "a message that is cut off": (b"\x00\x00\x00\x05abcde\x00\x00\x00\x09x", "it is no request of OTLP as protobuf"),
}


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD.keys())
def test_what_is_no_file_of_traces_is_an_error(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(data)

    with pytest.raises((OtelError, StoreError)) as error:
        load_traces(str(path))

    assert why in str(error.value)
    assert str(error.value).startswith(str(path)) or "bad" in str(error.value)


def test_secrets_are_masked_on_the_way_in(tmp_path: Path) -> None:
    key = "sk-" + "a1" * 24
    told = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "pay",
        "gen_ai.tool.call.arguments": json.dumps({"note": key}),
    }
    (tmp_path / "t.json").write_text(write_json([span("pay", 1, told=told)]), "utf-8")

    (recording,) = load_traces(str(tmp_path / "t.json"))

    assert key not in str(recording)
    assert key not in repr(recording.tools[0].args)


def test_many_spans_go_to_disk_and_come_back_by_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_KEPT", 7)
    mixed = [span("x", number, trace=number % 3 + 1, told={"n": number, "list": [1, "a"]}) for number in range(1, 31)]

    found = list(traces_in(mixed))

    assert [{one.trace_id for one in trace} for trace in found] == [{f"{n:032x}"} for n in (2, 3, 1)]
    assert sorted((one for trace in found for one in trace), key=lambda one: one.span_id) == mixed


def test_a_trace_with_too_many_spans_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TRACE_SPANS", 2)

    with pytest.raises(OtelError, match=rf"^trace {1:032x} has more than 2 spans$"):
        list(traces_in([span("x", number) for number in range(1, 4)]))


def test_a_message_of_protobuf_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_MESSAGE_BYTES", 10)

    with pytest.raises(OtelError, match="one message of protobuf has at most 0 MiB; export in several files"):
        list(read(io.BytesIO(write_protobuf(spans())), "big.pb"))


@pytest.mark.soak
def test_a_million_spans_are_read_in_bounded_memory(tmp_path: Path) -> None:
    import tracemalloc

    told = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"}
    path = tmp_path / "many.json"
    with path.open("w", encoding="utf-8") as file:
        for trace in range(1, 10_001):
            file.write(write_json([span("x", number, trace=trace, told=told) for number in range(1, 101)]) + "\n")
    tracemalloc.start()

    with path.open("rb") as opened:
        count = sum(len(trace) for trace in traces_in(files.read_spans(opened, "many")))

    assert count == 1_000_000
    assert tracemalloc.get_traced_memory()[1] < 200_000_000


def test_import_keeps_what_it_has_read_before_the_damage(tmp_path: Path) -> None:
    steps: list[Any] = []
    with Store(tmp_path / "s.sqlite") as store:
        done = files.take_in(store, io.BytesIO(write_json(spans()).encode()), "x", "mine", lambda *step: steps.append(step))
        assert (done, steps, [line.name for line in store.sessions()]) == (1, [(1, 0)], ["mine"])


def test_a_trace_that_no_store_takes_is_an_error_with_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trace: Any) -> Any:
        raise StoreError("values are nested too deep")

    monkeypatch.setattr(files, "rows", broken)

    with pytest.raises(OtelError, match=r"^x, trace [0-9a-f]{32}: values are nested too deep$"):
        list(read(io.BytesIO(write_json(spans()).encode()), "x"))


def test_damaged_protobuf_is_an_error_with_its_place() -> None:
    binary = write_protobuf(spans())
    framed = len(binary).to_bytes(4, "big") + binary
    without_id = ExportTraceServiceRequest.FromString(binary)
    without_id.resource_spans[0].scope_spans[0].spans[0].span_id = b"\x01"

    with pytest.raises(OtelError, match=r"^message 2 of protobuf is cut off\n  expected  "):
        list(read(io.BytesIO(framed + framed[:-3]), "x"))
    with pytest.raises(OtelError, match=r"^x, span 1: ids of a trace and of a span have 16 and 8 bytes; got 16 and 1$"):
        list(read(io.BytesIO(without_id.SerializeToString()), "x"))
