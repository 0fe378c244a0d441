"""Unused snapshots: those of tests that did not run stay, and others go."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import Suite

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
