"""Which run belongs to which block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.capture.blocks import carry_context as carry_context
else:
    __getattr__, __dir__ = exports(__name__)
