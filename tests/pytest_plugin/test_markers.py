"""The markers of a test and the rules of the suite: how they are judged, and what a broken rule or shape shows."""

from __future__ import annotations

import pytest

PROGRAM = """
import pytest
from langchain_core.tools import tool
from llmtest.matching import *

@tool
def search(q: str) -> str:
    "Search."
    return q

@tool
def delete(id: int) -> str:
    "Delete."
    return "gone"

RULES = [never("delete"), at_most(2, "search").named("thrift")]
"""


def test_a_shape_that_does_not_match_is_one_line_and_a_section(suite):
    outcome = suite.run(
        PROGRAM
        + """
def test_it(llm_recording):
    search.invoke({"q": "hat"})
    delete.invoke({"id": 7})
    assert llm_recording.tools == [..., "search", called("delete", id=8)]
"""
    )

    assert outcome.counts == {"failed": 1}
    assert (
        "E   AssertionError: broken: tools == [..., 'search', called('delete', id=8)]: it ended after 2 items,"
        " where called('delete', id=8) was due (event 2)"
    ) in outcome.text
    assert outcome.part("llmtest: explanation") == (
        "expected tools == [..., 'search', called('delete', id=8)]\n"
        "  got      it ended after 2 items, where called('delete', id=8) was due\n"
        "  all      [called('search', q='hat'), called('delete', id=7)]\n"
        "  event    2: on_tool_start `delete`, depth 0: delete\n"
        "  nearest  event 2: on_tool_start `delete`, depth 0: delete; `id` is 7"
    )


def test_a_broken_rule_is_a_section_too(suite):
    outcome = suite.run(
        PROGRAM
        + """
def test_it(llm_recording):
    delete.invoke({"id": 7})
    assert llm_recording.obeys(never("delete"))

def test_other(llm_recording):
    assert llm_recording.obeys(never("delete"))
    assert False
"""
    )

    assert outcome.counts == {"failed": 2}
    assert "expected never `delete`\n  got      `delete` was called\n" in outcome.text
    assert outcome.text.count("llmtest: explanation") == 1


def test_rules_of_the_ini_key_and_of_markers_are_judged_in_every_test_that_records(suite):
    outcome = suite.run(
        PROGRAM
        + """
def test_deletes(llm_recording):
    delete.invoke({"id": 7})

@pytest.mark.llm_rules(at_least(1, "search"))
def test_marked(llm_recording):
    pass

def test_kept(llm_recording):
    search.invoke({"q": "hat"})

def test_without():
    pass
""",
        "-o",
        "llmtest_rules=test_it:RULES",
        "-o",
        "pythonpath=.",
        "-p",
        "no:cacheprovider",
    )

    assert outcome.counts == {"failed": 2, "passed": 2}
    assert "expected never `delete`\n  got      `delete` was called" in outcome.text
    assert "expected `search` at least once\n  got      `search` came not at all" in outcome.text


def test_rules_that_are_none_are_refused(suite):
    outcome = suite.run("def test_it(): pass", "-o", "llmtest_rules=os:nothing")

    text = "the ini key llmtest_rules names `module:rules`; got 'os:nothing': module 'os' has no attribute 'nothing'"
    assert text in outcome.text + outcome.errors


def test_an_ini_key_that_names_something_else_is_refused(suite):
    outcome = suite.run("def test_it(): pass", "-o", "llmtest_rules=os:sep")

    assert "the ini key llmtest_rules names rules; os:sep is '/'" in outcome.text + outcome.errors


def test_other_comparisons_are_left_to_pytest(suite):
    outcome = suite.run(
        PROGRAM
        + """
def test_runs(llm_recording):
    assert llm_recording.tools == llm_recording.runs == "ab"

def test_kinds(llm_recording):
    assert llm_recording.kinds == ["on_tool_start"]

def test_tokens(llm_recording):
    assert llm_recording.tokens == ["a"]

def test_type(llm_recording):
    assert llm_recording.kinds != []
"""
    )

    assert outcome.counts == {"failed": 4}
    assert "broken: kinds == ['on_tool_start']: it ended after 0 items, where 'on_tool_start' was due" in outcome.text
    assert "broken: tokens == ['a']: it ended after 0 items, where 'a' was due" in outcome.text


WIDE = """
def test_wide(llm_recording):
    for number in range(12):
        search.invoke({"q": f"{number:03}" + " hat" * 9})
    %s
"""
ALL = ", ".join(f"called('search', q='{number:03}{' hat' * 9}')" for number in range(4, 12))
WHOLE = f"""\
expected tools == ['search', ..., 'pay']
  got      it ended after 12 items, where 'pay' was due
  all      [<4 more>, {ALL}]
  event    22: on_tool_start `search`, depth 0: search"""
"""Longer than what pytest leaves of a comparison, which is 640 characters."""
UNITTEST = """
import unittest
from llmtest import record

class TestShop(unittest.TestCase):
    def test_shape(self):
        with record() as recording:
            search.invoke({"q": "hat"})
        recording.tools.assert_matches(["pay"])

    def test_rule(self):
        with record() as recording:
            delete.invoke({"id": 7})
        recording.assert_obeys(*RULES)
"""


def test_the_explanation_is_whole_on_a_worker(suite):
    outcome = suite.run_on_worker(PROGRAM + WIDE % "assert llm_recording.tools == ['search', ..., 'pay']")

    assert outcome.counts == {"failed": 1}
    assert len(WHOLE) > 640
    assert outcome.part("llmtest: explanation") == WHOLE


def test_an_answer_is_explained_in_a_section_with_plain_asserts(suite):
    outcome = suite.run(PROGRAM + WIDE % "assert llm_recording.obeys(at_most(2, 'search'))", "--assert=plain")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("llmtest: explanation").startswith("expected `search` at most twice\n  got      ")


def test_assert_matches_explains_with_plain_asserts(suite):
    outcome = suite.run(PROGRAM + WIDE % "llm_recording.tools.assert_matches(['search', ..., 'pay'])", "--assert=plain")

    assert outcome.counts == {"failed": 1}
    assert outcome.part("llmtest: explanation") == WHOLE
    assert "E   llmtest.errors.MatchError: " + WHOLE.split("\n")[0] in outcome.text


def test_unittest_gets_the_explanation_as_its_error(suite):
    outcome = suite.run(PROGRAM + UNITTEST)

    assert outcome.counts == {"failed": 2}
    assert "MatchError: expected tools == ['pay']" in outcome.text
    assert "MatchError: expected never `delete`" in outcome.text


def test_the_marker_records_a_test_that_has_no_recording(suite):
    outcome = suite.run(
        PROGRAM
        + """
@pytest.mark.llm_rules(never("delete"))
def test_deletes():
    delete.invoke({"id": 7})

@pytest.mark.llm_rules(at_least(1, "search"))
def test_searches():
    search.invoke({"q": "hat"})

@pytest.mark.llm_rules(at_least(1, "search"))
def test_does_nothing():
    pass
"""
    )

    assert outcome.counts == {"failed": 2, "passed": 1}


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("llm_rules", "llm_rules() takes at least one rule: before(...), never(...), each(...).followed_by(...), ..."),
        ("llm_rules()", "llm_rules() takes at least one rule: before(...), never(...), each(...).followed_by(...), ..."),
        ("llm_rules('search')", "llm_rules() takes rules, before(...), never(...), ...; got str 'search'"),
        ("llm_rules(rules=RULES)", "llm_rules() takes rules and no keywords; got rules="),
        ("llm_rules(never('delete'), strict=True)", "llm_rules() takes rules and no keywords; got strict="),
    ],
)
def test_a_marker_without_rules_is_refused(suite, marker, text):
    outcome = suite.run(f"{PROGRAM}\n@pytest.mark.{marker}\ndef test_it(llm_recording):\n    pass\n")

    assert outcome.counts == {"error": 1}
    assert text in outcome.text
