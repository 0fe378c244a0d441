"""`llmtest cassettes`: its table, its JSON, its exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtest.cli import commands


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    Path("pytest.ini").write_text("[pytest]\ncache_dir = .cache\n")
    return tmp_path


def write(name: str, days: int, steps: str = "[Hello]") -> None:
    file = Path("tests") / "cassettes" / "test_it" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    recorded = (datetime.now(UTC).date() - timedelta(days=days)).isoformat()
    file.write_text(
        f'# llmtest script v2\ntest: "test_it.py::{name}"\nrecorded: "{recorded}"\nmodels: {{"openai:gpt-5": {steps}}}\n'
    )


def test_the_cassettes_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    write("test_long_name", 1)
    write("test_b", 30, "[Hello, Bye]")
    write("test_c", 0)
    Path(".cache/v/llmtest").mkdir(parents=True)
    known = {"tests/cassettes/test_it/test_b.yaml": True, "tests/cassettes/test_it/test_c.yaml": False}
    Path(".cache/v/llmtest/stale").write_text(json.dumps(known))

    assert commands.main(["cassettes"]) == 0

    assert capsys.readouterr().out == (
        "test                            age  calls   size  stale  models\n"
        "test_it.py::test_b          30 days      2  109 B    yes  openai:gpt-5\n"
        "test_it.py::test_c           0 days      1  104 B     no  openai:gpt-5\n"
        "test_it.py::test_long_name    1 day      1  112 B      -  openai:gpt-5\n"
    )
    assert commands.main(["cassettes", "tests/cassettes/test_it/test_b.yaml", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["test"], told["age_days"], told["stale"]) == ("test_it.py::test_b", 30, True)


def test_without_a_configuration_file_the_nearest_cache_above_tells_what_is_stale(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pytest.ini").unlink()
    write("test_b", 30)
    stale = folder / ".pytest_cache" / "v" / "llmtest" / "stale"
    stale.parent.mkdir(parents=True)
    stale.write_text(json.dumps({"tests/cassettes/test_it/test_b.yaml": True}))
    monkeypatch.chdir("tests")

    assert commands.main(["cassettes", "--json"]) == 0
    assert [told["stale"] for told in json.loads(capsys.readouterr().out)] == [True]


def test_no_cassettes(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["cassettes"]) == 0
    assert capsys.readouterr().out == (
        "no cassettes; `pytest --llmtest-record=once` records those of tests with the marker llm_cassette\n"
    )
    assert commands.main(["cassettes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_one_that_cannot_be_read_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    write("test_a", 1, "[{sya: x}]")

    assert commands.main(["cassettes"]) == 1

    assert capsys.readouterr().out == (
        "unreadable  tests/cassettes/test_it/test_a.yaml:4: step 1 of `openai:gpt-5` of `models` of the file has the unknown key"
        " `sya`\n"
    )
    assert commands.main(["cassettes", "none"]) == 2
    assert capsys.readouterr().err == "llmtest cassettes: there is no file and no folder `none`\n"
