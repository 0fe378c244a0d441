"""`llmtest listen`: what a program sends is in the trace store. What is answered: tests/otel/test_listening.py."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from llmtest import ScriptedChatModel, load_traces, record
from llmtest.cli import listen
from llmtest.otel import Options, spans_of
from llmtest.otel.sending import send


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def program(url: str) -> None:
    with record() as recording:
        ScriptedChatModel("Hello").invoke("hi")
    send(url, [spans_of(recording, Options("exact"))])


@pytest.mark.parametrize("as_json", [False, True])
def test_traces_go_into_the_session(as_json: bool, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def wait(look: Callable[[], None]) -> None:
        told = capsys.readouterr().out
        url = json.loads(told)["url"] if as_json else told.partition("OTLP_ENDPOINT=")[2].partition("\n")[0]
        program(url)
        look()

    assert listen.run(project / "s.sqlite", 0, "mine", as_json, wait) == 0

    told = capsys.readouterr()
    assert told.err == "llmtest listen: 1 span, 1 trace\n"
    if as_json:
        assert {**json.loads(told.out), "trace": ""} == {
            "trace": "",
            "kind": "chat",
            "name": "ScriptedChatModel",
            "ended": "ended",
            "runs": 1,
        }
    else:
        assert told.out.endswith("  chat ScriptedChatModel  1 runs  ended\n")
    (recording,) = load_traces("mine", store=project / "s.sqlite")
    assert recording.kinds == ["on_chat_model_start", "on_llm_end"]


def test_it_ends_at_a_signal(project: Path) -> None:
    timer = threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGTERM))
    timer.start()
    assert listen.run(project / "s.sqlite", 0) == 0
    timer.join()


def test_a_port_in_use_is_an_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from llmtest.cli import commands

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert commands.main(["listen", "--port", str(port), "--store", str(project / "s.sqlite")]) == 2

    assert capsys.readouterr().err.startswith(f"llmtest listen: the server cannot listen on port {port} of 127.0.0.1: ")


def test_a_store_that_cannot_be_written_is_one_at_the_end(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "s.sqlite").write_text("no database " * 100, "utf-8")

    def wait(look: Callable[[], None]) -> None:
        program(capsys.readouterr().out.partition("OTLP_ENDPOINT=")[2].partition("\n")[0])

    assert listen.run(project / "s.sqlite", 0, wait=wait) == 1
    assert "the trace store" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_does_not_end_a_look_in_the_middle(number: int) -> None:
    looked = []

    def look() -> None:
        signal.raise_signal(number)
        looked.append("to its end")
        handlers.append(signal.getsignal(number))

    before, handlers = signal.getsignal(number), []
    listen._until_interrupted(look)

    assert looked == ["to its end"]
    assert handlers == [signal.default_int_handler]  # the second one ends it at once
    assert signal.getsignal(number) is before
