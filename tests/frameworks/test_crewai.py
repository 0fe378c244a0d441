"""CrewAI, answered from a script."""

from __future__ import annotations

from typing import Any

import crewai

from llmtest.langchain.providers import scripted_providers


def test_in_this_process() -> None:
    with scripted_providers({"openai:gpt-4o": "It is sunny."}) as providers:
        model: Any = crewai.LLM(model="openai/gpt-4o")
        assert model.call("the weather?") == "It is sunny."
        providers.verify()
