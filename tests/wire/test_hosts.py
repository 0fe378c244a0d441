"""Which provider, API and model a URL means."""

from __future__ import annotations

import pytest
from langchain.chat_models import base

from llmtest.wire import hosts
from llmtest.wire.hosts import BY_NAME, PROVIDERS, Target, provider_of, recognize, with_provider

CHAT = "openai.ChatCompletions"


@pytest.fixture(autouse=True)
def no_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS:
        for variable in provider.base_urls:
            monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://api.openai.com/v1/chat/completions", Target(("openai",), "model", CHAT)),
        ("https://api.openai.com:443/v1/chat/completions?x=1", Target(("openai",), "model", CHAT)),
        ("https://API.OpenAI.com/v1/responses", Target(("openai",), "model", "responses.Responses")),
        ("https://us.api.openai.com/v1/embeddings", Target(("openai",), "embeddings", "embeddings.OpenAI")),
        ("https://api.openai.com/v1/completions", Target(("openai",), "model", "completions.Completions")),
        ("https://api.anthropic.com/v1/messages", Target(("anthropic",), "model", "anthropic.Messages")),
        ("https://api.groq.com/openai/v1/chat/completions", Target(("groq",), "model", CHAT)),
        ("https://api.deepseek.com/chat/completions", Target(("deepseek",), "model", CHAT)),
        ("https://openrouter.ai/api/v1/chat/completions", Target(("openrouter",), "model", CHAT)),
        (
            "https://x.openai.azure.com/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
            Target(("azure_openai",), "model", CHAT, "my-gpt"),
        ),
        (
            "https://x.openai.azure.com/openai/deployments/a%20b/embeddings",
            Target(("azure_openai",), "embeddings", "embeddings.OpenAI", "a b"),
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            Target(("google_genai", "google_vertexai"), "model", "gemini.Gemini", "gemini-2.5-flash"),
        ),
        (
            "https://us-central1-aiplatform.googleapis.com/v1/projects/p/publishers/google/models/gemini-3:generateContent",
            Target(("google_vertexai", "google_genai"), "model", "gemini.Gemini", "gemini-3"),
        ),
        ("http://localhost:11434/api/chat", Target(("ollama",), "model", "ollama.Chat")),
        ("http://gpu.house:11434/api/embed", Target(("ollama",), "embeddings", "embeddings.Ollama")),
        ("http://localhost:11434/v1/chat/completions", Target(("ollama",), "model", CHAT)),
    ],
)
def test_a_known_host_and_its_paths(url: str, target: Target) -> None:
    found = recognize("POST", url)

    assert found is not None
    assert found.providers[: len(target.providers)] == target.providers
    assert (found.kind, found.api, found.model) == (target.kind, target.api, target.model)


@pytest.mark.parametrize(
    ("method", "url", "target"),
    [
        ("GET", "https://api.openai.com/v1/models", Target(("openai",))),
        ("POST", "https://api.openai.com/v1/images/generations", Target(("openai",))),
        ("GET", "https://api.smith.langchain.com/sessions", Target(("langsmith",))),
        ("", "//bedrock-runtime.eu-west-1.amazonaws.com", Target(("bedrock",))),
    ],
)
def test_another_path_of_a_known_host_is_the_providers(method: str, url: str, target: Target) -> None:
    assert recognize(method, url) == target


@pytest.mark.parametrize(
    ("url", "providers"),
    [
        ("https://models.house.example/v1/chat/completions", ("openai",)),
        ("http://127.0.0.1:8000/v1/messages", ("anthropic",)),
        ("http://localhost:8000/api/chat", ("ollama",)),
    ],
)
def test_a_path_of_an_api_at_an_unknown_host_is_that_apis(url: str, providers: tuple[str, ...]) -> None:
    found = recognize("POST", url)

    assert found is not None
    assert found.providers == providers


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "https://weather.example/paris"),
        ("GET", "https://weather.example/v1/chat/completions"),
        ("POST", "https://weather.example/chat/completions/of/mine"),
        ("POST", "https://notapi.openai.com.example/"),
        ("GET", "https://www.googleapis.com/storage"),
    ],
)
def test_other_hosts_are_none_of_our_business(method: str, url: str) -> None:
    assert recognize(method, url) is None


@pytest.mark.parametrize("base", ["https://llm.house.example/v1", "llm.house.example", "https://LLM.house.example"])
def test_a_base_url_in_the_environment_is_the_providers_host(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", base)

    assert provider_of("llm.house.example") == "anthropic"
    assert recognize("GET", "https://llm.house.example/v1/anything") == Target(("anthropic",))


def test_a_gateway_of_several_providers_is_told_apart_by_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GROQ_API_BASE"):
        monkeypatch.setenv(variable, "https://llm.house.example/v1")

    targets = [recognize("POST", f"https://llm.house.example/v1/{path}") for path in ("chat/completions", "messages", "x")]
    assert [target.providers for target in targets if target is not None] == [("openai",), ("anthropic",), ("openai",)]


def test_a_base_url_with_a_port_is_that_port_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")

    assert [provider_of("127.0.0.1", port) for port in (8000, 8001, None)] == ["openai", None, None]


@pytest.mark.parametrize(
    ("path", "provider"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/responses", "openai"),
        ("/anthropic/v1/messages", "anthropic"),
        ("/v1beta/models/gemini-2.5-flash:generateContent", "google_genai"),
        ("/health", "openai"),
    ],
)
def test_a_gateway_for_several_providers_is_the_one_whose_api_it_speaks(
    path: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.setenv(variable, "http://127.0.0.1:4000")

    target = recognize("POST", f"http://127.0.0.1:4000{path}")

    assert target is not None
    assert target.providers[0] == provider


def test_a_port_of_a_server_of_ours_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:8123/v1/chat/completions"
    monkeypatch.setattr(hosts, "own_ports", {8123})

    assert recognize("POST", url) is None
    assert recognize("POST", url.replace("8123", "8124")) is not None
    assert recognize("POST", url.replace("127.0.0.1", "other.example")) is not None


# -- names


MODELS = ["gpt-5", "GPT-4o", "o1", "o3-mini", "o4-mini", "chatgpt-4o", "claude-opus-4-7", "command-r", "gemini-3", "llama3.2"]
MODELS += ["mistral-large", "mixtral", "deepseek-chat", "grok-4", "sonar", "solar-pro", "amazon.nova", "anthropic.claude"]
MODELS += ["meta.x", "accounts/fireworks/models/x", "text-davinci-003", "qwen3:8b"]


@pytest.mark.parametrize("model", MODELS)
def test_a_bare_name_has_the_provider_that_langchain_infers(model: str) -> None:
    inferred = base._attempt_infer_model_provider(model)

    assert with_provider(model) == (f"{inferred}:{model}" if inferred else model)


def test_the_providers_of_langchain_are_known() -> None:
    assert set(base._BUILTIN_PROVIDERS) - BY_NAME.keys() == set()


def test_a_name_with_a_provider_stays() -> None:
    assert with_provider("azure_openai:my-gpt") == "azure_openai:my-gpt"


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://gateway.example/x/?key=1chat/completions", CHAT),  # as OpenAI's SDK makes it of a base URL with a query
        ("https://gateway.example/x?key=1/v1/messages", "anthropic.Messages"),  # as Anthropic's does
        ("https://gateway.example/?a=b%2Fc/models/gemini-3:generateContent", "gemini.Gemini"),
        ("https://gateway.example/?a=b/api/chat", "ollama.Chat"),
    ],
)
def test_a_base_url_with_a_query_is_recognized(url: str, api: str) -> None:
    found = recognize("POST", url)

    assert found is not None
    assert found.api == api


@pytest.mark.parametrize("query", ["next=/responses", "next=/completions", "q=chat/completions&page=2", "q=api"])
def test_a_query_of_another_program_is_none_of_our_business(query: str) -> None:
    assert recognize("POST", f"https://shop.example/login?{query}") is None


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("https://corp.example/azure/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21", "my-gpt"),
        ("https://corp.example/azure/openai/responses?api-version=2025-03-01-preview", ""),
    ],
)
def test_azure_behind_a_gateway_is_azure(url: str, model: str) -> None:
    found = recognize("POST", url)

    assert found is not None
    assert (found.providers, found.model) == (("azure_openai", "openai"), model)


@pytest.mark.parametrize("url", ["https://[api.openai.com/v1/chat/completions", "https://api.openai.com:x/v1/embeddings"])
def test_an_address_that_no_client_can_call_is_no_providers(url: str) -> None:
    assert recognize("POST", url) is None
