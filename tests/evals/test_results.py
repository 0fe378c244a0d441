"""Results on disk: written line by line, read from any number of files, and never counted twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmtest.core.own_folder import session_name
from llmtest.errors import BaselineError, ResultsError
from llmtest.evals.baselines import Baseline, CaseResult
from llmtest.evals.datasets import Dataset
from llmtest.evals.results import (
    RepeatResult,
    Results,
    ResultsWriter,
    RunError,
    SetHead,
    find_session,
    sessions_folder,
)
from llmtest.evals.scores import Score
from llmtest.evals.verdicts import Requirement
from llmtest.events.words import FrozenDict

DATASET = Dataset([{"id": name, "inputs": name} for name in ("a", "b")], name="letters")
TEST = "tests/test_letters.py::test_letter"
HEAD = SetHead(TEST, "letters", DATASET.hash, 2, Requirement(0.5), 3, ("exact",))


def result(case: str = "a", repeat: int = 0, passed: bool = True, **more: Any) -> RepeatResult:
    scores = {"exact": Score(float(passed), passed, "" if passed else "expected 'a', got 'b'")}
    return RepeatResult(case, DATASET[case].hash, repeat, passed, **{"scores": scores, "seconds": 0.25, **more})


def write(folder: Path, *results: RepeatResult, head: SetHead = HEAD, worker: str = "main") -> Path:
    writer = ResultsWriter(folder, worker)
    writer.begin(head)
    for found in results:
        writer.write(head.test, found)
    writer.close()
    assert writer.path is not None
    return writer.path


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    known = result("a", 1, models=("gpt-x",), input_tokens=3, output_tokens=5, cost=0.25, trace="t #1")
    crashed = result("b", 0, False, error=RunError("TimeoutError", "no answer"))

    path = write(tmp_path / ".llmtest" / "evals" / "s", result(), known, crashed)
    found = Results.load(path)

    assert [*found] == [found[TEST]] == [found[0]] == found[:1]
    assert found.tests == [TEST]
    assert found.notes == ()
    assert found[TEST].head == HEAD
    assert found[TEST].cases == {"a": (result(), known), "b": (crashed,)}
    assert (tmp_path / ".llmtest" / ".gitignore").read_text() == "*\n"


def test_a_line_of_results_has_no_inputs_and_outputs(tmp_path: Path) -> None:
    path = write(tmp_path, result(passed=False))

    assert [json.loads(line) for line in path.read_text("ascii").splitlines()] == [
        {
            "llmtest_evals": 1,
            "test": TEST,
            "dataset": "letters",
            "hash": DATASET.hash,
            "cases": 2,
            "requirement": {"at_least": 0.5, "confidence": 0.95, "method": "exact"},
            "repeats": 3,
            "scorers": ["exact"],
            "live": False,
        },
        {
            "test": TEST,
            "case": "a",
            "hash": DATASET["a"].hash,
            "repeat": 0,
            "passed": False,
            "scores": {"exact": {"value": 0.0, "passed": False, "why": "expected 'a', got 'b'"}},
            "error": None,
            "seconds": 0.25,
            "input_tokens": None,
            "output_tokens": None,
            "cost": None,
            "trace": None,
            "models": [],
            "weight": 1.0,
        },
    ]


def test_files_of_several_workers_are_one_result(tmp_path: Path) -> None:
    write(tmp_path, result("a", 0), result("b", 1), worker="gw0")
    write(tmp_path, result("a", 1), result("b", 1), worker="gw1")  # a repeat that two shards both have

    found = Results.load(tmp_path)[TEST]

    assert {case: [repeat.repeat for repeat in repeats] for case, repeats in found.cases.items()} == {"a": [0, 1], "b": [1]}
    assert (found.passed, found.total, found.missing) == (3, 3, 3)


def test_a_writer_never_writes_into_a_file_of_another_one(tmp_path: Path) -> None:
    names = [write(tmp_path, result("a", repeat)).name for repeat in range(3)]

    assert names == ["main.jsonl", "main-2.jsonl", "main-3.jsonl"]
    assert Results.load(tmp_path)[TEST].total == 3


def test_more_cases_than_the_dataset_has_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, result("a"), result("b"), replace(result("b"), case="c"))

    with pytest.raises(ResultsError) as caught:
        Results.load(tmp_path)

    assert str(caught.value) == f"{TEST} has results of 3 cases, and its dataset has 2: `a`, `b`, `c`"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_half_a_line_spoils_no_line_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    writer, whole, calls = ResultsWriter(tmp_path), os.write, []

    def full(file: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise error
        return whole(file, data[:7])

    writer.begin(HEAD)
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(os, "write", full)
        writer.write(TEST, result("a", 0))
    writer.write(TEST, result("a", 1))
    writer.close()

    found = Results.load(tmp_path)
    assert ([repeat.repeat for repeat in found[TEST].repeats], found.notes) == ([1], ())


def test_what_a_thread_writes_after_the_end_of_the_session_is_dropped(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path)
    writer.begin(HEAD)
    writer.close()

    writer.write(TEST, result("a", 0))

    assert [path.name for path in tmp_path.iterdir()] == ["main.jsonl"]
    assert Results.load(tmp_path)[TEST].total == 0


def test_a_line_that_was_not_written_to_its_end_is_told_and_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, result("a", 0), result("a", 1))
    path.write_bytes(path.read_bytes()[:-30])

    found = Results.load(path)

    assert found[TEST].total == 1
    assert found.notes == (f"{path}:3: the line was not written to its end, and is left out",)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "the line is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "the line is no result of an evaluation: it is no mapping"),
        ('{"case": "a"}', "the line is no result of an evaluation: it has no 'test'"),
        ('{"test": "x", "case": "a"}', "the line is no result of an evaluation: it has no 'hash'"),
        ('{"llmtest_evals": 2}', "the line is no result of an evaluation: it has the format 2; this version of llmtest knows 1"),
    ],
)
def test_a_line_that_is_no_result_is_an_error_with_its_number(tmp_path: Path, line: str, error: str) -> None:
    path = write(tmp_path)
    with path.open("a") as file:
        file.write(f"{line}\n")

    with pytest.raises(ResultsError) as caught:
        Results.load(path)

    assert str(caught.value) == f"{path}:2: {error}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("passed", 1), ("repeat", True), ("cost", "1"), ("scores", []), ("models", "x"), ("error", "x"), ("hash", None)],
)
def test_a_field_of_the_wrong_type_is_an_error(tmp_path: Path, name: str, value: object) -> None:
    path = write(tmp_path, result())
    head, line = path.read_text().splitlines()
    path.write_text(f"{head}\n{json.dumps(json.loads(line) | {name: value})}\n")

    with pytest.raises(ResultsError) as caught:
        Results.load(path)

    assert str(caught.value) == f"{path}:2: the line is no result of an evaluation: `{name}` is {value!r}"


def test_a_repeat_with_two_results_is_an_error_that_names_both(tmp_path: Path) -> None:
    paths = [write(tmp_path, result("a", 2, passed), worker=f"gw{number}") for number, passed in enumerate((True, False))]

    with pytest.raises(ResultsError) as caught:
        Results.load(tmp_path)

    assert str(caught.value) == (
        f"{TEST}: repeat 2 of the case 'a' has two different results\n  {paths[0]}:2\n  {paths[1]}:2\n"
        "  results of different sessions do not count together"
    )


def test_results_of_two_different_sets_do_not_count_together(tmp_path: Path) -> None:
    write(tmp_path, result())
    write(tmp_path, head=replace(HEAD, repeats=5))

    with pytest.raises(ResultsError) as caught:
        Results.load(tmp_path)

    assert str(caught.value) == (
        f"{TEST} has results of two different sets, which do not count together: `repeats` differs\n"
        f"  {tmp_path / 'main-2.jsonl'}:1: 5\n  {tmp_path / 'main.jsonl'}:1: 3"
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"test": "x"}, "the line is of x, whose set no line before it describes"),
        ({"repeat": 3}, "the line is of repeat 3, and the set has 3, from 0"),
    ],
)
def test_a_line_must_be_of_the_set_before_it(tmp_path: Path, change: dict[str, Any], error: str) -> None:
    path = write(tmp_path, result())
    head, line = path.read_text().splitlines()
    path.write_text(f"{head}\n{json.dumps(json.loads(line) | change)}\n")

    with pytest.raises(ResultsError) as caught:
        Results.load(path)

    assert str(caught.value) == f"{path}:2: {error}"


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, error in (
        (tmp_path / "gone.jsonl", "the results cannot be read: No such file or directory"),
        (tmp_path / "empty", "the folder has no files of results (*.jsonl)"),
    ):
        with pytest.raises(ResultsError) as caught:
            Results.load(path)
        assert str(caught.value) == f"{path}: {error}"
    with pytest.raises(KeyError) as missing:
        Results([])["tests/x.py::test_a"]
    assert missing.value.args == ("there are no results of tests/x.py::test_a",)


# -- verdicts and baselines


def test_results_have_verdicts(tmp_path: Path) -> None:
    head = replace(HEAD, requirement=Requirement(0.9), repeats=10)
    failing = [result("a", number, False) for number in range(4)]
    passing = [result("b", number) for number in range(10)]

    found = Results.load(write(tmp_path, *failing, *passing, head=head))[TEST]

    assert str(found.tally("a").verdict) == (
        "fail: 0 of 4 passed with 6 open, so the pass rate is from 0 % to 87.9 % (95 % confidence); 90 % is required"
    )
    assert found.tally("b").verdict.outcome == "undecided"
    # The six repeats that `a` did not need may have passed, or failed.
    assert (found.verdict.passed, found.verdict.total, found.verdict.repeats) == (10, 14, 20)
    assert found.verdict.interval.low < 0.3
    assert found.verdict.interval.high > 0.94
    assert found.missing == 0


def test_results_are_a_baseline(tmp_path: Path) -> None:
    runs = [result("b", 0), result("a", 1, False), result("a", 0)]

    baseline = Results.load(write(tmp_path, *runs))[TEST].baseline()

    took = FrozenDict(seconds=0.25)
    cases = [
        CaseResult("a", DATASET["a"].hash, 1, 2, FrozenDict(exact=0.5), took),
        CaseResult("b", DATASET["b"].hash, 1, 1, FrozenDict(exact=1.0), took),
    ]
    assert baseline == Baseline("letters", DATASET.hash, tuple(cases), TEST, live=False)
    baseline.save(tmp_path / "baseline")
    assert Baseline.load(tmp_path / "baseline") == baseline


def test_a_baseline_has_what_a_run_spent_and_the_trace_of_a_typical_one(tmp_path: Path) -> None:
    spent = {"input_tokens": 3, "output_tokens": 4, "cost": 0.5}
    runs = [result("a", 0, False, trace="t0"), result("a", 1, trace="t1"), result("a", 2, trace="t2")]
    runs += [result("b", 0, False, **spent, trace="t3"), result("b", 1, **spent | {"cost": None}, trace="t4")]

    first, second = Results.load(write(tmp_path, *runs))[TEST].baseline().cases

    assert (first.spent, first.trace) == ({"seconds": 0.25}, "t1")
    assert (second.spent, second.trace) == ({"tokens": 7, "seconds": 0.25}, "t3")


def test_results_of_a_part_of_the_cases_are_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(BaselineError) as caught:
        Results.load(write(tmp_path, result()))[TEST].baseline()

    assert str(caught.value) == f"{TEST}: the results are of 1 of 2 cases of letters; a baseline has all of them"


def test_runs_with_different_scorers_are_no_baseline(tmp_path: Path) -> None:
    runs = [result("a", 0), result("a", 1, scores={}), result("b")]

    with pytest.raises(BaselineError) as caught:
        Results.load(write(tmp_path, *runs))[TEST].baseline()

    assert str(caught.value) == "the runs of the case 'a' have different scorers"


@pytest.mark.parametrize(("costs", "total"), [((0.25, 0.5), 0.75), ((0.25, None), None), ((), 0)])
def test_the_cost_is_known_if_that_of_each_run_is(tmp_path: Path, costs: tuple[float | None, ...], total: float | None) -> None:
    runs = [result("a", number, cost=cost) for number, cost in enumerate(costs)]

    assert Results.load(write(tmp_path, *runs))[TEST].cost == total


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "exact: expected 'a', got 'b'"),
        ({"error": RunError("AssertionError", "not polite")}, "not polite"),
        ({"error": RunError("TimeoutError", "")}, "TimeoutError"),
        ({"scores": {}}, ""),
    ],
)
def test_a_failed_run_says_why(more: dict[str, Any], why: str) -> None:
    assert result(passed=False, **more).why == why


# -- sessions


def test_the_last_session_is_found_without_its_name(tmp_path: Path) -> None:
    names = [f"2026120{number}-{session_name()[9:]}" for number in range(3)]
    for name in names:
        write(sessions_folder(tmp_path) / name, result())

    assert find_session(tmp_path) == sessions_folder(tmp_path) / names[-1]
    assert find_session(tmp_path, names[0]).name == names[0]


def test_a_session_that_does_not_exist_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    folder = sessions_folder(tmp_path)
    with pytest.raises(ResultsError) as caught:
        find_session(tmp_path)
    assert str(caught.value) == f"{folder}: there are no results of an earlier session"

    for name in ("20260101-1", "20260102-1"):
        (folder / name).mkdir(parents=True)
    for asked, hint in (
        ("2026010-1", "; did you mean `20260102-1`?"),
        ("x", "; the last ones are `20260102-1`, `20260101-1`"),
    ):
        with pytest.raises(ResultsError) as caught:
            find_session(tmp_path, asked)
        assert str(caught.value) == f"{folder}: there is no session {asked!r}{hint}"


# -- writing


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    head = replace(HEAD, repeats=400)
    writer = ResultsWriter(tmp_path)
    writer.begin(head)

    def work(thread: int) -> None:
        writer.begin(head)
        for number in range(100):
            writer.write(TEST, result("a", thread * 100 + number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    assert [repeat.repeat for repeat in Results.load(tmp_path)[TEST].repeats] == list(range(400))


PROGRAM = """
import sys
from pathlib import Path
from tests.evals.test_results import HEAD, TEST, ResultsWriter, replace, result
writer = ResultsWriter(Path(sys.argv[1]))
writer.begin(replace(HEAD, repeats=10**9))
for number in range(10**9):
    writer.write(TEST, result("a", number))
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_process_that_is_killed_loses_no_result_that_it_has_written(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environ) as process:
        assert process.stdout is not None
        for _ in range(100):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        told = [int(line) for line in process.stdout if line.endswith("\n")]

    repeats = [repeat.repeat for repeat in Results.load(tmp_path)[TEST].repeats]
    assert repeats == list(range(len(repeats)))
    assert len(repeats) > max(told, default=99)
