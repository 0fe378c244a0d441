"""Fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmtest.core.colors import is_dumb
from llmtest.ledger import Ledger, Outside, opened

pytest_plugins = ["pytester"]


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
