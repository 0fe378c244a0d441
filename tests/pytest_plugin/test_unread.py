"""A false answer that a test ignores fails it, at its line; one that is read in any way does not."""

from __future__ import annotations

import pytest

PROGRAM = """
import pytest
import unittest
from langchain_core.tools import tool
from llmtest import expect_violation
from llmtest.matching import *

@tool
def search(q: str) -> str:
    "Search."
    return q

@pytest.fixture
def ran(llm_recording):
    search.invoke({"q": "hat"})
    with_run = llm_recording
    return with_run

NEVER = never("search")
KEPT = []

def compare(recording):
    return recording.tools == ["book"]
"""


def run(suite, *body):
    lines = "\n    ".join(body)
    return suite.run(f'{PROGRAM}\ndef test_it(llm_recording, llm_snapshot):\n    search.invoke({{"q": "hat"}})\n    {lines}\n')


@pytest.mark.parametrize(
    "line",
    [
        "llm_recording.obeys(NEVER)",
        "llm_recording.obeys(at_most(3, 'search'), NEVER)",
        "llm_recording.obeys(NEVER, at_most(1, called('search', quest=1)))",
        "llm_recording.obeys(at_least(1, called('search', quest=1)))",
        "llm_recording.tools == ['book']",
        "['book'] == llm_recording.tools",
        "llm_recording.tools != ['search']",
        "llm_recording.roots[0].children == ['book']",
        "llm_recording.kinds == ['on_chain_*']",
        "llm_recording.tokens == ['Paris']",
        "llm_recording.tools.explain(['book'])",
        "llm_recording.kinds.explain([])",
        "llm_recording == llm_snapshot",
        "with llm_recording.all_of(): llm_recording.obeys(NEVER)",
        "answer = llm_recording.obeys(NEVER)",
        "same = llm_recording.tools == ['book']",
        "compare(llm_recording)",
        "(lambda: llm_recording.obeys(NEVER))()",
        "[llm_recording.obeys(rule) for rule in (NEVER, never('book'))]",
        "KEPT.append(llm_recording.obeys(NEVER)); KEPT.clear()",
    ],
)
def test_a_false_answer_that_is_ignored_fails_the_test(suite, line):
    outcome = run(suite, line)

    assert outcome.counts == {"failed": 1}
    assert "a false answer was ignored: " in outcome.text
    assert "\n  write `assert` before it, or use its value" in outcome.text


@pytest.mark.parametrize(
    "line",
    [
        "assert not llm_recording.obeys(NEVER)",
        "assert llm_recording.obeys(NEVER).holds is False",
        "if llm_recording.obeys(NEVER): raise SystemError",
        "answer = llm_recording.obeys(NEVER); assert not answer",
        "assert llm_recording.obeys(NEVER) or llm_recording.obeys(never('book'))",
        "a, b = llm_recording.obeys(never('book')), llm_recording.obeys(NEVER); assert a or b",
        "a = llm_recording.obeys(never('book')); b = llm_recording.obeys(NEVER); assert a or b",
        "assert any([llm_recording.obeys(never('book')), llm_recording.obeys(NEVER)])",
        "print(llm_recording.obeys(NEVER))",
        "f'{llm_recording.obeys(NEVER)!r}'",
        "llm_recording.obeys(NEVER).to_dict()",
        "assert (llm_recording.tools == ['book']) is False",
        "assert not llm_recording.tools == ['book']",
        "assert llm_recording.tools != ['book']",
        "assert [llm_recording.tools == ['book']] == [False]",
        "assert llm_recording.tools not in (['book'], ['a'])",
        "[['book'], ['a']].count(llm_recording.tools)",
        "assert not compare(llm_recording)",
        "unittest.TestCase().assertFalse(llm_recording.tools == ['book'])",
        "unittest.TestCase().assertNotEqual(llm_recording.tools, ['book'])",
        "with pytest.raises(AssertionError): unittest.TestCase().assertEqual(llm_recording.tools, ['book'])",
        "with pytest.raises(AssertionError): assert llm_recording.tools == ['book']",
        "with pytest.raises(AssertionError): assert llm_recording == llm_snapshot",
        "with pytest.raises(AssertionError): llm_recording.assert_obeys(NEVER)",
        "with expect_violation('ignored answer'): llm_recording.obeys(NEVER)",
        "with expect_violation('ignored answer'): llm_recording.tools == ['book']",
        "from unittest.mock import call; assert call(llm_recording.tools) != call(['book'])",
    ],
)
def test_a_false_answer_that_is_read_is_none_of_our_business(suite, line):
    assert run(suite, line).counts == {"passed": 1}


def test_the_message_has_the_answer_and_the_line(suite):
    outcome = run(suite, "llm_recording.tools == ['book']")

    assert (
        "a false answer was ignored: tools == ['book']\n"
        "  at       test_it.py:26  llm_recording.tools == ['book']\n"
        "  write `assert` before it, or use its value"
    ) in outcome.text


def test_an_answer_may_be_read_by_what_ends_the_test(suite):
    outcome = suite.run(
        PROGRAM
        + """
@pytest.fixture
def answers():
    found = []
    yield found
    assert [bool(answer) for answer in found] == [False]

def test_it(llm_recording, answers):
    search.invoke({"q": "hat"})
    answers.append(llm_recording.obeys(NEVER))
"""
    )

    assert outcome.counts == {"passed": 1}


def test_an_answer_that_outlives_its_test_unread_is_an_error_of_that_test(suite):
    outcome = suite.run(
        PROGRAM
        + """
def test_it(llm_recording):
    search.invoke({"q": "hat"})
    KEPT.append(llm_recording.obeys(NEVER))

def test_next():
    assert not KEPT[0]
"""
    )

    assert outcome.counts == {"passed": 2, "error": 1}


def test_a_test_that_fails_before_it_reads_an_answer_has_not_ignored_it(suite):
    outcome = run(suite, "answer = llm_recording.obeys(NEVER)", "assert llm_recording.tools == []", "assert answer")

    assert outcome.counts == {"failed": 1}
    assert "a false answer was ignored" not in outcome.text
