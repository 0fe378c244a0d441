"""`ScriptedRetriever` passes the standard tests of retrievers."""

from __future__ import annotations

from functools import partial
from typing import Any

from langchain_tests.integration_tests import RetrieversIntegrationTests

from llmtest import ScriptedRetriever
from llmtest.scripts import give

FOUND = give(["Cats purr.", "Cats sleep.", "Cats hunt.", "Cats climb."]).repeat()


class TestRetriever(RetrieversIntegrationTests):
    """The suite makes retrievers from keywords only, and each of them is asked at least once."""

    @property
    def retriever_constructor(self) -> Any:
        return partial(ScriptedRetriever, FOUND)

    @property
    def retriever_query_example(self) -> str:
        return "what do cats do?"
