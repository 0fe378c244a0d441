"""Scripted embeddings: the same vector for the same text, and a violation for an unexpected one."""

from __future__ import annotations

import asyncio
import itertools
import math
import operator
from array import array
from typing import Any

import pytest

from llmtest import (
    ScriptedEmbeddings,
    ViolationError,
    record,
)
from llmtest.errors import expect_violation
from llmtest.langchain.embeddings import Embedded
from llmtest.ledger import Ledger, opened
from tests.support.doubles import here


def test_a_text_has_the_same_vector_on_every_machine() -> None:
    embeddings = ScriptedEmbeddings(size=4)

    assert embeddings.embed_query("cat") == CAT
    assert embeddings.embed_documents(["cat", "", "\ud800"])[0] == CAT


CAT = [0.06640709865777253, 0.6318742540034427, -0.10281312221887262, 0.7653459912190412]


def test_texts_without_a_given_vector_have_unit_vectors_of_the_same_length_nearly_at_right_angles() -> None:
    vectors = ScriptedEmbeddings().embed_documents([f"text {n}" for n in range(30)])

    products = {pair: math.fsum(map(operator.mul, *pair)) for pair in itertools.combinations(map(tuple, vectors), 2)}
    assert {len(vector) for vector in vectors} == {64}
    assert [math.fsum(number * number for number in vector) for vector in vectors] == pytest.approx([1.0] * 30)
    assert max(map(abs, products.values())) < 4 / math.sqrt(64)


def test_given_vectors_are_returned_as_they_are_and_give_the_others_their_length() -> None:
    given: dict[str, Any] = {"cat": [1, 0, 0, 0], "dog": (0.5, -2.0, 0, 1e300), "sun": array("f", [0.5] * 4), "nothing": [0] * 4}
    embeddings = ScriptedEmbeddings(vectors=given)

    found = embeddings.embed_documents([*given, "tax law"])

    assert found[:4] == [[1.0, 0.0, 0.0, 0.0], [0.5, -2.0, 0.0, 1e300], [0.5] * 4, [0.0] * 4]
    assert {type(number) for vector in found for number in vector} == {float}
    assert found[4] == ScriptedEmbeddings(size=4).embed_query("tax law")
    assert embeddings.size == 4


def test_who_changes_a_vector_changes_no_other() -> None:
    embeddings = ScriptedEmbeddings(vectors={"cat": [1.0, 0.0]}, size=2, texts=["cat"])

    embeddings.embed_query("cat").append(7.0)

    assert embeddings.embed_query("cat") == [1.0, 0.0]


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    embeddings = ScriptedEmbeddings(vectors={"cat": numpy.array([0.5, 0.25], dtype="float32")})

    assert embeddings.embed_query("cat") == [0.5, 0.25]


def test_the_calls_are_what_was_embedded_sync_and_async() -> None:
    embeddings = ScriptedEmbeddings()

    async def ask() -> None:
        await embeddings.aembed_documents(["a", "b"])
        await embeddings.aembed_query("c")

    with record() as recording:
        asyncio.run(ask())
        embeddings.embed_documents([])
        embeddings.embed_query("d")

    assert embeddings.calls == [
        Embedded("embed_documents", ("a", "b")),
        ("embed_query", ("c",)),
        ("embed_documents", ()),
        ("embed_query", ("d",)),
    ]
    assert list(recording) == []
    embeddings.verify()


def test_a_text_that_is_not_allowed_is_a_violation_with_the_nearest() -> None:
    embeddings, where = ScriptedEmbeddings(texts=["cat", "kitten"]), here()

    with expect_violation("unexpected text", times=2) as caught:
        for act in (
            lambda: embeddings.embed_documents(["kittn", "cat", "a tax law", "kittn"]),
            lambda: embeddings.embed_query("cta" * 100),
        ):
            with pytest.raises(ViolationError):
                act()

    hint = f"  texts= is given at {where}; add them there, or find out why they are embedded"
    assert [violation.text for violation in caught] == [
        "embed_documents was given 2 texts that texts= does not have\n"
        "  got  'kittn'; did you mean `kitten`?\n"
        "  got  'a tax law'\n" + hint,
        "embed_query was given 1 text that texts= does not have\n"
        f"  got  {('cta' * 100)[:184]!r} ... {('cta' * 100)[-16:]!r} (300 characters)\n" + hint,
    ]
    assert embeddings.embed_query("cat") == ScriptedEmbeddings().embed_query("cat")


def test_what_is_no_text_is_a_violation_and_outside_pytest_verify_tells_it() -> None:
    with opened(Ledger()):
        embeddings: Any = ScriptedEmbeddings()
        for act in (
            lambda: embeddings.embed_query(5),
            lambda: embeddings.embed_documents("abc"),
            lambda: embeddings.embed_documents(["a", None]),
        ):
            with pytest.raises(ViolationError):
                act()

        with pytest.raises(ViolationError) as caught:
            embeddings.verify()

    assert [violation.text for violation in caught.value.violations] == [
        "embed_query takes a str; got int 5\n  find out what the program embeds",
        "embed_documents takes a list of str; got str 'abc'\n  find out what the program embeds",
        "embed_documents takes a list of str; got NoneType None\n  find out what the program embeds",
    ]
    assert embeddings.calls == []
