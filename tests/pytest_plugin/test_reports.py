"""What a failing test shows, and what `--llmtest-trees` shows of the others."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.conftest import FAILED, PASSED, TWO_TESTS


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
    assert [line for line in outcome.text.splitlines() if "llmtest:" in line] == [
        "llmtest: all failures by cause: .llmtest/failures.md"
    ]


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


def test_a_long_tree_is_shown_around_its_end_in_forty_lines(suite):
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
    assert len(lines) == 40
    assert lines[0] == "… ScriptedChatModel ×37 (111 lines)"
    assert lines[-3:] == ["chat ScriptedChatModel", '  > u50: "49"', "  < a1  usage in=1 out=1"]


def test_tree_that_cannot_be_rendered_does_not_hide_the_failure(suite):
    suite.files.makeconftest(
        """
        import pytest
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("llmtest.trees.around.around", lambda *args, **options: 1 / 0)
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


def test_colours_follow_the_terminal_and_no_color(suite, monkeypatch):
    monkeypatch.delenv("PY_COLORS")  # pytester's own
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1mtest_it.py::test_passes" in suite.run(TWO_TESTS, "--llmtest-trees=all").text

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in suite.run(TWO_TESTS, "--llmtest-trees=all").text


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
