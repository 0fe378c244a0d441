"""Evaluations in the report of a job of CI."""

from __future__ import annotations

import pytest

from llmtest.cli import commands
from llmtest.evals.results import Results, sessions_folder

SUITE = """
import pytest
from llmtest import ScriptedChatModel
from llmtest.evals import Dataset, exact

DATA = Dataset([{"id": name, "inputs": name, "expected": "a"} for name in ("a", "b")], name="letters")

@pytest.mark.llm_eval(dataset=DATA, at_least=0.3, repeats=10, scorers=[exact()])
def test_letter(case):
    return ScriptedChatModel(case.inputs).invoke("hi").text
"""


@pytest.fixture(autouse=True)
def _no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMTEST_STORE", raising=False)
    monkeypatch.setattr("llmtest.core.own_folder.session_name", iter(f"session-{n}" for n in range(9)).__next__)


def test_a_report_has_the_evaluations_and_jobs_are_combined(
    suite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write(SUITE)
    for job, case in (("one", "a"), ("two", "b"), ("two", "b")):
        suite.run(None, f"test_it.py::test_letter[{case}]", f"--llmtest-report={job}")
    monkeypatch.chdir(suite.path)

    assert (suite.path / "one" / "evaluations.md").read_text("utf-8").startswith("### Evaluations\n\n| set |")
    assert commands.main(["evals", "combine", "one", "two", "-o", "all"]) == 0
    assert commands.main(["evals", "accept", "all", "-o", "baseline.jsonl"]) == 0
    assert [*Results.load("all")["test_it.py::test_letter"].cases] == ["a", "b"]


def test_an_earlier_report_is_replaced_and_a_session_without_evaluations_has_none(suite) -> None:
    suite.run(SUITE, "--llmtest-report=report")
    assert (suite.path / "report" / "evals" / "combined.jsonl").exists()

    suite.run(SUITE, "--llmtest-report=report", "--llmtest-eval-plan")

    assert not (suite.path / "report" / "evaluations.md").exists()
    assert not [*(suite.path / "report" / "evals").iterdir()]


def test_mean_scores_are_in_the_summary_of_the_session(suite) -> None:
    scored = SUITE.replace("[exact()]", '{"exact": exact(), "length": lambda run: 2.5 if run.case.id == "a" else 3.0}')

    outcome = suite.run(scored)

    assert "test_it.py::test_letter: mean length 2.75, from " in outcome.text
    assert "mean exact" not in outcome.text
    assert "mean length" not in suite.run(scored, "-qq").text


def test_the_summary_of_a_job_on_github_has_the_evaluations(suite, monkeypatch: pytest.MonkeyPatch) -> None:
    page = suite.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))

    suite.run(SUITE)

    assert "### Evaluations" in page.read_text("utf-8")
    assert "#### `test_it.py::test_letter`" in page.read_text("utf-8")


def test_results_that_cannot_be_read_are_told(suite, monkeypatch: pytest.MonkeyPatch) -> None:
    page = suite.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    spoil = f"""
def test_spoil():
    from pathlib import Path
    Path({str(sessions_folder(suite.path) / "session-0" / "x.jsonl")!r}).write_text("no\\n")
"""

    outcome = suite.run(SUITE.replace("[exact()]", '{"length": lambda run: 2.5}') + spoil, "--llmtest-report=report")

    assert (
        "llmtest: the evaluations are not in the report: .llmtest/evals/session-0/x.jsonl:1: the line is not JSON" in outcome.text
    )
    assert "llmtest: the evaluations are not in the summary: " in outcome.text
    assert "the scores of the evaluations cannot be read: .llmtest/evals/session-0/x.jsonl:1" in outcome.text
    assert page.read_text("utf-8").startswith("### llmtest: ")
