"""Real clients whose requests a script answers in the words of an API: through their own HTTP library, without network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
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


class ScriptTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Answers every request from `script`, in the words of `api`. `requests` are those that came."""

    def __init__(self, script: Script, api: Api) -> None:
        self.model = WireModel(script, api, api.name)
        self.requests: list[HttpRequest] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = self._asked(request, request.read())
        try:
            return self._response(self.model.answer(read(asked, self.model.api)), request)
        except ConnectionBroken as broken:
            raise httpx2.ConnectError(str(broken), request=request) from broken.error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = self._asked(request, await request.aread())
        try:
            return self._response(await self.model.aanswer(read(asked, self.model.api)), request)
        except ConnectionBroken as broken:
            raise httpx2.ConnectError(str(broken), request=request) from broken.error

    def _asked(self, request: httpx2.Request, body: bytes) -> HttpRequest:
        self.requests.append(HttpRequest(request.method, str(request.url), dict(request.headers), body))
        return self.requests[-1]

    def _response(self, answer: HttpAnswer, request: httpx2.Request) -> httpx2.Response:
        if answer.stream is None:
            return httpx2.Response(answer.status, headers=answer.headers, content=answer.body, request=request)
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream, request), request=request)


class _Body(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, stream: Stream, request: httpx2.Request) -> None:
        self.stream, self.request = stream, request

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.stream
        except ConnectionBroken as broken:
            raise httpx2.ReadError(str(broken), request=self.request) from broken.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self.stream:
                yield piece
        except ConnectionBroken as broken:
            raise httpx2.ReadError(str(broken), request=self.request) from broken.error


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
