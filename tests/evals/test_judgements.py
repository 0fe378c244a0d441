"""The file of judgements: many writers, lines that cannot be read, and half of one."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmtest.errors import LlmtestWarning, NoVerdictError, ScorerError
from llmtest.evals.judgements import Judgement, Judgements, append_line

GOOD = Judgement(True, "good ü")


def test_what_was_added_is_found_by_the_next_reader(tmp_path: Path) -> None:
    path = tmp_path / ".llmtest" / "judgements.jsonl"
    kept = Judgements(path)
    assert kept.find("a") is None
    kept.add("a", GOOD)
    Judgements(path).add("b", Judgement(False, "\ud800"))

    assert kept.find("a") == GOOD
    assert [Judgements(path).find(key) for key in "abc"] == [GOOD, Judgement(False, "\ud800"), None]
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_lines_that_cannot_be_read_are_told_and_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    line = json.dumps({"key": "a", "passed": True, "why": "good ü"})
    wrong = ["{", "[1]", '{"key": "b", "passed": 1, "why": ""}', "[" * 100_000, line[:20]]
    path.write_text("\n".join([line, "", *wrong]), "utf-8")

    kept = Judgements(path)
    with pytest.warns(LlmtestWarning) as told:
        assert kept.find("a") == GOOD
    kept.add("c", GOOD)

    assert [str(warning.message) for warning in told] == [
        f"{path}: 5 lines of judgements cannot be read (3, 4, 5, ...); they are judged again"
    ]
    assert path.read_bytes().endswith(b'\n{"key": "c", "passed": true, "why": "good \xc3\xbc"}\n')
    with pytest.warns(LlmtestWarning):
        assert Judgements(path).find("c") == GOOD


def test_threads_that_want_one_judgement_at_once_ask_once(tmp_path: Path) -> None:
    kept, asked, start = Judgements(tmp_path / "kept.jsonl"), [], threading.Barrier(6)

    def ask() -> Judgement:
        asked.append(1)
        if len(asked) == 1:
            raise NoVerdictError("it refused")  # the next one asks again
        time.sleep(0.02)  # the others come meanwhile
        return Judgement(True, f"answer {len(asked)}")

    def want() -> Judgement | None:
        start.wait()
        try:
            return kept.find_or_ask("a", ask)
        except NoVerdictError:
            return None

    with ThreadPoolExecutor(6) as pool:
        found = [one.result() for one in [pool.submit(want) for _ in range(6)]]

    assert (len(asked), found.count(Judgement(True, "answer 2")), found.count(None)) == (2, 5, 1)
    assert (tmp_path / "kept.jsonl").read_text().count("\n") == 1


def test_threads_and_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\nfrom llmtest.evals.judgements import Judgement, Judgements\n"
        "kept = Judgements(Path(sys.argv[1]))\nfor n in range(200): kept.add(f'{sys.argv[2]}-{n}', Judgement(True, 'x' * n))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("a", "b")]
    kept = Judgements(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: kept.add(f"c-{n}", GOOD), range(200)))
    assert [process.wait() for process in processes] == [0, 0]

    assert len({json.loads(line)["key"] for line in path.read_text("utf-8").splitlines() if line}) == 600


def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ScorerError) as read:
        Judgements(tmp_path).find("a")
    with pytest.raises(ScorerError) as written:
        Judgements(tmp_path).add("a", GOOD)

    assert str(read.value) == f"{tmp_path}: judgements cannot be read: Is a directory"
    assert str(written.value) == f"{tmp_path}: judgements cannot be written: Is a directory"


def test_a_line_is_appended_after_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for line in ("a", "b"):
        append_line(path, line)
    path.write_text("a\nb")
    append_line(path, "c")

    assert path.read_text() == "a\nb\nc\n"
