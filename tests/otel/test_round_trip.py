"""Recording -> OTLP -> recording: the same tree, for each program that makes order hard, and for the examples."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmtest import Recording, record
from llmtest.otel import Options, recordings_of, spans_of
from llmtest.otel.otlp import read_json, write_json
from tests.order.test_canonical_order import SCENARIOS, Cast
from tests.support.schedules import run
from tests.support.spans import stored, through_otlp

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("program", SCENARIOS, ids=lambda program: program.__name__)
def test_a_concurrent_program_has_the_same_tree_again(program: Any) -> None:
    cast = Cast()

    for seed in range(3):
        with record() as recording:
            run(seed, lambda: program(cast)) if inspect.iscoroutinefunction(program) else program(cast)
        before, after = through_otlp(recording)
        assert after == before
        before, after = through_otlp(recording, Options("exact", "openinference"))
        assert after == before
        before, after = through_otlp(recording, binary=True)
        assert after == before


def facts(recording: Recording) -> list[Any]:
    """What the conventions tell of a recording: what ran inside what, with which arguments, results, texts and tokens."""
    tools = [(run.name, run.args, run.ended) for run in recording.tools]
    models = [
        (run.name, run.messages[-1:] and run.messages[-1].text, run.usage and run.usage.total_tokens) for run in recording.models
    ]
    runs = [(run.kind, run.name, run.ended, len(run.children)) for run in recording.runs]
    return [sorted(map(repr, each)) for each in (tools, models, runs)]


@pytest.mark.parametrize("convention", ["0.1", "1.41", "openinference"])
@pytest.mark.parametrize("program", SCENARIOS, ids=lambda program: program.__name__)
def test_the_conventions_alone_tell_what_ran_and_what_was_said(program: Any, convention: str) -> None:
    cast = Cast()
    with record() as recording:
        run(1, lambda: program(cast)) if inspect.iscoroutinefunction(program) else program(cast)

    text = write_json(spans_of(recording, Options("messages", convention)))
    read = recordings_of(read_json(io.StringIO(text), "spans.json"))

    before = sorted(stored(recording), key=lambda trace: trace[0].wall_ns)
    assert [facts(each) for each in read] == [facts(each) for each in before]


def test_there_are_at_least_twenty_four_of_them() -> None:
    assert len(SCENARIOS) >= 24


def test_each_example_has_the_same_tree_again(tmp_path: Path) -> None:
    problems = tmp_path / "problems.txt"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.support.exported_examples", "-q"]

    subprocess.run([*command, f"--problems={problems}", "examples"], cwd=ROOT, capture_output=True, env=os.environ, check=True)

    told = problems.read_text("utf-8").splitlines()
    assert len(told) > 20
    assert [line for line in told if not line.startswith("same ")] == []
