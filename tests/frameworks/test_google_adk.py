"""Google's Agent Development Kit, answered from a script, with a tool."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.adk.agents import Agent
from google.adk.runners import InMemoryRunner
from google.genai import types

from llmtest import call, record, say
from llmtest.langchain.providers import scripted_providers
from llmtest.matching import at_most, before, called, model

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


def test_its_spans_are_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    # What messages say is in the spans only if the program asks for it.
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    steps = [call("weather", city="Paris"), say("It is sunny.")]

    with scripted_providers({"google_genai:gemini-2.5-flash": steps}), record(otel=True) as recording:
        asyncio.run(run())

    assert recording.tools == [called("weather", city="Paris")]
    assert recording.obeys(before(model(), "weather"), at_most(2, model()))
    assert [run.output.text for run in recording.models] == ["", "It is sunny."]
    assert recording.models[1].messages[-2].tool_call_id == recording.tools[0].tool_call_id
    assert (recording.usage.input_tokens, recording.usage.output_tokens) == (35, 14)


def test_spans_without_content_tell_what_ran() -> None:
    steps = [call("weather", city="Paris"), say("It is sunny.")]

    with scripted_providers({"google_genai:gemini-2.5-flash": steps}), record(otel=True) as recording:
        asyncio.run(run())

    assert recording.tools == ["weather"]
    assert recording.usage.total_tokens == 49
    assert recording.obeys(at_most(2, model()))
