"""What is on the ledger fails the test in the phase in which it happened: once, and hiding nothing."""

from __future__ import annotations

import re

import pytest

from llmtest import ledger


def is_unused(text: str, line: int) -> bool:
    """Whether `text` is all that is said of the second step that a script in this line has left over; not its exact words."""
    said = rf"1 of 2 steps .* never used\n  step 2  say\('b'\)  at test_it\.py:{line}\n  the model was called once;.*"
    return re.fullmatch(said, text) is not None


SWALLOWED = """
def swallowed(model):
    try:
        model.invoke("again")
    except AssertionError:
        pass
"""


def test_unused_step_fails_the_test_with_the_message_alone(suite):
    outcome = suite.run(
        """
        def test_it(scripted_chat_model):
            scripted_chat_model("a", "b").invoke("hi")
        """,
        "--llmtest-trees=off",
    )

    assert outcome.counts == {"failed": 1}
    assert is_unused(outcome.part("test_it"), line=2)
    assert "FAILED test_it.py::test_it - llmtest.errors.ViolationError: 1 of 2 steps of the script" in outcome.text


@pytest.mark.parametrize(
    ("program", "rule"),
    [
        ("model.with_fallbacks([scripted_chat_model('b')]).invoke('hi')", "unexpected model call 1: the script has no steps"),
        ("model.batch(['hi'], return_exceptions=True)", "unexpected model call 1: the script has no steps"),
        ("swallowed(model)", "unexpected model call 1: the script has no steps"),
        ("swallowed(scripted_chat_model(call('look')))", "the script calls the tool `look`, which is not bound to the model"),
        ("tool(lambda x: swallowed(model), description='x', name_or_callable='t').invoke('x')", "unexpected model call 1"),
    ],
    ids=["with_fallbacks", "return_exceptions", "except", "invalid tool call", "tool"],
)
def test_swallowed_violation_fails_the_test_in_its_call_phase(suite, program, rule):
    program = program.replace("tool(lambda x: swallowed(model), description='x', name_or_callable='t')", "quiet")
    outcome = suite.run(
        f"""
        from langchain_core.tools import tool
        from llmtest import call

        def swallowed(model):
            try:
                model.invoke("again")
            except AssertionError:
                return "no"

        def test_it(scripted_chat_model):
            model = scripted_chat_model()

            @tool
            def quiet(x: str) -> str:
                "Asks a model, quietly."
                return swallowed(model)

            {program}
        """
    )

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it").startswith(rule)


def test_all_violations_of_a_test_are_one_failure(suite):
    outcome = suite.run(
        f"""
        {SWALLOWED.replace(chr(10), chr(10) + " " * 8)}
        def test_it(scripted_chat_model):
            swallowed(scripted_chat_model())
            scripted_chat_model("a", "b").invoke("hi")
        """
    )

    first, second = outcome.part("test_it").split("\n\n")
    assert outcome.counts == {"failed": 1}
    assert first.startswith("unexpected model call 1")
    assert second.startswith("1 of 2 steps")


def test_expected_violation_does_not_fail_the_test(suite):
    outcome = suite.run(
        """
        from llmtest import expect_violation

        def test_it(scripted_chat_model):
            with expect_violation("unexpected call"):
                scripted_chat_model().invoke("hi")
        """
    )

    assert outcome.counts == {"passed": 1}


def test_xfail_covers_violations(suite):
    outcome = suite.run(
        """
        import pytest
        from llmtest import ViolationError

        def use(make, steps):
            make(*steps).invoke("hi")

        @pytest.mark.xfail(strict=True)
        def test_strict(scripted_chat_model):
            use(scripted_chat_model, "ab")

        @pytest.mark.xfail(strict=False)
        def test_lenient(scripted_chat_model):
            use(scripted_chat_model, "ab")

        @pytest.mark.xfail(raises=ViolationError, strict=True)
        def test_that_kind(scripted_chat_model):
            use(scripted_chat_model, "ab")

        @pytest.mark.xfail(raises=KeyError, strict=True)
        def test_another_kind(scripted_chat_model):
            use(scripted_chat_model, "ab")

        @pytest.mark.xfail(strict=True)
        def test_strict_and_fine(scripted_chat_model):
            use(scripted_chat_model, "a")

        @pytest.mark.xfail(strict=False)
        def test_lenient_and_fine(scripted_chat_model):
            use(scripted_chat_model, "a")

        def test_in_the_body(scripted_chat_model):
            scripted_chat_model("a")
            pytest.xfail("not yet")
        """
    )

    assert outcome.counts == {"xfailed": 4, "failed": 2, "xpassed": 1}
    assert outcome.part("test_another_kind").startswith("1 of 2 steps")
    assert "XPASS(strict)" in outcome.part("test_strict_and_fine")


def test_each_attempt_has_a_page_of_its_own(suite):
    outcome = suite.run(
        """
        import pytest

        runs = []

        @pytest.mark.flaky(reruns=1)
        def test_it(scripted_chat_model):
            runs.append(1)
            scripted_chat_model(*"ab"[: 3 - len(runs)]).invoke("hi")

        @pytest.mark.flaky(reruns=1)
        def test_never(scripted_chat_model):
            scripted_chat_model("a", "b").invoke("hi")
        """
    )

    assert outcome.counts == {"rerun": 2, "passed": 1, "failed": 1}
    assert outcome.part("test_never").startswith("1 of 2 steps")


def test_unittest_methods_fail_too_and_keep_their_own_outcome(suite):
    outcome = suite.run(
        """
        import unittest
        from llmtest import ScriptedChatModel

        class TestSync(unittest.TestCase):
            def test_unused(self):
                ScriptedChatModel("a", "b").invoke("hi")

            def test_own_failure(self):
                ScriptedChatModel("a")
                self.assertEqual(1, 2)

            def test_skipped(self):
                ScriptedChatModel("a")
                self.skipTest("not here")

            @unittest.expectedFailure
            def test_expected(self):
                ScriptedChatModel("a")
                self.assertEqual(1, 2)

        class TestAsync(unittest.IsolatedAsyncioTestCase):
            async def test_unused(self):
                await ScriptedChatModel("a", "b").ainvoke("hi")
        """
    )

    assert outcome.counts == {"failed": 3, "skipped": 1, "xfailed": 1}
    assert outcome.part("TestSync.test_unused").startswith("1 of 2 steps")
    assert outcome.part("TestAsync.test_unused").startswith("1 of 2 steps")
    assert "E   AssertionError: 1 != 2" in outcome.part("TestSync.test_own_failure")
    assert outcome.part("llmtest: violations").startswith("1 of 1 step")


def test_skipped_test_stays_skipped(suite):
    outcome = suite.run(
        """
        import pytest

        @pytest.fixture
        def unavailable(scripted_chat_model):
            scripted_chat_model("a")
            pytest.skip("not in a fixture")

        def test_in_the_body(scripted_chat_model):
            scripted_chat_model("a")
            pytest.skip("not today")

        def test_in_a_fixture(unavailable):
            pass
        """
    )

    assert outcome.counts == {"skipped": 2}


def test_failure_of_another_kind_stays_and_the_ledger_is_a_section(suite):
    outcome = suite.run(
        """
        def test_it(scripted_chat_model):
            scripted_chat_model("a", "b").invoke("hi")
            assert 1 == 2
        """
    )

    assert outcome.counts == {"failed": 1}
    assert "E   assert 1 == 2" in outcome.part("test_it")
    assert is_unused(outcome.part("llmtest: violations"), line=2)


@pytest.mark.parametrize(
    "failure",
    [
        "scripted_chat_model().invoke('hi')",
        "try:\n    scripted_chat_model().invoke('hi')\nexcept AssertionError as error:\n    raise KeyError from error",
        "try:\n    scripted_chat_model().invoke('hi')\nexcept AssertionError:\n    raise KeyError",
        "try:\n    scripted_chat_model().invoke('hi')\nexcept AssertionError as error:\n    raise ExceptionGroup('all', [error])",
    ],
    ids=["itself", "cause", "context", "group"],
)
def test_violation_that_the_failure_tells_is_not_told_again(suite, failure):
    indented = failure.replace("\n", "\n" + " " * 12)
    outcome = suite.run(
        f"""
        def test_it(scripted_chat_model):
            scripted_chat_model("a", "b").invoke("hi")
            {indented}
        """
    )

    assert outcome.counts == {"failed": 1}
    assert "unexpected model call 1" in outcome.part("test_it") or failure.startswith("try")
    assert is_unused(outcome.part("llmtest: violations"), line=2)


def test_chain_of_causes_that_bites_its_tail_is_read_once(suite):
    outcome = suite.run(
        """
        def test_it(scripted_chat_model):
            scripted_chat_model("a", "b").invoke("hi")
            one, two = KeyError(1), KeyError(2)
            one.__cause__, two.__cause__ = two, one
            raise one
        """
    )

    assert outcome.counts == {"failed": 1}
    assert is_unused(outcome.part("llmtest: violations"), line=2)


def test_violation_in_teardown_is_an_error_of_the_teardown(suite):
    outcome = suite.run(
        f"""
        import pytest
        {SWALLOWED.replace(chr(10), chr(10) + " " * 8)}
        @pytest.fixture
        def model(scripted_chat_model):
            model = scripted_chat_model("a")
            yield model
            swallowed(model)

        def test_it(model):
            model.invoke("hi")
        """
    )

    assert outcome.counts == {"passed": 1, "error": 1}
    assert outcome.part("ERROR at teardown of test_it").startswith("unexpected model call 2")


def test_teardown_does_not_repeat_what_the_test_failed_for(suite):
    outcome = suite.run(
        """
        import pytest

        @pytest.fixture
        def model(scripted_chat_model):
            model = scripted_chat_model("a", "b", "c")
            yield model
            model.invoke("bye")

        def test_it(model):
            model.invoke("hi")
        """
    )

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it").startswith("2 of 3 steps")


def test_teardown_that_fails_on_its_own_keeps_its_error(suite):
    outcome = suite.run(
        f"""
        import pytest
        {SWALLOWED.replace(chr(10), chr(10) + " " * 8)}
        @pytest.fixture
        def model(scripted_chat_model):
            yield
            swallowed(scripted_chat_model())
            raise KeyError("gone")

        def test_it(model):
            pass
        """
    )

    assert outcome.counts == {"passed": 1, "error": 1}
    assert "KeyError: 'gone'" in outcome.part("ERROR at teardown of test_it")
    assert outcome.part("llmtest: violations").startswith("unexpected model call 1")


def test_setup_that_fails_tells_what_happened_but_not_what_could_not(suite):
    outcome = suite.run(
        f"""
        import pytest
        {SWALLOWED.replace(chr(10), chr(10) + " " * 8)}
        @pytest.fixture
        def model(scripted_chat_model):
            scripted_chat_model("never used")
            swallowed(scripted_chat_model())
            raise KeyError("no model")

        def test_it(model):
            pass
        """
    )

    assert outcome.counts == {"error": 1}
    assert "KeyError: 'no model'" in outcome.part("ERROR at setup of test_it")
    assert outcome.part("llmtest: violations").startswith("unexpected model call 1")
    assert "never used" not in outcome.part("llmtest: violations")


def test_run_that_only_sets_up_says_nothing_about_unused_steps(suite):
    outcome = suite.run(
        """
        import pytest

        @pytest.fixture
        def model(scripted_chat_model):
            return scripted_chat_model("a")

        def test_it(model):
            model.invoke("hi")
        """,
        "--setup-only",
    )

    assert outcome.exit_code == pytest.ExitCode.OK
    assert "never used" not in outcome.text


def test_same_violation_of_many_examples_is_told_once(suite):
    outcome = suite.run(
        """
        import pytest
        from hypothesis import given, settings, strategies
        from llmtest import ScriptedChatModel

        @settings(max_examples=5, database=None)
        @given(strategies.integers())
        def test_it(number):
            ScriptedChatModel("a", "b").invoke("hi")
        """
    )

    assert outcome.counts == {"failed": 1}
    assert is_unused(outcome.part("test_it"), line=8)


def test_violation_in_a_fixture_fails_the_test(suite):
    outcome = suite.run(
        f"""
        import pytest
        {SWALLOWED.replace(chr(10), chr(10) + " " * 8)}
        @pytest.fixture
        def model(scripted_chat_model):
            swallowed(scripted_chat_model())

        def test_it(model):
            pass
        """
    )

    assert outcome.counts == {"failed": 1}
    assert outcome.part("test_it").startswith("unexpected model call 1")


def test_doubles_without_a_fixture_count_if_they_were_made_or_called(suite):
    outcome = suite.run(
        """
        from llmtest import ScriptedChatModel

        shared = ScriptedChatModel("a", "b")
        untouched = ScriptedChatModel("never")

        def test_made():
            ScriptedChatModel("a", "b").invoke("hi")

        def test_called():
            shared.invoke("hi")

        def test_neither():
            pass
        """
    )

    assert outcome.counts == {"failed": 2, "passed": 1}
    assert outcome.part("test_made").startswith("1 of 2 steps")
    assert outcome.part("test_called").startswith("1 of 2 steps")


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_unused_steps_of_a_wider_fixture_are_an_error_when_it_ends(suite, scope):
    outcome = suite.run(
        f"""
        import pytest
        from llmtest import ScriptedChatModel

        @pytest.fixture(scope={scope!r})
        def model():
            model = ScriptedChatModel("a", "b", "c", "d")
            model.invoke("in setup")
            yield model
            model.invoke("in teardown")

        class TestIt:
            def test_one(self, model):
                model.invoke("1")

            def test_two(self, model):
                pass
        """
    )

    error = outcome.part("ERROR at teardown of TestIt.test_two")
    assert outcome.counts == {"passed": 2, "error": 1}
    assert error.startswith("1 of 4 steps")
    assert "  step 4  say('d')  at test_it.py:6" in error


def test_other_violations_of_a_wider_fixture_count_where_they_happen(suite):
    outcome = suite.run(
        f"""
        import pytest
        from llmtest import ScriptedChatModel
        {SWALLOWED.replace(chr(10), chr(10) + " " * 8)}
        @pytest.fixture(scope="module")
        def model():
            swallowed(ScriptedChatModel())
            return ScriptedChatModel("a")

        def test_in_setup(model):
            pass

        def test_fine(model):
            model.invoke("1")

        def test_in_call(model):
            swallowed(model)
        """
    )

    assert outcome.counts == {"failed": 2, "passed": 1}
    assert outcome.part("test_in_setup").startswith("unexpected model call 1")
    assert outcome.part("test_in_call").startswith("unexpected model call 2")


def test_wider_fixture_that_fails_is_not_asked_for_unused_steps(suite):
    outcome = suite.run(
        """
        import pytest
        from llmtest import ScriptedChatModel

        @pytest.fixture(scope="module")
        def model():
            ScriptedChatModel("a")
            raise KeyError("no model")

        def test_it(model):
            pass
        """
    )

    assert outcome.counts == {"error": 1}
    assert "KeyError: 'no model'" in outcome.part("ERROR at setup of test_it")


def test_error_of_a_wider_fixture_stands_beside_that_of_its_own_teardown(suite):
    outcome = suite.run(
        """
        import pytest
        from llmtest import ScriptedChatModel

        @pytest.fixture(scope="module")
        def model():
            yield ScriptedChatModel("a")
            raise KeyError("gone")

        def test_it(model):
            pass
        """
    )

    error = outcome.part("ERROR at teardown of test_it")
    assert outcome.counts == {"passed": 1, "error": 1}
    assert "KeyError: 'gone'" in error
    assert "never used" in error
    assert not outcome.has_part("llmtest: violations")


def test_interrupted_run_says_nothing_about_unused_steps_and_leaves_nothing_behind(suite):
    before = ledger.current()

    outcome = suite.run(
        """
        import pytest
        from llmtest import ScriptedChatModel

        @pytest.fixture(scope="module")
        def model():
            return ScriptedChatModel("a")

        def test_it(model, scripted_chat_model):
            scripted_chat_model("b")
            pytest.exit("enough")
        """
    )

    assert outcome.exit_code == pytest.ExitCode.INTERRUPTED
    assert "never used" not in outcome.text
    assert "INTERNALERROR" not in outcome.text
    assert ledger.current() is before


def test_stopping_at_the_first_failure_ends_wider_fixtures_in_a_test(suite):
    outcome = suite.run(
        """
        import pytest
        from llmtest import ScriptedChatModel

        @pytest.fixture(scope="module")
        def model():
            return ScriptedChatModel("a")

        def test_it(model):
            assert False

        def test_not_run(model):
            pass
        """,
        "-x",
    )

    assert outcome.counts == {"failed": 1, "error": 1}
    assert outcome.part("ERROR at teardown of test_it").startswith("1 of 1 step")


IDS = """
import pytest
from llmtest import call

def ids(model):
    message = model.bind_tools([{"name": "look", "parameters": {}}]).invoke("hi")
    return [message.id, message.tool_calls[0]["id"]]

@pytest.mark.parametrize("n", range(3))
def test_it(scripted_chat_model, n, request):
    with open("ids.txt", "a") as file:
        print(request.node.name, *ids(scripted_chat_model(call("look"))), *ids(scripted_chat_model(call("look"))), file=file)
    assert n
"""


def test_ids_are_unique_over_tests_and_the_same_in_every_attempt(suite):
    outcome = suite.run(IDS, "--reruns=1")

    lines = (suite.path / "ids.txt").read_text().splitlines()
    ids = [word for line in lines[1:] for word in line.split()[1:]]
    assert outcome.counts == {"rerun": 1, "failed": 1, "passed": 2}
    assert lines[0] == lines[1]
    assert len(ids) == len(set(ids)) == 12


def test_inner_run_does_not_disturb_the_outer_one(suite):
    suite.files.makeconftest('pytest_plugins = ["pytester"]')

    outcome = suite.run(
        """
        def test_it(pytester, scripted_chat_model, llm_recording):
            model = scripted_chat_model("a", "b")
            model.invoke("before")
            pytester.makepyfile(
                test_inner='''
                from llmtest import ScriptedChatModel

                unused = ScriptedChatModel("made while the tests are collected")

                def test_fails(scripted_chat_model):
                    scripted_chat_model("inner").invoke("hi")
                    scripted_chat_model("unused")
                '''
            )
            pytester.runpytest_inprocess("-pno:asyncio").assert_outcomes(failed=1)
            model.invoke("after")
            assert len(llm_recording.models) == 3
        """
    )

    assert outcome.counts == {"passed": 1}


def test_setup_that_another_plugin_fails_before_ours_is_that_failure_alone(suite):
    suite.write(
        """
        import pytest

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_setup(item):
            raise ValueError("not today")
            yield
        """,
        name="conftest",
    )

    outcome = suite.run("def test_it():\n    pass\n", "-pno:logging")  # pytest's own logging plugin fails then too

    assert outcome.counts == {"error": 1}
    assert "ValueError: not today" in outcome.text
