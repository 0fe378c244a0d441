"""Vectors that were recorded, by text."""

from __future__ import annotations

import pytest

from llmtest.errors import ViolationError, expect_violation
from llmtest.wire.providers import Embeddings
from llmtest.wire.recorded_vectors import RecordedEmbeddings

GIVEN = RecordedEmbeddings("openai:e", {"hello": [0.5, 1.0], "bye": [1.0, 0.0]}, "record it: pytest x")


def test_texts_have_their_vectors() -> None:
    assert isinstance(GIVEN, Embeddings)
    assert GIVEN.knows(["hello", "bye"])
    assert not GIVEN.knows(["hello", "hellO"])
    assert GIVEN.embed_documents(["bye", "hello", "bye"]) == [[1.0, 0.0], [0.5, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("remedy", "texts", "problem"),
    [
        (
            "record it: pytest x",
            ["bye", "helo"],
            "`openai:e` is asked for the vectors of 1 text that was not recorded\n"
            "  got  'helo'; did you mean `hello`?\n  record it: pytest x",
        ),
        ("", ["x", "y"], "`openai:e` is asked for the vectors of 2 texts that were not recorded\n  got  'x'\n  got  'y'"),
    ],
)
def test_a_text_that_was_not_recorded_is_a_violation(remedy: str, texts: list[str], problem: str) -> None:
    with expect_violation("unexpected text"), pytest.raises(ViolationError) as caught:
        RecordedEmbeddings("openai:e", GIVEN.vectors, remedy).embed_documents(texts)

    assert str(caught.value) == problem


def test_a_text_with_a_secret_is_found_by_its_mask() -> None:
    key, other = "sk-proj-4eC39HqLyjWDarjtT1zdp7dc", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
    given = RecordedEmbeddings("m", {"use <mask:secret>": [1.0], "ask <mask:secret>": [2.0], "ask <mask:secret> (2)": [3.0]})

    assert given.embed_documents([f"use {key}", f"use {other}"]) == [[1.0], [1.0]]
    assert not given.knows([f"ask {key}"])  # two texts were recorded that differ in the secret only
