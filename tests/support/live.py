"""Real chat models of five APIs, before a server that stands for their providers, and programs that use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from llmtest import call, reply, say, structured

Program = Callable[[Any], Any]


@tool
def weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


class Report(BaseModel):
    """A weather report."""

    city: str
    degrees: int


def chat_openai(server: Any = None, **fields: Any) -> ChatOpenAI:
    # A base URL of one's own switches the usage of a stream off.
    there = {} if server is None else {"base_url": server.base_url("openai"), "api_key": server.token, "stream_usage": True}
    return ChatOpenAI(model="gpt-5", **there, **fields)


def chat_responses(server: Any = None) -> ChatOpenAI:
    return chat_openai(server, use_responses_api=True)


def chat_anthropic(server: Any = None) -> ChatAnthropic:
    there: dict[str, Any] = {} if server is None else {"base_url": server.base_url("anthropic"), "api_key": server.token}
    return ChatAnthropic(model="claude-opus-4-7", **there)  # type: ignore[call-arg]


def chat_gemini(server: Any = None) -> ChatGoogleGenerativeAI:
    there = {} if server is None else {"base_url": server.base_url("google_genai"), "api_key": server.token}
    return ChatGoogleGenerativeAI(model="gemini-2.5-flash", **there)


def chat_ollama(server: Any = None) -> ChatOllama:
    return ChatOllama(model="qwen3", base_url=None if server is None else server.base_url("ollama"))


MODELS: dict[str, tuple[str, Callable[..., Any]]] = {
    "openai": ("openai:gpt-5", chat_openai),
    "openai-responses": ("openai:gpt-5", chat_responses),
    "anthropic": ("anthropic:claude-opus-4-7", chat_anthropic),
    "gemini": ("google_genai:gemini-2.5-flash", chat_gemini),
    "ollama": ("ollama:qwen3", chat_ollama),
}
"""The name of the model of each API, and the function that makes it, before the provider or before a server."""


def agent(model: Any) -> None:
    create_agent(model, [weather]).invoke({"messages": [("user", "the weather?")]})


def agent_async(model: Any) -> None:
    asyncio.run(create_agent(model, [weather]).ainvoke({"messages": [("user", "the weather?")]}))


def agent_streamed(model: Any) -> None:
    list(create_agent(model, [weather]).stream({"messages": [("user", "the weather?")]}, stream_mode="messages"))


def agent_events(model: Any) -> None:
    async def run() -> None:
        events = create_agent(model, [weather]).astream_events({"messages": [("user", "the weather?")]}, version="v2")
        assert [event async for event in events]

    asyncio.run(run())


def by_tool(model: Any) -> None:
    found = create_agent(model, [], response_format=ToolStrategy(Report)).invoke({"messages": [("user", "report")]})
    assert found["structured_response"] == Report(city="Paris", degrees=18)


def by_provider(model: Any) -> None:
    found = create_agent(model, [], response_format=ProviderStrategy(Report)).invoke({"messages": [("user", "report")]})
    assert found["structured_response"] == Report(city="Paris", degrees=18)


def events_v3(model: Any) -> None:
    assert list(model.stream_events("hi", version="v3"))


CALLS = [reply("Let me look. ", call("weather", city="Paris"), call("weather", city="Rome")), say("Both ", "are sunny.")]
REPORT = [structured(Report(city="Paris", degrees=18))]
PROGRAMS: dict[str, tuple[Program, list[Any]]] = {
    "an agent": (agent, CALLS),
    "an agent, async": (agent_async, CALLS),
    "an agent, streamed": (agent_streamed, CALLS),
    "an agent, with events of version 2": (agent_events, CALLS),
    "structured output by a tool": (by_tool, REPORT),
    "structured output by the provider": (by_provider, REPORT),
    "events of version 3": (events_v3, [say("It is ", "sunny.")]),
}
"""Each program, and what its model says."""
