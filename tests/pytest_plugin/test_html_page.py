"""`--llmtest-html`: the tests of a session as one page."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from llmtest.pytest_plugin import html_page
from tests.support.pages import rows_of

SUITE = """
import pytest
from llmtest.matching import at_most, model

def test_good(scripted_chat_model):
    scripted_chat_model("fine").invoke("hi")

def test_bad(scripted_chat_model):
    '''Says no.'''
    scripted_chat_model("no").invoke("hi")
    assert 1 == 2, "not equal"

def test_unused(scripted_chat_model):
    scripted_chat_model("never asked for")

@pytest.mark.llm_rules(at_most(1, model()))
def test_rule(scripted_chat_model):
    chat = scripted_chat_model("one", "two")
    chat.invoke("a"), chat.invoke("b")

def test_snapshot(scripted_chat_model, llm_recording, llm_snapshot):
    scripted_chat_model("Hello there").invoke("hi")
    assert llm_recording == llm_snapshot

def test_that_records_nothing():
    pass

@pytest.mark.skip(reason="not now")
def test_skipped():
    pass

@pytest.mark.xfail(reason="known bug")
def test_known():
    assert False

@pytest.fixture
def broken():
    raise RuntimeError("no database")

def test_setup(broken):
    pass
"""
PAGE = "llmtest-report.html"


def rows(folder: Path, name: str = PAGE) -> dict[str, list[Any]]:
    """The rows of the index by the name of the test."""
    return {row[0].partition("::")[2]: row for row in rows_of((folder / name).read_text("utf-8"))}


def opened(folder: Path, test: str, name: str = PAGE) -> Any:
    """The data of a test."""
    text = (folder / name).read_text("utf-8")
    number = list(rows(folder, name)).index(test)
    (data,) = re.findall(rf'id="case{number}">([^<]*)<', text)
    return json.loads(gzip.decompress(base64.b64decode(data)))


def test_no_page_is_written_if_nobody_asks(suite):
    suite.run(SUITE)

    assert not list(suite.path.glob("*.html"))


def test_the_page_has_a_row_for_each_test(suite):
    outcome = suite.run(SUITE, "--llmtest-html")

    assert {name: row[1:3] for name, row in rows(suite.path).items()} == {
        "test_good": ["passed", ""],
        "test_bad": ["failed", "not equal"],
        "test_unused": ["failed", "1 of 1 step of the script was never used"],
        "test_rule": ["failed", "expected a model at most once"],
        "test_snapshot": ["failed", "no snapshot yet: there is no test_snapshot.tree"],
        "test_that_records_nothing": ["passed", ""],
        "test_skipped": ["skipped", "Skipped: not now"],
        "test_known": ["xfailed", "assert False"],
        "test_setup": ["error", "RuntimeError: no database"],
    }
    assert re.search(r"llmtest: llmtest-report.html has the traces of 9 tests \(0\.\d MB\)", outcome.text)


def test_a_file_that_cannot_be_collected_is_a_row_with_its_traceback(suite):
    suite.run("import nothing_of_the_kind", "--llmtest-html")

    text = (suite.path / PAGE).read_text("utf-8")
    (row,) = rows_of(text)
    (data,) = re.findall(r'id="case0">([^<]*)<', text)
    failure = json.loads(gzip.decompress(base64.b64decode(data)))["failure"]

    assert row[:3] == ["test_it.py", "error", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"]
    assert failure.splitlines()[-1] == "E   ModuleNotFoundError: No module named 'nothing_of_the_kind'"


def test_a_row_has_tokens_time_and_data(suite):
    suite.run(SUITE, "--llmtest-html")

    good = rows(suite.path)["test_good"]
    assert good[3:5] == [1, 1]
    assert good[6] > 0
    assert {name: row[8] for name, row in rows(suite.path).items() if not row[8]} == {
        "test_that_records_nothing": 0,
        "test_skipped": 0,
        "test_known": 0,
    }


def test_the_data_of_a_test_has_its_failure_source_and_checks(suite):
    suite.run(SUITE, "--llmtest-html")

    bad, unused, rule = (opened(suite.path, name) for name in ("test_bad", "test_unused", "test_rule"))
    assert "not equal" in bad["failure"]
    assert bad["source"].splitlines() == [
        "# test_it.py:7",
        "  def test_bad(scripted_chat_model):",
        "      '''Says no.'''",
        '      scripted_chat_model("no").invoke("hi")',
        '>     assert 1 == 2, "not equal"',
    ]
    assert [check["code"] for check in unused["checks"]] == ["unused step"]
    assert [(check["code"], check["holds"]) for check in rule["checks"]] == [("a model at most once", False)]
    assert rule["checks"][0]["runs"]


def test_a_shape_that_did_not_hold_is_a_check(suite):
    source = """
def test_shape(scripted_chat_model, llm_recording):
    scripted_chat_model("hi").invoke("hello")
    assert llm_recording.tools == ["search"]
"""
    suite.run(source, "--llmtest-html")

    (check,) = opened(suite.path, "test_shape")["checks"]
    assert (check["what"], check["holds"]) == ("rule", False)


def test_rules_of_a_block_are_checks(suite):
    source = """
from llmtest import ScriptedChatModel, record
from llmtest.matching import at_most, model

def test_block():
    with record(rules=[at_most(1, model())]):
        ScriptedChatModel("hi").invoke("hello")
"""
    suite.run(source, "--llmtest-html")

    assert [(check["code"], check["holds"]) for check in opened(suite.path, "test_block")["checks"]] == [
        ("a model at most once", True)
    ]


def test_a_trace_that_cannot_be_shown_fails_no_test(suite, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(html_page, "judge", broken)

    outcome = suite.run(SUITE, "--llmtest-html", "-k", "rule or good")

    assert outcome.counts == {"passed": 1, "failed": 1, "deselected": 7}
    assert opened(suite.path, "test_rule")["notes"] == ["the traces of this test cannot be shown: RuntimeError: broken"]
    assert "expected a model at most once" in opened(suite.path, "test_rule")["failure"]


def test_an_inner_block_adds_no_recording(suite):
    source = """
from llmtest import ScriptedChatModel, record

def test_nested(llm_recording):
    with record():
        ScriptedChatModel("hi").invoke("hello")
"""
    suite.run(source, "--llmtest-html")

    assert len(opened(suite.path, "test_nested")["traces"]) == 1


def test_the_snapshot_of_a_test_is_compared(suite):
    suite.run(SUITE, "--snapshot-update", "-k", "snapshot")
    suite.run(SUITE.replace("Hello there", "Hello you"), "--llmtest-html", "-k", "snapshot")

    (shot,) = opened(suite.path, "test_snapshot")["snapshots"]
    assert shot["headline"].startswith('snapshot differs: AI message "there" → "you"')
    assert shot["rows"][-1][1:] == ['< a1: "Hello there"  usage in=1 out=2', '< a1: "Hello you"  usage in=1 out=2', 1]


def test_the_page_goes_where_it_is_told(suite):
    suite.run(SUITE, "--llmtest-html=reports/page.html", "-k", "good")

    assert list(rows(suite.path, "reports/page.html")) == ["test_good"]


@pytest.mark.parametrize("workers", [[], ["-n1", "-p", "xdist"]], ids=["one process", "xdist"])
def test_the_folder_of_the_report_has_the_page_too(suite, workers):
    suite.run(SUITE, "--llmtest-html=pages/all.html", "--llmtest-report=report", *workers)

    assert (suite.path / "report" / "page.html").read_bytes() == (suite.path / "pages" / "all.html").read_bytes()
    assert len(rows(suite.path, "report/page.html")) == 9


def test_the_page_may_be_the_one_in_the_folder_of_the_report(suite):
    suite.run(SUITE, "--llmtest-html=report/page.html", "--llmtest-report=report", "-k", "good")

    assert [file.name for file in suite.path.rglob("*.html")] == ["page.html"]


def test_a_report_without_a_page_does_not_keep_the_page_of_the_session_before(suite):
    suite.run(SUITE, "--llmtest-html", "--llmtest-report=report", "-k", "good")
    suite.run(SUITE, "--llmtest-report=report", "-k", "good")

    assert not (suite.path / "report" / "page.html").exists()


def test_the_ini_key_asks_for_the_page_too(suite):
    suite.ini("[pytest]\nasyncio_default_fixture_loop_scope = function\nllmtest_html = page.html\n")

    suite.run(SUITE, "-k", "good")

    assert list(rows(suite.path, "page.html")) == ["test_good"]


def test_a_folder_of_tests_is_not_taken_for_the_page(suite):
    outcome = suite.run(SUITE, "--llmtest-html", "tests")

    assert outcome.exit_code == 4
    assert (
        "ERROR: --llmtest-html=FILE names a file that ends in .html; got 'tests'\n"
        "  write the name of the page after =, or put the option behind the paths of tests"
    ) in outcome.errors


def test_a_page_that_cannot_be_written_loses_no_result(suite):
    (suite.path / "taken").write_text("a file")

    outcome = suite.run(SUITE, "--llmtest-html=taken/page.html", "-k", "good")

    assert outcome.counts["passed"] == 1
    assert "llmtest: the page was not written: " in outcome.text


def test_collecting_writes_no_page(suite):
    suite.run(SUITE, "--llmtest-html", "--collect-only")

    assert not (suite.path / PAGE).exists()


def test_the_workers_of_xdist_write_one_page(suite):
    outcome = suite.run(SUITE, "--llmtest-html", "-n2", "-p", "xdist")

    assert sorted(rows(suite.path)) == sorted(re.findall(r"def (test_\w+)", SUITE))
    assert len(opened(suite.path, "test_good")["traces"]) == 1
    assert outcome.text.count("has the traces of 9 tests") == 1


def test_the_last_attempt_of_a_rerun_is_shown(suite):
    source = """
import itertools
from llmtest import ScriptedChatModel

attempts = itertools.count()

def test_flaky(llm_recording):
    ScriptedChatModel("hi").invoke("hello")
    assert next(attempts) > 0
"""
    suite.run(source, "--llmtest-html", "--reruns=1", "-p", "rerunfailures")

    assert rows(suite.path)["test_flaky"][1:3] == ["passed", ""]
    assert opened(suite.path, "test_flaky")["failure"] == ""


def test_what_a_thread_does_after_its_test_is_an_error_of_that_test(suite):
    source = """
import threading
from llmtest import ScriptedChatModel, carry_context

gate = threading.Event()

def test_leaves_a_thread(llm_recording):
    model = ScriptedChatModel("one")
    model.invoke("hi")
    def late():
        gate.wait(5)
        try:
            model.invoke("again")
        except AssertionError:
            pass
    threading.Thread(target=carry_context(late)).start()

def test_next():
    gate.set()
"""
    suite.run(source, "--llmtest-html")

    assert rows(suite.path)["test_leaves_a_thread"][1] == "error"


def test_a_test_without_source_has_none(suite):
    suite.run("exec('def test_made(): assert False')", "--llmtest-html")

    assert opened(suite.path, "test_made")["source"] == ""


def test_an_unexpected_pass_is_its_own_status(suite):
    source = """
import pytest

@pytest.mark.xfail(reason="known bug", strict=False)
def test_mended():
    pass
"""
    suite.run(source, "--llmtest-html")

    assert rows(suite.path)["test_mended"][1:3] == ["xpassed", "known bug"]


def test_a_test_that_another_process_runs_once_more_writes_no_page(suite, monkeypatch):
    monkeypatch.setenv("LLMTEST_ELSEWHERE", "1")

    suite.run(SUITE, "--llmtest-html", "-k", "good")

    assert not (suite.path / PAGE).exists()


def test_a_failing_subtest_fails_its_row(suite):
    source = """
import unittest

class TestParts(unittest.TestCase):
    def test_parts(self):
        with self.subTest("second"):
            assert 1 == 2
"""
    suite.run(source, "--llmtest-html")

    assert [row[1] for row in rows_of((suite.path / PAGE).read_text("utf-8"))] == ["failed"]


def test_the_test_in_which_the_session_ends_is_open(suite):
    source = """
import pytest

def test_stops():
    pytest.exit("enough")
"""
    suite.run(source, "--llmtest-html")

    assert rows(suite.path)["test_stops"][1:3] == ["open", ""]


def test_a_difference_that_the_test_did_not_come_to_is_shown(suite):
    source = """
def test_it(scripted_chat_model, llm_recording, llm_snapshot):
    scripted_chat_model("Hello there").invoke("hi")
    assert True
    assert llm_recording == llm_snapshot
"""
    suite.run(source, "--snapshot-update")

    suite.run(source.replace("Hello", "Goodbye").replace("True", "False"), "--llmtest-html")

    (snapshot,) = opened(suite.path, "test_it")["snapshots"]
    said = 'it differs: AI message "Hello" → "Goodbye" at ScriptedChatModel (1 of 3 lines, 1 cause)'
    assert snapshot["headline"] == f"not compared, because the test failed before; {said}"
    assert [row[2] for row in snapshot["rows"]] == ["chat ScriptedChatModel", '< a1: "Goodbye there"  usage in=1 out=2']
