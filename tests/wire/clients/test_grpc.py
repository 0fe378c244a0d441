"""gRPC, which calls hosts below Python: a channel to a provider is stopped when it is made."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from llmtest import ledger
from llmtest.wire import guard
from llmtest.wire.clients.grpc import patch

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
