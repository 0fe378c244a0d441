"""`llmtest reproduce`: the files of an incident. What is in them: tests/otel/test_reproduce.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmtest import ScriptedChatModel, load_traces, tracing_enabled
from llmtest.cli import commands


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "s.sqlite"))
    with tracing_enabled("incident"):
        ScriptedChatModel("Hello").invoke("hi")
    load_traces("incident")
    return tmp_path


def test_the_files_run_and_the_tree_is_shown(
    project: Path, capsys: pytest.CaptureFixture[str], pytester: pytest.Pytester
) -> None:
    assert commands.main(["reproduce", "incident", "-o", str(pytester.path), "--name", "greeting"]) == 0

    told = capsys.readouterr()
    assert told.out == 'chat ScriptedChatModel\n  > u1: "hi"\n  < a1: "Hello"  usage in=1 out=1\n'
    assert told.err == (
        "llmtest reproduce: 1 model call, 0 tool calls, 0 things left to do\n"
        f"  {pytester.path}/greeting.yaml\n"
        f"  {pytester.path}/greeting.tree\n"
        f"  {pytester.path}/test_greeting.py\n"
        f"  run it: pytest {pytester.path}/test_greeting.py\n"
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio").assert_outcomes(passed=1)


def test_a_file_that_exists_is_not_replaced_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["reproduce", "incident", "--name", "x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"files": ["tests/x.yaml", "tests/x.tree", "tests/test_x.py"], "todo": []}

    assert commands.main(["reproduce", "incident", "--name", "x"]) == 2
    assert capsys.readouterr().err == (
        "llmtest reproduce: tests/x.yaml, tests/x.tree, tests/test_x.py exists already\n"
        "  name the test otherwise (--name), or replace it (--force)\n"
    )
    assert commands.main(["reproduce", "incident", "--name", "x", "--force"]) == 0


def test_a_file_of_spans_is_a_source_and_one_trace_is_asked_for(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.main(["export", "incident", "--otlp", "one.json", "--content", "messages"])
    assert commands.main(["reproduce", "one.json"]) == 0

    with tracing_enabled("incident"):
        ScriptedChatModel("Again").invoke("hi")
    load_traces("incident")
    capsys.readouterr()
    assert commands.main(["reproduce", "incident"]) == 2
    assert capsys.readouterr().err.startswith("llmtest reproduce: incident has 2 traces; import it, and name one: ")
