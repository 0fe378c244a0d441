"""Which provider, which of its APIs and which model a URL means."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from llmtest.wire.api import Endpoint

Kind = Literal["model", "embeddings", "tokens", "models", "other"]


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider under LangChain's name, its hosts, and the environment variables that its SDK reads."""

    name: str
    hosts: tuple[str, ...]
    keys: tuple[str, ...] = ()
    """Variables that hold a key: an SDK refuses to start without one of them."""
    base_urls: tuple[str, ...] = ()


LANGSMITH: Final = "langsmith"
"""Where traces go: it is no provider of models, but a request to it leaves the machine too."""

PROVIDERS: Final = (
    Provider("openai", ("api.openai.com", "*.api.openai.com"), ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    Provider("anthropic", ("api.anthropic.com",), ("ANTHROPIC_API_KEY",), ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL")),
    Provider(
        "google_genai",
        ("generativelanguage.googleapis.com",),
        ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        ("GOOGLE_GEMINI_BASE_URL",),
    ),
    Provider("google_vertexai", ("aiplatform.googleapis.com", "*aiplatform.googleapis.com"), (), ("GOOGLE_VERTEX_BASE_URL",)),
    Provider("ollama", (), (), ("OLLAMA_HOST",)),
    Provider(
        "azure_openai",
        ("*.openai.azure.com", "*.cognitiveservices.azure.com"),
        ("AZURE_OPENAI_API_KEY",),
        ("AZURE_OPENAI_ENDPOINT",),
    ),
    Provider("azure_ai", ("*.services.ai.azure.com", "models.inference.ai.azure.com"), ("AZURE_INFERENCE_CREDENTIAL",)),
    Provider("groq", ("api.groq.com",), ("GROQ_API_KEY",), ("GROQ_API_BASE", "GROQ_BASE_URL")),
    Provider("deepseek", ("api.deepseek.com",), ("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",)),
    Provider("openrouter", ("openrouter.ai",), ("OPENROUTER_API_KEY",)),
    Provider("mistralai", ("api.mistral.ai", "codestral.mistral.ai"), ("MISTRAL_API_KEY",), ("MISTRAL_BASE_URL",)),
    Provider("xai", ("api.x.ai",), ("XAI_API_KEY",)),
    Provider("together", ("api.together.xyz", "api.together.ai"), ("TOGETHER_API_KEY",)),
    Provider("fireworks", ("api.fireworks.ai",), ("FIREWORKS_API_KEY",)),
    Provider("perplexity", ("api.perplexity.ai",), ("PPLX_API_KEY", "PERPLEXITY_API_KEY")),
    Provider("nvidia", ("integrate.api.nvidia.com", "ai.api.nvidia.com"), ("NVIDIA_API_KEY",)),
    Provider("cohere", ("api.cohere.com", "api.cohere.ai"), ("COHERE_API_KEY",)),
    Provider("upstage", ("api.upstage.ai",), ("UPSTAGE_API_KEY",)),
    Provider("baseten", ("inference.baseten.co", "*.api.baseten.co"), ("BASETEN_API_KEY",)),
    Provider("huggingface", ("router.huggingface.co", "api-inference.huggingface.co"), ("HUGGINGFACEHUB_API_TOKEN",)),
    Provider("bedrock", ("bedrock-runtime*.amazonaws.com",)),
    Provider("ibm", ("*.ml.cloud.ibm.com",)),
    Provider("meta", ("api.llama.com",)),
    *(
        Provider(name, ())
        for name in (
            *("anthropic_bedrock", "bedrock_converse", "bedrock_mantle_anthropic", "bedrock_mantle_openai"),
            *("google_anthropic_vertex", "litellm"),
        )
    ),
    Provider(LANGSMITH, ("api.smith.langchain.com", "*.api.smith.langchain.com")),
)
BY_NAME: Final = {provider.name: provider for provider in PROVIDERS}


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A path of an API: `pattern` names the model where the path does."""

    pattern: re.Pattern[str]
    kind: Kind
    api: str
    speakers: tuple[str, ...]
    """The providers whose API it is: a request to an unknown host is one of theirs."""


_DEPLOYMENT: Final = r"(?:/deployments/(?P<model>[^/]+))?"
_GEMINI: Final = r".*/models/(?P<model>[^/:]+)"
_GOOGLE: Final = ("google_genai", "google_vertexai")


def _is_for(pattern: str, kind: Kind, api: str, *speakers: str) -> _Endpoint:
    return _Endpoint(re.compile(pattern), kind, api, speakers)


_ENDPOINTS: Final = (
    _is_for(rf".*?{_DEPLOYMENT}/chat/completions", "model", "openai.ChatCompletions", "openai"),
    _is_for(rf".*?{_DEPLOYMENT}/responses", "model", "responses.Responses", "openai"),
    _is_for(rf".*?{_DEPLOYMENT}/completions", "model", "completions.Completions", "openai"),
    _is_for(rf".*?{_DEPLOYMENT}/embeddings", "embeddings", "embeddings.OpenAI", "openai"),
    _is_for(r".*/v1/messages", "model", "anthropic.Messages", "anthropic"),
    _is_for(r".*/v1/messages/count_tokens", "tokens", "token_counts.Anthropic", "anthropic"),
    _is_for(rf"{_GEMINI}:countTokens", "tokens", "token_counts.Gemini", *_GOOGLE),
    _is_for(rf"{_GEMINI}:(generateContent|streamGenerateContent)", "model", "gemini.Gemini", *_GOOGLE),
    _is_for(rf"{_GEMINI}:(embedContent|batchEmbedContents)", "embeddings", "embeddings.Gemini", *_GOOGLE),
    _is_for(r".*/api/chat", "model", "ollama.Chat", "ollama"),
    _is_for(r".*/api/generate", "model", "ollama.Generate", "ollama"),
    _is_for(r".*/api/(embed|embeddings)", "embeddings", "embeddings.Ollama", "ollama"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is for. `providers` are the names under which its model may be mapped, the likeliest first."""

    providers: tuple[str, ...]
    kind: Kind = "other"
    api: str = ""
    model: str = ""
    """The model that the path names; empty if the body does."""

    def names_of(self, called: str) -> list[str]:
        """Return the names under which the model of a request may be mapped; `called` is its name in the body."""
        names = dict.fromkeys(filter(None, (called, self.model)))
        return [f"{provider}:{name}" for provider in self.providers for name in names]


own_ports: Final[set[int]] = set()
"""The ports of the scripted servers that run in this process."""
LOOPBACK: Final = ("127.0.0.1", "localhost")


def recognize(method: str, url: str, *, also_ours: bool = False) -> Target | None:
    """Return what a request is for, or None if it goes to no provider that is known, or, unless `also_ours`, to a server of ours.

    A known host, a host that an environment variable sets as a base URL, and a path of an API at any other host are a
    provider's.
    """
    try:
        host, port = _address(url)
    except ValueError:
        return None  # no client can call it; a cassette that was changed by hand may have it
    if own_ports and port in own_ports and host in LOOPBACK and not also_ours:
        return None  # it does not leave the machine, and is answered by a script there
    return _target(method, url, tuple(_providers_of(host, port)))


@lru_cache(maxsize=256)
def _address(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port


@lru_cache(maxsize=256)
def _target(method: str, url: str, hosts: tuple[str, ...]) -> Target | None:
    """Return the target of a request to a host of these providers: a gateway may stand for several of them."""
    parts = urlsplit(url)
    found = (_endpoint(unquote(parts.path)) or _endpoint_in(parts.query)) if method == "POST" else None
    if found is None:
        return Target(hosts[:1]) if hosts else None
    endpoint, model = found
    known = next((name for name in hosts if name in endpoint.speakers), next(iter(hosts), None))
    if known is None and endpoint.speakers == ("openai",) and (model or "api-version=" in parts.query):
        known = "azure_openai"  # behind a gateway: the path names a deployment, or the query a version
        return Target((known, "openai"), endpoint.kind, endpoint.api, model)
    names = endpoint.speakers if known is None or known in endpoint.speakers else (known,)
    if known is not None:
        names = tuple(dict.fromkeys((known, *names)))
    return Target(names, endpoint.kind, endpoint.api, model)


def _endpoint(path: str) -> tuple[_Endpoint, str] | None:
    for endpoint in _ENDPOINTS:
        match = endpoint.pattern.fullmatch(path)
        if match:
            return endpoint, match.groupdict().get("model") or ""
    return None


_AFTER_QUERY: Final = re.compile(r"(?:chat/completions|v1/messages|models/[^/:]+:\w+|api/chat)$")


def _endpoint_in(query: str) -> tuple[_Endpoint, str] | None:
    """Return the endpoint at the end of a query: an SDK puts the path there if its base URL has a query of its own."""
    found = _AFTER_QUERY.search(unquote(query)) if "/" in query else None
    return None if found is None else _endpoint(f"/{found[0]}")


def provider_of(host: str, port: int | None = None) -> str | None:
    """Return the provider whose host this is, also by the base URLs in the environment."""
    return next(_providers_of(host, port), None)


def _providers_of(host: str, port: int | None) -> Iterator[str]:
    """Yield the providers whose host this is: several for a gateway that the base URLs of several name."""
    if port == OLLAMA_PORT:
        yield "ollama"
    elif (name := _known(host)) is not None:  # the environment is asked for other hosts only: that takes longer
        yield name
    else:
        for name, base in _configured():
            there, its_port = _address(base if "//" in base else f"//{base}")
            if there == host and its_port in (None, port):
                yield name


@lru_cache(maxsize=256)
def _known(host: str) -> str | None:
    fits = (provider.name for provider in PROVIDERS for pattern in provider.hosts if fnmatchcase(host, pattern))
    return next(fits, None)


def _configured() -> Iterator[tuple[str, str]]:
    for provider in PROVIDERS:
        for variable in provider.base_urls:
            if base := os.environ.get(variable):
                yield provider.name, base


OLLAMA_PORT: Final = 11434


@lru_cache(maxsize=32)
def api_of(name: str) -> Endpoint[Any]:
    """Return the API of a target; its module is imported at the first request."""
    module, _, kind = name.partition(".")
    api: Endpoint[Any] = getattr(importlib.import_module(f"llmtest.wire.{module}"), kind)()
    return api


# -- the provider of a bare model name

_PREFIXES: Final = (
    (("gpt-", "o1", "o3", "chatgpt", "text-davinci"), "openai"),
    (("claude",), "anthropic"),
    (("command",), "cohere"),
    (("accounts/fireworks",), "fireworks"),
    (("gemini",), "google_vertexai"),
    (("amazon.", "anthropic.", "meta."), "bedrock"),
    (("mistral", "mixtral"), "mistralai"),
    (("deepseek",), "deepseek"),
    (("grok",), "xai"),
    (("sonar",), "perplexity"),
    (("solar",), "upstage"),
)


def with_provider(model: str) -> str:
    """Return `model` as `provider:model`, as LangChain infers it from the name; unchanged if the name does not tell."""
    before = model.partition(":")[0]
    if before in BY_NAME:
        return model
    low = model.lower()
    return next((f"{name}:{model}" for prefixes, name in _PREFIXES if low.startswith(prefixes)), model)
