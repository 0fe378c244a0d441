"""Recording -> OTLP -> recording: the same tree, for each program that makes order hard, and for the examples."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmtest import record
from llmtest.otel import Options
from tests.order.test_canonical_order import SCENARIOS, Cast
from tests.support.schedules import run
from tests.support.spans import through_otlp

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


def test_there_are_at_least_twenty_four_of_them() -> None:
    assert len(SCENARIOS) >= 24


def test_each_example_has_the_same_tree_again(tmp_path: Path) -> None:
    problems = tmp_path / "problems.txt"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.support.exported_examples", "-q"]

    subprocess.run([*command, f"--problems={problems}", "examples"], cwd=ROOT, capture_output=True, env=os.environ, check=True)

    told = problems.read_text("utf-8").splitlines()
    assert len(told) > 20
    assert [line for line in told if not line.startswith("same ")] == []
