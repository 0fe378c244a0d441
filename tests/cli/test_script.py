"""`llmtest script`: its options, where its output goes, and its exit codes. tests/tracing tests what sources make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmtest import Script
from llmtest.cli import commands
from llmtest.scripts.files import read_file
from tests.support.stored import fill_store

FOREIGN = Path(__file__).parent.parent / "cassettes" / "foreign"

PARIS = """\
# llmtest script v2
# paris: 1 step of 1 model
recorded: "2026-01-01"
steps:
  - call: weather
    args: {city: Paris}
    id: call_1
    usage: [3, 7]
    request: {like: r1, messages: {human: 1}, human: hi}
requests:
  r1:
    source: callbacks
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill_store(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_trace_goes_to_standard_output_and_what_is_said_of_it_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["script", "paris"]) == 0

    out, err = capsys.readouterr()
    assert out.replace("    id: call_1\n", "") == PARIS.replace("    id: call_1\n", "")
    assert err == "llmtest script: paris: 1 step of 1 model\n"


def test_a_file_is_written_whole_and_can_be_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["script", "paris", "-o", "scripts/paris.yaml", "--tools", "weather"]) == 0

    assert capsys.readouterr() == (
        "",
        "llmtest script: paris: 1 step of 1 model, 1 answer of tools -> scripts/paris.yaml\n",
    )
    written = read_file(Path("scripts/paris.yaml").read_text(), "")
    assert [str(answer) for answer in written.tools["weather"]] == ['{"city": "Paris"} gave \'18C\'']
    assert len(Script.load("scripts/paris.yaml").optional().steps) == 1


def test_what_was_written_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["script", "from", str(FOREIGN / "vcr_requests.yaml"), "-o", "v.yaml", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["file"], sorted(told)) == ("v.yaml", ["file", "masked", "notes", "steps", "tools"])
    assert told["steps"] == {model: len(entries) for model, entries in read_file(Path("v.yaml").read_text(), "").models.items()}


def test_notes_stand_at_the_top_of_the_file_as_comments(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["script", str(FOREIGN / "cassetter.yaml")]) == 0

    out, err = capsys.readouterr()
    comments = [line.removeprefix("# ").strip() for line in out.splitlines()[1:] if line.startswith("#")]
    assert "1 exchange was no call of a model that can be read" in comments
    assert "  1 exchange was no call of a model that can be read" in err.splitlines()


def test_the_masks_of_the_project_hold(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pytest.ini").write_text("[pytest]\nllmtest_masks =\n    city = Par[a-z]+\n")

    assert commands.main(["script", "paris"]) == 0

    out, err = capsys.readouterr()
    assert 'args: {city: "<mask:city>"}' in out
    assert err.splitlines()[1:] == ["  1 text masked, because a part looks like a secret"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["paris", "broken"], "a script file is made of one source; got 2: paris, broken"),
        (["paris", "--json"], "--json says what was written to a file; name it: -o FILE"),
        (["from", "none.yaml"], "there is no file `none.yaml`"),
        (["paris", "--model", "gpt*"], "paris has no call of a model `gpt*`\n  models  `Model`"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["script", *arguments]) == 2

    assert capsys.readouterr() == ("", f"llmtest script: {problem}\n")


def test_help_lists_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        commands.main(["script", "--help"])

    assert "  from FILE: a file of another tool" in capsys.readouterr().out
