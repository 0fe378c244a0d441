"""The plugin beside other plugins, on workers and without a terminal; and what it leaves alone."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import FAILED, PASSED, TWO_TESTS


def test_workers_report_violations_trees_and_ids_as_one_process_does(suite):
    source = f"{TWO_TESTS}\ndef test_unused(scripted_chat_model):\n    scripted_chat_model('a', 'b').invoke('hi')\n"
    alone = suite.run(source, "--llmtest-trees=all")

    shared = suite.run_on_workers(source, "--llmtest-trees=all")

    assert shared.counts == alone.counts == {"passed": 1, "failed": 2}
    assert alone.part("test_unused").startswith("1 of 2 steps")
    assert shared.part("test_unused").endswith(alone.part("test_unused"))  # xdist says first where it ran
    assert PASSED in shared.part("llmtest: run trees")
    assert sorted(shared.part("llmtest: run trees").splitlines()) == sorted(alone.part("llmtest: run trees").splitlines())


def test_subtests_do_not_take_the_ledger_away_from_their_test(suite):
    outcome = suite.run(
        """
        import unittest
        from llmtest import ScriptedChatModel

        class TestIt(unittest.TestCase):
            def test_it(self):
                ScriptedChatModel("a", "b").invoke("hi")
                with self.subTest(n=1):
                    pass
                with self.subTest(n=2):
                    pass
        """
    )

    assert outcome.counts["failed"] == 1
    assert outcome.part("TestIt.test_it").startswith("1 of 2 steps")


@pytest.mark.parametrize("option", ["-pno:cacheprovider", "--assert=plain", "--import-mode=importlib", "--setup-show"])
def test_it_works_with(suite, option):
    outcome = suite.run(TWO_TESTS, option)

    assert outcome.counts == {"passed": 1, "failed": 1}
    assert outcome.part("llmtest: run tree") == FAILED


def test_it_works_without_a_terminal(suite):
    outcome = suite.run(TWO_TESTS, "-p", "no:terminal", "--llmtest-trees=all")

    assert outcome.exit_code == pytest.ExitCode.TESTS_FAILED
    assert outcome.text == ""


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest 8 does not know `strict`")
def test_it_works_in_a_strict_run(suite):
    suite.ini("[pytest]\nstrict = true\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function")

    assert suite.run(TWO_TESTS).counts == {"passed": 1, "failed": 1}


def test_switched_off_it_leaves_no_trace(suite):
    suite.write("def test_it(llm_recording): pass")

    fixtures = suite.run(None, "-p", "no:llmtest-kit")
    options = suite.run(None, "-p", "no:llmtest-kit", "--llmtest-trees=all")
    help_text = suite.run(None, "-p", "no:llmtest-kit", "--help").text

    assert "fixture 'llm_recording' not found" in fixtures.text
    assert "unrecognized arguments: --llmtest-trees=all" in options.errors
    assert "llmtest_" not in help_text


def test_no_fixture_is_set_up_for_a_test_that_did_not_ask(suite):
    outcome = suite.run("def test_it(): pass", "--setup-show")

    assert "llm_" not in outcome.text
    assert "scripted" not in outcome.text
