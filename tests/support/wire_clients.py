"""Real clients whose requests a script answers in the words of an API: through their own HTTP library, without network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2

from llmtest import Script
from llmtest.errors import Violation
from llmtest.scripts.gates import Gate
from llmtest.wire.answering import WireModel
from llmtest.wire.api import Api
from llmtest.wire.exchange import ConnectionBroken, HttpAnswer, HttpRequest


class ScriptTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Answers every request from `script`, in the words of `api`. `requests` are those that came."""

    def __init__(self, script: Script, api: Api) -> None:
        self.violations: list[Violation] = []
        self.model = WireModel(script, api, api.name, self.violations)
        self.requests: list[HttpRequest] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = self._asked(request, request.read())
        try:
            return self._response(self.model.answer(asked), asked, request)
        except ConnectionBroken as broken:
            raise httpx2.ConnectError(str(broken), request=request) from broken.error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = self._asked(request, await request.aread())
        try:
            return self._response(await self.model.aanswer(asked), asked, request)
        except ConnectionBroken as broken:
            raise httpx2.ConnectError(str(broken), request=request) from broken.error

    def _asked(self, request: httpx2.Request, body: bytes) -> HttpRequest:
        self.requests.append(HttpRequest(request.method, str(request.url), dict(request.headers), body))
        return self.requests[-1]

    def _response(self, answer: HttpAnswer, asked: HttpRequest, request: httpx2.Request) -> httpx2.Response:
        if answer.pieces is None:
            return httpx2.Response(answer.status, headers=answer.headers, content=answer.body, request=request)
        stream = _Pieces(answer.pieces, self.model, asked, request)
        return httpx2.Response(answer.status, headers=answer.headers, stream=stream, request=request)


class _Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, pieces: Iterator[bytes | Gate], model: WireModel, asked: HttpRequest, request: httpx2.Request) -> None:
        self.pieces, self.model, self.asked, self.request = pieces, model, asked, request

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, Gate):
                    self.model.hold(piece, self.asked)
                else:
                    yield piece
        except ConnectionBroken as broken:
            raise httpx2.ReadError(str(broken), request=self.request) from broken.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, Gate):
                    await self.model.ahold(piece, self.asked)
                else:
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
