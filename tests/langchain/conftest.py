"""Fixtures of the tests of the tap."""

from __future__ import annotations

import pytest

from llmtest.capture import blocks


@pytest.fixture
def nothing_open() -> None:
    """No block is open in the process: one that an earlier test left open would attach the tap."""
    for opening in blocks.openings.copy():
        opening.close()
