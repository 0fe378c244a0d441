"""Behaviour coverage: which of a program's behaviours no test has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtest.core.lazy import exports

if TYPE_CHECKING:
    from llmtest.coverage.differences import Change as Change, compare as compare
    from llmtest.coverage.data import CoverageData as CoverageData, combine as combine, load as load
    from llmtest.coverage.hits import Hits as Hits, Meeting as Meeting
    from llmtest.coverage.items import Inventory as Inventory, Item as Item
    from llmtest.coverage.programs import Program as Program
    from llmtest.coverage.report import Counts as Counts, Report as Report, Row as Row
else:
    __getattr__, __dir__ = exports(__name__)
