"""The providers' own errors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import responses
from typing import Any, Final, cast

# -- errors


@dataclass(frozen=True, slots=True)
class _Integration:
    """Where the errors of an integration are, and what a response of its provider looks like."""

    module: str
    prefix: str
    sdk: str
    url: str

    def kind(self, status: int) -> Any:
        """The class that it raises for `status`; None if it is not installed."""
        named = [(self.module, self.prefix + _THEIRS[status])] if status in _THEIRS else []
        named += [(self.module, f"{self.prefix}APIError")] if status >= 500 else []
        named += [(self.sdk, "InternalServerError" if status >= 500 else _SDKS.get(status, "")), (self.sdk, "APIStatusError")]
        return next((kind for kind in map(_found, *zip(*named, strict=True)) if kind is not None), None)

    def told(self, status: int, message: str | None) -> tuple[str, dict[str, Any]]:
        """What the provider says, and in which body."""
        text = message or responses.get(status, "error")
        if self.sdk == "anthropic":
            kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
            return text, {"type": "error", "error": {"type": kind, "message": text}, "request_id": None}
        kind, code = _OPENAI_TYPES.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
        return text, {"error": {"message": text, "type": kind, "param": None, "code": code}}


def _found(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def error(dialect: str, status: int, retry_after: float | None, message: str | None) -> BaseException | None:
    """What the integration raises when its provider answers with `status`; None if there is none, or it is not installed."""
    known = _INTEGRATIONS.get(dialect)
    kind: Any = None if known is None else known.kind(status)
    if known is None or kind is None:
        return None
    text, body = known.told(status, message)
    headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    client = _client(kind)
    response = client.Response(status, json=body, headers=headers, request=client.Request("POST", known.url))
    said = (body, body) if known.sdk == "anthropic" else (text, body["error"])
    return cast("BaseException", kind(f"Error code: {status} - {said[0]}", response=response, body=said[1]))


def midway(dialect: str, status: int, message: str | None) -> BaseException | None:
    """What the integration raises when its provider breaks a stream off; None if its SDK is not installed."""
    known = _INTEGRATIONS[dialect]
    text, body = known.told(status, message)
    if dialect == "openai-responses":
        return ValueError(f"{body['error']['code'] or body['error']['type']}: {text}")
    kind = _found(known.sdk, "APIStatusError" if known.sdk == "anthropic" else "APIError")
    if kind is None:
        return None
    client = _client(kind)
    request = client.Request("POST", known.url)
    if known.sdk == "openai":
        return cast("BaseException", kind(text, request, body=body["error"]))
    unread = client.ByteStream(b"")
    response = client.Response(200, headers={"content-type": "text/event-stream"}, stream=unread, request=request)
    return cast("BaseException", kind(str(body), response=response, body=body))


def _client(kind: Any) -> Any:
    """The HTTP library that this version of the SDK is built on: the one or the other."""
    room = kind.__init__.__globals__
    return room.get("httpx2") or room["httpx"]


_THEIRS: Final = {
    400: "InvalidRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "ModelNotFoundError",
    429: "RateLimitError",
    529: "OverloadedError",
}
_SDKS: Final = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "PaymentRequiredError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "RequestTimeoutError",
    409: "ConflictError",
    412: "PreconditionFailedError",
    413: "ContentTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    431: "RequestHeaderFieldsTooLargeError",
    499: "ClientClosedRequestError",
}
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI_TYPES: Final[Mapping[int, tuple[str, str | None]]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_CHAT_OPENAI: Final = "langchain_openai.chat_models.base"
_INTEGRATIONS: Final = {
    "openai": _Integration(_CHAT_OPENAI, "OpenAI", "openai", "https://api.openai.com/v1/chat/completions"),
    "openai-responses": _Integration(_CHAT_OPENAI, "OpenAI", "openai", "https://api.openai.com/v1/responses"),
    "anthropic": _Integration(
        "langchain_anthropic.chat_models", "Anthropic", "anthropic", "https://api.anthropic.com/v1/messages"
    ),
}
