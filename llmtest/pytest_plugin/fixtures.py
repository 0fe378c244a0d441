"""The fixtures. Only pytest and the standard library at module level; a fixture imports what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from llmtest.pytest_plugin.attempt import ATTEMPT
from llmtest.pytest_plugin.options import VERIFICATION

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

    from llmtest.langchain.chat_model import ScriptedChatModel
    from llmtest.langchain.providers import Providers
    from llmtest.langchain.text_model import ScriptedLLM
    from llmtest.recording.recording import Recording
    from llmtest.wire.serving import ScriptedServer


@pytest.fixture
def llm_recording(request: pytest.FixtureRequest) -> Iterator[Recording]:
    """Every callback of the runs that start in the test function, as a `Recording`.

    It is open while the test function runs, in the context in which it runs (also of an async test), and closed before
    teardown: what comes then is in `llm_recording.late_events`.

        def test_agent(llm_recording):
            agent.invoke({"messages": [("user", "weather in Paris?")]})
            assert llm_recording.tools == ["weather"]

    It does not record what fixtures do: use `with record():` there.
    """
    attempt = request.node.stash[ATTEMPT]
    with attempt.new_recording() as recording:
        yield recording


@pytest.fixture
def scripted_chat_model(llm_recording: Recording) -> type[ScriptedChatModel]:
    """Makes chat models that answer what they are told: `scripted_chat_model(*steps, **fields)`. The test is recorded.

        def test_greeting(scripted_chat_model):
            assert greet(scripted_chat_model("Hello there")) == "Hello there"

    A step that is never asked for, and a call without a step, fail the test. It does not stop the program from using
    another model.
    """
    from llmtest.langchain.chat_model import ScriptedChatModel

    return ScriptedChatModel


@pytest.fixture
def scripted_llm(llm_recording: Recording) -> type[ScriptedLLM]:
    """Makes text models that answer what they are told: `scripted_llm(*steps, **fields)`. The test is recorded.

        def test_summary(scripted_llm):
            assert summarize(scripted_llm("Short."), "A long text") == "Short."

    A step that is never asked for, and a call without a step, fail the test. It has no tools and no messages.
    """
    from llmtest.langchain.text_model import ScriptedLLM

    return ScriptedLLM


@pytest.fixture
def scripted_providers(llm_recording: Recording) -> Iterator[Providers]:
    """Scripts the models that a program builds itself: `scripted_providers({model: script, ...})`. The test is recorded.

        def test_greeting(scripted_providers):
            scripted_providers({"openai:gpt-5": ["Hello there"]})
            assert greet() == "Hello there"  # it calls ChatOpenAI(model="gpt-5")
            assert scripted_providers.asked == ["openai:gpt-5"]

    As `llmtest.langchain.providers.scripted_providers`, open for the test; call it again to map more models. The path of a
    script file that names its models is a mapping too: `scripted_providers("tests/booking.yaml")`. A request to a model that
    is not mapped is stopped, and fails the test. It does not answer other processes: `scripted_server` does.
    """
    from llmtest.langchain import providers

    with providers.scripted_providers({}) as opened:
        yield opened


@pytest.fixture
def scripted_server() -> Iterator[Callable[..., ScriptedServer]]:
    """Starts servers that answer programs in other processes: `scripted_server(*steps)`. They run until the test is over.

        def test_greeting(scripted_server):
            server = scripted_server("Hello there")
            done = subprocess.run(["node", "greet.js"], env={**os.environ, **server.env}, capture_output=True, text=True)
            assert done.stdout == "Hello there"

    As `llmtest.wire.serving.scripted_server`. A step that no request asks for, and a request without a step, fail the test.
    """
    from llmtest.wire.serving import scripted_server

    with ExitStack() as servers:

        def start(*steps: Any, **options: Any) -> ScriptedServer:
            return servers.enter_context(scripted_server(*steps, **options))

        yield start


@pytest.fixture
def real_backoff() -> Iterator[None]:
    """Lets libraries sleep for real before they try again, for this test: their back-off is what it tests.

        @pytest.mark.usefixtures("real_backoff")
        def test_a_retry_waits(llm_recording): ...

    In other recorded tests it passes in virtual time. docs/reference/campaigns.md lists which libraries are meant.
    """
    from llmtest.wire.clients import backoff

    with backoff.real():
        yield


@pytest.fixture
def llm_snapshot(request: pytest.FixtureRequest, llm_recording: Recording) -> SnapshotAssertion:
    """The tree that was accepted last, from `__snapshots__/<test file>/<test>.tree`. The test is recorded.

        def test_agent(llm_recording, llm_snapshot):
            agent.invoke({"messages": [("user", "weather in Paris?")]})
            assert llm_recording == llm_snapshot

    Compares a recording, one of its runs, or a str; `pytest --snapshot-update` accepts what came. It is syrupy's
    assertion, so `llm_snapshot(name="second")` names another file. It does not take syrupy's `include` and `exclude`.
    """
    if not hasattr(request.config, "_syrupy"):
        pytest.fail(
            "the fixture `llm_snapshot` needs the pytest plugin `syrupy`, which is not active in this run\n"
            "  remove `-p no:syrupy`; where plugins are not loaded on their own, add `-p syrupy`",
            pytrace=False,
        )
    from llmtest.pytest_plugin import snapshots

    attempt, verification = request.node.stash[ATTEMPT], request.config.stash[VERIFICATION]
    if verification is not None and not verification.takes(request.node):
        pytest.fail(  # pragma: no cover - a plugin that asks for it by ways of its own
            "--llmtest-verify cannot run this test again, because it asked for `llm_snapshot` in no way that can be foreseen\n"
            "  add the fixture to the arguments of the test",
            pytrace=False,
        )
    attempt.held = snapshots.DeferredSession(request.config._syrupy)
    return snapshots.assertion(request.node, attempt.compared, attempt.held, attempt.postpone)


@pytest.fixture(scope="session")
def llm_live(request: pytest.FixtureRequest) -> bool:
    """True if real models answer, as `--llmtest-live` says; else a test scripts them, or has a cassette.

        def test_greeting(llm_live, scripted_providers):
            if not llm_live:
                scripted_providers({"openai:gpt-5": ["Hello there"]})
            assert "hello" in greet().lower()

    It is the same for all tests of a session, and opens nothing by itself.
    """
    return bool(request.config.getoption("llmtest_live"))
