"""The options and ini keys: what they say, which wins, and what is refused."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import ALL, TWO_TESTS

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


def test_ini_key_says_the_same_and_the_option_wins(suite):
    suite.ini("[pytest]\nllmtest_trees = all\nasyncio_default_fixture_loop_scope = function")

    assert suite.run(TWO_TESTS).part("llmtest: run trees") == ALL
    assert not suite.run(TWO_TESTS, "--llmtest-trees=failed").has_part("llmtest: run trees")


def test_unknown_ini_value_is_a_usage_error(suite):
    suite.ini("[pytest]\nllmtest_trees = failled\nasyncio_default_fixture_loop_scope = function")

    outcome = suite.run(TWO_TESTS)

    assert outcome.exit_code == pytest.ExitCode.USAGE_ERROR
    expected = "ERROR: the ini key llmtest_trees is one of failed, all, off; got 'failled'; did you mean `failed`?"
    assert outcome.errors.strip() == expected


def test_unknown_ini_value_without_a_neighbour_is_a_usage_error_too(suite):
    suite.ini("[pytest]\nllmtest_trees = 3\nasyncio_default_fixture_loop_scope = function")

    outcome = suite.run(TWO_TESTS)

    assert outcome.errors.strip() == "ERROR: the ini key llmtest_trees is one of failed, all, off; got '3'"


def test_what_is_done_with_a_stale_answer_is_one_of_three(suite):
    suite.ini("[pytest]\nllmtest_stale = wran\nasyncio_default_fixture_loop_scope = function")

    outcome = suite.run(TWO_TESTS)

    assert outcome.exit_code == pytest.ExitCode.USAGE_ERROR
    assert outcome.errors.strip() == (
        "ERROR: the ini key llmtest_stale is one of fail, warn, ignore; got 'wran'; did you mean `warn`?"
    )


def test_help_names_every_option_and_ini_key(suite):
    text = suite.run(None, "--help").text

    assert "--llmtest-trees={failed,all,off}" in text
    assert "llmtest_trees (string):" in text
    assert "llmtest_langsmith (bool):" in text


SPANS = """
from opentelemetry import trace

def test_it(llm_recording):
    with trace.get_tracer("mine").start_as_current_span("x", attributes={"gen_ai.tool.name": "x"}):
        pass
    assert llm_recording.tools == EXPECTED
"""


@pytest.mark.parametrize(("options", "expected"), [(("-o", "llmtest_otel=true"), ["x"]), ((), [])])
def test_every_recording_takes_spans_where_that_is_configured(options, expected, pytester):
    pytester.makepyfile(SPANS.replace("EXPECTED", repr(expected)))

    result = pytester.runpytest_subprocess(*options)  # a process of its own has a global tracer provider of its own

    result.assert_outcomes(passed=1)
