"""Embeddings as OpenAI, Gemini and Ollama send them, of the vectors that a double has.

OpenAI's API takes token ids too, and LangChain's `OpenAIEmbeddings` sends them unless it has
`check_embedding_ctx_length=False`. They become text again with the encoding of tiktoken that this process has in memory.
Without it (in another process) they are embedded as a text made of the ids: equal texts still have equal vectors, but
`vectors=` and `texts=` of `ScriptedEmbeddings` do not know them.
"""

from __future__ import annotations

import base64
import binascii
import struct
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from llmtest.core.text import amount
from llmtest.errors import ScriptError, ViolationError
from llmtest.scripts.replies import count_prompt
from llmtest.scripts.step_types import Fail
from llmtest.wire import gemini, ollama, openai
from llmtest.wire.answering import refusal
from llmtest.wire.api import BadBody, Body, Endpoint, item_of, objects, optional_item, refused
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer
from llmtest.wire.providers import Embeddings
from llmtest.wire.reader import json_of, read_failure

Vectors = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class EmbeddingsCall:
    """What a request asks: the vectors of `texts`. `write` puts them into the words of the API."""

    model: str
    texts: tuple[str, ...]
    size: int | None
    write: Callable[[Vectors], dict[str, object]]


class EmbeddingsApi(Endpoint[EmbeddingsCall]):
    """The API of a provider for embeddings."""

    def read_vectors(self, answer: HttpAnswer) -> list[list[float]] | Fail:
        """Return the vectors of a recorded answer, in the order of the texts; a step that fails for a status of 400 or more.

        Raises:
            BadBody: the bytes are no answer of this API.
        """
        if answer.status >= 400:
            failure = read_failure(self, answer).step
            assert isinstance(failure, Fail)
            return failure
        return self._vectors(json_of(answer, "the body is an answer with embeddings"))

    def vectors_of(self, call: EmbeddingsCall, answer: HttpAnswer) -> dict[str, list[float]] | Fail:
        """Return the vector of each text of `call` in its recorded answer; a step that fails for a status of 400 or more.

        Raises:
            BadBody: the bytes are no answer of this API, or it has not one vector for each text.
        """
        vectors = self.read_vectors(answer)
        if isinstance(vectors, Fail):
            return vectors
        if len(vectors) != len(call.texts):
            texts = amount(len(call.texts), "text")
            raise BadBody(f"the answer has a vector for each text; got {amount(len(vectors), 'vector')} of {texts}")
        return dict(zip(call.texts, vectors, strict=True))

    @abstractmethod
    def _vectors(self, body: Body) -> list[list[float]]: ...


def _vector(values: object, name: str) -> list[float]:
    if not isinstance(values, list):
        raise refused(values, name, "a list of numbers")
    return [_number(value, f"{name}[{index}]") for index, value in enumerate(values)]


def _number(value: object, name: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -sys.float_info.max <= value <= sys.float_info.max:
        return float(value)
    raise refused(value, name, "a finite number")


def embed(call: EmbeddingsCall, api: Endpoint[EmbeddingsCall], embedder: Embeddings) -> HttpAnswer:
    """Return the answer of `api` with the vectors of `embedder`; a refusal for texts that it does not take.

    Raises:
        BadBody: the request asks for vectors of another length than `embedder` has.
    """
    try:
        vectors = embedder.embed_documents(list(call.texts))
    except (ViolationError, ScriptError) as error:
        return refusal(api, error)
    if call.size is not None and vectors and len(vectors[0]) != call.size:
        raise BadBody(
            f"the request asks for vectors of length {call.size}, but {embedder!r} has vectors of length {len(vectors[0])}"
        )
    return json_answer(call.write(vectors), headers=api.headers())


class OpenAI(EmbeddingsApi):
    """`POST .../embeddings`, with numbers or in base64."""

    name = "openai"

    def read(self, request: HttpRequest, body: Body) -> EmbeddingsCall:
        model = item_of(body, "model", str, "the name of a model") if "model" in body else ""
        texts = _openai_texts(body.get("input"), model)
        form = optional_item(body, "encoding_format", str, "'float' or 'base64'")
        if form not in (None, "float", "base64"):
            raise BadBody(f"`encoding_format` is 'float' or 'base64'; got {form!r}")

        def write(vectors: Vectors) -> dict[str, object]:
            packed = [_base64(vector) if form == "base64" else list(vector) for vector in vectors]
            data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(packed)]
            tokens = sum(map(count_prompt, texts))
            return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}

        return EmbeddingsCall(model, texts, optional_item(body, "dimensions", int, "a number"), write)

    def _vectors(self, body: Body) -> list[list[float]]:
        item_of(body, "data", list, "a list of embeddings")
        found = objects(body, "data", "a list of embeddings")
        numbers = [optional_item(item, "index", int, "the number of a text") for item in found]
        order = sorted(range(len(found)), key=lambda at: at if (number := numbers[at]) is None else number)
        return [_unpacked(found[at].get("embedding")) for at in order]

    def headers(self, status: int = 200) -> dict[str, str]:
        return openai.headers(status)

    def error(self, status: int, message: str) -> dict[str, object]:
        return openai.error_body(status, message)


def _base64(vector: Sequence[float]) -> str:
    """Return a vector as OpenAI packs it: little-endian floats of four bytes, so with seven digits or so."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _unpacked(embedding: object) -> list[float]:
    """Return the vector that OpenAI sends as numbers, or packed by `_base64`."""
    if not isinstance(embedding, str):
        return _vector(embedding, "embedding")
    try:
        packed = base64.b64decode(embedding, validate=True)
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    except (binascii.Error, ValueError, struct.error):
        raise refused(embedding, "embedding", "a list of numbers, or floats of four bytes in base64") from None


def _openai_texts(given: object, model: str) -> tuple[str, ...]:
    several = [given] if isinstance(given, str) or _are_ids(given) else given
    if isinstance(several, list) and several and all(isinstance(item, str) or _are_ids(item) for item in several):
        return tuple(item if isinstance(item, str) else text_of_ids(item, model) for item in several)
    raise BadBody(f"`input` is a text, a list of texts, or token ids; got {type(given).__name__} {given!r:.100}")


def _are_ids(item: object) -> bool:
    return isinstance(item, list) and bool(item) and all(type(number) is int and number >= 0 for number in item)


def text_of_ids(ids: list[int], model: str) -> str:
    """Return the text of token ids, by the encoding of the model if it is in memory; else a text made of the ids."""
    registry, models = sys.modules.get("tiktoken.registry"), sys.modules.get("tiktoken.model")
    if registry is not None and models is not None:
        try:
            # Only what is there already: tiktoken would download a new encoding.
            encoding = registry.ENCODINGS.get(models.encoding_name_for_model(model))
            if encoding is not None:
                return str(encoding.decode(ids))
        except (KeyError, OverflowError):  # a model that tiktoken does not know, or ids that the encoding does not have
            pass
    return f"tokens {' '.join(map(str, ids))}"


class Gemini(EmbeddingsApi):
    """`POST .../models/{model}:embedContent` and `:batchEmbedContents`."""

    name = "gemini"

    def read(self, request: HttpRequest, body: Body) -> EmbeddingsCall:
        model, _, verb = unquote(request.path).rpartition("/models/")[2].partition(":")
        batch = verb == "batchEmbedContents"
        asked = objects(body, "requests", "a list of requests") if batch else [body]
        texts = tuple(map(_gemini_text, asked))
        sizes = {size for request in asked if (size := _gemini_size(request)) is not None}
        if len(sizes) > 1:
            raise BadBody(f"the requests of a batch ask for vectors of one length; got {sorted(sizes)}")

        def write(vectors: Vectors) -> dict[str, object]:
            values = [{"values": list(vector)} for vector in vectors]
            return {"embeddings": values} if batch else {"embedding": values[0]}

        return EmbeddingsCall(model, texts, next(iter(sizes), None), write)

    def _vectors(self, body: Body) -> list[list[float]]:
        if body.get("embedding") is not None:
            return [_vector(item_of(body, "embedding", dict, "an object with `values`").get("values"), "values")]
        item_of(body, "embeddings", list, "a list of embeddings")
        return [_vector(item.get("values"), "values") for item in objects(body, "embeddings", "a list of embeddings")]

    def error(self, status: int, message: str) -> dict[str, object]:
        return gemini.error_body(status, message)


def _gemini_text(request: Body) -> str:
    content = item_of(request, "content", dict, "a content with `parts`")
    return "\n".join(item_of(part, "text", str, "a text") for part in objects(content, "parts", "a list of parts"))


def _gemini_size(request: Body) -> int | None:
    config = gemini.field(request, "embedContentConfig")
    for place in (request, config if isinstance(config, dict) else {}):
        size = gemini.field(place, "outputDimensionality")
        if size is not None and type(size) is not int:
            raise BadBody(f"`outputDimensionality` is a number; got {type(size).__name__} {size!r:.100}")
        if size is not None:
            return size
    return None


class Ollama(EmbeddingsApi):
    """`POST /api/embed`, and its older form `/api/embeddings` for one text."""

    name = "ollama"

    def read(self, request: HttpRequest, body: Body) -> EmbeddingsCall:
        model = item_of(body, "model", str, "the name of a model")
        single = request.path.endswith("/embeddings")
        given: object = item_of(body, "prompt", str, "a text") if single else body.get("input")
        texts = tuple(given) if isinstance(given, list) else (given,)
        if not all(isinstance(text, str) for text in texts):
            raise BadBody(f"`input` is a text, or a list of texts; got {type(given).__name__} {given!r:.100}")

        def write(vectors: Vectors) -> dict[str, object]:
            if single:
                return {"embedding": list(vectors[0])}
            told = {"total_duration": 0, "load_duration": 0, "prompt_eval_count": sum(map(count_prompt, texts))}
            return {"model": model, "embeddings": [list(vector) for vector in vectors], **told}

        return EmbeddingsCall(model, texts, optional_item(body, "dimensions", int, "a number"), write)

    def _vectors(self, body: Body) -> list[list[float]]:
        if body.get("embedding") is not None:
            return [_vector(body["embedding"], "embedding")]
        return [_vector(item, "embeddings") for item in item_of(body, "embeddings", list, "a list of embeddings")]

    def error(self, status: int, message: str) -> dict[str, object]:
        return ollama.error_body(message)
