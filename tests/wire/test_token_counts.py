"""Questions for the tokens of a prompt: answered for a mapped model, without a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import google.genai as genai
import httpx2
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, trim_messages
from langchain_google_genai import ChatGoogleGenerativeAI

from llmtest import expect_violation, ledger, say
from llmtest.langchain.providers import scripted_providers
from llmtest.wire import guard, scripted_server

pytestmark = pytest.mark.usefixtures("clients_left_open")
QUESTION: Any = [{"role": "user", "content": "What is the weather?"}]
MAPPED = {"anthropic:claude-x": say("Hello").optional(), "google_genai:gemini-x": say("Hello").optional()}


def claude() -> ChatAnthropic:
    return ChatAnthropic(model="claude-x", max_retries=0)  # type: ignore[call-arg]


def with_genai() -> int | None:
    with genai.Client() as client:
        return client.models.count_tokens(model="gemini-x", contents="What is the weather?").total_tokens


COUNTS: dict[str, Callable[[], object]] = {
    "anthropic": lambda: anthropic.Anthropic().messages.count_tokens(model="claude-x", messages=QUESTION).input_tokens,
    "ChatAnthropic": lambda: claude().get_num_tokens_from_messages([HumanMessage("What is the weather?")]),
    "genai": with_genai,
    "ChatGoogleGenerativeAI": lambda: ChatGoogleGenerativeAI(model="gemini-x").get_num_tokens("What is the weather?"),
}


@pytest.mark.parametrize("way", COUNTS)
def test_the_tokens_of_a_prompt_are_counted_as_its_usage_is(way: str) -> None:
    with scripted_providers(MAPPED) as providers:
        assert COUNTS[way]() == 5
        providers.verify()


def test_a_program_may_trim_its_messages_and_then_ask() -> None:
    long = [HumanMessage("word " * 100), HumanMessage("hi")]
    with scripted_providers({"anthropic:claude-x": "Hello"}) as providers:
        kept = trim_messages(long, max_tokens=10, token_counter=claude(), strategy="last")
        assert [message.text for message in kept] == ["hi"]
        assert claude().invoke(kept).content == "Hello"
        providers.verify()


def test_a_server_counts_too() -> None:
    with scripted_server(MAPPED) as server:
        client = anthropic.Anthropic(base_url=server.base_url("anthropic"), api_key=server.token)
        assert client.messages.count_tokens(model="claude-x", messages=QUESTION).input_tokens == 5
        headers = {"x-goog-api-key": server.token}
        whole = {"generateContentRequest": {"contents": [{"parts": [{"text": "hi"}]}], "systemInstruction": "Be brief."}}
        url = f"{server.url}/v1beta/models/gemini-x:countTokens"
        assert httpx2.post(url, json=whole, headers=headers).json() == {"totalTokens": 4}
        with expect_violation("bad request"):
            assert httpx2.post(url, json=[], headers=headers).status_code == 400
        with expect_violation("bad request"):
            said = httpx2.post(f"{server.url}/v1/messages/count_tokens", json=[], headers={"x-api-key": server.token})
        assert (said.status_code, said.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_model_that_is_not_mapped_is_not_counted() -> None:
    with ledger.opened(ledger.Ledger()) as page, guard.guarding("error"), scripted_providers(MAPPED):
        with pytest.raises(anthropic.APIConnectionError):
            anthropic.Anthropic(max_retries=0).messages.count_tokens(model="claude-y", messages=QUESTION)
        (found,) = page.take()
    assert "a request to the model `anthropic:claude-y` was about to leave the machine" in found.text
