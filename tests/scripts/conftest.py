"""Fixtures of the tests of scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def unwatched() -> Iterator[None]:
    """A page of its own, so that steps which a test leaves over on purpose are nobody's concern."""
    with opened(Ledger()):
        yield
