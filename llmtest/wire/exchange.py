"""One HTTP request to a provider and its answer, in words that no HTTP library owns."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlsplit

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it was sent. The names of `headers` are in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def host(self) -> str:
        """The host in lower case, without its port."""
        return (urlsplit(self.url).hostname or "").lower()

    @property
    def port(self) -> int | None:
        """The port that the URL names; None if it names none."""
        return urlsplit(self.url).port

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(urlsplit(self.url).query))


class ConnectionBroken(Exception):
    """The connection breaks before the answer, or within it: `error` says how. A transport raises its own class for it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class Stream(Protocol):
    """The body of a streamed answer, piece by piece. It is read once, in sync or in async code.

    It waits at the gates of the script, and raises `ConnectionBroken` where the connection breaks.
    """

    def __iter__(self) -> Iterator[bytes]: ...
    def __aiter__(self) -> AsyncGenerator[bytes]: ...


@dataclass(slots=True)
class HttpAnswer:
    """An answer: a whole `body`, or a `stream`."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: Stream | None = None


def json_answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpAnswer:
    """Return an answer with `body` as JSON."""
    return HttpAnswer(status, {"content-type": JSON, **(headers or {})}, json.dumps(body).encode())


def reason_phrase(status: int) -> str:
    """Return the words for an HTTP status."""
    return next((known.phrase for known in HTTPStatus if known == status), "error")
