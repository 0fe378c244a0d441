"""`ScriptedEmbeddings` passes the standard tests of embeddings."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from llmtest import ScriptedEmbeddings


class Vectors:
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return ScriptedEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"size": 2, "vectors": {"foo": [1.0, 0.0], "bar": [0.6, 0.8]}, "texts": ["foo", "bar", "baz"]}


class TestUnit(Vectors, EmbeddingsUnitTests):
    pass


class TestIntegration(Vectors, EmbeddingsIntegrationTests):
    pass
