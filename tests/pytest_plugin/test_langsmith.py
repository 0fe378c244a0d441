"""Nothing goes to LangSmith from a test that uses us."""

from __future__ import annotations

import pytest

SEEN = """
import pytest
from langsmith.utils import tracing_is_enabled
from llmtest import ScriptedChatModel
from llmtest.scripts import Request

model = ScriptedChatModel("global")

def test_before():
    assert tracing_is_enabled()

def test_with_a_fixture(llm_recording):
    assert not tracing_is_enabled()

@pytest.mark.asyncio
async def test_async_with_a_fixture(llm_recording):
    assert not tracing_is_enabled()

@pytest.mark.anyio
async def test_anyio_with_a_fixture(llm_recording):
    assert not tracing_is_enabled()

def test_made():
    assert tracing_is_enabled()
    ScriptedChatModel()
    assert not tracing_is_enabled()

def test_called():
    assert tracing_is_enabled()
    model.script.serve(Request({}, list))  # not `invoke`: its run has begun when we notice it, so it would be sent
    assert not tracing_is_enabled()

@pytest.mark.asyncio
async def test_made_in_a_task():
    ScriptedChatModel()
    assert not tracing_is_enabled()

@pytest.fixture(scope="module")
def shared():
    model = ScriptedChatModel("a", "b")
    assert not tracing_is_enabled()
    return model

def test_shared(shared):
    assert not tracing_is_enabled()
    shared.invoke("1")

def test_shared_again(shared):
    assert not tracing_is_enabled()
    shared.invoke("2")

def test_after():
    assert tracing_is_enabled()
"""


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    """A developer's environment; its cache is that of langsmith."""
    from langsmith.utils import get_env_var

    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "not a key")
    get_env_var.cache_clear()
    yield
    get_env_var.cache_clear()


def test_tracing_is_off_for_the_length_of_a_test_that_uses_us(suite):
    outcome = suite.run(SEEN)

    assert outcome.counts == {"passed": 11}


def test_context_that_tests_share_is_left_as_it_was(suite):
    outcome = suite.run(
        """
        import pytest
        from langsmith.utils import tracing_is_enabled

        pytestmark = pytest.mark.anyio

        @pytest.fixture(scope="module")
        async def shared():
            yield

        async def test_with_a_fixture(shared, llm_recording):
            assert not tracing_is_enabled()

        async def test_after(shared):
            assert tracing_is_enabled()
        """
    )

    assert outcome.counts == {"passed": 4}


def test_what_fixtures_do_and_undo_is_not_sent_either(suite):
    outcome = suite.run(
        """
        import pytest
        from langsmith.utils import tracing_is_enabled

        @pytest.fixture
        def agent(llm_recording):
            assert not tracing_is_enabled()
            yield
            assert not tracing_is_enabled()

        def test_it(agent):
            pass
        """
    )

    assert outcome.counts == {"passed": 1}


def test_context_that_is_collected_turns_nothing_on(suite):
    outcome = suite.run(
        """
        import contextvars
        import gc
        from langsmith.utils import tracing_is_enabled
        from llmtest import Script

        def test_it(llm_recording):
            contextvars.Context().run(Script)
            gc.collect()
            assert not tracing_is_enabled()
        """
    )

    assert outcome.counts == {"passed": 1}


def test_ini_key_keeps_it_on(suite):
    suite.ini("[pytest]\nllmtest_langsmith = true\nasyncio_default_fixture_loop_scope = function")

    outcome = suite.run(
        """
        from langsmith.utils import tracing_is_enabled
        from llmtest import ScriptedChatModel

        def test_it(llm_recording):
            ScriptedChatModel()
            assert tracing_is_enabled()
        """
    )

    assert outcome.counts == {"passed": 1}


def test_without_langsmith_there_is_nothing_to_turn_off(suite):
    outcome = suite.run(
        """
        from llmtest import Script

        def test_it(monkeypatch):
            monkeypatch.setitem(__import__("sys").modules, "langsmith", None)
            Script()
        """
    )

    assert outcome.counts == {"passed": 1}


def test_inner_run_leaves_it_off_for_the_outer_one(suite):
    suite.files.makeconftest('pytest_plugins = ["pytester"]')

    outcome = suite.run(
        """
        from langsmith.utils import tracing_is_enabled

        def test_it(pytester, llm_recording):
            pytester.makepyfile(test_inner="def test_inner(scripted_chat_model): scripted_chat_model()")
            pytester.runpytest_inprocess("-pno:asyncio").assert_outcomes(passed=1)
            assert not tracing_is_enabled()
        """
    )

    assert outcome.counts == {"passed": 1}
