"""Phoenix, a real backend: it takes what is sent to it, and reads in it what was run and said."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool

from llmtest import ScriptedChatModel, call, record, say
from llmtest.otel import LiveExport, Options, spans_of
from llmtest.otel.sending import exporter_to, send
from llmtest.tracing.rows import traces_of

PATIENCE_S = 120.0


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def got(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


def spans_in(url: str, count: int) -> dict[str, Any]:
    """The spans that the backend shows, by name, as soon as it has so many."""
    until = time.monotonic() + PATIENCE_S
    found: list[Any] = []
    while len(found) < count and time.monotonic() < until:
        time.sleep(0.2)
        found = got(f"{url}/v1/projects/default/spans?limit=100")["data"]
    return {span["name"]: span for span in found}


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    folder = tmp_path_factory.mktemp("phoenix")
    about = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    command = [str(Path(sys.executable).with_name("phoenix")), "serve"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **about}, stdout=log, stderr=subprocess.STDOUT)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
    try:
        while True:
            try:
                got(f"{url}/v1/projects")
                break
            except OSError:
                assert time.monotonic() < until, (folder / "log").read_text("utf-8")
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(20)


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    return f"18C in {city}"


def ask() -> None:
    model = ScriptedChatModel(call("weather", city="Paris"), say("It is 18C."), model_name="gpt-5")
    answer = model.bind_tools([weather]).invoke("How warm is it?")
    (asked,) = answer.tool_calls
    model.invoke([("user", "How warm is it?"), answer, weather.invoke(asked)])


def test_what_was_run_and_said_is_read_by_the_backend(phoenix: str) -> None:
    with record() as recording:
        ask()

    assert send(phoenix, [spans_of(recording, Options("messages", "openinference"))]) == 3

    found = spans_in(phoenix, 3)
    chat, tool_span = found["gpt-5"], found["weather"]
    assert (chat["span_kind"], tool_span["span_kind"]) == ("LLM", "TOOL")
    assert chat["attributes"]["llm.model_name"] == "gpt-5"
    assert "How warm is it?" in json.dumps(chat["attributes"])
    assert "18C in Paris" in json.dumps(tool_span["attributes"])
    assert chat["attributes"]["llm.token_count.prompt"] > 0


def test_live_export_arrives(phoenix: str) -> None:
    export = LiveExport(exporter_to(phoenix), Options(), "phoenix")
    with record() as recording:
        ScriptedChatModel("Hello", model_name="live").invoke("hi")

    for trace in traces_of(recording):
        export.put(trace)

    assert str(export.close(60)) == "1 span sent"
    assert "chat live" in spans_in(phoenix, 4)
