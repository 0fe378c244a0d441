"""What a correct stream of callbacks is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.protocol.run_checks import check as check, cut_streams as cut_streams, rules_of_spans as rules_of_spans
else:
    __getattr__, __dir__ = exports(__name__)
