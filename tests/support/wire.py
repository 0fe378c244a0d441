"""Real chat models that answer from the bodies in fixtures/wire, through an HTTP client of the test's own: no network."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

WIRE = Path(__file__).parents[2] / "fixtures/wire"
IDS = re.compile(rb'"(chatcmpl|resp|msg)_?-?1"')
Body = Callable[[bytes], bytes]


def _whole(body: bytes) -> bytes:
    return body


class Server:
    """Answers every request with the body of a case; each answer has ids of its own, as those of a provider."""

    def __init__(self, provider: str, case: str, body: Body = _whole, status: int = 200) -> None:
        self.provider, self.case, self.body, self.status = provider, case, body, status
        self.numbers = itertools.count(1)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.status != 200:
            return httpx2.Response(self.status, json={"error": {"type": "overloaded", "message": "try again"}})
        streams = b'"stream":true' in request.content.replace(b" ", b"")
        body = (WIRE / self.provider / f"{self.case}.{'sse' if streams else 'json'}").read_bytes()
        number = str(next(self.numbers)).encode()
        body = IDS.sub(lambda found: b'"' + found[1] + b"-" + number + b'"', body)
        kind = "text/event-stream" if streams else "application/json"
        return httpx2.Response(200, content=self.body(body) if streams else body, headers={"content-type": kind})


def real(provider: str, case: str = "text", body: Body = _whole, status: int = 200) -> Any:
    """A ChatOpenAI or a ChatAnthropic before such a server, used once.

    langchain-core 1.8 puts a model's `_serialized` into its fields at its first use. Another thread that reads the fields at
    that moment meets "dictionary changed size during iteration".
    """
    fields: Any = {"use_responses_api": True} if provider == "openai-responses" else {}
    model = client(provider, Server(provider, case, body, status), **fields)
    assert getattr(model, "_serialized", True)
    return model


def client(provider: str, answer: Callable[[httpx2.Request], httpx2.Response], **fields: Any) -> Any:
    """A ChatOpenAI or a ChatAnthropic to whose requests `answer` gives the responses; it tries once."""
    transport = httpx2.MockTransport(answer)
    sync, async_ = httpx2.Client(transport=transport), httpx2.AsyncClient(transport=transport)
    if provider != "anthropic":
        clients: Any = {"http_client": sync, "http_async_client": async_}
        return ChatOpenAI(model="gpt-4o", api_key="none", max_retries=0, **clients, **fields)  # type: ignore[arg-type]
    named: Any = {"model": "claude-haiku-4-5", "max_tokens": 2048}
    model = ChatAnthropic(api_key="none", max_retries=0, **named, **fields)  # type: ignore[arg-type]
    model.__dict__["_client"] = anthropic.Anthropic(api_key="none", http_client=sync, max_retries=0)
    model.__dict__["_async_client"] = anthropic.AsyncAnthropic(api_key="none", http_client=async_, max_retries=0)
    return model
