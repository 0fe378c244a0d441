"""The path of earlier versions. Its names are in `llmtest.errors`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if not TYPE_CHECKING:
    __getattr__, __dir__ = exports(__name__)
