"""Embeddings over the wire: the SDKs and integrations of OpenAI, Google and Ollama read the vectors of a double."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import httpx2
import ollama
import openai
import pytest
import tiktoken
from google import genai
from google.genai import types
from langchain_google_genai import GoogleGenerativeAIEmbeddings
from langchain_ollama import OllamaEmbeddings
from langchain_openai import OpenAIEmbeddings

from llmtest import ScriptedEmbeddings
from llmtest.errors import expect_violation
from llmtest.scripts.step_types import Fail
from llmtest.wire import embeddings
from llmtest.wire.answering import read
from llmtest.wire.api import BadBody, Endpoint
from llmtest.wire.embeddings import EmbeddingsCall, embed
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer
from tests.support.wire_clients import HttpxTransport, ScriptTransport

VECTORS = {"cat": [1.0, 0.0], "kitten": [0.75, 0.5]}  # exact as floats of four bytes too


def double(**fields: Any) -> ScriptedEmbeddings:
    return ScriptedEmbeddings(**(fields or {"vectors": VECTORS}))


def answers(api: Endpoint[EmbeddingsCall], source: ScriptedEmbeddings) -> Any:
    def answer(request: HttpRequest) -> HttpAnswer:
        return embed(read(request, api), api, source)

    return answer


def over_openai(source: ScriptedEmbeddings, **fields: Any) -> OpenAIEmbeddings:
    transport = ScriptTransport(answer=answers(embeddings.OpenAI(), source))
    clients: Any = {
        "http_client": httpx2.Client(transport=transport),
        "http_async_client": httpx2.AsyncClient(transport=transport),
    }
    fields = {"check_embedding_ctx_length": False, **fields}
    return OpenAIEmbeddings(model="text-embedding-ada-002", api_key="none", max_retries=0, **clients, **fields)  # type: ignore[arg-type]


def over_gemini(source: ScriptedEmbeddings, **fields: Any) -> GoogleGenerativeAIEmbeddings:
    transport = HttpxTransport(answer=answers(embeddings.Gemini(), source))
    known: Any = {"model": "gemini-embedding-001", "google_api_key": "none", "client_args": {"transport": transport}}
    return GoogleGenerativeAIEmbeddings(**{**known, **fields})


def over_ollama(source: ScriptedEmbeddings, **fields: Any) -> OllamaEmbeddings:
    transport = HttpxTransport(answer=answers(embeddings.Ollama(), source))
    return OllamaEmbeddings(model="nomic-embed-text", client_kwargs={"transport": transport}, **fields)


INTEGRATIONS = [over_openai, over_gemini, over_ollama]


@pytest.mark.parametrize("over", INTEGRATIONS)
def test_the_integration_gets_the_vectors_of_the_double(over: Any) -> None:
    source = double()
    model = over(source)

    async def ask() -> tuple[Any, Any]:
        return await model.aembed_documents(["kitten", "cat"]), await model.aembed_query("cat")

    assert model.embed_documents(["kitten", "cat"]) == [[0.75, 0.5], [1.0, 0.0]]
    assert model.embed_query("cat") == [1.0, 0.0]
    assert asyncio.run(ask()) == ([[0.75, 0.5], [1.0, 0.0]], [1.0, 0.0])
    assert [call.texts for call in source.calls] == [("kitten", "cat"), ("cat",)] * 2


@pytest.mark.parametrize("over", INTEGRATIONS)
def test_a_text_that_is_not_permitted_is_a_violation_and_a_refusal(over: Any) -> None:
    model = over(double(texts=["cat"]))

    with expect_violation("unexpected text"), pytest.raises(Exception, match="embed_documents was given 1 text that texts="):
        model.embed_query("dog")


def test_the_numbers_of_openai_come_exactly_and_in_base64_with_four_bytes() -> None:
    transport = ScriptTransport(answer=answers(embeddings.OpenAI(), double(vectors={"cat": [0.1, 0.2]})))
    client = openai.OpenAI(api_key="none", http_client=httpx2.Client(transport=transport))

    exact = client.embeddings.create(model="m", input="cat", encoding_format="float")
    packed = client.embeddings.create(model="m", input=["cat"])  # the SDK asks for base64, and unpacks it

    assert exact.data[0].embedding == [0.1, 0.2]
    assert packed.data[0].embedding == [0.10000000149011612, 0.20000000298023224]
    assert json.loads(transport.requests[1].body)["encoding_format"] == "base64"
    assert (exact.model, exact.object, exact.usage.total_tokens) == ("m", "list", 1)


def test_the_sdks_of_google_and_ollama_read_their_bodies() -> None:
    google = HttpxTransport(answer=answers(embeddings.Gemini(), double()))
    options = types.HttpOptions(httpx_client=httpx.Client(transport=google))
    local = ollama.Client(transport=HttpxTransport(answer=answers(embeddings.Ollama(), double())))

    vectors = genai.Client(api_key="none", http_options=options).models.embed_content(model="m", contents=["cat", "kitten"])

    assert [vector.values for vector in vectors.embeddings or ()] == [[1.0, 0.0], [0.75, 0.5]]
    assert local.embed(model="m", input="cat").embeddings == [[1.0, 0.0]]
    assert local.embeddings(model="m", prompt="cat").embedding == [1.0, 0.0]


def test_one_text_of_gemini() -> None:
    found = _answer(embeddings.Gemini(), {"content": {"parts": [{"text": "cat"}]}}, "/v1beta/models/m:embedContent")

    assert json.loads(found.body) == {"embedding": {"values": [1.0, 0.0]}}


def _answer(api: Any, body: Any, path: str = "/v1/embeddings", **fields: Any) -> HttpAnswer:
    request = HttpRequest("POST", f"https://example.com{path}", {}, json.dumps(body).encode())
    return embed(read(request, api), api, double(**fields))


# -- token ids


@pytest.fixture
def encoding(monkeypatch: pytest.MonkeyPatch) -> tiktoken.Encoding:
    """An encoding of one token for each byte, under the name of the model's own, which tiktoken would download."""
    ranks = {bytes([number]): number for number in range(256)}
    made = tiktoken.Encoding("cl100k_base", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens={})
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", made)
    return made


def test_the_ids_of_an_encoding_in_memory_become_text_again(encoding: tiktoken.Encoding) -> None:
    source = double()
    model = over_openai(source, check_embedding_ctx_length=True)

    assert model.embed_documents(["kitten", "cat"]) == [[0.75, 0.5], [1.0, 0.0]]
    assert source.calls[0].texts == ("kitten", "cat")


def test_other_ids_are_a_text_of_their_own(encoding: tiktoken.Encoding) -> None:
    for model, ids in (("unknown", [99, 97]), ("text-embedding-ada-002", [300, 301])):
        known, text = {"model": model, "input": ids}, {"model": model, "input": f"tokens {ids[0]} {ids[1]}"}

        bodies = [json.loads(_answer(embeddings.OpenAI(), body).body) for body in (known, text)]
        assert bodies[0]["data"] == bodies[1]["data"]


def test_without_an_encoding_in_memory_ids_are_a_text_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tiktoken.registry")

    assert embeddings.text_of_ids([99, 97], "text-embedding-ada-002") == "tokens 99 97"


# -- lengths


def test_vectors_of_the_asked_length_are_sent() -> None:
    assert len(over_openai(double(size=3), dimensions=3).embed_query("cat")) == 3
    assert len(over_gemini(double(size=3), output_dimensionality=3).embed_query("cat")) == 3
    assert len(over_ollama(double(size=3), dimensions=3).embed_query("cat")) == 3


@pytest.mark.parametrize(
    ("api", "body", "path"),
    [
        (embeddings.OpenAI(), {"model": "m", "input": "cat", "dimensions": 256}, "/v1/embeddings"),
        (embeddings.Ollama(), {"model": "m", "input": "cat", "dimensions": 256}, "/api/embed"),
        (
            embeddings.Gemini(),
            {"content": {"parts": [{"text": "cat"}]}, "outputDimensionality": 256},
            "/v1beta/models/m:embedContent",
        ),
        (
            embeddings.Gemini(),
            {"requests": [{"content": {"parts": [{"text": "cat"}]}, "embedContentConfig": {"outputDimensionality": 256}}]},
            "/v1beta1/publishers/google/models/m:batchEmbedContents",
        ),
    ],
)
def test_vectors_of_another_length_than_asked_are_not_sent(api: Any, body: Any, path: str) -> None:
    with pytest.raises(BadBody) as raised:
        _answer(api, body, path, size=64)

    assert str(raised.value) == (
        "the request asks for vectors of length 256, but ScriptedEmbeddings(size=64) has vectors of length 64"
    )


def test_a_batch_asks_for_vectors_of_one_length() -> None:
    requests = [{"content": {"parts": [{"text": "cat"}]}, "outputDimensionality": size} for size in (256, 64)]

    with pytest.raises(BadBody) as raised:
        _answer(embeddings.Gemini(), {"requests": requests}, "/v1beta/models/m:batchEmbedContents")

    assert str(raised.value) == "the requests of a batch ask for vectors of one length; got [64, 256]"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "`input` is a text, a list of texts, or token ids; got NoneType None"),
        ({"input": []}, "`input` is a text, a list of texts, or token ids; got list []"),
        ({"input": ["a", 1]}, "`input` is a text, a list of texts, or token ids; got list ['a', 1]"),
        ({"input": "a", "encoding_format": "int8"}, "`encoding_format` is 'float' or 'base64'; got 'int8'"),
        ({"input": "a", "dimensions": "2"}, "`dimensions` is a number; got str '2'"),
    ],
)
def test_a_bad_body_is_told_with_words(body: Any, text: str) -> None:
    with pytest.raises(BadBody) as raised:
        _answer(embeddings.OpenAI(), body)

    assert str(raised.value) == text


# -- answers that were recorded


@pytest.mark.parametrize(
    ("api", "body", "path"),
    [
        (embeddings.OpenAI(), {"model": "m", "input": ["cat", "kitten"]}, "/v1/embeddings"),
        (embeddings.OpenAI(), {"model": "m", "input": ["cat", "kitten"], "encoding_format": "base64"}, "/v1/embeddings"),
        (embeddings.Ollama(), {"model": "m", "input": ["cat", "kitten"]}, "/api/embed"),
        (embeddings.Ollama(), {"model": "m", "prompt": "cat"}, "/api/embeddings"),
        (embeddings.Gemini(), {"content": {"parts": [{"text": "cat"}]}}, "/v1beta/models/m:embedContent"),
        (
            embeddings.Gemini(),
            {"requests": [{"content": {"parts": [{"text": text}]}} for text in VECTORS]},
            "/v1beta/models/m:batchEmbedContents",
        ),
    ],
)
def test_the_vectors_that_are_written_are_read_back(api: Any, body: Any, path: str) -> None:
    request = HttpRequest("POST", f"https://example.com{path}", {}, json.dumps(body).encode())
    asked = read(request, api)

    assert api.read_vectors(embed(asked, api, double())) == [VECTORS[text] for text in asked.texts]


def test_openais_vectors_come_in_the_order_of_the_texts() -> None:
    data = [{"object": "embedding", "index": index, "embedding": [index, 0.5]} for index in (2, 0, 1)]

    assert embeddings.OpenAI().read_vectors(json_answer({"data": data})) == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]


@pytest.mark.parametrize("api", [embeddings.OpenAI(), embeddings.Gemini(), embeddings.Ollama()])
def test_an_error_is_a_step_that_fails(api: Any) -> None:
    answer = json_answer(api.error(429, "Slow down."), 429, {"retry-after": "7"})

    assert api.read_vectors(answer) == Fail(429, 7, "Slow down.")


@pytest.mark.parametrize(
    ("api", "body", "text"),
    [
        (embeddings.OpenAI(), {}, "`data` is a list of embeddings; got nothing"),
        (embeddings.OpenAI(), {"data": [{}]}, "`embedding` is a list of numbers; got NoneType None"),
        (
            embeddings.OpenAI(),
            {"data": [{"embedding": "AAAA="}]},
            "`embedding` is a list of numbers, or floats of four bytes in base64; got str 'AAAA='",
        ),
        (
            embeddings.OpenAI(),
            {"data": [{"embedding": "AAAA"}]},
            "`embedding` is a list of numbers, or floats of four bytes in base64; got str 'AAAA'",
        ),
        (embeddings.OpenAI(), {"data": [{"embedding": [1, True]}]}, "`embedding[1]` is a finite number; got bool True"),
        (embeddings.Gemini(), {}, "`embeddings` is a list of embeddings; got nothing"),
        (embeddings.Gemini(), {"embedding": {}}, "`values` is a list of numbers; got NoneType None"),
        (embeddings.Ollama(), {"embeddings": [[float("inf")]]}, "`embeddings[0]` is a finite number; got float inf"),
        (embeddings.Ollama(), {"embedding": "a"}, "`embedding` is a list of numbers; got str 'a'"),
    ],
)
def test_an_answer_without_vectors_is_told_with_words(api: Any, body: Any, text: str) -> None:
    with pytest.raises(BadBody) as raised:
        api.read_vectors(json_answer(body))

    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("body", "got"),
    [
        (b"", "got an empty body"),
        (b"<html>", "got '<html>', which is no JSON: Expecting value, character 1"),
        (b"[" * 100_000, "got JSON that is nested too deeply"),
    ],
)
def test_bytes_that_are_no_answer_are_told_with_words(body: bytes, got: str) -> None:
    with pytest.raises(BadBody) as raised:
        embeddings.OpenAI().read_vectors(HttpAnswer(200, {}, body))

    assert str(raised.value) == f"the body is an answer with embeddings; {got}"
