"""What a failing test shows, and what `--llmtest-trees` shows of the others."""

from __future__ import annotations

import pytest

from llmtest import record
from llmtest.langchain.chat_model import ScriptedChatModel

TWO_TESTS = """
from llmtest import say

def test_passes(scripted_chat_model):
    scripted_chat_model(say("Hello there", usage=(5, 2))).invoke("hi")

def test_fails(scripted_chat_model):
    scripted_chat_model(say("Good bye", usage=(3, 2))).invoke("bye")
    assert False
"""


def tree(answer: str, question: str, usage: tuple[int, int]) -> str:
    """What a test of TWO_TESTS shows."""
    from llmtest import say

    with record() as recording:
        ScriptedChatModel(say(answer, usage=usage)).invoke(question)
    return str(recording).rstrip()


FAILED = tree("Good bye", "bye", (3, 2))
PASSED = tree("Hello there", "hi", (5, 2))


def test_failing_test_shows_its_tree_and_a_passing_one_shows_nothing(suite):
    outcome = suite.run(TWO_TESTS)

    assert outcome.counts == {"passed": 1, "failed": 1}
    assert outcome.part("llmtest: run tree") == FAILED
    assert PASSED not in outcome.text


def test_nothing_is_shown_when_nothing_was_recorded(suite):
    outcome = suite.run(
        """
        def test_fails(scripted_chat_model):
            assert False

        def test_without_us():
            assert False
        """,
        "--llmtest-trees=all",
    )

    assert outcome.counts == {"failed": 2}
    assert "llmtest:" not in outcome.text


def test_plain_record_blocks_are_shown_each_run_once(suite):
    outcome = suite.run(
        """
        import pytest
        from llmtest import ScriptedChatModel, record

        @pytest.fixture
        def before():
            with record():
                ScriptedChatModel("in a fixture").invoke("1")
            yield

        def test_it(before):
            with record():
                ScriptedChatModel("outer").invoke("2")
                with record():
                    ScriptedChatModel("inner").invoke("3")
            assert False
        """
    )

    shown = outcome.part("llmtest: run tree")
    assert [shown.count(text) for text in ('"in a fixture"', '"outer"', '"inner"')] == [1, 1, 1]
    assert "\n\nchat" in shown


@pytest.mark.parametrize(
    ("phase", "title"), [("setup", "ERROR at setup of test_it"), ("teardown", "ERROR at teardown of test_it")]
)
def test_error_in_a_fixture_shows_the_tree_too(suite, phase, title):
    raising = {"setup": "pass", "teardown": "yield", phase: "raise KeyError(1)"}
    outcome = suite.run(
        f"""
        import pytest
        from llmtest import ScriptedChatModel, record

        @pytest.fixture
        def model():
            with record():
                ScriptedChatModel("in a fixture").invoke("hi")
            {raising["setup"]}
            yield
            {raising["teardown"]}

        def test_it(model):
            pass
        """
    )

    assert "KeyError" in outcome.part(f"ERROR at {phase} of test_it")
    assert '"in a fixture"' in outcome.part("llmtest: run tree")


def test_tree_is_shown_in_the_first_phase_that_fails_and_not_again(suite):
    outcome = suite.run(
        """
        import pytest

        @pytest.fixture
        def model(scripted_chat_model):
            yield scripted_chat_model("Hello")
            raise KeyError

        def test_it(model):
            model.invoke("hi")
            assert False
        """
    )

    assert outcome.counts == {"failed": 1, "error": 1}
    assert "Hello" in outcome.part("llmtest: run tree")


def test_long_tree_is_cut_after_sixty_lines(suite):
    outcome = suite.run(
        """
        def test_it(scripted_chat_model):
            model = scripted_chat_model(*"a" * 50)
            for number in range(50):
                model.invoke(str(number))
            assert False
        """
    )

    lines = outcome.part("llmtest: run tree").splitlines()
    assert len(lines) == 61
    assert lines[-1] == "... 90 more lines"


def test_tree_that_cannot_be_rendered_does_not_hide_the_failure(suite):
    suite.files.makeconftest(
        """
        import pytest
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("llmtest.recording.Recording.__str__", lambda self: 1 / 0)
                return (yield)
        """
    )
    outcome = suite.run(
        """
        def test_it(scripted_chat_model):
            scripted_chat_model("Hello").invoke("hi")
            assert False
        """
    )

    assert "assert False" in outcome.part("test_it")
    expected = "the run tree could not be rendered: ZeroDivisionError: division by zero"
    assert outcome.part("llmtest: run tree") == expected


def test_trees_can_be_off(suite):
    outcome = suite.run(TWO_TESTS, "--llmtest-trees=off")

    assert outcome.counts == {"passed": 1, "failed": 1}
    assert "run tree" not in outcome.text


ALL = f"""\
test_it.py::test_passes
{PASSED}
tokens: 5 in, 2 out

test_it.py::test_fails
{FAILED}
tokens: 3 in, 2 out"""


def test_all_trees_and_their_tokens_are_in_the_summary(suite):
    outcome = suite.run(TWO_TESTS, "--llmtest-trees=all")

    assert outcome.part("llmtest: run trees") == ALL
    assert outcome.part("llmtest: run tree") == FAILED


def test_ini_key_says_the_same_and_the_option_wins(suite):
    suite.ini("[pytest]\nllmtest_trees = all\nasyncio_default_fixture_loop_scope = function")

    assert suite.run(TWO_TESTS).part("llmtest: run trees") == ALL
    assert not suite.run(TWO_TESTS, "--llmtest-trees=failed").has_part("llmtest: run trees")


def test_quiet_run_shows_what_it_was_asked_for_and_a_quieter_one_does_not(suite):
    assert suite.run(TWO_TESTS, "--llmtest-trees=all", "-q").part("llmtest: run trees") == ALL
    assert not suite.run(TWO_TESTS, "--llmtest-trees=all", "-qq").has_part("llmtest: run trees")
    assert not suite.run(TWO_TESTS, "--llmtest-trees=all", "--no-summary").has_part("llmtest: run trees")


def test_colours_follow_the_terminal_and_no_color(suite, monkeypatch):
    monkeypatch.delenv("PY_COLORS")  # pytester's own
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1mtest_it.py::test_passes" in suite.run(TWO_TESTS, "--llmtest-trees=all").text

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in suite.run(TWO_TESTS, "--llmtest-trees=all").text


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


def test_workers_report_violations_trees_and_ids_as_one_process_does(suite):
    source = f"{TWO_TESTS}\ndef test_unused(scripted_chat_model):\n    scripted_chat_model('a', 'b').invoke('hi')\n"
    alone = suite.run(source, "--llmtest-trees=all")

    shared = suite.run_on_workers(source, "--llmtest-trees=all")

    assert shared.counts == alone.counts == {"passed": 1, "failed": 2}
    assert alone.part("test_unused").startswith("1 of 2 steps")
    assert shared.part("test_unused").endswith(alone.part("test_unused"))  # xdist says first where it ran
    assert PASSED in shared.part("llmtest: run trees")
    assert sorted(shared.part("llmtest: run trees").splitlines()) == sorted(alone.part("llmtest: run trees").splitlines())


def test_our_frames_are_not_shown(suite):
    outcome = suite.run(
        """
        import pytest

        @pytest.fixture
        def broken(llm_recording):
            raise KeyError

        def test_setup(broken):
            pass

        def test_call(llm_recording):
            raise KeyError

        @pytest.mark.anyio
        async def test_async(llm_recording):
            raise KeyError
        """
    )

    assert outcome.counts == {"error": 1, "failed": 3}
    assert "pytest_plugin.py" not in outcome.text.replace("anyio/pytest_plugin.py", "")


def test_place_of_a_violation_is_its_test(suite):
    suite.run(
        """
        def test_fine():
            pass

        def test_it(scripted_chat_model):
            scripted_chat_model("a", "b").invoke("hi")
        """,
        "--tb=line",
    )
    outcome = suite.run(None, "--tb=line")

    assert f"{suite.path / 'test_it.py'}:4: llmtest.errors.ViolationError: 1 of 2 steps" in outcome.text


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


def test_help_names_every_option_and_ini_key(suite):
    text = suite.run(None, "--help").text

    assert "--llmtest-trees={failed,all,off}" in text
    assert "llmtest_trees (string):" in text
    assert "llmtest_langsmith (bool):" in text


def test_no_fixture_is_set_up_for_a_test_that_did_not_ask(suite):
    outcome = suite.run("def test_it(): pass", "--setup-show")

    assert "llm_" not in outcome.text
    assert "scripted" not in outcome.text
