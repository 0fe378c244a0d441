"""`ScriptedChatModel` passes the standard tests of chat models, with everything on that they can test.

The script is one step, a function that does what a provider does: it reads what was asked and what is bound, and answers.
"""

from __future__ import annotations

from typing import Any, Literal

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from llmtest import Script, ScriptedChatModel, respond, say
from tests.support.standard import provider


class Answers:
    """What both halves of the suite say of the model."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ScriptedChatModel

    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_image_tool_message = True
    supports_pdf_inputs = True
    supports_pdf_tool_message = True
    supports_audio_inputs = True
    supports_anthropic_inputs = True
    model_override_value = "another-model"
    enable_vcr_tests = True


class TestUnit(Answers, ChatModelUnitTests):
    """These call no model, so the script is empty."""


class TestFunctionCalling(Answers, ChatModelIntegrationTests):
    """Structured output as a tool call: `method="function_calling"`, the default."""

    dialect = "plain"

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"script": Script(respond(provider).repeat()), "dialect": self.dialect}

    @pytest.fixture(autouse=True)
    def files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some tests download an image, a sound or a PDF to send it on; the model is not to look at it."""
        monkeypatch.setattr(httpx, "get", lambda url, **_: httpx.Response(200, content=b"a file"))
        monkeypatch.setenv("LANGCHAIN_TESTS_USER_AGENT", "llmtest")

    # Usage: the suite asks for a model call that reports each detail.

    supported_usage_metadata_details = {  # noqa: RUF012
        way: ["audio_input", "audio_output", "reasoning_output", "cache_read_input", "cache_creation_input"]
        for way in ("invoke", "stream")
    }

    def _call_with(self, side: Literal["input", "output"], detail: str, stream: bool) -> AIMessage:
        usage = {"input_tokens": 9, "output_tokens": 7, f"{side}_token_details": {detail: 5}}
        model = ScriptedChatModel(say("It is ", "sunny.", usage=usage), dialect=self.dialect)
        if not stream:
            return model.invoke("weather?")
        first, *rest = model.stream("weather?")
        return sum(rest, first)

    def invoke_with_audio_input(self, *, stream: bool = False) -> AIMessage:
        return self._call_with("input", "audio", stream)

    def invoke_with_audio_output(self, *, stream: bool = False) -> AIMessage:
        return self._call_with("output", "audio", stream)

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._call_with("output", "reasoning", stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._call_with("input", "cache_read", stream)

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        return self._call_with("input", "cache_creation", stream)


class TestJsonSchema(TestFunctionCalling):
    """The same with structured output as JSON text of a given schema."""

    structured_output_kwargs = {"method": "json_schema"}  # noqa: RUF012


class TestAsChatOpenAI(TestFunctionCalling):
    """The same, as `ChatOpenAI` says it over Chat Completions."""

    dialect = "openai"


class TestAsChatOpenAIOverResponses(TestFunctionCalling):
    """The same, as `ChatOpenAI` says it over the Responses API."""

    dialect = "openai-responses"


class TestAsChatAnthropic(TestFunctionCalling):
    """The same, as `ChatAnthropic` says it."""

    dialect = "anthropic"
