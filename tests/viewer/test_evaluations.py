"""Evaluations on a page, and `llmtest evals show --html`."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from llmtest import ScriptedChatModel, record
from llmtest.cli import commands
from llmtest.evals.results import Results
from llmtest.evals.summaries import Summary
from llmtest.tracing.store import Store, place
from llmtest.viewer.cases import Case
from llmtest.viewer.evaluations import cases_of_evaluations
from tests.support.evaluated import TEST, write_session, write_set
from tests.support.pages import rows_of


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with the traces of two runs: `good` has one root, `bad` has two."""
    monkeypatch.delenv("LLMTEST_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, answers in (("good", ["sunny"]), ("bad", ["rain", "snow"])):
        with record() as recording:
            for answer in answers:
                ScriptedChatModel(answer).invoke("hi")
        with Store(place(tmp_path)) as opened:
            opened.keep(name, [recording])
    return place(tmp_path)


def told(case: Case) -> dict[str, Any]:
    assert case.detail is not None
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(case.detail.data.split(" ")[0])))
    return found


def test_a_set_and_its_cases_are_rows_with_the_traces_of_typical_runs(tmp_path: Path, store: Path) -> None:
    traces = {("a", 1): "bad", ("a", 0): "good", ("b", 0): "gone"}
    passed = {"a": [True, False, False], "b": [True, True], "c": [True]}
    write_set(tmp_path / "results", passed, trace=lambda case, number: traces.get((case, number)), at_least=0.5)
    done: list[tuple[int, int]] = []

    with Store(store) as opened:
        summaries = [Summary(found) for found in Results.load(tmp_path / "results")]
        whole, a, b, c = cases_of_evaluations(summaries, opened, lambda *progress: done.append(progress))

    assert [(case.name, case.status, case.seconds) for case in (whole, a, b, c)] == [
        (f"{TEST} (all cases)", "failed", 1.5),
        (f"{TEST}[a]", "failed", 0.75),
        (f"{TEST}[b]", "passed", 0.5),
        (f"{TEST}[c]", "passed", 0.25),
    ]
    assert whole.cause.startswith("undecided: 4 of 6 passed with 3 open, so the pass rate is from ")
    assert "  cases    3 undecided" in told(whole)["failure"]
    assert a.cause == "undecided: 1 of 3 passed; exact: expected 'Paris', got 'Lyon'"
    assert told(a)["notes"] == ["trace 1 to 2: run 1, which failed", "trace 3: run 0, which passed"]
    assert len(told(a)["traces"]) == 3
    assert told(b)["notes"] == [
        f"the traces of a run that passed cannot be shown: no session and no trace called 'gone' in {store};"
        " `llmtest sessions` lists all sessions"
    ]
    assert told(c)["notes"] == ["no traces of this case were kept: `pytest --llmtest-traces=all` keeps those of all runs"]
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_set_that_passes_has_no_cause(tmp_path: Path, store: Path) -> None:
    write_set(tmp_path / "results", {"a": [True] * 40})

    with Store(store) as opened:
        whole, _ = cases_of_evaluations([Summary(found) for found in Results.load(tmp_path / "results")], opened, lambda *_: None)

    assert (whole.status, whole.cause) == ("passed", "")


def test_show_writes_a_page(tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_session(tmp_path, "1", {"a": [False]}, trace="bad")

    assert commands.main(["evals", "show", "--html", "page.html"]) == 0

    assert capsys.readouterr().err == "page.html: 0.1 MB\n"
    assert [row[:2] for row in rows_of(Path("page.html").read_text("utf-8"))] == [
        [f"{TEST} (all cases)", "failed"],
        [f"{TEST}[a]", "failed"],
    ]
