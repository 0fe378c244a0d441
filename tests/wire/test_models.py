"""The lists of models, as the SDKs read them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import httpx2
import ollama
import openai
import pytest
from google import genai
from google.genai import errors, types
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import ValidationError

from llmtest.wire.exchange import HttpAnswer, HttpRequest
from llmtest.wire.models import answer_models
from tests.support.wire_clients import HttpxTransport, ScriptTransport


def answers(provider: str, *names: str) -> Any:
    def answer(request: HttpRequest) -> HttpAnswer:
        found = answer_models(request, provider, names)
        assert found is not None
        return found

    return answer


def test_openai_lists_its_models_and_tells_of_one() -> None:
    transport = ScriptTransport(answer=answers("openai", "gpt-5", "meta/llama-4"))
    client = openai.OpenAI(api_key="none", http_client=httpx2.Client(transport=transport))

    assert [model.id for model in client.models.list()] == ["gpt-5", "meta/llama-4"]
    assert client.models.retrieve("meta/llama-4").id == "meta/llama-4"
    with pytest.raises(openai.NotFoundError, match="model 'gpt-6' not found"):
        client.models.retrieve("gpt-6")


def test_anthropic_lists_its_models_and_tells_of_one() -> None:
    transport = ScriptTransport(answer=answers("anthropic", "claude-haiku-4-5"))
    client = anthropic.Anthropic(api_key="none", http_client=httpx2.Client(transport=transport))

    assert [model.id for model in client.models.list()] == ["claude-haiku-4-5"]
    assert client.models.retrieve("claude-haiku-4-5").display_name == "claude-haiku-4-5"
    with pytest.raises(anthropic.NotFoundError, match="model 'claude-x' not found"):
        client.models.retrieve("claude-x")


def test_gemini_lists_its_models_and_tells_of_one() -> None:
    transport = HttpxTransport(answer=answers("google_genai", "gemini-2.5-flash"))
    client = genai.Client(api_key="none", http_options=types.HttpOptions(httpx_client=httpx.Client(transport=transport)))

    assert [model.name for model in client.models.list()] == ["models/gemini-2.5-flash"]
    assert client.models.get(model="gemini-2.5-flash").display_name == "gemini-2.5-flash"
    with pytest.raises(errors.ClientError, match="404 NOT_FOUND"):
        client.models.get(model="gemini-9")


def test_ollama_lists_its_models_and_tells_of_one() -> None:
    client = ollama.Client(transport=HttpxTransport(answer=answers("ollama", "llama3", "qwen3:8b")))

    assert [model.model for model in client.list().models] == ["llama3", "qwen3:8b"]
    assert client.show("llama3").capabilities == ["completion", "tools", "thinking"]
    with pytest.raises(ollama.ResponseError, match="model 'phi' not found"):
        client.show("phi")


@pytest.mark.parametrize("kind", [ChatOllama, OllamaLLM, OllamaEmbeddings])
def test_a_model_of_ollama_that_is_validated_when_it_is_built_finds_itself(kind: Any) -> None:
    transport = HttpxTransport(answer=answers("ollama", "llama3:latest"))
    fields = {"validate_model_on_init": True, "client_kwargs": {"transport": transport}}

    assert kind(model="llama3", **fields).model == "llama3"
    with pytest.raises(ValidationError, match="Model `phi` not found in Ollama"):
        kind(model="phi", **fields)


@pytest.mark.parametrize(
    ("provider", "method", "path"),
    [
        ("openai", "POST", "/v1/models"),
        ("openai", "GET", "/v1/chat/completions"),
        ("openai", "GET", "/v1/modelsettings"),
        ("google_genai", "POST", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("ollama", "POST", "/api/chat"),
        ("ollama", "GET", "/api/show"),
    ],
)
def test_other_requests_are_not_answered(provider: str, method: str, path: str) -> None:
    assert answer_models(HttpRequest(method, f"https://example.com{path}", {}), provider, ["gpt-5"]) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model": 5}', b"\xff"])
def test_a_body_of_show_that_names_no_model_is_an_error_404(body: bytes) -> None:
    found = answer_models(HttpRequest("POST", "http://127.0.0.1:11434/api/show", {}, body), "ollama", ["llama3"])

    assert found is not None
    assert (found.status, "not found" in json.loads(found.body)["error"]) == (404, True)


def test_an_empty_list_is_a_list() -> None:
    transport = ScriptTransport(answer=answers("anthropic"))
    client = anthropic.Anthropic(api_key="none", http_client=httpx2.Client(transport=transport))

    assert [*client.models.list()] == []
