"""The path of earlier versions. Its names are in `llmtest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        from llmtest.core.moved import moved

        return moved(__name__, name)
