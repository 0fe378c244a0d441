"""Fixtures of all tests."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from llmtest.core.colors import is_dumb
from llmtest.ledger import Ledger, Outside, opened

pytest_plugins = ["pytester"]

# hypothesis asks the collector for referrers of a generator, and finds none that are frozen. The tests of the matrix that need
# no more than LangChain do without it.
with suppress(ImportError):
    import hypothesis  # noqa: F401
# freezegun asks each module for all its names, and langfuse imports its models then, which take no frozen time.
with suppress(ImportError):
    import freezegun

    freezegun.configure(extend_ignore_list=["langfuse"])


def pytest_collection_finish() -> None:
    """What is there by now stays: the garbage collector need not look through it again and again."""
    gc.freeze()


@pytest.fixture
def page() -> Iterator[Ledger]:
    """A page of its own, in place of that of the test: what a test leaves unused or breaks on purpose does not fail it."""
    with opened(Ledger()) as own:
        yield own


@pytest.fixture
def outside() -> Iterator[None]:
    """No page keeps anything: neither violations that are made on purpose, nor recordings that have to go."""
    with opened(Outside()):
        yield


@pytest.fixture
def rounds(pytestconfig: pytest.Config) -> Callable[[int], Iterator[int]]:
    """Counts the rounds of a long test, and shows them on a terminal, which pytest does not capture."""

    capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    file = pytestconfig.get_terminal_writer()._file

    def show(text: str) -> None:
        with capture.global_and_fixture_disabled():
            if file.isatty() and not is_dumb(os.environ):
                file.write(f"\x1b7{text}\x1b8")
                file.flush()

    def count(number: int) -> Iterator[int]:
        for done in range(number):
            show(f" {done} of {number} rounds")
            yield done
        show("\x1b[K")

    return count


@pytest.fixture
def clients_left_open() -> Iterator[None]:
    """The clients of SDKs keep their connections; Python warns when they are collected, in whatever test that happens.

    langchain-openai shares clients between models, also between event loops: a connection of a loop that has ended breaks the
    next request.
    """
    from langchain_openai.chat_models import _client_utils

    _client_utils._cached_async_httpx_client.cache_clear()
    # A session inside of the test may leave a client, which is collected while the test still runs.
    warnings.simplefilter("ignore", ResourceWarning)  # until the test ends: pytest puts the filters back
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
