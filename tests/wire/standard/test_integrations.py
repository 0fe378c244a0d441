"""The real integrations pass LangChain's standard tests with a script in place of their provider.

The script is one step, a function that does what a provider does: it reads what was asked and what is bound, and answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from llmtest import respond
from llmtest.langchain.providers import scripted_providers
from tests.support.standard import provider

pytestmark = [
    # The integrations and their SDKs warn of what the suite does.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore:OpenAI may require a filename:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


class Integration(ChatModelIntegrationTests):
    """What holds of each integration here."""

    model_override_value = "another-model"
    enable_vcr_tests = True
    mapped = "openai:*"

    @pytest.fixture(autouse=True)
    def answered(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Some tests download an image, a sound or a PDF to send it on; the model is not to look at it."""
        monkeypatch.setattr(httpx, "get", lambda url, **_: httpx.Response(200, content=b"a file"))
        monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "llmtest")
        with scripted_providers({self.mapped: [respond(provider).repeat().optional()]}):
            yield


class TestChatOpenAI(Integration):
    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_pdf_inputs = True
    supports_audio_inputs = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gpt-5-mini"}


class TestChatOpenAIOverResponses(TestChatOpenAI):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gpt-5-mini", "use_responses_api": True}


class TestChatAnthropic(Integration):
    mapped = "anthropic:*"
    supports_image_inputs = True
    supports_image_urls = True
    supports_pdf_inputs = True
    supports_image_tool_message = True
    supports_pdf_tool_message = True
    supports_anthropic_inputs = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "claude-opus-4-7"}


class TestChatGoogleGenerativeAI(Integration):
    mapped = "google_genai:*"
    supports_json_mode = True
    supports_image_inputs = True
    supports_pdf_inputs = True
    supports_audio_inputs = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatGoogleGenerativeAI

    model_override_value = None  # the integration refuses `model=` in a call

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gemini-2.5-flash"}


class TestChatOllama(Integration):
    mapped = "ollama:*"
    supports_json_mode = True
    supports_image_inputs = True

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "qwen3"}
