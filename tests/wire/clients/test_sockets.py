"""The last resort: the host of a provider is not looked up."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from llmtest import ledger
from llmtest.wire import guard


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The hosts that were looked up below the guard."""
    hosts: list[Any] = []
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        monkeypatch.setattr(socket, name, lambda host, *args, **kwargs: hosts.append(host))
    return hosts


LOOKS: dict[str, Any] = {
    "getaddrinfo": lambda host: socket.getaddrinfo(host, 443),
    "gethostbyname": lambda host: socket.gethostbyname(host),
    "gethostbyname_ex": lambda host: socket.gethostbyname_ex(host),
}


@pytest.mark.parametrize("way", LOOKS)
@pytest.mark.parametrize("host", ["api.anthropic.com", b"api.anthropic.com"], ids=["str", "bytes"])
def test_the_host_of_a_provider_is_not_looked_up(way: str, host: Any, looked_up: list[Any]) -> None:
    with ledger.opened(ledger.Ledger()) as page, guard.guarding("error"), pytest.raises(socket.gaierror, match="llmtest"):
        LOOKS[way](host)

    assert looked_up == []
    (violation,) = page.violations
    assert violation.text.splitlines()[0] == (
        "a request to `anthropic` was about to leave the machine, and no script can answer it"
    )


@pytest.mark.parametrize("host", ["weather.example", None, "127.0.0.1"])
def test_others_are(host: Any, looked_up: list[Any]) -> None:
    with guard.guarding("error"):
        socket.getaddrinfo(host, 80)

    assert looked_up == [host]
