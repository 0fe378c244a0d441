"""`llmtest evals`: what each command prints, writes, and ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmtest import record, scripted_tool
from llmtest.cli import commands
from llmtest.tracing.store import Store, place
from tests.support.evaluated import TEST, write_session, write_set

CASES = [f"c{n}" for n in range(8)]
GOOD = {case: [True] for case in CASES}
BAD = {case: [False] for case in CASES}
SAME = {case: [case != "c0"] for case in CASES}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "sub").mkdir()
    return tmp_path


def run(*arguments: str) -> int:
    return commands.main(["evals", *arguments])


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def err(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


# -- show


def test_show_the_last_session_from_any_folder_of_the_project(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_session(folder, "1", GOOD)
    write_session(folder, "2", {"a": [True, False]})
    monkeypatch.chdir(folder / "sub")

    assert run("show") == 0
    assert out(capsys) == (
        f"{TEST} · letters\n"
        "  undecided: 1 of 2 passed, so the pass rate is from 1.2 % to 98.8 % (95 % confidence); 90 % is required\n"
        "    a new set of 8 repeats would decide, if 50 % of them pass; or a new set of 54, if at most 1 fail\n"
        "  cases    1 undecided\n"
        "  score    exact 50 %, from 1.2 % to 98.8 % (95 % confidence)\n"
        "  attempts pass@1 50 %, pass^1 50 %, pass@2 100 %, pass^2 0 %\n"
        "  a run    0.25 seconds\n"
        "    undecided 1 of 2  `a`: exact: expected 'Paris', got 'Lyon'\n"
        "\n"
    )
    assert run("show", "1", "--json") == 0
    (told,) = json.loads(out(capsys))
    assert (told["test"], told["passed"], told["outcome"]) == (TEST, 8, "undecided")
    assert run("show", "--markdown") == 0
    assert out(capsys).splitlines()[4] == f"| `{TEST}` | **undecided** | 1 of 2 | 1.2 % to 98.8 % | 90 % |"


def test_half_a_line_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = write_set(folder / "results", GOOD).iterdir()
    file.write_text(f'{file.read_text("utf-8")}{{"test": "', "utf-8")

    assert run("show", "results") == 0
    assert err(capsys) == "results/main.jsonl:10: the line was not written to its end, and is left out\n"


def test_without_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show") == 2
    assert err(capsys) == "llmtest evals show: .llmtest/evals: there are no results of an earlier session\n"
    assert run("history") == 0
    assert out(capsys) == "no results; tests with the marker llm_eval write some\n"
    assert run("history", "--json") == 0
    assert json.loads(out(capsys)) == []


# -- accept, compare


def test_from_an_accepted_baseline_to_a_regression_with_its_tree_diff(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, city in (("old", "Oslo"), ("new", "Lyon")):
        with record() as recording:
            scripted_tool("weather", "18 °C", args={"city": str}).invoke({"city": city})
        with Store(place(folder)) as store:
            store.keep(name, [recording])
    write_session(folder, "1", GOOD, trace="old")
    write_session(folder, "2", BAD, trace=lambda case, number: "new" if case == "c0" else None)

    assert run("accept", "1", "-o", "baseline.jsonl") == 0
    assert err(capsys) == "baseline.jsonl: the results of 8 cases of 1 test\n"
    assert run("compare", "baseline.jsonl") == 1

    lines = out(capsys).splitlines()
    assert lines[:8] == [
        TEST,
        "  passes: worse: 0 %, 100 % before; 8 cases worse and 0 better (McNemar, p = 0.0078)",
        "    now failing  `c0`, `c1`, `c2`, `c3`, `c4`, `c5`, `c6`, `c7`",
        "  exact: worse: 0, 1 before; 8 cases worse and 0 better (McNemar, p = 0.0078)",
        "  seconds: no evidence: 0.25, 0.25 before; 0 cases worse and 0 better; the mean difference is from +0 to +0"
        " (sign flips, p = 1)",
        "  `c0`:",
        '    tool argument city "Oslo" → "Lyon" at weather (1 of 2 lines, 1 cause)',
        '      - tool weather(city="Oslo")',
    ]
    assert lines[-2] == "  ... and the diffs of 3 more cases"
    assert run("compare", "2", "1") == 0


def test_what_fails_is_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_session(folder, "1", GOOD, input_tokens=10, output_tokens=lambda case, number: int(case[1]))
    write_session(folder, "2", SAME, input_tokens=20, output_tokens=lambda case, number: int(case[1]))

    assert run("compare", "1", "2") == 0
    assert "passes: no evidence" in out(capsys)
    assert run("compare", "1", "2", "--fail-on", "passes, tokens") == 1
    assert "tokens: worse: 23.5, 13.5 before" in out(capsys)
    assert run("compare", "2", "1", "--fail-on", "tokens,cost,seconds,scores") == 0


def test_a_comparison_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_session(folder, "1", GOOD)
    write_session(folder, "2", BAD)

    assert run("compare", "1", "2", "--json", "--confidence", "0.9") == 1

    (told,) = json.loads(out(capsys))
    assert (told["outcome"], told["cases"], told["confidence"], told["uncompared"]) == ("worse", 8, 0.9, [])
    assert told["now_failing"][0] == {"id": "c0", "before": 1.0, "after": 0.0}
    assert told["passes"]["p"] == told["scores"]["exact"]["p"] == pytest.approx(2 / 256)
    assert told["spending"]["seconds"]["outcome"] == "no evidence"
    assert told["regressions"] == ["passes: worse: 0 %, 100 % before; 8 cases worse and 0 better (McNemar, p = 0.0078)"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["show", "1", "--fail-on", "fial"], "show: --fail-on has the unknown word 'fial'; did you mean `fail`?"),
        (["compare", "1", "2", "--fail-on", "pass"], "compare: --fail-on has the unknown word 'pass'; did you mean `passes`?"),
        (["compare", "1", "2", "--confidence", "95"], "compare: --confidence lies between 0 and 1, such as 0.95; got 95.0"),
        (["compare", "1", "3"], "compare: the baseline is of other cases than these results\n"),
        (["compare", "1", "no"], "compare: .llmtest/evals: there is no session 'no'"),
        (["compare", "1", "no.jsonl"], "compare: no.jsonl: the results cannot be read: No such file or directory"),
        (["accept", "1", "-o", "file/x"], "accept: file/x: the baseline cannot be written: File exists"),
        (["accept", "4", "-o", "x"], f"accept: {TEST}: the results are of 1 of 2 cases of letters"),
        (["history", "--last", "0"], "history: --last is 1 or more; got 0"),
        (["combine", "1", "-o", "sub"], "combine: 1: the results cannot be read: No such file or directory"),
    ],
    ids=["verdict", "kind", "confidence", "cases", "session", "no file", "folder", "a part", "last", "combine"],
)
def test_what_makes_no_sense_is_exit_code_2(
    arguments: list[str], error: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_session(folder, "1", GOOD)
    write_session(folder, "2", BAD)
    write_session(folder, "3", {"c0": [True], "x": [True]})
    write_session(folder, "4", {"c0": [True]}, of=["c0", "c1"])
    Path("file").touch()

    assert run(*arguments) == 2
    assert err(capsys).startswith(f"llmtest evals {error}")


@pytest.mark.parametrize(
    ("passed", "fail_on", "code"),
    [
        (40, "fail,undecided", 0),
        (38, "fail,undecided", 1),
        (38, "fail", 0),
        (0, "fail", 1),
        (0, "undecided", 0),
        (0, "", 0),
    ],
)
def test_a_verdict_may_be_the_exit_code(passed: int, fail_on: str, code: int, folder: Path) -> None:
    write_session(folder, "1", {"a": [number < passed for number in range(40)]})

    assert run("show", "--fail-on", fail_on) == code
    assert run("show", "--json", "--fail-on", fail_on) == code


# -- history, combine


def test_the_history_of_each_set(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_session(folder, "20260101", {"a": [True] * 40})
    write_session(folder, "20260102", {"a": [True] * 10 + [False] * 30})
    write_session(folder, "20260102", {"a": []}, test="other", worker="x", repeats=2)

    assert run("history") == 0
    assert out(capsys) == (
        f"{TEST}  █▃\n"
        "  20260101  100 %   91.1 % to 100 %  40 of 40  pass\n"
        "  20260102   25 %  12.6 % to 41.2 %  10 of 40  fail\n"
        "\n"
        "other  ·\n"
        "  20260102  -  0 % to 100 %  0 of 0  undecided\n"
        "\n"
    )
    assert run("history", "--last", "1", "--json") == 0
    told = json.loads(out(capsys))
    assert [(point["session"], point["rate"]) for point in told] == [("20260102", 0.25), ("20260102", None)]
    (folder / ".llmtest" / "evals" / "20260102" / "x.jsonl").write_text("no\n")
    assert run("history") == 1
    assert err(capsys).startswith(".llmtest/evals/20260102/x.jsonl:1: the line is not JSON: ")


def test_the_jobs_of_ci_are_combined(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(folder / "job1", {"a": [True]}, of=["a", "b"])
    (file,) = write_set(folder / "job2", {"b": [True]}, of=["a", "b"], worker="gw1").iterdir()
    file.write_text(f"{file.read_text('utf-8')}{{", "utf-8")

    assert run("combine", "job1", "job2", "-o", "all") == 0
    assert err(capsys) == ("job2/gw1.jsonl:3: the line was not written to its end, and is left out\nall: 1 set, 2 runs\n")
    assert run("accept", "all", "-o", "baseline.jsonl") == 0
    assert run("compare", "baseline.jsonl", "all") == 0


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--help")

    assert ended.value.code == 0
    assert all(
        f"    {name} " in out_text for out_text in [out(capsys)] for name in ("show", "compare", "accept", "history", "combine")
    )
    with pytest.raises(SystemExit) as wrong:
        run("shw")
    assert wrong.value.code == 2
