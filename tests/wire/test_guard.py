"""Each way to reach a provider is stopped: no host is looked up, the program gets its client's error, the test a violation."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import urllib.request
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import httpcore2
import httpx
import httpx2
import ollama
import openai
import pytest
import requests
import urllib3
import websockets
from google import genai
from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import GenericFakeChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAI, OpenAIEmbeddings
from langsmith import Client

from llmtest import ScriptedChatModel, ledger, record, say
from llmtest.errors import LlmtestWarning
from llmtest.langchain.providers import scripted_providers
from llmtest.tracing import jsonl
from llmtest.tracing.store import Store
from llmtest.trees.parsing import head, parse
from llmtest.wire import allow_real_models, guard, hosts
from llmtest.wire.exchange import HttpAnswer, HttpRequest, json_answer
from llmtest.wire.server import HttpServer
from tests.support.stored import stored

KEY: Any = "sk-not-a-real-key"
OPENAI = "https://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
SCHEMA: Any = {"title": "x", "type": "object", "properties": {}}
OLD_CLIENT = httpx2.Client()
LANGSMITH = Client(api_key=KEY, api_url="https://api.smith.langchain.com", auto_batch_tracing=False)
GEMINI = genai.Client(api_key=KEY)
OLD_SESSION = requests.Session()
OLD_MODEL = ChatOpenAI(model="gpt-5", api_key=KEY, max_retries=0)


def chat(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-5", api_key=KEY, max_retries=0, **fields)


def claude() -> ChatAnthropic:
    return ChatAnthropic(model="claude-opus-4-7", api_key=KEY, max_retries=0)  # type: ignore[call-arg]


class Subclass(ChatOpenAI):
    """A user's own model."""


class OwnTransport(httpx2.HTTPTransport):
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["x-own"] = "1"
        return super().handle_request(request)


class BelowTransport(httpx2.BaseTransport):
    """A transport that knows nothing of httpx's own."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        with httpcore2.ConnectionPool() as pool:
            answer = pool.request(request.method, str(request.url), content=request.read())
        return httpx2.Response(answer.status, content=answer.content)


async def consume(chunks: Any) -> None:
    async for _ in chunks:
        pass


async def with_aiohttp() -> None:
    async with aiohttp.ClientSession() as session:
        await session.post(OPENAI, json=BODY)


async def with_a_websocket() -> None:
    async with websockets.connect("wss://api.openai.com/v1/realtime?model=gpt-realtime"):
        pass


async def with_httpx2() -> None:
    async with httpx2.AsyncClient() as client:
        await client.post(OPENAI, json=BODY)


def with_http_client() -> None:
    http.client.HTTPSConnection("api.openai.com").request("POST", "/v1/chat/completions", b"{}")


def in_a_thread() -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            chat().invoke("hi")
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    raise failed[0]


def in_a_pool() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(chat().invoke, "hi").result()


def through_a_base_url() -> None:
    openai.OpenAI(api_key=KEY, base_url="https://models.internal.example/v1", max_retries=0).chat.completions.create(**BODY)  # type: ignore[call-overload]


WAYS: dict[str, Callable[[], object] | Callable[[], Awaitable[object]]] = {
    "ChatOpenAI.invoke": lambda: chat().invoke("hi"),
    "ChatOpenAI.ainvoke": lambda: chat().ainvoke("hi"),
    "ChatOpenAI.stream": lambda: list(chat().stream("hi")),
    "ChatOpenAI.astream": lambda: consume(chat().astream("hi")),
    "ChatOpenAI.batch": lambda: chat().batch(["hi"]),
    "ChatOpenAI of the Responses API": lambda: chat(use_responses_api=True).invoke("hi"),
    "ChatOpenAI.bind": lambda: chat().bind(stop=["x"]).invoke("hi"),
    "ChatOpenAI.with_structured_output": lambda: chat().with_structured_output(SCHEMA).invoke("hi"),
    "ChatOpenAI with fallbacks": lambda: chat().with_fallbacks([chat()]).invoke("hi"),
    "a ChatOpenAI made at import": lambda: OLD_MODEL.invoke("hi"),
    "a subclass of ChatOpenAI": lambda: Subclass(model="gpt-5", api_key=KEY, max_retries=0).invoke("hi"),
    "an agent": lambda: create_agent(chat(), []).invoke({"messages": [("user", "hi")]}),
    "init_chat_model": lambda: init_chat_model("openai:gpt-5", api_key=KEY, max_retries=0).invoke("hi"),
    "AzureChatOpenAI": lambda: AzureChatOpenAI(
        azure_deployment="d", azure_endpoint="https://x.openai.azure.com", api_version="2024-10-21", api_key=KEY, max_retries=0
    ).invoke("hi"),
    "OpenAI, the text model": lambda: OpenAI(model="gpt-3.5-turbo-instruct", api_key=KEY, max_retries=0).invoke("hi"),
    "OpenAIEmbeddings": lambda: OpenAIEmbeddings(api_key=KEY, max_retries=0, check_embedding_ctx_length=False).embed_query("hi"),
    "ChatAnthropic.invoke": lambda: claude().invoke("hi"),
    "ChatAnthropic.astream": lambda: consume(claude().astream("hi")),
    "ChatGoogleGenerativeAI": lambda: ChatGoogleGenerativeAI(model="gemini-2.5-flash", api_key=KEY, max_retries=1).invoke("hi"),
    "ChatOllama": lambda: ChatOllama(model="qwen3").invoke("hi"),
    "the openai SDK": lambda: openai.OpenAI(api_key=KEY, max_retries=0).chat.completions.create(**BODY),  # type: ignore[call-overload]
    "the openai SDK, responses": lambda: openai.OpenAI(api_key=KEY, max_retries=0).responses.create(model="gpt-5", input="hi"),
    "the openai SDK, async": lambda: openai.AsyncOpenAI(api_key=KEY, max_retries=0).responses.create(model="gpt-5", input="hi"),
    "the openai SDK, a list of models": lambda: openai.OpenAI(api_key=KEY, max_retries=0).models.list(),
    "the openai SDK, an image": lambda: openai.OpenAI(api_key=KEY, max_retries=0).images.generate(prompt="a cat"),
    "the openai SDK, another host": through_a_base_url,
    "the anthropic SDK": lambda: anthropic.Anthropic(api_key=KEY, max_retries=0).messages.create(
        model="claude-opus-4-7", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    ),
    "the google-genai SDK": lambda: GEMINI.models.generate_content(model="gemini-2.5-flash", contents="hi"),
    "the google-genai SDK, async": lambda: GEMINI.aio.models.generate_content(model="gemini-2.5-flash", contents="hi"),
    "the ollama SDK": lambda: ollama.Client().chat("qwen3", [{"role": "user", "content": "hi"}]),
    "httpx": lambda: httpx.post(OPENAI, json=BODY),
    "httpx2, async": with_httpx2,
    "an httpx2 client made at import": lambda: OLD_CLIENT.post(OPENAI, json=BODY),
    "an own transport": lambda: httpx2.Client(transport=OwnTransport()).post(OPENAI, json=BODY),
    "an own transport over httpcore": lambda: httpx2.Client(transport=BelowTransport()).post(OPENAI, json=BODY),
    "requests": lambda: requests.post(OPENAI, json=BODY),
    "a requests session made at import": lambda: OLD_SESSION.post(OPENAI, json=BODY),
    "urllib3": lambda: urllib3.PoolManager().request("POST", OPENAI, json=BODY, retries=False),
    "urllib.request": lambda: urllib.request.urlopen(OPENAI, b"{}"),
    "http.client": with_http_client,
    "aiohttp": with_aiohttp,
    "a websocket": with_a_websocket,
    "a socket": lambda: socket.create_connection(("api.anthropic.com", 443)),
    "a stream of asyncio": lambda: asyncio.open_connection("api.anthropic.com", 443),
    "a thread": in_a_thread,
    "a pool of threads": in_a_pool,
    "LangSmith": lambda: list(LANGSMITH.list_projects()),
}


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that were looked up below the guard: each would be a call that gets out."""
    hosts: list[str] = []

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        hosts.append(str(host))
        raise socket.gaierror(socket.EAI_FAIL, "there is no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return hosts


@pytest.fixture
def page() -> Iterator[ledger.Ledger]:
    """A page of its own, as that of a test."""
    with ledger.opened(ledger.Ledger()) as opened:
        yield opened


def reach(way: Callable[[], Any]) -> None:
    result = way()
    if asyncio.iscoroutine(result):
        asyncio.run(result)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # of google-genai
def test_no_way_leads_out(way: str, page: ledger.Ledger, looked_up: list[str]) -> None:
    with guard.guarding("error"), pytest.raises(Exception) as raised:
        reach(WAYS[way])
    assert not isinstance(raised.value, AssertionError), raised.value
    assert {violation.code for violation in page.violations} == {"real model call"}
    assert len(page.violations) == 1, [violation.text for violation in page.violations]
    assert [host for host in looked_up if host not in ("localhost", "127.0.0.1")] == []


def test_the_text_names_the_model_the_line_the_client_and_the_nearest_entry(page: ledger.Ledger, looked_up: list[str]) -> None:
    with scripted_providers({"openai:gpt-5-mini": "Hello"}) as providers:
        with pytest.raises(openai.APIConnectionError):
            chat(http_client=httpx2.Client()).invoke("hi")
        providers.violations.clear()
        chat().bind(model="gpt-5-mini").invoke("hi")
    (violation,) = page.take()
    lines = violation.text.splitlines()
    assert lines[0] == "a request to the model `openai:gpt-5` was about to leave the machine, and no entry maps it"
    assert lines[1].startswith("  at       tests/wire/test_guard.py:")
    assert lines[2:] == [
        "  url      https://api.openai.com/v1/chat/completions",
        "  mapped   `openai:gpt-5-mini`",
        "  did you mean `openai:gpt-5-mini`?",
        '  map it: scripted_providers({"openai:gpt-5": [...]}), or a line in the ini key llmtest_providers',
        "  a test that needs the real one: @pytest.mark.allow_real_models, or `with allow_real_models():`",
    ]


def test_a_client_that_was_made_elsewhere_is_named(page: ledger.Ledger, looked_up: list[str]) -> None:
    with guard.guarding("error"):
        client = httpx2.Client()
        with pytest.raises(httpx2.ConnectError):
            client.post(OPENAI, json=BODY)
    assert "\n  client   made at tests/wire/test_guard.py:" in page.take()[0].text


def test_a_client_that_another_test_made_is_not_named(page: ledger.Ledger, looked_up: list[str]) -> None:
    with guard.guarding("error"):
        with ledger.opened(ledger.Ledger(test="test_before")):
            client, async_client = httpx2.Client(), httpx2.AsyncClient()  # as an integration makes one and keeps it
        with pytest.raises(httpx2.ConnectError):
            client.post(OPENAI, json=BODY)
        with pytest.raises(httpx2.ConnectError):
            asyncio.run(async_client.post(OPENAI, json=BODY))
    assert ["client   made" in violation.text for violation in page.take()] == [False, False]


def test_an_awaited_model_is_stopped_at_the_line_that_awaits_it(page: ledger.Ledger, looked_up: list[str]) -> None:
    async def program() -> None:
        await chat().ainvoke("hi")

    with guard.guarding("error"), pytest.raises(openai.APIConnectionError):
        asyncio.run(program())
    (violation,) = page.take()
    line = program.__code__.co_firstlineno + 1
    assert violation.text.splitlines()[1] == f"  at       tests/wire/test_guard.py:{line}"


def test_an_endpoint_that_no_script_answers_is_not_to_be_mapped(page: ledger.Ledger, looked_up: list[str]) -> None:
    with scripted_providers({"openai:*": say("never").optional()}), pytest.raises(openai.APIConnectionError):
        openai.OpenAI(max_retries=0).images.generate(model="gpt-image-1", prompt="a cat")
    (violation,) = page.take()
    lines = violation.text.splitlines()
    assert [lines[0], *lines[2:]] == [
        "a request to `openai` was about to leave the machine, and no script can answer it",
        "  url      https://api.openai.com/v1/images/generations",
        "  a script answers requests to chat models, text completions and embeddings, and lists of the mapped models",
        "  a test that needs the real one: @pytest.mark.allow_real_models, or `with allow_real_models():`",
    ]


def test_a_client_that_no_script_answers_is_told_which_ones_are(page: ledger.Ledger, looked_up: list[str]) -> None:
    with scripted_providers({"openai:*": say("never").optional()}), pytest.raises(OSError, match="llmtest"):
        urllib.request.urlopen(OPENAI, b"{}")
    (violation,) = page.take()
    lines = violation.text.splitlines()
    assert [lines[0], *lines[2:]] == [
        "a request to `openai` was about to leave the machine, and no script can answer it",
        "  url      api.openai.com",
        "  a script answers the clients httpx, httpx2, aiohttp, requests and urllib3; this request came from another one",
        "  for others there is a server on this machine: scripted_server(...)",
        "  a test that needs the real one: @pytest.mark.allow_real_models, or `with allow_real_models():`",
    ]


def test_a_request_that_is_tried_again_is_one_violation(page: ledger.Ledger, looked_up: list[str]) -> None:
    with guard.guarding("error"), pytest.raises(openai.APIConnectionError):
        openai.OpenAI(api_key=KEY, max_retries=2).chat.completions.create(**BODY)  # type: ignore[call-overload]
    assert len(page.take()) == 1


def test_a_warning_lets_it_out(page: ledger.Ledger, looked_up: list[str]) -> None:
    with guard.guarding("warn"), pytest.raises(httpx2.ConnectError), pytest.warns(LlmtestWarning, match="openai:gpt-5"):
        OLD_CLIENT.post(OPENAI, json=BODY)
    assert looked_up == ["api.openai.com"]
    assert page.take() == []


def test_an_open_block_lets_it_out_on_every_thread(page: ledger.Ledger, looked_up: list[str]) -> None:
    with guard.guarding("error"):
        with allow_real_models(), pytest.raises(openai.APIConnectionError):
            in_a_thread()
        assert looked_up == ["api.openai.com"]
        assert page.take() == []
        with pytest.raises(openai.APIConnectionError):
            in_a_thread()
    assert looked_up == ["api.openai.com"]
    assert len(page.take()) == 1


def test_a_mapped_model_answers_where_real_ones_are_allowed(page: ledger.Ledger) -> None:
    with allow_real_models(), scripted_providers({"openai:gpt-5": "Hello"}):
        assert chat().invoke("hi").content == "Hello"


@pytest.fixture
def real_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine that is none of ours, as far as the guard knows."""
    message = {"role": "assistant", "content": "Hello"}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "gpt-5"}
    body |= {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    async def answer(request: HttpRequest) -> HttpAnswer:
        return json_answer(body) if "fail" not in request.body.decode() else HttpAnswer(500)

    with HttpServer(answer) as server:
        monkeypatch.setattr(hosts, "own_ports", set())
        yield f"{server.url}/v1"


CALLS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda model: model.invoke("hi"),
    "ainvoke": lambda model: model.ainvoke("hi"),
    "batch": lambda model: model.batch(["hi"]),
    "bind": lambda model: model.bind(stop=["x"]).invoke("hi"),
}


@pytest.mark.parametrize("way", CALLS)
def test_the_run_of_a_real_model_says_so(way: str, page: ledger.Ledger, real_server: str) -> None:
    with guard.guarding("allow"), record() as recording:
        reach(lambda: CALLS[way](chat(base_url=real_server)))

    (run,) = recording.models
    assert run.is_real
    assert str(recording).splitlines()[0].startswith("chat ChatOpenAI (real model) model=gpt-5")
    assert recording.outline().startswith("chat ChatOpenAI (real model)")
    (node,) = parse(str(recording))
    assert (head(node).name, head(node).is_real, head(node).model) == ("ChatOpenAI", True, "gpt-5")
    assert page.take() == []


def test_the_run_of_a_real_model_that_fails_says_so(page: ledger.Ledger, real_server: str) -> None:
    with allow_real_models(), guard.guarding("error"), record() as recording:
        with pytest.raises(openai.InternalServerError):
            chat(base_url=real_server).invoke("fail")
        chat(base_url=real_server).invoke("hi")

    assert [(run.is_real, run.ended) for run in recording.models] == [(True, "error"), (True, "ended")]


def test_what_is_said_of_a_real_model_is_stored(page: ledger.Ledger, real_server: str, tmp_path: Path) -> None:
    with guard.guarding("allow"), record() as recording:
        chat(base_url=real_server).invoke("hi")

    with Store(tmp_path / "here") as here, Store(tmp_path / "there") as there:
        (loaded,) = stored(recording, here)
        jsonl.take_in(there, [jsonl.line(here, trace) for trace in here.traces()], lambda *_: None)
        (imported,) = [there.load(trace) for trace in there.traces()]
    assert str(recording) == str(loaded) == str(imported)
    assert [one.models[0].is_real for one in (loaded, imported)] == [True, True]


def test_only_a_run_whose_request_leaves_the_machine_is_of_a_real_model(page: ledger.Ledger, looked_up: list[str]) -> None:
    mock = httpx2.Client(transport=httpx2.MockTransport(lambda request: httpx2.Response(500)))
    with guard.guarding("error"), scripted_providers({"openai:gpt-5": "Hello"}), record() as recording:
        chat().invoke("hi")
        ScriptedChatModel("Hello").invoke("hi")
        GenericFakeChatModel(messages=iter(["Hello"])).invoke("hi")
        for model in (chat(http_client=mock), ChatOpenAI(model="gpt-6", api_key=KEY, max_retries=0)):
            with pytest.raises(openai.APIError):
                model.invoke("hi")

    assert [run.is_real for run in recording.models] == [False] * 5
    assert "real" not in str(recording)
    assert len(page.take()) == 1


def test_other_hosts_and_who_answers_in_place_of_the_network_are_left_alone(
    page: ledger.Ledger, looked_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with guard.guarding("error"):
        with pytest.raises(httpx2.ConnectError):
            httpx2.get("https://weather.example/paris")
        own = httpx2.Client(transport=httpx2.MockTransport(lambda request: httpx2.Response(204)))
        assert own.post(OPENAI, json=BODY).status_code == 204
    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", lambda self, request: httpx2.Response(205, request=request))
    with guard.guarding("error"):
        assert OLD_CLIENT.post(OPENAI, json=BODY).status_code == 205  # as a cassette or a mock of the library does
    assert looked_up == ["weather.example"]
    assert page.take() == []


def test_without_a_guard_the_clients_are_as_they_were(page: ledger.Ledger) -> None:
    clients = (httpx, "HTTPTransport"), (httpx2, "HTTPTransport"), (httpx2, "AsyncHTTPTransport")
    before = [vars(getattr(library, name)).copy() for library, name in clients]
    looks = socket.getaddrinfo
    with guard.guarding("error"), guard.guarding("warn"):
        assert socket.getaddrinfo is not looks
    assert [vars(getattr(library, name)).copy() for library, name in clients] == before
    assert socket.getaddrinfo is looks
    with warnings.catch_warnings(action="error"):
        assert not guard.is_on()
