"""CrewAI, answered from a script."""

from __future__ import annotations

from typing import Any

import crewai
import pytest
from crewai.llms.base_llm import BaseLLM
from crewai.tools import tool
from openinference.instrumentation.crewai import CrewAIInstrumentor
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from llmtest import call, record, say
from llmtest.langchain.providers import scripted_providers
from llmtest.matching import at_most, called, model


def test_in_this_process() -> None:
    with scripted_providers({"openai:gpt-4o": "It is sunny."}) as providers:
        model: Any = crewai.LLM(model="openai/gpt-4o")
        assert model.call("the weather?") == "It is sunny."
        providers.verify()


@tool("weather")  # type: ignore[untyped-decorator]
def weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


def test_its_spans_are_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider()
    instrumentors = (CrewAIInstrumentor(), OpenAIInstrumentor())
    for instrumentor in instrumentors:
        instrumentor.instrument(tracer_provider=provider)
    steps = [call("weather", city="Paris"), say("It is sunny.")]

    with scripted_providers({"openai:gpt-4o": steps}), record(otel=provider) as recording:
        llm: Any = crewai.LLM(model="openai/gpt-4o")
        # Before each call it asks OpenAI for the number of tokens, which no script answers.
        monkeypatch.setattr(type(llm), "get_input_tokens_count", BaseLLM.get_input_tokens_count)
        about: Any = {"role": "forecaster", "goal": "tell the weather", "backstory": "you know it"}
        agent: Any = crewai.Agent(llm=llm, tools=[weather], **about)
        task: Any = crewai.Task(description="How is the weather in Paris?", expected_output="a sentence", agent=agent)
        assert str(crewai.Crew(agents=[agent], tasks=[task]).kickoff()) == "It is sunny."
    for instrumentor in instrumentors:
        instrumentor.uninstrument()

    assert recording.tools == [called("weather", city="Paris").returned("sunny in Paris")]
    assert recording.obeys(at_most(2, model()))
    assert [run.output.text for run in recording.models] == ["", "It is sunny."]
