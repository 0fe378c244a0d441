"""`--llmtest-verify`: what is accepted comes out the same again, also in another process on another day."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import Suite

ELSEWHERE = """
import datetime, os, tempfile
import pytest

@pytest.mark.parametrize("text", [
    lambda: " ".join({"a", "b", "c", "d", "e", "f"}),
    tempfile.gettempdir,
    lambda: str(datetime.date.today()),
    lambda: "the same",
], ids=["hash", "folder", "day", "same"])
def test_it(text, request):
    assert text() == request.getfixturevalue("llm_snapshot")
"""


def test_a_text_that_another_process_changes_is_not_accepted(suite: Suite) -> None:
    outcome = suite.run(ELSEWHERE, "--snapshot-update", "--llmtest-verify=2", "--junitxml=out.xml")

    assert outcome.counts == {"failed": 3, "passed": 1}
    assert [file.name for file in suite.path.rglob("*.tree")] == ["test_it[same].tree"]
    said = (
        "snapshot not stable: in a run with another hash seed, temporary directory and day, test_it[day].tree came out otherwise"
    )
    assert said in outcome.part("test_it[day]")


def test_a_test_that_ends_in_another_way_elsewhere_is_told(suite: Suite) -> None:
    outcome = suite.run(
        """
        import os

        def test_it(llm_snapshot):
            assert "x" == llm_snapshot
            assert "another_temporary" not in os.environ.get("TMPDIR", "")
        """,
        "--snapshot-update",
        "--llmtest-verify=2",
    )

    assert outcome.counts == {"passed": 1, "error": 1}
    assert outcome.part("ERROR at teardown of test_it").startswith(
        "a run with another hash seed, temporary directory and day of the test ended in another way than the first one,"
        " so its snapshot was not accepted"
    )
    assert "AssertionError: assert 'another_temporary' not in" in outcome.part("llmtest: output of the other process")
    assert list(suite.path.rglob("*.tree")) == []


@pytest.mark.parametrize("name", ["test_it", "test_it.py"])
def test_it_runs_the_one_test_whatever_was_asked_for(suite: Suite, name: str) -> None:
    suite.write("def test_it(llm_snapshot):\n    assert 'x' == llm_snapshot\n\ndef test_other():\n    pass\n")
    chosen = ["-k", name] if name == "test_it" else [name]

    outcome = suite.run(None, *chosen, "--snapshot-update", "--llmtest-verify=2", "-x", "--lf")

    assert outcome.exit_code == 0
    assert [file.name for file in suite.path.rglob("*.tree")] == ["test_it.tree"]


def test_how_the_session_is_spread_over_workers_is_not_handed_on(suite: Suite) -> None:
    outcome = suite.run(
        """
        def test_it(llm_snapshot):
            assert "x" == llm_snapshot
        """,
        "--snapshot-update",
        "--llmtest-verify=2",
        "-n",
        "0",
        "--dist",
        "no",
    )

    assert outcome.counts == {"passed": 1}
    assert [file.name for file in suite.path.rglob("*.tree")] == ["test_it.tree"]
