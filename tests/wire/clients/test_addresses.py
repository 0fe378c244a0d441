"""The last resort: the host of a provider is not looked up, and gRPC makes no channel to it."""

from __future__ import annotations

import socket
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from llmtest import ledger
from llmtest.wire import guard
from llmtest.wire.clients.addresses import patch


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


# -- gRPC


GEMINI = "generativelanguage.googleapis.com:443"


@pytest.fixture
def grpc() -> Any:
    """A module like gRPC's, patched: its functions return their targets."""
    module: Any = ModuleType("grpc")
    module.aio = SimpleNamespace()
    for owner in (module, module.aio):
        for name in ("insecure_channel", "secure_channel"):
            setattr(owner, name, lambda target, *args, **kwargs: target)
    originals = module.secure_channel
    patches = patch(module)
    yield module
    for one in patches:
        one.undo()
    assert module.secure_channel is originals


@pytest.mark.parametrize("way", ["secure_channel", "insecure_channel", "aio.secure_channel", "aio.insecure_channel"])
@pytest.mark.parametrize("target", [GEMINI, f"dns:///{GEMINI}"])
def test_a_channel_to_a_provider_is_stopped(grpc: Any, way: str, target: str) -> None:
    owner = grpc.aio if way.startswith("aio.") else grpc

    with ledger.opened(ledger.Ledger()) as page, guard.guarding("error"), pytest.raises(ConnectionRefusedError):
        getattr(owner, way.rpartition(".")[2])(target, None)

    assert [violation.code for violation in page.violations] == ["real model call"]


def test_other_channels_and_a_process_without_a_guard_are_left_alone(grpc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with guard.guarding("error"):
        other = grpc.secure_channel("weather.example:443", None)
    with guard.allow_real_models():
        allowed = grpc.secure_channel(GEMINI, None)

    assert (other, allowed) == ("weather.example:443", GEMINI)
