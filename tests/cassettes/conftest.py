"""What tests of cassettes share."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture
def clients_left_open() -> Iterator[None]:
    """The clients of SDKs keep their connections; Python warns when they are collected, in whatever test that happens."""
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
