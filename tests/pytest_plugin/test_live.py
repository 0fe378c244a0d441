"""`--llmtest-live`: one file of tests for real models, cassettes and scripts."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from llmtest.evals import Results
from llmtest.pytest_plugin import cassettes as _imported_once  # noqa: F401
from llmtest.wire.serving import scripted_server

SOURCE = """
import asyncio, os
import pytest
from llmtest.evals import Dataset, contains

ONE = Dataset([{"id": "one", "inputs": "hi", "expected": "Hello"}], name="one")

def model():
    from langchain_openai import ChatOpenAI
    return ChatOpenAI(model="gpt-5", max_retries=0)
"""

CASSETTE = (
    SOURCE
    + """
@pytest.mark.llm_cassette
@pytest.mark.llm_eval(dataset=ONE, repeats=20, at_least=.8, scorers=[contains()])
def test_it(case):
    return model().invoke(case.inputs)
"""
)

SCRIPT = (
    SOURCE
    + """
@pytest.mark.llm_eval(dataset=ONE, repeats=20, at_least=.8, scorers=[contains()])
def test_it(case, llm_live, scripted_providers):
    if not llm_live:
        scripted_providers({"openai:gpt-5": ["Hello from a script"]})
    return model().invoke(case.inputs)
"""
)


@pytest.fixture(autouse=True)
def no_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def provider(monkeypatch):
    """Starts a server in the place of OpenAI that answers so often."""
    pytest.importorskip("langchain_openai")
    with ExitStack() as servers:

        def start(answers):
            server = servers.enter_context(scripted_server({"openai:gpt-5": ["Hello from the provider"] * answers}))
            monkeypatch.setenv("OPENAI_BASE_URL", server.base_url("openai"))
            monkeypatch.setenv("OPENAI_API_KEY", server.token)
            return server

        yield start


def gone(patch):
    """No provider and no key any more."""
    patch.delenv("OPENAI_BASE_URL")
    patch.delenv("OPENAI_API_KEY")


def sessions(suite):
    return sorted((suite.path / ".llmtest" / "evals").iterdir())


def test_without_it_a_script_answers(suite, monkeypatch):
    pytest.importorskip("langchain_openai")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    outcome = suite.run(SCRIPT)

    assert outcome.counts == {"passed": 1}
    assert Results.load(sessions(suite)[-1])[0].head.live is False


def test_with_it_the_real_model_answers(suite, provider):
    server = provider(20)
    outcome = suite.run(SCRIPT, "--llmtest-live")

    assert outcome.counts == {"passed": 1}
    found = Results.load(sessions(suite)[-1])[0]
    assert found.head.live is True
    assert found.total == 20
    assert len(server.requests) == 20


def test_a_cassette_is_recorded_answers_once_and_is_left_alone_by_live(suite, provider, monkeypatch):
    server = provider(21)
    recorded = suite.run(CASSETTE, "--llmtest-record=once")
    assert recorded.counts == {"passed": 1}
    assert len(server.requests) == 1

    with monkeypatch.context() as patch:
        gone(patch)
        replayed = suite.run(CASSETTE)
    assert replayed.counts == {"passed": 1}
    assert len(server.requests) == 1
    assert replayed.part("evaluation").splitlines()[:1] == [
        "test_it.py::test_it: 1 of 1 case passed; a cassette has answered, which shows nothing about a rate",
    ]

    live = suite.run(CASSETTE, "--llmtest-live")
    assert live.counts == {"passed": 1}
    assert len(server.requests) == 21


@pytest.mark.parametrize(
    ("kind", "scorers", "check", "told"),
    [
        ("", "()", "assert answer == wanted", "E   AssertionError: assert 'Hello from the provider' == 'Good bye'"),
        ("async ", "()", "assert answer == wanted", "E   AssertionError: assert 'Hello from the provider' == 'Good bye'"),
        ("", "[contains()]", "return wanted", "contains: 'Hello' is missing in 'Good bye'"),
    ],
)
def test_a_recorded_answer_that_fails_fails_as_any_test(suite, provider, kind, scorers, check, told):
    provider(1)
    call = "await model().ainvoke(case.inputs)" if kind else "model().invoke(case.inputs)"
    source = f"""{SOURCE}
@pytest.mark.llm_cassette
@pytest.mark.llm_eval(dataset=ONE, repeats=20, at_least=.8, scorers={scorers})
{kind}def test_it(case):
    answer = ({call}).content
    wanted = os.environ.get("WANTED", answer)
    {check}
"""
    assert suite.run(source, "--llmtest-record=once").counts == {"passed": 1}
    with pytest.MonkeyPatch.context() as patch:
        gone(patch)
        patch.setenv("WANTED", "Good bye")
        outcome = suite.run(source)

    assert outcome.counts == {"failed": 1}
    assert told in outcome.part("test_it[one]")
    assert outcome.exit_code == 1


@pytest.mark.parametrize("where", ["test", "fixture"])
def test_without_a_key_it_is_skipped_with_the_reason(suite, monkeypatch, where):
    pytest.importorskip("langchain_openai")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    source = (
        SOURCE
        + f"""
@pytest.fixture
def asked():
    return model() if {where == "fixture"} else None

@pytest.mark.llm_eval(dataset=ONE, repeats=20, at_least=.8, scorers=[contains()])
def test_it(case, asked):
    return (asked or model()).invoke(case.inputs)
"""
    )
    outcome = suite.run(source, "--llmtest-live", "-rs")

    assert outcome.counts == {"skipped": 1}
    assert "asks the real model, and there is no key for it: set the environment variable OPENAI_API_KEY" in outcome.text


def test_a_test_with_a_cassette_alone_asks_the_real_model_too(suite, provider):
    provider(1)
    source = (
        SOURCE
        + """
@pytest.mark.llm_cassette
def test_it():
    assert model().invoke("hi").content == "Hello from the provider"
"""
    )
    outcome = suite.run(source, "--llmtest-live")

    assert outcome.counts == {"passed": 1}
    assert not (suite.path / "cassettes").exists()


def test_tests_of_other_kinds_stay_guarded(suite, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    outcome = suite.run(
        SOURCE
        + """
def test_it(llm_recording, llm_live):
    assert llm_live
    model().invoke("hi")
""",
        "--llmtest-live",
    )

    assert outcome.counts == {"failed": 1}
    assert "was about to leave the machine" in outcome.text


def test_other_errors_are_no_missing_key(suite):
    outcome = suite.run(
        SOURCE
        + """
@pytest.mark.llm_eval(dataset=ONE, repeats=20, at_least=.8)
def test_it(case):
    raise ValueError("no")
""",
        "--llmtest-live",
    )

    assert outcome.counts == {"failed": 1}


def test_a_limit_of_the_cost_needs_calls_that_are_seen(suite):
    outcome = suite.run(
        SOURCE
        + """
@pytest.mark.llm_eval(dataset=ONE, repeats=20, at_least=.8, max_cost=1)
def test_it(case):
    pass
""",
        "--llmtest-live",
    )

    assert outcome.counts == {"failed": 1}
    assert "a run called no model that was seen" in outcome.text
    (repeat, *_) = Results.load(sessions(suite)[-1])[0].repeats
    assert (repeat.cost, repeat.input_tokens) == (None, None)
