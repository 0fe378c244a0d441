"""A program that builds real classes in many places runs as it is: at import, in a factory, as a subclass, bound, in an agent."""

from __future__ import annotations

import importlib

import pytest

# pytester forgets what an inner run in this process has imported; what is imported here is imported once.
for name in ("langchain.agents", "langchain_openai", "llmtest.langchain.providers"):
    importlib.import_module(name)

PROGRAM = '''
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Person(BaseModel):
    """A person."""

    name: str


class Careful(ChatOpenAI):
    """A model of the house."""

    max_retries: int = 0


@tool
def search(q: str) -> str:
    """Search the web."""
    return f"nothing about {q}"


AT_IMPORT = ChatOpenAI(model="gpt-5", api_key="sk-of-the-house")


def factory(name="gpt-5"):
    return ChatOpenAI(model=name)


def program():
    agent = create_agent(factory(), tools=[search])
    return [
        AT_IMPORT.invoke("one").text,
        factory().invoke("two").text,
        Careful(model="gpt-5").invoke("three").text,
        factory().bind(seed=7).invoke("four").text,
        factory().with_structured_output(Person).invoke("five").name,
        Careful(model="gpt-5").with_fallbacks([factory("gpt-5-mini")]).invoke("six").text,
        agent.invoke({"messages": [("user", "seven")]})["messages"][-1].text,
    ]
'''
TEST = """
import pytest
from house import program

from llmtest import call, fail, say, structured


@pytest.mark.parametrize("number", range(2))
def test_program(scripted_providers, llm_recording, number):
    first = [say(word) for word in ("1", "2", "3", "4")]
    last = [fail(500), call("search", q="x"), "7"]
    scripted_providers({"openai:gpt-5": [*first, structured({"name": "Ada"}), *last], "openai:gpt-5-mini": "6"})

    assert program() == ["1", "2", "3", "4", "Ada", "6", "7"]
    assert scripted_providers.asked == ["openai:gpt-5"] * 6 + ["openai:gpt-5-mini"] + ["openai:gpt-5"] * 2
    assert llm_recording.tools == ["search"]
    assert [run.name for run in llm_recording.models] == [
        "ChatOpenAI", "ChatOpenAI", "Careful", "ChatOpenAI", "ChatOpenAI", "Careful", "ChatOpenAI", "ChatOpenAI", "ChatOpenAI"
    ]
"""


@pytest.fixture
def house(suite, monkeypatch):
    """A suite with the program, on a machine without a key."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    suite.write(PROGRAM, "house")
    suite.write(TEST)
    suite.files.syspathinsert()
    return suite


def test_the_program_runs_as_it_is(house):
    outcome = house.run(None)

    assert outcome.counts == {"passed": 2}


def test_it_runs_under_other_schedules(house):
    outcome = house.run(None, "--llmtest-verify=3")

    assert outcome.counts == {"passed": 2}


def test_it_runs_on_workers(house, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(house.path))
    house.ini("[pytest]\nfilterwarnings =\n    ignore::pytest.PytestAssertRewriteWarning\n    ignore:syrupy:pytest.PytestWarning")

    outcome = house.run(None, "-n1", "-pxdist", "-psyrupy", "-pllmtest.pytest_plugin")

    assert outcome.counts == {"passed": 2}


def test_a_step_that_is_left_and_a_model_that_is_not_mapped_fail_the_test(house):
    outcome = house.run(
        """
        import pytest
        from house import AT_IMPORT, factory

        def test_left(scripted_providers):
            scripted_providers({"openai:gpt-5": ["one", "two"]})
            AT_IMPORT.invoke("hi")

        def test_not_mapped(scripted_providers):
            scripted_providers({"openai:gpt-5": ["one"]})
            AT_IMPORT.invoke("hi")
            try:
                factory("gpt-5-mini").invoke("hi")
            except Exception:
                pass
        """
    )

    assert outcome.counts == {"failed": 2}
    assert outcome.part("test_left") == (
        "1 of 2 steps of the script was never used\n"
        "  step 2  say('two')  at test_it.py:5\n"
        "  the model was called once; remove the steps, or find out why the program stopped early"
    )
    assert outcome.part("test_not_mapped") == (
        "a request to the model `openai:gpt-5-mini` was about to leave the machine, and no entry maps it\n"
        "  at       test_it.py:12\n"
        "  url      https://api.openai.com/v1/chat/completions\n"
        "  mapped   `openai:gpt-5`\n"
        "  did you mean `openai:gpt-5`?\n"
        '  map it: scripted_providers({"openai:gpt-5-mini": [...]}), or a line in the ini key llmtest_providers\n'
        "  a test that needs the real one: @pytest.mark.allow_real_models, or `with allow_real_models():`"
    )
