"""Google's Agent Development Kit, answered from a script, with a tool."""

from __future__ import annotations

import asyncio
from typing import Any

from google.adk.agents import Agent
from google.adk.runners import InMemoryRunner
from google.genai import types

from llmtest import call, say
from llmtest.langchain.providers import scripted_providers

asked: list[str] = []


def weather(city: str) -> str:
    """Look up the weather."""
    asked.append(city)
    return f"sunny in {city}"


async def run() -> list[str]:
    agent: Any = Agent(name="forecaster", model="gemini-2.5-flash", tools=[weather])
    runner: Any = InMemoryRunner(agent=agent, app_name="weather")
    session = await runner.session_service.create_session(app_name="weather", user_id="ada")
    message = types.Content(role="user", parts=[types.Part(text="the weather?")])
    events = [event async for event in runner.run_async(user_id="ada", session_id=session.id, new_message=message)]
    await runner.close()
    return [part.text for event in events if event.content for part in event.content.parts if part.text]


def test_in_this_process() -> None:
    steps = [call("weather", city="Paris"), say("It is ", "sunny.").expects(contains="sunny in Paris")]
    with scripted_providers({"google_genai:gemini-2.5-flash": steps}) as providers:
        assert asyncio.run(run()) == ["It is sunny."]
        providers.verify()
    assert asked == ["Paris"]
