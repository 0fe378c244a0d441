"""The pages about evaluations: what their commands print is what they show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmtest.cli import commands

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (PAGES / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_regression_of_the_page_comes_out(suite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("LLMTEST_STORE", raising=False)
    monkeypatch.setattr("llmtest.core.own_folder.session_name", iter(("session-1", "session-2")).__next__)
    monkeypatch.chdir(suite.path)
    (suite.path / "evals").mkdir()
    code = blocks("compare-evaluations.md", "python")[0]
    accept, session, *_ = blocks("compare-evaluations.md", "console")
    suite.write(code, "test_weather")
    suite.run(None, "--llmtest-traces=all")
    capsys.readouterr()

    command, said = accept.splitlines()[1:]
    assert commands.main(command.removeprefix("$ llmtest ").split()) == 0
    assert capsys.readouterr().err == f"{said}\n"

    suite.write(code.replace('invoke({"city": city})', 'invoke({"city": city.upper()})'), "test_weather")
    outcome = suite.run(None, *session.split()[2:])

    headline, diff = blocks("compare-evaluations.md", "text")
    assert headline in f"{outcome.text}\n"
    assert diff in outcome.text
    assert outcome.exit_code == 1


def test_the_calibration_of_the_page_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    exec("\n".join(blocks("judge-with-a-model.md", "python")), {})

    (shown,) = blocks("judge-with-a-model.md", "text")
    assert capsys.readouterr().out == shown
