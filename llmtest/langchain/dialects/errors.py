"""The errors of a provider, raised as its integration raises them. Each dialect's file has the facts."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from llmtest.wire.exchange import reason_phrase


class ProviderErrors(ABC):
    """Which class an integration raises for a status, and with which body the provider answers.

    Classes are named, not imported: the integration and its SDK may not be installed.
    """

    integration: str
    """The module of the integration's classes."""
    sdk: str
    url: str
    integration_classes: ClassVar[Mapping[int, str]]
    sdk_classes: ClassVar[Mapping[int, str]]
    server_errors: tuple[str, str]
    """The classes of the integration and of the SDK for every other status of 500 or more."""

    @abstractmethod
    def body(self, status: int, text: str) -> dict[str, Any]:
        """Return the JSON with which the provider answers."""

    @abstractmethod
    def arguments(self, text: str, body: dict[str, Any]) -> tuple[object, object]:
        """Return what the SDK quotes in the text of its error, and the `body` that it gives the error."""

    @abstractmethod
    def midway(self, status: int, message: str | None) -> BaseException | None:
        """Return the error of a stream that the provider breaks off; None if its SDK is not installed."""

    def refusal(self, status: int, retry_after: float | None, message: str | None) -> BaseException | None:
        """Return the error of a request that the provider answers with `status`; None if its SDK is not installed."""
        kind = self._class_for(status)
        if kind is None:
            return None
        text = message or reason_phrase(status)
        body = self.body(status, text)
        quoted, known = self.arguments(text, body)
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        http = http_library(kind)
        response = http.Response(status, json=body, headers=headers, request=http.Request("POST", self.url))
        return cast("BaseException", kind(f"Error code: {status} - {quoted}", response=response, body=known))

    def unreached(self, cause: BaseException) -> BaseException | None:
        """Return the error of a request that no provider answers, in time or at all; None if its SDK is not installed."""
        name = "APITimeoutError" if isinstance(cause, TimeoutError) else "APIConnectionError"
        kind = find_class(self.sdk, name)
        if kind is None:
            return None
        error: BaseException = kind(request=http_library(find_class(self.sdk, "APIConnectionError")).Request("POST", self.url))
        error.__cause__ = cause
        return error

    def _class_for(self, status: int) -> Any:
        ours, theirs = self.server_errors if status >= 500 else ("", "")
        # The integration's class first, which a program that catches the SDK's catches too; an older integration has none.
        places = [
            (self.integration, self.integration_classes.get(status, "")),
            (self.integration, ours),
            (self.sdk, self.sdk_classes.get(status, theirs)),
            (self.sdk, "APIStatusError"),
        ]
        found = (find_class(module, name) for module, name in places if name)
        return next((kind for kind in found if kind is not None), None)


def find_class(module: str, name: str) -> Any:
    """Return the class, or None where its package is not installed or too old to have it."""
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def http_library(kind: Any) -> Any:
    """Return the HTTP library, httpx or httpx2, on which this version of the SDK is built."""
    scope = kind.__init__.__globals__
    return scope.get("httpx2") or scope["httpx"]
