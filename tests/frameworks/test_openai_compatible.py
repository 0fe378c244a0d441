"""LangChain's integrations of providers that speak Chat Completions, or nearly: each real class is answered from a script."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.chat_models import init_chat_model

from llmtest import call, record, say
from llmtest.langchain.providers import scripted_providers

MODELS = [
    "deepseek:deepseek-chat",
    "fireworks:accounts/fireworks/models/llama-v3",
    "groq:llama-3.3-70b",
    "mistralai:mistral-large",
    "nvidia:meta/llama3-8b-instruct",
    "openrouter:meta-llama/llama-3.3",
    "perplexity:sonar",
    "together:meta-llama/Llama-3.3",
    "upstage:solar-pro",
    "xai:grok-4",
]
pytestmark = pytest.mark.filterwarnings("ignore")  # the integrations warn of unknown models, and of each other


@pytest.mark.parametrize("name", MODELS)
def test_invoke_and_stream_sync_and_async(name: str) -> None:
    with scripted_providers({name: say("It is ", "sunny.").repeat()}), record() as recording:
        model: Any = init_chat_model(name)

        async def run() -> tuple[str, list[str]]:
            return (await model.ainvoke("hi")).content, [chunk.content async for chunk in model.astream("hi")]

        assert model.invoke("hi").content == "It is sunny."
        assert [chunk.content for chunk in model.stream("hi") if chunk.content] == ["It is ", "sunny."]
        said, streamed = asyncio.run(run())
        assert (said, [token for token in streamed if token]) == ("It is sunny.", ["It is ", "sunny."])
    assert recording.unseen_calls == []


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("perplexity")])
def test_a_tool_is_called(name: str) -> None:
    def weather(city: str) -> str:
        """Look up the weather."""
        return f"sunny in {city}"

    with scripted_providers({name: call("weather", city="Paris")}):
        (made,) = init_chat_model(name).bind_tools([weather]).invoke("the weather?").tool_calls
    assert (made["name"], made["args"]) == ("weather", {"city": "Paris"})
