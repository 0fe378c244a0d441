"""Programs without LangChain: agents of other frameworks and the raw SDKs are answered from a script, tools and all."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import openai
import pytest
from agents import Agent as OpenAIAgent
from agents import Runner, function_tool, set_tracing_disabled
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent

from llmtest import call, expect_violation, fail, say, structured
from llmtest.langchain.providers import scripted_providers

set_tracing_disabled(True)
asked: list[str] = []


class Report(BaseModel):
    city: str
    degrees: int


def weather(city: str) -> str:
    """Look up the weather."""
    asked.append(city)
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def forget() -> None:
    asked.clear()


STEPS = [
    call("weather", city="Paris").expects(tools=["weather"], contains="the weather in Paris?"),
    say("It is ", "sunny.").expects(contains="sunny in Paris", last="tool"),
]


def test_openai_agents() -> None:
    agent = OpenAIAgent(name="forecaster", model="gpt-5", tools=[function_tool(weather)])

    with scripted_providers({"openai:gpt-5": STEPS}) as providers:
        result = asyncio.run(Runner.run(agent, "the weather in Paris?"))
        providers.verify()

    assert (result.final_output, asked) == ("It is sunny.", ["Paris"])


def test_openai_agents_streamed() -> None:
    agent = OpenAIAgent(name="forecaster", model="gpt-5", tools=[function_tool(weather)])

    async def run() -> list[str]:
        streamed = Runner.run_streamed(agent, "the weather in Paris?")
        events = [event.data async for event in streamed.stream_events() if event.type == "raw_response_event"]
        return [event.delta for event in events if event.type == "response.output_text.delta"]

    with scripted_providers({"openai:gpt-5": STEPS}) as providers:
        assert asyncio.run(run()) == ["It is ", "sunny."]
        providers.verify()


def test_openai_agents_with_a_type_of_output() -> None:
    agent = OpenAIAgent(name="forecaster", model="gpt-5", output_type=Report)

    with scripted_providers({"openai:gpt-5": structured({"city": "Paris", "degrees": 18})}):
        assert asyncio.run(Runner.run(agent, "report")).final_output == Report(city="Paris", degrees=18)


@pytest.mark.parametrize(
    ("model", "mapped"),
    [
        ("openai:gpt-5", "openai:gpt-5"),
        ("openai-chat:gpt-5", "openai:gpt-5"),
        ("anthropic:claude-opus-4-7", "anthropic:claude-opus-4-7"),
    ],
)
def test_pydantic_ai(model: str, mapped: str) -> None:
    with scripted_providers({mapped: STEPS}) as providers:
        agent: Any = PydanticAgent(model, tools=[weather])
        result = asyncio.run(agent.run("the weather in Paris?"))
        providers.verify()

    assert (result.output, asked) == ("It is sunny.", ["Paris"])


def test_pydantic_ai_with_a_type_of_output() -> None:
    with scripted_providers({"openai:gpt-5": structured({"city": "Paris", "degrees": 18})}):
        agent: Any = PydanticAgent("openai:gpt-5", output_type=Report)
        assert asyncio.run(agent.run("report")).output == Report(city="Paris", degrees=18)


def test_the_openai_sdk() -> None:
    with scripted_providers({"openai:gpt-5": [fail(429), "It is sunny.", say("It is ", "sunny."), "Again."]}):
        client = openai.OpenAI()
        messages: Any = [{"role": "user", "content": "the weather?"}]
        assert client.chat.completions.create(model="gpt-5", messages=messages).choices[0].message.content == "It is sunny."
        stream = client.chat.completions.create(model="gpt-5", messages=messages, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "It is sunny."
        assert client.responses.create(model="gpt-5", input="the weather?").output_text == "Again."


def test_the_anthropic_sdk() -> None:
    with scripted_providers({"anthropic:claude-opus-4-7": ["It is sunny.", say("It is ", "sunny.")]}):
        client = anthropic.Anthropic()
        question: Any = {
            "model": "claude-opus-4-7",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "the weather?"}],
        }
        answer: Any = client.messages.create(**question).content[0]
        assert answer.text == "It is sunny."
        with client.messages.stream(**question) as stream:
            assert list(stream.text_stream) == ["It is ", "sunny."]


def test_what_a_script_expects_is_checked_in_every_framework() -> None:
    agent = OpenAIAgent(name="forecaster", model="gpt-5", tools=[function_tool(weather)])

    with (
        scripted_providers({"openai:gpt-5": say("no").expects(tools=["search"]).optional()}),
        expect_violation("unexpected call"),
        pytest.raises(openai.BadRequestError, match="llmtest: unexpected model call 1"),
    ):
        asyncio.run(Runner.run(agent, "the weather in Paris?"))
