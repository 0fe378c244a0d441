"""Strands Agents, answered from a script, with a tool."""

from __future__ import annotations

from typing import Any

import strands
from strands.models.openai import OpenAIModel

from llmtest import call, say
from llmtest.langchain.providers import scripted_providers

asked: list[str] = []


def test_in_this_process() -> None:
    @strands.tool  # type: ignore[untyped-decorator]
    def weather(city: str) -> str:
        """Look up the weather."""
        asked.append(city)
        return f"sunny in {city}"

    steps = [call("weather", city="Paris"), say("It is ", "sunny.").expects(contains="sunny in Paris")]
    with scripted_providers({"openai:gpt-5": steps}) as providers:
        agent: Any = strands.Agent(model=OpenAIModel(model_id="gpt-5"), tools=[weather], callback_handler=None)
        assert str(agent("the weather?")).strip() == "It is sunny."
        providers.verify()
    assert asked == ["Paris"]
