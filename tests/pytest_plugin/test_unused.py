"""Unused snapshots: those of tests that did not run stay, and others go."""

from __future__ import annotations

import itertools

import pytest
from syrupy.location import PyTestLocation

from tests.pytest_plugin.conftest import Outcome, Suite

SKIPPING = """
import os, pytest

OTHER = os.environ.get("OTHER") == "1"

@pytest.mark.skipif(OTHER, reason="elsewhere")
def test_skipif(llm_snapshot):
    assert "a" == llm_snapshot

def test_skip(llm_snapshot):
    if OTHER:
        pytest.skip("no")
    assert "a" == llm_snapshot

@pytest.mark.xfail(run=not OTHER)
def test_not_run(llm_snapshot):
    assert "a" == llm_snapshot

def test_stays(llm_snapshot):
    assert "a" == llm_snapshot
"""


SHARD = """
import os

def pytest_collection_modifyitems(items):
    if os.environ.get("SHARD"):
        items[:] = [item for item in items if item.name in ("test_stays", "test_plain")]
"""


@pytest.mark.parametrize("variable", ["OTHER", "SHARD"])
def test_snapshots_of_tests_that_did_not_run_stay_and_others_go(suite: Suite, variable: str, monkeypatch) -> None:
    suite.write(SHARD, "conftest")
    suite.write("def test_plain(llm_snapshot):\n    assert 'a' == llm_snapshot", "test_other")
    suite.run(SKIPPING, "--snapshot-update")
    gone = suite.path / "__snapshots__" / "test_other" / "test_gone.tree"
    gone.write_text("# llmtest tree v1\nb\n")
    before = suite.trees()
    monkeypatch.setenv(variable, "1")

    plain = suite.run(None)
    outcome = suite.run(None, "--snapshot-update")

    assert "1 snapshot unused" in plain.text
    assert "1 unused snapshot deleted" in outcome.text
    assert suite.trees() == [name for name in before if name != "test_gone.tree"]


def test_on_workers_snapshots_of_tests_that_did_not_run_stay_too(suite: Suite, monkeypatch) -> None:
    suite.run(SKIPPING, "--snapshot-update")
    before = suite.trees()
    monkeypatch.setenv("OTHER", "1")

    outcome = suite.run_on_workers(None, "--snapshot-update")

    assert outcome.counts == {"passed": 1, "skipped": 2, "xfailed": 1}
    assert len(before) == 4
    assert suite.trees() == before


# -- after a run in which something failed

FAILS_BEFORE = """
def test_fails_before(llm_snapshot):
    assert FIRST
    assert "a" == llm_snapshot

def test_compares(llm_snapshot):
    assert "a" == llm_snapshot
"""
"""A test that fails before it compares anything, unless FIRST is true."""


@pytest.mark.parametrize(
    ("option", "report"),
    [
        ("--snapshot-details", ["1 snapshot passed."]),
        ("--snapshot-warn-unused", ["1 snapshot passed."]),
        ("--snapshot-update", ["1 snapshot passed."]),
        ("-x", []),
    ],
)
def test_the_snapshot_of_a_test_that_failed_before_its_comparison_is_not_unused(
    suite: Suite, option: str, report: list[str]
) -> None:
    suite.run(FAILS_BEFORE.replace("FIRST", "True"), "--snapshot-update")

    outcome = suite.run(FAILS_BEFORE.replace("FIRST", "not 'first'"), option)

    assert report_of(outcome) == report
    assert suite.trees() == ["test_compares.tree", "test_fails_before.tree"]


GONE = "def test_gone(llm_snapshot):\n    assert 'a' == llm_snapshot\n\n"
PASSES = GONE.replace("gone", "passes")


@pytest.mark.parametrize("on_workers", [False, True])
@pytest.mark.parametrize("broken", ["def test_red():\n    assert False\n", "import nothing_of_this_name\n"])
def test_a_red_run_counts_unused_snapshots_and_does_not_advise_to_update(suite: Suite, broken: str, on_workers: bool) -> None:
    run = suite.run_on_worker if on_workers else suite.run
    suite.run(GONE + PASSES, "--snapshot-update")
    suite.write(PASSES)

    green = run(None)
    suite.write(broken, "test_other")
    red = run(None, "--continue-on-collection-errors")

    assert report_of(green) == [
        "1 snapshot passed. 1 snapshot unused.",
        "",
        "Re-run pytest with --snapshot-update to delete unused snapshots.",
    ]
    assert report_of(red) == ["1 snapshot passed. 1 snapshot unused."]
    assert suite.trees() == ["test_gone.tree", "test_passes.tree"]


def test_names_of_unused_snapshots_are_told_in_a_red_run_too(suite: Suite) -> None:
    suite.run(GONE + PASSES, "--snapshot-update")
    suite.write("def test_red():\n    assert False\n", "test_other")

    red = suite.run(PASSES, "--snapshot-details")

    assert report_of(red) == [
        "1 snapshot passed. 1 snapshot unused.",
        "",
        "Unused test_gone (__snapshots__/test_it/test_gone.tree)",
    ]


def report_of(outcome: Outcome) -> list[str]:
    """The lines of syrupy's report."""
    lines = outcome.text.partition("snapshot report summary")[2].splitlines()[1:]
    return list(itertools.takewhile(lambda line: not line.startswith("="), lines))


MANY = """
import pytest

@pytest.mark.parametrize("n", range(20))
def test_it(n, llm_snapshot):
    assert "a" == llm_snapshot
"""


@pytest.mark.parametrize("on_workers", [False, True])
def test_no_test_is_searched_for_a_snapshot_that_was_compared(suite: Suite, on_workers: bool, monkeypatch) -> None:
    """Where files are named, syrupy looks for the test of each of n snapshots among n tests."""
    suite.run(MANY, "--snapshot-update")
    searched = []
    monkeypatch.setattr(PyTestLocation, "matches_snapshot_location", lambda self, location: searched.append(location))

    outcome = (suite.run_on_workers if on_workers else suite.run)(None, "test_it.py")

    assert "20 snapshots passed" in outcome.text
    assert not searched
