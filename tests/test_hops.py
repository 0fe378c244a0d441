"""How many functions a reader of a broken rule, and how many modules a reader of a token, has to follow."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import hops


def test_a_broken_rule_passes_few_functions() -> None:
    # In a process of its own: a thread that another test left at work makes the ledger ask one function more.
    done = subprocess.run([sys.executable, "-m", "benchmarks.hops", "--names"], capture_output=True, text=True, check=True)

    assert int(done.stdout.split()[0]) <= hops.MAX_FUNCTIONS, done.stdout


def test_the_functions_of_a_rule_are_those_from_writing_it_to_its_text() -> None:
    names = {name.partition(" ")[2] for name in hops.functions_of_a_rule()}

    assert names >= {"before", "Recording.obeys", "Before.judge", "HappensBefore.before", "Answer.__str__"}


def test_a_token_passes_few_modules_from_its_script_to_its_line() -> None:
    modules = hops.modules_of_a_token()

    assert len(modules) <= hops.MAX_MODULES, "\n".join(modules)
    assert {*modules} >= {"recording/recording.py", "trees/run_lines.py", "langchain/chat_model.py", "langchain/tap.py"}


def test_both_numbers_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["hops", "--names"])

    hops.main()

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[1] for line in lines if "goal" in line] == [
        "functions of a broken before(...) over four events (goal: at most 60)",
        "modules of a recorded and streamed token, script to tree line (goal: at most 8)",
    ]
    assert "       recording/recording.py" in lines
