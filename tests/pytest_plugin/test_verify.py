"""`--llmtest-verify`: a new or changed snapshot counts only if each run of its test agrees."""

from __future__ import annotations

from typing import Any

import pytest

from llmtest.trees.rendering import HEADER
from tests.pytest_plugin.conftest import HELLO, Suite

UNSTABLE = """
import itertools

numbers = itertools.count()

def test_it(llm_snapshot):
    assert f"run {next(numbers)}" == llm_snapshot
"""


FRESH = """
import pytest

made = []

@pytest.fixture
def fresh():
    made.append("up")
    yield len(made)
    made.append("down")

def test_it(fresh, llm_snapshot):
    assert "same" == llm_snapshot

def test_runs():
    assert made == ["up", "down"] * {runs}
"""


@pytest.mark.parametrize("options", [["--snapshot-update"], []])
def test_snapshot_that_differs_from_run_to_run_is_not_accepted(suite, options):
    outcome = suite.run(UNSTABLE, "--llmtest-verify=3", *options)

    assert outcome.counts == {"failed": 1}
    assert (
        "snapshot not stable: in run 2 of 3, test_it.tree came out otherwise:"
        ' line "0" → "1" (1 of 2 lines, 1 cause)' in outcome.text
    )
    assert outcome.part("llmtest: verify") == (
        "- run 0\n+ run 1  ◀ first difference\n  … 1 unchanged line\n  nothing was written"
    )
    assert not suite.snapshot("test_it").exists()
    assert suite.pending() == {}
    assert "generated" not in outcome.text


@pytest.mark.parametrize("runs", [2, 3])
def test_each_run_has_fresh_fixtures_and_only_what_agrees_is_written(suite, runs):
    outcome = suite.run(FRESH.format(runs=runs), f"--llmtest-verify={runs}", "--snapshot-update")

    assert outcome.counts == {"passed": 2}
    assert "1 snapshot generated" in outcome.text
    assert suite.snapshot("test_it").read_text("utf-8") == f"{HEADER}\nsame\n"


CONSTANTS = """
import os, uuid
from langchain_core.runnables import RunnableLambda

A, B = "5e1f7f0e-3f0a-4f0b-8a51-0d2c6a3b9f10", "0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c55"

def test_it(llm_recording, llm_snapshot):
    A_, B_ = (B, A) if "SWAP" in os.environ else (A, B)
    state = {"from": A_, "to": B_, "request": str(uuid.uuid4()), "created_at": "2024-05-01T10:00"}
    RunnableLambda(lambda _: None, name="move").invoke(state)
    assert llm_recording == llm_snapshot

def test_order(llm_recording, llm_snapshot):
    elsewhere = "another_temporary" in os.environ.get("TMPDIR", "")
    RunnableLambda(lambda _: None, name="move").invoke([B, A] if elsewhere else [A, B])
    assert llm_recording == llm_snapshot
"""
SHOWN = f"""{HEADER}
chain move
  > {{
      "created_at": "2024-05-01T10:00"
      "from": "5e1f7f0e-3f0a-4f0b-8a51-0d2c6a3b9f10"
      "request": "<id:1>"
      "to": "0196f0a1-8e1c-7c3e-9f43-2b6f8e0d1c55"
    }}
  < null
"""


def test_what_is_the_same_in_each_run_stays(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    assert suite.run(CONSTANTS, "--llmtest-verify=2", "--snapshot-update").counts == {"passed": 2}
    assert suite.snapshot("test_it").read_text("utf-8") == SHOWN
    assert '> ["<id:1>", "<id:2>"]' in suite.snapshot("test_order").read_text("utf-8")

    assert suite.run(None).counts == {"passed": 2}
    monkeypatch.setenv("SWAP", "1")
    assert suite.run(None).counts == {"failed": 1, "passed": 1}


def test_it_stays_in_what_is_kept_for_review(suite: Suite) -> None:
    assert suite.run(CONSTANTS, "--llmtest-verify=2").counts == {"failed": 2}

    assert SHOWN.removeprefix(HEADER) in "\n".join(suite.pending().values())


def test_snapshot_that_matches_runs_once(suite):
    suite.run(FRESH.format(runs=1), "--snapshot-update")

    assert suite.run(None, "--llmtest-verify=5").counts == {"passed": 2}


def test_ini_key_asks_for_the_same(suite):
    suite.ini("[pytest]\nllmtest_verify = 2\nasyncio_default_fixture_loop_scope = function")

    assert suite.run(FRESH.format(runs=2), "--snapshot-update").counts == {"passed": 2}


def test_run_that_ends_in_another_way_is_told(suite):
    failing = UNSTABLE + "    assert next(numbers) < 2\n"

    outcome = suite.run(
        failing.replace('f"run {next(numbers)}"', '"same"').replace("< 2", "< 1"), "--llmtest-verify=2", "--snapshot-update"
    )

    assert outcome.counts == {"failed": 1}
    assert outcome.part("llmtest: verify") == (
        "run 2 of 2 of the test ended in another way than the first one, so its snapshot was not accepted"
    )
    assert not suite.snapshot("test_it").exists()


def test_run_that_is_suddenly_skipped_is_told(suite):
    source = UNSTABLE.replace(
        "    assert", "    import pytest\n    number = next(numbers)\n    if number: pytest.skip()\n    assert"
    )

    outcome = suite.run(source.replace('f"run {next(numbers)}"', '"same"'), "--llmtest-verify=2", "--snapshot-update")

    assert outcome.counts["error"] == 1
    assert not suite.snapshot("test_it").exists()


def test_run_whose_fixtures_fail_is_told(suite):
    source = UNSTABLE.replace(
        "def test_it(", "import pytest\n\n@pytest.fixture\ndef once():\n    assert not next(numbers)\n\ndef test_it(once, "
    )

    outcome = suite.run(source.replace('f"run {next(numbers)}"', '"same"'), "--llmtest-verify=2", "--snapshot-update")

    assert outcome.counts == {"error": 1}
    assert not suite.snapshot("test_it").exists()


def test_skipped_test_is_not_verified(suite):
    outcome = suite.run(f"import pytest\npytestmark = pytest.mark.skip\n{HELLO}", "--llmtest-verify=2")

    assert outcome.counts == {"skipped": 1}


def test_verification_works_on_workers(suite):
    outcome = suite.run_on_worker(UNSTABLE, "--llmtest-verify=2", "--snapshot-update")

    assert outcome.counts == {"failed": 1}
    assert not suite.snapshot("test_it").exists()


@pytest.mark.parametrize("told", ["0", "x", "-1"])
def test_number_of_runs_must_be_a_number(suite, told):
    outcome = suite.run(HELLO, f"--llmtest-verify={told}")

    assert f"--llmtest-verify (ini: llmtest_verify) takes how many runs must agree, at least 1; got {told!r}" in outcome.errors


def test_a_test_of_another_kind_runs_once(suite: Suite) -> None:
    suite.files.makeconftest(
        """
        import pytest

        class Line(pytest.Item):
            def runtest(self):
                assert self.name == "hello"

        class Lines(pytest.File):
            def collect(self):
                yield Line.from_parent(self, name="hello")

        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".lines":
                return Lines.from_parent(parent, path=file_path)
        """
    )
    (suite.path / "test.lines").write_text("")

    assert suite.run(None, "--llmtest-verify=3").counts == {"passed": 1}


def test_a_terminal_shows_which_run_it_is(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    from _pytest.terminal import TerminalReporter

    monkeypatch.setattr("_pytest.terminal.TerminalReporter.__init__", _on_a_terminal(TerminalReporter.__init__))
    monkeypatch.setenv("TERM", "xterm")

    shown = suite.run(HELLO, "--snapshot-update", "--llmtest-verify=3").text
    monkeypatch.setenv("TERM", "dumb")
    suite.snapshot().unlink()
    dumb = suite.run(HELLO, "--snapshot-update", "--llmtest-verify=3").text

    runs = ("run 2 of 3", "run 3 of 3", "run in another process")
    assert "".join(f"\x1b7 {text}\x1b8\x1b[K" for text in runs) in shown
    assert "\x1b" not in dumb


def _on_a_terminal(init: Any) -> Any:
    def replaced(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        self.isatty = lambda: True

    return replaced


def test_without_a_terminal_no_run_is_shown(suite: Suite) -> None:
    assert "run 2 of 3" not in suite.run(HELLO, "--snapshot-update", "--llmtest-verify=3").text
