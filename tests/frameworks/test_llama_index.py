"""LlamaIndex, answered from a script: in this process, and over a socket."""

from __future__ import annotations

from typing import Any

from llama_index.llms import openai

from llmtest import fail, say
from llmtest.langchain.providers import scripted_providers
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
