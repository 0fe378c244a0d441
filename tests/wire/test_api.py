"""What every API shares: a request for more than a step says is answered with words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import google.genai as genai
import google.genai.types as types
import ollama
import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI, OpenAI

from llmtest import say
from llmtest.errors import expect_violation
from llmtest.langchain.providers import scripted_providers
from llmtest.wire import scripted_server

pytestmark = pytest.mark.usefixtures("clients_left_open")
MESSAGES: Any = [{"role": "user", "content": "hi"}]
LOGPROBS: dict[str, Any] = {"content": [{"token": "Hello", "bytes": None, "logprob": -0.25, "top_logprobs": []}], "refusal": None}


def ask_gemini(model: str, **config: Any) -> object:
    with genai.Client() as client:
        return client.models.generate_content(model=model, contents="hi", config=types.GenerateContentConfig(**config))


SEVERAL: dict[str, Callable[[], object]] = {
    "n": lambda: ChatOpenAI(model="m", n=2, max_retries=0).generate([[HumanMessage("hi")]]),
    "n of a text model": lambda: OpenAI(model="m", n=2, max_retries=0).invoke("hi"),
    "n of an SDK": lambda: openai.OpenAI(max_retries=0).chat.completions.create(model="m", messages=MESSAGES, n=3),
    "candidateCount": lambda: ask_gemini("m", candidate_count=2),
    "n of ChatGoogleGenerativeAI": lambda: ChatGoogleGenerativeAI(model="m", n=2, max_retries=1).invoke("hi"),
}
UNSAID: dict[str, Callable[[], object]] = {
    "ChatOpenAI": lambda: ChatOpenAI(model="m", logprobs=True, max_retries=0).invoke("hi"),
    "ChatOpenAI, streamed": lambda: list(ChatOpenAI(model="m", max_retries=0).bind(logprobs=True).stream("hi")),
    "OpenAI": lambda: OpenAI(model="m", logprobs=0, max_retries=0).invoke("hi"),
    "Responses": lambda: openai.OpenAI(max_retries=0).responses.create(
        model="m", input="hi", include=["message.output_text.logprobs"]
    ),
    "Gemini": lambda: ask_gemini("m", response_logprobs=True),
    "Ollama": lambda: ollama.Client().chat("m", MESSAGES, logprobs=True),
}


@pytest.mark.parametrize("way", SEVERAL)
def test_several_answers_at_once_are_a_violation(way: str) -> None:
    refused = pytest.raises(Exception, match="is 1, since a step of a script says one answer")
    with scripted_providers({"*": say("never").optional()}), expect_violation("bad request") as caught, refused:
        SEVERAL[way]()

    name = "candidateCount" if "Google" in way or way == "candidateCount" else "n"
    number = 3 if "SDK" in way else 2
    assert caught[0].text.splitlines()[1:3] == [
        f"  `{name}` is 1, since a step of a script says one answer; got {number}",
        "  ask for each answer with a call of its own: model.batch([prompt, prompt])",
    ]


def test_one_answer_may_be_asked_for_by_number() -> None:
    with scripted_providers({"openai:m": "Hello"}):
        assert ChatOpenAI(model="m", n=1).invoke("hi").content == "Hello"


@pytest.mark.parametrize("way", UNSAID)
def test_log_probabilities_that_the_script_does_not_say_are_a_violation(way: str) -> None:
    refused = pytest.raises(Exception, match="the program asks for log probabilities, and say")
    with scripted_providers({"*": "Hello"}), expect_violation("script error") as caught, refused:
        UNSAID[way]()

    name = "logprobs_result" if way == "Gemini" else "logprobs"
    first, second = caught[0].text.splitlines()
    assert first.startswith("the program asks for log probabilities, and say('Hello') at ")
    assert first.endswith(" has none")
    assert second == f"  say them as the API does: response_metadata={{'{name}': ...}}"


@pytest.mark.parametrize("token", ["content", '"content"', "delta", "{"])
def test_a_token_may_be_a_word_of_the_format(token: str) -> None:
    with scripted_providers({"openai:m": say(token, "b")}):
        said = [chunk.text for chunk in ChatOpenAI(model="m").stream("hi") if chunk.text]

    assert said == [token, "b"]


def test_log_probabilities_of_the_script_are_those_of_the_answer() -> None:
    step = say("Hello", response_metadata={"logprobs": LOGPROBS})
    with scripted_providers({"openai:m": [step, step]}):
        model = ChatOpenAI(model="m", logprobs=True)
        whole = model.invoke("hi")
        chunks = list(model.stream("hi"))

    assert whole.response_metadata["logprobs"] == LOGPROBS
    assert [chunk.response_metadata["logprobs"] for chunk in chunks if "logprobs" in chunk.response_metadata] == [LOGPROBS]


def test_log_probabilities_of_other_apis_are_those_of_the_script() -> None:
    tokens = LOGPROBS["content"]
    text = {"tokens": ["Hello"], "token_logprobs": [-0.25], "top_logprobs": None, "text_offset": [0]}
    of_gemini = {"chosenCandidates": [{"token": "Hello", "logProbability": -0.25}]}
    with scripted_providers(
        {
            "openai:text": say("Hello", response_metadata={"logprobs": text}),
            "openai:gpt": say("Hello", response_metadata={"logprobs": tokens}),
            "google_genai:g": say("Hello", response_metadata={"logprobs_result": of_gemini}),
            "ollama:o": say("Hello", response_metadata={"logprobs": tokens}),
        }
    ):
        told = OpenAI(model="text", logprobs=0).generate(["hi"]).generations[0][0].generation_info
        response: Any = openai.OpenAI().responses.create(model="gpt", input="hi", include=["message.output_text.logprobs"])
        gemini: Any = ask_gemini("g", response_logprobs=True)
        local: Any = ollama.Client().chat("o", MESSAGES, logprobs=True)

    assert told == {"finish_reason": "stop", "logprobs": text}
    assert response.output[0].content[0].logprobs[0].logprob == -0.25
    assert gemini.candidates[0].logprobs_result.chosen_candidates[0].log_probability == -0.25
    assert local.logprobs[0].logprob == -0.25


def test_several_answers_are_refused_over_the_socket_too() -> None:
    with expect_violation("bad request") as caught, scripted_server(say("never").optional()) as server:
        client = openai.OpenAI(base_url=server.base_url(), api_key=server.token, max_retries=0)
        with pytest.raises(openai.BadRequestError, match="a step of a script says one answer"):
            client.chat.completions.create(model="m", messages=MESSAGES, n=2)

    assert caught[0].text.startswith("a request cannot be read: `n` is 1, since a step of a script says one answer; got 2\n")
