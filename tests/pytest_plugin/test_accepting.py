"""Which snapshots are accepted, kept and refused; what stands in their way is one failure of one test."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import Suite

FAILING = """
import pytest
from llmtest import ScriptedChatModel

def test_passes(llm_snapshot):
    assert "a" == llm_snapshot

def test_fails_later(llm_snapshot):
    assert "a" == llm_snapshot
    assert 1 == 2

def test_violates(llm_snapshot):
    assert "a" == llm_snapshot
    ScriptedChatModel("left over")

@pytest.fixture
def broken():
    yield
    raise ValueError

def test_teardown_fails(broken, llm_snapshot):
    assert "a" == llm_snapshot

@pytest.mark.xfail
def test_expected(llm_snapshot):
    assert "a" == llm_snapshot
    assert 1 == 2
"""


def test_an_update_does_not_accept_the_tree_of_a_test_that_then_fails(suite: Suite) -> None:
    outcome = suite.run(FAILING, "--snapshot-update")

    assert suite.trees() == ["test_passes.tree"]
    assert "not accepted, because the test failed: test_fails_later.tree" in outcome.text
    assert "1 snapshot generated" in outcome.text


def test_the_tree_of_a_test_that_passes_although_it_was_expected_to_fail_is_accepted(suite: Suite) -> None:
    outcome = suite.run(
        """
        import pytest

        @pytest.mark.xfail
        def test_it(llm_snapshot):
            assert "a" == llm_snapshot
        """,
        "--snapshot-update",
        "-rA",
    )

    assert (outcome.counts, suite.trees()) == ({"xpassed": 1}, ["test_it.tree"])
    assert "not accepted" not in outcome.text


EMPTY = """
from llmtest import record

def test_recording(llm_recording, llm_snapshot):
    assert llm_recording == llm_snapshot

def test_part(llm_recording, llm_snapshot):
    assert llm_recording.only(kinds="tool") == llm_snapshot

def test_meant(llm_recording, llm_snapshot):
    assert llm_recording == llm_snapshot(empty=True)
"""


def test_a_recording_of_nothing_is_no_snapshot_unless_it_is_asked_for(suite: Suite) -> None:
    outcome = suite.run(EMPTY, "--snapshot-update")

    assert outcome.counts == {"failed": 2, "passed": 1}
    assert suite.trees() == ["test_meant.tree"]
    assert (
        "SnapshotError: nothing was recorded, so the snapshot would hold whatever the program does;"
        " record the runs that the test is about, or compare with llm_snapshot(empty=True)"
    ) in outcome.part("test_recording")


IN_THE_WAY = """
def test_before(llm_snapshot):
    assert "a" == llm_snapshot

def test_directory(llm_snapshot):
    assert "a" == llm_snapshot

def test_twice(llm_snapshot):
    assert "a" == llm_snapshot(name="one")
    assert "b" == llm_snapshot(name="two")
    assert "c" == llm_snapshot(name="one")

def test_after(llm_snapshot):
    assert "a" == llm_snapshot
"""


@pytest.mark.parametrize("options", [[], ["--snapshot-update"]])
def test_a_directory_in_the_place_of_a_snapshot_is_one_failure(suite: Suite, options: list[str]) -> None:
    (suite.path / "__snapshots__" / "test_it" / "test_directory.tree").mkdir(parents=True)

    outcome = suite.run(IN_THE_WAY, *options)

    assert outcome.exit_code == 1
    said = "SnapshotError: test_directory.tree is a directory, where the file of the snapshot should be; move it away"
    assert said in outcome.part("test_directory")
    if options:
        assert outcome.counts == {"failed": 2, "passed": 2}
        said = "SnapshotError: the test has compared the snapshot test_twice[one] before; give each its own name"
        assert said in outcome.part("test_twice")


def test_a_file_in_the_place_of_the_folder_is_a_failure_of_each_test(suite: Suite) -> None:
    (suite.path / "__snapshots__").write_text("in the way")

    outcome = suite.run(IN_THE_WAY, "--snapshot-update")

    assert outcome.counts == {"failed": 4}
    said = "SnapshotError: __snapshots__ is a file, where a folder of snapshots should be; move it away"
    assert said in outcome.part("test_before")


def test_a_snapshot_that_cannot_be_written_is_an_error_of_its_test(suite: Suite) -> None:
    outcome = suite.run(
        """
        from pathlib import Path

        def test_it(llm_snapshot):
            assert "a" == llm_snapshot
            Path("__snapshots__").write_text("in the way by now")

        def test_other():
            pass
        """,
        "--snapshot-update",
    )

    assert outcome.counts == {"passed": 2, "error": 1}
    assert outcome.part("ERROR at teardown of test_it").startswith("the snapshot test_it.tree cannot be written: ")


def test_a_pending_file_that_cannot_be_written_is_one_line(suite: Suite) -> None:
    (suite.path / ".llmtest").write_text("in the way")

    outcome = suite.run(IN_THE_WAY)

    assert outcome.exit_code == 1
    assert "  nothing was kept for `llmtest accept`, because the file cannot be written: " in outcome.text


def test_an_option_of_another_suite_of_nearly_the_same_name_accepts_nothing_of_ours(suite: Suite) -> None:
    suite.write(
        """
        def pytest_addoption(parser):
            parser.addoption("--update-snapshots", dest="update_snapshots", default="none")
        """,
        "conftest",
    )

    plain = suite.run("def test_it(llm_snapshot):\n    assert 'a' == llm_snapshot", "--update-snapshots=all")
    before = suite.trees()
    suite.run(None, "--snapshot-update")

    assert (plain.counts, before, suite.trees()) == ({"failed": 1}, [], ["test_it.tree"])
