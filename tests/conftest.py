"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from llmtest.core.progress import progress
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

    def count(number: int) -> Iterator[int]:
        with progress("rounds", pytestconfig.get_terminal_writer()._file) as step:
            for done in range(number):
                step(done, number)
                yield done

    return count
