"""Fixtures of the tests of scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmtest.ledger import Ledger, opened


@pytest.fixture
def unwatched() -> Iterator[None]:
    """A ledger of its own, so that steps which a test leaves unused on purpose fail no test."""
    with opened(Ledger()):
        yield
