"""Stored traces on a page, and `llmtest show --html`."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.runnables import RunnableLambda

from llmtest import ScriptedChatModel, tracing_enabled
from llmtest.cli import commands
from llmtest.tracing import flush
from llmtest.tracing.store import Store, place
from llmtest.viewer.cases import Case
from llmtest.viewer.stored import cases_of
from tests.support.pages import rows_of


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a session of two traces, one of which failed, and another session."""
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "traces.sqlite"))
    with tracing_enabled("shop"):
        ScriptedChatModel("Hello there").invoke("hi")
        with pytest.raises(ZeroDivisionError):
            RunnableLambda(lambda x: x / 0, name="divide").invoke(1)
    with tracing_enabled("other"):
        ScriptedChatModel("Bye").invoke("bye")
    flush()
    return place()


def test_each_trace_is_a_case(store: Path) -> None:
    done: list[tuple[int, int]] = []
    with Store(store) as opened:
        traces = opened.find("shop")
        cases = list(cases_of(opened, traces, lambda *progress: done.append(progress)))

    assert [(case.name, case.status, case.cause) for case in cases] == [
        (f"shop · {traces[0].key}", "passed", ""),
        (f"shop · {traces[1].key}", "failed", "ZeroDivisionError: division by zero"),
    ]
    assert all(isinstance(case, Case) and case.seconds is not None and case.detail is not None for case in cases)
    assert done == [(1, 2), (2, 2)]


def test_an_open_trace_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "traces.sqlite"))
    with tracing_enabled("open"):
        stream = ScriptedChatModel("Hello there").stream("hi")
        next(stream)
        flush()
        with Store(place()) as opened:
            (case,) = cases_of(opened, opened.traces(), lambda *_: None)
        list(stream)

    assert (case.status, case.seconds) == ("open", None)


def test_show_writes_a_session_as_a_page(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "shop.html"

    code = commands.main(["show", "shop", "--html", str(page)])

    told = capsys.readouterr()
    assert code == 0
    assert (told.out, told.err) == ("", f"{page}: 2 traces, 0.1 MB\n")
    assert [row[1] for row in rows_of(page.read_text("utf-8"))] == ["passed", "failed"]


def test_show_writes_all_traces_or_those_that_are_chosen(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "all.html"

    commands.main(["show", "--html", str(page)])
    whole = len(rows_of(page.read_text("utf-8")))
    commands.main(["show", "--errors", "--html", str(page)])

    assert (whole, len(rows_of(page.read_text("utf-8")))) == (3, 1)


def test_show_says_what_it_cannot_find(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = commands.main(["show", "shopp", "--html", str(tmp_path / "page.html")])

    assert code == 2
    assert capsys.readouterr().err == f"llmtest show: no session and no trace called 'shopp' in {store}; did you mean `shop`?\n"
    assert not (tmp_path / "page.html").exists()
