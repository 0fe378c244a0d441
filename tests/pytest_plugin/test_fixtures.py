"""The fixtures: what they give, and that the recording is open where the test function runs."""

from __future__ import annotations

import pytest

KINDS = "['on_chat_model_start', 'on_llm_end']"


def test_factories_make_models_and_pass_fields_on(suite):
    outcome = suite.run(
        """
        from llmtest import say

        def test_chat(scripted_chat_model):
            model = scripted_chat_model("Hello", say("Bye"), tags=["greeting"])

            assert [model.invoke("hi").content, model.invoke("bye").content] == ["Hello", "Bye"]
            assert model.tags == ["greeting"]

        def test_text(scripted_llm):
            model = scripted_llm("Short.", tags=["summary"])

            assert model.invoke("long") == "Short."
            assert model.tags == ["summary"]
        """
    )

    assert outcome.counts == {"passed": 2}


@pytest.mark.parametrize("fixture", ["scripted_chat_model", "scripted_llm", "llm_snapshot"])
def test_each_fixture_brings_a_recording(suite, fixture):
    outcome = suite.run(f"def test_it({fixture}, request):\n    assert not request.getfixturevalue('llm_recording').closed")

    assert outcome.counts == {"passed": 1}


def test_recording_is_open_in_the_test_function_only(suite):
    outcome = suite.run(
        """
        import pytest
        from llmtest import ScriptedChatModel

        @pytest.fixture
        def model(llm_recording):
            ScriptedChatModel("in setup").invoke("hi")
            assert (len(llm_recording), llm_recording.closed) == (0, False)
            yield ScriptedChatModel("in the test")
            assert llm_recording.closed
            ScriptedChatModel("in teardown").invoke("hi")
            assert len(llm_recording.models) == 1

        def test_it(model, llm_recording):
            model.invoke("hi")
            assert llm_recording.models[0].output.text == "in the test"
            assert not llm_recording.closed
        """
    )

    assert outcome.counts == {"passed": 1}


def test_what_outlives_the_test_function_is_late(suite):
    outcome = suite.run(
        """
        import pytest

        @pytest.fixture
        def streams(llm_recording):
            streams = []
            yield streams
            assert list(streams[0])
            assert [event.kind for event in llm_recording.late_events] == ["on_llm_new_token", "on_llm_end"]

        def test_it(streams, scripted_chat_model):
            stream = scripted_chat_model("one two").stream("hi")
            next(stream)
            streams.append(stream)
        """
    )

    assert outcome.counts == {"passed": 1}


def test_back_off_is_real_where_a_test_asks_for_it(suite):
    outcome = suite.run("""
        import time
        import pytest
        from tenacity import Retrying, stop_after_attempt, wait_fixed

        def seconds(wait):
            began = time.monotonic()
            with pytest.raises(ZeroDivisionError):
                Retrying(wait=wait_fixed(wait), stop=stop_after_attempt(2), reraise=True)(lambda: 1 / 0)
            return time.monotonic() - began

        @pytest.mark.usefixtures("real_backoff")
        def test_real(llm_recording):
            assert seconds(0.05) >= 0.05

        def test_virtual(llm_recording):
            assert seconds(3600) < 60
    """)

    assert outcome.counts == {"passed": 2}


def test_a_test_without_our_fixtures_is_left_as_it_is(suite):
    outcome = suite.run("def test_it(request):\n    assert request.node.obj is test_it")

    assert outcome.counts == {"passed": 1}


def test_test_function_is_put_back_after_each_attempt(suite):
    suite.files.makeconftest(
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_teardown(item):
            print(item.name, item.obj is item.function, hasattr(item.obj, "__wrapped__"))
            yield
        """
    )

    outcome = suite.run(
        """
        import pytest

        runs = []

        @pytest.mark.flaky(reruns=1)
        def test_it(llm_recording):
            runs.append(1)
            assert len(runs) == 2
        """,
        "-s",
    )

    assert outcome.counts == {"passed": 1, "rerun": 1}
    assert outcome.text.count("test_it True False") == 2


ASYNC = f"""
import pytest

@pytest.fixture
async def before():
    yield "before"

@pytest.fixture
async def after(llm_recording):
    yield "after"

{{mark}}
async def test_it(before, scripted_chat_model, llm_recording, after):
    scripted_chat_model("Hello").invoke("hi")  # LangChain's own async methods need asyncio
    assert llm_recording.kinds == {KINDS}
"""


@pytest.mark.parametrize("scope", ["function", "module", "session"])
def test_asyncio_test_is_recorded_on_every_loop(suite, scope):
    source = ASYNC.format(mark=f"@pytest.mark.asyncio(loop_scope={scope!r})").replace(
        "@pytest.fixture", f"@pytest_asyncio.fixture(loop_scope={scope!r})"
    )

    outcome = suite.run(f"import pytest_asyncio\n{source}")

    assert outcome.counts == {"passed": 1}


def test_anyio_test_is_recorded_on_every_backend_with_async_fixtures_before_and_after(suite):
    outcome = suite.run(ASYNC.format(mark="@pytest.mark.anyio"), "-v")

    assert outcome.counts == {"passed": 2}
    assert "test_it[asyncio] PASSED" in outcome.text
    assert "test_it[trio] PASSED" in outcome.text


def test_tasks_of_a_test_are_recorded(suite):
    outcome = suite.run(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio
        async def test_it(scripted_chat_model, llm_recording):
            one, two = scripted_chat_model("a"), scripted_chat_model("b")
            await asyncio.gather(one.ainvoke("1"), asyncio.to_thread(two.invoke, "2"))
            assert len(llm_recording.models) == 2
        """
    )

    assert outcome.counts == {"passed": 1}


def test_unittest_methods_are_recorded(suite):
    outcome = suite.run(
        """
        import unittest
        import pytest
        from llmtest import ScriptedChatModel

        class Mixed:
            @pytest.fixture(autouse=True)
            def take(self, llm_recording):
                self.recording = llm_recording

            def tearDown(self):
                assert self.recording.kinds == ["on_chat_model_start", "on_llm_end"]

        class TestSync(Mixed, unittest.TestCase):
            def test_it(self):
                ScriptedChatModel("a").invoke("hi")

        class TestAsync(Mixed, unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self):
                self.value = 1

            async def test_it(self):
                await ScriptedChatModel("a").ainvoke("hi")

            def test_sync(self):
                ScriptedChatModel("a").invoke("hi")
        """
    )

    assert outcome.counts == {"passed": 3}


HYPOTHESIS = """
import pytest
from hypothesis import given, settings, strategies
from llmtest import ScriptedChatModel

seen = []

{mark}
@pytest.mark.usefixtures("keep")
@settings(max_examples=5, database=None)
@given(strategies.integers())
{test}

@pytest.fixture
def keep(llm_recording):
    yield
    seen.append(llm_recording)

def test_after():
    for recording in seen:
        assert len(recording.models) >= 2, recording
        assert len(recording.kinds) == 2 * len(recording.models)
        assert recording.closed
    print(len(seen), "recordings")
"""


@pytest.mark.parametrize(
    ("mark", "test", "tests"),
    [
        ("", "def test_it(number):\n    ScriptedChatModel('a').invoke(str(number))", 1),
        ("@pytest.mark.asyncio", "async def test_it(number):\n    ScriptedChatModel('a').invoke(str(number))", 1),
        ("@pytest.mark.anyio", "async def test_it(number):\n    ScriptedChatModel('a').invoke(str(number))", 2),
    ],
    ids=["sync", "asyncio", "anyio"],
)
def test_hypothesis_examples_are_all_recorded(suite, mark, test, tests):
    outcome = suite.run(HYPOTHESIS.format(mark=mark, test=test), "-s")

    assert outcome.counts == {"passed": tests + 1}
    assert f"{tests} recordings" in outcome.text


def test_recording_that_is_asked_for_by_name_is_open_too(suite):
    outcome = suite.run(
        """
        import pytest
        from llmtest import ScriptedChatModel

        @pytest.fixture
        def by_name(request):
            return request.getfixturevalue("llm_recording")

        def test_in_a_fixture(by_name):
            ScriptedChatModel("a").invoke("hi")
            assert len(by_name.models) == 1

        def test_in_the_test(request):
            recording = request.getfixturevalue("llm_recording")
            ScriptedChatModel("a").invoke("hi")
            assert len(recording.models) == 1

        @pytest.mark.asyncio
        async def test_in_an_async_test(request):
            recording = request.getfixturevalue("llm_recording")
            await ScriptedChatModel("a").ainvoke("hi")
            assert len(recording.models) == 1
        """
    )

    assert outcome.counts == {"passed": 3}


def test_doctest_is_recorded(suite):
    suite.files.makeconftest("import pytest\n@pytest.fixture(autouse=True)\ndef recorded(llm_recording): pass")

    outcome = suite.run(
        '''
        def greet(model):
            """
            >>> from llmtest import ScriptedChatModel
            >>> greet(ScriptedChatModel("Hello"))
            'Hello'
            >>> getfixture("llm_recording").kinds
            ['on_chat_model_start', 'on_llm_end']
            """
            return model.invoke("hi").content
        ''',
        "--doctest-modules",
    )

    assert outcome.counts == {"passed": 1}


def test_recording_is_fresh_in_each_attempt(suite):
    outcome = suite.run(
        """
        import pytest

        runs = []

        @pytest.mark.flaky(reruns=2)
        def test_it(scripted_chat_model, llm_recording):
            runs.append(1)
            scripted_chat_model("a").invoke("hi")
            assert len(llm_recording.models) == 1
            assert len(runs) == 3
        """
    )

    assert outcome.counts == {"passed": 1, "rerun": 2}
