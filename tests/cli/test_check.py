"""`llmtest check`: rules on stored traces, for a cron job."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from langchain_core.runnables import RunnableLambda

from llmtest import ScriptedChatModel, load_traces, tracing_enabled
from llmtest.cli import commands

RULES = """
from llmtest.matching import at_most, model, never

few = at_most(1, model())
ALL = [few, never("delete_*")]
broken = [at_most(0, model())]
nothing = []
wrong = [7]

def made():
    return ALL

def needs_more(what):
    return what
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMTEST_STORE", str(tmp_path / "s.sqlite"))
    (tmp_path / "my_rules.py").write_text(RULES, "utf-8")
    (tmp_path / "my_broken.py").write_text("ALL = (", "utf-8")
    (tmp_path / "my_failing.py").write_text("1 / 0", "utf-8")
    monkeypatch.delitem(sys.modules, "my_rules", raising=False)
    with tracing_enabled("yesterday"):
        for _ in range(2):
            ScriptedChatModel("Hello").invoke("hi")
    load_traces("yesterday")
    return tmp_path


@pytest.mark.parametrize("rules", ["my_rules:ALL", "my_rules:few", "my_rules:made"])
def test_rules_that_hold_are_zero_and_one_line(rules: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["check", "yesterday", "--rules", rules]) == 0
    told = capsys.readouterr()

    assert told.out == ""
    count = "1 rule" if rules.endswith("few") else "2 rules"
    assert told.err == f"llmtest check: {count}, 2 traces, 0 broken, 0 that cannot be told\n"


def test_a_broken_rule_is_one_with_its_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["check", "yesterday", "--rules", "my_rules:ALL", "--rules", "my_rules:broken"]) == 1
    told = capsys.readouterr()

    assert told.err == "llmtest check: 3 rules, 2 traces, 2 broken, 0 that cannot be told\n"
    assert told.out.count("expected never a model\n  got      `ScriptedChatModel` was called\n") == 2


def test_json_has_every_trace(capsys: pytest.CaptureFixture[str]) -> None:
    commands.main(["check", "yesterday", "--rules", "my_rules:broken", "--json"])

    first, second = json.loads(capsys.readouterr().out)
    (answer,) = first["answers"]
    assert first["trace"].startswith("yesterday ")
    assert first["trace"] != second["trace"]
    assert (answer["rule"], answer["state"]) == ("never a model", "broken")


def test_what_cannot_be_told_is_no_success(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.main(["export", "yesterday", "--otlp", "traces.json"])
    (project / "my_rules.py").write_text("from llmtest.matching import *\nALL = never(event('on_retry'))", "utf-8")

    assert commands.main(["check", "traces.json", "--rules", "my_rules:ALL"]) == 1
    told = capsys.readouterr()
    assert told.err.endswith("llmtest check: 1 rule, 2 traces, 0 broken, 2 that cannot be told\n")
    assert "traces.json, trace 1" in told.out


def test_filters_choose_among_the_traces(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["check", "yesterday", "--rules", "my_rules:broken", "--errors"]) == 0

    assert capsys.readouterr().err == "llmtest check: 1 rule, 0 traces, 0 broken, 0 that cannot be told\n"


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ("my_rules", "--rules takes MODULE:NAME, such as rules:ALL; got 'my_rules'"),
        ("my_rules:AL", "the module 'my_rules' has no 'AL'; did you mean `ALL`?"),
        ("my_rules:wrong", "my_rules:wrong is a rule, a list of rules, or a function that returns one of them; got list [7]"),
        ("my_rules:nothing", "my_rules:nothing is a rule, a list of rules, or a function that returns one of them; got list []"),
        (
            "no_such:ALL",
            "the module 'no_such' of --rules cannot be imported: No module named 'no_such'\n  it is looked for from ",
        ),
        (".rules:ALL", "--rules takes MODULE:NAME, such as rules:ALL; got '.rules:ALL'"),
        ("../rules:ALL", "--rules takes MODULE:NAME, such as rules:ALL; got '../rules:ALL'"),
        ("my_broken:ALL", "the module 'my_broken' of --rules cannot be imported: SyntaxError: '(' was never closed"),
        ("my_failing:ALL", "the module 'my_failing' of --rules cannot be imported: ZeroDivisionError: division by zero"),
        ("my_rules:needs_more", "my_rules:needs_more cannot be called without arguments: TypeError: needs_more() missing 1"),
    ],
)
def test_rules_that_are_none(rules: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["check", "yesterday", "--rules", rules]) == 2

    assert capsys.readouterr().err.startswith(f"llmtest check: {why}")


def test_filters_are_not_for_files(capsys: pytest.CaptureFixture[str]) -> None:
    commands.main(["export", "yesterday", "--otlp", "one.json"])
    capsys.readouterr()

    assert commands.main(["check", "one.json", "--rules", "my_rules:ALL", "--errors"]) == 2

    assert capsys.readouterr().err == (
        "llmtest check: one.json is a file, and filters choose among the traces of the store\n  import it first\n"
    )


MASKS = '[tool.pytest.ini_options]\nllmtest_masks = ["customer = CUST-[0-9]+"]\n'


def test_masks_of_the_project_hold_for_traces_that_were_stored_without_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracing_enabled("other"):
        RunnableLambda(lambda _: ScriptedChatModel("It is CUST-77.").invoke("CUST-77")).with_config(run_name="CUST-77").invoke(1)
    load_traces("other")
    commands.main(["export", "other", "--otlp", str(project / "raw.json"), "--content", "messages"])
    (project / "pyproject.toml").write_text(MASKS, "utf-8")

    for source in ("other", str(project / "raw.json")):
        for more in ([], ["--json"]):
            assert commands.main(["check", source, "--rules", "my_rules:broken", *more]) == 1
    commands.main(["export", "other", "--otlp", str(project / "out.json"), "--content", "exact"])
    commands.main(["reproduce", "other", "-o", str(project / "tests")])
    told = capsys.readouterr()
    written = [path.read_text("utf-8") for path in (project / "out.json", *(project / "tests").iterdir())]

    assert "CUST-77" in (project / "raw.json").read_text("utf-8")
    assert len(written) == 4
    assert not [text for text in (told.out, told.err, *written) if "CUST-77" in text]
    assert "<mask:customer>" in told.out
