"""Real clients whose requests a script answers in the words of an API: through their own HTTP library, without network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import anthropic
import httpx
import httpx2
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

from llmtest import Script
from llmtest.wire.answering import WireModel, read
from llmtest.wire.anthropic import Messages
from llmtest.wire.api import Api
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest, Stream
from llmtest.wire.openai import ChatCompletions
from llmtest.wire.responses import Responses

Answer = Callable[[HttpRequest], HttpAnswer]


class _Body:
    def __init__(self, stream: Stream, request: Any, http: Any) -> None:
        self.stream, self.request, self.http = stream, request, http

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.stream
        except ConnectionBroken as broken:
            raise self.http.ReadError(str(broken), request=self.request) from broken.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self.stream:
                yield piece
        except ConnectionBroken as broken:
            raise self.http.ReadError(str(broken), request=self.request) from broken.error


class _HttpxBody(_Body, httpx.SyncByteStream, httpx.AsyncByteStream): ...


class _Httpx2Body(_Body, httpx2.SyncByteStream, httpx2.AsyncByteStream): ...


class _Transport:
    """Answers every request from `script`, in the words of `api`, or with `answer`. `requests` are those that came."""

    http: ClassVar[Any]
    body: ClassVar[type[_Body]]

    def __init__(self, script: Script | None = None, api: Api | None = None, answer: Answer | None = None) -> None:
        if script is not None and api is not None:
            self.model = WireModel(script, api, api.name)
        self.plain = answer
        self.requests: list[HttpRequest] = []

    def handle_request(self, request: Any) -> Any:
        asked = self._asked(request, request.read())
        try:
            answer = self.plain(asked) if self.plain else self.model.answer(read(asked, self.model.api))
        except ConnectionBroken as broken:
            raise self.http.ConnectError(str(broken), request=request) from broken.error
        return self._response(answer, request)

    async def handle_async_request(self, request: Any) -> Any:
        asked = self._asked(request, await request.aread())
        try:
            answer = self.plain(asked) if self.plain else await self.model.aanswer(read(asked, self.model.api))
        except ConnectionBroken as broken:
            raise self.http.ConnectError(str(broken), request=request) from broken.error
        return self._response(answer, request)

    def _asked(self, request: Any, body: bytes) -> HttpRequest:
        self.requests.append(HttpRequest(request.method, str(request.url), dict(request.headers), body))
        return self.requests[-1]

    def _response(self, answer: HttpAnswer, request: Any) -> Any:
        content: Any = {"content": answer.body}
        if answer.stream is not None:
            content = {"stream": self.body(answer.stream, request, self.http)}
        return self.http.Response(answer.status, headers=answer.headers, request=request, **content)


class ScriptTransport(_Transport, httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """The transport of httpx2, which the SDKs of OpenAI and Anthropic use."""

    http, body = httpx2, _Httpx2Body


class HttpxTransport(_Transport, httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The transport of httpx, which Ollama's client uses; Google's takes either."""

    http, body = httpx, _HttpxBody


def http_clients(transport: ScriptTransport) -> dict[str, Any]:
    """The arguments of `ChatOpenAI` with which its requests go to `transport`."""
    return {
        "http_client": httpx2.Client(transport=transport),
        "http_async_client": httpx2.AsyncClient(transport=transport),
        "api_key": "none",
    }


APIS: dict[str, type[Api]] = {"openai": ChatCompletions, "openai-responses": Responses, "anthropic": Messages}


def chat_model(dialect: str, script: Script, model: str, **fields: Any) -> tuple[Any, ScriptTransport]:
    """Return the real integration before `script`, in the words of this dialect's API, and its transport; it tries once."""
    transport = ScriptTransport(script, APIS[dialect]())
    clients = http_clients(transport)
    if dialect != "anthropic":
        kinds = {"use_responses_api": dialect == "openai-responses", "stream_usage": True}
        return ChatOpenAI(model=model, max_retries=0, **clients, **kinds, **fields), transport
    named: Any = {"model": model, "max_tokens": 2048, "api_key": "none", "max_retries": 0}
    real = ChatAnthropic(**named, **fields)
    key, sync, async_ = clients["api_key"], clients["http_client"], clients["http_async_client"]
    real.__dict__["_client"] = anthropic.Anthropic(api_key=key, http_client=sync, max_retries=0)
    real.__dict__["_async_client"] = anthropic.AsyncAnthropic(api_key=key, http_client=async_, max_retries=0)
    return real, transport


async def _joined(chunks: Any) -> Any:
    whole = None
    async for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


def _stream(model: Any) -> Any:
    whole = None
    for chunk in model.stream("hi"):
        whole = chunk if whole is None else whole + chunk
    return whole


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda model: model.invoke("hi"),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("hi")),
    "stream": _stream,
    "astream": lambda model: asyncio.run(_joined(model.astream("hi"))),
}
"""The ways of asking a model, each with the whole answer."""
