"""`scripted_server`: clients of other processes, in whatever language, are answered from a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import httpx2
import openai
import pytest
from langchain_openai import ChatOpenAI

from llmtest import Script, ScriptedEmbeddings, fail, give, hold, ledger, on, respond, say
from llmtest.errors import ScriptError, ViolationError, expect_violation
from llmtest.wire.serving import ScriptedServer, scripted_server
from tests.support.raw_http import CLOSE, chat, connected, request, sent, until

pytestmark = pytest.mark.usefixtures("clients_left_open")

HI: Any = [{"role": "user", "content": "hi"}]


def client(server: ScriptedServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url(), api_key=server.token)


def ask(server: ScriptedServer, text: str = "hi", **more: Any) -> str:
    """Ask with the SDK of OpenAI, and return the answer."""
    messages: Any = [{"role": "user", "content": text}]
    answer = client(server).chat.completions.create(**{"model": "gpt-5", "messages": messages, **more})
    return str(answer.choices[0].message.content)


def post(server: ScriptedServer, path: str, body: bytes, *headers: str) -> tuple[int, Any]:
    """Send one request over a raw socket, with the token; return its status and its JSON."""
    said = sent(server.port, request(path, body, CLOSE, f"Authorization: Bearer {server.token}", *headers))
    head, _, text = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(text)


def python(code: str, server: ScriptedServer) -> str:
    """The output of a Python program in a process of its own, which finds the server by its environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COVERAGE_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **server.env}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- other processes


def test_programs_in_other_processes_find_the_server_by_their_environment(scripted_server):
    server = scripted_server({
        "openai:gpt-5": [say("It is ", "sunny."), "chat"],
        "anthropic:claude-x": "Bonjour",
    })  # fmt: skip

    out = python(
        """
import anthropic, openai
from langchain_openai import ChatOpenAI
hi = [{"role": "user", "content": "hi"}]
stream = openai.OpenAI().chat.completions.create(model="gpt-5", messages=hi, stream=True)
print([chunk.choices[0].delta.content for chunk in stream])
print(ChatOpenAI(model="gpt-5").invoke("hi").text)
print(anthropic.Anthropic().messages.create(model="claude-x", max_tokens=9, messages=hi).content[0].text)
""",
        server,
    )

    assert out == "['', 'It is ', 'sunny.', None]\nchat\nBonjour\n"
    assert [(entry.path, entry.provider, entry.model, entry.status) for entry in server.requests] == [
        ("/v1/chat/completions", "openai", "gpt-5", 200),
        ("/v1/chat/completions", "openai", "gpt-5", 200),
        ("/v1/messages", "anthropic", "claude-x", 200),
    ]


def test_clients_of_gemini_and_ollama_find_it_too(scripted_server):
    server = scripted_server({
        "google_genai:gemini-2.5-flash": "Hallo", "ollama:llama3": "Hola", "ollama:nomic": ScriptedEmbeddings(size=2),
    })  # fmt: skip

    out = python(
        """
import ollama
from google import genai
client = genai.Client()
print(client.models.generate_content(model="gemini-2.5-flash", contents="hi").text)
print(ollama.chat("llama3", [{"role": "user", "content": "hi"}]).message.content)
print(len(ollama.embed("nomic", "hi").embeddings[0]))
print([model.model for model in ollama.list().models])
""",
        server,
    )

    assert out == "Hallo\nHola\n2\n['llama3', 'nomic']\n"
    assert [entry.path for entry in server.requests][1:] == ["/api/chat", "/api/embed", "/api/tags"]


def test_the_environment_has_the_key_and_the_url_of_every_provider() -> None:
    with scripted_server(Script("x").optional(), token="t") as server:
        env, url = server.env, server.url

    shown = {key: value.replace(url, "URL") for key, value in env.items()}
    assert {key: value for key, value in shown.items() if value.startswith("URL")} == {
        "OPENAI_BASE_URL": "URL/v1",
        "OPENAI_API_BASE": "URL/v1",
        "DEEPSEEK_API_BASE": "URL/deepseek/v1",
        "GROQ_API_BASE": "URL/groq",
        "ANTHROPIC_BASE_URL": "URL",
        "ANTHROPIC_API_URL": "URL",
        "GOOGLE_GEMINI_BASE_URL": "URL",
        "GOOGLE_VERTEX_BASE_URL": "URL/google_vertexai",
        "OLLAMA_HOST": "URL/t",
        "AZURE_OPENAI_ENDPOINT": "URL/azure_openai",
        "GROQ_BASE_URL": "URL/groq",
        "MISTRAL_BASE_URL": "URL/mistralai/v1",
    }  # fmt: skip
    assert {env[key] for key in env if key.endswith(("_KEY", "_TOKEN"))} == {"t"}


def test_a_provider_without_a_variable_has_a_base_url() -> None:
    with scripted_server({"openrouter:x/y": "hi"}) as server:
        answer = openai.OpenAI(base_url=server.base_url("openrouter"), api_key=server.token).chat.completions.create(
            model="x/y", messages=HI
        )

    assert answer.choices[0].message.content == "hi"
    assert str(server.requests) == "1  POST /v1/chat/completions  openrouter:x/y  200  human 'hi'  -> say('hi')"


def test_a_misspelt_provider_is_told() -> None:
    with scripted_server(Script("x").optional()) as server, pytest.raises(ScriptError) as caught:
        server.base_url("opnai")

    assert str(caught.value) == "there is no provider 'opnai'; did you mean `openai`?"


def test_two_servers_at_once_do_not_mix() -> None:
    with scripted_server("one") as first, scripted_server("two") as second:
        assert (ask(second), ask(first)) == ("two", "one")
        with expect_violation("wrong key"), pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=first.base_url(), api_key=second.token).chat.completions.create(model="gpt-5", messages=HI)

    assert [len(first.requests), len(second.requests)] == [2, 1]


def test_the_guard_lets_requests_to_the_server_through(scripted_providers, scripted_server):
    scripted_providers({"openai:gpt-5": "from the mapping"})
    server = scripted_server("from the server")

    with httpx2.Client() as http:  # LangChain would keep one of its own for good, with its connection to the server
        model = ChatOpenAI(model="gpt-5", base_url=server.base_url(), api_key=server.token, http_client=http)
        assert model.invoke("hi").text == "from the server"
    assert ChatOpenAI(model="gpt-5").invoke("hi").text == "from the mapping"


def test_lists_of_models_have_what_is_mapped() -> None:
    mapping = {"openai:gpt-5": Script("x").optional(), "ollama:*": Script("y").optional()}

    with scripted_server(mapping) as server:
        assert [model.id for model in client(server).models.list()] == ["gpt-5"]
        assert client(server).models.retrieve("gpt-5").id == "gpt-5"
        with pytest.raises(openai.NotFoundError):
            client(server).models.retrieve("gpt-4")
        assert post(server, "/ollama/api/show", b'{"model": "llama3"}')[0] == 200  # the mapping has it with *
        assert post(server, "/ollama/api/show", b"no JSON")[0] == 404
        server.verify()


def test_it_says_what_it_is() -> None:
    with scripted_server(Script("x").optional()) as server:
        assert repr(server) == f"<scripted server at {server.url}: <journal: 0 requests>>"


# -- what the script sees


def test_keys_and_expectations_see_the_requests() -> None:
    with scripted_server(on(contains="weather") >> "Sunny.", say("A", "da.").expects(contains="name")) as server:
        assert (ask(server, "your name?"), ask(server, "the weather?")) == ("Ada.", "Sunny.")

    assert [(entry.request.text, str(entry.step)) for entry in server.requests if entry.request] == [
        ("your name?", "say('A', 'da.').expects(contains=['name'])"),
        ("the weather?", "say('Sunny', '.')"),
    ]


@pytest.mark.parametrize(("streams", "end"), [(False, b"}}}"), (True, b"data: [DONE]")])
def test_a_client_that_has_its_answer_finds_it_in_the_journal(streams: bool, end: bytes) -> None:
    with scripted_server(say("It is ", "sunny.").repeat()) as server:
        for _ in range(50):
            with connected(server.port) as plug:
                plug.sendall(request("/v1/chat/completions", chat(stream=streams), f"Authorization: Bearer {server.token}"))
                until(plug, end)
                assert server.requests[-1].ending == "answered"


def test_an_unexpected_prompt_is_a_violation_and_an_error_of_the_provider() -> None:
    with scripted_server(say("Sunny.").expects(contains="weather")) as server:
        with expect_violation("unexpected prompt") as caught, pytest.raises(openai.BadRequestError) as told:
            ask(server, "your name?")
        assert ask(server, "the weather?") == "Sunny."

    assert "step 1 expects another prompt than model call 1 has" in caught[0].text
    assert "llmtest: step 1 expects another prompt" in str(told.value)


@pytest.mark.parametrize("key", [{"node": "planner"}, {"tag": "a"}, {"metadata": {"a": 1}}, {"thread": "1"}])
def test_a_key_that_only_langchain_has_is_refused_at_once(key: dict[str, Any]) -> None:
    with pytest.raises(ScriptError) as caught:
        scripted_server(on(**key) >> "x")

    (name,) = key
    assert str(caught.value) == (
        f"{on(**key)} matches no request over HTTP: `{name}=` is about a run of LangChain, which the server does not see\n"
        "  keys that match here: contains=, tools=, tool_result=, last="
    )


def test_a_step_that_gives_a_value_is_refused_at_once() -> None:
    with pytest.raises(ScriptError, match=r"a model cannot give values"):
        scripted_server(give(["document"]))


def test_a_model_that_is_mapped_twice_is_refused_at_once() -> None:
    with pytest.raises(ScriptError, match=r"^the model `openai:gpt-5` is mapped twice: as `gpt-5` and as `openai:gpt-5`$"):
        scripted_server({"gpt-5": Script("x").optional(), "openai:gpt-5": Script("y").optional()})


def test_a_function_sees_the_request_and_may_be_async() -> None:
    async def answer(asked: Any) -> str:
        return f"{asked.text} {sorted(asked.tools)} {asked.params['temperature']}"

    tools: Any = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]

    with scripted_server(respond(answer)) as server:
        assert ask(server, tools=tools, temperature=0.5) == "hi ['search'] 0.5"


def test_a_function_that_raises_is_a_violation_and_the_server_goes_on() -> None:
    def wrong(asked: Any) -> str:
        raise LookupError("no idea")

    with scripted_server(respond(wrong), "fine") as server:
        with expect_violation("failed respond") as caught, pytest.raises(openai.InternalServerError):
            ask(server)
        assert ask(server) == "fine"

    assert caught[0].text.startswith("respond(wrong) raised LookupError: no idea\n  server   scripted_server(...) at ")


def test_a_failed_assertion_of_a_function_is_one_violation() -> None:
    def check(asked: Any) -> str:
        assert asked.text == "bye"
        return "fine"

    with scripted_server(respond(check)) as server:
        with expect_violation("failed respond"), pytest.raises(openai.InternalServerError):
            ask(server)
        server.verify()


def test_verify_tells_what_went_wrong_and_what_was_never_asked_for() -> None:
    with ledger.opened(ledger.Outside()), scripted_server("a", "b", say("c").optional()) as server:
        ask(server)
        assert post(server, "/v1/nowhere", b"{}")[0] == 404

    with pytest.raises(ViolationError) as caught:
        server.verify()
    assert [violation.code for violation in caught.value.violations] == ["unknown endpoint", "unused step"]


# -- faults on the wire


def test_an_http_error_has_its_status_and_its_headers() -> None:
    with scripted_server(fail(429, retry_after=7), "fine") as server:
        with pytest.raises(openai.RateLimitError) as caught:
            client(server).with_options(max_retries=0).chat.completions.create(model="gpt-5", messages=HI)
        assert ask(server) == "fine"

    assert caught.value.response.headers["retry-after"] == "7"
    assert [entry.status for entry in server.requests] == [429, 200]


def test_a_connection_error_resets_the_connection_and_the_client_tries_again() -> None:
    with scripted_server(fail(ConnectionError), "fine") as server:
        assert ask(server) == "fine"

    assert [(entry.status, entry.ending) for entry in server.requests] == [(None, "reset"), (200, "answered")]


def test_a_timeout_stalls_until_the_client_gives_up() -> None:
    with scripted_server(fail(TimeoutError), "fine") as server:
        impatient = client(server).with_options(timeout=0.2, max_retries=0)
        with pytest.raises(openai.APITimeoutError):
            impatient.chat.completions.create(model="gpt-5", messages=HI)
        assert ask(server) == "fine"

    assert [entry.ending for entry in server.requests] == ["stalled until the client left", "answered"]


def test_a_stream_breaks_after_its_tokens() -> None:
    with scripted_server(say("It ", "is ").then_fail(ConnectionError)) as server:
        tokens: list[str | None] = []
        with pytest.raises(openai.APIConnectionError) as caught:
            tokens.extend(
                chunk.choices[0].delta.content
                for chunk in client(server).chat.completions.create(model="gpt-5", messages=HI, stream=True)
            )

    assert tokens == ["", "It ", "is "]
    assert type(caught.value.__cause__).__name__ == "ReadError"
    assert [entry.ending for entry in server.requests] == ["reset"]


def test_a_truncated_stream_ends_without_a_reason() -> None:
    with scripted_server(say("It ", "is ").then_truncate()) as server:
        chunks = list(client(server).chat.completions.create(model="gpt-5", messages=HI, stream=True))

    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None]


def test_a_value_error_is_a_broken_event() -> None:
    with scripted_server(say("It ", "is ").then_fail(ValueError)) as server:
        tokens: list[str | None] = []
        with pytest.raises(json.JSONDecodeError):
            tokens.extend(
                chunk.choices[0].delta.content
                for chunk in client(server).chat.completions.create(model="gpt-5", messages=HI, stream=True)
            )

    assert tokens == ["", "It ", "is "]
    assert [entry.ending for entry in server.requests] == ["broken JSON"]


def test_a_gate_stalls_a_stream() -> None:
    gate = hold()

    with scripted_server(say("It is ", gate, "sunny.")) as server:
        stream = iter(client(server).chat.completions.create(model="gpt-5", messages=HI, stream=True))
        first = [next(stream).choices[0].delta.content for _ in range(2)]
        gate.wait()
        assert server.requests[0].ending == "open"
        gate.release()

        assert first == ["", "It is "]
        assert [chunk.choices[0].delta.content for chunk in stream] == ["sunny.", None]


def test_a_client_that_leaves_ends_the_stream_and_leaves_nothing_open() -> None:
    gate, ended = hold(), threading.Event()

    with scripted_server(say("It is ", gate, "sunny."), "fine") as server:
        server.on_end = lambda entry: ended.set()
        with client(server).chat.completions.create(model="gpt-5", messages=HI, stream=True) as stream:
            next(iter(stream))
            gate.wait()
        assert ended.wait(10)
        gate.release()
        assert ask(server) == "fine"

    assert [entry.ending for entry in server.requests] == ["the client left", "answered"]


def test_latency_passes_for_real_only_if_it_is_asked_for() -> None:
    slow = say("It is ", "sunny.", ttft_s=0.1, tokens_per_s=20)

    def took(server: ScriptedServer, streams: bool) -> float:
        began = time.perf_counter()
        answer = client(server).chat.completions.create(model="gpt-5", messages=HI, stream=streams)
        assert not streams or len(list(answer)) == 4  # type: ignore[call-overload]
        return time.perf_counter() - began

    with scripted_server(slow.times(2), fail(503), real_time=True) as server:
        assert took(server, streams=True) >= 0.15
        assert took(server, streams=False) >= 0.15
        with pytest.raises(openai.InternalServerError):
            client(server).with_options(max_retries=0).chat.completions.create(model="gpt-5", messages=HI)
    with scripted_server(say("It is ", "sunny.", ttft_s=100).times(2)) as server:
        assert max(took(server, streams=True), took(server, streams=False)) < 50


# -- bad requests


@pytest.mark.parametrize(
    ("path", "headers", "code", "status", "shape"),
    [
        ("/v1/nowhere", (), "unknown endpoint", 404, ["error"]),
        ("/v1/nowhere", ("anthropic-version: 2023-06-01",), "unknown endpoint", 404, ["error", "request_id", "type"]),
        ("/v1beta/nowhere", ("x-goog-api-key: x",), "unknown endpoint", 404, ["error"]),
        ("/api/nowhere", (), "unknown endpoint", 404, ["error"]),
        ("/v1/chat/completions", (), "bad request", 400, ["error"]),
        ("/v1/messages", (), "bad request", 400, ["error", "request_id", "type"]),
        ("/api/chat", (), "bad request", 400, ["error"]),
    ],
)
def test_a_bad_request_is_an_error_of_its_provider_and_a_violation(
    path: str, headers: tuple[str, ...], code: str, status: int, shape: list[str]
) -> None:
    with scripted_server("fine") as server:
        with expect_violation(code) as caught:
            got, body = post(server, path, b"no json", *headers)
        assert ask(server) == "fine"

    assert (got, sorted(body)) == (status, shape)
    assert f"  request  POST {path}" in caught[0].text.splitlines()
    assert "no JSON" in str(body) or "llmtest: " in str(body)
    assert (server.requests[0].status, server.requests[0].ending) == (status, "answered")


def test_a_model_that_is_not_mapped_is_not_found() -> None:
    mapping = {"openai:gpt-5": Script("x").optional(), "anthropic:*": Script("y").optional()}

    with (
        scripted_server(mapping) as server,
        expect_violation("unmapped model") as caught,
        pytest.raises(openai.NotFoundError),
    ):
        ask(server, model="gpt-5-mini")

    lines = caught[0].text.splitlines()
    assert lines[0] == "a request asks for the model `openai:gpt-5-mini`, which is mapped to no script"
    assert lines[1].startswith("  server   scripted_server(...) at ")
    assert lines[2:] == [
        "  request  POST /v1/chat/completions",
        "  mapped   `openai:gpt-5`, `anthropic:*`",
        "  did you mean `openai:gpt-5`?",
        '  map it: scripted_server({"openai:gpt-5-mini": [...]})',
    ]


def test_a_model_that_two_entries_fit_is_ambiguous() -> None:
    mapping = {"openai:*": Script("x").optional(), "*:gpt-5": Script("y").optional()}

    with (
        scripted_server(mapping) as server,
        expect_violation("ambiguous match") as caught,
        pytest.raises(openai.NotFoundError),
    ):
        ask(server)

    assert "  fits     `openai:*`, `*:gpt-5`" in caught[0].text.splitlines()


def test_embeddings_are_no_model_and_a_model_has_no_embeddings() -> None:
    mapping = {"openai:e": ScriptedEmbeddings(size=3), "openai:gpt-5": Script("x").optional()}

    with scripted_server(mapping) as server:
        assert len(client(server).embeddings.create(model="e", input="hi").data[0].embedding) == 3
        with expect_violation("unmapped model"), pytest.raises(openai.NotFoundError):
            ask(server, model="e")
        with expect_violation("unmapped model"), pytest.raises(openai.NotFoundError):
            client(server).embeddings.create(model="gpt-5", input="hi")


@pytest.mark.parametrize("key", ["", "Authorization: Bearer other", "x-api-key: other"])
def test_a_request_without_the_token_is_refused(key: str) -> None:
    with scripted_server("fine") as server:
        with expect_violation("wrong key") as caught:
            said = sent(server.port, request("/v1/chat/completions", chat(), CLOSE, *filter(None, [key])))
        assert ask(server) == "fine"

    assert said.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b'"code": "invalid_api_key"' in said
    assert server.token not in caught[0].text


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/v1/chat/completions", "Authorization: Bearer {}"),
        ("/v1/chat/completions", "x-api-key: {}"),
        ("/v1/chat/completions", "x-goog-api-key: {}"),
        ("/v1/chat/completions", "api-key: {}"),
        ("/v1/chat/completions?key={}", ""),
        ("/{}/v1/chat/completions", ""),
        ("/{}/groq/openai/v1/chat/completions", ""),
    ],
)
def test_the_token_is_taken_where_clients_put_their_key(path: str, header: str) -> None:
    with scripted_server("fine") as server:
        headers = [header.format(server.token)] if header else []
        said = sent(server.port, request(path.format(server.token), chat(), CLOSE, *headers))

    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.token not in str(server.requests)


@pytest.mark.parametrize("token", ["a b", "a/b", "?", "ü"])
def test_a_token_that_is_no_part_of_a_url_is_refused(token: str) -> None:
    with pytest.raises(ScriptError) as caught:
        scripted_server(token=token)

    assert str(caught.value) == f"token= is letters, digits and any of - . _ ~, since it is a part of URLs; got {token!r}"


def test_a_token_is_a_whole_part_of_the_path() -> None:
    with scripted_server("fine", token="v") as server:
        assert post(server, "/v1/chat/completions", chat())[0] == 200

    assert server.requests[0].path == "/v1/chat/completions"


def test_anybody_may_ask_if_it_is_up() -> None:
    with scripted_server(Script("x").optional()) as server:
        assert sent(server.port, request("/", b"", CLOSE, method="GET")).endswith(b"\r\n\r\nllmtest\n")
        assert sent(server.port, request("/", b"", CLOSE, method="HEAD")).startswith(b"HTTP/1.1 200 OK\r\n")


def test_bad_http_is_in_the_journal_and_a_violation() -> None:
    with scripted_server("fine", max_body_bytes=1000) as server:
        with expect_violation("bad request", times=2) as caught:
            sent(server.port, b"hello\r\n\r\n")
            said = sent(server.port, request("/v1/chat/completions", b"x" * 1001))
        assert ask(server) == "fine"

    assert b'"type": "invalid_request_error"' in said  # as OpenAI says it
    assert [violation.text.splitlines()[0] for violation in caught] == [
        "the request is no HTTP/1.1: illegal request line",
        "the body of a request has at most 1,000 bytes here; this one has 1,001 or more",
    ]
    assert str(server.requests) == (
        "1  ? ?  400  refused\n"
        "2  POST /v1/chat/completions  413  refused\n"
        "3  POST /v1/chat/completions  openai:gpt-5  200  human 'hi'  -> say('fine')"
    )


def test_bad_http_is_shown_as_soon_as_it_is_refused() -> None:
    shown: list[str] = []
    with scripted_server(Script("x").optional()) as server, expect_violation("bad request"):
        server.on_end = lambda entry: shown.append(str(entry))
        sent(server.port, b"hello\r\n\r\n")

    assert shown == ["1  ? ?  400  refused"]


def test_a_gate_that_is_never_released_cuts_the_stream() -> None:
    gate = hold(timeout_s=0.1)

    with scripted_server(say("It is ", gate, "sunny.")) as server:
        with expect_violation("gate never released"), pytest.raises(openai.APIConnectionError):
            list(client(server).chat.completions.create(model="gpt-5", messages=HI, stream=True))
        server.verify()
