"""Fixtures of the tests of stored recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmtest.tracing.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".llmtest" / "traces.sqlite"


@pytest.fixture
def store(path: Path) -> Any:
    with Store(path) as opened:
        yield opened
