"""LlamaIndex, answered from a script: in this process, and over a socket."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms import openai
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

from llmtest import call, fail, record, say
from llmtest.langchain.providers import scripted_providers
from llmtest.matching import at_most, called, model
from llmtest.wire import scripted_server


def test_in_this_process() -> None:
    with scripted_providers({"openai:gpt-4o-mini": [fail(429), "It is sunny.", say("It is ", "sunny.")]}) as providers:
        model: Any = openai.OpenAI(model="gpt-4o-mini")
        assert str(model.complete("the weather?")) == "It is sunny."
        assert [piece.delta for piece in model.stream_complete("the weather?") if piece.delta] == ["It is ", "sunny."]
        providers.verify()


def test_over_a_socket() -> None:
    with scripted_server("It is sunny.") as server:
        model: Any = openai.OpenAI(model="gpt-4o-mini", api_base=server.base_url("openai"), api_key=server.token)
        assert str(model.complete("the weather?")) == "It is sunny."
        server.verify()


def weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


async def run() -> str:
    agent = FunctionAgent(tools=[weather], llm=openai.OpenAI(model="gpt-4o-mini"), name="forecaster")
    return str(await agent.run("the weather?"))


def test_its_spans_are_runs() -> None:
    steps = [call("weather", city="Paris"), say("It is sunny.")]

    with scripted_providers({"openai:gpt-4o-mini": steps}), record(otel=True) as recording:
        LlamaIndexInstrumentor().instrument()
        try:
            assert asyncio.run(run()) == "It is sunny."
        finally:
            LlamaIndexInstrumentor().uninstrument()

    assert recording.tools == [called("weather", city="Paris")]
    assert recording.obeys(at_most(2, model()))  # no ids of tool calls are in its spans, so nothing orders them
    assert [run.output.text for run in recording.models] == ["", "It is sunny."]
