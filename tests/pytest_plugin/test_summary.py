"""What the end of a session says about all its tests."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import ALL, FAILED, MODEL, TWO_TESTS

SUITE = (
    MODEL
    + """
def test_fixture(scripted_chat_model):
    scripted_chat_model(say("x", usage=(1000, 10))).invoke("hi")

def test_block():
    with count_tokens(), record():
        ask("aaaa")
    ask("nobody counts this")

def test_nothing():
    pass
"""
)


def test_one_line_tells_the_tokens_of_the_suite(suite):
    outcome = suite.run(SUITE)

    assert outcome.counts == {"passed": 3}
    assert outcome.has_part("llmtest: 1,015 tokens (1,004 in, 11 out) in 2 model calls of 2 tests")


def test_the_line_is_the_same_on_workers(suite):
    outcome = suite.run_on_workers(SUITE)

    assert outcome.counts == {"passed": 3}
    assert outcome.has_part("llmtest: 1,015 tokens (1,004 in, 11 out) in 2 model calls of 2 tests")


def test_the_line_tells_what_failed_what_the_cache_answered_and_what_reported_nothing(suite):
    outcome = suite.run(
        MODEL
        + """
from langchain_core.caches import InMemoryCache

def test_it(llm_recording):
    cached = ScriptedChatModel(say("x", usage=False).repeat(), cache=InMemoryCache())
    cached.invoke("hi")
    cached.invoke("hi")
    with pytest.raises(TimeoutError):
        ScriptedChatModel(fail(TimeoutError)).invoke("hi")
"""
    )

    line = "llmtest: 0 tokens (0 in, 0 out) in 2 model calls of 1 test; 1 failed; 1 without usage; 1 more from the cache"
    assert outcome.has_part(line)


@pytest.mark.parametrize("options", [["-qq"], ["--no-summary"]])
def test_the_line_is_left_out_where_no_summary_is_wanted(suite, options):
    outcome = suite.run(SUITE, *options)

    assert "llmtest:" not in outcome.text


def test_a_suite_that_counts_nothing_has_no_line(suite):
    outcome = suite.run("def test_it(): pass\n")

    assert "llmtest:" not in outcome.text


def test_all_trees_and_their_tokens_are_in_the_summary(suite):
    outcome = suite.run(TWO_TESTS, "--llmtest-trees=all")

    assert outcome.part("llmtest: run trees") == ALL
    assert outcome.part("llmtest: run tree") == FAILED


def test_quiet_run_shows_what_it_was_asked_for_and_a_quieter_one_does_not(suite):
    assert suite.run(TWO_TESTS, "--llmtest-trees=all", "-q").part("llmtest: run trees") == ALL
    assert not suite.run(TWO_TESTS, "--llmtest-trees=all", "-qq").has_part("llmtest: run trees")
    assert not suite.run(TWO_TESTS, "--llmtest-trees=all", "--no-summary").has_part("llmtest: run trees")


def test_a_tree_of_which_a_part_of_the_usage_is_not_known_says_so(suite):
    outcome = suite.run(
        """
from llmtest import say

def test_it(scripted_chat_model):
    scripted_chat_model(say("x", usage=False)).invoke("hi")
""",
        "--llmtest-trees=all",
    )

    assert outcome.counts == {"passed": 1}
    assert "tokens: the usage of a recording is not known, because of 1 run: chat `ScriptedChatModel`, ended" in outcome.text
