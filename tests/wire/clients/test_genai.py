"""Google's SDK tries again at once when a script answers."""

from __future__ import annotations

import asyncio
import time
from types import ModuleType
from typing import Any

import pytest
from google.genai import _api_client
from google.genai.types import HttpRetryOptions
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import GoogleAPIError

from llmtest import fail
from llmtest.langchain.providers import scripted_providers
from llmtest.wire.clients import genai

OVERLOADED = fail(503)
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # Google's own


def test_it_tries_again_at_once() -> None:
    before = time.perf_counter()
    with scripted_providers({"google_genai:gemini-*": [fail(429), OVERLOADED.times(2), "sync", fail(500), "async"]}):
        model = ChatGoogleGenerativeAI(model="gemini-2.5-flash")

        async def ask() -> Any:
            try:
                return (await model.ainvoke("hi")).content
            finally:
                await model.aclose()

        answers = model.invoke("hi").content, asyncio.run(ask())

    assert answers == ("sync", "async")
    assert time.perf_counter() - before < 4  # the waits alone would take 8 seconds


def test_it_tries_as_often_as_the_program_says() -> None:
    with scripted_providers({"google_genai:gemini-*": [OVERLOADED.times(3)]}):
        model = ChatGoogleGenerativeAI(model="gemini-2.5-flash", max_retries=3)

        with pytest.raises(GoogleAPIError, match="503 UNAVAILABLE"):
            model.invoke("hi")


def test_without_a_script_it_waits_as_ever() -> None:
    wait: Any = _api_client.retry_args(HttpRetryOptions(initial_delay=1.5, jitter=0))["wait"]

    assert wait.initial == 1.5


def test_a_version_without_the_function_is_left_alone() -> None:
    assert genai.patch(ModuleType("google.genai._api_client")) == []
