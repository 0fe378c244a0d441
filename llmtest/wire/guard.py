"""No real call gets out: a request to a provider that no entry maps fails in the program, and is a violation of the test."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from llmtest import ledger
from llmtest.core.source import program_place, shown_path
from llmtest.errors import LlmtestWarning
from llmtest.ledger import Ledger
from llmtest.wire import clients, hearing, providers
from llmtest.wire.exchange import ConnectionBroken
from llmtest.wire.hosts import Target

Mode = Literal["error", "warn", "allow"]

_modes: list[Mode] = []
_allowed = 0
_lock = threading.Lock()
_told: WeakKeyDictionary[Ledger, set[tuple[str, str]]] = WeakKeyDictionary()
"""The models and the lines of what was stopped in a test."""
_passed: WeakKeyDictionary[Ledger, set[str | None]] = WeakKeyDictionary()
"""The hosts of what was let through with a warning."""


_ANSWERED: Final = "  a script answers requests to chat models, text completions and embeddings, and lists of the mapped models"
_CLIENTS: Final = """\
  a script answers the clients httpx, httpx2, aiohttp, requests and urllib3; this request came from another one
  for others there is a server on this machine: scripted_server(...)"""


@contextmanager
def guarding(mode: Mode) -> Iterator[None]:
    """Guard the process in this mode while the block is open."""
    clients.watch()
    _modes.append(mode)
    try:
        yield
    finally:
        _modes.remove(mode)
        clients.unwatch()


@contextmanager
def allow_real_models() -> Iterator[None]:
    """Let requests to real models through while the block is open, on every thread of the process.

    A model that `scripted_providers` maps is still answered by its script.

    >>> with allow_real_models():
    ...     pass
    """
    global _allowed
    with _lock:
        _allowed += 1
    try:
        yield
    finally:
        with _lock:
            _allowed -= 1


def is_on() -> bool:
    """True if a request to a provider is looked at: a guard or a mapping is open, or a recorder listens."""
    return bool(_modes) or providers.is_any_open() or hearing.listener() is not None


def let_through(host: str) -> None:
    """Let this test look up a host: a recorder hears the request that goes there."""
    _passed.setdefault(ledger.current(), set()).add(host)


def _mode() -> Mode:
    return "allow" if _allowed else _modes[-1] if _modes else "error"  # a mapping alone, outside a test, lets nothing out


def stop(target: Target, model: str, url: str, built: str = "") -> None:
    """Stop a request to a provider, or let it go where real models are allowed.

    Raises:
        ConnectionBroken: it is stopped; a violation is written.
    """
    mode, host = _mode(), urlsplit(url if "//" in url else f"//{url}").hostname
    passed = _passed.setdefault(ledger.current(), set())
    if mode == "allow" or (not model and host in passed):  # the client that was let through looks up its host
        return
    place = program_place()
    what = f"the model `{model}`" if model else f"`{target.providers[0]}`"
    head = f"a request to {what} was about to leave the machine, and no entry maps it"
    if target.api or model:
        text = providers.unmapped(head, model or f"{target.providers[0]}:*", _evidence(place, built, url))
    else:  # to map a model would be no help
        head = f"a request to {what} was about to leave the machine, and no script can answer it"
        text = "\n".join([head, *_evidence(place, built, url), _ANSWERED if "//" in url else _CLIENTS])
    text += "\n  a test that needs the real one: @pytest.mark.allow_real_models, or `with allow_real_models():`"
    if mode == "warn":
        passed.add(host)
        warnings.warn(text, LlmtestWarning, stacklevel=2)
        return
    known = _told.setdefault(ledger.current(), set())
    if not any(before == what and place in ("", line) for before, line in known):  # an SDK tries again, also in a thread
        known.add((what, place))
        providers.violate("real model call", text)
    raise ConnectionBroken(ConnectionRefusedError(f"llmtest: {head}"))


def _evidence(place: str, built: str, url: str) -> list[str]:
    lines = [f"  at       {shown_path(place)}"] if place else []
    lines += [f"  client   made at {shown_path(built)}"] if built and built != place else []
    return [*lines, f"  url      {url.partition('?')[0]}"]
