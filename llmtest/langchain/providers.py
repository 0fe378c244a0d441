"""Scripted models for programs that build their own, by class or by name with `init_chat_model`.

The real class of an integration runs, and its requests are answered at the boundary. `init_chat_model` gives a stand-in only
where the integration is not installed or its API is not spoken. Every `init_chat_model`, also of a configurable model, of
`create_agent("openai:gpt-5")` and of middleware, ends in one private function of LangChain, `_init_chat_model_helper`, in
`langchain` and again in `langchain_classic`. While a mapping is open, it is replaced. If LangChain changes that function, the
mapping does not open: it never lets a real model through.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final

from langchain_core.language_models import BaseChatModel

from llmtest.core.patches import Patch, replace
from llmtest.errors import ProvidersError
from llmtest.langchain.batches import BatchesByPosition
from llmtest.langchain.caller import calling
from llmtest.langchain.provider_model import integration_class, provider_model
from llmtest.scripts.requests import Request
from llmtest.scripts.script import Script
from llmtest.scripts.step_types import Reply, ScriptOwner, Step
from llmtest.wire import boundary, clients, providers
from llmtest.wire.hearing import listener
from llmtest.wire.providers import Providers as Providers
from llmtest.wire.providers import from_ini as from_ini


def scripted_providers(mapping: Mapping[str, Any] | str | os.PathLike[str]) -> Providers:
    """Return a block in which the models that a program builds itself are scripted: by class, by name, by SDK.

    `mapping` leads from model strings to scripts: `"openai:gpt-5"`, or with `*` (`"anthropic:*"`); a string without a
    provider is read as LangChain reads it (`"gpt-5"` is `"openai:gpt-5"`). An exact string has precedence over one with
    `*`. A script is a `Script`, a list of steps, one step, or the path of a script file (a `Path`, or a str that ends in
    `.yaml`), or `ScriptedEmbeddings` for a model of embeddings. All models of one entry share its script.

    In place of a mapping, the path of a script file that names its models (`models:`, `embeddings:`), as `llmtest script` and
    `--llmtest-record` write it: `scripted_providers("tests/booking.yaml")`. Its recorded answers of tools are not used.

    The real class of the integration runs, and its HTTP request is answered. Each try of a client takes the next step.

    The block gives the `Providers`: `.asked` lists the models of the requests, in order. An inner block has precedence over
    an outer one. The pytest fixture of the same name is such a block, open for the test.

    Raises:
        ScriptError: a script or the mapping is written wrongly.
        ProvidersError: when the block opens, or LangChain is imported in it: `init_chat_model` is of an unknown version.
        ViolationError: in the program, when it asks `init_chat_model` for a model that no entry fits, or two entries with `*`.
            A request for such a model is an error of its client, and a violation of the test.

    >>> from langchain.chat_models import init_chat_model
    >>> with scripted_providers({"openai:gpt-5": "Hello", "anthropic:*": "Bonjour"}) as providers:
    ...     init_chat_model("gpt-5").invoke("hi").content, init_chat_model("claude-opus-4-7").invoke("salut").content
    ...     providers.asked
    ('Hello', 'Bonjour')
    ['openai:gpt-5', 'anthropic:claude-opus-4-7']

    It holds for the whole process, threads included, and for models that were built before. It does not answer requests of
    other processes: `scripted_server` does.
    """
    return Providers(mapping)


class _ScriptByName:
    """The script of a model that was chosen by name, found anew at each call, which may name another model with `model=`."""

    owner = ScriptOwner()

    def __init__(self, provider: str, model: str) -> None:
        self.provider = provider
        self.model = model

    def serve(self, request: Request) -> Step:
        asked = self._asked(request)
        providers.note_asked(asked)
        return _script_now(asked).serve(request)

    def check(self, reply: Reply, request: Request) -> None:
        _script_now(self._asked(request)).check(reply, request)

    def verify(self) -> None:
        _script_now(self._asked(Request())).verify()

    def _asked(self, request: Request) -> str:
        return f"{self.provider}:{request.params.get('model') or self.model}"


def _script_now(model: str) -> Script:
    """Return the script that answers a call of `model` now."""
    return providers.script_now(providers.entry_of(model, "calls"), model)


# -- the seam in LangChain

_HELPER: Final = "_init_chat_model_helper"
_PARSE: Final = "_parse_model"
_EXPECTED: Final = {_HELPER: "(model, *, model_provider, **kwargs)", _PARSE: "(model, model_provider)"}
SPOKEN: Final[Mapping[str, tuple[str, str]]] = {
    "openai": ("langchain_openai", "ChatOpenAI"),
    "azure_openai": ("langchain_openai", "AzureChatOpenAI"),
    "anthropic": ("langchain_anthropic", "ChatAnthropic"),
    "google_genai": ("langchain_google_genai", "ChatGoogleGenerativeAI"),
    "ollama": ("langchain_ollama", "ChatOllama"),
    "groq": ("langchain_groq", "ChatGroq"),
    "deepseek": ("langchain_deepseek", "ChatDeepSeek"),
    "mistralai": ("langchain_mistralai", "ChatMistralAI"),
    "openrouter": ("langchain_openrouter", "ChatOpenRouter"),
    "xai": ("langchain_xai", "ChatXAI"),
    "together": ("langchain_together", "ChatTogether"),
    "fireworks": ("langchain_fireworks", "ChatFireworks"),
    "perplexity": ("langchain_perplexity", "ChatPerplexity"),
    "nvidia": ("langchain_nvidia_ai_endpoints", "ChatNVIDIA"),
    "upstage": ("langchain_upstage", "ChatUpstage"),
}
"""The providers whose integrations run as they are, and the classes: a script answers their requests."""


def _patch(module: ModuleType) -> list[Patch]:
    """Stand in for the function in which `module` builds models, if a mapping is open: the guard alone does not need it.

    Raises:
        ProvidersError: this version of LangChain builds them in another way.
    """
    if not providers.is_any_open():
        return []
    # By their parameters: a version that calls them otherwise would build real models, without a word.
    for name, expected in _EXPECTED.items():
        got = _shape(getattr(module, name, None))
        if got != expected:
            package = module.__name__.partition(".")[0].replace("_", "-")
            version = importlib.metadata.version(package)
            raise ProvidersError(
                f"{package} {version} builds its models in another way than scripted_providers knows\n"
                f"  expected  {module.__name__}.{name}{expected}\n"
                f"  got       {'no such function' if got is None else f'{name}{got}'}\n"
                f"  until llmtest knows it: install another {package}, or give the program its model: scripted_chat_model(...)"
            )
    return [replace(module, _HELPER, partial(_stand_in, module))]


def _shape(function: Any) -> str | None:
    """Return the parameters of `function`, without types and defaults."""
    if not callable(function):
        return None
    parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([p.replace(annotation=p.empty, default=p.empty) for p in parameters]))


def _stand_in(module: ModuleType, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def helper(model: str, *, model_provider: str | None = None, **kwargs: Any) -> Any:
        # LangChain's warnings about the name count the frames up to the program: no function may stand between.
        name, provider = getattr(module, _PARSE)(model, model_provider)
        is_scripted = providers.is_any_open() and listener() is None
        if provider not in getattr(module, "_BUILTIN_PROVIDERS", (provider,)) or not is_scripted:
            return original(model, model_provider=model_provider, **kwargs)  # LangChain's own error
        providers.entry_of(f"{provider}:{name}", "asks for")
        integration = integration_class(getattr(module, "_BUILTIN_PROVIDERS", SPOKEN), provider)
        if integration is not None and provider in SPOKEN:  # its requests come to the boundary, where the script answers
            return original(model, model_provider=model_provider, **kwargs)
        return provider_model(_ScriptByName(provider, name), provider, name, kwargs, integration)

    return helper


def _patch_batches(module: ModuleType) -> list[Patch]:
    """Let each input of a batch of a real class take the step of its position, as the inputs of a double do; or be recorded
    as the step of its position."""
    if not (providers.is_any_open() or listener() is not None):
        return []
    return [replace(module.Runnable, name, partial(_by_position, name)) for name in BATCHES]


BATCHES: Final = ("batch", "abatch", "batch_as_completed", "abatch_as_completed")


def _by_position(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    ours = getattr(BatchesByPosition, name)

    @functools.wraps(original)
    def method(self: Any, inputs: Any, config: Any = None, **kwargs: Any) -> Any:
        is_real = isinstance(self, BaseChatModel) and not isinstance(self, BatchesByPosition)
        # Asked at each call: a batch of before the block, or after it, is LangChain's own.
        is_ours = is_real and (providers.is_any_open() or listener() is not None)
        return (ours if is_ours else original)(self, inputs, config, **kwargs)

    return method


clients.HOOKS["langchain_core.runnables.base"] = _patch_batches
for _package in ("langchain", "langchain_classic"):
    clients.HOOKS[f"{_package}.chat_models.base"] = _patch
boundary.find_origin = calling
