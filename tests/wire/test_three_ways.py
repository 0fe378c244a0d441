"""One program and one script, three ways: the double in this process, the real class in this process, and over a socket.

The trees are equal. That of the double has another name of the model and its own parameters.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from llmtest import ScriptedChatModel, call, fail, record, reply, say, structured, think
from llmtest.langchain.providers import scripted_providers
from llmtest.wire import scripted_server

pytestmark = [
    pytest.mark.usefixtures("clients_left_open"),
    pytest.mark.filterwarnings(
        "ignore:Inheritance class AiohttpClientSession:DeprecationWarning",
        "ignore:Pydantic serializer warnings:UserWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

KEY: Any = "none"


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
DOUBLES = ("openai", "openai-responses", "anthropic")


@contextmanager
def model(api: str, way: str, steps: list[Any]) -> Iterator[Any]:
    name, make = MODELS[api]
    with ExitStack() as stack:
        if way == "double":
            yield ScriptedChatModel(*steps, dialect=api, model_name=name.partition(":")[2])
        elif way == "class":
            stack.enter_context(scripted_providers({name: steps}))
            yield make()
        else:
            yield make(stack.enter_context(scripted_server({name: steps})))


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
PROGRAMS: dict[str, tuple[Callable[[Any], None], list[Any]]] = {
    "an agent": (agent, CALLS),
    "an agent, async": (agent_async, CALLS),
    "an agent, streamed": (agent_streamed, CALLS),
    "an agent, with events of version 2": (agent_events, CALLS),
    "structured output by a tool": (by_tool, REPORT),
    "structured output by the provider": (by_provider, REPORT),
    "events of version 3": (events_v3, [say("It is ", "sunny.")]),
}


def tree(api: str, way: str, program: Callable[[Any], None], steps: list[Any]) -> str:
    with model(api, way, steps) as made, record() as recording:
        program(made)
    assert recording.unseen_calls == []
    return str(recording)


def without_the_class(tree: str) -> str:
    """The tree without what the class of the model says of itself: its name and its parameters."""
    kept: list[str] = []
    skipped = None
    for line in tree.splitlines():
        depth = len(line) - len(line.lstrip())
        if skipped is not None and depth > skipped:
            continue
        skipped = depth if line.lstrip().startswith("* ") else None
        if skipped is None:
            kept.append(re.sub(r"chat \S+( model=\S+)?", "chat MODEL", line))
    return "\n".join(kept)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("api", MODELS)
def test_the_trees_are_equal(api: str, program: str) -> None:
    run, steps = PROGRAMS[program]
    here = tree(api, "class", run, steps)
    assert "chat Chat" in here
    assert tree(api, "socket", run, steps) == here
    if api in DOUBLES:
        assert without_the_class(tree(api, "double", run, steps)) == without_the_class(here)


@pytest.mark.parametrize("way", ["class", "socket"])
@pytest.mark.parametrize("api", ["openai", "openai-responses", "anthropic"])
def test_the_sdk_tries_again_and_takes_the_next_step(api: str, way: str) -> None:
    with model(api, way, [fail(429, retry_after=30), fail(500), say("at last")]) as made:
        assert "at last" in made.invoke("hi").text


@pytest.mark.parametrize("way", ["double", "class", "socket"])
@pytest.mark.parametrize("api", DOUBLES)
def test_the_error_is_the_providers_own(api: str, way: str) -> None:
    kinds = {"anthropic": "AnthropicInvalidRequestError"}
    with model(api, way, [fail(400)]) as made, pytest.raises(Exception) as raised:
        made.invoke("hi")
    assert type(raised.value).__name__ == kinds.get(api, "OpenAIInvalidRequestError")


@pytest.mark.parametrize("api", MODELS)
def test_reasoning_comes_as_the_provider_sends_it(api: str) -> None:
    steps = [reply(think("a clear sky"), say("Sunny."))]
    trees = {tree(api, way, lambda made: made.invoke("hi") and None, steps) for way in ("class", "socket")}
    assert len(trees) == 1
