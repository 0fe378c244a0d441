"""`--llmtest-baseline`: a regression fails the session with its cases and their tree diffs; no evidence does not."""

from __future__ import annotations

import json
from itertools import count

import pytest

from llmtest.cli import commands

CASES = "\n".join(json.dumps({"id": f"c{n}", "inputs": f"city {n}", "expected": "sunny"}) for n in range(8))
SUITE = """
import os

import pytest
from llmtest import ScriptedChatModel, scripted_tool
from llmtest.evals import exact

BAD = os.environ.get("BAD", "").split()

@pytest.mark.llm_eval(dataset="cases.jsonl", at_least=0.1, repeats=5, scorers=[exact()])
def test_weather(case):
    worse = case.id in BAD
    scripted_tool("weather", "rain", args={"city": str}).invoke({"city": "Oslo" if worse else case.inputs})
    return ScriptedChatModel("cloudy" if worse else "sunny").invoke("hi").text
"""
ALL = " ".join(f"c{n}" for n in range(8))


@pytest.fixture(autouse=True)
def _no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMTEST_STORE", raising=False)
    monkeypatch.delenv("BAD", raising=False)
    names = (f"session-{number}" for number in count())  # two sessions of one process may begin in one second
    monkeypatch.setattr("llmtest.core.own_folder.session_name", lambda: next(names))


@pytest.fixture
def accepted(suite, monkeypatch: pytest.MonkeyPatch):
    """A suite with an accepted baseline, in which all is well."""
    (suite.path / "cases.jsonl").write_text(CASES, "utf-8")
    assert suite.run(SUITE, "--llmtest-traces=all").exit_code == 0
    monkeypatch.chdir(suite.path)
    assert commands.main(["evals", "accept", "-o", "baseline.jsonl"]) == 0
    return suite


def test_a_regression_fails_with_the_cases_and_their_tree_diffs(accepted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD", ALL)

    outcome = accepted.run(SUITE, "--llmtest-baseline=baseline.jsonl", "--llmtest-traces=all")

    text = outcome.text
    assert "worse than baseline.jsonl: passes: worse: 0 %, 100 % before; 8 cases worse and 0 better" in text
    assert "now failing  `c0` (" in text
    assert 'tool argument city "city 0" → "Oslo" at weather' in text
    assert "... and the diffs of 3 more cases" in text
    assert outcome.exit_code == 1


def test_no_evidence_is_told_and_fails_nothing(accepted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD", "c3")

    outcome = accepted.run(SUITE, "--llmtest-baseline", "baseline.jsonl", "-k", "not c3 or c3")

    assert "test_it.py::test_weather: passes: no evidence: 87.5 %, 100 % before; 1 case worse and 0 better" in outcome.text
    assert "now failing  `c3` (" in outcome.text
    assert "worse than" not in outcome.text


def test_only_what_is_asked_for_fails(accepted, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\nllmtest_regressions = tokens cost\n")
    monkeypatch.setenv("BAD", ALL)

    outcome = accepted.run(SUITE.replace('invoke("hi")', 'invoke("hi there")'), "--llmtest-baseline=baseline.jsonl")

    assert "worse than baseline.jsonl: tokens: worse: 3, 2 before; 8 cases worse and 0 better" in outcome.text


def test_cases_that_did_not_run_are_not_compared(accepted) -> None:
    outcome = accepted.run(SUITE, "--llmtest-baseline=baseline.jsonl", "-k", "c3")

    assert outcome.exit_code == 1
    assert "nothing was compared with the baseline\n  test_it.py::test_weather: 1 of 8 cases have run" in outcome.text


def test_a_session_without_evaluations_compares_nothing(accepted) -> None:
    outcome = accepted.run("def test_plain():\n    pass\n", "--llmtest-baseline=baseline.jsonl")

    assert outcome.exit_code == 1
    assert "nothing was compared with the baseline\n  test_it.py::test_weather has no results in this session" in outcome.text


@pytest.mark.parametrize("option", ["--collect-only", "--llmtest-eval-plan"])
def test_where_nothing_runs_nothing_is_compared(accepted, option: str) -> None:
    outcome = accepted.run(SUITE, "--llmtest-baseline=baseline.jsonl", option)

    assert outcome.exit_code == 0
    assert "baseline" not in outcome.text


def test_a_test_with_a_new_name_and_a_new_test_are_told(accepted) -> None:
    other = SUITE.replace("test_weather", "test_renamed")
    extra = other + SUITE[SUITE.index("@pytest") :].replace("test_weather", "test_new").replace("exact()", "exact('sunny')")

    renamed = accepted.run(other, "--llmtest-baseline=baseline.jsonl")
    both = accepted.run(SUITE + extra[extra.index("@pytest", extra.index("@pytest") + 1) :], "--llmtest-baseline=baseline.jsonl")

    assert renamed.exit_code == both.exit_code == 0
    assert "test_it.py::test_renamed: passes: no evidence" in renamed.text
    assert "not compared: test_it.py::test_new is not in the baseline" in both.text


def test_a_baseline_of_other_cases_is_a_failure_that_names_them(accepted) -> None:
    (accepted.path / "cases.jsonl").write_text(CASES.replace("city 3", "city three").replace('"c7"', '"d7"'), "utf-8")

    outcome = accepted.run(SUITE, "--llmtest-baseline=baseline.jsonl")

    assert outcome.exit_code == 1
    assert (
        "baseline.jsonl: the baseline is of other cases than these results\n"
        "  changed `c3`\n  new     `d7`\n  gone    `c7`\n  write a new baseline"
    ) in outcome.text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "--llmtest-baseline: no.jsonl: the baseline cannot be read: No such file or directory"),
        ("{}", "--llmtest-baseline: no.jsonl: this is no baseline: its first line has no `llmtest_baseline`"),
    ],
)
def test_a_file_that_is_no_baseline_is_an_error_at_the_start(suite, text: str | None, error: str) -> None:
    if text is not None:
        (suite.path / "no.jsonl").write_text(text)

    outcome = suite.run("def test_it():\n    print('ran')\n", "--llmtest-baseline=no.jsonl", "-s")

    assert outcome.exit_code == 4
    assert error in outcome.errors
    assert "ran" not in outcome.text


def test_an_unknown_word_of_the_ini_key_is_an_error_at_the_start(accepted) -> None:
    accepted.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\nllmtest_regressions = passed\n")

    outcome = accepted.run(SUITE, "--llmtest-baseline=baseline.jsonl")

    assert outcome.exit_code == 4
    assert "the ini key llmtest_regressions has the unknown word 'passed'; did you mean `passes`?" in outcome.errors


def test_a_session_that_is_not_there_cannot_be_compared(suite) -> None:
    (suite.path / "b.jsonl").write_text(
        '{"llmtest_baseline": 1, "dataset": "d", "hash": "43de3a417d75f481", "cases": 1}\n'
        '{"id": "a", "hash": "1", "passed": 1, "total": 1, "scores": {}}\n'
    )

    outcome = suite.run("def test_it():\n    pass\n", "--llmtest-baseline=b.jsonl", "--llmtest-resume")

    assert outcome.exit_code == 4
    assert "--llmtest-resume: " in outcome.errors


def test_results_that_cannot_be_read_are_a_failure(accepted) -> None:
    (folder,) = (accepted.path / ".llmtest" / "evals").iterdir()
    other = folder.with_name("session-1")
    spoil = f"\ndef test_spoil():\n    from pathlib import Path\n    Path({str(other / 'x.jsonl')!r}).write_text('no\\n')\n"

    outcome = accepted.run(SUITE + spoil, "--llmtest-baseline=baseline.jsonl")

    assert outcome.exit_code == 1
    assert ".llmtest/evals/session-1/x.jsonl:1: the line is not JSON" in outcome.text


def test_a_session_that_is_resumed_is_compared_as_a_whole(accepted, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted.run(SUITE, "-k", "c0 or c1")
    monkeypatch.setenv("BAD", ALL)

    outcome = accepted.run(SUITE, "--llmtest-resume", "--llmtest-baseline=baseline.jsonl")

    assert "passes: worse: 25 %, 100 % before; 6 cases worse and 0 better" in outcome.text


def test_workers_of_xdist_are_compared_together(accepted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD", ALL)

    outcome = accepted.run_on_workers(SUITE, "--llmtest-baseline=baseline.jsonl")

    assert outcome.text.count("8 cases worse and 0 better") >= 1
    assert "worse than baseline.jsonl" in outcome.text
