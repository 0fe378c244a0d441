"""What a request gets: the answer of a script, a refusal that says why, or nothing."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from llmtest import ScriptedEmbeddings, say
from llmtest.errors import expect_violation
from llmtest.wire import boundary
from llmtest.wire.boundary import Client
from llmtest.wire.exchange import HttpRequest
from llmtest.wire.guard import guarding
from llmtest.wire.hosts import recognize
from llmtest.wire.providers import Providers

MESSAGE: Any = {"role": "user", "content": "hi"}
CHAT = "https://api.openai.com/v1/chat/completions"
AZURE = "https://x.openai.azure.com/openai/deployments/my-gpt/chat/completions"
NEVER = say("never").optional()


def test_a_body_that_is_not_the_apis_is_refused_and_told() -> None:
    with Providers({"gpt-5": NEVER}), expect_violation("bad request") as caught:
        answer = httpx.post(CHAT, content=b"{not json")

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("llmtest: a request to `openai` cannot be read\n  the body")
    first, second, last = caught[0].text.splitlines()
    assert (first, last) == ("a request to `openai` cannot be read", f"  url      {CHAT}")
    assert second.startswith("  the body of a request is a JSON object; got b'{not json'")


def test_a_script_is_not_asked_for_embeddings() -> None:
    with Providers({"gpt-5": NEVER}), expect_violation("unmapped model") as caught, pytest.raises(openai.BadRequestError):
        openai.OpenAI(max_retries=0).embeddings.create(model="gpt-5", input="hi")

    assert caught[0].text == (
        "the program asks `openai:gpt-5` for embeddings, but `gpt-5` is mapped to a script, which answers in words\n"
        '  map it to embeddings: scripted_providers({"gpt-5": ScriptedEmbeddings()})'
    )


def test_embeddings_are_not_asked_for_words() -> None:
    embeddings = {"gpt-5": ScriptedEmbeddings()}

    with Providers(embeddings), expect_violation("unmapped model") as caught, pytest.raises(openai.BadRequestError):
        openai.OpenAI(max_retries=0).chat.completions.create(model="gpt-5", messages=[MESSAGE])

    assert caught[0].text == (
        "the program asks `openai:gpt-5` for an answer in words, but `gpt-5` is mapped to embeddings\n"
        '  map it: scripted_providers({"openai:gpt-5": [...]}), or a line in the ini key llmtest_providers'
    )


def test_embeddings_answer() -> None:
    with Providers({"text-embedding-3-small": ScriptedEmbeddings(size=3)}) as providers:
        made = openai.OpenAI().embeddings.create(model="text-embedding-3-small", input=["a", "b"])

    assert [len(item.embedding) for item in made.data] == [3, 3]
    assert providers.asked == ["openai:text-embedding-3-small"]


def test_a_list_of_models_is_what_is_mapped() -> None:
    with Providers({"gpt-5": NEVER, "openai:gpt-4o": NEVER, "claude-opus-4-7": NEVER, "ollama:llama3.2": NEVER}):
        found = [
            [model.id for model in openai.OpenAI().models.list()],
            [model.id for model in anthropic.Anthropic().models.list()],
            [model.model for model in ollama.list().models],
        ]

    assert found == [["gpt-5", "gpt-4o"], ["claude-opus-4-7"], ["llama3.2"]]


def test_a_list_of_models_that_nothing_maps_does_not_get_out() -> None:
    with Providers({"openai:*": NEVER}), expect_violation("real model call"), pytest.raises(openai.APIConnectionError):
        openai.OpenAI(max_retries=0).models.list()


@pytest.mark.parametrize("key", ["azure_openai:my-gpt", "azure_openai:gpt-5", "azure_openai:*"])
def test_a_deployment_is_found_by_the_name_in_the_path_and_by_that_in_the_body(key: str) -> None:
    with Providers({key: "Hello"}):
        answer = httpx.post(AZURE, json={"model": "gpt-5", "messages": [MESSAGE]})

    assert answer.json()["choices"][0]["message"]["content"] == "Hello"


def test_a_name_that_does_not_tell_its_provider_is_a_model_of_any() -> None:
    with Providers({"llama3.2": "Hello", "o4-mini": "Bye"}) as providers:
        said = [
            ollama.chat("llama3.2", [MESSAGE]).message.content,
            openai.OpenAI().chat.completions.create(model="o4-mini", messages=[MESSAGE]).choices[0].message.content,
        ]

    assert said == ["Hello", "Bye"]
    assert providers.asked == ["ollama:llama3.2", "openai:o4-mini"]


def test_a_client_whose_network_is_replaced_is_answered_or_left_alone() -> None:
    target = recognize("POST", CHAT)
    assert target is not None
    mapped, other = (HttpRequest("POST", CHAT, {}, b'{"model": "%s", "messages": []}' % name) for name in (b"gpt-5", b"gpt-4"))

    with Providers({"gpt-5": "Hello"}):
        answers = [boundary.answer(target, request, lambda: Client(is_intercepted=True)) for request in (mapped, other)]

    assert [answer and answer.status for answer in answers] == [200, None]


def test_without_a_mapping_or_a_guard_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary.guard, "is_on", lambda: False)

    assert boundary.target_of("POST", CHAT) is None


def test_a_request_for_vectors_of_another_length_is_refused_and_told() -> None:
    with Providers({"openai:emb": ScriptedEmbeddings(size=4)}):
        client = openai.OpenAI(max_retries=0)
        with expect_violation("bad request") as caught, pytest.raises(openai.BadRequestError, match="vectors of length 9"):
            client.embeddings.create(model="emb", input="hi", dimensions=9)
    assert "vectors of length 4" in caught[0].text


@pytest.mark.parametrize("body", [b"{", b"[1]", b"{}"])
def test_a_stopped_request_whose_model_cannot_be_read_names_the_provider(body: bytes) -> None:
    with guarding("error"), expect_violation("real model call") as caught, pytest.raises(httpx.ConnectError):
        httpx.post(CHAT, content=body)
    assert caught[0].text.startswith("a request to `openai` was about to leave the machine")
