"""`llmtest_follow`: where a run belongs that no recording reached."""

from __future__ import annotations

import pytest

PROGRAM = """
import threading

import pytest
from langchain_core.tools import tool
from llmtest.matching import never


@tool
def delete_db(name: str) -> str:
    "Delete."
    return name


@pytest.fixture(scope="module")
def worker():
    go, done = threading.Event(), threading.Event()

    def work():
        go.wait()
        delete_db.invoke({"name": "prod"})
        done.set()

    threading.Thread(target=work, daemon=True).start()
    return lambda: (go.set(), done.wait())


def test_it(worker, llm_recording):
    worker()
    assert llm_recording.tools.names == EXPECTED
    assert "is not known" in str(llm_recording.obeys(never("delete_*"))) or EXPECTED
"""


def test_a_worker_that_a_fixture_started_fails_the_test_that_records(suite):
    outcome = suite.run(PROGRAM.replace("EXPECTED", "[]"))

    assert outcome.counts == {"failed": 1}
    assert "1 call of `delete_db` happened that the recording did not see" in outcome.text
    assert "or say `llmtest_follow = test`" in outcome.text


def test_its_runs_belong_to_the_open_test_on_demand(suite):
    outcome = suite.run(PROGRAM.replace("EXPECTED", "['delete_db']"), "-o", "llmtest_follow=test")

    assert outcome.counts == {"passed": 1}


def test_another_value_is_refused(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("-o", "llmtest_follow=thread")

    result.stderr.fnmatch_lines(["ERROR: the ini key llmtest_follow is context or test; got 'thread'"])
