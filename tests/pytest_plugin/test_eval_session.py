"""The evaluations of a session: the verdict of a set, xdist, selections, the plan, and going on with a session."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmtest.evals import Requirement, Results

HEAD = """
import os, random, sys, time
from pathlib import Path
import pytest
from llmtest import ScriptedChatModel, say
from llmtest.evals import Dataset, contains

def dataset(cases, name="cases"):
    return Dataset([{"id": f"c{n}", "inputs": n, "expected": "Hello"} for n in range(cases)], name=name)
"""

FIVE = (
    HEAD
    + """
@pytest.mark.llm_eval(dataset=dataset(5), repeats=10, at_least=.8)
def test_it(case):
    assert case.inputs != 4 or ScriptedChatModel("no").invoke("hi").content == "yes", "it said no"
"""
)


def sessions(suite):
    folder = suite.path / ".llmtest" / "evals"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def results(suite, number=-1):
    return Results.load(sessions(suite)[number])


# -- the verdict of a set


def test_a_set_that_fails_is_a_failed_test_of_its_own(suite):
    outcome = suite.run(FIVE.replace("!= 4", "< 2"), "--llmtest-traces=off")

    assert outcome.counts == {"undecided": 2, "failed": 4}
    assert outcome.exit_code == 1
    assert outcome.part("test_it[c4]").splitlines() == [
        "fail: 0 of 6 passed with 4 open, so the pass rate is from 0 % to 73.8 % (95 % confidence); 80 % is required",
        "  6 x it said no",
    ]
    assert outcome.part("test_it").splitlines() == [
        "fail: 20 of 38 passed with 12 open, so the pass rate is from 26.4 % to 77.1 % (95 % confidence); 80 % is required",
        "  5 cases in 38 runs: 3 fail, 2 undecided; 36 tokens in 18 model calls",
        *(f"  c{number}: 6 of 6 failed: it said no" for number in (2, 3, 4)),
    ]
    assert outcome.part("evaluation").splitlines()[:-1] == [
        "test_it.py::test_it: fail: 20 of 38 passed with 12 open, so the pass rate is from 26.4 % to 77.1 % (95 % confidence);"
        " 80 % is required"
    ]


def test_a_set_that_is_undecided_adds_no_failure_to_a_case_that_has_failed(suite):
    outcome = suite.run(FIVE)

    assert outcome.counts == {"undecided": 4, "failed": 1}
    assert outcome.part("evaluation").startswith("test_it.py::test_it: undecided: 40 of 46 passed")
    assert "  c4: 6 of 6 failed: it said no" in outcome.part("evaluation")


def test_a_set_may_be_undecided_if_the_project_says_so(suite):
    source = HEAD + (
        "@pytest.mark.llm_eval(dataset=dataset(2), repeats=20, at_least=.9)\n"
        "def test_it(case, runs=[]):\n    runs.append(1)\n    assert len(runs) != 3\n"
    )
    gated = suite.run(source)
    suite.ini("[pytest]\nllmtest_undecided = pass\nasyncio_default_fixture_loop_scope = function")
    let = suite.run(source)

    assert (gated.exit_code, gated.counts) == (1, {"undecided": 2, "failed": 1})
    assert (let.exit_code, let.counts) == (0, {"undecided": 2})
    assert gated.part("test_it").splitlines() == [
        "undecided: 39 of 40 passed, so the pass rate is from 86.8 % to 100 % (95 % confidence); 90 % is required",
        "  a new set of 70 repeats would decide, if 97.5 % of them pass; or a new set of 54, if at most 1 fail",
        "  that is 35 or 27 repeats of each of the 2 cases",
        "  2 cases in 40 runs: 2 undecided",
        "  c0: 1 of 20 failed: assert 3 != 3",
    ]


def test_an_ini_key_of_another_value_is_an_error(suite):
    suite.ini("[pytest]\nllmtest_undecided = maybe")

    outcome = suite.run("")

    assert "the ini key llmtest_undecided is one of fail, pass; got 'maybe'" in outcome.errors


def test_a_set_that_was_selected_in_part_is_not_judged(suite):
    outcome = suite.run(FIVE, "-k", "c0 or c1")

    assert outcome.exit_code == 0
    assert outcome.counts == {"undecided": 2, "deselected": 3}
    assert outcome.part("evaluation").splitlines()[0] == "test_it.py::test_it: the set is not judged: 2 of 5 cases have run"


IDS = ["../x", "::", "a::b", "[x]", "x]", "é", "\\xe9", "a\\b", "\\", "-", "--lf", "b", "a-b", "x #1", "a" * 5000]


def test_cases_with_any_id_are_one_set(suite):
    outcome = suite.run(
        HEAD
        + f"""
@pytest.mark.parametrize("other", ["", "b", "x]"])
@pytest.mark.llm_eval(dataset=Dataset([{{"id": id, "inputs": 1}} for id in {IDS!r}]), repeats=8, at_least=.5)
def test_it(case, other):
    pass
"""
    )

    assert outcome.counts == {"passed": 3 * len(IDS)}
    assert {found.test: len(found.cases) for found in results(suite)} == {
        f"test_it.py::test_it{other}": len(IDS) for other in ("", "[b]", "[x]]")
    }


def test_lf_runs_the_cases_that_failed(suite):
    suite.run(FIVE, "-p", "cacheprovider")
    outcome = suite.run(FIVE, "-p", "cacheprovider", "--lf")

    assert outcome.counts == {"failed": 1, "deselected": 4} or outcome.counts == {"failed": 1}
    assert "the set is not judged: 1 of 5 cases have run" in outcome.text


def test_lf_runs_all_cases_of_a_set_that_failed_though_none_of_them_has(suite):
    program = (
        HEAD
        + """
@pytest.mark.llm_eval(dataset=dataset(5), repeats=4, at_least=.7)
def test_it(case, number=[]):
    number.append(1)
    assert case.inputs < 3 or len(number) % 2

def test_other():
    pass
"""
    )
    suite.run(program, "-p", "cacheprovider")
    again = suite.run(program, "-p", "cacheprovider", "--lf")
    passing = suite.run(program.replace("< 3", "< 9"), "-p", "cacheprovider", "--lf")
    at_last = suite.run(program, "-p", "cacheprovider", "--lf", "--lfnf=none")

    assert again.counts == {"undecided": 5, "failed": 1}
    assert passing.counts == {"undecided": 5}
    assert at_last.counts == {"deselected": 6}


@pytest.mark.parametrize("file", [".llmtest", ".llmtest/evals"])
def test_results_that_cannot_be_written_are_one_line(suite, file):
    path = suite.path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    outcome = suite.run(FIVE)

    assert outcome.counts == {"failed": 5}
    (line,) = outcome.part("test_it[c0]").splitlines()
    assert line.startswith("the results cannot be written to .llmtest/evals/2")
    assert line.endswith(": Not a directory")


def test_a_case_whose_setup_fails_leaves_its_set_without_a_verdict(suite):
    outcome = suite.run(
        HEAD
        + """
@pytest.fixture
def broken(case):
    assert case.inputs != 1

@pytest.mark.llm_eval(dataset=dataset(2), repeats=20, at_least=.8)
def test_it(case, broken):
    pass
"""
    )

    assert outcome.counts == {"passed": 1, "error": 1}
    assert "the set is not judged: 1 of 2 cases have run" in outcome.text


def test_workers_make_one_set(suite):
    pytest.importorskip("xdist")
    outcome = suite.run_on_workers(
        HEAD
        + """
@pytest.mark.llm_eval(dataset=dataset(6), repeats=10, at_least=.8)
def test_it(case):
    ScriptedChatModel("Hello").invoke("hi")

@pytest.mark.llm_eval(dataset=dataset(3, "three"), repeats=10, at_least=.8)
def test_bad(case):
    assert case.inputs < 0
"""
    )

    assert outcome.exit_code == 1
    assert outcome.counts == {"undecided": 6, "failed": 4}
    assert "test_it.py::test_it: pass: 60 of 60 passed" in outcome.part("evaluation")
    assert outcome.part("test_bad").splitlines()[0].startswith("fail: 0 of ")
    found = results(suite)
    assert (found["test_it.py::test_it"].passed, len(found["test_it.py::test_it"].cases)) == (60, 6)
    assert {path.name for path in sessions(suite)[-1].iterdir()} == {"gw0.jsonl", "gw1.jsonl"}
    assert len(sessions(suite)) == 1


@pytest.mark.parametrize("dist", [(), ("-n2",)])
def test_the_exit_code_is_that_of_the_set(suite, dist):
    source = HEAD + "@pytest.mark.llm_eval(dataset=dataset(2), repeats=11, at_least=.8)\ndef test_it(case): pass\n"
    outcome = suite.run_on_worker(source) if dist else suite.run(source)

    assert outcome.counts == {"undecided": 2}
    assert outcome.exit_code == 0


def test_the_failed_set_is_in_the_files_for_people_and_machines(suite):
    outcome = suite.run(FIVE.replace("!= 4", "< 2"), "--junitxml=junit.xml")

    assert outcome.exit_code == 1
    failures = (suite.path / ".llmtest" / "failures.md").read_text()
    assert "test_it.py::test_it" in failures
    assert "fail: 20 of 38 passed" in failures
    assert 'name="test_it"' in (suite.path / "junit.xml").read_text()


def test_a_session_without_evaluations_writes_nothing(suite):
    outcome = suite.run("def test_it(): pass")

    assert not outcome.has_part("evaluation")
    assert sessions(suite) == []


# -- a model with a known pass rate

KNOWN = """
draws = random.Random({seed})

@pytest.mark.llm_eval(dataset=dataset(1), repeats={repeats}, at_least=.8)
@pytest.mark.parametrize("number", range({sets}))
def test_it(case, number):
    answer = "Hello" if draws.random() < {rate} else "Bye"
    assert ScriptedChatModel(answer).invoke("hi").content == case.expected
"""


@pytest.mark.parametrize("sets", [25, pytest.param(300, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("rate", "repeats"), [(0.95, 40), (0.8, 40), (0.5, 20)])
def test_verdicts_come_at_the_rates_that_the_numbers_predict(suite, rate, repeats, sets):
    suite.ini("[pytest]\nllmtest_undecided = pass\nasyncio_default_fixture_loop_scope = function\nllmtest_traces = failed")
    outcome = suite.run(HEAD + KNOWN.format(seed=5, rate=rate, repeats=repeats, sets=sets), "--llmtest-traces=off")

    chances = Requirement(0.8).plan(repeats).chances(rate)
    counts = Counter({"pass": outcome.counts.get("passed", 0), "fail": outcome.counts.get("failed", 0)})
    counts["undecided"] = outcome.counts.get("undecided", 0)
    assert counts.total() == sets
    for name, chance in chances.items():
        # Four standard deviations, and one verdict more.
        assert abs(counts[name] - sets * chance) <= 4 * (sets * chance * (1 - chance)) ** 0.5 + 1


# -- the plan


def test_a_plan_says_what_can_be_shown_and_runs_nothing(suite):
    outcome = suite.run(
        HEAD
        + """
@pytest.mark.llm_eval(dataset=dataset(5), repeats=10, at_least=.9, max_cost=2.5)
def test_it(case):
    raise AssertionError

@pytest.mark.llm_eval(dataset=dataset(1), repeats=5, at_least=.1)
def test_other(case):
    raise AssertionError

def test_plain():
    raise AssertionError
""",
        "--llmtest-eval-plan",
        "-q",
        "-k",
        "c0 or c1",
    )

    assert outcome.exit_code == 0
    assert sessions(suite) == []
    assert outcome.text.splitlines()[:12] == [
        "nothing is run: --llmtest-eval-plan says what a run can show",
        "",
        "test_it.py::test_it: 5 cases x 10 repeats = 50 runs, at most $2.5 (max_cost)",
        "  2 of 5 cases are selected: the set will not be judged",
        "  set   50 repeats can show a pass rate of 90 % if all pass, and that it is lower if 40 or fewer pass (95 % confidence)",
        "  case  10 repeats cannot show a pass rate of 90 %: if all pass, it is from 69.1 % to 100 % (95 % confidence)",
        "        only that it is lower, if 6 or fewer pass",
        "        36 repeats can show 90 %, if all of them pass; fewer cannot",
        "",
        "test_it.py::test_other: 1 case x 5 repeats = 5 runs, of unknown cost",
        "  set   5 repeats can show a pass rate of 10 % if 3 or more pass, and cannot show that it is lower (95 % confidence)",
        "  case  5 repeats can show a pass rate of 10 % if 3 or more pass, and cannot show that it is lower (95 % confidence)",
    ]


def test_a_plan_knows_what_the_last_session_cost(suite):
    source = (
        HEAD
        + """
@pytest.mark.llm_eval(dataset=dataset(2), repeats=10, at_least=.8, prices={"scripted": (1.0, 1.0)})
def test_it(case):
    ScriptedChatModel(say("Hello", usage=(50_000, 50_000))).invoke("hi")
"""
    )
    suite.run(source)

    assert "= 20 runs, about $2, as the last session cost" in suite.run(source, "--llmtest-eval-plan").text


def test_a_plan_looks_for_the_last_session_that_had_the_test(suite):
    source = (
        HEAD
        + """
@pytest.mark.llm_eval(dataset=dataset(2), repeats=10, at_least=.8, prices={"scripted": (1.0, 1.0)})
def test_it(case):
    ScriptedChatModel(say("Hello", usage=(50_000, 50_000))).invoke("hi")

@pytest.mark.llm_eval(dataset=dataset(2), repeats=10, at_least=.8)
def test_other(case):
    pass
"""
    )
    suite.run(source, "-k", "test_it")
    suite.run(source, "-k", "test_other")

    assert "= 20 runs, about $2, as the last session cost" in suite.run(source, "-k", "test_it", "--llmtest-eval-plan").text


def test_a_plan_without_evaluations_says_so(suite):
    outcome = suite.run("def test_it(): raise AssertionError", "--llmtest-eval-plan")

    assert "there is no test with llm_eval among those that are selected" in outcome.text
    assert outcome.exit_code == 0


def test_a_plan_of_a_wrong_marker_is_its_error(suite):
    outcome = suite.run("import pytest\n@pytest.mark.llm_eval()\ndef test_it(case): pass", "--llmtest-eval-plan")

    assert outcome.counts == {"error": 1}
    assert outcome.exit_code == 2


# -- going on

COUNTED = """
log = Path(__file__).parent / "log"

@pytest.mark.llm_eval(dataset=dataset(3), repeats=10, at_least={at_least})
def test_it(case):
    if (log.parent / "interrupt").exists() and log.exists() and len(log.read_text().split()) >= 14:
        raise KeyboardInterrupt
    with log.open("a") as file:
        file.write(f"{{case.id}}\\n")
"""


def test_a_session_that_was_interrupted_goes_on(suite):
    suite.write(HEAD + COUNTED.format(at_least=0.8))
    (suite.path / "interrupt").touch()
    with pytest.raises(KeyboardInterrupt):
        suite.run()
    (suite.path / "interrupt").unlink()
    assert results(suite)["test_it.py::test_it"].total == 14

    outcome = suite.run(None, "--llmtest-resume")

    assert outcome.counts == {"undecided": 3}
    assert "test_it.py::test_it: pass: 30 of 30 passed" in outcome.text
    assert Counter((suite.path / "log").read_text().split()) == {"c0": 10, "c1": 10, "c2": 10}
    assert len(sessions(suite)) == 1
    assert results(suite)["test_it.py::test_it"].total == 30


def test_a_session_that_is_over_runs_nothing_again(suite):
    suite.run(HEAD + COUNTED.format(at_least=0.8))
    name = sessions(suite)[0].name

    outcome = suite.run(None, f"--llmtest-resume={name}")

    assert "test_it.py::test_it: pass: 30 of 30 passed" in outcome.text
    assert len((suite.path / "log").read_text().split()) == 30


@pytest.mark.parametrize("written", [None, "", '{"llmtest_ev'])
def test_a_session_that_was_killed_before_its_first_line_goes_on(suite, written):
    folder = suite.path / ".llmtest" / "evals" / "20261201-094223-017-4711"
    folder.mkdir(parents=True)
    if written is not None:
        (folder / "main.jsonl").write_text(written)
    outcome = suite.run(FIVE.replace("!= 4", "> -1").replace(".8", ".5"), "--llmtest-resume")

    assert outcome.counts == {"passed": 5}
    assert (len(sessions(suite)), results(suite)["test_it.py::test_it"].missing) == (1, 0)


def test_workers_go_on_with_what_others_have_run(suite):
    pytest.importorskip("xdist")
    suite.write(HEAD + COUNTED.format(at_least=0.8))
    (suite.path / "interrupt").touch()
    with pytest.raises(KeyboardInterrupt):
        suite.run()
    (suite.path / "interrupt").unlink()

    outcome = suite.run_on_workers(None, "--llmtest-resume")

    assert "test_it.py::test_it: pass: 30 of 30 passed" in outcome.text
    assert Counter((suite.path / "log").read_text().split()) == {"c0": 10, "c1": 10, "c2": 10}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("dataset(3)", "dataset(4)"), "--llmtest-resume: `hash` of test_it.py::test_it was "),
        (("at_least=0.8", "at_least=0.7"), "--llmtest-resume: `requirement` of test_it.py::test_it was Requirement(at_least=0.8"),
        (
            ("repeats=10", "repeats=12"),
            "--llmtest-resume: `repeats` of test_it.py::test_it was 10, and is 12: results of both do not",
        ),
        (
            ("def test_it", "def test_other"),
            "has results of `test_it.py::test_it`, and of none of the tests that are collected",
        ),
    ],
)
def test_a_session_of_another_set_does_not_go_on(suite, change, error):
    suite.run(HEAD + COUNTED.format(at_least=0.8))

    outcome = suite.run(HEAD + COUNTED.format(at_least=0.8).replace(*change), "--llmtest-resume")

    assert set(outcome.counts) == {"error"}
    assert error in outcome.text
    assert len((suite.path / "log").read_text().split()) == 30


NO_SESSION = "ERROR: --llmtest-resume: .llmtest/evals: there are no results of an earlier session\n"
BEHIND = "  put the option behind the paths of tests, or write the name of a session after =\n"


@pytest.mark.parametrize(
    ("options", "errors"),
    [
        (["--llmtest-resume"], NO_SESSION),
        (["--llmtest-resume=x"], NO_SESSION),
        (["--llmtest-resume", "test_it.py::test_it"], NO_SESSION + BEHIND),
    ],
    ids=["last", "named", "path"],
)
def test_a_session_that_does_not_exist_is_an_error_before_anything_is_collected(suite, options, errors):
    outcome = suite.run(HEAD + COUNTED.format(at_least=0.8), *options)

    assert outcome.exit_code == pytest.ExitCode.USAGE_ERROR
    assert outcome.errors.replace(f"{suite.path}/", "").rstrip("\n") == errors.rstrip("\n")


def test_a_case_that_had_failed_fails_again_from_its_results(suite):
    suite.run(FIVE, "--llmtest-traces=off")

    outcome = suite.run(FIVE, "--llmtest-resume", "--llmtest-traces=off")

    assert outcome.counts == {"undecided": 4, "failed": 1}
    assert "x it said no" in outcome.part("test_it[c4]")


KILLED = """
log = Path(__file__).parent / "log"

@pytest.mark.llm_eval(dataset=dataset({cases}), repeats={repeats}, at_least=.5, concurrency=3)
def test_it(case, numbers=[]):
    time.sleep({slow_s})
    numbers.append(1)
    assert len(numbers) % 2  # half of them: no case is decided before its last repeat
"""


def run_and_kill(suite, after_s: float | None, *options: str) -> int:
    """Run the suite in another process, and kill it that long after its first result; return its exit code."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *options]
    before = {*suite.path.glob(".llmtest/evals/*/*.jsonl")}
    with subprocess.Popen(command, cwd=suite.path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        if after_s is not None:
            while process.poll() is None and not {*suite.path.glob(".llmtest/evals/*/*.jsonl")} - before:
                time.sleep(0.005)
            time.sleep(after_s)
            process.send_signal(signal.SIGKILL)
        return process.wait(120)


def check_killed(suite, *, cases: int, kills: int, repeats: int = 50, slow_s: float = 0.006, seconds: float = 0.15) -> None:
    draws = random.Random(7)
    suite.write(HEAD + KILLED.format(cases=cases, repeats=repeats, slow_s=slow_s))
    codes = [run_and_kill(suite, draws.uniform(0, seconds), *(["--llmtest-resume"] if number else [])) for number in range(kills)]
    assert codes.count(-signal.SIGKILL) >= 0.8 * kills
    run_and_kill(suite, None, "--llmtest-resume")

    (session,) = sessions(suite)
    found = Results.load(session)["test_it.py::test_it"]
    lines = [
        json.loads(line) for path in session.iterdir() for line in path.read_text().splitlines() if line.startswith('{"test"')
    ]
    keys = Counter((line["case"], line["repeat"]) for line in lines)
    assert found.missing == 0
    assert keys == Counter((f"c{case}", repeat) for case in range(cases) for repeat in range(repeats))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_session_that_is_killed_goes_on_without_running_anything_twice(suite):
    check_killed(suite, cases=2, kills=2)


@pytest.mark.soak
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_twenty_kills_of_a_thousand_repeats(suite):
    check_killed(suite, cases=20, kills=20)


# -- progress


def test_progress_is_shown_at_a_terminal_while_a_case_takes_long(suite, monkeypatch):
    from llmtest.pytest_plugin import eval_session

    shown = []

    monkeypatch.setattr(eval_session, "SHOWN_AFTER_S", 0.0)
    monkeypatch.setattr(eval_session, "terminal_of", lambda config: sys.stdout)
    monkeypatch.setattr(eval_session, "progress", _progress(shown))
    outcome = suite.run(HEAD + COUNTED.format(at_least=0.8), "-q")

    assert outcome.counts == {"undecided": 3}
    assert [(done, of) for _, done, of, _ in shown] == [(number, 30) for number in range(1, 31)]
    assert {things for things, *_ in shown} == {"repeats"}
    assert all(note.endswith(" a second") for *_, note in shown)


def _progress(shown):
    from contextlib import contextmanager

    @contextmanager
    def progress(things, out):
        yield lambda done, of, note: shown.append((things, done, of, note))

    return progress


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made with pty")
@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_progress_is_shown_however_output_is_captured(suite, capture):
    import pty

    (suite.path / "test_it.py").write_text(
        HEAD
        + "@pytest.mark.llm_eval(dataset=dataset(1), repeats=10, at_least=0.5)\n"
        + "def test_it(case):\n    time.sleep(0.1)\n    print('said')\n",
        "utf-8",
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--capture={capture}"]
    done = subprocess.Popen(command, cwd=suite.path, stdout=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = _all_of(ours)

    assert done.wait() == 0
    assert b"repeats" in shown
    assert b" a second" in shown
    assert (b"said" in shown) == (capture == "no")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_file_without_a_number_shows_no_progress(pytestconfig, monkeypatch, is_terminal):
    from llmtest.pytest_plugin.eval_session import terminal_of

    class Console(io.StringIO):
        def isatty(self):
            return is_terminal

    reporter = SimpleNamespace(_tw=SimpleNamespace(_file=Console()))
    monkeypatch.setattr(pytestconfig.pluginmanager, "get_plugin", {"terminalreporter": reporter}.get)

    assert terminal_of(pytestconfig) is None


def _all_of(descriptor):
    parts = []
    with suppress(OSError):  # so ends a terminal on Linux
        while part := os.read(descriptor, 65536):
            parts.append(part)
    os.close(descriptor)
    return b"".join(parts)


def test_progress_is_shown_nowhere_else(suite):
    outcome = suite.run(HEAD + COUNTED.format(at_least=0.8))

    assert "a second" not in outcome.text


def test_a_session_that_was_stopped_says_how_to_go_on(suite):
    outcome = suite.run(
        HEAD
        + """
@pytest.mark.llm_eval(dataset=dataset(2), repeats=10, at_least=0.5)
def test_it(case):
    if case.inputs == 1:
        pytest.exit("enough")
"""
    )

    (session,) = sessions(suite)
    assert f"\n  --llmtest-resume={session.name} goes on with them\n" in outcome.text


def test_the_reason_of_a_budget_is_told_though_the_first_case_ended_before(suite):
    outcome = suite.run(
        HEAD
        + """
@pytest.mark.llm_eval(dataset=dataset(3), repeats=10, at_least=0.5, max_cost=1.5, prices={"scripted": (1.0, 1.0)})
def test_it(case):
    ScriptedChatModel(say("Hello", usage=(100_000, 0))).invoke("hi")
"""
    )

    assert "were not run, 1 whole case among them, because max_cost=1.5 of the set is used up" in outcome.text


def test_the_folder_of_results_is_named(suite):
    outcome = suite.run(HEAD + COUNTED.format(at_least=0.8))

    (session,) = sessions(suite)
    assert f"results: {Path('.llmtest/evals') / session.name}" in outcome.text


# -- results that cannot be read


def test_a_plan_reads_past_results_that_cannot_be_read(suite):
    folder = suite.path / ".llmtest" / "evals" / "99990101"
    folder.mkdir(parents=True)
    (folder / "main.jsonl").write_text("{\n")
    (folder.parent / "99990102").mkdir()

    outcome = suite.run(HEAD + COUNTED.format(at_least=0.8), "--llmtest-eval-plan")

    assert "= 30 runs, of unknown cost" in outcome.text


def test_a_session_whose_results_cannot_be_read_does_not_go_on(suite):
    folder = suite.path / ".llmtest" / "evals" / "99990101"
    folder.mkdir(parents=True)
    (folder / "main.jsonl").write_text("{\n")

    outcome = suite.run(HEAD + COUNTED.format(at_least=0.8), "--llmtest-resume")

    assert outcome.counts == {"error": 3}
    assert "99990101/main.jsonl:1: the line is not JSON" in outcome.text


def test_many_cases_with_failed_runs_are_told_in_a_few_lines(suite):
    outcome = suite.run(
        HEAD
        + """
@pytest.mark.llm_eval(dataset=dataset(12), repeats=1, at_least=.5)
def test_it(case):
    assert False, f"no {case.id}"
"""
    )

    assert outcome.counts == {"undecided": 12, "failed": 1}
    lines = outcome.part("test_it").splitlines()
    assert lines[0].startswith("fail: 0 of 12 passed")
    assert lines[2:] == [
        *(f"  c{number}: 1 of 1 failed: no c{number}" for number in range(8)),
        "  and 4 more cases with failed runs",
    ]
