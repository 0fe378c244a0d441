"""The scripted model of a provider: it decides as the provider's integration does, and answers from a script."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Mapping
from typing import Any, Final, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import BaseMessage
from pydantic import SecretStr

from llmtest.core.masks import mask, table
from llmtest.langchain.chat_model import ScriptedChatModel
from llmtest.langchain.dialects import names
from llmtest.scripts.requests import Request


class ProviderModel(ScriptedChatModel):
    """The scripted model that `init_chat_model` returns. Its runs are named by provider and model: `openai:gpt-5`.

    If the integration is installed, it is an instance of that class too: its profile, `bind_tools`, `with_structured_output`
    and fields are the integration's, and only the answers are not. No client is made and no key is read.

    `model_name` and the `ls_*` metadata are as with an integration. `params` are the other arguments of the program
    (`temperature`, `max_tokens`, ...); they are recorded with each call, without secrets.
    """

    provider: str
    params: dict[str, Any]

    def __init__(self, **fields: Any) -> None:
        BaseChatModel.__init__(self, **fields)

    @property
    def model(self) -> str:
        """The same as `model_name`: some integrations have the one, some the other."""
        return self.model_name

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**self.params, **super()._identifying_params}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self.provider
        return params

    def _request(self, messages: list[BaseMessage], stop: Any, run_manager: Any, kwargs: dict[str, Any]) -> Request:
        return super()._request(messages, stop, run_manager, {**self.params, **kwargs})

    def _dialect_of(self, params: Mapping[str, Any]) -> str:
        """Return the dialect of the integration; which API of OpenAI it takes depends on the call."""
        if self.dialect != "plain" or self.provider not in _DIALECTS:
            return self.dialect
        uses_responses = getattr(self, "_use_responses_api", lambda params: params.get("use_responses_api"))
        if self.provider != "anthropic" and uses_responses({**self.params, **params}):
            return "openai-responses"
        return _DIALECTS[self.provider]


_DIALECTS: Final = {"openai": "openai", "azure_openai": "openai", "anthropic": "anthropic"}
_FIELDS: Final = frozenset((*BaseChatModel.model_fields, "streaming", "temperature", "max_tokens", "stop"))
"""The fields of every model; integrations differ in the types of others, such as `timeout`."""
_OF_THE_INTEGRATION: Final = ("bind_tools", "with_structured_output")


def provider_model(
    script: Any, provider: str, model: str, kwargs: Mapping[str, Any], integration: type[BaseChatModel] | None
) -> ProviderModel:
    """Return the model for the arguments of `init_chat_model`."""
    fields = {"name": f"{provider}:{model}", **{key: value for key, value in kwargs.items() if key in _FIELDS}}
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    # An integration does not report its secrets; `params` reach every handler.
    params = {key: _without_secrets(key, value) for key, value in kwargs.items() if key not in _FIELDS}
    plain = ProviderModel(script=script, model_name=model, provider=provider, params=params, **fields)
    names.class_of(plain._dialect_of({}))  # imported where the program makes the model, and not in its first call
    if integration is None:
        return plain
    theirs = {key: value for key, value in _fields_of(integration, model, kwargs).items() if key not in plain.model_fields_set}
    values = {**dict(plain), **theirs}
    both = _as_both(integration).model_construct(plain.model_fields_set | kwargs.keys(), **values)
    if both.profile is None:
        with contextlib.suppress(Exception):  # as LangChain does: no profile is no reason to have no model
            both.profile = both._resolve_model_profile()
    return both


def integration_class(known_classes: Mapping[str, Any], provider: str) -> type[BaseChatModel] | None:
    """Return the class of a provider's integration; None if it is not installed or not known.

    `known_classes` has the package and the name of the class for each provider, as LangChain's own table has them.
    """
    known = known_classes.get(provider)
    if not isinstance(known, tuple):
        return None
    package, name = known[:2]
    try:
        return cast("type[BaseChatModel]", getattr(importlib.import_module(package), name))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package.partition(".")[0]:  # a dependency of the package is missing
            raise
        return None


@functools.lru_cache(maxsize=64)
def _as_both(integration: type[BaseChatModel]) -> type[ProviderModel]:
    """Return a class that is the scripted model first, so that its answers are, and decides as `integration`."""
    own: dict[str, Any] = {name: getattr(integration, name) for name in _OF_THE_INTEGRATION}
    own |= {"__module__": ProviderModel.__module__, "__qualname__": ProviderModel.__qualname__, "__doc__": ProviderModel.__doc__}
    own["is_lc_serializable"] = classmethod(lambda cls: False)  # else LangChain writes its script into `serialized`
    return cast("type[ProviderModel]", type(ProviderModel.__name__, (ProviderModel, integration), own))


def _fields_of(integration: type[BaseChatModel], model: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as fields of `integration`, under their names there; keys and passwords are not real ones."""
    values: dict[str, Any] = {}
    for name, field in integration.model_fields.items():
        if "SecretStr" in str(field.annotation):
            values[name] = SecretStr("scripted")
        elif field.alias == "model" or name == "model":
            values[name] = model
        elif (key := next((key for key in (name, field.alias) if key in kwargs), None)) is not None:
            values[name] = kwargs[key]
    return values


def _without_secrets(key: str, value: Any) -> Any:
    """Return `value`, masked. Headers are all masked: each service calls the one that holds the key by another name."""
    return mask(key) if table().hides(key, value) or key.lower().endswith("headers") else table().hide(value)
