"""`record()` and `Recording`: the one face on capture, order, trees and matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.recording.recording import Recording as Recording, record as record
else:
    __getattr__, __dir__ = exports(__name__)
